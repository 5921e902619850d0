"""What a quantized network needs on a device: the width of its sums, flash and RAM, and the forms that it can take."""

from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

from fewbits.backend import keras
from fewbits.deploy.c import CMemory, write_c
from fewbits.deploy.integer import IntegerNetwork
from fewbits.deploy.lowering import lower
from fewbits.errors import InputError
from fewbits.quantization.conversion import QuantizedModel
from fewbits.report.measurements import Accumulator, DeviceMemory


def measure_needs(network: QuantizedModel, bits: int) -> tuple[list[Accumulator], DeviceMemory, str]:
    """Return what a network needs with the formats that it has.

    Args:
        network: The quantized network.
        bits: Of its kernels, inputs and outputs, for the result.

    Returns:
        The width of each layer's sums; the memory; and why it has no integers or no C, empty if it has.
    """
    packed = packed_bytes(network, bits)
    try:
        integers = lower(network)
    except InputError as error:
        return [], DeviceMemory(bits, packed, None, None), str(error)
    sums = [Accumulator(each.layer, bits, each.partial_bits, int(each.magnitude)) for each in integers.convolutions]
    try:
        memory = _memory_of_c(integers)
    except InputError as error:
        return sums, DeviceMemory(bits, packed, None, None), str(error)
    return sums, DeviceMemory(bits, packed, memory.weight_bytes, memory.ram_bytes), ""


def packed_bytes(network: QuantizedModel, bits: int) -> int:
    """Return the bytes of a network's parameters with kernels of `bits` bits and all other parameters at 32.

    Args:
        network: The quantized network.
        bits: Of each weight of a kernel.
    """
    kernels = sum(_size(layer.kernel) for layer in network.quantized_layers)
    state = {id(variable) for layer in network.rounding_layers for variable in layer.state.weights}
    parameters = sum(_size(variable) for variable in network.weights if id(variable) not in state)
    return (kernels * bits + (parameters - kernels) * 32 + 7) // 8


def _memory_of_c(integers: IntegerNetwork) -> CMemory:
    with TemporaryDirectory() as folder:
        return write_c(integers, Path(folder, "network"))


def _size(variable: keras.Variable) -> int:
    return prod(variable.shape)

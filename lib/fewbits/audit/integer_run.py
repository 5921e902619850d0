"""The integer network of Few Bits, run as C: what its layers compute."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fewbits.audit.recordings import Recording, recorded_traces
from fewbits.audit.traces import Trace
from fewbits.deploy.compiled import CRunner, find_compiler
from fewbits.deploy.identity import to_pixels
from fewbits.deploy.integer import Output
from fewbits.deploy.lowering import lower
from fewbits.errors import InputError
from fewbits.quantization.conversion import QuantizedModel


def integer_traces(
    network: QuantizedModel,
    reference: QuantizedModel,
    images: np.ndarray,
    levels: int | None = None,
    mean: int | Sequence[int] | None = None,
    divisor: int | None = None,
) -> list[Trace]:
    """Run a quantized network in integers and return what its layers read and computed.

    The network is compiled as C if this machine has a compiler; otherwise NumPy runs it, with the same codes.

    Args:
        network: A quantized network.
        reference: As in `recorded_traces`.
        images: As the Keras model takes them, (n, height, width, channels).
        levels: As in `lower`.
        mean: As in `lower`.
        divisor: As in `lower`.

    Returns:
        A trace for each layer with a kernel and an output format.

    Raises:
        InputError: as `lower` and `to_pixels`, and when no layer has an output format.
    """
    whole = lower(network, levels, mean, divisor)
    rounded = [layer for layer in network.quantized_layers if layer.formats.output is not None]
    if not rounded:
        raise InputError(f"no layer of {network.name} has an output format, so nothing is rounded; give it one")
    tensors = [(layer, whole.outputs[layer.name]) for layer in rounded]
    pixels = to_pixels(whole, images)
    if find_compiler() and whole.image.high + min(whole.mean) < 256:
        taps = [Output(layer.name, i, whole.tensors[i].shape) for layer, i in tensors if i != len(whole.operations)]
        runner = CRunner(replace(whole, earlier=taps))
        runs = [np.stack(found) for found in zip(*(runner.run_all(image) for image in pixels))]
        codes = {tap.layer: found for tap, found in zip(taps, runs)} | {whole.results[-1].layer: runs[-1]}
    else:
        codes = whole.trace(pixels)
    layers = {layer.name: codes[layer.name].reshape(len(images), *layer.output.shape[1:]) for layer, _ in tensors}
    scales = {layer.name: np.array(np.exp2(whole.tensors[i].exponent)) for layer, i in tensors}
    recording = Recording("the integer network", {"layers": layers, "scales": scales})
    return recorded_traces(recording, network, reference, images)

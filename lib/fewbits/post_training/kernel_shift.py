"""Kernels that are rounded and then moved by a part of a step: the dose whose response chapter 6 measures."""

import numpy as np

from fewbits.post_training.copies import copied, enabled_layers
from fewbits.quantization.conversion import QuantizedModel
from fewbits.quantization.layers import by_filter, from_filters, kernel_formats, quantized_kernel


def shift_kernels(network: QuantizedModel, steps: float, rounding: str = "nearest", seed: int = 0) -> QuantizedModel:
    """Return `network` with kernels that are rounded once, then moved by the same part of a step, and kept in float.

    Rounding down is rounding to nearest moved by -1/2 on average: `steps` says how much of that there is, from none to
    all, with the resolution unchanged. No device computes with such kernels; they are for measurements.

    Args:
        network: The quantized network. Kernels without a format, and layers that are not enabled, stay as they are.
        steps: How far to move each weight, in steps of its format.
        rounding: How to round first, one of `names.ROUNDINGS`.
        seed: For stochastic rounding; each layer draws from a stream of its own.

    Returns:
        A new network whose kernels have no format any more. Formats of inputs, outputs and biases stay.

    Raises:
        InputError: on an unknown rounding.
    """
    network = copied(network)
    move_kernels(network, steps, rounding, seed)
    return network


def move_kernels(network: QuantizedModel, steps: float, rounding: str, seed: int) -> None:
    """Do in place what `shift_kernels` does in a copy.

    Args:
        network: As in `shift_kernels`; it gets the kernels.
        steps: As in `shift_kernels`.
        rounding: As in `shift_kernels`.
        seed: As in `shift_kernels`.
    """
    draws = np.random.default_rng(seed)
    for layer in enabled_layers(network):
        if layer.formats.kernel is None:
            continue
        rounded = quantized_kernel(layer, rounding, draws)
        moved = by_filter(layer, rounded) + [steps * fmt.step for fmt in kernel_formats(layer)]
        layer.kernel.assign(from_filters(layer, moved))
        layer.set_formats(*layer.formats._replace(kernel=None))

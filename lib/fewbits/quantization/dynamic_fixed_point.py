"""Dynamic fixed point: few bit widths for a whole network, one fractional length per layer and kind of value.

A number is (-1)**s * 2**-fl * (an integer of bw - 1 bits), with bit width bw and fractional length fl. That is the
format FixedPoint(msb=bw - 1 - fl, nbits=bw), whose step is 2**(msb + 1 - nbits) = 2**-fl; two's complement adds the
code -2**(bw - 1). A larger fl is a finer step, a smaller MSB.

Source: backstrom2018, 2.3.1 (Equations 9 and 10), after Ristretto (Gysel et al., 2016).
"""

import numpy as np

from fewbits.backend import keras
from fewbits.data.inputs import Images
from fewbits.errors import InputError, finite
from fewbits.quantization.fixedpoint import FixedPoint
from fewbits.quantization.layers import Formats
from fewbits.quantization.range_rules import msb_from_limits
from fewbits.quantization.streaming import layer_summaries


def fractional_length(values: np.ndarray, nbits: int) -> int:
    """Return the largest fractional length at which no magnitude in `values` reaches the largest code.

    This is the largest fl with 2**-fl * (2**(nbits - 1) - 1) > max(abs(values)). Not even the positive end clips. With
    `msb_from_limits`, whose amplitude has no code, the largest value may clip by one step.

    Args:
        values: An array of any shape, finite, not empty.
        nbits: 2 to 32.

    Returns:
        The fractional length. Zeros get the largest one that a FixedPoint can have.

    Raises:
        InputError: when there are no values, values that are not finite, or bits out of range.

    Source:
        backstrom2018, Equation 10.

    Example:
        >>> fractional_length(np.array([-0.9, 0.4]), 8)
        7
    """
    values = finite(values, "values")
    if not values.size:
        raise InputError("there are no values to find a fractional length for")
    largest = float(abs(values).max())
    fmt = FixedPoint(msb_from_limits(-largest, largest), nbits)  # its amplitude reaches them, but is no code
    if nbits < 2:
        raise InputError("dynamic fixed point needs at least 2 bits, one of them the sign, not 1")
    while fmt.max_code * fmt.step <= largest:
        fmt = FixedPoint(fmt.msb + 1, nbits)
    return nbits - 1 - fmt.msb


def dynamic_formats(
    model: keras.Model,
    images: Images,
    *,
    convolutions: int | None = 8,
    dense: int | None = 8,
    activations: int | None = 8,
) -> dict[str, Formats]:
    """Return formats of dynamic fixed point, from the largest magnitudes of a network on some images.

    None leaves a kind in float, which quantizes the kinds separately (backstrom2018, Tables 3 and 5);
    `QuantizedModel.set_level` switches the layers on one after the other (Tables 4 and 6).

    Args:
        model: A model that `quantize_model` accepts, quantized or not.
        images: As in `observe`.
        convolutions: Bits of the kernels of convolutions, depthwise convolutions included.
        dense: Bits of the kernels of dense layers.
        activations: Bits of the inputs and outputs of all layers.

    Returns:
        Layer name -> Formats, for `quantize_model` or `QuantizedModel.set_formats`.

    Raises:
        InputError: as `observe` and `fractional_length`.
    """
    return {
        summary.layer.name: Formats(
            _format(summary.kernel, dense if isinstance(summary.layer, keras.layers.Dense) else convolutions),
            _format(np.array([summary.input.low, summary.input.high]), activations),
            _format(np.array([summary.output.low, summary.output.high]), activations),
        )
        for summary in layer_summaries(model, images)
    }


def _format(values: np.ndarray | None, nbits: int | None) -> FixedPoint | None:
    """Return the format with the fractional length of `values`, None for no bits and no values."""
    return None if nbits is None or values is None else FixedPoint(nbits - 1 - fractional_length(values, nbits), nbits)

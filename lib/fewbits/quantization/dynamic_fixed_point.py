"""Dynamic fixed point: few bit widths for a whole network, and a fractional length for each layer and kind of value.

A number is (-1)**s * 2**-fl * (an integer of bw - 1 bits), with bit width bw and fractional length fl. That is the
format FixedPoint(msb=bw - 1 - fl, nbits=bw), whose step is 2**(msb + 1 - nbits) = 2**-fl; two's complement adds the
code -2**(bw - 1). A larger fl is a finer step, a smaller MSB.

Source: backstrom2018, 2.3.1 (Equations 9 and 10), after Ristretto (Gysel et al., 2016).
"""

from fewbits.backend import keras
from fewbits.errors import InputError, finite
from fewbits.quantization.calibration import msb_from_limits, observe
from fewbits.quantization.fixedpoint import FixedPoint
from fewbits.quantization.layers import Formats


def fractional_length(values, nbits: int) -> int:
    """Return the largest fractional length at which the largest code lies above all magnitudes in `values`.

    The largest fl with 2**-fl * (2**(nbits - 1) - 1) > max(abs(values)): not even the positive end clips, where
    `msb_from_limits`, whose amplitude has no code, may clip by one step. values: array of any shape, finite, not empty.
    nbits: 2 to 32. Zeros get the largest fractional length that a FixedPoint has. Source: backstrom2018, Equation 10.
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
    model: keras.Model, images, *, convolutions: int | None = 8, dense: int | None = 8, activations: int | None = 8
) -> dict[str, Formats]:
    """Return layer name -> Formats of dynamic fixed point, from the largest magnitudes of the network on `images`.

    convolutions, dense: bits of their weights (a depthwise convolution is one, too). activations: bits of the inputs
    and outputs of all layers. None leaves a kind in float, which quantizes the kinds separately (backstrom2018, Tables
    3 and 5); `QuantizedModel.set_level` switches the layers on one after the other (Tables 4 and 6). images: as in
    `observe`. Pass the result to `quantize_model` or `QuantizedModel.set_formats`.
    """
    return {
        name: Formats(
            _format(values.kernel, dense if isinstance(model.get_layer(name), keras.layers.Dense) else convolutions),
            _format(values.input, activations),
            _format(values.output, activations),
        )
        for name, values in observe(model, images)
    }


def _format(values, nbits):
    """Return the format with the fractional length of `values`, None for no bits."""
    return None if nbits is None else FixedPoint(nbits - 1 - fractional_length(values, nbits), nbits)

"""Where the values of a network lie, and the formats that follow: percentile limits, MSBs, a table for each layer.

Source: vieito2017, 5.2 (limits of weights and convolution outputs), Equation 11 (MSB), Table 11 (MSB of each layer).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, log2

import numpy as np

from fewbits.backend import keras, ops
from fewbits.conversion import QUANTIZED, check_layers, dequantize_model
from fewbits.errors import InputError
from fewbits.fixedpoint import MAX_ABS_MSB, MAX_NBITS_KERAS, FixedPoint, finite, quantize
from fewbits.layers import Formats
from fewbits.sqnr import QuantizationError, measure

PERCENTILES = (95, 98, 99.9, 99.99)  # vieito2017, Table 2
LEAST_ERROR = "mse"  # stands for a percentile, where the MSB of least squared error is meant
SAMPLED = 100_000  # values that it is found from
DEEPEST = 12  # how far below the MSB of the maximum it is looked for


@dataclass(frozen=True)
class Values:
    """What a layer computes with, on some images: its kernel, its input, and what reaches its output quantizer."""

    kernel: np.ndarray
    input: np.ndarray
    output: np.ndarray


def percentile_limits(values, percentile: float) -> tuple[float, float]:
    """Return the limits between which the middle `percentile` % of `values` lie, half of the rest on either side.

    values: array of any shape, finite, not empty. percentile: above 0, at most 100. Source: vieito2017, Table 2.
    """
    values = finite(values, "values")
    if not values.size:
        raise InputError("there are no values to take a percentile of")
    if isinstance(percentile, bool) or not isinstance(percentile, (int, float)) or not 0 < percentile <= 100:
        raise InputError(f"the percentile must be above 0 and at most 100, not {percentile!r}")
    rest = (100 - percentile) / 2
    low, high = np.percentile(values, [rest, 100 - rest])
    return float(low), float(high)


def msb_from_limits(low: float, high: float) -> int:
    """Return the smallest MSB whose amplitude reaches both limits: ceil(log2 max(abs(limits))).

    Source: vieito2017, Equation 11. Limits of zero get the smallest MSB that a FixedPoint has.
    """
    reach = max(abs(low), abs(high))
    if not np.isfinite(reach):
        raise InputError(f"limits must be finite, not {low} and {high}")
    return ceil(log2(reach)) if reach > 2.0**-MAX_ABS_MSB else -MAX_ABS_MSB


def observe(model: keras.Model, images, batch_size: int = 32) -> Iterator[tuple[str, Values]]:
    """Yield the name and the Values of each layer to quantize, as float computes them on `images`.

    images: (n, height, width, channels), n at least 1. A layer's output counts with its bias, but where a quantized
    layer adds that after its output quantizer. All layers' inputs are in memory at once: take some tens of images.
    """
    if not len(images):
        raise InputError("at least one image is needed to observe a network")
    check_layers(model)
    plain = dequantize_model(model)
    chosen = [layer for layer in plain.layers if type(layer) in QUANTIZED]
    reader = keras.Model(plain.inputs, [layer.input for layer in chosen])
    reader.jit_compile = False
    inputs = reader.predict(finite(images, "images").astype("float32"), batch_size=batch_size, verbose=0)
    for layer, x in zip(chosen, inputs if isinstance(inputs, list) else [inputs], strict=True):
        product = QUANTIZED[type(layer)].product
        pieces = [product(layer, x[i : i + batch_size], layer.kernel) for i in range(0, len(x), batch_size)]
        output = np.concatenate([ops.convert_to_numpy(p) for p in pieces])
        late = getattr(model.get_layer(layer.name), "bias_order", "accumulator") == "output"
        if layer.bias is not None and not late:
            output = output + ops.convert_to_numpy(layer.bias)
        yield layer.name, Values(ops.convert_to_numpy(layer.kernel), x, output)


def msb_of_least_error(values, nbits: int, rounding: str = "nearest") -> int:
    """Return the MSB at which quantizing `values` to `nbits` bits leaves the least squared error.

    At few bits a finer step is worth more than the largest values: this MSB lies below that of the maximum. values: as
    in `percentile_limits`; of more than 100,000 it looks at 100,000, evenly spaced.
    """
    top = msb_from_limits(*percentile_limits(values, 100))
    values = np.ravel(values)
    values = values[:: max(1, len(values) // SAMPLED)]
    candidates = range(max(top - DEEPEST, -MAX_ABS_MSB), top + 1)
    return min(candidates, key=lambda msb: np.square(quantize(values, FixedPoint(msb, nbits), rounding) - values).sum())


def formats_for(
    model: keras.Model,
    images,
    nbits: tuple = (8, 8, 8),
    percentile: float | str | tuple = 99.9,
    per_layer: bool = True,
    rounding: str = "nearest",
) -> dict[str, Formats]:
    """Return layer name -> Formats with the MSBs that suit the network's values on `images`.

    nbits: bits of kernel, input and output; None leaves that one in float. percentile: of the limits that the MSB
    reaches, or `mse` for the least squared error at these bits and this `rounding`; one for all three, or three.
    per_layer: an MSB of its own for each layer (vieito2017, Table 11); otherwise the largest of each kind for all
    layers (its generic MSB). Pass the result to `quantize_model` or `QuantizedModel.set_formats`.
    """
    return formats_from_msbs(msb_table(model, images, percentile, nbits, rounding), nbits, per_layer)


def msb_table(
    model: keras.Model, images, percentile: float | str | tuple = 99.9, nbits: tuple = (8, 8, 8), rounding="nearest"
) -> dict[str, tuple[int, int, int]]:
    """Return layer name -> MSBs of kernel, input and output (vieito2017, Table 11); arguments as in `formats_for`.

    Limits of a percentile do not depend on nbits and rounding.
    """
    rules = list(zip(_three(percentile, "percentile"), _three(nbits, "nbits")))
    return {
        name: tuple(_msb(v, *rule, rounding) for v, rule in zip((values.kernel, values.input, values.output), rules))
        for name, values in observe(model, images)
    }


def _msb(values, percentile, nbits, rounding):
    if percentile == LEAST_ERROR:
        return msb_of_least_error(values, nbits or MAX_NBITS_KERAS, rounding)
    return msb_from_limits(*percentile_limits(values, percentile))


def formats_from_msbs(msbs: dict, nbits: tuple = (8, 8, 8), per_layer: bool = True) -> dict[str, Formats]:
    """Return layer name -> Formats with the MSBs of `msb_table`; nbits and per_layer as in `formats_for`."""
    nbits = _three(nbits, "nbits")
    if not per_layer:
        largest = tuple(map(max, zip(*msbs.values())))
        msbs = dict.fromkeys(msbs, largest)
    return {
        name: Formats(*(None if n is None else FixedPoint(msb, n) for msb, n in zip(three, nbits)))
        for name, three in msbs.items()
    }


def quantization_errors(
    model: keras.Model, images, formats: dict[str, Formats], rounding: str = "floor"
) -> dict[str, tuple[QuantizationError | None, ...]]:
    """Return layer name -> what `formats` cost its kernel, input and output on `images`; None what stays in float.

    Each is measured alone, on the values of the float network: an error does not travel to the next layer.
    """
    return {
        name: tuple(
            None if fmt is None else measure(v, fmt, rounding)
            for v, fmt in zip((values.kernel, values.input, values.output), formats[name])
        )
        for name, values in observe(model, images)
    }


def _three(value, name):
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * 3
    if len(values) != 3:
        raise InputError(f"{name} takes one value, or three for kernel, input and output, not {value!r}")
    return values

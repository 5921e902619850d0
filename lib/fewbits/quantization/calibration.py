"""Where the values of a network lie, and the formats that follow: percentile limits, MSBs, a table for each layer.

Source: vieito2017, 5.2 (limits of weights and convolution outputs), Equation 11 (MSB), Table 11 (MSB of each layer).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil, inf, log2

import numpy as np

from fewbits.backend import keras, ops
from fewbits.errors import InputError
from fewbits.names import LEAST_DIVERGENCE, LEAST_ERROR
from fewbits.quantization.conversion import QUANTIZED, check_layers, dequantize_model
from fewbits.quantization.fixedpoint import MAX_ABS_MSB, MAX_NBITS_KERAS, FixedPoint, finite, quantize
from fewbits.quantization.layers import Formats
from fewbits.quantization.sqnr import QuantizationError, measure

PERCENTILES = (95, 98, 99.9, 99.99)  # vieito2017, Table 2
SAMPLED = 100_000  # values that these are found from
DEEPEST = 12  # how far below the MSB of the maximum they are looked for
BINS = 2048  # of the histogram whose divergence is taken


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
    reader = keras.Model(plain.inputs[0], [layer.input for layer in chosen])
    images = finite(images, "images").astype("float32")
    batches = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
    # Not `predict`: a graph takes longer to make. Flat, for the input of a single layer comes without a list around it.
    inputs = zip(*(keras.tree.flatten(reader(batch, training=False)) for batch in batches))
    for layer, batches in zip(chosen, inputs, strict=True):
        product = QUANTIZED[type(layer)].product
        x = _joined(batches)
        output = _joined(product(layer, batch, layer.kernel) for batch in batches)
        late = getattr(model.get_layer(layer.name), "bias_order", "accumulator") == "output"
        if layer.bias is not None and not late:
            output = output + ops.convert_to_numpy(layer.bias)
        yield layer.name, Values(ops.convert_to_numpy(layer.kernel), x, output)


def _joined(batches):
    return np.concatenate([ops.convert_to_numpy(batch) for batch in batches])


def msb_of_least_error(values, nbits: int, rounding: str = "nearest") -> int:
    """Return the MSB at which quantizing `values` to `nbits` bits leaves the least squared error.

    At few bits a finer step is worth more than the largest values: this MSB lies below that of the maximum. values: as
    in `percentile_limits`; of more than 100,000 it looks at 100,000, evenly spaced.
    """
    values, candidates = _to_choose_from(values)
    return min(candidates, key=lambda msb: np.square(quantize(values, FixedPoint(msb, nbits), rounding) - values).sum())


def msb_of_least_divergence(values, nbits: int) -> int:
    """Return the MSB whose codes tell most of how large `values` are, by Kullback-Leibler divergence.

    The magnitudes that are not zero (zero is a code anyway) are counted in BINS bins, up to the amplitude that holds
    them all. Of an MSB, P is the share of each bin below its amplitude, where what lies above is counted to the last
    bin that is not empty: it is clipped to there. Q is what codes leave of these bins, clipped values not among them:
    each of the 2**(nbits - 1) steps gives its bins, but for empty ones, equal shares. The MSB has the least
    D(P || Q) = sum(P log(P / Q)); of equals it is the largest. From 12 bits on, where no step holds more than one bin,
    nothing is clipped. values: as in `msb_of_least_error`; thousands, for a histogram of the few weights of a filter is
    mostly chance.

    Source: the entropy calibration of TensorRT (Migacz, 8-bit inference with TensorRT, 2017), which is for activations;
    here for amplitudes that are powers of two.
    """
    values, candidates = _to_choose_from(values)
    top, levels = candidates[-1], 2 ** (nbits - 1)
    counts, _ = np.histogram(np.abs(values[values != 0]), BINS, (0, 2.0**top))

    def divergence(msb):
        kept = BINS >> (top - msb)
        filled = np.flatnonzero(counts[:kept])
        if kept < levels or not len(filled):
            return inf
        p, step = counts[filled].astype(float), filled * levels // kept
        q = (np.bincount(step, p) / np.maximum(np.bincount(step), 1))[step]
        p[-1] += counts[kept:].sum()
        p, q = p / p.sum(), q / q.sum()
        return round(float(np.sum(p * np.log(p / q))), 12)

    return min(reversed(candidates), key=divergence)


def _to_choose_from(values) -> tuple[np.ndarray, range]:
    """Return a sample of `values`, and the MSBs among which one is looked for, up to that of the maximum."""
    top = msb_from_limits(*percentile_limits(values, 100))
    values = np.ravel(values)
    return values[:: max(1, len(values) // SAMPLED)], range(max(top - DEEPEST, -MAX_ABS_MSB), top + 1)


def formats_for(
    model: keras.Model,
    images,
    nbits: tuple = (8, 8, 8),
    percentile: float | str | tuple = 99.9,
    per_layer: bool = True,
    rounding: str = "nearest",
    *,
    per_channel: bool = False,
) -> dict[str, Formats]:
    """Return layer name -> Formats with the MSBs that suit the network's values on `images`.

    nbits: bits of kernel, input and output; None leaves that one in float. percentile: of the limits that the MSB
    reaches, or one of RANGE_RULES (`mse`: least squared error, `kl`: least Kullback-Leibler divergence), at
    these bits and this `rounding`; one for all three, or three. per_layer: an MSB of its own for each layer
    (vieito2017, Table 11); otherwise the largest of each kind for all layers (its generic MSB). per_channel: an MSB of
    its own for each filter of a kernel. Pass the result to `quantize_model` or `QuantizedModel.set_formats`.
    """
    nbits = _three(nbits, "nbits")
    return formats_for_each(model, images, [nbits], percentile, per_layer, rounding, per_channel=per_channel)[nbits]


def formats_for_each(
    model: keras.Model,
    images,
    widths: Iterable[tuple],
    percentile: float | str | tuple = 99.9,
    per_layer: bool = True,
    rounding: str = "nearest",
    *,
    per_channel: bool = False,
) -> dict[tuple, dict[str, Formats]]:
    """Return nbits -> what `formats_for` returns, for each of `widths`; the network is observed once for all."""
    tables = {nbits: {} for nbits in widths}
    for name, values in observe(model, images):
        for nbits, table in tables.items():
            layer = model.get_layer(name) if per_channel else None
            table[name] = _msbs(values, percentile, nbits, rounding, layer)
    return {nbits: formats_from_msbs(table, nbits, per_layer) for nbits, table in tables.items()}


def msb_table(
    model: keras.Model,
    images,
    percentile: float | str | tuple = 99.9,
    nbits: tuple = (8, 8, 8),
    rounding="nearest",
    *,
    per_channel: bool = False,
) -> dict[str, tuple[int | tuple[int, ...], int, int]]:
    """Return layer name -> MSBs of kernel, input and output (vieito2017, Table 11); arguments as in `formats_for`.

    Limits of a percentile do not depend on nbits and rounding. per_channel: the first is a tuple, an MSB a filter.
    """
    return {
        name: _msbs(values, percentile, nbits, rounding, model.get_layer(name) if per_channel else None)
        for name, values in observe(model, images)
    }


def _msbs(values, percentile, nbits, rounding, layer=None):
    """Return the MSBs of kernel, input and output; that of the kernel for each filter, if its `layer` is given."""
    for_kernel, for_input, for_output = zip(_three(percentile, "percentile"), _three(nbits, "nbits"))
    if layer is None:
        kernel = _msb(values.kernel, *for_kernel, rounding)
    else:
        kernel = tuple(_msb(column, *for_kernel, rounding) for column in by_filter(layer, values.kernel).T)
    return kernel, _msb(values.input, *for_input, rounding), _msb(values.output, *for_output, rounding)


def by_filter(layer, kernel) -> np.ndarray:
    """Return the `kernel` of `layer` as (weights, filters), which `reshape(kernel.shape)` undoes.

    A filter is what has an output channel of its own: in a depthwise convolution, a pair (in, multiplier).
    """
    own = kernel.shape[2:] if isinstance(layer, keras.layers.DepthwiseConv2D) else kernel.shape[-1:]
    return np.reshape(ops.convert_to_numpy(kernel), (-1, int(np.prod(own))))


def _msb(values, percentile, nbits, rounding):
    if percentile == LEAST_ERROR:
        return msb_of_least_error(values, nbits or MAX_NBITS_KERAS, rounding)
    if percentile == LEAST_DIVERGENCE:
        return msb_of_least_divergence(values, nbits or MAX_NBITS_KERAS)
    return msb_from_limits(*percentile_limits(values, percentile))


def formats_from_msbs(msbs: dict, nbits: tuple = (8, 8, 8), per_layer: bool = True) -> dict[str, Formats]:
    """Return layer name -> Formats with the MSBs of `msb_table`; nbits and per_layer as in `formats_for`."""
    nbits = _three(nbits, "nbits")
    if not per_layer:
        if any(isinstance(kernel, tuple) for kernel, *_ in msbs.values()):
            raise InputError("a generic MSB is one for all filters; leave per_channel out, or take MSBs per layer")
        largest = tuple(map(max, zip(*msbs.values())))
        msbs = dict.fromkeys(msbs, largest)
    return {name: Formats(*map(_format, three, nbits)) for name, three in msbs.items()}


def _format(msb, nbits):
    if nbits is None:
        return None
    return tuple(FixedPoint(m, nbits) for m in msb) if isinstance(msb, tuple) else FixedPoint(msb, nbits)


def quantization_errors(
    model: keras.Model, images, formats: dict[str, Formats], rounding: str = "floor"
) -> dict[str, tuple[QuantizationError | None, ...]]:
    """Return layer name -> what `formats` cost its kernel, input and output on `images`; None what stays in float.

    Each is measured alone, on the values of the float network: an error does not travel to the next layer.
    """
    return {
        name: tuple(
            None if fmt is None else measure(v, fmt, rounding)
            for v, fmt in zip(
                (by_filter(model.get_layer(name), values.kernel), values.input, values.output), formats[name]
            )
        )
        for name, values in observe(model, images)
    }


def _three(value, name):
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * 3
    if len(values) != 3:
        raise InputError(f"{name} takes one value, or three for kernel, input and output, not {value!r}")
    return values

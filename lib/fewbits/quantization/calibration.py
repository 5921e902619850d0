"""Calibration: where the values of a network lie, and the formats that follow from them.

A range rule, such as a percentile, turns the values of a layer into an MSB; MSBs and bits make formats.

Source: vieito2017, 5.2 (limits of weights and convolution outputs), Equation 11 (MSB), Table 11 (MSB of each layer).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil, inf, log2
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.errors import InputError, finite
from fewbits.names import LEAST_DIVERGENCE, LEAST_ERROR
from fewbits.quantization.conversion import QUANTIZED, check_layers, dequantize_model
from fewbits.quantization.fixedpoint import MAX_ABS_MSB, MAX_NBITS_KERAS, FixedPoint, quantize
from fewbits.quantization.layers import Formats, by_filter
from fewbits.quantization.sqnr import QuantizationError, quantization_error

PERCENTILES = (95, 98, 99.9, 99.99)  # vieito2017, Table 2
SAMPLED = 100_000  # values from which the MSBs of least error and least divergence are found
DEEPEST = 12  # how far below the MSB of the maximum they are looked for
BINS = 2048  # of the histogram from which the divergence is computed

Range = float | str  # a percentile, or one of RANGE_RULES
RangeRule = Range | tuple[Range, ...]  # one for all, or one each for kernel, input and output
NBits = int | None | tuple[int | None, ...]  # the same; None is float
MSBs = tuple[int | tuple[int, ...], int, int]  # of kernel (one, or one per filter), input and output


@dataclass(frozen=True)
class Values:
    """What a layer computes with on some images.

    Attributes:
        kernel: The kernel, in the shape that the layer has.
        input: The inputs, (n, ...), before they are quantized.
        output: What reaches the output quantizer, (n, ...).
    """

    kernel: np.ndarray
    input: np.ndarray
    output: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """How the ranges of a network's values become formats.

    Attributes:
        range_rule: What the MSB of a kernel, an input or an output follows from, as in `formats_for`.
        per_layer: Whether each layer has MSBs of its own.
        per_channel: Whether each filter of a kernel has an MSB of its own.
        recalibrate: Whether a schedule calibrates again at the start of each stage, on the network as it is then, and
            not only once on the float network.
    """

    range_rule: RangeRule = 99.9
    per_layer: bool = True
    per_channel: bool = False
    recalibrate: bool = False

    def formats(
        self, model: keras.Model, images: np.ndarray, widths: Iterable[tuple], rounding: str = "nearest"
    ) -> dict[tuple, dict[str, Formats]]:
        """Return the formats that follow from these rules, for several widths at once.

        Args:
            model: As in `formats_for_each`.
            images: As in `formats_for_each`.
            widths: Bits of kernel, input and output, one tuple per width.
            rounding: One of ROUNDINGS.

        Returns:
            Bits -> layer name -> Formats.
        """
        return formats_for_each(
            model, images, widths, self.range_rule, self.per_layer, rounding, per_channel=self.per_channel
        )


def percentile_limits(values: np.ndarray, percentile: float) -> tuple[float, float]:
    """Return the limits between which the middle `percentile` % of `values` lie, with half of the rest on either side.

    Args:
        values: An array of any shape, finite, not empty.
        percentile: Above 0, at most 100.

    Returns:
        The lower and the upper limit.

    Raises:
        InputError: when the percentile is out of range, or there are no values or values that are not finite.

    Source:
        vieito2017, Table 2.

    Example:
        >>> percentile_limits(np.arange(101), 90)
        (5.0, 95.0)
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

    Args:
        low: The lower limit.
        high: The upper limit.

    Returns:
        The MSB. Limits of zero get the smallest MSB that a FixedPoint can have.

    Raises:
        InputError: when a limit is NaN or infinite.

    Source:
        vieito2017, Equation 11.

    Example:
        >>> msb_from_limits(-0.7, 3.9)
        2
    """
    half_width = max(abs(low), abs(high))
    if not np.isfinite(half_width):
        raise InputError(f"limits must be finite, not {low} and {high}")
    return ceil(log2(half_width)) if half_width > 2.0**-MAX_ABS_MSB else -MAX_ABS_MSB


def observe(model: keras.Model, images: np.ndarray, batch_size: int = 32) -> Iterator[tuple[str, Values]]:
    """Yield the Values of each layer to quantize, as the float network computes them on `images`.

    The inputs of all layers are in memory at once, so some tens of images are enough.

    Args:
        model: A model that `quantize_model` accepts, quantized or not.
        images: (n, height, width, channels), n at least 1.
        batch_size: Images per pass.

    Yields:
        Layer name and Values. The output includes the bias, unless a quantized layer adds its bias after its output
        quantizer.

    Raises:
        InputError: when there are no images, images that are not finite, or a layer that cannot be quantized.
    """
    if not len(images):
        raise InputError("at least one image is needed to observe a network")
    check_layers(model)
    plain = dequantize_model(model)
    chosen = [layer for layer in plain.layers if type(layer) in QUANTIZED]
    reader = keras.Model(plain.inputs[0], [layer.input for layer in chosen])
    images = finite(images, "images").astype("float32")
    batches = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
    # Not `predict`, which takes longer because it makes a graph. Flat, because the input of a single layer is no list.
    inputs = zip(*(keras.tree.flatten(reader(batch, training=False)) for batch in batches))
    for layer, read in zip(chosen, inputs, strict=True):
        product = QUANTIZED[type(layer)].product
        x = _joined(read)
        output = _joined(product(layer, batch, layer.kernel) for batch in read)
        late = getattr(model.get_layer(layer.name), "bias_order", "accumulator") == "output"
        if layer.bias is not None and not late:
            output = output + ops.convert_to_numpy(layer.bias)
        yield layer.name, Values(ops.convert_to_numpy(layer.kernel), x, output)


def _joined(batches: Iterable) -> np.ndarray:
    return np.concatenate([ops.convert_to_numpy(batch) for batch in batches])


def msb_of_least_error(values: np.ndarray, nbits: int, rounding: str = "nearest") -> int:
    """Return the MSB at which quantizing `values` to `nbits` bits leaves the least squared error.

    At few bits a finer step is worth more than the largest values, so this MSB lies below that of the maximum.

    Args:
        values: As in `percentile_limits`. Of more than 100,000 values, 100,000 are used, evenly spaced.
        nbits: Bits of the format.
        rounding: As in `fewbits.quantize`.

    Returns:
        The MSB; of equally good ones the smallest.
    """
    values, candidates = _to_choose_from(values)
    return min(candidates, key=lambda msb: np.square(quantize(values, FixedPoint(msb, nbits), rounding) - values).sum())


def msb_of_least_divergence(values: np.ndarray, nbits: int) -> int:
    """Return the MSB whose codes preserve the distribution of the magnitudes best, by Kullback-Leibler divergence.

    The magnitudes that are not zero (zero is a code anyway) are counted in BINS bins, up to the amplitude that holds
    them all. For an MSB, P is the share of each bin below its amplitude; what lies above is clipped, and counted in the
    last bin that is not empty. Q is what the codes keep of these bins, without clipped values: each of the
    2**(nbits - 1) steps spreads its count evenly over its bins that are not empty. The MSB has the least
    D(P || Q) = sum(P log(P / Q)). From 12 bits on no step holds more than one bin, and nothing is clipped.

    Args:
        values: As in `msb_of_least_error`. Thousands are needed: a histogram of the few weights of one filter is mostly
            chance.
        nbits: Bits of the format.

    Returns:
        The MSB; of equally good ones the largest.

    Source:
        The entropy calibration of TensorRT (Migacz, 8-bit inference with TensorRT, 2017), which is for activations;
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


def _to_choose_from(values: np.ndarray) -> tuple[np.ndarray, range]:
    """Return a sample of `values`, and the candidates for their MSB, up to that of the maximum."""
    top = msb_from_limits(*percentile_limits(values, 100))
    values = np.ravel(values)
    return values[:: max(1, len(values) // SAMPLED)], range(max(top - DEEPEST, -MAX_ABS_MSB), top + 1)


def formats_for(
    model: keras.Model,
    images: np.ndarray,
    nbits: NBits = (8, 8, 8),
    range_rule: RangeRule = 99.9,
    per_layer: bool = True,
    rounding: str = "nearest",
    *,
    per_channel: bool = False,
) -> dict[str, Formats]:
    """Return formats with the MSBs that suit the values of a network on some images.

    Args:
        model: A model that `quantize_model` accepts, quantized or not.
        images: As in `observe`.
        nbits: Bits of kernel, input and output, or one number for all three; None leaves a value in float.
        range_rule: The percentile whose limits the MSB reaches, or one of RANGE_RULES: `mse` for the least squared
            error, `kl` for the least Kullback-Leibler divergence, at these bits and this `rounding`. One for all three,
            or one each for kernel, input and output.
        per_layer: Whether each layer has MSBs of its own (vieito2017, Table 11). Otherwise all layers share the largest
            MSB of each kind, the generic MSB.
        rounding: As in `fewbits.quantize`; only `mse` depends on it.
        per_channel: Whether each filter of a kernel has an MSB of its own.

    Returns:
        Layer name -> Formats, for `quantize_model` or `QuantizedModel.set_formats`.

    Raises:
        InputError: as `observe`, on a range rule or bits that cannot be used, and on per_channel without per_layer.
    """
    three = _three(nbits, "nbits")
    return formats_for_each(model, images, [three], range_rule, per_layer, rounding, per_channel=per_channel)[three]


def formats_for_each(
    model: keras.Model,
    images: np.ndarray,
    widths: Iterable[tuple],
    range_rule: RangeRule = 99.9,
    per_layer: bool = True,
    rounding: str = "nearest",
    *,
    per_channel: bool = False,
) -> dict[tuple, dict[str, Formats]]:
    """Return what `formats_for` returns for several bits; the network is observed once for all of them.

    Args:
        model: As in `formats_for`.
        images: As in `formats_for`.
        widths: NBits of kernel, input and output, several times.
        range_rule: As in `formats_for`.
        per_layer: As in `formats_for`.
        rounding: As in `formats_for`.
        per_channel: As in `formats_for`.

    Returns:
        NBits -> layer name -> Formats.

    Raises:
        InputError: as `formats_for`.
    """
    tables: dict[tuple, dict[str, MSBs]] = {nbits: {} for nbits in widths}
    for name, values in observe(model, images):
        for nbits, table in tables.items():
            layer = model.get_layer(name) if per_channel else None
            table[name] = _msbs(values, range_rule, nbits, rounding, layer)
    return {nbits: formats_from_msbs(table, nbits, per_layer) for nbits, table in tables.items()}


def msb_table(
    model: keras.Model,
    images: np.ndarray,
    range_rule: RangeRule = 99.9,
    nbits: NBits = (8, 8, 8),
    rounding: str = "nearest",
    *,
    per_channel: bool = False,
) -> dict[str, MSBs]:
    """Return the MSBs of each layer's kernel, input and output (vieito2017, Table 11).

    The MSB that a percentile gives does not depend on `nbits` and `rounding`.

    Args:
        model: As in `formats_for`.
        images: As in `formats_for`.
        range_rule: As in `formats_for`.
        nbits: As in `formats_for`.
        rounding: As in `formats_for`.
        per_channel: As in `formats_for`.

    Returns:
        Layer name -> MSBs of kernel, input and output; with per_channel the first is a tuple, one MSB per filter.

    Raises:
        InputError: as `formats_for`.
    """
    return {
        name: _msbs(values, range_rule, nbits, rounding, model.get_layer(name) if per_channel else None)
        for name, values in observe(model, images)
    }


def _msbs(values: Values, range_rule: RangeRule, nbits: NBits, rounding: str, layer: keras.Layer | None = None) -> MSBs:
    """Return the MSBs of kernel, input and output; that of the kernel per filter if its `layer` is given."""
    for_kernel, for_input, for_output = zip(_three(range_rule, "the range rule"), _three(nbits, "nbits"))
    kernel: int | tuple[int, ...]
    if layer is None:
        kernel = _msb(values.kernel, *for_kernel, rounding)
    else:
        kernel = tuple(_msb(column, *for_kernel, rounding) for column in by_filter(layer, values.kernel).T)
    return kernel, _msb(values.input, *for_input, rounding), _msb(values.output, *for_output, rounding)


def _msb(values: np.ndarray, rule: Any, nbits: int | None, rounding: str) -> int:
    if rule == LEAST_ERROR:
        return msb_of_least_error(values, nbits or MAX_NBITS_KERAS, rounding)
    if rule == LEAST_DIVERGENCE:
        return msb_of_least_divergence(values, nbits or MAX_NBITS_KERAS)
    return msb_from_limits(*percentile_limits(values, rule))


def formats_from_msbs(msbs: dict[str, MSBs], nbits: NBits = (8, 8, 8), per_layer: bool = True) -> dict[str, Formats]:
    """Return formats with the MSBs that `msb_table` returns.

    Args:
        msbs: Layer name -> MSBs of kernel, input and output.
        nbits: As in `formats_for`.
        per_layer: As in `formats_for`.

    Returns:
        Layer name -> Formats.

    Raises:
        InputError: on bits out of range, and when MSBs per filter are to be shared by all layers.

    Example:
        >>> print(formats_from_msbs({"conv1": (0, 1, 3)}, (8, 6, None))["conv1"].input)
        ap_fixed<6, 2>
    """
    three = _three(nbits, "nbits")
    if not per_layer:
        if any(isinstance(kernel, tuple) for kernel, *_ in msbs.values()):
            raise InputError("a generic MSB is one for all filters; leave per_channel out, or take MSBs per layer")
        largest: Any = tuple(map(max, zip(*msbs.values())))
        msbs = dict.fromkeys(msbs, largest)
    return {name: Formats(*map(_format, layer_msbs, three)) for name, layer_msbs in msbs.items()}


def _format(msb: int | tuple[int, ...], nbits: int | None) -> Any:
    """Return one format, or one per filter, as there are MSBs; None for no bits."""
    if nbits is None:
        return None
    return tuple(FixedPoint(m, nbits) for m in msb) if isinstance(msb, tuple) else FixedPoint(msb, nbits)


def quantization_errors(
    model: keras.Model, images: np.ndarray, formats: dict[str, Formats], rounding: str = "floor"
) -> dict[str, tuple[QuantizationError | None, ...]]:
    """Return what `formats` cost the kernel, input and output of each layer.

    Each is measured alone, on the values of the float network: no error travels to the next layer.

    Args:
        model: As in `formats_for`.
        images: As in `formats_for`.
        formats: Layer name -> Formats, for all layers to quantize.
        rounding: As in `fewbits.quantize`.

    Returns:
        Layer name -> QuantizationError of kernel, input and output; None for what stays in float.

    Raises:
        InputError: as `observe`.
    """
    return {
        name: tuple(
            None if fmt is None else quantization_error(v, fmt, rounding)
            for v, fmt in zip(
                (by_filter(model.get_layer(name), values.kernel), values.input, values.output), formats[name]
            )
        )
        for name, values in observe(model, images)
    }


def _three(value: Any, name: str) -> tuple:
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * 3
    if len(values) != 3:
        raise InputError(f"{name} takes one value, or three for kernel, input and output, not {value!r}")
    return values

"""Calibration: where the values of a network lie, and the formats that follow from them.

A range rule, such as a percentile, turns the values of a layer into an MSB; MSBs and bits make formats.

Source: vieito2017, 5.2 (limits of weights and convolution outputs), Equation 11 (MSB), Table 11 (MSB of each layer).
"""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil, inf, log2
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.data.inputs import Images, input_arrays
from fewbits.errors import CalibrationWarning, InputError, finite
from fewbits.names import LEAST_DIVERGENCE, LEAST_ERROR
from fewbits.quantization.activations import slope_of
from fewbits.quantization.conversion import QuantizedModel, check_layers, dequantize_model
from fewbits.quantization.fixedpoint import MAX_ABS_MSB, MAX_NBITS_KERAS, FixedPoint, quantize
from fewbits.quantization.layers import QUANTIZED, Formats, by_filter
from fewbits.quantization.layerwise import LayerwiseRun
from fewbits.quantization.placement import placed, quantized_activations
from fewbits.quantization.sqnr import QuantizationError, quantization_error
from fewbits.quantization.unseen import NOTHING, KnownLimits, is_nothing, output_limits, spread

PERCENTILES = (95, 98, 99.9, 99.99)  # vieito2017, Table 2
SAMPLED = 100_000  # values from which the MSBs of least error and least divergence are found
DEEPEST = 12  # how far below the MSB of the maximum they are looked for
BINS = 2048  # of the histogram from which the divergence is computed

Range = float | str  # a percentile, or one of RANGE_RULES
RangeRule = Range | tuple[Range, ...]  # one for all, or one each for kernel, input and output
NBits = int | None | tuple[int | None, ...]  # the same; None is float
# Of kernel (one, or one per filter, None if there is no kernel), input and output.
MSBs = tuple[int | tuple[int, ...] | None, int, int]


@dataclass(frozen=True)
class Values:
    """What a layer computes with on some images.

    Attributes:
        kernel: The kernel, in the shape that the layer has; the slope of a leaky activation, None for other ones.
        input: The inputs, (n, ...), before they are quantized.
        output: What reaches the output quantizer, (n, ...).
    """

    kernel: Any
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
        self, model: keras.Model, images: Images, widths: Iterable[tuple], rounding: str = "nearest"
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


def observe(model: keras.Model, images: Images, batch_size: int = 32) -> Iterator[tuple[str, Values]]:
    """Yield the Values of each layer with a kernel, as the float network computes them on `images`.

    The network runs layer by layer, on all images at once. What is still to be read of their tensors is in memory, so
    some tens of images are enough.

    Args:
        model: A model that `quantize_model` accepts, quantized or not.
        images: As in `input_arrays`, n at least 1: an array (n, height, width, channels), or one per input in a list or
            dictionary, or a data set, of which the first 256 images are taken.
        batch_size: Images per pass.

    Yields:
        Layer name and Values. The output includes the bias, unless a quantized layer adds its bias after its output
        quantizer.

    Raises:
        InputError: when there are no images, images that are not finite or do not fit the inputs, a layer that is used
            several times, or, naming the layer, values that no format can hold.
    """
    for layer, values in _Observation(model, images, batch_size):
        yield layer.name, values


def observe_ranges(model: keras.Model, images: Images) -> Iterator[tuple[keras.Layer, Values]]:
    """Yield the Values from which formats follow: those of `observe`, and estimates where a layer computes only zeros.

    If the inputs of a layer are zeros on all images, they are taken to spread evenly over what the layers before can
    pass on, as far as their own values tell, and the outputs over what the kernel makes of that. The same holds after
    such a layer, where inputs are the same on all images. If the whole kernel is zero, it is taken for ones, and
    outputs of zeros for copies of the inputs. A warning names these layers.

    Args:
        model: As in `observe`.
        images: As in `observe`.

    Yields:
        Each layer to quantize as a plain Keras layer, activations included, and its Values.

    Raises:
        InputError: as `observe`.
    """
    observation = _Observation(model, images, with_activations=True)
    estimated: list[str] = []
    known = KnownLimits(observation.run, observation.inputs)
    for layer, values in observation:
        blind = is_nothing(values.input) or bool(estimated) and _is_constant(values.input)
        ranges = _estimated(layer, values, known, blind)
        if ranges is not values:
            estimated.append(layer.name)
        if type(layer) in QUANTIZED:
            known.pass_on(layer, ranges.output)
        yield layer, ranges
    if estimated:
        names = f"layer {estimated[0]} computes" if len(estimated) == 1 else f"layers {', '.join(estimated)} compute"
        warnings.warn(
            f"{names} only zeros or constants on these images; the formats are estimates from kernels and the layers "
            "before, so calibrate with images that show more",
            CalibrationWarning,
            stacklevel=3,
        )


class _Observation:
    """The float network of a model on some images; yields each layer to quantize and its Values, once."""

    def __init__(self, model: keras.Model, images: Images, batch_size: int = 32, with_activations: bool = False):
        check_layers(model, "float")
        plain = dequantize_model(model)
        plain = plain if isinstance(model, QuantizedModel) else placed(plain)
        self.inputs = input_arrays(plain, images)
        n = len(self.inputs[0])
        batches = [[x[i : i + batch_size] for x in self.inputs] for i in range(0, n, batch_size)]
        self.run = LayerwiseRun(plain, batches)
        between = quantized_activations(plain) if with_activations else []
        self._layers = [layer for layer in plain.layers if type(layer) in QUANTIZED or layer.name in between]
        quantized = getattr(model, "quantized_layers", ())
        self._late = {layer.name for layer in quantized if layer.bias_order == "output"}

    def __iter__(self) -> Iterator[tuple[keras.Layer, Values]]:
        return ((layer, self._values(layer)) for layer in self._layers)

    def _values(self, layer: Any) -> Values:
        [call] = self.run.graph.calls_of(layer)
        read = [ops.cast(x, layer.compute_dtype) for x in self.run.read(call.inputs[0])]
        values = (self._of_kernel if type(layer) in QUANTIZED else _of_activation)(layer, read)
        _check_values(layer, values)
        return values

    def _of_kernel(self, layer: Any, read: list) -> Values:
        product = QUANTIZED[type(layer)].product
        kernel = ops.cast(layer.kernel, layer.compute_dtype)
        output = _joined(product(layer, batch, kernel) for batch in read)
        if layer.bias is not None and layer.name not in self._late:
            output = output + _array(layer.bias)
        return Values(_array(layer.kernel), _joined(read), output)


def _of_activation(layer: Any, read: list) -> Values:
    return Values(slope_of(layer), _joined(read), _joined(layer(batch) for batch in read))


def _estimated(layer: Any, values: Values, known: KnownLimits, blind: bool) -> Values:
    """Return `values` with estimates in place of zeros and of what a `blind` layer computes; itself without any."""
    if type(layer) not in QUANTIZED:
        return _estimated_activation(layer, values, known) if blind else values
    no_kernel, no_output = is_nothing(values.kernel), is_nothing(values.output)
    if not (blind or no_kernel or no_output):
        return values
    limits = known.of(layer.input) if blind else (float(values.input.min()), float(values.input.max()))
    limits = limits if any(limits) else (-1.0, 1.0)
    kernel, read, output = values.kernel, values.input, values.output
    if blind or no_output:
        reached = output_limits(layer, limits, read.shape)
        output = spread(reached if any(reached) else limits)
    return Values(np.ones_like(kernel) if no_kernel else kernel, spread(limits) if blind else read, output)


def _estimated_activation(layer: Any, values: Values, known: KnownLimits) -> Values:
    """Return the Values of an activation for inputs that spread over what the layers before can pass on."""
    read = spread(known.of(layer.input))
    shape = (len(read), *(1,) * (values.input.ndim - 1))
    slope = None if values.kernel is None else np.ravel(values.kernel)
    output = read if slope is None else np.where(read < 0, read * np.abs(slope).max(), read)
    if slope is None:
        output = _array(layer(ops.convert_to_tensor(read.reshape(shape))))
    return Values(values.kernel, read, output)


def _is_constant(values: np.ndarray) -> bool:
    """Return whether there are several images and all have the same values."""
    return len(values) > 1 and bool((values == values[:1]).all())


def _check_values(layer: Any, values: Values) -> None:
    for kind in ("kernel", "input", "output"):
        x = getattr(values, kind)
        if x is None:
            continue
        largest = float(np.maximum(np.max(x), -np.min(x)))
        if not np.isfinite(largest):
            advice = "train it again" if kind == "kernel" else "check the weights before it and the scale of the images"
            raise InputError(f"the {kind} of layer {layer.name} holds NaN or infinity; {advice}")
        if largest > 2.0**MAX_ABS_MSB:
            raise InputError(
                f"the {kind} of layer {layer.name} reaches {largest:.1e}, and formats reach 2**{MAX_ABS_MSB}; "
                "scale the images or the weights down"
            )


def _joined(batches: Iterable) -> np.ndarray:
    return np.concatenate([_array(batch) for batch in batches])


def _array(x: Any) -> np.ndarray:
    """Return a tensor as an array of float32, or of float64 if it is."""
    wide = keras.backend.standardize_dtype(x.dtype) == "float64"
    return ops.convert_to_numpy(ops.cast(x, "float64" if wide else "float32"))


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
    images: Images,
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
    images: Images,
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
    for layer, values in observe_ranges(model, images):
        for nbits, table in tables.items():
            table[layer.name] = _msbs(values, range_rule, nbits, rounding, layer if per_channel else None)
    return {nbits: formats_from_msbs(table, nbits, per_layer) for nbits, table in tables.items()}


def msb_table(
    model: keras.Model,
    images: Images,
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
        layer.name: _msbs(values, range_rule, nbits, rounding, layer if per_channel else None)
        for layer, values in observe_ranges(model, images)
    }


def _msbs(values: Values, range_rule: RangeRule, nbits: NBits, rounding: str, layer: keras.Layer | None = None) -> MSBs:
    """Return the MSBs of kernel, input and output; that of the kernel per filter if its `layer` is given."""
    for_kernel, for_input, for_output = zip(_three(range_rule, "the range rule"), _three(nbits, "nbits"))
    kernel: int | tuple[int, ...] | None
    if values.kernel is None:
        kernel = None
    elif layer is None or type(layer) not in QUANTIZED:
        kernel = _msb(values.kernel, *for_kernel, rounding)
    else:
        kernel = _msbs_of_filters(by_filter(layer, values.kernel).T, *for_kernel, rounding)
    return kernel, _msb(values.input, *for_input, rounding), _msb(values.output, *for_output, rounding)


def _msbs_of_filters(filters: np.ndarray, rule: Any, nbits: int | None, rounding: str) -> tuple[int, ...]:
    """Return the MSB of each filter. Filters of zeros get the largest of the others: they may be trained again."""
    msbs = [None if is_nothing(weights) else _msb(weights, rule, nbits, rounding) for weights in filters]
    largest = max(msb for msb in msbs if msb is not None)
    return tuple(largest if msb is None else msb for msb in msbs)


def _msb(values: np.ndarray, rule: Any, nbits: int | None, rounding: str) -> int:
    if rule == LEAST_ERROR:
        return msb_of_least_error(values, nbits or MAX_NBITS_KERAS, rounding)
    if rule == LEAST_DIVERGENCE:
        return msb_of_least_divergence(values, nbits or MAX_NBITS_KERAS)
    low, high = percentile_limits(values, rule)
    if is_nothing(np.array([low, high])) and not is_nothing(values):  # few are not zero; a format must hold those
        low, high = percentile_limits(values[np.abs(values) > NOTHING], rule)
    return msb_from_limits(low, high)


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
        kernel, *others = zip(*msbs.values())
        largest = max((msb for msb in kernel if msb is not None), default=None), *map(max, others)
        msbs = {name: (largest[0] if own is not None else None, *largest[1:]) for name, (own, *_) in msbs.items()}
    return {name: Formats(*map(_format, layer_msbs, three)) for name, layer_msbs in msbs.items()}


def _format(msb: int | tuple[int, ...] | None, nbits: int | None) -> Any:
    """Return one format, or one per filter, as there are MSBs; None for no bits and no MSB."""
    if nbits is None or msb is None:
        return None
    return tuple(FixedPoint(m, nbits) for m in msb) if isinstance(msb, tuple) else FixedPoint(msb, nbits)


def quantization_errors(
    model: keras.Model, images: Images, formats: dict[str, Formats], rounding: str = "floor"
) -> dict[str, tuple[QuantizationError | None, ...]]:
    """Return what `formats` cost the kernel, input and output of each layer.

    Each is measured alone, on the values of the float network: no error travels to the next layer.

    Args:
        model: As in `formats_for`.
        images: As in `formats_for`.
        formats: Layer name -> Formats, for all layers with a kernel; for activations, if they are to be measured.
        rounding: As in `fewbits.quantize`.

    Returns:
        Layer name -> QuantizationError of kernel, input and output; None for what stays in float.

    Raises:
        InputError: as `observe`, and when `formats` lacks a layer.
    """
    errors = {}
    for layer, values in _Observation(model, images, with_activations=True):
        if layer.name not in formats and type(layer) not in QUANTIZED:
            continue
        if layer.name not in formats:
            raise InputError(f"formats has nothing for layer {layer.name}; formats_for gives them for all layers")
        kernel = by_filter(layer, values.kernel) if type(layer) in QUANTIZED else values.kernel
        three = kernel, values.input, values.output
        errors[layer.name] = tuple(
            None if fmt is None else quantization_error(v, fmt, rounding) for v, fmt in zip(three, formats[layer.name])
        )
    return errors


def _three(value: Any, name: str) -> tuple:
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * 3
    if len(values) != 3:
        raise InputError(f"{name} takes one value, or three for kernel, input and output, not {value!r}")
    return values

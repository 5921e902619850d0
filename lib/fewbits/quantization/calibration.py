"""Calibration: the formats that follow from where the values of a network lie on some images.

A range rule, such as a percentile, turns the values of a layer into an MSB; MSBs and bits make formats.

Source: vieito2017, 5.2 (limits of weights and convolution outputs), Table 11 (MSB of each layer).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from fewbits.backend import keras
from fewbits.data.inputs import STREAMED, Images
from fewbits.errors import InputError
from fewbits.quantization.fixedpoint import FixedPoint
from fewbits.quantization.layer_summary import SIGNED, LayerSummary, MSBs, NBits, RangeRule, Signs, three_of
from fewbits.quantization.layers import QUANTIZED, Formats
from fewbits.quantization.sqnr import QuantizationError
from fewbits.quantization.streaming import Progress, layer_summaries


@dataclass(frozen=True)
class Calibration:
    """How the ranges of a network's values become formats.

    Attributes:
        range_rule: What the MSB of a kernel, an input or an output follows from, as in `formats_for`.
        per_layer: Whether each layer has MSBs of its own.
        per_channel: Whether each filter of a kernel has an MSB of its own.
        recalibrate: Whether a schedule calibrates again at the start of each stage, on the network as it is then, and
            not only once on the float network.
        signed: Whether all formats are signed, as in `formats_for`.
    """

    range_rule: RangeRule = 99.9
    per_layer: bool = True
    per_channel: bool = False
    recalibrate: bool = False
    signed: bool = False

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
        signs: dict[str, Any] = {"per_channel": self.per_channel, "signed": self.signed}
        return formats_for_each(model, images, widths, self.range_rule, self.per_layer, rounding, **signs)


def formats_for(
    model: keras.Model,
    images: Images,
    nbits: NBits = (8, 8, 8),
    range_rule: RangeRule = 99.9,
    per_layer: bool = True,
    rounding: str = "nearest",
    *,
    per_channel: bool = False,
    signed: bool = False,
    most: int = STREAMED,
    progress: Progress | None = None,
) -> dict[str, Formats]:
    """Return formats with the MSBs that suit the values of a network on some images.

    An input whose values are never negative gets an unsigned format, unless all are to be signed. So does an output
    whose values are never negative, or right after which a ReLU follows, applied by the layer or alone in reading the
    output: an unsigned format is that ReLU, and the rules count values after it. A percentile leaves as many values
    above its upper limit in a signed format as in an unsigned one.

    Args:
        model: A model that `quantize_model` accepts, quantized or not.
        images: As in `observe`.
        nbits: Bits of kernel, input and output, or one number for all three; None leaves a value in float.
        range_rule: The percentile whose limits the MSB reaches, or one of RANGE_RULES: `mse` for the least squared
            error, `kl` for the least Kullback-Leibler divergence, at these bits and this `rounding`. One for all three,
            or one each for kernel, input and output.
        per_layer: Whether each layer has MSBs of its own (vieito2017, Table 11). Otherwise all layers share the largest
            MSB of each kind, the generic MSB, which is that of an unsigned format if all layers can have one.
        rounding: As in `fewbits.quantize`; only `mse` depends on it.
        per_channel: Whether each filter of a kernel has an MSB of its own.
        signed: Whether all formats are signed, as in 2017.
        most: As in `layer_summaries`.
        progress: As in `layer_summaries`.

    Returns:
        Layer name -> Formats, for `quantize_model` or `QuantizedModel.set_formats`.

    Raises:
        InputError: as `observe`, on a range rule or bits that cannot be used, and on per_channel without per_layer.
    """
    three = three_of(nbits, "nbits")
    options: dict[str, Any] = {"per_channel": per_channel, "signed": signed, "most": most, "progress": progress}
    return formats_for_each(model, images, [three], range_rule, per_layer, rounding, **options)[three]


def formats_for_each(
    model: keras.Model,
    images: Images,
    widths: Iterable[tuple],
    range_rule: RangeRule = 99.9,
    per_layer: bool = True,
    rounding: str = "nearest",
    *,
    per_channel: bool = False,
    signed: bool = False,
    most: int = STREAMED,
    progress: Progress | None = None,
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
        signed: As in `formats_for`.
        most: As in `formats_for`.
        progress: As in `formats_for`.

    Returns:
        NBits -> layer name -> Formats.

    Raises:
        InputError: as `formats_for`.
    """
    summaries = layer_summaries(model, images, most, progress)
    return formats_of(summaries, widths, range_rule, per_layer, rounding, per_channel=per_channel, signed=signed)


def formats_of(
    summaries: Iterable[LayerSummary],
    widths: Iterable[tuple],
    range_rule: RangeRule = 99.9,
    per_layer: bool = True,
    rounding: str = "nearest",
    *,
    per_channel: bool | Collection[str] = False,
    signed: bool = False,
) -> dict[tuple, dict[str, Formats]]:
    """Return what `formats_for` returns for several bits, from summaries of the layers.

    Args:
        summaries: As from `layer_summaries`.
        widths: As in `formats_for_each`.
        range_rule: As in `formats_for`.
        per_layer: As in `formats_for`.
        rounding: As in `formats_for`.
        per_channel: As in `formats_for`, or the names of the layers for which it holds.
        signed: As in `formats_for`.

    Returns:
        NBits -> layer name -> Formats.

    Raises:
        InputError: on a range rule or bits that cannot be used, and on per_channel without per_layer.
    """
    if not per_layer:
        summaries = list(summaries)  # one format for all: whether it is signed depends on all
        of_inputs, of_outputs = zip(*(summary.signs for summary in summaries))
        generic = any(of_inputs), any(of_outputs)
    tables: dict[tuple, dict[str, MSBs]] = {nbits: {} for nbits in widths}
    signs: dict[str, Signs] = {}
    for summary in summaries:
        name = summary.layer.name
        signs[name] = SIGNED if signed else summary.signs if per_layer else generic
        of_filters = per_channel if isinstance(per_channel, bool) else name in per_channel
        for nbits, table in tables.items():
            table[name] = summary.msbs(range_rule, nbits, rounding, of_filters, signs[name])
    return {nbits: formats_from_msbs(table, nbits, per_layer, signs) for nbits, table in tables.items()}


def msb_table(
    model: keras.Model,
    images: Images,
    range_rule: RangeRule = 99.9,
    nbits: NBits = (8, 8, 8),
    rounding: str = "nearest",
    *,
    per_channel: bool = False,
    most: int = STREAMED,
    progress: Progress | None = None,
) -> dict[str, MSBs]:
    """Return the MSBs of each layer's kernel, input and output in signed formats (vieito2017, Table 11).

    The MSB that a percentile gives does not depend on `nbits` and `rounding`.

    Args:
        model: As in `formats_for`.
        images: As in `formats_for`.
        range_rule: As in `formats_for`.
        nbits: As in `formats_for`.
        rounding: As in `formats_for`.
        per_channel: As in `formats_for`.
        most: As in `formats_for`.
        progress: As in `formats_for`.

    Returns:
        Layer name -> MSBs of kernel, input and output; with per_channel the first is a tuple, one MSB per filter.

    Raises:
        InputError: as `formats_for`.
    """
    return {
        summary.layer.name: summary.msbs(range_rule, nbits, rounding, per_channel)
        for summary in layer_summaries(model, images, most, progress)
    }


def formats_from_msbs(
    msbs: dict[str, MSBs], nbits: NBits = (8, 8, 8), per_layer: bool = True, signs: dict[str, Signs] | None = None
) -> dict[str, Formats]:
    """Return formats with the MSBs that `msb_table` returns.

    Args:
        msbs: Layer name -> MSBs of kernel, input and output.
        nbits: As in `formats_for`.
        per_layer: As in `formats_for`.
        signs: Layer name -> whether the formats of input and output are signed; by default all are.

    Returns:
        Layer name -> Formats.

    Raises:
        InputError: on bits out of range, and when MSBs per filter are to be shared by all layers.

    Example:
        >>> print(formats_from_msbs({"conv1": (0, 1, 3)}, (8, 6, None))["conv1"].input)
        ap_fixed<6, 2>
    """
    three = three_of(nbits, "nbits")
    if not per_layer:
        if any(isinstance(kernel, tuple) for kernel, *_ in msbs.values()):
            raise InputError("a generic MSB is one for all filters; leave per_channel out, or take MSBs per layer")
        kernel, *others = zip(*msbs.values())
        largest = max((msb for msb in kernel if msb is not None), default=None), *map(max, others)
        msbs = {name: (largest[0] if own is not None else None, *largest[1:]) for name, (own, *_) in msbs.items()}
    formats = {}
    for name, of_layer in msbs.items():
        of_kinds = True, *(SIGNED if signs is None else signs[name])
        formats[name] = Formats(*map(_format, of_layer, three, of_kinds))
    return formats


def _format(msb: int | tuple[int, ...] | None, nbits: int | None, signed: bool) -> Any:
    """Return one format, or one per filter, as there are MSBs; None for no bits and no MSB."""
    if nbits is None or msb is None:
        return None
    return tuple(FixedPoint(m, nbits) for m in msb) if isinstance(msb, tuple) else FixedPoint(msb, nbits, signed)


def quantization_errors(
    model: keras.Model, images: Images, formats: dict[str, Formats], rounding: str = "floor"
) -> dict[str, tuple[QuantizationError | None, ...]]:
    """Return what `formats` cost the kernel, input and output of each layer.

    Each is measured alone, on the values of the float network, or on a sample of very many: no error travels to the
    next layer.

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
    for summary in layer_summaries(model, images, estimates=False):
        name = summary.layer.name
        if name in formats:
            errors[name] = summary.errors(formats[name], rounding)
        elif type(summary.layer) in QUANTIZED:
            raise InputError(f"formats has nothing for layer {name}; formats_for gives them for all layers")
    return errors

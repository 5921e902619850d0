"""A scheme: one way of quantizing a trained network without training (post-training quantization)."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, model_validator

from fewbits import post_training
from fewbits.backend import keras
from fewbits.data.inputs import Images, input_arrays
from fewbits.errors import InputError
from fewbits.experiment.fields import BitsOrFloat, checked_percentile, known, one_sentence
from fewbits.names import LAYER_ROUNDINGS, ROUNDINGS
from fewbits.post_training.kernel_shift import move_kernels
from fewbits.quantization.calibration import formats_for_each
from fewbits.quantization.canonical_form import canonical
from fewbits.quantization.conversion import QuantizedModel, quantize_model
from fewbits.quantization.dynamic_fixed_point import dynamic_formats
from fewbits.quantization.fixedpoint import MAX_ABS_MSB, MAX_NBITS_KERAS, FixedPoint
from fewbits.quantization.layers import Formats

DYNAMIC = "dynamic"  # given as the percentile to ask for dynamic fixed point

# In the order in which they are applied; `equalize` runs before formats are set.
REMEDIES: dict[str, Callable[..., Any]] = {
    "equalize": post_training.equalize,
    "share formats": post_training.share_formats,
    "search MSBs": post_training.search_msbs,
    "round kernels": post_training.round_kernels,
    "refit kernels": post_training.refit_kernels,
    "learned rounding": post_training.learn_rounding,
    "block reconstruction": post_training.reconstruct_blocks,
    "mid-step": post_training.reconstruct_mid_step,
    "fold mean shift": post_training.correct_bias,
    "correct bias in order": post_training.correct_bias_sequentially,
    "half a step": post_training.add_half_a_step,
}
FORMAT_IMAGES = 32  # images that set formats, as in vieito2017, 5.2.2; remedies use all images
FROM_FLOAT = (
    "refit kernels",
    "learned rounding",
    "block reconstruction",
)  # each replaces the kernels of the float network
WITH_IMAGES = ("search MSBs", *FROM_FLOAT, "fold mean shift", "correct bias in order")

Msb = Annotated[int, Field(ge=-MAX_ABS_MSB, le=MAX_ABS_MSB)]


def _range(value: Any) -> Any:
    return value if value == DYNAMIC else checked_percentile(value)


class Scheme(BaseModel):
    """One way of quantizing a trained network without training; schemes with equal fields are equal.

    Attributes:
        bits: Of kernel, input and output; None, or "float", for float.
        rounding: Of all three, one of `names.LAYER_ROUNDINGS`.
        msb: MSBs of kernel, input and output for all layers; None to choose them by `percentile`.
        percentile: The range rule, as in `calibration.formats_for`, or "dynamic" for dynamic fixed point.
        per_layer: As in `calibration.formats_for`.
        per_channel: As in `calibration.formats_for`.
        remedies: Post-training repairs, names in REMEDIES; they are applied in the order of REMEDIES.
        layers: Names of the layers to quantize, as `quantize_model` calls them; None for all.
        kernel_rounding: Of the kernels, which are rounded once before the network runs, one of `names.ROUNDINGS`; None
            for `rounding`.
        kernel_shift: Steps by which the kernels are then moved off the values of their format, from -1 to 1.
        seed: Of stochastic rounding.
        signed: Whether all formats are signed, as in 2017; False gives an unsigned one to inputs and outputs that are
            never negative on the calibration images.

    Raises:
        InputError: when a field is missing, unknown or out of range, or two fields do not fit; the message names it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bits: Annotated[tuple[BitsOrFloat, BitsOrFloat, BitsOrFloat], Strict(False)]
    rounding: Annotated[str, known(LAYER_ROUNDINGS)] = "nearest"
    msb: Annotated[tuple[Msb, Msb, Msb], Strict(False)] | None = None
    percentile: Annotated[float | str | tuple, BeforeValidator(_range)] = 99.9
    per_layer: bool = True
    per_channel: bool = False
    remedies: Annotated[tuple[Annotated[str, known(tuple(REMEDIES))], ...], Strict(False)] = ()
    layers: Annotated[tuple[str, ...], Strict(False), Field(min_length=1)] | None = None
    kernel_rounding: Annotated[str, known(ROUNDINGS)] | None = None
    kernel_shift: Annotated[float, Field(ge=-1, le=1)] = 0.0
    seed: Annotated[int, Field(ge=0)] = 0
    signed: bool = True

    def __init__(self, /, **fields: Any):
        with one_sentence(type(self)):
            super().__init__(**fields)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        given = self.model_fields_set & {"percentile", "per_layer", "per_channel"}
        if self.msb is not None and given:
            raise InputError(f"msb sets the MSBs, and {min(given)} would choose them; leave out one of the two")
        if self.per_channel and (not self.per_layer or self.percentile == DYNAMIC):
            raise InputError("per_channel sets an MSB per filter; it excludes `per_layer = false` and `dynamic`")
        if self.percentile == DYNAMIC and not self.per_layer:
            raise InputError("per_layer must be true in dynamic fixed point, which has a format for each layer")
        if self.percentile == DYNAMIC and self.bits[1] != self.bits[2]:
            raise InputError("bits of input and output must be equal in dynamic fixed point, which has one for both")
        if self.percentile == DYNAMIC and 1 in self.bits:
            raise InputError("bits must be at least 2 in dynamic fixed point, one of them the sign")
        if "half a step" in self.remedies and self.rounding != "floor" and self.bits[2] is not None:
            raise InputError(f"remedies: 'half a step' is for rounding = 'floor', not {self.rounding!r}")
        if "mid-step" in self.remedies and self.bits[0] == MAX_NBITS_KERAS:
            raise InputError(f"remedies: 'mid-step' takes kernels of at most {MAX_NBITS_KERAS - 1} bits")
        if self.shifts_kernels and self.bits[0] is None:
            raise InputError("kernel_rounding and kernel_shift need bits of the kernels; the first of bits is float")
        if len(chosen := [name for name in FROM_FLOAT if name in self.remedies]) > 1:
            raise InputError(
                f"remedies: {chosen[0]!r} and {chosen[1]!r} both choose the kernels; leave out one of the two"
            )
        if chosen and "correct bias in order" in self.remedies:
            raise InputError(
                f"remedies: 'correct bias in order' compares with the float kernels, which {chosen[0]!r} replaces; "
                "leave out one of the two"
            )
        if not self.signed and (self.msb is not None or self.percentile == DYNAMIC):
            raise InputError("signed = false needs a percentile that chooses formats; leave out msb and 'dynamic'")
        if self.seed and self.kernel_rounding != "stochastic":
            raise InputError("seed is for kernel_rounding = 'stochastic'; leave it out")
        return self

    @property
    def shifts_kernels(self) -> bool:
        """Whether kernels are rounded otherwise than by the layers, or moved: `post_training.shift_kernels`."""
        return self.kernel_rounding is not None or self.kernel_shift != 0

    @property
    def name(self) -> str:
        """A description in a few words."""
        bits = "-".join("float" if b is None else str(b) for b in self.bits)
        if self.msb is None:
            rule = self.percentile if isinstance(self.percentile, str) else f"{self.percentile} %"
            rule += " generic" * (not self.per_layer) + " per channel" * self.per_channel
        else:
            rule = "MSB " + ", ".join(map(str, self.msb))
        layers = [] if self.layers is None else [f"{len(self.layers)} layers, the last {self.layers[-1]}"]
        kernels = [f"kernels {self.kernel_rounding}"] * (self.kernel_rounding is not None)
        kernels += [f"seed {self.seed}"] * (self.seed != 0)
        kernels += [f"kernels moved by {self.kernel_shift:+g} steps"] * (self.kernel_shift != 0)
        unsigned = ["unsigned"] * (not self.signed)
        return "; ".join([bits, *unsigned, self.rounding, rule, *kernels, *self.remedies, *layers])


def quantize_each(
    model: keras.Model, schemes: Iterable[Scheme], images: Images, reuse: bool = False
) -> Iterator[tuple[Scheme, QuantizedModel]]:
    """Quantize a float network by each scheme.

    Args:
        model: The float network, any that `quantize_model` takes.
        schemes: How to quantize it.
        images: As in `input_arrays`: (n, height, width, channels), or what else the network takes; some tens. Labels
            are not used. The first FORMAT_IMAGES set formats; remedies that need values use all.
        reuse: Whether one network takes all schemes without remedies, one after the other, because it takes long to
            build one. Each of these is then valid until the next scheme is asked for.

    Yields:
        Each scheme with its network, in an order in which `model` is observed as seldom as possible.

    Raises:
        InputError: when a scheme names a layer that does not exist, or as `quantize_model` and `input_arrays`.
    """
    model, schemes = canonical(model), list(schemes)
    arrays = input_arrays(model, images, "the calibration images")
    _check_layers(model, schemes)
    groups: dict[tuple, list[Scheme]] = {}
    for scheme in schemes:
        equalized = "equalize" in scheme.remedies
        way = scheme.msb, str(scheme.percentile), scheme.per_layer, scheme.per_channel, scheme.rounding, scheme.signed
        groups.setdefault((equalized, *way), []).append(scheme)
    starts: dict[bool, _Start] = {}
    for (equalized, *_), group in groups.items():
        if equalized not in starts:
            starts[equalized] = _Start(post_training.equalize(model) if equalized else model)
        start = starts[equalized]
        formats = _formats_for_each(start.model, group, [array[:FORMAT_IMAGES] for array in arrays])
        known: dict[tuple, QuantizedModel] = {}
        for scheme in group:
            if reuse and not _steps(scheme):
                yield scheme, start.reused(scheme, formats[scheme.bits])
            else:
                yield scheme, _quantized(start.model, scheme, formats[scheme.bits], arrays, known)


class _Start:
    """The float network that some schemes quantize."""

    def __init__(self, model: keras.Model):
        self.model = model

    def reused(self, scheme: Scheme, formats: Formats | dict[str, Formats]) -> QuantizedModel:
        """Return the same network each time, with the weights of the float one, quantized by a scheme's formats."""
        network, weights = self._network_and_weights
        network.set_weights(weights)
        return _with_formats(network, scheme, formats)

    @cached_property
    def _network_and_weights(self) -> tuple[QuantizedModel, list[np.ndarray]]:
        network = quantize_model(self.model)
        return network, network.get_weights()


def _check_layers(model: keras.Model, schemes: list[Scheme]) -> None:
    wanted = [name for scheme in schemes for name in scheme.layers or ()]
    names = [layer.name for layer in quantize_model(model).rounding_layers] if wanted else []
    for name in wanted:
        if name not in names:
            raise InputError(f"layers: there is no layer {name!r} to quantize; there are {', '.join(names)}")


def _formats_for_each(
    model: keras.Model, group: list[Scheme], images: list[np.ndarray]
) -> Mapping[tuple, Formats | dict[str, Formats]]:
    """Return bits -> formats, for schemes that differ only in bits, layers and remedies."""
    first, widths = group[0], list(dict.fromkeys(scheme.bits for scheme in group))
    if first.msb is not None:
        return {bits: Formats(*map(_format, first.msb, bits)) for bits in widths}
    if all(bits == (None,) * 3 for bits in widths):
        return dict.fromkeys(widths, Formats())
    if first.percentile == DYNAMIC:
        return {b: dynamic_formats(model, images, convolutions=b[0], dense=b[0], activations=b[1]) for b in widths}
    options: dict[str, Any] = {"per_channel": first.per_channel, "signed": first.signed}
    return formats_for_each(model, images, widths, first.percentile, first.per_layer, first.rounding, **options)


def _format(msb: int, nbits: int | None) -> FixedPoint | None:
    return None if nbits is None else FixedPoint(msb, nbits)


def _quantized(
    model: keras.Model,
    scheme: Scheme,
    formats: Formats | dict[str, Formats],
    images: list[np.ndarray],
    known: dict[tuple, QuantizedModel],
) -> QuantizedModel:
    """Return `model` quantized by `scheme`; `known` collects networks with some of its remedies, to share the work."""
    key: tuple = (scheme.bits, scheme.layers, scheme.kernel_rounding, scheme.kernel_shift, scheme.seed)
    if key not in known:
        known[key] = _with_formats(quantize_model(model), scheme, formats)
    network = known[key]
    for name in _steps(scheme):
        key = (*key, name)
        if key not in known:
            known[key] = REMEDIES[name](network, *([images] if name in WITH_IMAGES else []))
        network = known[key]
    return network


def _steps(scheme: Scheme) -> list[str]:
    """Return the remedies of a scheme that follow its formats, in the order in which they are applied."""
    return [name for name in REMEDIES if name in scheme.remedies and name != "equalize"]


def _with_formats(network: QuantizedModel, scheme: Scheme, formats: Formats | dict[str, Formats]) -> QuantizedModel:
    """Return `network`, with the weights of the float one, quantized by a scheme without its remedies."""
    network.set_formats(formats)
    network.set_rounding(scheme.rounding)
    for layer in network.rounding_layers:
        layer.enabled = scheme.layers is None or layer.name in scheme.layers
    if scheme.shifts_kernels:
        rounding = scheme.kernel_rounding or scheme.rounding
        move_kernels(network, scheme.kernel_shift, rounding, scheme.seed)
    return network

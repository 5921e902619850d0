"""A scheme: one way of quantizing a trained network without training (post-training quantization)."""

from collections.abc import Callable, Iterable
from typing import Annotated

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, model_validator

from fewbits import post_training
from fewbits.backend import keras
from fewbits.errors import InputError
from fewbits.experiment.fields import BitsOrFloat, checked_percentile, known, one_sentence
from fewbits.names import LAYER_ROUNDINGS
from fewbits.quantization.calibration import formats_for_each
from fewbits.quantization.conversion import QuantizedModel, quantize_model, quantized_type
from fewbits.quantization.dynamic_fixed_point import dynamic_formats
from fewbits.quantization.fixedpoint import MAX_ABS_MSB, MAX_NBITS_KERAS, FixedPoint
from fewbits.quantization.layers import Formats

DYNAMIC = "dynamic"  # stands for a percentile, where dynamic fixed point is meant

# In the order in which they are applied; `equalize` comes before there are formats.
REMEDIES: dict[str, Callable] = {
    "equalize": post_training.equalize,
    "share formats": post_training.share_formats,
    "search MSBs": post_training.search_msbs,
    "round kernels": post_training.round_kernels,
    "refit kernels": post_training.refit_kernels,
    "mid-step": post_training.reconstruct_mid_step,
    "fold mean shift": post_training.correct_bias,
    "half a step": post_training.add_half_a_step,
}
RANGED = 32  # images that formats are set on, as in vieito2017, 5.2.2; remedies see all there are
WITH_IMAGES = ("search MSBs", "refit kernels", "fold mean shift")

Msb = Annotated[int, Field(ge=-MAX_ABS_MSB, le=MAX_ABS_MSB)]


def _range(value):
    return value if value == DYNAMIC else checked_percentile(value)


class Scheme(BaseModel):
    """One way of quantizing a trained network without training. Schemes with equal fields are equal.

    bits: of kernel, input and output; None, or "float", for float. rounding: of all three. msb: one MSB each for all
    layers; or else percentile, per_layer, per_channel: as in `calibration.formats_for`, or the percentile "dynamic" for
    dynamic fixed point. remedies: names in REMEDIES; they are applied in the order they have there. layers: names of
    those that are quantized, None for all. Raises InputError, naming the field, on whatever cannot be.
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

    def __init__(self, /, **fields):
        with one_sentence(type(self)):
            super().__init__(**fields)

    @model_validator(mode="after")
    def _fit_together(self):
        given = self.model_fields_set - {"bits", "rounding", "msb", "remedies", "layers"}
        if self.msb is not None and given:
            raise InputError(f"msb is one for all layers, and {min(given)} would choose them; leave one of the two out")
        if self.per_channel and (not self.per_layer or self.percentile == DYNAMIC):
            raise InputError("per_channel gives each filter an MSB; it takes no `per_layer = false`, and no `dynamic`")
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
        return self

    @property
    def name(self) -> str:
        """What tells it from others, in a few words."""
        bits = "-".join("float" if b is None else str(b) for b in self.bits)
        if self.msb is None:
            rule = self.percentile if isinstance(self.percentile, str) else f"{self.percentile} %"
            rule += " generic" * (not self.per_layer) + " per channel" * self.per_channel
        else:
            rule = "MSB " + ", ".join(map(str, self.msb))
        layers = [] if self.layers is None else [f"{len(self.layers)} layers, the last {self.layers[-1]}"]
        return "; ".join([bits, self.rounding, rule, *self.remedies, *layers])


def quantize_each(model: keras.Model, schemes: Iterable[Scheme], images) -> Iterable[tuple[Scheme, QuantizedModel]]:
    """Yield each of `schemes` with the float `model` quantized by it, in an order that observes `model` seldom.

    images: (n, height, width, channels), some tens, of which no labels are needed: RANGED of them set formats, all
    serve the remedies that look at values. Raises InputError on layers that are not there.
    """
    groups: dict[tuple, list[Scheme]] = {}
    names = [layer.name for layer in model.layers if quantized_type(layer)]
    for scheme in schemes:
        for name in scheme.layers or ():
            if name not in names:
                raise InputError(f"layers: there is no layer {name!r} to quantize; there are {', '.join(names)}")
        equalized = "equalize" in scheme.remedies
        way = scheme.msb, str(scheme.percentile), scheme.per_layer, scheme.per_channel, scheme.rounding
        groups.setdefault((equalized, *way), []).append(scheme)
    for (equalized, *_), group in groups.items():
        start = post_training.equalize(model) if equalized else model
        formats = _formats_for_each(start, group, images[:RANGED])
        known = {}
        for scheme in group:
            yield scheme, _quantized(start, scheme, formats[scheme.bits], images, known)


def _formats_for_each(model, group, images) -> dict[tuple, Formats | dict[str, Formats]]:
    """Return bits -> formats, for schemes that differ in bits, layers and remedies only."""
    first, widths = group[0], list(dict.fromkeys(scheme.bits for scheme in group))
    if first.msb is not None:
        return {bits: Formats(*map(_format, first.msb, bits)) for bits in widths}
    if all(bits == (None,) * 3 for bits in widths):
        return dict.fromkeys(widths, Formats())
    if first.percentile == DYNAMIC:
        return {b: dynamic_formats(model, images, convolutions=b[0], dense=b[0], activations=b[1]) for b in widths}
    return formats_for_each(
        model, images, widths, first.percentile, first.per_layer, first.rounding, per_channel=first.per_channel
    )


def _format(msb, nbits):
    return None if nbits is None else FixedPoint(msb, nbits)


def _quantized(model, scheme, formats, images, known) -> QuantizedModel:
    """Return `model` quantized. known: what came of the same scheme with some of its remedies; it grows."""
    asked = [name for name in REMEDIES if name in scheme.remedies and name != "equalize"]
    key = scheme.bits, scheme.layers
    if key not in known:
        known[key] = _enabled_only(quantize_model(model, formats, rounding=scheme.rounding), scheme.layers)
    network = known[key]
    for name in asked:
        key += (name,)
        if key not in known:
            known[key] = REMEDIES[name](network, *([np.asarray(images)] if name in WITH_IMAGES else []))
        network = known[key]
    return network


def _enabled_only(network, names) -> QuantizedModel:
    for layer in network.quantized_layers:
        layer.enabled = names is None or layer.name in names
    return network

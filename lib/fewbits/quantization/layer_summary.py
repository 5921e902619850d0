"""What is kept of the values of a layer, and the formats that follow from it."""

from dataclasses import dataclass, replace
from math import inf
from typing import Any, Self

import numpy as np

from fewbits.errors import InputError
from fewbits.names import LEAST_DIVERGENCE, LEAST_ERROR
from fewbits.quantization.fixedpoint import MAX_ABS_MSB, MAX_NBITS_KERAS
from fewbits.quantization.layers import QUANTIZED, Formats, by_filter
from fewbits.quantization.range_rules import (
    candidates,
    evenly_spaced,
    least_divergence,
    least_error,
    msb_from_limits,
    msbs_of_least_error,
)
from fewbits.quantization.sqnr import QuantizationError, quantization_error
from fewbits.quantization.value_summary import NOTHING, ValueSummary, is_nothing

Range = float | str  # a percentile, or one of RANGE_RULES
RangeRule = Range | tuple[Range, ...]  # one for all, or one each for kernel, input and output
NBits = int | None | tuple[int | None, ...]  # the same; None is float
# Of kernel (one, or one per filter, None if there is no kernel), input and output.
MSBs = tuple[int | tuple[int, ...] | None, int, int]
Signs = tuple[bool, bool]  # of input and output: whether a format is signed
SIGNED: Signs = (True, True)


@dataclass(frozen=True)
class LayerSummary:
    """What is kept of the values of a layer.

    Attributes:
        layer: The layer, as a plain Keras layer.
        kernel: Its kernel; the slope of a leaky activation, None for other ones.
        input: What it reads, before it is quantized.
        output: What reaches its output quantizer.
        ceiling: Where a ReLU follows right after the output quantizer, up to where it passes values on, infinity or 6;
            None where none does. See `FloatNetwork.ceiling_of`.
    """

    layer: Any
    kernel: Any
    input: ValueSummary
    output: ValueSummary
    ceiling: float | None = None

    def check(self) -> None:
        """Check that formats can hold the values.

        Raises:
            InputError: when they cannot; the message names the layer.
        """
        kernel = None if self.kernel is None else (float(self.kernel.min()), float(self.kernel.max()))
        of_kinds = kernel, *((values.low, values.high) for values in (self.input, self.output))
        for kind, limits in zip(("kernel", "input", "output"), of_kinds):
            if limits is not None:
                _check_limits(self.layer.name, kind, *limits)

    def with_estimates(self, estimates: dict[str, np.ndarray]) -> Self:
        """Return the summary with other values in place of those of some kinds.

        Args:
            estimates: Kind -> values.
        """
        others: dict[str, Any] = {kind: x if kind == "kernel" else ValueSummary.of(x) for kind, x in estimates.items()}
        return replace(self, **others)

    @property
    def signs(self) -> Signs:
        """Whether formats of input and output need a sign.

        An input does if some value is negative; an output, too, unless a ReLU follows right after its quantizer: the
        codes of an unsigned format, which begin at 0, are that ReLU. If that ReLU passes nothing on, only the values
        below zero tell how large values may be, and the format is signed.
        """
        is_relu = self.ceiling is not None and self.output.high > NOTHING
        return self.input.low < 0, self.output.low < 0 and not is_relu

    def msbs(
        self,
        range_rule: RangeRule,
        nbits: NBits,
        rounding: str = "nearest",
        per_channel: bool = False,
        signs: Signs = SIGNED,
    ) -> MSBs:
        """Return the MSBs of kernel, input and output.

        Args:
            range_rule: As in `formats_for`.
            nbits: As in `formats_for`.
            rounding: As in `formats_for`.
            per_channel: Whether each filter has an MSB of its own.
            signs: Whether the formats of input and output are signed.
        """
        for_kernel, for_input, for_output = zip(three_of(range_rule, "the range rule"), three_of(nbits, "nbits"))
        kernel: int | tuple[int, ...] | None = None
        if self.kernel is not None and per_channel and type(self.layer) in QUANTIZED:
            kernel = _msbs_of_filters(by_filter(self.layer, self.kernel).T, *for_kernel, rounding)
        elif self.kernel is not None:
            kernel = _msb(ValueSummary.of(self.kernel), *for_kernel, rounding)
        of_input, of_output = (None if signed else top for signed, top in zip(signs, (inf, self._top)))
        return (
            kernel,
            _msb(self.input, *for_input, rounding, of_input),
            _msb(self.output, *for_output, rounding, of_output),
        )

    @property
    def _top(self) -> float:
        """Up to where values of the output are passed on."""
        return inf if self.ceiling is None else self.ceiling

    def errors(self, formats: Formats, rounding: str) -> tuple[QuantizationError | None, ...]:
        """Return what formats cost kernel, input and output, each alone; None for what stays in float.

        Args:
            formats: The formats.
            rounding: As in `fewbits.quantize`.
        """
        kernel = by_filter(self.layer, self.kernel) if type(self.layer) in QUANTIZED else self.kernel
        output = self.output.sample
        if formats.output is not None and not formats.output.signed and self.ceiling is not None:
            output = np.clip(output, 0, self.ceiling)
        three = zip((kernel, self.input.sample, output), formats)
        return tuple(None if fmt is None else quantization_error(x, fmt, rounding) for x, fmt in three)


def three_of(value: Any, name: str) -> tuple:
    """Return a setting of kernel, input and output.

    Args:
        value: One for all three, or three.
        name: What the error message calls it.

    Raises:
        InputError: when there are more or fewer.
    """
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * 3
    if len(values) != 3:
        raise InputError(f"{name} takes one value, or three for kernel, input and output, not {value!r}")
    return values


def _msbs_of_filters(filters: np.ndarray, rule: Any, nbits: int | None, rounding: str) -> tuple[int, ...]:
    """Return the MSB of each filter. Filters of zeros get the largest of the others: they may be trained again."""
    something = np.array([not is_nothing(x) for x in filters])
    if rule == LEAST_ERROR:
        msbs = msbs_of_least_error(filters[something], nbits or MAX_NBITS_KERAS, rounding)
    else:
        msbs = [_msb(ValueSummary.of(x), rule, nbits, rounding) for x in filters[something]]
    of_all = np.full(len(filters), max(msbs))
    of_all[something] = msbs
    return tuple(of_all.tolist())


def _msb(values: ValueSummary, rule: Any, nbits: int | None, rounding: str, ceiling: float | None = None) -> int:
    """Return the MSB of a signed format, or, with a ceiling as in `least_error`, of an unsigned one."""
    nbits = nbits or MAX_NBITS_KERAS
    if rule in (LEAST_ERROR, LEAST_DIVERGENCE):
        limits = (values.low, values.high) if ceiling is None else (0.0, min(max(values.high, 0.0), ceiling))
        sample, msbs = evenly_spaced(values.sample), candidates(msb_from_limits(*limits, ceiling is None))
        if rule == LEAST_ERROR:
            return least_error(sample, msbs, nbits, rounding, ceiling)
        return least_divergence(sample, msbs, nbits, ceiling)
    if ceiling is None:
        return msb_from_limits(*values.percentile_limits(rule))
    return msb_from_limits(0.0, min(values.upper_limit(rule), ceiling), signed=False)


def _check_limits(layer: str, kind: str, low: float, high: float) -> None:
    largest = float(np.maximum(high, -low))
    if not np.isfinite(largest):
        advice = "train it again" if kind == "kernel" else "check the weights before it and the scale of the images"
        raise InputError(f"the {kind} of layer {layer} holds NaN or infinity; {advice}")
    if largest > 2.0**MAX_ABS_MSB:
        raise InputError(
            f"the {kind} of layer {layer} reaches {largest:.1e}, and formats reach 2**{MAX_ABS_MSB}; "
            "scale the images or the weights down"
        )

"""What the codes of a layer say: how it rounds, how large the error is, whether it grows with the inputs, and its cost.

A kernel that is rounded down is half a step too small on average. The output of a filter is then too small by half a
kernel step times the sum of the inputs in its window. The slope of the error over these sums, in kernel steps, is
-1/2 for a kernel that is rounded down, and 0 for one that is rounded to nearest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fewbits.audit.roundings import NEAREST, ROUND, Naming, Way, name_rounding, output_ways, requantized
from fewbits.audit.traces import Kernel, Trace
from fewbits.statistics import Estimate

FLOAT = "float"  # name of a kernel that is not rounded
TRUNCATION = -0.25  # kernel steps: a slope below this, whose interval excludes 0, is that of a kernel rounded down
CLOSE = 0.25  # output steps: how near a mean error must be to what a rounding leaves
FEWEST = 30  # codes of a sign that a mean is taken of
NOISIEST = 4  # variance in steps above which means of a small bias say nothing
LEFT = {"nearest": (0.0, 0.0), "floor": (-0.5, -0.5), "toward-zero": (-0.5, 0.5), "ceiling": (0.5, 0.5)}
"""Rounding -> the mean error that it leaves of positive and of negative numbers, in steps."""


@dataclass(frozen=True)
class LayerFinding:
    """What was found out about a layer.

    Attributes:
        layer: Its name.
        rounding: The rounding of its outputs, in words.
        naming: The ways of rounding the outputs, with shares and numbers of codes.
        kernel: The rounding of its kernel, in words; "float" if it is not rounded, "" if that is not known.
        kernel_naming: The ways of rounding the kernel; None if there is no float kernel, or no codes are known.
        bias: Mean of code minus exact quotient, in output steps.
        variance: Its variance; a rounding among many steps leaves 1/12 = 0.083.
        total_bias: Mean error against the float layer on the same inputs, as they are multiplied, in output steps and
            before clipping; None without a float layer.
        total_variance: The variance of this error.
        slope: How the error grows with the sum of the inputs in the window, with its interval: that of the accumulator
            if the kernel is known and explains the codes, otherwise that of the codes; None without a float layer.
        slope_unit: "kernel steps", or "output steps" if no step of the kernel is known.
        sqnr: Signal to error of the output in dB, against the float layer on the same inputs; None without one.
        cost: How many dB more it would be with kernel and output rounded to nearest; None if that is not known.
        from_means: Whether the rounding is concluded from mean errors alone, because no kernel explains the codes.
        note: What else is to be said, or "".
    """

    layer: str
    rounding: str
    naming: Naming
    kernel: str
    kernel_naming: Naming | None
    bias: float
    variance: float
    total_bias: float | None
    total_variance: float | None
    slope: Estimate | None
    slope_unit: str
    sqnr: float | None
    cost: float | None
    from_means: bool
    note: str

    @property
    def truncates(self) -> bool:
        """Whether the error grows with the sum of the inputs as that of a kernel that is rounded down.

        If no step of the kernel is known, a slope counts that lies twice its interval below 0.
        """
        if not self.slope:
            return False
        if self.slope_unit == "kernel steps":
            return self.slope.mean < TRUNCATION and self.slope.high < 0
        return self.slope.mean + 2 * self.slope.half_width < 0

    @property
    def explained(self) -> bool:
        """Whether a rounding was named, or the codes leave several open."""
        return bool(self.naming.ways) or self.from_means or not self.naming.judged


class _Reading(NamedTuple):
    """How one kernel explains the codes of a trace."""

    kernel: Kernel
    known: bool  # whether the kernel has steps
    inputs: np.ndarray  # as they are multiplied
    quotients: np.ndarray
    naming: Naming


def examine_layer(trace: Trace) -> LayerFinding:
    """Find out how a layer rounds and what its error is.

    Args:
        trace: What the layer read and computed.

    Returns:
        The finding.
    """
    best = max(_readings(trace), key=lambda reading: reading.naming.explained)
    naming, kernel_naming = best.naming, _kernel_naming(best, trace.reference)
    judged = _judged(trace.codes, best.quotients)
    error = (trace.codes - best.quotients)[judged]
    bias, variance = (float(error.mean()), float(error.var())) if error.size else (0.0, 0.0)
    rounding, guessed = naming.name, ""
    total_bias = total_variance = slope = sqnr = cost = None
    if trace.reference is not None:
        exact = _float_outputs(trace, best.inputs)
        total = np.where(judged, trace.codes, best.quotients) - exact
        total_bias, total_variance = float(total.mean()), float(total.var())
        ones = np.ones_like(trace.reference.columns)
        sums = trace.multiply(best.inputs, ones) * trace.input_step
        growing = np.where(judged, trace.codes - exact, np.nan)
        if best.known:  # before the output is rounded, whose error would hide a small slope
            kernel_error = best.quotients - exact if naming.ways else growing
            slope = slope_over_sums(kernel_error * trace.output_step / best.kernel.steps, sums)
        else:
            slope = slope_over_sums(growing, sums)
        sqnr = _sqnr(trace.codes, trace.codes, exact)
        cost = _cost(trace, best, exact, sqnr, kernel_naming)
        if not naming.ways and naming.judged:
            guessed = _from_means(growing, sums, exact)
            rounding = guessed or rounding
    kernel = kernel_naming.name if kernel_naming else "" if best.known or not naming.ways else FLOAT
    return LayerFinding(
        trace.layer,
        rounding,
        naming,
        kernel,
        kernel_naming,
        bias,
        variance,
        total_bias,
        total_variance,
        slope,
        "kernel steps" if best.known else "output steps",
        sqnr,
        cost,
        bool(guessed),
        trace.note,
    )


def common_ways(findings: Sequence[LayerFinding]) -> tuple[Way, ...]:
    """Return the ways of rounding outputs that no layer contradicts: layers together decide what one leaves open.

    Args:
        findings: Those of all layers of a runtime; layers without a named rounding do not count.
    """
    named = [finding.naming.ways for finding in findings if finding.naming.ways]
    return tuple(way for way in (named[0] if named else ()) if all(way in ways for ways in named))


def advice_for(finding: LayerFinding) -> tuple[str, ...]:
    """Return what to do about a layer, in sentences; none if nothing is wrong."""
    advice = []
    kernel = finding.kernel_naming
    if kernel is not None and not set(kernel.roundings) & set(NEAREST):
        if kernel.ways:
            advice.append(
                f"the kernel is rounded by {finding.kernel}: round it to nearest before it is stored, which costs "
                "nothing; `fewbits formats MODEL --data DATA --rounding nearest --save-model QUANTIZED` does"
            )
        elif kernel.judged:
            advice.append("the kernel is not the float kernel rounded; compare the weights of both")
    roundings = set(finding.naming.roundings) or {finding.rounding}
    if roundings <= {"floor", "toward-zero", "ceiling"} and roundings != {"toward-zero"}:
        sign = "subtract" if roundings == {"ceiling"} else "add"
        advice.append(
            f"the output is rounded by {' or '.join(sorted(roundings))}: {sign} half an output step before the shift, "
            "in the bias of the accumulator, which costs nothing; AP_RND in ap_fixed, `--rounding nearest-up` of "
            "`fewbits formats`"
        )
    elif roundings == {"toward-zero"}:
        advice.append(
            "the output is cut off toward zero: add half an output step with the sign of the sum before the conversion "
            "to an integer, or round to nearest first"
        )
    elif len(roundings) > 1 and not roundings <= set(NEAREST):
        advice.append("no code tells these roundings apart: give more --images")
    if not finding.naming.judged:
        advice.append("the codes are constant or all clipped: give other images, or check the scale")
    elif not finding.naming.ways and finding.slope_unit != "kernel steps":
        advice.append("the codes of the kernel are not known, and means say little: record them, or give --formats")
    elif not finding.naming.ways and not finding.from_means:
        advice.append("no rounding explains the codes: check kernel codes, scales and whether the images are the same")
    return tuple(advice)


def _readings(trace: Trace) -> Iterator[_Reading]:
    """Yield how each kernel explains the codes.

    Inputs that the layer rounds itself are rounded to nearest, or as its outputs are.
    """
    rounds = trace.limits is not None and bool((trace.inputs != np.rint(trace.inputs)).any())
    for name, kernel in trace.kernels.items():
        known, factors = name != FLOAT, trace.input_step * kernel.steps / trace.output_step
        for like_outputs in (False, True) if known and rounds else (False,):
            chosen = {way: way if like_outputs else "nearest" for way in ROUND}
            inputs = {way: _multiplied(trace, way if known else None) for way in set(chosen.values())}
            sums = {way: trace.multiply(x, kernel.columns) + kernel.bias for way, x in inputs.items()}
            made = {
                way: requantized(sums[chosen[way.rounding]], factors, way)
                for way in output_ways(sums["nearest"], factors)
            }
            naming = name_rounding(trace.codes, sums["nearest"] * factors, made)
            best = chosen[naming.best.rounding]
            yield _Reading(kernel, known, inputs[best], sums[best] * factors, naming)


def _multiplied(trace: Trace, rounding: str | None) -> np.ndarray:
    """Return the inputs as the layer multiplies them: rounded and clipped, if it does that."""
    if trace.limits is None or rounding is None:
        return trace.inputs
    return np.clip(ROUND[rounding](trace.inputs), *trace.limits)


def _judged(codes: np.ndarray, quotients: np.ndarray) -> np.ndarray:
    return (quotients >= np.nanmin(codes)) & (quotients <= np.nanmax(codes)) & np.isfinite(codes)


def _kernel_naming(best: _Reading, reference: Kernel | None) -> Naming | None:
    if reference is None or not best.known:
        return None
    quotients = reference.columns / best.kernel.steps
    return name_rounding(best.kernel.columns, quotients, {Way(name): ROUND[name](quotients) for name in ROUND})


def _float_outputs(trace: Trace, inputs: np.ndarray) -> np.ndarray:
    """Return what the float layer computes of the same inputs, in output steps."""
    assert trace.reference is not None
    products = trace.multiply(inputs, trace.reference.columns) * trace.input_step
    return (products + trace.reference.bias) / trace.output_step


def slope_over_sums(errors: np.ndarray, sums: np.ndarray) -> Estimate:
    """Return how errors grow with the sums of the inputs: one slope, and an intercept for each filter.

    The interval counts filters as independent, because each has a kernel of its own; with a single filter, images.

    Args:
        errors: (n, ..., filters); NaN does not count.
        sums: The sums of the inputs in the windows, of the same shape.

    Returns:
        The slope; of no values if all sums are equal.
    """
    y, x = _centred(errors, sums)
    together = 1 if y.shape[-1] > 1 else 2
    products, squares = (np.nansum(z.reshape(len(z), -1, z.shape[-1]), 1) for z in (x * y, x * x))
    products, squares = (z.sum(together - 1) for z in (products, squares))
    if squares.sum() <= 1e-12 * np.nansum(sums * sums):
        return Estimate.of([])
    slope = products.sum() / squares.sum()
    # Their mean is the slope, and the spread of their mean is that of a ratio of sums.
    return Estimate.of(slope + (products - slope * squares) * len(squares) / squares.sum())


def _centred(errors: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return errors and sums minus their means over all places of a filter."""
    x = np.where(np.isnan(errors), np.nan, sums)
    return errors - _filter_means(errors), x - _filter_means(x)


def _filter_means(values: np.ndarray) -> np.ndarray:
    """Return the mean of each filter, (filters,), over what is not NaN; NaN if nothing is."""
    there = np.isfinite(values).reshape(-1, values.shape[-1]).sum(0)
    return np.nansum(values.reshape(-1, values.shape[-1]), 0) / np.where(there, there, np.nan)


def _from_means(errors: np.ndarray, sums: np.ndarray, exact: np.ndarray) -> str:
    """Return the roundings that the mean errors of positive and negative outputs show; "" if they show none.

    What grows with the sum of the inputs is taken off first: it comes from the kernel.
    """
    means = []
    for chosen in (exact > 1, exact < -1):
        of_sign = np.where(chosen, errors, np.nan)
        slope = slope_over_sums(of_sign, sums)
        rest = of_sign - (slope.mean if slope else 0) * sums
        if np.isfinite(rest).sum() < FEWEST or np.nanvar(rest) > NOISIEST:
            means.append(Estimate.of([]))
        else:
            of_filters = _filter_means(rest)
            means.append(Estimate.of(of_filters[np.isfinite(of_filters)]))
    found = [name for name, left in LEFT.items() if any(means) and all(map(_agrees, means, left))]
    return " or ".join(found)


def _agrees(mean: Estimate, left: float) -> bool:
    return not mean or (mean.half_width < CLOSE and abs(mean.mean - left) < CLOSE)


def _sqnr(codes: np.ndarray, observed: np.ndarray, exact: np.ndarray) -> float | None:
    """Return signal to error in dB of codes, with the float outputs clipped to the range of those observed."""
    there = np.isfinite(observed)
    limited = np.clip(exact, np.nanmin(observed), np.nanmax(observed))[there]
    noise, signal = ((codes[there] - limited) ** 2).sum(), (limited**2).sum()
    return float(10 * np.log10(signal / noise)) if noise and signal else None


def _cost(
    trace: Trace, best: _Reading, exact: np.ndarray, sqnr: float | None, kernel_naming: Naming | None
) -> float | None:
    """Return how many dB the rounding costs against nearest; 0 for a rounding to nearest."""
    assert trace.reference is not None
    if not best.known or kernel_naming is None or sqnr is None or not (best.naming.ways and kernel_naming.ways):
        return None
    if all(set(naming.roundings) <= set(NEAREST) for naming in (best.naming, kernel_naming)):
        return 0.0
    columns = np.rint(trace.reference.columns / best.kernel.steps)
    columns = np.clip(columns, best.kernel.columns.min(), best.kernel.columns.max())
    sums = trace.multiply(best.inputs, columns) + best.kernel.bias
    codes = np.rint(sums * trace.input_step * best.kernel.steps / trace.output_step)
    nearest = _sqnr(np.clip(codes, np.nanmin(trace.codes), np.nanmax(trace.codes)), trace.codes, exact)
    return None if nearest is None else nearest - sqnr


def findings_as_json(findings: list[LayerFinding]) -> list[dict[str, Any]]:
    """Return findings as what JSON holds: one dictionary per layer."""
    return [_as_json(finding) for finding in findings]


def _as_json(finding: LayerFinding) -> dict[str, Any]:
    slope = finding.slope if finding.slope else None
    return {
        "layer": finding.layer,
        "rounding": finding.rounding,
        "from_means": finding.from_means,
        "output": _naming_as_json(finding.naming),
        "kernel_rounding": finding.kernel or None,
        "kernel": finding.kernel_naming and _naming_as_json(finding.kernel_naming),
        "bias": finding.bias,
        "variance": finding.variance,
        "total_bias": finding.total_bias,
        "total_variance": finding.total_variance,
        "slope": slope and slope.mean,
        "slope_half_width": slope.half_width if slope and np.isfinite(slope.half_width) else None,
        "slope_unit": finding.slope_unit,
        "truncates": finding.truncates,
        "sqnr": finding.sqnr,
        "cost": finding.cost,
        "advice": list(advice_for(finding)),
        "note": finding.note,
    }


def _naming_as_json(naming: Naming) -> dict[str, Any]:
    return {
        "roundings": list(naming.roundings),
        "ways": [list(way) for way in naming.ways],
        "explained": naming.explained,
        "judged": naming.judged,
        "decisive": naming.decisive,
        "shares": naming.shares,
    }

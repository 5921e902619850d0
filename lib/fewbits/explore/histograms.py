"""Explorers of rounding: the quantizer itself, and a network's kernels."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from fewbits.backend import keras
from fewbits.explore import plots
from fewbits.explore.explorer import Explorer, View
from fewbits.names import LAYER_ROUNDINGS
from fewbits.quantization.fixedpoint import FixedPoint, quantize
from fewbits.quantization.sqnr import quantization_error
from fewbits.statistics import Share

BITS = tuple(range(1, 13))
MSBS = tuple(range(-4, 4))
CODES = "signed", "unsigned"


def staircase(
    label: str,
    bits: Sequence[int] = tuple(range(1, 7)),
    msbs: Sequence[int] = (-1, 0, 1),
    roundings: Sequence[str] = LAYER_ROUNDINGS,
    codes: Sequence[str] = ("signed",),
) -> Explorer:
    """Return an explorer of the quantizer: its staircase over [-2.5, 2.5] and, in the same figure, its error.

    Args:
        label: The number of the figure.
        bits: What the reader can choose.
        msbs: What the reader can choose.
        roundings: What the reader can choose, of `names.LAYER_ROUNDINGS`.
        codes: What the reader can choose, of CODES; one alone is no choice.
    """
    x = np.linspace(-2.5, 2.5, 321)  # a step of 1/64: short numbers

    def view(bits: int, msb: int, rounding: str, codes: str = codes[0]) -> View:
        fmt = FixedPoint(msb, bits, signed=codes == "signed")
        y = quantize(x, fmt, rounding)
        levels = fmt.max_code - fmt.min_code + 1 + (rounding == "thesis")
        readings = {
            "format": str(fmt),
            "amplitude A": f"{fmt.amplitude:g}",
            "step q": f"{fmt.step:g}",
            "values": f"{y.min():g} to {y.max():g}",
            "levels": str(levels),
        }
        return View([{"y": short(y)}, {"y": short(y - x)}], readings)

    figure = plots.figure(
        go.Scatter(x=x, y=x, name="quantized", line={"shape": "hv", "color": plots.BLUE}),
        go.Scatter(x=x, y=x * 0, name="error", line={"color": plots.ORANGE, "width": 1}),
        go.Scatter(x=x, y=x, name="x itself", line={"color": plots.GREY, "dash": "dot", "width": 1}),
        x="x",
        y="quantize(x)",
        yaxis={"range": [-2.6, 2.6]},
    )

    choice = {"codes": tuple(codes)} if len(codes) > 1 else {}
    return Explorer(
        {"bits": bits, "msb": msbs, "rounding": roundings} | choice,
        {"bits": 3, "msb": 0, "rounding": "floor"} | {name: values[0] for name, values in choice.items()},
        view,
        figure,
        label,
        "The quantizer as a staircase. Bits set how many steps there are, the MSB sets how far they reach.",
        "Staircase of the quantized value over x, and its error as a saw-tooth; beyond the amplitude it is flat.",
    )


def kernel_histogram(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    label: str,
    bits: Sequence[int] = BITS,
    msbs: Sequence[int] = MSBS,
    roundings: Sequence[str] = LAYER_ROUNDINGS,
) -> Explorer:
    """Return an explorer of a trained network whose kernels are all quantized to one format; biases stay float.

    Args:
        model: A classifier; it is not changed.
        images: What the accuracy is measured on.
        labels: Their classes.
        label: The number of the figure.
        bits: What the reader can choose.
        msbs: What the reader can choose.
        roundings: What the reader can choose, of `names.LAYER_ROUNDINGS`.
    """
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    kernels = [v for v in twin.trainable_variables if v.name == "kernel"]
    originals = [keras.ops.convert_to_numpy(k) for k in kernels]
    pooled = np.concatenate([k.ravel() for k in originals])
    bin_width = 2.0 ** (math.ceil(math.log2(np.abs(pooled).max())) - 6)  # a power of two: marks fall on bins' centres
    edges = (np.arange(-70, 72) - 0.5) * bin_width
    centres = short((edges[1:] + edges[:-1]) / 2)

    def correct() -> Share:
        return Share.of(twin.predict_on_batch(images).argmax(-1) == labels)

    def view(bits: int, msb: int, rounding: str) -> View:
        fmt = FixedPoint(msb, bits)
        for kernel, original in zip(kernels, originals):
            kernel.assign(quantize(original, fmt, rounding))
        error = quantization_error(pooled, fmt, rounding)
        counts, _ = np.histogram(quantize(pooled, fmt, rounding), edges)
        readings = {
            "accuracy": str(correct()),
            "clipped": f"{error.clipped:.2%}",
            "underflowed": f"{error.underflowed:.2%}",
            "mean shift": f"{error.bias / fmt.step:+.2f} q",
            "RMS error": f"{error.rms:.4f}",
            "SQNR": decibel(error.sqnr),
        }
        return View([{"y": counts.tolist()}], readings, {"shapes": _clip_range(fmt)})

    figure = plots.figure(
        go.Bar(x=centres, y=[0] * len(centres), name="quantized", marker={"color": plots.BLUE, "line": {"width": 0}}),
        go.Scatter(
            x=centres,
            y=np.histogram(pooled, edges)[0].tolist(),
            name="float",
            line={"shape": "hvh", "color": plots.ORANGE, "width": 2},
        ),
        x="weight",
        y="number of weights",
        bargap=0.1,
        xaxis={"range": [edges[0], edges[-1]]},
        yaxis={"type": "log", "range": [-0.2, math.log10(pooled.size)], "dtick": 1},
    )
    return Explorer(
        {"bits": bits, "msb": msbs, "rounding": roundings},
        {"bits": 6, "msb": 0, "rounding": "floor"},
        view,
        figure,
        label,
        f"Every kernel of the network in one format, on {len(labels)} validation images (95 % interval in brackets). "
        "The dashed lines are the clip range, -A and +A; underflowed weights are smaller than one step.",
        "Histogram of the weights before and after quantization, with the clip range as two vertical lines.",
    )


def _clip_range(fmt: FixedPoint) -> list[dict]:
    line = {"color": plots.GREY, "dash": "dash", "width": 2}
    return [
        {"type": "line", "x0": a, "x1": a, "y0": 0, "y1": 1, "yref": "paper", "line": line}
        for a in (-fmt.amplitude, fmt.amplitude)
    ]


def short(values: Any) -> list[float]:
    """Return numbers to six digits: enough to draw, and a third of the bytes."""
    return [float(f"{v:.6g}") for v in np.asarray(values, float)]


def decibel(value: float) -> str:
    """Return an SQNR as text."""
    return f"{value:.1f} dB" if math.isfinite(value) else "no error"

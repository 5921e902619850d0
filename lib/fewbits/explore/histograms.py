"""Explorers of rounding: the quantizer itself, and a network's kernels."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from fewbits.backend import keras
from fewbits.data.dataset import Dataset
from fewbits.deploy.in_page import round_for_page
from fewbits.explore import plots, readers
from fewbits.explore.explorer import Explorer, PageView, View
from fewbits.names import INTEGER_ROUNDINGS, LAYER_ROUNDINGS
from fewbits.quantization.conversion import quantize_model
from fewbits.quantization.fixedpoint import FixedPoint, quantize
from fewbits.quantization.sqnr import quantization_error
from fewbits.statistics import Share

BITS = tuple(range(1, 17))
MSBS = tuple(range(-6, 5))
CODES = "signed", "unsigned"
ALL = "all"  # kernels
BINS = 141
CLIP_LINE = {"color": plots.GREY, "dash": "dash", "width": 2}


def staircase(
    label: str,
    bits: Sequence[int] = tuple(range(1, 9)),
    msbs: Sequence[int] = tuple(range(-3, 3)),
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
            "amplitude A": f"{fmt.amplitude:.10g}",
            "step q": f"{fmt.step:.10g}",
            "values": f"{y.min():.10g} to {y.max():.10g}",
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
        PageView("staircase", ("formats", "quantizer", "staircase"), {"from": -2.5, "step": 1 / 64, "places": x.size}),
    )


def kernel_histogram(
    model: keras.Model,
    dataset: Dataset,
    label: str,
    bits: Sequence[int] = BITS,
    msbs: Sequence[int] = MSBS,
    roundings: Sequence[str] = INTEGER_ROUNDINGS,
) -> Explorer:
    """Return an explorer of a trained network with one kernel quantized, or all of them; the rest stays float.

    Args:
        model: A classifier that `deploy.page_program` supports; it is not changed.
        dataset: Its validation images are what the accuracy is measured on.
        label: The number of the figure.
        bits: What the reader can choose.
        msbs: What the reader can choose.
        roundings: What the reader can choose, of `names.INTEGER_ROUNDINGS`.
    """
    twin = quantize_model(model)
    round_for_page(twin)
    layers = {layer.name: layer for layer in twin.quantized_layers}
    originals = {name: keras.ops.convert_to_numpy(layer.kernel).astype(float) for name, layer in layers.items()}
    pooled = np.concatenate([kernel.ravel() for kernel in originals.values()])
    bin_width = 2.0 ** (math.ceil(math.log2(np.abs(pooled).max())) - 6)  # a power of two: marks fall on bins' centres
    edges = (np.arange(BINS + 1) - BINS / 2) * bin_width
    images, labels = dataset.arrays("validation")

    def view(kernel: str, bits: int, msb: int, rounding: str) -> View:
        fmt = FixedPoint(msb, bits)
        chosen = [name for name in layers if kernel in (ALL, name)]
        twin.set_rounding(rounding)
        for name, layer in layers.items():
            layer.set_formats(kernel=fmt if name in chosen else None)
        share = Share.of(twin.predict_on_batch(images).argmax(-1) == labels)
        values = np.concatenate([originals[name].ravel() for name in chosen])
        error = quantization_error(values, fmt, rounding)
        counts = [np.histogram(x, edges)[0].tolist() for x in (quantize(values, fmt, rounding), values)]
        readings = {
            "accuracy": str(share),
            "clipped": f"{error.clipped:.2%}",
            "underflowed": f"{error.underflowed:.2%}",
            "mean shift": f"{error.bias / fmt.step:+.2f} q",
            "RMS error": f"{error.rms:.4f}",
            "SQNR": decibel(error.sqnr),
        }
        return View([{"y": y} for y in counts], readings, {"shapes": _clip_range(fmt)})

    centres = short((edges[1:] + edges[:-1]) / 2)
    figure = plots.figure(
        go.Bar(x=centres, y=[0] * BINS, name="quantized", marker={"color": plots.BLUE, "line": {"width": 0}}),
        go.Scatter(x=centres, y=[0] * BINS, name="float", line={"shape": "hvh", "color": plots.ORANGE, "width": 2}),
        x="weight",
        y="number of weights",
        bargap=0.1,
        xaxis={"range": [edges[0], edges[-1]]},
        yaxis={"type": "log", "range": [-0.2, math.log10(pooled.size)], "dtick": 1},
    )
    twin.set_formats((FixedPoint(0, 8),) * 3)  # what the page then changes
    data = {
        "reader": readers.reader_data(twin, dataset.validation, dataset.levels),
        "bins": {"lowest": edges[0], "width": bin_width, "count": BINS},
        "line": CLIP_LINE,
        "all": ALL,
    }
    return Explorer(
        {"kernel": (ALL, *layers), "bits": bits, "msb": msbs, "rounding": roundings},
        {"kernel": ALL, "bits": 6, "msb": 0, "rounding": "floor"},
        view,
        figure,
        label,
        f"One kernel of the network in a format of your own, or all of them, on {len(labels)} validation images (95 % "
        "interval in brackets). The dashed lines are the clip range, -A and +A; underflowed weights are smaller than "
        "one step.",
        "Histogram of the weights before and after quantization, with the clip range as two vertical lines.",
        PageView("kernel_histogram", (*readers.SCRIPTS, "shares", "quantizer", "kernel_histogram"), data),
    )


def _clip_range(fmt: FixedPoint) -> list[dict]:
    return [
        {"type": "line", "x0": a, "x1": a, "y0": 0, "y1": 1, "yref": "paper", "line": CLIP_LINE}
        for a in (-fmt.amplitude, fmt.amplitude)
    ]


def short(values: Any) -> list[float]:
    """Return numbers to six digits: enough to draw, and a third of the bytes."""
    return [float(f"{v:.6g}") for v in np.asarray(values, float)]


def decibel(value: float) -> str:
    """Return an SQNR as text."""
    return f"{value:.1f} dB" if math.isfinite(value) else "no error"

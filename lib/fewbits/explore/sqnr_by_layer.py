"""An explorer of how errors travel through a network: the SQNR of each layer's output, measured and predicted."""

from math import isfinite
from typing import Any

import numpy as np
import plotly.graph_objects as go

from fewbits.errors import InputError
from fewbits.explore import plots
from fewbits.explore.explorer import Explorer, View
from fewbits.explore.histograms import decibel
from fewbits.quantization.layers import Formats
from fewbits.quantization.propagation import Propagation

QUANTIZED = {"kernels": ("kernel",), "activations": ("input", "output"), "all": ("kernel", "input", "output")}
ROUNDINGS = ("floor", "nearest")


def propagated_sqnr(followed: Propagation, tables: dict[int, dict[str, Formats]], label: str) -> Explorer:
    """Return an explorer of the SQNR of each layer's output, measured and as Equation 8 predicts it.

    Args:
        followed: The network that is followed; its formats and roundings are changed.
        tables: Bits -> formats of all layers, for example from `dynamic_formats`.
        label: The number of the figure.

    Raises:
        InputError: when there are no tables.
    """
    if not tables:
        raise InputError("formats are needed for at least one number of bits")
    names = list(followed.observed)
    seen: dict[tuple, list] = {}

    def errors(quantized: str, bits: int, rounding: str) -> list:
        if (quantized, bits, rounding) not in seen:
            kept = QUANTIZED[quantized]
            formats = {
                name: Formats(**{kind: getattr(fmt, kind) for kind in kept}) for name, fmt in tables[bits].items()
            }
            followed.network.set_formats(formats)
            followed.network.set_rounding(rounding)
            seen[quantized, bits, rounding] = list(followed.errors().values())
        return seen[quantized, bits, rounding]

    def view(quantized: str, bits: int, rounding: str) -> View:
        found = errors(quantized, bits, rounding)
        last, away = found[-1], [e.sqnr - e.predicted for e in found if isfinite(e.sqnr)]
        mean_square = last.bias + last.variance
        readings = {
            "last layer": f"{decibel(last.sqnr)}, predicted {decibel(last.predicted)}",
            "measured minus predicted": f"{np.mean(away):+.1f} dB on average, at worst {max(away, key=abs):+.1f}"
            if away
            else "no error",
            "bias part of the last layer's error": f"{last.bias / mean_square:.0%}" if mean_square else "no error",
        }
        kinds = ("sqnr", "predicted", "bias_sqnr", "variance_sqnr")
        return View([{"y": [_shown(getattr(e, kind)) for e in found]} for kind in kinds], readings)

    def line(name: str, colour: str, **style: Any) -> go.Scatter:
        marker = {"symbol": style.pop("symbol"), "size": 8}
        return go.Scatter(x=names, name=name, mode="lines+markers", marker=marker, line={"color": colour, **style})

    figure = plots.figure(
        line("measured", plots.BLUE, symbol="circle", width=3),
        line("predicted (Equation 8)", plots.ORANGE, symbol="x", dash="dash"),
        line("bias part alone", plots.GREEN, symbol="diamond", dash="dot", width=1),
        line("variance part alone", plots.GREY, symbol="square", dash="dot", width=1),
        x="layer",
        y="SQNR in dB",
        yaxis={"range": [-8, 52]},
        height=480,
    )
    bits = tuple(tables)
    return Explorer(
        {"quantized": tuple(QUANTIZED), "bits": bits, "rounding": ROUNDINGS},
        {"quantized": "all", "bits": bits[len(bits) // 2], "rounding": "nearest"},
        view,
        figure,
        label,
        "What is left of each layer's output, with all errors of the layers before it: measured, and predicted from "
        "the parts alone. Dotted: what it would be if only the mean of the error, or only its spread, were there.",
        "Four lines over the layers: measured and predicted SQNR, and those of the error's bias and variance parts.",
    )


def _shown(value: float) -> float | None:
    return round(value, 2) if isfinite(value) else None

"""An explorer of a network layer by layer: where its values lie, and what formats leave of them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from fewbits.explore import plots
from fewbits.explore.explorer import Explorer, View
from fewbits.explore.histograms import decibel
from fewbits.quantization.fixedpoint import FixedPoint
from fewbits.quantization.observation import Values
from fewbits.quantization.range_rules import PERCENTILES, msb_from_limits, percentile_limits
from fewbits.quantization.sqnr import quantization_error

BITS = (2, 3, 4, 5, 6, 8, 10)
WAYS = (*PERCENTILES, 100)
ROUNDINGS = ("floor", "nearest")


def sqnr_by_percentile(
    observed: dict[str, Values],
    label: str,
    bits: Sequence[int] = BITS,
    percentiles: Sequence[float] = WAYS,
    codes: Sequence[str] = ("signed",),
) -> Explorer:
    """Return an explorer of the SQNR that MSBs from percentiles leave in each layer.

    Args:
        observed: Layer name -> Values, from `dict(observation.observe(model, images))`.
        label: The number of the figure.
        bits: What the reader can choose.
        percentiles: What the reader can choose.
        codes: What the reader can choose, of CODES; one alone is no choice. Values below zero are signed anyway.
    """
    kinds = ("kernel", "input", "output")
    arrays = {kind: [getattr(v, kind) for v in observed.values()] for kind in kinds}
    limits = {(kind, p): [percentile_limits(x, p) for x in arrays[kind]] for kind in kinds for p in percentiles}
    below = {kind: [kind == "kernel" or bool(np.min(x) < 0) for x in arrays[kind]] for kind in kinds}
    names, seen = list(observed), {}

    def formats(kind: str, percentile: float, nbits: int, codes: str) -> list[FixedPoint]:
        signs = [codes == "signed" or negative for negative in below[kind]]
        pairs = zip(limits[kind, percentile], signs)
        return [FixedPoint(msb_from_limits(*ends, signed), nbits, signed) for ends, signed in pairs]

    def errors(kind: str, used: list[FixedPoint], rounding: str) -> Iterator[Any]:
        for name, x, fmt in zip(names, arrays[kind], used):
            key = kind, name, fmt, rounding
            if key not in seen:
                seen[key] = quantization_error(x, fmt, rounding)
            yield seen[key]

    def view(values: str, percentile: float, bits: int, rounding: str, codes: str = codes[0]) -> View:
        used = formats(values, percentile, bits, codes)
        error = list(errors(values, used, rounding))
        sqnr = [e.sqnr for e in error]
        worst = int(np.argmin(sqnr))
        msbs = [fmt.msb for fmt in used]
        readings = {
            "MSBs": f"{min(msbs)} to {max(msbs)}",
            "most clipped": f"{max(e.clipped for e in error):.2%}",
            "most underflowed": f"{max(e.underflowed for e in error):.1%}",
            "mean SQNR": decibel(float(np.mean(sqnr))),
            "worst layer": f"{names[worst]}, {decibel(sqnr[worst])}",
        }
        texts = [f"MSB {fmt.msb}{'' if fmt.signed else ', unsigned'}" for fmt in used]
        return View([{"y": [round(s, 2) for s in sqnr], "hovertext": texts}], readings)

    figure = plots.figure(
        go.Bar(x=names, marker={"color": plots.BLUE}),
        x="layer",
        y="SQNR in dB",
        showlegend=False,
        yaxis={"range": [0, 60]},
        height=420,
    )
    choice = {"codes": tuple(codes)} if len(codes) > 1 else {}
    return Explorer(
        {"values": kinds, "percentile": percentiles, "bits": bits, "rounding": ROUNDINGS} | choice,
        {"values": "kernel", "percentile": 99.9, "bits": 4, "rounding": "nearest"}
        | {name: values[0] for name, values in choice.items()},
        view,
        figure,
        label,
        "What rounding leaves of each layer's values; its MSB is the smallest that reaches the percentile's limits.",
        "Bars of the signal-to-quantization-noise ratio, one for each layer.",
    )

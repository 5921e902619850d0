"""An explorer of how large the sums of a network of integers can become, layer by layer."""

from math import log2

import plotly.graph_objects as go

from fewbits.deploy.integer import FLOAT32_INTEGERS, IntegerNetwork
from fewbits.explore import plots
from fewbits.explore.explorer import Explorer, View

HIGHEST = 40  # of the axis, in bits


def accumulator_sizes(networks: dict[tuple[int, int], IntegerNetwork], label: str, caption: str) -> Explorer:
    """Return an explorer of the proven size of each layer's sums, as a power of two.

    Args:
        networks: (bits of a weight, bits of an activation) -> the network with these formats, for every pair of some
            numbers of bits. A network without a layer that multiplies shows nothing.
        label: The number of the figure.
        caption: What the figure shows.
    """
    weights, activations = (tuple(sorted({pair[i] for pair in networks})) for i in (0, 1))
    names = [step.layer for step in networks[weights[0], activations[0]].convolutions]

    def view(weight_bits: int, activation_bits: int) -> View:
        network = networks[weight_bits, activation_bits]
        sums = [log2(max(1, step.magnitude)) for step in network.convolutions]
        beyond = [step.layer for step in network.convolutions if step.magnitude > FLOAT32_INTEGERS]
        within = [size if name not in beyond else None for name, size in zip(names, sums)]
        outside = [size if name in beyond else None for name, size in zip(names, sums)]
        widest = max(network.convolutions, key=lambda step: step.partial_bits)
        readings = {
            "widest accumulator": f"{widest.partial_bits} bits, {widest.layer}",
            "weights": f"{network.weight_bits / 8:,.0f} bytes",
            "float32 may err in": f"{len(beyond)} of {len(names)} layers",
        }
        return View([{"x": names, "y": within}, {"x": names, "y": outside}], readings)

    figure = plots.figure(
        go.Bar(name="float32 holds every sum", marker={"color": plots.BLUE}),
        go.Bar(name="it does not", marker={"color": plots.ORANGE, "pattern": {"shape": "/"}}),
        x="layer",
        y="largest sum of products (power of 2)",
        barmode="stack",
        xaxis={"autotickangles": [0, -45, -90]},
        yaxis={"range": [0, HIGHEST], "dtick": 8},
        legend={"traceorder": "normal"},
        height=440,
    )
    for power, what in ((24, "float32's integers end"), (31, "int32 ends")):
        figure.add_hline(y=power, line={"color": plots.GREY, "dash": "dash", "width": 1})
        figure.add_annotation(x=0, xref="paper", xanchor="left", y=power, yanchor="bottom", text=what, showarrow=False)
    return Explorer(
        {"weight_bits": weights, "activation_bits": activations},
        {
            "weight_bits": 8 if 8 in weights else weights[0],
            "activation_bits": 8 if 8 in activations else activations[0],
        },
        view,
        figure,
        label,
        caption,
        "Bars, one per layer: the largest sum of products as a power of two, under lines at 24 and at 31.",
    )

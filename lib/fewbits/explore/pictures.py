"""Pictures of arrays: filters as coloured squares, the liveliest maps of a layer, and a value per layer and network."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fewbits.explore import plots


def filter_mosaics(
    kernels: Mapping[str, np.ndarray],
    label: str,
    caption: str,
    alt: str,
    *,
    columns: int = 2,
    per_row: int = 8,
) -> None:
    """Show kernels of three input channels as boards of coloured squares, one square per filter.

    Args:
        kernels: Name -> (h, w, 3, filters). Each filter goes from black, its lowest weight, to white, its highest.
        label: The number of the figure, such as "11.2".
        caption: What the figure shows.
        alt: A text alternative.
        columns: How many boards stand side by side.
        per_row: How many filters stand side by side on a board; the number of filters is a multiple of it.
    """
    fig = _grid(-(-len(kernels) // columns), columns, 13, list(kernels), horizontal_spacing=0.03, vertical_spacing=0.1)
    fig.update_layout(height=400, margin={"l": 5, "r": 5, "t": 35, "b": 5})
    for i, kernel in enumerate(kernels.values()):
        board = go.Image(z=_mosaic(kernel, per_row), hoverinfo="skip")
        fig.add_trace(board, 1 + i // columns, 1 + i % columns)
    fig.update_yaxes(constraintoward="top")
    rows = [(name, *(float(of(k)) for of in (np.min, np.max, np.std))) for name, k in kernels.items()]
    heads = "kernel", "lowest weight", "highest weight", "standard deviation"
    plots.show(fig, label, caption, alt, plots.Table(heads, rows))


def _mosaic(kernel: np.ndarray, per_row: int) -> np.ndarray:
    """Return the filters side by side on grey, each scaled from its lowest weight, 0, to its highest, 255."""
    h, w, _, n = kernel.shape
    low, high = kernel.min((0, 1, 2)), kernel.max((0, 1, 2))
    tiles = np.moveaxis(255 * (kernel - low) / (high - low), 3, 0)
    image = np.full((n // per_row * (h + 1) + 1, per_row * (w + 1) + 1, 3), 128.0)
    for i, tile in enumerate(tiles):
        y, x = (i // per_row) * (h + 1) + 1, (i % per_row) * (w + 1) + 1
        image[y : y + h, x : x + w] = tile
    return image.astype(np.uint8)


def liveliest_maps(
    maps: Mapping[str, np.ndarray], label: str, caption: str, alt: str, *, count: int = 8, what: str = "network"
) -> None:
    """Show the maps of a layer that vary most over an image, a row per network.

    Args:
        maps: Network -> (h, w, maps), as `inspection.activation_maps` computes them for one image.
        label: The number of the figure, such as "11.5".
        caption: What the figure shows.
        alt: A text alternative.
        count: How many maps are shown of each network.
        what: What a row is, at the head of the data table.
    """
    fig = _grid(len(maps), count, 12, row_titles=list(maps), horizontal_spacing=0.01, vertical_spacing=0.12)
    fig.update_layout(height=300, margin={"l": 5, "r": 25, "t": 15, "b": 5})
    rows = []
    for row, (name, found) in enumerate(maps.items(), 1):
        liveliest = np.argsort(-found.std(axis=(0, 1)), kind="stable")[:count]
        for column, number in enumerate(liveliest, 1):
            chosen, hover = found[..., number], f"map {number}: %{{z:.2f}}<extra></extra>"
            squares = go.Heatmap(z=chosen[::-1], colorscale="Cividis", showscale=False, hovertemplate=hover)
            fig.add_trace(squares, row, column)
            rows.append((name, int(number), f"{chosen.mean():.3f}", f"{np.mean(chosen == 0):.0%}"))
    plots.show(fig, label, caption, alt, plots.Table((what, "map", "mean", "zeros"), rows))


def value_by_layer(
    values: Mapping[Any, Mapping[str, float]],
    label: str,
    caption: str,
    alt: str,
    *,
    x: str,
    name: str,
    logarithmic: bool = False,
) -> None:
    """Show a value per layer and network as a table of coloured cells.

    Args:
        values: Network -> layer -> value. The column of a network without values stays blank. The layers
            are those of the first network that was run.
        label: The number of the figure, such as "11.8".
        caption: What the figure shows.
        alt: A text alternative.
        x: The title of the x axis: what the networks differ in.
        name: The same in short, for the data table: "tl" for heads such as "tl = 9".
        logarithmic: Whether equal ratios, rather than equal differences, look alike.
    """
    known = {network: of for network, of in values.items() if of}
    layers = list(next(iter(known.values()), {}))
    scale = np.log10 if logarithmic else float
    ends = [end(value for of in known.values() for value in of.values()) for end in (min, max)] if known else [1, 1]
    ticks = [tick for tick in _TICKS if ends[0] <= tick <= ends[1]] if logarithmic else []
    squares = go.Heatmap(
        x=[str(network) for network in values],
        y=layers,
        z=[[float(scale(of[layer])) if of else None for of in values.values()] for layer in layers],
        customdata=[[f"{of[layer]:.3g}" if of else "" for of in values.values()] for layer in layers],
        colorscale="Cividis",
        hoverongaps=False,
        hovertemplate=f"{name} = %{{x}}, %{{y}}: %{{customdata}}<extra></extra>",
        colorbar={
            "orientation": "h",
            "y": 1.01,
            "yanchor": "bottom",
            "thickness": 12,
            **({"tickvals": np.log10(ticks).tolist(), "ticktext": [f"{tick:g}" for tick in ticks]} if ticks else {}),
        },
    )
    vertical = {"autorange": "reversed", "dtick": 1}
    fig = plots.figure(squares, x=x, y="", xaxis={"type": "category"}, yaxis=vertical, height=660)
    rows = [(layer, *(float(of[layer]) for of in known.values())) for layer in layers]
    plots.show(fig, label, caption, alt, plots.Table(("layer", *(f"{name} = {network}" for network in known)), rows))


_TICKS = [digit * 10.0**power for power in range(-6, 6) for digit in (1, 3)]  # of logarithmic colours


def _grid(rows: int, columns: int, font: int, titles: Sequence[str] = (), **options: Any) -> go.Figure:
    """Return rows and columns of axes without lines, their titles in a small font."""
    fig = make_subplots(rows, columns, subplot_titles=list(titles) or None, **options)
    fig.update_layout(template=plots.TEMPLATE).update_annotations(font_size=font)
    hidden = {"visible": False, "constrain": "domain"}
    return fig.update_xaxes(**hidden).update_yaxes(**hidden)

"""Boards: all maps of a layer side by side as one picture, a board per network."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fewbits.explore import plots


def map_boards(
    maps: Mapping[str, np.ndarray],
    label: str,
    caption: str,
    alt: str,
    *,
    scene: np.ndarray | None = None,
    columns: int = 8,
    heights: Sequence[float] | None = None,
) -> None:
    """Show all maps of a layer as boards below each other, one board per network.

    Args:
        maps: Network -> (h, w, maps), as `inspection.activation_maps` computes them for one image; none is negative.
            Black is zero, white the largest value of all maps of the network.
        label: The number of the figure, such as "13.2".
        caption: What the figure shows.
        alt: A text alternative.
        scene: (h, w, 1), the image, shown above the boards; None leaves it out.
        columns: How many maps stand side by side on a board.
        heights: What share of the height each picture gets, that of the scene first; by default all get the same.
    """
    boards = {} if scene is None else {"the scene": _board(scene, 1)}
    boards |= {f"{name}, {found.shape[-1]} maps": _board(found, columns) for name, found in maps.items()}
    fig = make_subplots(
        len(boards), 1, subplot_titles=list(boards), row_heights=list(heights or ()) or None, vertical_spacing=0.06
    )
    fig.update_layout(template=plots.TEMPLATE, height=640, margin={"l": 5, "r": 5, "t": 30, "b": 5})
    for row, board in enumerate(boards.values(), 1):
        fig.add_trace(go.Image(z=board, hoverinfo="skip"), row, 1)
    hidden = {"visible": False, "constrain": "domain"}
    fig.update_xaxes(**hidden).update_yaxes(**hidden).update_annotations(font_size=13)
    rows = [
        (name, found.shape[-1], int(np.sum(found.max((0, 1)) == 0)), f"{np.mean(found == 0):.0%}")
        for name, found in maps.items()
    ]
    plots.show(fig, label, caption, alt, plots.Table(("network", "maps", "empty", "zeros"), rows))


def _board(maps: np.ndarray, columns: int) -> np.ndarray:
    """Return maps (h, w, n) side by side as one image of bytes, with grey lines between them."""
    h, w, n = maps.shape
    board = np.full((-(-n // columns) * (h + 1) + 1, columns * (w + 1) + 1), 110.0)
    largest = maps.max() or 1  # all maps may be empty
    for i, tile in enumerate(np.moveaxis(255 * maps / largest, 2, 0)):
        y, x = (i // columns) * (h + 1) + 1, (i % columns) * (w + 1) + 1
        board[y : y + h, x : x + w] = tile
    return np.repeat(board[..., np.newaxis], 3, 2).astype(np.uint8)

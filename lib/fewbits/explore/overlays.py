"""An explorer of where networks see a class: heat maps over scenes with boxes."""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import Protocol

import numpy as np
import plotly.graph_objects as go

from fewbits.data.voc import Box
from fewbits.errors import InputError
from fewbits.explore import plots
from fewbits.explore.explorer import Explorer, View

DARKEST = 0.75  # so that the scene is seen where the network sees nothing
DASHES = ("solid", "dash", "dot")


class BoxedImage(Protocol):
    """An image with boxes around what it shows, as a Scene and a Photograph are."""

    @property
    def image(self) -> np.ndarray:
        """(height, width, 3) uint8."""

    @property
    def boxes(self) -> Sequence[Box]:
        """The boxes, each with the name of its class."""


def overlay(
    scenes: Mapping[str, BoxedImage], maps: Mapping[str, np.ndarray], classes: Sequence[str], label: str, caption: str
) -> Explorer:
    """Return an explorer that darkens a scene where a network does not see a class.

    Args:
        scenes: Name -> image with boxes; all of one size.
        maps: Network -> probabilities (scenes, h, w, classes), as `inspection.localisation` makes them.
        classes: The names of the classes.
        label: The number of the figure.
        caption: What the figure shows.

    Raises:
        InputError: when there are no scenes, they differ in size, or the maps do not fit them.

    Source:
        backstrom2018, Figures 15 and 17.
    """
    sizes = {scene.image.shape for scene in scenes.values()}
    if len(sizes) != 1:
        raise InputError(f"give at least one scene, and scenes of one size; there are {len(sizes)} sizes")
    [(height, width, _)] = sizes
    for name, heat in maps.items():
        if np.ndim(heat) != 4 or (len(heat), heat.shape[3]) != (len(scenes), len(classes)):
            raise InputError(
                f"the maps of {name} must be ({len(scenes)}, h, w, {len(classes)}), scenes first and classes last, "
                f"not {np.shape(heat)}"
            )
    boxed = [name for name in classes if any(box.name == name for scene in scenes.values() for box in scene.boxes)]
    numbers = {name: i for i, name in enumerate(scenes)}

    def view(scene: str, network: str, seen: str) -> View:
        heat, boxes = maps[network][numbers[scene]], scenes[scene].boxes
        chosen = heat[..., classes.index(seen)]
        h, w = chosen.shape
        row, column = divmod(int(chosen.argmax()), w)
        x, y = (column + 0.5) * width / w, (row + 0.5) * height / h
        here = {box.name for box in boxes if box.left <= x < box.right and box.top <= y < box.bottom}
        cells = {"x0": width / w / 2, "dx": width / w, "y0": height / h / 2, "dy": height / h}
        readings = {
            "highest place": f"{chosen[row, column]:.0%} {seen}",
            "in the box of": " and ".join(sorted(here)) or "none",
            "mostly this class": f"{np.count_nonzero(heat.argmax(-1) == classes.index(seen))} of {h * w} places",
        }
        traces = [
            *({"visible": name == scene} for name in scenes),
            {"z": np.round(chosen, 3).tolist(), **cells},
            *(_outlines([box for box in boxes if box.name == name]) for name in boxed),
            {"x": [x], "y": [y]},
        ]
        return View(traces, readings)

    figure = plots.figure(
        *(go.Image(source=_png(scene.image), x0=0.5, y0=0.5, hoverinfo="skip") for scene in scenes.values()),
        go.Heatmap(
            colorscale=[[0, f"rgba(0,0,0,{DARKEST})"], [1, "rgba(0,0,0,0)"]],
            zmin=0,
            zmax=1,
            showscale=False,
            hovertemplate="%{z:.0%}<extra></extra>",
        ),
        *(
            go.Scatter(name=f"box: {name}", mode="lines", line={"color": c, "width": 3, "dash": dash}, hoverinfo="skip")
            for name, c, dash in zip(boxed, (plots.ORANGE, plots.BLUE, plots.PURPLE) * 9, DASHES * 9)
        ),
        go.Scatter(
            name="highest",
            mode="markers",
            marker={"symbol": "x", "size": 13, "color": "white", "line": {"color": "black", "width": 1}},
            hoverinfo="skip",
        ),
        x="",
        y="",
        xaxis={"range": [0, width], "constrain": "domain", "visible": False},
        yaxis={"range": [height, 0], "constrain": "domain", "scaleanchor": "x", "visible": False},
        margin={"l": 5, "r": 5, "t": 15, "b": 5},
        height=440,
    )
    return Explorer(
        {"scene": tuple(scenes), "network": tuple(maps), "seen": tuple(classes)},
        {"scene": next(iter(scenes)), "network": list(maps)[-1], "seen": (*boxed, *classes)[0]},
        view,
        figure,
        label,
        caption,
        "A photograph with boxes around its plants, darkened where the network does not see the chosen class.",
    )


def _outlines(boxes: Iterable[Box]) -> dict:
    """Return the lines of boxes, one box after the other."""
    x: list[float | None] = []
    y: list[float | None] = []
    for box in boxes:
        x += [box.left, box.right, box.right, box.left, box.left, None]
        y += [box.top, box.top, box.bottom, box.bottom, box.top, None]
    return {"x": x, "y": y}


def _png(image: np.ndarray) -> str:
    """Return an image as a data URI."""
    try:
        from PIL import Image
    except ImportError:
        raise InputError("scenes are shown with Pillow; install it with `pip install pillow`") from None
    file = BytesIO()
    Image.fromarray(image).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"

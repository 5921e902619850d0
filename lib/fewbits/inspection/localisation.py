"""Where a network sees what it names: class heat maps over whole scenes, and how well they fit boxes.

A network that ends in global average pooling has an answer for each place, before it takes their mean. Without that
mean it runs over an image of any size. Sources: backstrom2018, 4.4.3; Zhang et al., Top-down neural attention by
excitation backprop, 2016 (the pointing game).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fewbits.backend import keras, ops
from fewbits.data.crops import Scene
from fewbits.data.cutouts import BACKGROUND
from fewbits.data.voc import Photograph
from fewbits.errors import InputError, nearest
from fewbits.graph import Graph
from fewbits.quantization.layerwise import LayerwiseRun

BATCH = 16  # scenes at a time


class Pointing(NamedTuple):
    """How often the highest place of a map is in a box of its class.

    Attributes:
        hits: The pairs of a scene and a class in it for which it is.
        n: All pairs.
        chance: The share that random places would hit.
    """

    hits: int
    n: int
    chance: float


def heat_maps(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Compute what a network says of each class at each place; its logits are the means of these maps.

    Args:
        model: Ends in global average pooling; quantized layers compute as they are set.
        images: (n, height, width, channels), scaled as the network expects, of any size that its windows fit in.

    Returns:
        (n, h, w, classes) float32.

    Raises:
        InputError: when the model ends in another layer, or the images do not fit.
    """
    last = model.layers[-1]
    if not isinstance(last, keras.layers.GlobalAveragePooling2D) or last.data_format != "channels_last":
        raise InputError(f"{model.name} ends in {last.name}, not in global average pooling, so it has no heat maps")
    return _run(model, Graph(model).calls_of(last)[0].inputs[0], images)


def activation_maps(model: keras.Model, images: np.ndarray, layer: str) -> np.ndarray:
    """Compute the output maps of a layer.

    Args:
        model: A network; quantized layers compute as they are set.
        images: As in `heat_maps`.
        layer: The name of a layer with maps as output.

    Returns:
        (n, h, w, channels) float32.

    Raises:
        InputError: when the layer is unknown or has no maps, or the images do not fit.

    Source:
        backstrom2018, Figures 14, 16 and 20.
    """
    names = [layer.name for layer in model.layers]
    if layer not in names:
        raise InputError(f"{model.name} has no layer {layer}{nearest(layer, names)}")
    maps = model.get_layer(layer).output
    if len(maps.shape) != 4:
        raise InputError(f"{layer} of {model.name} has no maps; its output is {maps.shape[1:]}")
    return _run(model, maps, images)


def _run(model: keras.Model, maps: keras.KerasTensor, images: np.ndarray) -> np.ndarray:
    """Return what `model` computes of `maps`, one of its tensors, for images of any size."""
    if np.ndim(images) != 4 or not len(images):
        raise InputError(f"images must be (n, height, width, channels), not {np.shape(images)}")
    network = keras.Model(model.inputs[0], maps, name=model.name)
    channels, given = network.input_shape[3], np.shape(images)[3]
    if given != channels:
        raise InputError(f"{model.name} takes {channels} channels, but the images have {given}")
    batches = (np.asarray(images[i : i + BATCH], np.float32) for i in range(0, len(images), BATCH))
    try:  # layer by layer, because a model would take images of its own size alone
        found = [LayerwiseRun(network, [[batch]]).read(maps)[0] for batch in batches]
    except Exception as error:  # of a window larger than what it slides over: each backend has its own
        size = " x ".join(map(str, np.shape(images)[1:3]))
        raise InputError(f"{model.name} cannot run over images of {size}; give it larger ones") from error
    return np.concatenate([ops.convert_to_numpy(values) for values in found])


def probabilities(maps: np.ndarray) -> np.ndarray:
    """Compute the softmax over the classes at each place.

    Args:
        maps: (..., classes), such as those of `heat_maps`.

    Returns:
        (..., classes) float64.
    """
    powers = np.exp(np.asarray(maps, np.float64) - np.max(maps, -1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def pointing_game(maps: np.ndarray, scenes: Sequence[Scene | Photograph], classes: Sequence[str]) -> Pointing:
    """Count how often the highest place of a class's map is in one of its boxes, over the classes in each scene.

    A place is the middle of its cell; of equally high places the first counts.

    Args:
        maps: (n, h, w, classes), such as `probabilities`.
        scenes: N scenes or photographs.
        classes: The names of the classes, in the order of the maps.

    Raises:
        InputError: when numbers differ, a box has another class, or there are no boxes.
    """
    hits, chances = 0, []
    for heat, scene, height, width in _pairs(maps, scenes, classes):
        inside = _inside(scene, classes, _middles(len(heat), height), _middles(heat.shape[1], width))
        for label, cells in inside.items():
            hits += bool(cells.flat[np.argmax(heat[..., label])])
            chances.append(cells.mean())
    if not chances:
        raise InputError("no scene has a box, so no place can be right")
    return Pointing(hits, len(chances), float(np.mean(chances)))


def overlap(maps: np.ndarray, scenes: Sequence[Scene | Photograph], classes: Sequence[str]) -> dict[str, float]:
    """Compute the intersection over union of the pixels where a class is highest and the pixels in its boxes.

    Args:
        maps: As in `pointing_game`.
        scenes: As in `pointing_game`.
        classes: As in `pointing_game`; a class called background has the pixels outside of all boxes.

    Returns:
        Class -> intersection over union over all scenes, without classes that have no pixel in either.

    Raises:
        InputError: when numbers differ, or a box has another class.
    """
    both, either = np.zeros(len(classes), int), np.zeros(len(classes), int)
    for heat, scene, height, width in _pairs(maps, scenes, classes):
        sides = (height, heat.shape[0]), (width, heat.shape[1])
        rows, columns = (np.arange(side) * cells // side for side, cells in sides)
        highest = heat.argmax(-1)[rows][:, columns]
        inside = _inside(scene, classes, np.arange(height) + 0.5, np.arange(width) + 0.5)
        if BACKGROUND in classes:
            inside[classes.index(BACKGROUND)] = np.all(
                [np.ones((height, width), bool), *(~i for i in inside.values())], 0
            )
        for label in range(len(classes)):
            seen, true = highest == label, inside.get(label, False)
            both[label] += np.count_nonzero(seen & true)
            either[label] += np.count_nonzero(seen | true)
    return {name: float(a / b) for name, a, b in zip(classes, both, either) if b}


def _pairs(
    maps: np.ndarray, scenes: Sequence[Scene | Photograph], classes: Sequence[str]
) -> Iterator[tuple[np.ndarray, Scene | Photograph, int, int]]:
    """Yield each map, its scene, and the scene's height and width."""
    if np.ndim(maps) != 4 or np.shape(maps)[3] != len(classes):
        raise InputError(f"maps must be (n, h, w, {len(classes)}), one map per class, not {np.shape(maps)}")
    if len(maps) != len(scenes):
        raise InputError(f"each map needs its scene, but there are {len(maps)} maps and {len(scenes)} scenes")
    for heat, scene in zip(maps, scenes):
        for box in scene.boxes:
            if box.name not in classes:
                raise InputError(f"a box has the class {box.name!r}, but the maps are for {', '.join(classes)}")
        height, width = scene.image.shape[:2]
        yield heat, scene, height, width


def _middles(cells: int, side: int) -> np.ndarray:
    """Return where the middles of `cells` equal cells are along a side of `side` pixels."""
    return (np.arange(cells) + 0.5) * side / cells


def _inside(scene: Scene | Photograph, classes: Sequence[str], y: np.ndarray, x: np.ndarray) -> dict[int, np.ndarray]:
    """Return label -> whether each place, rows `y` by columns `x`, is in a box of that class, if it has boxes."""
    found: dict[int, np.ndarray] = {}
    for box in scene.boxes:
        cells = ((y >= box.top) & (y < box.bottom))[:, np.newaxis] & (x >= box.left) & (x < box.right)
        label = classes.index(box.name)
        found[label] = found[label] | cells if label in found else cells
    return found

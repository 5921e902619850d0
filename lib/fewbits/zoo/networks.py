"""Networks by name: `build("squeezenet_v1_1", (227, 227, 3), 1000)`.

Every network returns logits, one per class, and leaves softmax out. Layers are named after their level, the unit that
is quantized at once: conv1, fire2_squeeze1x1, ...
"""

from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from inspect import signature
from numbers import Integral
from pathlib import Path
from typing import Any

from fewbits.backend import keras
from fewbits.errors import InputError, nearest
from fewbits.io.weights import load_weights
from fewbits.zoo import alexnet, basicnet, inception, lenet, mobilenet, resnet, squeezenet
from fewbits.zoo.trained import find_weights

_NETWORKS: dict[str, Callable[..., keras.Model]] = {
    "basicnet": basicnet.build_basicnet,
    "lenet": lenet.build_lenet,
    "alexnet": alexnet.build_alexnet,
    "alexnet_small": alexnet.build_alexnet_small,
    "squeezenet_v1_0": squeezenet.build_squeezenet_v1_0,
    "squeezenet_v1_1": squeezenet.build_squeezenet_v1_1,
    "squeezenet_digits": squeezenet.build_squeezenet_digits,
    "squeezenet_cifar": squeezenet.build_squeezenet_cifar,
    **{f"squeezenet_chernis_{v}": partial(squeezenet.build_squeezenet_chernis, v) for v in squeezenet.CHERNIS},
    **{f"squeezenet_chernis_{v}": partial(squeezenet.build_squeezenet_ablation, v) for v in squeezenet.ABLATION},
    "mobilenet_v1": mobilenet.build_mobilenet_v1,
    "mobilenet_cifar": mobilenet.build_mobilenet_cifar,
    "mobilenet_cifar_folded": mobilenet.build_mobilenet_cifar_folded,
    "resnet50": resnet.build_resnet50,
    "resnet_cifar": resnet.build_resnet_cifar,
    "inception_v3": inception.build_inception_v3,
    "inception_cifar": inception.build_inception_cifar,
}
NAMES = tuple(_NETWORKS)


def build(
    name: str, input_shape: tuple[int, int, int], classes: int, *, weights: str | Path | None = None, **options: Any
) -> keras.Model:
    """Build the network `name`, with new or trained weights.

    Args:
        name: One of NAMES.
        input_shape: Height, width and channels of the images.
        classes: Number of classes, at least 2.
        weights: The name of trained weights, as in `find_weights`, or the path of an .npz file of `save_weights`; None
            draws new weights.
        options: Those of the network, such as `pooling="ceil"` for squeezenet_v1_1.

    Returns:
        A functional model that maps images (batch, height, width, channels) to logits (batch, classes).

    Raises:
        InputError: when a name or an option is unknown, a number is out of range, the images are too small for the
            network, or the weights do not fit it.

    Example:
        >>> build("squeezenet_digits", (8, 8, 1), 10, weights="squeezenet_digits").count_params()
        71146
    """
    if name not in NAMES:
        raise InputError(f"unknown network {name!r}{nearest(name, NAMES)}; there are {', '.join(NAMES)}")
    network = _NETWORKS[name]
    known = [option for option in signature(network).parameters if option not in ("input_shape", "classes")]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise InputError(f"{name} has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    if not _is_integer(classes, 2):
        raise InputError(f"classes must be an integer of at least 2, not {classes!r}")
    try:
        height, width, channels = input_shape
    except (TypeError, ValueError):
        height = width = channels = 0
    if not all(_is_integer(n, 1) for n in (height, width, channels)):
        raise InputError(f"input_shape must be (height, width, channels), integers of at least 1, not {input_shape!r}")
    model = _built(name, (height, width, channels), classes, options)
    if weights is not None:
        is_path = isinstance(weights, Path) or weights.endswith(".npz")
        load_weights(model, Path(weights) if is_path else find_weights(str(weights)))
    return model


def levels(model: keras.Model) -> list[list[str]]:
    """Return the names of the layers to quantize, grouped by level: what stands before the first underscore."""
    grouped: dict[str, list[str]] = {}
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            grouped.setdefault(layer.name.split("_")[0], []).append(layer.name)
    return list(grouped.values())


def _built(name: str, input_shape: tuple[int, int, int], classes: int, options: dict[str, Any]) -> keras.Model:
    height, width, channels = input_shape
    network = _NETWORKS[name]
    try:
        return network(input_shape, classes, **options)
    except InputError:
        raise
    except ValueError:  # Keras', of a window larger than what it slides over
        smallest = _smallest_side(network, channels, classes, options, min(height, width) + 1)
        if smallest is None:
            raise
    raise InputError(f"{name} needs images of at least {smallest} x {smallest} pixels, not {height} x {width}")


def _smallest_side(
    network: Callable[..., keras.Model], channels: int, classes: int, options: dict[str, Any], start: int
) -> int | None:
    """Return the side, from `start` to 256, of the smallest images that `network` takes, or None."""

    def fits(side: int) -> bool:
        try:
            network((side, side, channels), classes, **options)
        except ValueError:
            return False
        return True

    sides = range(start, 257)
    found = bisect_left(sides, True, key=fits)
    return sides[found] if found < len(sides) else None


def _is_integer(value: object, lowest: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= lowest

"""Networks by name: `build("squeezenet_v1_1", (227, 227, 3), 1000)`.

Every network returns logits, one a class; softmax stands outside. Layers are named after their level, the unit that is
quantized at once: conv1, fire2_squeeze1x1, ...
"""

from bisect import bisect_left
from functools import partial
from inspect import signature
from numbers import Integral

from fewbits.errors import InputError, nearest
from fewbits.zoo import alexnet, basicnet, inception, lenet, mobilenet, resnet, squeezenet

_NETWORKS = {
    "basicnet": basicnet.build,
    "lenet": lenet.build,
    "alexnet": alexnet.build,
    "alexnet_small": alexnet.build_small,
    "squeezenet_v1_0": squeezenet.build_v1_0,
    "squeezenet_v1_1": squeezenet.build_v1_1,
    "squeezenet_digits": squeezenet.build_digits,
    "squeezenet_cifar": squeezenet.build_cifar,
    **{f"squeezenet_chernis_{v}": partial(squeezenet.build_chernis, v) for v in squeezenet.CHERNIS},
    **{f"squeezenet_chernis_{v}": partial(squeezenet.build_ablation, v) for v in squeezenet.ABLATION},
    "mobilenet_v1": mobilenet.build_v1,
    "mobilenet_cifar": mobilenet.build_cifar,
    "mobilenet_cifar_folded": mobilenet.build_cifar_folded,
    "resnet50": resnet.build_50,
    "resnet_cifar": resnet.build_cifar,
    "inception_v3": inception.build_v3,
    "inception_cifar": inception.build_cifar,
}
NAMES = tuple(_NETWORKS)


def build(name: str, input_shape: tuple[int, int, int], classes: int, **options):
    """Return the network `name`, one of NAMES, as a functional keras.Model with new weights.

    input_shape: (height, width, channels). The model maps images (batch, height, width, channels) to logits
    (batch, classes). options: those of the network, such as `pooling="ceil"` for squeezenet_v1_1. Raises InputError
    on an unknown name or option, fewer than 2 classes, and images too small for the network.
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
        height = width = channels = None
    if not all(_is_integer(n, 1) for n in (height, width, channels)):
        raise InputError(f"input_shape must be (height, width, channels), integers of at least 1, not {input_shape!r}")
    try:
        return network((height, width, channels), classes, **options)
    except InputError:
        raise
    except ValueError:  # Keras', of a window larger than what it slides over
        smallest = _smallest_side(network, channels, classes, options, min(height, width) + 1)
        if smallest is None:
            raise
    raise InputError(f"{name} needs images of at least {smallest} x {smallest} pixels, not {height} x {width}")


def _smallest_side(network, channels, classes, options, start):
    """Return the side, from `start` to 256, of the smallest images that `network` takes, or None."""

    def fits(side):
        try:
            network((side, side, channels), classes, **options)
        except ValueError:
            return False
        return True

    sides = range(start, 257)
    found = bisect_left(sides, True, key=fits)
    return sides[found] if found < len(sides) else None


def _is_integer(value, lowest):
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= lowest


def levels(model) -> list[list[str]]:
    """Return the names of the layers to quantize, grouped by level: what stands before the first underscore."""
    grouped: dict[str, list[str]] = {}
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            grouped.setdefault(layer.name.split("_")[0], []).append(layer.name)
    return list(grouped.values())

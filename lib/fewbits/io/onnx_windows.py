"""Operators of ONNX with a sliding window, as Keras layers: convolutions, pooling, padding and resizing."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

import numpy as np

from fewbits.backend import keras
from fewbits.io.onnx_values import ONNXNode, ONNXValue, channels_last

layers = keras.layers
Pads = list[tuple[int, int]]  # what stands before and after each axis


def convolve(node: ONNXNode) -> ONNXValue:
    """Return what `Conv` computes: a convolution, depthwise if each channel has a group of its own."""
    kernel, bias, image = node.weights(1), node.bias(2), node.images(0)
    window = _window(node, image, kernel.shape[2:])
    groups, channels = node.attribute("group", 1), image.shape[-1]
    if kernel.shape[1] * groups != channels or len(kernel) % groups:
        node.refuse(f"has a kernel for {kernel.shape[1] * groups} channels and an input of {channels}; export it again")
    if max(window.strides) > 1 and max(window.dilations) > 1:
        node.refuse("has both strides and dilations, which Keras cannot compute; use one of them")
    image, padding = _padded(node, image, window)
    options: dict[str, Any] = {"padding": padding, "use_bias": bias is not None, "kernel_size": window.size}
    options |= {"strides": window.strides, "dilation_rate": window.dilations}
    if groups == channels > 1 and len(set(window.strides)) == 1:
        multiplier = len(kernel) // groups
        kernel = np.moveaxis(kernel.reshape(groups, multiplier, *window.size), (0, 1), (-2, -1))
        kind, options["depth_multiplier"] = _kind("DepthwiseConv", len(window.size)), multiplier
    else:
        options |= {"filters": len(kernel), "groups": groups}
        kind, kernel = _kind("Conv", len(window.size)), np.moveaxis(kernel, (0, 1), (-1, -2))
    return _last(node.layer(kind, image, weights=[kernel] if bias is None else [kernel, bias], **options))


def convolve_transposed(node: ONNXNode) -> ONNXValue:
    """Return what `ConvTranspose` computes, a valid transposed convolution that is cropped."""
    kernel, bias, image = node.weights(1), node.bias(2), node.images(0)
    spatial = _spatial(node, image)
    strides = _each(node, "strides", spatial)
    if node.attribute("group", 1) != 1 or max(_each(node, "dilations", spatial)) > 1:
        node.refuse("has groups or dilations; use a transposed convolution without them")
    if node.attribute("output_shape") or node.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        node.refuse("has a padding that depends on the image; give it explicit pads")
    pads = _explicit_pads(node, spatial)
    more = node.attribute("output_padding", [0] * spatial)
    sizes = kernel.shape[2:]
    if kernel.ndim != spatial + 2 or len(kernel) != image.shape[-1]:
        node.refuse(f"has a kernel for {len(kernel)} channels and an input of {image.shape[-1]}; export it again")
    raw = [n * s + max(k - s, 0) for n, s, k in zip(image.shape[1:-1], strides, sizes)]  # what Keras makes
    wanted = [(n - 1) * s + k + e for n, s, k, e in zip(image.shape[1:-1], strides, sizes, more)]
    crops = [(a, length - (out - b)) for (a, b), length, out in zip(pads, raw, wanted)]
    if min(min(pair) for pair in crops) < 0:
        node.refuse("has more output padding than padding; lower output_padding")
    options = {"filters": kernel.shape[1], "kernel_size": sizes, "strides": strides, "use_bias": bias is not None}
    weights = [np.moveaxis(kernel, (0, 1), (-1, -2)), *([] if bias is None else [bias])]
    made = node.layer(_kind("Conv", spatial, "Transpose"), image, padding="valid", weights=weights, **options)
    if any(map(max, crops)):
        made = node.layer(_kind("Cropping", spatial), made, "crop", cropping=_one_or_all(crops))
    return _last(made)


def pool_maximum(node: ONNXNode) -> ONNXValue:
    """Return what `MaxPool` computes; pixels beyond the edge never win."""
    image, nonnegative = node.images(0), node.value(0).nonnegative
    window = _pooling_window(node, image)
    kind, pads = _kind("MaxPooling", len(window.size)), window.complete
    options: dict[str, Any] = {"pool_size": window.size, "strides": window.strides}
    if not any(map(max, pads)) or pads == window.same:
        options["padding"] = "same" if any(map(max, pads)) else "valid"
        return _last(node.layer(kind, image, **options), nonnegative)
    if nonnegative:  # zeros never win
        return _last(node.layer(kind, _zero_padded(node, image, pads), **options), nonnegative)
    around = [((k - 1) // 2, k // 2) for k in window.size]  # every window first, then those that are wanted
    crops = [(before - a, after - b) for (a, b), (before, after) in zip(pads, around)]
    if min(map(min, crops)) < 0:
        node.refuse("has more padding than half its window; pad less, or place it after a Relu")
    image = node.layer(kind, image, "windows", pool_size=window.size, strides=1, padding="same")
    if any(map(max, crops)):
        image = node.layer(_kind("Cropping", len(crops)), image, "crop", cropping=_one_or_all(crops))
    return _last(node.layer(kind, image, pool_size=1, strides=window.strides))


def pool_average(node: ONNXNode) -> ONNXValue:
    """Return what `AveragePool` computes, with or without the pixels beyond the edge."""
    image = node.images(0)
    window, padding = _pooling_window(node, image), "valid"
    if any(map(max, window.complete)):
        counted = node.attribute("count_include_pad", 0)
        if counted and window.complete == window.pads:
            image = _zero_padded(node, image, window.pads)
        elif not counted and window.complete == window.same:
            padding = "same"
        else:
            node.refuse("averages over windows of several sizes; set count_include_pad=True and ceil_mode=False")
    kind = _kind("AveragePooling", len(window.size))
    made = node.layer(kind, image, pool_size=window.size, strides=window.strides, padding=padding)
    return _last(made, node.value(0).nonnegative)


def pool_globally(node: ONNXNode) -> ONNXValue:
    """Return what `GlobalAveragePool` and `GlobalMaxPool` compute."""
    return _pooled_globally(node, "Average" if "Average" in node.operator else "Max", keepdims=True)


def reduce_globally(node: ONNXNode) -> ONNXValue:
    """Return what `ReduceMean` and `ReduceMax` compute over all pixels."""
    value = node.value(0)
    axes = node.integers("axes", 1) or []
    if value.rank not in (3, 4) or sorted(axis % value.rank for axis in axes) != list(range(2, value.rank)):
        node.refuse("does not reduce exactly height and width; only those can be imported")
    kind = "Average" if node.operator == "ReduceMean" else "Max"
    return _pooled_globally(node, kind, keepdims=bool(node.attribute("keepdims", 1)))


def _pooled_globally(node: ONNXNode, kind: str, keepdims: bool) -> ONNXValue:
    image, nonnegative = node.images(0), node.value(0).nonnegative
    made = node.layer(_kind(f"Global{kind}Pooling", _spatial(node, image)), image, keepdims=keepdims)
    return _last(made, nonnegative) if keepdims else ONNXValue(made, (0, 1), nonnegative=nonnegative)


def pad(node: ONNXNode) -> ONNXValue:
    """Return what `Pad` with zeros computes; negative pads crop."""
    value = node.value(0)
    image = node.images(0)
    spatial = _spatial(node, image)
    found = node.integers("pads", 1) or []
    axes = node.integers("axes", 3) or list(range(value.rank))
    fill = node.attribute("value", None) if node.opset < 11 else node.constant(2)
    if node.attribute("mode", "constant") != "constant" or np.any(np.ravel(0 if fill is None else fill)):
        node.refuse("pads with other values than zero; use zeros")
    if len(found) != 2 * len(axes):
        node.refuse("has a number of pads that does not fit its input; export it again")
    each = {axis % value.rank: pair for axis, pair in zip(axes, zip(found, found[len(axes) :]))}
    if any(any(each.get(axis, ())) for axis in (0, 1)):
        node.refuse("pads the channels or the batch; pad height and width only, or use a convolution")
    pairs = [each.get(axis, (0, 0)) for axis in range(2, value.rank)]
    added = [(max(a, 0), max(b, 0)) for a, b in pairs]
    removed = [(max(-a, 0), max(-b, 0)) for a, b in pairs]
    made = image
    if any(map(max, added)) or not any(map(max, removed)):
        made = node.layer(_kind("ZeroPadding", spatial), made, padding=_one_or_all(added))
    if any(map(max, removed)):
        suffix = "crop" if any(map(max, added)) else ""
        made = node.layer(_kind("Cropping", spatial), made, suffix, cropping=_one_or_all(removed))
    return _last(made, value.nonnegative)


def resize(node: ONNXNode) -> ONNXValue:
    """Return what `Resize` and `Upsample` by whole factors compute, nearest or bilinear."""
    value, image = node.value(0), node.images(0)
    spatial = _spatial(node, image)
    mode = node.attribute("mode", "nearest")
    where = node.attribute(
        "coordinate_transformation_mode", "half_pixel" if node.operator == "Resize" else "asymmetric"
    )
    known = {
        "nearest": ("half_pixel", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric"),
        "linear": ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric"),
    }
    if where not in known.get(mode, ()) or spatial != 2 and mode == "linear":
        node.refuse(f"resizes by the rule {mode}, {where}; use nearest, or bilinear with align_corners=False")
    factors = _factors(node, value)
    if any(factor != int(factor) or factor < 1 for factor in factors) or factors[0] != 1:
        node.refuse("does not enlarge height and width by whole numbers; use whole factors")
    size = [int(factor) for factor in factors[1:]]
    if spatial == 1:
        return _last(node.layer(layers.UpSampling1D, image, size=size[0]), value.nonnegative)
    kind = "nearest" if mode == "nearest" else "bilinear"
    made = node.layer(layers.UpSampling2D, image, size=size, interpolation=kind)
    return _last(made, value.nonnegative)


def _factors(node: ONNXNode, value: ONNXValue) -> list[float]:
    """Return the factors of channels, height and width."""
    place = {"Upsample": 1, "Resize": 2 if node.opset >= 11 else 1}[node.operator]
    scales = node.attribute("scales")
    scales = node.constant(place) if scales is None else np.array(scales)
    if scales is not None and np.size(scales):
        return [float(factor) for factor in scales[1:]]
    sizes = node.constant(3)
    if sizes is None:
        node.refuse("has neither scales nor sizes; export it again")
    return [int(new) / old for new, old in zip(sizes[1:], value.shape, strict=True)]


# Windows


@dataclass(frozen=True)
class _Window:
    """A window that slides over an image, with a number for each axis of the image but the channels.

    Attributes:
        sides: Of the image.
        size: Of the window.
        strides: How far it moves each time.
        dilations: How far the pixels that it reads are apart.
        pads: What stands around the image; in `complete`, with what a last window needs when sizes are rounded up.
    """

    sides: tuple[int, ...]
    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: Pads = field(default_factory=list)
    complete: Pads = field(default_factory=list)

    @property
    def same(self) -> Pads:
        """What Keras puts around an image with padding="same"."""
        pads = []
        for n, k, s, d in zip(self.sides, self.size, self.strides, self.dilations):
            total = max((ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0)
            pads.append((total // 2, total - total // 2))
        return pads

    def rounded_up(self) -> Pads:
        """Return the pads with what the last window needs beyond them."""
        complete = []
        for n, (a, b), k, s in zip(self.sides, self.pads, self.size, self.strides):
            steps = ceil((n + a + b - k) / s)
            steps -= steps * s >= n + a  # a window that would begin beyond the image
            complete.append((a, max(b, steps * s + k - n - a)))
        return complete


def _window(node: ONNXNode, image: Any, size: Sequence[int]) -> _Window:
    """Return the window of a node; negative pads are refused."""
    spatial = _spatial(node, image)
    window = _Window(image.shape[1:-1], tuple(size), _each(node, "strides", spatial), _each(node, "dilations", spatial))
    if min(*window.size, *window.strides, *window.dilations) < 1 or len(size) != spatial:
        node.refuse("has a window, strides or dilations that do not fit its input; export the network again")
    auto = node.attribute("auto_pad", "NOTSET")
    if auto == "SAME_UPPER":
        pads = window.same
    elif auto == "SAME_LOWER":
        pads = [(after, before) for before, after in window.same]
    else:
        pads = [(0, 0)] * spatial if auto == "VALID" else _explicit_pads(node, spatial)
    if min(map(min, pads)) < 0:
        node.refuse("has negative pads; crop the image instead")
    window = replace(window, pads=pads, complete=pads)
    return replace(window, complete=window.rounded_up()) if node.attribute("ceil_mode", 0) else window


def _pooling_window(node: ONNXNode, image: Any) -> _Window:
    window = _window(node, image, node.attribute("kernel_shape", []))
    if max(window.dilations) > 1:
        node.refuse("has dilations; use a pooling without them")
    return window


def _padded(node: ONNXNode, image: Any, window: _Window) -> tuple[Any, str]:
    """Return the image, with zeros around it where padding="same" would put others, and the padding that is left."""
    if not any(map(max, window.pads)):
        return image, "valid"
    if window.pads == window.same:
        return image, "same"
    return _zero_padded(node, image, window.pads), "valid"


def _zero_padded(node: ONNXNode, image: Any, pads: Pads) -> Any:
    return node.layer(_kind("ZeroPadding", len(pads)), image, "pad", padding=_one_or_all(pads))


def _explicit_pads(node: ONNXNode, spatial: int) -> Pads:
    pads = node.attribute("pads") or [0] * (2 * spatial)
    if len(pads) != 2 * spatial:
        node.refuse("has a number of pads that does not fit its input; export the network again")
    return list(zip(pads[:spatial], pads[spatial:]))


def _each(node: ONNXNode, name: str, spatial: int) -> tuple[int, ...]:
    found = tuple(node.attribute(name, [1] * spatial))
    if len(found) != spatial:
        node.refuse(f"has {name} for {len(found)} axes and an input of {spatial}; export the network again")
    return found


def _kind(name: str, spatial: int, ending: str = "") -> Any:
    return getattr(layers, f"{name}{spatial}D{ending}")


def _spatial(node: ONNXNode, image: Any) -> int:
    """Return how many axes an image has beside its channels: 1 or 2."""
    spatial = len(image.shape) - 2
    if spatial not in (1, 2):
        node.refuse(f"has an input of {spatial + 2} axes; only images and sequences can be imported")
    return spatial


def _one_or_all(pairs: Pads) -> tuple:
    """Return pads or crops as the layers for one axis, or for two, take them."""
    return tuple(pairs) if len(pairs) > 1 else tuple(pairs[0])


def _last(tensor: Any, nonnegative: bool = False) -> ONNXValue:
    return ONNXValue(tensor, channels_last(len(tensor.shape)), nonnegative=nonnegative)

"""Our layers for hls4ml: each becomes a layer of its own with fixed-point quantizers before and after it.

hls4ml describes a layer by a dictionary. `register_layers` teaches its converter ours; its bit-exact pass then finds
how wide every sum becomes. `connected` adapts the dictionaries of a whole network to what that pass assumes: each
quantizer becomes the type of the layer before it, so no two may stand in a row, and nothing else may read that layer.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from fewbits.backend import keras
from fewbits.errors import needs_extra
from fewbits.quantization.activations import QuantizedActivation
from fewbits.quantization.fixedpoint import FixedPoint
from fewbits.quantization.layers import (
    DEPTHWISE,
    QUANTIZED,
    QuantizedConv1D,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedDepthwiseConv1D,
    QuantizedDepthwiseConv2D,
    active_formats,
    effective_weights,
)

layers, activations = keras.layers, keras.activations

Described = dict[str, Any]  # a layer of hls4ml

MODES = {"floor": "TRN", "nearest": "RND_CONV", "nearest-up": "RND", "nearest-away": "RND_INF"}
CONVOLUTIONS = QuantizedConv1D, QuantizedConv2D, QuantizedDepthwiseConv1D, QuantizedDepthwiseConv2D
KERNELS = *CONVOLUTIONS, QuantizedDense
PADDINGS = {layers.ZeroPadding1D: ("left", "right"), layers.ZeroPadding2D: ("top", "bottom", "left", "right")}
QUANTIZER, PADDING = "FewBitsQuantizer", "FewBitsPadding"
# Layers of hls4ml whose outputs are among their inputs.
SELECTING = "Reshape", "MaxPooling1D", "MaxPooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "Concatenate"


def register_layers() -> None:
    """Register our layers with hls4ml, so that its `convert_from_keras_model` takes them, too.

    That converter is exact where an input has the format of the outputs that it reads; it warns where quantizers stand
    in a row. `write_hls4ml` is exact for them as well.

    Raises:
        InputError: when hls4ml is not installed.
    """
    handlers = _handlers()
    _register_quantizer()
    for kind in KERNELS:
        handlers[_key(kind)] = _kernel
    for kind in PADDINGS:
        handlers[_key(kind)] = _padding
    handlers[_key(QuantizedActivation)] = _activation
    handlers[_key(layers.ReLU)] = _relu
    handlers[_key(layers.Rescaling)] = _rescaling


def connected(described: Sequence[Described], outputs: Sequence[str]) -> tuple[list[Described], list[str]]:
    """Return the layers of a network in the form in which hls4ml computes them exactly.

    Zero padding becomes padding of the convolutions that read it, quantizers that change nothing are left out, and a
    layer that passes its inputs on separates each other quantizer from what must not take its type. Rounding comes
    before reshaping.

    Args:
        described: The layers, as hls4ml's converter returns them; they are changed. Convolutions alone read zero
            padding.
        outputs: Names of the layers that make the outputs.

    Returns:
        The layers, and the names of those that make the outputs.
    """
    network = _Network(list(described), list(outputs))
    for layer in described:
        if layer["class_name"] == PADDING:
            network.fold(layer)
    for layer in described:
        if layer["class_name"] == QUANTIZER and network.changes_nothing(layer):
            network.remove(layer)
    for layer in list(network.layers):
        while layer["class_name"] == QUANTIZER and network.named(layer["inputs"][0])["class_name"] == "Reshape":
            network.swap(layer)
    for layer in list(network.layers):
        if layer["class_name"] == QUANTIZER and not network.may_take_type(layer):
            network.separate(layer)
    return network.layers, network.outputs


# What describes a layer


@cache
def _register_quantizer() -> None:
    """Register a quantizer of hls4ml that keeps its format.

    The format of hls4ml's own loses fractional bits that its inputs do not have, and then saturates at another value.
    """
    from hls4ml.model.layers import register_layer
    from hls4ml.model.optimizer.passes import bit_exact
    from hls4ml.model.optimizer.passes.hgq_proxy_model import FixedPointQuantizer

    class FewBitsQuantizer(FixedPointQuantizer):
        pass

    def produced(layer):
        """Return sign, integer bits and fractional bits of the outputs; none below zero come of inputs that are not."""
        signed, bits, integer = (int(number[0]) for number in layer.mask_kbi)
        below = bit_exact.produce_kif(bit_exact.get_input_layers(layer)[0])[0]
        return np.minimum(below, signed), *(np.full_like(below, x) for x in (integer - signed, bits - integer))

    register_layer(QUANTIZER, FewBitsQuantizer)
    bit_exact._produce_kif.register(FewBitsQuantizer, produced)


def _handlers() -> dict[str, Callable]:
    with needs_extra("fpga", "hls4ml projects"):
        from hls4ml.converters.keras_v3 import layer_handlers
    return layer_handlers


def _key(kind: type) -> str:
    return f"{kind.__module__}.{kind.__name__}"


def _kernel(layer: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> tuple[Described, ...]:
    """Describe a convolution or dense layer; one whose filters read some channels has zeros for the others."""
    [base] = [plain for plain, quantized in QUANTIZED.items() if quantized is type(layer)]
    main, *activation = _handlers()[_key(base)](layer, inputs, outputs)
    if layer.activation is activations.relu6:
        activation = _capped_relu(layer.name, outputs[0].shape[1:])
    kernel, bias = effective_weights(layer)
    groups = getattr(layer, "groups", 1)
    if isinstance(layer, DEPTHWISE):
        groups, kernel = kernel.shape[-2], kernel.reshape(*kernel.shape[:-2], 1, -1)
    if groups > 1:
        kernel = _over_all_channels(kernel, groups)
    kind = base.__name__.removeprefix("Depthwise")
    main |= {"class_name": kind, "weight_data": kernel, "bias_data": bias}
    formats = active_formats(layer)
    parts = [
        *_quantizer(layer, formats.input, "input"),
        main,
        *activation,
        *_quantizer(layer, formats.output, "output"),
    ]
    return _chain(inputs, outputs, parts)


def _over_all_channels(kernel: np.ndarray, groups: int) -> np.ndarray:
    """Return the kernel of a convolution in groups, (..., in / groups, filters), as one of a single group."""
    channels, filters = kernel.shape[-2], kernel.shape[-1] // groups
    whole = np.zeros((*kernel.shape[:-2], groups * channels, kernel.shape[-1]), kernel.dtype)
    for group in range(groups):
        own = slice(filters * group, filters * (group + 1))
        whole[..., channels * group : channels * (group + 1), own] = kernel[..., own]
    return whole


def _activation(layer: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> tuple[Described, ...]:
    """Describe a ReLU or a linear activation that rounds."""
    formats = active_formats(layer)
    if layer.activation is activations.relu6:
        relu = _capped_relu(layer.name, outputs[0].shape[1:])
    else:
        relu = list(_handlers()[_key(layers.Activation)](layer, inputs, outputs))
    middle = [] if layer.activation is activations.linear else relu
    parts = [*_quantizer(layer, formats.input, "input"), *middle, *_quantizer(layer, formats.output, "output")]
    return _chain(inputs, outputs, parts or relu)


def _relu(layer: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> tuple[Described, ...]:
    """Describe a plain ReLU as one: hls4ml takes it for a threshold, whose type cannot hold zero."""
    if layer.negative_slope or layer.threshold:
        return _handlers()[_key(layers.LeakyReLU)](layer, inputs, outputs)  # the same handler
    shape = inputs[0].shape[1:]
    whole = layer.max_value is None
    return _chain(inputs, outputs, [_plain_relu(layer.name, shape)] if whole else _capped_relu(layer.name, shape))


def _plain_relu(name: str, shape: Sequence[int]) -> Described:
    return {"name": name, "class_name": "Activation", "activation": "relu", "n_in": int(np.prod(shape))}


def _capped_relu(name: str, shape: Sequence[int]) -> list[Described]:
    """Describe ReLU6 in what hls4ml computes exactly: the ReLU of 6 - ReLU(6 - x)."""
    parts: list[Described] = []
    for number in (1, 2):
        parts.append(_affine(f"{name}_six_less_{number}", shape, -1, 6))
        parts.append(_plain_relu(f"{name}_relu_{number}", shape))
    return parts


def _rescaling(layer: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> tuple[Described, ...]:
    """Describe what is multiplied and added in float32, where integers compute it exactly."""
    scale, offset = (np.squeeze(np.asarray(number, np.float32)) for number in (layer.scale, layer.offset))
    return _chain(inputs, outputs, [_affine(layer.name, inputs[0].shape[1:], scale, offset)])


def _affine(name: str, shape: Sequence[int], scale: Any, offset: Any) -> Described:
    """Describe `scale * x + offset`, with one number for all channels or one per channel."""
    scale, offset = (np.array(np.broadcast_to(number, shape[-1:]), float) for number in (scale, offset))
    sizes = {"n_in": int(np.prod(shape)), "n_filt": shape[-1]}
    return {"name": name, "class_name": "BatchNormalization", "scale_data": scale, "bias_data": offset, **sizes}


def _padding(layer: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> tuple[Described, ...]:
    """Describe zero padding."""
    widths = dict(zip(PADDINGS[type(layer)], np.ravel(layer.padding).tolist()))
    return _chain(inputs, outputs, [{"name": layer.name, "class_name": PADDING, "widths": widths}])


def _quantizer(layer: Any, fmt: FixedPoint | None, kind: str) -> list[Described]:
    """Describe a quantizer, in a list; an empty one if there is no format."""
    if fmt is None:
        return []
    mask = (int(fmt.signed), fmt.nbits, fmt.msb + 1)
    return [
        {
            "name": f"{layer.name}_{kind}",
            "class_name": QUANTIZER,
            "mask_kbi": tuple(np.array([number], np.int16) for number in mask),
            "RND": MODES[layer.rounding],
            "SAT": "SAT",
            "fusible": None,
            "overrides": {},
        }
    ]


def _chain(inputs: Sequence[Any], outputs: Sequence[Any], parts: Sequence[Described]) -> tuple[Described, ...]:
    """Return `parts`, each reading what the one before it makes."""
    between = [[f"{outputs[0].name}_{number}"] for number in range(1, len(parts))]
    made = [*between, [x.name for x in outputs]]
    for part, read, wrote in zip(parts, [[x.name for x in inputs], *between], made):
        part |= {"input_keras_tensor_names": read, "output_keras_tensor_names": wrote}
    return tuple(parts)


# The layers of a network


class _Grid(NamedTuple):
    """The numbers of a format: from `low` to `high`, in steps of `step`."""

    step: float
    low: float
    high: float


class _Network:
    """The layers of a network by name, in topological order, and what reads what."""

    def __init__(self, described: list[Described], outputs: list[str]):
        self.layers, self.outputs = described, outputs

    def readers(self, name: str) -> list[Described]:
        return [layer for layer in self.layers if name in layer["inputs"]]

    def named(self, name: str) -> Described:
        return next(layer for layer in self.layers if layer["name"] == name)

    def remove(self, layer: Described) -> None:
        """Let all readers of a layer with one input read this input."""
        [source] = layer["inputs"]
        self.layers.remove(layer)
        self._redirect(layer["name"], source, self.layers)
        self.outputs = [source if name == layer["name"] else name for name in self.outputs]

    def _redirect(self, old: str, new: str, readers: Sequence[Described]) -> None:
        for reader in readers:
            reader["inputs"] = [new if name == old else name for name in reader["inputs"]]

    def fold(self, padding: Described) -> None:
        """Make zero padding part of the convolutions that read it, behind their quantizers, which keep zeros."""
        for reader in self._behind_quantizers(padding["name"]):
            for side, width in padding["widths"].items():
                reader[f"pad_{side}"] += width
                reader["in_height" if side in ("top", "bottom") else "in_width"] -= width
        self.remove(padding)

    def _behind_quantizers(self, name: str) -> list[Described]:
        """Return the layers that read what a layer makes, or its rounded values."""
        readers = [
            self._behind_quantizers(reader["name"]) if reader["class_name"] == QUANTIZER else [reader]
            for reader in self.readers(name)
        ]
        return sum(readers, [])

    def changes_nothing(self, quantizer: Described) -> bool:
        """Return whether all inputs of a quantizer are values of its format."""
        own = _grid(quantizer)
        grids = self._grids(quantizer["inputs"][0])
        return bool(grids) and all(g.step >= own.step and own.low <= g.low and g.high <= own.high for g in grids)

    def _grids(self, name: str) -> list[_Grid]:
        """Return the formats of the values that a layer makes; an empty list if they are not known."""
        layer = self.named(name)
        if layer["class_name"] == QUANTIZER:
            return [_grid(layer)]
        found = [self._grids(source) for source in layer["inputs"]] if layer["class_name"] in SELECTING else [[]]
        return sum(found, []) if all(found) else []

    def swap(self, quantizer: Described) -> None:
        """Round before reshaping, not after it: a stream is not reshaped, so only a dense layer may read it."""
        reshape = self.named(quantizer["inputs"][0])
        after = reshape | {"name": f"{quantizer['name']}_{reshape['name']}", "inputs": [quantizer["name"]]}
        self._redirect(quantizer["name"], after["name"], self.layers)
        self.outputs = [after["name"] if name == quantizer["name"] else name for name in self.outputs]
        self.layers.insert(self.layers.index(quantizer) + 1, after)
        quantizer["inputs"] = reshape["inputs"]
        if reshape["name"] not in self.outputs and not self.readers(reshape["name"]):
            self.layers.remove(reshape)

    def may_take_type(self, quantizer: Described) -> bool:
        """Return whether the layer before a quantizer can round its results to the format of the quantizer."""
        [source] = quantizer["inputs"]
        alone = len(self.readers(source)) == 1 and source not in self.outputs
        return alone and self.named(source)["class_name"] != QUANTIZER

    def separate(self, quantizer: Described) -> None:
        """Insert a layer before a quantizer that passes its inputs on: a leaky ReLU with a slope of 1."""
        name = f"{quantizer['name']}_from"
        same = {"name": name, "class_name": "LeakyReLU", "activation": "leakyrelu", "activ_param": 1.0}
        self.layers.insert(self.layers.index(quantizer), same | {"inputs": quantizer["inputs"]})
        quantizer["inputs"] = [name]


def _grid(quantizer: Described) -> _Grid:
    signed, nbits, integer = (int(number[0]) for number in quantizer["mask_kbi"])
    fmt = FixedPoint(integer - 1, nbits, bool(signed))
    return _Grid(fmt.step, fmt.min_value, fmt.max_value)

"""Conversion of a float model to one that computes in fixed point, and back.

Weights are kept, and the original model is untouched. Convolutions, depthwise convolutions and dense layers get
quantizers; FLOAT_LAYERS lists what may stand between them.
"""

from collections.abc import Sequence
from typing import Any

from fewbits.backend import keras, ops
from fewbits.errors import InputError, check_integer, nearest
from fewbits.graph import Graph, rebuild
from fewbits.graph import clone as cloned
from fewbits.quantization.layers import (
    FLOAT,
    SCALARS,
    Formats,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedDepthwiseConv2D,
)

layers = keras.layers

QUANTIZED: dict[type, Any] = {
    layers.Conv2D: QuantizedConv2D,
    layers.DepthwiseConv2D: QuantizedDepthwiseConv2D,
    layers.Dense: QuantizedDense,
}
# Layers that stay as they are: they move, select, sum or average values, or normalize them until they are folded.
FLOAT_LAYERS = (
    layers.InputLayer,
    layers.Activation,
    layers.ReLU,
    layers.Softmax,
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
    layers.ZeroPadding2D,
    layers.Cropping2D,
    layers.Flatten,
    layers.Reshape,
    layers.Dropout,
    layers.Identity,
    layers.Rescaling,
    layers.Concatenate,
    layers.Add,
    layers.BatchNormalization,
)


@keras.saving.register_keras_serializable("fewbits")
class QuantizedModel(keras.Model):
    """A functional model with quantized layers, grouped in levels that are switched on one after the other."""

    @property
    def quantized_layers(self) -> list[keras.Layer]:
        """The quantized layers in the order of the graph."""
        return [layer for layer in self.layers if isinstance(layer, tuple(QUANTIZED.values()))]

    @property
    def levels(self) -> int:
        """The number of levels."""
        return max(layer.level for layer in self.quantized_layers)

    def set_level(self, n: int) -> None:
        """Quantize the first `n` levels and leave the others in float.

        Args:
            n: From 0 for none to `levels` for all.

        Raises:
            InputError: when `n` is not an integer in that range.

        Source:
            vieito2017, Code 13 (quantize).
        """
        check_integer("the level", n, 0, self.levels)
        for layer in self.quantized_layers:
            layer.enabled = layer.level <= n

    def set_formats(self, formats: Any) -> None:
        """Set the formats of layers.

        Args:
            formats: `(kernel, input, output)` for all layers, or layer name -> such formats for some.

        Raises:
            InputError: on an unknown layer, and on what is not a format.
        """
        for name, fmt in _by_name(formats, [layer.name for layer in self.quantized_layers]).items():
            self.get_layer(name).set_formats(*fmt)

    @property
    def formats(self) -> dict[str, Formats]:
        """Layer name -> the formats of each quantized layer."""
        return {layer.name: layer.formats for layer in self.quantized_layers}

    def set_rounding(self, rounding: str) -> None:
        """Let all quantized layers round by `rounding`, one of LAYER_ROUNDINGS; InputError on another name."""
        for layer in self.quantized_layers:
            layer.rounding = rounding

    def train_step(self, *state_and_data: Any) -> Any:
        """Train on one batch, as Keras calls it.

        On JAX, whose optimizer does not see a lock that changes later, the weights of locked layers are restored here.
        """
        if keras.backend.backend() != "jax":
            return super().train_step(*state_and_data)
        (before, others, *_), _ = state_and_data
        logs, (after, *rest) = super().train_step(*state_and_data)
        value = {id(variable): tensor for variable, tensor in zip(self.non_trainable_variables, others)}
        locked = {
            id(variable): value[id(layer.state.scalars)][SCALARS.index("locked")] != 0
            for layer in self.quantized_layers
            for variable in layer.trainable_variables
        }
        held = [
            ops.where(locked[id(variable)], old, new) if id(variable) in locked else new
            for variable, old, new in zip(self.trainable_variables, before, after)
        ]
        return logs, (held, *rest)


def quantize_model(
    model: keras.Model,
    formats: Any = FLOAT,
    *,
    levels: Sequence[Sequence[str]] | None = None,
    fold_batch_normalization: bool = False,
    rounding: str = "floor",
    gradient: str = "clipped",
    bias_order: str = "accumulator",
) -> QuantizedModel:
    """Return `model` with quantized layers and the same weights, with all levels on.

    Args:
        model: A functional or sequential model of the layers in QUANTIZED and FLOAT_LAYERS.
        formats: `(kernel, input, output)` for every layer, or layer name -> such formats; None is float.
        levels: Names of the layers of each level, for example `zoo.levels(model)`; by default one layer per level.
        fold_batch_normalization: Whether to fold the scale and shift of each batch normalization into the layer before
            it, and to make a ReLU that follows the activation of that layer.
        rounding: As in QuantizedConv2D.
        gradient: As in QuantizedConv2D.
        bias_order: As in QuantizedConv2D.

    Returns:
        A new model; `model` stays as it is.

    Raises:
        InputError: on a layer of another kind, a layer with weights that is used twice, an unknown name, and a batch
            normalization that cannot be folded; the message names the layer.
    """
    check_layers(model)
    names = [layer.name for layer in model.layers if quantized_type(layer)]
    if not names:
        raise InputError(f"{model.name} has no convolution, depthwise convolution or dense layer to quantize")
    formats = _by_name(formats, names)
    level = _levels(levels, names)
    folded = _foldable(model) if fold_batch_normalization else {}
    relus = _relus_after(model, folded)

    def clone(layer):
        kind = quantized_type(layer)
        if kind is None:
            return cloned(layer)
        config = layer.get_config() | {"formats": formats.get(layer.name, FLOAT), "level": level[layer.name]}
        config |= {"rounding": rounding, "gradient": gradient, "bias_order": bias_order}
        config |= {"use_bias": True} if layer.name in folded else {}
        return kind.from_config(config | ({"activation": "relu"} if layer.name in relus else {}))

    absorbed = {*folded.values(), *relus.values()}

    def apply(call, layer, *args, **kwargs):
        return args[0] if call.name in absorbed else layer(*args, **kwargs)

    quantized = rebuild(model, clone, apply)
    for layer in _with_weights(quantized):
        old = model.get_layer(layer.name)
        if layer.name in folded:
            kernel, bias = _folded_weights(old, model.get_layer(folded[layer.name]))
            layer.kernel.assign(kernel)
            layer.bias.assign(bias)
        else:
            _copy_weights(old, layer)
    return QuantizedModel(quantized.input, quantized.output, name=model.name)


def dequantize_model(model: keras.Model) -> keras.Model:
    """Return `model` with plain Keras layers in place of quantized ones, and the same (float) weights.

    Args:
        model: A model that is quantized, or not; it stays as it is.

    Returns:
        A new model with the same layer names.
    """
    plain_type: dict[type, Any] = {quantized: plain for plain, quantized in QUANTIZED.items()}

    def clone(layer):
        kind = plain_type.get(type(layer), type(layer))
        config = layer.get_config()
        if kind is not type(layer):
            for key in ("formats", "enabled", "rounding", "gradient", "bias_order", "level"):
                config.pop(key)
        return kind.from_config(config)

    plain = rebuild(model, clone)
    for layer in _with_weights(plain):
        _copy_weights(model.get_layer(layer.name), layer)
    return plain


def check_layers(model: keras.Model) -> None:
    """Check that `model` has a graph, and only layers that can be quantized or stay in float.

    Args:
        model: A functional or sequential model.

    Raises:
        InputError: on a model without a graph, and, naming the layer, on a layer of another kind or one with weights
            that is used more than once.
    """
    graph = Graph(model)
    for layer in model.layers:
        if quantized_type(layer) is None and type(layer) not in FLOAT_LAYERS:
            known = ", ".join(kind.__name__ for kind in (*QUANTIZED, *FLOAT_LAYERS[1:]))
            raise InputError(f"layer {layer.name} is a {type(layer).__name__}, which cannot be quantized; {known} can")
        calls = len(graph.calls_of(layer))
        if calls > 1 and layer.weights:
            raise InputError(f"layer {layer.name} is used {calls} times; give each use a layer")


def quantized_type(layer: keras.Layer) -> Any:
    """Return the class of quantized layers for `layer`: its own if it is one, None if it multiplies nothing."""
    return QUANTIZED.get(type(layer), type(layer) if type(layer) in QUANTIZED.values() else None)


def _by_name(formats: Any, names: Sequence[str]) -> dict[str, Formats]:
    if not isinstance(formats, dict):
        return dict.fromkeys(names, formats)
    for name in formats:
        if name not in names:
            raise InputError(
                f"there is no layer {name} to quantize{nearest(name, names)}; there are {', '.join(names)}"
            )
    return formats


def _levels(levels: Sequence[Sequence[str]] | None, names: Sequence[str]) -> dict[str, int]:
    levels = [[name] for name in names] if levels is None else levels
    listed = [name for level in levels for name in level]
    if sorted(listed) != sorted(names):
        odd = sorted(set(listed) ^ set(names)) or [n for n in names if listed.count(n) > 1]
        raise InputError(f"levels must name each layer to quantize once; look at {odd[0]}")
    return {name: number for number, level in enumerate(levels, 1) for name in level}


def _with_weights(model):
    return [layer for layer in model.layers if layer.weights]


def _copy_weights(old, new):
    """Copy the weights of `old` to `new`; a quantized layer keeps its own formats and switches."""
    if not quantized_type(old):
        new.set_weights(old.get_weights())
        return
    new.kernel.assign(ops.convert_to_numpy(old.kernel))
    if old.bias is not None:
        new.bias.assign(ops.convert_to_numpy(old.bias))


def _foldable(model: keras.Model) -> dict[str, str]:
    """Return layer name -> name of the batch normalization after it; InputError if one cannot be folded."""
    found, graph = {}, Graph(model)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            tensor = graph.calls_of(layer)[0].inputs[0]
            before = graph.made_by(tensor).operation
            alone = graph.only_reader(tensor) is not None
            linear = getattr(before, "activation", None) in (None, keras.activations.linear)
            if not quantized_type(before) or not linear or not alone or layer.axis not in (-1, 3):
                raise InputError(
                    f"batch normalization {layer.name} cannot be folded: it must be the only reader of a layer to "
                    f"quantize without activation, not of {before.name}"
                )
            found[before.name] = layer.name
    return found


def _relus_after(model: keras.Model, folded: dict[str, str]) -> dict[str, str]:
    """Return layer name -> name of the ReLU that alone reads its batch normalization and can move into the layer."""
    graph = Graph(model)
    normalized = {name: graph.calls_of(model.get_layer(norm))[0].outputs[0] for name, norm in folded.items()}
    readers = {name: graph.only_reader(tensor) for name, tensor in normalized.items()}
    return {name: reader.name for name, reader in readers.items() if reader and _is_relu(reader.operation)}


def _is_relu(layer: keras.Operation) -> bool:
    if type(layer) is layers.ReLU:
        return (layer.max_value, layer.negative_slope, layer.threshold) == (None, 0, 0)
    return type(layer) is layers.Activation and layer.activation is keras.activations.relu


def _folded_weights(layer, norm):
    """Return kernel and bias of `layer` with the scale and shift of `norm` folded in."""
    mean, variance = norm.moving_mean, norm.moving_variance
    scale = ops.rsqrt(variance + norm.epsilon) * (1.0 if norm.gamma is None else norm.gamma)
    bias = (0.0 if layer.bias is None else layer.bias) - mean
    shift = bias * scale + (0.0 if norm.beta is None else norm.beta)
    channels = layer.kernel.shape[2:] if isinstance(layer, layers.DepthwiseConv2D) else (-1,)
    return layer.kernel * ops.reshape(scale, channels), shift

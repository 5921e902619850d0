"""Turns a float model into one that computes in fixed point, and back; weights are kept, the original is untouched.

Convolutions, depthwise convolutions and dense layers get quantizers; see FLOAT_LAYERS for what may stand between them.
"""

from collections.abc import Sequence

from fewbits.backend import keras, ops
from fewbits.errors import InputError, nearest
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

QUANTIZED = {
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
    """A functional model with quantized layers, in levels that are switched on one after the other."""

    @property
    def quantized_layers(self) -> list:
        """The quantized layers in the order of the graph."""
        return [layer for layer in self.layers if isinstance(layer, tuple(QUANTIZED.values()))]

    @property
    def levels(self) -> int:
        return max(layer.level for layer in self.quantized_layers)

    def set_level(self, n: int) -> None:
        """Quantize the first `n` levels, the others not: 0 none, `levels` all (vieito2017, Code 13: quantize)."""
        if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n <= self.levels:
            raise InputError(f"the level must be an integer from 0 to {self.levels}, not {n!r}")
        for layer in self.quantized_layers:
            layer.enabled = layer.level <= n

    def set_formats(self, formats) -> None:
        """Set the formats of all layers: one (kernel, input, output) for all, or layer name -> formats for some."""
        for name, fmt in _by_name(formats, [layer.name for layer in self.quantized_layers]).items():
            self.get_layer(name).set_formats(*fmt)

    @property
    def formats(self) -> dict[str, Formats]:
        return {layer.name: layer.formats for layer in self.quantized_layers}

    def set_rounding(self, rounding: str) -> None:
        for layer in self.quantized_layers:
            layer.rounding = rounding

    def train_step(self, *state_and_data):
        """Train on one batch. On JAX, whose optimizer does not see a lock that changes later, hold what is locked."""
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
    formats=FLOAT,
    *,
    levels: Sequence[Sequence[str]] | None = None,
    fold_batch_normalization: bool = False,
    rounding: str = "floor",
    gradient: str = "clipped",
    bias_order: str = "accumulator",
) -> QuantizedModel:
    """Return `model` with quantized layers and the same weights, all levels on.

    model: a functional or sequential model of the layers in QUANTIZED and FLOAT_LAYERS. formats: `(kernel, input,
    output)` for every layer, or layer name -> such formats; None is float. levels: names of the layers of each level,
    for example `zoo.levels(model)`; default one layer a level. fold_batch_normalization: put each one's scale and shift
    into the layer before it, and a ReLU behind it too. The rest: as in QuantizedConv2D. Raises InputError, naming the
    layer, on a layer of another kind, a layer used twice, an unknown name, and a batch normalization that cannot be
    folded.
    """
    check_layers(model)
    names = [layer.name for layer in model.layers if quantized_type(layer)]
    if not names:
        raise InputError(f"{model.name} has no convolution, depthwise convolution or dense layer to quantize")
    formats = _by_name(formats, names)
    level = _levels(levels, names)
    folded = _foldable(model) if fold_batch_normalization else {}
    relus = _relus_behind(model, folded)

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
    """Return `model` with plain Keras layers in place of quantized ones, and the same (float) weights."""
    plain_type = {quantized: plain for plain, quantized in QUANTIZED.items()}

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
    """Raise InputError, naming the layer, where `model` holds what cannot be quantized."""
    graph = Graph(model)
    for layer in model.layers:
        if quantized_type(layer) is None and type(layer) not in FLOAT_LAYERS:
            known = ", ".join(kind.__name__ for kind in (*QUANTIZED, *FLOAT_LAYERS[1:]))
            raise InputError(f"layer {layer.name} is a {type(layer).__name__}, which cannot be quantized; {known} can")
        calls = len(graph.calls_of(layer))
        if calls > 1 and layer.weights:
            raise InputError(f"layer {layer.name} is used {calls} times; give each use a layer")


def quantized_type(layer: keras.Layer) -> type | None:
    """Return the quantized kind of `layer`, its own if it is quantized already, None if it has nothing to multiply."""
    return QUANTIZED.get(type(layer), type(layer) if type(layer) in QUANTIZED.values() else None)


def _by_name(formats, names) -> dict[str, Formats]:
    if not isinstance(formats, dict):
        return dict.fromkeys(names, formats)
    for name in formats:
        if name not in names:
            raise InputError(
                f"there is no layer {name} to quantize{nearest(name, names)}; there are {', '.join(names)}"
            )
    return formats


def _levels(levels, names) -> dict[str, int]:
    levels = [[name] for name in names] if levels is None else levels
    listed = [name for level in levels for name in level]
    if sorted(listed) != sorted(names):
        odd = sorted(set(listed) ^ set(names)) or [n for n in names if listed.count(n) > 1]
        raise InputError(f"levels must name each layer to quantize once; look at {odd[0]}")
    return {name: number for number, level in enumerate(levels, 1) for name in level}


def _with_weights(model):
    return [layer for layer in model.layers if layer.weights]


def _copy_weights(old, new):
    """Give `new` the weights of `old`; a quantized layer keeps its own formats and switches."""
    if not quantized_type(old):
        new.set_weights(old.get_weights())
        return
    new.kernel.assign(ops.convert_to_numpy(old.kernel))
    if old.bias is not None:
        new.bias.assign(ops.convert_to_numpy(old.bias))


def _foldable(model) -> dict[str, str]:
    """Return layer name -> name of the batch normalization after it; InputError where one does not follow alone."""
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


def _relus_behind(model, folded) -> dict[str, str]:
    """Return layer name -> name of the ReLU that alone reads its batch normalization: it can move into the layer."""
    graph = Graph(model)
    normalized = {name: graph.calls_of(model.get_layer(norm))[0].outputs[0] for name, norm in folded.items()}
    readers = {name: graph.only_reader(tensor) for name, tensor in normalized.items()}
    return {name: reader.name for name, reader in readers.items() if reader and _is_relu(reader.operation)}


def _is_relu(layer) -> bool:
    if type(layer) is layers.ReLU:
        return (layer.max_value, layer.negative_slope, layer.threshold) == (None, 0, 0)
    return type(layer) is layers.Activation and layer.activation is keras.activations.relu


def _folded_weights(layer, norm):
    """Return kernel and bias of `layer` with the scale and shift of `norm` in them."""
    mean, variance = norm.moving_mean, norm.moving_variance
    scale = ops.rsqrt(variance + norm.epsilon) * (1.0 if norm.gamma is None else norm.gamma)
    bias = (0.0 if layer.bias is None else layer.bias) - mean
    shift = bias * scale + (0.0 if norm.beta is None else norm.beta)
    channels = layer.kernel.shape[2:] if isinstance(layer, layers.DepthwiseConv2D) else (-1,)
    return layer.kernel * ops.reshape(scale, channels), shift

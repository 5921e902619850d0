"""Conversion of a float model to one that computes in fixed point, and back.

Weights are kept, and the original model is untouched. Convolutions, depthwise and transposed ones, dense layers and
activations get quantizers; FLOAT_LAYERS lists what else may stand between them.
"""

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

from fewbits.backend import keras, ops
from fewbits.data.pixel_codes import PixelCodes
from fewbits.errors import InputError, check_integer, check_name, nearest
from fewbits.graph import Call, Graph, clone, configuration, ends, function_name, give_weights, like, rebuild
from fewbits.names import UNSUPPORTED
from fewbits.quantization import preprocessing
from fewbits.quantization.activations import ACTIVATIONS, activation_type
from fewbits.quantization.canonical_form import canonical
from fewbits.quantization.feeders import feeding_layers
from fewbits.quantization.folding import Folding, folded_weights, foldings, scale_and_shift
from fewbits.quantization.free_scales import FreeQuantizer
from fewbits.quantization.known_grids import KnownGrids
from fewbits.quantization.layers import (
    FLOAT,
    QUANTIZED,
    Formats,
    QuantizedDepthwiseConv1D,
    QuantizedDepthwiseConv2D,
    RoundingLayer,
    check_settings,
    checked_formats,
    quantized_type,
)
from fewbits.quantization.placement import placed, quantized_activations
from fewbits.quantization.rounding import SCALARS

layers = keras.layers

POOLINGS = (
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
)

# Layers that stay as they are: they move, select, join or average values, or apply a function to each.
FLOAT_LAYERS = (
    layers.InputLayer,
    layers.ELU,
    layers.ReLU,
    layers.Softmax,
    *POOLINGS,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
    layers.Cropping1D,
    layers.Cropping2D,
    layers.UpSampling1D,
    layers.UpSampling2D,
    layers.Flatten,
    layers.Permute,
    layers.RepeatVector,
    layers.Reshape,
    layers.Identity,
    layers.Normalization,
    layers.Rescaling,
    layers.Add,
    layers.Average,
    layers.Concatenate,
    layers.Maximum,
    layers.Minimum,
    layers.Multiply,
    layers.Subtract,
    layers.BatchNormalization,
)
# Layers that pass their inputs on in inference.
TRAINING_ONLY = (
    layers.ActivityRegularization,
    layers.AlphaDropout,
    layers.Dropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.RandomBrightness,
    layers.RandomContrast,
    layers.RandomFlip,
    layers.RandomRotation,
    layers.RandomTranslation,
    layers.RandomZoom,
)
# Operations of Keras without a layer that select or move values, and need no format either.
MOVING = set("Concatenate Copy ExpandDims Flip GetItem Moveaxis Pad Repeat Roll Split Squeeze Stack Swapaxes".split())
MOVING |= {"Reshape", "Tile", "Transpose"}
# Settings that quantized layers alone have.
OWN_SETTINGS = "formats", "enabled", "rounding", "gradient", "bias_order", "level", "ranges"
PREPROCESSING = layers.RandomFlip.__bases__  # augmentation, resizing and cropping of images; Keras does not export it
# Why layers that users ask for cannot be quantized, and what to use instead.
REFUSED: dict[type, str] = {
    FreeQuantizer: "has a step that is no power of two; take a ReLU, and train with ranges='learned'",
    layers.LayerNormalization: "computes mean and variance of each input; use BatchNormalization, which can be folded",
    layers.GroupNormalization: "computes mean and variance of each input; use BatchNormalization, which can be folded",
    layers.Lambda: "runs code that is not known; use a Keras layer or operation for it",
}
REFUSED_FUNCTIONS = {"Gelu": "approximates GELU; use ops.gelu(x, approximate=False), which can be quantized"}


@keras.saving.register_keras_serializable("fewbits")
class QuantizedModel(keras.Model):
    """A functional model with quantized layers, grouped in levels that are switched on one after the other.

    Attributes:
        pixels: The pixels that the network was made for, as the saved model tells `fewbits export`; None if nobody has
            said it.
    """

    pixels: PixelCodes | None = None
    beside_graph = ("pixels",)  # what copies keep

    def get_config(self) -> dict[str, Any]:
        """Return the configuration, from which `from_config` makes a model without weights."""
        return super().get_config() | ({"pixels": asdict(self.pixels)} if self.pixels else {})

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "QuantizedModel":
        """Return a model without weights.

        Args:
            config: As `get_config` returns it.
            custom_objects: As in keras.Model.
        """
        others = {key: value for key, value in config.items() if key != "pixels"}
        model = super().from_config(others, custom_objects)
        model.pixels = PixelCodes(**config["pixels"]) if "pixels" in config else None
        return model

    @property
    def quantized_layers(self) -> list[keras.Layer]:
        """The quantized layers with a kernel, in the order of the graph."""
        return [layer for layer in self.layers if isinstance(layer, tuple(QUANTIZED.values()))]

    @property
    def rounding_layers(self) -> list[keras.Layer]:
        """All layers that round, with a kernel or without, in the order of the graph."""
        self._connect_ranges()
        return [layer for layer in self.layers if isinstance(layer, RoundingLayer)]

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
        for layer in self.rounding_layers:
            layer.enabled = layer.level <= n

    def set_formats(self, formats: Any) -> None:
        """Set the formats of layers.

        Args:
            formats: `(kernel, input, output)` for all layers, or layer name -> such formats for some.

        Raises:
            InputError: on an unknown layer, and on what is not a format.
        """
        for name, fmt in _by_name(formats, [layer.name for layer in self.rounding_layers]).items():
            self.get_layer(name).set_formats(*fmt)

    @property
    def formats(self) -> dict[str, Formats]:
        """Layer name -> the formats of each layer that rounds."""
        return {layer.name: layer.formats for layer in self.rounding_layers}

    def set_rounding(self, rounding: str) -> None:
        """Let all quantized layers round by `rounding`, one of LAYER_ROUNDINGS; InputError on another name."""
        for layer in self.rounding_layers:
            layer.rounding = rounding

    def call(self, inputs: Any, training: Any = None, mask: Any = None, **kwargs: Any) -> Any:
        """Compute the outputs of the network; what is rounded already is not rounded again.

        Args:
            inputs: As in keras.Model.
            training: As in keras.Model.
            mask: As in keras.Model.
            **kwargs: As in keras.Model.
        """
        self._connect_ranges()
        makers = {name: tuple(layer.name for layer in found) for name, found in self._feeders.items()}
        with KnownGrids(makers):
            return super().call(inputs, training=training, mask=mask, **kwargs)

    @cached_property
    def _feeders(self) -> dict[str, tuple[RoundingLayer, ...]]:
        """Name of each layer that rounds -> the layers whose rounded outputs are all that it reads."""
        graph = Graph(self)
        once = [call for call in graph.calls if len(graph.calls_of(call.operation)) == 1]
        return {
            call.name: feeding_layers(graph, call.inputs[0])
            for call in once
            if isinstance(call.operation, RoundingLayer)
        }

    def _connect_ranges(self) -> None:
        """Let learned ranges of inputs follow those of the outputs that are read."""
        for name, found in self._feeders.items():
            layer = self.get_layer(name)
            if layer.ranges is not None and all(feeder.ranges is not None for feeder in found):
                layer.ranges.feed_from(found)

    def export(self, filepath: Any, format: str = "tf_saved_model", **options: Any) -> None:
        """Export the model as Keras does; on JAX, a SavedModel holds no gradients.

        Args:
            filepath: Where to write it.
            format: One of Keras' formats.
            **options: As in `keras.Model.export`.
        """
        if keras.backend.backend() == "jax" and format == "tf_saved_model":  # TensorFlow would fail on the quantizers'
            options["jax2tf_kwargs"] = {"with_gradient": False} | (options.get("jax2tf_kwargs") or {})
        super().export(filepath, format, **options)

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
            for layer in self.rounding_layers
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
    fold_preprocessing: bool = False,
    rounding: str = "floor",
    gradient: str = "clipped",
    bias_order: str = "accumulator",
    unsupported: str = "refuse",
    duplicate_shared: bool = False,
    ranges: str = "fixed",
) -> QuantizedModel:
    """Return `model` with quantized layers and the same weights, with all levels on.

    Activations other than ReLU and ReLU6 become layers that round, too, and averages and products get quantizers where
    what reads them does not round; see `placed`.

    Args:
        model: A functional or sequential model of the layers in QUANTIZED and FLOAT_LAYERS, of models of these, and of
            operations such as `x + y` and `ops.relu`; see `canonical`.
        formats: `(kernel, input, output)` for every layer, or layer name -> such formats; None is float. Of
            activations, leaky ones alone have a kernel format, that of their slope.
        levels: Names of the layers with a kernel of each level, for example `zoo.levels(model)`; by default one layer
            per level. Activations belong to the level of the layer before them.
        fold_batch_normalization: Whether to fold the scale and shift of each batch normalization into the layer before
            or after it or, where neither can take them, into a depthwise convolution of its own; and to make a ReLU
            that follows the activation of that layer. `foldings` tells what becomes of each.
        fold_preprocessing: Whether the scale of Rescaling and Normalization goes into the kernel that reads them, so
            that integers can compute with the pixels themselves; see `preprocessing.fold_preprocessing`.
        rounding: As in QuantizedConv2D.
        gradient: As in QuantizedConv2D.
        bias_order: As in QuantizedConv2D.
        unsupported: `refuse`, or `float` to leave layers of other kinds in float.
        duplicate_shared: Whether a layer with weights that is used several times becomes one layer for each use.
        ranges: As in QuantizedConv2D. Where they are learned, an input that only learned outputs feed reaches as far as
            these, whatever its format says, until its layer is locked.

    Returns:
        A new model; `model` stays as it is.

    Raises:
        InputError: on an unknown name, and on layers of other kinds and layers with weights that are used several
            times; the message names each layer and what to do.
    """
    check_name("unsupported", unsupported, UNSUPPORTED)
    check_settings(rounding, gradient, bias_order, ranges)
    model = canonical(model, duplicate_shared=duplicate_shared)
    _check(model, unsupported)
    model = placed(model)
    model = preprocessing.fold_preprocessing(model) if fold_preprocessing else model
    plan = foldings(model) if fold_batch_normalization else []
    own = {f.layer: len(f.call.inputs[0].shape) for f in plan if f.way == "own"}
    names = [layer.name for layer in model.layers if quantized_type(layer) or layer.name in own]
    if not names:
        raise InputError(f"{model.name} has no convolution or dense layer to quantize; give a network that has one")
    rounding_only = quantized_activations(model)
    formats = _by_name(formats, [*names, *rounding_only])
    level = _with_activations(model, _levels(levels, names))
    folded = {f.layer for f in plan if f.way in ("before", "after")}
    relus = _relus_after(model, plan)
    absorbed = {id(call.outputs[0]) for call in relus.values()}
    absorbed |= {id(f.call.outputs[0]) for f in plan if f.way in ("before", "after")}

    def replaced(layer):
        settings = {"formats": formats.get(layer.name, FLOAT), "level": level[layer.name], "rounding": rounding}
        settings |= {"gradient": gradient, "ranges": ranges}
        if layer.name in rounding_only:
            return clone(layer, activation_type(layer), **settings)
        if layer.name not in names:
            return clone(layer)
        settings |= {"bias_order": bias_order}
        settings |= {"use_bias": True} if layer.name in folded else {}
        settings |= {"activation": "relu"} if layer.name in relus else {}
        return (
            _scale_layer(layer, own[layer.name], settings)
            if layer.name in own
            else clone(layer, quantized_type(layer), **settings)
        )

    def apply(call, layer, *args, **kwargs):
        if id(call.outputs[0]) in absorbed:
            return args[0]
        return _scaled(layer, args[0]) if call.name in own else layer(*args, **kwargs)

    quantized = rebuild(model, replaced, apply)
    for layer in _with_weights(quantized):
        _set_weights(layer, model, plan)
    network = QuantizedModel(quantized.input, quantized.output, name=model.name)
    network._connect_ranges()
    return network


def with_ranges(network: QuantizedModel, ranges: str = "learned") -> QuantizedModel:
    """Return `network` with ranges that learn from now on, or no longer.

    Args:
        network: A quantized network; it stays as it is.
        ranges: As in QuantizedConv2D.

    Returns:
        A new network with the same weights, formats and switches, not compiled.

    Raises:
        InputError: on an unknown name.
    """
    network._connect_ranges()
    changed = rebuild(network, lambda layer: clone(layer, **({"ranges": ranges} if _rounds(layer) else {})))
    for layer in _with_weights(changed):
        old = network.get_layer(layer.name)
        _copy_weights(old, layer)
        if _rounds(old):
            layer.locked = old.locked
    return like(network, *ends(changed))


def _rounds(layer: Any) -> bool:
    return isinstance(layer, RoundingLayer)


def dequantize_model(model: keras.Model) -> keras.Model:
    """Return `model` with plain Keras layers in place of quantized ones, and the same (float) weights.

    Args:
        model: A model that is quantized, or not; it stays as it is.

    Returns:
        A new model with the same layer names.
    """
    model = canonical(model)
    plain_type: dict[type, Any] = {quantized: plain for plain, quantized in (QUANTIZED | ACTIVATIONS).items()}

    def replaced(layer):
        kind = plain_type.get(type(layer))
        if kind is None:
            return clone(layer)
        config = configuration(layer)
        return kind.from_config({key: value for key, value in config.items() if key not in OWN_SETTINGS})

    plain = rebuild(model, replaced)
    for layer in _with_weights(plain):
        _copy_weights(model.get_layer(layer.name), layer)
    return plain


def check_layers(model: keras.Model, unsupported: str = "refuse") -> None:
    """Check that `model` has a graph, and only layers that can be quantized or stay in float.

    Args:
        model: A functional or sequential model.
        unsupported: As in `quantize_model`.

    Raises:
        InputError: on a model without a graph, and on layers of other kinds and layers with weights that are used
            several times; the message names each layer and what to do.
    """
    _check(canonical(model), unsupported)


def _check(model: keras.Model, unsupported: str) -> None:
    refused = refusals(model, unsupported)
    if refused:
        more = f"; and {len(refused) - 5} more" if len(refused) > 5 else ""
        raise InputError("; ".join(list(refused.values())[:5]) + more)


def refusals(model: keras.Model, unsupported: str = "refuse") -> dict[str, str]:
    """Return the layers that keep a network from being quantized.

    Args:
        model: A network as `canonical` returns it.
        unsupported: As in `quantize_model`.

    Returns:
        Layer name -> what is wrong and what to do, a clause.
    """
    graph = Graph(model)
    reasons = {
        operation.name: _refusal(operation, len(graph.calls_of(operation)), unsupported)
        for operation in graph.operations
    }
    mixing = "gives the batch another shape; use a layer, such as Reshape, that keeps the images apart"
    reasons |= {call.name: mixing for call in graph.calls if _mixes_images(call)}
    return {name: f"layer {name} {reason}" for name, reason in reasons.items() if reason}


def _refusal(layer: Any, calls: int, unsupported: str) -> str | None:
    known = quantized_type(layer) or activation_type(layer) or isinstance(layer, PREPROCESSING)
    known = known or type(layer) in (*FLOAT_LAYERS, *TRAINING_ONLY) or function_name(layer) in MOVING
    if not known and unsupported == "refuse":
        reason = REFUSED_FUNCTIONS.get(function_name(layer)) or REFUSED.get(type(layer), "cannot be quantized")
        return f"is a {type(layer).__name__}, which {reason}; unsupported='float' leaves it in float"
    if quantized_type(layer) and getattr(layer, "data_format", "channels_last") != "channels_last":
        return "takes channels first; build it with data_format='channels_last'"
    if calls > 1 and getattr(layer, "weights", None):
        return f"is used {calls} times; duplicate_shared=True gives each use a layer"
    return None


def _mixes_images(call: Call) -> bool:
    """Return whether an operation moves values from one image to another, or may do so."""
    kind = function_name(call.operation)
    if isinstance(call.operation, layers.Concatenate):
        return call.operation.axis in (0, -len(call.inputs[0].shape))
    fixed = any(x.shape[0] is None for x in call.inputs) and any(y.shape[0] is not None for y in call.outputs)
    return kind == "Reshape" or kind in MOVING and fixed


def _by_name(formats: Any, names: Sequence[str]) -> dict[str, Formats]:
    given = formats if isinstance(formats, dict) else dict.fromkeys(names, formats)
    for name in given:
        if name not in names:
            raise InputError(
                f"there is no layer {name} to quantize{nearest(name, names)}; there are {', '.join(names)}"
            )
    return {name: checked_formats(name, fmt) for name, fmt in given.items()}


def _levels(levels: Sequence[Sequence[str]] | None, names: Sequence[str]) -> dict[str, int]:
    levels = [[name] for name in names] if levels is None else levels
    try:
        listed = [name for level in levels if not isinstance(level, str) for name in level]
    except TypeError:
        listed = []
    if sorted(listed, key=str) != sorted(names):
        odd = sorted(set(listed) ^ set(names), key=str) or [n for n in names if listed.count(n) > 1]
        raise InputError(f"levels must name each layer to quantize once, in a list for each level; look at {odd[0]}")
    return {name: number for number, level in enumerate(levels, 1) for name in level}


def _with_activations(model: keras.Model, levels: dict[str, int]) -> dict[str, int]:
    """Return layer name -> level for all layers; those without one of their own have that of the layers before them."""
    reached: dict[int, int] = {}
    by_name = {}
    for call in Graph(model).calls:
        level = levels.get(call.name, max((reached[id(x)] for x in call.inputs), default=1))
        by_name[call.name] = level
        reached.update((id(y), level) for y in call.outputs)
    return by_name


def _with_weights(model):
    return [layer for layer in model.layers if layer.weights]


def _copy_weights(old, new):
    """Copy the weights of `old` to `new`; a quantized layer keeps its own formats and switches.

    They go through NumPy: on JAX, a variable would take over the array, which dies as soon as one of the models runs.
    """
    if isinstance(old, layers.PReLU):
        new.alpha.assign(ops.convert_to_numpy(old.alpha))
    if activation_type(old):
        return
    if not quantized_type(old):
        give_weights(new, old.get_weights())
        return
    new.kernel.assign(ops.convert_to_numpy(old.kernel))
    if old.bias is not None:
        new.bias.assign(ops.convert_to_numpy(old.bias))


def _set_weights(layer: keras.Layer, model: keras.Model, plan: Sequence[Folding]) -> None:
    """Give a layer of the quantized model the weights of the one of `model` with its name, and what is folded in."""
    old = model.get_layer(layer.name)
    norms = {f.way: f.call.operation for f in plan if f.layer == layer.name}
    if "own" in norms:
        scale, shift = scale_and_shift(norms["own"])
        layer.kernel.assign(ops.reshape(scale, layer.kernel.shape))
        layer.bias.assign(shift)
    elif norms.keys() & {"before", "after"}:
        kernel, bias = folded_weights(old, norms.get("before"), norms.get("after"))
        layer.kernel.assign(kernel)
        layer.bias.assign(bias)
    else:
        _copy_weights(old, layer)


def _scale_layer(norm: keras.Layer, rank: int, settings: dict[str, Any]) -> keras.Layer:
    """Return the depthwise convolution that multiplies and shifts as `norm` does with tensors of this rank."""
    kind = QuantizedDepthwiseConv2D if rank == 4 else QuantizedDepthwiseConv1D
    return kind(1, name=norm.name, dtype=norm.dtype_policy, **settings)


def _scaled(layer: keras.Layer, x: Any) -> Any:
    """Return what a layer that `_scale_layer` made computes from `x`; a vector is a sequence of one step to it."""
    if len(x.shape) > 2:
        return layer(x)
    steps = layers.Reshape((1, x.shape[-1]), name=f"{layer.name}_sequence", dtype=layer.dtype_policy)(x)
    return layers.Flatten(name=f"{layer.name}_vector", dtype=layer.dtype_policy)(layer(steps))


def _relus_after(model: keras.Model, plan: Sequence[Folding]) -> dict[str, Call]:
    """Return layer name -> the call of a ReLU that alone reads its batch normalization and can move into the layer."""
    graph, found = Graph(model), {}
    for folding in plan:
        reader = graph.only_reader(folding.call.outputs[0])
        if folding.way in ("before", "own") and reader is not None and _is_relu(reader.operation):
            found[folding.layer] = reader
    return found


def _is_relu(layer: keras.Operation) -> bool:
    if type(layer) is layers.ReLU:
        return (layer.max_value, layer.negative_slope, layer.threshold) == (None, 0, 0)
    return type(layer) is layers.Activation and layer.activation is keras.activations.relu

"""Convolution and dense layers whose kernel, input and output are rounded to fixed point while they compute.

    y = activation(quantize(convolve(quantize(x), quantize(kernel)) + bias))

Formats, rounding, and whether a layer is enabled or locked are held in variables: they can change at any time, also on
a compiled model, and nothing is traced again. What a layer knows about itself stands here, too: its active formats, the
format of each filter, its kernel as one column per filter, and the weights with which it computes.

Source: vieito2017, Code 11 (QuantizedConv2D), whose order of bias and output quantizer is `bias_order="output"`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fewbits.backend import keras, ops, tensor
from fewbits.errors import InputError, check_name
from fewbits.names import BIAS_ORDERS, GRADIENTS, KINDS, LAYER_ROUNDINGS, RANGES, ROUNDINGS
from fewbits.quantization.adapted import float_kernel
from fewbits.quantization.fixedpoint import (
    MAX_NBITS_KERAS,
    FixedPoint,
    Seed,
    quantize,
)
from fewbits.quantization.known_grids import input_grids, note_output
from fewbits.quantization.learned_ranges import LearnedRanges
from fewbits.quantization.rounding import SCALARS, Rounder, positive_part


class Formats(NamedTuple):
    """The formats of one layer; None leaves a value in float.

    Attributes:
        kernel: A signed FixedPoint, or a tuple of them with equal bits, one per filter (per-channel scale).
        input: One FixedPoint, signed or unsigned.
        output: One FixedPoint, signed or unsigned; before a ReLU, an unsigned one is the ReLU.
        bias: A signed FixedPoint, or None for what the layer's `bias_order` implies.
    """

    kernel: FixedPoint | tuple[FixedPoint, ...] | None = None
    input: FixedPoint | None = None
    output: FixedPoint | None = None
    bias: FixedPoint | None = None


FLOAT = Formats()


class _State(keras.layers.Layer):
    """The variables of a quantized layer: MSB and bits of each kind, with 0 bits for float, and its switches.

    The kernel has one MSB per filter. All single numbers stand in one variable, in the order of SCALARS, which is read
    at once.
    """

    def __init__(self, filters: int, **kwargs: Any):
        super().__init__(trainable=False, **kwargs)
        self.kernel_msb = self._integers("kernel_msb", filters)
        self.scalars = self._integers("scalars", len(SCALARS))
        self.built = True

    def _integers(self, name, length):
        return self.add_weight(name=name, shape=(length,), dtype="int32", initializer="zeros", trainable=False)

    def load_own_variables(self, store):
        super().load_own_variables(store)
        self.loaded()  # the kernel is there: a layer's own variables are read before those of its sub-layers

    def __getitem__(self, name):
        return self.numbers()[name]

    def numbers(self):
        return dict(zip(SCALARS, ops.convert_to_numpy(self.scalars).tolist()))

    def set(self, **values):
        scalars = ops.convert_to_numpy(self.scalars).copy()
        for name, value in values.items():
            scalars[SCALARS.index(name)] = value
        self.scalars.assign(scalars)

    def set_formats(self, formats):
        values = {}
        for kind, fmt in zip(KINDS, formats):
            channels = fmt if isinstance(fmt, tuple) else (fmt,)
            values[f"{kind}_nbits"] = 0 if fmt is None else channels[0].nbits * (1 if channels[0].signed else -1)
            if fmt is not None and kind == "kernel":
                self.kernel_msb.assign(np.resize([f.msb for f in channels], self.kernel_msb.shape))
            elif fmt is not None:
                values[f"{kind}_msb"] = fmt.msb
        self.set(**values)

    def msbs(self, numbers):
        return [ops.convert_to_numpy(self.kernel_msb), *([numbers[f"{kind}_msb"]] for kind in KINDS[1:])]

    def formats(self, numbers, msbs):
        return Formats(*(_format(own, numbers[f"{kind}_nbits"]) for kind, own in zip(KINDS, msbs)))


def _format(msbs, nbits):
    if not nbits:
        return None
    made = {int(msb): FixedPoint(int(msb), abs(nbits), signed=nbits > 0) for msb in set(msbs)}
    return next(iter(made.values())) if len(made) == 1 else tuple(made[int(msb)] for msb in msbs)


class _Lock(keras.constraints.Constraint):
    """Restores the kept value of a variable after each update while its layer is locked.

    Optimizers also move a variable by momentum and weight decay; the constraint overrules their result in the graph.
    On JAX, which traces an optimizer's constraints once, a lock set after the first step needs a QuantizedModel.
    """

    def __init__(self, variable, locked):
        self.variable, self.constraint, self.locked = variable, variable.constraint, locked
        self.kept = keras.Variable("zeros", shape=variable.shape, dtype=variable.dtype, trainable=False)

    def keep(self):
        self.kept.assign(ops.convert_to_numpy(self.variable))

    def __call__(self, w):
        w = w if self.constraint is None else self.constraint(w)
        locked, kept, w = map(ops.convert_to_tensor, (self.locked, self.kept, w))
        return ops.where(locked != 0, kept, w)


if TYPE_CHECKING:
    from keras.layers import Layer as _Layer
else:
    _Layer = object  # a mixin: each class names its Keras layer after it


class RoundingLayer(_Layer):
    """What all layers share that round: formats, rounding and switch are variables, and stand in the configuration.

    Args:
        *args: As the Keras layer takes them.
        formats: As in QuantizedConv2D.
        enabled: As in QuantizedConv2D.
        rounding: As in QuantizedConv2D.
        gradient: As in QuantizedConv2D.
        bias_order: As in QuantizedConv2D.
        level: As in QuantizedConv2D.
        ranges: As in QuantizedConv2D.
        **kwargs: As the Keras layer takes them.
    """

    state: _State
    ranges: Any  # LearnedRanges, or None if they are fixed

    def __init__(
        self,
        *args: Any,
        formats: Iterable = FLOAT,
        enabled: bool = True,
        rounding: str = "floor",
        gradient: str = "clipped",
        bias_order: str = "accumulator",
        level: int = 1,
        ranges: str = "fixed",
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        check_settings(rounding, gradient, bias_order, ranges)
        self.gradient, self.bias_order, self.level = gradient, bias_order, level
        self._ranges, self.ranges = ranges, None
        # Keras would compile a whole TensorFlow model with XLA, whose convolutions are slow on a CPU.
        self.supports_jit = keras.backend.backend() != "tensorflow"
        self._start = checked_formats(self.name, formats), bool(enabled), rounding

    def build(self, input_shape: Any) -> None:
        """Make the variables of the layer for inputs of this shape."""
        super().build(input_shape)
        self._filters = self._kernel_formats(input_shape)
        if self._ranges != "fixed":
            single = self._filters > 0 and self._ranges == "learned"
            self.ranges = LearnedRanges(1 if single else self._filters, name="ranges")
            self.ranges.loaded = self._lock_in_graph
        self.state = _State(max(self._filters, 1), name="state")
        locked, self._locks = keras.Variable(0, dtype="int32", trainable=False), []
        for variable in [*self._rounded_weights, *([] if self.ranges is None else self.ranges.variables)]:
            variable.constraint = _Lock(variable, locked)
            self._locks.append(variable.constraint)
        formats, enabled, rounding = self._start
        self.state.set(enabled=int(enabled), rounding=ROUNDINGS.index(rounding))
        self.set_formats(*formats)
        self.state.loaded = self._lock_in_graph

    def _kernel_formats(self, input_shape: Any) -> int:
        """Return how many formats the kernel can have; 0 for a layer without one."""
        return 0

    @property
    def _rounded_weights(self) -> list:
        """The weights that a lock keeps, besides learned ranges."""
        return []

    # What can be changed at any time

    def set_formats(
        self,
        kernel: FixedPoint | Sequence[FixedPoint] | None = None,
        input: FixedPoint | None = None,
        output: FixedPoint | None = None,
        bias: FixedPoint | None = None,
    ) -> None:
        """Set all formats; None leaves a value in float.

        Args:
            kernel: One FixedPoint, or a sequence with one per filter.
            input: One FixedPoint.
            output: One FixedPoint.
            bias: One FixedPoint, or None for what `bias_order` implies.

        Raises:
            InputError: on what is not a format, on more than 24 bits, on an unsigned kernel or bias, and if the number
                of kernel formats does not match the filters.
        """
        formats = self._of_meaning(checked_formats(self.name, (kernel, input, output, bias)))
        if isinstance(formats.kernel, tuple) and len(formats.kernel) != self._filters:
            given = len(formats.kernel)
            raise InputError(
                f"{self.name} has {self._filters} filters, not {given} kernel formats; give one each, or one for all"
            )
        self.state.set_formats(formats)
        for kind in ("kernel", "input", "output") if self.ranges is not None else ():
            fmt = getattr(formats, kind)
            if fmt is not None:
                self.ranges.start(kind, [f.msb for f in (fmt if isinstance(fmt, tuple) else (fmt,))])

    def _of_meaning(self, formats: Formats) -> Formats:
        """Return the formats that the layer computes with; None for values that it does not have."""
        return formats

    @property
    def formats(self) -> Formats:
        """The formats, also while the layer is not enabled; where ranges are learned, as they are now."""
        numbers = self.state.numbers()
        return self.state.formats(numbers, self._msbs(numbers))

    def _msbs(self, numbers):
        """Return the MSBs of the formats of each kind, from the numbers of the state."""
        msbs = self.state.msbs(numbers)
        if self.ranges is None:
            return msbs
        if self.ranges.kernel_range is not None:
            msbs[0] = np.resize(np.ceil(ops.convert_to_numpy(self.ranges.kernel_range)), msbs[0].shape)
        input, output = np.ceil(ops.convert_to_numpy(self._activation_ranges()))
        return [msbs[0], [input], [output], msbs[3]]

    def learns(self, formats: Formats) -> bool:
        """Return whether the layer learns ranges for the bits and signs of `formats`, from whichever MSBs."""
        return self.ranges is not None and [_widths(fmt) for fmt in self.formats] == [_widths(fmt) for fmt in formats]

    @property
    def enabled(self) -> bool:
        """Whether the layer quantizes; if not, it computes exactly what the Keras layer does."""
        return bool(self.state["enabled"])

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self.state.set(enabled=int(value))

    @property
    def locked(self) -> bool:
        """Whether kernel and bias stay as they are during training, with any optimizer."""
        return bool(self.state["locked"])

    @locked.setter
    def locked(self, value: bool) -> None:
        if value and not self.locked and self.ranges is not None:  # an input that others feed keeps its range, too
            self.ranges.activation_ranges.assign(ops.convert_to_numpy(self._activation_ranges()))
        self.state.set(locked=int(value))
        self._lock_in_graph()

    @property
    def rounding(self) -> str:
        """How the layer rounds, one of LAYER_ROUNDINGS."""
        return ROUNDINGS[self.state["rounding"]]

    @rounding.setter
    def rounding(self, value: str) -> None:
        check_name("rounding", value, LAYER_ROUNDINGS)
        self.state.set(rounding=ROUNDINGS.index(value))

    # What it computes

    @property
    def _kernel_msb(self):
        """The MSB of each kernel format, or the learned number for it, as it broadcasts against the kernel."""
        learned = self.ranges is not None and self.ranges.kernel_range is not None
        return self.ranges.kernel(self._filters) if learned else self.state.kernel_msb

    def _rounder(self):
        learned = None if self.ranges is None else self._activation_ranges()
        sources = input_grids(self.name)
        return Rounder(self.state.scalars, self._kernel_msb, self.gradient, self.bias_order, learned, sources)

    def _activation_ranges(self):
        """Return the learned ranges of input and output, a tensor (2,) through which gradients pass."""
        own, feeders = tensor(self.ranges.activation_ranges), self.ranges.feeders
        if not feeders:
            return own
        scalars, others = tensor(self.state.scalars), [tensor(feeder.state.scalars) for feeder in feeders]
        reach = [feeder.ranges.output() + _is_unsigned(of, "output") for feeder, of in zip(feeders, others)]
        widest = ops.max(ops.stack(reach)) - _is_unsigned(scalars, "input")
        rounded = [_number(of, "enabled") * _number(of, "output_nbits") != 0 for of in others]
        follows = ops.all(ops.stack([_number(scalars, "locked") == 0, *rounded]))
        return ops.stack([ops.where(follows, widest, own[0]), own[1]])

    # What is saved

    def _lock_in_graph(self):
        locked = self.locked
        for lock in self._locks:
            if locked:
                lock.keep()
            lock.locked.assign(int(locked))

    def get_config(self) -> dict[str, Any]:
        """Return the configuration of the layer with its present formats and switches."""
        formats, enabled, rounding = self._start
        if self.built:
            formats, enabled, rounding = self.formats, self.enabled, self.rounding
        return {
            **super().get_config(),
            "formats": [_as_config(fmt) for fmt in formats],
            "enabled": enabled,
            "rounding": rounding,
            "gradient": self.gradient,
            "bias_order": self.bias_order,
            "level": self.level,
            **({} if self._ranges == "fixed" else {"ranges": self._ranges}),
        }


class _Quantized(RoundingLayer):
    """What all layers with a kernel share; each says how its inputs and its kernel are multiplied (`product`)."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if getattr(self, "data_format", "channels_last") != "channels_last":
            raise InputError(f"{self.name} computes with channels last only; build it with data_format='channels_last'")

    def product(self, inputs: Any, kernel: Any) -> Any:
        """Multiply `inputs` and `kernel` as this kind of layer does, in float and without bias.

        Args:
            inputs: A tensor of inputs, (batch, ...).
            kernel: A tensor in the shape of the layer's kernel.

        Returns:
            The sums of products, a tensor (batch, ..., filters).
        """
        raise NotImplementedError

    def _kernel_formats(self, input_shape):
        return self.compute_output_shape(input_shape)[-1]

    @property
    def _rounded_weights(self):
        return [v for v in (self.kernel, self.bias) if v is not None]

    @property
    def _kernel_msb(self):
        return per_filter(self, super()._kernel_msb)

    def call(self, inputs: Any) -> Any:
        """Compute the outputs of the layer for a tensor of inputs."""
        rounded = self._rounder()
        products = self._products(inputs, rounded)
        bias = None if self.bias is None else rounded(self.bias, "bias")
        activation = self.activation or keras.activations.linear
        if self.bias_order == "output":
            return activation(_plus(rounded(products, "output"), bias))
        relu = activation is keras.activations.relu
        grid = rounded.grids["output"]
        note_output(self.name, positive_part(grid) if relu else grid)
        y = rounded(_plus(products, bias), "output", relu)
        return y if relu else activation(y)

    def extract(self, inputs: Any) -> Any:
        """Return the raw products of quantized inputs and kernel, before bias, output quantizer and activation."""
        return self._products(inputs, self._rounder())

    def _products(self, inputs, rounded):
        return self.product(rounded(inputs, "input"), rounded(self.kernel, "kernel"))


@keras.saving.register_keras_serializable("fewbits")
class QuantizedConv2D(_Quantized, keras.layers.Conv2D):
    """A Conv2D that computes in fixed point: kernel (height, width, in, filters), images (batch, height, width, in).

    Args:
        formats: `(kernel, input, output)` or `(kernel, input, output, bias)`, each a FixedPoint or None for float; see
            Formats.
        enabled: Whether the layer quantizes.
        rounding: One of LAYER_ROUNDINGS.
        gradient: As in `fewbits.quantclip`.
        bias_order: `accumulator` adds the bias to the products, rounded to their grid, before the output quantizer;
            `output` adds it after the output quantizer, in float, as vieito2017 does.
        level: The level of a schedule at which `set_level` switches the layer on.
        ranges: `fixed` keeps the MSBs of the formats; `learned` trains them, one for the kernel, one for the input and
            one for the output, and `learned-per-filter` one for each filter; see `learned_ranges`.
        **kwargs: All else as in keras.layers.Conv2D.

    Raises:
        InputError: on what is not a format, on an unknown name, and on channels first.

    Source:
        vieito2017, Code 11.
    """

    def product(self, inputs: Any, kernel: Any) -> Any:
        """Convolve `inputs` with `kernel`, in float and without bias.

        Args:
            inputs: A tensor of inputs, (batch, ...).
            kernel: A tensor in the shape of the layer's kernel.
        """
        return self.convolution_op(inputs, kernel)


class _Depthwise(_Quantized):
    """What the two depthwise layers share."""

    def product(self, inputs: Any, kernel: Any) -> Any:
        """Convolve each channel of `inputs` with its filters in `kernel`, in float and without bias.

        Args:
            inputs: A tensor of inputs, (batch, ...).
            kernel: A tensor in the shape of the layer's kernel.
        """
        return ops.depthwise_conv(
            inputs, kernel, strides=self.strides, padding=self.padding, dilation_rate=self.dilation_rate
        )


@keras.saving.register_keras_serializable("fewbits")
class QuantizedDepthwiseConv2D(_Depthwise, keras.layers.DepthwiseConv2D):
    """A DepthwiseConv2D that computes in fixed point; arguments as in QuantizedConv2D.

    Its kernel is (height, width, in, multiplier) and has in * multiplier filters.
    """


@keras.saving.register_keras_serializable("fewbits")
class QuantizedDepthwiseConv1D(_Depthwise, keras.layers.DepthwiseConv1D):
    """A DepthwiseConv1D that computes in fixed point; arguments as in QuantizedConv2D.

    Its kernel is (length, in, multiplier) and has in * multiplier filters.
    """


@keras.saving.register_keras_serializable("fewbits")
class QuantizedConv1D(_Quantized, keras.layers.Conv1D):
    """A Conv1D that computes in fixed point; arguments as in QuantizedConv2D.

    Its kernel is (length, in, filters), for sequences (batch, steps, in).
    """

    def product(self, inputs: Any, kernel: Any) -> Any:
        """Convolve `inputs` with `kernel`, in float and without bias.

        Args:
            inputs: A tensor of inputs, (batch, ...).
            kernel: A tensor in the shape of the layer's kernel.
        """
        causal = self.padding == "causal"
        if causal:
            inputs = ops.pad(inputs, [[0, 0], [self.dilation_rate[0] * (self.kernel_size[0] - 1), 0], [0, 0]])
        padding = "valid" if causal else self.padding
        return ops.conv(inputs, kernel, list(self.strides), padding, dilation_rate=self.dilation_rate)


@keras.saving.register_keras_serializable("fewbits")
class QuantizedConv2DTranspose(_Quantized, keras.layers.Conv2DTranspose):
    """A Conv2DTranspose that computes in fixed point; arguments as in QuantizedConv2D.

    Its kernel is (height, width, filters, in).
    """

    def product(self, inputs: Any, kernel: Any) -> Any:
        """Convolve `inputs` with the transpose of `kernel`, in float and without bias.

        Args:
            inputs: A tensor of inputs, (batch, ...).
            kernel: A tensor in the shape of the layer's kernel.
        """
        return ops.conv_transpose(
            inputs,
            kernel,
            strides=list(self.strides),
            padding=self.padding,
            output_padding=self.output_padding,
            dilation_rate=self.dilation_rate,
        )


@keras.saving.register_keras_serializable("fewbits")
class QuantizedDense(_Quantized, keras.layers.Dense):
    """A Dense layer that computes in fixed point; arguments as in QuantizedConv2D.

    Its kernel is (in, units), with one filter per unit.
    """

    def product(self, inputs: Any, kernel: Any) -> Any:
        """Multiply the matrices `inputs` and `kernel`, in float and without bias.

        Args:
            inputs: A tensor of inputs, (batch, ...).
            kernel: A tensor in the shape of the layer's kernel.
        """
        return ops.matmul(inputs, kernel)


QUANTIZED: dict[type, Any] = {
    keras.layers.Conv1D: QuantizedConv1D,
    keras.layers.Conv2D: QuantizedConv2D,
    keras.layers.Conv2DTranspose: QuantizedConv2DTranspose,
    keras.layers.DepthwiseConv1D: QuantizedDepthwiseConv1D,
    keras.layers.DepthwiseConv2D: QuantizedDepthwiseConv2D,
    keras.layers.Dense: QuantizedDense,
}


def quantized_type(layer: keras.Layer) -> Any:
    """Return the class of quantized layers for `layer`: its own if it is one, None if it multiplies nothing."""
    return QUANTIZED.get(type(layer), type(layer) if type(layer) in QUANTIZED.values() else None)


# What a layer knows about itself, also a plain Keras layer


DEPTHWISE = keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D
TRANSPOSED = (keras.layers.Conv2DTranspose,)


def by_filter(layer: keras.Layer, kernel: Any) -> np.ndarray:
    """Return the `kernel` of `layer` as a matrix with one column per filter.

    A filter is what makes one output channel: in a depthwise convolution, a pair (input channel, multiplier).

    Args:
        layer: A convolution, depthwise convolution or dense layer, quantized or not.
        kernel: An array or tensor in the shape of the layer's kernel.

    Returns:
        An array (weights, filters); `from_filters` undoes it.
    """
    kernel = ops.convert_to_numpy(kernel)
    if isinstance(layer, TRANSPOSED):
        kernel = np.moveaxis(kernel, -2, -1)
    own = kernel.shape[-2:] if isinstance(layer, DEPTHWISE) else kernel.shape[-1:]
    return np.reshape(kernel, (-1, int(np.prod(own))))


def from_filters(layer: keras.Layer, columns: np.ndarray) -> np.ndarray:
    """Return a matrix with one column per filter in the shape of the kernel of `layer`.

    Args:
        layer: As in `by_filter`.
        columns: As `by_filter` returns it.

    Returns:
        An array in the shape of the layer's kernel.
    """
    shape = tuple(layer.kernel.shape)
    if isinstance(layer, TRANSPOSED):
        return np.moveaxis(columns.reshape((*shape[:-2], shape[-1], shape[-2])), -1, -2)
    return columns.reshape(shape)


def per_filter(layer: keras.Layer, numbers: Any) -> Any:
    """Return one number per filter in a shape that broadcasts against the kernel of `layer`.

    Args:
        layer: As in `by_filter`.
        numbers: A tensor (filters,).

    Returns:
        A tensor.
    """
    if isinstance(layer, DEPTHWISE):
        return ops.reshape(numbers, tuple(layer.kernel.shape[-2:]))
    return ops.reshape(numbers, (-1, 1) if isinstance(layer, TRANSPOSED) else (-1,))


def active_formats(layer: keras.Layer) -> Formats:
    """Return the formats in which `layer` computes now: FLOAT if it is a plain Keras layer or is not enabled."""
    return layer.formats if isinstance(layer, RoundingLayer) and layer.enabled else FLOAT


def kernel_formats(layer: keras.Layer) -> tuple[FixedPoint, ...]:
    """Return the active format of each filter of `layer`; an empty tuple if its kernel is float."""
    fmt = active_formats(layer).kernel
    return fmt if isinstance(fmt, tuple) else () if fmt is None else (fmt,) * by_filter(layer, layer.kernel).shape[1]


def quantized_kernel(layer: keras.Layer, rounding: str | None = None, seed: Seed = None) -> np.ndarray:
    """Return the kernel of `layer` rounded to its active formats, float32; unchanged if it is float.

    Args:
        layer: A convolution, depthwise convolution or dense layer, quantized or not.
        rounding: As in `fewbits.quantize`; by default the rounding of the layer.
        seed: For stochastic rounding, a NumPy Generator: an integer would start anew for each filter.
    """
    kernel, formats = float_kernel(layer), kernel_formats(layer)
    if not formats:
        return kernel
    columns, how = zip(by_filter(layer, kernel).T, formats), rounding or layer.rounding
    if len(set(formats)) == 1 and how != "stochastic":  # which draws filter by filter
        return quantize(kernel, formats[0], how)
    return from_filters(layer, np.stack([quantize(w, f, how, seed=seed) for w, f in columns], -1))


def effective_weights(layer: keras.Layer) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the kernel and the bias with which `layer` computes now, rounded where it rounds them.

    Args:
        layer: A convolution, depthwise convolution or dense layer, quantized or not.

    Returns:
        Kernel and bias, float32; None for the bias if the layer has none.
    """
    kernel, filters, (_, x, _, own) = quantized_kernel(layer), kernel_formats(layer), active_formats(layer)
    bias = None if layer.bias is None else ops.convert_to_numpy(layer.bias)
    if bias is not None and own is not None:
        bias = quantize(bias, own, layer.rounding)
    elif bias is not None and filters and x is not None and layer.bias_order == "accumulator":
        step = np.array([fmt.step * x.step for fmt in filters], np.float32)
        bias = np.rint(bias / step) * step
    return kernel, bias


# Checks, and configurations for files


def checked_formats(name: str, formats: Any) -> Formats:
    """Return the formats of a layer as Formats.

    Args:
        name: The layer.
        formats: `(kernel, input, output)` or `(kernel, input, output, bias)`, each a FixedPoint or None.

    Returns:
        The formats, each a FixedPoint, a tuple of them for the filters of a kernel, or None.

    Raises:
        InputError: naming the layer, on what is not a format, on more than 24 bits, and on an unsigned kernel or bias.
    """
    try:
        if isinstance(formats, (str, Mapping, FixedPoint)):  # which can be taken for several
            raise TypeError
        formats = Formats(*formats)
    except TypeError:
        raise InputError(
            f"layer {name}: formats must be (kernel, input, output), each a FixedPoint or None, not {_shown(formats)}"
        ) from None
    try:
        return Formats(*(_checked_format(kind, fmt) for kind, fmt in zip(KINDS, formats)))
    except InputError as error:
        raise InputError(f"layer {name}: {error}") from None


def check_settings(rounding: str, gradient: str, bias_order: str, ranges: str = "fixed") -> None:
    """Check the settings of quantized layers.

    Args:
        rounding: As in QuantizedConv2D.
        gradient: As in QuantizedConv2D.
        bias_order: As in QuantizedConv2D.
        ranges: As in QuantizedConv2D.

    Raises:
        InputError: on an unknown name.
    """
    check_name("rounding", rounding, LAYER_ROUNDINGS)
    check_name("way to set ranges", ranges, RANGES)
    check_name("gradient", gradient, GRADIENTS)
    check_name("bias order", bias_order, BIAS_ORDERS)


def _checked_format(kind, fmt):
    channels: tuple[FixedPoint, ...]
    if fmt is None or isinstance(fmt, FixedPoint):
        channels = () if fmt is None else (fmt,)
    else:
        try:  # a sequence with one per filter, or a pair of integers from a saved configuration
            made = tuple(f if isinstance(f, FixedPoint) else FixedPoint(*f) for f in fmt)
        except TypeError:
            raise InputError(f"the {kind} format must be a FixedPoint or None, not {_shown(fmt)}") from None
        if not made:
            raise InputError(f"the {kind} format must be a FixedPoint or None, not an empty sequence")
        fmt = made[0] if len(made) == 1 else made
        channels = made
    if len(channels) > 1 and (kind != "kernel" or len({f.nbits for f in channels}) > 1):
        raise InputError(f"the {kind} takes one format" if kind != "kernel" else "all filters must have equal bits")
    if any(f.nbits > MAX_NBITS_KERAS for f in channels):
        most = f"{MAX_NBITS_KERAS} bits, which float32 does not hold; use fewer"
        raise InputError(f"the {kind} format has more than {most}")
    if kind in ("kernel", "bias") and not all(f.signed for f in channels):
        raise InputError(f"the {kind} takes a signed format, because weights have a sign; leave signed=False out")
    return fmt


def _number(scalars, name):
    """Return one of the numbers in the order of SCALARS."""
    return scalars[SCALARS.index(name)]


def _is_unsigned(scalars, kind):
    """Return 1.0 if the format of a kind is unsigned, whose MSB reaches twice as far, else 0.0."""
    return ops.cast(_number(scalars, f"{kind}_nbits") < 0, "float32")


def _widths(fmt):
    """Return the bits of a format or of the formats of all filters, and whether it is signed."""
    one = fmt[0] if isinstance(fmt, tuple) else fmt
    return None if one is None else (one.nbits, one.signed)


def _shown(value):
    """Return a short description of what was given."""
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else f"something of type {type(value).__name__}"


def _as_config(fmt):
    if fmt is None:
        return None
    return [list(f) if f.signed else [*f, False] for f in (fmt if isinstance(fmt, tuple) else (fmt,))]


def _plus(x, bias):
    return x if bias is None else ops.add(x, ops.reshape(bias, (1,) * (len(x.shape) - 1) + (-1,)))  # Keras' own way

"""Convolution and dense layers whose kernel, input and output are rounded to fixed point while they compute.

    y = activation(quantize(convolve(quantize(x), quantize(kernel)) + bias))

Formats, rounding, and whether a layer is enabled or locked are held in variables: they can change at any time, also
on a compiled model, and nothing is traced again. Source: vieito2017, Code 11 (QuantizedConv2D), whose order of bias
and output quantizer is `bias_order="output"`.
"""

from typing import NamedTuple

import numpy as np

from fewbits.backend import fuse, keras, ops
from fewbits.errors import InputError
from fewbits.fixedpoint import GRADIENTS, MAX_NBITS_KERAS, ROUNDINGS, FixedPoint, check_name, exp2, quantclip

KINDS = ("kernel", "input", "output", "bias")
BIAS_ORDERS = ("accumulator", "output")
LAYER_ROUNDINGS = tuple(r for r in ROUNDINGS if r != "stochastic")


class Formats(NamedTuple):
    """The formats of one layer; None leaves a value in float.

    kernel: a FixedPoint, or a tuple of them, one a filter, of equal bits (per-channel scale). input, output: one
    FixedPoint. bias: a FixedPoint, or None for what `bias_order` says.
    """

    kernel: FixedPoint | tuple[FixedPoint, ...] | None = None
    input: FixedPoint | None = None
    output: FixedPoint | None = None
    bias: FixedPoint | None = None


FLOAT = Formats()


class _State(keras.layers.Layer):
    """The variables of a quantized layer: for each kind an MSB (the kernel has one a filter) and bits, 0 for float."""

    def __init__(self, filters: int, **kwargs):
        super().__init__(trainable=False, **kwargs)
        for kind in KINDS:
            shape = (filters,) if kind == "kernel" else ()
            setattr(self, f"{kind}_msb", self._integer(f"{kind}_msb", shape))
            setattr(self, f"{kind}_nbits", self._integer(f"{kind}_nbits"))
        for switch in ("rounding", "enabled", "locked"):
            setattr(self, switch, self._integer(switch))
        self.built = True

    def load_own_variables(self, store):
        super().load_own_variables(store)
        self.loaded()  # after the kernel: a layer's own variables are read before those of its sub-layers

    def _integer(self, name, shape=()):
        return self.add_weight(name=name, shape=shape, dtype="int32", initializer="zeros", trainable=False)

    def pair(self, kind):
        return getattr(self, f"{kind}_msb"), getattr(self, f"{kind}_nbits")

    def set(self, kind, fmt):
        msb, nbits = self.pair(kind)
        channels = fmt if isinstance(fmt, tuple) else (fmt,)
        if fmt is not None:
            msb.assign(np.resize([f.msb for f in channels], tuple(msb.shape)))
        nbits.assign(0 if fmt is None else channels[0].nbits)

    def get(self, kind):
        msb, nbits = (ops.convert_to_numpy(v) for v in self.pair(kind))
        if not nbits:
            return None
        channels = tuple(FixedPoint(int(m), int(nbits)) for m in np.ravel(msb))
        return channels[0] if len(set(channels)) == 1 else channels


class _Lock(keras.constraints.Constraint):
    """Gives a variable its kept value back after each update while its layer is locked.

    Optimizers move a variable by momentum and weight decay too; what they leave is overruled here, in the graph.
    On JAX, which traces an optimizer's constraints once, a lock set after the first step needs a new `compile`.
    """

    def __init__(self, variable):
        self.variable, self.constraint = variable, variable.constraint
        self.kept = keras.Variable("zeros", shape=variable.shape, dtype=variable.dtype, trainable=False)
        self.locked = keras.Variable(0, dtype="int32", trainable=False)

    def set(self, locked):
        self.kept.assign(ops.convert_to_numpy(self.variable))
        self.locked.assign(int(locked))

    def __call__(self, w):
        w = w if self.constraint is None else self.constraint(w)
        locked, kept, w = map(ops.convert_to_tensor, (self.locked, self.kept, w))
        return ops.where(locked != 0, kept, w)


class _Quantized:
    """What the three layers share; each says how its inputs and its kernel are multiplied (`product`)."""

    def __init__(
        self,
        *args,
        formats=FLOAT,
        enabled=True,
        rounding="floor",
        gradient="clipped",
        bias_order="accumulator",
        level=1,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        check_name("rounding", rounding, LAYER_ROUNDINGS)
        check_name("gradient", gradient, GRADIENTS)
        check_name("bias order", bias_order, BIAS_ORDERS)
        if getattr(self, "data_format", "channels_last") != "channels_last":
            raise InputError(f"{self.name} computes with channels last only; build it with data_format='channels_last'")
        self.gradient, self.bias_order, self.level = gradient, bias_order, level
        self._start = _checked(formats), bool(enabled), rounding

    def build(self, input_shape):
        super().build(input_shape)
        self._filters = self.compute_output_shape(input_shape)[-1]
        self.state = _State(self._filters, name="state")
        self._locks = []
        for variable in (v for v in (self.kernel, self.bias) if v is not None):
            variable.constraint = _Lock(variable)
            self._locks.append(variable.constraint)
        self._round_input = fuse(self._round_input_op)
        self._round_kernel = fuse(self._round_kernel_op)
        self._finish = fuse(self._finish_op)
        formats, self.enabled, self.rounding = self._start
        self.set_formats(*formats)
        self.state.loaded = self._lock_in_graph

    # What can be changed at any time

    def set_formats(self, kernel=None, input=None, output=None, bias=None):
        """Set all formats; None leaves a value in float. kernel: one FixedPoint, or a sequence of one a filter."""
        formats = _checked((kernel, input, output, bias))
        if isinstance(formats.kernel, tuple) and len(formats.kernel) != self._filters:
            raise InputError(f"{self.name} has {self._filters} filters, not {len(formats.kernel)} kernel formats")
        for kind, fmt in zip(KINDS, formats):
            self.state.set(kind, fmt)

    @property
    def formats(self) -> Formats:
        return Formats(*map(self.state.get, KINDS))

    @property
    def enabled(self) -> bool:
        """Whether the layer quantizes; where not, it is exactly the Keras layer."""
        return bool(ops.convert_to_numpy(self.state.enabled))

    @enabled.setter
    def enabled(self, value: bool):
        self.state.enabled.assign(int(value))

    @property
    def locked(self) -> bool:
        """Whether kernel and bias stay as they are through training, whatever the optimizer."""
        return bool(ops.convert_to_numpy(self.state.locked))

    @locked.setter
    def locked(self, value: bool):
        self.state.locked.assign(int(value))
        self._lock_in_graph()

    @property
    def rounding(self) -> str:
        return ROUNDINGS[int(ops.convert_to_numpy(self.state.rounding))]

    @rounding.setter
    def rounding(self, value: str):
        check_name("rounding", value, LAYER_ROUNDINGS)
        self.state.rounding.assign(ROUNDINGS.index(value))

    # What it computes

    def call(self, inputs):
        bias = 0.0 if self.bias is None else ops.convert_to_tensor(self.bias)
        return self._finish(self.extract(inputs), bias)

    def extract(self, inputs):
        """Return the raw products of quantized inputs and kernel: before bias, output quantizer and activation."""
        kernel = self._round_kernel(ops.convert_to_tensor(self.kernel))
        return self.product(self._round_input(inputs), kernel)

    def _round(self, x, kind):
        """Return `x` in the format of `kind`, or as it is where there is none or the layer is not enabled."""
        msb, nbits = (ops.convert_to_tensor(v) for v in self.state.pair(kind))
        if kind == "kernel":
            msb = ops.reshape(msb, self._kernel_channels(x))
        on = (ops.convert_to_tensor(self.state.enabled) != 0) & (nbits != 0)
        rounded = quantclip(x, (msb, ops.maximum(nbits, 1)), ops.convert_to_tensor(self.state.rounding), self.gradient)
        return ops.where(on, rounded, x)

    def _kernel_channels(self, kernel):
        """Return the shape in which one number a filter stands beside the kernel."""
        return (self._filters,)

    def _round_input_op(self, x):
        return self._round(x, "input")

    def _round_kernel_op(self, kernel):
        return self._round(kernel, "kernel")

    def _finish_op(self, products, bias):
        if self.bias_order == "accumulator":
            y = self._round(products + self._rounded_bias(bias), "output")
        else:
            y = self._round(products, "output") + self._rounded_bias(bias)
        return y if self.activation is None else self.activation(y)

    def _rounded_bias(self, bias):
        """Return the bias in its own format or, without one, to nearest on the grid of the products."""
        if self.bias is None:
            return bias
        (kernel_msb, kernel_nbits), (msb, nbits) = self.state.pair("kernel"), self.state.pair("input")
        own = self._round(bias, "bias")
        if self.bias_order == "output":
            return own
        step = exp2(kernel_msb - kernel_nbits + msb - nbits + 2)
        in_accumulator = ops.stop_gradient(ops.round(bias / step) * step) + (bias - ops.stop_gradient(bias))
        integers = (kernel_nbits != 0) & (nbits != 0) & (self.state.enabled != 0)
        return ops.where(self.state.bias_nbits != 0, own, ops.where(integers, in_accumulator, bias))

    # What is saved

    def _lock_in_graph(self):
        for lock in self._locks:
            lock.set(self.locked)

    def get_config(self):
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
        }


@keras.saving.register_keras_serializable("fewbits")
class QuantizedConv2D(_Quantized, keras.layers.Conv2D):
    """A Conv2D that computes in fixed point: kernel (height, width, in, filters), images (batch, height, width, in).

    formats: `(kernel, input, output)`, each a FixedPoint or None for float; see Formats. enabled: whether to quantize.
    rounding: one of LAYER_ROUNDINGS. gradient: as in `fewbits.quantclip`. bias_order: `accumulator` adds the bias to
    the products, rounded to their grid, before the output quantizer; `output` adds it after, in float, as vieito2017
    does.
    level: the step of a schedule at which `set_level` switches the layer on. All else as in keras.layers.Conv2D.
    Raises InputError on formats that are none, and on channels first.
    """

    def product(self, inputs, kernel):
        return self.convolution_op(inputs, kernel)


@keras.saving.register_keras_serializable("fewbits")
class QuantizedDepthwiseConv2D(_Quantized, keras.layers.DepthwiseConv2D):
    """A DepthwiseConv2D in fixed point: kernel (height, width, in, multiplier), in * multiplier filters."""

    def product(self, inputs, kernel):
        return ops.depthwise_conv(
            inputs, kernel, strides=self.strides, padding=self.padding, dilation_rate=self.dilation_rate
        )

    def _kernel_channels(self, kernel):
        return kernel.shape[2:]


@keras.saving.register_keras_serializable("fewbits")
class QuantizedDense(_Quantized, keras.layers.Dense):
    """A Dense layer in fixed point: kernel (in, units), one filter a unit."""

    def product(self, inputs, kernel):
        return ops.matmul(inputs, kernel)


def _checked(formats) -> Formats:
    """Return `formats` as Formats of FixedPoint; InputError where one is none."""
    try:
        formats = Formats(*formats)
    except TypeError:
        raise InputError(
            f"formats must be (kernel, input, output), each a FixedPoint or None, not {formats!r}"
        ) from None
    return Formats(*(_checked_format(kind, fmt) for kind, fmt in zip(KINDS, formats)))


def _checked_format(kind, fmt):
    if fmt is None or isinstance(fmt, FixedPoint):
        channels = () if fmt is None else (fmt,)
    else:
        try:  # a sequence of one a filter, or a pair of integers from a saved configuration
            fmt = tuple(f if isinstance(f, FixedPoint) else FixedPoint(*f) for f in fmt)
        except TypeError:
            raise InputError(f"the {kind} format must be a FixedPoint or None, not {fmt!r}") from None
        fmt = fmt[0] if len(fmt) == 1 else fmt
        channels = fmt if isinstance(fmt, tuple) else (fmt,)
    if len(channels) > 1 and (kind != "kernel" or len({f.nbits for f in channels}) > 1):
        raise InputError(f"the {kind} takes one format" if kind != "kernel" else "all filters must have equal bits")
    if any(f.nbits > MAX_NBITS_KERAS for f in channels):
        raise InputError(f"the {kind} format has more than {MAX_NBITS_KERAS} bits, which float32 does not hold")
    return fmt


def _as_config(fmt):
    if fmt is None:
        return None
    return [list(f) for f in (fmt if isinstance(fmt, tuple) else (fmt,))]

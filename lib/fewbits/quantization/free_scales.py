"""Quantizers whose step is any positive number and learns: LSQ and PACT. A shift-only device has no such steps.

They stand here to be taught and compared with `learned_ranges`, whose steps are powers of two; `nearest_format` is what
a device can have of them. Codes are k = clip(round(x / s)), values q = s * k, and the rounding passes gradients where
codes are not clipped, as everywhere in this package.
"""

from math import floor, log2, sqrt
from typing import Any

from fewbits.backend import keras, ops, tensor
from fewbits.errors import InputError, check_integer
from fewbits.quantization.fixedpoint import MAX_NBITS_KERAS, FixedPoint


def lsq(x: Any, step: Any, nbits: int, signed: bool = True) -> Any:
    """Round `x` to multiples of a learned step.

    With k' = 1 where codes are not clipped and 0 elsewhere,

        dq/dx = k'        dq/ds = k - k' * x / s

    that is, (q - x) / s inside, and the last code outside. Many values pull at one step, with codes up to
    `max_code`. So that the step moves as fast, relative to its size, as weights do, its gradient is scaled by
    1 / sqrt(n * max_code), where n is how many values share it: the weights of a kernel or filter, or the activations
    of one image.

    Args:
        x: A float tensor; an activation has the images on its first axis.
        step: A positive float tensor that broadcasts against `x`: of the shape () for activations; for a kernel, one
            per filter, or one in all in the shape (1,).
        nbits: The bits, 1 to 24 if unsigned, else 2 to 24.
        signed: Whether codes have a sign; if not, they begin at 0.

    Returns:
        A tensor of the shape of `x`.

    Raises:
        InputError: when the bits are out of range.

    Source:
        Esser et al. 2020, "Learned step size quantization", Equations 1 to 3 and section 2.2.
    """
    fmt = _codes_of(nbits, signed)
    step = tensor(step)
    shape, rank = tuple(step.shape), len(x.shape)
    shared = [axis for axis in range(rank) if ((1,) * (rank - len(shape)) + shape)[axis] == 1]
    axes = shared if shape else range(1, rank)
    n = ops.cast(ops.prod(ops.stack([ops.shape(x)[axis] for axis in axes])), "float32")
    scale = 1 / (ops.sqrt(n) * sqrt(fmt.max_code))

    @ops.custom_gradient
    def rounded(x, step):
        v = x / step
        codes = ops.round(v)
        kept = (codes >= fmt.min_code) & (codes <= fmt.max_code)
        codes = ops.clip(codes, fmt.min_code, fmt.max_code)

        def backward(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream
            by_step = upstream * (codes - ops.where(kept, v, 0))
            return ops.where(kept, upstream, 0), ops.reshape(ops.sum(by_step, shared), shape) * scale

        return codes * step, backward

    return rounded(tensor(x), step)


def lsq_start(x: Any, nbits: int, signed: bool = True) -> Any:
    """Return the step from which LSQ learns: 2 * mean(abs(x)) / sqrt(max_code).

    Args:
        x: Weights or activations, any shape; of one filter if each has its step.
        nbits: As in `lsq`.
        signed: As in `lsq`.

    Returns:
        A single number, a tensor.

    Source:
        Esser et al. 2020, section 2.1.
    """
    return 2 * ops.mean(ops.abs(x)) / sqrt(_codes_of(nbits, signed).max_code)


def pact(x: Any, alpha: Any, nbits: int) -> Any:
    """Clip `x` to [0, alpha] and round it to 2**nbits values from 0 to alpha, which learns.

    The clipped value y = min(max(x, 0), alpha) takes the place of a ReLU; with the rounding as a straight line,

        dq/dx = 1 where 0 <= x < alpha, else 0        dq/dalpha = 1 where x >= alpha, else 0

    The error of the rounding plays no part in it: PACT learns from clipped values alone, and a penalty on alpha (in the
    paper, lambda * alpha**2) has to hold it back.

    Args:
        x: A float tensor.
        alpha: A single positive number, a float tensor.
        nbits: The bits, 1 to 24.

    Returns:
        A tensor of the shape of `x`.

    Raises:
        InputError: when the bits are out of range.

    Source:
        Choi et al. 2018, "PACT: parameterized clipping activation for quantized neural networks", Equations 1 to 3.
    """
    fmt = _codes_of(nbits, signed=False)

    @ops.custom_gradient
    def rounded(x, alpha):
        step = alpha / fmt.max_code
        codes = ops.round(ops.clip(x, 0, alpha) / step)

        def backward(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream
            inside, above = (x >= 0) & (x < alpha), x >= alpha
            return ops.where(inside, upstream, 0), ops.sum(ops.where(above, upstream, 0))

        return codes * step, backward

    return rounded(tensor(x), tensor(alpha))


def nearest_format(step: float, nbits: int, signed: bool = True) -> FixedPoint:
    """Return the format whose step is nearest to a free one, as a factor.

    Args:
        step: The step; for PACT, alpha / (2**nbits - 1).
        nbits: The bits.
        signed: Whether codes have a sign.

    Returns:
        The format.

    Raises:
        InputError: when the step is not positive.

    Example:
        >>> nearest_format(0.3, 4)
        FixedPoint(msb=1, nbits=4)
    """
    if not step > 0:
        raise InputError(f"a step is a positive number, not {step}; take one from lsq_start")
    return FixedPoint(floor(log2(step) + 0.5) + nbits - 1, nbits, signed)


def _codes_of(nbits, signed):
    """Return a format with the codes that are meant; its step does not count."""
    check_integer("nbits", nbits, 1 + bool(signed), MAX_NBITS_KERAS)
    return FixedPoint(0, nbits, bool(signed))


@keras.saving.register_keras_serializable("fewbits")
class FreeQuantizer(keras.layers.Layer):
    """Rounds activations with a step that learns; in unsigned form it takes the place of a ReLU.

    A model with such a layer is for comparisons in training: `quantize_model` refuses it, because its step is no power
    of two.

    Args:
        method: `lsq` or `pact`, which has no sign.
        nbits: As in `lsq`.
        signed: As in `lsq`.
        start: The step, or alpha, from which it learns.
        **kwargs: As in keras.layers.Layer.

    Raises:
        InputError: on another method, and for PACT with a sign.
    """

    def __init__(self, method: str = "lsq", nbits: int = 4, signed: bool = False, start: float = 0.25, **kwargs: Any):
        super().__init__(**kwargs)
        if method not in ("lsq", "pact") or method == "pact" and signed:
            raise InputError(f"method must be lsq, or pact with signed=False, not {method!r} with signed={signed}")
        _codes_of(nbits, signed)
        self.method, self.nbits, self.signed, self.start = method, nbits, signed, start
        self.range = self.add_weight(
            name="range", shape=(), dtype="float32", initializer=keras.initializers.Constant(start)
        )

    def call(self, inputs: Any) -> Any:
        """Round a tensor of inputs."""
        if self.method == "pact":
            return pact(inputs, self.range, self.nbits)
        return lsq(inputs, self.range, self.nbits, self.signed)

    def get_config(self) -> dict[str, Any]:
        """Return the configuration of the layer."""
        own = {"method": self.method, "nbits": self.nbits, "signed": self.signed, "start": self.start}
        return {**super().get_config(), **own}

"""An integer network as a program for a device: which loops it needs, and where in memory its codes lie.

An operation that changes each code by itself (a shift, a ReLU, a bias) needs no loop of its own if nothing else reads
its input: the loop that makes this input applies the operation as well, so sums never go to memory. Likewise, the
inputs of a concatenation are written where they belong in its output. All other tensors share one arena, in which
tensors that are never needed at the same time may occupy the same place. Codes that are never negative are stored
without a sign where that makes them narrower, and codes of at most 4 bits two in a byte where that saves memory.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fewbits.deploy import operations
from fewbits.deploy.integer import IntegerNetwork
from fewbits.deploy.operations import Operation, Tensor, signed_bits
from fewbits.errors import InputError

WIDTHS = (8, 16, 32, 64)  # bits of codes in memory
PACKED = 4  # bits of codes of which two share a byte
UNSIGNED = (PACKED, 8, 16)  # bits of codes that may be stored without a sign
MOST_BITS = 64  # of a sum


@dataclass(frozen=True)
class DivideSums:
    """Divide by divisor * 2**shift, round and clip.

    Attributes:
        shift: An integer that is not negative, or one per channel (a tuple). In a tuple, negative shifts multiply and
            the divisor is 1. If the divisor is not 1, the shift is 0.
        divisor: A positive integer.
        rounding: One of INTEGER_ROUNDINGS.
        low: The smallest result.
        high: The largest result.
    """

    shift: int | tuple[int, ...]
    divisor: int
    rounding: str
    low: int
    high: int


@dataclass(frozen=True)
class MultiplySums:
    """Multiply by a factor.

    Attributes:
        factor: A power of two.
    """

    factor: int


@dataclass(frozen=True, eq=False)
class OffsetSums:
    """Add a constant to each channel.

    Attributes:
        constants: int64, one per channel.
    """

    constants: np.ndarray


@dataclass(frozen=True)
class ClipSums:
    """Clip to a range.

    Attributes:
        low: The smallest result.
        high: The largest result.
    """

    low: int
    high: int


@dataclass(frozen=True, eq=False)
class LeakySums:
    """Multiply by a factor, or by a slope what is below zero.

    Attributes:
        slopes: int64: one number, one per channel, or one per pixel and channel (pixels, channels).
        factor: A power of two.
    """

    slopes: np.ndarray
    factor: int


@dataclass(frozen=True, eq=False)
class TabulateSums:
    """Look each code up in a table.

    Attributes:
        first: The code that the table begins with.
        codes: int64, the results.
    """

    first: int
    codes: np.ndarray


Finish = DivideSums | MultiplySums | OffsetSums | ClipSums | LeakySums | TabulateSums


@dataclass(eq=False)
class Loop:
    """A loop over the pixels of an output: for each pixel compute the sums, apply `finish`, and store the codes.

    Attributes:
        kind: Copy, or load (the pixels minus their mean), or what KINDS says of the operation.
        operation: What the loop computes; None for a copy, and for loading the first input.
        name: Name of the layer.
        inputs: Indices of the tensors that the loop reads.
        shape: (height, width, channels) of what the loop makes.
        tensor: Index of the tensor that the loop writes; an output of the program has the index that `Program.outputs`
            tells.
        bits: Width of the sums.
        finish: What becomes of the sums of a pixel, in order.
        offset: The first channel of the tensor that the loop writes.
        stride: Channels of that tensor, from one pixel to the next.
    """

    kind: str
    operation: Operation | None
    name: str
    inputs: tuple[int, ...]
    shape: tuple[int, int, int]
    tensor: int
    bits: int
    finish: list[Finish] = field(default_factory=list)
    offset: int = 0
    stride: int = 0

    def __post_init__(self):
        self.stride = self.shape[2]

    @property
    def sum_bits(self) -> int:
        """Width of the integers that the loop computes with, 32 or 64."""
        return 32 if self.bits <= 32 else 64


@dataclass(frozen=True)
class Buffer:
    """The memory of the codes of a tensor.

    Attributes:
        bits: Width of a code, one of WIDTHS, or PACKED: the first code of a byte then lies in its lower half.
        signed: Whether codes are in two's complement.
        size: Number of codes.
        start: Offset in the arena, in bytes.
    """

    bits: int
    signed: bool
    size: int
    start: int

    @property
    def kind(self) -> str:
        """The type of a code, such as "int8" or "uint4"."""
        return f"{'' if self.signed else 'u'}int{self.bits}"

    @property
    def packed(self) -> bool:
        """Whether two codes share a byte."""
        return self.bits == PACKED

    @property
    def element(self) -> str:
        """The type of what lies in memory: that of a code, or a byte of two codes."""
        return "uint8" if self.packed else self.kind

    @property
    def element_bits(self) -> int:
        """Its width."""
        return 8 if self.packed else self.bits

    @property
    def bytes(self) -> int:
        """Bytes that the codes take."""
        return -(-self.size * self.bits // 8)


@dataclass(frozen=True)
class Program:
    """The loops of a network, in the order in which they run, and their memory.

    Attributes:
        network: The planned network; its operations may be reordered to save memory.
        loops: The loops.
        buffers: Tensor index -> buffer, for all tensors in the arena: not an image, unless it has a mean, and not the
            outputs.
        images: Tensor index -> index of the input whose bytes it is: an image without a mean, or one in another shape.
        outputs: What the loops call each output of the network, in its order: the index of the last tensor for the
            logits, and an index that is none of a tensor for each earlier output.
    """

    network: IntegerNetwork
    loops: Sequence[Loop]
    buffers: dict[int, Buffer]
    images: dict[int, int]
    outputs: tuple[int, ...]

    @property
    def arena_bytes(self) -> int:
        """Bytes of the arena that holds all buffers."""
        most = max((b.start + b.bytes for b in self.buffers.values()), default=0)
        return _aligned(most, _alignment(b.bits for b in self.buffers.values()))

    @property
    def unpacked_bytes(self) -> int:
        """Bytes for packed codes while a loop reads them: those of a pixel, or of two that it multiplies."""
        return max(map(self._unpacked, self.loops), default=0)

    def _unpacked(self, loop):
        tensors = self.network.tensors
        rows = [tensors[i].shape[2] for i in loop.inputs if i in self.buffers and self.buffers[i].packed]
        return sum(rows) if loop.kind == "product" else max(rows, default=0)


def plan_program(network: IntegerNetwork, packed: bool = True) -> Program:
    """Return an integer network as a program.

    Args:
        network: An integer network.
        packed: Whether codes of at most 4 bits lie two in a byte, if the program then needs less memory.

    Returns:
        The program.

    Raises:
        InputError: naming the layer, when sums or codes need more than 64 bits.
    """
    network = replace(network, operations=_pooled_late(network))
    planning = _Planning(network)
    for number, operation in enumerate(network.operations, 1):
        planning.add(number, operation)
    loops, place = planning.finished(), planning.place
    raw = {i for i, mean in zip(network.inputs, network.means) if not any(mean)}
    images = {i: place.get(i, i) for i in (*raw, *place) if place.get(i, i) in raw}
    outputs = (*planning.earlier, len(network.operations))
    buffers = [_buffers(network, loops, place, {*images, *outputs}, pack) for pack in (False, True)[: 1 + packed]]
    plans = [Program(network, tuple(loops), each, images, outputs) for each in buffers]
    return min(plans, key=lambda plan: plan.arena_bytes + plan.unpacked_bytes)


def _pooled_late(network):
    """Return the operations; each rounding that makes codes narrower moves ahead of the max-pooling that it reads.

    Rounding and clipping keep the order of codes, so the largest stays the largest, and narrower codes are stored.
    """
    made, readers = list(network.operations), _readers(network)
    for number, operation in enumerate(made):
        if not isinstance(operation, operations.Requantize | operations.Clip):
            continue
        i = operation.inputs[0]
        pool = made[i - 1] if i else None
        if not isinstance(pool, operations.MaxPool):
            continue
        x = made[pool.inputs[0] - 1].output if pool.inputs[0] else network.image
        narrower = stored_bits(operation.output, operation.layer) < stored_bits(x, pool.layer)
        if narrower and readers[i] == readers[pool.inputs[0]] == 1:
            made[i - 1] = replace(operation, inputs=pool.inputs, output=replace(operation.output, shape=x.shape))
            made[number] = replace(pool, inputs=(i,), output=operation.output)
    return tuple(made)


def _readers(network):
    """Return how often each tensor is read, by index; an earlier output of the network is read once more."""
    read = [i for operation in network.operations for i in operation.inputs]
    return Counter([*read, *(output.tensor for output in network.earlier)])


class _Planning:
    """The loops so far, and which of them make which tensor."""

    def __init__(self, network):
        self.network, self.tensors = network, network.tensors
        self.loops: list[Loop] = []
        self.readers = _readers(network)
        self.makers: dict[int, list[Loop]] = {}  # tensor -> loops that make it
        self.place: dict[int, int] = {}  # tensor -> the tensor whose memory it shares, if it has none of its own
        # The name that loops have for each earlier output -> its tensor.
        self.earlier = {len(self.tensors) + n: output.tensor for n, output in enumerate(network.earlier)}
        self._load(0, "image", None, network.mean)
        self._deliver(0)

    def add(self, number, operation):
        self._make(number, operation)
        if number < len(self.network.operations):
            self._deliver(number)

    def _make(self, number, operation):
        if isinstance(operation, operations.Input):
            self._load(number, operation.layer, operation, operation.mean)
        elif isinstance(operation, operations.Concatenate):
            self.makers[number] = self._joined(number, operation)
        elif not operation.in_place:
            self._append(self._loop(number, operation))
        elif self._fits(operation):
            self.makers[number] = self.makers.pop(operation.inputs[0])
            for loop in self.makers[number]:
                self._finish(loop, operation)
                loop.tensor = number
        elif isinstance(operation, operations.Reshape):
            i = operation.inputs[0]
            self.place[number] = self.place.get(i, i)
        else:
            loop = self._copy(number, operation.layer, operation.inputs[0])
            self._finish(loop, operation)

    def finished(self):
        """Return all loops, with a copy at the end if the logits share the memory of another tensor."""
        last = len(self.network.operations)
        if last in self.place:
            self._copy(last, self.network.operations[-1].layer, self.place.pop(last))
        self._deliver(last)
        return self.loops

    def _load(self, number, name, operation, mean):
        if any(mean):
            image = self.tensors[number]
            self._append(Loop("load", operation, name, (), image.shape, number, image.bits))

    def _deliver(self, number):
        """Let loops write a tensor to each earlier output that it is; without a copy if nothing else reads it."""
        x, last = self.tensors[number], len(self.network.operations)
        for output in (output for output, i in self.earlier.items() if i == number):
            if self.readers[number] == 1 and number in self.makers and number < last:
                for loop in self.makers.pop(number):
                    loop.tensor = output
            else:
                name = self.network.operations[number - 1].layer if number else "image"
                self.loops.append(Loop("copy", None, name, (number,), x.shape, output, x.bits))

    def _append(self, loop):
        self.loops.append(loop)
        self.makers[loop.tensor] = [loop]
        return loop

    def _copy(self, number, name, i):
        x = self.tensors[i]
        return self._append(Loop("copy", None, name, (i,), x.shape, number, x.bits))

    def _loop(self, number, operation):
        kind, bits = _kind_and_bits(operation, [self.tensors[i] for i in operation.inputs])
        return Loop(kind, operation, operation.layer, operation.inputs, operation.output.shape, number, bits)

    def _fits(self, operation):
        """Return whether the loops that make the input of `operation` can apply it as well."""
        i = operation.inputs[0]
        if self.readers[i] > 1 or i not in self.makers:
            return False
        return not _per_channel(operation) or all(loop.stride == operation.output.shape[2] for loop in self.makers[i])

    def _joined(self, number, operation):
        """Return the loops that make a concatenation, each of which writes its own channels."""
        loops, offset = [], 0
        for i, shift in zip(operation.inputs, operation.shifts):
            x = self.tensors[i]
            makers = self.makers.get(i, [])
            if self.readers[i] > 1 or not makers or any(loop.stride != x.shape[2] for loop in makers):
                makers = [self._copy(number, operation.layer, i)]
            for loop in makers:
                if shift:
                    _widen(loop, x.low << shift, x.high << shift)
                    loop.finish.append(MultiplySums(1 << shift))
                loop.tensor, loop.offset, loop.stride = number, loop.offset + offset, operation.output.shape[2]
            loops += makers
            offset += x.shape[2]
        return loops

    def _finish(self, loop, operation):
        """Add `operation` to what `loop` does with its sums, for the channels that it makes."""
        x = self.tensors[operation.inputs[0]]
        part = slice(loop.offset, loop.offset + loop.shape[2])
        if isinstance(operation, operations.Clip):
            _clip(loop, operation.low, operation.high)
        elif isinstance(operation, operations.AddConstant):
            low, high = x.low << operation.shift, x.high << operation.shift
            _widen(loop, low, high)
            _widen(loop, operation.output.low, operation.output.high)
            if operation.shift:
                loop.finish.append(MultiplySums(1 << operation.shift))
            loop.finish.append(OffsetSums(operation.constant[part]))
        elif isinstance(operation, operations.Requantize):
            shift = operation.shift if isinstance(operation.shift, int) else operation.shift[part]
            self._divide(loop, replace(operation, shift=shift), x)
        elif isinstance(operation, operations.Leaky):
            slopes = _slopes(operation)
            _widen(loop, *_span([min(x.low, 0)], [int(slopes.min()), int(slopes.max())]))
            _widen(loop, 0, max(x.high, 0) << operation.shift)
            loop.finish.append(LeakySums(slopes if slopes.size == 1 else slopes[..., part], 1 << operation.shift))
        elif isinstance(operation, operations.LookUp):
            _widen(loop, min(x.low, x.low - operation.first), max(x.high, x.high - operation.first))
            _widen(loop, int(operation.codes.min()), int(operation.codes.max()))
            loop.finish.append(TabulateSums(operation.first, operation.codes))

    def _divide(self, loop, operation, x):
        """Let `loop` divide, round and clip. A divisor that is a power of two becomes part of the shift."""
        shifts = np.ravel(operation.shift).tolist()
        divisor, twos = operation.divisor, 0
        if divisor & (divisor - 1) == 0:
            divisor, twos = 1, divisor.bit_length() - 1
        shifts = [shift + twos for shift in shifts]
        if divisor > 1 and len(set(shifts)) > 1:  # on the finest grid of all channels, the divisor is one
            finer = tuple(shift - max(shifts) for shift in shifts)
            low, high = x.low << -min(finer), x.high << -min(finer)
            low, high = min(low, x.low), max(high, x.high)
            _widen(loop, low, high)
            loop.finish.append(DivideSums(finer, 1, "floor", low, high))
            x, shifts = replace(x, low=low, high=high), [max(shifts)]
        up, down = max(-min(shifts), 0), max(max(shifts), 0)
        _widen(loop, x.low << up, x.high << up)
        _widen(loop, 0, (2 * divisor << down) - 1 if down or divisor > 1 else 0)
        _widen(loop, operation.low, operation.high)
        if len(set(shifts)) > 1:
            loop.finish.append(DivideSums(tuple(shifts), 1, operation.rounding, operation.low, operation.high))
            return
        if up:
            loop.finish.append(MultiplySums(1 << up))
        if divisor > 1:
            loop.finish.append(DivideSums(0, divisor << down, operation.rounding, operation.low, operation.high))
        elif down:
            loop.finish.append(DivideSums(down, 1, operation.rounding, operation.low, operation.high))
        else:
            _clip(loop, operation.low, operation.high)


def _clip(loop, low, high):
    """Let `loop` clip; merged with a clipping right before it."""
    if loop.finish and isinstance(loop.finish[-1], DivideSums | ClipSums):
        last = loop.finish.pop()
        limits = (min(max(end, low), high) for end in (last.low, last.high))
        loop.finish.append(replace(last, **dict(zip(("low", "high"), limits))))
    else:
        _widen(loop, low, high)
        loop.finish.append(ClipSums(low, high))


def _widen(loop, low, high):
    """Widen the sums of `loop` to hold integers from `low` to `high`."""
    loop.bits = max(loop.bits, signed_bits(low, high))
    if loop.bits > MOST_BITS:
        raise InputError(f"layer {loop.name} needs integers of {loop.bits} bits, more than {MOST_BITS}")


# Operation -> kind of its loop. Those that join read several images pixel by pixel.
JOINING = {
    operations.Add: "add",
    operations.Subtract: "subtract",
    operations.Multiply: "product",
    operations.Largest: "largest",
    operations.Smallest: "smallest",
}
KINDS = JOINING | {
    operations.MaxPool: "max_pool",
    operations.SumPool: "sum_pool",
    operations.Pad: "pad",
    operations.Spread: "spread",
    operations.Repeat: "repeat",
    operations.Transpose: "transpose",
}


def _kind_and_bits(operation, inputs):
    """Return the kind of loop for an operation, and the bits of its sums."""
    if isinstance(operation, operations.Convolve):
        kind = "depthwise" if operation.depthwise else "convolve" if operation.groups == 1 else "grouped"
        return kind, operation.partial_bits
    return KINDS[type(operation)], signed_bits(*_range(operation, inputs))


def _range(operation, inputs):
    """Return the smallest and the largest integer that occurs while an operation without a kernel is computed."""
    x = inputs[0]
    if isinstance(operation, operations.SumPool):
        n = operation.window[0] * operation.window[1]
        return min(x.low, 0) * n, max(x.high, 0) * n
    if isinstance(operation, operations.Multiply):
        return _span(*((tensor.low, tensor.high) for tensor in inputs))
    if type(operation) not in JOINING:
        return x.low, x.high
    signs = (1, -1) if isinstance(operation, operations.Subtract) else (1,) * len(inputs)
    spans = [_span((x.low, x.high), [sign << shift]) for x, sign, shift in zip(inputs, signs, operation.shifts)]
    if isinstance(operation, operations.Largest | operations.Smallest):
        return min(low for low, _ in spans), max(high for _, high in spans)
    return sum(min(low, 0) for low, _ in spans), sum(max(high, 0) for _, high in spans)


def _span(ends, factors):
    """Return the smallest and the largest product of one of `ends` and one of `factors`."""
    products = [int(end) * int(factor) for end in ends for factor in factors]
    return min(products), max(products)


def _slopes(operation):
    """Return the slopes of a leaky ReLU: one, one per channel, or one per pixel and channel."""
    height, width, channels = operation.output.shape
    slopes = np.asarray(operation.slope)
    if slopes.size == 1:
        return slopes.reshape(1)
    if slopes.size == slopes.shape[-1]:
        return np.ravel(slopes)
    return np.broadcast_to(slopes, (height, width, channels)).reshape(-1, channels)


def _per_channel(operation):
    if isinstance(operation, operations.Leaky):
        return operation.slope.size > 1
    return isinstance(operation, operations.AddConstant) or isinstance(getattr(operation, "shift", 0), tuple)


def stored_bits(tensor: Tensor, name: str, most: int = WIDTHS[-1]) -> int:
    """Return the smallest width in memory that holds the codes of a tensor.

    Args:
        tensor: The tensor.
        name: Name of the layer, for the message.
        most: The largest width that is allowed.

    Returns:
        One of WIDTHS.

    Raises:
        InputError: when the codes need more than `most` bits.
    """
    if tensor.bits > most:
        raise InputError(
            f"layer {name} outputs codes of {tensor.bits} bits, more than {most}; give it an output format"
        )
    return next(width for width in WIDTHS if _holds(width, tensor))


def _holds(width, tensor):
    """Return whether codes of `width` bits, with a sign or without, hold those of a tensor."""
    return tensor.bits - (tensor.low >= 0 and width in UNSIGNED) <= width


def _buffers(network, loops, place, outside, packed):
    """Return tensor -> buffer, largest first; each gets the lowest place that is free while it is needed.

    Tensors `outside` the arena lie where the caller has them. If `packed`, codes of 4 bits lie two in a byte.
    """
    tensors = network.tensors
    needed: dict[int, tuple[int, int]] = {}  # tensor -> the first and the last loop that needs it
    for number, loop in enumerate(loops):
        for i in (*loop.inputs, loop.tensor):
            i = place.get(i, i)
            needed[i] = needed.get(i, (number, number))[0], number
    names = ["image", *(operation.layer for operation in network.operations)]
    kept = [i for i in needed if i not in outside]
    widths = {i: PACKED if packed and _holds(PACKED, tensors[i]) else stored_bits(tensors[i], names[i]) for i in kept}
    buffers: dict[int, Buffer] = {}
    for i in sorted(kept, key=lambda i: -tensors[i].size * widths[i]):
        others = [buffers[j] for j in buffers if needed[j][0] <= needed[i][1] and needed[i][0] <= needed[j][1]]
        buffers[i] = _lowest(others, tensors[i], widths[i], _alignment(widths.values()))
    return {i: buffers[place.get(i, i)] for i in [*kept, *place] if place.get(i, i) in buffers}


def _lowest(others, tensor, bits, alignment):
    """Return a buffer for codes of `bits`, at the lowest place where it overlaps none of the `others`."""
    for start in sorted({0, *(_aligned(b.start + b.bytes, alignment) for b in others)}):
        buffer = Buffer(bits, tensor.bits <= bits, tensor.size, start)
        if all(start + buffer.bytes <= b.start or b.start + b.bytes <= start for b in others):
            return buffer


def _alignment(widths):
    """Return what all buffers begin at a multiple of, in bytes, so that codes of any of `widths` may lie there."""
    return max(4, max((bits // 8 for bits in widths), default=4))


def _aligned(byte, alignment):
    """Return `byte` rounded up to a multiple of `alignment`."""
    return -(-byte // alignment) * alignment

"""A network of integers as a program for a device: the loops it takes, and where in memory their codes lie.

A operation that changes each code by itself (a shift, a ReLU, a bias) needs no loop where nobody else reads its input: the
loop that makes this input does it on the way, so sums never go to memory. Likewise the inputs of a concatenation are
put where they belong in its output. What is left goes into one arena, images that are never needed at the same time in
the same place.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fewbits.deploy import operations
from fewbits.deploy.integer import IntegerNetwork
from fewbits.deploy.operations import Operation, Tensor, signed_bits
from fewbits.errors import InputError

WIDTHS = (8, 16, 32)  # bits of codes in memory
MOST_BITS = 64  # of a sum


@dataclass(frozen=True)
class DivideSums:
    """Codes over divisor * 2**shift, rounded and clipped; shift: an integer not negative, or a tuple, one a channel.

    Where a tuple, negative ones multiply and divisor is 1; where divisor is not 1, shift is 0.
    """

    shift: int | tuple[int, ...]
    divisor: int
    rounding: str
    low: int
    high: int


@dataclass(frozen=True)
class MultiplySums:
    """Codes times `factor`."""

    factor: int


@dataclass(frozen=True, eq=False)
class OffsetSums:
    """Codes plus a constant, one a channel (int64)."""

    constants: np.ndarray


@dataclass(frozen=True)
class ClipSums:
    """Codes no less than `low` and no more than `high`."""

    low: int
    high: int


@dataclass(eq=False)
class Loop:
    """All pixels of an output, one after the other: each one's sums, then `finish`, then into memory.

    kind: convolve, depthwise, max_pool, sum_pool, pad, add, copy, or load, which takes the pixels less their mean.
    operation: what is computed, None for a copy and a load. inputs: tensors that are read. shape: (height, width, channels)
    of what the loop makes. tensor: where it goes, its channels from `offset` on, of `stride` a pixel. bits: the width
    of its sums.
    """

    kind: str
    operation: Operation | None
    name: str
    inputs: tuple[int, ...]
    shape: tuple[int, int, int]
    tensor: int
    bits: int
    finish: list = field(default_factory=list)
    offset: int = 0
    stride: int = 0

    def __post_init__(self):
        self.stride = self.shape[2]

    @property
    def sum_bits(self) -> int:
        """Width of the integers in which the loop computes, 32 or 64."""
        return 32 if self.bits <= 32 else 64


@dataclass(frozen=True)
class Buffer:
    """Memory of the codes of a tensor: `size` codes of `bits` each, from byte `start` of the arena on."""

    bits: int
    size: int
    start: int

    @property
    def bytes(self) -> int:
        return self.size * self.bits // 8


@dataclass(frozen=True)
class Program:
    """Loops in the order in which they run, and memory for them.

    network: the one that was planned, its operations in an order that needs less memory. buffers: tensor -> Buffer, of all
    tensors that lie in the arena: not the image, unless it has a mean, and not the logits.
    """

    network: IntegerNetwork
    loops: Sequence[Loop]
    buffers: dict[int, Buffer]

    @property
    def arena_bytes(self) -> int:
        most = max((b.start + b.bytes for b in self.buffers.values()), default=0)
        return _aligned(most)


def plan_program(network: IntegerNetwork) -> Program:
    """Return `network` as a program; InputError, naming the layer, on codes or sums that are too wide for it."""
    network = replace(network, operations=_pooled_late(network))
    planning = _Planning(network)
    for number, operation in enumerate(network.operations, 1):
        planning.add(number, operation)
    return Program(network, tuple(planning.loops), _buffers(network, planning.finished(), planning.place))


def _pooled_late(network):
    """Return the operations with each rounding that makes codes narrower before the max-pool whose output it reads.

    Rounding and clipping keep the order of codes, so the largest stays the largest, and a smaller image is stored.
    """
    made, readers = list(network.operations), _readers(network)
    for number, operation in enumerate(made):
        i = operation.inputs[0]
        pool = made[i - 1] if i else None
        if not isinstance(operation, operations.Requantize | operations.Clip) or not isinstance(
            pool, operations.MaxPool
        ):
            continue
        x = made[pool.inputs[0] - 1].output if pool.inputs[0] else network.image
        narrower = stored_bits(operation.output, operation.layer) < stored_bits(x, pool.layer)
        if narrower and readers[i] == readers[pool.inputs[0]] == 1:
            made[i - 1] = replace(operation, inputs=pool.inputs, output=replace(operation.output, shape=x.shape))
            made[number] = replace(pool, inputs=(i,), output=operation.output)
    return tuple(made)


def _readers(network):
    """Return tensor -> how often it is read."""
    return Counter(i for operation in network.operations for i in operation.inputs)


class _Planning:
    """The loops so far, and which of them make a tensor."""

    def __init__(self, network):
        self.network, self.tensors, self.loops = network, network.tensors, []
        self.readers = _readers(network)
        self.makers = {}  # tensor -> loops that make it
        self.place = {}  # tensor -> the tensor in whose place it lies, where that is another
        if any(network.mean):
            image = network.image
            self._append(Loop("load", None, "image", (), image.shape, 0, image.bits))

    def add(self, number, operation):
        if isinstance(operation, operations.Concatenate):
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
        """Return all loops, after what is missing yet: logits that lie somewhere else."""
        last = len(self.network.operations)
        if last in self.place:
            self._copy(last, self.network.operations[-1].layer, self.place.pop(last))
        return self.loops

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
        """Return whether the loops that make the input of `operation` can do it on the way."""
        i = operation.inputs[0]
        if self.readers[i] > 1 or i not in self.makers:
            return False
        return not _per_channel(operation) or all(loop.stride == operation.output.shape[2] for loop in self.makers[i])

    def _joined(self, number, operation):
        """Return the loops that make a concatenation, each in its part."""
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
        """Let `loop` do `operation`, or its channels of it."""
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

    def _divide(self, loop, operation, x):
        """Let `loop` divide, round and clip; a divisor that is a power of two becomes part of the shift."""
        shifts = np.ravel(operation.shift).tolist()
        divisor, twos = operation.divisor, 0
        if divisor & (divisor - 1) == 0:
            divisor, twos = 1, divisor.bit_length() - 1
        shifts = [shift + twos for shift in shifts]
        if divisor > 1 and len(shifts) > 1:
            raise InputError(f"layer {operation.layer} divides averages by a step for each filter; quantize them first")
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
    """Let `loop` clip, together with the clipping that comes right before."""
    if loop.finish and isinstance(loop.finish[-1], DivideSums | ClipSums):
        last = loop.finish.pop()
        limits = (min(max(end, low), high) for end in (last.low, last.high))
        loop.finish.append(replace(last, **dict(zip(("low", "high"), limits))))
    else:
        _widen(loop, low, high)
        loop.finish.append(ClipSums(low, high))


def _widen(loop, low, high):
    """Note that integers from `low` to `high` are met."""
    loop.bits = max(loop.bits, signed_bits(low, high))
    if loop.bits > MOST_BITS:
        raise InputError(f"layer {loop.name} needs integers of {loop.bits} bits, more than {MOST_BITS}")


def _kind_and_bits(operation, inputs):
    """Return the kind of a loop and the bits of its sums."""
    if isinstance(operation, operations.Convolve):
        return "depthwise" if operation.depthwise else "convolve", operation.partial_bits
    x = inputs[0]
    if isinstance(operation, operations.SumPool):
        n = operation.window[0] * operation.window[1]
        return "sum_pool", signed_bits(min(x.low, 0) * n, max(x.high, 0) * n)
    if isinstance(operation, operations.Add):
        low = sum(min(x.low << shift, 0) for x, shift in zip(inputs, operation.shifts))
        high = sum(max(x.high << shift, 0) for x, shift in zip(inputs, operation.shifts))
        return "add", signed_bits(low, high)
    return ("max_pool" if isinstance(operation, operations.MaxPool) else "pad"), x.bits


def _per_channel(operation):
    return isinstance(operation, operations.AddConstant) or isinstance(getattr(operation, "shift", 0), tuple)


def stored_bits(tensor: Tensor, name: str) -> int:
    """Return the least width in memory that holds the codes of `tensor`; InputError, naming layer `name`, if none."""
    if tensor.bits > WIDTHS[-1]:
        raise InputError(f"layer {name} hands on codes of {tensor.bits} bits, more than 32; give it an output format")
    return next(width for width in WIDTHS if tensor.bits <= width)


def _buffers(network, loops, place):
    """Return tensor -> Buffer: the largest first, each at the lowest place that is free while it is needed."""
    tensors, last = network.tensors, len(network.operations)
    needed = {}  # tensor -> number of the first and of the last loop that needs it
    for number, loop in enumerate(loops):
        for i in (*loop.inputs, loop.tensor):
            i = place.get(i, i)
            needed[i] = needed.get(i, (number,))[0], number
    names = ["image", *(operation.layer for operation in network.operations)]
    kept = [i for i in needed if i != last and (i or any(network.mean))]
    widths = {i: stored_bits(tensors[i], names[i]) for i in kept}
    buffers = {}
    for i in sorted(kept, key=lambda i: -tensors[i].size * widths[i]):
        others = [buffers[j] for j in buffers if needed[j][0] <= needed[i][1] and needed[i][0] <= needed[j][1]]
        buffers[i] = _lowest(others, widths[i], tensors[i].size)
    return {i: buffers[place.get(i, i)] for i in [*kept, *place] if place.get(i, i) in buffers}


def _lowest(others, bits, size):
    """Return a Buffer of `size` codes at the lowest place where it meets none of the `others`."""
    for start in sorted({0, *(_aligned(b.start + b.bytes) for b in others)}):
        buffer = Buffer(bits, size, start)
        if all(start + buffer.bytes <= b.start or b.start + b.bytes <= start for b in others):
            return buffer


def _aligned(byte):
    """Return `byte`, or the next one where any code may begin."""
    return -(-byte // 4) * 4

"""A layer as a job of the engine: register values, and the order of what streams in and out."""

from dataclasses import dataclass
from math import prod

import numpy as np

from fewbits.deploy.hardware.design import ENGINE_ROUNDINGS, EngineDesign
from fewbits.deploy.integer import IntegerNetwork
from fewbits.deploy.operations import Convolve, Operation, Requantize, Tensor, signed_bits
from fewbits.errors import InputError


@dataclass(frozen=True, eq=False)
class EngineJob:
    """A convolution, and the rounding of its output, on an engine.

    Attributes:
        layer: Name of the layer.
        reads: Index of the tensor that it reads.
        input: The tensor that it reads.
        output: The tensor that it makes.
        registers: Values of the registers by name.
        planes: Channels that each run reads, in order, (runs, planes).
        slots: Which filter has each place of a run's codes, -1 for none, (runs, filters).
        weights: Words of weights (uint64), (runs * planes * window, window, words).
        filters: Bias and shift of each filter (int64), (runs, filters, 2).
        macs: Multiply-accumulates of the layer for one image.
    """

    layer: str
    reads: int
    input: Tensor
    output: Tensor
    registers: dict[str, int]
    planes: np.ndarray
    slots: np.ndarray
    weights: np.ndarray
    filters: np.ndarray
    macs: int

    @property
    def beats(self) -> int:
        """Number of items in the stream of output codes."""
        return len(self.slots) * prod(self.output.shape[:2])

    def pixels(self, codes: np.ndarray) -> np.ndarray:
        """Return the stream of pixels.

        Args:
            codes: Input codes, integers (height, width, channels).

        Returns:
            The codes, flat, in the order in which the engine reads them.
        """
        return codes.transpose(2, 0, 1)[self.planes].ravel()

    def codes(self, stream: np.ndarray) -> np.ndarray:
        """Return the output codes that a stream holds.

        Args:
            stream: Integers (beats, filters).

        Returns:
            Codes (int64), (height, width, channels).
        """
        height, width, channels = self.output.shape
        of_runs = stream.reshape(len(self.slots), height, width, -1)
        codes = np.zeros((height, width, channels), np.int64)
        for slots, run in zip(self.slots, of_runs):
            codes[:, :, slots[slots >= 0]] = run[:, :, slots >= 0]
        return codes

    def stream(self, codes: np.ndarray) -> np.ndarray:
        """Return the stream that holds output codes: the inverse of `codes`; places without a filter hold 0 or `low`.

        Args:
            codes: Codes, (height, width, channels).

        Returns:
            Integers (beats, filters).
        """
        idle = min(max(0, self.registers["low"]), self.registers["high"])
        taken = np.where(self.slots[:, None, None] >= 0, codes[:, :, self.slots].transpose(2, 0, 1, 3), idle)
        return taken.reshape(self.beats, -1)


def plan_job(
    operation: Convolve,
    source: Tensor,
    design: EngineDesign,
    rounded: Requantize | None = None,
    plane_shift: int | None = None,
) -> EngineJob:
    """Return how an engine computes a convolution.

    Args:
        operation: The convolution.
        source: The tensor that it reads.
        design: The engine.
        rounded: What rounds the sums to output codes; None for the sums themselves.
        plane_shift: How far the sum of a window is shifted before it is added, as in the engine of PULP: sums are in
            units of 2**plane_shift, and they may saturate. None for exact sums.

    Returns:
        The job.

    Raises:
        InputError: naming the layer, when the engine does not compute it.
    """
    height, width, own, _ = operation.kernel.shape
    groups = source.shape[2] if operation.depthwise else operation.groups
    of_group = operation.output.shape[2] // groups
    bits = _weight_bits(operation, design)
    exact, plane_shift = plane_shift is None, plane_shift or 0
    shift, low, high = _ending(operation, design, rounded, plane_shift)
    reason = _refusal(operation, source, design, low, high, exact)
    if reason:
        raise InputError(f"layer {operation.layer} {reason}")

    at_once = design.weight_widths[bits]
    per_word = at_once // design.words
    places = np.arange(design.filters).reshape(design.words, design.nibbles)[:, :per_word].ravel()
    runs = [
        (group, group * of_group + np.arange(start, min(start + at_once, of_group)))
        for group in range(groups)
        for start in range(0, of_group, at_once)
    ]
    side = design.window
    read = 1 if operation.depthwise else own  # planes of a run
    planes = np.array([group * read + np.arange(read) for group, _ in runs])
    slots = np.full((len(runs), design.filters), -1)
    filters = np.zeros((len(runs), design.filters, 2), np.int64)
    words = np.zeros((*planes.shape, side, side, design.words), np.uint64)
    bias = np.clip(operation.bias >> plane_shift, *_sum_limits(design))
    for run, (group, numbers) in enumerate(runs):
        slots[run, places[: len(numbers)]] = numbers
        filters[run, places[: len(numbers)]] = np.stack([bias[numbers], shift[numbers]], -1)
        for k, number in enumerate(numbers):
            kernel = (
                operation.kernel[:, :, group, number - group * of_group, None]
                if operation.depthwise
                else (operation.kernel[:, :, :, number])
            )
            narrow = (kernel.transpose(2, 0, 1) & (2**bits - 1)).astype(np.uint64) << np.uint64(bits * (k % per_word))
            words[run, :, side - height :, side - width :, k // per_word] |= narrow

    (top, _), (left, _) = operation.padding
    rows, columns, _ = operation.output.shape
    stride = operation.strides[0]
    registers = {
        "columns": source.shape[1],
        "rows": source.shape[0],
        "planes": planes.shape[1],
        "runs": len(runs),
        "top": top + side - height,
        "left": left + side - width,
        "last_row": (rows - 1) * stride,
        "last_column": (columns - 1) * stride,
        "stride_mask": stride - 1,
        "delay": (height - 1 - top) * source.shape[1] + width - 1 - left,
        "signed_pixels": int(source.low < 0),
        "slices": (bits // 4).bit_length() - 1,
        "plane_shift": plane_shift,
        "rounding": ENGINE_ROUNDINGS.index(rounded.rounding if rounded else "floor"),
        "low": low,
        "high": high,
    }
    output = rounded.output if rounded else operation.output
    macs = operation.kernel.size * rows * columns
    return EngineJob(
        operation.layer,
        operation.inputs[0],
        source,
        output,
        registers,
        planes,
        slots,
        words.reshape(-1, side, design.words),
        filters,
        macs,
    )


def plan_jobs(network: IntegerNetwork, design: EngineDesign) -> dict[int, EngineJob]:
    """Return the jobs of all layers that slide a window over planes.

    Args:
        network: An integer network.
        design: The engine.

    Returns:
        Index of the tensor that a job makes -> the job. Layers that see a single pixel, as dense layers do, are left to
        the processor.

    Raises:
        InputError: as `plan_job`.
    """
    jobs = {}
    for number, operation in enumerate(network.operations, 1):
        source = network.tensors[operation.inputs[0]] if operation.inputs else network.image
        if isinstance(operation, Convolve) and source.shape[:2] != (1, 1):
            index = _rounded_by(network, number, design)
            rounded = network.operations[index - 1] if index else None
            assert rounded is None or isinstance(rounded, Requantize)
            jobs[index or number] = plan_job(operation, source, design, rounded)
    return jobs


def design_for(network: IntegerNetwork, words: int = 1) -> EngineDesign:
    """Return an engine that is just large enough for a network.

    Args:
        network: An integer network.
        words: As in EngineDesign.

    Returns:
        The design; layers that no engine computes are as if they were not there.

    Raises:
        InputError: when `words` is out of range, or no layer slides a window over a plane.
    """
    pairs = [(operation, network.tensors[operation.inputs[0]]) for operation in network.convolutions]
    pairs = [(operation, source) for operation, source in pairs if source.shape[:2] != (1, 1)]
    if not pairs:
        raise InputError(f"{network.name} has no layer with a plane to slide over; export C instead")
    operations, sources = zip(*pairs)
    sides = [side for operation in operations for side in operation.kernel.shape[:2]]
    weights = [_bits_of(operation) for operation in operations]
    return EngineDesign(
        window=next((side for side in (1, 3, 5) if side >= max(sides)), 5),
        pixel_bits=8 if all(_pixel_bits(source) <= 8 for source in sources) else 16,
        word_bits=next((bits for bits in (4, 8, 16) if bits >= max(weights)), 16),
        words=words,
        sum_bits=min(48, max(8, *(operation.partial_bits for operation in operations))),
        columns=max(2, *(source.shape[1] for source in sources)),
        places=max(2, *(prod(operation.output.shape[:2]) for operation in operations)),
    )


def ideal_cycles(job: EngineJob) -> int:
    """Return the cycles in which a job reads its pixels, one a cycle: what it would take without a stall.

    Args:
        job: The job.
    """
    return job.planes.size * prod(job.input.shape[:2])


def peak_macs(job: EngineJob, design: EngineDesign) -> int:
    """Return the multiply-accumulates a cycle of an engine, with weights as wide as those of a job.

    Args:
        job: The job.
        design: The engine.
    """
    return design.window**2 * design.weight_widths[4 << job.registers["slices"]]


def _rounded_by(network: IntegerNetwork, number: int, design: EngineDesign) -> int:
    """Return the index of the only operation that reads tensor `number`, if the engine rounds as it does; else 0."""
    readers = [n for n, operation in enumerate(network.operations, 1) if number in operation.inputs]
    if len(readers) != 1 or number in {output.tensor for output in network.results}:
        return 0
    reader: Operation = network.operations[readers[0] - 1]
    if not isinstance(reader, Requantize) or reader.divisor != 1 or min(np.ravel(reader.shift)) < 0:
        return 0
    return readers[0] if reader.rounding in design.roundings else 0


def _sum_limits(design: EngineDesign) -> tuple[int, int]:
    """Return the smallest and the largest partial sum."""
    return -(2 ** (design.sum_bits - 1)), 2 ** (design.sum_bits - 1) - 1


def _ending(
    operation: Convolve, design: EngineDesign, rounded: Requantize | None, plane_shift: int
) -> tuple[np.ndarray, int, int]:
    """Return the shift of each filter, and the smallest and largest output code."""
    filters, output, (least, most) = operation.output.shape[2], operation.output, _sum_limits(design)
    if rounded is None:
        low, high = output.low >> plane_shift, output.high >> plane_shift
        return np.zeros(filters, np.int64), max(low, least), min(high, most)
    return np.broadcast_to(np.asarray(rounded.shift) - plane_shift, filters), rounded.low, rounded.high


def _pixel_bits(tensor: Tensor) -> int:
    return tensor.bits - (tensor.low >= 0)


def _bits_of(operation: Convolve) -> int:
    return signed_bits(int(operation.kernel.min()), int(operation.kernel.max()))


def _weight_bits(operation: Convolve, design: EngineDesign) -> int:
    return next((bits for bits in design.weight_widths if bits >= _bits_of(operation)), 0)


def _refusal(operation: Convolve, source: Tensor, design: EngineDesign, low: int, high: int, exact: bool) -> str:
    """Return why an engine does not compute a convolution, and what to do; empty if it does."""
    height, width = operation.kernel.shape[:2]
    (top, _), (left, _) = operation.padding
    last = [(side - 1) * stride for side, stride in zip(operation.output.shape[:2], operation.strides)]
    if max(height, width) > design.window:
        side = f"{design.window}x{design.window}"
        return f"has a kernel of {height}x{width}, but the engine's window has {side}; use a smaller kernel"
    if operation.dilation != (1, 1):
        return "is dilated, and the engine has no holes in its window; use dilation_rate=1"
    if operation.strides not in ((1, 1), (2, 2), (4, 4), (8, 8)):
        return f"has strides {operation.strides}, but the engine takes 1, 2, 4 or 8 both ways; use one of these"
    if top >= height or left >= width or last[0] >= source.shape[0] or last[1] >= source.shape[1]:
        return "pads by more than its kernel reaches; use less padding"
    if _pixel_bits(source) > design.pixel_bits:
        return f"reads pixels of {_pixel_bits(source)} bits, but the engine takes {design.pixel_bits}; use fewer bits"
    if not _weight_bits(operation, design):
        return f"has weights of {_bits_of(operation)} bits, but the engine takes {design.word_bits}; use fewer bits"
    if exact and operation.partial_bits > design.sum_bits:
        return f"needs sums of {operation.partial_bits} bits, but the engine has {design.sum_bits}; use fewer bits"
    if (signed_bits(low, high) if low < 0 else high.bit_length()) > design.code_bits:
        return (
            f"outputs codes of {signed_bits(low, high)} bits, but the engine has {design.code_bits}; give it an output "
            f"format whose step is not finer than its products', rounded by {', '.join(design.roundings)}"
        )
    if source.shape[1] > design.columns or prod(operation.output.shape[:2]) > design.places:
        return f"has planes of {source.shape[0]}x{source.shape[1]}, too large for the engine; build it with more memory"
    return ""

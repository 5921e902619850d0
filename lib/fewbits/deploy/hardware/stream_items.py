"""Items of the engine's streams as whole numbers, the first field in the lowest bits: what its ports carry."""

from collections.abc import Iterable, Iterator

import numpy as np

from fewbits.deploy.hardware.design import SHIFT_BITS, EngineDesign
from fewbits.deploy.hardware.job import EngineJob
from fewbits.deploy.hardware.register_map import ADDRESS_BITS


def weight_items(job: EngineJob, design: EngineDesign) -> Iterator[int]:
    """Yield the stream of weights: the words of one row of a window at a time.

    Args:
        job: The job.
        design: The engine.

    Yields:
        Whole numbers of window * words * word_bits bits.
    """
    return (_packed(row.ravel(), design.word_bits) for row in job.weights)


def filter_items(job: EngineJob, design: EngineDesign) -> Iterator[int]:
    """Yield the stream of biases and shifts, one item a run.

    Args:
        job: The job.
        design: The engine.

    Yields:
        Whole numbers of filters * (sum_bits + 6) bits; the bias of a filter is below its shift.
    """
    for run in job.filters:
        both = [(int(bias) & (2**design.sum_bits - 1)) | int(shift) << design.sum_bits for bias, shift in run]
        yield _packed(both, design.sum_bits + SHIFT_BITS)


def code_items(job: EngineJob, design: EngineDesign, codes: np.ndarray) -> Iterator[int]:
    """Yield the stream of output codes that a job should have.

    Args:
        job: The job.
        design: The engine.
        codes: The codes, (height, width, channels).

    Yields:
        Whole numbers of filters * code_bits bits.
    """
    return (_packed(beat, design.code_bits) for beat in job.stream(codes))


def codes_of_items(items: Iterable[int], job: EngineJob, design: EngineDesign) -> np.ndarray:
    """Return the codes in items of the stream of output codes.

    Args:
        items: Whole numbers of filters * code_bits bits.
        job: The job, which says whether codes have a sign.
        design: The engine.

    Returns:
        Integers (beats, filters).
    """
    return numbers_of_items(items, design.code_bits, design.filters, job.registers["low"] < 0)


def numbers_of_items(items: Iterable[int], bits: int, count: int, signed: bool) -> np.ndarray:
    """Return the numbers that lie side by side in items, the first one lowest.

    Args:
        items: Whole numbers of at least count * bits bits.
        bits: Of a number.
        count: Of the numbers in an item.
        signed: Whether they are in two's complement.

    Returns:
        Integers (items, count).
    """
    mask = 2**bits - 1
    numbers = np.array([[item >> (bits * n) & mask for n in range(count)] for item in items], np.int64)
    return np.where(numbers >> (bits - 1), numbers - 2**bits, numbers) if signed else numbers


def _packed(items, bits):
    """Return items side by side, the first one lowest."""
    total, mask = 0, 2**bits - 1
    for n, item in enumerate(items):
        total |= (int(item) & mask) << (bits * n)
    return total


def port_bits(design: EngineDesign) -> dict[str, int]:
    """Return the bits of the engine's ports.

    Args:
        design: The engine.
    """
    return {
        "address": ADDRESS_BITS,
        "pixels": design.pixel_bits,
        "weights": design.window * design.words * design.word_bits,
        "filters": design.filters * (design.sum_bits + SHIFT_BITS),
        "codes": design.filters * design.code_bits,
    }

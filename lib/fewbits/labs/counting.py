"""The checks of lab 2: the side of an output, the bills of a convolution, packed bytes, and the peak of the memory."""

from collections.abc import Callable
from typing import Any

from fewbits.labs.checking import Case, check_cases, equals


def check_output_side(output_side: Callable[..., Any]) -> None:
    """Check `output_side(side, kernel, stride, padding)`: how many places a kernel has along one side.

    Args:
        output_side: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(side, kernel, stride, padding, hint):
        places = range(0, side if padding == "same" else side - kernel + 1, stride)
        return Case((side, kernel, stride, padding), equals(len(places)), hint)

    check_cases(
        output_side,
        [
            case(8, 3, 1, "valid", "Without a border the kernel must lie within the image. Count its places."),
            case(9, 3, 2, "valid", "With a stride of two, count from the first place on; is the last one reached?"),
            case(10, 3, 2, "valid", "The last stride does not fit whole: the pixels that are left give no place."),
            case(5, 5, 3, "valid", "The kernel fits exactly once."),
            case(8, 3, 2, "same", "With a border of zeros, places begin at every stride, whatever the kernel."),
            case(7, 3, 2, "same", "A border lets the last place reach beyond the image, so a remainder counts."),
        ],
    )


def check_convolution_bills(convolution_bills: Callable[..., Any]) -> None:
    """Check `convolution_bills(image, filters, kernel, groups)`: parameters, MACs and values written.

    Args:
        convolution_bills: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(image, filters, kernel, groups, part, hint):
        height, width, channels = image
        inputs = [(i, j, c) for i in range(kernel) for j in range(kernel) for c in range(channels // groups)]
        weights, places = len(inputs) * filters, height * width
        bills = weights + filters, weights * places, places * filters

        def accepts(result):
            return equals(bills)(result) if part is None else equals(bills[part])(result[part])

        return Case((image, filters, kernel, groups), accepts, hint)

    check_cases(
        convolution_bills,
        [
            case((4, 6, 3), 5, 1, 1, 0, "First number: a filter has weights, and something else that is added once."),
            case((4, 6, 3), 5, 3, 1, 0, "First number: how many weights does a square kernel have in one channel?"),
            case((4, 6, 3), 5, 3, 1, 1, "Second number: which parameters multiply at every place, and which do not?"),
            case((4, 6, 3), 5, 3, 1, 2, "Third number: one value per filter and place."),
            case((4, 4, 6), 6, 3, 2, 0, "First number: a filter in one of two groups reads half of the channels."),
            case((4, 4, 6), 6, 3, 6, None, "One channel per group: this is a depthwise convolution. Bias included."),
            case((55, 55, 128), 64, 3, 4, None, "A larger layer with four groups."),
        ],
    )


def check_packed_bytes(packed_bytes: Callable[..., Any]) -> None:
    """Check `packed_bytes(layers, bits)`: what kernels of few bits and biases of 32 bits take.

    Args:
        packed_bytes: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def case(layers, bits, hint):
        expected = sum(4 * biases - (-weights * bits // 8) for weights, biases in layers)
        return Case((layers, bits), equals(expected), hint)

    check_cases(
        packed_bytes,
        [
            case([(800, 0)], 8, "One layer without biases, 8 bits a weight. The result is in bytes."),
            case([(800, 10)], 8, "Biases keep 32 bits, whatever the weights have."),
            case([(800, 10)], 5, "Weights are packed without gaps: eight weights of 5 bits fill five bytes."),
            case([(3, 0)], 5, "A layer that ends within a byte takes all of it."),
            case([(5, 0), (5, 0), (5, 0)], 5, "Each layer begins with a new byte: round up layer by layer."),
            case([(1728, 64), (1024, 16), (1001, 7)], 3, "Several layers."),
        ],
    )


def check_peak_values(peak_values: Callable[..., Any]) -> None:
    """Check `peak_values(steps)`: the most values that are held at a time.

    Args:
        peak_values: The reader's function.

    Raises:
        WrongAnswer: when a case fails.
    """

    def peak(steps):
        """Count, at each step, what is made by then and still read from then on."""
        counts = []
        for now, (name, _, _) in enumerate(steps):
            later = {read for _, reads, _ in steps[now:] for read in reads} | {name}
            counts.append(sum(size for made, _, size in steps[: now + 1] if made in later))
        return max(counts)

    def case(steps, hint):
        return Case((steps,), equals(peak(steps)), hint)

    chain = [("image", (), 100), ("a", ("image",), 50), ("b", ("a",), 70), ("c", ("b",), 10)]
    fire = [("image", (), 40), ("squeeze", ("image",), 10), ("left", ("squeeze",), 30), ("right", ("squeeze",), 30)]
    fire += [("joined", ("left", "right"), 60), ("out", ("joined",), 5)]
    skip = [("image", (), 30), ("a", ("image",), 40), ("b", ("a",), 60), ("sum", ("b", "image"), 10)]
    pair = [("image", (), 99), ("a", ("image",), 7)]
    check_cases(
        peak_values,
        [
            case(pair, "While a step computes, its inputs (the image, too) and its output are held."),
            case(chain, "What no later step reads is gone; it does not add to the peak."),
            case(skip, "A value that a later step still reads is held in between, here the image."),
            case(fire, "A concatenation holds all of its inputs and its output."),
        ],
    )

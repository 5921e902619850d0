"""Lab 2: typical mistakes are told apart."""

from fewbits.labs import counting as lab
from helpers.labs import tell_apart


def test_mistakes_in_the_side_of_an_output():
    def off_by_one(side, kernel, stride, padding):
        return (side - kernel) // stride

    def no_first_place(side, kernel, stride, padding):
        return (side - kernel + 1) // stride

    def rounded_up(side, kernel, stride, padding):
        return -(-(side - kernel) // stride) + 1

    def padding_ignored(side, kernel, stride, padding):
        return (side - kernel) // stride + 1

    def border_rounded_down(side, kernel, stride, padding):
        return side // stride if padding == "same" else (side - kernel) // stride + 1

    check = lab.check_output_side
    tell_apart(
        (check, off_by_one, "within the image"),
        (check, no_first_place, "is the last one reached"),
        (check, rounded_up, "does not fit whole"),
        (check, padding_ignored, "whatever the kernel"),
        (check, border_rounded_down, "a remainder counts"),
    )


def test_mistakes_in_the_bills_of_a_convolution():
    def bills(bias=1, power=2, macs_of_biases=0, values=True, grouped=True):
        def convolution_bills(image, filters, kernel, groups):
            height, width, channels = image
            weights = kernel**power * (channels // groups if grouped else channels) * filters
            written = height * width * (filters if values else channels)
            return weights + bias * filters, (weights + macs_of_biases * filters) * height * width, written

        return convolution_bills

    check = lab.check_convolution_bills
    tell_apart(
        (check, bills(bias=0), "something else that is added once"),
        (check, bills(power=1), "square kernel"),
        (check, bills(macs_of_biases=1), "which parameters multiply"),
        (check, bills(values=False), "per filter and place"),
        (check, bills(grouped=False), "half of the channels"),
    )


def test_mistakes_in_packed_bytes():
    check = lab.check_packed_bytes
    tell_apart(
        (check, lambda layers, bits: sum(w * bits for w, _ in layers), "in bytes"),
        (check, lambda layers, bits: sum((w + b) * bits // 8 for w, b in layers), "keep 32 bits"),
        (check, lambda layers, bits: sum(w + 4 * b for w, b in layers), "without gaps"),
        (check, lambda layers, bits: sum(w * bits // 8 + 4 * b for w, b in layers), "takes all of it"),
        (
            check,
            lambda layers, bits: -(-sum(w * bits for w, _ in layers) // 8) + sum(4 * b for _, b in layers),
            "layer by layer",
        ),
    )


def test_mistakes_in_the_peak():
    def step_alone(steps):
        return max(size for _, _, size in steps)

    def everything(steps):
        return sum(size for _, _, size in steps)

    def inputs_and_output(steps):
        sizes = {name: size for name, _, size in steps}
        return max(size + sum(sizes[read] for read in reads) for _, reads, size in steps)

    tell_apart(
        (lab.check_peak_values, step_alone, "the image, too"),
        (lab.check_peak_values, everything, "is gone"),
        (lab.check_peak_values, inputs_and_output, "here the image"),
    )

"""What the caller of a network in C sees: its images and outputs, and what their numbers stand for."""

from typing import NamedTuple

from fewbits.deploy.integer import IntegerNetwork
from fewbits.deploy.operations import Tensor


class Image(NamedTuple):
    """An image that the network takes.

    Attributes:
        name: Name of the parameter.
        macro: What the names of its macros begin with.
        tensor: The tensor of its pixels minus their means.
        means: The mean of each channel.
    """

    name: str
    macro: str
    tensor: Tensor
    means: tuple[int, ...]

    @property
    def parameter(self) -> str:
        """The parameter of the function."""
        return f"const uint8_t *{self.name}"

    @property
    def size(self) -> str:
        """An expression for how many bytes it takes."""
        return f"{self.macro}HEIGHT * {self.macro}WIDTH * {self.macro}CHANNELS"

    @property
    def max_pixel(self) -> int:
        """The largest pixel."""
        return self.tensor.high + min(self.means)

    @property
    def macros(self) -> list[str]:
        """The macros that hold its sides and its largest pixel."""
        values = zip(("HEIGHT", "WIDTH", "CHANNELS", "MAX_PIXEL"), (*self.tensor.shape, self.max_pixel))
        return [f"#define {self.macro}{what} {value}" for what, value in values]

    @property
    def value(self) -> str:
        """The macro for the value of a pixel; it takes the channel, too, if the means of channels differ."""
        *others, last = self.means
        each = "".join(f"(channel) == {channel} ? {mean} : " for channel, mean in enumerate(others))
        parameters, mean = ("pixel, channel", f"({each}{last})") if self._several else ("pixel", f"{last}")
        shifted = f"((pixel) - {mean})" if any(self.means) else "(pixel)"
        return f"#define {self.macro}PIXEL_VALUE({parameters}) ((float){shifted}{_scale(self.tensor, '.0f')})"

    @property
    def meaning(self) -> str:
        """What it holds."""
        height, width, channels = self.tensor.shape
        exponent = self.tensor.exponent
        assert isinstance(exponent, int)
        mean = "mean" if self._several else f"{self.means[0]}"
        pixel = f"(pixel - {mean})" if any(self.means) else "pixel"
        low, high = (end * 2.0**exponent for end in (self.tensor.low, self.tensor.high))
        means = f" with the means {', '.join(map(str, self.means))} of its channels" if self._several else ""
        return (
            f"{self.name}: {height} x {width} pixels of {channels} channel{'s' if channels > 1 else ''}, from 0 to "
            f"{self.max_pixel}, row by row, the channels of a pixel side by side. In training the network was given "
            f"{self.macro}PIXEL_VALUE = {pixel}{_scale(self.tensor)}{means}, from {low:.6g} to {high:.6g}. The "
            "integers contain this: give the pixels as they are."
        )

    @property
    def _several(self):
        return len(set(self.means)) > 1


class Codes(NamedTuple):
    """An output of the network.

    Attributes:
        name: Name of the parameter.
        macro: What the names of its macros begin with.
        size: The macro that holds the number of codes.
        tensor: The tensor that it holds.
    """

    name: str
    macro: str
    size: str
    tensor: Tensor

    @property
    def parameter(self) -> str:
        """The parameter of the function."""
        return f"int32_t *{self.name}"

    @property
    def macros(self) -> list[str]:
        """The macro that holds its size."""
        return [f"#define {self.size} {self.tensor.size}"]

    @property
    def value(self) -> str:
        """The macro for the value of a code."""
        return f"#define {self.macro}CODE_VALUE(code) ((float)(code){_scale(self.tensor, '.0f')})"

    @property
    def meaning(self) -> str:
        """What it holds."""
        code = f"{self.macro}CODE_VALUE = code{_scale(self.tensor)}"
        return f"{self.name}: {self.tensor.size} codes, each of which stands for {code}."


def images_of(network: IntegerNetwork, name: str) -> dict[int, Image]:
    """Return the images of a network, by the index of their tensor.

    Args:
        network: The network.
        name: Its name as an identifier.
    """
    names = _named("image", len(network.inputs))
    return {
        i: Image(each, _macro(name, each), network.tensors[i], means)
        for i, each, means in zip(network.inputs, names, network.means)
    }


def codes_of(network: IntegerNetwork, name: str) -> list[Codes]:
    """Return the outputs of a network.

    Args:
        network: The network.
        name: Its name as an identifier.
    """
    names = _named("logits", len(network.results))
    return [
        Codes(each, _macro(name, each), f"{name}_{each}".upper(), network.tensors[output.tensor])
        for each, output in zip(names, network.results)
    ]


def _named(name, count):
    """Return the names of inputs or outputs: numbered if there are several."""
    return [name] if count == 1 else [f"{name}{number}" for number in range(1, count + 1)]


def _macro(name, end):
    """Return how the macros of an input or output begin: its name stands in them if there are several."""
    return f"{name}_{end}_".upper() if end[-1].isdigit() else f"{name}_".upper()


def _scale(tensor, suffix=""):
    """Return what a code is multiplied and divided by to give its value; whole numbers end with `suffix`."""
    exponent = tensor.exponent  # one, as no image and no output has steps that differ by channel
    factor, divisor = 2 ** max(exponent, 0), tensor.divisor * 2 ** max(-exponent, 0)
    return "".join(f" {sign} {n}{suffix}" for sign, n in (("*", factor), ("/", divisor)) if n != 1)

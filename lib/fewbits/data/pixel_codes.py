"""The integers that images are made of, and what of them a network takes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fewbits.data.pixels import Pixels
from fewbits.errors import InputError


@dataclass(frozen=True)
class PixelCodes:
    """Pixels as a device has them, and the values that a network takes for them: (pixel - mean) / divisor.

    Attributes:
        levels: A power of two; pixels are integers from 0 to levels - 1.
        divisor: A power of two; 1 for a network that takes the pixels themselves.
        mean: An integer below `levels` for all channels, or a tuple of one per channel.

    Raises:
        InputError: when a field holds something else.

    Example:
        >>> print(PixelCodes(levels=32, divisor=32))
        pixels from 0 to 31, divided by 32
    """

    levels: int
    divisor: int
    mean: int | tuple[int, ...] = 0

    def __post_init__(self) -> None:
        if not _is_power_of_two(self.levels) or self.levels < 2:
            raise InputError(f"levels must be a power of two, such as 256, not {self.levels!r}")
        if not _is_power_of_two(self.divisor):
            raise InputError(
                f"the divisor of the pixels must be a power of two, such as 1 or 256, not {self.divisor!r}"
            )
        means = tuple(np.ravel(self.mean).tolist())
        if not means or any(not isinstance(m, int) or not 0 <= m < self.levels for m in means):
            raise InputError(
                f"mean must be an integer from 0 to {self.levels - 1}, or one per channel, not {self.mean!r}"
            )
        object.__setattr__(self, "mean", means[0] if len({*means}) == 1 else means)

    def __str__(self) -> str:
        """Return a description, such as `pixels from 0 to 255, less 128, divided by 256`."""
        less = "" if self.mean == 0 else f", less {', '.join(map(str, np.ravel(self.mean)))}"
        return f"pixels from 0 to {self.levels - 1}{less}{'' if self.divisor == 1 else f', divided by {self.divisor}'}"

    @classmethod
    def of(cls, levels: int, pixels: Pixels) -> "PixelCodes":
        """Return the codes of images that are prepared as `pixels` says.

        Args:
            levels: As the attribute.
            pixels: The mean and the scale; the order of the channels does not matter.

        Raises:
            InputError: when the mean is not made of integers, or the scale is no 1 / divisor.
        """
        divisor, means = 1 / pixels.scale, tuple(map(float, pixels.mean or (0,)))
        if divisor != round(divisor) or not _is_power_of_two(round(divisor)):
            raise InputError(
                f"pixels are multiplied by {pixels.scale:g}, and integers need 1 / 2**n; begin the network with "
                f"Rescaling({pixels.scale:g}) and give it the pixels themselves, scale 1"
            )
        if any(m != round(m) for m in means):
            raise InputError(f"the mean pixel {', '.join(f'{m:g}' for m in means)} is no integer; round it")
        return cls(levels, round(divisor), tuple(map(round, means)))

    def values(self, pixels: np.ndarray) -> np.ndarray:
        """Return what a network takes for pixels.

        Args:
            pixels: Integers (..., channels).

        Returns:
            The same shape, float32.

        Raises:
            InputError: as `means`.
        """
        differences = np.asarray(pixels, np.float32) - np.array(self.means(pixels.shape[-1]), np.float32)
        return differences / np.float32(self.divisor)

    def means(self, channels: int) -> tuple[int, ...]:
        """Return the mean of each channel.

        Args:
            channels: How many an image has.

        Raises:
            InputError: when `mean` holds another number of integers.
        """
        means = tuple(np.ravel(self.mean).tolist())
        if len(means) not in (1, channels):
            raise InputError(
                f"mean must be an integer from 0 to {self.levels - 1}, or one per channel, not {self.mean!r}"
            )
        return means if len(means) == channels else means * channels


def _is_power_of_two(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number > 0 and not number & (number - 1)

"""What becomes of pixels before a network sees them: the order of the channels, a mean to subtract, a scale."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fewbits.errors import InputError, check_name
from fewbits.names import CHANNEL_ORDERS

GRAY = "gray"


@dataclass(frozen=True)
class Pixels:
    """How pixels become the inputs of a network: (pixel - mean) * scale.

    Attributes:
        order: Of the channels that come out, one of `names.CHANNEL_ORDERS`; `bgr` is for networks from Caffe.
        mean: Subtracted from the pixels: one number for each channel in that order, or one for all; None for nothing.
        scale: What the differences are multiplied by, not 0.

    Raises:
        InputError: when a field holds something else.
    """

    order: str = "rgb"
    mean: Sequence[float] | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        check_name("order", self.order, CHANNEL_ORDERS)
        if not np.isfinite(self.scale) or self.scale == 0:
            raise InputError(f"scale must be a number other than 0, not {self.scale!r}")
        object.__setattr__(self, "mean", _checked_mean(self.mean, self.order))
        object.__setattr__(self, "scale", float(self.scale))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return pixels as a network takes them.

        Args:
            images: Real numbers (..., channels); three channels are red, green and blue.

        Returns:
            The same shape, float32.

        Raises:
            InputError: when order or mean are for three channels, and the images have another number.
        """
        images = np.asarray(images, np.float32)
        if images.shape[-1] != 3 and (self.order == "bgr" or len(self.mean or ()) == 3):
            what = "the order bgr" if self.order == "bgr" else "a mean pixel of three numbers"
            raise InputError(f"{what} is for images of 3 channels, and these have {images.shape[-1]}; leave it out")
        if self.order == "bgr":
            images = images[..., ::-1]
        if self.mean is not None:
            images = images - np.array(self.mean, np.float32)
        return np.ascontiguousarray(images * np.float32(self.scale))


def _checked_mean(mean: Sequence[float] | None, order: str) -> tuple[float, ...] | None:
    if mean is None:
        return None
    try:
        mean = tuple(float(m) for m in mean)
    except (TypeError, ValueError):
        mean = ()
    if order == GRAY and len(mean) == 3:
        raise InputError("the mean pixel of gray images must be one number, not three")
    if len(mean) not in (1, 3) or not np.isfinite(mean).all():
        raise InputError("the mean pixel must be three numbers, in the order of the channels, or one for all")
    return mean

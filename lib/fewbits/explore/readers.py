"""A network that reads images in a page: its graph and weights for the engine there, the images, and their labels."""

from base64 import b64encode
from importlib.resources import files
from typing import Any

import numpy as np

from fewbits.data.dataset import Split
from fewbits.deploy.in_page import page_program
from fewbits.quantization.conversion import QuantizedModel

SCRIPTS = ("formats", "operations", "engine", "reader")
"""What a page needs for `new FewBits.Reader(...)`, in this order."""


def reader_data(quantized: QuantizedModel, part: Split, levels: int) -> dict[str, Any]:
    """Return what `new FewBits.Reader(...)` takes in the page.

    Args:
        quantized: The network, with kernels as `deploy.round_for_page` leaves them.
        part: Images of integers below `levels`, uint8, and their labels.
        levels: As in `deploy.lower`.

    Raises:
        InputError: as `deploy.page_program`.
    """
    return {"program": page_program(quantized, levels=levels), **images_data(part)}


def images_data(part: Split) -> dict[str, str]:
    """Return images and labels as `new FewBits.Reader(...)` takes them.

    Args:
        part: As in `reader_data`.
    """
    return {"images": _base64(part.images), "labels": _base64(part.labels)}


def page_file(name: str) -> str:
    """Return the text of a script, a style or a part of a page that comes with the library.

    Args:
        name: Of a file in `fewbits/explore/page`.
    """
    return (files("fewbits.explore") / "page" / name).read_text(encoding="utf-8")


def page_scripts(names: tuple[str, ...]) -> str:
    """Return scripts that come with the library as HTML.

    Args:
        names: Of the scripts, without `.js`.
    """
    return "".join(f"<script>{page_file(f'{name}.js')}</script>" for name in names)


def _base64(array: np.ndarray) -> str:
    return b64encode(array.astype(np.uint8).tobytes()).decode()

"""Image files, opened so that a warning of Pillow names the file that it is about."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from fewbits.errors import needs_extra

_one_at_a_time = Lock()  # what is recorded of warnings belongs to the process, and images are decoded in threads


@contextmanager
def open_image(path: Path) -> Iterator[Any]:
    """Open an image file; its pixels are decoded when they are asked for.

    Args:
        path: The file.

    Yields:
        The image of Pillow, with its EXIF data read.

    Raises:
        InputError: when Pillow is not installed.
        Exception: whatever Pillow, struct or zlib raise for a damaged file.
    """
    with needs_extra("data", "Image files"):
        import PIL
        from PIL import Image

    with _one_at_a_time, warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        image = Image.open(path)
        image.getexif()
    with image:
        for warning in found:
            if Path(warning.filename).is_relative_to(Path(PIL.__file__).parent):
                warnings.warn(f"{path}: {warning.message}", warning.category, stacklevel=3)
            else:  # of another thread, meanwhile
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        yield image

"""Boxes around the objects of a photograph, in the files of PASCAL VOC that labelImg writes, read and written.

Source: backstrom2018, 3.1.2. VOC counts pixels from 1, and the last one is inside the box; a `Box` counts as arrays do.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree  # writes only; what others wrote is parsed by defusedxml

import numpy as np

from fewbits.data.image_files import open_image
from fewbits.errors import InputError, nearest, needs_extra
from fewbits.io.files import write_aside


class Box(NamedTuple):
    """A rectangle of pixels of one class, counted from 0.

    Attributes:
        name: The class.
        left: The first column.
        top: The first row.
        right: The column after the last.
        bottom: The row after the last.
    """

    name: str
    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """The number of columns."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """The number of rows."""
        return self.bottom - self.top


@dataclass(frozen=True)
class Photograph:
    """An image file and the boxes in it.

    Attributes:
        name: That of the file; `read_photographs` adds the sub-folder, as in `field-a.png`.
        path: The image file.
        width: Of the image, in pixels.
        height: Of the image, in pixels.
        boxes: One per object.
    """

    name: str
    path: Path
    width: int
    height: int
    boxes: tuple[Box, ...]

    @property
    def image(self) -> np.ndarray:
        """The pixels (height, width, 3) uint8, RGB, decoded anew each time.

        Raises:
            InputError: when the file cannot be decoded, or has another size than its file of boxes says.
        """
        try:
            with open_image(self.path) as file:
                if file.size == (self.width, self.height):
                    return np.asarray(file.convert("RGB"))
                width, height = file.size
        except InputError:  # Pillow is missing
            raise
        except Exception as error:  # whatever a damaged file raises: Pillow's, struct's and zlib's errors differ
            raise InputError(
                f"{self.path} is not an image that can be read ({error or type(error).__name__})"
            ) from None
        raise InputError(
            f"{self.path} has {width} x {height} pixels, but its boxes are for {self.width} x {self.height}"
        )


def read_photographs(
    folder: Path | str,
    classes: Collection[str] | None = None,
    on_bad: Callable[[Path, InputError], None] | None = None,
) -> list[Photograph]:
    """Read all files of boxes in a folder and in its sub-folders, of which there may be one per class.

    Args:
        folder: The folder; the image of each file stands beside it.
        classes: As in `read_boxes`.
        on_bad: Called with a file that cannot be used and the reason; the file is left out. None raises the reason.

    Returns:
        One photograph per .xml file, in the order of their names, sub-folders last.

    Raises:
        InputError: when there are no files, one cannot be used, or two belong to one image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name one with images and a .xml file of boxes for each")
    files = _files_of_boxes(folder)
    if not files:
        raise InputError(f"{folder} has no .xml files; there must be one with boxes for each image")
    found: dict[str, Photograph] = {}
    for path in files:
        try:
            photograph = read_boxes(path, classes)
            name = "-".join((*path.parent.relative_to(folder).parts, photograph.name))
            if name in found:
                raise InputError(f"{folder} has two .xml files with boxes of {name}; keep one")
            found[name] = replace(photograph, name=name)
        except InputError as error:
            if on_bad is None:
                raise
            on_bad(path, error)
    return list(found.values())


def _files_of_boxes(folder: Path) -> list[Path]:
    """Return the .xml files of a folder, then those of its sub-folders; links that lead out are left alone."""
    home = folder.resolve()
    return [
        path
        for pattern in ("*.xml", "*/*.xml")
        for path in sorted(folder.glob(pattern))
        if path.resolve().is_relative_to(home) and not path.parent.name.startswith(".")
    ]


def read_boxes(path: Path | str, classes: Collection[str] | None = None) -> Photograph:
    """Read the boxes of one image from a file of PASCAL VOC; the image is not decoded yet.

    Parts of boxes outside of the image are cut off.

    Args:
        path: The .xml file.
        classes: The names that a box may have; None allows any.

    Raises:
        InputError: when the file is not XML, declares a document type or entities, names an image that is not beside
            it, or has a box that is outside of the image, has no area or an unknown class.
    """
    path = Path(path)
    root = _parsed(path)
    width, height = (_number(path, root.find("size"), side, "the image") for side in ("width", "height"))
    if width < 1 or height < 1:
        raise InputError(f"{path}: the image has {width} x {height} pixels; write its true size")
    found = (_box(path, i, element) for i, element in enumerate(root.findall("object"), 1))
    boxes = tuple(_inside(path, i, box, width, height) for i, box in enumerate(found, 1))
    for box in boxes:
        if classes is not None and box.name not in classes:
            near = nearest(box.name, classes)
            raise InputError(f"{path}: unknown class {box.name!r}{near}; there are {', '.join(classes)}")
    image = _beside(path, root.findtext("filename"))
    return Photograph(image.name, image, width, height, boxes)


def write_boxes(path: Path, image: str, width: int, height: int, boxes: Sequence[Box]) -> None:
    """Write boxes to a file of PASCAL VOC, whole or not at all.

    Args:
        path: The .xml file.
        image: The name of the image file beside it.
        width: Of the image, in pixels.
        height: Of the image, in pixels.
        boxes: One per object.

    Raises:
        InputError: when there is no folder for the file.
    """
    root = ElementTree.Element("annotation")
    _add(root, filename=image)
    _add(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
    for name, left, top, right, bottom in boxes:
        found = ElementTree.SubElement(root, "object")
        _add(found, name=name)
        _add(ElementTree.SubElement(found, "bndbox"), xmin=left + 1, ymin=top + 1, xmax=right, ymax=bottom)
    ElementTree.indent(root)
    with write_aside(path) as file:
        file.write(ElementTree.tostring(root, encoding="utf-8") + b"\n")


def _parsed(path: Path) -> ElementTree.Element:
    with needs_extra("data", "Files of boxes"):
        from defusedxml.ElementTree import parse
    try:
        root = parse(path, forbid_dtd=True).getroot()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except Exception as error:  # defusedxml's, expat's, codecs' and the system's errors differ
        raise InputError(f"{path} cannot be read ({error or type(error).__name__}); it must be plain XML") from None
    if root.tag != "annotation":
        raise InputError(f"{path} is no file of boxes; it holds <{root.tag[:40]}>, and not <annotation>")
    return root


def _beside(path: Path, name: str | None) -> Path:
    """Return the image file `name` in the folder of `path`; a name that leads elsewhere is refused."""
    name = (name or "").strip()
    if not _plain(name):
        raise InputError(f"{path}: {name[:80]!r} is no file name; write that of the image beside it")
    image = path.parent / name
    if image.resolve().parent != path.parent.resolve():
        raise InputError(f"{path}: {name!r} is a link that leads out of the folder")
    if not image.is_file():
        raise InputError(f"{path} is of the image {name!r}, which is not beside it")
    return image


def _box(path: Path, i: int, found: ElementTree.Element) -> Box:
    name = (found.findtext("name") or "").strip()
    if not _plain(name):
        raise InputError(f"{path}: box {i} needs a <name> that could be a folder's, not {name[:80]!r}")
    edges = (_number(path, found.find("bndbox"), edge, f"box {i}") for edge in ("xmin", "ymin", "xmax", "ymax"))
    left, top, right, bottom = edges
    if right <= left or bottom <= top:
        raise InputError(f"{path}: box {i} ({name}) has no area; its edges are {left}, {top}, {right}, {bottom}")
    return Box(name, left - 1, top - 1, right, bottom)


def _plain(name: str) -> bool:
    """Say whether `name` can be that of a file or folder, and of none elsewhere."""
    return bool(name) and name[0] != "." and name.isprintable() and not set(name) & set('/\\:*?"<>|')


def _inside(path: Path, i: int, box: Box, width: int, height: int) -> Box:
    left, top, right, bottom = max(box.left, 0), max(box.top, 0), min(box.right, width), min(box.bottom, height)
    if right <= left or bottom <= top:
        raise InputError(f"{path}: box {i} ({box.name}) lies outside of the image of {width} x {height} pixels")
    return Box(box.name, left, top, right, bottom)


def _number(path: Path, element: ElementTree.Element | None, name: str, what: str) -> int:
    """Return the number in the child `name` of `element`, rounded; some tools write fractions of pixels."""
    text = "" if element is None else (element.findtext(name) or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value) or abs(value) > 1e9:
        raise InputError(f"{path}: {what} needs a number as <{name}>, not {text[:40]!r}")
    return round(value)


def _add(element: ElementTree.Element, **texts: object) -> None:
    for name, text in texts.items():
        ElementTree.SubElement(element, name).text = str(text)

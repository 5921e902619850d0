"""Boxes around the objects of a photograph, in the files of PASCAL VOC that labelImg writes, read and written.

Source: backstrom2018, 3.1.2. VOC counts pixels from 1, and the last one is inside the box; a `Box` counts as arrays do.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree  # writes only; what others wrote is parsed by defusedxml

import numpy as np

from fewbits.errors import InputError, nearest
from fewbits.io.files import write_aside


class Box(NamedTuple):
    """A rectangle of pixels of one class: rows top to bottom - 1, columns left to right - 1, both from 0."""

    name: str
    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top


@dataclass(frozen=True)
class Photograph:
    """An image file, its size in pixels, and the boxes in it."""

    path: Path
    width: int
    height: int
    boxes: tuple[Box, ...]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def image(self) -> np.ndarray:
        """The pixels (height, width, 3) uint8, RGB, decoded anew each time.

        Raises InputError, naming the file, where it cannot be decoded or is of another size than its boxes say.
        """
        image = _pillow()
        try:
            with image.open(self.path) as file:
                if file.size == (self.width, self.height):
                    return np.asarray(file.convert("RGB"))
                width, height = file.size
        except Exception as error:  # whatever a damaged file raises: Pillow's, struct's and zlib's errors differ
            raise InputError(f"{self.path} is no image that can be read ({error or type(error).__name__})") from None
        raise InputError(
            f"{self.path} has {width} x {height} pixels, and its boxes are of {self.width} x {self.height}"
        )


def read_photographs(folder: Path | str, classes: Collection[str] | None = None) -> list[Photograph]:
    """Return the photographs of `folder`, one for each of its .xml files, in the order of their names.

    Images lie beside the files. classes: as in `read_boxes`. Raises InputError where there are none, where one cannot
    be used, or where two are of one image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name one with images and a .xml file of boxes for each")
    photographs = [read_boxes(path, classes) for path in sorted(folder.glob("*.xml"))]
    if not photographs:
        raise InputError(f"{folder} has no .xml files; there must be one with boxes for each image")
    names = [p.name for p in photographs]
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice:
        raise InputError(f"{folder} has two .xml files with boxes of {twice}; keep one")
    return photographs


def read_boxes(path: Path | str, classes: Collection[str] | None = None) -> Photograph:
    """Return what the VOC file `path` says of the image beside it, which is not decoded yet.

    Parts of boxes that lie outside of the image are cut off. classes: the names that a box may have, where not any.
    Raises InputError, naming the file, where it is no XML, declares a document type or entities, names an image that is
    not beside it, or has a box that is outside of the image, without area, or of an unknown class.
    """
    path = Path(path)
    root = _parsed(path)
    width, height = (_number(path, root.find("size"), side, "the image") for side in ("width", "height"))
    if width < 1 or height < 1:
        raise InputError(f"{path}: the image has {width} x {height} pixels; write its true size")
    boxes = (_box(path, i, object) for i, object in enumerate(root.findall("object"), 1))
    boxes = tuple(_inside(path, i, box, width, height) for i, box in enumerate(boxes, 1))
    unknown = [] if classes is None else [box.name for box in boxes if box.name not in classes]
    if unknown:
        near = nearest(unknown[0], classes)
        raise InputError(f"{path}: unknown class {unknown[0]!r}{near}; there are {', '.join(classes)}")
    return Photograph(_beside(path, root.findtext("filename")), width, height, boxes)


def write_boxes(path: Path, image: str, width: int, height: int, boxes: Sequence[Box]) -> None:
    """Write the VOC file `path` of `boxes` in the image file `image` beside it, whole or not at all."""
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


def _parsed(path):
    try:
        from defusedxml.ElementTree import parse
    except ImportError:
        raise InputError("boxes are read with defusedxml; install it with `pip install defusedxml`") from None
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


def _box(path, i, found) -> Box:
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


def _inside(path, i, box, width, height) -> Box:
    left, top, right, bottom = max(box.left, 0), max(box.top, 0), min(box.right, width), min(box.bottom, height)
    if right <= left or bottom <= top:
        raise InputError(f"{path}: box {i} ({box.name}) lies outside of the image of {width} x {height} pixels")
    return Box(box.name, left, top, right, bottom)


def _number(path, element, name, what) -> int:
    """Return the number in the child `name` of `element`, rounded; some tools write fractions of pixels."""
    text = "" if element is None else (element.findtext(name) or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value) or abs(value) > 1e9:
        raise InputError(f"{path}: {what} needs a number as <{name}>, not {text[:40]!r}")
    return round(value)


def _add(element, **texts) -> None:
    for name, text in texts.items():
        ElementTree.SubElement(element, name).text = str(text)


def _pillow():
    try:
        from PIL import Image
    except ImportError:
        raise InputError("photographs need Pillow; install it with `pip install pillow`") from None
    return Image

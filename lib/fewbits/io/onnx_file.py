"""Reading ONNX files as hostile input: a valid graph with all its weights in memory, or one sentence."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fewbits.errors import InputError, needs_extra

MOST_BYTES = 2**31 - 1  # of a file; protobuf reads no more


def read_onnx(path: Path | str) -> Any:
    """Read an ONNX file with the weights that lie in files beside it; nothing in the files is run.

    Args:
        path: The .onnx file.

    Returns:
        An onnx.ModelProto that refers to no other file.

    Raises:
        InputError: when the file is missing, damaged, too large, invalid or refers to files outside its folder; when
            the package onnx is not installed.
    """
    with needs_extra("export", "ONNX files"):
        import onnx
        from google.protobuf.message import DecodeError
    path = Path(path)
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(_content(path))
        damaged = not all(isinstance(text, str) for text in _texts(proto.graph))  # bytes where they are no text
    except DecodeError:
        damaged = True
    if damaged:
        raise InputError(f"{path} cannot be read; it may be truncated, or not be an .onnx file")
    _take_in(proto, path)
    try:
        onnx.checker.check_model(proto)
    except Exception as error:  # the checker's errors have several classes
        raise InputError(f"{path} is not a valid ONNX file ({first_line(error)}); export it again") from None
    return proto


def first_line(error: Exception) -> str:
    """Return the first line of what `error` says, as printable text of at most 200 characters."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return printable(lines[0], 200)


def printable(text: str, length: int = 100) -> str:
    """Return `text`, which a file holds, for a message.

    Args:
        text: Any characters.
        length: The most characters to return.
    """
    return "".join(c if c.isprintable() else "?" for c in text[:length])


def _content(path: Path) -> bytes:
    try:
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} has more than 2 GB, the most that an .onnx file can have")
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None


def _texts(graph: Any) -> Iterator[str | bytes]:
    """Yield all names in a graph."""
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for named in (*graph.input, *graph.output, *graph.initializer):
        yield named.name
    for tensor in graph.initializer:
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))


def _take_in(proto: Any, path: Path) -> None:
    """Read into `proto` the weights that it has in files beside `path`."""
    if any(_refers(tensor) for node in proto.graph.node for a in node.attribute for tensor in (a.t, *a.tensors)):
        raise InputError(f"{path} has a constant in another file; only weights may be there")
    files: dict[str, bytes] = {}
    total = proto.ByteSize()
    for tensor in (tensor for tensor in proto.graph.initializer if _refers(tensor)):
        place = {entry.key: entry.value for entry in tensor.external_data}
        name = place.get("location", "")
        if name not in files:
            files[name] = _beside(path, name)
        start, length = (place.get(key, "") for key in ("offset", "length"))
        if not all(number.isascii() and (number.isdecimal() or not number) for number in (start, length)):
            raise InputError(f"{path}: the place of {printable(tensor.name)} in {printable(name)} is not a number")
        begin = int(start or 0)
        end = begin + int(length) if length else len(files[name])
        if end > len(files[name]):
            raise InputError(f"{path}: {printable(tensor.name)} ends after the file {printable(name)}; it is truncated")
        total += end - begin
        if total > MOST_BYTES:
            raise InputError(f"{path} has more than 2 GB of weights, the most that can be checked")
        tensor.raw_data = files[name][begin:end]
        del tensor.external_data[:]
        tensor.data_location = type(tensor).DEFAULT


def _refers(tensor: Any) -> bool:
    """Return whether the values of a TensorProto are in another file."""
    return tensor.data_location == type(tensor).EXTERNAL or bool(tensor.external_data)


def _beside(path: Path, name: str) -> bytes:
    """Return the content of the file `name` in the folder of `path`; links and other folders are refused."""
    other = path.parent / name
    if name in ("", "..") or "\\" in name or "\0" in name or Path(name).name != name or other.is_symlink():
        raise InputError(f"{path} refers to {printable(name)!r}; weights must be in a plain file beside it")
    try:
        return _content(other)
    except InputError as error:
        raise InputError(f"{path} has weights in another file, but {error}") from None

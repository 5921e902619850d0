"""HDF5 files that are written piece by piece, whole or not at all."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fewbits.io.files import write_aside


def write_hdf5(
    path: Path | str, pieces: Iterable[Mapping[str, np.ndarray | list[str]]], attributes: dict[str, dict]
) -> None:
    """Write datasets that grow along their first axis by what each piece holds for them.

    Args:
        path: The file.
        pieces: Name of a dataset, with `/` before each sub-name -> array, or list of text.
        attributes: Name of a dataset, or `/` for the file -> its attributes.

    Raises:
        InputError: when there is no folder for the file.
        OSError: when the disk is full or fails.
    """
    import h5py

    with write_aside(path) as file:
        disk = _Disk(file)
        with h5py.File(disk, "w") as target:
            for piece in pieces:
                for name, values in piece.items():
                    _append(target, name, values)
                disk.check()
            for name, given in attributes.items():
                target[name].attrs.update(given)
        disk.check()


def _append(target: Any, name: str, content: np.ndarray | list[str]) -> None:
    import h5py

    if isinstance(content, list):  # names of files may hold bytes that are not UTF-8
        values = np.array([text.encode(errors="surrogateescape") for text in content], object)
        kind: Any = h5py.string_dtype()
    else:
        values, kind = content, content.dtype
    if name not in target:
        # h5py's own chunks are made for long data sets: a small one would take a megabyte.
        chunks: Any = values.shape if 0 < values.nbytes < 2**20 else True
        target.create_dataset(name, (0, *values.shape[1:]), kind, maxshape=(None, *values.shape[1:]), chunks=chunks)
    dataset = target[name]
    dataset.resize(len(dataset) + len(values), axis=0)
    dataset[len(dataset) - len(values) :] = values


class _Disk:
    """A file for HDF5, whose library crashes the process after an error of the disk: `check` raises the first one.

    After an error nothing more is written, and HDF5 does not notice.
    """

    def __init__(self, file: BinaryIO):
        self._file, self._place, self._end = file, 0, 0
        self._error: OSError | None = None

    def check(self) -> None:
        if self._error:
            raise self._error

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = offset + (self._end if whence == 2 else 0)
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, size: int = -1) -> bytes:
        raise NotImplementedError("h5py uses readinto")

    def readinto(self, buffer: memoryview) -> int:
        self._at_place(self._file.readinto, buffer)  # type: ignore[attr-defined]  # BinaryIO does not promise it
        return len(buffer)

    def write(self, data: memoryview) -> int:
        size = memoryview(data).nbytes
        self._at_place(self._file.write, data)
        self._place += size
        self._end = max(self._end, self._place)
        return size

    def truncate(self, size: int) -> None:
        self._end = size
        self._at_place(self._file.truncate, size)

    def flush(self) -> None:
        self._at_place(self._file.flush)

    def _at_place(self, do: Callable[..., Any], *arguments: Any) -> None:
        if self._error is None:
            try:
                self._file.seek(self._place)
                do(*arguments)
            except OSError as error:
                self._error = error

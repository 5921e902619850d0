"""HDF5 files that are written as their content comes, whole or not at all."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fewbits.io.files import write_aside


def write_hdf5(path: Path, pieces: Iterable[dict[str, np.ndarray]], attributes: dict[str, dict]) -> None:
    """Write a file whose datasets grow along their first axis by what each piece holds for them.

    pieces: name of a dataset, with `/` before each sub-name -> array, or list of text. attributes: name of a dataset,
    or `/` for the file -> its attributes.
    """
    import h5py

    with write_aside(path) as file:
        disk = _Disk(file)
        with h5py.File(disk, "w") as target:
            for piece in pieces:
                for name, values in piece.items():
                    _append(target, name, values)
                disk.check()
            for name, values in attributes.items():
                target[name].attrs.update(values)
        disk.check()


def _append(target, name, values):
    import h5py

    text = isinstance(values, list)
    if text:  # names of files may hold bytes that are no UTF-8
        values = np.array([value.encode(errors="surrogateescape") for value in values], object)
    if name not in target:
        kind = h5py.string_dtype() if text else values.dtype
        # h5py's own chunks are made for long data sets: a small one would take a megabyte.
        chunks = values.shape if 0 < values.nbytes < 2**20 else True
        target.create_dataset(name, (0, *values.shape[1:]), kind, maxshape=(None, *values.shape[1:]), chunks=chunks)
    dataset = target[name]
    dataset.resize(len(dataset) + len(values), axis=0)
    dataset[len(dataset) - len(values) :] = values


class _Disk:
    """A file for HDF5, whose library crashes the process after an error of the disk: the first is kept for `check`.

    After it nothing more is written, and HDF5 is told that all is well.
    """

    def __init__(self, file):
        self._file, self._place, self._end, self._error = file, 0, 0, None

    def check(self):
        if self._error:
            raise self._error

    def seek(self, offset, whence=0):
        self._place = offset + (self._end if whence == 2 else 0)
        return self._place

    def tell(self):
        return self._place

    def read(self, size=-1):
        raise NotImplementedError("h5py uses readinto")

    def readinto(self, buffer):
        self._at_place(self._file.readinto, buffer)
        return len(buffer)

    def write(self, data):
        size = memoryview(data).nbytes
        self._at_place(self._file.write, data)
        self._place += size
        self._end = max(self._end, self._place)
        return size

    def truncate(self, size):
        self._end = size
        self._at_place(self._file.truncate, size)

    def flush(self):
        self._at_place(self._file.flush)

    def _at_place(self, do, *arguments):
        if self._error is None:
            try:
                self._file.seek(self._place)
                do(*arguments)
            except OSError as error:
                self._error = error

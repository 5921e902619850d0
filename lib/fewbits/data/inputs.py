"""Images as users give them, and the arrays that the inputs of a model take."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any

import numpy as np

from fewbits.backend import keras
from fewbits.data.dataset import Split, as_labels
from fewbits.data.folders import ImageFolder
from fewbits.errors import InputError, finite, nearest
from fewbits.graph import Graph, ends, takes_integers

Images = Iterable[Any] | Split | ImageFolder  # and keras.utils.PyDataset, which has no type stubs

STREAMED = 256  # images that are read of a stream, which may be large or never end
TOGETHER = 32  # single images that make a batch
LABELLED = 2, 3  # the lengths of (images, labels) and (images, labels, weights)


def input_arrays(model: keras.Model, images: Images, what: str = "images", most: int = STREAMED) -> list[np.ndarray]:
    """Return images as one array for each input of a model.

    Args:
        model: A functional model, or a sequential one with an input.
        images: As in `input_batches`.
        what: What error messages call the images.
        most: How many images of a stream are read at most. Arrays are taken as a whole.

    Returns:
        One array (n, ...) per input of `model`, float32, finite, with n at least 1.

    Raises:
        InputError: as `input_batches`, and when there are no images or they differ in size.
    """
    stream, batches, n = is_stream(model, images), [], 0
    for batch in input_batches(model, images, what):
        batches.append(batch)
        n += len(batch[0])
        if stream and n >= most:
            break
    if not n:
        again = "; an iterator that has been read to its end is empty" if isinstance(images, Iterator) else ""
        raise InputError(f"at least one image is needed, and {what} has none{again}")
    return [_joined(parts, what)[: most if stream else n] for parts in zip(*batches)]


def input_batches(model: keras.Model, images: Images, what: str = "images") -> Iterator[list[np.ndarray]]:
    """Yield images in batches, as arrays for the inputs of a model.

    Labels and weights of samples are left out.

    Args:
        model: A functional model, or a sequential one with an input.
        images: An array (n, ...); for several inputs a list or tuple of arrays, or a dictionary with the names of the
            inputs; either of these in a pair with labels, (images, labels); a list of images; a Split, whose pixels are
            taken as they are. Or a stream of batches or single images, with or without labels: an ImageFolder, a
            `keras.utils.PyDataset`, a `tf.data.Dataset`, a generator or another iterable.
        what: What error messages call the images.

    Yields:
        One array (n, ...) per input of `model`, float32, finite. Arrays are a single batch.

    Raises:
        InputError: on images that are not finite or do not fit the inputs; the message names both shapes.
    """
    for arrays, _ in _batches(model, images, what, TOGETHER):
        yield arrays


def labelled_batches(
    model: keras.Model, data: Images, what: str = "the data", batch_size: int = TOGETHER, required: bool = True
) -> Iterator[tuple[list[np.ndarray], np.ndarray | None]]:
    """Yield images and their labels in batches.

    Args:
        model: As in `input_batches`.
        data: As in `input_batches`, with labels.
        what: What error messages call the data.
        batch_size: Images per batch of a stream of single images; batches come as they are.
        required: Whether there must be labels.

    Yields:
        One array (n, ...) per input of `model`, as in `input_batches`, and labels as `as_labels` returns them; None for
        batches without labels.

    Raises:
        InputError: as `input_batches`; when there are no labels or not as many as images; and when there are weights of
            samples.
    """
    for arrays, rest in _batches(model, data, what, batch_size):
        labels, weights = (*rest, None, None)[:2]
        if weights is not None:
            raise InputError(f"{what} has weights of samples, which are not used; leave them out")
        if labels is not None or required:
            labels = as_labels(labels, what)
            if labels.shape[:1] != (len(arrays[0]),):
                raise InputError(f"{what} has {len(arrays[0])} images in a batch, and labels of {_sides(labels.shape)}")
        yield arrays, labels


def is_stream(model: keras.Model, data: Any) -> bool:
    """Return whether `data` is read batch by batch or image by image: not an array, a pair of arrays or a Split.

    Args:
        model: As in `input_batches`.
        data: As in `input_batches`.
    """
    return _stream(model, data) is not None


def _batches(
    model: keras.Model, data: Any, what: str, batch_size: int
) -> Iterator[tuple[list[np.ndarray], tuple[Any, ...]]]:
    """Yield arrays for the inputs of a model, and what comes with them: nothing, labels, or labels and weights."""
    inputs = _Inputs(model, what)
    stream = _stream(model, data)
    if stream is None:
        parts, rest = inputs.split((data.images, data.labels) if isinstance(data, Split) else data)
        yield inputs.checked(parts), rest
        return
    waiting: list[tuple[list[np.ndarray], tuple]] = []
    for element in stream:
        parts, rest = inputs.split(element)
        if inputs.is_single(parts):
            waiting.append((inputs.checked([np.asarray(part)[np.newaxis] for part in parts]), rest))
        else:
            yield inputs.checked(parts), rest
        if len(waiting) == batch_size:
            yield _together(waiting, what)
            waiting = []
    if waiting:
        yield _together(waiting, what)


def _together(single: list[tuple[list[np.ndarray], tuple]], what: str) -> tuple[list[np.ndarray], tuple]:
    """Return single images, and what comes with each, as one batch."""
    arrays, rests = zip(*single)
    lengths = {len(rest) for rest in rests}
    if len(lengths) > 1:
        raise InputError(f"{what} has labels for some images only; give each image one")
    return [_joined(parts, what) for parts in zip(*arrays)], tuple(_stacked(values) for values in zip(*rests))


def _stacked(values: tuple[Any, ...]) -> np.ndarray | None:
    return None if values[0] is None else np.stack([np.asarray(value) for value in values])


def _stream(model: keras.Model, images: Any) -> Iterable | None:
    """Return the batches or single images of a stream; None for what is given as a whole."""
    if isinstance(images, keras.utils.PyDataset):
        return _read(images)
    if hasattr(images, "batches"):
        return images.batches(TOGETHER)
    if isinstance(images, list | tuple):
        shape = Graph(model).inputs[0].shape
        single = len(model.inputs) == 1 and bool(images) and all(_fits(_shape(x), shape[1:]) for x in images)
        pairs = isinstance(images, list) and all(isinstance(x, tuple) and len(x) in LABELLED for x in images)
        return images if images and pairs else map(np.asarray, images) if single else None
    whole = isinstance(images, str | bytes | Mapping | Split) or hasattr(images, "__array__")
    return images if isinstance(images, Iterable) and not whole else None


def _read(data: Any) -> Iterator[Any]:
    """Yield the batches of a `keras.utils.PyDataset`, which is told where an epoch begins and ends."""
    data.on_epoch_begin()
    yield from (data[i] for i in (count() if data.num_batches is None else range(data.num_batches)))
    data.on_epoch_end()


class _Inputs:
    """The inputs of a model: their names and shapes, and what a user gives for them."""

    def __init__(self, model: keras.Model, what: str):
        self.model, self.what = model.name, what
        self.tensors = Graph(model).inputs
        self.place = {tensor.name: i for i, tensor in enumerate(self.tensors)}
        given = ends(model)[0]
        if isinstance(given, dict):
            self.place |= keras.tree.pack_sequence_as(given, [*range(len(self.tensors))])

    def split(self, data: Any) -> tuple[list[Any], tuple[Any, ...]]:
        """Return what `data` holds for each input, and what it holds beside, such as labels."""
        if isinstance(data, list | tuple) and len(data) in LABELLED:
            if len(self.tensors) == 1 or isinstance(data[0], list | tuple | Mapping):
                self._check_ambiguous(data)
                return self._parts(data[0]), tuple(data[1:])
        return self._parts(data), ()

    def _parts(self, data: Any) -> list[Any]:
        n = len(self.tensors)
        if isinstance(data, Mapping):
            return self._named(data)
        if isinstance(data, list | tuple):
            if len(data) == n:
                return list(data)
        elif n == 1 and (hasattr(data, "__array__") or hasattr(data, "shape")):
            return [data]
        given = f"a {type(data).__name__} of {len(data)}" if isinstance(data, list | tuple) else _described(data)
        if n > 1:
            wanted = f"{n} arrays, for {self._all_wanted()}; give them in a list or dictionary"
        else:
            wanted = f"{self._wanted(0)}; give an array, a pair with labels or a data set"
        raise InputError(f"{self.what} is {given}, and {self.model} takes {wanted}")

    def is_single(self, parts: list[Any]) -> bool:
        """Return whether `parts` are one image each, without a batch axis."""
        return all(_fits(_shape(part), tensor.shape[1:]) for part, tensor in zip(parts, self.tensors))

    def checked(self, parts: list[Any]) -> list[np.ndarray]:
        """Return `parts` as arrays after a check of shapes and values."""
        arrays = []
        for i, (part, tensor) in enumerate(zip(parts, self.tensors)):
            shape, name = _shape(part), self._name(i)
            if shape is None:
                raise InputError(f"{name} must be an array of real numbers in the shape {self._wanted(i)}")
            if not _fits(shape[1:], tensor.shape[1:]):
                raise InputError(
                    f"{name} has the shape {_sides(shape)}, and {self.model} takes {self._wanted(i)}; "
                    f"{_hint(shape, tuple(tensor.shape))}"
                )
            with np.errstate(over="ignore"):
                array = finite(part, name).astype(np.float32)
            if not np.isfinite(array).all():
                raise InputError(f"{name} holds numbers beyond 3e38, which float32 does not; scale them first")
            check_fractions(tensor, array, name)
            arrays.append(array)
        lengths = [len(array) for array in arrays]
        if len(set(lengths)) > 1:
            raise InputError(
                f"{self.what} has {' and '.join(map(str, lengths))} samples for the inputs {', '.join(self._names())}; "
                "give each input as many"
            )
        return arrays

    def _named(self, data: Mapping) -> list[Any]:
        found: dict[int, Any] = {}
        for key, value in data.items():
            if key not in self.place:
                raise InputError(
                    f"{self.model} has no input {key!r}{nearest(key, map(str, self.place))}; it has "
                    f"{', '.join(self._names())}"
                )
            found[self.place[key]] = value
        lacking = [name for i, name in enumerate(self._names()) if i not in found]
        if lacking:
            raise InputError(f"{self.what} has nothing for the input {', '.join(lacking)} of {self.model}; add it")
        return [found[i] for i in range(len(self.tensors))]

    def _check_ambiguous(self, data: list | tuple) -> None:
        """Refuse a list of two batches of images: the second would be taken for labels."""
        if isinstance(data, list) and all(_fits(_shape(x), self.tensors[0].shape) for x in data):
            raise InputError(
                f"{self.what} is a list of {len(data)} arrays that all fit {self.model}; join them to one array, or "
                "give a tuple (images, labels)"
            )

    def _names(self) -> list[str]:
        return [tensor.name for tensor in self.tensors]

    def _name(self, i: int) -> str:
        return self.what if len(self.tensors) == 1 else f"{self.what} for the input {self.tensors[i].name}"

    def _wanted(self, i: int) -> str:
        return _sides(("n", *self.tensors[i].shape[1:]))

    def _all_wanted(self) -> str:
        return " and ".join(f"{name} {self._wanted(i)}" for i, name in enumerate(self._names()))


def check_fractions(tensor: keras.KerasTensor, array: Any, what: str) -> None:
    """Check that an input that holds integers gets no fractions, which Keras would cut off.

    Args:
        tensor: The symbolic input.
        array: What it gets.
        what: What the error message calls the images.

    Raises:
        InputError: when it gets fractions.
    """
    if takes_integers(tensor) and np.any(np.asarray(array) % 1):
        raise InputError(
            f"the input {tensor.name} holds integers, and {what} has fractions, which would be cut off; give it pixels "
            "as they are, or build the network with an input of float32"
        )


def _hint(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> str:
    """Return what to do with an array of `shape` where `wanted` is taken, both with a batch axis."""
    channels = wanted[-1]
    if _fits(shape, wanted[1:]):
        return "a single image needs a batch axis, as in images[np.newaxis]"
    if _fits((*shape, channels or 1), wanted):
        return "gray images need a channel axis, as in " + (
            f"np.repeat(images[..., np.newaxis], {channels}, -1)" if channels and channels > 1 else "images[..., None]"
        )
    if len(shape) != len(wanted):
        return f"it must have {len(wanted)} axes"
    if len(shape) > 2 and _fits((shape[0], *shape[2:], shape[1]), wanted):
        return "channels come last, as in np.moveaxis(images, 1, -1)"
    if not _fits(shape[1:-1], wanted[1:-1]):
        return "resize the images" if len(shape) == 4 else "give it that size"
    if shape[-1] == 1:
        return f"repeat the gray channel, as in np.repeat(images, {channels}, -1)"
    return f"give it {channels} channels" if len(shape) > 2 else f"give it {channels} numbers per sample"


def _fits(shape: tuple[int, ...] | None, wanted: tuple[int | None, ...]) -> bool:
    """Return whether an array of `shape` can be taken where `wanted` is; None there is any size."""
    if shape is None or len(shape) != len(wanted):
        return False
    return all(size in (None, side) for side, size in zip(shape, wanted))


def _shape(x: Any) -> tuple[int, ...] | None:
    """Return the shape of an array, a tensor or nested lists; None for anything else."""
    try:
        return tuple(int(side) for side in (x.shape if hasattr(x, "shape") else np.shape(x)))
    except (TypeError, ValueError):
        return None


def _joined(parts: Iterable[np.ndarray], what: str) -> np.ndarray:
    parts = list(parts)
    shapes = sorted({part.shape[1:] for part in parts})
    if len(shapes) > 1:
        raise InputError(
            f"{what} has images of different sizes, {_sides(shapes[0])} and {_sides(shapes[-1])}; resize them to one"
        )
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _sides(shape: Iterable[Any]) -> str:
    return "(" + ", ".join("any" if side is None else str(side) for side in shape) + ")"


def _described(data: Any) -> str:
    shape = getattr(data, "shape", None)
    return f"one array of shape {_sides(shape)}" if shape is not None else f"of the type {type(data).__name__}"

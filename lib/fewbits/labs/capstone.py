"""The capstone: a network for the digits within two budgets, bytes and accuracy, scored on digits it has not seen.

The score is the number of times that the budget of bytes can be halved until the network just fits, and 0 for a network
that misses a budget. Files are data: Keras reads them in safe mode, and exported ones are read only within the budget.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import log2, prod
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from fewbits import data
from fewbits.backend import keras, ops
from fewbits.costs.complexity import totals
from fewbits.errors import InputError
from fewbits.io.files import read_model
from fewbits.io.tflite import LiteRTRunner
from fewbits.labs.checking import GapOpen, WrongAnswer
from fewbits.quantization.conversion import QuantizedModel
from fewbits.statistics import Share

BYTES = 16_000
"""The most that a network may take."""
ACCURACY = 0.9
"""The least share of test digits that it must read."""
BYTES_TO_BEAT = 689
"""What our own solution takes."""
LARGEST_FILE = 20_000_000  # bytes of a .keras file, compressed or not: it holds floats whatever the bits
LONGEST_SHAPE = 8  # numbers in a setting that are no constants: a shape, a padding
_PIXELS, _CLASSES = (8, 8, 1), 10


@dataclass(frozen=True)
class CapstoneScore:
    """What a network takes and reads.

    Attributes:
        size: Its bytes.
        share: The test digits that it reads.

    Example:
        >>> CapstoneScore(1000, Share(350, 359)).points
        4.0
        >>> CapstoneScore(1000, Share(300, 359)).points
        0.0
    """

    size: int
    share: Share

    @property
    def points(self) -> float:
        """How many times the budget of bytes can be halved; 0 if a budget is missed."""
        fits = self.size <= BYTES and self.share.value >= ACCURACY
        return log2(BYTES / self.size) if fits else 0.0

    def __str__(self) -> str:
        """The score, with both budgets and the score to beat, in four lines."""
        return (
            f"bytes     {self.size:,} of at most {BYTES:,}\n"
            f"accuracy  {self.share} of {self.share.n} test digits, at least {ACCURACY:.0%}\n"
            f"score     {self.points:.2f} halvings of the budget\n"
            f"to beat   {log2(BYTES / BYTES_TO_BEAT):.2f}, with {BYTES_TO_BEAT:,} bytes"
        )


def score_capstone(path: Path | str) -> CapstoneScore:
    """Score a file on the test digits.

    Args:
        path: A .keras file, in which parameters count at their bits; or a .tflite file, which counts as it is.

    Returns:
        The score.

    Raises:
        InputError: when the file is missing, damaged, too large or of another kind, holds code, or its network does not
            take digits and return ten numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is not a file")
    images, labels = data.load("digits").arrays("test")
    if path.suffix == ".tflite":
        return CapstoneScore(path.stat().st_size, Share.of(_exported_answers(path, images) == labels))
    _check_archive(path)
    model = read_model(path)
    return CapstoneScore(count_bytes(model), Share.of(_answers(model, images) == labels))


def count_bytes(model: keras.Model) -> int:
    """Count the bytes of a network's parameters.

    Kernels of quantized layers have the bits of their formats, packed without gaps within a kernel, and a byte for each
    of their MSBs. All other parameters have 32 bits, and so have constants in the settings of a layer, such as the
    scales of a Rescaling.

    Args:
        model: A network; a QuantizedModel counts as it is set, so layers that are switched off count in float.

    Raises:
        InputError: as `totals`.
    """
    size = totals(model).weight_bytes + 4 * _constants(model.get_config())
    for layer in model.quantized_layers if isinstance(model, QuantizedModel) else []:
        kernel = layer.formats[0]
        if layer.enabled and kernel is not None:
            formats = kernel if isinstance(kernel, tuple) else (kernel,)
            weights = prod(layer.kernel.shape)
            size += len(formats) + -(-weights * max(fmt.nbits for fmt in formats) // 8) - 4 * weights
    return size


def _constants(config: Any) -> int:
    """Return how many numbers stand in lists of a configuration, besides formats and what is as short as a shape."""
    if isinstance(config, dict):
        return sum(_constants(value) for key, value in config.items() if key != "formats")
    if not isinstance(config, list | tuple):
        return 0
    flat = list(_flattened(config))
    numbers = sum(isinstance(value, int | float) and not isinstance(value, bool) for value in flat)
    return (numbers > LONGEST_SHAPE) * numbers + sum(_constants(value) for value in flat if isinstance(value, dict))


def _flattened(values: Any) -> Iterator[Any]:
    for value in values:
        yield from _flattened(value) if isinstance(value, list | tuple) else (value,)


def check_compress(function: Callable[..., Any]) -> keras.Model:
    """Check the network that a function makes, on the validation digits.

    Args:
        function: Takes the training digits and the validation digits, each images (n, 8, 8, 1) and labels (n,), and
            returns a network.

    Returns:
        The network.

    Raises:
        GapOpen: when the function returns nothing.
        WrongAnswer: when the network misses a budget.
    """
    digits = data.load("digits", validation=0.2)
    train, validation = digits.arrays("train"), digits.arrays("validation")
    model, called = function(train, validation), f"{function.__name__}(train, validation)"
    if model is None:
        raise GapOpen(function.__name__, called)
    if not isinstance(model, keras.Model):
        raise WrongAnswer(f"{called} returns {type(model).__name__}, not a Keras model")
    try:
        size, share = count_bytes(model), Share.of(_answers(model, validation[0]) == validation[1])
    except InputError as error:
        raise WrongAnswer(f"{called} returns a network that cannot be scored: {error}") from None
    if size > BYTES:
        raise WrongAnswer(f"{called} returns a network of {size:,} bytes. Which of its parameters still have 32 bits?")
    if share.value < ACCURACY:
        raise WrongAnswer(
            f"{called} returns a network that reads {share}. Does it do so in float? Then train its bits."
        )
    print(f"passed: {function.__name__}, {size:,} bytes, {share} of the validation digits")
    return model


def _answers(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return the class of each image."""
    if model.input_shape != (None, *_PIXELS) or model.output_shape != (None, _CLASSES):
        raise InputError(
            f"{model.name} takes {model.input_shape[1:]} and returns {model.output_shape[1:]}; "
            f"it must take {_PIXELS} and return ({_CLASSES},)"
        )
    return np.argmax(ops.convert_to_numpy(model(images, training=False)), axis=1)


def _exported_answers(path: Path, images: np.ndarray) -> np.ndarray:
    """Return the class of each image by a .tflite file."""
    if path.stat().st_size > BYTES:
        raise InputError(f"{path} has {path.stat().st_size:,} bytes, more than {BYTES:,}, so it is not read")
    try:
        runner = LiteRTRunner(path.read_bytes())
        answers = np.stack([np.ravel(runner.run(image)) for image in images])
    except InputError:
        raise
    except Exception as error:  # whatever damage raises
        raise InputError(f"{path} cannot be run ({str(error)[:200]}); it must take {_PIXELS}") from None
    if answers.shape[1] != _CLASSES:
        raise InputError(f"{path} returns {answers.shape[1]} numbers for an image; it must return {_CLASSES}")
    return answers.argmax(axis=1)


def _check_archive(path: Path) -> None:
    """Check that a .keras file is an archive that is not larger than it should be once it is unpacked."""
    if path.suffix != ".keras":
        raise InputError(f"{path} is not a .keras or .tflite file")
    try:
        with ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except (BadZipFile, OSError) as error:
        raise InputError(f"{path} cannot be read ({error}); it may be truncated or of another kind") from None
    if size > LARGEST_FILE:
        raise InputError(f"{path} unpacks to {size:,} bytes; no network of this task needs more than {LARGEST_FILE:,}")

"""Do an integer network, the quantized Keras model and other programs compute the same codes?"""

from typing import NamedTuple

import numpy as np

from fewbits.backend import keras
from fewbits.costs.latency import Runner
from fewbits.deploy.compiled import CRunner, find_compiler
from fewbits.deploy.integer import IntegerNetwork
from fewbits.deploy.operations import Tensor
from fewbits.errors import InputError
from fewbits.graph import clone, rebuild
from fewbits.inspection.extraction import extractor
from fewbits.quantization.conversion import QuantizedModel


class Agreement(NamedTuple):
    """How the codes of a layer agree.

    Attributes:
        codes: Number of codes that were compared.
        different: How many of them differ.
        largest: The largest difference, in steps of the format.
    """

    codes: int
    different: int
    largest: float


def compare_layers(model: QuantizedModel, network: IntegerNetwork, images: np.ndarray) -> dict[str, Agreement]:
    """Compare the codes of a quantized model with those of its integer network.

    Every layer with weights is compared, and the last layer. If float32 does not hold all sums of `network`, `model` is
    simulated in float64. An average is compared as the float nearest to its exact quotient.

    Args:
        model: The quantized model.
        network: What `lower` returned for it.
        images: Pixels, integers (n, height, width, channels), as `network.run` takes them.

    Returns:
        Layer name -> agreement.

    Raises:
        InputError: as `network.run`.
    """
    if network.beyond_float32 or any(_softened(layer) for layer in model.layers):
        model = simulation(model, "float64" if network.beyond_float32 else "float32")
    names = [name for name in network.outputs if model.get_layer(name).weights]
    names += [name for name in [model.layers[-1].name] if name in network.outputs and name not in names]
    read, totals = extractor(model, names), {name: Agreement(0, 0, 0.0) for name in names}
    for start in range(0, len(images), network.batch):
        pixels = images[start : start + network.batch]
        codes = network.trace(pixels)
        floats = (pixels.astype(np.float64) - np.asarray(network.mean)) * _scale(network)
        for name, found in read(floats.astype(np.float32)).items():
            tensor = network.tensors[network.outputs[name]]
            totals[name] = _joined(totals[name], _agreement(tensor, codes[name].reshape(found.shape), found))
    return totals


def program_runners(network: IntegerNetwork) -> dict[str, Runner]:
    """Return other programs that must compute the codes of `network.run`.

    Args:
        network: An integer network.

    Returns:
        Name -> runner: "ONNX Runtime" and, if this machine has a C compiler, "C".

    Raises:
        InputError: as `to_integer_onnx` and `write_c`.
    """
    from fewbits.deploy import onnx, onnx_integer

    found: dict[str, Runner] = {
        "ONNX Runtime": onnx.ONNXRunner(onnx_integer.to_integer_onnx(network).SerializeToString())
    }
    if find_compiler():
        found["C"] = CRunner(network)
    return found


def compare_program(codes: np.ndarray, program: Runner, images: np.ndarray) -> Agreement:
    """Compare the codes that a program computes with those of the integer network.

    Args:
        codes: What `network.run` returns for `images`.
        program: A runner; it gets one image at a time.
        images: Pixels, integers (n, height, width, channels).

    Returns:
        The agreement of all codes.
    """
    theirs = np.array([program.run(image) for image in images]).reshape(codes.shape)
    gaps = np.abs(theirs - codes)
    return Agreement(codes.size, int((gaps > 0).sum()), float(gaps.max()))


def to_pixels(network: IntegerNetwork, images: np.ndarray) -> np.ndarray:
    """Return the pixels that stand for scaled images.

    Args:
        network: An integer network, whose levels and mean are used.
        images: Floats (n, height, width, channels) as the Keras model takes them: (pixel - mean) / levels.

    Returns:
        Integers (n, height, width, channels), uint8 if there are at most 256 levels.

    Raises:
        InputError: when the images are not pixels that were scaled in this way.
    """
    levels = round(1 / _scale(network))
    exact = np.asarray(images, np.float64) * levels + np.asarray(network.mean)
    pixels = np.rint(exact).astype(np.int64)
    if (pixels != exact).any() or pixels.min() < 0 or pixels.max() >= levels:
        raise InputError(
            f"the images are not (pixel - mean) / {levels} for pixels of {levels} levels and a mean of "
            f"{', '.join(map(str, network.mean))}; give the levels and the mean that they were scaled with"
        )
    return pixels.astype(np.uint8) if levels <= 256 else pixels


def simulation(model: QuantizedModel, dtype: str = "float64") -> QuantizedModel:
    """Return a copy of `model` that computes in `dtype` and has no softmax in its last layer.

    Args:
        model: The quantized model; the copy has its formats and weights.
        dtype: "float32", which holds integers up to 2**24, or "float64", up to 2**53.

    Returns:
        The copy.
    """

    def replaced(layer):
        return clone(layer, dtype=dtype, **({"activation": "linear"} if _softened(layer) else {}))

    same = rebuild(model, replaced)
    same.set_weights(model.get_weights())
    return QuantizedModel(same.input, same.output, name=model.name)


def _scale(network: IntegerNetwork) -> float:
    """Return what a step of the image stands for: 1 / levels."""
    return float(to_values(network.image, np.ones(())))


def _softened(layer: keras.Layer) -> bool:
    return getattr(layer, "activation", None) is keras.activations.softmax


def to_values(tensor: Tensor, codes: np.ndarray) -> np.ndarray:
    """Return the values that codes stand for.

    Args:
        tensor: The tensor that holds the codes.
        codes: Integers (n, ...), channels last.

    Returns:
        Values (float64) of the same shape.
    """
    return codes * np.exp2(np.asarray(tensor.exponent, float)) / tensor.divisor


def _agreement(tensor, codes, floats):
    step = 2.0**tensor.exponent / tensor.divisor
    gaps = np.abs(to_values(tensor, codes).astype(floats.dtype).astype(np.float64) - floats) / step
    return Agreement(codes.size, int((~(gaps == 0)).sum()), float(gaps.max()))  # NaN counts as different


def _joined(a, b):
    return Agreement(a.codes + b.codes, a.different + b.different, max(a.largest, b.largest))

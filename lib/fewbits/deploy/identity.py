"""Whether a network of integers computes what the quantized Keras model does, and programs what it computes."""

from typing import NamedTuple

import numpy as np

from fewbits.backend import keras
from fewbits.costs.latency import Runner
from fewbits.deploy.compiled import CRunner, find_compiler
from fewbits.deploy.integer import IntegerNetwork
from fewbits.deploy.operations import Tensor
from fewbits.errors import InputError
from fewbits.graph import rebuild
from fewbits.inspection.extraction import extractor
from fewbits.quantization.conversion import QuantizedModel


class Agreement(NamedTuple):
    """How the codes of a layer agree: how many there are, how many differ, and the largest difference in steps."""

    codes: int
    different: int
    largest: float


def compare_layers(model: QuantizedModel, network: IntegerNetwork, images) -> dict[str, Agreement]:
    """Return layer name -> Agreement between `model` and its `network`, on `images`, integers as `network.run` takes.

    Every layer with weights is compared, and the last. Where float32 does not hold all sums of `network`, `model` is
    simulated in float64. An average is compared as the float that is nearest to its exact quotient. Raises InputError
    as `network.run`.
    """
    if network.beyond_float32 or any(_softened(layer) for layer in model.layers):
        model = simulation(model, "float64" if network.beyond_float32 else "float32")
    names = [name for name in network.outputs if model.get_layer(name).weights]
    names += [name for name in [model.layers[-1].name] if name in network.outputs and name not in names]
    read, totals = extractor(model, names), {name: Agreement(0, 0, 0.0) for name in names}
    for start in range(0, len(images), network.batch):
        pixels = images[start : start + network.batch]
        codes = network.trace(pixels)
        floats = (pixels.astype(np.float64) - np.asarray(network.mean)) * 2.0**network.image.exponent
        for name, found in read(floats.astype(np.float32)).items():
            tensor = network.tensors[network.outputs[name]]
            totals[name] = _joined(totals[name], _agreement(tensor, codes[name].reshape(found.shape), found))
    return totals


def program_runners(network: IntegerNetwork) -> dict[str, Runner]:
    """Return name -> program, at work, that must make the codes of `network.run`: in ONNX Runtime and, where this
    machine has a compiler, in C. Raises InputError as `onnx_integer.convert`.
    """
    from fewbits.deploy import onnx, onnx_integer

    found = {"ONNX Runtime": onnx.ONNXRunner(onnx_integer.to_integer_onnx(network).SerializeToString())}
    return found | ({"C": CRunner(network)} if find_compiler() else {})


def compare_program(codes, program: Runner, images) -> Agreement:
    """Return how the codes that `program` makes of `images`, one by one, agree with those of `network.run`."""
    theirs = np.array([program.run(image) for image in images]).reshape(codes.shape)
    gaps = np.abs(theirs - codes)
    return Agreement(codes.size, int((gaps > 0).sum()), float(gaps.max()))


def to_pixels(network: IntegerNetwork, images) -> np.ndarray:
    """Return the integers that `network` takes for `images` as Keras takes them; InputError where those are none."""
    exact = np.asarray(images, np.float64) * 2.0**-network.image.exponent + np.asarray(network.mean)
    pixels = np.rint(exact).astype(np.int64)
    levels = 2**-network.image.exponent
    if (pixels != exact).any() or pixels.min() < 0 or pixels.max() >= levels:
        raise InputError(
            f"the images are no pixels of {levels} values over {levels}, less a mean of "
            f"{', '.join(map(str, network.mean))}; give the levels and the mean with which they were scaled"
        )
    return pixels.astype(np.uint8) if levels <= 256 else pixels


def simulation(model: QuantizedModel, dtype: str = "float64") -> QuantizedModel:
    """Return `model`, the same formats and weights, computing in `dtype` and without a softmax in its last layer.

    float32 holds integers up to 2**24, float64 up to 2**53.
    """

    def clone(layer):
        config = layer.get_config() | {"dtype": dtype}
        if _softened(layer):
            config["activation"] = "linear"
        return type(layer).from_config(config)

    same = rebuild(model, clone)
    same.set_weights(model.get_weights())
    return QuantizedModel(same.input, same.output, name=model.name)


def _softened(layer) -> bool:
    return getattr(layer, "activation", None) is keras.activations.softmax


def to_values(tensor: Tensor, codes) -> np.ndarray:
    """Return what integer `codes` on `tensor` stand for, in float64."""
    return codes * np.exp2(np.asarray(tensor.exponent, float)) / tensor.divisor


def _agreement(tensor, codes, floats):
    step = 2.0**tensor.exponent / tensor.divisor
    gaps = np.abs(to_values(tensor, codes).astype(floats.dtype).astype(np.float64) - floats) / step
    return Agreement(codes.size, int((~(gaps == 0)).sum()), float(gaps.max()))  # NaN differs, too


def _joined(a, b):
    return Agreement(a.codes + b.codes, a.different + b.different, max(a.largest, b.largest))

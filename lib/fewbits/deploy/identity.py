"""Do an integer network, the quantized Keras model and other programs compute the same codes?"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fewbits.backend import keras
from fewbits.costs.latency import Runner
from fewbits.deploy.compiled import CRunner, find_compiler
from fewbits.deploy.integer import IntegerNetwork
from fewbits.deploy.operations import Tensor
from fewbits.errors import InputError
from fewbits.graph import Call, Graph, clone, copy_weights, rebuild
from fewbits.inspection.extraction import extractor
from fewbits.quantization.activations import ACTIVATIONS
from fewbits.quantization.conversion import QuantizedModel
from fewbits.quantization.placement import ON_GRID


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


def compare_layers(model: QuantizedModel, network: IntegerNetwork, images: Any) -> dict[str, Agreement]:
    """Compare the codes of a quantized model with those of its integer network.

    Every layer with weights is compared, and all outputs. If float32 does not hold all sums of `network`, `model` is
    simulated in float64. An average is compared as the float nearest to its exact quotient, or as the product with the
    reciprocal that TensorFlow computes in its place.

    Args:
        model: The quantized model.
        network: What `lower` returned for it.
        images: Pixels, integers (n, height, width, channels), as `network.run` takes them; a list if it takes one.

    Returns:
        Layer name -> agreement.

    Raises:
        InputError: as `network.run`.
    """
    model = simulation(model, "float64") if network.beyond_float32 else before_heads(model)
    names = [name for name in network.outputs if model.get_layer(name).weights]
    graph = Graph(model)
    ends = {call.name for call in map(graph.made_by, graph.outputs) if len(graph.calls_of(call.operation)) == 1}
    names += sorted(ends & network.outputs.keys() - set(names))
    read, totals = extractor(model, names), {name: Agreement(0, 0, 0.0) for name in names}
    several = len(network.inputs) > 1
    arrays = images if several else [images]
    for start in range(0, len(arrays[0]), network.batch):
        pixels = [array[start : start + network.batch] for array in arrays]
        codes = network.trace(pixels if several else pixels[0])
        scaled = ((x.astype(np.float64) - np.asarray(mean)) * _scale(network) for x, mean in zip(pixels, network.means))
        floats: Any = [x.astype(np.float32) for x in scaled]
        for name, found in read(floats if several else floats[0]).items():
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


def compare_program(codes: Any, program: Runner, images: Any) -> Agreement:
    """Compare the codes that a program computes with those of the integer network.

    Args:
        codes: What `network.run` returns for `images`.
        program: A runner; it gets one image at a time. One of a network with several inputs or outputs has `run_all`.
        images: Pixels, integers (n, height, width, channels); a list if the network has several inputs.

    Returns:
        The agreement of all codes.
    """
    ours = codes if isinstance(codes, list) else [codes]
    return compare_codes(ours, run_program(program, images, len(ours)))


def compare_codes(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> Agreement:
    """Compare codes of the same outputs.

    Args:
        ours: An array per output.
        theirs: The same, in any shape.

    Returns:
        The agreement of all codes.
    """
    gaps = np.concatenate([np.abs(a.reshape(b.shape) - b).ravel() for a, b in zip(theirs, ours, strict=True)])
    return Agreement(gaps.size, int((gaps > 0).sum()), float(gaps.max()))


def run_program(program: Runner, images: Any, outputs: int = 1) -> list[np.ndarray]:
    """Return every output of a program for images.

    Args:
        program: As in `compare_program`.
        images: As in `compare_program`.
        outputs: How many the network has.

    Returns:
        An array (n, ...) per output.
    """
    if outputs == 1 and not isinstance(images, list):
        return [np.array([program.run(image) for image in images])]
    every, run_all = images if isinstance(images, list) else [images], getattr(program, "run_all")  # noqa: B009
    return [np.stack(x) for x in zip(*(run_all(*of_each) for of_each in zip(*every)))]


def to_pixels(network: IntegerNetwork, images: Any) -> Any:
    """Return the pixels that stand for scaled images.

    Args:
        network: An integer network, whose levels and mean are used.
        images: Floats (n, height, width, channels) as the Keras model takes them: (pixel - mean) / divisor. A list if
            the network has several inputs.

    Returns:
        Integers (n, height, width, channels), uint8 if there are at most 256 levels; a list as `images` is one.

    Raises:
        InputError: when the images are not pixels that were scaled in this way.
    """
    if len(network.inputs) == 1:
        return _as_pixels(network, images, network.mean)
    return [_as_pixels(network, array, mean) for array, mean in zip(images, network.means, strict=True)]


def _as_pixels(network, images, mean):
    divisor, levels = round(1 / _scale(network)), network.image.high + min(network.mean) + 1
    exact = np.asarray(images, np.float64) * divisor + np.asarray(mean)
    pixels = np.rint(exact).astype(np.int64)
    if (pixels != exact).any() or pixels.min() < 0 or pixels.max() >= levels:
        raise InputError(
            f"the images are not (pixel - mean) / {divisor} for pixels of {levels} levels and a mean of "
            f"{', '.join(map(str, mean))}; give the levels, the mean and the divisor that they were scaled with"
        )
    return pixels.astype(np.uint8) if levels <= 256 else pixels


def simulation(model: QuantizedModel, dtype: str = "float64") -> QuantizedModel:
    """Return a copy of `model` that computes in `dtype`, without softmax or other activations at its outputs.

    Args:
        model: The quantized model; the copy has its formats and weights.
        dtype: "float32", which holds integers up to 2**24, or "float64", up to 2**53.

    Returns:
        The copy.
    """
    graph = Graph(model)
    heads = [call for call in map(graph.made_by, graph.outputs) if _is_head(graph, call)]
    layers = {id(call.operation) for call in heads if call.operation.weights}
    absorbed = {id(call.outputs[0]) for call in heads if not call.operation.weights}

    def replaced(layer):
        return clone(layer, dtype=dtype, **({"activation": "linear"} if id(layer) in layers else {}))

    def apply(call, layer, *args, **kwargs):
        return args[0] if id(call.outputs[0]) in absorbed else layer(*args, **kwargs)

    same = rebuild(model, replaced, apply)
    copy_weights(model, same)
    return same


def before_heads(model: QuantizedModel) -> QuantizedModel:
    """Return `model` without softmax or other activations at its outputs.

    Args:
        model: A quantized model.

    Returns:
        A copy, or `model` itself if it has none.
    """
    graph = Graph(model)
    return simulation(model, "float32") if any(_is_head(graph, graph.made_by(x)) for x in graph.outputs) else model


def _scale(network: IntegerNetwork) -> float:
    """Return what a step of the image stands for: 1 / divisor."""
    return float(to_values(network.image, np.ones(())))


def _is_head(graph: Graph, call: Call) -> bool:
    """Return whether a call makes an output of the network by an activation after which there is no grid."""
    layer = call.operation
    if graph.readers(call.outputs[0]) or isinstance(layer, tuple(ACTIVATIONS.values())):
        return False
    return isinstance(layer, keras.layers.Softmax) or getattr(layer, "activation", None) not in ON_GRID


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
    dividend = to_values(replace(tensor, divisor=1), codes).astype(floats.dtype)
    quotients = dividend / floats.dtype.type(tensor.divisor), dividend * (1 / floats.dtype.type(tensor.divisor))
    gaps = np.minimum(*(np.abs(x.astype(np.float64) - floats) for x in quotients)) / step
    return Agreement(codes.size, int((~(gaps == 0)).sum()), float(gaps.max()))  # NaN counts as different


def _joined(a, b):
    return Agreement(a.codes + b.codes, a.different + b.different, max(a.largest, b.largest))

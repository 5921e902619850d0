"""What the layers of a network compute on some images: the values themselves, layer by layer."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.data.inputs import Images, input_arrays
from fewbits.quantization.float_network import FloatNetwork, as_float
from fewbits.quantization.layer_summary import LayerSummary
from fewbits.quantization.layerwise import LayerwiseRun
from fewbits.quantization.unseen import UnseenRanges
from fewbits.quantization.value_summary import ValueSummary

BATCH = 32  # images per pass


@dataclass(frozen=True)
class Values:
    """What a layer computes with on some images.

    Attributes:
        kernel: The kernel, in the shape that the layer has; the slope of a leaky activation, None for other ones.
        input: The inputs, (n, ...), before they are quantized.
        output: What reaches the output quantizer, (n, ...).
    """

    kernel: Any
    input: np.ndarray
    output: np.ndarray


def observe(model: keras.Model, images: Images, batch_size: int = BATCH) -> Iterator[tuple[str, Values]]:
    """Yield the Values of each layer with a kernel, as the float network computes them on `images`.

    The network runs layer by layer, on all images at once. What is still to be read of their tensors is in memory, so
    some tens of images are enough.

    Args:
        model: A model that `quantize_model` accepts, quantized or not.
        images: As in `input_arrays`, n at least 1: an array (n, height, width, channels), or one per input in a list or
            dictionary, or a data set, of which the first 256 images are taken.
        batch_size: Images per pass.

    Yields:
        Layer name and Values. The output includes the bias, unless a quantized layer adds its bias after its output
        quantizer.

    Raises:
        InputError: when there are no images, images that are not finite or do not fit the inputs, a layer that is used
            several times, or, naming the layer, values that no format can hold.
    """
    network = FloatNetwork(model, with_activations=False)
    run = layerwise_run(network, input_arrays(network.model, images), batch_size)
    for layer, values in observed_values(network, run):
        yield layer.name, values


def observe_ranges(model: keras.Model, images: Images) -> Iterator[tuple[keras.Layer, Values]]:
    """Yield the Values from which formats follow: those of `observe`, and estimates where a layer computes only zeros.

    If the inputs of a layer are zeros on all images, they are taken to spread evenly over what the layers before can
    pass on, as far as their own values tell, and the outputs over what the kernel makes of that. The same holds after
    such a layer, where inputs are the same on all images. If the whole kernel is zero, it is taken for ones, and
    outputs of zeros for copies of the inputs. A warning names these layers.

    Args:
        model: As in `observe`.
        images: As in `observe`.

    Yields:
        Each layer to quantize as a plain Keras layer, activations included, and its Values.

    Raises:
        InputError: as `observe`.
    """
    network = FloatNetwork(model)
    inputs = input_arrays(network.model, images)
    run = layerwise_run(network, inputs)
    unseen = UnseenRanges(network.graph, run.shapes, map(ValueSummary.of, inputs))
    for layer, values in observed_values(network, run):
        yield layer, replace(values, **unseen.estimates(summarized(network, layer, values)))
    unseen.warn(stacklevel=3)


def layerwise_run(network: FloatNetwork, inputs: Sequence[np.ndarray], batch_size: int = BATCH) -> LayerwiseRun:
    """Return the run of a float network on some images, of which nothing is computed yet.

    Args:
        network: The network.
        inputs: One array (n, ...) per input.
        batch_size: Images per pass.
    """
    n = len(inputs[0])
    return LayerwiseRun(network.model, [[x[i : i + batch_size] for x in inputs] for i in range(0, n, batch_size)])


def observed_values(network: FloatNetwork, run: LayerwiseRun) -> Iterator[tuple[Any, Values]]:
    """Yield each layer of a float network and its Values.

    Args:
        network: The network.
        run: As from `layerwise_run`.

    Raises:
        InputError: when no format can hold the values; the message names the layer.
    """
    for layer in network.layers:
        [call] = run.graph.calls_of(layer)
        read = [ops.cast(x, layer.compute_dtype) for x in run.read(call.inputs[0])]
        outputs = [network.output_of(layer, x) for x in read]
        values = Values(network.kernel_of(layer), _joined(map(as_float, read)), _joined(outputs))
        summarized(network, layer, values).check()
        yield layer, values


def summarized(network: FloatNetwork, layer: Any, values: Values) -> LayerSummary:
    """Return the Values of a layer with summaries of its inputs and outputs, in which all are kept.

    Args:
        network: The network.
        layer: One of its layers.
        values: The Values of the layer.
    """
    read, made = ValueSummary.of(values.input), ValueSummary.of(values.output)
    return LayerSummary(layer, values.kernel, read, made, network.ceiling_of(layer))


def _joined(batches: Iterable) -> np.ndarray:
    return np.concatenate([ops.convert_to_numpy(batch) for batch in batches])

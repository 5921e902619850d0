"""Summaries of what the layers of a network compute on images, however many: one pass, batch by batch.

The float network runs as one compiled function, which returns each tensor that a layer reads or passes to its output
quantizer, once. A batch is as large as these tensors allow; when their values have been noted, they are dropped.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from math import prod
from typing import Any

import numpy as np

from fewbits.backend import compile_batches, keras, ops
from fewbits.data.inputs import STREAMED, Images, input_arrays, input_batches, is_stream
from fewbits.errors import InputError
from fewbits.quantization.float_network import FloatNetwork, as_float
from fewbits.quantization.layer_summary import LayerSummary
from fewbits.quantization.layerwise import apply_call, image_shapes
from fewbits.quantization.observation import BATCH, layerwise_run, observed_values, summarized
from fewbits.quantization.range_rules import SAMPLED
from fewbits.quantization.same_values import ClippedOutput, clipped_outputs
from fewbits.quantization.unseen import UnseenRanges
from fewbits.quantization.value_summary import ValueSummary

HELD = 1 << 27  # values of all layers on all images up to which all are kept, 0.5 GB
AT_ONCE = 1 << 27  # values of all layers on a batch

Progress = Callable[[int], None]


def layer_summaries(
    model: keras.Model,
    images: Images,
    most: int = STREAMED,
    progress: Progress | None = None,
    estimates: bool = True,
) -> Iterator[LayerSummary]:
    """Yield a summary of what each layer computes on some images; where they show nothing, estimates.

    On few images, up to HELD values of all layers, the summaries keep all values, so whatever follows from them is
    exact. On more, the network runs batch by batch, and memory does not depend on the number of images; ValueSummary
    says what is exact then.

    Args:
        model: A model that `quantize_model` accepts, quantized or not.
        images: As in `observe`.
        most: How many images of a data set or another stream are read at most.
        progress: Called with the number of images that have been seen, after each batch.
        estimates: Whether to estimate, as `observe_ranges` does and with its warning, what images do not show.

    Yields:
        The summary of each layer to quantize, activations included.

    Raises:
        InputError: as `observe`.
    """
    network = FloatNetwork(model)
    if is_stream(network.model, images) and most > STREAMED:
        count, batches = None, _first(input_batches(network.model, images), most)
        first = next(batches, None) or input_arrays(network.model, images)  # which refuses that there are none
    else:
        first, batches = input_arrays(network.model, images, most=most), iter(())
        count = len(first[0])
    shapes = image_shapes(network.model, first)
    size = _size(network, shapes)
    if count and count * size <= HELD:
        inputs, summaries = [*map(ValueSummary.of, first)], _held(network, first, progress)
    else:
        streamed = _Pass(network, first, count)
        streamed.run(_parts(chain([first], batches), max(1, min(BATCH, AT_ONCE // size))), progress)
        inputs, summaries = streamed.inputs, streamed.summaries()
    unseen = UnseenRanges(network.graph, shapes, inputs)
    for summary in summaries:
        yield summary.with_estimates(unseen.estimates(summary)) if estimates else summary
    unseen.warn(stacklevel=3)


def _first(batches: Iterable[list[np.ndarray]], most: int) -> Iterator[list[np.ndarray]]:
    """Yield batches of at most `most` images together, all of one size."""
    seen, shapes = 0, None
    for batch in batches:
        shapes = shapes or [x.shape[1:] for x in batch]
        if shapes != [x.shape[1:] for x in batch]:
            raise InputError("the images are of different sizes; resize them to one")
        yield [x[: most - seen] for x in batch]
        seen += len(batch[0])
        if seen >= most:
            return


def _parts(batches: Iterable[list[np.ndarray]], size: int) -> Iterator[list[np.ndarray]]:
    """Yield batches of at most `size` images."""
    for batch in batches:
        for i in range(0, len(batch[0]), size):
            yield [x[i : i + size] for x in batch]


def _size(network: FloatNetwork, shapes: dict[int, tuple[int, ...]]) -> int:
    """Return how many values the layers of a network read and pass to their output quantizers, for one image."""
    sizes: dict[int, int] = {}
    for layer in network.layers:
        [call] = network.graph.calls_of(layer)
        sizes |= {id(tensor): prod(shapes[id(tensor)][1:]) for tensor in (*call.inputs, *call.outputs)}
    return sum(sizes.values())


def _held(network: FloatNetwork, inputs: Sequence[np.ndarray], progress: Progress | None) -> Iterator[LayerSummary]:
    """Yield the summary of each layer, in which all values are kept."""
    for layer, values in observed_values(network, layerwise_run(network, inputs)):
        yield summarized(network, layer, values)
    if progress:
        progress(len(inputs[0]))


class _Pass:
    """A pass of images through a float network, and the summaries of its tensors."""

    def __init__(self, network: FloatNetwork, inputs: Sequence[np.ndarray], count: int | None):
        """Begin without images.

        Args:
            network: The network.
            inputs: Arrays (n, ...) of the size that its inputs will have.
            count: How many images there will be, if that is known.
        """
        self._network, self._count = network, count
        self._place: dict[tuple[str, str], int] = {}  # of the tensor of a layer and kind
        self._parts: dict[int, list[ClippedOutput]] = {}  # place of a tensor -> the outputs that tell its counts
        self._tensors: list[ValueSummary] = []
        self._function = compile_batches(self._observed, [x.shape[1:] for x in inputs])

    def run(self, batches: Iterable[list[np.ndarray]], progress: Progress | None) -> None:
        """Take note of what the network computes on batches of images."""
        done = 0
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for batch in batches:
                tensors = [np.asarray(tensor) for tensor in self._function(*batch)]
                self._tensors = self._tensors or [
                    ValueSummary(self._stride(x), counted=i not in self._parts) for i, x in enumerate(tensors)
                ]
                list(pool.map(ValueSummary.add, self._tensors, tensors))
                done += len(batch[0])
                if progress:
                    progress(done)
        for i, parts in self._parts.items():
            made = [(self._tensors[self._place[part.layer.name, "output"]], part.low, part.high) for part in parts]
            self._tensors[i].take_counts(made)

    @property
    def inputs(self) -> list[ValueSummary]:
        """The summaries of the inputs of the network."""
        return [self._tensors[self._place["", x.name]] for x in self._network.graph.inputs]

    def summaries(self) -> Iterator[LayerSummary]:
        """Yield the summary of each layer after a check that formats can hold its values."""
        for layer in self._network.layers:
            read, made = (self._tensors[self._place[layer.name, kind]] for kind in ("input", "output"))
            kernel, ceiling = self._network.kernel_of(layer), self._network.ceiling_of(layer)
            summary = LayerSummary(layer, kernel, read, made, ceiling)
            summary.check()
            yield summary

    def _stride(self, values: np.ndarray) -> int | None:
        """Return at which steps a sample of the values of a tensor is taken, the values of a batch given."""
        return self._count and max(1, self._count * (values.size // len(values)) // SAMPLED)

    def _observed(self, *images: Any) -> list[Any]:
        """Return each tensor that is to be noted, once, for a batch of images, and note its place; traced once."""
        graph, layers = self._network.graph, {id(layer) for layer in self._network.layers}
        found = {("", x.name): as_float(x_) for x, x_ in zip(graph.inputs, images)}
        values = {id(x): ops.cast(x_, x.dtype) for x, x_ in zip(graph.inputs, images)}
        for call in graph.calls:
            if id(call.operation) in layers:
                layer: Any = call.operation
                read = ops.cast(values[id(call.inputs[0])], layer.compute_dtype)
                output = self._network.output_of(layer, read)
                found |= {(layer.name, "input"): as_float(read), (layer.name, "output"): output}
                values[id(call.outputs[0])] = self._network.passed_on(layer, output)
            elif not call.is_input:
                values |= {id(x): value for x, value in zip(call.outputs, apply_call(call, values))}
        different = list({id(x): x for x in found.values()}.values())
        place = {id(x): i for i, x in enumerate(different)}
        self._place = {key: place[id(x)] for key, x in found.items()}
        self._parts = self._copies()
        return different

    def _copies(self) -> dict[int, list[ClippedOutput]]:
        """Return the places of the inputs of layers that other layers' outputs, which are noted, make up; and these."""
        counted = {place for (_, kind), place in self._place.items() if kind != "input"}
        parts = {}
        for layer in self._network.layers:
            [call] = self._network.graph.calls_of(layer)
            place = self._place[layer.name, "input"]
            found = clipped_outputs(self._network, call.inputs[0])
            if found and layer.compute_dtype == "float32" and place not in counted:
                parts[place] = found
        return parts

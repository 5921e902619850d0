"""The noise that the bits of each stored tensor alone add to the logits: how sensitive a network is to each.

One tensor is rounded, all others stay in float, and the logits move. Small errors of independent origin add in power,
so the noise of a network with any bits is about the sum of these: backstrom2018, Equation 8, at the logits and not
layer by layer. `LogitNoise.measured_sqnr` tells how far that holds for given bits.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf, log10
from typing import NamedTuple

import numpy as np

from fewbits.backend import keras
from fewbits.data.inputs import Images, input_arrays
from fewbits.errors import InputError, check_integer
from fewbits.graph import Graph, ends
from fewbits.names import LEAST_ERROR
from fewbits.post_training.copies import copied
from fewbits.quantization.calibration import formats_for_each
from fewbits.quantization.conversion import QuantizedModel
from fewbits.quantization.fixedpoint import MAX_ABS_MSB, MAX_NBITS_KERAS, FixedPoint
from fewbits.quantization.layers import FLOAT, Formats
from fewbits.search.budgets import Allocation
from fewbits.search.storage import ACTIVATION, StoredTensor, stored_tensors
from fewbits.training.heads import head_of, logits_of

WIDTHS = (2, 3, 4, 5, 6, 8)
BATCH = 1_250_000  # values of images per batch, 8 photographs: about what a CPU's cache holds of their activations

SUFFIXES = 5  # of a network; more save little, because each is traced

LayerFormats = Mapping[str, Formats]


@dataclass(frozen=True)
class LogitNoise:
    """What each tensor of a network adds to the logits at each number of bits, alone.

    Attributes:
        network: The network, in float.
        tensors: What it stores.
        signal: Mean square of the float logits.
        noise: Name of a tensor -> bits -> mean square of the error that it adds to the logits.
        formats: Name of a tensor -> bits -> the formats of its places.
        run: Computes logits with given formats.
    """

    network: QuantizedModel
    tensors: tuple[StoredTensor, ...]
    signal: float
    noise: dict[str, dict[int, float]]
    formats: dict[str, dict[int, tuple]]
    run: "LogitRun" = field(repr=False)

    @property
    def widths(self) -> tuple[int, ...]:
        """The numbers of bits that were measured, the fewest first."""
        return tuple(sorted(next(iter(self.noise.values()))))

    def everywhere(self, bits: int) -> Allocation:
        """Return an allocation that gives all tensors the same bits.

        Args:
            bits: One of `widths`.
        """
        return {tensor.name: bits for tensor in self.tensors}

    def sqnr_alone(self, name: str, bits: int) -> float:
        """Return the SQNR of the logits in dB if one tensor has these bits, and all others are float.

        Args:
            name: Of the tensor.
            bits: One of `widths`.
        """
        return _decibels(self.signal, self.noise[name][bits])

    def predicted_sqnr(self, bits: Allocation) -> float:
        """Return the SQNR of the logits in dB if the noises of all tensors add.

        Args:
            bits: Of all tensors.
        """
        return _decibels(self.signal, sum(self.noise[name][n] for name, n in bits.items()))

    def measured_sqnr(self, bits: Allocation) -> float:
        """Return the SQNR of the logits in dB with these bits, on the images on which the noises were measured.

        Args:
            bits: Of all tensors.
        """
        return _decibels(self.signal, self.run.noise(self.layer_formats(bits)))

    def layer_formats(self, bits: Allocation) -> dict[str, Formats]:
        """Return layer name -> formats, for `QuantizedModel.set_formats`.

        Args:
            bits: Of all tensors.
        """
        formats = dict(self.run.slopes)
        for tensor in self.tensors:
            _put(formats, tensor, self.formats[tensor.name][bits[tensor.name]])
        return formats

    def quantized(self, bits: Allocation) -> QuantizedModel:
        """Return a copy of the network with these bits.

        Args:
            bits: Of all tensors.
        """
        network = copied(self.network)
        network.set_formats(self.layer_formats(bits))
        network.set_level(network.levels)
        return network


class _Suffix(NamedTuple):
    """The rest of a network after a tensor on which all of it depends.

    Attributes:
        first: Number of the first call of the network that it makes.
        model: From the tensor, or the inputs of the network, to the logits.
        given: The float value of what it reads, one array each.
    """

    first: int
    model: keras.Model
    given: list[np.ndarray]


class LogitRun:
    """A network on some images, whose float logits are known.

    Nothing is traced again when formats change, and only what follows the first layer that rounds is run again, from
    one of a few places on.

    Attributes:
        signal: Mean square of the float logits.
        slopes: Layer name -> formats of leaky activations with nothing but their slope.
    """

    def __init__(self, network: QuantizedModel, images: Images, slopes: LayerFormats):
        """Compute the float logits.

        Args:
            network: The quantized network; the run sets its formats.
            images: As in `input_arrays`.
            slopes: As the attribute.
        """
        self.slopes, self._network = dict(slopes), network
        arrays = input_arrays(network, images)
        self._batch = max(1, BATCH * len(arrays[0]) // sum(array.size for array in arrays))
        network.set_level(network.levels)
        network.set_formats(FLOAT)
        self._set: set[str] = set()
        model = _with_logits(network)
        whole = _Suffix(0, model, arrays)
        self._place = {call.name: i for i, call in enumerate(Graph(model).calls)}
        self._suffixes = [whole, *self._cut(whole)]
        self._exact = self._outputs(whole)
        self.signal = _mean_square(self._exact)

    def noise(self, formats: LayerFormats) -> float:
        """Return the mean square of the error of the logits with these formats, and float in all other layers.

        Args:
            formats: Layer name -> Formats.
        """
        self._network.set_formats(dict.fromkeys(self._set - formats.keys(), FLOAT) | dict(formats))
        self._set = set(formats)
        first = min((self._place[name] for name in formats), default=0)
        suffix = [each for each in self._suffixes if each.first <= first][-1]
        return _mean_square([found - exact for found, exact in zip(self._outputs(suffix), self._exact)])

    def _cut(self, whole: _Suffix) -> list[_Suffix]:
        """Return suffixes of the network, evenly spread over the places where it hangs on one tensor."""
        cuts = list(_cuts(Graph(whole.model)))
        cuts = [cuts[len(cuts) * i // SUFFIXES] for i in range(1, SUFFIXES)] if len(cuts) >= SUFFIXES else []
        if not cuts:
            return []
        values = self._outputs(whole._replace(model=keras.Model(whole.model.inputs, [tensor for _, tensor in cuts])))
        return [
            _Suffix(first, keras.Model(tensor, whole.model.outputs), [value])
            for (first, tensor), value in zip(cuts, values)
        ]

    def _outputs(self, suffix: _Suffix) -> list[np.ndarray]:
        structure, parts = ends(suffix.model)[0], []
        for i in range(0, len(suffix.given[0]), self._batch):
            given = keras.tree.pack_sequence_as(structure, [array[i : i + self._batch] for array in suffix.given])
            parts.append([np.asarray(y) for y in keras.tree.flatten(suffix.model.predict_on_batch(given))])
        return [np.concatenate(outputs) for outputs in zip(*parts)]


def _cuts(graph: Graph) -> Iterator[tuple[int, keras.KerasTensor]]:
    """Yield each tensor that alone connects the calls before with those after it, and the number of the next call."""
    number = {id(call): i for i, call in enumerate(graph.calls)}

    def last_use(tensor: keras.KerasTensor) -> float:
        return inf if graph.is_output(tensor) else max((number[id(call)] for call in graph.readers(tensor)), default=-1)

    needed = {id(tensor): last_use(tensor) for tensor in graph.inputs}
    for i, call in enumerate(graph.calls, 1):
        needed |= {id(tensor): last_use(tensor) for tensor in call.outputs}
        needed = {tensor: last for tensor, last in needed.items() if last >= i}
        if not call.is_input and [*needed] == [id(call.outputs[0])] and i < len(graph.calls):
            yield i, call.outputs[0]


def measure_logit_noise(
    network: QuantizedModel,
    images: Images,
    widths: Iterable[int] = WIDTHS,
    *,
    search_ranges: bool = True,
    signed: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> LogitNoise:
    """Measure the noise that each tensor of a network alone adds to the logits, at each number of bits.

    Kernels have an MSB per filter, and activations one format from writer to reader, both of least squared error. That
    of an activation loses its sign if this makes its noise fall, and its MSB then moves, up or else down, for as long
    as the noise falls: large values matter more to the logits than to a tensor's own error.

    Args:
        network: The quantized network; its formats and level do not matter, and it stays as it is.
        images: As in `input_arrays`, some tens; labels are not used.
        widths: Numbers of bits to measure.
        search_ranges: Whether the formats of activations change so that their noise falls.
        signed: Whether all formats are signed.
        progress: Called after each tensor with the number of tensors done and their total.

    Returns:
        The noises, and the formats with which they were measured.

    Raises:
        InputError: on bits out of range, and as `formats_for_each`.
    """
    wanted = sorted(set(widths))
    for bits in wanted:
        check_integer("the number of bits", bits, 1, MAX_NBITS_KERAS)
    if not wanted:
        raise InputError("there are no numbers of bits to choose from; give at least one")
    network = copied(network)
    three = [(bits,) * 3 for bits in wanted]
    tables = formats_for_each(network, images, three, LEAST_ERROR, per_channel=True, signed=signed)
    tensors = stored_tensors(network)
    slopes = {
        layer.name: Formats(kernel=tables[(wanted[-1],) * 3][layer.name].kernel)
        for layer in network.rounding_layers
        if layer not in network.quantized_layers
    }
    run = LogitRun(network, images, slopes)
    noise: dict[str, dict[int, float]] = {}
    formats: dict[str, dict[int, tuple]] = {}
    for done, tensor in enumerate(tensors, 1):
        noise[tensor.name], formats[tensor.name] = {}, {}
        for bits in wanted:
            start = _shared(tensor, tables[(bits,) * 3])
            found = _measured(run, tensor, start)
            if search_ranges and tensor.kind == ACTIVATION:
                found = _searched(run, tensor, found, may_be_unsigned=not signed)
            noise[tensor.name][bits], formats[tensor.name][bits] = found
        if progress:
            progress(done, len(tensors))
    return LogitNoise(network, tensors, run.signal, noise, formats, run)


def _shared(tensor: StoredTensor, formats: LayerFormats) -> tuple:
    """Return the formats of a tensor's places: of its writers and readers the one that holds what all readers read.

    An unsigned one removes negative values where they are written; its readers have seen none. A tensor that nobody
    reads, or that no layer writes, keeps the formats of its places.
    """
    own = [getattr(formats[name], kind) for name, kind in tensor.places]
    read = [fmt for fmt, (_, kind) in zip(own, tensor.places) if kind == "input"]
    if not 0 < len(read) < len(own):
        return tuple(own)
    signed = any(fmt.signed for fmt in read)
    msb = max(fmt.msb + (signed and not fmt.signed) for fmt in read)
    return (FixedPoint(msb, read[0].nbits, signed),) * len(own)


def _measured(run: LogitRun, tensor: StoredTensor, formats: tuple) -> tuple[float, tuple]:
    """Return the noise of a tensor with these formats of its places, and the formats."""
    return run.noise(_put({}, tensor, formats)), formats


def _searched(
    run: LogitRun, tensor: StoredTensor, start: tuple[float, tuple], may_be_unsigned: bool
) -> tuple[float, tuple]:
    """Return the least noise of a tensor when its formats lose their sign and their MSB moves, and the formats."""
    if may_be_unsigned and all(fmt.signed and fmt.msb > -MAX_ABS_MSB for fmt in start[1]):
        without_sign = tuple(FixedPoint(fmt.msb - 1, fmt.nbits, signed=False) for fmt in start[1])  # up to the same end
        start = min(start, _measured(run, tensor, without_sign), key=lambda found: found[0])
    best = start
    for step in (1, -1):
        while all(abs(fmt.msb + step) <= MAX_ABS_MSB for fmt in best[1]):
            moved = _measured(run, tensor, tuple(replace(fmt, msb=fmt.msb + step) for fmt in best[1]))
            if moved[0] >= best[0]:
                break
            best = moved
        if best is not start:
            break
    return best


def _put(formats: dict[str, Formats], tensor: StoredTensor, of_places: tuple) -> dict[str, Formats]:
    """Give the places of a tensor their formats, and return all formats."""
    for (name, kind), fmt in zip(tensor.places, of_places):
        formats[name] = formats.get(name, FLOAT)._replace(**{kind: fmt})
    return formats


def _with_logits(network: QuantizedModel) -> keras.Model:
    """Return a model of the same layers that computes logits; `network` itself if it has no softmax or sigmoid."""
    try:
        return logits_of(network) if head_of(network).activated else network
    except InputError:  # it is a network for something else
        return network


def _mean_square(outputs: list[np.ndarray]) -> float:
    return float(sum(np.mean(np.square(output, dtype=float)) for output in outputs))


def _decibels(signal: float, noise: float) -> float:
    if not noise:
        return inf
    return 10 * log10(signal / noise) if signal else -inf

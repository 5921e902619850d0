"""What of a network can be quantized, folded, pruned, lowered and exported, what cannot, and why."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from fewbits.backend import keras
from fewbits.deploy.coreml import write_coreml
from fewbits.deploy.hls4ml import check_hls4ml
from fewbits.deploy.litert import to_litert
from fewbits.deploy.lowering import lower
from fewbits.deploy.onnx import to_onnx
from fewbits.deploy.onnx_integer import to_integer_onnx
from fewbits.deploy.program import plan_program
from fewbits.deploy.qonnx import to_qonnx
from fewbits.errors import InputError
from fewbits.graph import Graph
from fewbits.names import KINDS
from fewbits.pruning.surgery import kept_whole, removable
from fewbits.quantization.canonical_form import canonical
from fewbits.quantization.conversion import TRAINING_ONLY, QuantizedModel, quantize_model, refusals
from fewbits.quantization.fixedpoint import FixedPoint
from fewbits.quantization.folding import foldings
from fewbits.quantization.layers import RoundingLayer, quantized_type
from fewbits.quantization.placement import placed, quantized_activations
from fewbits.quantization.preprocessing import foldable_preprocessing

PROVISIONAL = FixedPoint(0, 8), FixedPoint(3, 8), FixedPoint(3, 8)  # any formats do to see what can be exported
FOLDED = {
    "before": "folded into {0.layer}",
    "after": "folded into {0.layer}, which reads it",
    "own": "a convolution of its own: {0.reason}",
    "kept": "stays as it is: {0.reason}",
}


class LayerSupport(NamedTuple):
    """What can be done with one layer.

    Attributes:
        name: The name of the layer, in the form in which the network is quantized.
        kind: Its class.
        quantization: `quantized`, with its formats if it has any; `no quantizer of its own`; what becomes of a batch
            normalization or of preprocessing; or why it is refused.
        pruning: How many of its filters can be removed, or why none; empty if it has no filters.
    """

    name: str
    kind: str
    quantization: str
    pruning: str


def layer_support(model: keras.Model) -> list[LayerSupport]:
    """Return what can be done with each layer of a network.

    Args:
        model: A functional model, or a sequential one with an input.

    Returns:
        One entry per layer, and per operation that is no layer, in the order of the graph; nested models are opened.

    Raises:
        InputError: when `model` has no graph.
    """
    network = placed(canonical(model))
    refused, folded = refusals(network), _folded(network)
    rounding = quantized_activations(network)
    removed = [name for group in removable(network) for name, _ in group]
    whole = kept_whole(network)

    def support(layer: keras.Operation) -> LayerSupport:
        free = removed.count(layer.name)
        reason = whole.get(layer.name)
        pruning = f"{free} filters can be removed" if free else f"keeps all filters: {reason}" if reason else ""
        quantized = bool(quantized_type(layer)) or layer.name in rounding
        otherwise = "acts in training only" if isinstance(layer, TRAINING_ONLY) else "no quantizer of its own"
        kept = f"quantized{_formats_of(layer)}" if quantized else otherwise
        quantization = refused.get(layer.name) or folded.get(layer.name, kept)
        return LayerSupport(layer.name, type(layer).__name__.removeprefix("Quantized"), quantization, pruning)

    return [support(layer) for layer in Graph(network).operations if not isinstance(layer, keras.layers.InputLayer)]


def export_support(model: keras.Model) -> dict[str, str]:
    """Return which forms a network can take on devices.

    A network that is not quantized is quantized for this, with formats of eight bits.

    Args:
        model: As in `layer_support`; quantized or not.

    Returns:
        Form -> an empty string if the network can take it, or the reason why not and what to do.
    """
    try:
        quantized = model if isinstance(model, QuantizedModel) else _provisional(model)
    except InputError as error:
        return dict.fromkeys((INTEGERS, *_OF_INTEGERS, HLS4ML, *_EXPORTS), str(error))
    return _integer_support(quantized) | {form: _refusal(export, quantized) for form, export in _EXPORTS.items()}


def _integer_support(model: QuantizedModel) -> dict[str, str]:
    try:
        network = lower(model)
    except InputError as error:
        return dict.fromkeys((INTEGERS, *_OF_INTEGERS, HLS4ML), str(error))
    found = {form: _refusal(export, network) for form, export in _OF_INTEGERS.items()}
    return {INTEGERS: ""} | found | {HLS4ML: _refusal(check_hls4ml, model)}


def _core_ml(model: keras.Model) -> None:
    with TemporaryDirectory() as folder:
        write_coreml(model, Path(folder, "model.mlpackage"))


INTEGERS, HLS4ML = "integers", "hls4ml"
_OF_INTEGERS: dict[str, Callable[[Any], Any]] = {"C": plan_program, "integer ONNX": to_integer_onnx}
_EXPORTS: dict[str, Callable[[Any], Any]] = {
    "ONNX": to_onnx,
    "QONNX": to_qonnx,
    "LiteRT": to_litert,
    "LiteRT in int8": lambda model: to_litert(model, "int8"),
    "Core ML": _core_ml,
}


def _folded(network: keras.Model) -> dict[str, str]:
    """Return layer name -> what becomes of it, for normalization and preprocessing that can be folded."""
    told = {folding.call.name: FOLDED[folding.way].format(folding) for folding in foldings(network)}
    for one in foldable_preprocessing(network):
        whole = one.in_bias or not np.any(one.offset)
        rest = "" if whole else "; what it adds stays"
        told |= {call.name: f"folded into {one.layer} with fold_preprocessing{rest}" for call in one.calls}
    return told


def _formats_of(layer: Any) -> str:
    """Return the formats of a layer as text that begins with a colon; empty if it has none."""
    formats = zip(KINDS, layer.formats) if isinstance(layer, RoundingLayer) else ()
    told = [
        f"{kind} of {fmt[0].nbits} bits per filter" if isinstance(fmt, tuple) else f"{kind} {fmt}"
        for kind, fmt in formats
        if fmt is not None
    ]
    return f": {', '.join(told)}" if told else ""


def _provisional(model: keras.Model) -> QuantizedModel:
    return quantize_model(
        model, PROVISIONAL, fold_batch_normalization=True, fold_preprocessing=True, rounding="nearest"
    )


def _refusal(export: Callable[[Any], Any], network: Any) -> str:
    try:
        export(network)
    except InputError as error:
        return str(error)
    return ""

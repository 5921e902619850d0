"""What is known of a network without images: its size, its layers, and what can be done with each of them."""

from fewbits.backend import keras
from fewbits.costs.complexity import Row, cost_table, totals
from fewbits.deploy.support import LayerSupport, layer_support
from fewbits.errors import InputError
from fewbits.quantization.conversion import QuantizedModel
from fewbits.report.measurements import LayerFacts, NetworkFacts
from fewbits.training.heads import Head


def describe_network(model: keras.Model, plain: keras.Model, head: Head | None) -> tuple[NetworkFacts, str]:
    """Return what is known of a network as a whole.

    Args:
        model: The network as it was read.
        plain: The same without quantizers.
        head: Its head, if it has one.

    Returns:
        The facts, and why its costs cannot be counted, empty if they can.
    """
    shapes = tuple(tuple(x.shape[1:]) for x in plain.inputs)
    kind, units = (head.kind, head.units) if head else ("", 0)
    known = model.name, shapes, kind, units, isinstance(model, QuantizedModel)
    try:
        cost = totals(plain)
    except InputError as error:
        return NetworkFacts(*known), str(error)
    return NetworkFacts(*known, cost.parameters, cost.macs, cost.weight_bytes, cost.peak_activations), ""


def describe_layers(plain: keras.Model) -> list[LayerFacts]:
    """Return what is known of each layer of a network, in the order of the graph.

    Args:
        plain: A network without quantizers, as `dequantize_model` returns it.
    """
    rows: dict[str, list[Row]] = {}
    try:
        for row in cost_table(plain):
            rows.setdefault(row.name, []).append(row)
    except InputError:  # the facts of the network say why
        rows = {}
    return [_facts(support, rows.get(support.name, [])) for support in layer_support(plain)]


def _facts(support: LayerSupport, rows: list[Row]) -> LayerFacts:
    parameters, macs, activations = (
        sum(getattr(row, what) for row in rows) if rows else None for what in ("parameters", "macs", "activations")
    )
    return LayerFacts(
        name=support.name,
        kind=support.kind,
        output_shape=rows[0].output_shape if rows else (),
        parameters=parameters,
        macs=macs,
        activations=activations,
        weight_bytes=None if parameters is None else 4 * parameters,
        quantization=support.quantization,
        pruning=support.pruning,
    )

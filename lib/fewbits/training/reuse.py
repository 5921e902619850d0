"""A compiled network starts again from other weights: its graphs, which take long to trace, are kept."""

from collections.abc import Iterable
from typing import Any

from fewbits.backend import keras, ops
from fewbits.errors import InputError
from fewbits.graph import Graph
from fewbits.quantization.conversion import QuantizedModel
from fewbits.training.recipe import prepare


def take_state(network: QuantizedModel, fresh: QuantizedModel) -> QuantizedModel:
    """Give `network` the values of all variables of `fresh`, and unlock its layers.

    Args:
        network: Left by an earlier schedule.
        fresh: Built alike: the same layers in the same graph, names of layers with weights, levels and gradient.

    Returns:
        `network`.

    Raises:
        InputError: when the two are not built alike; `network` stays as it is.
    """
    if not isinstance(network, QuantizedModel) or _design(network) != _design(fresh):
        raise InputError(
            "reuse must be the network left by an earlier schedule of the same model, layer names, levels and gradient"
        )
    for layer in network.rounding_layers:
        layer.locked = False
    _assign(network.variables, fresh.variables)
    return network


def take_optimizer(network: keras.Model, fresh: keras.Model) -> None:
    """Let `network` train with the optimizer that `fresh` was prepared with.

    If the optimizer of `network` has the same settings, it keeps its graph and gets the variables of a new one.

    Args:
        network: Built as `fresh`.
        fresh: A prepared model.
    """
    old, new = network.optimizer, fresh.optimizer
    if type(old) is type(new) and _without_rate(old.get_config()) == _without_rate(new.get_config()):
        fresh.optimizer.build(fresh.trainable_variables)
        network.optimizer.build(network.trainable_variables)
        _assign(network.optimizer.variables, fresh.optimizer.variables)
    else:
        prepare(network, fresh.optimizer)


def _design(network: keras.Model) -> list[tuple]:
    """Return each layer's type, the layers it reads, and its settings.

    Formats, orders and stages refer to layers with weights by name. The names of other layers do not matter: Keras
    numbers them.
    """
    number, graph = {layer.name: i for i, layer in enumerate(network.layers)}, Graph(network)

    def described(layer: Any) -> tuple:
        passing = ("formats", "enabled", "rounding", *(() if layer.weights else ("name",)))
        inputs = [graph.made_by(tensor).name for call in graph.calls_of(layer) for tensor in call.inputs]
        settings = {k: v for k, v in layer.get_config().items() if k not in passing}
        return type(layer), [number[name] for name in inputs], settings

    return [described(layer) for layer in network.layers]


def _without_rate(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config of an optimizer without a rate that is a number: such a rate is a variable."""
    return {k: v for k, v in config.items() if k not in ("name", "learning_rate") or isinstance(v, dict)}


def _assign(variables: Iterable[Any], values: Iterable[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(ops.convert_to_numpy(value))

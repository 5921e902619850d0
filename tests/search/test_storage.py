"""What is stored, and which formats share their bits: by hand, on networks that branch, join and add."""

import pytest

from fewbits import quantize_model
from fewbits.backend import keras
from fewbits.search import stored_tensors

L = keras.layers


def conv(name, filters=4, **options):
    return L.Conv2D(filters, 3, padding="same", activation="relu", name=name, **options)


def network(build):
    keras.utils.set_random_seed(0)
    x = L.Input((8, 8, 3))
    return quantize_model(keras.Model(x, build(x)), rounding="nearest")


def chain(x):
    return L.Dense(5, name="c")(L.Flatten()(conv("b")(L.MaxPooling2D()(conv("a")(x)))))


def fire(x):
    x = conv("squeeze", 2)(x)
    x = L.Concatenate()([conv("left", 3)(x), conv("right", 5)(x)])
    return L.GlobalAveragePooling2D()(conv("last", 7)(x))


def residual(x):
    x = conv("a")(x)
    x = L.Add()([x, conv("b")(x)])
    y = L.Add()([conv("c")(x), conv("d")(L.ReLU()(x))])
    return L.Dense(5, name="e")(L.GlobalAveragePooling2D()(y))


def activations(build):
    """Return the places and the number of values of each activation, without those of kernels."""
    found = stored_tensors(network(build))
    assert {place for tensor in found for place in tensor.places} == {
        (layer.name, kind) for layer in network(build).rounding_layers for kind in ("kernel", "input", "output")
    }
    assert len({tensor.name for tensor in found}) == len(found)
    return [(set(tensor.places), tensor.values, tensor.is_end) for tensor in found if tensor.kind == "activation"]


def test_each_kernel_is_stored_by_itself():
    found = [tensor for tensor in stored_tensors(network(chain)) if tensor.kind == "kernel"]
    assert [(tensor.name, tensor.places, tensor.values) for tensor in found] == [
        ("a kernel", (("a", "kernel"),), 3 * 3 * 3 * 4),
        ("b kernel", (("b", "kernel"),), 3 * 3 * 4 * 4),
        ("c kernel", (("c", "kernel"),), 4 * 4 * 4 * 5),
    ]


def test_what_a_layer_writes_and_the_next_reads_is_stored_once():
    assert activations(chain) == [
        ({("a", "input")}, 8 * 8 * 3, True),
        ({("a", "output"), ("b", "input")}, 8 * 8 * 4, False),
        ({("b", "output"), ("c", "input")}, 4 * 4 * 4, False),
        ({("c", "output")}, 5, True),
    ]


def test_what_is_concatenated_is_one_tensor():
    assert activations(fire) == [
        ({("squeeze", "input")}, 8 * 8 * 3, True),
        ({("squeeze", "output"), ("left", "input"), ("right", "input")}, 8 * 8 * 2, False),
        ({("left", "output"), ("right", "output"), ("last", "input")}, 8 * 8 * 8, False),
        ({("last", "output")}, 8 * 8 * 7, True),
    ]


def test_a_sum_is_one_tensor_for_all_that_read_it():
    found = activations(residual)
    assert ({("c", "input"), ("d", "input")}, 256, False) in found
    assert ({("a", "output"), ("b", "input")}, 256, False) in found
    assert ({("b", "output")}, 256, False) in found, "it goes into a sum, and ties nothing"
    assert ({("e", "output")}, 5, True) in found


def leaky(x):
    return L.Dense(5, name="c")(L.Flatten()(L.LeakyReLU(0.1, name="b")(L.Conv2D(4, 3, name="a")(x))))


def test_slopes_are_left_out():
    places = [place for tensor in stored_tensors(network(leaky)) for place in tensor.places]
    assert ("b", "kernel") not in places and ("b", "output") in places


@pytest.mark.parametrize("build", [chain, fire])
def test_the_order_is_that_of_the_graph(build):
    names = [layer.name for layer in network(build).rounding_layers]
    found = [tensor for tensor in stored_tensors(network(build)) if tensor.kind == "activation"]
    firsts = [names.index(tensor.places[0][0]) for tensor in found]
    assert firsts == sorted(firsts)

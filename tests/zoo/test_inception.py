"""The Inception for CIFAR against Inception v3, which is checked in test_applications."""

import pytest

from fewbits import zoo
from fewbits.backend import keras
from fewbits.costs.complexity import cost_table, totals

KEPT = {"mixed0": "mixed0", "mixed1": "mixed3", "mixed2": "mixed4", "mixed3": "mixed8", "mixed4": "mixed9"}


@pytest.fixture(scope="module")
def small():
    return zoo.build("inception_cifar", (32, 32, 3), 10)


@pytest.fixture(scope="module")
def big():
    return zoo.build("inception_v3", (299, 299, 3), 10)


def layers_of(model, level):
    return [layer for layer in model.layers if layer.name.startswith(f"{level}_")]


def test_it_has_the_size_its_docstring_says(small):
    counted = totals(small)
    assert (counted.parameters, round(counted.macs / 1e6, 1)) == (592_022, 82.0)


def test_every_module_is_a_level(small, big):
    for model, stem, modules in ((small, 1, 5), (big, 5, 11)):
        levels = [names[0].split("_")[0] for names in zoo.levels(model)]
        assert levels == [*(f"conv{i + 1}" for i in range(stem)), *(f"mixed{i}" for i in range(modules)), "fc"]


@pytest.mark.parametrize("level", KEPT)
def test_its_modules_are_those_of_inception_v3_with_a_quarter_of_the_filters(small, big, level):
    def described(model, name, divisor):
        found = {}
        for layer in layers_of(model, name):
            facts = {key: getattr(layer, key, None) for key in ("kernel_size", "strides", "padding", "pool_size")}
            filters = layer.filters // divisor if type(layer) is keras.layers.Conv2D else None
            found[layer.name.removeprefix(name)] = (type(layer), filters, facts)
        return found

    assert described(small, level, 1) == described(big, KEPT[level], 4)


def test_its_modules_work_at_about_the_sides_of_those_of_inception_v3(small, big):
    def sides(model):
        return [row.output_shape[0] for row in cost_table(model) if row.name.endswith("_concat")]

    assert sides(small) == [32, 15, 15, 7, 7]
    assert sides(big) == [35] * 3 + [17] * 5 + [8] * 3

"""The C, compiled here: its codes, and a machine without a compiler."""

import numpy as np
import pytest

from fewbits.backend import keras
from fewbits.deploy import compiled
from fewbits.deploy.compiled import CRunner
from fewbits.deploy.lowering import lower
from fewbits.errors import InputError
from helpers.graphs import graph

layers = keras.layers
needs_compiler = pytest.mark.skipif(compiled.find_compiler() is None, reason="there is no C compiler")


@pytest.fixture
def network():
    return lower(graph(layers.Conv2D(4, 3, activation="relu"), layers.GlobalAveragePooling2D()))


@needs_compiler
def test_it_says_the_codes_of_the_integers(network):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 7, 6, 3), np.uint8)
    expected = network.run(pixels)
    for flags in ([], ["-O1", "-march=native"]):
        one = CRunner(network, *flags)
        codes = [one.run(image) for image in pixels]
        assert np.array_equal(codes, expected)  # of each image its own: `run` hands out copies


@needs_compiler
@pytest.mark.parametrize("image", [np.zeros((7, 6, 3)), np.zeros((6, 7, 3), np.uint8)])
def test_an_image_that_does_not_fit_is_refused(network, image):
    with pytest.raises(InputError, match="must be uint8"):
        CRunner(network).run(image)


def test_without_a_compiler_it_says_so(network, monkeypatch):
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="no C compiler; install one of cc, gcc"):
        CRunner(network)

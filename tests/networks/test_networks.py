"""Real networks go through quantization, calibration and pruning, or are refused by layer.

`make test` runs the quick ones, `make test-networks` all.
"""

import numpy as np
import pytest

from fewbits import InputError, quantize_model
from fewbits.backend import keras, ops
from fewbits.pruning import removable, remove_filters
from fewbits.quantization import calibration, canonical
from fewbits.quantization.conversion import refusals
from fewbits.training.heads import logits_of
from helpers.networks import NETWORKS, QUICK, application
from helpers.zeroed import drawn, zeroed

NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]


class Case:
    """A network, its images, and what it computes for them."""

    def __init__(self, name):
        self.model = NETWORKS[name].model()
        self.images = NETWORKS[name].images(self.model)
        self.outputs = self.of(self.model)

    def of(self, model):
        """Return the outputs of `model`; the logits of a classifier, for its softmax would hide differences."""
        one = len(model.outputs) == 1 and len(model.outputs[0].shape) == 2
        found = (logits_of(model) if one else model)(self.images, training=False)
        return [ops.convert_to_numpy(y) for y in keras.tree.flatten(found)]


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    yield Case(request.param)
    keras.backend.clear_session()


def test_its_outputs_depend_on_the_image(case):
    for y in case.outputs:
        assert y.std(axis=0).mean() > 0.02 * np.abs(y).max()


def test_no_layer_is_refused(case):
    assert refusals(canonical(case.model)) == {}


@pytest.mark.parametrize("fold", [False, True])
def test_it_computes_the_same_quantized_without_formats(case, fold):
    quantized = quantize_model(case.model, fold_batch_normalization=fold)
    for mine, theirs in zip(case.of(quantized), case.outputs, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


def test_calibrated_at_16_bits_it_stays_close(case):
    quantized = quantize_model(case.model, rounding="nearest", fold_batch_normalization=True)
    formats = calibration.formats_for(quantized, case.images, (16, 16, 16), range_rule=100)
    quantized.set_formats(formats)
    assert set(formats) == {layer.name for layer in quantized.rounding_layers}
    assert all(fmt is not None for layer in quantized.quantized_layers for fmt in layer.formats[:3])
    for mine, theirs in zip(case.of(quantized), case.outputs, strict=True):
        assert np.sqrt(((mine - theirs) ** 2).mean()) < 0.02 * theirs.std()


def test_pruned_it_computes_as_if_the_filters_made_zeros(case):
    gone = drawn(case.model, 0.2, seed=0)
    assert sum(map(len, gone.values())) > 0.1 * sum(map(len, removable(case.model)))
    smaller = remove_filters(case.model, gone)
    assert smaller.count_params() < case.model.count_params()
    found = keras.tree.flatten(smaller(case.images, training=False))
    for mine, theirs in zip(found, zeroed(case.model, gone, case.images), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.slow
def test_convnext_is_refused_by_its_first_layer_normalization():
    model = application("ConvNeXtTiny", 32)()
    with pytest.raises(InputError) as refused:
        quantize_model(model)
    assert str(refused.value).startswith(
        "layer convnext_tiny_stem_layernorm is a LayerNormalization, which computes mean and variance of each input; "
        "use BatchNormalization"
    )

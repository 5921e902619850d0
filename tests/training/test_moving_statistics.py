"""Statistics of batch normalization: that they are those of the images, layer after layer, and nothing else changes."""

import numpy as np
import pytest

from fewbits import InputError, quantize_model
from fewbits.backend import keras
from fewbits.data import load
from fewbits.pruning import renew_statistics
from fewbits.quantization.calibration import formats_for
from fewbits.training import (
    evaluate,
    normalizations,
    prepare,
    reestimate_normalization,
    sample_images,
    source_of,
    train,
)

L = keras.layers
DRIFT = np.linspace(0, 4, 70)[:, None, None, None]  # batches differ
IMAGES = (np.random.default_rng(0).normal(3, 2, (70, 6, 6, 2)) + DRIFT).astype("float32")  # more than two batches


def residual(x):
    y = L.BatchNormalization(name="first")(L.Conv2D(4, 3, padding="same", name="a")(x))
    z = L.Conv2D(4, 3, padding="same", name="b")(L.Dropout(0.5)(L.ReLU()(y)))
    return L.BatchNormalization(name="second", center=False)(L.Add()([y, z]))


def nested(x):
    image = L.Input(x.shape[1:])
    inner = keras.Model(image, residual(image), name="inner")(x)
    return L.BatchNormalization(name="third")(L.Conv2D(3, 1, name="c")(inner))


def across(x):
    return L.BatchNormalization(axis=1, name="first")(L.Conv2D(4, 3, name="a")(x))


def built(layers, seed=1):
    keras.utils.set_random_seed(seed)
    image = L.Input((6, 6, 2))
    return keras.Model(image, L.Dense(3)(L.Flatten()(layers(image))), name="net")


def inputs_of(model, norm):
    """Return what a batch normalization reads, (places, channels) in float64; a model inside reads the images, too."""
    owner = model if norm in model.layers else model.get_layer("inner")
    values = keras.Model(owner.input, norm.input).predict(IMAGES, verbose=0)
    return np.moveaxis(values, norm.axis, -1).reshape(-1, values.shape[norm.axis]).astype(float)


@pytest.mark.parametrize("layers", [residual, nested, across])
def test_each_layer_normalizes_all_images_to_mean_zero_and_variance_one(layers):
    """The oracle predicts with Keras: what it reads in the network as it is afterwards has the statistics it keeps."""
    model = built(layers)
    others = {id(v) for norm in normalizations(model) for v in (norm.moving_mean, norm.moving_variance)}
    before = [(v, v.numpy()) for v in model.variables if id(v) not in others]
    reestimate_normalization(model, IMAGES)
    assert len(normalizations(model)) == {residual: 2, nested: 3, across: 1}[layers]
    for norm in normalizations(model):
        values = inputs_of(model, norm)
        assert norm.moving_mean.numpy() == pytest.approx(values.mean(0), rel=1e-4, abs=1e-5)
        assert norm.moving_variance.numpy() == pytest.approx(values.var(0), rel=1e-4)
    assert all((v.numpy() == value).all() for v, value in before if "seed" not in v.path)


def test_a_large_mean_costs_no_precision():
    """In float32 the mean of squares less the square of the mean would be 0 or below."""
    model = keras.Sequential([L.Input((1,)), L.BatchNormalization(name="norm")])
    reestimate_normalization(model, 10_000 + np.arange(100.0)[:, None] / 100)
    mean, variance = (float(v[0]) for v in model.get_weights()[2:])
    assert mean == pytest.approx(10_000.495, abs=1e-3) and variance == pytest.approx((100**2 - 1) / 12 / 1e4, rel=1e-2)


def test_on_one_batch_of_a_chain_they_are_those_that_pruning_renews():
    """There the mean over batches is the mean over images, and a batch is normalized by its own statistics."""
    few, (one, other) = IMAGES[:32], (built(across) for _ in range(2))
    reestimate_normalization(one, few)
    renew_statistics(other, [(few, None)])
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-6)


def test_after_a_short_training_the_network_is_the_better_for_it():
    """With a momentum of 0.99, 21 steps leave four fifths of the mean 0 and the variance 1 that no layer has."""
    digits = load("digits")
    data, held_out = ((digits.scaled(part), part.labels) for part in (digits.train, digits.test))
    keras.utils.set_random_seed(0)
    model = digits_network()
    train(prepare(model, "adam", 0.003), data, epochs=1, batch_size=64)
    before = evaluate(model, held_out).loss
    reestimate_normalization(model, sample_images(source_of(model, data, "the data"), 300))
    assert evaluate(model, held_out).loss < 0.7 * before


def digits_network():
    stack = [L.Input((8, 8, 1))]
    for filters in (8, 16):
        stack += [L.Conv2D(filters, 3, use_bias=False), L.BatchNormalization(), L.ReLU()]
    return keras.Sequential([*stack, L.Flatten(), L.Dense(10)])


def test_of_a_network_that_quantizes_they_are_those_of_quantized_values():
    model = built(residual)
    network = quantize_model(model, formats=formats_for(model, IMAGES[:8], (2, 3, 4)))
    reestimate_normalization(network, IMAGES)
    for norm in normalizations(network):
        values = inputs_of(network, norm)
        assert norm.moving_mean.numpy() == pytest.approx(values.mean(0), rel=1e-4, abs=1e-5)
        assert norm.moving_variance.numpy() == pytest.approx(values.var(0), rel=1e-4)


def shared(x):
    norm = L.BatchNormalization(name="twice")
    return norm(norm(x))


def shared_model(x):
    image = L.Input((6, 6, 2))
    inner = keras.Model(image, L.BatchNormalization()(image), name="inner")
    return inner(inner(x))


def with_nan(model):
    model.layers[1].set_weights([w * np.nan for w in model.layers[1].get_weights()])
    return model


@pytest.mark.parametrize(
    ("make", "images", "said"),
    [
        (lambda: built(lambda x: L.Conv2D(3, 3)(x)), IMAGES, "net has no batch normalization, so there is nothing to"),
        (lambda: built(shared), IMAGES, "twice of net is used 2 times, and the statistics of its calls differ; give"),
        (lambda: built(shared_model), IMAGES, "inner of net is used 2 times"),
        (lambda: built(across), IMAGES[:0], "at least one image is needed"),
        (lambda: built(across), IMAGES[..., :1], "net"),
        (lambda: with_nan(built(across)), IMAGES, "the inputs of first are NaN or infinite on the images; check the"),
    ],
    ids=["none", "shared", "shared model", "no images", "shape", "nan"],
)
def test_what_has_no_statistics_is_refused(make, images, said):
    model = make()
    before = [w.tobytes() for w in model.get_weights()]
    with pytest.raises(InputError, match=said):
        reestimate_normalization(model, images)
    assert [w.tobytes() for w in model.get_weights()] == before


@pytest.mark.parametrize("n", [1, 7, 70, 100])
def test_a_sample_is_spread_over_the_images(n):
    model = built(across)
    source = source_of(model, (IMAGES, np.zeros(70, int)), "the data")
    sample = sample_images(source, n)
    assert len(sample) == min(n, 70) and (sample[0] == IMAGES[0]).all()
    assert n == 1 or (sample[-1] == IMAGES[-1]).all()

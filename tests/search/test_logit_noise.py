"""The noise that each tensor alone adds to the logits: that of a network quantized by hand, and what sums foretell."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from fewbits import FixedPoint, Formats, InputError, data, formats_for, quantize, quantize_model, zoo
from fewbits.backend import keras
from fewbits.deploy.identity import compare_layers
from fewbits.deploy.lowering import lower
from fewbits.graph import Graph
from fewbits.search import Budget, allocate_bits, cost_model, measure_logit_noise
from fewbits.search.logit_noise import _cuts

L = keras.layers

WIDTHS = (2, 3, 4, 6, 8)
IMAGES = 32


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def images(digits):
    return digits.scaled(digits.train)[:IMAGES].astype("float32")


@pytest.fixture(scope="module")
def model():
    return zoo.build("squeezenet_digits", (8, 8, 1), 10, weights="squeezenet_digits")


@pytest.fixture(scope="module")
def noise(model, images):
    return measure_logit_noise(quantize_model(model, rounding="nearest"), images, WIDTHS)


def logits(model, images):
    """Return what the network takes the softmax of, if it does."""
    last = keras.Model(model.input, model.layers[-2].output) if model.layers[-1].name == "softmax" else model
    return last.predict(images, verbose=0)


def test_the_noise_of_a_kernel_is_that_of_a_network_whose_kernel_is_rounded(model, images, noise):
    exact = logits(model, images)
    assert noise.signal == pytest.approx(np.mean(exact**2), rel=1e-5)
    for layer, bits in ((noise.network.quantized_layers[0], 3), (noise.network.quantized_layers[-1], 4)):
        plain, formats = model.get_layer(layer.name), formats_for(model, images, bits, "mse", per_channel=True)
        kept = plain.get_weights()
        chosen = formats[layer.name].kernel
        columns = np.reshape(kept[0], (-1, kept[0].shape[-1]))
        each = chosen if isinstance(chosen, tuple) else (chosen,) * columns.shape[1]
        rounded = np.stack([quantize(w, f, "nearest") for w, f in zip(columns.T, each)], -1)
        plain.set_weights([rounded.reshape(kept[0].shape), *kept[1:]])
        error = np.mean((logits(model, images) - exact) ** 2)
        plain.set_weights(kept)
        assert noise.noise[f"{layer.name} kernel"][bits] == pytest.approx(error, rel=1e-3)


def test_the_noise_of_an_activation_is_that_of_its_places_alone(model, images, noise):
    tensor = next(t for t in noise.tensors if t.kind == "activation" and len(t.places) > 1)
    alone = quantize_model(model, rounding="nearest")
    chosen = dict(zip(tensor.places, noise.formats[tensor.name][4]))
    for (name, kind), fmt in chosen.items():
        alone.get_layer(name).set_formats(**{kind: fmt})
    error = np.mean((logits(alone, images) - logits(model, images)) ** 2)
    assert noise.noise[tensor.name][4] == pytest.approx(error, rel=1e-3)


def test_a_tensor_has_one_format_from_writer_to_reader(noise):
    for tensor in noise.tensors:
        for bits, formats in noise.formats[tensor.name].items():
            if tensor.kind == "activation" and any(kind == "output" for _, kind in tensor.places):
                assert len(set(formats)) == 1 and formats[0].nbits == bits


def test_moving_msbs_never_adds_noise(model, images, noise):
    still = measure_logit_noise(quantize_model(model, rounding="nearest"), images, (3, 8), search_ranges=False)
    fewer = [noise.noise[t.name][3] < still.noise[t.name][3] for t in noise.tensors]
    assert all(noise.noise[t.name][n] <= still.noise[t.name][n] * 1.0001 for t in noise.tensors for n in (3, 8))
    assert any(fewer), "on some tensor the MSB of least squared error is not the best"


def test_what_is_never_negative_has_no_sign_unless_that_is_asked_for(model, images, noise):
    signed = measure_logit_noise(quantize_model(model, rounding="nearest"), images, (3,), signed=True)
    for tensor in noise.tensors:
        assert all(fmt.signed for fmt in np.ravel(signed.formats[tensor.name][3]))
        is_relu = tensor.kind == "activation" and any(kind == "input" for _, kind in tensor.places)
        assert all(fmt.signed != is_relu for fmt in np.ravel(noise.formats[tensor.name][3])), tensor.name
    assert noise.predicted_sqnr(noise.everywhere(3)) > signed.predicted_sqnr(signed.everywhere(3)) + 1


def test_noises_add_where_they_are_small(noise):
    for bits in (6, 8):
        allocation = noise.everywhere(bits)
        assert noise.measured_sqnr(allocation) == pytest.approx(noise.predicted_sqnr(allocation), abs=2.5)


def test_a_network_is_quantized_as_it_was_measured(images, model, noise):
    bits = noise.everywhere(6) | {noise.tensors[0].name: 3}
    network = noise.quantized(bits)
    error = np.mean((logits(network, images) - logits(model, images)) ** 2)
    assert noise.measured_sqnr(bits) == pytest.approx(10 * np.log10(noise.signal / error), abs=0.01)
    for tensor in noise.tensors:
        for name, kind in tensor.places:
            fmt = getattr(network.formats[name], kind)
            assert (fmt[0] if isinstance(fmt, tuple) else fmt).nbits == bits[tensor.name]


def test_mixed_bits_compute_the_same_in_integers(noise, digits):
    mixed = noise.quantized(allocate_bits(noise, [Budget("bitops", 0.4, 8)]))
    assert len({layer.formats.input.nbits for layer in mixed.quantized_layers}) > 1
    layers = compare_layers(mixed, lower(mixed, digits.levels), digits.test.images[:64]).values()
    assert sum(layer.codes for layer in layers) > 10_000 and not sum(layer.different for layer in layers)


def counting(model, counted):
    """Return the `call` of a model, which counts each tracing from now on."""
    call = model.call
    return lambda *args, **kwargs: (counted.append(model), call(*args, **kwargs))[1]


def test_nothing_is_traced_again(noise):
    counted, models = [], [suffix.model for suffix in noise.run._suffixes]
    assert len(models) == 5
    for model in models:
        model.call = counting(model, counted)
    for bits in (2, 3, 8):
        noise.measured_sqnr(noise.everywhere(bits))
        for tensor in noise.tensors:
            name, kind = tensor.places[0]
            noise.run.noise({name: Formats(**{kind: FixedPoint(bits - 4, bits)})})
    assert not counted
    models[0].predict_on_batch(np.zeros((3, 8, 8, 1), "float32"))
    assert counted, "a batch of another size is traced, and counted"


def test_a_suffix_finds_the_noise_that_the_whole_network_finds(noise):
    suffixes, noise.run._suffixes = noise.run._suffixes, noise.run._suffixes[:1]
    try:
        for tensor in noise.tensors:
            formats = {}
            for (name, kind), fmt in zip(tensor.places, noise.formats[tensor.name][3]):
                formats[name] = formats.get(name, Formats())._replace(**{kind: fmt})
            assert noise.noise[tensor.name][3] == pytest.approx(noise.run.noise(formats), rel=1e-4)
    finally:
        noise.run._suffixes = suffixes


def test_a_network_is_cut_where_it_hangs_on_one_tensor():
    image, other = L.Input((4, 4, 2)), L.Input((4, 4, 2))
    x = L.Conv2D(2, 1, name="a")(image)
    y = L.Conv2D(2, 1, name="b")(x)
    x = L.Add(name="c")([x, y])
    x = L.ReLU(name="d")(x)
    x = L.Concatenate(name="e")([x, L.Conv2D(2, 1, name="f")(x), other])
    graph = Graph(keras.Model([image, other], L.Flatten(name="h")(L.ReLU(name="g")(x))))
    cuts = {graph.made_by(tensor).name: number for number, tensor in _cuts(graph)}
    assert set(cuts) == {"e", "g"}, "the other input is read by e"
    assert all(graph.calls[number - 1].name == name for name, number in cuts.items())
    alone = Graph(keras.Model(image, L.Flatten(name="h")(L.ReLU(name="z")(y))))
    assert {alone.made_by(tensor).name for _, tensor in _cuts(alone)} == {"a", "b", "z"}


def test_the_network_stays_as_it_is(model, images):
    network = quantize_model(model, formats_for(model, images, 5), rounding="nearest")
    network.set_level(2)
    before = network.get_weights()
    measure_logit_noise(network, images[:4], (4,), search_ranges=False)
    assert all(map(np.array_equal, before, network.get_weights()))


def test_mixed_bits_are_better_than_equal_ones_at_equal_cost_and_the_ranking_foretells_the_measured_one(digits, noise):
    """Random bits of about equal bytes, on images that set nothing: the noise ranks them as the accuracy does."""
    test = digits.scaled(digits.test).astype("float32")
    network = noise.quantized(noise.everywhere(8))

    def accuracy(bits):
        network.set_formats(noise.layer_formats(bits))
        return float(np.mean(network.predict(test, verbose=0).argmax(1) == digits.test.labels))

    budgets = [Budget("bytes", 1, 3), Budget("activation-bytes", 1, 3)]
    equal, mixed = noise.everywhere(3), allocate_bits(noise, budgets)
    for kind in ("bytes", "activation-bytes"):
        costs = cost_model(noise.network, noise.tensors, kind)
        assert costs.of(mixed) <= costs.of(equal)
    assert noise.measured_sqnr(mixed) > noise.measured_sqnr(equal) + 1
    assert accuracy(mixed) >= accuracy(equal) + 0.02
    rng = np.random.default_rng(0)
    some = [{t.name: int(rng.choice((2, 3, 4))) for t in noise.tensors} for _ in range(24)]
    found = spearmanr([noise.predicted_sqnr(bits) for bits in some], [accuracy(bits) for bits in some]).statistic
    assert found > 0.6


def test_what_cannot_be_measured_is_refused(model, images):
    network = quantize_model(model)
    with pytest.raises(InputError, match="from 1 to 24"):
        measure_logit_noise(network, images, (25,))
    with pytest.raises(InputError, match="at least one"):
        measure_logit_noise(network, images, ())
    with pytest.raises(InputError, match="use quantize_model first"):
        measure_logit_noise(model, images, (8,))

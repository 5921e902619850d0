"""Calibration batch by batch, against the same values held in memory at once."""

import warnings

import numpy as np
import pytest

from fewbits import InputError, formats_for, quantize_model, zoo
from fewbits.backend import keras
from fewbits.data import load
from fewbits.errors import CalibrationWarning
from fewbits.quantization import dynamic_formats, layer_summaries, msb_table, quantization_errors, streaming
from fewbits.quantization.observation import observe_ranges

L = keras.layers
RNG = np.random.default_rng(3)
IMAGES = RNG.uniform(-1, 3, (40, 12, 12, 3)).astype(np.float32)
RULES = (98, 99.9, 100, "mse", "kl")


def network():
    """Return a network with what lies between layers: branches, an addition, a pooling, ReLUs of all kinds, a tanh."""
    keras.utils.set_random_seed(0)
    images = L.Input((None, None, 3))
    x = L.Conv2D(8, 3, activation="relu", name="a")(images)
    y = L.BatchNormalization(name="norm")(L.Conv2D(8, 3, padding="same", name="b")(x))
    x = L.ReLU(6.0)(L.Add()([x, y]))
    x = L.Concatenate()([x, L.DepthwiseConv2D(3, padding="same", name="c", activation="relu6")(x)])
    x = L.LeakyReLU(0.1, name="leaky")(L.Conv2D(8, 1, name="d")(L.MaxPooling2D()(x)))
    x = L.Conv2D(6, 1, activation="tanh", name="e")(x)
    return keras.Model(images, L.Dense(5, name="f")(L.GlobalAveragePooling2D()(x)))


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture
def streamed(monkeypatch):
    """Let all calibration stream, in batches of three images."""
    monkeypatch.setattr(streaming, "HELD", 0)
    monkeypatch.setattr(streaming, "BATCH", 3)


@pytest.mark.parametrize("quantized", [False, True])
def test_the_msbs_are_those_of_all_values(quantized, model, monkeypatch):
    given = quantize_model(model, bias_order="output") if quantized else model
    expected = {rule: formats_for(given, IMAGES, (5, 4, 4), rule) for rule in RULES}
    monkeypatch.setattr(streaming, "HELD", 0)
    for rule in RULES:
        assert formats_for(given, IMAGES, (5, 4, 4), rule) == expected[rule], rule


@pytest.mark.parametrize(("name", "n"), [("squeezenet_digits", 64), ("squeezenet_cifar", 6)])
def test_reference_networks_keep_their_msbs(name, n, monkeypatch):
    digits = load("digits")
    shape, images = ((32, 32, 3), RNG.random((n, 32, 32, 3), np.float32))
    if name.endswith("digits"):
        shape, images = digits.image_shape, digits.scaled(digits.train.take(n))
    model = zoo.build(name, shape, 10, weights=name)
    expected = [msb_table(model, images, rule, 4) for rule in (99.9, "mse")]
    monkeypatch.setattr(streaming, "HELD", 0)
    assert [msb_table(model, images, rule, 4) for rule in (99.9, "mse")] == expected


def test_summaries_are_those_of_the_values(streamed, model):
    images = IMAGES.copy()
    images[-1, 5, 5, 1] = 50
    found = {summary.layer.name: summary for summary in layer_summaries(model, images)}
    for layer, values in observe_ranges(model, images):
        summary = found[layer.name]
        for kind in ("input", "output"):
            exact, kept = getattr(values, kind), getattr(summary, kind)
            assert kept.count == exact.size
            assert (kept.low, kept.high) == pytest.approx((exact.min(), exact.max()), rel=1e-5)
            assert np.allclose(kept.sample, exact.ravel()[:: max(1, exact.size // 100_000)], atol=1e-4)
    formats = formats_for(model, images)
    assert set(quantization_errors(model, images, formats)) == set(formats) == set(found)


class Several:
    """Images in batches of many; counts how many were read."""

    def __init__(self, n, batch=20):
        self.n, self.batch, self.read = n, batch, 0

    def __iter__(self):
        for _ in range(0, self.n, self.batch):
            self.read += self.batch
            yield IMAGES[: self.batch]


@pytest.mark.parametrize("give", [iter, lambda images: images, lambda images: (x for x in images)])
def test_streams_are_read_once_and_up_to_the_number_asked_for(give, streamed, model):
    images, seen = Several(400), []
    formats = formats_for(model, give(images), most=310, progress=seen.append)
    assert images.read == 320 and seen[-1] == 310 and seen == sorted(seen) and max(np.diff(seen)) <= 3
    again = np.concatenate([IMAGES[:20]] * 16)[:310]
    assert formats == formats_for(model, again)


def test_a_tensor_of_a_batch_lives_no_longer_than_the_batch(streamed, model, monkeypatch):
    """The network sees three images at a time, whatever comes: what it computes is for so many images at most."""
    sizes = []
    add = streaming.ValueSummary.add
    monkeypatch.setattr(streaming.ValueSummary, "add", lambda self, x: (sizes.append(len(x)), add(self, x))[1])
    formats_for(model, Several(300, batch=40), most=300)
    assert max(sizes) == 3


def test_layers_that_see_nothing_are_estimated_from_what_streams(streamed):
    keras.utils.set_random_seed(1)
    images = L.Input((8, 8, 3))
    x = L.Conv2D(4, 3, activation="relu", name="a", bias_initializer=keras.initializers.Constant(-9))(images)
    model = keras.Model(images, L.Dense(3, name="c")(L.Flatten()(L.Conv2D(5, 3, name="b", activation="relu")(x))))
    dark = RNG.random((7, 8, 8, 3), np.float32)
    found = []
    for held in (0, 1 << 27):
        streaming.HELD = held  # put back by the fixture
        with pytest.warns(CalibrationWarning, match="layers b, c compute only zeros or constants on these images"):
            found.append((formats_for(model, dark), dynamic_formats(model, dark)))
    assert found[0] == found[1] and found[0][0]["b"].input.msb >= 0


def test_what_cannot_be_calibrated_is_refused_in_one_sentence(streamed, model):
    with pytest.raises(InputError, match="at least one image is needed, and images has none"):
        formats_for(model, iter([]), most=1000)
    with pytest.raises(InputError, match="the images are of different sizes; resize them to one"):
        formats_for(model, iter([IMAGES[:2], IMAGES[:2, 1:]]), most=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        broken = network()
        broken.get_layer("d").bias.assign(np.full(8, np.inf))
        with pytest.raises(InputError, match="the output of layer d holds NaN or infinity; check the weights before"):
            formats_for(broken, IMAGES)
        with pytest.raises(InputError, match=r"the input of layer a reaches .*, and formats reach 2\*\*64; scale"):
            formats_for(model, IMAGES * np.float32(1e25))

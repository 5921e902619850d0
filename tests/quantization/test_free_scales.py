"""LSQ and PACT: their values, their gradients, and what a device can have of them."""

from statistics import NormalDist

import numpy as np
import pytest

from fewbits import FixedPoint, InputError, quantize, quantize_model
from fewbits.backend import gradients, keras, ops
from fewbits.quantization.free_scales import FreeQuantizer, lsq, lsq_start, nearest_format, pact
from helpers.jax_run import assert_file_holds_on_jax

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 5, 4)).astype("float32")
WEIGHTS = RNG.normal(size=X.shape).astype("float32")
NORMAL = np.array([NormalDist().inv_cdf((i + 0.5) / 20_001) for i in range(20_001)]).astype("float32")


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="this is the run on JAX")
def test_all_of_this_file_holds_on_jax():
    assert_file_holds_on_jax(__file__)


def slopes(function, x, number):
    """Return the gradients of sum(WEIGHTS * function(x, number))."""
    arguments = {"x": ops.convert_to_tensor(x), "number": ops.convert_to_tensor(np.float32(number))}
    found = gradients(lambda of: ops.sum(WEIGHTS * function(of["x"], of["number"])), arguments)
    return ops.convert_to_numpy(found["x"]), ops.convert_to_numpy(found["number"])


@pytest.mark.parametrize("fmt", [FixedPoint(0, 3), FixedPoint(1, 2), FixedPoint(0, 2, signed=False)], ids=str)
def test_with_a_power_of_two_for_a_step_lsq_is_a_fixed_point_format(fmt):
    y = lsq(X, fmt.step, fmt.nbits, fmt.signed)
    assert np.array_equal(ops.convert_to_numpy(y), quantize(X, fmt, "nearest"))


def test_values_are_the_multiples_of_any_step():
    y = ops.convert_to_numpy(lsq(X, 0.3, 3))
    np.testing.assert_allclose(y, 0.3 * np.clip(np.round(X / np.float32(0.3)), -4, 3), rtol=1e-6)
    y = ops.convert_to_numpy(pact(X, 1.1, 2))
    np.testing.assert_allclose(y, 1.1 / 3 * np.round(np.clip(X, 0, 1.1) * np.float32(3 / 1.1)), rtol=1e-6)


@pytest.mark.parametrize("signed", [True, False])
def test_the_gradient_of_a_step_is_that_of_the_paper(signed):
    step, low, high = 0.3, *((-4, 3) if signed else (0, 7))
    of_x, of_step = slopes(lambda x, s: lsq(x, s, 3, signed), X, step)
    v = X / np.float32(step)
    kept = (np.round(v) >= low) & (np.round(v) <= high)
    by_step = np.where(kept, np.round(v) - v, np.clip(np.round(v), low, high))
    np.testing.assert_allclose(of_x, WEIGHTS * kept)
    np.testing.assert_allclose(of_step, np.sum(WEIGHTS * by_step) / np.sqrt(X[0].size * high), rtol=1e-4)


def test_each_filter_may_have_its_step():
    steps = [0.2, 0.3, 0.5, 0.7]
    _, together = slopes(lambda x, s: lsq(x, s, 3), X, steps)
    alone = [
        slopes(lambda x, s, i=i: lsq(x, ops.reshape(s, (1,)), 3) * np.eye(4, dtype="float32")[i], X, s)[1]
        for i, s in enumerate(steps)
    ]
    np.testing.assert_allclose(together, np.ravel(alone) * 2, rtol=1e-3)  # 120 values share a step alone, 30 here


@pytest.mark.parametrize("step", [0.2, 0.5])
def test_the_gradient_of_a_step_is_the_finite_difference_of_the_expected_error(step):
    """Of the expected squared error of a normal distribution, whose density varies little within a step."""
    x = NORMAL[None]

    def loss(step):
        return np.mean((step * np.clip(np.rint(x.astype(np.float64) / step), -8, 7) - x) ** 2)

    given = {"s": ops.convert_to_tensor(np.float32(step))}
    found = gradients(lambda of: ops.mean(ops.square(lsq(x, of["s"], 4) - x)), given)["s"]
    expected = (loss(1.07 * step) - loss(step / 1.07)) / (1.07 * step - step / 1.07)
    assert ops.convert_to_numpy(found) * np.sqrt(x.size * 7) == pytest.approx(expected, rel=0.1)


def test_pact_learns_from_what_it_clips_and_this_is_exact():
    of_x, of_alpha = slopes(lambda x, a: pact(x, a, 3), X, 0.9)
    assert np.array_equal(of_x, WEIGHTS * ((X >= 0) & (X < 0.9)))
    np.testing.assert_allclose(of_alpha, WEIGHTS[X >= 0.9].sum(), rtol=1e-4)
    clipped = np.where(X > 0.91, X, 0)  # what is clipped, and zeros: there the output is linear in alpha
    a, b = (np.sum(WEIGHTS * ops.convert_to_numpy(pact(clipped, alpha, 3))) for alpha in (0.89, 0.91))
    assert (b - a) / 0.02 == pytest.approx(slopes(lambda x, a: pact(x, a, 3), clipped, 0.9)[1], rel=1e-3)


def test_the_start_is_that_of_the_paper():
    assert ops.convert_to_numpy(lsq_start(X, 3)) == pytest.approx(2 * np.abs(X).mean() / np.sqrt(3), rel=1e-5)


@pytest.mark.parametrize(("step", "msb"), [(0.25, 1), (0.3, 1), (0.36, 2), (0.2, 1), (0.17, 0)])
def test_a_device_gets_the_nearest_power_of_two(step, msb):
    assert nearest_format(step, 4) == FixedPoint(msb, 4)
    with pytest.raises(InputError, match="positive"):
        nearest_format(-step, 4)


@pytest.mark.parametrize("method", ["lsq", "pact"])
def test_a_layer_learns_its_step_is_saved_and_is_refused_for_a_device(method, tmp_path):
    x = image = keras.Input((5, 4))
    x = FreeQuantizer(method, nbits=3, start=0.4, name="free")(keras.layers.Dense(4, name="dense")(x))
    model = keras.Model(image, keras.layers.Dense(2, name="last")(keras.layers.Flatten()(x)))
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(X, WEIGHTS[:, 0, :2], epochs=3, verbose=0)
    learned = float(ops.convert_to_numpy(model.get_layer("free").range))
    assert learned != pytest.approx(0.4, abs=1e-7)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert np.array_equal(model.predict(X, verbose=0), again.predict(X, verbose=0))
    with pytest.raises(
        InputError, match="layer free is a FreeQuantizer, which has a step that is no power of two; take"
    ):
        quantize_model(model)


@pytest.mark.parametrize(
    "settings", [{"method": "pact", "signed": True}, {"method": "sawb"}, {"nbits": 25}, {"nbits": 0}]
)
def test_what_has_no_meaning_is_refused(settings):
    with pytest.raises(InputError):
        FreeQuantizer(**settings)

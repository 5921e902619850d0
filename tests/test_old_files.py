"""Files written before the modules moved into packages still load and mean the same (see old_files/README.md)."""

from pathlib import Path

import numpy as np
import pytest

from fewbits.backend import keras
from fewbits.experiment import Scheme, Store, Trial, run_schemes
from fewbits.io.weights import load_weights
from fewbits.pruning import Plan, prune
from fewbits.quantization.calibration import Calibration
from fewbits.quantization.conversion import quantize_model
from fewbits.training import Recipe, Schedule, prepare, progressive_quantization, train

FOLDER = Path(__file__).parent / "old_files"
LEVELS = [["conv1"], ["conv2", "conv3"], ["fc"]]


@pytest.fixture(scope="module")
def expected():
    return dict(np.load(FOLDER / "expected.npz"))


@pytest.fixture(scope="module")
def data(expected):
    return expected["train_images"], expected["train_labels"]


@pytest.fixture(scope="module")
def held_out(expected):
    return expected["held_out_images"], expected["held_out_labels"]


def network():
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((6, 6, 1), name="image"),
            layers.Conv2D(4, 3, use_bias=False, padding="same", name="conv1"),
            layers.BatchNormalization(name="conv1_bn"),
            layers.ReLU(name="conv1_relu"),
            layers.DepthwiseConv2D(3, name="conv2", activation="relu"),
            layers.Conv2D(5, 1, activation="relu", name="conv3"),
            layers.Flatten(name="flatten"),
            layers.Dense(3, name="fc"),
        ],
        name="tiny",
    )


def trained():
    model = network()
    load_weights(model, FOLDER / "weights.npz")
    return model


def copied(name, folder):
    """Return the path of a copy, as a resumed run replaces its checkpoint."""
    path = folder / name
    path.write_bytes((FOLDER / name).read_bytes())
    return path


def assert_same(model, images, outputs):
    assert np.allclose(model.predict(images, verbose=0), outputs, rtol=1e-5, atol=1e-5)


def test_weights(expected, held_out):
    assert_same(trained(), held_out[0], expected["float"])


def test_a_quantized_network(expected, held_out):
    model = keras.saving.load_model(FOLDER / "quantized.keras")
    assert_same(model, held_out[0], expected["quantized"])
    layers = model.quantized_layers
    assert [layer.locked for layer in layers] == [True, False, False, False]
    assert [layer.enabled for layer in layers] == [True, True, True, False]
    assert [layer.level for layer in layers] == [1, 2, 2, 3]
    assert all(layer.rounding == "floor" for layer in layers)
    kernel, image, output, bias = layers[0].formats
    assert {fmt.nbits for fmt in kernel} == {6} and (image.nbits, output.nbits, bias) == (7, 7, None)


def test_weights_of_a_quantized_network(expected, held_out):
    model = quantize_model(network(), levels=LEVELS, fold_batch_normalization=True, rounding="floor")
    model.load_weights(FOLDER / "quantized.weights.h5")
    assert_same(model, held_out[0], expected["quantized"])
    assert model.quantized_layers[0].locked and not model.quantized_layers[3].enabled


def test_a_training_goes_on(expected, data, held_out, tmp_path):
    model = prepare(network(), "adam", 0.01)
    path, epochs = copied("training.checkpoint", tmp_path), []
    history = train(
        model,
        data,
        validation=held_out,
        epochs=4,
        batch_size=8,
        seed=3,
        checkpoint=path,
        resume=True,
        before_epoch=epochs.append,
    )
    assert epochs == [3, 4]
    assert np.array_equal([entry["loss"] for entry in history[:2]], expected["training_loss"][:2])
    assert np.allclose([entry["loss"] for entry in history], expected["training_loss"], rtol=1e-5)
    assert_same(model, held_out[0], expected["training"])


def test_a_schedule_goes_on(expected, data, held_out, tmp_path):
    path, stages = copied("schedule.checkpoint", tmp_path), []
    outcome = progressive_quantization(
        trained(),
        data,
        Schedule(bits=(4, 4, 4), strategy="lock", epochs=1),
        validation=held_out,
        calibration=Calibration(range_rule=99.9, signed=True),  # as all formats were
        recipe=Recipe(batch_size=8, seed=3),
        rounding="nearest",
        on_stage=lambda stage, network: stages.append(stage and stage.name),
        checkpoint=path,
        resume=True,
    )
    assert stages == ["conv3", "fc", None]
    assert np.array_equal([entry["loss"] for entry in outcome.history[:2]], expected["schedule_loss"][:2])
    assert np.allclose([entry["loss"] for entry in outcome.history], expected["schedule_loss"], rtol=1e-5)
    assert_same(outcome.model, held_out[0], expected["schedule"])


def test_a_pruning_goes_on(expected, data, held_out, tmp_path):
    plan = Plan(ratio=0.5, per_step=2, rank_images=16, images=(48, 96), batch_size=8, learning_rate=0.01)
    path, steps = copied("pruning.checkpoint", tmp_path), []
    pruned = prune(
        trained(),
        data,
        plan,
        validation=held_out,
        checkpoint=path,
        resume=True,
        progress=lambda step, most: steps.append(step["step"]),
    )
    assert steps == [2]
    assert [step.get("removed") for step in pruned.steps] == [None, {"conv3": [1, 2]}, {"conv1": [2, 3]}]
    assert_same(pruned.model, held_out[0], expected["pruning"])


def test_records_of_trials():
    start = Trial(network="lenet", data="digits", images=64, epochs=1)
    quantized = Trial(
        network="lenet",
        data="digits",
        images=64,
        strategy="train",
        epochs=1,
        start=start,
        bits=(6, 6, 6),
        percentile="mse",
        learning_rate=0.001,
    )
    store = Store(FOLDER)
    assert (start.key, quantized.key) == ("2954ecbd5fa30874", "8e2cb849c78fb9de")
    assert store.load(start).results.test.hits == 41
    results = store.load(quantized).results
    assert (results.test.hits, results.float_test.hits, results.validation.hits) == (43, 41, 20)
    assert results.stages == [("conv1", 1), ("conv2", 1), ("dense3", 1), ("dense4", 1)]
    assert results.history[-1]["stage"] == 4


def test_a_study_of_schemes_is_not_run_again(data, held_out, tmp_path):
    path = copied("study.json", tmp_path)
    plain = Scheme(bits=(4, 4, 4))
    repaired = Scheme(bits=(3, None, None), rounding="floor", percentile="mse", remedies=("fold mean shift",))
    study = run_schemes(trained(), [plain, repaired], data[0], held_out, path, "held out")
    assert path.read_bytes() == (FOLDER / "study.json").read_bytes()
    assert [study[scheme].top1.sum() for scheme in (plain, repaired)] == [21, 18]
    assert study.float.top1.sum() == 22

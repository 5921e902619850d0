"""Schemes, studies and searches on networks that the book does not have: nested, activated, with several inputs."""

import numpy as np
import pytest

from fewbits import InputError, post_training, quantize_model
from fewbits.backend import keras, ops
from fewbits.cli import main
from fewbits.data import Split
from fewbits.experiment import Scheme, quantize_each, run_schemes
from fewbits.experiment.leakage import shared_images
from fewbits.post_training import equalize, refit_kernels, search_msbs
from fewbits.post_training.weight_rounding import _windows
from fewbits.quantization.calibration import formats_for
from fewbits.quantization.canonical_form import canonical
from fewbits.quantization.conversion import dequantize_model
from fewbits.training.heads import without_head
from helpers.cli import refused

L = keras.layers
RNG = np.random.default_rng(0)
X, Y = RNG.random((24, 8, 8, 2), np.float32), RNG.integers(0, 3, 24)
CALIBRATION = RNG.random((24, 8, 8, 2), np.float32)
SCHEMES = [Scheme(bits=(3, 4, 4)), Scheme(bits=(6, 6, 6), percentile="dynamic")]
REPAIRED = Scheme(bits=(4, 5, 5), remedies=["equalize", "search MSBs", "refit kernels", "fold mean shift"])


def nested(x):
    inside = keras.Sequential([L.Input((6, 6, 4)), L.Conv2D(5, 3, name="conv"), L.ReLU()], name="block")
    x = inside(L.Conv2D(4, 3, activation="relu", name="conv")(x))
    return L.Dense(3, activation="softmax", name="out")(L.Flatten()(x * 0.5 + 1))


def one_unit(x):
    return L.Dense(1, activation="sigmoid", name="out")(L.Flatten()(L.Conv2D(4, 3, activation="silu", name="conv")(x)))


def transposed(x):
    x = L.Conv2D(4, 3, strides=2, activation="relu", name="conv")(x)
    x = L.Conv2DTranspose(3, 3, activation="relu", name="up")(x)
    return L.Dense(3, name="out")(L.GlobalAveragePooling2D()(x))


def built(layers, name="net"):
    keras.utils.set_random_seed(3)
    x = L.Input((8, 8, 2))
    return keras.Model(x, layers(x), name=name)


def labels(model):
    return Y if model.output_shape[-1] > 1 else (Y > 0).astype(int)


@pytest.mark.parametrize("layers", [nested, one_unit, transposed])
def test_a_study_answers_as_evaluation_does(layers):
    model = built(layers)
    y = labels(model)
    study = run_schemes(model, SCHEMES, CALIBRATION, (X, y))
    outputs = model.predict_on_batch(X)
    taken = outputs.argmax(1) if outputs.shape[1] > 1 else outputs[:, 0] > 0.5
    assert np.array_equal(study.float.top1, taken == y)
    assert study.float.top5.all() and len(study) == 3
    for scheme, network in quantize_each(model, SCHEMES, CALIBRATION):
        outputs = network.predict_on_batch(X)
        taken = outputs.argmax(1) if outputs.shape[1] > 1 else outputs[:, 0] > 0.5
        assert np.array_equal(study[scheme].top1, taken == y)


@pytest.mark.parametrize("layers", [nested, one_unit])
def test_every_remedy_works_on_nested_and_activated_networks(layers):
    model = built(layers)
    [(_, network)] = quantize_each(model, [REPAIRED], X)
    assert np.isfinite(network.predict_on_batch(X)).all()


def test_layers_are_named_as_the_quantized_network_names_them():
    model = built(nested)
    names = [layer.name for layer in quantize_model(model).rounding_layers]
    assert names == ["conv", "block_conv", "out"]
    [(_, network)] = quantize_each(model, [Scheme(bits=(4, 4, 4), layers=["block_conv"])], X)
    assert [layer.enabled for layer in network.rounding_layers] == [False, True, False]
    with pytest.raises(InputError, match="no layer 'block' to quantize; there are conv, block_conv, out"):
        next(iter(quantize_each(model, [Scheme(bits=(4, 4, 4), layers=["block"])], X)))


def test_two_inputs_are_calibrated_searched_and_refitted():
    keras.utils.set_random_seed(4)
    a, b = L.Input((8, 8, 2), name="a"), L.Input((5,), name="b")
    x = L.Concatenate()([L.Flatten()(L.Conv2D(3, 3, activation="relu", name="conv")(a)), b])
    model = keras.Model({"a": a, "b": b}, L.Dense(2, name="out")(x), name="net")
    given = {"a": X, "b": RNG.random((24, 5), np.float32)}
    [(_, network)] = quantize_each(
        model, [REPAIRED.model_copy(update={"remedies": ("search MSBs", "refit kernels")})], given
    )
    assert np.isfinite(network.predict_on_batch(given)).all()
    with pytest.raises(InputError, match="net has 2 inputs; it must have one, of images"):
        run_schemes(model, SCHEMES, given, (X, Y))


def test_data_of_all_kinds_are_answered_alike():
    model = built(nested)
    study = run_schemes(model, SCHEMES, CALIBRATION, (X, Y))
    for data in (Split(X, Y), [(X[:10], Y[:10]), (X[10:], Y[10:])]):
        other = run_schemes(model, SCHEMES, iter(CALIBRATION), data)
        assert all(np.array_equal(study[scheme].top1, other[scheme].top1) for scheme in study)


def test_several_labels_have_no_answer():
    model = built(lambda x: L.Dense(2, activation="sigmoid")(L.Flatten()(x)))
    with pytest.raises(InputError, match="net gives images several labels, and a study keeps one answer per image"):
        run_schemes(model, SCHEMES, CALIBRATION, (X, np.zeros((24, 2), int)))


# The search


def divergence(wanted, found):
    wanted, found = (np.asarray(x, np.float64) for x in (wanted, found))
    if wanted.shape[1] == 1:
        wanted, found = (np.concatenate([p, 1 - p], 1) for p in (wanted, found))
    return float(np.sum(wanted * np.log(wanted / found)))


@pytest.mark.parametrize("layers", [nested, one_unit])
def test_probabilities_are_not_taken_for_logits(layers):
    """The search goes by the divergence of the probabilities themselves: it never ends further from float."""
    model = built(layers)
    network = quantize_model(model, formats_for(model, X, (8, 4, 4), 100.0), rounding="nearest")
    wanted = dequantize_model(network).predict_on_batch(X)
    found = search_msbs(network, X)
    assert divergence(wanted, found.predict_on_batch(X)) <= divergence(wanted, network.predict_on_batch(X)) * (1 + 1e-5)
    assert found.formats != network.formats


@pytest.mark.parametrize("bits", [3, 4])
def test_the_search_of_a_softmax_is_that_of_its_logits(bits):
    """Their divergence is the same, so each edge ends at the same MSBs."""
    model = built(nested)
    model.get_layer("out").kernel.assign(6 * model.get_layer("out").kernel)  # far from uniform
    logits = without_head(canonical(model))
    formats = formats_for(model, X, (8, bits, bits), 100.0)
    found = [search_msbs(quantize_model(m, formats, rounding="nearest"), X).formats for m in (model, logits)]
    assert found[0] == found[1] != formats


def test_a_network_without_a_head_is_searched_by_the_error_of_its_outputs():
    x = L.Input((8, 8, 2))
    y = L.Conv2D(4, 3, activation="relu", name="conv")(x)
    model = keras.Model(x, [L.Conv2D(1, 1, name="mask")(y), L.Dense(1, name="size")(L.Flatten()(y))])
    network = quantize_model(model, formats_for(model, X, (8, 4, 4), 100.0), rounding="nearest")
    wanted = dequantize_model(network).predict_on_batch(X)

    def error(network):
        return sum(np.mean((a - b) ** 2) / np.mean(a**2) for a, b in zip(wanted, network.predict_on_batch(X)))

    assert error(search_msbs(network, X)) <= error(network) * (1 + 1e-5)


# Repairs of other convolutions


@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
@pytest.mark.parametrize("options", [{}, {"strides": 2}, {"dilation_rate": 2}])
def test_windows_of_sequences_times_the_kernel_are_the_convolution(padding, options):
    keras.utils.set_random_seed(5)
    x = L.Input((11, 3))
    conv = L.Conv1D(4, 3, padding=padding, use_bias=False, name="conv", **options)
    model = keras.Model(x, L.Flatten()(conv(x)))
    images = RNG.normal(size=(150, 11, 3)).cumsum(1).astype(np.float32)  # correlated
    kernel = ops.convert_to_numpy(conv.kernel).reshape(9, 4)
    products = _windows(conv, images) @ kernel
    assert np.allclose(products.reshape(150, -1), model.predict_on_batch(images), atol=1e-5)
    network = quantize_model(model, formats_for(model, images, (2, None, None), 100.0), rounding="nearest")
    wanted = model.predict_on_batch(images)
    errors = [np.mean((m.predict_on_batch(images) - wanted) ** 2) for m in (network, refit_kernels(network, images))]
    assert errors[1] < errors[0]


def test_equalizing_changes_no_output_of_a_transposed_convolution():
    model = built(transposed)
    model.get_layer("conv").kernel.assign(model.get_layer("conv").kernel * 2.0 ** np.arange(-2, 2))
    model.get_layer("up").kernel.assign(model.get_layer("up").kernel * 8)
    assert np.array_equal(equalize(model).predict_on_batch(X), model.predict_on_batch(X))


def test_a_transposed_convolution_is_not_refitted():
    network = quantize_model(built(transposed), formats_for(built(transposed), X))
    with pytest.raises(
        InputError, match="up is a transposed convolution; refitting takes convolutions and dense layers"
    ):
        post_training.refit_kernels(network, X)


# The command


def test_the_command_compares_a_sigmoid_unit_with_two_classes(tmp_path, capsys):
    path, data, file = tmp_path / "net.keras", tmp_path / "mine.npz", tmp_path / "schemes.toml"
    built(one_unit).save(path)
    np.savez(data, images=X, labels=Y > 0, classes=["no", "yes"])
    file.write_text('[[grid]]\nname = "one"\nfixed = { bits = [8, 8, 8] }\n')
    command = ["schemes", str(path), str(file), "--data", str(data), "--output", str(tmp_path / "out.json")]
    assert f"all images of {data} set formats, and none is left to test; lower --calibrate" in refused(command, capsys)
    command += ["--calibrate", "8"]
    assert main(command) == 0
    assert "8-8-8; nearest; 99.9 %" in capsys.readouterr().out
    np.savez(data, images=X, labels=Y, classes=["a", "b", "c"])
    assert f"{path} has 2 classes, and the data has 3" in refused(command, capsys)


# Images in two roles


def test_an_image_that_sets_formats_does_not_judge_them():
    model = built(nested)
    mixed = np.concatenate([X[3:5], CALIBRATION])
    with pytest.raises(InputError, match="2 of the 24 images to answer are calibration images too, .*; leave them out"):
        run_schemes(model, SCHEMES, mixed, (X, Y))
    assert shared_images(X, mixed).nonzero()[0].tolist() == [3, 4]
    assert shared_images(X.astype(np.float64), mixed).sum() == 2
    assert not shared_images(X + np.float32(1e-6), mixed).any()

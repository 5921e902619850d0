"""Core ML packages: whole or not there, with the shapes, the kernels and the quantizers of the network."""

from shutil import copytree

import numpy as np
import pytest

from fewbits import FixedPoint, InputError, zoo
from fewbits.backend import keras
from fewbits.quantization.activations import QuantizedActivation, QuantizedPReLU
from fewbits.quantization.conversion import quantize_model
from fewbits.quantization.layers import effective_weights
from helpers.every_layer import every_layer

pytest.importorskip("coremltools")
from fewbits.deploy import coreml  # noqa: E402

L = keras.layers


def small(**options):
    keras.utils.set_random_seed(0)
    image = L.Input((6, 5, 3), name="pixels")
    x = L.Conv2D(4, 3, activation="relu", name="conv")(image)
    x = L.DepthwiseConv2D(2, depth_multiplier=2, name="depth")(x)
    x = L.Dense(7, name="dense")(L.Flatten()(x))
    return keras.Model(image, x, name="small")


def block(path):
    """Return the operations of the package."""
    from coremltools.models import MLModel

    program = MLModel(str(path), skip_model_load=True).get_spec().mlProgram
    [block] = program.functions["main"].block_specializations.values()
    return block.operations


def operations(path):
    """Return the kind of each operation of the package."""
    return [operation.type for operation in block(path)]


def limits(path, kind):
    """Return the constant of each operation of a kind."""
    made = block(path)
    constants = {
        one.outputs[0].name: one.attributes["val"].immediateValue.tensor for one in made if one.type == "const"
    }
    read = [[argument.name for argument in one.inputs["y"].arguments] for one in made if one.type == kind]
    return [constants[name].floats.values[0] for [name] in read]


def holds(path, array):
    return any(np.array_equal(array, w) or np.array_equal(array, w.T) for w in coreml.coreml_weights(path))


def test_a_package_holds_shapes_and_kernels(tmp_path):
    model, path = small(), tmp_path / "small.mlpackage"
    coreml.write_coreml(model, path)
    assert coreml.coreml_shapes(path) == ((1, 6, 5, 3), (1, 7))
    conv, depth, dense = (np.asarray(model.get_layer(name).kernel) for name in ("conv", "depth", "dense"))
    assert holds(path, conv.transpose(3, 2, 0, 1)) and holds(path, dense)
    assert holds(path, depth.reshape(2, 2, 1, 8).transpose(3, 2, 0, 1))
    assert not holds(path, dense + 1)
    assert [p.name for p in tmp_path.iterdir()] == ["small.mlpackage"]


@pytest.mark.parametrize(("rounding", "operation"), [("floor", "floor"), ("nearest", "round")])
def test_a_quantized_network_keeps_its_quantizers_and_its_rounded_kernels(tmp_path, rounding, operation):
    model = quantize_model(small(), (FixedPoint(0, 4), FixedPoint(1, 8), FixedPoint(2, 8)), rounding=rounding)
    path = tmp_path / "small.mlpackage"
    coreml.write_coreml(model, path)
    assert operations(path).count(operation) == 2 * 3
    kernel, _ = effective_weights(model.get_layer("conv"))
    assert holds(path, kernel.transpose(3, 2, 0, 1)) and len(np.unique(kernel)) <= 16


def test_unsigned_codes_end_at_0_and_at_their_largest(tmp_path):
    formats = FixedPoint(0, 4), FixedPoint(1, 4, signed=False), FixedPoint(2, 6, signed=False)
    path = tmp_path / "small.mlpackage"
    coreml.write_coreml(quantize_model(small(), formats, rounding="nearest"), path)
    assert limits(path, "minimum") == [15, 63] * 3 and limits(path, "maximum") == [0, 0] * 3
    signed = quantize_model(small(), (FixedPoint(0, 4), FixedPoint(1, 4), FixedPoint(2, 6)), rounding="nearest")
    coreml.write_coreml(signed, path)
    assert limits(path, "minimum") == [7, 31] * 3 and limits(path, "maximum") == [-8, -32] * 3


def test_batch_normalization_is_folded(tmp_path):
    image = L.Input((5, 5, 1))
    model = keras.Model(image, L.BatchNormalization(name="bn")(L.Conv2D(3, 3, name="conv")(image)))
    model.get_layer("bn").gamma.assign([2, 3, 4])
    coreml.write_coreml(model, tmp_path / "n.mlpackage")
    folded = np.asarray(quantize_model(model, fold_batch_normalization=True).get_layer("conv").kernel)
    assert holds(tmp_path / "n.mlpackage", folded.transpose(3, 2, 0, 1))


def test_a_package_of_every_layer_has_its_kernels_and_shapes(tmp_path):
    model = every_layer()
    coreml.write_coreml(model, tmp_path / "every.mlpackage")  # which checks them
    shapes = coreml.coreml_shapes(tmp_path / "every.mlpackage")
    assert sorted(shapes) == sorted((1, *x.shape[1:]) for x in (*model.inputs, *model.outputs))


def test_quantized_activations_keep_their_quantizers(tmp_path):
    image = L.Input((4, 4, 2))
    formats = (FixedPoint(0, 6), FixedPoint(1, 8), FixedPoint(1, 8))
    x = [QuantizedActivation("tanh", formats=formats)(image), QuantizedPReLU("normal", formats=formats)(image)]
    coreml.write_coreml(keras.Model(image, x), tmp_path / "q.mlpackage")
    assert operations(tmp_path / "q.mlpackage").count("floor") == 1 + 2  # of the image, which both round alike


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (L.Dense(2, activation="gelu", name="odd"), "layer odd has the activation gelu, .* use silu or elu instead"),
        (L.UpSampling2D(interpolation="bicubic", name="odd"), "layer odd resizes by bicubic; Core ML packages take"),
    ],
)
def test_what_coremltools_does_not_know_is_refused_by_layer(layer, said, tmp_path):
    image = L.Input((4, 4, 2))
    with pytest.raises(InputError, match=said):
        coreml.write_coreml(keras.Model(image, layer(image)), tmp_path / "odd.mlpackage")


def test_another_package_is_replaced_as_a_whole_and_anything_else_is_not(tmp_path):
    path = tmp_path / "small.mlpackage"
    coreml.write_coreml(small(), path)
    (path / "left over").write_text("of the old one")
    coreml.write_coreml(small(), path)
    assert sorted(p.name for p in path.iterdir()) == ["Data", "Manifest.json"]
    foreign = tmp_path / "photos.mlpackage"
    foreign.mkdir()
    (foreign / "one.png").write_text("dear to someone")
    with pytest.raises(InputError, match="photos.mlpackage exists and is not a Core ML package"):
        coreml.write_coreml(small(), foreign)
    assert (foreign / "one.png").exists()


def test_a_package_that_is_not_what_was_meant_takes_no_place(tmp_path, monkeypatch):
    path, model = tmp_path / "small.mlpackage", small()
    coreml.write_coreml(model, path)
    before = sorted((p.relative_to(path), p.read_bytes()) for p in path.rglob("*") if p.is_file())
    other = small()
    other.get_layer("depth").kernel.assign(np.asarray(model.get_layer("depth").kernel)[::-1])
    convert = coreml._converted
    monkeypatch.setattr(coreml, "_converted", lambda tools, frozen: convert(tools, coreml.freeze(other)))
    with pytest.raises(InputError, match="Core ML has changed the kernel of layer depth"):
        coreml.write_coreml(model, path)
    monkeypatch.setattr(coreml, "_converted", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        coreml.write_coreml(model, path)
    assert sorted((p.relative_to(path), p.read_bytes()) for p in path.rglob("*") if p.is_file()) == before
    assert [p.name for p in tmp_path.iterdir()] == ["small.mlpackage"]


def test_a_damaged_package_is_refused(tmp_path):
    coreml.write_coreml(small(), tmp_path / "a.mlpackage")
    for name in ("Manifest.json", "Data/com.apple.CoreML/model.mlmodel"):
        path = copytree(tmp_path / "a.mlpackage", tmp_path / f"{len(name)}.mlpackage")
        (path / name).write_bytes((path / name).read_bytes()[:40])
        with pytest.raises(InputError, match="cannot be read"):
            coreml.coreml_shapes(path)


def test_what_cannot_be_exported_is_refused_by_layer(tmp_path):
    model = quantize_model(zoo.build("lenet", (8, 8, 1), 3), (FixedPoint(0, 8),) * 3, rounding="thesis")
    with pytest.raises(InputError, match="layer conv1 rounds as the thesis does"):
        coreml.write_coreml(model, tmp_path / "t.mlpackage")
    image = keras.layers.Input((4, 4, 1))
    normalized = keras.Model(image, keras.layers.BatchNormalization(name="bn")(keras.layers.Conv2D(2, 1)(image)))
    with pytest.raises(InputError, match="layer bn normalizes quantized values"):
        coreml.write_coreml(quantize_model(normalized, (FixedPoint(0, 4),) * 3), tmp_path / "t.mlpackage")
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_moves_into_a_kernel_is_no_change(tmp_path):
    image = L.Input((6, 5, 3))
    model = keras.Model(image, L.Dense(2)(L.Flatten()(L.Conv2D(4, 3, name="linear")(image))))
    model = quantize_model(model, (FixedPoint(0, 8), FixedPoint(3, 8), FixedPoint(3, 8)), rounding="nearest")
    coreml.write_coreml(model, tmp_path / "small.mlpackage")
    kernel, _ = effective_weights(model.get_layer("linear"))
    assert holds(tmp_path / "small.mlpackage", 16 * kernel.transpose(3, 2, 0, 1))

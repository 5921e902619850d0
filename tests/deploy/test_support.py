"""What can be done with a network, layer by layer and form by form, and the command that prints it."""

import pytest

from fewbits import FixedPoint
from fewbits.backend import keras
from fewbits.cli import main
from fewbits.deploy import export_support, layer_support
from fewbits.quantization.conversion import quantize_model

layers = keras.layers


def network():
    image = layers.Input((8, 8, 3))
    inner = keras.Sequential([layers.Input((8, 8, 3)), layers.Conv2D(4, 3, padding="same", name="conv")], name="inner")
    x = layers.BatchNormalization(name="one")(inner(layers.RandomFlip(name="flip")(image)))
    x = layers.BatchNormalization(name="two")(layers.ReLU(name="relu")(x))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="reader")(x)
    return keras.Model(image, layers.Dense(2, name="logits")(layers.Flatten(name="flat")(x)), name="net")


def test_each_layer_says_what_becomes_of_it():
    found = {row.name: row for row in layer_support(network())}
    assert list(found) == ["flip", "conv", "one", "relu", "two", "reader", "flat", "logits"]
    assert found["conv"][1:] == ("Conv2D", "quantized", "4 filters can be removed")
    assert found["one"].quantization == "folded into conv"
    assert found["two"].quantization == "a convolution of its own: it reads relu, which has no kernel"
    assert found["logits"].pruning == "keeps all filters: it makes an output of the model"
    assert found["flip"][1:] == ("RandomFlip", "acts in training only", "")


def test_a_form_that_a_network_cannot_take_says_why():
    support = export_support(network())
    assert support.pop("hls4ml").startswith("layer two is a DepthwiseConv2D, which cannot be exported to hls4ml")
    assert len(support) == 8 and set(support.values()) == {""}
    image = layers.Input((8, 8, 3))
    larger = layers.UpSampling2D(interpolation="bilinear", name="up")(layers.LeakyReLU(name="leaky")(image))
    support = export_support(keras.Model(image, layers.Dense(2)(layers.Flatten()(larger))))
    assert support["LiteRT"] == support["ONNX"] == support["QONNX"] == ""
    assert all(support[form].startswith("layer up ") for form in ("integers", "C", "integer ONNX", "hls4ml"))


def test_activations_and_preprocessing_say_what_becomes_of_them():
    image = layers.Input((8, 8, 3))
    x = layers.Rescaling(1 / 255, -1, name="scale")(image)
    x = layers.Conv2D(4, 3, padding="same", activation="silu", name="conv")(x)
    x = layers.AveragePooling2D(2, name="mean")(layers.PReLU(name="prelu")(x))
    found = {row.name: row.quantization for row in layer_support(keras.Model(image, layers.Add()([x, x])))}
    assert found["scale"] == "folded into conv with fold_preprocessing; what it adds stays"
    assert found["conv_activation"] == found["prelu"] == found["mean_quantizer"] == "quantized"
    assert found["mean"] == "no quantizer of its own"


def test_an_operation_that_is_no_layer_is_listed():
    image = layers.Input((8, 8, 3))
    x = keras.ops.sort(layers.Conv2D(4, 3, name="conv")(image)[..., :2])
    found = layer_support(keras.Model(image, layers.Dense(2)(layers.Flatten()(x))))
    assert [row.kind for row in found] == ["Conv2D", "GetItem", "Sort", "Flatten", "Dense"]
    assert found[1].quantization == "no quantizer of its own"
    assert found[2].quantization.startswith(f"layer {found[2].name} is a Sort, which cannot be quantized")


def test_a_network_that_cannot_be_quantized_takes_no_form():
    image = layers.Input((8, 8, 3))
    model = keras.Model(image, layers.Dense(2)(layers.LayerNormalization(name="norm")(image)))
    assert layer_support(model)[0].quantization.startswith("layer norm is a LayerNormalization")
    assert all("norm is a LayerNormalization" in reason for reason in export_support(model).values())


@pytest.mark.parametrize("layer", [layers.RandomZoom(0.1), layers.GaussianNoise(0.1), layers.SpatialDropout2D(0.1)])
def test_layers_that_only_act_in_training_are_left_out_of_exports(layer):
    layer = type(layer).from_config(layer.get_config())
    image = layers.Input((8, 8, 3))
    model = keras.Model(image, layers.Dense(2)(layers.Flatten()(layer(image))))
    support = export_support(model)
    assert support["integers"] == support["C"] == support["integer ONNX"] == support["ONNX"] == ""


def test_the_command_prints_both_tables_and_exits_with_1_if_a_layer_is_refused(tmp_path, capsys):
    path = tmp_path / "net.keras"
    network().save(path)
    assert main(["check", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "one     BatchNormalization  folded into conv\n" in printed
    assert "LiteRT in int8: yes\n" in printed
    image = layers.Input((8, 8, 3))
    keras.Model(image, layers.Dense(2)(layers.UnitNormalization(name="unit")(image))).save(path)
    assert main(["check", str(path)]) == 1
    assert "unit is a UnitNormalization" in capsys.readouterr().out


def test_integers_beyond_those_of_a_runtime_are_refused_for_it_alone():
    image = layers.Input((8, 8, 3))
    model = quantize_model(keras.Model(image, layers.Conv2D(2, 3, name="wide")(image)), rounding="nearest")
    model.set_formats((FixedPoint(0, 12), FixedPoint(0, 8), FixedPoint(3, 8)))
    support = export_support(model)
    assert support["integers"] == support["C"] == support["ONNX"] == ""
    assert support["integer ONNX"].startswith("layer wide multiplies codes of more than 8 bits")
    assert support["LiteRT in int8"].startswith("layer wide has codes of 12 bits")


def test_unsigned_formats_are_told_and_take_every_form(tmp_path, capsys):
    image, unsigned = layers.Input((8, 8, 3)), FixedPoint(1, 8, signed=False)
    x = layers.Conv2D(2, 3, activation="relu", name="first")(image)
    model = quantize_model(keras.Model(image, layers.Conv2D(3, 3, name="second")(x)), rounding="nearest")
    model.set_formats((FixedPoint(0, 8), unsigned, FixedPoint(3, 8)))
    model.get_layer("second").set_formats((FixedPoint(0, 4), FixedPoint(1, 4), FixedPoint(0, 4)), unsigned)
    first, second = layer_support(model)
    assert first.quantization == "quantized: kernel ap_fixed<8, 1>, input ap_ufixed<8, 2>, output ap_fixed<8, 4>"
    assert second.quantization == "quantized: kernel of 4 bits per filter, input ap_ufixed<8, 2>"
    model.get_layer("second").set_formats(FixedPoint(0, 4), unsigned, FixedPoint(2, 8))
    assert set(export_support(model).values()) == {""}
    model.save(tmp_path / "unsigned.keras")
    assert main(["check", str(tmp_path / "unsigned.keras")]) == 0
    assert "input ap_ufixed<8, 2>" in capsys.readouterr().out


def test_several_inputs_and_outputs_take_every_form():
    inputs = [layers.Input((8, 8, 3)), layers.Input((6, 2))]
    joined = layers.Concatenate()([layers.Flatten()(x) for x in inputs])
    model = keras.Model(inputs, [layers.Dense(2, activation="softmax")(joined), layers.Dense(3)(joined)])
    assert set(export_support(model).values()) == {""}

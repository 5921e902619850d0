"""LiteRT files: sizes, precisions, and a quantized network's own codes, equal on XNNPACK."""

from functools import cache

import numpy as np
import pytest

from fewbits import FixedPoint, InputError, zoo
from fewbits.backend import keras
from fewbits.io import weights
from fewbits.io.tflite import LiteRTRunner
from fewbits.quantization import calibration
from fewbits.quantization.conversion import quantize_model
from fewbits.quantization.fixedpoint import to_codes
from fewbits.zoo.trained import find_weights
from helpers.every_layer import every_layer, several

pytest.importorskip("ai_edge_litert")
from ai_edge_litert import schema_py_generated as schema  # noqa: E402

from fewbits.deploy.litert import compare_litert, to_litert  # noqa: E402

L = keras.layers
OPERATORS = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}


def images_for(model, n=5):
    return np.random.default_rng(0).integers(0, 256, (n, *model.input_shape[1:])).astype(np.float32) / 256


def trained(name, shape):
    model = zoo.build(name, shape, 10)
    weights.load_weights(model, find_weights(name))
    return model


@cache
def converted(model):
    """Return one quantized network per model, which is compiled once; `quantized` sets all that differs."""
    return quantize_model(model, fold_batch_normalization=True)


def quantized(model, bits=8, rounding="nearest", **options):
    model = converted(model)
    model.set_rounding(rounding)
    model.set_formats(calibration.formats_for(model, images_for(model), bits, 99.9, **options))
    return model


def outputs(content, images, **options):
    runner = LiteRTRunner(content, **options)
    return np.stack([runner.run(image) for image in images])


def tensors(content):
    """Yield input, kernel and bias of each operator that multiplies, and the buffers of the file."""
    file = schema.ModelT.InitFromPackedBuf(content, 0)
    [graph] = file.subgraphs
    for operator in graph.operators:
        kind = OPERATORS[file.operatorCodes[operator.opcodeIndex].builtinCode]
        if kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            yield [graph.tensors[i] for i in operator.inputs], file.buffers


@pytest.fixture(scope="module")
def squeezenet():
    return trained("squeezenet_digits", (8, 8, 1))


def test_the_precisions_of_a_float_network(squeezenet):
    images = images_for(squeezenet)
    ours, whole = squeezenet.predict(images, verbose=0), None
    sizes = {}
    for precision, off in (("float32", 1e-5), ("float16", 1e-2), ("int8", 0.1)):
        content = to_litert(squeezenet, precision, images)
        sizes[precision] = len(content)
        gap = np.abs(outputs(content, images) - ours).max() / np.abs(ours).max()
        assert gap <= off
        whole = whole or len(content)
    assert sizes["float32"] > 1.8 * sizes["float16"] > 1.8 * 1.5 * sizes["int8"]


def test_a_quantized_network_in_float_is_the_simulation(squeezenet):
    for rounding in ("floor", "nearest-away"):
        model = quantized(squeezenet, (6, 5, 8), rounding)
        images = images_for(model)
        np.testing.assert_array_equal(outputs(to_litert(model), images), model.predict(images, verbose=0))


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize(
    ("bits", "options"), [(8, {}), ((6, 5, 4), {}), (8, {"per_channel": True}), ((4, 8, 7), {"per_channel": True})]
)
def test_the_int8_file_has_our_codes_in_every_layer(squeezenet, bits, options, signed):
    model = quantized(squeezenet, bits, signed=signed, **options)
    assert {layer.formats.input.signed for layer in model.quantized_layers} == {signed}
    found = compare_litert(model, images_for(model))
    assert list(found) == [*(layer.name for layer in model.quantized_layers), "pool10"]
    assert all(agreement.different == 0 and agreement.codes > 0 for agreement in found.values()), found


@pytest.fixture(scope="module")
def mobilenet():
    network = zoo.build("mobilenet_cifar", (16, 16, 3), 7, width=0.1)
    rng = np.random.default_rng(0)
    network.set_weights([np.abs(rng.normal(1, 0.3, w.shape)) if w.ndim == 1 else w for w in network.get_weights()])
    return network


@pytest.mark.parametrize(("per_channel", "signed"), [(False, True), (True, False)])
def test_depthwise_layers_too(mobilenet, per_channel, signed):
    model = quantized(mobilenet, per_channel=per_channel, signed=signed)
    found = compare_litert(model, images_for(model))
    assert all(agreement.different == 0 for agreement in found.values()), found


def test_the_trained_network_for_cifar_is_equal_and_takes_27_percent_of_the_bytes():
    network = trained("squeezenet_cifar", (32, 32, 3))  # formats of neighbours differ, in a concatenation too
    model = quantized(network)
    images = images_for(model, 2)
    whole, content = to_litert(network), to_litert(model, "int8")
    assert len(content) <= 0.27 * len(whole)
    np.testing.assert_array_equal(outputs(content, images), model.predict(images, verbose=0))


def test_kernels_and_biases_in_the_file_are_our_codes_and_scales(squeezenet):
    model = quantized(squeezenet)
    seen = 0
    for (image, kernel, bias), buffers in tensors(to_litert(model, "int8")):
        codes = np.frombuffer(buffers[kernel.buffer].data.tobytes(), np.int8).reshape(kernel.shape)
        for layer in model.quantized_layers:
            fmt, x = layer.formats.kernel, layer.formats.input
            ours = np.moveaxis(to_codes(np.asarray(layer.kernel), fmt, "nearest"), -1, 0)
            if ours.shape == codes.shape and np.array_equal(ours, codes):
                assert kernel.quantization.scale == [fmt.step] and image.quantization.scale == [x.step]
                biases = np.frombuffer(buffers[bias.buffer].data.tobytes(), np.int32)
                np.testing.assert_array_equal(biases, np.rint(np.asarray(layer.bias) / (fmt.step * x.step)))
                assert bias.quantization.scale == [fmt.step * x.step]
                seen += 1
    assert seen == len(model.quantized_layers)


def test_other_roundings_are_told_apart(squeezenet):
    model = quantized(squeezenet, rounding="floor")
    found = compare_litert(model, images_for(model))
    assert found["conv1"].different > 0 and 1 <= found["conv1"].largest <= 2
    model = quantized(squeezenet)
    own_kernels = compare_litert(model, images_for(model), delegate=False)
    assert sum(agreement.different for agreement in own_kernels.values()) > 0  # they round twice


def several_outputs(content, images):
    """Return the outputs of a file as Keras does, for a list of images per input."""
    runner = LiteRTRunner(content)
    return [np.stack(x) for x in zip(*(runner.run_all(*of_each) for of_each in zip(*images)))]


def test_every_layer_in_float_is_that_of_keras():
    model = every_layer()
    images = several(model)
    for ours, theirs in zip(model.predict(images, verbose=0), several_outputs(to_litert(model), images), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-5 * np.abs(ours).max())


def test_options_that_tensorflow_does_not_convert_are_refused_by_layer():
    image = L.Input((4, 4, 2))
    for layer, said in (
        (L.UpSampling2D(interpolation="bicubic", name="odd"), "layer odd resizes by bicubic"),
        (L.Conv2DTranspose(2, 3, dilation_rate=2, name="odd"), "layer odd is a Conv2DTranspose with dilation"),
    ):
        with pytest.raises(InputError, match=said):
            to_litert(keras.Model(image, layer(image)))


def mixed(head, join=L.Maximum, signed=False):
    """Return a quantized network of joins, functions, one-dimensional and grouped convolutions, and its images."""
    keras.utils.set_random_seed(1)
    image, steps = L.Input((7, 6, 4)), L.Input((8, 3))
    x = L.Conv2D(4, 3, groups=2, padding="same", activation="silu")(image)
    x = L.LeakyReLU(0.3)(L.Conv2D(4, 2, activation="relu")(x))
    x = join(name="joined")([x, L.Dense(4, activation="sigmoid")(L.GlobalAveragePooling2D(keepdims=True)(x))])
    y = L.DepthwiseConv1D(3, padding="same")(L.Conv1D(3, 3, padding="causal", dilation_rate=2)(steps))
    y = L.PReLU("normal")(y)
    joined = L.Concatenate()([L.GlobalMaxPooling2D()(x), L.GlobalMaxPooling1D()(y)])
    model = quantize_model(keras.Model([image, steps], head(joined)), rounding="nearest")
    images = [np.random.default_rng(i).random((4, *x.shape[1:]), np.float32) for i, x in enumerate(model.inputs)]
    model.set_formats(calibration.formats_for(model, images, 8, signed=signed))
    return model, images


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_int8_codes_of_functions_joins_and_sequences_are_ours(signed):
    model, images = mixed(lambda x: [L.Dense(3)(x), L.Dense(2, activation="relu")(x)], signed=signed)
    found = compare_litert(model, images)
    assert {layer.name for layer in model.rounding_layers} == {*found}
    assert all(agreement.different == 0 and agreement.codes > 0 for agreement in found.values()), found


def test_products_are_off_by_a_step_at_most():
    model, images = mixed(L.Dense(3), L.Multiply)
    assert compare_litert(model, images)["joined_quantizer"].largest <= 1  # XNNPACK rounds halves up


@pytest.mark.parametrize(
    "head",
    [
        lambda x: L.Dense(3, activation="softmax")(x),
        lambda x: L.Softmax()(L.Dense(3)(x)),
        lambda x: [L.Dense(3, activation="sigmoid")(x), L.Activation("tanh")(L.Dense(2)(x))],
    ],
    ids=["softmax", "softmax as a layer", "two heads"],
)
def test_what_comes_before_a_softmax_is_compared_and_the_softmax_is_in_float(head):
    model, images = mixed(head)
    found = compare_litert(model, images)
    assert all(agreement.different == 0 for agreement in found.values()), found
    ours = keras.tree.flatten(model.predict(images, verbose=0))
    for mine, theirs in zip(ours, several_outputs(to_litert(model, "int8"), images), strict=True):
        np.testing.assert_allclose(theirs, mine, atol=1e-6)


def test_the_lowest_code_stays(squeezenet):
    image = L.Input((3, 3, 1))
    model = quantize_model(keras.Model(image, L.Conv2D(2, 2, name="c")(image), name="low"), rounding="nearest")
    model.set_formats((FixedPoint(0, 8), FixedPoint(0, 8), FixedPoint(1, 8)))
    kernel = np.linspace(-1, 0.5, 8, dtype=np.float32).reshape(2, 2, 1, 2)
    model.get_layer("c").kernel.assign(kernel)
    images = np.linspace(-1.5, 1.5, 27, dtype=np.float32).reshape(3, 3, 3, 1)
    np.testing.assert_array_equal(outputs(to_litert(model, "int8"), images), model.predict(images, verbose=0))


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_the_lowest_weight_code_times_the_lowest_input_code_is_right(signed):
    """The specification leaves out the weight code -128, so that 16 bits hold two products."""
    image = L.Input((5, 5, 8))
    x = L.DepthwiseConv2D(2, name="depthwise")(L.Conv2D(8, 3, name="convolution")(image))
    model = quantize_model(keras.Model(image, L.Dense(3, name="dense")(L.Flatten()(x))), rounding="nearest")
    model.set_formats((FixedPoint(0, 8), FixedPoint(0, 8) if signed else UNSIGNED, FixedPoint(6, 8)))
    for layer in model.quantized_layers:
        layer.kernel.assign(np.full(layer.kernel.shape, -1))
    noise = np.random.default_rng(2).uniform(-4, 4, (3, 5, 5, 8))
    images = np.float32([np.full((5, 5, 8), -1), np.full((5, 5, 8), 4), *noise])
    for delegate in (True, False):
        found = compare_litert(model, images, delegate)
        assert all(each.largest <= (0 if delegate else 1) for each in found.values()), found  # its kernels round twice
    kernels = [buffers[kernel.buffer].data for (_, kernel, *_), buffers in tensors(to_litert(model, "int8"))]
    assert len(kernels) == 3 and all((codes.view(np.int8) == -128).all() for codes in kernels)


def test_names_that_keras_gives_tell_layers_apart():
    keras.utils.set_random_seed(4)
    stack = [keras.layers.Input((8, 8, 1)), *(keras.layers.Conv2D(3, 3, name=f"conv{end}") for end in ("", "_1", "_2"))]
    model = quantized(keras.Sequential([*stack, keras.layers.Flatten(), keras.layers.Dense(4)]))
    assert all(found.different == 0 for found in compare_litert(model, images_for(model)).values())


def test_an_average_between_layers_of_other_steps_is_computed_in_float():
    keras.utils.set_random_seed(4)
    stack = [keras.layers.Conv2D(3, 3, activation="relu", name="a"), keras.layers.AveragePooling2D(2)]
    model = keras.Sequential([keras.layers.Input((8, 8, 1)), *stack, keras.layers.Conv2D(3, 1, name="b")])
    model = quantize_model(model, rounding="nearest")
    model.set_formats((FixedPoint(0, 8), FixedPoint(1, 8), FixedPoint(2, 8)))
    found = compare_litert(model, images_for(model))
    assert found["a"].different == 0 and found["b"].different == 0


def joined(join, *read):
    """Return a quantized network in which `join` makes one tensor of signed and unsigned codes, read by formats."""
    image = L.Input((6, 6, 3))
    signed = L.Conv2D(4, 3, padding="same", name="signed")(image)
    unsigned = L.Conv2D(4, 3, padding="same", activation="relu", name="unsigned")(image)
    x = join([signed, unsigned])
    model = keras.Model(image, [L.Conv2D(3, 1, name=f"reader{i}")(x) for i in range(len(read))])
    model = quantize_model(model, rounding="nearest")
    for variable in model.trainable_variables:
        variable.assign(np.random.default_rng(3).uniform(-0.6, 0.6, variable.shape))
    kernel, x = FixedPoint(0, 8), FixedPoint(1, 8)
    outputs = {"signed": FixedPoint(2, 8), "unsigned": FixedPoint(2, 8, signed=False)}
    formats = {name: (kernel, x, output) for name, output in outputs.items() if name in model.formats}
    readers = {f"reader{i}": (kernel, fmt, FixedPoint(2, 8)) for i, fmt in enumerate(read)}
    others = {layer.name: (None, None, read[0]) for layer in model.rounding_layers}
    model.set_formats(others | formats | readers)
    return model


SIGNED, UNSIGNED = FixedPoint(2, 8), FixedPoint(1, 8, signed=False)


@pytest.mark.parametrize(
    ("join", "read"),
    [
        (L.Concatenate(), [SIGNED]),
        (L.Concatenate(), [UNSIGNED]),
        (L.Add(), [SIGNED]),
        (L.Add(), [UNSIGNED, SIGNED]),
        (L.Subtract(), [FixedPoint(2, 5, signed=False)]),
        (L.Multiply(), [SIGNED]),
        (L.Maximum(), [UNSIGNED]),
        (lambda both: L.MaxPooling2D(2)(both[1]), [SIGNED, UNSIGNED]),
        (lambda both: L.ZeroPadding2D(1)(both[0]), [SIGNED, UNSIGNED]),
        (lambda both: L.AveragePooling2D(2)(both[0]), [UNSIGNED]),
        (lambda both: L.AveragePooling2D(2)(both[1]), [SIGNED]),
    ],
)
def test_signed_and_unsigned_codes_meet_without_a_difference(join, read):
    images = np.random.default_rng(0).uniform(-2, 2, (3, 6, 6, 3)).astype(np.float32)
    found = compare_litert(joined(join, *read), images)
    assert all(agreement.different == 0 for agreement in found.values()), found


def test_codes_that_are_read_with_and_without_a_sign_are_refused_by_layer():
    with pytest.raises(InputError, match="layers reader0 and reader1 read the same codes, signed and unsigned"):
        to_litert(joined(L.Concatenate(), SIGNED, UNSIGNED), "int8")


def test_codes_of_unsigned_formats_have_the_zero_point_minus_128(squeezenet):
    model = quantized(squeezenet)
    for (image, kernel, bias), _ in tensors(to_litert(model, "int8")):
        assert (image.type, kernel.type) == (schema.TensorType.INT8,) * 2 and bias.type == schema.TensorType.INT32
        assert (list(image.quantization.zeroPoint), set(kernel.quantization.zeroPoint)) == ([-128], {0})
        assert set(bias.quantization.zeroPoint) == {0}


def fine(kernel=8, x=8, output=8):
    return tuple(FixedPoint(0, n) for n in (kernel, x, output))


@pytest.mark.parametrize(
    ("formats", "options", "said"),
    [
        (fine(x=9), {}, "layer conv2 has codes of 9 bits; int8 holds 8"),
        ((*fine()[:2], None), {}, "layer conv2 computes in float"),
        (fine(), {"bias_order": "output"}, "the bias of layer conv1 is not on the grid"),
        (fine(), {"rounding": "thesis"}, "layer conv1 rounds as the thesis does"),
    ],
)
def test_what_int8_cannot_hold_is_refused_by_layer(formats, options, said):
    model = quantize_model(zoo.build("lenet", (8, 8, 1), 3), fine(), **options)
    model.get_layer("conv2").set_formats(*formats)
    with pytest.raises(InputError, match=said):
        to_litert(model, "int8")


def test_layers_whose_codes_int8_does_not_keep_are_refused_by_name():
    image = L.Input((4, 4, 2))
    x = L.Conv2D(2, 1, activation="softmax", name="inside")(image)
    model = quantize_model(keras.Model(image, L.Conv2D(2, 1)(x)), fine())
    with pytest.raises(InputError, match="layer inside has the activation softmax inside the network"):
        to_litert(model, "int8")
    model = quantize_model(keras.Model(image, L.Conv2DTranspose(2, 2, name="up")(image)), fine())
    with pytest.raises(InputError, match="layer up is a Conv2DTranspose, .* use UpSampling2D and Conv2D instead"):
        to_litert(model, "int8")


def test_activations_have_eight_bits_in_int8():
    model, images = mixed(L.Dense(2))
    model.set_formats(calibration.formats_for(model, images, (8, 8, 6)))
    with pytest.raises(InputError, match="is an activation; in int8 its input and output formats must have 8 bits"):
        to_litert(model, "int8")


def test_a_float_network_needs_images_and_a_precision_is_one_of_three(squeezenet):
    with pytest.raises(InputError, match="int8 needs representative images"):
        to_litert(squeezenet, "int8")
    with pytest.raises(InputError, match="unknown precision 'int4'; it is one of float32, float16, int8"):
        to_litert(squeezenet, "int4")


def test_layers_of_equal_kernels_keep_their_own_codes():
    image, shared = L.Input((8, 8, 3)), L.Conv2D(3, 3, padding="same", name="shared")
    model = quantize_model(
        keras.Model(image, shared(L.ReLU()(shared(image)))), rounding="nearest", duplicate_shared=True
    )
    model.set_formats(
        {
            name: (FixedPoint(msb, 8), FixedPoint(1, 8), FixedPoint(2, 8))
            for name, msb in (("shared", 0), ("shared_2", 1))
        }
    )
    found = compare_litert(model, images_for(model))
    assert {name: agreement.different for name, agreement in found.items()} == dict.fromkeys(model.formats, 0)

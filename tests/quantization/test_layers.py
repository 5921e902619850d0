"""The quantized layers: exact, switchable without a new trace, locked when they say so, and saved whole."""

import numpy as np
import pytest

from fewbits import FixedPoint, InputError, quantize
from fewbits.backend import keras, ops
from fewbits.quantization.layers import Formats, QuantizedConv2D, QuantizedDense, QuantizedDepthwiseConv2D

F8 = FixedPoint(0, 8)
FORMATS = (FixedPoint(0, 8), FixedPoint(0, 6), FixedPoint(3, 8))
PLAIN = {
    QuantizedConv2D: keras.layers.Conv2D,
    QuantizedDepthwiseConv2D: keras.layers.DepthwiseConv2D,
    QuantizedDense: keras.layers.Dense,
}
every_layer = pytest.mark.parametrize("kind", PLAIN)
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1.2, 1.2, (16, 6, 6, 3)).astype("float32")
LABELS = RNG.integers(0, 4, 16)


def build(kind, cls=None, **settings):
    arguments = {QuantizedConv2D: (4, 3), QuantizedDepthwiseConv2D: (3,), QuantizedDense: (4,)}[kind]
    layer = (cls or kind)(*arguments, bias_initializer="random_normal", **settings)
    layer.build((None, 6, 6, 3))
    return layer


def small_network(seed=0, **settings):
    keras.utils.set_random_seed(seed)
    layers = [
        keras.layers.Input((6, 6, 3)),
        QuantizedConv2D(4, 3, formats=FORMATS, activation="relu", name="first", **settings),
        QuantizedDepthwiseConv2D(3, formats=FORMATS, name="second", **settings),
        keras.layers.Flatten(),
        QuantizedDense(4, formats=FORMATS, name="third", **settings),
    ]
    return keras.Sequential(layers)


def compiled(model, optimizer=None):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.SGD(0.05, momentum=0.9), loss, metrics=["accuracy"], jit_compile=False)
    return model


def outputs(layer, x=IMAGES):
    return ops.convert_to_numpy(layer(x))


# What it computes


@every_layer
@pytest.mark.parametrize("rounding", ["floor", "nearest", "nearest-up", "nearest-away", "thesis"])
def test_a_layer_is_the_plain_layer_between_numpy_quantizers(kind, rounding):
    layer, plain = build(kind, formats=FORMATS, rounding=rounding), build(kind, PLAIN[kind], use_bias=False)
    kernel, bias = (ops.convert_to_numpy(v) for v in (layer.kernel, layer.bias))
    plain.kernel.assign(quantize(kernel, FORMATS[0], rounding))
    products = outputs(plain, quantize(IMAGES, FORMATS[1], rounding))
    grid = FORMATS[0].step * FORMATS[1].step
    expected = quantize(products + (np.round(bias / grid) * grid).astype("float32"), FORMATS[2], rounding)
    assert np.array_equal(outputs(layer), expected)


@every_layer
def test_vieitos_order_adds_the_bias_after_the_output_quantizer_in_float(kind):
    layer = build(kind, formats=FORMATS, bias_order="output")
    expected = quantize(ops.convert_to_numpy(layer.extract(IMAGES)), FORMATS[2]) + ops.convert_to_numpy(layer.bias)
    assert np.array_equal(outputs(layer), expected)


@every_layer
def test_a_layer_that_is_not_enabled_is_exactly_the_plain_one(kind):
    layer, plain = build(kind, formats=FORMATS, activation="relu", enabled=False), build(kind, PLAIN[kind])
    plain.activation = keras.activations.relu
    plain.set_weights([ops.convert_to_numpy(v) for v in (layer.kernel, layer.bias)])
    assert np.array_equal(outputs(layer), outputs(plain))


@every_layer
def test_a_missing_format_leaves_that_value_in_float(kind):
    layer = build(kind, formats=(F8, None, None))
    plain = build(kind, PLAIN[kind])
    plain.set_weights([quantize(ops.convert_to_numpy(layer.kernel), F8), ops.convert_to_numpy(layer.bias)])
    assert np.array_equal(outputs(layer), outputs(plain))


@every_layer
def test_each_filter_can_have_its_own_kernel_format(kind):
    filters = build(kind).compute_output_shape((None, 6, 6, 3))[-1]
    per_filter = [FixedPoint(-i, 4) for i in range(filters)]
    layer = build(kind, formats=(per_filter, None, None), use_bias=False)
    plain = build(kind, PLAIN[kind], use_bias=False)
    kernel = ops.convert_to_numpy(layer.kernel)
    flat = kernel.reshape(-1, filters)
    rounded = np.stack([quantize(flat[:, i], fmt) for i, fmt in enumerate(per_filter)], -1)
    plain.kernel.assign(rounded.reshape(kernel.shape))
    assert np.array_equal(outputs(layer), outputs(plain))
    assert layer.formats.kernel == tuple(per_filter)


def test_a_bias_can_have_a_format_of_its_own():
    layer = build(QuantizedConv2D, formats=(F8, F8, None, FixedPoint(-2, 3)))
    expected = ops.convert_to_numpy(layer.extract(IMAGES)) + quantize(layer.bias.numpy(), FixedPoint(-2, 3))
    assert np.array_equal(outputs(layer), expected)


def test_a_layer_without_bias_computes():
    assert outputs(build(QuantizedDense, formats=FORMATS, use_bias=False)).shape == (16, 6, 6, 4)


# What can change at any time


def count_traces(model):
    """Count each tracing of `model` from now on."""
    counted = []
    call = model.call
    model.call = lambda *args, **kwargs: (counted.append(1), call(*args, **kwargs))[1]
    return counted


def test_a_hundred_changes_trace_nothing_anew():
    model = compiled(small_network())
    traces = count_traces(model)

    def use():
        model.fit(IMAGES, LABELS, batch_size=16, verbose=0)
        model.evaluate(IMAGES, LABELS, batch_size=16, verbose=0)
        model.predict(IMAGES, batch_size=16, verbose=0)

    use()
    before = len(traces)
    layer = model.get_layer("first")
    for i in range(25):
        fmt = FixedPoint(i % 5 - 2, 2 + i % 7)
        layer.set_formats([fmt] * 4, None if i % 3 else fmt, fmt)
        layer.rounding = ("floor", "nearest", "thesis")[i % 3]
        layer.enabled = bool(i % 4)
        layer.locked = bool(i % 2)
        use()
    assert len(traces) == before > 0


def test_changes_act_on_a_compiled_model():
    model = compiled(small_network())
    seen = [model.predict(IMAGES, verbose=0)]
    layer = model.get_layer("first")
    for change in (
        lambda: layer.set_formats(FixedPoint(0, 2), *FORMATS[1:]),
        lambda: setattr(layer, "rounding", "nearest"),
        lambda: setattr(layer, "enabled", False),
    ):
        change()
        seen.append(model.predict(IMAGES, verbose=0))
    assert all(not np.array_equal(a, b) for a, b in zip(seen, seen[1:]))


# Locking

OPTIMIZERS = {
    "momentum": lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_locked_layer_keeps_every_bit_while_the_others_move(optimizer):
    model = compiled(small_network(), OPTIMIZERS[optimizer]())
    model.fit(IMAGES, LABELS, epochs=1, verbose=0)  # momentum that would push on
    model.get_layer("first").locked = True
    before = {layer.name: [w.copy() for w in layer.get_weights()[:2]] for layer in model.layers if layer.weights}
    model.fit(IMAGES, LABELS, epochs=3, verbose=0)
    for layer in model.layers:
        if layer.weights:
            same = [np.array_equal(a, b) for a, b in zip(before[layer.name], layer.get_weights()[:2])]
            assert all(same) if layer.name == "first" else not any(same)


def test_an_unlocked_layer_moves_on_from_where_it_was():
    model = compiled(small_network())
    layer = model.get_layer("first")
    layer.locked = True
    model.fit(IMAGES, LABELS, verbose=0)
    before = layer.kernel.numpy()
    layer.locked = False
    model.fit(IMAGES, LABELS, verbose=0)
    assert not np.array_equal(before, layer.kernel.numpy())
    assert np.abs(before - layer.kernel.numpy()).max() < 0.5


def test_a_lock_is_saved_and_keeps_the_loaded_weights(tmp_path):
    model = small_network()
    model.get_layer("first").locked = True
    model.save(tmp_path / "model.keras")
    again = compiled(keras.models.load_model(tmp_path / "model.keras"))
    before = again.get_layer("first").kernel.numpy()
    again.fit(IMAGES, LABELS, verbose=0)
    assert again.get_layer("first").locked
    assert np.array_equal(model.get_layer("first").kernel.numpy(), before)
    assert np.array_equal(again.get_layer("first").kernel.numpy(), before)


def test_a_constraint_of_the_users_still_holds():
    layer = build(QuantizedDense, kernel_constraint=keras.constraints.NonNeg())
    assert (ops.convert_to_numpy(layer.kernel.constraint(layer.kernel)) >= 0).all()


# Gradient


@pytest.mark.parametrize(("gradient", "expected"), [("clipped", 0.0), ("identity", 1.0)])
def test_the_gradient_beyond_the_range_is_the_one_asked_for(gradient, expected):
    import tensorflow as tf

    layer = QuantizedDense(1, use_bias=False, formats=(None, F8, None), gradient=gradient, kernel_initializer="ones")
    x = tf.constant([[5.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    assert tape.gradient(y, x).numpy() == expected


def test_every_layer_learns_through_its_quantizers():
    model = compiled(small_network())
    before = [w.copy() for w in model.get_weights()]
    model.fit(IMAGES, LABELS, verbose=0)
    moved = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights()) if a.dtype == np.float32]
    assert all(moved) and len(moved) == 6


# Saving


@pytest.mark.parametrize("suffix", ["model.keras", "model.weights.h5"])
def test_saving_keeps_formats_switches_and_outputs(tmp_path, suffix):
    model = small_network()
    first, second, _ = (layer for layer in model.layers if layer.weights)
    first.set_formats([FixedPoint(i, 5) for i in range(4)], FixedPoint(1, 7), None, FixedPoint(2, 9))
    first.locked, second.enabled, second.rounding = True, False, "nearest"
    path = str(tmp_path / suffix)
    if suffix.endswith(".keras"):
        model.save(path)
        again = keras.models.load_model(path)
    else:
        model.save_weights(path)
        again = small_network(seed=1)
        again.load_weights(path)
    for a, b in zip(model.layers, again.layers):
        if a.weights:
            assert (a.formats, a.enabled, a.locked, a.rounding) == (b.formats, b.enabled, b.locked, b.rounding)
    assert np.array_equal(model.predict(IMAGES, verbose=0), again.predict(IMAGES, verbose=0))


# Bad input


@pytest.mark.parametrize(
    ("formats", "said"),
    [
        ((8, 8, 8), "kernel format must be a FixedPoint"),
        (3, r"formats must be \(kernel, input, output\)"),
        ((F8, FixedPoint(0, 25), F8), "more than 24 bits"),
        ((F8, (F8, FixedPoint(1, 8)), F8), "the input takes one format"),
        (((F8, FixedPoint(0, 4)), None, None), "equal bits"),
    ],
)
def test_formats_that_are_none_are_refused(formats, said):
    with pytest.raises(InputError, match=said):
        QuantizedDense(4, formats=formats)


def test_kernel_formats_must_be_one_a_filter():
    with pytest.raises(InputError, match="has 4 filters, not 3"):
        build(QuantizedConv2D).set_formats((F8, FixedPoint(1, 8), F8))


@pytest.mark.parametrize("setting", [{"rounding": "stochastic"}, {"gradient": "steep"}, {"bias_order": "before"}])
def test_an_unknown_setting_is_refused_with_those_that_exist(setting):
    with pytest.raises(InputError, match="it is one of"):
        QuantizedDense(4, **setting)


def test_channels_first_is_refused():
    with pytest.raises(InputError, match="channels last"):
        QuantizedConv2D(4, 3, data_format="channels_first")


def test_formats_read_back_as_they_were_set():
    layer = build(QuantizedConv2D)
    assert layer.formats == Formats(None, None, None, None)
    layer.set_formats(*FORMATS)
    assert layer.formats == Formats(*FORMATS)

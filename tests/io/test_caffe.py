"""Caffe's files: one that the test writes byte by byte, one of NumPy's, and what is wrong with others."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from fewbits import InputError, zoo
from fewbits.backend import keras, ops
from fewbits.io.caffe import load_caffe_weights
from helpers.caffe import caffemodel, inside, npz, varint

layers = keras.layers
RNG = np.random.default_rng(0)
ARRAYS = {
    "conv1": (RNG.normal(size=(4, 3, 3, 5)), RNG.normal(size=4)),
    "fire2/squeeze1x1": (RNG.normal(size=(2, 4, 1, 1)), RNG.normal(size=2)),
}


def network():
    stack = [
        layers.Input((8, 8, 3)),
        layers.Conv2D(4, (3, 5), name="conv1"),
        layers.Conv2D(2, 1, name="fire2_squeeze1x1"),
    ]
    return keras.Sequential(stack, name="net")


@pytest.fixture(params=["new", "old", "unpacked", "npz"])
def written(request, tmp_path):
    def write(arrays):
        path = tmp_path / ("w.npz" if request.param == "npz" else "w.caffemodel")
        if request.param == "npz":
            npz(path, arrays)
        else:
            path.write_bytes(caffemodel(arrays, old=request.param == "old", packed=request.param != "unpacked"))
        return path

    return write


def test_kernels_are_turned_and_biases_kept(written):
    model = network()
    load_caffe_weights(model, written(ARRAYS))
    x = RNG.normal(size=(2, 8, 8, 3)).astype("float32")
    kernel, bias = ARRAYS["conv1"]
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 5), axis=(1, 2))  # (n, y, x, in, height, width)
    by_hand = np.einsum("nyxihw,oihw->nyxo", windows, kernel) + bias
    assert np.allclose(ops.convert_to_numpy(model.layers[0](x)), by_hand, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("fire2/squeeze1x1"), "fire2/squeeze1x1"),
        (lambda a: a.update(conv1=(a["conv1"][0][:, :2], a["conv1"][1])), r"kernel of conv1 is \(3, 5, 2, 4\)"),
        (lambda a: a.update(conv1=(a["conv1"][0], a["conv1"][1][:3])), "bias of conv1"),
        (lambda a: a.update(conv1=(a["conv1"][0] * np.nan, a["conv1"][1])), "kernel of conv1 holds NaN"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_layer_and_nothing_changes(change, message, written):
    arrays = dict(ARRAYS)
    change(arrays)
    model = network()
    before = model.get_weights()
    with pytest.raises(InputError, match=message):
        load_caffe_weights(model, written(arrays))
    assert all((a == b).all() for a, b in zip(model.get_weights(), before))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("between", [[], [layers.ReLU(), layers.Dropout(0.5)]])
def test_a_dense_layer_behind_a_flattening_has_its_inputs_in_the_order_of_caffe(old, between, tmp_path):
    stack = [layers.Flatten(), *between, layers.Dense(7, name="fc6"), layers.Dense(2, name="fc7")]
    model = keras.Sequential([layers.Input((3, 4, 5)), *stack])
    arrays = {
        "fc6": (RNG.normal(size=(7, 60)), RNG.normal(size=7)),
        "fc7": (RNG.normal(size=(2, 7)), RNG.normal(size=2)),
    }
    path = tmp_path / "w.caffemodel"
    path.write_bytes(caffemodel(arrays, old))
    load_caffe_weights(model, path)
    x = RNG.uniform(size=(6, 3, 4, 5)).astype("float32")
    channels_first = np.moveaxis(x, -1, 1).reshape(6, 60)
    (kernel6, bias6), (kernel7, bias7) = arrays["fc6"], arrays["fc7"]
    by_hand = (channels_first @ kernel6.T + bias6) @ kernel7.T + bias7
    assert np.allclose(ops.convert_to_numpy(model(x)), by_hand, atol=1e-4)


def test_a_dense_layer_that_reads_several_arrays_is_refused_by_name(tmp_path):
    x = layers.Input((2, 2, 3))
    both = layers.Concatenate()([layers.Flatten()(x), layers.GlobalAveragePooling2D()(x)])
    npz(tmp_path / "w.npz", {"fc": (np.zeros((2, 15)), np.zeros(2))})
    with pytest.raises(InputError, match="fc reads several arrays as one"):
        load_caffe_weights(keras.Model(x, layers.Dense(2, name="fc")(both)), tmp_path / "w.npz")


def test_a_network_without_bias_is_refused_by_layer(tmp_path):
    model = keras.Sequential([layers.Input((8, 8, 3)), layers.Conv2D(4, (3, 5), use_bias=False, name="conv1")])
    npz(tmp_path / "w.npz", ARRAYS)
    with pytest.raises(InputError, match="conv1 of .* has no bias"):
        load_caffe_weights(model, tmp_path / "w.npz")


def test_what_is_no_number_is_refused_by_layer(tmp_path):
    npz(tmp_path / "w.npz", ARRAYS | {"conv1": (np.full((4, 3, 3, 5), "one"), np.zeros(4))})
    with pytest.raises(InputError, match="the kernel of conv1 does not hold numbers"):
        load_caffe_weights(network(), tmp_path / "w.npz")


def test_of_a_truncated_file_the_last_whole_layer_is_told(tmp_path):
    content, path = caffemodel(ARRAYS), tmp_path / "cut.caffemodel"
    path.write_bytes(content[:-5])
    with pytest.raises(
        InputError, match="cut.caffemodel cannot be read; the last layer read is conv1; it may be trunc"
    ):
        load_caffe_weights(network(), path)


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path):
    content, path = caffemodel(ARRAYS), tmp_path / "cut.caffemodel"
    for end in range(0, len(content), 7):
        path.write_bytes(content[:end])
        with pytest.raises(InputError, match="cut.caffemodel"):
            load_caffe_weights(network(), path)


def test_a_shape_that_does_not_count_its_numbers_is_refused(tmp_path):
    path = tmp_path / "w.caffemodel"
    bad = inside(7, inside(1, varint(2**63 - 1) * 3)) + inside(5, struct.pack("<f", 1))
    path.write_bytes(inside(100, inside(1, b"conv1") + inside(7, bad) * 2))
    with pytest.raises(InputError, match="conv1 holds 1 numbers"):
        load_caffe_weights(network(), path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="none.caffemodel does not exist"):
        load_caffe_weights(network(), tmp_path / "none.caffemodel")


def test_the_published_squeezenet_fits():
    path = Path(os.environ.get("FEWBITS_DATA", "none"), "squeezenet", "squeezenet_v1.1_imagenet.npz")
    if not path.exists():
        pytest.skip(f"{path.name} is not in FEWBITS_DATA")
    model = zoo.build("squeezenet_v1_1", (227, 227, 3), 1000, pooling="ceil")
    load_caffe_weights(model, path)
    assert ops.convert_to_numpy(model.get_layer("fire9_expand3x3").kernel).std() > 0

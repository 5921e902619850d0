"""HDF5 and NumPy files: weights, codes that mean them, and what layers compute, as others read them."""

import h5py
import numpy as np
import pytest

from fewbits import FixedPoint, InputError, to_codes, zoo
from fewbits.backend import keras
from fewbits.deploy.arrays import weights_and_codes, write_hdf5_arrays, write_npz_arrays
from fewbits.quantization.conversion import quantize_model

L = keras.layers


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return zoo.build("mobilenet_cifar", (16, 16, 3), 5, width=0.1)


@pytest.fixture
def quantized(network):
    model = quantize_model(network, fold_batch_normalization=True, rounding="nearest")
    for i, layer in enumerate(model.quantized_layers):
        kernel = tuple(FixedPoint((i + c) % 3 - 1, 5) for c in range(layer._filters))
        layer.set_formats(kernel, FixedPoint(1, 8, signed=False), FixedPoint(2, 7))
        layer.bias.assign(np.linspace(-1, 1, layer.bias.shape[0]))
    return model


def test_the_file_holds_every_weight_and_what_layers_compute(network, tmp_path):
    images = np.random.default_rng(0).random((5, 16, 16, 3), np.float32)
    write_hdf5_arrays(network, tmp_path / "m.h5", (images[:3], images[3:]))
    with h5py.File(tmp_path / "m.h5") as file:
        held = {f"{layer.name}/{v.name}": np.asarray(v) for layer in network.layers for v in layer.weights}
        names = []
        file["weights"].visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert sorted(names) == sorted(held)
        for name, values in held.items():
            np.testing.assert_array_equal(file["weights"][name][:], values)
        for name in ("conv0", "block3_depthwise", "fc"):
            part = keras.Model(network.inputs, network.get_layer(name).output)
            np.testing.assert_allclose(file[f"activations/{name}"][:], part.predict(images, verbose=0), atol=1e-5)
        assert file.attrs["network"] == network.name and "MATLAB" in file.attrs["axes"]
        assert file["weights/conv0"].attrs["kind"] == "Conv2D"
    assert (tmp_path / "m.h5").stat().st_size < 4 * network.count_params() + 1_000_000  # 140 arrays


def test_codes_times_their_steps_are_the_kernel_that_is_used(quantized, tmp_path):
    write_hdf5_arrays(quantized, tmp_path / "q.h5")
    with h5py.File(tmp_path / "q.h5") as file:
        for layer in quantized.quantized_layers:
            group = file[f"weights/{layer.name}"]
            msb, [nbits] = group["kernel_msb"][:], group["kernel_nbits"][:]
            kernel, codes = np.asarray(layer.kernel), group["kernel_codes"][:]
            assert codes.dtype == np.int32 and nbits == 5 and len(msb) == layer._filters
            by_filter = kernel.reshape(-1, len(msb)), codes.reshape(-1, len(msb))
            for f, (floats, integers) in enumerate(zip(*(array.T for array in by_filter))):
                np.testing.assert_array_equal(integers, to_codes(floats, FixedPoint(int(msb[f]), 5), "nearest"))
            np.testing.assert_array_equal(group["kernel"][:], kernel)
            grid = 2.0 ** (msb + 1 - 5) * FixedPoint(1, 8).step  # the step of a signed format, too
            np.testing.assert_array_equal(group["bias_used"][:], np.rint(np.asarray(layer.bias) / grid) * grid)
            attributes = dict(group.attrs)
            assert attributes == {
                "kind": type(layer).__name__,
                "rounding": "nearest",
                "input_msb": 1,
                "input_nbits": 8,
                "input_signed": 0,
                "output_msb": 2,
                "output_nbits": 7,
                "output_signed": 1,
            }


def test_npz_holds_the_same_and_needs_no_unpickling(quantized, tmp_path):
    write_npz_arrays(quantized, tmp_path / "q.npz")
    expected = weights_and_codes(quantized)
    with np.load(tmp_path / "q.npz", allow_pickle=False) as file:
        assert sorted(file.files) == sorted(expected)
        for name in file.files:
            np.testing.assert_array_equal(file[name], expected[name])


def test_a_layer_may_be_called_state():
    image = keras.layers.Input((4, 4, 1))
    model = keras.Model(image, keras.layers.Conv2D(2, 1, name="steady_state")(image))
    assert {"steady_state/kernel", "steady_state/bias"} == set(weights_and_codes(model))
    assert {"steady_state/kernel", "steady_state/bias"} < set(
        weights_and_codes(quantize_model(model, (FixedPoint(0, 4),) * 3))
    )


def test_layers_that_are_off_have_no_codes(quantized):
    quantized.set_level(1)
    assert [name for name in weights_and_codes(quantized) if name.endswith("codes")] == ["conv0/kernel_codes"]


def test_nothing_is_left_of_a_network_that_holds_nan(network, tmp_path):
    model = keras.models.clone_model(network)
    model.get_layer("fc").bias.assign(np.full(5, np.inf))
    for do, name in ((write_hdf5_arrays, "m.h5"), (write_npz_arrays, "m.npz")):
        with pytest.raises(InputError, match="bias of layer fc holds NaN or infinity"):
            do(model, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_slopes_and_all_outputs_are_in_the_file(tmp_path):
    image = L.Input((6, 6, 2))
    x = L.PReLU(shared_axes=[1, 2], name="slopes")(L.Conv2D(3, 2, name="conv")(image))
    model = keras.Model(image, [L.Dense(2, name="dense")(L.GlobalMaxPooling2D()(x)), L.Softmax(name="soft")(x)])
    model.get_layer("slopes").alpha.assign([[[0.3, -0.6, 0.0]]])
    model = quantize_model(model, (FixedPoint(0, 4), FixedPoint(0, 8), FixedPoint(0, 8)), rounding="nearest")
    write_hdf5_arrays(model, tmp_path / "m.h5", [np.ones((2, 6, 6, 2), np.float32)])
    with h5py.File(tmp_path / "m.h5") as file:
        np.testing.assert_array_equal(np.ravel(file["weights/slopes/slope_used"][:]), [0.25, -0.625, 0.0])
        assert dict(file["weights/slopes"].attrs)["input_nbits"] == 8
        assert set(file["activations"]) == {"conv", "dense", "soft"}


def test_layers_of_nested_models_have_weights_of_their_own_and_operations_have_activations(tmp_path):
    def block(name):
        return keras.Sequential([L.Input((8, 8, 3)), L.Conv2D(3, 1, name=f"{name}_conv")], name=name)

    image = L.Input((8, 8, 3))
    model = keras.Model(image, keras.ops.softmax(L.Dense(2, name="dense")(block("b")(block("a")(image))), -1))
    images = np.random.default_rng(0).random((3, 8, 8, 3), np.float32)
    write_hdf5_arrays(model, tmp_path / "m.h5", [images])
    with h5py.File(tmp_path / "m.h5") as file:
        assert {"a_conv", "b_conv", "dense"} == set(file["weights"])
        np.testing.assert_array_equal(file["weights/a_conv/kernel"][:], model.get_layer("a").layers[0].kernel)
        [end] = set(file["activations"]) - {"a_conv", "b_conv", "dense"}
        np.testing.assert_allclose(file[f"activations/{end}"][:], model.predict(images, verbose=0), atol=1e-6)

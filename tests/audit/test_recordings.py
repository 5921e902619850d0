"""Files that another runtime wrote: made-up runtimes are named, and files that do not fit are refused in a sentence."""

import h5py
import numpy as np
import pytest

from fewbits import InputError
from fewbits.audit.findings import common_ways, examine_layer
from fewbits.audit.recordings import Recording, read_recording, recorded_traces
from fewbits.audit.roundings import ROUND, in_words
from fewbits.audit.traces import folded, reference_kernel
from fewbits.backend import keras, ops
from fewbits.inspection.extraction import extractor
from helpers.audits import LAYERS, digits, network, quantized

RELU = ("first", "grouped")


def runtime(output, kernel="nearest", kernels=True, levels=100):
    """Return what a made-up runtime with scales of its own, one per filter, and zero points writes for the digits."""
    net, wrote, x = folded(network()), {}, digits().astype(np.float64)
    for layer in net.layers[1:]:
        if layer.name not in LAYERS:
            x = ops.convert_to_numpy(layer(x))
            continue
        own = reference_kernel(layer)
        steps = np.abs(own.columns).max(0) / levels
        codes = ROUND[kernel](own.columns / steps)
        shaped = (codes * steps).reshape(layer.kernel.shape)
        y = ops.convert_to_numpy(layer.product(ops.convert_to_tensor(x), ops.convert_to_tensor(shaped))) + own.bias
        y = np.maximum(y, 0) if layer.name in RELU else y
        step = (y.max() - y.min()) / 240
        zero = np.rint(-120 - y.min() / step)
        made = ROUND[output](y / step)
        wrote |= {f"layers/{layer.name}": (made + zero).astype(np.int8), f"scales/{layer.name}": np.array(step)}
        wrote |= {f"zero_points/{layer.name}": np.array(zero), f"kernel_scales/{layer.name}": steps}
        if kernels:
            wrote[f"kernels/{layer.name}"] = codes.reshape(layer.kernel.shape).astype(np.int8)
        x = made * step
    return wrote


def examine(path, images=None, formats=None):
    net = folded(network())
    traces = recorded_traces(read_recording(path), formats or net, net, digits() if images is None else images)
    return {trace.layer: examine_layer(trace) for trace in traces}


def saved(path, arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize(
    ("output", "kernel"), [("toward-zero", "nearest"), ("floor", "floor"), ("nearest", "floor"), ("ceiling", "nearest")]
)
def test_made_up_runtimes_are_named_with_and_without_their_kernel_codes(tmp_path, output, kernel, kernels):
    found = examine(saved(tmp_path / "device.npz", runtime(output, kernel, kernels)))
    assert tuple(found) == LAYERS
    for name, finding in found.items():
        assert output in finding.naming.roundings or finding.rounding.startswith(output), finding
        assert finding.kernel.startswith(kernel) and finding.naming.explained > 0.999
        if kernel == "floor":
            assert name == "dense" or (-0.7 < finding.slope.mean < -0.3 and finding.truncates)
    assert in_words(common_ways(list(found.values()))).startswith(output)


def test_hdf5_and_npz_are_read_alike(tmp_path):
    arrays = runtime("toward-zero")
    with h5py.File(tmp_path / "device.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    bare = {name.removeprefix("layers/"): array for name, array in arrays.items()}  # in .npz, the group may be missing
    one, other = examine(tmp_path / "device.h5"), examine(saved(tmp_path / "device.npz", bare))
    assert [f.naming for f in one.values()] == [f.naming for f in other.values()]


@pytest.mark.parametrize("rounding", ["floor", "nearest-away"])
def test_values_of_a_quantized_network_are_read_with_its_formats(tmp_path, rounding):
    model = quantized(rounding)
    values = {f"layers/{name}": x for name, x in extractor(model)(digits()).items()}
    found = examine(saved(tmp_path / "values.npz", values), formats=model)
    assert tuple(found) == LAYERS and in_words(common_ways(list(found.values()))) == rounding
    assert all(finding.naming.explained == 1 for finding in found.values())
    assert all(rounding in finding.kernel_naming.roundings for finding in found.values())


def test_chosen_layers_with_their_inputs_need_no_others(tmp_path):
    arrays = runtime("toward-zero")
    only = {name: array for name, array in arrays.items() if name.endswith("/grouped")}
    note = examine(saved(tmp_path / "a.npz", only))["grouped"].note
    assert "lacks layer wide" in note
    step, zero = arrays["scales/wide"], arrays["zero_points/wide"]
    only |= {"inputs/grouped": arrays["layers/wide"], "input_scales/grouped": step, "input_zero_points/grouped": zero}
    own = reference_kernel(folded(network()).get_layer("grouped"))
    only["biases/grouped"] = own.bias / (step * arrays["kernel_scales/grouped"])
    found = examine(saved(tmp_path / "b.npz", only))["grouped"]
    assert not found.note and found.rounding == "floor or toward-zero" and found.naming.explained == 1


def test_a_bias_after_the_rounding_is_taken_off_first(tmp_path):
    from fewbits.quantization.conversion import quantize_model

    model = quantize_model(
        network(), quantized("floor").formats, fold_batch_normalization=True, rounding="floor", bias_order="output"
    )
    values = {f"layers/{name}": x for name, x in extractor(model)(digits()).items()}
    found = examine(saved(tmp_path / "values.npz", values), formats=model)
    assert all(finding.naming.explained > 0.999 and "floor" in finding.rounding for finding in found.values())


def test_the_step_of_values_without_formats_is_found(tmp_path):
    arrays = runtime("toward-zero", kernels=False, levels=3000)
    values = {}
    for name in LAYERS:
        codes = arrays[f"layers/{name}"].astype(np.float64) - arrays[f"zero_points/{name}"]
        values[name] = (codes * arrays[f"scales/{name}"]).astype(np.float32)
    found = examine(saved(tmp_path / "values.npz", values))
    assert found["wide"].rounding == "toward-zero" and found["wide"].kernel in ("", "float")
    [trace, *_] = recorded_traces(Recording("", {"layers": values}), folded(network()), folded(network()), digits())
    assert trace.output_step == pytest.approx(float(arrays["scales/first"]), rel=1e-5)


def wrong(tmp_path, change, images=None):
    arrays = runtime("floor")
    change(arrays)
    with pytest.raises(InputError) as error:
        examine(saved(tmp_path / "wrong.npz", arrays), images)
    return str(error.value)


def test_files_that_do_not_fit_are_refused_in_a_sentence(tmp_path):
    def first(x):
        x["layers/grouped"] = np.moveaxis(x["layers/grouped"], -1, 1)

    def square(x):
        x["layers/first"] = x["layers/first"][:, :-1]

    def nan(x):
        x["layers/first"] = np.where(x["layers/first"] > 3, np.nan, 1.0)

    def unknown(x):
        x["layers/frist"] = x.pop("layers/first")

    def none(x):
        for name in list(x):
            if name.startswith("layers/"):
                del x[name]

    def scale(x):
        del x["scales/first"]

    def kernel(x):
        x["kernels/first"] = x["kernels/first"].transpose(3, 2, 0, 1)

    assert "channels first" in wrong(tmp_path, first)
    assert "the shape (24, 7, 8, 6)" in wrong(tmp_path, square)
    assert "NaN" in wrong(tmp_path, nan)
    assert "has a layer 'frist'" in wrong(tmp_path, unknown) and "perhaps 'first'" in wrong(tmp_path, unknown)
    assert "holds no layers" in wrong(tmp_path, none)
    assert "without a scale" in wrong(tmp_path, scale)
    assert "move them last" in wrong(tmp_path, kernel)
    assert "holds 24 images" in wrong(tmp_path, lambda x: None, digits(20))
    with pytest.raises(InputError, match="does not exist"):
        read_recording(tmp_path / "none.h5")
    (tmp_path / "no.h5").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read"):
        read_recording(tmp_path / "no.h5")
    with pytest.raises(InputError, match="holds no layer with a kernel"):
        examine(saved(tmp_path / "flat.npz", {"flat": np.zeros((24, 32))}))
    with pytest.raises(InputError, match="lie on no grid"):
        rng = np.random.default_rng(0)
        examine(saved(tmp_path / "float.npz", {"first": rng.normal(size=(24, 8, 8, 6))}))


def test_a_network_with_two_inputs_is_refused():
    images = [keras.Input((8, 8, 1)), keras.Input((8, 8, 1))]
    model = folded(keras.Model(images, keras.layers.Conv2D(2, 3, name="a")(keras.layers.Add()(images))))
    with pytest.raises(InputError, match="has 2 inputs"):
        recorded_traces(Recording("device", {"layers": {"a": np.zeros((24, 6, 6, 2))}}), model, model, digits())


def test_channels_first_is_seen_where_the_shape_does_not_show_it():
    keras.utils.set_random_seed(0)
    model = folded(keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, padding="same", name="a")]))
    values = ops.convert_to_numpy(model(digits()))
    for axes, seen in (((0, 1, 2, 3), False), ((0, 3, 1, 2), True)):
        codes = np.floor(values * 64).astype(np.int16).transpose(axes)
        recording = Recording("device", {"layers": {"a": codes}, "scales": {"a": np.array(1 / 64)}})
        if seen:
            with pytest.raises(InputError, match="channels first"):
                recorded_traces(recording, model, model, digits())
        else:
            [trace] = recorded_traces(recording, model, model, digits())
            finding = examine_layer(trace)
            assert finding.rounding == "floor" and finding.kernel == "float"

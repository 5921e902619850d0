"""Weights from .tflite files: from one written here, tensor by tensor, and from MobileNet v1 as published."""

import os
import warnings
from pathlib import Path

import flatbuffers
import numpy as np
import pytest

from fewbits import InputError, zoo
from fewbits.backend import keras, ops
from fewbits.cli import main
from fewbits.costs.latency import measure_latency
from fewbits.deploy.litert import to_litert
from fewbits.io.tflite import litert_interpreter, load_tflite_weights
from fewbits.training.transfer import take_levels
from helpers.cli import refused

schema = pytest.importorskip("tensorflow.lite.python.schema_py_generated")

TYPES = {np.dtype(t): getattr(schema.TensorType, t.upper()) for t in ("float32", "uint8", "float16")}


def tflite(arrays):
    """Return the bytes of a LiteRT file that holds `arrays`, name -> array, or name -> (array, shape to claim)."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description = 3, "for tests"
    model.buffers, graph.tensors = [schema.BufferT()], []
    graph.inputs, graph.outputs, graph.operators, model.operatorCodes = [], [], [], []
    for name, array in arrays.items():
        array, shape = array if isinstance(array, tuple) else (array, array.shape)
        tensor, buffer = schema.TensorT(), schema.BufferT()
        tensor.name, tensor.shape, tensor.type = name.encode(), list(shape), TYPES[array.dtype]
        tensor.buffer = len(model.buffers) if array.size else 0  # which is empty, as of what a layer makes
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        model.buffers.append(buffer)
        graph.tensors.append(tensor)
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def network(width=1 / 32, **options):
    return zoo.build("mobilenet_v1", (32, 32, 3), 3, **{"width": width, "normalize": False} | options)


def arrays_for(model, seed=0):
    """Return arrays of random numbers that fit `model`, named and laid out as the published files have them."""
    rng, found = np.random.default_rng(seed), {}
    for layer in model.layers:
        if not hasattr(layer, "kernel"):
            continue
        kernel, bias = (rng.normal(size=w.shape).astype(np.float32) for w in layer.weights)
        level, _, kind = layer.name.partition("_")
        number = level.removeprefix("conv").removeprefix("block")
        if level == "fc":
            found["MobilenetV1/Logits/Conv2d_1c_1x1/weights"] = kernel.T[:, None, None]
            found["MobilenetV1/Logits/Conv2d_1c_1x1/Conv2D_bias"] = bias
        elif kind == "depthwise":
            found[f"MobilenetV1/Conv2d_{number}_depthwise/depthwise_weights"] = kernel.transpose(3, 0, 1, 2)
            found[f"MobilenetV1/MobilenetV1/Conv2d_{number}_depthwise/depthwise_bias"] = bias
        else:
            theirs = f"Conv2d_{number}_pointwise" if kind else "Conv2d_0"
            found[f"MobilenetV1/{theirs}/weights"] = kernel.transpose(3, 0, 1, 2)
            found[f"MobilenetV1/MobilenetV1/{theirs}/Conv2D_bias"] = bias
    return found


KERNEL, BIAS = "MobilenetV1/Conv2d_3_pointwise/weights", "MobilenetV1/MobilenetV1/Conv2d_3_pointwise/Conv2D_bias"


def write(path, arrays):
    path.write_bytes(tflite(arrays))
    return path


def test_every_layer_gets_its_weights(tmp_path):
    model = network(width=0.1)
    arrays = arrays_for(model)
    load_tflite_weights(model, write(tmp_path / "w.tflite", dict(reversed(arrays.items()))))
    expected = list(arrays.values())
    layers = [layer for layer in model.layers if hasattr(layer, "kernel")]
    assert len(layers) == 28
    for layer, kernel, bias in zip(layers, expected[::2], expected[1::2], strict=True):
        out = ops.convert_to_numpy(layer.kernel)  # (height, width, in, out), or (in, out)
        np.testing.assert_array_equal(out, np.transpose(kernel, (1, 2, 3, 0)).reshape(out.shape))
        np.testing.assert_array_equal(layer.bias, bias)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({KERNEL: None}, "has no tensor Conv2d_3_pointwise/weights; it is not a MobileNet v1 in floats"),
        ({BIAS: None}, "has no tensor Conv2d_3_pointwise/Conv2D_bias"),
        ({BIAS: np.zeros(4, np.uint8)}, "the bias of block3_pointwise holds uint8; floats are needed"),
        ({BIAS: np.zeros(5, np.float32)}, r"the bias of block3_pointwise is \(5,\), but the network needs \(4,\)"),
        (
            {KERNEL: np.zeros((4, 3, 3, 4), np.float32)},
            r"the kernel of block3_pointwise is \(3, 3, 4, 4\), but the netw",
        ),
        ({KERNEL: np.zeros((4, 4), np.float32)}, r"the kernel of block3_pointwise is \(4, 4\)"),
        ({BIAS: np.array([0, 0, np.nan, 0], np.float32)}, "the bias of block3_pointwise holds NaN or infinity"),
        ({BIAS: (np.zeros(4, np.float32), (2**31 - 1,) * 4)}, "w.tflite cannot be read"),
        ({BIAS: (np.zeros(4, np.float32), (-4,))}, "w.tflite"),
        ({BIAS: (np.zeros(0, np.float32), (4,))}, "tensor .*Conv2d_3_pointwise/Conv2D_bias holds no weights"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_layer_and_changes_nothing(tmp_path, changes, message):
    model = network()
    arrays = {name: array for name, array in (arrays_for(model) | changes).items() if array is not None}
    before = model.get_weights()
    with pytest.raises(InputError, match=message):
        load_tflite_weights(model, write(tmp_path / "w.tflite", arrays))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: network(normalize=True), "conv0 of mobilenet_v1 has no bias; build the network with normalize=False"),
        (lambda: zoo.build("lenet", (8, 8, 1), 10), "conv1 of lenet is not a layer of MobileNet v1"),
    ],
)
def test_another_network_is_refused_by_layer(tmp_path, model, message):
    with pytest.raises(InputError, match=message):
        load_tflite_weights(model(), write(tmp_path / "w.tflite", arrays_for(network())))


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path):
    model, path = network(), tmp_path / "cut.tflite"
    content = tflite(arrays_for(model))
    for end in [*range(0, 40, 3), *range(40, len(content) - 64, len(content) // 40)]:
        path.write_bytes(content[:end])
        with pytest.raises(InputError, match="cut.tflite cannot be read; it may be truncated, or not a .tflite file"):
            load_tflite_weights(model, path)


def test_bytes_at_random_are_refused_or_read_but_never_crash(tmp_path):
    model, path, rng = network(), tmp_path / "damaged.tflite", np.random.default_rng(0)
    content = np.frombuffer(tflite(arrays_for(model)), np.uint8)
    for _ in range(60):
        damaged = content.copy()
        damaged[rng.integers(0, len(content), 20)] = rng.integers(0, 256, 20)
        path.write_bytes(damaged.tobytes())
        try:
            load_tflite_weights(model, path)
        except InputError as error:
            assert "damaged.tflite" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("content", [b"", b"TFL3", b"PK\x03\x04" * 99, b"\0" * 1000])
def test_a_foreign_file_is_refused(tmp_path, content):
    (tmp_path / "w.tflite").write_bytes(content)
    with pytest.raises(InputError, match="w.tflite cannot be read; it may be truncated, or not a .tflite file"):
        load_tflite_weights(network(), tmp_path / "w.tflite")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(InputError, match="none.tflite does not exist"):
        load_tflite_weights(network(), tmp_path / "none.tflite")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        load_tflite_weights(network(), str(tmp_path))


def test_the_published_mobilenet_fits_and_has_the_outputs_of_its_file():
    path = Path(os.environ.get("FEWBITS_DATA", "none"), "mobilenet", "mobilenet_v1_0.25_128.tflite")
    if not path.exists():
        pytest.skip(f"{path.name} is not in FEWBITS_DATA")
    model = zoo.build("mobilenet_v1", (128, 128, 3), 1001, width=0.25, normalize=False)
    load_tflite_weights(model, path)
    interpreter = everything_kept(path)
    outputs = {tensor["name"].removeprefix("MobilenetV1/"): tensor for tensor in interpreter.get_tensor_details()}
    tensors = {"fc": "Logits/SpatialSqueeze", "conv0_relu": "MobilenetV1/Conv2d_0/Relu6"}
    for i in range(1, 14):
        for kind in ("depthwise", "pointwise"):
            tensors[f"block{i}_{kind}_relu"] = f"MobilenetV1/Conv2d_{i}_{kind}/Relu6"
    taps = keras.Model(model.input, {name: model.get_layer(name).output for name in tensors})
    smooth = np.add.outer(np.sin(np.arange(128) / 9), np.cos(np.arange(128) / 17))[..., None] / 2 * [1, 0.5, -1]
    noise = np.random.default_rng(0).uniform(-1, 1, (2, 128, 128, 3))
    for image in np.float32([smooth, *noise])[:, None]:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        interpreter.invoke()
        for name, ours in taps(image).items():
            theirs = interpreter.get_tensor(outputs[tensors[name]]["index"])
            assert np.ptp(theirs) > 1
            atol = 1e-4 if name == "fc" else 1e-3  # depthwise weights there reach 18
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol, err_msg=name)
        softmax = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        np.testing.assert_allclose(ops.softmax(model(image)), softmax, rtol=0, atol=1e-5)


def everything_kept(path):
    """Return an interpreter of the file at `path` that keeps the output of every layer."""
    from tensorflow import lite

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpreter = lite.Interpreter(model_path=str(path), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    return interpreter


def test_a_file_becomes_weights_to_start_from(tmp_path, capsys):
    network, output = zoo.build("mobilenet_v1", (32, 32, 3), 1001, width=0.1, normalize=False), tmp_path / "w.npz"
    path = write(tmp_path / "w.tflite", arrays_for(network))
    assert main(["import-litert", str(path), "--width", "0.1", "--output", str(output)]) == 0
    assert capsys.readouterr().out == f"{output} written; {network.count_params():,} parameters\n"
    ours = zoo.build("mobilenet_cifar_folded", (16, 16, 3), 3, width=0.1)
    take_levels(ours, output, 14)
    load_tflite_weights(network, path)
    for mine, theirs in zip(ours.get_weights()[:-2], network.get_weights()[:-2], strict=True):
        np.testing.assert_array_equal(mine, theirs.astype(np.float16))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["w.tflite"], "w.tflite: the kernel of conv0 is (3, 3, 3, 3), but the network needs (3, 3, 3, 32)"),
        (["none.tflite"], "none.tflite does not exist"),
        (["w.tflite", "--width", "0"], "width must be a number of at least 1/32"),
        (["w.tflite", "--output", "w.keras"], "the output must be a .npz file, not w.keras"),
    ],
)
def test_a_file_that_does_not_fit_leaves_no_weights_behind(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    network = zoo.build("mobilenet_v1", (32, 32, 3), 1001, width=0.1, normalize=False)
    write(tmp_path / "w.tflite", arrays_for(network))
    assert message in refused(["import-litert", "--output", "w.npz", *arguments], capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["w.tflite"]


# Files made here


@pytest.fixture(scope="module")
def converted():
    model = zoo.build("mobilenet_cifar", (16, 16, 3), 10, width=0.1)
    rng = np.random.default_rng(0)
    model.set_weights([np.abs(rng.normal(1, 0.3, w.shape)) if w.ndim == 1 else w for w in model.get_weights()])
    return model, to_litert(model)


def test_a_network_as_a_file_has_the_same_outputs_and_its_weights(converted):
    model, content = converted
    images = np.random.default_rng(1).random((3, 16, 16, 3), np.float32)
    running = litert_interpreter(content)
    running.allocate_tensors()
    for image, wanted in zip(images, ops.convert_to_numpy(model(images, training=False))):
        running.set_tensor(running.get_input_details()[0]["index"], image[np.newaxis])
        running.invoke()
        found = running.get_tensor(running.get_output_details()[0]["index"])[0]
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    weights = sum(np.prod(layer.kernel.shape) for layer in model.layers if hasattr(layer, "kernel"))
    assert 4 * weights < len(content) < 4 * model.count_params() + 60_000


def test_latencies_are_of_each_file_in_turn(converted):
    _, content = converted
    found = measure_latency({"a": content, "b": content}, rounds=5)
    assert list(found) == ["a", "b"]
    for latency in found.values():
        assert 0 < latency.low <= latency.median <= latency.high
        assert str(latency).endswith(")") and " ms (" in str(latency)

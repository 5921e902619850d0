"""`fewbits schemes` and `fewbits import-caffe`: what they print and leave, and what they refuse."""

import json

import numpy as np
import pytest
from PIL import Image

from fewbits import zoo
from fewbits.backend import keras, ops
from fewbits.cli import main
from fewbits.data import load
from fewbits.experiment import Scheme, Study, study
from fewbits.io import weights
from fewbits.io.files import read_model
from fewbits.training.evaluation import evaluate
from fewbits.zoo.trained import find_weights
from helpers.caffe import caffemodel, npz
from helpers.cli import refused

L = keras.layers
FILE = """
[common]
percentile = "mse"

[[grid]]
name = "few bits"
vary = { bits = [[8, 8, 8], [3, 4, "float"]] }

[[grid]]
name = "rounded down"
fixed = { bits = [3, 4, "float"], rounding = "floor" }
"""
SCHEMES = [Scheme(bits=b, percentile="mse") for b in ((8, 8, 8), (3, 4, None))]
SCHEMES.append(Scheme(bits=(3, 4, None), percentile="mse", rounding="floor"))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A .keras file of the digits' SqueezeNet with its committed weights."""
    model = zoo.build("squeezenet_digits", (8, 8, 1), 10)
    weights.load_weights(model, find_weights("squeezenet_digits"))
    path = tmp_path_factory.mktemp("network") / "digits.keras"
    model.save(path)
    return path


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "schemes.toml"
    path.write_text(FILE)
    return path


def command(digits, file, *arguments, output="study.json", data="digits"):
    output = file.parent / output
    return ["schemes", *map(str, (digits, file, "--data", data, "--images", 25, "--output", output, *arguments))]


def test_schemes_are_compared_and_a_second_run_runs_what_is_missing(digits, file, capsys, monkeypatch):
    path = file.parent / "study.json"
    assert main(command(digits, file, "--grid", "few bits")) == 0
    said = capsys.readouterr().out
    assert "1 of 3  float-float-float; nearest; 99.9 %" in said and "3 of 3  3-4-float; nearest; mse" in said
    assert "rounded down" not in said
    kept = Study.load(path)
    assert kept.images == 25 and set(kept) == {study.FLOAT_SCHEME, *SCHEMES[:2]}
    part = load("digits")
    chosen = np.sort(np.random.default_rng(0).permutation(len(part.test))[:25])
    images, labels = part.scaled(part.test)[chosen], part.test.labels[chosen]
    assert kept.float.top1.sum() == evaluate(read_model(digits), (images, labels)).hits > 20
    ran = []
    quantize_each = study.quantize_each

    def recorded(model, schemes, images, **options):
        ran.append(list(schemes))
        return quantize_each(model, ran[-1], images, **options)

    monkeypatch.setattr(study, "quantize_each", recorded)
    assert main(command(digits, file)) == 0
    said = capsys.readouterr().out
    assert ran == [SCHEMES[2:]] and "4 of 4  3-4-float; floor; mse\n" in said and "1 of 4" not in said
    whole = Study.load(path)
    table = said[said.index("\nfloat  ") :]
    assert f"\nfloat  {whole.float}\n" in table
    for scheme in SCHEMES:
        lost = whole.under_float(scheme)
        points = f"{100 * lost.mean:5.1f} ± {100 * lost.half_width:.1f} points"
        line = f"  {whole[scheme]}  {points} under float  {scheme.name}\n"
        assert line in table
    assert table.index("few bits") < table.index("rounded down") < table.index(f"{path} written; 25 images, 4 schemes")
    for other in (["--seed", "1"], ["--calibrate", "64"]):
        said = refused(command(digits, file, *other), capsys)
        assert "holds answers of another network or to other images; name another file" in said


def test_ctrl_c_keeps_what_was_run(digits, file, capsys, monkeypatch):
    from fewbits.cli import progress as bars

    def stop(progress, scheme, done, total):
        if done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(bars.SchemesBar, "__call__", stop)
    assert main(command(digits, file)) == 130
    assert list(Study.load(file.parent / "study.json")) == [study.FLOAT_SCHEME, SCHEMES[0]]


@pytest.fixture
def photos(tmp_path):
    """A folder of six photographs of two classes, one of which cannot be read."""
    rng, folder = np.random.default_rng(0), tmp_path / "photos"
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / name / f"{i}.png")
    (folder / "cat" / "broken.png").write_bytes(b"no picture")
    return folder


def test_a_folder_of_images_for_a_network_from_caffe_is_answered(photos, file, capsys):
    keras.utils.set_random_seed(0)
    keras.Sequential([L.Input((12, 12, 3)), L.Conv2D(3, 3, name="a"), L.Flatten(), L.Dense(2, name="b")]).save(
        file.parent / "small.keras"
    )
    options = ["--size", "12", "--order", "bgr", "--mean-pixel", "104,117,123", "--calibrate", "4"]
    assert main(command(file.parent / "small.keras", file, *options, data=photos)) == 0
    said = capsys.readouterr()
    assert "broken.png is skipped" in said.err and "1 file skipped" in said.out
    assert "3 of 6 images set formats and are not tested" in said.out  # of four spread over both classes, one is broken
    assert Study.load(file.parent / "study.json").images == 3


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        (FILE, ["--grid", "fewer bits"], "schemes.toml has no grid 'fewer bits'"),
        (FILE, ["--calibrate", "0"], "--calibrate must be at least 1, not 0"),
        (FILE, ["--images", "0"], "--images must be at least 1, not 0"),
        (FILE, ["--size", "12"], "--size is for folders of images; digits has its own pixels"),
        (FILE.replace("[8, 8, 8]", "[8, 8, 99]"), [], "grid 'few bits', trial 1: bits.2 must be at most 24, not 99"),
        (FILE.replace("percentile", "percentil"), [], "percentil is not a known field, perhaps 'percentile'"),
        (FILE + "layers = [", [], "schemes.toml cannot be read ("),
        ('[[grid]]\nname = "g"\nfixed = { bits = [8, 8, 8], layers = ["conv9"] }', [], "there is no layer 'conv9'"),
        ("", [], "schemes.toml: grid is missing"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(text, arguments, said, digits, file, capsys):
    file.write_text(text)
    assert said in refused(command(digits, file, *arguments), capsys)
    assert not list(file.parent.glob("*.json"))


@pytest.mark.parametrize(
    ("output", "said"), [("study.txt", "must be a .json file"), ("no/study.json", "there is no folder")]
)
def test_a_wrong_output_is_refused_before_the_work(output, said, digits, file, capsys):
    assert said in refused(command(file.parent / "none.keras", file, output=output), capsys)


def test_a_damaged_study_and_a_network_that_does_not_fit_the_data_are_refused(digits, file, capsys):
    path = file.parent / "study.json"
    path.write_text(json.dumps({"images": 25}))
    assert f"{path} is damaged, or not a study" in refused(command(digits, file), capsys)
    assert path.read_text() == '{"images": 25}'
    keras.Sequential([L.Input((8, 8, 1)), L.Flatten(), L.Dense(7)]).save(file.parent / "seven.keras")
    seven = refused(command(file.parent / "seven.keras", file), capsys)
    assert seven.endswith("seven.keras has 7 classes, and the data has 10")
    keras.Sequential([L.Input((9, 9, 1)), L.Flatten(), L.Dense(10)]).save(file.parent / "nine.keras")
    assert "the images of digits" in refused(command(file.parent / "nine.keras", file), capsys)
    assert "none.keras does not exist" in refused(command(file.parent / "none.keras", file), capsys)


# Networks from Caffe


@pytest.fixture(scope="module")
def arrays():
    """What Caffe would keep of a small AlexNet: its fc6 reads channels first."""
    rng, found = np.random.default_rng(0), {}
    for layer in zoo.build("alexnet_small", (8, 8, 3), 5).layers:
        if hasattr(layer, "kernel"):
            shape = tuple(layer.kernel.shape)
            shape = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]
            found[layer.name] = tuple(rng.normal(0, 0.1, s).astype("float32") for s in (shape, shape[:1]))
    return found


def import_caffe(path, *arguments):
    return [
        *("import-caffe", str(path), "--network", "alexnet_small", "--size", "8", "--classes", "5"),
        *("--output", str(path.parent / "network.keras"), *arguments),
    ]


@pytest.mark.parametrize("kind", ["npz", "caffemodel"])
def test_weights_from_caffe_become_a_network(kind, arrays, tmp_path, capsys):
    path = tmp_path / f"w.{kind}"
    npz(path, arrays) if kind == "npz" else path.write_bytes(caffemodel(arrays))
    assert main(import_caffe(path)) == 0
    model = read_model(tmp_path / "network.keras")
    said = f"{tmp_path / 'network.keras'} written; alexnet_small, {model.count_params():,} parameters\n"
    assert capsys.readouterr().out == said
    assert np.array_equal(
        ops.convert_to_numpy(model.get_layer("conv2").kernel), arrays["conv2"][0].transpose(2, 3, 1, 0)
    )
    assert np.array_equal(ops.convert_to_numpy(model.get_layer("fc8").bias), arrays["fc8"][1])


def without(name, arrays):
    return {k: v for k, v in arrays.items() if k != name}


WRONG = {
    "without fc7": (lambda a: without("fc7", a), "fc7"),
    "another shape": (lambda a: a | {"conv3": (a["conv3"][0][:, 1:], a["conv3"][1])}, "the kernel of conv3 is"),
    "another bias": (lambda a: a | {"fc8": (a["fc8"][0], a["fc8"][1][1:])}, "the bias of fc8 is"),
    "NaN": (lambda a: a | {"conv4": (a["conv4"][0] * np.nan, a["conv4"][1])}, "the kernel of conv4 holds NaN"),
    "infinity": (lambda a: a | {"fc6": (a["fc6"][0], a["fc6"][1] / 0)}, "the bias of fc6 holds NaN or infinity"),
}


@pytest.mark.parametrize("kind", ["npz", "caffemodel"])
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_wrong_weights_are_refused_by_layer_and_nothing_is_written(wrong, kind, arrays, tmp_path, capsys):
    change, said = WRONG[wrong]
    path = tmp_path / f"w.{kind}"
    npz(path, change(arrays)) if kind == "npz" else path.write_bytes(caffemodel(change(arrays)))
    sentence = refused(import_caffe(path), capsys)
    assert said in sentence and str(path) in sentence and list(tmp_path.iterdir()) == [path]


def test_a_truncated_file_is_refused_and_nothing_is_written(arrays, tmp_path, capsys):
    path = tmp_path / "w.caffemodel"
    content = caffemodel(arrays)
    path.write_bytes(content[: len(content) // 2])
    sentence = refused(import_caffe(path), capsys)
    assert f"{path} cannot be read; the last layer read is fc6" in sentence and list(tmp_path.iterdir()) == [path]
    npz(tmp_path / "whole.npz", arrays)
    path = (tmp_path / "whole.npz").rename(tmp_path / "cut.npz")
    path.write_bytes(path.read_bytes()[:-1000])
    assert f"{path} cannot be read" in refused(import_caffe(path), capsys)
    assert not list(tmp_path.glob("*.keras"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--network", "alexnet_smal"], "unknown network 'alexnet_smal', perhaps 'alexnet_small'"),
        (["--network", "squeezenet_cifar", "--size", "32"], "conv1 of squeezenet_cifar has no bias"),
        (["--pooling", "ceil"], "alexnet_small has no option 'pooling'"),
        (["--size", "4"], "alexnet_small needs images of at least 8 x 8 pixels, not 4 x 4"),
        (["--classes", "1"], "classes must be an integer of at least 2, not 1"),
        (["--output", "network.h5"], "the output must be a .keras file, not network.h5"),
    ],
)
def test_a_network_that_cannot_be_is_refused(arguments, said, arrays, tmp_path, capsys):
    npz(tmp_path / "w.npz", arrays)
    assert said in refused(import_caffe(tmp_path / "w.npz", *arguments), capsys)
    assert [p.name for p in tmp_path.iterdir()] == ["w.npz"]


def test_weights_that_are_not_there_are_named(tmp_path, capsys):
    for name in ("none.caffemodel", "none.npz"):
        assert f"{name} does not exist" in refused(import_caffe(tmp_path / name), capsys)

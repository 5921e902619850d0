"""The images that commands read: .npz files and folders, prepared as the network and the options say."""

import numpy as np
import pytest
from PIL import Image

from fewbits.backend import keras
from fewbits.cli import main
from fewbits.io.files import read_model
from helpers.cli import refused

L = keras.layers
RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 3
CODES = (RNG.integers(0, 60, (60, 9, 7, 1)) + 80 * LABELS[:, None, None, None]).astype(np.uint8)


def saved(path, shape, *last, kind=L.Conv2D):
    """Return the path of a network for images of `shape`, in a file."""
    keras.utils.set_random_seed(0)
    stack = [L.Input(shape), kind(4, 3, activation="relu", name="conv1"), L.Flatten(), *last]
    keras.Sequential(stack, name="net").save(path)
    return str(path)


def archive(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a network trained on gray bytes without an axis of channels, and the file of the images."""
    folder = tmp_path_factory.mktemp("trained")
    data = archive(
        folder / "mine.npz", x_train=CODES[..., 0], y_train=LABELS, x_test=CODES[:30, ..., 0], y_test=LABELS[:30]
    )
    path = saved(folder / "net.keras", (9, 7, 1), L.Dense(3))
    options = [
        "--epochs",
        "30",
        "--learning-rate",
        "0.01",
        "--optimizer",
        "adam",
        "--output",
        str(folder / "trained.keras"),
    ]
    assert main(["train", "--network", path, "--data", data, *options]) == 0
    return str(folder / "trained.keras"), data


def test_every_command_that_takes_data_takes_a_file_of_arrays(trained, tmp_path, capsys):
    path, data = trained
    assert main(["evaluate", path, "--data", data]) == 0
    said = capsys.readouterr().out
    assert f"on 30 images of the test part of {data}" in said and "top-1  100.00%  (30 of 30; " in said
    few = ["--data", data, "--images", "8"]
    quantized = str(tmp_path / "quantized.keras")
    assert main(["formats", path, *few, "--save-model", quantized]) == 0
    assert f"net, on 8 of 54 images of the train part of {data}" in capsys.readouterr().out
    assert main(["output-extraction", path, *few, "--output", str(tmp_path / "out.h5")]) == 0
    assert main(["export", quantized, *few, "--to", "onnx", "--output", str(tmp_path / "net.onnx")]) == 0
    assert main(["prune", path, "--data", data, "--ratio", "0.5", "--dry-run"]) == 0
    lower = ["--data", data, "--bits", "8", "--strategy", "static", "--output", str(tmp_path / "low.keras")]
    assert main(["progressive-quantization", path, *lower]) == 0
    (tmp_path / "schemes.toml").write_text('[[grid]]\nname = "one"\nfixed = { bits = [8, 8, 8] }\n')
    schemes = ["schemes", path, str(tmp_path / "schemes.toml"), *few, "--calibrate", "8"]
    assert main([*schemes, "--output", str(tmp_path / "out.json")]) == 0
    assert main(["data", data]) == 0
    said = capsys.readouterr().out
    assert f"{data}: 3 classes, images 9 x 7 x 1, uint8" in said and "30 images" in said.splitlines()[-1]


def test_a_network_of_the_zoo_is_trained_on_a_file_of_colours(tmp_path, capsys):
    data = archive(tmp_path / "mine.npz", images=np.repeat(CODES, 3, -1), labels=LABELS)
    output = str(tmp_path / "out.keras")
    command = ["train", "--network", "basicnet", "--data", data, "--epochs", "1", "--output", output]
    assert main(command) == 0
    assert f"training: 54 images of {data}; validation: 6 images of {data}" in capsys.readouterr().out
    archive(data, images=CODES, labels=LABELS + 1)
    assert "have no label 0; number 3 classes from 0 without gaps" in refused(command, capsys)
    archive(data, images=CODES, labels=np.stack([LABELS > 0, LABELS > 1], 1))
    assert "images with several labels need a network of yours with a sigmoid unit for each" in refused(command, capsys)


@pytest.mark.parametrize("options", [[], ["--mean-pixel", "100", "--scale", "0.01"], ["--scale", "1"]])
def test_pixels_of_a_file_are_prepared_as_the_options_say(options, tmp_path, capsys):
    """The kernel is 1 and the rest 0, so the output is the first pixel as it was prepared."""
    path = saved(tmp_path / "net.keras", (9, 7, 1), L.Dense(3))
    model = read_model(path)
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    kernel = np.zeros((3, 3, 1, 4), np.float32)
    kernel[0, 0, 0, 0] = 1
    model.layers[0].kernel.assign(kernel)
    model.save(path)
    data = archive(tmp_path / "mine.npz", images=CODES, labels=LABELS)
    out = str(tmp_path / "out.h5")
    extract = ["output-extraction", path, "--data", data, "--images", "60", "--raw", "--layers", "conv1"]
    assert main([*extract, "--output", out, *options]) == 0
    import h5py

    with h5py.File(out) as file:
        found = file["layers/conv1"][:, 0, 0, 0]
    scale = float(options[-1]) if options else 1 / 256
    assert np.allclose(found, (CODES[:, 0, 0, 0] - 100.0 * ("--mean-pixel" in options)) * scale, rtol=1e-6)


def test_sequences_and_vectors_are_data_too(tmp_path, capsys):
    path = saved(tmp_path / "net.keras", (9, 7), L.Dense(3), kind=L.Conv1D)
    data = archive(tmp_path / "mine.npz", images=CODES[..., 0].astype(np.int16), labels=LABELS)
    assert main(["evaluate", path, "--data", data]) == 0
    keras.Sequential([L.Input((7,)), L.Dense(1, activation="sigmoid")]).save(tmp_path / "one.keras")
    data = archive(tmp_path / "vectors.npz", images=RNG.normal(size=(60, 7)), labels=LABELS > 0)
    assert main(["evaluate", str(tmp_path / "one.keras"), "--data", data]) == 0
    assert "of 60; " in capsys.readouterr().out


def test_several_labels_for_each_image(tmp_path, capsys):
    path = saved(tmp_path / "net.keras", (9, 7, 1), L.Dense(2, activation="sigmoid"))
    data = archive(tmp_path / "mine.npz", images=CODES, labels=np.stack([LABELS > 0, LABELS > 1], 1))
    assert main(["evaluate", path, "--data", data]) == 0
    assert "of 120; " in capsys.readouterr().out
    one = saved(tmp_path / "one.keras", (9, 7, 1), L.Dense(2, activation="softmax"))
    said = refused(["evaluate", one, "--data", data], capsys)
    assert "must hold one class number per image, not labels of the shape (n, 2)" in said


def imbalanced(folder):
    """Return the file of a network, and the options of a training on a folder in which a class is rare."""
    for label, n in (("onion", 12), ("weed", 4)):
        (folder / "plants" / label).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(CODES[3 * i + (label == "weed"), ..., 0]).save(folder / "plants" / label / f"{i}.png")
    path = saved(folder / "net.keras", (9, 7, 1), L.Dense(1, activation="sigmoid"))
    return path, ["--data", str(folder / "plants"), "--epochs", "1", "--output", str(folder / "out.keras")]


def test_classes_are_weighted_by_their_names_and_balanced(tmp_path):
    path, options = imbalanced(tmp_path)
    few, rare = 14 / (2 * 11), 14 / (2 * 3)  # 11 onions and 3 weeds are left for training
    found = []
    for given in ("balanced", f"onion={few},weed={rare}", f"1={rare},0={few}", f"weed={rare}", None):
        assert main(["train", "--network", path, *options, *(["--class-weights", given] if given else [])]) == 0
        found.append(b"".join(w.tobytes() for w in read_model(tmp_path / "out.keras").get_weights()))
    assert found[0] == found[1] == found[2] and len(set(found)) == 3


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("even", "argument --class-weights: 'even' is neither balanced nor weights of classes, such as onion=1,weed=5"),
        ("onion=much", "'onion=much' is neither balanced nor weights of classes"),
        ("onoin=2", "--class-weights: there is no class 'onoin', perhaps 'onion'; there are onion, weed"),
        ("2=2", "class weights name the class 2, and the classes of net are 0 to 1"),
        ("weed=-1", "the weight of class 1 must be a number of at least 0, not -1.0"),
    ],
)
def test_weights_of_classes_that_cannot_be_are_refused(weights, said, tmp_path, capsys):
    path, options = imbalanced(tmp_path)
    for command in (["train", "--network", path], ["progressive-quantization", path]):
        assert said in refused([*command, *options, "--class-weights", weights], capsys, quiet=False)


def test_the_labels_of_a_part_may_be_fewer_than_the_classes_of_the_network(tmp_path, capsys):
    path = saved(tmp_path / "net.keras", (9, 7, 1), L.Dense(3))
    data = archive(tmp_path / "mine.npz", images=CODES, labels=LABELS % 2)
    assert main(["evaluate", path, "--data", data]) == 0
    archive(data, images=CODES, labels=LABELS % 2, classes=["a", "b"])
    assert f"{path} has 3 classes, and the data has 2" in refused(
        ["evaluate", path, "--data", data], capsys, quiet=False
    )
    archive(data, images=CODES, labels=LABELS + 1)
    said = refused(["evaluate", path, "--data", data], capsys, quiet=False)
    assert "the data hold the label 3; net has 3 classes, 0 to 2" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--size", "9"], "--size is for folders of images; {data} has its own pixels"),
        (["--no-crop"], "--no-crop is for folders of images; {data} has its own pixels"),
        (["--background", "black"], "--background is for folders of images; {data} has its own pixels"),
        (["--order", "bgr"], "the order bgr is for images of 3 channels, and these have 1; leave it out"),
        (["--order", "gray"], "gray is for folders of images; {data} has the channels that its arrays have"),
        (["--mean-pixel", "1,2,3"], "a mean pixel of three numbers is for images of 3 channels, and these have 1"),
        (["--scale", "0"], "scale must be a number other than 0, not 0.0"),
        (["--part", "validation", "--data", "none.npz"], "none.npz does not exist"),
    ],
)
def test_options_that_do_not_fit_a_file_of_arrays_are_refused(options, said, trained, capsys):
    path, data = trained
    assert said.format(data=data) in refused(["evaluate", path, "--data", data, *options], capsys)


@pytest.fixture
def photos(tmp_path):
    """Return a folder of gray PNG images of 16 bits, with hidden files."""
    for code, label in zip(CODES, LABELS):
        folder = tmp_path / "photos" / f"class {label}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = code[..., 0].astype(np.uint16) * 257
        Image.fromarray(pixels).save(folder / f"{len(list(folder.iterdir()))}.png")
        (folder / ".DS_Store").write_bytes(b"Finder")
    return tmp_path / "photos"


def test_images_of_a_folder_come_as_the_network_takes_them(trained, photos, capsys):
    """The network takes gray images of 9 x 7; a folder of 16 bits is the same as the bytes it was trained on."""
    path, _ = trained
    assert main(["evaluate", path, "--data", str(photos)]) == 0
    assert f"on 60 images of {photos}\n  top-1  100.00%  (60 of 60; " in capsys.readouterr().out
    said = refused(["evaluate", path, "--data", str(photos), "--size", "7x9"], capsys)
    assert "net takes images of 9 x 7 x 1, and the data are 7 x 9 x 1" in said
    said = refused(["evaluate", path, "--data", str(photos), "--order", "rgb"], capsys)
    assert "net takes images of 9 x 7 x 1, and the data are 9 x 7 x 3" in said


@pytest.mark.parametrize("size", ["0", "9x", "9x7x1", "a", "-3"])
def test_a_size_that_is_none_is_refused(size, trained, photos, capsys):
    said = refused(["evaluate", trained[0], "--data", str(photos), f"--size={size}"], capsys)
    assert f"'{size}' is neither a side in pixels, such as 224, nor HxW, such as 49x10" in said


def test_a_transparent_image_is_laid_on_the_background(trained, tmp_path, capsys):
    for name in ("a", "b", "c"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("LA", (7, 9), (0, 0)).save(tmp_path / "photos" / name / "0.png")
    shares = {}
    for colour in ("white", "black"):
        assert main(["evaluate", trained[0], "--data", str(tmp_path / "photos"), "--background", colour]) == 0
        shares[colour] = capsys.readouterr().out.split("loss")[1].split()[0]
    assert main(["evaluate", trained[0], "--data", str(tmp_path / "photos")]) == 0
    assert capsys.readouterr().out.split("loss")[1].split()[0] == shares["white"] != shares["black"]
    said = refused(["evaluate", trained[0], "--data", str(tmp_path / "photos"), "--background", "snowy"], capsys)
    assert "background must be a colour, such as white or #808080, not 'snowy'" in said

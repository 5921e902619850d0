"""The command line: what it says, and how it ends."""

import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fewbits.cli import COMMANDS, main, parser
from fewbits.names import CHANNEL_ORDERS, LAYER_ROUNDINGS, OPTIMIZERS, PARTS, POOLINGS, ROUNDINGS
from fewbits.quantization.fixedpoint import MAX_NBITS
from helpers.cli import refused


@pytest.fixture
def kernel(tmp_path):
    path = tmp_path / "kernel.npy"
    np.save(path, np.random.default_rng(0).normal(0, 0.3, (3, 3, 4, 8)))
    return path


def test_quantize_reports_and_writes_values_of_the_format(kernel, tmp_path, capsys):
    target = tmp_path / "quantized.npy"
    assert main(["quantize", str(kernel), "--msb", "0", "--bits", "4", "--output", str(target)]) == 0
    assert "ap_fixed<4, 1>" in capsys.readouterr().out
    codes = np.load(target) * 8
    assert np.array_equal(codes, np.round(codes)) and codes.min() >= -8 and codes.max() <= 7


def test_quantize_without_a_sign_has_codes_from_0(kernel, tmp_path, capsys):
    target = tmp_path / "quantized.npy"
    assert main(["quantize", str(kernel), "--msb", "-1", "--bits", "4", "--unsigned", "--output", str(target)]) == 0
    assert "ap_ufixed<4, 0>: 0 to 0.9375 in steps of 0.0625" in capsys.readouterr().out
    expected = np.clip(np.round(np.load(kernel) * 16), 0, 15) / 16
    assert np.array_equal(np.load(target), expected) and expected.max() > 0.5


def test_data_describes_the_digits(capsys):
    assert main(["data", "digits"]) == 0
    assert "images 8 x 8 x 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--msb", "0", "--bits", "0"], "argument --bits: '0' is not a number of bits from 1 to 32"),
        (["--msb", "0", "--bits", "64"], "argument --bits: '64' is not a number of bits from 1 to 32"),
        (["--msb", "0.5", "--bits", "8"], "argument --msb: invalid int value: '0.5'"),
        (["--msb", "0", "--bits", "8", "--rounding", "up"], "argument --rounding: invalid choice: 'up' (choose from "),
        (["--msb", "0", "--bits", "8", "--output", "no/such/folder/x.npy"], "there is no folder no/such/folder"),
    ],
)
def test_a_wrong_option_is_refused_in_one_sentence(kernel, capsys, arguments, said):
    assert said in refused(["quantize", str(kernel), *arguments], capsys)


@pytest.mark.parametrize("content", ["truncated", "text", "missing", "nan", "empty", "words"])
def test_a_wrong_file_is_refused_by_name(kernel, capsys, content):
    if content == "truncated":
        kernel.write_bytes(kernel.read_bytes()[:90])
    elif content == "text":
        kernel.write_text("not an array")
    elif content == "missing":
        kernel.unlink()
    else:
        np.save(kernel, {"nan": np.array([1.0, np.nan]), "empty": np.zeros(0), "words": np.array(["a"])}[content])
    assert str(kernel) in refused(["quantize", str(kernel), "--msb", "0", "--bits", "8"], capsys)


def test_an_unknown_data_set_is_refused_with_those_that_exist(capsys):
    assert "'mnits'; it is one of digits, mnist, cifar10, cifar100" in refused(["data", "mnits"], capsys)


def test_nothing_is_left_half_written(kernel, tmp_path, monkeypatch):
    monkeypatch.setattr(np, "save", lambda file, array: (file.write(b"half"), os.fsync(file.fileno()), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        main(["quantize", str(kernel), "--msb", "0", "--bits", "8", "--output", str(tmp_path / "out.npy")])
    assert [p.name for p in tmp_path.iterdir()] == ["kernel.npy"]


def test_a_mistake_in_the_command_line_is_one_sentence_that_names_the_help(kernel, capsys):
    for arguments, said in (
        ([], "the following arguments are required: COMMAND; see `fewbits --help`"),
        (["quantise"], "argument COMMAND: invalid choice: 'quantise' (choose from "),
        (
            ["quantize", str(kernel)],
            "the following arguments are required: --msb, --bits; see `fewbits quantize --help`",
        ),
        (["data", "digits", "--sizes", "3"], "unrecognized arguments: --sizes 3; see `fewbits data --help`"),
    ):
        assert main(arguments) == 2
        heard = capsys.readouterr()
        assert heard.err.startswith("fewbits: error: ") and heard.err.count("\n") == 1 and not heard.out
        assert said in heard.err


def test_the_most_bits_are_those_of_the_format():
    assert parser.MOST_BITS == MAX_NBITS


def test_commands_are_named_as_they_are_typed_and_their_modules_like_them(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = re.findall(r"^    ([a-z-]+)", capsys.readouterr().out, re.M)
    assert listed == list(COMMANDS)
    modules = {name: module.__name__.rpartition(".")[2].replace("_", "-") for name, module in COMMANDS.items()}
    assert {name: module for name, module in modules.items() if name != module} == {"data": "datasets"}


@pytest.mark.parametrize(
    ("command", "option", "names"),
    [
        ("quantize", "--rounding", ROUNDINGS),
        ("formats", "--rounding", LAYER_ROUNDINGS),
        ("train", "--optimizer", OPTIMIZERS),
        ("train", "--order", CHANNEL_ORDERS),
        ("evaluate", "--part", PARTS),
        ("output-extraction", "--part", PARTS),
        ("import-caffe", "--pooling", POOLINGS),
    ],
)
def test_the_help_lists_the_names_that_an_option_takes(command, option, names, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = re.sub(r"\s+", "", capsys.readouterr().out)
    assert f"{option}{{{','.join(names)}}}" in said


def test_help_needs_neither_keras_nor_a_backend():
    code = (
        "import sys; from fewbits.cli import main\ntry: main(['--help'])\nexcept SystemExit: print(sorted(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'fewbits.cli'" in loaded
    assert not [name for name in ("keras", "numpy", "scipy", "pydantic", "tensorflow", "tqdm") if f"'{name}'" in loaded]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_an_example(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert re.search(rf"examples:\n.*fewbits {command} ", capsys.readouterr().out)


# Training and evaluation

TRAIN = ["train", "--network", "lenet", "--data", "digits", "--learning-rate", "0.05", "--seed", "3"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a network trained for 2 epochs, in a file."""
    path = tmp_path_factory.mktemp("trained") / "run.keras"
    assert main([*TRAIN, "--epochs", "2", "--output", str(path)]) == 0
    return path


def weights(path):
    from fewbits.io.files import read_model

    return [w.tobytes() for w in read_model(path).get_weights()]


def test_a_network_is_trained_and_evaluated(trained, capsys):
    assert [p.name for p in trained.parent.iterdir()] == ["run.keras"]
    assert main(["evaluate", str(trained), "--data", "digits"]) == 0
    said = capsys.readouterr().out
    assert "on 359 images (test part of digits)" in said
    share, hits, low, high = re.search(
        r"top-1  ([\d.]+)%  \((\d+) of 359; 95 % interval (.+)% to (.+)%\)", said
    ).groups()
    assert float(low) < float(share) < float(high)
    assert float(share) == pytest.approx(100 * int(hits) / 359, abs=0.005) and float(share) > 50
    assert "top-5" in said and re.search(r"loss +\d\.\d{4}\n +time +\d", said)


def test_ctrl_c_says_what_is_kept_and_resuming_ends_with_the_same_bits(trained, tmp_path, capsys, monkeypatch):
    from fewbits.cli.progress import TrainingBar

    path = tmp_path / "stopped.keras"
    command = [*TRAIN, "--epochs", "2", "--output", str(path)]
    monkeypatch.setattr(
        TrainingBar, "__call__", lambda _, now: now[:3:2] == (2, 5) and signal.raise_signal(signal.SIGINT)
    )
    assert main(command) == 130
    monkeypatch.undo()
    kept = f"fewbits: stopped; 1 epoch is kept in {path}.checkpoint; the same command with --resume goes on"
    assert capsys.readouterr().err.strip() == kept
    assert "is the checkpoint of an earlier training; resume it" in refused(command, capsys, quiet=False)
    assert main([*command, "--resume"]) == 0
    assert "epoch 1 of 2" not in capsys.readouterr().out
    assert weights(path) == weights(trained)
    assert [p.name for p in tmp_path.iterdir()] == ["stopped.keras"]


def test_ctrl_c_before_the_first_epoch_says_that_nothing_is_kept(tmp_path, capsys, monkeypatch):
    from fewbits import training

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", stop)
    assert main([*TRAIN, "--output", str(tmp_path / "run.keras")]) == 130
    assert "stopped; no epoch was finished, so nothing is kept" in capsys.readouterr().err


def test_a_network_from_a_file_is_trained_further(trained, tmp_path):
    path = tmp_path / "further.keras"
    arguments = ["train", "--network", str(trained), "--data", "digits", "--output", str(path)]
    assert main([*arguments, "--epochs", "0"]) == 0
    assert weights(path) == weights(trained)
    assert main([*arguments, "--epochs", "1", "--checkpoint", str(tmp_path / "kept")]) == 0
    assert weights(path) != weights(trained) and (tmp_path / "kept").exists()


@pytest.mark.parametrize("freeze", [False, True])
def test_levels_are_taken_from_another_network_and_held(freeze, trained, tmp_path, capsys):
    from fewbits.io.files import read_model

    path = tmp_path / "taken.keras"
    command = [*TRAIN, "--seed", "4", "--transfer", str(trained), "--levels", "2", "--output", str(path)]
    assert main([*command, "--epochs", "1", *(["--freeze"] if freeze else [])]) == 0
    told = f"10 classes; 2 of 4 levels from {trained}{', frozen' if freeze else ''}\n"
    assert told in capsys.readouterr().out
    source, model = read_model(trained), read_model(path)
    kept = [np.array_equal(a, b) for a, b in zip(source.get_weights(), model.get_weights(), strict=True)]
    assert kept == [freeze] * 4 + [False] * 4
    assert len(model.trainable_variables) == 8, "who trains it further trains all of it"


def test_all_levels_but_the_last_are_taken_unless_told(trained, tmp_path, capsys):
    path = tmp_path / "taken.keras"
    assert main([*TRAIN, "--seed", "4", "--transfer", str(trained), "--epochs", "0", "--output", str(path)]) == 0
    assert f"; 3 of 4 levels from {trained}\n" in capsys.readouterr().out
    kept = [a == b for a, b in zip(weights(trained), weights(path), strict=True)]
    assert kept[:6] == [True] * 6 and not kept[6]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--levels", "2"], "--levels and --freeze require --transfer; name the network to take levels from"),
        (["--freeze"], "--levels and --freeze require --transfer"),
        (["--transfer", "nothing"], "there are no weights 'nothing'; there are "),
        (["--transfer", "none.keras"], "none.keras does not exist"),
        (["--transfer", "squeezenet_cifar"], "squeezenet_cifar.npz has no array 'conv1/bias'; it holds conv1/kernel, "),
        (["--transfer", "alexnet_digits", "--levels", "1"], "alexnet_digits.npz: conv1/kernel has the shape "),
        (["--transfer", "{trained}", "--levels", "5"], "levels must be an integer from 0 to 4, those of lenet, not 5"),
        (["--by-photograph"], "--by-photograph is for folders of images; digits has its own pixels"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_one_sentence(arguments, said, trained, tmp_path, capsys):
    arguments = [a.format(trained=trained) for a in arguments]
    sentence = refused([*TRAIN, *arguments, "--output", str(tmp_path / "run.keras")], capsys)
    assert said in sentence and len(sentence) < 400
    assert not list(tmp_path.iterdir())


def test_whole_photographs_are_held_out_if_asked(tmp_path, capsys):
    for name in ("onion", "weed"):
        (tmp_path / "plants" / name).mkdir(parents=True)
        for photograph in range(4):
            for i in range(5):
                file = tmp_path / "plants" / name / f"{photograph}.jpg-{2 * i + (name == 'weed'):03}.png"
                Image.new("RGB", (8, 8)).save(file)
    command = ["train", "--network", "lenet", "--data", str(tmp_path / "plants"), "--size", "8", "--epochs", "1"]
    assert main([*command, "--by-photograph", "--output", str(tmp_path / "run.keras")]) == 0
    assert "training: 30 images but one photograph in ten of" in capsys.readouterr().out
    (tmp_path / "plants" / "train").mkdir()
    said = refused([*command, "--by-photograph", "--output", str(tmp_path / "other.keras")], capsys)
    assert "--by-photograph holds images out; " in said and "has folders of its own for that" in said


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Return a folder of 2 classes, one dark and one bright, 20 images each, one of them truncated."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name, low in (("dark", 0), ("bright", 150)):
        (root / name).mkdir()
        for i in range(20):
            Image.fromarray(rng.integers(low, low + 100, (30, 24, 3), np.uint8)).save(root / name / f"{i}.png")
    broken = root / "dark" / "7.png"
    broken.write_bytes(broken.read_bytes()[:300])
    return root


def test_a_folder_of_images_is_trained_on_and_evaluated(photos, tmp_path, capsys):
    path, images = str(tmp_path / "photos.keras"), ["--data", str(photos), "--size", "16", "--order", "bgr"]
    run = ["--epochs", "3", "--batch-size", "4", "--learning-rate", "0.02"]
    assert main(["train", "--network", "basicnet", *images, *run, "--output", path]) == 0
    said = capsys.readouterr()
    assert f"36 images but one in ten of {photos}; validation: 4 images held out of {photos}" in said.out
    assert said.err.count("dark/7.png is skipped: ") == 1 and "1 file skipped" in said.out
    assert main(["evaluate", path, *images]) == 0
    said = capsys.readouterr()
    assert "top-1  100.00%  (39 of 39; " in said.out and "top-5" not in said.out and "1 file skipped" in said.out
    assert "dark/7.png is skipped: " in said.err


def test_a_folder_with_parts_is_read_by_part(photos, trained, tmp_path, capsys):
    for part in ("train", "val"):
        (tmp_path / part).mkdir()
        for name in ("dark", "bright"):
            (tmp_path / part / name).mkdir()
            for i in range(2):
                (tmp_path / part / name / f"{i}.png").write_bytes((photos / name / f"{i}.png").read_bytes())
    images = ["--data", str(tmp_path), "--size", "8"]
    path = str(tmp_path / "run.keras")
    assert main(["train", "--network", "basicnet", *images, "--epochs", "1", "--output", path]) == 0
    said = capsys.readouterr().out
    assert f"training: 4 images of {tmp_path}/train; validation: 4 images of {tmp_path}/val" in said
    assert "has a folder train and no folder test; add it" in refused(["evaluate", path, *images], capsys)
    assert main(["evaluate", path, *images, "--part", "validation"]) == 0
    (tmp_path / "val" / "dark").rename(tmp_path / "val" / "black")
    capsys.readouterr()
    said = refused(["train", "--network", "basicnet", *images, "--output", path], capsys)
    assert "val has a folder 'black', and there is no such class in the training part, only bright, dark;" in said
    (tmp_path / "val" / "black" / "0.png").unlink(), (tmp_path / "val" / "black" / "1.png").unlink()
    (tmp_path / "val" / "black").rename(tmp_path / "val" / "dark")
    capsys.readouterr()
    assert main(["evaluate", path, *images, "--part", "validation"]) == 0, "a part for evaluation may lack a class"
    assert " of 2; " in capsys.readouterr().out
    table = "image,label\n" + "\n".join(f"{name}/{i}.png,{i}" for name in ("dark", "bright") for i in range(2))
    (tmp_path / "train" / "labels.csv").write_text(table)
    (tmp_path / "val" / "labels.csv").write_text("image,label\nbright/0.png,2\nbright/1.png,0")
    said = refused(["train", "--network", "basicnet", *images, "--output", path], capsys)
    assert "train and" in said and "have different classes; give them equal sub-folders" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--network", "lennet"], "unknown network 'lennet', perhaps 'lenet'; there are basicnet"),
        (["--network", "squeezenet_v1_1"], "squeezenet_v1_1 needs images of at least 31 x 31 pixels, not 8 x 8"),
        (["--network", "missing.keras"], "missing.keras does not exist"),
        (["--data", "no/such"], "'no/such' is neither a folder nor one of digits, mnist"),
        (["--size", "32"], "--size is for folders of images; digits has its own pixels"),
        (["--mean-pixel", "1,2"], "'1,2' is not three numbers, such as 104,117,123"),
        (["--epochs", "-1"], "epochs must be an integer of at least 0, not -1"),
        (["--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
        (["--batch-size", "0"], "batch_size must be an integer of at least 1, not 0"),
        (["--learning-rate", "-1"], "the learning rate must be a positive number, not -1.0"),
        (["--optimizer", "sdg"], "argument --optimizer: invalid choice: 'sdg' (choose from "),
        (["--seed", "-1"], "--seed must be from 0 to 2**32 - 1, not -1"),
        (["--output", "run.h5"], "the output must be a .keras file, not run.h5"),
        (["--output", "no/such/run.keras"], "there is no folder no/such"),
        (["--checkpoint", "no/such/checkpoint"], "there is no folder no/such"),
    ],
)
def test_a_training_that_cannot_be_is_refused_before_it_starts(tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert said in refused([*TRAIN, "--output", "run.keras", *arguments], capsys, quiet=False)
    assert not list(tmp_path.iterdir())


def test_a_network_that_does_not_fit_the_data_is_refused(trained, photos, tmp_path, capsys):
    folder = ["--data", str(photos), "--size", "8"]
    for command in (
        ["evaluate", str(trained)],
        ["train", "--network", str(trained), "--output", str(tmp_path / "x.keras")],
    ):
        assert f"{trained} has 10 classes, and the data has 2" in refused([*command, *folder], capsys)
    assert "argument --part: invalid choice: 'dev' (choose from " in refused(
        ["evaluate", str(trained), "--data", "digits", "--part", "dev"], capsys
    )


def test_a_full_disk_at_the_end_leaves_the_checkpoint(tmp_path, capsys, monkeypatch):
    from fewbits.io import files

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "copyfileobj", full)
    command = [*TRAIN, "--epochs", "1", "--output", str(tmp_path / "run.keras")]
    assert "No space left on device" in refused(command, capsys, quiet=False)
    assert [p.name for p in tmp_path.iterdir()] == ["run.keras.checkpoint"]
    monkeypatch.undo()
    assert main([*command, "--resume"]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["run.keras"]

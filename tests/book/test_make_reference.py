"""`make reference`: where every answer is stored nothing runs, and what lacks one runs alone."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fewbits.book import reference

GRIDS = """
[common]
profile = "reference"
batch_size = 128

[[grid]]
name = "LeNet"
fixed = { network = "lenet", data = "mnist", seed = 1, epochs = 4, learning_rate = 0.01, decay = "cosine" }
"""
DATA = ("imagenet1k", "squeezenet/squeezenet_v1.1_imagenet.npz", "mobilenet/mobilenet_v1_0.25_128.tflite")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a folder like data/reference in which nothing is left to do."""
    folder = tmp_path_factory.mktemp("whole") / "reference"
    shutil.copytree(reference.FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__", "trials"))
    (folder / "trials").mkdir()
    for path in (reference.FOLDER / "trials").glob("*.json"):
        if json.loads(path.read_text())["trial"]["data"] == "mnist":
            shutil.copy(path, folder / "trials")
    (folder / "grids.toml").write_text(GRIDS)
    for name in ("photographs", "alexnet_cifar", "mobilenet"):
        (folder / f"{name}.toml").write_text(
            '[[grid]]\nname = "float"\nfixed = { bits = ["float", "float", "float"] }\n'
        )
    return folder


class Run:
    """The program of a copy of the folder, and the commands that it would have run."""

    def __init__(self, folder, data, module):
        self.folder, self.data, self.module = folder, data, module
        self.commands, self.status = [], 0

    def record(self, command, env):
        assert command[0] == sys.executable and env["FEWBITS_DATA"] == str(self.data)
        self.commands.append(command[1:])
        return subprocess.CompletedProcess(command, self.status)

    def __call__(self, **options):
        return self.module.main(self.data, **options)


@pytest.fixture
def run(whole, tmp_path, monkeypatch):
    folder, data = tmp_path / "reference", tmp_path / "data"
    shutil.copytree(whole, folder)
    for name in DATA:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(folder)
    for name in ("rounding", "mixed"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    spec = importlib.util.spec_from_file_location("make_reference", folder / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = Run(folder, data, module)
    monkeypatch.setattr(module.subprocess, "run", found.record)
    yield found
    for name in ("rounding", "mixed"):
        monkeypatch.delitem(sys.modules, name)


def test_where_all_answers_are_stored_nothing_runs_and_a_line_says_so(run, capsys):
    assert run() == 0 and not run.commands
    said = capsys.readouterr().out
    assert said.startswith("nothing is left to do: ") and said.count("\n") == 1


def without_a_scheme(path):
    study = json.loads(path.read_text())
    del study["schemes"][-1]
    path.write_text(json.dumps(study))


def without_a_network(path):
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "residual"}))


@pytest.mark.parametrize(
    ("path", "remove", "said", "programs"),
    [
        ("trials", shutil.rmtree, "to run: trials, 1 trial of: LeNet", ["import-litert", "sweep"]),
        (
            "studies/photographs-rgb.json",
            Path.unlink,
            "to run: photographs-rgb, 1 scheme",
            ["import-caffe", "schemes"],
        ),
        ("studies/alexnet_cifar.json", Path.unlink, "to run: alexnet_cifar, 1 scheme", ["-c", "schemes"]),
        ("studies/rounding-lenet.json", without_a_scheme, "to run: rounding.py lenet, 1 scheme", ["rounding.py"]),
        ("shifts.json", without_a_network, "to run: rounding.py residual, all", ["rounding.py"]),
        ("studies/mobilenet.json", Path.unlink, "to run: mobilenet.py mobilenet, 1 scheme", ["mobilenet.py"]),
        ("mixed/squeezenet.json", Path.unlink, "to run: mixed.py squeezenet, all", ["import-caffe", "mixed.py"]),
    ],
)
def test_what_lacks_an_answer_runs_alone(path, remove, said, programs, run, capsys):
    remove(run.folder / path)
    assert run() == 0
    assert capsys.readouterr().out == f"{said}\n"
    names = [command[2] if command[0] == "-m" else Path(command[0]).name for command in run.commands]
    assert names == programs


def test_what_cannot_run_here_or_by_the_minute_is_left_out_with_the_reason(run, capsys):
    shutil.rmtree(run.folder / "trials")
    (run.folder / "mixed" / "squeezenet.json").unlink()
    (run.folder / "mixed" / "alexnet_cifar.json").unlink()
    (run.data / "imagenet1k").unlink()
    assert run(minutes=12.0, processes=2) == 0
    [_, sweep] = run.commands
    assert sweep[-4:] == ["--processes", "2", "--minutes", "12"]
    assert capsys.readouterr().out.splitlines() == [
        "to run: trials, 1 trial of: LeNet",
        "left out: mixed.py alexnet_cifar, all; only trials run by the minute",
        f"left out: mixed.py squeezenet, all; {run.data / 'imagenet1k'} is not there",
    ]


def test_a_command_that_fails_ends_the_run_with_its_status(run):
    shutil.rmtree(run.folder / "studies")
    run.status = 3
    assert run() == 3 and len(run.commands) == 1

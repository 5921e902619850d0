"""The wheel works alone: with its declared dependencies and a backend, and without the extras, it says what to install.

The wheel is built and installed to a folder of its own, and run in processes that cannot import anything but what it
declares. They run outside of the repository, so that they find no file but those of the package.
"""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SENTENCE = r"^.+ needs? the package \S+; install it with `pip install '\.\[(\w+)\]'` in a checkout of Few Bits$"
EXTRAS = ("tensorflow", "data", "book", "cluster", "export", "hardware", "test")

# Put on the path as sitecustomize.py: modules in HIDDEN are not found. PathFinder finds all that is installed.
HIDE = """
import os
from importlib.machinery import PathFinder

HIDDEN = frozenset(os.environ["HIDDEN"].split(","))
find = PathFinder.find_spec


def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in HIDDEN else find(name, path, target)


PathFinder.find_spec = staticmethod(find_spec)
"""


def needed(*names):
    """Return the names of installed distributions that `names` need, themselves among them."""
    found, left = set(), list(map(canonicalize_name, names))
    while left:
        name = left.pop()
        if name in found:
            continue
        try:
            wanted = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:  # for another platform
            continue
        found.add(name)
        left += [canonicalize_name(r.name) for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def modules_besides(distributions):
    """Return the top-level modules that are installed, but not by `distributions`."""
    providers = {m: set(map(canonicalize_name, names)) for m, names in packages_distributions().items()}
    return {module for module, names in providers.items() if not names & distributions} - sys.stdlib_module_names


class Bare:
    """An environment with the wheel, and nothing else but what `distributions` need."""

    def __init__(self, site, folder, distributions, data):
        hidden = modules_besides(needed(*distributions)) - {"fewbits"}
        self.folder = folder
        self.environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "KERAS_BACKEND")}
        self.environment |= {"PYTHONPATH": f"{folder / 'hide'}{os.pathsep}{site}", "FEWBITS_DATA": str(data)}
        self.environment["HIDDEN"] = ",".join(sorted(hidden))
        (folder / "hide").mkdir(parents=True)
        (folder / "hide" / "sitecustomize.py").write_text(HIDE)

    def run(self, code):
        """Return what `code` leaves in its variable `result`, which is plain data."""
        code += f"\nimport json; json.dump(result, open({str(self.folder / 'result.json')!r}, 'w'))"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads((self.folder / "result.json").read_text())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The folder in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT], check=True)
    [file] = folder.glob("fewbits-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", folder / "site", file], check=True)
    return folder / "site"


@pytest.fixture(scope="module")
def declared(wheel):
    """What the wheel needs, without extras."""
    [metadata] = wheel.glob("fewbits-*.dist-info/METADATA")
    lines = re.findall(r"^Requires-Dist: (.*)$", metadata.read_text(), re.MULTILINE)
    wanted = [Requirement(line) for line in lines]
    return [r.name for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with an archive of few images."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 80), ("test", 20)):
        arrays[f"y_{part}"] = np.arange(n) % 10
        arrays[f"x_{part}"] = rng.integers(0, 256, (n, 28, 28), np.uint8)
    np.savez(folder / "mnist.npz", **arrays)
    return folder


@pytest.fixture(scope="module")
def bare(wheel, declared, data, tmp_path_factory):
    backend = ("tensorflow-cpu", "tensorflow")
    return Bare(wheel, tmp_path_factory.mktemp("bare"), [*declared, *backend], data)


@pytest.fixture(scope="module")
def without_backend(wheel, declared, data, tmp_path_factory):
    return Bare(wheel, tmp_path_factory.mktemp("without"), declared, data)


def test_what_the_tests_hide_is_what_the_wheel_does_not_declare(bare, without_backend):
    code = """
import importlib
result = {}
for name in ("numpy", "keras", "scipy", "tqdm", "tensorflow", "onnx", "plotly", "sklearn", "PIL", "jax", "IPython"):
    try:
        importlib.import_module(name)
    except ImportError:
        result[name] = False
    else:
        result[name] = True
"""
    code += "import fewbits; result['fewbits'] = fewbits.__file__"
    found = bare.run(code)
    assert Path(found.pop("fewbits")).parents[1].name == "site"
    assert [name for name, there in found.items() if there] == ["numpy", "keras", "scipy", "tqdm", "tensorflow"]
    with pytest.raises(AssertionError, match="tensorflow"):
        without_backend.run("import keras; result = None")


IMPORT = """
import importlib, pkgutil, fewbits
from fewbits.errors import InputError
result = {}
for module in pkgutil.walk_packages(fewbits.__path__, "fewbits.", onerror=lambda name: None):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except (InputError, ImportError) as error:
            result[module.name] = str(error)
        else:
            result[module.name] = None
"""


def assert_sentences(said):
    wrong = {
        name: text for name, text in said.items() if not (found := re.match(SENTENCE, text)) or found[1] not in EXTRAS
    }
    assert not wrong


def test_every_module_is_imported_or_names_its_extra(bare):
    result = bare.run(IMPORT)
    assert len(result) > 80 and result["fewbits.experiment.trial"] is None
    said = {name: text for name, text in result.items() if text}
    assert_sentences(said)
    assert {name.split(".")[1] for name in said} <= {"book", "explore", "deploy"}, said


def test_without_a_backend_every_module_is_imported_or_names_the_extra(without_backend):
    result = without_backend.run(IMPORT)
    assert result["fewbits.names"] is None and result["fewbits.cli"] is None
    assert re.match(SENTENCE, result["fewbits.quantization.layers"])[1] == "tensorflow"
    assert_sentences({name: text for name, text in result.items() if text})


def test_public_names_and_trained_weights_are_there(bare):
    code = """
import numpy as np, fewbits
from fewbits import Trial, run_trials, zoo
trial = Trial(network="squeezenet_digits", data="mnist", images=16, epochs=1)
[outcome] = run_trials([trial], "store")
model = zoo.build("squeezenet_digits", (8, 8, 1), 10, weights="squeezenet_digits")
again = zoo.trained.find_weights("alexnet_cifar").name
missing = [name for name in fewbits.__all__ if name not in ("book", "explore") and not hasattr(fewbits, name)]
result = [outcome.record.results.test.n, model.predict(np.zeros((2, 8, 8, 1)), verbose=0).shape, again, missing]
"""
    assert bare.run(code) == [20, [2, 10], "alexnet_cifar.npz", []]


@pytest.mark.parametrize(("folder", "one"), [("explore/page", "engine.js"), ("deploy/templates", "library.properties")])
def test_scripts_of_pages_and_templates_of_c_are_there(folder, one, wheel):
    there = [sorted(path.name for path in (root / "fewbits" / folder).iterdir()) for root in (ROOT / "lib", wheel)]
    assert there[0] == there[1] and one in there[1]


def test_what_runs_a_network_on_a_device_is_there(wheel):
    folder = Path("fewbits", "deploy", "templates", "device")
    there = [sorted(path.name for path in (root / folder).iterdir()) for root in (ROOT / "lib", wheel)]
    assert there[0] == there[1] and "link.ld" in there[1]


def test_data_that_needs_an_extra_names_it(bare):
    code = """
from fewbits import InputError, data
from fewbits.book import papers
from pathlib import Path
result = []
for use in (
    lambda: data.load("digits"),
    lambda: data.write_scene(next(data.draw_scenes(1, 32)), Path()),
    lambda: papers.table("vieito2017", 1),
):
    try:
        use()
    except InputError as error:
        result.append(str(error))
"""
    digits, scene, table = bare.run(code)
    assert re.match(SENTENCE, digits)[1] == re.match(SENTENCE, scene)[1] == "data"
    assert "checkout" in table


# The commands, in an order in which one makes what another needs: arguments, and the extra that is missing, if one is.

TRIALS = '[[grid]]\nname = "one"\nfixed = { network = "lenet", data = "mnist", images = 16, epochs = 1 }\n'
SCHEMES = '[[grid]]\nname = "one"\nfixed = { bits = [4, 8, 8] }\n'
COMMANDS = [
    ("quantize numbers.npy --msb 0 --bits 4 --output quantized.npy", None),
    ("data mnist", None),
    ("data digits", "data"),
    ("data crops --scenes 1 --size 32 --output scenes", "data"),
    ("train --network lenet --data mnist --epochs 1 --output lenet.keras", None),
    ("evaluate lenet.keras --data mnist", None),
    ("check lenet.keras", None),
    ("report lenet.keras --data mnist --quick --output report.html", None),
    ("formats lenet.keras --data mnist --bits 8 --save-model quantized.keras", None),
    ("output-extraction lenet.keras --data mnist --output outputs.h5", None),
    ("progressive-quantization lenet.keras --data mnist --bits 6 --strategy static --output static.keras", None),
    ("prune lenet.keras --data mnist --ratio 0.1 --train-images 16,16 --output pruned.keras", None),
    ("prune lenet.keras --data mnist --ratio 0.1 --dry-run", None),
    ("export quantized.keras --to c --output program", None),
    ("export quantized.keras --to hls4ml --output project", "fpga"),
    ("export quantized.keras --to qonnx --output quantized.onnx", "export"),
    ("export quantized.keras --to verilog --output engine", "hardware"),
    ("audit lenet.keras quantized.keras --data mnist", None),
    ("export quantized.keras --to litert --precision int8 --int8-io --output quantized.tflite", "export"),
    ("audit lenet.keras mobilenet.tflite --data mnist", "export"),
    ("audit lenet.keras network.onnx --data mnist", "export"),
    ("export lenet.keras --to onnx --output lenet.onnx", "export"),
    ("export lenet.keras --to litert --output lenet.tflite", "export"),
    ("benchmark lenet.keras --runtimes keras --rounds 2", None),
    ("benchmark lenet.keras --runtimes onnx --rounds 2", "export"),
    ("sweep trials.toml --store results", None),
    ("sweep trials.toml --store others --processes 2", "cluster"),
    ("results results --group-by network", None),
    ("schemes lenet.keras schemes.toml --data mnist --output schemes.json", None),
    ("search lenet.keras --data mnist --budget 60%-of-8-bit-bytes --bits 4,8 --output mixed.keras", None),
    ("import-caffe caffe.npz --network lenet --size 28 --output caffe.keras", None),
    ("import-caffe lenet.caffemodel --network lenet --size 28 --output caffe.keras", None),
    ("import-litert mobilenet.tflite --output weights.npz", "export"),
    ("import-onnx network.onnx --output imported.keras", "export"),
]
RUN = """
import contextlib, io, json, sys, traceback
import fewbits.cli as cli
result = {}
for line in json.load(open("commands.json")):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = cli.main(line.split())
        except SystemExit as end:
            status = end.code
        except BaseException:
            status = traceback.format_exc()
    result[line] = status, said.getvalue()
"""


def run_commands(environment, lines):
    (environment.folder / "commands.json").write_text(json.dumps(lines))
    return environment.run(RUN)


@pytest.fixture(scope="module")
def outcomes(bare):
    """Command -> its exit status and what it wrote to stderr."""
    np.save(bare.folder / "numbers.npy", np.linspace(-1, 1, 9))
    (bare.folder / "trials.toml").write_text(TRIALS)
    (bare.folder / "schemes.toml").write_text(SCHEMES)
    for name in ("lenet.caffemodel", "mobilenet.tflite"):
        (bare.folder / name).write_bytes(b"not one")
    rng, shapes = np.random.default_rng(0), {"conv1": (20, 3, 5, 5), "conv2": (50, 20, 5, 5)}
    shapes |= {"dense3": (500, 2450), "dense4": (1000, 500)}
    arrays = {f"{name}.w": rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    arrays |= {f"{name}.b": np.zeros(shape[0], np.float32) for name, shape in shapes.items()}
    np.savez(bare.folder / "caffe.npz", **arrays)
    return run_commands(bare, [line for line, _ in COMMANDS])


@pytest.mark.parametrize(("line", "extra"), COMMANDS)
def test_a_command_runs_or_names_its_extra(outcomes, line, extra):
    status, said = outcomes[line]
    if "caffemodel" in line:
        assert status == 2 and "lenet.caffemodel cannot be read" in said
    elif extra is None:
        assert status == 0, f"{status}: {said}"
    else:
        sentence = said.strip().splitlines()[-1].removeprefix("fewbits: error: ")
        assert status == 2, f"{status}: {said}"
        assert re.match(SENTENCE, sentence)[1] == extra


def test_every_command_has_been_run_and_explains_itself(bare, outcomes):
    names = bare.run("import fewbits.cli as cli; result = list(cli.COMMANDS)")
    assert {line.split()[0] for line in outcomes} == set(names)
    helped = run_commands(bare, [f"{name} --help" for name in names])
    assert all(status == 0 for status, _ in helped.values()), helped


def test_without_a_backend_commands_say_so(without_backend):
    np.save(without_backend.folder / "numbers.npy", np.linspace(-1, 1, 9))
    lines = ["--help", "train --help", "train --network lenet --data mnist --output lenet.keras", "data mnist"]
    said = run_commands(without_backend, lines)
    assert [said[line][0] for line in lines] == [0, 0, 2, 0], said
    sentence = said[lines[2]][1].strip().removeprefix("fewbits: error: ")
    assert re.match(SENTENCE, sentence)[1] == "tensorflow"


def test_the_installed_program_starts(bare, wheel):
    program = wheel / "bin" / "fewbits"
    done = subprocess.run([program, "--version"], env=bare.environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("fewbits ")

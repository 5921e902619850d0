"""Trials: that one has one key, what is refused before anything runs, and that no kill changes or repeats a result."""

import errno
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed import LocalCluster
from hypothesis import given
from hypothesis import strategies as st

import fewbits
from fewbits import InputError, Trial, run_trials, training, zoo
from fewbits.backend import keras
from fewbits.data.augmentation import shift_flip_and_light
from fewbits.deploy import compiled, onnx
from fewbits.experiment import Record, Results, Store, provenance, read_grid, run_trial, strategies, workers
from fewbits.experiment.store import pack_answers, unpack_answers
from fewbits.experiment.trial import QUANTIZATION, TRIAL_STRATEGIES
from fewbits.io import files, weights
from fewbits.statistics import Share
from fewbits.training.loop import read_history
from fewbits.zoo import networks, trained

FLOAT = {"network": "lenet", "data": "digits", "images": 64, "epochs": 3, "learning_rate": 0.05}
BITS = {"network": "lenet", "data": "digits", "images": 64, "strategy": "train", "epochs": 1, "bits": (6, 6, 8)}
START = {k: FLOAT[k] for k in ("images", "epochs", "learning_rate")}
PRUNE = {"network": "lenet", "data": "digits", "images": 64, "strategy": "prune", "start": START, "ratio": 0.3}
PRUNED = {"strategy": "prune", "epochs": 0, "bits": None}
TRANSFER = {"strategy": "float", "bits": None, "transfer": 2}
FORK = multiprocessing.get_context("forkserver")  # children that need not import TensorFlow
FORK.set_forkserver_preload(["fewbits.experiment", "distributed"])


def floats(*seeds, **fields):
    return [Trial(**FLOAT | {"seed": seed} | fields) for seed in seeds]


def quantized(**fields):
    return Trial(**BITS | {"start": START} | fields)


# Keys


values = st.fixed_dictionaries(
    {"network": st.sampled_from(zoo.NAMES), "data": st.just("digits"), "epochs": st.integers(0, 9)},
    optional={
        "seed": st.integers(0, 2**32 - 1),
        "images": st.none() | st.integers(1, 99),
        "learning_rate": st.floats(1e-9, 9) | st.integers(1, 9),
        "batch_size": st.integers(1, 99),
        "augment": st.booleans(),
    },
)
quantization = st.fixed_dictionaries(
    {"strategy": st.sampled_from(["lock", "train"]), "bits": st.tuples(*[st.none() | st.integers(1, 24)] * 3)},
    optional={
        "percentile": st.sampled_from(["mse", "kl", 99.9, 100, (99, "mse", 100)]),
        "order": st.sampled_from(["input", "random", ("a", "b")]),
        "edge_bits": st.none() | st.integers(1, 24),
        "relax": st.booleans(),
    },
)


@given(values, quantization, values, st.randoms(use_true_random=False))
def test_the_order_in_which_fields_are_written_does_not_matter(fields, more, start, random):
    def shuffled(fields):
        items = list(fields.items())
        random.shuffle(items)
        return dict(items)

    one = Trial(**fields, **more, start=start)
    other = Trial(**shuffled({**fields, **more, "start": shuffled(start)}))
    assert one == other and hash(one) == hash(other) and one.key == other.key
    assert Trial(**json.loads(json.dumps(one.model_dump(mode="json")))).key == one.key


@given(values, values)
def test_other_fields_have_another_key(a, b):
    one, other = Trial(**a), Trial(**b)
    assert (one.key == other.key) == (one == other)


def test_every_field_counts(tmp_path):
    fields = {
        "network": "basicnet",
        "duplicate_shared": True,
        "data": "mnist",
        "fold": 1,
        "images": 65,
        "seed": 1,
        "profile": "reference",
        "strategy": "lock",
        "start": "other",
        "transfer": 3,
        "freeze": True,
        "epochs": 2,
        "optimizer": "adam",
        "learning_rate": 0.02,
        "decay": "cosine",
        "weight_decay": 0.1,
        "momentum": 0.9,
        "reestimate": True,
        "batch_size": 31,
        "augment": True,
        "width": 0.5,
        "size": 24,
        "channel_order": "bgr",
        "mean_pixel": (1.0, 2.0, 3.0),
        "scale": 0.5,
        "ratio": 0.4,
        "per_step": 64,
        "criterion": "taylor",
        "train_images": (100, 200),
        "bits": (6, 6, 7),
        "rounding": "floor",
        "gradient": "identity",
        "ranges": "learned",
        "percentile": 100,
        "per_layer": False,
        "per_channel": True,
        "recalibrate": True,
        "signed": False,
        "reconstruct": 60,
        "distill": 0.5,
        "temperature": 2.0,
        "order": "output",
        "relax": True,
        "edge_bits": 8,
        "integers": True,
    }
    assert fields.keys() == Trial.model_fields.keys()
    of_float = {name: fields.pop(name) for name in ("weight_decay", "momentum", "transfer", "freeze")}
    of_pruning = {name: fields.pop(name) for name in ("ratio", "per_step", "criterion", "train_images")}
    of_own = {name: fields.pop(name) for name in ("channel_order", "mean_pixel", "scale")}
    of_files = {"duplicate_shared": fields.pop("duplicate_shared")}
    divided = {"fold": fields.pop("fold")}
    of_distillation = {"temperature": fields.pop("temperature")}
    at_once = {"strategy": "all-at-once", "reconstruct": fields.pop("reconstruct")}
    keys = {quantized(**{name: value}).key for name, value in fields.items()}
    assert len(keys | {quantized().key}) == len(fields) + 1
    assert quantized(distill=0.5, **of_distillation).key != quantized(distill=0.5).key
    assert quantized(**at_once).key != quantized(strategy="all-at-once").key
    start = {"start": "other", "transfer": 2}
    keys = {floats(1, **start | {name: value})[0].key for name, value in of_float.items()}
    assert len(keys | {floats(1, **start)[0].key}) == len(of_float) + 1
    keys = {Trial(**PRUNE | {name: value}).key for name, value in of_pruning.items()}
    assert len(keys | {Trial(**PRUNE).key}) == len(of_pruning) + 1
    np.savez(tmp_path / "mine.npz", images=np.zeros((2, 8, 8, 3)), labels=[0, 1])
    zoo.build("lenet", (8, 8, 3), 10).save(tmp_path / "mine.keras")
    own = {"network": str(tmp_path / "mine.keras")}
    assert floats(1, **own, **of_files)[0].key != floats(1, **own)[0].key
    mine = {"data": str(tmp_path / "mine.npz")}
    keys = {floats(1, **mine | {name: value})[0].key for name, value in of_own.items()}
    assert len(keys | {floats(1, **mine)[0].key}) == len(of_own) + 1
    assert floats(1, data="cwfid", **divided)[0].key != floats(1, data="cwfid")[0].key


OTHERWISE: dict[str, tuple] = {  # field -> values other than its default
    "rounding": ("floor", "thesis"),
    "gradient": ("identity",),
    "ranges": ("learned", "learned-per-filter"),
    "percentile": (98.0, "mse", (98.0, "mse", 100.0)),
    "per_layer": (False,),
    "per_channel": (True,),
    "recalibrate": (True,),
    "signed": (False,),
    "reestimate": (True,),
    "reconstruct": (60, 100),
    "distill": (0.5, 0.25),
    "order": ("output", ("conv1", "fc1")),
    "relax": (True,),
    "edge_bits": (8, 7),
    "integers": (True,),
}


def test_trials_that_quantize_otherwise_read_otherwise():
    assert {*OTHERWISE, "temperature", "bits"} == {*QUANTIZATION, "reestimate"}
    ways = [{}, {"bits": (6, 6, None)}, *({"distill": 0.5, "temperature": t} for t in (1.0, 2.0))]
    ways += [{field: value} for field, values in OTHERWISE.items() for value in values]
    names = [quantized(strategy="all-at-once", **way).name for way in ways]
    assert len({*names}) == len(ways)
    assert quantized(signed=False, ranges="learned").name == "lenet digits train 6-6-8 unsigned ranges learned seed 0"


def test_equal_trials_written_otherwise_are_equal():
    assert quantized(bits=[6, 6, "float"]) == quantized(bits=(6, 6, None))
    assert quantized(percentile=[99, 99, 99]).key == quantized(percentile=99.0).key
    assert quantized(start=Trial(**FLOAT)) == quantized()
    assert quantized(start={**START, "data": "mnist"}).start.data == "mnist"


def test_keys_stay_as_they_are():
    """A key that moves loses all records: hours of them. Change this one only together with a default of Trial."""
    assert Trial(network="lenet", data="digits", epochs=1).key == "549a1368b1770250"


def test_fields_that_are_new_leave_old_keys():
    """Records of today's reference runs, with fields at the defaults that came after them."""
    for path in sorted(Path("data/reference/trials").glob("*.json"))[:40:4]:
        trial = json.loads(path.read_text())["trial"]
        added = {"signed": True, "ranges": "fixed", "distill": 0.0, "temperature": 4.0, "reestimate": False}
        assert Trial(**trial | added).key == Trial(**trial).key == path.stem


# What is refused


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"bits": (99, 8, 8)}, "bits.0 must be at most 24, not 99"),
        ({"bits": (8, 8, 0)}, "bits.2 must be at least 1, not 0"),
        ({"bits": (8, True, 8)}, "bits.1 must be a valid integer, not True"),
        ({"bits": (8, 8)}, "bits.2 is missing"),
        ({"bits": (8, 8, 8, 8)}, "bits must have at most 3 items after validation, not 4"),
        ({"bits": None}, "bits is missing; the strategy train needs it"),
        (
            {"per_channel": True, "per_layer": False},
            "per_channel sets an MSB per filter, and per_layer = false one for all layers",
        ),
        ({"edge_bits": 25}, "edge_bits must be at most 24, not 25"),
        ({"bits": (8, 9, 8), "integers": True}, "integers needs at most 8 bits for kernel, input and output"),
        ({"edge_bits": 9, "integers": True}, "integers needs at most 8 bits for kernel, input and output"),
        ({"epochs": -1}, "epochs must be at least 0, not -1"),
        ({"epochs": 1.5}, "epochs must be a valid integer, not 1.5"),
        ({"strategy": "static"}, "epochs must be 0, not 1; the strategy static trains nothing"),
        ({"seed": 2**32}, "seed must be below 4294967296, not 4294967296"),
        ({"seed": 2**60000}, "seed must be below 4294967296, not a number of 60,001 bits"),
        ({"images": 0}, "images must be at least 1, not 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"learning_rate": 0}, "learning_rate must be above 0.0, not 0"),
        ({"learning_rate": float("inf")}, "learning_rate must be a finite number, not inf"),
        ({"learning_rate": "fast"}, "learning_rate must be a valid number, not 'fast'"),
        ({"augment": 1}, "augment must be true, false or 'light', not 1"),
        ({"augment": "ligth"}, "augment must be true, false or 'light', not 'ligth'"),
        ({"weight_decay": 0.1}, "weight_decay is for float trials"),
        ({"momentum": 0.9}, "momentum is for float trials"),
        ({"momentum": 1.0}, "momentum must be below 1.0, not 1.0"),
        ({"transfer": 0}, "transfer is for float trials"),
        ({"distill": 1.5}, "distill must be at most 1.0, not 1.5"),
        ({"distill": 0.5, "temperature": 0}, "temperature must be above 0.0, not 0"),
        ({"temperature": 2.0}, "temperature is of a distillation, and distill is 0; leave it out"),
        (
            {"strategy": "static", "epochs": 0, "distill": 0.5},
            "distill is for training, and the strategy static trains nothing; leave it out",
        ),
        (
            {"strategy": "static", "epochs": 0, "ranges": "learned"},
            "ranges is for training, and the strategy static trains nothing; leave it out",
        ),
        ({"ranges": "learnt"}, "ranges 'learnt' is unknown, perhaps 'learned'"),
        ({"signed": 1}, "signed must be a valid boolean, not 1"),
        ({"freeze": True}, "freeze is for float trials"),
        ({"freeze": 1}, "freeze must be a valid boolean, not 1"),
        ({"fold": 1}, "fold must be from 0 to 0, those of digits, not 1"),
        ({"data": "cwfid", "fold": 5}, "fold must be from 0 to 4, those of cwfid, not 5"),
        ({"data": "cwfid", "fold": -1}, "fold must be at least 0, not -1"),
        (
            {"data": "cwfid", "start": START | {"fold": 2}},
            "start.fold must be 0, not 2; it was trained on images that are tested here",
        ),
        ({"weight_decay": -1}, "weight_decay must be at least 0.0, not -1"),
        ({"width": 0}, "width must be above 0.0, not 0"),
        ({"size": 0}, "size must be at least 1, not 0"),
        ({"network": "lenett"}, "network 'lenett' is unknown, perhaps 'lenet'; it is one of basicnet, "),
        ({"data": "digit"}, "data 'digit' is unknown, perhaps 'digits'; it is one of digits, mnist"),
        ({"strategy": "lokc"}, "strategy 'lokc' is unknown, perhaps 'lock'; it is one of float, prune, static"),
        ({"rounding": "stochastic"}, "rounding 'stochastic' is unknown; it is one of floor, nearest"),
        ({"gradient": "clip"}, "gradient 'clip' is unknown, perhaps 'clipped'"),
        ({"optimizer": "sdg"}, "optimizer 'sdg' is unknown, perhaps 'sgd'"),
        ({"decay": "linear"}, "decay 'linear' is unknown; it is one of constant, cosine, staircase"),
        ({"profile": "full"}, "profile 'full' is unknown; it is one of quick, reference"),
        ({"order": "inputs"}, "order 'inputs' is unknown, perhaps 'input'"),
        ({"order": [1]}, "order must be one of input, output, random, sensitivity or a list of levels, not [1]"),
        ({"percentile": 0}, "percentile must be above 0 and at most 100, or mse or kl, once or three times, not 0"),
        ({"percentile": [99, 99]}, "percentile must be above 0 and at most 100, or mse or kl, once or three times"),
        ({"percentile": float("nan")}, "percentile must be above 0 and at most 100, or mse or kl"),
        ({"start": None}, "start is missing; the strategy train needs it"),
        ({"start": 5}, "start must be the fields of a float trial or the name of weights, not 5"),
        ({"start": {"epochs": -1}}, "start.epochs must be at least 0, not -1"),
        ({"start": {}}, "start.epochs is missing"),
        ({"start": {"epoch": 1}}, "start.epoch is not a known field, perhaps 'epochs'"),
        ({"start": BITS | {"start": "x"}}, "start.strategy must be float or prune, not 'train'"),
        ({"epoch": 1}, "epoch is not a known field, perhaps 'epochs'"),
        ({"strategy": "float", "bits": None}, "transfer is missing; say how many levels a float trial takes from"),
        ({"strategy": "float", "bits": None, "start": None, "transfer": 2}, "start is missing; transfer needs one"),
        ({"strategy": "float", "bits": None, "transfer": -1}, "transfer must be at least 0, not -1"),
        (
            {"strategy": "float", "bits": None, "transfer": 0, "freeze": True},
            "freeze keeps the levels that transfer takes",
        ),
        ({"strategy": "float", "bits": None, "freeze": True}, "transfer is missing"),
        ({"strategy": "float", "start": None}, "bits is for quantized trials; leave it out"),
        ({"strategy": "float", "start": None, "bits": None, "relax": True}, "relax is for quantized trials"),
        ({"strategy": "float", "start": None, "bits": None, "distill": 0.5}, "distill is for quantized trials"),
        ({"strategy": "float", "start": None, "bits": None, "signed": False}, "signed is for quantized trials"),
        (
            PRUNED | {"ratio": 0.5, "reestimate": True},
            "reestimate is for float and quantized trials, and a pruning does it itself; leave it out",
        ),
        ({"ratio": 0.5}, "ratio is for pruning trials; leave it out"),
        ({"criterion": "taylor"}, "criterion is for pruning trials"),
        (PRUNED, "ratio is missing; the strategy prune needs it"),
        (PRUNED | {"ratio": 1}, "ratio must be below 1.0, not 1"),
        (
            PRUNED | {"ratio": 0.5, "epochs": 1},
            "epochs must be 0, not 1; the strategy prune counts images, in train_im",
        ),
        (PRUNED | {"ratio": 0.5, "bits": (8, 8, 8)}, "bits is for quantized trials"),
        (PRUNED | {"ratio": 0.5, "transfer": 1}, "transfer is for float trials"),
        (PRUNED | {"ratio": 0.5, "start": None}, "start is missing; the strategy prune needs it"),
        (PRUNED | {"ratio": 0.5, "criterion": "tailor"}, "criterion 'tailor' is unknown, perhaps 'taylor'"),
        (PRUNED | {"ratio": 0.5, "per_step": 0}, "per_step must be at least 1, not 0"),
        (PRUNED | {"ratio": 0.5, "train_images": [1]}, "train_images.1 is missing"),
    ],
)
def test_what_cannot_be_is_refused_by_field(fields, said):
    with pytest.raises(InputError) as refusal:
        quantized(**fields)
    assert str(refusal.value).startswith(said) and "\n" not in str(refusal.value)


def test_fields_that_are_missing_are_named():
    for name in ("network", "data", "epochs"):
        with pytest.raises(InputError, match=f"^{name} is missing$"):
            Trial(**{k: v for k, v in FLOAT.items() if k != name})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"data": "mnist"}, r"data: mnist: neither .*mnist.npz nor .* exists; check FEWBITS_DATA or unset it"),
        ({"images": 5000}, "images must be at most 1295, all of digits, not 5000"),
        ({"network": "squeezenet_v1_1"}, "network: squeezenet_v1_1 needs images of at least"),
        ({"width": 0.5}, "network: lenet has no option 'width'; it has none"),
        ({"size": 9}, "data: images of digits are 8 x 8; they cannot be scaled to 9 x 9"),
        ({"start": "nothing"}, "start: there are no weights 'nothing'; there are "),
        ({"start": "basicnet"}, "start: .*basicnet.npz: conv1/kernel has the shape "),
        ({"start": START | {"images": 5000}}, "start.images must be at most 1295, all of digits, not 5000"),
        ({"start": START | {"network": "basicnet"}}, "start: basicnet: conv1/kernel has the shape "),
        (TRANSFER | {"momentum": 0.9}, "momentum is of batch normalization, and lenet has none; leave it out"),
        ({"reestimate": True}, "reestimate is of batch normalization, and lenet has none; leave it out"),
        (TRANSFER | {"transfer": 5}, "transfer: levels must be an integer from 0 to 4, those of lenet, not 5"),
        (TRANSFER | {"start": "basicnet"}, "transfer: basicnet.npz: conv1/kernel has the shape "),
        (TRANSFER | {"start": START | {"network": "alexnet_small"}}, "transfer: alexnet_small: conv1/kernel has the"),
        ({"data": "cwfid"}, "data: cwfid is the Crop/Weed Field Image Dataset; get it from its authors"),
        ({"order": ["conv1", "conv3"]}, r"order.1 'conv3' is unknown, perhaps 'conv\d'; it is one of conv1, "),
        ({"order": ["conv1"]}, "order must name each level once, and conv2 is there 0 times"),
    ],
)
def test_what_this_machine_cannot_run_is_refused_before_anything_runs(fields, said, tmp_path, monkeypatch):
    monkeypatch.setenv("FEWBITS_DATA", str(tmp_path))
    monkeypatch.setattr(trained, "FOLDER", tmp_path)
    monkeypatch.setattr(workers, "run_trial", None)
    weights.save_weights(zoo.build("basicnet", (8, 8, 1), 10), tmp_path / "basicnet.npz")
    with pytest.raises(InputError, match=rf"^trial 3: {said}"):
        run_trials([*floats(1, 2), quantized(**fields)], tmp_path / "store")
    assert not list((tmp_path / "store").iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"processes": 0}, "processes must be an integer of at least 1, not 0"),
        ({"processes": 1.5}, "processes must be an integer of at least 1, not 1.5"),
        ({"processes": 2, "scheduler": "tcp://127.0.0.1:9"}, "give processes or a scheduler, not both"),
        ({"scheduler": "tcp://127.0.0.1:9"}, "no Dask cluster with workers answers at tcp://127.0.0.1:9"),
        ({"scheduler": "nonsense://x"}, "no Dask cluster with workers answers at nonsense://x"),
    ],
)
def test_wrong_workers_are_refused(options, said, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 1)
    with pytest.raises(InputError, match=said):
        run_trials(floats(1), tmp_path, **options)


# Grids

GRIDS = """
[common]
network = "lenet"
data = "digits"
epochs = 1

[[grid]]
name = "floats"
vary = { seed = [1, 2, 3] }

[[grid]]
name = "flagship"
priority = true
fixed = { epochs = 2, start = { epochs = 1 } }
vary = { strategy = ["lock", "train"], bits = [[8, 8, 8], [6, 6, "float"]], seed = [1, 2, 3] }

[[grid]]
name = "again"
fixed = { seed = 3 }
"""


@pytest.fixture
def grid_file(tmp_path):
    path = tmp_path / "trials.toml"
    path.write_text(GRIDS)
    return path


def test_a_grid_is_all_combinations(grid_file):
    grids = read_grid(grid_file)
    assert [(g.name, g.priority, len(g.trials)) for g in grids] == [
        ("floats", False, 3),
        ("flagship", True, 12),
        ("again", False, 1),
    ]
    flagship = grids[1].trials
    assert {(t.strategy, t.bits, t.seed) for t in flagship} == {
        (strategy, bits, seed)
        for strategy in ("lock", "train")
        for bits in ((8, 8, 8), (6, 6, None))
        for seed in (1, 2, 3)
    }
    assert {t.epochs for t in flagship} == {2} and {t.start for t in flagship} == {
        Trial(network="lenet", data="digits", epochs=1)
    }
    assert grids[0].trials[2] == grids[2].trials[0]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[8, 8, 8]", "[99, 8, 8]", "grid 'flagship', trial 1: bits.0 must be at most 24, not 99"),
        ("[6, 6, ", "[6, -6, ", "grid 'flagship', trial 4: bits.1 must be at least 1, not -6"),
        ("epochs = 2", "epoch = 2", "grid 'flagship', trial 1: epoch is not a known field, perhaps 'epochs'"),
        ("name = ", "nam = ", "grid.0.name is missing"),
        ("priority = true", "priority = 1", "grid.1.priority must be a valid boolean, not 1"),
        ("priority", "prioriti", "grid.1.prioriti is not a known field, perhaps 'priority'"),
        ('"again"', '"floats"', "two grids are called 'floats'; give each its own name"),
        ("[1, 2, 3]", "[]", "grid.0.vary.seed must have at least 1 item after validation, not 0"),
        ("[1, 2, 3]", "1", "grid.0.vary.seed must be a valid list, not 1"),
        ("[1, 2, 3]", f"{[*range(10_000)]}", "it asks for more than 10,000 trials; vary fewer fields at once"),
        ("[common]", "[commons]", "commons is not a known field, perhaps 'common'"),
        ("[common]", "[common", "cannot be read .*; it must be a TOML file"),
        ("epochs = 1", f"epochs = {'[' * 9999}", "cannot be read .*; it must be a TOML file"),
        ("epochs = 1", f"epochs = {'9' * 9999}", "cannot be read .*; it must be a TOML file"),
        ("epochs = 1", f"epochs = 0x{'f' * 9999}", "trial 1: epochs must be"),
        ("epochs = 1", "epochs = 2017-01-01", "trial 1: epochs must be a valid integer, not datetime"),
        (GRIDS, "", "grid is missing"),
        (GRIDS, "grid = []", "grid must have at least 1 item"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(old, new, said, grid_file):
    grid_file.write_text(GRIDS.replace(old, new, 1))
    with pytest.raises(InputError, match=rf"trials\.toml:? .*{said}") as refusal:
        read_grid(grid_file)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 400


def test_what_is_no_text_is_refused(tmp_path):
    (tmp_path / "noise").write_bytes(np.random.default_rng(0).bytes(999))
    for name, said in (("noise", "cannot be read"), ("missing", "does not exist"), ("", "cannot be read")):
        with pytest.raises(InputError, match=f"{tmp_path / name} {said}"):
            read_grid(tmp_path / name)


# The store


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a store with one record, and its trial."""
    store = Store(tmp_path_factory.mktemp("finished"))
    [trial] = floats(5, epochs=1)
    run_trials([trial], store)
    return store, trial


@pytest.fixture
def copied(finished, tmp_path):
    store, trial = finished
    for path in store.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return Store(tmp_path), trial


def test_a_record_tells_its_results_and_where_it_comes_from(finished):
    store, trial = finished
    record = store.load(trial)
    assert sorted(p.name for p in store.folder.iterdir()) == [f"{trial.key}.json", f"{trial.key}.npz"]
    model = zoo.build("lenet", (8, 8, 1), 10)
    weights.load_weights(model, store.weights(trial))
    digits = fewbits.data.load("digits")
    score = training.evaluate(model, (digits.scaled(digits.test), digits.test.labels), 32)
    results = record.results
    assert results.test.model_dump() == score._asdict() and results.accuracy == score.accuracy
    assert results.validation.n == 143 and results.parameters == model.count_params()
    assert [entry["epoch"] for entry in results.history] == [1] and results.loss_of_accuracy is None
    told = record.provenance
    assert told["data"] == digits.checksum and told["start"] is None and told["fewbits"] == fewbits.__version__
    assert set(told["versions"]) == {"python", "keras", keras.backend.backend(), "numpy"}
    assert set(told["hardware"]) == {"cpu", "cores", "threads", "gpu"}
    text = json.dumps(told)
    assert "/" not in text and socket.gethostname() not in text


def test_code_outside_its_own_checkout_has_no_commit(tmp_path, monkeypatch):
    (tmp_path / "__init__.py").touch()
    monkeypatch.setattr(fewbits, "__file__", str(tmp_path / "__init__.py"))
    assert provenance._commit.__wrapped__() is None
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    assert provenance._commit.__wrapped__() is None
    commit = "git add . && git -c user.name=a -c user.email=b commit --quiet --message c"
    subprocess.run(commit, shell=True, cwd=tmp_path, check=True)
    known = provenance._commit.__wrapped__()
    assert len(known["id"]) == 40 and known["dirty"] is False
    (tmp_path / "new.py").touch()
    assert provenance._commit.__wrapped__() == {**known, "dirty": True}


@pytest.mark.parametrize("kept", [0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_record_is_told_by_name(kept, copied):
    store, trial = copied
    path = store.folder / f"{trial.key}.json"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * (len(content) - 1))])
    with pytest.raises(InputError, match=rf"{trial.key}\.json is damaged, .*; delete it, and the trial is run again"):
        run_trials([trial], store)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record | {"results": {}},
        lambda record: record | {"trial": record["trial"] | {"seed": 6}},
        lambda record: record | {"trial": {"epochs": -1}},
        lambda record: [record],
    ],
)
def test_a_foreign_record_is_told_by_name(change, copied):
    store, trial = copied
    path = store.folder / f"{trial.key}.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(InputError, match=rf"{trial.key}\.json is damaged, or the record of another trial"):
        store.load(trial)


def test_a_record_is_read_without_the_weights(copied):
    store, trial = copied
    store.weights(trial).unlink()
    assert store.load(trial).trial == trial


def test_what_a_kill_left_of_a_checkpoint_goes_with_it(finished, tmp_path):
    record, store = finished[0].load(finished[1]), Store(tmp_path)
    checkpoint = store.checkpoint(record.trial)
    for path in (checkpoint, checkpoint.with_name(f".{checkpoint.name}.part"), tmp_path / "other.checkpoint"):
        path.touch()
    store.save(record)
    assert {path.name for path in tmp_path.iterdir()} == {f"{record.trial.key}.json", "other.checkpoint"}


@pytest.mark.parametrize("full_at", [1, 2])
def test_a_full_disk_leaves_no_half_record(full_at, finished, tmp_path, monkeypatch):
    record, content = finished[0].load(finished[1]), finished[0].weights(finished[1]).read_bytes()
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == full_at:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    store = Store(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        store.save(record, content)
    assert store.load(record.trial) is None and not list(tmp_path.glob(".*"))
    store.save(record, content)
    assert store.load(record.trial) == record


def test_a_store_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(InputError, match=f"{path} cannot be a store"):
            run_trials(floats(1), path)


# Runs


def test_one_that_fails_stops_neither_the_others_nor_what_does_not_start_from_it(tmp_path, monkeypatch):
    bad, good = floats(1, 2, epochs=1)
    orphan, told = quantized(start=bad), []

    def failing(trial, *rest):
        if trial == bad:
            raise InputError("the loss became nan")
        return run_trial(trial, *rest)

    monkeypatch.setattr(workers, "run_trial", failing)
    outcomes = run_trials([bad, good, orphan], tmp_path, progress=told.append)
    assert [(outcome.trial, outcome.error) for outcome in outcomes] == [
        (bad, "the loss became nan"),
        (good, None),
        (orphan, "its start, lenet digits float seed 1, failed: the loss became nan"),
    ]
    assert [outcome.record is None for outcome in outcomes] == [True, False, True]
    assert [(now.done, now.total) for now in told] == [(1, 3), (2, 3), (3, 3)] and told[-1].seconds_left == 0
    assert {p.stem for p in tmp_path.glob("*.json")} == {good.key}


def test_an_error_of_ours_is_told_too(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "train", lambda *_, **__: 1 / 0)
    [outcome] = run_trials(floats(1), tmp_path)
    assert outcome.error == "ZeroDivisionError: division by zero"


def test_what_is_kept_or_asked_for_twice_is_not_run_again(copied, monkeypatch):
    store, trial = copied
    ran = []
    monkeypatch.setattr(workers, "run_trial", lambda trial, *rest: ran.append(trial) or run_trial(trial, *rest))
    [other] = floats(6, epochs=0)
    outcomes = run_trials([other, trial, other, trial], store)
    assert ran == [other] and outcomes[0] == outcomes[2] and outcomes[1].record == store.load(trial)
    run_trials([other, trial], store)
    assert ran == [other]


def test_a_start_is_run_once_and_kept(tmp_path, monkeypatch):
    ran = []
    [start] = floats(7)

    def fake(trial, content, checkpoint):
        ran.append((trial.name, content))
        return Record(trial=trial, results=RESULTS, provenance={}), (b"weights" if trial.strategy == "float" else None)

    monkeypatch.setattr(workers, "run_trial", fake)
    trials = [quantized(start=start), quantized(start=start, seed=1)]
    outcomes = run_trials(trials, tmp_path)
    assert ran == [(start.name, None), *((t.name, b"weights") for t in trials)]
    assert [o.trial for o in outcomes] == trials and Store(tmp_path).load(start)
    ran.clear()
    more = quantized(start=start, seed=2)
    run_trials([more], tmp_path)
    assert ran == [(more.name, b"weights")]


RESULTS = {
    **dict.fromkeys(("test", "validation", "float_test"), {"hits": 1, "n": 2, "loss": 0.5, "hits_top5": None}),
    "parameters": 1,
    "history": [],
    "stages": [],
}


def test_the_loss_of_accuracy_is_known_from_the_record_alone():
    results = RESULTS | {"float_test": {"hits": 2, "n": 2, "loss": 0.5, "hits_top5": None}}
    record = Record(trial=quantized(), results=results, provenance={})
    assert record.results.loss_of_accuracy == 0.5


def test_a_record_keeps_which_test_images_are_right(copied):
    store, trial = copied
    results = store.load(trial).results
    model = zoo.build("lenet", (8, 8, 1), 10)
    weights.load_weights(model, store.weights(trial))
    digits = fewbits.data.load("digits")
    right = model.predict(digits.scaled(digits.test), verbose=0).argmax(1) == digits.test.labels
    assert list(results.answers) == ["test"] and np.array_equal(results.share().answers, right)
    assert not results.lost, "a float network has lost nothing"
    low = Trial(network="lenet", data="digits", strategy="static", bits=(3, 3, 3), start=trial)
    [outcome] = run_trials([low], store.folder)
    found = Store(store.folder).load(low).results
    assert outcome.record.results == found and np.array_equal(found.share("float_test").answers, right)
    assert found.lost.mean == pytest.approx(found.loss_of_accuracy)
    assert found.lost.half_width == (Share.of(right) - Share.of(found.share().answers)).half_width


def test_a_record_without_answers_has_shares_without_them():
    results = Results(**RESULTS)
    assert results.answers is None and results.share().answers is None and results.share() == Share(1, 2)
    assert results.lost.half_width == (Share(1, 2) - Share(1, 2)).half_width and results.lost.n == 1


@pytest.mark.parametrize("answers", ["c0", "00", "a0", "8000", "", "a"])
def test_answers_that_were_not_counted_are_refused(answers):
    assert Results(**RESULTS, answers={"test": "40"}).share().answers.tolist() == [False, True]
    with pytest.raises(ValueError):
        Results(**RESULTS, answers={"test": answers})


@pytest.mark.parametrize("n", [1, 7, 8, 9, 10_000])
def test_answers_are_packed_and_unpacked(n):
    answers = np.random.default_rng(n).random(n) < 0.5
    assert np.array_equal(unpack_answers(pack_answers(answers), n), answers)
    assert len(pack_answers(answers)) == 2 * -(-n // 8)


def test_the_images_are_drawn_by_class_and_fewer_are_among_more():
    split = fewbits.data.load("digits").train
    drawn = [strategies._drawn(split, n) for n in (1, 9, 64, 500, len(split))]
    assert [len(d) for d in drawn] == [1, 9, 64, 500, len(split)]
    assert np.ptp(np.bincount(drawn[2].labels, minlength=10)) <= 2
    few, many = ({image.tobytes() for image in d.images} for d in drawn[2:4])
    assert few <= many
    assert np.array_equal(strategies._drawn(split, None).images, drawn[-1].images)


def test_width_size_and_augmentation_reach_the_network_and_its_images(monkeypatch):
    seen = []
    monkeypatch.setattr(training, "train", lambda *arguments, **options: seen.append((arguments, options)) or [])
    [wanted] = floats(1, network="mobilenet_cifar", width=0.25, size=6, augment="light", weight_decay=0.1, momentum=0.7)
    record, _ = run_trial(wanted)
    [((model, (images, _)), options)] = seen
    assert model.input_shape == (None, 6, 6, 1) and images.shape == (64, 6, 6, 1) and model.count_params() < 250_000
    assert options["augment"] is shift_flip_and_light and model.optimizer.weight_decay == 0.1
    assert {layer.momentum for layer in model.layers if hasattr(layer, "moving_mean")} == {0.7}
    whole = fewbits.data.load("digits")
    assert record.provenance["data"] == whole.resized(6).checksum != whole.checksum


def test_a_start_has_the_width_and_size_of_what_starts_there():
    trial = quantized(network="mobilenet_cifar", width=0.25, size=6)
    assert (trial.start.width, trial.start.size) == (0.25, 6)
    assert quantized(width=0.5, start=START | {"width": 1.0}).start.width == 1


def test_a_start_has_the_fold_of_what_starts_there_where_their_data_are_the_same():
    fields = {"data": "cwfid", "fold": 3}
    assert quantized(**fields).start.fold == 3
    assert quantized(**fields, start=START | {"data": "crops"}).start.fold == 0


def test_the_fold_reaches_the_images(tmp_path, monkeypatch):
    monkeypatch.setenv("FEWBITS_DATA", str(tmp_path))
    (tmp_path / "cwfid").mkdir()
    for scene in fewbits.data.draw_scenes(20, 48):
        fewbits.data.write_scene(scene, tmp_path / "cwfid")
    [trial] = floats(1, data="cwfid", fold=3, images=None, epochs=0)
    record, _ = run_trial(trial)
    assert record.provenance["data"] == fewbits.data.load("cwfid", fold=3).checksum
    assert record.results.test.n == len(fewbits.data.load("cwfid", fold=3).test)


def test_a_trial_on_a_hundred_classes_makes_a_network_with_as_many(tmp_path, monkeypatch):
    monkeypatch.setenv("FEWBITS_DATA", str(tmp_path))
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (300, 32, 32, 3), np.uint8), np.arange(300) % 100
    np.savez(tmp_path / "cifar100.npz", x_train=x, y_train=y, x_test=x[:150], y_test=y[:150, np.newaxis])
    [trial] = floats(1, network="squeezenet_chernis_e5", data="cifar100", size=8, epochs=1, learning_rate=0.001)
    [cifar10] = floats(1, network="squeezenet_chernis_e5", data="cifar10", size=8, epochs=1, learning_rate=0.001)
    assert trial.key != cifar10.key
    record, _ = run_trial(trial)
    assert record.results.parameters == 773_764  # chernis, Table 1
    assert record.results.test.n == 150 and record.results.test.hits_top5 >= record.results.test.hits
    assert [entry["epoch"] for entry in record.results.history] == [1]
    assert record.provenance["data"] == fewbits.data.load("cifar100").resized(8).checksum


def test_a_chain_of_starts_is_run_in_its_order_and_only_what_is_missing(tmp_path, monkeypatch):
    ran = []

    def fake(trial, content, checkpoint):
        ran.append((trial, content))
        record = Record(trial=trial, results=RESULTS, provenance={})
        return record, trial.key.encode() if trial.strategy == "float" else None

    monkeypatch.setattr(workers, "run_trial", fake)
    [first] = floats(1)
    [second] = floats(2, start=first, transfer=3)
    [third] = floats(3, start=second, transfer=2, freeze=True)
    last = quantized(start=third)
    outcomes = run_trials([last, third], tmp_path)
    assert [trial for trial, _ in ran] == [first, second, third, last]
    assert [content for _, content in ran] == [None, *(trial.key.encode() for trial in (first, second, third))]
    assert [o.trial for o in outcomes] == [last, third]
    ran.clear()
    store = Store(tmp_path)
    for trial in (first, third, last):
        store.weights(trial).unlink(missing_ok=True)
    more = quantized(start=third, seed=1)
    run_trials([more], store)
    assert [trial for trial, _ in ran] == [third, more], "the second's weights are kept, so the first is not needed"


def test_what_starts_from_a_failed_start_of_a_start_says_so(tmp_path, monkeypatch):
    [first] = floats(1)
    [second] = floats(2, start=first, transfer=3)
    monkeypatch.setattr(training, "train", lambda *_, **__: 1 / 0)
    [outcome] = run_trials([quantized(start=second)], tmp_path)
    assert outcome.error == (
        "its start, lenet digits float transfer 3 seed 2, failed: its start, lenet digits float seed 1, failed: "
        "ZeroDivisionError: division by zero"
    )


@pytest.mark.parametrize("freeze", [False, True])
def test_a_float_trial_takes_the_first_levels_of_its_start(freeze, tmp_path):
    [start] = floats(1, epochs=1)
    [trial] = floats(2, start=start, transfer=2, freeze=freeze, epochs=1)
    [outcome] = run_trials([trial], tmp_path)
    store, results = Store(tmp_path), outcome.record.results
    before, after = (dict(np.load(store.weights(t))) for t in (start, trial))
    for name in before:
        held = name.startswith(("conv1/", "conv2/"))
        assert np.array_equal(before[name], after[name]) == (freeze and held), name
    assert set(results.moved) == set(results.spread) == {"conv1", "conv2", "dense3", "dense4"}
    assert [name for name, share in results.moved.items() if share == 0] == (["conv1", "conv2"] if freeze else [])
    kernel = before["conv2/kernel"].astype(float), after["conv2/kernel"].astype(float)
    assert results.moved["conv2"] == pytest.approx(np.linalg.norm(kernel[1] - kernel[0]) / np.linalg.norm(kernel[0]))
    assert results.spread["conv2"] == pytest.approx(kernel[1].std())
    assert store.load(start).results.moved is None
    assert outcome.record.provenance["start"] is not None


def test_a_pruning_keeps_its_steps_and_what_starts_from_it_has_its_filters(tmp_path):
    fields = {"ratio": 0.4, "per_step": 20, "train_images": [32, 64], "criterion": "weights-l1"}
    pruning = Trial(**PRUNE | fields | {"seed": 1})
    few_bits = quantized(start=pruning, strategy="static", epochs=0)
    outcomes = run_trials([pruning, few_bits], tmp_path)
    assert [outcome.error for outcome in outcomes] == [None, None]
    results = outcomes[0].record.results
    assert results.pruned == "goal" and not results.history and not results.stages
    assert sum(results.pruning[0]["filters"].values()) - sum(results.pruning[-1]["filters"].values()) == round(
        0.4 * 570
    )
    assert results.pruning[0]["test"] == results.float_test.model_dump()
    assert results.pruning[-1]["test"]["n"] == results.test.n
    assert abs(results.pruning[-1]["test"]["hits"] - results.test.hits) <= 2  # weights are kept in half precision
    assert results.parameters == results.pruning[-1]["parameters"] < results.pruning[0]["parameters"]
    other = outcomes[1].record.results
    assert other.float_test == results.test and other.pruning is None
    more = Trial(**FLOAT | {"seed": 2, "epochs": 1, "start": pruning, "transfer": 4})
    again = quantized(start=more, strategy="static", epochs=0)  # two steps behind the pruning
    trained, few_bits = (outcome.record.results for outcome in run_trials([more, again], tmp_path))
    assert few_bits.float_test == trained.test and trained.parameters == results.parameters
    again = run_trials([pruning], tmp_path)
    assert again[0].record == outcomes[0].record


def test_a_quantized_network_is_compared_with_its_integers(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    trial = quantized(strategy="static", epochs=0, integers=True)
    [outcome] = run_trials([trial], tmp_path)
    found = outcome.record.results.identity
    assert all(differ == 0 for _, differ in found.values()) and found["ONNX Runtime"][0] == 359 * 10
    assert found["NumPy"][0] > 10 * 359 * 10 and ("C" in found) == bool(compiled.find_compiler())
    assert Store(tmp_path).load(trial) == outcome.record
    monkeypatch.setattr(onnx.ONNXRunner, "run", lambda self, image: np.full(10, 10**6))
    other = trial.model_copy(update={"rounding": "floor"})
    [outcome] = run_trials([other], tmp_path)
    assert outcome.record.results.identity["ONNX Runtime"] == (3590, 3590)


@pytest.mark.parametrize("more", [{}, {"ranges": "learned", "strategy": "all-at-once", "epochs": 1}], ids=str)
def test_unsigned_codes_are_those_of_all_integer_programs(more, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    made, lower = [], strategies.lower
    monkeypatch.setattr(strategies, "lower", lambda *given: made.append(lower(*given)) or made[-1])
    fields = {"strategy": "static", "epochs": 0, "bits": (8, 8, 8)} | more
    [outcome] = run_trials([quantized(signed=False, integers=True, **fields)], tmp_path)
    found = outcome.record.results.identity
    assert {"NumPy", "ONNX Runtime"} <= found.keys() and ("C" in found) == bool(compiled.find_compiler())
    assert all(codes >= 3590 and differ == 0 for codes, differ in found.values())
    [network] = made
    assert any((tensor.low, tensor.high) == (0, 255) for tensor in network.tensors[1:])  # what signs do not reach


def test_unsigned_codes_of_more_than_8_bits_are_refused():
    with pytest.raises(InputError, match="integers needs at most 8 bits for kernel, input and output"):
        quantized(signed=False, integers=True, bits=(8, 9, 8))


def test_signs_and_learned_ranges_reach_the_network(tmp_path, monkeypatch):
    signs, learn, run = [], [], training.progressive_quantization

    def told(*arguments, **options):
        outcome = run(*arguments, **options)
        signs.append({fmt.signed for formats in outcome.model.formats.values() for fmt in formats[1:3]})
        learn.append(outcome.model.rounding_layers[0].ranges is not None)
        return outcome

    monkeypatch.setattr(training, "progressive_quantization", told)
    trials = quantized(), quantized(signed=False), quantized(signed=False, ranges="learned")
    done = run_trials(trials, tmp_path)
    assert [outcome.error for outcome in done] == [None] * 3
    assert signs == [{True}, {True, False}, {True, False}] and learn == [False, False, True]
    histories = [outcome.record.results.history for outcome in done]
    assert not any(histories[i] == histories[j] for i, j in ((0, 1), (1, 2), (0, 2)))


def test_a_distilled_trial_learns_from_its_start(tmp_path, monkeypatch):
    seen, run = [], training.progressive_quantization

    def told(model, *arguments, **options):
        seen.append((model, options["recipe"].distillation))
        return run(model, *arguments, **options)

    monkeypatch.setattr(training, "progressive_quantization", told)
    trials = quantized(), quantized(distill=0.5, temperature=2.0)
    plain, taught = (outcome.record.results for outcome in run_trials(trials, tmp_path))
    assert [lesson for _, lesson in seen] == [None, training.Distillation(0.5, 2.0)]
    assert taught.float_test == plain.float_test and taught.history != plain.history
    assert "distilled" in trials[1].name


def test_a_trial_measures_the_statistics_of_batch_normalization(tmp_path):
    stack = [
        keras.layers.Input((8, 8, 1)),
        keras.layers.Conv2D(4, 3, strides=2, name="conv"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Flatten(),
        keras.layers.Dense(10, name="out"),
    ]
    files.write_model(keras.Sequential(stack, name="normalized"), tmp_path / "net.keras")
    mine = {"network": str(tmp_path / "net.keras"), "data": "digits", "images": 64}
    plain = Trial(**mine, epochs=1)
    measured = Trial(**mine, epochs=1, reestimate=True)
    few_bits = [Trial(**mine, strategy="static", bits=(5, 5, 5), start=plain, reestimate=r) for r in (False, True)]
    done = run_trials([plain, measured, *few_bits], tmp_path / "store")
    assert [outcome.error for outcome in done] == [None] * 4
    before, after = (dict(np.load(Store(tmp_path / "store").weights(trial))) for trial in (plain, measured))
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {"norm/moving_mean", "norm/moving_variance"}
    model = files.read_model(tmp_path / "net.keras")
    weights.load_weights(model, Store(tmp_path / "store").weights(measured))
    dataset = fewbits.data.load("digits")
    images = dataset.scaled(strategies._drawn(dataset.train, 64))
    values = keras.Model(model.inputs, model.get_layer("conv").output).predict(images, verbose=0)
    assert after["norm/moving_mean"] == pytest.approx(values.mean((0, 1, 2)), rel=2e-3, abs=2e-3)
    assert after["norm/moving_variance"] == pytest.approx(values.var((0, 1, 2)), rel=2e-3)
    stale, fresh = (outcome.record.results for outcome in done[2:])
    assert stale.float_test == fresh.float_test == done[0].record.results.test and stale.test != fresh.test


def test_a_trial_with_a_start_is_refused_without_its_weights():
    with pytest.raises(InputError, match="starts from trained weights; pass them as `start`"):
        run_trial(quantized())


def test_every_strategy_has_a_function():
    assert set(strategies.STRATEGY_RUNS) == {*TRIAL_STRATEGIES, "transfer"}


def test_a_network_that_takes_no_level_is_drawn_as_without_a_start(tmp_path):
    [start] = floats(1, epochs=0)
    [none], [alone] = floats(2, start=start, transfer=0), floats(2)
    one, other = (o.record.results for o in run_trials([none, alone], tmp_path))
    assert one.history == other.history and one.test == other.test


def test_a_cosine_ends_at_zero(monkeypatch):
    seen = []
    monkeypatch.setattr(training, "train", lambda model, *_, **__: seen.append(model.optimizer._learning_rate) or [])
    run_trial(*floats(1, decay="cosine", epochs=3, batch_size=10))
    assert float(seen[0](0)) == pytest.approx(0.05) and float(seen[0](21)) == 0 < float(seen[0](20))


# Kills, and several processes. Results are equal to the bit where TensorFlow's threads are, so each has one


@pytest.fixture
def few_images(tmp_path, monkeypatch):
    """Let `mnist` be 112 enlarged digits: with few sizes of batches, little is compiled."""
    digits = fewbits.data.load("digits").train
    images = np.pad(np.kron(digits.images[:112, ..., 0] * 16, np.ones((3, 3), np.uint8)), ((0, 0), (2, 2), (2, 2)))
    labels = digits.labels[:112]
    arrays = {"x_train": images[:80], "y_train": labels[:80], "x_test": images[80:], "y_test": labels[80:]}
    np.savez(tmp_path / "mnist.npz", **arrays)
    monkeypatch.setenv("FEWBITS_DATA", str(tmp_path))
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")


def child(function, *arguments):
    """Call in a process that may kill itself; return what it puts into a queue, or None."""
    queue = FORK.SimpleQueue()
    process = FORK.Process(target=function, args=(*arguments, dict(os.environ), queue))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return None if process.exitcode else queue.get()


def sweep(trials, folder, kill_at, environment, queue):
    """Run `trials`; die at the `kill_at`-th event: a step of training, or a file about to be completed or named."""
    os.environ |= environment
    events = 0

    def counted(function):
        def call(*arguments, **options):
            nonlocal events
            events += 1
            if events == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    keras.Model.train_on_batch = counted(keras.Model.train_on_batch)
    os.fsync, Path.replace = counted(os.fsync), counted(Path.replace)
    networks._NETWORKS["basicnet"] = tiny
    outcomes = run_trials(trials, folder)
    assert not any(outcome.error for outcome in outcomes)
    queue.put(events)


def tiny(input_shape, classes):
    """Return a network that is quantized in seconds."""
    layers = keras.layers
    inputs = layers.Input(input_shape, name="images")
    x = layers.Conv2D(4, 3, strides=2, activation="relu", name="conv1")(inputs)
    x = layers.Flatten(name="flatten")(layers.Dropout(0.2, name="dropout")(x))
    return keras.Model(inputs, layers.Dense(classes, name="dense2")(x), name="tiny")


def results(trials, folder):
    """Return all that must not depend on what happened: the results, and the weights of float trials."""
    store = Store(folder)
    everything = [*trials, *(t.start for t in trials if t.start)]
    return [(store.load(t).results, t.start or store.weights(t).read_bytes()) for t in everything]


def test_killed_at_ten_random_points_it_ends_with_the_same_bits_and_repeats_nothing(few_images, tmp_path):
    fields = {"network": "basicnet", "data": "mnist"}
    trials = [*floats(1, 2, **fields), quantized(**fields, strategy="lock", epochs=2)]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    events, kept = child(sweep, trials, whole, -1), {}
    for kill_at in np.random.default_rng(0).integers(2, events // 3, 10):
        assert child(sweep, trials, killed, kill_at) is None, "it ended before it could be killed ten times"
        for path in killed.glob("*.json"):
            assert kept.setdefault(path.name, path.read_bytes()) == path.read_bytes()
    assert child(sweep, trials, killed, -1) and kept
    assert results(trials, killed) == results(trials, whole)
    assert all((killed / name).read_bytes() == content for name, content in kept.items())
    assert sorted(p.name for p in killed.iterdir()) == sorted(p.name for p in whole.iterdir())
    assert {p.suffix for p in killed.iterdir()} == {".json", ".npz"}


def one_after_another(trials, start, environment, queue):
    """Put the results of the last of `trials` into the queue."""
    os.environ |= environment
    networks._NETWORKS["basicnet"] = tiny
    *_, last = [run_trial(trial, start)[0] for trial in trials]
    queue.put(last.results)


def test_a_quantized_trial_does_not_depend_on_those_before(few_images, monkeypatch):
    fields = {"network": "basicnet", "data": "mnist"}
    monkeypatch.setitem(networks._NETWORKS, "basicnet", tiny)
    start = run_trial(*floats(3, **fields))[1]
    before = quantized(**fields, strategy="lock", learning_rate=0.3, rounding="floor")
    trial = quantized(**fields, bits=(3, 4, None), seed=9, order="output")
    assert child(one_after_another, [trial], start) == child(one_after_another, [before, trial], start)


def test_two_processes_give_the_same_records_as_one(few_images, tmp_path, monkeypatch):
    trials = [*floats(1, 2, data="mnist"), quantized(data="mnist", strategy="static", epochs=0)]
    with monkeypatch.context() as two_cores:
        two_cores.delenv("TF_NUM_INTRAOP_THREADS")
        two_cores.setattr(os, "cpu_count", lambda: 2)
        outcomes = run_trials(trials, tmp_path / "two", processes=2)
    assert [o.trial for o in outcomes] == trials and not any(o.error for o in outcomes)
    child(sweep, trials, tmp_path / "one", -1)
    assert results(trials, tmp_path / "two") == results(trials, tmp_path / "one")


class Murderer(threading.Thread):
    """Kills the worker of `cluster` while it is at a trial, once for each of `victims`, when an epoch is kept."""

    def __init__(self, cluster, store, victims):
        super().__init__(daemon=True)
        self.cluster, self.store, self.victims, self.epochs = cluster, store, victims, []

    def run(self):
        seen = None
        for victim in self.victims:
            checkpoint = self.store.checkpoint(victim)
            while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == seen:
                time.sleep(0.002)
            self.epochs.append(len(read_history(checkpoint)))
            [worker] = self.cluster.workers.values()
            os.kill(worker.pid, signal.SIGKILL)
            time.sleep(0.2)
            seen = checkpoint.stat().st_mtime_ns


def test_a_trial_outlives_its_worker_and_the_sweep_a_trial_that_kills_its_workers(tmp_path):
    first, second, third = floats(1, 2, 3, epochs=30)
    store = Store(tmp_path)
    quick = {"distributed.worker.multiprocessing-method": "forkserver", "distributed.scheduler.allowed-failures": 1}
    with (
        dask.config.set(quick),
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster,
    ):
        murderer = Murderer(cluster, store, [first, second, second])
        murderer.start()
        outcomes = run_trials([first, second, third], store, scheduler=cluster.scheduler_address)
    assert outcomes[1].error == "2 workers died while they ran it (KilledWorker); memory may be short"
    assert [len(outcomes[i].record.results.history) for i in (0, 2)] == [30, 30]
    assert len(murderer.epochs) == 3 and 0 < murderer.epochs[1] < murderer.epochs[2] < 30  # it went on

"""`fewbits sweep`: what it runs, prints and leaves, and how it ends."""

import json
import signal

import pytest

from fewbits import experiment
from fewbits.cli import main
from fewbits.cli.progress import TrialsBar
from fewbits.experiment import read_grid, workers
from helpers.cli import refused
from helpers.records import record

FILE = """
[common]
network = "lenet"
data = "digits"
images = 32
epochs = 1

[[grid]]
name = "floats"
vary = { seed = [1, 2, 3] }

[[grid]]
name = "first"
priority = true
fixed = { seed = 1 }
"""
FAILING = """
[[grid]]
name = "failing"
fixed = { epochs = 3, batch_size = 8, learning_rate = 1e8, optimizer = "adam" }
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "trials.toml"
    path.write_text(FILE)
    return path


def sweep(file, *arguments):
    return main(["sweep", str(file), "--store", str(file.parent / "store"), *arguments])


def stored(file):
    return {path.name: path.read_bytes() for path in (file.parent / "store").iterdir()}


def test_a_sweep_is_run_once_and_told_as_a_table(file, capsys):
    assert sweep(file, "--list") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"0 of 3 trials are kept in {file.parent / 'store'}\n") and said.count("not run") == 4
    assert sweep(file, "--priority") == 0
    assert "trial 1 of 1  lenet digits float seed 1  accuracy " in capsys.readouterr().out
    before = stored(file)
    assert sweep(file) == 0
    said = capsys.readouterr().out
    assert "1 of 3 trials are kept" in said and "trial 3 of 3  lenet digits float seed 3  accuracy " in said
    table = [line for line in said.splitlines() if line.startswith("lenet ")]
    for line, trial in zip(table, [trial for grid in read_grid(file) for trial in grid.trials]):
        kept = json.loads(stored(file)[f"{trial.key}.json"])
        accuracy, seconds = kept["results"]["test"]["hits"] / 359, kept["provenance"]["seconds"]
        assert line.split() == [*trial.name.split(), trial.key, f"{accuracy:.2%}", f"{seconds:.0f}", "s"]
    assert len(table) == 4 and stored(file).items() > before.items()
    everything = stored(file)
    assert sweep(file) == 0 and sweep(file, "--list") == 0 and stored(file) == everything
    assert "not run" not in capsys.readouterr().out


def test_how_far_under_float_is_told(file, capsys, monkeypatch):
    file.write_text(
        FILE + '[[grid]]\nname = "low"\nfixed = { strategy = "lock", start = { epochs = 1 }, bits = [2, 4, "float"] }'
    )
    tally = {"n": 1000, "loss": 0.5, "hits_top5": None}

    def fake(trial, start, checkpoint):
        results = {
            "test": tally | {"hits": 750},
            "validation": tally | {"hits": 0},
            "float_test": tally | {"hits": 900} if start else None,
            "parameters": 1,
            "history": [],
            "stages": [],
        }
        return experiment.Record(trial=trial, results=results, provenance={}), None if start else b"weights"

    monkeypatch.setattr(workers, "run_trial", fake)
    assert sweep(file, "--grid", "low") == 0
    line = capsys.readouterr().out.splitlines()[-3].split()
    assert line[:4] == ["lenet", "digits", "lock", "2-4-float"] and line[-2:] == ["75.00%", "15.00%"]


TIMES = """
[common]
network = "lenet"
data = "digits"
epochs = 1

[[grid]]
name = "long"
fixed = { epochs = 99 }

[[grid]]
name = "short"
vary = { seed = [1, 2] }

[[grid]]
name = "others"
fixed = { network = "basicnet" }

[[grid]]
name = "first"
priority = true
fixed = { seed = 3 }
"""


def timed(trial, seconds):
    fields = trial.model_dump(exclude_defaults=True)
    return record(90, provenance={"seconds": seconds}, **fields)


def test_a_list_tells_the_time_of_what_ran_and_of_what_is_left(file, capsys):
    file.write_text(TIMES)
    first = read_grid(file)[-1].trials[0]
    experiment.Store(file.parent / "store").save(timed(first, 1234.4))
    assert sweep(file, "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        "finished: 1, in 20 min 34 s",
        "left: 4, about 17 h 49 min and 1 of unknown time",
    ]
    rows = [line.split() for line in lines if " seed " in line]
    assert [row[row.index("seed") + 3 :] for row in rows] == [
        ["not", "run", "about", "61,720", "s"],
        ["not", "run", "about", "1,234", "s"],
        ["not", "run", "about", "1,234", "s"],
        ["not", "run"],
        ["90.00%", "1,234", "s"],
    ]


def test_minutes_run_what_fits_with_priority_first(file, capsys, monkeypatch):
    file.write_text(TIMES)
    trials = {grid.name: grid.trials for grid in read_grid(file)}
    experiment.Store(file.parent / "store").save(timed(trials["short"][0], 600.0))
    ran = []

    def fake(trial, *rest):
        ran.append(trial)
        return timed(trial, 480.0), b"weights"

    monkeypatch.setattr(workers, "run_trial", fake)
    assert sweep(file, "--minutes", "25") == 0
    assert ran == [trials["first"][0], trials["short"][1], trials["others"][0]]
    said = capsys.readouterr().out
    table = [line.split()[-2:] for line in said.splitlines() if line.startswith(("lenet", "basicnet"))]
    assert table == [["480", "s"], ["24,000", "s"], ["480", "s"], ["480", "s"]], "of what has a record before, nothing"
    assert said.endswith("finished: 4, in 34 min 00 s\nleft: 1, about 6 h 40 min\n")


def test_a_trial_that_fails_is_told_at_the_end(file, capsys):
    file.write_text(FILE + FAILING)
    assert sweep(file, "--grid", "failing") == 1
    said = capsys.readouterr()
    key = read_grid(file)[-1].trials[0].key
    assert (
        said.err.startswith(f"fewbits: lenet digits float seed 0 ({key}) failed: the loss became ")
        and said.err.count("\n") == 1
    )
    assert "trial 1 of 1  lenet digits float seed 0  failed\n" in said.out and "not run" in said.out


def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(file, capsys, monkeypatch):
    monkeypatch.setattr(TrialsBar, "__call__", lambda _, now: now.done == 2 and signal.raise_signal(signal.SIGINT))
    assert sweep(file) == 130
    monkeypatch.undo()
    told = f"2 of 3 trials are kept in {file.parent / 'store'}; the same command goes on"
    assert capsys.readouterr().err.strip() == f"fewbits: stopped; {told}"
    kept = stored(file)
    assert sweep(file) == 0
    assert "trial 3 of 3" in capsys.readouterr().out and stored(file).items() > kept.items()


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        (FILE.replace("lenet", "lenett"), [], "grid 'floats', trial 1: network 'lenett' is unknown, perhaps 'lenet'"),
        (FILE.replace("digits", "mnist"), [], "trial 1: data: mnist: neither "),
        (FILE, ["--grid", "flots"], "trials.toml has no grid 'flots'; it has floats, first"),
        (FILE, ["--grid", "floats", "--priority"], "trials.toml has no such grid with `priority = true`"),
        (FILE, ["--minutes", "0"], "--minutes must be a number above 0, not 0"),
        (FILE, ["--minutes", "nan"], "--minutes must be a number above 0, not nan"),
        (FILE, ["--minutes", "inf"], "--minutes must be a number above 0, not inf"),
        (FILE, ["--processes", "0"], "processes must be an integer of at least 1, not 0"),
        (FILE, ["--processes", "2", "--scheduler", "tcp://127.0.0.1:9"], "give processes or a scheduler, not both"),
        (FILE, ["--store", "trials.toml"], "trials.toml cannot be a store"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_before_it_starts(text, arguments, said, file, capsys, monkeypatch):
    monkeypatch.chdir(file.parent)
    monkeypatch.setenv("FEWBITS_DATA", str(file.parent))
    file.write_text(text)
    assert said in refused(["sweep", file.name, "--store", "store", *arguments], capsys, quiet=False)
    assert not list(file.parent.glob("store/*"))


def test_a_damaged_record_is_refused_by_name(file, capsys):
    assert sweep(file, "--priority") == 0
    [path] = (file.parent / "store").glob("*.json")
    path.write_text(path.read_text()[:-9])
    capsys.readouterr()
    assert f"{path} is damaged" in refused(["sweep", str(file), "--store", str(path.parent)], capsys, quiet=False)


def test_what_is_not_here_can_be_left_out_and_is_told_with_the_reason(file, capsys, monkeypatch):
    monkeypatch.setenv("FEWBITS_DATA", str(file.parent))
    missing = '[[grid]]\nname = "missing"\nvary = { data = ["cifar10"], seed = [1, 2] }\n'
    nothing = '[[grid]]\nname = "no weights"\nfixed = { start = "nothing", transfer = 1 }\n'
    file.write_text(f"{FILE}\n{missing}\n{nothing}")
    assert "cifar10.npz" in refused(["sweep", str(file), "--store", str(file.parent / "store")], capsys, quiet=False)
    assert sweep(file, "--skip-missing") == 0
    lines = capsys.readouterr().out.splitlines()
    left_out = [line for line in lines if "left out" in line]
    assert len(left_out) == 2 and left_out[0].startswith("2 left out: data: cifar10: neither")
    assert left_out[1].startswith("1 left out: start: there are no weights 'nothing'")
    assert sum(line.endswith("not run") for line in lines) == 3
    assert len([name for name in stored(file) if name.endswith(".json")]) == 3

"""A time budget: estimates against counts of images, choices against a simulation, and that the limit ends a run."""

import heapq
import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbits import Trial, run_trials
from fewbits.experiment import Store, choose_trials, estimate_seconds, estimate_with_starts, run_in_time, workers
from fewbits.training import checkpoints
from helpers.records import record

ALL = 900  # training images, of which a ninth validates in the records here
RATE = 0.02  # seconds per image
QUANTIZED = {"start": "other", "bits": (3, 8, 8)}
# Fields -> trainings that a schedule has on ten levels, counted by hand.
TRAININGS = [
    ({}, 1),
    ({"strategy": "static"}, 0),
    ({"strategy": "all-at-once"}, 1),
    ({"strategy": "all-at-once", "relax": True}, 2),
    ({"strategy": "lock"}, 9),
    ({"strategy": "train"}, 10),
    ({"strategy": "gradual"}, 6),
    ({"strategy": "gradual", "bits": (6, 8, 8)}, 3),
    ({"strategy": "gradual-by-level"}, 60),
]


def fields_of(more, **others):
    given = (QUANTIZED if more else {}) | more | others
    return {k: v for k, v in given.items() if not (k == "epochs" and more.get("strategy") == "static")}


def timed(seconds, provenance=None, **fields):
    """Return a record that took so many seconds."""
    fields = {"epochs": 0} | fields if fields.get("strategy") == "static" else fields
    return record(50, ALL // 9, provenance={"seconds": seconds} | (provenance or {}), **fields)


@pytest.mark.parametrize(("more", "trainings"), TRAININGS, ids=str)
def test_the_time_grows_with_the_images_of_all_epochs(more, trainings):
    epochs = 0 if more.get("strategy") == "static" else 4
    short = timed(RATE * (trainings * epochs * 200 + ALL), **fields_of(more, epochs=4, images=200, seed=1))
    whole = Trial(network="lenet", data="digits", **{"epochs": 0, **fields_of(more, epochs=7)})
    expected = RATE * (trainings * (epochs and 7) * ALL + ALL)
    assert estimate_seconds(whole, [short]) == pytest.approx(expected)


def test_a_gradual_loss_is_estimated_from_one_to_other_bits():
    known = timed(RATE * (6 * 1 * ALL + ALL), **QUANTIZED, strategy="gradual")
    other = Trial(network="lenet", data="digits", epochs=1, start="other", bits=(7, 8, 8), strategy="gradual")
    assert estimate_seconds(other, [known]) == pytest.approx(RATE * (2 * ALL + ALL))


def test_a_pruning_takes_its_steps_times_the_images_between_them():
    plan = {"strategy": "prune", "epochs": 0, "start": "other", "per_step": 20, "train_images": (100, 300)}
    known = timed(60.0, **plan, ratio=0.4)
    other = Trial(network="lenet", data="digits", **plan | {"ratio": 0.8, "per_step": 40, "train_images": (400, 800)})
    assert estimate_seconds(other, [known]) == pytest.approx(60.0 * (0.8 / 40 * 600) / (0.4 / 20 * 200))


def test_the_estimate_is_the_median_of_like_trials_that_were_not_resumed():
    trial = Trial(network="lenet", data="digits", epochs=1)
    known = [timed(seconds, seed=seed) for seed, seconds in enumerate((10.0, 90.0, 20.0))]
    other = [
        timed(1.0, network="basicnet"),
        timed(1.0, data="mnist"),
        timed(1.0, width=0.5),
        timed(1.0, size=16),
        timed(1.0, strategy="lock", **QUANTIZED),
        timed(1.0, {"resumed": True}),
        timed("long"),
    ]
    assert estimate_seconds(trial, [*other, *known]) == 20.0
    assert estimate_seconds(trial, other) is None


def test_starts_without_weights_count_too(tmp_path):
    start = {"epochs": 3, "seed": 5}
    trial = Trial(network="lenet", data="digits", epochs=1, strategy="lock", bits=(8, 8, 8), start=start)
    records = [timed(40.0, epochs=3), timed(7.0, strategy="lock", **QUANTIZED)]
    store = Store(tmp_path)
    assert estimate_with_starts(trial, store, records) == 47.0
    assert estimate_with_starts(trial, store, records[1:]) is None
    store.weights(trial.start).write_bytes(b"weights")
    assert estimate_with_starts(trial, store, records) == 7.0


# The choice

TRIALS = [Trial(network="lenet", data="digits", epochs=1, seed=seed) for seed in range(8)]
times = st.lists(st.none() | st.integers(1, 20), max_size=len(TRIALS))


@given(times, st.integers(1, 40), st.integers(1, 3))
def test_each_trial_that_fits_is_chosen_in_order(needed, seconds, processes):
    trials = TRIALS[: len(needed)]
    found = choose_trials(trials, seconds, dict(zip(trials, needed)).get, processes)
    ends, expected = [0] * processes, []  # when each process is free
    for trial, time_needed in zip(trials, needed):
        if time_needed is not None and min(ends) + time_needed <= seconds:
            heapq.heapreplace(ends, ends[0] + time_needed)
            expected.append(trial)
    unknown = [trial for trial, time_needed in zip(trials, needed) if time_needed is None]
    assert found == (expected or unknown[:processes])


def test_what_is_too_long_is_skipped_for_what_is_shorter():
    chosen = choose_trials(TRIALS[:4], 10, dict(zip(TRIALS, (6, 5, 3, 1))).get)
    assert chosen == [TRIALS[0], TRIALS[2], TRIALS[3]]


# Runs


def test_a_run_takes_what_fits_again_until_nothing_does(tmp_path, monkeypatch):
    known = timed(600.0, seed=99)
    Store(tmp_path).save(known)
    ran = []

    def fake(trial, start, checkpoint):
        ran.append(trial)
        return timed(600.0, **trial.model_dump(exclude_defaults=True, exclude={"network", "data"})), b"weights"

    monkeypatch.setattr(workers, "run_trial", fake)
    long = Trial(network="lenet", data="digits", epochs=400)
    outcomes = run_in_time([long, known.trial, *TRIALS[:4]], tmp_path, 1500)
    assert ran == TRIALS[:4], "two fit, and as they took no time, two more"
    assert [(outcome.record is None, outcome.error) for outcome in outcomes] == [(True, None)] + [(False, None)] * 5
    assert run_in_time(TRIALS[4:5], tmp_path, 0)[0].record is None and ran == TRIALS[:4]


def test_a_trial_of_unknown_time_is_run_when_nothing_else_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "run_trial", lambda trial, *_: (timed(600.0, seed=trial.seed), b"weights"))
    outcomes = run_in_time(TRIALS[:3], tmp_path, 900)
    assert [outcome.record is not None for outcome in outcomes] == [True, True, True]
    empty = tmp_path / "other"
    monkeypatch.setattr(workers, "run_trial", lambda trial, *_: (timed(6000.0, seed=trial.seed), b"weights"))
    outcomes = run_in_time(TRIALS[:3], empty, 900)
    assert [outcome.record is not None for outcome in outcomes] == [True, False, False], "the first tells of the others"


@pytest.mark.parametrize("told", [KeyboardInterrupt, RuntimeError])
def test_the_limit_ends_a_trial_that_is_running_and_the_run(told, tmp_path, monkeypatch):
    ran = []

    def endless(trial, *rest):
        ran.append(trial)
        try:
            while True:
                time.sleep(0.01)
        except KeyboardInterrupt:
            raise told from None  # TensorFlow makes errors of its own of an interrupt

    monkeypatch.setattr(workers, "run_trial", endless)
    outcomes = run_trials(TRIALS[:2], tmp_path, seconds=0.2)
    assert ran == TRIALS[:1] and [(outcome.record, outcome.error) for outcome in outcomes] == [(None, None)] * 2
    assert not list(tmp_path.glob("*.json"))


def test_ctrl_c_before_the_limit_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "run_trial", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run_in_time(TRIALS[:1], tmp_path, 900)


def test_a_trial_that_went_on_from_a_checkpoint_says_so(tmp_path, monkeypatch):
    trial = Trial(network="lenet", data="digits", images=32, epochs=2)
    save = checkpoints.save

    def stop(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        run_trials([trial], tmp_path)
    monkeypatch.undo()
    [outcome] = run_trials([trial], tmp_path)
    assert outcome.record.provenance["resumed"] is True
    [outcome] = run_trials([trial], tmp_path / "other")
    assert "resumed" not in outcome.record.provenance

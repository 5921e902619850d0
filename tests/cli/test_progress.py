"""Progress: bars on a terminal, lines in a log."""

import io
import re

import pytest

from fewbits import Trial
from fewbits.cli.progress import CountBar, SchemesBar, TrainingBar, TrialsBar, duration
from fewbits.experiment import Record, Scheme, TrialOutcome, TrialsProgress
from fewbits.training import TrainingProgress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def frames(terminal):
    """Return what was drawn, one string per redraw."""
    return [frame for frame in re.split(r"[\r\n]", terminal.getvalue()) if frame.strip()]


BATCHES = [
    TrainingProgress(1, 2, 1, 2, {"loss": 0.5}, 75),
    TrainingProgress(1, 2, 2, 2, {"loss": 0.25, "accuracy": 0.5}, 30),
    TrainingProgress(2, 2, 1, 2, {"loss": 0.2}, 10),
    TrainingProgress(2, 2, 2, 2, {"loss": 0.1, "accuracy": 0.75}, 0),
]
LINES = ["epoch 1 of 2  loss 0.2500  accuracy 50.00%", "epoch 2 of 2  loss 0.1000  accuracy 75.00%"]


def test_a_training_is_a_line_per_epoch_in_a_log():
    log = io.StringIO()
    bar = TrainingBar(log)
    for now in BATCHES:
        bar(now)
    assert log.getvalue() == f"{LINES[0]}  30 s left\n{LINES[1]}\n"


def test_stages_are_counted_and_every_accuracy_is_a_share():
    log = io.StringIO()
    TrainingBar(log)(TrainingProgress(1, 1, 1, 1, {"stage": 2, "val_accuracy_before": 0.25}, 0))
    assert log.getvalue() == "epoch 1 of 1  stage 2  val_accuracy_before 25.00%\n"


def test_a_training_is_a_bar_under_the_lines_of_its_epochs_on_a_terminal():
    terminal = Terminal()
    bar = TrainingBar(terminal)
    for now in BATCHES:
        bar(now)
    drawn = frames(terminal)
    assert [frame for frame in drawn if frame in LINES] == LINES
    last = [frame for frame in drawn if "/4" in frame][-1]
    assert last.startswith("epoch 2 of 2:") and "loss 0.1000" in last
    assert terminal.getvalue().endswith(" \r"), "the bar is overwritten with spaces at the end"


def test_a_training_on_a_stream_has_no_end_until_its_first_epoch_is_over():
    terminal, log = Terminal(), io.StringIO()
    bars = [TrainingBar(stream) for stream in (terminal, log)]
    unknown = BATCHES[0]._replace(steps=None, seconds_left=0)
    totals = []
    for now in (unknown, *BATCHES[1:]):
        for bar in bars:
            bar(now)
        totals.append(bars[0].bar.total)
    assert totals == [None, 4, 4, 4]
    assert log.getvalue() == f"{LINES[0]}  30 s left\n{LINES[1]}\n"
    assert [frame for frame in frames(terminal) if "/4" in frame]


def test_a_resumed_training_starts_where_it_was():
    terminal = Terminal()
    bar = TrainingBar(terminal)
    bar(BATCHES[2])
    assert bar.bar.n == 3 and bar.bar.initial == 2 and bar.bar.total == 4


TALLY = {"hits": 9, "n": 10, "loss": 0.5, "hits_top5": None}
RESULTS = {"test": TALLY, "validation": TALLY, "float_test": None, "parameters": 1, "history": [], "stages": []}


def trials():
    """Return the progress of two trials, the second of which fails."""
    one, two = (Trial(network="lenet", data="digits", epochs=1, seed=seed) for seed in (1, 2))
    record = Record(trial=one, results=RESULTS, provenance={})
    return [
        TrialsProgress(TrialOutcome(one, record), 2, 3, 200),
        TrialsProgress(TrialOutcome(two, None, "why"), 3, 3, 0),
    ]


def test_trials_are_lines_in_a_log_and_a_bar_on_a_terminal():
    log, terminal = io.StringIO(), Terminal()
    for stream in (log, terminal):
        bar = TrialsBar(stream)
        for now in trials():
            bar(now)
    assert log.getvalue() == (
        "trial 2 of 3  lenet digits float seed 1  accuracy 90.00%  3 min 20 s left\n"
        "trial 3 of 3  lenet digits float seed 2  failed\n"
    )
    assert "1/3" in frames(terminal)[0] and "trial 2 of 3" not in terminal.getvalue()
    before = len(frames(terminal))
    for now in trials():  # of a run that follows
        bar(now)
    assert "1/3" in frames(terminal)[before]


def test_schemes_are_lines_in_a_log_and_a_bar_on_a_terminal():
    scheme, log, terminal = Scheme(bits=(8, 8, 8)), io.StringIO(), Terminal()
    for stream in (log, terminal):
        bar = SchemesBar(stream)
        bar(scheme, 1, 2)
        bar(scheme, 2, 2)
    first, second = log.getvalue().splitlines()
    assert first.startswith(f"1 of 2  {scheme.name}") and second == f"2 of 2  {scheme.name}"
    assert "0/2" in frames(terminal)[0] and "2 of 2" not in terminal.getvalue()


def test_a_count_is_a_line_at_the_end_and_a_bar_on_a_terminal():
    log, terminal = io.StringIO(), Terminal()
    for stream in (log, terminal):
        bar = CountBar(stream, 4, "images")
        bar(1)
        assert bar.bar.n == (1 if stream is terminal else 0)
        bar.finish(3)
    assert log.getvalue() == "3 of 4 images\n"
    drawn = frames(terminal)
    assert "0/4" in drawn[0] and "images" in drawn[0] and drawn[-1] == "3 of 4 images"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (3600, "1 h 00 min"), (7500, "2 h 05 min")]
)
def test_durations_have_at_most_two_units(seconds, words):
    assert duration(seconds) == words

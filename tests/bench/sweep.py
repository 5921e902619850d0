"""Time a sweep of eight trials that differ only in their seeds, in one process and in two."""

import tempfile
import time

from fewbits import Trial, run_trials

SEEDS = range(8)
TRIALS = [Trial(network="squeezenet_digits", data="digits", epochs=10, seed=seed) for seed in SEEDS]


def seconds(processes):
    """Return how long the sweep takes, including the start of its processes."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        outcomes = run_trials(TRIALS, folder, processes=processes)
        assert all(outcome.record for outcome in outcomes)
        return time.perf_counter() - began


def report():
    one, two = seconds(1), seconds(2)
    print(f"{len(TRIALS)} trials, 1 and 2 processes    {one:8.1f} s {two:8.1f} s    ratio {two / one:.2f}")

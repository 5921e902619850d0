"""Times and their ratios: on a shared machine, only interleaved runs can be compared."""

import time

import numpy as np


def milliseconds(action, repeats=1, clock=time.perf_counter):
    """Return the mean time of `repeats` calls of `action`, measured by a `clock` in seconds."""
    began = clock()
    for _ in range(repeats):
        action()
    return 1000 * (clock() - began) / repeats


def interleaved(actions, rounds, repeats, clock=time.perf_counter):
    """Return name -> times in milliseconds, one per round; every round runs all `actions` (name -> callable)."""
    times = {name: [] for name in actions}
    names = list(actions)
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:  # each comes first in its turn
            times[name].append(milliseconds(actions[name], repeats, clock))
    return {name: np.array(t) for name, t in times.items()}


def ratios(times, reference):
    """Return name -> quartiles of the ratios, round by round, to the times of `reference`."""
    return {name: np.quantile(t / times[reference], (0.25, 0.5, 0.75)) for name, t in times.items()}

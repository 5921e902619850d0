"""How far long work is: one of tqdm's bars on a terminal, and elsewhere, as in a log, plain lines."""

import time
from typing import TYPE_CHECKING, Any, TextIO

from tqdm import tqdm

if TYPE_CHECKING:
    from fewbits.experiment import Scheme, TrialsProgress
    from fewbits.training import TrainingProgress


class TrainingBar:
    """Shows how far `fewbits.training.train` is; call it with each TrainingProgress.

    A line remains of each epoch. A terminal shows a bar over all batches below these lines.
    """

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.bar: Any = None

    def __call__(self, now: "TrainingProgress") -> None:
        """Show `now`."""
        done = (now.epoch - 1) * (now.steps or 0) + now.step
        total = None if now.steps is None else now.epochs * now.steps
        if self.bar is None:
            self.bar = _bar(self.stream, total, "batch", initial=done - 1)
        self.bar.total = total
        epoch = f"epoch {now.epoch:,} of {now.epochs:,}"
        results = "  ".join(_named(name, value) for name, value in now.results.items())
        self.bar.set_description(epoch, refresh=False)
        self.bar.set_postfix_str(results, refresh=False)
        self.bar.update(done - self.bar.n)
        if now.step == now.steps:
            _write_line(self.stream, f"{epoch}  {results}{_left(self.stream, now.seconds_left)}")
            if now.epoch == now.epochs:
                self.bar.close()


class TrialsBar:
    """Shows how far `fewbits.run_trials` is; call it with each TrialsProgress.

    A bar on a terminal, elsewhere a line for each trial.
    """

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.bar: Any = None

    def __call__(self, now: "TrialsProgress") -> None:
        """Show `now`."""
        if self.bar is None:
            self.bar = _bar(self.stream, now.total, "trial", initial=now.done - 1)
        trial, record, _ = now.outcome
        result = _named("accuracy", record.results.accuracy) if record else "failed"
        line = f"trial {now.done:,} of {now.total:,}  {trial.name}  {result}{_left(self.stream, now.seconds_left)}"
        _advance(self.stream, self.bar, now.done, line, trial.name)
        if now.done == now.total:  # another run may follow
            self.bar = None


class SchemesBar:
    """Shows how far `fewbits.experiment.run_schemes` is; call it with each scheme.

    A bar on a terminal, elsewhere a line for each scheme.
    """

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.bar: Any = None
        self.start, self.first = time.monotonic(), 0

    def __call__(self, scheme: "Scheme", done: int, total: int) -> None:
        """Show that `scheme` was run as number `done` of `total`."""
        if self.bar is None:
            self.bar, self.first = _bar(self.stream, total, "scheme", initial=done - 1), done - 1
        seconds = (time.monotonic() - self.start) / (done - self.first) * (total - done)
        line = f"{done:,} of {total:,}  {scheme.name}{_left(self.stream, seconds)}"
        _advance(self.stream, self.bar, done, line, scheme.name)


class CountBar:
    """Shows how many things are done; call it with their number.

    A bar on a terminal, and a line at the end, for which `finish` is called.

    Args:
        stream: Where to write.
        total: How many things there are.
        unit: What they are, in the plural.
    """

    def __init__(self, stream: TextIO, total: int, unit: str):
        self.stream, self.total, self.unit = stream, total, unit
        self.bar = _bar(stream, total, f" {unit}")

    def __call__(self, done: int) -> None:
        """Show that `done` things are done."""
        self.bar.update(done - self.bar.n)

    def finish(self, done: int) -> None:
        """Close the bar and leave a line with the number of things done."""
        self.bar.close()
        _write_line(self.stream, f"{done:,} of {self.total:,} {self.unit}")


class StepsBar:
    """Shows how far work of unequal steps is; call it with what is done now, how much of it, and of how much in all.

    A bar on a terminal; elsewhere a line when another step begins, with the time left.
    """

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.bar: Any = None
        self.start, self.step = time.monotonic(), ""

    def __call__(self, step: str, done: int, total: int) -> None:
        """Show that `done` of `total` is done, and that `step` is the work of now."""
        if self.bar is None:
            self.bar = _bar(self.stream, total, "step")
        self.bar.set_description(step, refresh=False)
        self.bar.update(done - self.bar.n)
        if step != self.step:
            self.step = step
            spent = time.monotonic() - self.start
            seconds = spent / done * (total - done) if done else 0
            if not self.stream.isatty():
                share = done / total if total else 1
                _write_line(self.stream, f"{share:4.0%}  {step}{_left(self.stream, seconds)}")
        if done >= total:
            self.bar.close()


def duration(seconds: float) -> str:
    """Return a time in words of at most two units.

    Example:
        >>> [duration(seconds) for seconds in (12, 200, 7500)]
        ['12 s', '3 min 20 s', '2 h 05 min']
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _bar(stream: TextIO, total: int | None, unit: str, initial: int = 0) -> Any:
    """Return a bar that disappears when it is closed; silent if `stream` is not a terminal."""
    return tqdm(total=total, initial=initial, unit=unit, file=stream, disable=None, leave=False, dynamic_ncols=True)


def _advance(stream: TextIO, bar: Any, done: int, line: str, name: str) -> None:
    """Move `bar` to `done`, with `name` beside it, and close it at the end; write `line` if there is no terminal."""
    bar.set_postfix_str(name, refresh=False)
    bar.update(done - bar.n)
    if not stream.isatty():
        _write_line(stream, line)
    if done == bar.total:
        bar.close()


def _write_line(stream: TextIO, line: str) -> None:
    """Write a line above the bars of `stream`."""
    tqdm.write(line, file=stream)
    stream.flush()


def _left(stream: TextIO, seconds: float) -> str:
    """Return the time left, if any, for a line; on a terminal the bar shows it."""
    return f"  {duration(seconds)} left" if seconds and not stream.isatty() else ""


def _named(name: str, value: float) -> str:
    if isinstance(value, int):  # what is counted, as the stage of a schedule
        return f"{name} {value}"
    return f"{name} {value:.2%}" if "accuracy" in name else f"{name} {value:.4f}"

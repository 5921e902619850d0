"""How far a training, or other long work, is, in the terminal."""

from typing import TextIO

WIDTH = 24


class Bar:
    """A `progress` for `fewbits.training.train`: a bar that moves on a terminal, elsewhere a line after each epoch."""

    def __init__(self, stream: TextIO):
        self.stream, self._length = stream, 0

    def __call__(self, step) -> None:
        finished = step.step == step.steps
        if not finished and not self.stream.isatty():
            return
        line = f"epoch {step.epoch} of {step.epochs}  "
        if not finished:
            line += f"{_bar(step.step, step.steps)}  "
        line += "  ".join(_named(name, value) for name, value in step.results.items())
        if step.seconds_left:
            line += f"  {duration(step.seconds_left)} left"
        if self.stream.isatty():
            line, self._length = "\r" + line.ljust(self._length), 0 if finished else len(line)
        self.stream.write(line + "\n" * finished)
        self.stream.flush()


class Count:
    """How many of `n` things, called `what`, are done: a bar on a terminal, elsewhere a line at the end."""

    def __init__(self, stream: TextIO, n: int, what: str):
        self.stream, self.n, self.what = stream, n, what

    def __call__(self, done: int) -> None:
        if self.stream.isatty():
            self.stream.write(f"\r{_bar(done, self.n)}  {done:,} of {self.n:,} {self.what}")
            self.stream.flush()

    def finish(self, done: int) -> None:
        self(done)
        self.stream.write("\n" if self.stream.isatty() else f"{done:,} of {self.n:,} {self.what}\n")
        self.stream.flush()


class Trials:
    """A `progress` for `fewbits.run`: a bar on a terminal, elsewhere a line after each trial."""

    def __init__(self, stream: TextIO):
        self.stream, self._length = stream, 0

    def __call__(self, now) -> None:
        count = f"{now.done:,} of {now.total:,}"
        left = f"  {duration(now.seconds_left)} left" if now.done < now.total else ""
        if self.stream.isatty():
            line = f"{_bar(now.done, now.total)}  {count} trials{left}"
            self.stream.write("\r" + line.ljust(self._length) + "\n" * (now.done == now.total))
            self._length = len(line)
        else:
            trial, record, _ = now.outcome
            result = _named("accuracy", record.results.accuracy) if record else "failed"
            self.stream.write(f"trial {count}  {trial.name}  {result}{left}\n")
        self.stream.flush()


def duration(seconds: float) -> str:
    """Return `seconds` in words of at most two units: 2 h 05 min, 3 min 20 s, 12 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _bar(done, n):
    filled = WIDTH * done // n
    return f"[{'#' * filled}{'.' * (WIDTH - filled)}]"


def _named(name, value):
    return f"{name} {value:.2%}" if name.endswith("accuracy") else f"{name} {value:.4f}"

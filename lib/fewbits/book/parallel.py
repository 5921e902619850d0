"""Runs chapters side by side, one kernel per worker process, the longest first."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from types import FrameType

from tqdm import tqdm

from fewbits.book.chapter import Chapter
from fewbits.book.execution import ExecutionError, is_current, last_seconds, run
from fewbits.errors import InputError

MEMORY = 6e9
"""What all kernels together may take, in bytes."""
KERNEL_MEMORY = 2.5e9
"""What the largest kernel of the book takes, in bytes."""

# The order of a first run, from the longest chapter to the shortest; chapters that are not listed start before all.
LONGEST_FIRST = "10 19 09 14 07 12 16 17 18 15 13 11 05 08 04 06 02 00 01 03 92 91 90".split()
UNKNOWN_SECONDS = 30.0  # what a chapter that has never run is expected to take


def run_chapters(
    chapters: Sequence[Chapter],
    profile: str,
    workers: int | None = None,
) -> dict[Chapter, str]:
    """Execute the chapters that have changed, several at a time, and print a line when one starts or ends.

    A chapter that fails does not stop the others. Ctrl-C stops all, and their kernels.

    Args:
        chapters: The chapters.
        profile: "smoke", "quick" or "full".
        workers: How many run at a time; default `default_workers()`.

    Returns:
        Chapter -> what went wrong, for those that failed.

    Raises:
        InputError: when `workers` is less than 1.
        ExecutionError: when a worker process was killed.
    """
    if workers is not None and workers < 1:
        raise InputError(f"{workers} chapters cannot run at a time; give --workers 1 or more")
    changed = [chapter for chapter in chapters if not is_current(chapter, profile)]
    if len(changed) < len(chapters):
        print(f"{len(chapters) - len(changed)} of {len(chapters)} chapters unchanged", flush=True)
    if not changed:
        return {}
    count = min(workers or default_workers(), len(changed))
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_prepare)
    try:
        return _run_all(pool, count, by_length(changed, profile), profile)
    except BrokenProcessPool:
        raise ExecutionError("a worker process was killed, perhaps for its memory; try --workers 1") from None
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown()


def default_workers() -> int:
    """Return how many kernels run at a time: one per core, as far as `MEMORY` and half of this machine's allow."""
    memory = MEMORY
    if hasattr(os, "sysconf"):
        memory = min(memory, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2)
    return max(1, min(cores(), int(memory / KERNEL_MEMORY)))


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def by_length(chapters: Sequence[Chapter], profile: str) -> dict[Chapter, float]:
    """Sort chapters from the longest to the shortest, so that no long one is left for the end.

    Args:
        chapters: The chapters.
        profile: "smoke", "quick" or "full".

    Returns:
        Chapter -> the seconds that it is expected to take: those of its last run. Chapters without one come first,
        in the order of `LONGEST_FIRST`.
    """
    rank = {number: place for place, number in enumerate(LONGEST_FIRST)}
    seconds = {chapter: last_seconds(chapter, profile) for chapter in chapters}
    order = sorted(
        chapters, key=lambda c: (seconds[c] is not None, -(seconds[c] or 0), rank.get(c.name[:2], -1), c.name)
    )
    return {chapter: seconds[chapter] or UNKNOWN_SECONDS for chapter in order}


def _prepare() -> None:
    """Set up a worker: Ctrl-C is left to the parent, which then terminates its workers."""
    signal.signal(signal.SIGINT, _ignore)  # not SIG_IGN, which kernels would inherit
    signal.signal(signal.SIGTERM, _leave)


def _ignore(number: int, frame: FrameType | None) -> None:
    pass


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)  # an exception, so that the kernel is shut down on the way out


def _run_all(
    pool: ProcessPoolExecutor,
    count: int,
    expected: dict[Chapter, float],
    profile: str,
) -> dict[Chapter, str]:
    waiting, failed = list(expected), {}
    running: dict[Future[bool], tuple[Chapter, float]] = {}
    progress = Progress(expected)
    while waiting or running:
        while waiting and len(running) < count:  # no more than can start at once: what starts is printed
            chapter = waiting.pop(0)
            running[pool.submit(run, chapter, profile)] = chapter, time.monotonic()
            progress.started(chapter)
        ended, _ = wait(running, timeout=1, return_when=FIRST_COMPLETED)
        for future in ended:
            chapter, began = running.pop(future)
            problem = _problem(future, chapter)
            if problem:
                failed[chapter] = problem
            progress.ended(chapter, time.monotonic() - began, problem)
        progress.show({chapter: time.monotonic() - began for chapter, began in running.values()})
    progress.close()
    return failed


def _problem(future: Future[bool], chapter: Chapter) -> str | None:
    try:
        future.result()
    except ExecutionError as error:
        return str(error)
    except InputError as error:
        return f"{chapter.name}: {error}"
    except BrokenProcessPool:
        raise
    except Exception as error:  # a kernel that was killed, or a mistake of ours: the other chapters go on
        return f"{chapter.name}: {type(error).__name__}: {error}"
    return None


class Progress:
    """One line per chapter that starts or ends and, on a terminal, a bar that knows how long chapters took before.

    Attributes:
        expected: Chapter -> the seconds that it is expected to take.
    """

    def __init__(self, expected: dict[Chapter, float]) -> None:
        self.expected = expected
        self._ended: set[Chapter] = set()
        self._bar = tqdm(
            total=sum(expected.values()),
            bar_format="{percentage:3.0f}%|{bar}| {elapsed}, {remaining} left",
            disable=None,  # without a terminal
            leave=False,
        )

    def started(self, chapter: Chapter) -> None:
        """Print that a chapter starts."""
        self._bar.write(f"{chapter.name} ...")

    def ended(self, chapter: Chapter, seconds: float, problem: str | None) -> None:
        """Print that a chapter has ended.

        Args:
            chapter: The chapter.
            seconds: How long it took.
            problem: What went wrong; None if nothing.
        """
        self._ended.add(chapter)
        how = "failed after" if problem else "took"
        self._bar.write(f"{chapter.name} {how} {seconds:.0f} s ({len(self._ended)} of {len(self.expected)} done)")
        if problem:
            self._bar.write(f"  {problem}")

    def show(self, running: dict[Chapter, float]) -> None:
        """Move the bar.

        Args:
            running: Chapter -> the seconds since it started, for those that run now.
        """
        part = sum(min(seconds, self.expected[chapter]) for chapter, seconds in running.items())
        self._bar.n = sum(self.expected[chapter] for chapter in self._ended) + part
        self._bar.refresh()

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()

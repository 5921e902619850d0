"""Ctrl-C between two batches, not within one: TensorFlow turns an interrupt inside it into errors of its own."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def postponed() -> Iterator[None]:
    """Let the block end before Ctrl-C raises KeyboardInterrupt; a second Ctrl-C raises it at once.

    It does nothing outside the main thread, the only one that receives Ctrl-C, or where Ctrl-C does not raise.

    Yields:
        None.
    """
    raises = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not raises or threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received:
            signal.default_int_handler(number, frame)
        received.append(number)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if received:
            raise KeyboardInterrupt


@contextmanager
def time_limit(seconds: float | None) -> Iterator[Callable[[], bool]]:
    """End the block after a time, as Ctrl-C would, but without an error.

    Outside the main thread, or where the system has no timer, the block must look at the time itself.

    Args:
        seconds: How long it may take; None for no limit.

    Yields:
        A function that returns whether the time is over.
    """
    end = float("inf") if seconds is None else time.monotonic() + seconds

    def is_over() -> bool:
        return time.monotonic() >= end

    try:
        with _alarm(seconds):
            yield is_over
    except KeyboardInterrupt:
        if not is_over():
            raise


@contextmanager
def _alarm(seconds: float | None) -> Iterator[None]:
    """Call the handler of Ctrl-C after `seconds`, even where Ctrl-C itself is ignored, as in the background."""
    if seconds is None or not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(signal.SIGINT)
        (handler if callable(handler) else signal.default_int_handler)(signal.SIGINT, frame)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

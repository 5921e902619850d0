"""Ctrl-C between two batches, not within one: TensorFlow turns an interrupt inside it into errors of its own."""

import signal
import threading
from collections.abc import Iterator
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

"""Ctrl-C between two batches, not within one: TensorFlow turns an interrupt inside it into errors of its own."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def postponed() -> Iterator[None]:
    """Let the block end before a Ctrl-C in it raises KeyboardInterrupt; a second one does so at once.

    Does nothing outside the main thread, which alone is told of Ctrl-C, and where Ctrl-C does not raise.
    """
    raises = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not raises or threading.current_thread() is not threading.main_thread():
        yield
        return
    came = []

    def note(number, frame):
        if came:
            signal.default_int_handler(number, frame)
        came.append(number)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if came:
            raise KeyboardInterrupt

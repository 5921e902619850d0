"""Ctrl-C waits for the end of a batch, and is never lost."""

import signal
import threading
import time

import numpy as np
import pytest

from fewbits import training
from fewbits.backend import keras
from fewbits.inspection.extraction import extractor
from fewbits.training.interruption import postponed, time_limit


def interrupt():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def restored():
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before
    signal.signal(signal.SIGINT, before)


def test_the_block_ends_first():
    done = []
    with pytest.raises(KeyboardInterrupt), postponed():
        interrupt()
        done.append(True)
    assert done


def test_the_second_one_does_not_wait():
    with pytest.raises(KeyboardInterrupt), postponed():
        interrupt()
        interrupt()
        pytest.fail("it waited")


def test_an_error_of_the_block_does_not_hide_it():
    with pytest.raises(KeyboardInterrupt), postponed():
        interrupt()
        raise TypeError("Could not generate a generic TraceType for None")


def test_an_error_alone_passes():
    with pytest.raises(ZeroDivisionError), postponed():
        1 / 0  # noqa: B018


def test_of_nested_blocks_the_outer_ends_first():
    done = []
    with pytest.raises(KeyboardInterrupt), postponed():
        with postponed():
            interrupt()
        done.append(True)
    assert done


def test_a_handler_of_others_is_left_alone():
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(True))
    with postponed():
        interrupt()
        assert heard
    signal.signal(signal.SIGINT, before)


def test_other_threads_are_not_asked():
    done = []

    def work():
        with postponed():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done


class Interrupted(keras.layers.Layer):
    """Is interrupted whenever it is traced or called; tells when it came to its end nevertheless."""

    def __init__(self):
        super().__init__()
        self.ended, self.awake = [], False

    def call(self, inputs):
        if self.awake:
            interrupt()
            self.ended.append(True)
        return inputs


@pytest.mark.parametrize(
    "work",
    [
        lambda model, x: training.train(model, (x, np.zeros(4, int)), epochs=1),
        lambda model, x: training.evaluate(model, (x, np.zeros(4, int))),
        lambda model, x: extractor(model)(x),
    ],
)
def test_a_batch_is_done_before_the_interrupt(work):
    layer = Interrupted()
    stack = [keras.layers.Input((4, 4, 1)), layer, keras.layers.Flatten(), keras.layers.Dense(2, name="out")]
    model = keras.Sequential(stack)
    layer.awake = True
    with pytest.raises(KeyboardInterrupt):
        work(model, np.zeros((4, 4, 4, 1), np.float32))
    assert layer.ended


# A time limit


def test_a_limit_ends_the_block_after_the_batch():
    done = []
    with time_limit(0.05) as is_over:
        assert not is_over()
        with postponed():
            while not is_over():
                time.sleep(0.001)
            time.sleep(0.01)
            done.append(True)
        pytest.fail("it went on")
    assert done and is_over() and signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_limit_holds_where_ctrl_c_is_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with time_limit(0.05):
        while True:
            time.sleep(0.001)
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_before_the_limit_and_a_block_without_one_are_as_ever():
    for seconds in (900, None):
        with pytest.raises(KeyboardInterrupt), time_limit(seconds) as is_over:
            assert not is_over()
            interrupt()
    with time_limit(900):
        pass
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    with pytest.raises(ZeroDivisionError), time_limit(900):
        1 / 0  # noqa: B018


def test_other_threads_look_at_the_time_themselves():
    told = []

    def work():
        with time_limit(0.01) as is_over:
            while not is_over():
                time.sleep(0.001)
            told.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert told

"""Wrong answers to the gaps of a lab."""

import pytest

from fewbits.labs import GapOpen, WrongAnswer


def tell_apart(*wrong):
    """Assert that each wrong answer gets a message of its own.

    Args:
        *wrong: For each typical mistake the check, the wrong function, and a part of the hint that it should get.
    """
    said = set()
    for check, answer, hint in wrong:
        with pytest.raises(WrongAnswer) as caught:
            check(answer)
        assert not isinstance(caught.value, GapOpen)
        assert hint in str(caught.value), str(caught.value)
        said.add(hint)
    assert len(said) == len(wrong), "two mistakes get the same hint"

"""The checks say what is wrong with a function, and nothing about the right result."""

import numpy as np
import pytest

from fewbits.labs import Case, GapOpen, WrongAnswer, check_cases, equals
from fewbits.labs.checking import shown


def said(function, *cases):
    with pytest.raises(WrongAnswer) as caught:
        check_cases(function, cases)
    return str(caught.value)


def test_the_first_case_that_fails_names_input_result_and_hint():
    cases = [Case((1,), equals(1), "one"), Case((2,), equals(77), "two"), Case((3,), equals(77), "three")]
    text = said(lambda x: x, *cases)
    assert text == "<lambda>(x=2) returns 2. two"


def test_a_function_that_returns_nothing_is_a_gap():
    def gap(x): ...

    with pytest.raises(GapOpen, match=r"^gap is not done yet: gap\(x=1\) returns nothing"):
        check_cases(gap, [Case((1,), equals(1), "")])


def test_an_error_is_reported_with_its_line():
    def divide(x):
        return x / 0

    assert said(divide, Case((1,), equals(1), "")).endswith(
        "stops with ZeroDivisionError: division by zero at `return x / 0`"
    )


def test_other_arguments_are_refused():
    assert "must take 2 argument(s)" in said(lambda x: x, Case((1, 2), equals(1), ""))


def test_a_function_may_change_its_arguments():
    x = np.zeros(3)

    def fill(x):
        x += 1
        return x

    check_cases(fill, [Case((x,), equals([1, 1, 1]), ""), Case((x,), equals([1, 1, 1]), "")])
    assert not x.any()


@pytest.mark.parametrize(
    ("expected", "result"),
    [
        (10**12, 10**12 + 1),
        (1.0, 1.0001),
        ([1, 2], [1, 2, 3]),
        ([1, 2], [[1, 2]]),
        ([1, 2], [[1], [2, 3]]),
        ((1, 2), 1),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ("a", 1),
        (1, "1"),
        (1.0, None),
        (1.0, float("nan")),
    ],
)
def test_what_is_not_equal(expected, result):
    assert equals(expected)(expected)
    assert not equals(expected)(result)


def test_texts_are_short():
    assert len(shown(list(range(1000)))) == 120
    assert shown(np.array([1 / 3, 2])) == "[0.33333, 2.     ]"
    assert shown(np.ones(3) == 1) == "[ True,  True,  True]"
    assert shown(1 / 3) == "0.3333333"


def test_a_notebook_shows_one_line():
    assert WrongAnswer("text")._render_traceback_() == ["WrongAnswer: text"]

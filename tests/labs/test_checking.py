"""The checks say what is wrong with a function, and nothing about the right result."""

import importlib
import pkgutil

import numpy as np
import pytest

from fewbits import labs
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


def test_a_result_of_another_kind_is_wrong():
    pair = Case((1,), lambda result: result[0] < result[1], "A pair.")
    assert said(lambda x: x, pair) == "<lambda>(x=1) returns 1. A pair."


CHECKS = [
    getattr(importlib.import_module(f"fewbits.labs.{module.name}"), name)
    for module in pkgutil.iter_modules(labs.__path__)
    for name in dir(importlib.import_module(f"fewbits.labs.{module.name}"))
    if name.startswith("check_") and name != "check_cases"
]
ODD = (3, "text", [], (1,), {}, [[1], [2, 3]], np.zeros((2, 2)), np.nan, object(), abs, True, (1, 2, 3, 4))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NumPy, in arithmetic on such results
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_no_check_stumbles_over_an_odd_result(check):
    for odd in ODD:
        with pytest.raises(WrongAnswer):
            check(lambda *given: odd)


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

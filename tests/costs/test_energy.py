"""The energy estimate: published figures, what is between them, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewbits import InputError
from fewbits.costs import energy

widths = st.integers(1, 32)


def test_published_figures_come_back():  # horowitz2014, Figure 1.1.9
    assert (energy.addition(8), energy.addition(32)) == pytest.approx((0.03, 0.1))
    assert (energy.multiplication(8, 8), energy.multiplication(32, 32)) == pytest.approx((0.2, 3.1))
    assert energy.mac() == pytest.approx(3.7 + 0.9)
    assert energy.reading(8) == pytest.approx(100) and energy.reading(8, "DRAM") == pytest.approx(1300)


@pytest.mark.parametrize(
    ("kernel", "input", "picojoules"),
    [(8, 8, 0.3), (4, 4, 0.15), (4, 8, 0.2), (2, 2, 0.1125), (1, 1, 0.103125), (16, 16, 0.2 + 0.2 * 2.9 + 0.1)],
)
def test_a_mac_of_integers_is_a_product_and_an_addition_of_32_bits(kernel, input, picojoules):
    assert energy.mac(kernel, input) == pytest.approx(picojoules)


def test_a_float_on_one_side_makes_the_mac_one_of_floats():
    assert energy.mac(8, None) == energy.mac(None, 8) == energy.mac()


@given(widths, widths, widths)
def test_more_bits_never_cost_less_and_sides_are_alike(a, b, c):
    low, high = sorted((b, c))
    assert energy.multiplication(a, low) <= energy.multiplication(a, high)
    assert energy.addition(low) <= energy.addition(high)
    assert energy.multiplication(a, b) == energy.multiplication(b, a)
    assert energy.mac(a, b) < energy.mac()


@given(st.integers(0, 10**9), st.sampled_from(sorted(energy.READING)))
def test_reading_is_by_the_byte(size, memory):
    assert energy.reading(size, memory) == pytest.approx(size * energy.reading(1, memory))
    assert energy.reading(size) <= energy.reading(size, "DRAM")


@pytest.mark.parametrize("bits", [0, 33, -1, 8.0, True, "8", float("nan")])
def test_bits_that_cannot_be_are_refused(bits):
    for call in (energy.addition, lambda n: energy.multiplication(8, n), lambda n: energy.mac(n, 8)):
        with pytest.raises(InputError, match="bits must be an integer from 1 to 32"):
            call(bits)


@pytest.mark.parametrize("size", [-1, float("nan"), float("inf"), "8", True, None])
def test_a_size_that_cannot_be_is_refused(size):
    with pytest.raises(InputError, match="size must be a number of bytes"):
        energy.reading(size)


def test_an_unknown_memory_is_refused_with_those_there_are():
    with pytest.raises(InputError, match="SRAM"):
        energy.reading(8, "tape")

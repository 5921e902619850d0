"""Prices in gates as chapters read them: each names one stored part, and a MAC is a product and its sum."""

import json

import pytest

from fewbits import InputError
from fewbits.book import reference
from fewbits.book.gate_prices import load_gate_prices

PRICES = load_gate_prices()
BITS = range(4, 17)


def test_a_price_is_that_of_the_stored_part():
    rows = json.loads((reference.FOLDER / "gates.json").read_text())["parts"]
    [product] = [row for row in rows if (row["bits"], row["unit"], row.get("pixels")) == (8, "multiply", "signed")]
    assert PRICES.cost(8, "multiply", pixels="signed") == product["luts"]
    for what in ("luts", "cells", "flip_flops"):
        assert PRICES.mac(8, what) == product[what] + PRICES.cost(8, "accumulate", what, overflow="saturate")


@pytest.mark.parametrize("shift", ["layer", "filter"])
@pytest.mark.parametrize("what", ["luts", "cells"])
def test_half_up_costs_more_than_floor_at_every_width(shift, what):
    assert all(PRICES.above_floor(bits, "nearest-up", shift, what) > 0 for bits in BITS)
    assert PRICES.above_floor(8, "floor", shift, what) == 0


@pytest.mark.parametrize("kind", [{"unit": "multiply"}, {"unit": "divide"}, {"unit": "round", "rounding": "ceiling"}])
def test_a_part_that_is_not_named_alone_is_refused(kind):
    with pytest.raises(InputError, match=f"of the stored prices are of bits 8, unit {kind['unit']}"):
        PRICES.cost(8, **kind)

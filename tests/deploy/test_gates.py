"""The stored price list in gates: every width and kind once, and costs in the order that arithmetic demands."""

import json
from pathlib import Path

import pytest

PARTS = json.loads((Path(__file__).parents[2] / "data/reference/gates.json").read_text())["parts"]


def costs(unit, what="cells", **kind):
    """Return what a part costs at each width."""
    rows = [row for row in PARTS if row["unit"] == unit and kind.items() <= row.items()]
    found = {row["bits"]: row[what] for row in rows}
    assert sorted(found) == list(range(4, 17)) and len(rows) == 13
    return [found[bits] for bits in sorted(found)]


def test_a_product_grows_with_the_square_of_its_bits():
    cells = costs("multiply", pixels="signed")
    assert 8 < cells[-1] / cells[0] < 32  # 16 bits beside 4


def test_saturation_costs_at_every_width():
    assert all(a > b for a, b in zip(costs("accumulate", overflow="saturate"), costs("accumulate", overflow="wrap")))


@pytest.mark.parametrize("shift", ["layer", "filter"])
@pytest.mark.parametrize("codes", ["signed", "unsigned"])
def test_each_rounding_costs_more_than_the_simpler_one_at_every_width(shift, codes):
    floor, up, even = (
        costs("round", "luts", rounding=rounding, shift=shift, codes=codes)
        for rounding in ("floor", "nearest-up", "nearest")
    )
    assert all(a < b < c for a, b, c in zip(floor, up, even))


def test_a_shift_per_filter_costs_more_than_one_that_is_wired():
    per_layer, per_filter = (costs("round", rounding="floor", shift=s, codes="signed") for s in ("layer", "filter"))
    assert all(2 * a < b for a, b in zip(per_layer, per_filter))

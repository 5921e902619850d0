"""The stored price list in gates: every width and kind once, and costs in the order that arithmetic demands."""

import json
from itertools import pairwise, product
from pathlib import Path

import pytest

from fewbits.names import INTEGER_ROUNDINGS

STORED = json.loads((Path(__file__).parents[2] / "data/reference/gates.json").read_text())
PARTS, ENGINES = STORED["parts"], STORED["engines"]
SIGNS = "signed", "unsigned"


def costs(unit, what="cells", **kind):
    """Return what a part costs at each width."""
    rows = [row for row in PARTS if row["unit"] == unit and kind.items() <= row.items()]
    found = {row["bits"]: row[what] for row in rows}
    assert sorted(found) == list(range(4, 17)) and len(rows) == 13
    return [found[bits] for bits in sorted(found)]


def test_it_has_every_part_at_every_width_and_nothing_else():
    kinds = [("multiply", sign) for sign in SIGNS] + [("sum_pixels", sign) for sign in SIGNS]
    kinds += [("accumulate", overflow) for overflow in ("saturate", "wrap")]
    kinds += [("round", *kind) for kind in product(INTEGER_ROUNDINGS, ("layer", "filter"), SIGNS)]
    costed = {"cells", "flip_flops", "path", "luts", "carries", "ice40_flip_flops", "ice40_path"}
    found = [tuple(value for name, value in row.items() if name not in costed) for row in PARTS]
    assert sorted(found) == sorted((bits, *kind) for bits in range(4, 17) for kind in kinds)
    assert all(costed <= row.keys() for row in PARTS)


def test_a_register_has_the_bits_of_its_result():
    widths = {"multiply": (2, 0), "sum_pixels": (1, 8), "accumulate": (2, 8), "round": (1, 0)}
    for row in PARTS:
        times, plus = widths[row["unit"]]
        assert row["flip_flops"] == row["ice40_flip_flops"] == times * row["bits"] + plus, row


def test_the_longest_path_has_no_more_cells_than_there_are():
    for row in PARTS:
        assert 0 < row["path"] <= row["cells"] and 0 < row["ice40_path"] <= row["luts"] + row["carries"], row


def test_engines_take_more_with_wider_words_and_with_rounding():
    sizes = {(e["design"]["word_bits"], tuple(e["design"]["roundings"])): e["luts"] for e in ENGINES}
    whole = [luts for (_, roundings), luts in sizes.items() if len(roundings) == 4]
    assert len(whole) == 3 and all(a < b for a, b in pairwise(whole))
    alone = {roundings[0]: luts for (bits, roundings), luts in sizes.items() if len(roundings) == 1}
    assert alone.keys() == set(INTEGER_ROUNDINGS) and min(alone, key=alone.get) == "floor"


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

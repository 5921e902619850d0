"""The page that lists every trial: all of them, once each, with the numbers of their records."""

import json
import re
from html import unescape
from pathlib import Path

import pytest

from fewbits.book import reference
from fewbits.book.trials import OTHER, trials_page, varied

TRIALS = Path(__file__).parents[2] / "data" / "reference" / "trials"


@pytest.fixture(scope="module")
def page():
    return trials_page()


@pytest.fixture(scope="module")
def lines(page):
    """Key -> the texts of the cells of its row, but the key."""
    found = {}
    for line in re.findall(r"<tr>(<td.*)</tr>", page):
        *cells, key = (unescape(re.sub("<.*?>", "", cell)) for cell in re.findall("<td.*?</td>", line))
        assert key not in found
        found[key] = cells
    return found


def test_each_record_stands_there_with_its_numbers(lines):
    for path in TRIALS.glob("*.json"):
        record = json.loads(path.read_text())
        test, origin = record["results"]["test"], record["provenance"]
        grid, _, accuracy, _, network, data, seed, _, _, seconds, date, code, _ = lines[path.stem]
        assert (network, data) == (record["trial"]["network"], record["trial"]["data"]) and grid
        assert seed == str(record["trial"].get("seed", 0)) and accuracy == f"{test['hits'] / test['n']:.2%}"
        assert seconds == f"{origin['seconds']:,.0f}" and date == origin["date"]
        assert code == ((origin["commit"] or {}).get("id") or "")[:7]


def test_each_trial_stands_under_its_grids(lines):
    assert set(lines) == {path.stem for path in TRIALS.glob("*.json")}
    asked = {trial.key: grid.name for grid in reference.grids() for trial in grid.trials}
    for grid in reference.grids():
        assert all(grid.name in lines[trial.key][0] for trial in grid.trials if trial.key in lines)
    for key, cells in lines.items():
        assert (cells[0] == OTHER) == (key not in asked)


def test_the_page_counts_its_trials(page, lines):
    assert f"The reference results of this book are {len(lines)} trials." in page


def test_what_varies_tells_the_trials_of_a_grid_apart():
    for grid in reference.grids():
        told = [(t.network, t.data, t.seed, t.epochs, t.images, varied(t, grid)) for t in grid.trials]
        assert len(set(told)) == len({trial.key for trial in grid.trials}), grid.name


def test_the_page_stays_small(page):
    assert len(page.encode()) < 300_000

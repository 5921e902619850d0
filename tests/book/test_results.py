"""Results as they are recorded: names and plain values."""

import numpy as np
import pytest

from fewbits import InputError
from fewbits.book import quote, record
from fewbits.statistics import Estimate, Share


@pytest.fixture
def kept(monkeypatch):
    """Return what is recorded: name -> (text, band); a quoted result has no band, but the word quoted."""
    found = {}

    def display(data, metadata, raw):
        [text] = data.values()
        found[metadata["scrapbook"]["name"]] = (text, metadata.get("fewbits", {"within": "quoted"})["within"])

    monkeypatch.setattr("IPython.display.display", display)
    return found


def test_mappings_are_recorded_value_by_value(kept):
    record(within=0.1, rank={"weights-l1": 0.25, "mean activation": np.float64(0.5)}, at={(4, 4, 4): Share(3, 4)})
    assert kept == {"rank_weights_l1": ("0.25", 0.1), "rank_mean_activation": ("0.5", 0.1), "at_444": ("0.75", 0.1)}


def test_words_of_a_key_are_joined_and_mappings_may_be_nested(kept):
    record(steps={("AlexNet", "all three"): 4, "SqueezeNet": {8: 5}})
    assert kept == {"steps_AlexNet_all_three": ("4", None), "steps_SqueezeNet_8": ("5", None)}


def test_shares_and_estimates_are_quoted_as_numbers(kept):
    quote(share=Share(1, 4), mean=Estimate(0.5, 0.1, 3), word="lock", of={"a": np.int64(2)})
    assert kept == {
        name: (text, "quoted") for name, text in {"share": "0.25", "mean": "0.5", "word": "'lock'", "of_a": "2"}.items()
    }


def test_a_share_needs_a_band_and_an_estimate_must_be_run():
    with pytest.raises(InputError, match="result share is a float"):
        record(share=Share(1, 4))
    with pytest.raises(InputError, match="result mean is nan; only finite"):
        record(within=1, mean=Estimate.of([]))

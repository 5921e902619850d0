"""The theses' networks as points: numbers as printed, and bytes that follow from bits."""

from collections import Counter

import pytest

from fewbits.book import papers, published
from fewbits.book.published import published_networks


@pytest.fixture(scope="module")
def found():
    return published_networks()


def test_every_row_of_the_tables_is_there(found):
    quantized = len(papers.table("vieito2017", 13))
    chernis = sum(row["dataset"] == "CIFAR-10" for row in papers.table("chernis", 1))
    pruned = sum(len(papers.table("backstrom2018", number)) for number in (12, 13))
    expected = {"backstrom2018: plants": pruned, "chernis: CIFAR-10": chernis, "vieito2017: ImageNet": 2 * quantized}
    assert Counter(point.group for point in found) == expected
    assert all(0 < point.accuracy < 1 and point.half_width == 0 and point.training for point in found)


def test_bytes_follow_from_the_bits_of_the_kernels(found):
    kilobytes = {point.name: point.costs["bytes"] for point in found if point.group.startswith("vieito2017")}
    biases = 4 * 3_944 / 1e3  # SqueezeNet v1.1 has 3,944 filters and 1,235,496 parameters
    assert kilobytes["8-6-6 lock"] == pytest.approx(1_231_552 / 1e3 + biases)
    assert kilobytes["4-4-4 train"] == pytest.approx(1_231_552 / 2e3 + biases)


@pytest.mark.parametrize(("text", "kilobytes"), [("2.9M", 2900), ("731K", 731)])
def test_sizes_are_read_as_printed(text, kilobytes):
    assert published._kilobytes(text) == pytest.approx(kilobytes)

"""The page of layers and stages is what the code does now, and has a row for every kind that the code knows."""

from pathlib import Path

import pytest

from fewbits import FixedPoint
from fewbits.backend import keras
from fewbits.book.layer_examples import EXAMPLES, network_of
from fewbits.book.layer_stages import COLUMNS, CONVERTED, FORMS, layer_cells, layer_page
from fewbits.quantization.activations import ACTIVATIONS
from fewbits.quantization.conversion import FLOAT_LAYERS, REFUSED, TRAINING_ONLY
from fewbits.quantization.free_scales import FreeQuantizer
from fewbits.quantization.layers import QUANTIZED

PAGE = (Path(__file__).parents[2] / "book/layers.md").read_text()
OLD = "python -m fewbits.book layers writes it anew"


def rows(title):
    """Return the rows of a section of the page, cells without the numbers of reasons."""
    section = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return [[cell.split(" (")[0] if i else cell for i, cell in enumerate(line)] for line in lines]


@pytest.mark.parametrize("title", EXAMPLES)
def test_the_page_says_what_the_code_does(title):
    """LiteRT and Core ML take long to convert; the page as a whole is compared with the slow tests."""
    quick = [column for column in COLUMNS if column not in CONVERTED]
    cells = layer_cells(EXAMPLES[title], quick)
    expected = [[f"`{e.title}`", *(said for said, _ in row.values())] for e, row in zip(EXAMPLES[title], cells)]
    assert [row[: 1 + len(quick)] for row in rows(title)] == expected, OLD


def assert_unsigned_formats_go_as_far(title, exports):
    unsigned = FixedPoint(0, 8), *[FixedPoint(2, 8, signed=False)] * 2
    cells = layer_cells(EXAMPLES[title], exports, unsigned)
    places = [COLUMNS.index(export) + 1 for export in exports]
    said = [[row[column][0] for column in exports] for row in cells]
    assert said == [[row[place] for place in places] for row in rows(title)]


@pytest.mark.parametrize("title", EXAMPLES)
def test_unsigned_formats_go_as_far(title):
    assert_unsigned_formats_go_as_far(title, [column for column in FORMS if column not in CONVERTED])


@pytest.mark.slow
@pytest.mark.parametrize("title", EXAMPLES)
def test_unsigned_formats_go_as_far_by_tensorflow(title):
    assert_unsigned_formats_go_as_far(title, CONVERTED)


@pytest.mark.slow
def test_the_page_is_not_old():
    assert layer_page() == PAGE, OLD


def test_every_kind_of_layer_has_a_row():
    models = [network_of(example) for examples in EXAMPLES.values() for example in examples]
    tried = {type(layer) for model in models for layer in model.layers}
    kinds = {*QUANTIZED, *ACTIVATIONS, *FLOAT_LAYERS, *TRAINING_ONLY, *REFUSED} - {
        FreeQuantizer
    }  # which is for teaching
    assert kinds <= {*tried, keras.layers.Activation}

"""Pictures of arrays: what is drawn, and the data table, are the arrays they are given."""

import numpy as np
import pytest

from fewbits import explore
from fewbits.explore import plots


@pytest.fixture
def shown(monkeypatch):
    """Return the figures and data tables that are shown."""
    kept = []
    monkeypatch.setattr(plots, "show", lambda fig, label, caption, alt, table: kept.append((fig, table)))
    return kept


def test_a_filter_is_a_square_from_its_lowest_weight_to_its_highest(shown):
    kernel = np.random.default_rng(0).normal(size=(2, 3, 3, 4))
    explore.filter_mosaics({"drawn": kernel, "doubled": 2 * kernel + 1}, "1", "c", "a", per_row=2)
    [(figure, table)] = shown
    board, doubled = (np.array(trace.z) for trace in figure.data)
    assert [note.text for note in figure.layout.annotations] == ["drawn", "doubled"]
    assert board.shape == (2 * 3 + 1, 2 * 4 + 1, 3) and np.abs(board.astype(int) - doubled).max() <= 1
    last = board[4:6, 5:8]  # the fourth filter is the second of the second row
    weights = kernel[..., 3]
    expected = 255 * (weights - weights.min()) / (weights.max() - weights.min())
    assert np.abs(last - expected).max() < 1 and (last.min(), last.max()) == (0, 255)
    assert (board[3] == 128).all() and (board[:, 4] == 128).all()  # the lines between them
    assert table.rows[1] == (
        "doubled",
        *map(pytest.approx, (2 * kernel.min() + 1, 2 * kernel.max() + 1, 2 * kernel.std())),
    )


def test_the_maps_that_vary_most_come_first(shown):
    maps = np.zeros((2, 3, 4))
    maps[0, 0, 1], maps[1, 2, 3], maps[..., 2] = 5, 7, 100  # the third is high, but everywhere the same
    explore.liveliest_maps({"ours": maps, "halved": maps / 2}, "1", "c", "a", count=2, what="start")
    [(figure, table)] = shown
    assert table.columns == ("start", "map", "mean", "zeros")
    assert [row[:2] for row in table.rows] == [("ours", 3), ("ours", 1), ("halved", 3), ("halved", 1)]
    assert table.rows[0][2:] == ("1.167", "83%")
    assert [[*row] for row in figure.data[0].z] == [[0, 0, 7], [0, 0, 0]]  # Plotly draws the first row lowest


def test_a_network_that_is_not_run_is_a_blank_column(shown):
    values = {0: {"conv1": 0.01, "fire2": 0.1}, 1: {}, 9: {"conv1": 0.1, "fire2": 1.0}}
    explore.value_by_layer(values, "1", "c", "a", x="levels", name="tl", logarithmic=True)
    [(figure, table)] = shown
    [cells] = figure.data
    assert cells.x == ("0", "1", "9") and cells.y == ("conv1", "fire2")
    assert [[*row] for row in cells.z] == [[-2, None, -1], [-1, None, 0]]
    assert cells.colorbar.ticktext == ("0.01", "0.03", "0.1", "0.3", "1")
    assert cells.colorbar.tickvals == pytest.approx(np.log10([0.01, 0.03, 0.1, 0.3, 1]))
    assert table.columns == ("layer", "tl = 0", "tl = 9")
    assert table.rows == [("conv1", 0.01, 0.1), ("fire2", 0.1, 1.0)]

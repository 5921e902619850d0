"""Boards of maps: black is zero, white the largest value, and the data table counts what is empty."""

import numpy as np
import pytest

from fewbits import explore
from fewbits.explore import boards, plots


def test_maps_stand_side_by_side_on_grey_lines():
    maps = np.zeros((2, 3, 3))
    maps[0, 1, 0], maps[1, 2, 2] = 4, 2  # in the first and the third map
    board = boards._board(maps, 2)
    assert board.shape == (7, 9, 3) and board.dtype == np.uint8
    assert board[1, 2, 0] == 255 and board[5, 3, 0] == 127
    assert np.all(board[[0, 3, 6]] == 110) and np.all(board[:, [0, 4, 8]] == 110)
    assert not board[1:3, 5:8].any()  # the second map is empty
    assert np.all(board[4:6, 5:8] == 110)  # there is no fourth


@pytest.mark.parametrize("scene", [None, np.full((2, 2, 1), 0.5)])
def test_the_data_counts_empty_maps_and_zeros(monkeypatch, scene):
    shown = []
    monkeypatch.setattr(plots, "show", lambda *found: shown.append(found))
    maps = np.zeros((2, 2, 4))
    maps[..., 1], maps[0, 0, 2] = 1, 3
    explore.map_boards({"whole": maps, "pruned": maps[..., 1:2]}, "13.9", "Maps.", "Boards.", scene=scene)
    [(figure, label, caption, alt, table)] = shown
    assert (label, caption, alt) == ("13.9", "Maps.", "Boards.")
    assert list(table.rows) == [("whole", 4, 2, "69%"), ("pruned", 1, 0, "0%")]
    titles = [annotation.text for annotation in figure.layout.annotations]
    assert titles == ["the scene"] * (scene is not None) + ["whole, 4 maps", "pruned, 1 maps"]


def test_a_layer_that_is_silent_gives_black_boards():
    assert set(np.unique(boards._board(np.zeros((2, 2, 2)), 2))) == {0, 110}

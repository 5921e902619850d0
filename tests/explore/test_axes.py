import re

import plotly.graph_objects as go
import pytest

from fewbits.explore import plots
from fewbits.explore.axes import log_axis


@pytest.mark.parametrize("low", [1e-5, 0.03, 1.0, 7.0, 4e6])
@pytest.mark.parametrize("ratio", [1.5, 4, 30, 900, 1e7])
def test_some_ticks_lie_among_the_values_and_not_too_many(low, ratio):
    ticks = log_axis([low, low * ratio, 0, -1, None])["tickvals"]
    seen = [tick for tick in ticks if low * 0.8 <= tick <= low * ratio * 1.2]
    assert 1 <= len(seen) <= 10
    assert ticks[0] < low / 100 and ticks[-1] >= low * ratio * 99  # a control may lead there
    assert all(re.fullmatch(r"[1-7](\.5)?e[+-]\d+", f"{tick:.1e}".replace(".0", "")) for tick in ticks)


def test_ticks_that_are_given_stay():
    assert log_axis([1, 100], tickvals=[3]) == {"type": "log", "tickvals": [3]}
    assert "tickvals" not in log_axis([1, 100], dtick=1)


def test_every_logarithmic_axis_of_a_figure_has_plain_ticks():
    figure = plots.figure(go.Scatter(x=[1, 2], y=[3e4, 2e6]), x="x", y="y", yaxis={"type": "log"})
    assert {1e5, 1e6} < set(figure.layout.yaxis.tickvals)
    assert figure.layout.yaxis.tickformat == "~s"  # 100k, 1M
    assert figure.layout.yaxis.title.text == "y" and figure.layout.xaxis.tickvals is None

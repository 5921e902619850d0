"""An explorer of criteria: where each ranks the filters of a network, beside what removing them changes."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from fewbits.explore import plots
from fewbits.explore.explorer import Explorer, View

GROUPS = 10  # ranks are grouped into tenths


def change_by_rank(
    guesses: Mapping[str, np.ndarray],
    change: np.ndarray,
    names: Sequence[str],
    label: str,
    caption: str,
    start: str = "taylor",
) -> Explorer:
    """Return an explorer of how well criteria rank filters.

    Args:
        guesses: Criterion -> (filters,), how important it finds each filter.
        change: (filters,), the size of the change of the loss when the filter alone is removed.
        names: What each filter is called.
        label: The number of the figure.
        caption: What the figure shows.
        start: The criterion that is shown first.
    """
    from scipy.stats import spearmanr

    tenth = max(1, len(change) // GROUPS)
    shown = np.maximum(change, 1e-6).round(7)  # the axis is logarithmic
    least = set(np.argsort(change)[:tenth])

    def view(criterion: str) -> View:
        order = np.argsort(guesses[criterion])
        found = order[:tenth]
        readings = {
            "rank correlation": f"{spearmanr(guesses[criterion], change).statistic:+.2f}",
            "of its least important tenth": f"{len(least & set(found)) / tenth:.0%} are in the true one",
            "most harm that this tenth does, one by one": f"{change[found].max():.4f}",
        }
        groups = np.array_split(np.arange(len(order)), GROUPS)
        middles = [float(part.mean()) for part in groups]
        medians = [float(np.median(shown[order[part]])) for part in groups]
        points = {"x": np.argsort(order).tolist(), "y": shown.tolist(), "text": list(names)}
        return View([points, {"x": middles, "y": medians}], readings)

    marker = {"color": plots.BLUE, "size": 5, "opacity": 0.6}
    point, group = "%{text}: %{y:.4f}<extra></extra>", "median of a tenth: %{y:.4f}<extra></extra>"
    return Explorer(
        {"criterion": tuple(guesses)},
        {"criterion": start},
        view,
        plots.figure(
            go.Scatter(mode="markers", marker=marker, hovertemplate=point),
            go.Scatter(mode="lines", line={"color": plots.ORANGE, "width": 3}, hovertemplate=group),
            x="rank by the criterion, least important first",
            y="|change of the loss| without it, in nats",
            yaxis={"type": "log"},
            showlegend=False,
        ),
        label,
        caption,
        "One point per filter: the size of the change of the loss when it is removed, over its rank by the chosen "
        "criterion; and a line of medians.",
    )

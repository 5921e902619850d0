"""An explorer of a quantity over two multipliers: each cell of a square is a network."""

import plotly.graph_objects as go

from fewbits.explore import plots
from fewbits.explore.explorer import Explorer, View
from fewbits.statistics import NO_DATA


def surface(
    quantities: dict[str, dict], axes: tuple[str, str], formats: dict[str, str], label: str, caption: str
) -> Explorer:
    """Return an explorer of quantities over two numbers, such as width and size of a network.

    Args:
        quantities: Name -> (first, second) -> number, None if it is not known; all have the same keys.
        axes: What the two numbers are called.
        formats: Name of a quantity -> how it is written, as in str.format.
        label: The number of the figure.
        caption: What the figure shows.
    """
    keys = list(next(iter(quantities.values())))
    rows, columns = (list(dict.fromkeys(key[i] for key in keys)) for i in (0, 1))

    def view(quantity: str) -> View:
        values = quantities[quantity]
        write = {k: NO_DATA if v is None else formats[quantity].format(v) for k, v in values.items()}
        trace = {
            "z": [[values[row, column] for column in columns] for row in rows],
            "text": [[write[r, c] if values[r, c] is not None else "" for c in columns] for r in rows],
        }
        return View([trace], {f"{axes[0]} {a:g}, {axes[1]} {b:g}": write[a, b] for a, b in keys})

    cells = go.Heatmap(
        x=[f"{column:g}" for column in columns],
        y=[f"{row:g}" for row in rows],
        texttemplate="%{text}",
        colorscale="Cividis",
        showscale=False,
        hoverongaps=False,
    )
    return Explorer(
        {"quantity": tuple(quantities)},
        {"quantity": next(iter(quantities))},
        view,
        plots.figure(
            cells, x=axes[1], y=axes[0], xaxis={"type": "category"}, yaxis={"type": "category", "autorange": "reversed"}
        ),
        label,
        caption,
        f"A table of coloured cells, {axes[0]} by {axes[1]}: the quantity at each.",
    )

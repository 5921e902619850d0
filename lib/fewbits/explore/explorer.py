"""An Explorer: a figure, some controls, and a function from their values to what the figure shows."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from fewbits.errors import InputError
from fewbits.explore import plots


@dataclass(frozen=True)
class View:
    """What one setting of the controls shows.

    Attributes:
        traces: The attributes that change, for the first traces of the explorer's figure.
        readings: Name -> number as the reader sees it.
        layout: The part of the layout that changes.
    """

    traces: list[dict]
    readings: dict[str, str]
    layout: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Explorer:
    """A figure with controls.

    Attributes:
        controls: Name -> its values in order; integers make a slider, words a menu.
        start: Name -> the value that is shown first.
        view: Called with one value per control, by name; returns what the figure then shows.
        figure: What does not change.
        label: The number of the figure.
        caption: What the figure shows.
        alt: A text alternative.

    Raises:
        InputError: when a start value is not among its control's values.
    """

    controls: dict[str, Sequence]
    start: dict[str, object]
    view: Callable[..., View]
    figure: go.Figure
    label: str
    caption: str
    alt: str

    def __post_init__(self) -> None:
        for name, values in self.controls.items():
            if self.start.get(name) not in values:
                raise InputError(f"{name} starts at {self.start.get(name)!r}, which is not one of {list(values)}")

    def show(self) -> None:
        """Display the explorer: live in JupyterLab, with all its views in the page while the book is built."""
        from IPython.display import HTML, display

        display(HTML(self.html()) if plots.in_book() else self.widget())

    def widget(self) -> Any:
        """Return the live widget: controls above the figure, readings below it."""
        import ipywidgets

        figure = plots.widget(self.figure)
        readings = ipywidgets.HTML()
        menus = {name: _control(name, values, self.start[name]) for name, values in self.controls.items()}

        def update(_change: Any = None) -> None:
            view = self.view(**{name: menu.value for name, menu in menus.items()})
            with figure.batch_update():
                for trace, changed in zip(figure.data, view.traces):
                    trace.update(changed)
                figure.update_layout(view.layout)
            readings.value = _readings_html(view.readings)

        for menu in menus.values():
            menu.observe(update, names="value")
        update()
        caption = ipywidgets.HTML(f"<b>Figure {escape(self.label)}.</b> {escape(self.caption)}")
        return ipywidgets.VBox([ipywidgets.HBox(list(menus.values())), figure, readings, caption])

    def states(self) -> list[View]:
        """Return the views of all combinations of the controls; the last control changes fastest."""
        return [self.view(**dict(zip(self.controls, values))) for values in itertools.product(*self.controls.values())]

    def html(self) -> str:
        """Return the explorer as HTML with all its views; `book/offline/fewbits.js` switches between them."""
        states = self.states()
        data = {
            "controls": [[str(v) for v in values] for values in self.controls.values()],
            "figure": json.loads(self.figure.to_json()),
            "states": [{"traces": s.traces, "layout": s.layout, "readings": s.readings} for s in states],
        }
        inputs = "".join(_input_html(name, values, self.start[name]) for name, values in self.controls.items())
        start = states[self._index(self.start)]
        return (
            f'<figure class="fewbits-figure fewbits-explorer" id="{plots.anchor(self.label)}">'
            f"<form>{inputs}</form>{plots.drawing_html(self.figure, self.alt)}"
            f'<div class="fewbits-readings" aria-live="polite">{_readings_html(start.readings)}</div>'
            f"{plots.as_script(json.dumps(data, separators=(',', ':'), default=_plain))}"
            f"{plots.caption_html(self.label, self.caption, self._table(states))}</figure>"
        )

    def _index(self, setting: Mapping[str, Any]) -> int:
        index = 0
        for name, values in self.controls.items():
            index = index * len(values) + list(values).index(setting[name])
        return index

    def _table(self, states: list[View]) -> plots.Table:
        """Return the readings at every value of each control, with the others at their start."""
        settings: dict[int, dict[str, Any]] = {self._index(self.start): self.start}
        for name, values in self.controls.items():
            for value in values:
                setting = {**self.start, name: value}
                settings[self._index(setting)] = setting
        columns = (*map(_words, self.controls), *states[0].readings)
        rows = [(*(str(settings[i][c]) for c in self.controls), *states[i].readings.values()) for i in sorted(settings)]
        return plots.Table(columns, rows)


def _words(name: str) -> str:
    """Return what the reader calls a control: the MSB, the weight bits."""
    return name.replace("msb", "MSB").replace("_", " ")


def _control(name: str, values: Sequence[Any], start: Any) -> Any:
    import ipywidgets

    if all(isinstance(v, int) for v in values):
        return ipywidgets.SelectionSlider(
            description=_words(name), options=list(values), value=start, continuous_update=False
        )
    return ipywidgets.Dropdown(description=_words(name), options=list(values), value=start)


def _input_html(name: str, values: Sequence[Any], start: Any) -> str:
    if all(isinstance(v, int) for v in values):
        at = list(values).index(start)
        return (
            f"<label><span>{escape(_words(name))}</span>"
            f'<input type="range" name="{escape(name)}" max="{len(values) - 1}" value="{at}" autocomplete="off">'
            f"<output>{start}</output></label>"
        )
    options = "".join(f"<option{' selected' if v == start else ''}>{escape(str(v))}</option>" for v in values)
    return (
        f"<label><span>{escape(_words(name))}</span>"
        f'<select name="{escape(name)}" autocomplete="off">{options}</select></label>'
    )


def _readings_html(readings: dict[str, str]) -> str:
    return (
        "<dl>" + "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in readings.items()) + "</dl>"
    )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value.tolist()

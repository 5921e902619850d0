"""An Explorer: a figure, some controls, and a function from their values to what the figure shows.

In JupyterLab the function runs in Python. A page either holds its results for all values, or has the same function in
JavaScript (PageView), which leaves the reader more to choose from.
"""

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
from fewbits.explore.readers import page_scripts


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
class PageView:
    """The function from the controls to the view as a page computes it.

    Attributes:
        name: Of the function in `FewBits.views`. Called with the data, it returns a function that takes the values of
            the controls by name and yields views: the first one at once, then more as they are counted.
        scripts: Names of the scripts that it needs, in order, without `.js`; the last one brings the function.
        data: What it needs of Python.
        listed: Settings whose readings stand in the table; by default, every value of each control, with the others at
            their start.
    """

    name: str
    scripts: tuple[str, ...]
    data: dict[str, Any] = field(default_factory=dict)
    listed: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Explorer:
    """A figure with controls.

    Attributes:
        controls: Name -> its values in order; numbers make a slider, words a menu.
        start: Name -> the value that is shown first.
        view: Called with one value per control, by name; returns what the figure then shows.
        figure: What does not change.
        label: The number of the figure.
        caption: What the figure shows.
        alt: A text alternative.
        page: How a page computes the view; None if it holds the views of all values.

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
    page: PageView | None = None

    def __post_init__(self) -> None:
        for name, values in self.controls.items():
            if self.start.get(name) not in values:
                raise InputError(f"{name} starts at {self.start.get(name)!r}, which is not one of {list(values)}")

    def show(self) -> None:
        """Display the explorer: live in JupyterLab, as HTML that needs no kernel while the book is built."""
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
        controls = ipywidgets.Box(list(menus.values()), layout={"flex_flow": "row wrap"})
        return ipywidgets.VBox([controls, figure, readings, caption])

    def states(self) -> list[View]:
        """Return the views of all combinations of the controls; the last control changes fastest."""
        return [self.view(**dict(zip(self.controls, values))) for values in itertools.product(*self.controls.values())]

    def html(self) -> str:
        """Return the explorer as HTML; `book/offline/fewbits.js` draws it and follows its controls."""
        start = self.view(**self.start)
        views, scripts = self._in_page(start)
        data = {
            "controls": [list(values) for values in self.controls.values()],
            "figure": json.loads(self.figure.to_json()),
            **views,
        }
        inputs = "".join(_input_html(name, values, self.start[name]) for name, values in self.controls.items())
        mark = '<progress max="1" value="0" aria-label="Images counted"></progress>' if "start" in views else ""
        return (
            f'<figure class="fewbits-figure fewbits-explorer" id="{plots.anchor(self.label)}">'
            f"<form>{inputs}</form>{plots.drawing_html(self.figure, self.alt)}"
            f'<div class="fewbits-readings" aria-live="polite">{_readings_html(start.readings)}</div>'
            f"{mark}{plots.as_script(json.dumps(data, separators=(',', ':'), default=_plain))}{scripts}"
            f"{plots.caption_html(self.label, self.caption, self._table())}</figure>"
        )

    def _in_page(self, start: View) -> tuple[dict[str, Any], str]:
        """Return what a page needs to find a view, and the scripts for it; `start` where it has to count images."""
        if self.page is None:
            return {"states": [vars(state) for state in self.states()]}, ""
        counted = {"start": vars(start)} if "reader" in self.page.scripts else {}
        return {"view": self.page.name, "data": self.page.data, **counted}, page_scripts(self.page.scripts)

    def _table(self) -> plots.Table:
        """Return the readings of the settings that are listed."""
        listed = (self.page and self.page.listed) or self._one_by_one()
        readings = [self.view(**setting).readings for setting in listed]
        columns = (*map(_words, self.controls), *readings[0])
        rows = [
            (*(str(setting[name]) for name in self.controls), *found.values())
            for setting, found in zip(listed, readings)
        ]
        return plots.Table(columns, rows)

    def _one_by_one(self) -> list[dict[str, Any]]:
        """Return the settings with every value of each control and the others at their start, in order."""
        settings = {
            tuple(list(self.controls[n]).index(v) for n, v in setting.items()): setting
            for name, values in self.controls.items()
            for setting in ({n: value if n == name else self.start[n] for n in self.controls} for value in values)
        }
        return [settings[place] for place in sorted(settings)]


def _words(name: str) -> str:
    """Return what the reader calls a control: the MSB, the weight bits."""
    return name.replace("msb", "MSB").replace("_", " ")


def _makes_slider(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) for value in values)


def _control(name: str, values: Sequence[Any], start: Any) -> Any:
    import ipywidgets

    if _makes_slider(values):
        return ipywidgets.SelectionSlider(
            description=_words(name), options=list(values), value=start, continuous_update=False
        )
    return ipywidgets.Dropdown(description=_words(name), options=list(values), value=start)


def _input_html(name: str, values: Sequence[Any], start: Any) -> str:
    if _makes_slider(values):
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

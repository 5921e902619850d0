"""Figures a reader turns: sliders for bits, MSB and rounding, and what they change.

An Explorer is a few controls and a function from their values to a view. In JupyterLab the function runs at each
move (ipywidgets and Plotly's FigureWidget). In the book it has run for every combination beforehand, and the
book's script looks the view up: the numbers are the library's in both.
"""

import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
import plotly.graph_objects as go

from fewbits import plots
from fewbits.errors import InputError
from fewbits.fixedpoint import ROUNDINGS, FixedPoint, quantize
from fewbits.sqnr import measure
from fewbits.statistics import wilson_interval

BITS = tuple(range(1, 13))
MSBS = tuple(range(-4, 4))
SIDES = (96, 128, 160, 192, 224, 227, 256, 288, 320)
QUANTITIES = ("parameters", "MACs", "activations")
DETERMINISTIC = tuple(r for r in ROUNDINGS if r != "stochastic")


@dataclass(frozen=True)
class View:
    """What one setting of the controls shows.

    traces: the attributes that change, for the first traces of the explorer's figure. layout: the part of the layout
    that changes. readings: name -> number as the reader sees it.
    """

    traces: list[dict]
    readings: dict[str, str]
    layout: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Explorer:
    """A figure with controls.

    controls: name -> its values in order; integers make a slider, words a menu. start: name -> first value shown.
    view: called with one value a control, by name. figure: what does not change.
    label, caption, alt: as in `plots.show`. Raises InputError when a start value is not among its control's values.
    """

    controls: dict[str, Sequence]
    start: dict[str, object]
    view: Callable[..., View]
    figure: go.Figure
    label: str
    caption: str
    alt: str

    def __post_init__(self):
        for name, values in self.controls.items():
            if self.start.get(name) not in values:
                raise InputError(f"{name} starts at {self.start.get(name)!r}, which is not one of {list(values)}")

    def show(self) -> None:
        """Display the explorer: alive where there is a kernel, self-contained in the book."""
        from IPython.display import HTML, display

        display(HTML(self.html()) if plots.in_book() else self.widget())

    def widget(self):
        """Return the live widget: controls above the figure, readings below it."""
        import ipywidgets

        figure = go.FigureWidget(self.figure)
        readings = ipywidgets.HTML()
        menus = {name: _control(name, values, self.start[name]) for name, values in self.controls.items()}

        def update(_change=None):
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
        """Return the view of every combination of the controls, the last control changing fastest."""
        return [self.view(**dict(zip(self.controls, values))) for values in itertools.product(*self.controls.values())]

    def html(self) -> str:
        """Return the explorer as HTML that holds all its states; `book/offline/fewbits.js` makes it move."""
        states = self.states()
        data = {
            "controls": [[str(v) for v in values] for values in self.controls.values()],
            "figure": json.loads(self.figure.to_json()),
            "states": [{"traces": s.traces, "layout": s.layout, "readings": s.readings} for s in states],
        }
        inputs = "".join(_input_html(name, values, self.start[name]) for name, values in self.controls.items())
        start = states[self._index(self.start)]
        return (
            f'<figure class="fewbits-figure fewbits-explorer"><form>{inputs}</form>'
            f'<div class="fewbits-plot" role="img" aria-label="{escape(self.alt)}"></div>'
            f'<div class="fewbits-readings" aria-live="polite">{_readings_html(start.readings)}</div>'
            f"{plots.as_script(json.dumps(data, separators=(',', ':'), default=_plain))}"
            f"{plots.caption_html(self.label, self.caption, self._table(states))}</figure>"
        )

    def _index(self, setting: dict) -> int:
        index = 0
        for name, values in self.controls.items():
            index = index * len(values) + list(values).index(setting[name])
        return index

    def _table(self, states: list[View]) -> plots.Table:
        """Return the readings at every value of each control, the others at their start."""
        settings = {self._index(self.start): self.start}
        for name, values in self.controls.items():
            for value in values:
                setting = {**self.start, name: value}
                settings[self._index(setting)] = setting
        columns = (*self.controls, *states[0].readings)
        rows = [(*(str(settings[i][c]) for c in self.controls), *states[i].readings.values()) for i in sorted(settings)]
        return plots.Table(columns, rows)


def transfer(label: str, bits=tuple(range(1, 7)), msbs=(-1, 0, 1), roundings=DETERMINISTIC) -> Explorer:
    """Return an explorer of the quantizer itself: its staircase over [-2.5, 2.5], and the error below it."""
    x = np.linspace(-2.5, 2.5, 321)  # a step of 1/64: short numbers

    def view(bits, msb, rounding):
        fmt = FixedPoint(msb, bits)
        y = quantize(x, fmt, rounding)
        levels = fmt.max_code - fmt.min_code + 1 + (rounding == "thesis")
        readings = {
            "amplitude A": f"{fmt.amplitude:g}",
            "step q": f"{fmt.step:g}",
            "values": f"{y.min():g} to {y.max():g}",
            "levels": str(levels),
        }
        return View([{"y": _short(y)}, {"y": _short(y - x)}], readings)

    figure = plots.figure(
        go.Scatter(x=x, y=x, name="quantized", line={"shape": "hv", "color": plots.BLUE}),
        go.Scatter(x=x, y=x * 0, name="error", line={"color": plots.ORANGE, "width": 1}),
        go.Scatter(x=x, y=x, name="x itself", line={"color": plots.GREY, "dash": "dot", "width": 1}),
        x="x",
        y="quantize(x)",
        yaxis={"range": [-2.6, 2.6]},
    )

    return Explorer(
        {"bits": bits, "msb": msbs, "rounding": roundings},
        {"bits": 3, "msb": 0, "rounding": "floor"},
        view,
        figure,
        label,
        "The quantizer as a staircase. Bits set how many steps there are, the MSB sets how far they reach.",
        "Staircase of the quantized value over x, and its error as a saw-tooth; beyond the amplitude it is flat.",
    )


def weights(model, images, labels, label: str, bits=BITS, msbs=MSBS, roundings=DETERMINISTIC) -> Explorer:
    """Return an explorer of a trained network whose kernels are quantized, all to one format; biases stay float.

    model: a Keras classifier; it is not changed. images, labels: what the accuracy is measured on.
    """
    from fewbits.backend import keras

    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    kernels = [v for v in twin.trainable_variables if v.name == "kernel"]
    originals = [keras.ops.convert_to_numpy(k) for k in kernels]
    pooled = np.concatenate([k.ravel() for k in originals])
    bin_width = 2.0 ** (math.ceil(math.log2(np.abs(pooled).max())) - 6)  # a power of two: marks fall on bins' centres
    edges = (np.arange(-70, 72) - 0.5) * bin_width
    centres = _short((edges[1:] + edges[:-1]) / 2)

    def correct() -> int:
        return int((twin.predict_on_batch(images).argmax(-1) == labels).sum())

    def view(bits, msb, rounding):
        fmt = FixedPoint(msb, bits)
        for kernel, original in zip(kernels, originals):
            kernel.assign(quantize(original, fmt, rounding))
        error, hits = measure(pooled, fmt, rounding), correct()
        low, high = wilson_interval(hits, len(labels))
        counts, _ = np.histogram(quantize(pooled, fmt, rounding), edges)
        readings = {
            "accuracy": f"{hits / len(labels):.1%} ({low:.1%} to {high:.1%})",
            "clipped": f"{error.clipped:.2%}",
            "underflowed": f"{error.underflowed:.2%}",
            "mean shift": f"{error.bias / fmt.step:+.2f} q",
            "RMS error": f"{error.rms:.4f}",
            "SQNR": _decibel(error.sqnr),
        }
        return View([{"y": counts.tolist()}], readings, {"shapes": _clip_range(fmt)})

    figure = plots.figure(
        go.Bar(x=centres, y=[0] * len(centres), name="quantized", marker={"color": plots.BLUE, "line": {"width": 0}}),
        go.Scatter(
            x=centres,
            y=np.histogram(pooled, edges)[0].tolist(),
            name="float",
            line={"shape": "hvh", "color": plots.ORANGE, "width": 2},
        ),
        x="weight",
        y="number of weights",
        bargap=0.1,
        xaxis={"range": [edges[0], edges[-1]]},
        yaxis={"type": "log", "range": [-0.2, math.log10(pooled.size)], "dtick": 1},
    )
    return Explorer(
        {"bits": bits, "msb": msbs, "rounding": roundings},
        {"bits": 6, "msb": 0, "rounding": "floor"},
        view,
        figure,
        label,
        f"Every kernel of the network in one format, on {len(labels)} validation images (95 % interval in brackets). "
        "The dashed lines are the clip range, -A and +A; underflowed weights are smaller than one step.",
        "Histogram of the weights before and after quantization, with the clip range as two vertical lines.",
    )


def complexity(networks, label: str, sides=SIDES) -> Explorer:
    """Return an explorer of where networks keep their parameters, MACs and activations, level by level.

    networks: name -> function from the side of a square image, in pixels, to a functional keras.Model. A level is what
    stands before the first underscore of a layer's name; layers without parameters belong to the level before them.
    sides: those that every network takes; the middle one is shown first. Errors as in `complexity.table`.
    """
    from fewbits.complexity import table, totals

    counted = {}
    for name, side in itertools.product(networks, sides):
        model = networks[name](side)
        counted[name, side] = _levels(table(model)), totals(model)

    def view(network, side, quantity):
        levels, sums = counted[network, side]
        heights = {level: row[QUANTITIES.index(quantity)] for level, row in levels.items()}
        largest = max(heights, key=heights.get)
        readings = {
            "largest share": f"{largest}: {heights[largest] / sum(heights.values()):.1%}",
            "parameters": f"{sums.parameters:,}",
            "at 32 bits": _megabytes(sums.weight_bytes),
            "MACs": f"{sums.macs / 1e6:,.2f} million",
            "activations": f"{sums.activations:,}",
            "peak of activations at 32 bits": _megabytes(4 * sums.peak_activations),
        }
        return View(
            [{"x": list(heights), "y": list(heights.values())}], readings, {"yaxis": {"title": {"text": quantity}}}
        )

    return Explorer(
        {"network": tuple(networks), "side": sides, "quantity": QUANTITIES},
        {"network": next(iter(networks)), "side": sides[len(sides) // 2], "quantity": QUANTITIES[0]},
        view,
        plots.figure(
            go.Bar(name="level", marker={"color": plots.BLUE}),
            x="level",
            y="",
            showlegend=False,
            xaxis={"autotickangles": [0, -45, -90]},
        ),
        label,
        "Parameters, MACs and activations of each level, for one square image of the given side in pixels. The peak is "
        "the most memory that activations fill at once, layer after layer.",
        "Bars, one a level of the network: its parameters, MACs or activations.",
    )


def _levels(rows) -> dict[str, list[int]]:
    """Return the QUANTITIES of each level, in the order of `rows`; rows before the first level belong to it."""
    named = [row.name.split("_")[0] if row.parameters else None for row in rows]
    level = next(filter(None, named), "all")
    levels = {}
    for row, name in zip(rows, named):
        level = name or level
        sums = levels.setdefault(level, [0] * len(QUANTITIES))
        levels[level] = [n + getattr(row, quantity.lower()) for n, quantity in zip(sums, QUANTITIES)]
    return levels


def _clip_range(fmt: FixedPoint) -> list[dict]:
    line = {"color": plots.GREY, "dash": "dash", "width": 2}
    return [
        {"type": "line", "x0": a, "x1": a, "y0": 0, "y1": 1, "yref": "paper", "line": line}
        for a in (-fmt.amplitude, fmt.amplitude)
    ]


def _control(name, values, start):
    import ipywidgets

    if all(isinstance(v, int) for v in values):
        return ipywidgets.SelectionSlider(description=name, options=list(values), value=start, continuous_update=False)
    return ipywidgets.Dropdown(description=name, options=list(values), value=start)


def _input_html(name, values, start) -> str:
    if all(isinstance(v, int) for v in values):
        at = list(values).index(start)
        return (
            f"<label><span>{escape(name)}</span>"
            f'<input type="range" name="{escape(name)}" max="{len(values) - 1}" value="{at}" autocomplete="off">'
            f"<output>{start}</output></label>"
        )
    options = "".join(f"<option{' selected' if v == start else ''}>{escape(v)}</option>" for v in values)
    return (
        f'<label><span>{escape(name)}</span><select name="{escape(name)}" autocomplete="off">{options}</select></label>'
    )


def _readings_html(readings: dict[str, str]) -> str:
    return (
        "<dl>" + "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in readings.items()) + "</dl>"
    )


def _short(values) -> list[float]:
    """Return `values` to six digits: enough to draw, a third of the bytes."""
    return [float(f"{v:.6g}") for v in np.asarray(values, float)]


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value.tolist()


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB"


def _decibel(value: float) -> str:
    return f"{value:.1f} dB" if math.isfinite(value) else "no error"

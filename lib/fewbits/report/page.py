"""The page of a report: one HTML file with its style and drawings inside, readable without a network."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from fewbits.quantization.fixedpoint import FixedPoint
from fewbits.report.advice import TOLERATED, Advice, change_in_points
from fewbits.report.drawings import Series, decibel_chart, interval_chart, mark, value_histogram
from fewbits.report.measurements import Accuracy, Change, Measurements, ValueRange, WidthAccuracy
from fewbits.report.preparations import AS_GIVEN
from fewbits.report.value_ranges import RULE

STYLE = Path(__file__).with_name("report.css")
KINDS = "kernel", "input", "output"
# Words of a column that hold text, not numbers, and of those that may be long.
TEXT, LONG = "text", "long"


def report_page(measurements: Measurements, advice: Sequence[Advice] = ()) -> str:
    """Return a report as one HTML page.

    Args:
        measurements: What was measured.
        advice: What follows from it, as from `advise`.

    Returns:
        The page. It asks nothing of any host.
    """
    found = measurements
    sections = [section for build in _SECTIONS for section in build(found, advice)]
    links = "".join(f'<li><a href="#s{i}">{escape(title)}</a></li>' for i, (title, _) in enumerate(sections))
    body = "".join(
        f'<section aria-labelledby="s{i}"><h2 id="s{i}">{escape(title)}</h2>{content}</section>'
        for i, (title, content) in enumerate(sections)
    )
    name = escape(found.network.name)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}: report of Few Bits</title><style>\n{STYLE.read_text()}</style></head>\n"
        f"<body><header><h1>{name}</h1>{_lead(found)}</header>"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav><main>{body}</main></body></html>\n'
    )


Section = tuple[str, str]  # title and content
Rows = list[tuple[Any, ...]]


def _lead(found: Measurements) -> str:
    network, widths = found.network, {(each.bits, each.rounding): each for each in found.widths}
    numbers = [("parameters", _count(network.parameters), _bytes(network.weight_bytes) + " at 32 bits")]
    numbers.append(("MACs per image", _count(network.macs), ""))
    if found.float_accuracy:
        numbers.append(("accuracy in float", _share(found.float_accuracy), _interval(found.float_accuracy)))
    for bits in dict.fromkeys((8, found.bits)):
        if (bits, "nearest") in widths and (accuracy := widths[bits, "nearest"].accuracy):
            numbers.append((f"at {bits} bits, nearest", _share(accuracy), _interval(accuracy)))
    cards = "".join(
        f"<div><dt>{escape(what)}</dt><dd>{escape(value)}<small>{escape(more)}</small></dd></div>"
        for what, value, more in numbers
    )
    shapes = " and ".join(_shape(shape) for shape in network.input_shapes)
    head = f", {network.head} of {network.units}" if network.head else ""
    return f'<p class="lead">A network for {shapes}{head}.</p><dl class="numbers">{cards}</dl>'


def _advice(found: Measurements, advice: Sequence[Advice]) -> Iterator[Section]:
    items = "".join(_item(each) for each in advice)
    text = f'<ol class="advice">{items}</ol>' if items else "<p>No change that was tried is better beyond chance.</p>"
    note = (
        f"<p>Ranked by gain of accuracy, then by bytes saved. Gains are measured on {found.images.judging_images:,} "
        f"judging images, with paired 95&nbsp;% intervals, and stated only if they are beyond the chance of all "
        f"{found.comparisons} comparisons (sign test, Bonferroni). Bits are advised if their loss is surely within "
        f"{100 * TOLERATED:g} points.</p>"
    )
    yield "What to do next", text + note


def _item(advice: Advice) -> str:
    gain = [change_in_points(advice.change)] if advice.change else []
    gain += [f"{_bytes(advice.bytes_saved)} less weights"] if advice.bytes_saved is not None else []
    return (
        f"<li><h3>{escape(_sentence(advice.what))}</h3><p>{escape('; '.join(gain))}</p>"
        f'<pre tabindex="0" aria-label="Command"><code>{escape(advice.command)}</code></pre></li>'
    )


def _accuracy(found: Measurements, advice: Sequence[Advice]) -> Iterator[Section]:
    content = _reason(found, "accuracy") + _reason(found, "calibration")
    bits = list(dict.fromkeys(each.bits for each in found.widths))
    if found.accuracy_as_read:
        content += f"<p>With the formats that it was read with: {_whole(found.accuracy_as_read)}.</p>"
    if found.widths and found.widths[0].accuracy:
        series = [_accuracies(rounding, found.widths) for rounding in ("nearest", "floor")]
        level = ("float", found.float_accuracy.value) if found.float_accuracy else None
        chart = interval_chart([str(n) for n in bits], series, "Accuracy over bits, with the table below", level)
        content += _figure(chart, series, "Accuracy over bits of kernels, inputs and outputs; bars are 95 % intervals.")
    rows: Rows = [
        (
            each.bits,
            each.rounding,
            _whole(each.accuracy),
            _change(each.under_float),
            _change(each.nearest_instead),
            _percent(each.agreement),
        )
        for each in found.widths
    ]
    if rows:
        columns = ("bits", "rounding", "accuracy", "change from float", "nearest instead of floor", "same as float")
        content += _table(
            "Accuracy with the MSBs of percentile 99.9, one per layer and kind", columns, rows, [None, TEXT]
        )
    variants: Rows = [
        (each.name, ", ".join(each.layers) or "all", each.bits, _whole(each.accuracy), _change(each.change))
        for each in found.variants
    ]
    if variants:
        names = ("formats", "layers", "bits", "accuracy", "change from the plain formats")
        content += _table("Other ways to set the formats, to nearest", names, variants, [None, TEXT])
    yield "Accuracy at few bits", content


def _accuracies(rounding: str, widths: Sequence[WidthAccuracy]) -> Series:
    shares = [each.accuracy for each in widths if each.rounding == rounding and each.accuracy]
    return Series(rounding, [share.value for share in shares], [(share.low, share.high) for share in shares])


def _network(found: Measurements, advice: Sequence[Advice]) -> Iterator[Section]:
    rows: Rows = [
        (
            each.name,
            each.kind,
            _shape(each.output_shape),
            _count(each.parameters),
            _count(each.macs),
            _count(each.activations),
            _count(each.weight_bytes),
        )
        for each in found.layers
    ]
    network = found.network
    rows.append(("all", "", "", *map(_count, (network.parameters, network.macs)), "", _count(network.weight_bytes)))
    columns = ("layer", "kind", "output", "parameters", "MACs", "activations", "bytes")
    table = _table("Costs per image; bytes at 32 bits per parameter", columns, rows, [None, TEXT, TEXT])
    peak = (
        f"<p>At most {_count(network.peak_activations)} values are held at once.</p>"
        if network.peak_activations
        else ""
    )
    yield "The network", _reason(found, "costs") + table + peak


def _values(found: Measurements, advice: Sequence[Advice]) -> Iterator[Section]:
    if not found.values:
        yield "Values and their ranges", _reason(found, "values") or _reason(found, "images")
        return
    layers: dict[str, list[ValueRange]] = {}
    for each in found.values:
        layers.setdefault(each.layer, []).append(each)
    rows = [
        (
            each.layer,
            each.kind,
            "yes" if each.signed else "no",
            *(_msb(each, rule) for rule in found.values[0].msbs),
            _percent(each.clipped, 2),
            _decibels(each.sqnr),
        )
        for each in found.values
    ]
    rules = [rule if rule == "mse" else f"{rule} %" for rule in found.values[0].msbs]
    columns = ("layer", "values", "signed", *(f"MSB, {rule}" for rule in rules), "clipped", "SQNR alone")
    caption = f"MSB by range rule; clipped share and SQNR at {found.bits} bits with the MSB of {RULE} %, to nearest"
    limits = [
        (each.layer, each.kind, *(f"{_number(low)} to {_number(high)}" for low, high in each.percentiles.values()))
        for each in found.values
    ]
    percentiles = _table(
        "Limits between which the middle values lie",
        ("layer", "values", *(f"{rule} %" for rule in found.values[0].percentiles)),
        limits,
        [None, TEXT],
    )
    drawn = "".join(_histograms(name, ranges) for name, ranges in layers.items())
    text = (
        f"<p>Bars: values on a square-root scale, so that tails show. Shaded: the middle {RULE} %, which sets the "
        f"format. Dashed: the range of the format; values beyond it are clipped.</p>"
    )
    yield "MSB table", _table(caption, columns, rows, [None, TEXT, TEXT])
    yield "Values and their ranges", text + drawn + "<h3>Percentiles</h3>" + percentiles


def _histograms(name: str, ranges: Sequence[ValueRange]) -> str:
    cells = "".join(f"<div>{_histogram(each)}</div>" for each in ranges)
    return f'<div class="layer"><h3>{escape(name)}</h3><div class="histograms">{cells}</div></div>'


def _histogram(each: ValueRange) -> str:
    rule = f"{RULE:g}"
    high = FixedPoint(each.msbs[rule], 1, each.signed).amplitude
    reach, clip = (f"±{_number(high)}", (-high, high)) if each.signed else (f"0 to {_number(high)}", (0.0, high))
    limits = f"{_number(each.low)} to {_number(each.high)}"
    text = f"{each.kind}: {limits}, format {reach}, {_percent(each.clipped, 2)} clipped"
    drawing = value_histogram(each.counts, each.low, each.high, clip, each.percentiles[rule], f"{each.layer}, {text}")
    return f"{drawing}<p>{escape(text)}</p>"


def _sqnr(found: Measurements, advice: Sequence[Advice]) -> Iterator[Section]:
    content = _reason(found, "propagated")
    if found.propagated:
        series = [
            Series("measured", [each.measured for each in found.propagated]),
            Series("predicted", [each.predicted for each in found.propagated]),
        ]
        chart = decibel_chart(series, "SQNR of each layer's output, measured and predicted, with the table below")
        caption = f"SQNR of each layer's output at {found.bits} bits with the errors of all layers before it."
        content += _figure(chart, series, caption)
        rows = [
            (i, each.layer, _decibels(each.measured), _decibels(each.predicted))
            for i, each in enumerate(found.propagated, 1)
        ]
        content += _table("SQNR of outputs", ("number", "layer", "measured", "predicted"), rows, [None, TEXT])
        content += (
            "<p>The prediction takes errors for independent and zero in the mean (backstrom2018, Equation 8).</p>"
        )
    yield "SQNR, predicted and measured", content or "<p>Nothing was measured.</p>"


def _sensitivity(found: Measurements, advice: Sequence[Advice]) -> Iterator[Section]:
    by_layer: dict[str, dict[str, Any]] = {}
    for each in found.sensitivities:
        by_layer.setdefault(each.layer, {})[each.kind] = each
    rows = [
        (
            name,
            *(_decibels(kinds[kind].sqnr, "unchanged") if kind in kinds else "" for kind in KINDS),
            *(_change(kinds[kind].change) if kind in kinds else "" for kind in KINDS),
        )
        for name, kinds in by_layer.items()
    ]
    columns = ("layer", *(f"{kind}, SQNR" for kind in KINDS), *(f"{kind}, accuracy" for kind in KINDS))
    caption = (
        f"SQNR of the network's outputs, and change of its accuracy on {found.images.choosing_images} images "
        f"that do not judge, with one kind of value of one layer at {found.bits} bits and all else in float"
    )
    content = _table(caption, columns, rows) if rows else "<p>Nothing was measured.</p>"
    yield "Sensitivity", _reason(found, "sensitivities") + content


def _filters(found: Measurements, advice: Sequence[Advice]) -> Iterator[Section]:
    dead: Rows = [
        (
            each.layer,
            f"{len(each.filters)} of {each.of}",
            each.without_weights,
            "yes" if each.removable else "no",
            ", ".join(map(str, each.filters)),
        )
        for each in found.dead
    ]
    n = found.images.choosing_images
    content = _reason(found, "dead")
    if dead:
        columns = ("layer", "dead", "without weights", "can be removed", "filters")
        content += _table(f"Filters whose output is zero on all {n} images", columns, dead, [*[None] * 4, LONG])
        if found.dead_change:
            content += f"<p>Without those that can be removed: {_change(found.dead_change)}.</p>"
    elif n:
        content += f"<p>No filter is silent on all {n} images.</p>"
    skewed: Rows = [(each.layer, each.kind, f"{each.bits_lost:.1f}", each.widest) for each in found.skewed]
    if skewed:
        names = ("layer", "values", "bits lost by the median channel", "widest channel")
        content += _table("Channels whose range is at least eight times the median's", names, skewed, [None, TEXT])
    elif found.values:
        content += "<p>No layer has a channel of more than eight times the median's range.</p>"
    yield "Dead filters and skewed channels", content


def _preparation(found: Measurements, advice: Sequence[Advice]) -> Iterator[Section]:
    rows = [
        (each.name, _whole(each.accuracy), _change(each.change), _verdict(each), each.options)
        for each in found.preparations
    ]
    content = _reason(found, "preparations")
    if rows:
        better = [each.name for each in found.preparations if each.better]
        said = (
            f"Another way is better beyond chance: {', '.join(better)}."
            if better
            else "No other way is better beyond chance."
        )
        content += f"<p>{escape(said)}</p>"
        columns = ("images", "accuracy in float", "change", "better", "options")
        content += _table(
            "The usual ways to prepare images, tried on the float network",
            columns,
            rows,
            [None, None, None, TEXT, TEXT],
        )
    yield "Preprocessing", content or "<p>Nothing was measured.</p>"


def _verdict(each: Any) -> str:
    return "" if each.name == AS_GIVEN else "yes, beyond chance" if each.better else "no"


def _devices(found: Measurements, advice: Sequence[Advice]) -> Iterator[Section]:
    content = _reason(found, "devices")
    rows = [
        (each.bits or "float", _count(each.packed_bytes), _count(each.flash_bytes), _count(each.ram_bytes))
        for each in found.memory
    ]
    if rows:
        columns = ("bits", "weights, packed", "flash", "RAM")
        caption = (
            "Bytes. Packed: kernels at these bits, all other parameters at 32. Flash and RAM: of the C code, whose "
            "codes take 8, 16 or 32 bits; in float, all parameters and the most values at once"
        )
        content += _table(caption, columns, rows)
    sums = [(each.layer, each.bits, each.partial_bits, _count(each.magnitude)) for each in found.accumulators]
    if sums:
        caption = "Accumulators, proven for all images: partial sums in any order fit these bits"
        content += _table(caption, ("layer", "bits of values", "bits of the accumulator", "largest sum"), sums)
    yield "Memory and accumulators", content


def _support(found: Measurements, advice: Sequence[Advice]) -> Iterator[Section]:
    content = _reason(found, "quantization") + _reason(found, "exports")
    forms = [(each.form, "no" if each.reason else "yes", each.reason) for each in found.exports]
    if forms:
        content += _table(
            "Forms for devices, at 8 bits", ("form", "possible", "why not, and what to do"), forms, [None, TEXT, LONG]
        )
    rows = [(each.name, each.kind, each.quantization, each.pruning) for each in found.layers]
    columns = ("layer", "kind", "quantization", "pruning")
    content += _table("What becomes of each layer", columns, rows, [None, TEXT, LONG, LONG])
    yield "What it can become", content


def _method(found: Measurements, advice: Sequence[Advice]) -> Iterator[Section]:
    images = found.images
    lines = []
    if images.calibration_images:
        lines.append(
            f"Formats and ranges come from {images.calibration_images:,} images drawn from {images.calibration}; "
            f"sensitivity, dead filters and the choice of layers from {images.choosing_images:,} of them."
        )
    if images.judging_images:
        lines.append(
            f"Accuracy is judged by {images.judging_images:,} images drawn from {images.judging}; {_shared(found)}."
        )
    lines.append(
        f"Seed {images.seed}. Intervals are of 95 %: Wilson's for shares, paired ones for changes. Layers are looked "
        f"at one by one at {found.bits} bits: the widest at which they are decided otherwise than in float, or the "
        f"fewest. Measured in {images.seconds:g} s."
    )
    yield "How it was measured", "".join(f"<p>{escape(line)}</p>" for line in lines)


def _shared(found: Measurements) -> str:
    if not found.images.shared:
        return "none of them is among the former"
    return f"{found.images.shared:,} of them are among the former, so accuracy may look too good"


_SECTIONS = (
    _advice,
    _accuracy,
    _network,
    _values,
    _sqnr,
    _sensitivity,
    _filters,
    _preparation,
    _devices,
    _support,
    _method,
)


# Parts of a page


def _table(
    caption: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], kinds: Sequence[str | None] = ()
) -> str:
    kinds = [*kinds, *[None] * (len(columns) - len(kinds))]
    heads = "".join(
        f'<th scope="col"{_class(kind or ("" if i else TEXT))}>{escape(name)}</th>'
        for i, (name, kind) in enumerate(zip(columns, kinds))
    )
    lines = "".join(
        f'<tr><th scope="row">{escape(str(row[0]))}</th>'
        + "".join(f"<td{_class(kind or '')}>{escape(str(cell))}</td>" for cell, kind in zip(row[1:], kinds[1:]))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _figure(chart: str, series: Sequence[Series], caption: str) -> str:
    legend = "".join(
        f'<li><svg viewBox="0 0 34 12" aria-hidden="true"><path class="line s{i + 1}" d="M0 6h34"/>'
        f"{mark(f's{i + 1}', shape, 17, 6)}</svg>{escape(line.name)}</li>"
        for i, (line, shape) in enumerate(zip(series, ("circle", "square")))
    )
    return f'<figure><ul class="legend">{legend}</ul>{chart}<figcaption>{escape(caption)}</figcaption></figure>'


def _reason(found: Measurements, section: str) -> str:
    reason = found.reasons.get(section)
    return f'<p class="reason">{escape(_sentence(reason))}.</p>' if reason else ""


def _sentence(clause: str) -> str:
    return clause[:1].upper() + clause[1:]


# Numbers as text


def _share(accuracy: Accuracy) -> str:
    return f"{accuracy.value:.1%}"


def _interval(accuracy: Accuracy) -> str:
    return f"{accuracy.low:.1%} to {accuracy.high:.1%}, {accuracy.hits:,} of {accuracy.n:,}"


def _whole(accuracy: Accuracy | None) -> str:
    return f"{accuracy.value:.1%} ({accuracy.low:.1%} to {accuracy.high:.1%})" if accuracy else ""


def _change(change: Change | None) -> str:
    return change_in_points(change) if change else ""


def _percent(share: float | None, digits: int = 1) -> str:
    return "" if share is None else f"{share:.{digits}%}"


def _decibels(value: float | None, missing: str = "exact") -> str:
    return missing if value is None else f"{value:.1f} dB"


def _msb(each: ValueRange, rule: str) -> str:
    return str(each.msbs[rule])


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _bytes(number: int | None) -> str:
    if number is None:
        return "unknown"
    return (
        f"{number / 1e6:.2f} MB" if number >= 1e6 else f"{number / 1e3:.1f} kB" if number >= 1000 else f"{number} bytes"
    )


def _shape(shape: Sequence[Any]) -> str:
    return " × ".join("any" if side is None else str(side) for side in shape)

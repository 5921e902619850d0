"""The page of `fewbits evaluate --confusion`: one HTML file, for offline use, light and dark."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from fewbits.statistics import wilson_interval

if TYPE_CHECKING:
    from fewbits.training.confusion import Confusion
    from fewbits.training.evaluation import Score

MOST_CLASSES = 60  # in a matrix; more make a page that no browser scrolls well
MOST_MISTAKES = 20

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ --page: #ffffff; --ink: #1a1d21; --soft: #5a6270; --line: #d5dae1; --right: #1b6ac9; --wrong: #b8430f; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --page: #14171b; --ink: #e9edf2; --soft: #a3adba; --line: #39414c; --right: #4a90e2; --wrong: #d2622a; }}
}}
body {{ background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 70rem; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.15rem; margin-top: 2rem; }}
p, caption {{ color: var(--soft); }} p strong {{ color: var(--ink); }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
caption {{ caption-side: top; padding-bottom: .5rem; text-align: left; }}
th, td {{ border: 1px solid var(--line); padding: .3rem .6rem; text-align: right; white-space: nowrap; }}
th {{ font-weight: 600; }} th[scope=row], th:first-child {{ text-align: left; }}
td.hit {{ --hue: var(--right); font-weight: 600; }} td.miss {{ --hue: var(--wrong); }}
.matrix td {{ background: color-mix(in srgb, var(--hue) calc(var(--strength) * 60%), var(--page)); }}
@media print {{ body {{ margin: 0; max-width: none; }} .matrix td {{ print-color-adjust: exact; }} }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""


def confusion_as_html(confusion: "Confusion", score: "Score", names: Sequence[str], network: str, what: str) -> str:
    """Return a page with a confusion matrix, the accuracy of each class and the most frequent mistakes.

    Args:
        confusion: What was taken for what.
        score: Of the same evaluation.
        names: Of the classes; empty for their numbers.
        network: What the network is called.
        what: A description of the images.

    Returns:
        HTML that refers to no other file.
    """
    classes = [escape(name) for name in names] or [str(i) for i in range(len(confusion.images))]
    parts = [_summary(confusion, score, network, what), _matrix(confusion, classes), _by_class(confusion, classes)]
    title = f"Which classes {escape(network)} takes for which"
    return PAGE.format(title=title, body="\n".join([*parts, _mistakes(confusion, classes)]))


def _summary(confusion: "Confusion", score: "Score", network: str, what: str) -> str:
    low, high = wilson_interval(score.hits, score.n)
    return (
        f"<p>{escape(network)} on {escape(what)}: <strong>{score.accuracy:.2%}</strong> are right ({score.hits:,} of "
        f"{score.n:,}; 95 % interval {low:.2%} to {high:.2%}). Balanced accuracy, the mean over classes: "
        f"<strong>{confusion.balanced_accuracy:.2%}</strong>. Loss: {score.loss:.4f}.</p>"
    )


def _matrix(confusion: "Confusion", classes: list[str]) -> str:
    if len(classes) > MOST_CLASSES:
        return f"<p>The matrix of {len(classes):,} classes is left out; the tables below say what it would show.</p>"
    head = "".join(f'<th scope="col">{name}</th>' for name in classes)
    rows = []
    for i, (name, counts) in enumerate(zip(classes, confusion.counts.tolist())):
        n = int(confusion.images[i])
        cells = "".join(_cell(count, n, i == j) for j, count in enumerate(counts))
        rows.append(f'<tr><th scope="row">{name}</th>{cells}<td>{n:,}</td></tr>')
    return (
        '<h2>Confusion matrix</h2>\n<div class="scroll" tabindex="0" role="region" aria-label="Confusion matrix">\n'
        '<table class="matrix"><caption>Images by their class (rows) and the class they were taken for (columns); the '
        "stronger the colour, the larger the share of the row.</caption>\n"
        f'<thead><tr><th scope="col">class</th>{head}<th scope="col">images</th></tr></thead>\n'
        f"<tbody>\n{chr(10).join(rows)}\n</tbody></table>\n</div>"
    )


def _cell(count: int, n: int, hit: bool) -> str:
    if not count:
        return "<td>0</td>"
    share = count / n
    strength = share**0.5  # rare mistakes show, too
    return (
        f'<td class="{"hit" if hit else "miss"}" style="--strength:{strength:.3f}" title="{share:.1%}">{count:,}</td>'
    )


def _by_class(confusion: "Confusion", classes: list[str]) -> str:
    rows = []
    for i, name in enumerate(classes):
        right, n = int(confusion.counts[i, i]), int(confusion.images[i])
        low, high = wilson_interval(right, n) if n else (0, 0)
        shown = f"<td>{right / n:.2%}</td><td>{low:.2%} to {high:.2%}</td>" if n else "<td>no images</td><td></td>"
        rows.append(f'<tr><th scope="row">{name}</th><td>{n:,}</td><td>{right:,}</td>{shown}</tr>')
    columns = ("class", "images", "right", "accuracy", "95 % interval")
    return _table("Accuracy of each class", columns, rows)


def _mistakes(confusion: "Confusion", classes: list[str]) -> str:
    rows = [
        f'<tr><th scope="row">{classes[label]}</th><td>{classes[taken]}</td><td>{n:,}</td>'
        f"<td>{n / confusion.images[label]:.1%}</td></tr>"
        for label, taken, n in confusion.mistakes(MOST_MISTAKES)
    ]
    if not rows:
        return "<p>No image was taken for another class.</p>"
    columns = ("class", "taken for", "images", "share of the class")
    return _table("Most frequent mistakes", columns, rows)


def _table(title: str, columns: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    return (
        f'<h2>{title}</h2>\n<div class="scroll"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{chr(10).join(rows)}\n</tbody></table></div>"
    )

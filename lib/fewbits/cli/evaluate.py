"""`fewbits evaluate`: the accuracy of a network."""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fewbits.cli.images import add_options, check_classes, read_parts, report_skipped
from fewbits.cli.parser import Commands, add_command, check_output
from fewbits.errors import InputError
from fewbits.names import PARTS

if TYPE_CHECKING:
    from fewbits.training.confusion import Confusion

IMBALANCED = 1.5  # how many times as many images the largest class has as the smallest
MOST_CLASSES = 20  # whose accuracy is printed

ABOUT = """
Prepare the images of a folder as for training: with the same --size, --order, --mean-pixel and --scale. If one class
has at least 1.5 times as many images as another, the accuracy of each class is printed, and the mean of these, the
balanced accuracy.
"""
EXAMPLES = """
  fewbits evaluate digits.keras --data digits
  fewbits evaluate photos.keras --data photos/test --size 227 --order bgr --mean-pixel 104,117,123
  fewbits evaluate photos.keras --data photos/test --confusion confusion.html
"""


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = add_command(commands, "evaluate", run, "measure the accuracy of a network on images", EXAMPLES, ABOUT)
    command.add_argument("model", type=Path, help="a .keras file")
    add_options(command)
    command.add_argument(
        "--part", choices=PARTS, default="test", help="part of the data, if it has parts (default test)"
    )
    command.add_argument("--batch-size", type=int, default=100, help="images at a time (default 100)")
    command.add_argument(
        "--confusion",
        type=Path,
        help="write which classes are taken for which to this .html file, one page for offline use",
    )


def run(options: argparse.Namespace) -> None:
    """Count the images that the network gets right, and print the result."""
    if options.confusion:
        check_output(options.confusion, ".html")
    from fewbits.cli.confusion_page import confusion_as_html
    from fewbits.io.files import read_model, write_aside
    from fewbits.statistics import wilson_interval
    from fewbits.training.evaluation import evaluate, evaluate_classes
    from fewbits.training.heads import head_of

    model = read_model(options.model)
    [part] = read_parts(options, options.part, model=model)
    check_classes(model, part, str(options.model))
    several = head_of(model).kind == "multi-label"
    if several and options.confusion:
        raise InputError(f"{options.model} gives images several labels, and --confusion is for one each; leave it out")
    start = time.perf_counter()
    confusion = None
    if several:
        score = evaluate(model, part.data, options.batch_size)
    else:
        score, confusion = evaluate_classes(model, part.data, options.batch_size)
    seconds = time.perf_counter() - start
    print(f"{options.model} on {part.what}")
    _print_share("top-1", score.hits, score.n, wilson_interval)
    if score.hits_top5 is not None:
        _print_share("top-5", score.hits_top5, score.n, wilson_interval)
    print(f"  loss   {score.loss:.4f}")
    print(f"  time   {seconds:.1f} s")
    if confusion is not None and confusion.imbalance >= IMBALANCED:
        _print_classes(confusion, part.class_names)
    report_skipped([part])
    if options.confusion and confusion is not None:
        page = confusion_as_html(confusion, score, part.class_names, str(options.model), part.what)
        with write_aside(options.confusion) as file:
            file.write(page.encode())
        print(f"{options.confusion} written")


def _print_classes(confusion: "Confusion", names: Sequence[str]) -> None:
    """Print the accuracy of each class, or of the worst, and their mean."""
    known = [i for i, n in enumerate(confusion.images) if n]
    print(f"  balanced accuracy  {confusion.balanced_accuracy:.2%}, the mean over {len(known)} classes")
    rows = sorted(known, key=lambda i: confusion.accuracies[i])[:MOST_CLASSES]
    labels = {i: names[i] if names else f"class {i}" for i in rows}
    width = max(map(len, labels.values()))
    for i in sorted(rows) if len(known) <= MOST_CLASSES else rows:
        right, n = confusion.counts[i, i], confusion.images[i]
        print(f"    {labels[i]:<{width}}  {right / n:>7.2%}  ({right:,} of {n:,})")
    if len(known) > MOST_CLASSES:
        print(f"    and {len(known) - MOST_CLASSES} classes that are better")


def _print_share(what: str, hits: int, n: int, interval: Callable[[int, int], tuple[float, float]]) -> None:
    low, high = interval(hits, n)
    print(f"  {what}  {hits / n:.2%}  ({hits:,} of {n:,}; 95 % interval {low:.2%} to {high:.2%})")

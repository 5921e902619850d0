"""`fewbits evaluate`: the accuracy of a network."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from fewbits.cli.images import add_options, check_classes, read_parts, report_skipped
from fewbits.cli.parser import Commands, add_command
from fewbits.names import PARTS

ABOUT = """
Prepare the images of a folder as for training: with the same --size, --order, --mean-pixel and --scale.
"""
EXAMPLES = """
  fewbits evaluate digits.keras --data digits
  fewbits evaluate photos.keras --data photos/test --size 227 --order bgr --mean-pixel 104,117,123
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


def run(options: argparse.Namespace) -> None:
    """Count the images that the network gets right, and print the result."""
    from fewbits.io.files import read_model
    from fewbits.statistics import wilson_interval
    from fewbits.training.evaluation import evaluate

    model = read_model(options.model)
    [part] = read_parts(options, options.part, model=model)
    check_classes(model, part, str(options.model))
    start = time.perf_counter()
    score = evaluate(model, part.data, options.batch_size)
    seconds = time.perf_counter() - start
    print(f"{options.model} on {part.what}")
    _print_share("top-1", score.hits, score.n, wilson_interval)
    if score.hits_top5 is not None:
        _print_share("top-5", score.hits_top5, score.n, wilson_interval)
    print(f"  loss   {score.loss:.4f}")
    print(f"  time   {seconds:.1f} s")
    report_skipped([part])


def _print_share(what: str, hits: int, n: int, interval: Callable[[int, int], tuple[float, float]]) -> None:
    low, high = interval(hits, n)
    print(f"  {what}  {hits / n:.2%}  ({hits:,} of {n:,}; 95 % interval {low:.2%} to {high:.2%})")

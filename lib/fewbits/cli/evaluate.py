"""`fewbits evaluate`: how often a network is right."""

import time
from pathlib import Path

from fewbits.cli.images import add_options, read_parts, tell_skipped
from fewbits.cli.parser import add_command
from fewbits.errors import InputError, check_name
from fewbits.names import PARTS

ABOUT = """
Images of a folder must be prepared as they were for training: the same --size, --order, --mean-pixel and --scale.
"""
EXAMPLES = """
  fewbits evaluate digits.keras --data digits
  fewbits evaluate photos.keras --data photos/test --size 227 --order bgr --mean-pixel 104,117,123
"""


def add(commands) -> None:
    command = add_command(commands, "evaluate", run, "measure the accuracy of a network on images", EXAMPLES, ABOUT)
    command.add_argument("model", type=Path, help="a .keras file")
    add_options(command)
    command.add_argument("--part", default="test", help="train, validation or test (default), where the data has parts")
    command.add_argument("--batch-size", type=int, default=100, help="images at a time (default 100)")


def run(options) -> None:
    from fewbits.io.files import read_model
    from fewbits.statistics import wilson_interval
    from fewbits.training.loop import evaluate

    check_name("part", options.part, PARTS)
    model = read_model(options.model)
    [part] = read_parts(options, options.part)
    if model.output_shape[-1] != part.classes:
        raise InputError(f"{options.model} has {model.output_shape[-1]} classes, the data {part.classes}")
    start = time.perf_counter()
    score = evaluate(model, part.data, options.batch_size)
    seconds = time.perf_counter() - start
    print(f"{options.model} on {part.what}")
    _tell("top-1", score.hits, score.n, wilson_interval)
    if score.hits_top5 is not None:
        _tell("top-5", score.hits_top5, score.n, wilson_interval)
    print(f"  loss   {score.loss:.4f}")
    print(f"  time   {seconds:.1f} s")
    tell_skipped([part])


def _tell(what, hits, n, interval):
    low, high = interval(hits, n)
    print(f"  {what}  {hits / n:.2%}  ({hits:,} of {n:,}; 95 % interval {low:.2%} to {high:.2%})")

"""`fewbits schemes`: many ways of quantizing one trained network, compared on the same images."""

import argparse
import sys
from pathlib import Path
from typing import Any

from fewbits.cli.images import add_options, check_classes, read_parts, read_sample, report_skipped
from fewbits.cli.parser import Commands, add_command, check_output
from fewbits.errors import InputError

ABOUT = """
The file, in TOML, describes schemes as grids: all combinations of the values in `vary`, over `fixed`, over [common].

  [[grid]]
  name = "few bits, with and without remedies"
  fixed = { percentile = "mse" }
  vary = { bits = [[8, 8, 8], [6, 6, "float"]], remedies = [[], ["equalize", "share formats", "half a step"]] }

Nothing is trained, and calibration uses no labels. Formats are set on the first 32 of the --calibrate images; remedies
that need values use all of them. They are the first images of the training part, or of the whole folder if it has no
parts; where images are sorted by class, they are spread evenly. An image that is among them is not tested. Results are
written as they arrive: after a stop, the same command goes on.
"""
EXAMPLES = """
  fewbits schemes digits.keras schemes.toml --data digits --output digits.json
  fewbits schemes photos.keras schemes.toml --data photos --order bgr --mean-pixel 104,117,123 --output photos.json
"""


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = add_command(
        commands, "schemes", run, "compare ways of quantizing a trained network without training", EXAMPLES, ABOUT
    )
    command.add_argument("model", type=Path, help="a .keras file")
    command.add_argument("file", type=Path, help="a TOML file with grids of schemes")
    add_options(command)
    command.add_argument(
        "--images", type=int, default=1000, help="number of test images, all held in memory (default 1000)"
    )
    command.add_argument("--seed", type=int, default=0, help="seed of the drawing if there are more (default 0)")
    command.add_argument(
        "--calibrate", type=int, default=128, metavar="N", help="number of calibration images (default 128)"
    )
    command.add_argument("--grid", metavar="NAME", help="run this grid only")
    command.add_argument("--output", type=Path, required=True, help="keep the results in this .json file")


def run(options: argparse.Namespace) -> None:
    """Run the schemes that have no result yet, and print a table of all."""
    check_output(options.output, ".json")
    import numpy as np

    from fewbits.cli.progress import SchemesBar
    from fewbits.experiment import Scheme, read_grid, run_schemes
    from fewbits.experiment.leakage import shared_images
    from fewbits.io.files import read_model
    from fewbits.quantization.conversion import dequantize_model
    from fewbits.training.batches import check_images

    grids = [grid for grid in read_grid(options.file, Scheme) if options.grid in (None, grid.name)]
    if not grids:
        raise InputError(f"{options.file} has no grid {options.grid!r}")
    if options.calibrate < 1:
        raise InputError(f"--calibrate must be at least 1, not {options.calibrate}")
    model = dequantize_model(read_model(options.model))
    sample = read_sample(options, "test", model)
    check_images(model, sample.part.image_shape, f"the images of {options.data}")
    check_classes(model, sample.part, str(options.model))
    images, labels, _ = map(np.concatenate, zip(*sample.batches(100)))
    calibration = _calibration_images(options, options.calibrate, model)
    judging = ~shared_images(images, calibration)
    if not judging.any():
        raise InputError(f"all images of {options.data} set formats, and none is left to test; lower --calibrate")
    if not judging.all():
        print(f"{(~judging).sum()} of {len(judging):,} images set formats and are not tested")
    images, labels = images[judging], labels[judging]
    report_skipped([sample.part])
    study = run_schemes(
        model,
        [scheme for grid in grids for scheme in grid.trials],
        calibration,
        (images, labels),
        options.output,
        checksum=_checksum(images, labels, calibration),
        progress=SchemesBar(sys.stdout),
    )
    _print_table(grids, study)
    print(f"{options.output} written; {study.made_with}")


def _calibration_images(options: argparse.Namespace, n: int, model: Any) -> Any:
    """Return the first `n` images of the training part, or `n` evenly spread ones if they are sorted by class."""
    import numpy as np

    [part] = read_parts(options, "train", model=model)
    labels = part.data[1] if isinstance(part.data, tuple) else part.data.labels
    numbers = np.arange(min(n, len(labels)))
    if np.all(np.diff(labels) >= 0):
        numbers = numbers * len(labels) // len(numbers)
    if isinstance(part.data, tuple):
        return part.data[0][numbers]
    return np.concatenate([images for images, *_ in part.data.pick(numbers).batches(100)])


def _checksum(*arrays: Any) -> str:
    from hashlib import sha256

    digest = sha256()
    for array in arrays:
        digest.update(array)
    return digest.hexdigest()


def _print_table(grids: list, study: Any) -> None:
    print(f"\nfloat  {study.float}")
    for grid in grids:
        print(f"\n{grid.name}")
        for scheme in grid.trials:
            lost = study.under_float(scheme)
            points = f"{100 * lost.mean:5.1f} ± {100 * lost.half_width:.1f} points"
            print(f"  {study[scheme]}  {points} under float  {scheme.name}")

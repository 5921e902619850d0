"""`fewbits report`: a page on one network, with what to do next."""

import argparse
import sys
from pathlib import Path
from shlex import quote
from typing import Any

from fewbits.cli.images import Part, add_held_out, add_options, check_classes, read_parts, report_skipped
from fewbits.cli.parser import Commands, add_command, check_output
from fewbits.errors import InputError

ABOUT = """
One self-contained HTML page: costs, ranges of values, accuracy at 16, 8, 6, 5 and 4 bits, SQNR, sensitivity, dead
filters, preprocessing, memory, what can be exported where, and ranked advice with the command for each. A claim is made
only beyond chance.

Images that set formats are others than those that judge: of the training part and of the test (or validation) part; a
folder or file without parts is divided, one image in ten for calibration. What cannot be measured is left out, and the
page says why.
"""
EXAMPLES = """
  fewbits report digits.keras --data digits --output report.html
  fewbits report photos.keras --data photos --output report.html --json report.json --images 500
"""


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = add_command(commands, "report", run, "write a page on a network, with what to do next", EXAMPLES, ABOUT)
    command.add_argument("model", type=Path, help="a .keras file")
    add_options(command, required=False)
    add_held_out(command)
    command.add_argument("--output", type=Path, help="write the page to this .html file")
    command.add_argument(
        "--json",
        type=Path,
        nargs="?",
        const=Path(),
        metavar="FILE",
        help="write the measurements to this .json file, by default beside the page",
    )
    command.add_argument(
        "--images",
        type=int,
        help="number of judging images, drawn at random (default: 100 to 1,000, fewer for networks of many MACs)",
    )
    command.add_argument("--seed", type=int, default=0, help="seed of the drawing (default 0)")
    command.add_argument(
        "--quick", action="store_true", help="judge by 100 images, and leave out other formats and exports"
    )


def run(options: argparse.Namespace) -> None:
    """Measure the network and write the page, the measurements, or both."""
    page, data = _outputs(options)
    if options.images is not None and options.images < 1:
        raise InputError(f"--images must be at least 1, not {options.images}")
    if options.seed < 0:
        raise InputError(f"--seed must be at least 0, not {options.seed}")
    from fewbits.cli.progress import StepsBar
    from fewbits.io.files import read_model, write_aside
    from fewbits.report import advise, as_json, examine, report_page
    from fewbits.training.batches import check_images

    model = read_model(options.model)
    sources, parts = _sources(options, model)
    for part in parts:
        check_images(model, part.image_shape, f"the images of {options.data}")
    if parts:
        print(f"{model.name}: formats from {parts[0].what}; judged by {parts[1].what}", flush=True)
    found = examine(
        model,
        *sources,
        most_images=options.images,
        seed=options.seed,
        quick=options.quick,
        pixels=_pixels(options),
        progress=StepsBar(sys.stderr),
    )
    advice = advise(found, _setup(options))
    for path, text in ((data, as_json(found, advice)), (page, report_page(found, advice))):
        if path:
            with write_aside(path) as file:
                file.write(text.encode())
            print(f"{path} written")
    for each in advice:
        print(f"  {each.what}")
    report_skipped(parts)


def _outputs(options: argparse.Namespace) -> tuple[Path | None, Path | None]:
    """Return the page and the file of measurements to write, either of which may be None."""
    page, data = options.output, options.json
    if page is None and data in (None, Path()):
        raise InputError("name a file for the report, with --output report.html or --json report.json")
    if data == Path():
        data = page.with_suffix(".json")
    for path, suffixes in ((page, (".html", ".htm")), (data, (".json",))):
        if path:
            check_output(path, *suffixes)
    return page, data


def _sources(options: argparse.Namespace, model: Any) -> tuple[list[Any], list[Part]]:
    """Return the images that set formats and those that judge, as the report takes them and as they were read."""
    from fewbits.report import ImageSource

    if not options.data or len(model.inputs or ()) != 1:
        return [], []
    parts = _separate_parts(options, model)
    return [ImageSource(part.data, part.what, _misfit(model, part, str(options.model))) for part in parts], parts


def _separate_parts(options: argparse.Namespace, model: Any) -> list[Part]:
    """Return images to calibrate with and others that judge."""
    try:
        parts = read_parts(options, "train", "test", model=model)
    except InputError:  # there may be a validation part; if there is none, the message says so
        return read_parts(options, "train", "validation", seed=options.seed, model=model)
    if len(parts) == 2 and parts[0].what != parts[1].what:
        return parts
    rest, held_out = read_parts(options, "train", "validation", seed=options.seed, model=model)
    return [held_out, rest]


def _misfit(model: Any, part: Part, name: str) -> str:
    """Return why the labels of `part` cannot judge the network; empty if they can."""
    try:
        check_classes(model, part, name)
    except InputError as error:
        return str(error)
    return ""


def _pixels(options: argparse.Namespace) -> Any:
    """Return how pixels became images; None for data sets with pixels of their own."""
    from fewbits.data.archives import read_archive
    from fewbits.data.pixels import Pixels

    path = Path(options.data or "")
    if path.suffix == ".npz" and not path.is_dir():
        return read_archive(path).pixels(options.order, options.mean_pixel, options.scale)
    if not options.data or not path.is_dir():
        return None
    scale = options.scale or (1.0 if options.mean_pixel else 1 / 256)
    return Pixels(options.order or "rgb", options.mean_pixel, scale)


def _setup(options: argparse.Namespace) -> Any:
    from fewbits.report import Setup

    given = {"--order": options.order, "--scale": options.scale, "--background": options.background}
    given["--mean-pixel"] = options.mean_pixel and ",".join(f"{value:g}" for value in options.mean_pixel)
    given["--size"] = options.size and "x".join(map(str, options.size))
    words = [f"{name}={quote(str(value))}" for name, value in given.items() if value is not None]
    words += ["--no-crop"] if options.no_crop else []
    return Setup(str(options.model), options.data or "DATA", " ".join(words))

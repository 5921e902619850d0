"""`fewbits output-extraction`: what the layers of a network compute, in an HDF5 file."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fewbits.cli.images import Sample, add_options, add_sample, read_sample, report_skipped
from fewbits.cli.parser import Commands, add_command, check_output
from fewbits.names import PARTS

ABOUT = """
The file holds a dataset layers/NAME of shape (images, ...) for each layer, with the kind of the layer as an attribute;
`labels`; and `images`, the file name of each image or its number in the part of a data set. The attributes of the file
name the network, the data and whether the values are raw.
"""
EXAMPLES = """
  fewbits output-extraction digits.keras --data digits --output activations.h5
  fewbits output-extraction photos.keras --data photos --layers conv1,fire2_squeeze1x1 --raw --output products.h5
"""
BATCH_SIZE = 32


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = add_command(
        commands, "output-extraction", run, "write what the layers of a network compute on images", EXAMPLES, ABOUT
    )
    command.add_argument("model", type=Path, help="a .keras file")
    add_options(command)
    add_sample(command)
    command.add_argument(
        "--part", choices=PARTS, default="train", help="part of the data, if it has parts (default train)"
    )
    command.add_argument(
        "--layers", type=_names, metavar="A,B,...", help="the layers to read (default: all that can be quantized)"
    )
    command.add_argument(
        "--raw", action="store_true", help="write products, before bias and activation, not the outputs"
    )
    command.add_argument("--output", type=Path, required=True, help="write this .h5 file")


def run(options: argparse.Namespace) -> None:
    """Write what the layers compute to the HDF5 file."""
    check_output(options.output, ".h5", ".hdf5")
    from fewbits.cli.progress import CountBar
    from fewbits.inspection.extraction import select
    from fewbits.io.files import read_model
    from fewbits.io.hdf5 import write_hdf5
    from fewbits.training.batches import check_images

    model = read_model(options.model)
    layers = select(model, options.layers, options.raw)
    sample = read_sample(options, options.part, model)
    check_images(model, sample.part.image_shape, f"the images of {options.data}")
    attributes = {f"layers/{layer.name}": {"kind": type(layer).__name__} for layer in layers}
    attributes["/"] = {"network": model.name, "data": sample.part.what, "raw": options.raw}
    bar = CountBar(sys.stdout, len(sample.numbers), "images")
    write_hdf5(options.output, _pieces(model, sample, options, bar), attributes)
    report_skipped([sample.part])
    print(f"{options.output} written; {len(layers)} layer{'s' if len(layers) > 1 else ''} of {model.name}")


def _pieces(model: Any, sample: Sample, options: argparse.Namespace, bar: Any) -> Iterator[dict[str, Any]]:
    """Yield, for each batch, dataset name -> the rows to append to it."""
    from fewbits.inspection.extraction import extractor

    compute, done = extractor(model, options.layers, options.raw), 0
    for images, labels, which in sample.batches(BATCH_SIZE):
        yield {f"layers/{name}": x for name, x in compute(images).items()} | {"labels": labels, "images": which}
        done += len(images)
        bar(done)
    bar.finish(done)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]

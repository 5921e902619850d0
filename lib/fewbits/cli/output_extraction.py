"""`fewbits output-extraction`: what the layers of a network compute, in an HDF5 file."""

import sys
from pathlib import Path

from fewbits.cli.images import add_options, add_sample, read_sample, tell_skipped
from fewbits.cli.parser import add_command, check_output
from fewbits.errors import check_name
from fewbits.names import PARTS

ABOUT = """
The file holds a dataset layers/NAME for each layer, (images, ...), with its kind as an attribute; `labels`; `images`,
the name of each image's file, or its number in a data set's part; and as attributes the network, the data, and `raw`.
"""
EXAMPLES = """
  fewbits output-extraction digits.keras --data digits --output activations.h5
  fewbits output-extraction photos.keras --data photos --layers conv1,fire2_squeeze1x1 --raw --output products.h5
"""
BATCH_SIZE = 32


def add(commands) -> None:
    command = add_command(
        commands, "output-extraction", run, "write what the layers of a network compute on images", EXAMPLES, ABOUT
    )
    command.add_argument("model", type=Path, help="a .keras file")
    add_options(command)
    add_sample(command)
    command.add_argument("--part", default="train", help="train (default), validation or test, if the data has parts")
    command.add_argument(
        "--layers", type=_names, metavar="A,B,...", help="their names (default: every layer that can be quantized)"
    )
    command.add_argument(
        "--raw", action="store_true", help="products, before bias and activation, not what leaves the layer"
    )
    command.add_argument("--output", type=Path, required=True, help="write this .h5 file")


def run(options) -> None:
    check_output(options.output, ".h5", ".hdf5")
    from fewbits.cli.progress import Count
    from fewbits.inspection.extraction import select
    from fewbits.io.files import read_model
    from fewbits.io.hdf5 import write_hdf5
    from fewbits.training.loop import check_images

    check_name("part", options.part, PARTS)
    model = read_model(options.model)
    layers = select(model, options.layers, options.raw)
    sample = read_sample(options, options.part)
    check_images(model, sample.part.image_shape, f"the images of {options.data}")
    attributes = {f"layers/{layer.name}": {"kind": type(layer).__name__} for layer in layers}
    attributes["/"] = {"network": model.name, "data": sample.part.what, "raw": options.raw}
    bar = Count(sys.stdout, len(sample.numbers), "images")
    write_hdf5(options.output, _pieces(model, sample, options, bar), attributes)
    tell_skipped([sample.part])
    print(f"{options.output} written; {len(layers)} layer{'s' if len(layers) > 1 else ''} of {model.name}")


def _pieces(model, sample, options, bar):
    """Yield, for each batch, the name of each dataset -> what it grows by."""
    from fewbits.inspection.extraction import extractor

    compute, done = extractor(model, options.layers, options.raw), 0
    for images, labels, which in sample.batches(BATCH_SIZE):
        yield {f"layers/{name}": x for name, x in compute(images).items()} | {"labels": labels, "images": which}
        done += len(images)
        bar(done)
    bar.finish(done)


def _names(text):
    return [name.strip() for name in text.split(",")]

"""`fewbits import-caffe`: a network of the zoo with weights that were trained with Caffe."""

import argparse
from pathlib import Path

from fewbits.cli.parser import Commands, add_command, check_output
from fewbits.names import POOLINGS

ABOUT = """
Layers are found by name, as in the authors' files. Networks from Caffe expect channels in the order BGR, pixels from 0
to 255 and the mean pixel subtracted: pass --order bgr --mean-pixel 104,117,123 to other commands.
"""
EXAMPLES = """
  fewbits import-caffe squeezenet_v1.1.caffemodel --network squeezenet_v1_1 --pooling ceil --output squeezenet.keras
"""


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = add_command(commands, "import-caffe", run, "load the weights of a Caffe network", EXAMPLES, ABOUT)
    command.add_argument("weights", type=Path, help="a .caffemodel, or an .npz of the same arrays (NAME.w, NAME.b)")
    command.add_argument("--network", required=True, help="a network of the zoo, such as squeezenet_v1_1")
    command.add_argument("--size", type=int, default=227, help="side of its images in pixels (default 227)")
    command.add_argument("--classes", type=int, default=1000, help="number of classes (default 1000)")
    command.add_argument(
        "--pooling", choices=POOLINGS, help="how sizes are rounded, if the network has the option; Caffe uses ceil"
    )
    command.add_argument("--output", type=Path, required=True, help="write the network to this .keras file")


def run(options: argparse.Namespace) -> None:
    """Build the network, load the weights and write the file."""
    check_output(options.output, ".keras")
    from fewbits import zoo
    from fewbits.io.caffe import load_caffe_weights
    from fewbits.io.files import write_model

    choice = {} if options.pooling is None else {"pooling": options.pooling}
    model = zoo.build(options.network, (options.size, options.size, 3), options.classes, **choice)
    load_caffe_weights(model, options.weights)
    write_model(model, options.output)
    print(f"{options.output} written; {model.name}, {model.count_params():,} parameters")

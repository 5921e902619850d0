"""`fewbits import-caffe`: a network of ours with weights that were trained with Caffe."""

from pathlib import Path

from fewbits.cli.parser import add_command, check_output

ABOUT = """
Layers are found by name, as in the authors' files. Networks from Caffe expect channels in the order BGR, of 0 to 255,
less the mean pixel: --order bgr --mean-pixel 104,117,123 in other commands.
"""
EXAMPLES = """
  fewbits import-caffe squeezenet_v1.1.caffemodel --network squeezenet_v1_1 --pooling ceil --output squeezenet.keras
"""


def add(commands) -> None:
    command = add_command(commands, "import-caffe", run, "give a network weights from Caffe", EXAMPLES, ABOUT)
    command.add_argument("weights", type=Path, help="a .caffemodel, or an .npz of the same arrays (NAME.w, NAME.b)")
    command.add_argument("--network", required=True, help="squeezenet_v1_1, squeezenet_v1_0, ...")
    command.add_argument("--size", type=int, default=227, help="side of its images in pixels (default 227)")
    command.add_argument("--classes", type=int, default=1000, help="how many (default 1000)")
    command.add_argument("--pooling", help="floor, or ceil as Caffe does, where the network has the choice")
    command.add_argument("--output", type=Path, required=True, help="write the network to this .keras file")


def run(options) -> None:
    check_output(options.output, ".keras")
    from fewbits import zoo
    from fewbits.io.caffe import load_weights
    from fewbits.io.files import write_model

    choice = {} if options.pooling is None else {"pooling": options.pooling}
    model = zoo.build(options.network, (options.size, options.size, 3), options.classes, **choice)
    load_weights(model, options.weights)
    write_model(model, options.output)
    print(f"{options.output} written; {model.name}, {model.count_params():,} parameters")

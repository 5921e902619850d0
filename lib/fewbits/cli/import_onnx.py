"""`fewbits import-onnx`: a network from PyTorch or another framework, from an ONNX file."""

import argparse
from pathlib import Path

from fewbits.cli.parser import Commands, add_command, check_output

ABOUT = """
The network takes images with the channels last, the file's have them first. Layers have the names of PyTorch's modules.
Every tensor is compared with ONNX Runtime's on random images; a node that cannot be imported is named. In PyTorch, call
model.eval() and torch.onnx.export(model, image, "model.onnx") with an image of the size that you need.
"""
EXAMPLES = """
  fewbits import-onnx resnet18.onnx --output resnet18.keras
  fewbits import-onnx detector.onnx --size 96,128 --output detector.keras
"""


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = add_command(commands, "import-onnx", run, "import a network from PyTorch, as ONNX", EXAMPLES, ABOUT)
    command.add_argument("model", type=Path, help="an .onnx file; weights may be in a file beside it")
    command.add_argument(
        "--size",
        type=_size,
        help="height and width of images in pixels, such as 96,128 or 224, if the file leaves them open",
    )
    command.add_argument("--output", type=Path, required=True, help="write the network to this .keras file")


def run(options: argparse.Namespace) -> None:
    """Read the network, compare it and write the file."""
    check_output(options.output, ".keras")
    from fewbits.io.files import write_model
    from fewbits.io.onnx_import import import_onnx

    found = import_onnx(options.model, options.size)
    write_model(found.model, options.output)
    print(f"{options.output} written; {found.model.name}, {found.model.count_params():,} parameters")
    print(f"{found.compared} tensors equal ONNX Runtime's; the largest gap is {found.gap:.1e}, at {found.widest}")


def _size(text: str) -> tuple[int, int]:
    sides = text.split(",")
    if len(sides) not in (1, 2) or not all(side.strip().isdecimal() and int(side) for side in sides):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a height and a width, such as 96,128, or one side, such as 224"
        )
    return int(sides[0]), int(sides[-1])

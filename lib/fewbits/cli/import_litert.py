"""`fewbits import-litert`: the weights of a MobileNet v1 that was published as a LiteRT file."""

import argparse
from pathlib import Path

from fewbits.cli.parser import Commands, add_command, check_output

ABOUT = """
The weights are for transfer learning: `fewbits train --transfer`, and the `start` of trials, which look for the name in
the folder weights of FEWBITS_DATA. The published files have 1001 classes and batch normalization folded into biases.
"""
EXAMPLES = """
  fewbits import-litert mobilenet_v1_0.25_128.tflite --width 0.25 --output mobilenet_imagenet.npz
"""


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = add_command(commands, "import-litert", run, "extract the weights of a LiteRT file", EXAMPLES, ABOUT)
    command.add_argument("weights", type=Path, help="a .tflite file of MobileNet v1 in float")
    command.add_argument("--width", type=float, default=1, help="its width multiplier (default 1)")
    command.add_argument("--output", type=Path, required=True, help="write the weights to this .npz file")


def run(options: argparse.Namespace) -> None:
    """Read the weights and write them to the .npz file."""
    check_output(options.output, ".npz")
    from fewbits import zoo
    from fewbits.io import tflite
    from fewbits.io.weights import save_weights

    model = zoo.build("mobilenet_v1", (128, 128, 3), 1001, width=options.width, normalize=False)
    tflite.load_tflite_weights(model, options.weights)
    save_weights(model, options.output)
    print(f"{options.output} written; {model.count_params():,} parameters")

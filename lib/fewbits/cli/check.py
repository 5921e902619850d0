"""`fewbits check`: what of a network can be quantized, folded, pruned and exported."""

import argparse
from pathlib import Path

from fewbits.cli.parser import Commands, add_command

ABOUT = """
Look at a network before work on it begins: each layer with what becomes of it, and each form for devices with the first
reason against it and what to do. Nested models are opened. The exit status is 1 if a layer cannot be quantized.
"""
EXAMPLES = """
  fewbits check mine.keras
"""


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = add_command(
        commands, "check", run, "see what of a network can be quantized and exported", EXAMPLES, ABOUT
    )
    command.add_argument("model", type=Path, help="a .keras file")


def run(options: argparse.Namespace) -> int:
    """Print both tables; return 1 if a layer is refused."""
    from fewbits.deploy.support import export_support, layer_support
    from fewbits.io.files import read_model
    from fewbits.quantization.canonical_form import canonical
    from fewbits.quantization.conversion import refusals

    model = read_model(options.model)
    found = layer_support(model)
    widths = [max(len(str(row[column])) for row in found) for column in range(2)]
    for name, kind, quantization, pruning in found:
        print(f"{name:{widths[0]}}  {kind:{widths[1]}}  {quantization}{f'; {pruning}' if pruning else ''}")
    print()
    for form, reason in export_support(model).items():
        print(f"{form}: {f'no, {reason}' if reason else 'yes'}")
    return int(bool(refusals(canonical(model))))

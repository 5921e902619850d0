"""The `fewbits` command: a module for each command, with `add`, which declares its options, and `run`."""

import argparse
import sys
from types import ModuleType

import fewbits
from fewbits.cli import (
    audit,
    benchmark,
    check,
    datasets,
    evaluate,
    export,
    formats,
    import_caffe,
    import_litert,
    import_onnx,
    output_extraction,
    progressive_quantization,
    prune,
    quantize,
    report,
    results,
    schemes,
    search,
    sweep,
    train,
)
from fewbits.cli.parser import Parser
from fewbits.errors import InputError

# What a user types -> the module that does it, in the order of the help.
COMMANDS: dict[str, ModuleType] = {
    "check": check,
    "report": report,
    "quantize": quantize,
    "data": datasets,
    "train": train,
    "evaluate": evaluate,
    "formats": formats,
    "output-extraction": output_extraction,
    "progressive-quantization": progressive_quantization,
    "prune": prune,
    "export": export,
    "audit": audit,
    "benchmark": benchmark,
    "sweep": sweep,
    "results": results,
    "schemes": schemes,
    "search": search,
    "import-caffe": import_caffe,
    "import-litert": import_litert,
    "import-onnx": import_onnx,
}
EXIT_INPUT = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows `fewbits`; by default those of this process.

    Returns:
        The exit status: 0; 1 if a command did only a part of its work; 2 after a mistake of the user, which is
        explained in one sentence on standard error; 130 after Ctrl-C.
    """
    try:
        options = command_parser().parse_args(arguments)
        return options.run(options) or 0
    except (InputError, OSError) as error:
        print(f"fewbits: error: {error}", file=sys.stderr)
        return EXIT_INPUT
    except KeyboardInterrupt as stop:
        print(f"\nfewbits: stopped; {stop.args[0] if stop.args else 'nothing was written'}", file=sys.stderr)
        return EXIT_INTERRUPTED


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; `run` of what it parses is the function of the command."""
    parser = Parser(
        prog="fewbits",
        description="Make convolutional networks small. `fewbits COMMAND --help` explains each command.",
    )
    parser.add_argument("--version", action="version", version=f"fewbits {fewbits.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS.values():
        command.add(commands)
    return parser

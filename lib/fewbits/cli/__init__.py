"""The `fewbits` command: one module a command, each with `add`, which declares its options, and `run`."""

import argparse
import sys

import fewbits
from fewbits.cli import (
    benchmark,
    datasets,
    evaluate,
    export,
    formats,
    import_caffe,
    import_litert,
    output_extraction,
    progressive_quantization,
    prune,
    quantize,
    schemes,
    sweep,
    train,
)
from fewbits.errors import InputError

COMMANDS = (
    quantize,
    datasets,
    train,
    evaluate,
    formats,
    output_extraction,
    progressive_quantization,
    prune,
    export,
    benchmark,
    sweep,
    schemes,
    import_caffe,
    import_litert,
)
EXIT_INPUT = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells say it


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0, 1 where a command did a part of its work only, 2 after a mistake of the user's,
    told in one sentence, 130 after Ctrl-C."""
    try:
        options = _parser().parse_args(arguments)
        return options.run(options) or 0
    except (InputError, OSError) as error:
        print(f"fewbits: error: {error}", file=sys.stderr)
        return EXIT_INPUT
    except KeyboardInterrupt as stop:
        print(f"\nfewbits: stopped; {stop.args[0] if stop.args else 'nothing was written'}", file=sys.stderr)
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fewbits",
        description="Make convolutional networks small. `fewbits COMMAND --help` explains each command.",
    )
    parser.add_argument("--version", action="version", version=f"fewbits {fewbits.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser

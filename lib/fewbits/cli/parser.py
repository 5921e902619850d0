"""What the parsers of all commands have in common."""

import argparse
from pathlib import Path

from fewbits.errors import InputError


def add_command(commands, name, run, what, examples, about=""):
    """Return a new parser for the command `name`; what: in a few words; examples: shown below its options."""
    description = f"{what[0].upper()}{what[1:]}." + (f"\n\n{about.strip()}" if about else "")
    command = commands.add_parser(
        name,
        help=what,
        description=description,
        epilog=f"examples:\n{examples.strip(chr(10))}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def check_output(path: Path, *suffixes: str) -> None:
    """Refuse a `path` that could not be written, before the work is done; suffixes: what its name may end in."""
    if path.suffix not in suffixes:
        article = "an" if suffixes[0] == ".h5" else "a"
        raise InputError(f"the output must be {article} {' or '.join(suffixes)} file, not {path}")
    if not path.parent.is_dir() or path.is_dir():
        raise InputError(f"{path} cannot be written; it is a folder, or there is no folder {path.parent}")


def percentiles(text):
    """Return what `--percentile` names: one, or three for kernel, input and output."""
    what = "numbers, such as 99.9 or 95,99,99.9"
    return _one_or_three(text, lambda part: part if part in ("mse", "kl") else float(part), what)


def bits(text):
    """Return how many bits an option names: one number, or three for kernel, input and output; None for `-`."""
    return _one_or_three(text, lambda part: None if part == "-" else int(part), "bits, such as 8 or 8,6,-")


def _one_or_three(text, kind, what):
    try:
        values = tuple(kind(part.strip()) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not one or three {what}") from None
    if len(values) not in (1, 3):
        raise argparse.ArgumentTypeError(f"{text!r} is not one or three {what}")
    return values[0] if len(values) == 1 else values


def add_checkpoint(command) -> None:
    """Add where a command keeps a training, and whether it goes on from there."""
    command.add_argument(
        "--checkpoint", type=Path, help="keep the training here (default: OUTPUT.checkpoint, removed at the end)"
    )
    command.add_argument("--resume", action="store_true", help="go on from the checkpoint, if there is one")

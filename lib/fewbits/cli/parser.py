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

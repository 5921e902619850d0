"""What the parsers of all commands share."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from fewbits.errors import InputError
from fewbits.names import LAYER_ROUNDINGS, RANGE_RULES

MOST_BITS = 32  # of a code, as in `quantization.fixedpoint`, which is not imported to parse a command

Commands = Any  # what `argparse.ArgumentParser.add_subparsers` returns; its type has no public name


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises a mistake in the command line as an InputError, in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raise InputError with argparse's `message` and the command that lists the options."""
        raise InputError(f"{message}; see `{self.prog} --help`")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; what a command does not know is a mistake of that command's line, and its help has the options.

        Args:
            args: As in argparse.
            namespace: As in argparse.

        Raises:
            InputError: when an argument is unknown.
        """
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int | None],
    summary: str,
    examples: str,
    about: str = "",
) -> argparse.ArgumentParser:
    """Add a command.

    Args:
        commands: The commands to add it to.
        name: What the user types.
        run: Called with the parsed options; returns the exit status, None for 0.
        summary: What the command does, as an imperative in a few words without a period.
        examples: Shown below the options.
        about: Shown below the summary.

    Returns:
        The parser of the command, for its options.
    """
    description = f"{summary[0].upper()}{summary[1:]}." + (f"\n\n{about.strip()}" if about else "")
    command = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"examples:\n{examples.strip(chr(10))}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def check_output(path: Path, *suffixes: str) -> None:
    """Refuse a file that cannot be written before the work is done.

    Args:
        path: The file to write.
        suffixes: What its name may end in.

    Raises:
        InputError: when the name ends otherwise, `path` is a folder, or its folder does not exist.
    """
    if path.suffix not in suffixes:
        article = "an" if suffixes[0] == ".h5" else "a"
        raise InputError(f"the output must be {article} {' or '.join(suffixes)} file, not {path}")
    if not path.parent.is_dir() or path.is_dir():
        raise InputError(f"{path} cannot be written; it is a folder, or there is no folder {path.parent}")


def percentiles(text: str) -> float | str | tuple[float | str, ...]:
    """Return what `--percentile` names: one range rule, or three for kernel, input and output.

    Raises:
        argparse.ArgumentTypeError: when it is neither a number nor one of RANGE_RULES, once or three times.
    """
    what = "numbers, such as 99.9 or 95,99,99.9"
    return _one_or_three(text, lambda part: part if part in RANGE_RULES else float(part), what)


def bits(text: str) -> int | None | tuple[int | None, ...]:
    """Return what `--bits` names: one number, or three for kernel, input and output; None for `-`, float.

    Raises:
        argparse.ArgumentTypeError: when it is something else, or a number is not from 1 to MOST_BITS.
    """
    what = f"numbers of bits from 1 to {MOST_BITS}, such as 8 or 8,6,-"
    return _one_or_three(text, lambda part: None if part == "-" else bit_count(part), what)


def bit_count(text: str) -> int:
    """Return a number of bits.

    Raises:
        argparse.ArgumentTypeError: when it is not an integer from 1 to MOST_BITS.
    """
    if not text.isdecimal() or not 1 <= int(text) <= MOST_BITS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bits from 1 to {MOST_BITS}")
    return int(text)


def _one_or_three(text: str, kind: Callable[[str], Any], what: str) -> Any:
    try:
        values = tuple(kind(part.strip()) for part in text.split(","))
    except (ValueError, argparse.ArgumentTypeError):
        values = ()
    if len(values) not in (1, 3):
        raise argparse.ArgumentTypeError(f"{text!r} is not one or three {what}")
    return values[0] if len(values) == 1 else values


def add_calibration(command: argparse._ActionsContainer) -> None:
    """Add the options for how formats are chosen that calibration has wherever it is asked for.

    Args:
        command: A parser, or a group of its options.
    """
    command.add_argument(
        "--percentile",
        type=percentiles,
        default=99.9,
        metavar="P|K,I,O",
        help="percentage of the values that the range holds, one for all or one each for kernel, input and output "
        "(default %(default)s); mse: least squared error; kl: least divergence",
    )
    command.add_argument("--generic", action="store_true", help="share the largest MSB of each kind among all layers")
    command.add_argument("--signed", action="store_true", help="give a sign to all formats, as in 2017")
    command.add_argument("--rounding", choices=LAYER_ROUNDINGS, default="nearest", help="default %(default)s")

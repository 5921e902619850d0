"""The `fewbits` command."""

import argparse
import sys
from pathlib import Path

import fewbits
from fewbits.errors import InputError

EXIT_INPUT = 2


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0, or 2 after a mistake of the user's, told in one sentence."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (InputError, OSError) as error:
        print(f"fewbits: error: {error}", file=sys.stderr)
        return EXIT_INPUT
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fewbits",
        description="Make convolutional networks small. `fewbits COMMAND --help` explains each command.",
    )
    parser.add_argument("--version", action="version", version=f"fewbits {fewbits.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    quantize = _command(
        commands,
        _quantize,
        "quantize",
        "round an array to a fixed-point format and say what was lost",
        "fewbits quantize kernel.npy --msb 0 --nbits 8 --rounding nearest --output quantized.npy",
    )
    quantize.add_argument("array", type=Path, help="a .npy file of real numbers")
    quantize.add_argument("--msb", type=int, required=True, help="the amplitude is 2**MSB")
    quantize.add_argument("--nbits", type=int, required=True, help="bits of a code, 1 to 32")
    quantize.add_argument(
        "--rounding", default="nearest", help="floor, nearest (default), nearest-up, nearest-away, ..."
    )
    quantize.add_argument("--output", type=Path, help="write the quantized array to this .npy file")

    data = _command(
        commands,
        _data,
        "data",
        "check a data set and describe it",
        "fewbits data digits",
    )
    data.add_argument("name", help="digits, mnist, cifar10 or cifar100; FEWBITS_DATA names a folder to read from")
    return parser


def _command(commands, run, name, what, example):
    command = commands.add_parser(name, help=what, description=f"{what.capitalize()}.", epilog=f"Example: {example}")
    command.set_defaults(run=run)
    return command


def _quantize(options) -> None:
    import numpy as np

    from fewbits import FixedPoint, quantize
    from fewbits.files import read_array, write_aside
    from fewbits.fixedpoint import finite
    from fewbits.sqnr import measure

    fmt = FixedPoint(options.msb, options.nbits)
    x = finite(read_array(options.array), str(options.array))
    error = measure(x, fmt, options.rounding)
    if options.output:
        with write_aside(options.output) as file:
            np.save(file, quantize(x, fmt, options.rounding, seed=0))
    print(f"{fmt}: {fmt.min_code * fmt.step:g} to {fmt.max_code * fmt.step:g} in steps of {fmt.step:g}")
    print(f"{x.size:,} values: {error.clipped:.2%} clipped, {error.underflowed:.2%} underflowed")
    print(f"error: mean {error.bias / fmt.step:+.3f} steps, RMS {error.rms:.4g}, SQNR {error.sqnr:.1f} dB")
    if options.output:
        print(f"{options.output} written")


def _data(options) -> None:
    dataset = fewbits.data.load(options.name)
    height, width, channels = dataset.image_shape
    print(f"{dataset.name}: {len(dataset.classes)} classes, images {height} x {width} x {channels}")
    for part in ("train", "validation", "test"):
        print(f"  {part:<11}{len(getattr(dataset, part)):>7,} images")
    print(f"  sha256 {dataset.checksum}")


if __name__ == "__main__":
    sys.exit(main())

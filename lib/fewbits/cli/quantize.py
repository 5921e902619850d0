"""`fewbits quantize`: an array in fixed point."""

import argparse
from pathlib import Path

from fewbits.cli.parser import Commands, add_command, bit_count
from fewbits.errors import finite
from fewbits.names import ROUNDINGS


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = add_command(
        commands,
        "quantize",
        run,
        "quantize an array and report the error",
        "  fewbits quantize kernel.npy --msb 0 --bits 8 --rounding nearest --output quantized.npy\n"
        "  fewbits quantize activations.npy --msb 2 --bits 4 --unsigned",
    )
    command.add_argument("array", type=Path, help="a .npy file of real numbers")
    command.add_argument(
        "--msb", type=int, required=True, help="values reach from -2**MSB to 2**MSB; unsigned, from 0 to 2**(MSB + 1)"
    )
    command.add_argument("--bits", type=bit_count, required=True, help="bits of a code, 1 to 32")
    command.add_argument("--unsigned", action="store_true", help="codes begin at 0; values below become 0")
    command.add_argument("--rounding", choices=ROUNDINGS, default="nearest", help="default nearest")
    command.add_argument("--output", type=Path, help="write the quantized array to this .npy file")


def run(options: argparse.Namespace) -> None:
    """Quantize the array, and print how far it is off."""
    import numpy as np

    from fewbits import FixedPoint, quantize
    from fewbits.io.files import read_array, write_aside
    from fewbits.quantization.sqnr import quantization_error

    fmt = FixedPoint(options.msb, options.bits, signed=not options.unsigned)
    x = finite(read_array(options.array), str(options.array))
    error = quantization_error(x, fmt, options.rounding)
    if options.output:
        with write_aside(options.output) as file:
            np.save(file, quantize(x, fmt, options.rounding, seed=0))
    print(f"{fmt}: {fmt.min_value:g} to {fmt.max_value:g} in steps of {fmt.step:g}")
    print(f"{x.size:,} values: {error.clipped:.2%} clipped, {error.underflowed:.2%} underflowed")
    print(f"error: mean {error.bias / fmt.step:+.3f} steps, RMS {error.rms:.4g}, SQNR {error.sqnr:.1f} dB")
    if options.output:
        print(f"{options.output} written")

"""`fewbits quantize`: an array in fixed point."""

from pathlib import Path

from fewbits.cli.parser import add_command


def add(commands) -> None:
    command = add_command(
        commands,
        "quantize",
        run,
        "round an array to a fixed-point format and say what was lost",
        "  fewbits quantize kernel.npy --msb 0 --nbits 8 --rounding nearest --output quantized.npy",
    )
    command.add_argument("array", type=Path, help="a .npy file of real numbers")
    command.add_argument("--msb", type=int, required=True, help="the amplitude is 2**MSB")
    command.add_argument("--nbits", type=int, required=True, help="bits of a code, 1 to 32")
    command.add_argument(
        "--rounding", default="nearest", help="floor, nearest (default), nearest-up, nearest-away, ..."
    )
    command.add_argument("--output", type=Path, help="write the quantized array to this .npy file")


def run(options) -> None:
    import numpy as np

    from fewbits import FixedPoint, quantize
    from fewbits.io.files import read_array, write_aside
    from fewbits.quantization.fixedpoint import finite
    from fewbits.quantization.sqnr import measure

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

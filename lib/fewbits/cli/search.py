"""`fewbits search`: how many bits each kernel and each activation of a network gets, within a budget."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from fewbits.cli.images import add_options, add_sample, read_sample, report_skipped
from fewbits.cli.parser import Commands, add_command, bit_count, check_output
from fewbits.cli.pixel_options import known_codes
from fewbits.errors import InputError

ABOUT = """
A budget is a share of what the network costs with equal bits everywhere, such as 60%-of-8-bit-bytes, or an amount, such
as 500kB. It limits one of

  bytes             the parameters: kernels at their bits, all others at 32
  activation-bytes  the activations of one image, each written once
  bitops            MACs times the bits of both factors
  energy            of the MACs and of reading the parameters once, in pJ

Several budgets hold together. For each tensor alone, the noise that it adds to the logits is measured at each number of
bits, on images without labels; an integer program then finds the bits with the least sum. What a layer writes and what
the next one reads is one tensor. A budget of bytes alone leaves all activations at the most bits.

The front shows the same for smaller and larger shares of the first budget's cost at 8 bits everywhere. Any share is the
name of a point, which can be saved. Preprocessing goes into the kernel that reads it as in `fewbits formats`.
"""
EXAMPLES = """
  fewbits search digits.keras --data digits --budget 60%-of-8-bit-bytes --output mixed.keras
  fewbits search digits.keras --data digits --budget 20kB --budget 50%-of-8-bit-activation-bytes --output mixed.keras
  fewbits search digits.keras --data digits --budget 50%-of-8-bit-bitops --save 40% small.keras --json front.json
"""
CHOSEN = "chosen"  # the name of the point that the budgets ask for
OF_BITS = 8  # of the network that the points are shares of


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = add_command(commands, "search", run, "choose bits per kernel and activation in a budget", EXAMPLES, ABOUT)
    command.add_argument("model", type=Path, help="a .keras file")
    add_options(command)
    add_sample(command)
    command.add_argument(
        "--budget", action="append", required=True, metavar="SHARE|AMOUNT", help="what the network may cost; repeatable"
    )
    command.add_argument(
        "--bits",
        type=_widths,
        default=(2, 3, 4, 5, 6, 8),
        metavar="N,N,...",
        help="numbers of bits to choose from (default 2,3,4,5,6,8)",
    )
    command.add_argument(
        "--activations",
        type=bit_count,
        metavar="N",
        help="give all activations these bits",
    )
    command.add_argument(
        "--ends", type=bit_count, metavar="N", help="give the inputs and the logits of the network these bits"
    )
    command.add_argument("--fold", action="store_true", help="fold each batch normalization into the layer before it")
    command.add_argument("--output", type=Path, help="write the network with the chosen bits to this .keras file")
    command.add_argument(
        "--save",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "FILE"),
        help="write the network of a point of the front, such as 45%%, to a .keras file; repeatable",
    )
    command.add_argument("--json", type=Path, help="write all points, with the bits of each tensor, to this .json file")


def run(options: argparse.Namespace) -> None:
    """Search, print the chosen bits and the front, and write what was asked for."""
    saved = {name: Path(file) for name, file in options.save}
    for path in (*saved.values(), *([options.output] if options.output else [])):
        check_output(path, ".keras")
    if options.json:
        check_output(options.json, ".json")
    import numpy as np

    from fewbits import search
    from fewbits.io.files import read_model, write_aside, write_model
    from fewbits.quantization.conversion import dequantize_model, quantize_model
    from fewbits.quantization.preprocessing import scales_alike
    from fewbits.training.batches import check_images

    budgets = [search.read_budget(text) for text in options.budget]
    points = {name: search.Budget(budgets[0].cost, _share(name), OF_BITS) for name in saved}
    widths = {*options.bits, *(bits for bits in (options.activations, options.ends) if bits)}
    model = dequantize_model(read_model(options.model))
    network = quantize_model(
        model,
        fold_batch_normalization=options.fold,
        fold_preprocessing=options.fold or scales_alike(model),
        rounding="nearest",
    )
    choices = _choices(search.stored_tensors(network), options)
    search.check_budgets(network, [*budgets, *points.values()], choices)
    sample = read_sample(options, "train", network)
    check_images(network, sample.part.image_shape, f"the images of {options.data}")
    images = np.concatenate([images for images, *_ in sample.batches(32)])
    print(f"{network.name}, on {sample.part.what}", flush=True)
    noise = search.measure_logit_noise(network, images, widths, progress=_progress())
    front = search.mixed_front(noise, budgets[0].cost, of_bits=OF_BITS, within=budgets[1:], choices=choices)
    found = {point.name: point for point in front}
    for name, budget in ({CHOSEN: budgets[0]} | points).items():
        found[name] = search.mixed_point(noise, name, search.allocate_bits(noise, [budget, *budgets[1:]], choices))
    _print_bits(noise, found[CHOSEN])
    _print_points(noise, sorted(found.values(), key=lambda point: -point.costs[budgets[0].cost]))
    report_skipped([sample.part])
    if options.json:
        with write_aside(options.json) as file:
            file.write(json.dumps({name: point._asdict() for name, point in found.items()}, indent=1).encode())
        print(f"{options.json} written")
    for name, path in (saved | ({CHOSEN: options.output} if options.output else {})).items():
        quantized = noise.quantized(found[name].bits)
        quantized.pixels = known_codes(sample.part)
        write_model(quantized, path)
        print(f"{path} written: {name}")


def _share(name: str) -> float:
    """Return the share that a point of the front is called by."""
    number = name.removesuffix("%")
    if number == name or not number.replace(".", "", 1).isdecimal():
        raise InputError(f"--save: {name!r} is no point of the front; name a share of {OF_BITS} bits, such as 45%")
    return float(number) / 100


def _choices(tensors: Any, options: argparse.Namespace) -> dict[str, tuple[int, ...]]:
    """Return the bits that each tensor may have."""
    choices = dict.fromkeys((tensor.name for tensor in tensors), options.bits)
    for tensor in tensors:
        if tensor.kind == "activation" and options.activations:
            choices[tensor.name] = (options.activations,)
        if tensor.is_end and options.ends:
            choices[tensor.name] = (options.ends,)
    return choices


def _print_bits(noise: Any, point: Any) -> None:
    width = max(len(tensor.name) for tensor in noise.tensors)
    print(f"{'tensor':<{width}}{'bits':>6}{'values':>13}{'noise alone':>15}")
    for tensor in noise.tensors:
        bits = point.bits[tensor.name]
        alone = noise.sqnr_alone(tensor.name, bits)
        print(f"{tensor.name:<{width}}{bits:>6}{tensor.values:>13,}{alone:>12.1f} dB")


def _print_points(noise: Any, points: list[Any]) -> None:
    """Print what the points cost, and how well the sum of the noises foretells that of the logits."""
    from fewbits.search import COSTS

    print(f"\n{'point':<8}" + "".join(f"{name:>20}" for name in COSTS) + f"{'predicted':>14}{'measured':>13}")
    for point in points:
        costs = "".join(f"{point.costs[name]:>20,.0f}" for name in COSTS)
        print(f"{point.name:<8}{costs}{point.predicted_sqnr:>11.1f} dB{noise.measured_sqnr(point.bits):>10.1f} dB")
    print(f"{'':<8}" + "".join(f"{unit:>20}" for unit in COSTS.values()) + f"{'SQNR of the logits':>27}")


def _progress() -> Any:
    """Return what shows how far the measurement is: a bar on a terminal, else nothing."""
    from tqdm import tqdm

    bar = tqdm(file=sys.stderr, unit="tensor", disable=None)

    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return show


def _widths(text: str) -> tuple[int, ...]:
    return tuple(sorted({bit_count(part.strip()) for part in text.split(",")}))

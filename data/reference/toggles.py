"""How often gates switch: python data/reference/toggles.py writes toggles.json, in some minutes.

Yosys (its program `yosys` must be installed) makes AND, OR, XOR, NOT and MUX of the parts of gates.py that a MAC and an
output code need, for codes of 4 to 16 bits. They run on the codes of a layer of the SqueezeNet for digits, and on
codes drawn uniformly, and we count the nets that change from one operation to the next. This is a relative measure of
energy: every net counts the same, and changes at most once per operation, because gates have no delay here. The lengths
of wires, registers, memories and the clock are left out. Sums start at 0, without a bias.

    weights held      a weight meets the pixels of all places, then the next weight does: the order of the engine
    weights changing  all products of one window follow each other
"""

import json
import time
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import gates
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fewbits import data, to_codes, zoo
from fewbits.deploy.hardware import ENGINE_ROUNDINGS, SYNTHESES, logic_module, run_yosys
from fewbits.deploy.operations import divide_rounded
from fewbits.experiment import provenance
from fewbits.io.files import write_rows
from fewbits.quantization import formats_for, observe

ANSWERS = Path(__file__).with_name("toggles.json")
NETWORK, LAYER, FILTERS, IMAGES = "squeezenet_digits", "fire3_expand3x3", 4, 4
DIGITS = data.load("digits")


class Netlist(NamedTuple):
    """Gates and the nets between them; a net has a number, or is the constant "0" or "1".

    Attributes:
        inputs: The nets of each input, the lowest bit first.
        output: The nets of the output.
        gates: Net -> kind of the gate that drives it and the nets that it reads, in an order in which they can be run.
    """

    inputs: list[list[int | str]]
    output: list[int | str]
    gates: dict[int | str, tuple[str, list[int | str]]]


@cache
def netlist(bits: int, **name: str) -> Netlist:
    """Return the gates that Yosys makes of the part of gates.py for codes of `bits` bits that is called `name`."""
    part = gates.part_for(bits, **name)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "part.il").write_text(logic_module(part.make, part.shapes, held=False))
        run_yosys(folder, f"read_rtlil part.il; {SYNTHESES['gates']}; write_json part.json")
        top = json.loads((folder / "part.json").read_text())["modules"]["top"]
    driven = {}
    for cell in top["cells"].values():
        *reads, out = (net for _, [net] in sorted(cell["connections"].items()))  # A, B, S and the output Y
        driven[out] = cell["type"].strip("$_"), reads
    order = TopologicalSorter({net: reads for net, (_, reads) in driven.items()}).static_order()
    ports = {name: port["bits"] for name, port in top["ports"].items()}
    inputs = [ports[f"in{i}"] for i in range(len(part.shapes))]
    return Netlist(inputs, ports["out"], {net: driven[net] for net in order if net in driven})


def run(parts: Netlist, *codes: np.ndarray) -> tuple[int, np.ndarray]:
    """Run gates on codes, one after another.

    All moments of a net are the bits of one integer, so that an operation on integers runs a gate at all moments.

    Args:
        parts: The gates.
        codes: Codes (integers) of each input, all of one length.

    Returns:
        How many nets changed from one moment to the next, in total, and the output's bits as non-negative integers.
    """
    moments = len(codes[0])
    ones = (1 << moments) - 1
    nets: dict[int | str, int] = {"0": 0, "1": ones}
    for bits, values in zip(parts.inputs, codes, strict=True):
        for place, net in enumerate(bits):
            nets[net] = int.from_bytes(np.packbits(values >> place & 1, bitorder="little").tobytes(), "little")
    for net, (kind, reads) in parts.gates.items():
        a, b, s = [nets[each] for each in reads] + [0] * (3 - len(reads))
        match kind:
            case "NOT":
                nets[net] = a ^ ones
            case "AND":
                nets[net] = a & b
            case "OR":
                nets[net] = a | b
            case "XOR":
                nets[net] = a ^ b
            case "MUX":
                nets[net] = a & ~s | b & s
            case _:
                raise NotImplementedError(f"a gate of the kind {kind}")
    changed = sum(((value ^ value >> 1) & ones >> 1).bit_count() for value in nets.values())
    output = np.zeros(moments, np.int64)
    for place, net in enumerate(parts.output):
        packed = np.frombuffer(nets[net].to_bytes(-(-moments // 8), "little"), np.uint8)
        output |= np.unpackbits(packed, count=moments, bitorder="little").astype(np.int64) << place
    return changed, output


def codes_of_layer(bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return unsigned pixels (products of a window, places) and signed weights (filters, products) of the layer."""
    model = zoo.build(NETWORK, DIGITS.image_shape, 10, weights=NETWORK)
    images = DIGITS.arrays("train", 64)[0]
    formats = formats_for(model, images, nbits=(bits,) * 3)[LAYER]
    values = dict(observe(model, images[:IMAGES]))[LAYER]
    kernel = to_codes(values.kernel[..., :FILTERS], formats.kernel, "nearest")
    pixels = np.pad(to_codes(values.input, formats.input, "nearest"), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = sliding_window_view(pixels, kernel.shape[:2], (1, 2))  # image, row, column, plane, window
    taps = np.moveaxis(kernel, (2, 3), (1, 0)).reshape(FILTERS, -1)
    assert not formats.input.signed
    return windows.reshape(-1, taps.shape[1]).T.astype(np.int64), taps.astype(np.int64)


def drawn_codes(bits: int, like: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels and weights of the same shapes, drawn uniformly from all codes."""
    rng = np.random.default_rng(bits)
    pixels, weights = like
    half = 2 ** (bits - 1)
    return rng.integers(0, 2 * half, pixels.shape), rng.integers(-half, half, weights.shape)


def of_macs(bits: int, pixels: np.ndarray, weights: np.ndarray) -> Iterator[dict[str, Any]]:
    """Yield the toggles per MAC of the multiplier and of the adder, in both orders."""
    products = weights[:, :, None] * pixels  # filter, product, place
    totals = products.cumsum(axis=1)
    x, w = (np.broadcast_to(array, products.shape) for array in (pixels, weights[:, :, None]))
    multiply = netlist(bits, unit="multiply", pixels="unsigned")
    accumulate = netlist(bits, unit="accumulate", overflow="saturate")
    for order, axes in {"weights held": (0, 1, 2), "weights changing": (0, 2, 1)}.items():
        product, total, pixel, weight = (each.transpose(axes).ravel() for each in (products, totals, x, w))
        changed = {
            "multiply": checked(multiply, product, pixel, weight),
            "accumulate": checked(accumulate, total, total - product, product),
        }
        for unit, n in changed.items():
            yield {"unit": unit, "order": order, "toggles": round(n / products.size, 3)}


def of_roundings(bits: int, pixels: np.ndarray, weights: np.ndarray) -> Iterator[dict[str, Any]]:
    """Yield the toggles per output code of each rounding, after a shift by `bits` bits."""
    sums = (weights @ pixels).ravel()
    for rounding in ENGINE_ROUNDINGS:
        rounder = netlist(bits, unit="round", rounding=rounding, shift="layer", codes="unsigned")
        codes = np.clip(divide_rounded(sums, 2**bits, rounding), 0, 2**bits - 1)
        changed = checked(rounder, codes, sums, np.zeros_like(sums))
        yield {"unit": "round", "rounding": rounding, "toggles": round(changed / sums.size, 3)}


def checked(parts: Netlist, expected: np.ndarray, *codes: np.ndarray) -> int:
    """Return the changes that `run` counts; the output must be the lower bits of what is expected."""
    changed, output = run(parts, *codes)
    assert np.array_equal(output, expected & ((1 << len(parts.output)) - 1))
    return changed


def main() -> None:
    """Count all toggles, and write them."""
    began, rows, shares = time.monotonic(), [], {}
    for bits in gates.BITS:
        of_layer = codes_of_layer(bits)
        shares[bits] = round(float(np.mean(of_layer[0] == 0)), 3)
        for name, codes in (("layer", of_layer), ("drawn", drawn_codes(bits, of_layer))):
            found = [*of_macs(bits, *codes), *of_roundings(bits, *codes)]
            rows += [{"bits": bits, "codes": name} | row for row in found]
        print(f"{bits} bits", flush=True)
    run = provenance.describe(DIGITS.checksum, None, time.monotonic() - began) | gates.versions()
    (products, places), (filters, _) = (array.shape for array in of_layer)
    about = {"network": NETWORK, "layer": LAYER, "filters": filters, "products": products, "places": places}
    head = {"run": run, "of": about | {"images": IMAGES, "zeros": shares}}
    write_rows(ANSWERS, head, rows)


if __name__ == "__main__":
    main()

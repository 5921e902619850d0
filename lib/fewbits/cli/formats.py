"""`fewbits formats`: the number formats that a network needs."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from fewbits.cli.images import add_options, add_sample, read_sample, report_skipped
from fewbits.cli.parser import Commands, add_calibration, add_command, bits, check_output
from fewbits.cli.pixel_options import known_codes
from fewbits.errors import check_name
from fewbits.names import KINDS, RANGE_RULES

ABOUT = """
Each MSB holds the given percentile of a layer's values on training images. Inputs and outputs that are never negative
get unsigned formats (u), and outputs before a ReLU do, unless --signed is given. The clipped share and the SQNR are
measured for each kind of value alone, with the rest of the network in float.

The scale of a Rescaling goes into the kernel that reads it, so that integers can begin with the pixels; with --fold
those of a Normalization, one per channel, do too. --save-model keeps which pixels --data has: how many levels, and what
is subtracted and divided.
"""
EXAMPLES = """
  fewbits formats digits.keras --data digits --bits 8,6,6 --percentile 98
  fewbits formats digits.keras --data digits --bits=-,8,8 --output formats.json --save-model quantized.keras
"""
COLUMNS = KINDS[:3]  # kernel, input and output
UNSIGNED = "unsigned"  # the third element of such a format in a .json file


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = add_command(commands, "formats", run, "choose the MSBs of a network's layers", EXAMPLES, ABOUT)
    command.add_argument("model", type=Path, help="a .keras file")
    add_options(command)
    add_sample(command)
    add_calibration(command)
    command.add_argument(
        "--bits",
        type=bits,
        default=8,
        metavar="N|K,I,O",
        help="one number for all or one each for kernel, input and output; - is float, as in --bits=-,8,8 (default 8)",
    )
    command.add_argument(
        "--per-channel",
        nargs="?",
        const="",
        metavar="LAYER,...",
        help="give each filter of the kernels of these layers, or of all, an MSB of its own",
    )
    command.add_argument("--fold", action="store_true", help="fold each batch normalization into the layer before it")
    command.add_argument("--output", type=Path, help="write the formats to this .json file")
    command.add_argument("--save-model", type=Path, help="write the quantized network to this .keras file")


def run(options: argparse.Namespace) -> None:
    """Calibrate the network, print its formats and write what was asked for."""
    if options.output:
        check_output(options.output, ".json")
    if options.save_model:
        check_output(options.save_model, ".keras")
    import numpy as np

    from fewbits.io.files import read_model, write_aside, write_model
    from fewbits.quantization.calibration import formats_from_msbs, quantization_errors
    from fewbits.quantization.layer_summary import three_of
    from fewbits.quantization.layers import Formats
    from fewbits.quantization.range_rules import percentile_limits
    from fewbits.training.batches import check_images

    formats_from_msbs({"": (0, 0, 0)}, options.bits)  # refuses wrong bits before the images are read
    for percentile in options.percentile if isinstance(options.percentile, tuple) else [options.percentile]:
        if percentile not in RANGE_RULES:
            percentile_limits(np.zeros(1), percentile)
    model = read_model(options.model)
    network = _quantizable(model, options)
    sample = read_sample(options, "train", network)
    check_images(network, sample.part.image_shape, f"the images of {options.data}")
    images = np.concatenate([images for images, *_ in sample.batches(32)])
    print(f"{network.name}, on {sample.part.what}", flush=True)
    if network is not model:
        _print_preprocessing(model, network, images)
    shown = _chosen(network, images, options)
    kept = three_of(options.bits, "--bits")
    formats = {n: Formats(*(bits and fmt for fmt, bits in zip(three, kept))) for n, three in shown.items()}
    network.set_formats(formats)
    _print_table(shown, quantization_errors(network, images, formats, options.rounding))
    report_skipped([sample.part])
    if options.output:
        with write_aside(options.output) as file:
            file.write(_as_json(formats).encode())
        print(f"{options.output} written")
    if options.save_model:
        network.pixels = known_codes(sample.part)
        write_model(network, options.save_model)
        print(f"{options.save_model} written")


def _quantizable(model: Any, options: argparse.Namespace) -> Any:
    """Return `model` as a QuantizedModel with all levels on; a QuantizedModel keeps its other settings."""
    from fewbits.quantization.canonical_form import canonical
    from fewbits.quantization.conversion import QuantizedModel, quantize_model
    from fewbits.quantization.preprocessing import scales_alike

    if options.fold or not isinstance(model, QuantizedModel):
        fold = options.fold or scales_alike(canonical(model))
        return quantize_model(
            model, fold_batch_normalization=options.fold, fold_preprocessing=fold, rounding=options.rounding
        )
    model.set_rounding(options.rounding)
    model.set_level(model.levels)
    return model


def _print_preprocessing(model: Any, network: Any, images: Any) -> None:
    """Say which preprocessing of `model` is in the kernels of `network`, and how far outputs in float moved by that."""
    import numpy as np

    from fewbits.backend import keras
    from fewbits.quantization.canonical_form import canonical
    from fewbits.quantization.preprocessing import foldable_preprocessing

    left = {layer.name for layer in network.layers if getattr(layer, "scale", 1) != 1}
    folded = [one for one in foldable_preprocessing(canonical(model)) if not left & {call.name for call in one.calls}]
    for one in folded:
        names, rest = " and ".join(call.name for call in one.calls), ""
        if np.any(one.offset):
            rest = (
                "; the offset is in its bias" if one.in_bias else "; the offset stays before it, as it pads with zeros"
            )
        print(f"{names}: the scale is in the kernel of {one.layer}, which takes the pixels{rest}")
    if folded:
        before, after = (keras.tree.flatten(each.predict(images, verbose=0)) for each in (model, network))
        gap, largest = max(np.abs(a - b).max() for a, b in zip(before, after)), max(np.abs(a).max() for a in before)
        print(f"so outputs in float are off by at most {gap:.2g}, of {largest:.3g}")


def _chosen(network: Any, images: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Return formats of all kinds: of many bits where values stay in float, for what their MSB would be."""
    from fewbits.cli.progress import CountBar
    from fewbits.quantization.calibration import formats_for
    from fewbits.quantization.fixedpoint import MAX_NBITS_KERAS
    from fewbits.quantization.layer_summary import three_of

    widths = tuple(bits or MAX_NBITS_KERAS for bits in three_of(options.bits, "--bits"))

    def formats(per_channel: bool) -> dict[str, Any]:
        bar = CountBar(sys.stderr, len(images), "images")
        rule = options.percentile, not options.generic, options.rounding
        signs = {"per_channel": per_channel, "signed": options.signed}
        found = formats_for(network, images, widths, *rule, **signs, progress=bar)
        bar.bar.close()
        return found

    if options.per_channel is None:
        return formats(per_channel=False)
    plain, own = formats(per_channel=False), formats(per_channel=True)
    return plain | {name: own[name] for name in _layers(options.per_channel, network)}


def _layers(names: str, network: Any) -> list[str]:
    """Return the layers with a kernel that `names` lists, or all."""
    known = [layer.name for layer in network.quantized_layers]
    chosen = names.split(",") if names else known
    for name in chosen:
        check_name("layer", name, known)
    return chosen


def _print_table(formats: dict[str, Any], errors: dict[str, Any]) -> None:
    width = max(len(name) for name in ("layer", *formats))
    print(f"{'layer':<{width}}" + "".join(f"{kind:>9} MSB{'clipped':>9}{'SQNR':>10}" for kind in COLUMNS))
    for name, three in formats.items():
        cells = [_cell(fmt, error) for fmt, error in zip(three, errors[name])]
        print(f"{name:<{width}}" + "".join(cells).rstrip())
    activations = [fmt for three in formats.values() for fmt in (three.input, three.output)]
    if not all(fmt.signed for fmt in activations):
        print("u: unsigned, from 0 to 2**(MSB + 1)")


def _cell(fmt: Any, error: Any) -> str:
    if fmt is None:
        return f"{'-':>13}{'':>19}"
    each = fmt if isinstance(fmt, tuple) else (fmt,)
    msbs = [one.msb for one in each]
    text = f"{msbs[0]}" if len(msbs) == 1 else f"{min(msbs)} to {max(msbs)}"
    text += "" if each[0].signed else "u"
    return f"{text:>13}{_cost(error)}"


def _cost(error: Any) -> str:
    return f"{'float':>9}{'':>10}" if error is None else f"{error.clipped:>9.2%}{error.sqnr:>7.1f} dB"


def _as_json(formats: dict[str, Any]) -> str:
    plain = {name: {k: _plain(fmt) for k, fmt in zip(COLUMNS, three)} for name, three in formats.items()}
    layers = (f"  {json.dumps(name)}: {json.dumps(three)}" for name, three in plain.items())
    return "{\n" + ",\n".join(layers) + "\n}\n"


def _plain(fmt: Any) -> Any:
    """Return [msb, bits] of a format, [[msbs of the filters], bits] of one per filter, and None of float.

    What is unsigned has a third element that says so.
    """
    if isinstance(fmt, tuple):
        return [[each.msb for each in fmt], fmt[0].nbits]
    return fmt and [fmt.msb, fmt.nbits, *([] if fmt.signed else [UNSIGNED])]

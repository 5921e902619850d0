"""`fewbits formats`: the number formats that a network needs."""

import json
from pathlib import Path

from fewbits.cli.images import add_options, add_sample, read_sample, tell_skipped
from fewbits.cli.parser import add_command, bits, check_output, percentiles
from fewbits.errors import check_name
from fewbits.names import LAYER_ROUNDINGS, RANGE_RULES

ABOUT = """
The MSBs are those that hold the given percentile of a layer's values on training images; the clipped share and the
SQNR are those of each kind of value alone, in a network that is float otherwise.
"""
EXAMPLES = """
  fewbits formats digits.keras --data digits --nbits 8,6,6 --percentile 98
  fewbits formats digits.keras --data digits --nbits=-,8,8 --output formats.json --save-model quantized.keras
"""
KINDS = ("kernel", "input", "output")


def add(commands) -> None:
    command = add_command(commands, "formats", run, "choose the MSBs of a network's layers", EXAMPLES, ABOUT)
    command.add_argument("model", type=Path, help="a .keras file")
    add_options(command)
    add_sample(command)
    command.add_argument(
        "--percentile",
        type=percentiles,
        default=99.9,
        metavar="P|K,I,O",
        help="share of the values to hold, of all or of kernel, input and output (default 99.9); mse: what errs least; "
        "kl: what diverges least",
    )
    command.add_argument(
        "--nbits",
        type=bits,
        default=8,
        metavar="N|K,I,O",
        help="bits of all, or of kernel, input and output; - leaves one in float, as in --nbits=-,8,8 (default 8)",
    )
    command.add_argument("--generic", action="store_true", help="one MSB a kind for all layers: the largest")
    command.add_argument("--fold", action="store_true", help="fold each batch normalization into the layer before it")
    command.add_argument("--rounding", default="nearest", help="floor, nearest (default), nearest-up, ...")
    command.add_argument("--output", type=Path, help="write the formats to this .json file")
    command.add_argument("--save-model", type=Path, help="write the quantized network to this .keras file")


def run(options) -> None:
    if options.output:
        check_output(options.output, ".json")
    if options.save_model:
        check_output(options.save_model, ".keras")
    import numpy as np

    from fewbits.io.files import read_model, write_aside, write_model
    from fewbits.quantization.calibration import (
        formats_from_msbs,
        msb_table,
        percentile_limits,
        quantization_errors,
    )
    from fewbits.training.loop import check_images

    check_name("rounding", options.rounding, LAYER_ROUNDINGS)
    formats_from_msbs({"": (0, 0, 0)}, options.nbits)  # refuse what is wrong before the images are read
    for percentile in options.percentile if isinstance(options.percentile, tuple) else [options.percentile]:
        if percentile not in RANGE_RULES:
            percentile_limits([0], percentile)
    network = _quantizable(read_model(options.model), options)
    sample = read_sample(options, "train")
    check_images(network, sample.part.image_shape, f"the images of {options.data}")
    images = np.concatenate([images for images, *_ in sample.batches(32)])
    print(f"{network.name}, on {sample.part.what}", flush=True)
    msbs = msb_table(network, images, options.percentile, options.nbits, options.rounding)
    formats = formats_from_msbs(msbs, options.nbits, per_layer=not options.generic)
    network.set_formats(formats)
    shown = formats_from_msbs(msbs, 8, per_layer=not options.generic)  # with an MSB also where nothing is quantized
    _print_table(shown, quantization_errors(network, images, formats, options.rounding))
    tell_skipped([sample.part])
    if options.output:
        with write_aside(options.output) as file:
            file.write(_as_json(formats).encode())
        print(f"{options.output} written")
    if options.save_model:
        write_model(network, options.save_model)
        print(f"{options.save_model} written")


def _quantizable(model, options):
    """Return the QuantizedModel of `model`, all levels on; one that is one already keeps what is not asked for."""
    from fewbits.quantization.conversion import QuantizedModel, quantize_model

    if options.fold or not isinstance(model, QuantizedModel):
        return quantize_model(model, fold_batch_normalization=options.fold, rounding=options.rounding)
    model.set_rounding(options.rounding)
    model.set_level(model.levels)
    return model


def _print_table(formats, errors):
    width = max(len(name) for name in ("layer", *formats))
    print(f"{'layer':<{width}}" + "".join(f"{kind:>9} MSB{'clipped':>9}{'SQNR':>10}" for kind in KINDS))
    for name, three in formats.items():
        cells = [f"{fmt.msb:>13}{_cost(error)}" for fmt, error in zip(three, errors[name])]
        print(f"{name:<{width}}" + "".join(cells).rstrip())


def _cost(error):
    return f"{'float':>9}{'':>10}" if error is None else f"{error.clipped:>9.2%}{error.sqnr:>7.1f} dB"


def _as_json(formats):
    plain = {name: {k: fmt and [fmt.msb, fmt.nbits] for k, fmt in zip(KINDS, three)} for name, three in formats.items()}
    layers = (f"  {json.dumps(name)}: {json.dumps(three)}" for name, three in plain.items())
    return "{\n" + ",\n".join(layers) + "\n}\n"

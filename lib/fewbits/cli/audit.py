"""`fewbits audit`: how a runtime rounds, layer by layer, what that costs, and what to do."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewbits.cli.formats import UNSIGNED
from fewbits.cli.images import Part, add_options, add_sample, read_parts, read_sample, report_skipped
from fewbits.cli.parser import Commands, add_command, check_output
from fewbits.cli.pixel_options import add_pixels, told_pixels
from fewbits.errors import InputError
from fewbits.names import LITERT_KERNELS, PARTS

if TYPE_CHECKING:
    from fewbits.audit import LayerFinding, Recording, Trace
    from fewbits.quantization.conversion import QuantizedModel

ABOUT = """
Compare what each layer of a runtime computed with the exact quotients of its own inputs, kernel and scales, so that
errors of the layers before it do not count. The runtime is one of

  .tflite         an integer file, run in LiteRT with each of --kernels
  .onnx           an integer file (QLinearConv, QLinearMatMul, QGemm), run in ONNX Runtime
  .keras          a quantized network, run as our C
  .h5 or .npz     codes or values that another runtime wrote: arrays layers/NAME (images, height, width, channels), and
                  if they are known scales/NAME, zero_points/NAME, inputs/NAME, input_scales/NAME,
                  input_zero_points/NAME, kernels/NAME, kernel_scales/NAME, kernel_zero_points/NAME, biases/NAME;
                  integers are codes, floats are values. `fewbits output-extraction` writes such files. Steps that are
                  missing come from --formats

For each layer: the rounding of the kernel and of the output, and the share of the codes that it explains; bias and
variance of the output's rounding, in steps (-0.5 and 0.083 for floor, 0 and 0.083 for nearest); the slope of the error
over the sum of the inputs in the window, in steps of the kernel (-0.5 for a kernel that is rounded down, 0 for one that
is rounded to nearest); and how many dB of the layer's signal to error this costs against nearest. The exit status is 1
if the rounding of a layer cannot be named.
"""
EXAMPLES = """
  fewbits audit digits.keras digits.tflite --data digits
  fewbits audit digits.keras quantized.keras --data digits
  fewbits audit digits.keras device.npz --formats formats.json --data digits --json audit.json
"""
MOST_NAMED = 4  # layers that a line of advice names
FILES = (".h5", ".hdf5", ".npz")
HEADS = ("layer", "kernel", "output", "explained", "decisive", "bias", "variance", "slope", "cost")


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = add_command(commands, "audit", run, "name the rounding of a runtime, layer by layer", EXAMPLES, ABOUT)
    command.add_argument("model", type=Path, help="the float network, a .keras file")
    command.add_argument("runtime", type=Path, help="what to audit: .tflite, .onnx, .keras, .h5 or .npz")
    command.add_argument(
        "--formats", type=Path, help="for .h5 and .npz: the formats, a quantized .keras or a .json file"
    )
    add_options(command)
    add_sample(command)
    command.add_argument(
        "--part", choices=PARTS, default="train", help="part of the data, if it has parts (default train)"
    )
    command.add_argument(
        "--kernels",
        type=_kernels,
        metavar="A,B",
        help=f"for .tflite: some of {', '.join(LITERT_KERNELS)} (default: xnnpack,reference)",
    )
    add_pixels(command, ".keras files")
    command.add_argument("--json", type=Path, help="write all findings to this .json file")


def run(options: argparse.Namespace) -> int:
    """Audit the runtime and print a table; return 1 if the rounding of a layer is not explained."""
    _check(options)
    from fewbits.audit import examine_layer, folded, read_recording
    from fewbits.io.files import read_model
    from fewbits.training.batches import check_images

    model = read_model(options.model)
    recording = read_recording(options.runtime) if options.runtime.suffix in FILES else None
    part, images = _images(options, model, recording)
    check_images(model, part.image_shape, f"the images of {options.data}")
    reference = folded(model)
    print(f"{model.name} against {options.runtime}, on {part.what}", flush=True)
    found = {}
    for runtime, traces in _runs(options, model, reference, recording, part, images):
        findings = [examine_layer(trace) for trace in traces]
        print(f"\n{runtime}")
        _print_table(findings)
        _print_advice(findings)
        _print_left_out(recording, reference, findings)
        found[runtime] = findings
    report_skipped([part])
    if options.json:
        _write_json(options.json, model.name, part.what, found)
    return int(not all(finding.explained for findings in found.values() for finding in findings))


def _check(options: argparse.Namespace) -> None:
    suffix = options.runtime.suffix
    if suffix not in (".tflite", ".onnx", ".keras", *FILES):
        raise InputError(f"{options.runtime} is no .tflite, .onnx, .keras, .h5 or .npz file")
    for name, fits, where in (
        ("formats", suffix in FILES, ".h5 and .npz files"),
        ("kernels", suffix == ".tflite", ".tflite files"),
        ("levels", suffix == ".keras", ".keras files"),
        ("mean", suffix == ".keras", ".keras files"),
        ("divisor", suffix == ".keras", ".keras files"),
    ):
        if getattr(options, name) is not None and not fits:
            raise InputError(f"--{name} is for {where}")
    if options.json:
        check_output(options.json, ".json")


def _runs(
    options: argparse.Namespace,
    model: Any,
    reference: "QuantizedModel",
    recording: "Recording | None",
    part: Part,
    images: Any,
) -> "Iterator[tuple[str, list[Trace]]]":
    """Yield the name of each runtime and what its layers read and computed."""
    from fewbits import audit
    from fewbits.io.files import read_model
    from fewbits.quantization.conversion import QuantizedModel

    path = options.runtime
    if recording is not None:
        network = _with_formats(options.formats, reference) if options.formats else reference
        yield f"{path}", audit.recorded_traces(recording, network, reference, images)
    elif path.suffix == ".tflite":
        for kernels in options.kernels or ("xnnpack", "reference"):
            yield f"LiteRT, {kernels} kernels", audit.litert_traces(path, model, images, kernels)
    elif path.suffix == ".onnx":
        yield "ONNX Runtime", audit.onnx_traces(path, model, images)
    else:
        network = read_model(path)
        if not isinstance(network, QuantizedModel):
            raise InputError(f"{path} is not quantized; `fewbits formats --save-model` writes a network that is")
        codes = told_pixels(options, network, part)
        yield (
            "integers, as C",
            audit.integer_traces(network, reference, images, codes.levels, codes.mean, codes.divisor),
        )


def _with_formats(path: Path, reference: "QuantizedModel") -> "QuantizedModel":
    """Return the network of a quantized .keras file, or `reference` with the formats of a .json file."""
    from fewbits.io.files import read_model
    from fewbits.quantization.conversion import QuantizedModel

    if path.suffix != ".json":
        network = read_model(path)
        if not isinstance(network, QuantizedModel):
            raise InputError(f"{path} is not quantized; `fewbits formats --save-model` writes a network that is")
        return network
    try:
        table = json.loads(path.read_text())
        formats = {
            name: [_format(three[kind]) for kind in ("kernel", "input", "output")] for name, three in table.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} holds no formats; `fewbits formats --output` writes them") from None
    reference.set_formats(formats)
    return reference


def _format(pair: Any) -> Any:
    """Return the format of [msb, bits], [msb, bits, "unsigned"] or [[msbs of the filters], bits]; None for float."""
    from fewbits.quantization.fixedpoint import FixedPoint

    if pair is None:
        return None
    msb, nbits, *sign = pair
    if sign not in ([], [UNSIGNED]):
        raise ValueError(sign)
    return [FixedPoint(m, nbits) for m in msb] if isinstance(msb, list) else FixedPoint(msb, nbits, signed=not sign)


def _images(options: argparse.Namespace, model: Any, recording: "Recording | None") -> tuple[Part, Any]:
    """Return the images that the runtime took, or some drawn at random."""
    import numpy as np

    if recording is None or recording.images is None:
        sample = read_sample(options, options.part, model)
        return sample.part, np.concatenate([images for images, *_ in sample.batches(32)])
    [part] = read_parts(options, options.part, model=model)
    names: Any = recording.images
    if not isinstance(part.data, tuple):
        places = {str(name): place for place, name in enumerate(part.data.files)}
        names = [places.get(str(name), -1) for name in names]
    total = len(part.data[0] if isinstance(part.data, tuple) else part.data)
    if not all(isinstance(name, int) and 0 <= name < total for name in names):
        raise InputError(f"{recording.name} names images that {part.what} are not among; give its --data and --part")
    part = part._replace(what=f"{len(names):,} of {part.what}")
    if isinstance(part.data, tuple):
        return part, np.asarray(part.data[0])[names]
    data = part.data.pick(np.asarray(names))
    return part._replace(data=data), np.concatenate([images for images, _ in data.batches(32)])


def _print_table(findings: "list[LayerFinding]") -> None:
    rows = [HEADS, *(_row(finding) for finding in findings)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    for row in rows:
        cells = [
            f"{cell:<{width}}" if i < 3 else f"{cell:>{width}}" for i, (cell, width) in enumerate(zip(row, widths))
        ]
        print("  ".join(cells).rstrip())


def _row(finding: "LayerFinding") -> tuple[str, ...]:
    naming = finding.naming
    slope = finding.slope.written("+.2f") if finding.slope else "-"
    if finding.slope and finding.slope_unit != "kernel steps":
        slope += " *"
    return (
        finding.layer,
        finding.kernel or "-",
        f"{finding.rounding} (by means)" if finding.from_means else finding.rounding,
        f"{naming.explained:.2%}" if naming.judged else "-",
        f"{naming.decisive:,}",
        f"{finding.bias:+.3f}",
        f"{finding.variance:.3f}",
        slope,
        "-" if finding.cost is None else f"{finding.cost:.1f} dB",
    )


def _print_advice(findings: "list[LayerFinding]") -> None:
    from fewbits.audit import advice_for, common_ways, in_words

    common = common_ways(findings)
    if common:
        print(f"all layers: outputs rounded by {in_words(common)}")
    elif any(finding.naming.ways for finding in findings):
        print("the layers do not all round in the same way")
    said: dict[str, list[str]] = {}
    for finding in findings:
        notes = [finding.note] if finding.note else []
        if finding.truncates:
            notes.append("the error grows with the sum of the inputs in the window: the kernel is truncated")
        for text in (*notes, *advice_for(finding)):
            said.setdefault(text, []).append(finding.layer)
    for text, layers in said.items():
        more = len(layers) - MOST_NAMED
        names = ", ".join(layers[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        print(f"{'all layers' if len(layers) == len(findings) > 1 else names}: {text}")
    if any(finding.slope and finding.slope_unit != "kernel steps" for finding in findings):
        print("* in steps of the output, because no step of the kernel is known")


def _print_left_out(recording: "Recording | None", reference: "QuantizedModel", findings: "list[LayerFinding]") -> None:
    """Say which layers were not examined: of those recorded, or of those in a file that was run."""
    layers = [layer.name for layer in reference.quantized_layers]
    if recording:
        layers = [name for name in layers if name in recording.arrays["layers"]]
        why = "the values come after an activation that is no ReLU"
    else:
        why = "the runtime has no integer layer with its kernel, of the kinds that are known"
    left_out = [name for name in layers if name not in {finding.layer for finding in findings}]
    if left_out:
        print(f"{', '.join(left_out)}: not examined, because {why}")


def _write_json(path: Path, network: str, data: str, found: "dict[str, list[LayerFinding]]") -> None:
    from fewbits.audit import findings_as_json
    from fewbits.io.files import write_aside

    content = {"network": network, "data": data, "runtimes": {name: findings_as_json(x) for name, x in found.items()}}
    with write_aside(path) as file:
        file.write(f"{json.dumps(content, indent=1)}\n".encode())
    print(f"{path} written")


def _kernels(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in LITERT_KERNELS:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(LITERT_KERNELS)}")
    return names

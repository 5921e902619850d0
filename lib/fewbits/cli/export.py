"""`fewbits export`: a network as a file for another runtime, and how far its outputs are from Keras."""

from argparse import Namespace
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewbits.cli.images import Sample, add_options, add_sample, read_sample, report_skipped
from fewbits.cli.parser import Commands, add_command, check_output
from fewbits.errors import InputError
from fewbits.names import HLS4ML_BACKENDS, PARTS, PRECISIONS

if TYPE_CHECKING:
    from fewbits.backend import keras
    from fewbits.costs.latency import Runner
    from fewbits.deploy import IntegerNetwork, ONNXRunner
    from fewbits.io.tflite import LiteRTRunner

ABOUT = """
A quantized network keeps its formats. The file that is written runs beside Keras on images of --data, or on noise
without it, and the command reports how far apart the outputs are; for integers, how many codes differ. Core ML runs on
macOS only, so there the weights and shapes in the file are checked instead. If a network cannot be exported, nothing is
left behind.

  hdf5     .h5 or .npz: weights, codes and formats; .h5 with --data also holds the activations of each layer
  onnx     .onnx: the simulation with its quantizers; with --integers, the integer network
  litert   .tflite: --precision float32, float16 or int8; an int8 file of a quantized network has the network's codes
  coreml   .mlpackage: the simulation
  c        a folder: the integer network as C99
  hls4ml   a folder: the simulation in C++ for an FPGA, with the types of hls4ml; g++ compiles it here to compare codes
  verilog  a folder: a convolution engine and the layers it computes; Verilator runs it here to compare codes
"""
EXAMPLES = """
  fewbits export digits.keras --to onnx --output digits.onnx
  fewbits export quantized.keras --to litert --precision int8 --data digits --output digits.tflite
  fewbits export quantized.keras --to c --levels 16 --output digits
  fewbits export quantized.keras --to hls4ml --fpga xc7z020clg400-1 --clock 10 --output fpga
  fewbits export quantized.keras --to verilog --words 2 --levels 32 --data digits --output engine
"""
SUFFIXES = {
    "hdf5": (".h5", ".hdf5", ".npz"),
    "onnx": (".onnx",),
    "litert": (".tflite",),
    "coreml": (),
    "c": (),
    "hls4ml": (),
    "verilog": (),
}
INTEGERS = "--to c, --to hls4ml, --to verilog and --integers"
NOISE = 8  # images of noise if there is no --data


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = add_command(commands, "export", run, "write a network for another runtime", EXAMPLES, ABOUT)
    command.add_argument("model", type=Path, help="a .keras file")
    command.add_argument("--to", choices=tuple(SUFFIXES), required=True, help="format of the file")
    command.add_argument("--output", type=Path, required=True, help="file or folder to write")
    command.add_argument("--precision", choices=PRECISIONS, help="for litert (default float32)")
    command.add_argument(
        "--integers", action="store_true", help="for onnx: integers only, from bytes to the codes of the outputs"
    )
    command.add_argument(
        "--levels",
        type=int,
        help="for c, hls4ml, verilog and --integers: number of values of a pixel, a power of two (default 256)",
    )
    command.add_argument(
        "--mean", type=int, help="for c, hls4ml, verilog and --integers: subtract this from pixels (default 0)"
    )
    command.add_argument(
        "--divisor",
        type=int,
        help="for c, hls4ml, verilog and --integers: the network takes pixels divided by this, a power of two "
        "(default: the levels; 1 for a network that scales pixels itself, with --scale 1 for --data)",
    )
    command.add_argument("--backend", choices=HLS4ML_BACKENDS, help="for hls4ml: the synthesis tool (default Vitis)")
    command.add_argument("--fpga", help="for hls4ml: the part, such as xc7z020clg400-1 (default that of hls4ml)")
    command.add_argument("--clock", type=float, help="for hls4ml: period of the clock in ns (default 5)")
    command.add_argument(
        "--reuse-factor", type=int, help="for hls4ml: how many products share a multiplier (default 1)"
    )
    command.add_argument(
        "--stream", action="store_true", help="for hls4ml: pixels arrive one after the other, as large networks need"
    )
    command.add_argument(
        "--words", type=int, help="for verilog: words of weights that multiply a window at once (default 1)"
    )
    add_options(command, required=False)
    add_sample(command)
    command.add_argument(
        "--part", choices=PARTS, default="test", help="part of the data, if it has parts (default test)"
    )


def run(options: Namespace) -> None:
    """Export the network, run the file, and print how far its outputs are from Keras.

    Raises:
        InputError: when an option is invalid, the network or the data cannot be read, or the network cannot be
            exported.
    """
    _check(options)
    from fewbits.io.files import read_model
    from fewbits.training.batches import check_images

    model = read_model(options.model)
    sample = None
    if options.data:
        sample = read_sample(options, options.part, model)
        check_images(model, sample.part.image_shape, f"the images of {options.data}")
    _WRITERS[options.to](model, options, sample)
    if sample:
        report_skipped([sample.part])


def _check(options: Namespace) -> None:
    integers, fpga = options.to in ("c", "hls4ml", "verilog") or options.integers, options.to == "hls4ml"
    for name, fits, where in (
        ("precision", options.to == "litert", "--to litert"),
        ("integers", options.to == "onnx", "--to onnx"),
        ("levels", integers, INTEGERS),
        ("mean", integers, INTEGERS),
        ("divisor", integers, INTEGERS),
        ("backend", fpga, "--to hls4ml"),
        ("fpga", fpga, "--to hls4ml"),
        ("clock", fpga, "--to hls4ml"),
        ("reuse_factor", fpga, "--to hls4ml"),
        ("stream", fpga, "--to hls4ml"),
        ("words", options.to == "verilog", "--to verilog"),
    ):
        if getattr(options, name) not in (None, False) and not fits:
            raise InputError(f"--{name.replace('_', '-')} is for {where}")
    if options.to == "coreml":
        from fewbits.deploy.coreml import check_mlpackage_path

        check_mlpackage_path(options.output)
    elif SUFFIXES[options.to]:
        check_output(options.output, *SUFFIXES[options.to])
    if options.output.suffix == ".npz" and options.data:
        raise InputError("activations are written to .h5 files; leave --data out, or choose an .h5 file")
    if realpath(options.output) == realpath(options.model):
        raise InputError("the output would overwrite the network")


def _images(model: "keras.Model", sample: Sample | None) -> "tuple[Any, str]":
    """Return images, a list of them if the network has several inputs, and a description of them."""
    import numpy as np

    from fewbits.graph import takes_integers

    if sample is None:
        random = np.random.default_rng(0)
        images = [random.random((NOISE, *x.shape[1:]), np.float32) for x in model.inputs]
        images = [np.floor(256 * x) if takes_integers(i) else x for x, i in zip(images, model.inputs)]
        return images if len(images) > 1 else images[0], f"{NOISE} images of noise"
    return np.concatenate([images for images, *_ in sample.batches(32)]), sample.part.what


def _write(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    from fewbits.io.files import write_aside

    with write_aside(path) as file:
        file.write(content)


def _written(path: Path) -> str:
    """Return a description of the file or folder that was written."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return f"{path} written; {sum(file.stat().st_size for file in files):,} bytes"


def _report_outputs(
    path: Path, model: "keras.Model", runner: "ONNXRunner | LiteRTRunner", sample: Sample | None
) -> None:
    """Print what was written, and how far its outputs are from Keras."""
    import numpy as np

    from fewbits.backend import keras

    images, what = _images(model, sample)
    every = images if isinstance(images, list) else [images]
    ours = keras.tree.flatten(model.predict(images, verbose=0))
    theirs = [np.stack(x) for x in zip(*(runner.run_all(*of_each) for of_each in zip(*every)))]
    gap, largest = max(np.abs(a - b).max() for a, b in zip(ours, theirs)), max(np.abs(a).max() for a in ours)
    agree = np.mean([np.mean(a.argmax(-1) == b.argmax(-1)) for a, b in zip(ours, theirs)])
    distance = "equal to Keras" if gap == 0 else f"at most {gap:.3g} from Keras, of {largest:.3g}"
    print(f"{_written(path)}; outputs {distance}, on {what}")
    if agree < 1:
        print(f"the same class in {agree:.2%} of them")


def _hdf5(model: "keras.Model", options: Namespace, sample: Sample | None) -> None:
    from fewbits.deploy import write_hdf5_arrays, write_npz_arrays

    if options.output.suffix == ".npz":
        write_npz_arrays(model, options.output)
    else:
        write_hdf5_arrays(model, options.output, (images for images, *_ in sample.batches(32)) if sample else ())
    print(_written(options.output))


def _onnx(model: "keras.Model", options: Namespace, sample: Sample | None) -> None:
    from fewbits.deploy import ONNXRunner, to_integer_onnx, to_onnx

    if options.integers:
        network, pixels, what = _integers(model, options, sample)
        content = to_integer_onnx(network).SerializeToString()
        runner = ONNXRunner(content)
        _write(options.output, content)
        print(f"{_written(options.output)}; from bytes to integer codes")
        _report_codes(model, network, "ONNX Runtime", runner, pixels, what)
    else:
        content = to_onnx(model).SerializeToString()
        runner = ONNXRunner(content)
        _write(options.output, content)
        _report_outputs(options.output, model, runner, sample)


def _litert(model: "keras.Model", options: Namespace, sample: Sample | None) -> None:
    from fewbits.deploy import to_litert
    from fewbits.io.tflite import LiteRTRunner
    from fewbits.quantization.conversion import QuantizedModel

    precision = options.precision or "float32"
    content = to_litert(model, precision, _images(model, sample)[0] if sample else None)
    runner = LiteRTRunner(content)
    _write(options.output, content)
    _report_outputs(options.output, model, runner, sample)
    if precision == "int8" and isinstance(model, QuantizedModel):
        _report_litert_codes(model, *_images(model, sample))


def _report_litert_codes(model: "keras.Model", images: Any, what: str) -> None:
    """Print where the codes of LiteRT differ from those of the network."""
    from fewbits.deploy import compare_litert

    found = {name: agreement for name, agreement in compare_litert(model, images).items() if agreement.different}
    for name, agreement in found.items():
        share, largest = agreement.different / agreement.codes, agreement.largest
        step = "step" if largest == 1 else "steps"
        print(f"{name:<28}{share:>8.2%} of {agreement.codes:>9,} codes differ, by at most {largest:g} {step}")
    if not found:
        print(f"all codes of all layers are equal, on {what}")


def _coreml(model: "keras.Model", options: Namespace, sample: Sample | None) -> None:
    from fewbits.deploy import write_coreml

    write_coreml(model, options.output)
    print(
        f"{_written(options.output)}; read again, its shapes and kernels are those of {model.name}; only macOS can "
        "run it"
    )


def _c(model: "keras.Model", options: Namespace, sample: Sample | None) -> None:
    from fewbits.deploy import CRunner, find_compiler, write_c

    network, pixels, what = _integers(model, options, sample)
    memory = write_c(network, options.output)
    print(
        f"{options.output} written; {memory.weight_bytes:,} bytes of constants, {memory.ram_bytes:,} bytes of memory; "
        f"`make -C {options.output}` compiles it"
    )
    if find_compiler():
        program = CRunner(network)
        print(f"compiled here, code and constants take {len(program.library):,} bytes")
        _report_codes(model, network, "the C", program, pixels, what)
    else:
        print("it was not run: there is no C compiler on this machine")


def _hls4ml(model: "keras.Model", options: Namespace, sample: Sample | None) -> None:
    import shutil

    from fewbits.deploy.hls4ml import COMPILER, HLS4MLRunner, HLS4MLSettings, write_hls4ml

    network, pixels, what = _integers(model, options, sample)
    given = {"backend": options.backend, "part": options.fpga, "clock": options.clock, "reuse": options.reuse_factor}
    settings = HLS4MLSettings(streaming=options.stream, **{k: v for k, v in given.items() if v is not None})
    write_hls4ml(model, network, options.output, settings)
    print(f"{options.output} written; build_prj.tcl in it synthesizes the circuit with {settings.backend}")
    if shutil.which(COMPILER):
        _report_codes(model, network, "the C++ of hls4ml", HLS4MLRunner(network, options.output), pixels, what)
    else:
        print(f"it was not run: there is no {COMPILER} on this machine")


def _verilog(model: "keras.Model", options: Namespace, sample: Sample | None) -> None:
    import shutil

    from fewbits.backend import keras
    from fewbits.deploy.hardware.project import write_verilog
    from fewbits.deploy.hardware.verilated import VERILATOR, EngineRunner

    network, pixels, what = _integers(model, options, sample)
    first = [array[0] for array in keras.tree.flatten(pixels)]
    design = write_verilog(network, first, options.output, 1 if options.words is None else options.words)
    at_once = max(design.weight_widths.values())
    print(f"{_written(options.output)}; a window of {design.window}x{design.window}, {at_once} filters at most at once")
    if shutil.which(VERILATOR):
        few = keras.tree.map_structure(lambda array: array[:NOISE], pixels)
        runner, count = EngineRunner(network, design), len(keras.tree.flatten(few)[0])
        _report_codes(model, network, "the engine", runner, few, f"the first {count} of {what}")
    else:
        print(f"it was not run: there is no {VERILATOR} on this machine")


def _integers(model: "keras.Model", options: Namespace, sample: Sample | None) -> "tuple[IntegerNetwork, Any, str]":
    """Return the integer network of `model`, pixels that it takes, and a description of them."""
    import numpy as np

    from fewbits.backend import keras
    from fewbits.deploy import lower, to_pixels, to_values

    levels, mean = 256 if options.levels is None else options.levels, options.mean or 0
    network = lower(model, levels, mean, options.divisor)
    images, what = _images(model, sample)
    if sample is None:
        step, drawn = to_values(network.image, np.ones(())), np.random.default_rng(0)
        images = keras.tree.map_structure(lambda x: (drawn.integers(0, levels, x.shape) - mean) * step, images)
    return network, to_pixels(network, images), what


def _report_codes(
    model: "keras.Model", network: "IntegerNetwork", name: str, program: "Runner", pixels: Any, what: str
) -> None:
    """Print how many codes differ between integers and simulation, and between integers and `program`."""
    from fewbits.deploy import compare_layers, compare_program

    layers = compare_layers(model, network, pixels)
    codes, off = (sum(getattr(layer, field) for layer in layers.values()) for field in ("codes", "different"))
    outputs = compare_program(network.run(pixels), program, pixels)
    print(
        f"integers and simulation: {off:,} of {codes:,} codes of all layers differ; integers and {name}: "
        f"{outputs.different:,} of {outputs.codes:,} codes of the outputs differ; on {what}"
    )


_WRITERS = {
    "hdf5": _hdf5,
    "onnx": _onnx,
    "litert": _litert,
    "coreml": _coreml,
    "c": _c,
    "hls4ml": _hls4ml,
    "verilog": _verilog,
}

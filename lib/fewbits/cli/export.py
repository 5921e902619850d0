"""`fewbits export`: a network as a file for another runtime, and how far its outputs are from Keras."""

from argparse import Namespace
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fewbits.cli.images import Sample, add_options, add_sample, read_sample, report_skipped
from fewbits.cli.parser import Commands, add_command, check_output
from fewbits.cli.pixel_options import add_pixels, known_pixels, told_pixels
from fewbits.errors import InputError
from fewbits.names import C_KERNELS, C_PACKAGES, HLS4ML_BACKENDS, PARTS, PRECISIONS

if TYPE_CHECKING:
    from fewbits.backend import keras
    from fewbits.costs.latency import Runner
    from fewbits.deploy import Agreement, IntegerNetwork

ABOUT = """
A quantized network keeps its formats. The file that is written runs beside Keras on images of --data, or on noise
without it, and the command reports how far apart the outputs are; for integers, how many codes differ. Core ML runs on
macOS only, so there the weights and shapes in the file are checked instead. If a network cannot be exported, nothing is
left behind. A file that takes floats gets the values of stored pixels, and the command says which values it takes.

An integer network begins with pixels, so their preparation is part of it: how many levels they have, and what is
subtracted and divided. The saved network tells it, or --data does, or --levels, --mean and --divisor; if they disagree
or nothing tells it, nothing is written. With --data the file runs on the pixels as they are stored, and its accuracy
stands beside that of Keras.

  hdf5     .h5 or .npz: weights, codes and formats; .h5 with --data also holds the activations of each layer
  onnx     .onnx: the simulation with its quantizers; with --integers, the integer network
  qonnx    .onnx: the simulation with Quant nodes, for FPGA tools that read QONNX; qonnx runs it here, layer by layer
  litert   .tflite: --precision float32, float16, int8 or int16x8; integers of a quantized network are its codes. With
           --int8-io inputs and outputs are codes, too, as microcontrollers take them; their scales are printed
  coreml   .mlpackage: the simulation
  c        a folder: the integer network as C99, with what builds it; --package arduino: as a library for Arduino
  hls4ml   a folder: the simulation in C++ for an FPGA, with the types of hls4ml; g++ compiles it here to compare codes
  verilog  a folder: a convolution engine and the layers it computes; Verilator runs it here to compare codes
"""
EXAMPLES = """
  fewbits export digits.keras --to onnx --output digits.onnx
  fewbits export quantized.keras --to qonnx --data digits --output digits.onnx
  fewbits export quantized.keras --to litert --precision int8 --data digits --output digits.tflite
  fewbits export quantized.keras --to c --data digits --images 359 --output digits
  fewbits export quantized.keras --to c --package arduino --output digits
  fewbits export quantized.keras --to hls4ml --fpga xc7z020clg400-1 --clock 10 --output fpga
  fewbits export quantized.keras --to verilog --words 2 --data digits --output engine
"""
SUFFIXES = {
    "hdf5": (".h5", ".hdf5", ".npz"),
    "onnx": (".onnx",),
    "qonnx": (".onnx",),
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
        "--int8-io", action="store_true", help="for litert in int8: inputs and outputs are codes, without floats"
    )
    command.add_argument(
        "--integers", action="store_true", help="for onnx: integers only, from bytes to the codes of the outputs"
    )
    add_pixels(command, "c, hls4ml, verilog and --integers")
    command.add_argument(
        "--package",
        choices=C_PACKAGES,
        help="for c: with a Makefile and CMakeLists.txt (default plain), or for Arduino",
    )
    command.add_argument(
        "--kernels",
        choices=C_KERNELS,
        help="for c: our own (default own), or Arm's CMSIS-NN for the layers that it computes exactly, which round "
        "nearest-up between codes of 8 bits; you bring the library, and CMSIS_NN in the environment names its folder",
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
        ("int8_io", options.precision == "int8", "--to litert --precision int8"),
        ("integers", options.to == "onnx", "--to onnx"),
        ("levels", integers, INTEGERS),
        ("mean", integers, INTEGERS),
        ("divisor", integers, INTEGERS),
        ("package", options.to == "c", "--to c"),
        ("kernels", options.to == "c", "--to c"),
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


class _Shown(NamedTuple):
    """Images on which a file is compared with Keras, a list of them if the network has several inputs."""

    images: Any
    labels: Any  # None for noise
    what: str
    given: Any  # what the file gets of them: the values of their pixels as stored, if there are any
    where: str  # what that is


def _shown(model: "keras.Model", options: Namespace, sample: Sample | None) -> _Shown:
    """Return the images of --data with their labels, or noise."""
    import numpy as np

    from fewbits.graph import takes_integers

    codes = known_pixels(options, model, sample.part if sample else None)
    if sample is None:
        random = np.random.default_rng(0)
        shapes = [(NOISE, *x.shape[1:]) for x in model.inputs]
        if codes is None:
            noise = [random.random(shape, np.float32) for shape in shapes]
            noise = [np.floor(256 * x) if takes_integers(i) else x for x, i in zip(noise, model.inputs)]
        else:
            noise = [codes.values(random.integers(0, codes.levels, shape)) for shape in shapes]
        images = noise if len(noise) > 1 else noise[0]
        return _Shown(images, None, f"{NOISE} images of noise", images, "noise")
    batches, labels, *_ = zip(*sample.batches(32))
    images, pixels = np.concatenate(batches), sample.raw()
    given, where = images, "the same images"
    if pixels is not None and codes is not None:
        given, where = codes.values(pixels), "their pixels as stored"
    return _Shown(images, np.concatenate(labels), sample.part.what, given, where)


def _taken(model: "keras.Model", options: Namespace, sample: Sample | None, kind: str = "floats") -> str:
    """Return which values a file takes, and of which kind, if it does not take pixels."""
    codes = known_pixels(options, model, sample.part if sample else None)
    return f"{'images as Keras takes them' if codes is None else _in_order(codes, options)}, as {kind}"


def _in_order(codes: Any, options: Namespace) -> str:
    return f"{codes}{', in the order blue, green, red' if options.order == 'bgr' else ''}"


def _written(path: Path) -> str:
    """Return a description of the file or folder that was written."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return f"{path} written; {sum(file.stat().st_size for file in files):,} bytes"


def _report_outputs(model: "keras.Model", theirs: list[Any], shown: _Shown, headless: bool = False) -> None:
    """Print how far the outputs of a file are from Keras, and its accuracy if there are labels."""
    import numpy as np

    from fewbits.backend import keras
    from fewbits.deploy import before_heads

    ours = keras.tree.flatten((before_heads(model) if headless else model).predict(shown.given, verbose=0))
    gap, largest = max(np.abs(a - b).max() for a, b in zip(ours, theirs)), max(np.abs(a).max() for a in ours)
    agree = np.mean([np.mean(a.argmax(-1) == b.argmax(-1)) for a, b in zip(ours, theirs)])
    distance = "equal to Keras" if gap == 0 else f"at most {gap:.3g} from Keras, of {largest:.3g}"
    print(f"outputs {distance}, on {shown.what}")
    if agree < 1:
        print(f"the same class in {agree:.2%} of them")
    if shown.labels is not None:
        prepared = keras.tree.flatten(model.predict(shown.images, verbose=0))
        _report_accuracy(model, shown.labels, prepared[0], theirs[0], "the file", shown.where, headless)


def _hdf5(model: "keras.Model", options: Namespace, sample: Sample | None) -> None:
    from fewbits.deploy import write_hdf5_arrays, write_npz_arrays

    if options.output.suffix == ".npz":
        write_npz_arrays(model, options.output)
    else:
        write_hdf5_arrays(model, options.output, (images for images, *_ in sample.batches(32)) if sample else ())
    print(_written(options.output))


def _onnx(model: "keras.Model", options: Namespace, sample: Sample | None) -> None:
    from fewbits.deploy import ONNXRunner, run_program, to_integer_onnx, to_onnx
    from fewbits.io.files import write_whole

    if options.integers:
        integers = _integers(model, options, sample)
        content = to_integer_onnx(integers.network).SerializeToString()
        runner = ONNXRunner(content)
        write_whole(options.output, content)
        print(f"{_written(options.output)}; from bytes to integer codes; it takes {integers.taken}")
        _report_codes(model, integers, "ONNX Runtime", runner)
    else:
        shown = _shown(model, options, sample)
        content = to_onnx(model).SerializeToString()
        runner = ONNXRunner(content)
        write_whole(options.output, content)
        print(f"{_written(options.output)}; it takes {_taken(model, options, sample)}")
        _report_outputs(model, run_program(runner, shown.given, len(model.outputs)), shown)


def _qonnx(model: "keras.Model", options: Namespace, sample: Sample | None) -> None:
    from importlib.util import find_spec

    from fewbits.deploy import compare_qonnx, joint_formats, run_qonnx, to_qonnx
    from fewbits.io.files import write_whole

    shown = _shown(model, options, sample)
    write_whole(options.output, to_qonnx(model).SerializeToString())
    print(f"{_written(options.output)}; it takes {_taken(model, options, sample)}, with their channels first")
    for name, fmt in joint_formats(model).items():
        print(f"the filters of {name} share {fmt}, with the finest step of their formats")
    if find_spec("qonnx"):
        _report_outputs(model, run_qonnx(model, shown.given), shown, headless=True)
        _report_layers(compare_qonnx(model, shown.given), f"{shown.what}, in qonnx")
        _report_layers(compare_qonnx(model, shown.given, clean=True), f"{shown.what}, in qonnx after its clean-up")
    else:
        print("it was not run: the package qonnx is not installed here; it is in '.[fpga]'")


def _litert(model: "keras.Model", options: Namespace, sample: Sample | None) -> None:
    from fewbits.deploy import compare_litert, run_program, to_litert
    from fewbits.deploy.litert import INTEGERS
    from fewbits.io.files import write_whole
    from fewbits.io.tflite import LiteRTRunner
    from fewbits.quantization.conversion import QuantizedModel

    precision = options.precision or "float32"
    shown = _shown(model, options, sample)
    content = to_litert(model, precision, shown.images if sample else None, int8_io=options.int8_io)
    codes = precision in INTEGERS and isinstance(model, QuantizedModel)
    own_kernels = codes and {layer.rounding for layer in model.rounding_layers} == {"nearest-away"}
    runner = LiteRTRunner(content, delegate=not own_kernels)
    write_whole(options.output, content)
    taken = _taken(model, options, sample, "int8 codes" if options.int8_io else "floats")
    print(f"{_written(options.output)}; it takes {taken}")
    if own_kernels:
        print("run on LiteRT's own kernels, for which networks that round to nearest-away are made")
    theirs = run_program(runner, shown.given, len(model.outputs))
    _report_outputs(model, theirs, shown, headless=codes and options.int8_io)
    if options.int8_io:
        print("inputs and outputs: " + "; ".join(runner.ends))
    if codes:
        _report_layers(compare_litert(model, shown.given, not own_kernels, precision), shown.what)


def _report_layers(compared: "dict[str, Agreement]", what: str) -> None:
    """Print in which layers codes differ."""
    found = {name: agreement for name, agreement in compared.items() if agreement.different}
    for name, agreement in found.items():
        share, largest = agreement.different / agreement.codes, agreement.largest
        step = "step" if largest == 1 else "steps"
        print(f"{name:<28}{share:>8.2%} of {agreement.codes:>9,} codes differ, by at most {largest:g} {step}")
    if not found:
        print(f"all codes of all layers are equal, on {what}")


def _coreml(model: "keras.Model", options: Namespace, sample: Sample | None) -> None:
    from fewbits.deploy import write_coreml

    taken = _taken(model, options, sample)
    write_coreml(model, options.output)
    print(
        f"{_written(options.output)}; it takes {taken}; read again, its shapes and kernels are those of {model.name}; "
        "only macOS can run it"
    )


def _c(model: "keras.Model", options: Namespace, sample: Sample | None) -> None:
    from fewbits.deploy import CRunner, find_cmsis_nn, find_compiler, footprint, measure_footprint, write_c

    integers = _integers(model, options, sample)
    package, kernels = options.package or "plain", options.kernels or "own"
    memory = write_c(integers.network, options.output, package=package, kernels=kernels)
    then = {"plain": f"`make -C {options.output}` compiles it", "arduino": "the Arduino IDE takes it as a library"}
    print(
        f"{options.output} written; {memory.weight_bytes:,} bytes of constants, {memory.ram_bytes:,} bytes of memory; "
        f"{then[package]}; it takes {integers.taken}"
    )
    size = measure_footprint(options.output) if kernels == "own" else None
    if kernels != "own":
        print("the size of its code on a device is not known: CMSIS-NN comes on top")
    elif size:
        print(f"on a {footprint.CORE}, code and constants take {size.flash_bytes:,} bytes, memory {size.ram_bytes:,}")
    else:
        print(f"the size of its code on a device is not known: there is no {footprint.TOOLS}gcc on this machine")
    if kernels == "cmsis-nn" and not find_cmsis_nn():
        print("it was not run: CMSIS_NN in the environment does not name the folder of CMSIS-NN")
    elif find_compiler():
        _report_codes(model, integers, "the C", CRunner(integers.network, kernels=kernels))
    else:
        print("it was not run: there is no C compiler on this machine")


def _hls4ml(model: "keras.Model", options: Namespace, sample: Sample | None) -> None:
    import shutil

    from fewbits.deploy.hls4ml import COMPILER, HLS4MLRunner, HLS4MLSettings, write_hls4ml

    integers = _integers(model, options, sample)
    given = {"backend": options.backend, "part": options.fpga, "clock": options.clock, "reuse": options.reuse_factor}
    settings = HLS4MLSettings(streaming=options.stream, **{k: v for k, v in given.items() if v is not None})
    write_hls4ml(model, integers.network, options.output, settings)
    print(
        f"{options.output} written; build_prj.tcl in it synthesizes the circuit with {settings.backend}; it takes "
        f"{integers.taken}"
    )
    if shutil.which(COMPILER):
        _report_codes(model, integers, "the C++ of hls4ml", HLS4MLRunner(integers.network, options.output))
    else:
        print(f"it was not run: there is no {COMPILER} on this machine")


def _verilog(model: "keras.Model", options: Namespace, sample: Sample | None) -> None:
    import shutil

    from fewbits.backend import keras
    from fewbits.deploy.hardware.project import write_verilog
    from fewbits.deploy.hardware.verilated import VERILATOR, EngineRunner

    integers = _integers(model, options, sample)
    example = [array[0] for array in keras.tree.flatten(integers.pixels)]
    design = write_verilog(integers.network, example, options.output, 1 if options.words is None else options.words)
    at_once = max(design.weight_widths.values())
    print(
        f"{_written(options.output)}; a window of {design.window}x{design.window}, {at_once} filters at most at once; "
        f"it takes {integers.taken}"
    )
    if shutil.which(VERILATOR):
        few = keras.tree.map_structure(lambda array: array[:NOISE], integers.pixels)
        shown, there = (len(keras.tree.flatten(each)[0]) for each in (few, integers.pixels))
        what = integers.what if shown == there else f"the first {shown} of {integers.what}"
        first = integers._replace(pixels=few, what=what, shown=None)
        _report_codes(model, first, "the engine", EngineRunner(integers.network, design))
    else:
        print(f"it was not run: there is no {VERILATOR} on this machine")


class _Integers(NamedTuple):
    """An integer network, and pixels to run it on, with the images that Keras sees in them if there are any."""

    network: "IntegerNetwork"
    taken: str  # which pixels
    pixels: Any
    what: str
    shown: _Shown | None


def _integers(model: "keras.Model", options: Namespace, sample: Sample | None) -> _Integers:
    """Return the integer network of `model` with stored pixels of --data, or with noise."""
    import numpy as np

    from fewbits.deploy import lower, to_pixels

    codes = told_pixels(options, model, sample.part if sample else None)
    network, taken = lower(model, codes.levels, codes.mean, codes.divisor), _in_order(codes, options)
    if sample is None:
        random, dtype = np.random.default_rng(0), np.uint8 if codes.levels <= 256 else np.int64
        noise = [random.integers(0, codes.levels, (NOISE, *x.shape[1:]), dtype) for x in model.inputs]
        return _Integers(network, taken, noise if len(noise) > 1 else noise[0], f"{NOISE} images of noise", None)
    pixels, shown = sample.raw(), _shown(model, options, sample)
    if pixels is None:  # the data are floats; they are the values of pixels, or refused
        pixels = to_pixels(network, shown.images)
    return _Integers(network, taken, pixels, shown.what, shown)


def _report_codes(model: "keras.Model", integers: _Integers, name: str, program: "Runner") -> None:
    """Print how many codes differ between integers, simulation and `program`, and its accuracy if there are labels."""
    from fewbits.deploy import compare_codes, compare_layers, run_program, to_values

    network, pixels = integers.network, integers.pixels
    layers = compare_layers(model, network, pixels)
    codes, off = (sum(getattr(layer, field) for layer in layers.values()) for field in ("codes", "different"))
    found = network.run(pixels)
    ours = found if isinstance(found, list) else [found]
    theirs = run_program(program, pixels, len(ours))
    outputs = compare_codes(ours, theirs)
    print(
        f"integers and simulation: {off:,} of {codes:,} codes of all layers differ; integers and {name}: "
        f"{outputs.different:,} of {outputs.codes:,} codes of the outputs differ; on {integers.what}"
    )
    if integers.shown:
        values = to_values(network.tensors[network.results[0].tensor], theirs[0].reshape(ours[0].shape))
        prepared = model.predict(integers.shown.images, verbose=0)
        _report_accuracy(model, integers.shown.labels, prepared, values, name, "their pixels as stored", headless=True)


def _report_accuracy(
    model: "keras.Model",
    labels: Any,
    ours: Any,
    theirs: Any,
    name: str,
    where: str,
    headless: bool = False,
) -> None:
    """Print the accuracy of Keras on prepared images, and of what a program made of them or of their pixels.

    A network that is no classifier of these images has none. A program that is `headless` leaves a softmax out.
    """
    import numpy as np

    from fewbits.deploy import before_heads
    from fewbits.training.heads import head_of

    try:
        head = head_of(model)
        head.check_labels(labels, model.name, "the labels")
    except InputError:
        return
    bare = head.before_activation if headless and before_heads(model) is not model else head
    right = [np.mean(of.ranks(outputs, labels) < 1) for of, outputs in ((head, ours), (bare, theirs))]
    print(f"accuracy: {right[0]:.2%} of Keras on the images, {right[1]:.2%} of {name} on {where}")


_WRITERS = {
    "hdf5": _hdf5,
    "onnx": _onnx,
    "qonnx": _qonnx,
    "litert": _litert,
    "coreml": _coreml,
    "c": _c,
    "hls4ml": _hls4ml,
    "verilog": _verilog,
}

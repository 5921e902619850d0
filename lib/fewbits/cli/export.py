"""`fewbits export`: a network as a file for another runtime, and how far that is off."""

from os.path import realpath
from pathlib import Path

from fewbits.cli.images import add_options, add_sample, read_sample, tell_skipped
from fewbits.cli.parser import add_command, check_output
from fewbits.errors import InputError, check_name
from fewbits.names import PARTS, PRECISIONS

ABOUT = """
A quantized network keeps its formats. What is written runs on images of --data, or of noise without it, beside Keras,
and the command says how far the outputs are apart; of integers, in how many codes. Core ML computes on macOS only, so
there the weights and shapes of what was written are checked instead. Nothing is left behind where a network cannot be
exported.

  hdf5     .h5 or .npz: weights, codes and formats; in .h5 with --data also what each layer computes
  onnx     .onnx: the simulation with its quantizers; --integers: the network of integers
  litert   .tflite: --precision float32, float16 or int8, which of a quantized network has its own codes
  coreml   .mlpackage: the simulation
  c        a folder: the network of integers as C99
"""
EXAMPLES = """
  fewbits export digits.keras --to onnx --output digits.onnx
  fewbits export quantized.keras --to litert --precision int8 --data digits --output digits.tflite
  fewbits export quantized.keras --to c --levels 16 --output digits
"""
SUFFIXES = {"hdf5": (".h5", ".hdf5", ".npz"), "onnx": (".onnx",), "litert": (".tflite",), "coreml": (), "c": ()}
NOISE = 8  # images of noise, where the user gives none


def add(commands) -> None:
    command = add_command(commands, "export", run, "write a network for another runtime", EXAMPLES, ABOUT)
    command.add_argument("model", type=Path, help="a .keras file")
    command.add_argument("--to", required=True, help=f"one of {', '.join(SUFFIXES)}")
    command.add_argument("--output", type=Path, required=True, help="write this file or folder")
    command.add_argument("--precision", help="litert: float32 (default), float16, or int8")
    command.add_argument("--integers", action="store_true", help="onnx: of integers alone, from bytes to codes")
    command.add_argument("--levels", type=int, help="c, --integers: values a pixel has, a power of two (default 256)")
    command.add_argument("--mean", type=int, help="c, --integers: the mean that is taken from pixels (default 0)")
    add_options(command, required=False)
    add_sample(command)
    command.add_argument("--part", default="test", help="train, validation or test (default), if the data has parts")


def run(options) -> None:
    _check(options)
    from fewbits.io.files import read_model
    from fewbits.training.batches import check_images

    model = read_model(options.model)
    sample = None
    if options.data:
        sample = read_sample(options, options.part)
        check_images(model, sample.part.image_shape, f"the images of {options.data}")
    _WRITERS[options.to](model, options, sample)
    if sample:
        tell_skipped([sample.part])


def _check(options):

    check_name("format", options.to, tuple(SUFFIXES))
    check_name("part", options.part, PARTS)
    integers = options.to == "c" or options.integers
    for name, fits, where in (
        ("precision", options.to == "litert", "--to litert"),
        ("integers", options.to == "onnx", "--to onnx"),
        ("levels", integers, "--to c and --integers"),
        ("mean", integers, "--to c and --integers"),
    ):
        if getattr(options, name) not in (None, False) and not fits:
            raise InputError(f"--{name} is for {where}")
    if options.to == "litert":
        check_name("precision", options.precision or "float32", PRECISIONS)
    if options.to == "coreml":
        from fewbits.deploy.coreml import check_mlpackage_path

        check_mlpackage_path(options.output)
    elif SUFFIXES[options.to]:
        check_output(options.output, *SUFFIXES[options.to])
    if options.output.suffix == ".npz" and options.data:
        raise InputError("activations are written to .h5 files; leave --data out, or name one")
    if realpath(options.output) == realpath(options.model):
        raise InputError("the output would overwrite the network")


def _images(model, sample):
    """Return images, and what they are."""
    import numpy as np

    if sample is None:
        images = np.random.default_rng(0).random((NOISE, *model.input_shape[1:]), np.float32)
        return images, f"{NOISE} images of noise"
    return np.concatenate([images for images, *_ in sample.batches(32)]), sample.part.what


def _tell(options, model, runner, sample) -> None:
    """Print what was written, and how far its outputs are from Keras'."""
    import numpy as np

    from fewbits.backend import keras

    images, what = _images(model, sample)
    ours = keras.tree.flatten(model.predict(images, verbose=0))[0]
    theirs = np.stack([runner.run(image) for image in images])
    gap, agree = np.abs(ours - theirs).max(), np.mean(ours.argmax(-1) == theirs.argmax(-1))
    off = "equal to Keras" if gap == 0 else f"at most {gap:.3g} from Keras, of {np.abs(ours).max():.3g}"
    print(f"{options.output} written; {_size(options.output):,} bytes; outputs {off}, on {what}")
    if agree < 1:
        print(f"the same class in {agree:.2%} of them")


def _size(path):
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size


def _hdf5(model, options, sample):
    from fewbits.deploy import arrays

    if options.output.suffix == ".npz":
        arrays.write_npz_arrays(model, options.output)
    else:
        arrays.write_hdf5_arrays(model, options.output, (images for images, *_ in sample.batches(32)) if sample else ())
    print(f"{options.output} written; {_size(options.output):,} bytes")


def _onnx(model, options, sample):
    from fewbits.deploy import onnx
    from fewbits.io.files import write_aside

    if options.integers:
        from fewbits.deploy import onnx_integer

        network, pixels, what = _integers(model, options, sample)
        content = onnx_integer.to_integer_onnx(network).SerializeToString()
        runner = onnx.ONNXRunner(content)
        with write_aside(options.output) as file:
            file.write(content)
        print(f"{options.output} written; {_size(options.output):,} bytes; from bytes to integer codes")
        _tell_identity(model, network, "ONNX Runtime", runner, pixels, what)
        return
    content = onnx.to_onnx(model).SerializeToString()
    runner = onnx.ONNXRunner(content)
    with write_aside(options.output) as file:
        file.write(content)
    _tell(options, model, runner, sample)


def _litert(model, options, sample):
    from fewbits.deploy import litert
    from fewbits.io.files import write_aside
    from fewbits.quantization.conversion import QuantizedModel

    precision = options.precision or "float32"
    images = _images(model, sample)[0] if sample else None
    content = litert.to_litert(model, precision, images)
    runner = litert.LiteRTRunner(content)
    with write_aside(options.output) as file:
        file.write(content)
    _tell(options, model, runner, sample)
    if precision == "int8" and isinstance(model, QuantizedModel):
        _tell_codes(model, *_images(model, sample))


def _tell_codes(model, images, what):
    """Print where LiteRT's codes are not ours."""
    from fewbits.deploy.litert import compare_litert

    found = {name: agreement for name, agreement in compare_litert(model, images).items() if agreement.different}
    for name, agreement in found.items():
        share, largest = agreement.different / agreement.codes, agreement.largest
        step = "step" if largest == 1 else "steps"
        print(f"{name:<28}{share:>8.2%} of {agreement.codes:>9,} codes differ, by at most {largest:g} {step}")
    if not found:
        print(f"all codes of all layers are equal, on {what}")


def _coreml(model, options, sample):
    from fewbits.deploy import coreml

    coreml.write_coreml(model, options.output)
    print(
        f"{options.output} written; {_size(options.output):,} bytes; read again, its shapes and kernels are those of "
        f"{model.name}; what it computes can be seen on macOS only"
    )


def _c(model, options, sample):
    from fewbits.deploy.c import write_c
    from fewbits.deploy.compiled import CRunner, find_compiler

    network, pixels, what = _integers(model, options, sample)
    memory = write_c(network, options.output)
    print(
        f"{options.output} written; {memory.weight_bytes:,} bytes of constants, {memory.ram_bytes:,} bytes of memory; "
        f"`make -C {options.output}` compiles it"
    )
    if find_compiler():
        program = CRunner(network)
        print(f"compiled here, code and constants take {len(program.library):,} bytes")
        _tell_identity(model, network, "the C", program, pixels, what)
    else:
        print("it was not run: there is no C compiler on this machine")


def _integers(model, options, sample):
    """Return `model` as integers, integer images that it takes, and what they are."""
    import numpy as np

    from fewbits.deploy.identity import to_pixels
    from fewbits.deploy.lowering import lower

    levels, mean = 256 if options.levels is None else options.levels, options.mean or 0
    network = lower(model, levels, mean)
    images, what = _images(model, sample)
    if sample is None:
        images = (np.floor(images * levels) - mean) / levels
    return network, to_pixels(network, images), what


def _tell_identity(model, network, name, program, pixels, what):
    """Print in how many codes the integers differ from the simulation, and `program` from the integers."""
    from fewbits.deploy.identity import compare_layers, compare_program

    layers = compare_layers(model, network, pixels)
    codes, off = (sum(getattr(layer, field) for layer in layers.values()) for field in ("codes", "different"))
    said = compare_program(network.run(pixels), program, pixels)
    print(
        f"integers and simulation: {off:,} of {codes:,} codes of all layers differ; integers and {name}: "
        f"{said.different:,} of {said.codes:,} of the outputs; on {what}"
    )


_WRITERS = {"hdf5": _hdf5, "onnx": _onnx, "litert": _litert, "coreml": _coreml, "c": _c}

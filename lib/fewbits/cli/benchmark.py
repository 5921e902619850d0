"""`fewbits benchmark`: how long networks take, and how much memory, in each runtime."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from fewbits.cli.parser import add_command
from fewbits.errors import InputError, check_name
from fewbits.names import RUNTIMES

ABOUT = """
One image at a time, on one thread: the median and the quartiles of --rounds runs, all networks in turn in each round,
so that what slows the machine slows all. The ratio is that to the first network in the same runtime. LiteRT runs a
quantized network as integers, ONNX Runtime and Keras as a simulation. Memory is what a process of its own needs at
most to run the file, the runtime included. The runtime c is that of quantized networks alone: their C, compiled by this
machine's compiler; its memory is the network's own, constants and all.
"""
EXAMPLES = """
  fewbits benchmark digits.keras small.keras quantized.keras
  fewbits benchmark digits.keras quantized.keras --runtimes litert --rounds 500
  fewbits benchmark quantized.keras --runtimes litert,c
"""


def add(commands) -> None:
    command = add_command(commands, "benchmark", run, "time networks in each runtime", EXAMPLES, ABOUT)
    command.add_argument(
        "models", type=Path, nargs="+", metavar="model", help=".keras files, the first to compare with"
    )
    command.add_argument(
        "--runtimes",
        type=lambda text: [name.strip() for name in text.split(",")],
        default=RUNTIMES[:-1],
        metavar="A,B,...",
        help=f"of {', '.join(RUNTIMES)} (default: all but c)",
    )
    command.add_argument("--rounds", type=int, default=100, help="runs of each network (default 100)")


def run(options) -> None:

    for name in options.runtimes:
        check_name("runtime", name, RUNTIMES)
    for what, given in (("runtime", options.runtimes), ("network", options.models)):
        if len(set(given)) < len(given):
            raise InputError(f"a {what} is named twice; each can be timed once")
    if options.rounds < 1:
        raise InputError(f"--rounds must be at least 1, not {options.rounds}")
    threads = _one_thread() if "keras" in options.runtimes else 1
    from fewbits.costs.latency import measure_latency
    from fewbits.io.files import read_model

    models = {path: read_model(path) for path in options.models}
    with TemporaryDirectory() as folder:
        running, files = {}, {}
        for i, (path, model) in enumerate(models.items()):
            for runtime in options.runtimes:
                _tell(f"{path} for {runtime}")
                running[runtime, path], files[runtime, path] = _made(runtime, model, path, Path(folder, f"{i}"))
        _tell(f"{options.rounds} rounds of {len(running)}")
        taken = measure_latency(running, options.rounds)
        _tell("memory")
        _print_table(options, taken, running, files, threads)


def _one_thread() -> int:
    """Have TensorFlow compute on one thread; return how many it takes: more where it has computed before."""
    from fewbits import backend  # noqa: F401  it loads TensorFlow quietly

    try:
        import tensorflow as tf
    except ImportError:
        raise InputError("Keras is timed on TensorFlow; `pip install tensorflow`, or leave keras out") from None
    threading = tf.config.threading
    try:
        threading.set_intra_op_parallelism_threads(1)
        threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        pass
    return threading.get_intra_op_parallelism_threads()


def _made(runtime, model, path, stem):
    """Return `model` at work in `runtime`, and the file that it is."""
    from fewbits.costs.latency import KerasRunner
    from fewbits.deploy import litert, onnx
    from fewbits.quantization.conversion import QuantizedModel

    if runtime == "keras":
        return KerasRunner(model), path
    if runtime == "c":
        from fewbits.deploy.compiled import CRunner
        from fewbits.deploy.lowering import lower

        runner, file = CRunner(lower(model)), stem.with_suffix(".so")
        file.write_bytes(runner.library)
        return runner, file
    if runtime == "litert":
        content = litert.to_litert(model, "int8" if isinstance(model, QuantizedModel) else "float32")
        runner, file = litert.LiteRTRunner(content), stem.with_suffix(".tflite")
    else:
        content = onnx.to_onnx(model).SerializeToString()
        runner, file = onnx.ONNXRunner(content), stem.with_suffix(".onnx")
    file.write_bytes(content)
    return runner, file


def _print_table(options, taken, running, files, threads):
    from fewbits.costs.memory import peak_memory

    width = max(len("network"), *(len(path.name) for path in options.models))
    print(
        f"{'runtime':<10}{'network':<{width}}{'ms':>12}{'quartiles':>24}{'ratio':>8}{'file bytes':>14}{'memory MB':>11}"
    )
    for runtime in options.runtimes:
        first = taken[runtime, options.models[0]].median
        for path in options.models:
            time, file = taken[runtime, path], files[runtime, path]
            spread = f"{time.low:.3f} to {time.high:.3f}"
            network = running[runtime, path]
            memory = (sum(network.memory) if runtime == "c" else peak_memory(runtime, file)) / 2**20
            print(
                f"{runtime:<10}{path.name:<{width}}{time.median:>12.3f}{spread:>24}{time.median / first:>8.2f}"
                f"{file.stat().st_size:>14,}{memory:>11.1f}",
                flush=True,
            )
    print("one image, one thread" if threads == 1 else "one image, one thread; Keras on as many as it likes")


def _tell(what) -> None:
    if sys.stderr.isatty():
        print(f"\r{what} ...".ljust(79), end="\r", file=sys.stderr, flush=True)

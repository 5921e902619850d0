"""`fewbits benchmark`: how long networks take, and how much memory, in each runtime or on microcontrollers."""

import os
import sys
from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from fewbits.cli.parser import Commands, add_command
from fewbits.errors import InputError, check_name
from fewbits.names import DEVICES, RUNTIMES

if TYPE_CHECKING:
    import numpy as np

    from fewbits.backend import keras
    from fewbits.costs.latency import Latency, Runner
    from fewbits.deploy import IntegerNetwork

ABOUT = """
One image at a time, on one thread: the median and the quartiles of --rounds runs. Each round runs all networks in turn,
so whatever slows the machine slows all of them. The ratio is relative to the first network in the same runtime. LiteRT
runs a quantized network as integers; ONNX Runtime and Keras run it as a simulation. Memory is the peak of a process of
its own that runs the file, runtime included. The runtime c is for quantized networks only: their C, compiled by the
compiler of this machine; its bytes are those of the constants, and its memory is that of the network alone, constants
included.

With --device, the C of quantized networks runs on emulated microcontrollers: bytes of flash and RAM, the deepest stack,
and the instructions of one image, which are counted and not timed. The emulator knows no cycles. This needs a cross
compiler and QEMU; the command says which, if they are missing.
"""
EXAMPLES = """
  fewbits benchmark digits.keras small.keras quantized.keras
  fewbits benchmark digits.keras quantized.keras --runtimes litert --rounds 500
  fewbits benchmark quantized.keras --runtimes litert,c
  fewbits benchmark quantized.keras --device cortex-m4
"""
IMAGES = 4  # that run on a device


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    command = add_command(commands, "benchmark", run, "time networks in each runtime", EXAMPLES, ABOUT)
    command.add_argument(
        "models", type=Path, nargs="+", metavar="model", help=".keras files; ratios are relative to the first"
    )
    where = command.add_mutually_exclusive_group()
    where.add_argument(
        "--runtimes",
        type=_names,
        default=RUNTIMES[:-1],
        metavar="A,B,...",
        help=f"one or more of {', '.join(RUNTIMES)} (default: all but c)",
    )
    where.add_argument(
        "--device",
        type=_names,
        metavar="A,B,...",
        help=f"run on emulated microcontrollers, one or more of {', '.join(DEVICES)}",
    )
    command.add_argument("--rounds", type=int, default=100, help="runs of each network (default 100)")


def _names(text: str) -> list[str]:
    """Return the names that an option lists."""
    return [name.strip() for name in text.split(",")]


def run(options: Namespace) -> None:
    """Time the networks, or run them on devices, and print a table.

    Raises:
        InputError: when an option is invalid, a file cannot be read, or a network fails in a runtime or on a device.
    """
    for name in options.runtimes:
        check_name("runtime", name, RUNTIMES)
    devices = options.device or []
    for name in devices:
        check_name("device", name, DEVICES)
    for what, given in (("runtime", options.runtimes), ("device", devices), ("network", options.models)):
        if len(set(given)) < len(given):
            raise InputError(f"a {what} is named twice; name each once")
    if options.rounds < 1:
        raise InputError(f"--rounds must be at least 1, not {options.rounds}")
    if devices:
        _run_on(devices, options.models)
        return
    threads = _one_thread() if "keras" in options.runtimes else 1
    from fewbits.costs.latency import measure_latency
    from fewbits.io.files import read_model

    models = {path: read_model(path) for path in options.models}
    with TemporaryDirectory() as folder:
        runners: dict[tuple[str, Path], Runner] = {}
        files: dict[tuple[str, Path], Path] = {}
        for i, (path, model) in enumerate(models.items()):
            for runtime in options.runtimes:
                _show_progress(f"{path} for {runtime}")
                runners[runtime, path], files[runtime, path] = _runner(runtime, model, path, Path(folder, f"{i}"))
        _show_progress(f"{options.rounds} rounds of {len(runners)}")
        latencies = measure_latency(runners, options.rounds)
        _show_progress("memory")
        _print_table(options, latencies, runners, files, threads)


def _run_on(devices: list[str], paths: list[Path]) -> None:
    """Run networks on devices and print what they take."""
    from fewbits import deploy
    from fewbits.io.files import read_model

    width, rows = max(len("network"), *(len(path.name) for path in paths)), []
    for path in paths:
        network = deploy.lower(read_model(path))
        images = _drawn(network)
        ours = network.run(images if len(images) > 1 else images[0])
        for device in devices:
            _show_progress(f"{path} on {device}")
            runner = deploy.DeviceRunner(network, device)
            found = runner.run(*images)
            outputs = deploy.compare_codes(ours if isinstance(ours, list) else [ours], found.codes)
            rows.append(
                f"{device:<15}{path.name:<{width}}{runner.flash_bytes:>12,}{runner.ram_bytes:>12,}{found.stack_bytes:>8,}"
                f"{round(found.instructions.mean()):>16,}{outputs.different:>8} of {outputs.codes}"
            )
    print(f"{'device':<15}{'network':<{width}}{'flash':>12}{'RAM':>12}{'stack':>8}{'instructions':>16}  codes differ")
    print(*rows, sep="\n")
    print("bytes, without what calls the network; instructions of one image; compiled with -O2")


def _drawn(network: "IntegerNetwork") -> "list[np.ndarray]":
    """Return some images of random pixels for each input of a network."""
    import numpy as np

    rng, tensors = np.random.default_rng(0), network.tensors
    return [
        rng.integers(0, tensors[i].high + min(mean), (IMAGES, *tensors[i].shape), np.uint8, endpoint=True)
        for i, mean in zip(network.inputs, network.means)
    ]


def _one_thread() -> int:
    """Make Keras compute on one thread; return how many it uses: more if it has computed before, or on JAX."""
    from fewbits.backend import keras

    if keras.backend.backend() != "tensorflow":
        return os.cpu_count() or 1
    import tensorflow as tf

    threading = tf.config.threading
    try:
        threading.set_intra_op_parallelism_threads(1)
        threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        pass
    return threading.get_intra_op_parallelism_threads()


def _runner(runtime: str, model: "keras.Model", path: Path, stem: Path) -> "tuple[Runner, Path]":
    """Return a runner of `model` in `runtime`, and the file that it runs."""
    from fewbits import deploy
    from fewbits.costs.latency import KerasRunner
    from fewbits.io.tflite import LiteRTRunner
    from fewbits.quantization.conversion import QuantizedModel

    if runtime == "keras":
        return KerasRunner(model), path
    if runtime == "c":
        return deploy.CRunner(deploy.lower(model)), path
    if runtime == "litert":
        content = deploy.to_litert(model, "int8" if isinstance(model, QuantizedModel) else "float32")
        return LiteRTRunner(content), _written(stem.with_suffix(".tflite"), content)
    content = deploy.to_onnx(model).SerializeToString()
    return deploy.ONNXRunner(content), _written(stem.with_suffix(".onnx"), content)


def _written(path: Path, content: bytes) -> Path:
    """Write a file; return its path."""
    path.write_bytes(content)
    return path


def _print_table(
    options: Namespace,
    latencies: "dict[tuple[str, Path], Latency]",
    runners: "dict[tuple[str, Path], Runner]",
    files: dict[tuple[str, Path], Path],
    threads: int,
) -> None:
    from fewbits.costs.memory import peak_memory
    from fewbits.deploy import CRunner

    width = max(len("network"), *(len(path.name) for path in options.models))
    print(
        f"{'runtime':<10}{'network':<{width}}{'ms':>12}{'quartiles':>24}{'ratio':>8}{'file bytes':>14}{'memory MB':>11}"
    )
    for runtime in options.runtimes:
        first = latencies[runtime, options.models[0]].median
        for path in options.models:
            time, file, runner = latencies[runtime, path], files[runtime, path], runners[runtime, path]
            spread = f"{time.low:.3f} to {time.high:.3f}"
            if isinstance(runner, CRunner):
                size, memory = runner.memory.weight_bytes, sum(runner.memory)
            else:
                size, memory = file.stat().st_size, peak_memory(runtime, file)
            print(
                f"{runtime:<10}{path.name:<{width}}{time.median:>12.3f}{spread:>24}{time.median / first:>8.2f}"
                f"{size:>14,}{memory / 2**20:>11.1f}",
                flush=True,
            )
    print("one image, one thread" if threads == 1 else "one image, one thread; Keras uses several")


def _show_progress(what: str) -> None:
    """Show what is being done, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{what} ...".ljust(79), end="\r", file=sys.stderr, flush=True)

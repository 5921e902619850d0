"""The memory that a process needs to load a network and run it, measured in a process of its own.

That process holds Python, NumPy and the runtime, and no part of this library that would load another runtime:

    python -m fewbits.costs.memory litert network.tflite
"""

import subprocess
import sys
from pathlib import Path

from fewbits.errors import InputError

IMAGES = 3


def peak_memory(runtime: str, path: Path) -> int:
    """Return the peak memory of a process that runs the network in a file. Works on Linux and macOS.

    Args:
        runtime: "keras", "litert" or "onnx".
        path: A .keras, .tflite or .onnx file.

    Returns:
        Bytes.

    Raises:
        InputError: when the process fails.
    """
    done = subprocess.run([sys.executable, "-m", __name__, runtime, str(path)], capture_output=True, text=True)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it was stopped"])[-1]
        raise InputError(f"{path} cannot be run by {runtime}: {why[:300]}")
    return int(done.stdout.split()[-1])


def _keras(path):
    import keras

    from fewbits.quantization import conversion  # noqa: F401  registers quantized models and layers

    model = keras.saving.load_model(path, compile=False)
    return model.input_shape[1:], lambda image: model(image, training=False)


def _litert(path):
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(model_path=path, num_threads=1)
    network.allocate_tensors()
    [image] = network.get_input_details()

    def run(values):
        network.set_tensor(image["index"], values)
        network.invoke()

    return image["shape"][1:], run


def _onnx(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    [image] = session.get_inputs()
    return image.shape[1:], lambda values: session.run(None, {image.name: values})


def _peak_so_far() -> int:
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would also count what the process was before it became Python
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _main(runtime, path):
    import numpy as np

    shape, run = {"keras": _keras, "litert": _litert, "onnx": _onnx}[runtime](path)
    for _ in range(IMAGES):
        run(np.random.default_rng(0).random((1, *shape), np.float32))
    print(_peak_so_far())


if __name__ == "__main__":
    _main(*sys.argv[1:])

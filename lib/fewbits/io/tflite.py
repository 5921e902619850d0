"""LiteRT files (.tflite): make them, run them, and read the weights of MobileNet v1 as its authors publish them.

In the published files, batch normalization is folded, so every convolution has a bias. The networks have 1001 classes,
of which the first means "none of these", and take images from -1 to 1: x / 127.5 - 1 for bytes x, red, green, blue:

    model = zoo.build("mobilenet_v1", (128, 128, 3), 1001, width=0.25, normalize=False)
    load_tflite_weights(model, "mobilenet_v1_0.25_128.tflite")
"""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fewbits.backend import keras, no_stderr
from fewbits.errors import InputError, needs_extra
from fewbits.graph import ends
from fewbits.io.weights import assign_layers

THEIRS = {  # name of our layer -> name of theirs
    "conv0": "Conv2d_0",
    **{f"block{i}_{kind}": f"Conv2d_{i}_{kind}" for i in range(1, 14) for kind in ("depthwise", "pointwise")},
    "fc": "Logits/Conv2d_1c_1x1",
}


def to_tflite(model: keras.Model, set_up: Callable[[Any], None] = lambda converter: None) -> bytes:
    """Convert a Keras model with TensorFlow's converter.

    Args:
        model: Takes images of one size.
        set_up: Sets attributes of the converter before it runs.

    Returns:
        Content of a .tflite file that takes one image at a time.

    Raises:
        InputError: when TensorFlow is not installed or cannot convert `model`.
    """
    with needs_extra("tensorflow", ".tflite files"):
        import tensorflow as tf
    images = keras.tree.map_structure(lambda x: tf.TensorSpec((1, *x.shape[1:]), tf.float32), ends(model)[0])
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(images)
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it asks for the model too, and would then take the longer way of a SavedModel
    try:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
        set_up(converter)
        with no_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the range of the image, which stays float
            return converter.convert()
    except Exception as error:
        why = str(error).strip().split("\n")[0][:300]
        raise InputError(f"TensorFlow cannot convert {model.name} to LiteRT: {why}") from None
    finally:
        logger.setLevel(level)


def litert_interpreter(content: bytes, delegate: bool = True) -> Any:
    """Return LiteRT's interpreter of a file, which runs on one thread.

    Args:
        content: Content of a .tflite file.
        delegate: Whether layers run on XNNPACK, the default of LiteRT, or on LiteRT's own kernels.

    Returns:
        An `ai_edge_litert.interpreter.Interpreter` without tensors yet.

    Raises:
        InputError: when ai-edge-litert is not installed.
        ValueError: when the file is damaged.
        RuntimeError: when the file is damaged.
    """
    with needs_extra("export", ".tflite files"):
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    kind = OpResolverType.AUTO if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=kind)


class LiteRTRunner:
    """A .tflite file that runs on one thread.

    Attributes:
        image_shape: (height, width, channels) of an image.
    """

    def __init__(self, content: bytes, delegate: bool = True):
        """Load a file.

        Args:
            content: Content of a .tflite file.
            delegate: As in `litert_interpreter`.

        Raises:
            InputError: when ai-edge-litert is not installed.
        """
        self._network = litert_interpreter(content, delegate)
        with no_stderr():  # it reports its delegate
            self._network.allocate_tensors()
        self._inputs, self._outputs = self._network.get_input_details(), self._network.get_output_details()
        self.image_shape = tuple(map(int, self._inputs[0]["shape"][1:]))

    def run(self, *images: np.ndarray) -> np.ndarray:
        """Return the first output for one image per input, (height, width, channels), floats."""
        return self.run_all(*images)[0]

    def run_all(self, *images: np.ndarray) -> list[np.ndarray]:
        """Return every output for one image per input, (height, width, channels), floats.

        Inputs of integers get the nearest codes, and outputs of integers are the values of their codes.
        """
        for tensor, image in zip(self._inputs, images, strict=True):
            self._network.set_tensor(tensor["index"], _to_codes(tensor, np.asarray(image, np.float32))[np.newaxis])
        self._network.invoke()
        return [_to_values(tensor, self._network.get_tensor(tensor["index"])[0]) for tensor in self._outputs]

    @property
    def ends(self) -> list[str]:
        """How each input and each output holds values: `float32`, or the type, the scale and the zero point."""
        return [_described(tensor) for tensor in (*self._inputs, *self._outputs)]


def _to_codes(tensor: dict[str, Any], values: np.ndarray) -> np.ndarray:
    """Return what an input holds for values."""
    if tensor["dtype"] is np.float32:
        return values
    (scale, zero), limits = tensor["quantization"], np.iinfo(tensor["dtype"])
    return np.clip(np.rint(values / np.float32(scale)) + zero, limits.min, limits.max).astype(tensor["dtype"])


def _to_values(tensor: dict[str, Any], codes: np.ndarray) -> np.ndarray:
    """Return the values of what an output holds."""
    if tensor["dtype"] is np.float32:
        return codes
    scale, zero = tensor["quantization"]
    return (codes.astype(np.float32) - zero) * np.float32(scale)


def _described(tensor: dict[str, Any]) -> str:
    (scale, zero), name = tensor["quantization"], np.dtype(tensor["dtype"]).name
    return f"{name}, scale {scale:g}, zero point {zero}" if scale else name


def load_tflite_weights(model: keras.Model, path: Path | str) -> None:
    """Load the weights of a published MobileNet v1, all of them or none.

    Layers are matched by name: Conv2d_3_pointwise in the file is our block3_pointwise.

    Args:
        model: A MobileNet v1 without batch normalization.
        path: A .tflite file.

    Raises:
        InputError: when the file cannot be read; naming the layer, when weights are missing, are not floats, hold NaN
            or infinity, or have another shape, and when a layer of `model` has no bias or is not part of MobileNet v1.
    """
    path = Path(path)
    layers = [layer for layer in model.layers if hasattr(layer, "kernel")]
    names = [_their_names(model, layer) for layer in layers]
    read = _reader(path)
    pairs = ((layer, read(kernel), read(bias)) for layer, (kernel, bias) in zip(layers, names))
    assign_layers(((layer, *_floats(path, layer, kernel, bias)) for layer, kernel, bias in pairs), path)


def _their_names(model: keras.Model, layer: keras.Layer) -> tuple[str, str]:
    """Return the endings of the names that the kernel and the bias of `layer` have in the file."""
    if layer.name not in THEIRS:
        raise InputError(f"{layer.name} of {model.name} is not a layer of MobileNet v1")
    if layer.bias is None:
        raise InputError(f"{layer.name} of {model.name} has no bias; build the network with normalize=False")
    theirs = THEIRS[layer.name]
    if theirs.endswith("depthwise"):
        return f"{theirs}/depthwise_weights", f"{theirs}/depthwise_bias"
    return f"{theirs}/weights", f"{theirs}/Conv2D_bias"


def _reader(path):
    """Return a function that returns the array whose name in the file has a given ending."""
    try:
        reader = litert_interpreter(path.read_bytes())
        index = {tensor["name"]: tensor["index"] for tensor in reader.get_tensor_details()}
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, RuntimeError):
        raise InputError(f"{path} cannot be read; it may be truncated, or not a .tflite file") from None

    def read(ending):
        name = next((name for name in index if f"/{name}".endswith(f"/{ending}")), None)
        if name is None:
            raise InputError(f"{path} has no tensor {ending}; it is not a MobileNet v1 in floats")
        try:
            return reader.get_tensor(index[name])
        except ValueError:
            raise InputError(f"{path}: the tensor {name} holds no weights") from None

    return read


def _floats(path, layer, kernel, bias):
    """Return `kernel`, with the axes of Keras, and `bias`."""
    for what, array in (("kernel", kernel), ("bias", bias)):
        if array.dtype != np.float32:
            raise InputError(f"{path}: the {what} of {layer.name} holds {array.dtype}; floats are needed")
    # LiteRT keeps kernels as (out, height, width, in), depthwise ones as (1, height, width, channels).
    kernel = np.moveaxis(kernel, 0, -1) if kernel.ndim == 4 else kernel
    if layer.name == "fc" and kernel.shape[:2] == (1, 1):  # a convolution in the file
        kernel = kernel[0, 0]
    return kernel, bias

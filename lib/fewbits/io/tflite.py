"""LiteRT files (.tflite) at work, and weights from those of MobileNet v1, as its authors publish them.

There, batch normalization is folded, so every convolution has a bias. Their networks have 1001 classes, the first for
"none of these", and expect images of -1 to 1, x / 127.5 - 1 for bytes x in the order red, green, blue:

    model = zoo.build("mobilenet_v1", (128, 128, 3), 1001, width=0.25, normalize=False)
    load_tflite_weights(model, "mobilenet_v1_0.25_128.tflite")
"""

import logging
import warnings
from pathlib import Path

import numpy as np

from fewbits.backend import no_stderr
from fewbits.errors import InputError
from fewbits.io.weights import assign_layers

THEIRS = {  # name of our layer -> of theirs
    "conv0": "Conv2d_0",
    **{f"block{i}_{kind}": f"Conv2d_{i}_{kind}" for i in range(1, 14) for kind in ("depthwise", "pointwise")},
    "fc": "Logits/Conv2d_1c_1x1",
}


def to_tflite(model, set_up=lambda converter: None) -> bytes:
    """Return `model`, a Keras model, as a .tflite file. set_up: sets the attributes of TensorFlow's converter."""
    try:
        import tensorflow as tf
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
    except ImportError:
        raise InputError("a .tflite file is made with TensorFlow; install it with `pip install tensorflow`") from None
    image = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(image)
    constants = convert_variables_to_constants_v2(function)
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it would rather have the model too, and then leave the weights out
    try:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([constants])
        set_up(converter)
        with no_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it would like the range of the image, which stays float
            return converter.convert()
    except Exception as error:
        why = str(error).strip().split("\n")[0][:300]
        raise InputError(f"TensorFlow cannot convert {model.name} to LiteRT: {why}") from None
    finally:
        logger.setLevel(level)


def litert_interpreter(content: bytes, delegate: bool = True):
    """Return an interpreter of a .tflite file, on one thread; ValueError or RuntimeError where that is damaged.

    delegate: whether layers run on XNNPACK, as they do by default, or on LiteRT's own kernels.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError:
        raise InputError("a .tflite file is read with ai-edge-litert; `pip install fewbits[export]`") from None
    kind = OpResolverType.AUTO if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=kind)


class LiteRTRunner:
    """A .tflite file at work: `run` maps one image, (height, width, channels), to its first output or all of them."""

    def __init__(self, content: bytes, delegate: bool = True):
        self._network = litert_interpreter(content, delegate)
        with no_stderr():  # it tells which delegate it made
            self._network.allocate_tensors()
        [image] = self._network.get_input_details()
        self._image, self.image_shape = image["index"], tuple(map(int, image["shape"][1:]))
        self._outputs = [output["index"] for output in self._network.get_output_details()]

    def run(self, image) -> np.ndarray:
        return self.run_all(image)[0]

    def run_all(self, image) -> list[np.ndarray]:
        self._network.set_tensor(self._image, np.asarray(image, np.float32)[np.newaxis])
        self._network.invoke()
        return [self._network.get_tensor(index)[0] for index in self._outputs]


def load_tflite_weights(model, path: Path) -> None:
    """Give `model`, a MobileNet v1 without batch normalization, the weights in `path`, a .tflite file; all or none.

    Layers are found by name, where the file's Conv2d_3_pointwise is our block3_pointwise. Raises InputError, naming the
    layer, where one is missing, holds no floats, NaN or infinity, or has another shape, where the file cannot be read,
    and on a layer of `model` that has no bias or that MobileNet v1 does not have.
    """
    path = Path(path)
    layers = [layer for layer in model.layers if hasattr(layer, "kernel")]
    names = [_their_names(model, layer) for layer in layers]
    read = _reader(path)
    pairs = ((layer, read(kernel), read(bias)) for layer, (kernel, bias) in zip(layers, names))
    assign_layers(((layer, *_floats(path, layer, kernel, bias)) for layer, kernel, bias in pairs), path)


def _their_names(model, layer) -> tuple[str, str]:
    """Return how the names of the kernel and the bias of `layer` end in the file."""
    if layer.name not in THEIRS:
        raise InputError(f"{layer.name} of {model.name} is no layer of MobileNet v1")
    if layer.bias is None:
        raise InputError(f"{layer.name} of {model.name} has no bias; build the network with normalize=False")
    theirs = THEIRS[layer.name]
    if theirs.endswith("depthwise"):
        return f"{theirs}/depthwise_weights", f"{theirs}/depthwise_bias"
    return f"{theirs}/weights", f"{theirs}/Conv2D_bias"


def _reader(path):
    """Return a function that returns the array whose name in the file ends as told."""
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
        raise InputError(f"{path} cannot be read; it may be truncated, or no .tflite file") from None

    def read(ending):
        name = next((name for name in index if f"/{name}".endswith(f"/{ending}")), None)
        if name is None:
            raise InputError(f"{path} has no tensor {ending}; it is no MobileNet v1 of floats")
        try:
            return reader.get_tensor(index[name])
        except ValueError:
            raise InputError(f"{path}: the tensor {name} holds no weights") from None

    return read


def _floats(path, layer, kernel, bias):
    """Return `kernel`, in Keras' order, and `bias`."""
    for what, array in (("kernel", kernel), ("bias", bias)):
        if array.dtype != np.float32:
            raise InputError(f"{path}: the {what} of {layer.name} holds {array.dtype}, and floats are needed")
    # LiteRT keeps kernels as (out, height, width, in), depthwise ones as (1, height, width, channels).
    kernel = np.moveaxis(kernel, 0, -1) if kernel.ndim == 4 else kernel
    if layer.name == "fc" and kernel.shape[:2] == (1, 1):  # a convolution there
        kernel = kernel[0, 0]
    return kernel, bias

"""Core ML packages: the simulation in float32, for Apple's devices.

A `.mlpackage` is a folder. Linux can write and read it too, but only macOS can run it. So the shapes and weights of a
package are checked after it is written; its outputs are not.
"""

import json
import logging
import warnings
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

import numpy as np

from fewbits.backend import keras, no_stderr
from fewbits.deploy.frozen import Frozen, check_exportable, check_interpolation, freeze, multiplies
from fewbits.deploy.tensorflow_process import call_in_tensorflow
from fewbits.errors import InputError, needs_extra
from fewbits.graph import ends
from fewbits.quantization.canonical_form import canonical
from fewbits.quantization.conversion import QuantizedModel, quantize_model

UNKNOWN = keras.activations.gelu, keras.activations.celu


def write_coreml(model: keras.Model, path: Path | str) -> None:
    """Write a model as a Core ML package, whole or not at all.

    The package takes one image, (1, height, width, channels), in float32. Batch normalization is folded. What was
    written is read again and checked.

    Args:
        model: A functional model, quantized or not.
        path: The .mlpackage to write; an existing package is replaced.

    Raises:
        InputError: when the shapes or weights in the package are not those of `model`; when coremltools is not
            installed or does not know a layer; naming the layer, as `check_exportable` and `quantize_model`; as
            `call_in_tensorflow`.
    """
    path = Path(path)
    _coremltools()
    model = canonical(model)
    check_exportable(model)
    check_interpolation(model, "Core ML packages")
    check_mlpackage_path(path)
    for layer in model.layers:
        function = getattr(layer, "activation", None)
        if function in UNKNOWN:
            raise InputError(
                f"layer {layer.name} has the activation {function.__name__}, which coremltools does not know; use silu "
                "or elu instead, or export to ONNX"
            )
        if isinstance(layer, keras.layers.BatchNormalization) and isinstance(model, QuantizedModel):
            raise InputError(
                f"layer {layer.name} normalizes quantized values; "
                "quantize_model(..., fold_batch_normalization=True) folds it"
            )
    normalized = any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)
    if normalized and any(map(multiplies, model.layers)):
        model = quantize_model(model, fold_batch_normalization=True)
    call_in_tensorflow(_write, model, path)


def check_mlpackage_path(path: Path) -> None:
    """Check that a package can be written to a path.

    Args:
        path: The path of the package.

    Raises:
        InputError: when `path` does not end in .mlpackage, its folder does not exist, or something else is there.
    """
    if path.suffix != ".mlpackage":
        raise InputError(f"the output must be a .mlpackage, not {path}")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written; there is no folder {path.parent}")
    if path.exists() and not (path / "Manifest.json").is_file():
        raise InputError(f"{path} exists and is not a Core ML package; remove it, or choose another name")


def coreml_weights(path: Path) -> list[np.ndarray]:
    """Return the constants in a package.

    Args:
        path: A .mlpackage.

    Returns:
        Arrays, in the order of the package.

    Raises:
        InputError: when the package cannot be read.
    """
    return _weights(_read(_coremltools(), path), _coremltools())


def coreml_shapes(path: Path) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of the inputs and the outputs of a package.

    Args:
        path: A .mlpackage.

    Returns:
        The shapes, with the batch: of the inputs, then of the outputs.

    Raises:
        InputError: when the package cannot be read.
    """
    description = _read(_coremltools(), path).get_spec().description
    return tuple(tuple(x.type.multiArrayType.shape) for x in (*description.input, *description.output))


def _write(model, path):
    tools, frozen = _coremltools(), freeze(model, _OfOperators)
    with _folder_aside(path) as folder:
        _converted(tools, frozen).save(str(folder))
        _verify(tools, folder, frozen)


class _OfOperators(Frozen):
    """A frozen layer in operators that coremltools knows: Keras compiles convolutions in groups for TensorFlow."""

    def product(self, x, kernel):
        [layer] = self._layer
        if getattr(layer, "groups", 1) == 1:
            return super().product(x, kernel)
        import tensorflow as tf

        if layer.padding == "causal":
            x = tf.pad(x, [[0, 0], [layer.dilation_rate[0] * (layer.kernel_size[0] - 1), 0], [0, 0]])
        padding = "SAME" if layer.padding == "same" else "VALID"
        return tf.nn.convolution(x, self.kernel(kernel), layer.strides, padding, dilations=layer.dilation_rate)


def _coremltools():
    # it warns of what it lacks on Linux and of versions that it does not know
    with needs_extra("export", "Core ML packages"), warnings.catch_warnings(), no_stderr():
        warnings.simplefilter("ignore")
        logging.getLogger("coremltools").setLevel(logging.ERROR)
        import coremltools
    return coremltools


def _converted(tools, frozen):
    import tensorflow as tf

    names = ["image"] if len(frozen.inputs) == 1 else [f"image{n}" for n in range(1, len(frozen.inputs) + 1)]
    images = [tf.TensorSpec((1, *x.shape[1:]), tf.float32, name=name) for x, name in zip(frozen.inputs, names)]
    structure = ends(frozen)[0]

    def compute(*images):
        return frozen(keras.tree.pack_sequence_as(structure, images), training=False)

    function = tf.function(compute).get_concrete_function(*images)
    try:
        with no_stderr():
            return tools.convert(
                [function],
                source="tensorflow",
                convert_to="mlprogram",
                compute_precision=tools.precision.FLOAT32,
                minimum_deployment_target=tools.target.iOS16,
                skip_model_load=True,
            )
    except Exception as error:  # its passes raise errors of any class
        why = str(error).strip().split("\n")[0][:300]
        raise InputError(f"coremltools cannot convert {frozen.name}: {why}") from None


def _read(tools, path):
    try:
        json.loads((path / "Manifest.json").read_text())
        with no_stderr():
            return tools.models.MLModel(str(path), skip_model_load=True)
    except Exception as error:
        why = str(error).strip().split("\n")[0][:300]
        raise InputError(f"{path} cannot be read ({why}); it may be truncated, or not a Core ML package") from None


def _weights(package, tools):
    with no_stderr():
        found = tools.optimize.coreml.get_weights_metadata(package, weight_threshold=0)
    return [np.asarray(data.val) for data in found.values()]


def _verify(tools, path, frozen):
    """Raise InputError if the package does not have the shapes and kernels of `frozen`."""
    shapes = coreml_shapes(path)
    wanted = [(1, *x.shape[1:]) for x in (*frozen.inputs, *frozen.outputs)]
    if sorted(shapes) != sorted(wanted):
        raise InputError(f"Core ML has made a network of the shapes {_listed(shapes)}, not {_listed(wanted)}")
    held = {_without_scale(weights) for weights in _weights(_read(tools, path), tools)}
    for layer in frozen.layers:
        if isinstance(layer, Frozen) and layer.weights_used is not None:
            kernel = _core_ml_kernel(layer)
            if not {_without_scale(kernel), _without_scale(kernel.T)} & held:
                raise InputError(f"Core ML has changed the kernel of layer {layer.name}; nothing was written")


def _without_scale(weights):
    """Return shape and bytes of weights scaled by a power of two: TensorFlow moves a quantizer's step into a kernel."""
    _, exponent = np.frexp(np.abs(weights).max(initial=0))
    return weights.shape, np.ldexp(weights, -exponent).tobytes()


def _listed(shapes):
    return " and ".join(map(str, shapes))


def _core_ml_kernel(layer):
    """Return the kernel as (filters, in, height, width) or (units, in); Core ML may store its transpose."""
    kernel = layer.weights_used[0]
    if kernel.ndim == 2:
        return np.ascontiguousarray(kernel.T)
    if layer.depthwise:
        kernel = kernel.reshape(*kernel.shape[:-2], 1, -1)
    return np.ascontiguousarray(np.moveaxis(kernel, (-1, -2), (0, 1)))


@contextmanager
def _folder_aside(path):
    """Yield a folder beside `path` that takes its place if the block succeeds, and is removed otherwise."""
    aside, old = (path.with_name(f".{path.stem}.{what}.mlpackage") for what in ("part", "old"))
    rmtree(aside, ignore_errors=True)
    try:
        yield aside
        if path.exists():
            rmtree(old, ignore_errors=True)
            path.rename(old)
        aside.rename(path)
    finally:
        rmtree(aside, ignore_errors=True)
        if old.exists() and not path.exists():
            old.rename(path)
        rmtree(old, ignore_errors=True)

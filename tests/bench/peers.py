"""The libraries that fewbits is compared with: the same network, kernel, input and output in the same formats.

Both round to nearest (half to even) and saturate, as fewbits does here; biases stay in float (fewbits' go onto the
grid of the products). Their optional work is switched off: no learned bit widths, no cost in operations.
"""

from functools import partial
from importlib.metadata import PackageNotFoundError, version

from fewbits.backend import keras

relu = keras.activations.relu

WHAT = """\
fewbits   input, kernel, bias (to the grid of the products), output, then ReLU; formats may change at any time
qkeras-v3 input, kernel, output, then ReLU; formats are constants, the gradient passes everywhere
hgq2      input, kernel, ReLU, then output; formats in variables, here not trained, and no cost in operations\
"""


def found():
    """Return name -> function (model, formats) -> model, for each installed library."""
    peers = {}
    for package, suffix, builder in (
        ("qkeras-v3", "", qkeras_model),
        ("hgq2", "", hgq_model),
        ("hgq2", ", wrapping", partial(hgq_model, overflow="WRAP")),
    ):
        try:
            peers[f"{package} {version(package)}{suffix}"] = builder
        except PackageNotFoundError:
            pass
    return peers


def qkeras_model(model, formats):
    """Return `model` with quantizers of fixed formats; the gradient passes everywhere, even if a value was clipped."""
    from qkeras import QConv2D, quantized_bits

    kernel, inputs, output = (quantized_bits(fmt.nbits, fmt.msb, alpha=1.0) for fmt in formats)

    class Convolution(QConv2D):
        def call(self, x):
            return relu(super().call(inputs(x)))

    return _cloned(model, lambda config: Convolution(**config, kernel_quantizer=kernel, activation=output))


def hgq_model(model, formats, overflow="SAT"):
    """Return `model` with one format per tensor, in untrained variables; outputs are quantized after the activation.

    overflow: the mode of inputs and outputs. HGQ's default is WRAP, which is less work: in training it only rounds.
    """
    from hgq.config import QuantizerConfig
    from hgq.layers import QConv2D

    def quantizer(place, fmt, overflow):
        settings = {"k0": True, "b0": fmt.nbits - 1, "i0": fmt.msb, "br": None, "ir": None, "bc": None, "ic": None}
        return QuantizerConfig(
            "kbi", place, round_mode="RND_CONV", overflow_mode=overflow, heterogeneous_axis=(), **settings
        )

    def convolution(config):
        kernel, inputs, output = map(
            quantizer, ("weight", "datalane", "datalane"), formats, ("SAT", overflow, overflow)
        )
        quantizers = {"kq_conf": kernel, "iq_conf": inputs, "oq_conf": output, "bq_conf": QuantizerConfig("dummy")}
        return QConv2D(**config, **quantizers, enable_oq=True, enable_ebops=False, activation=relu)

    quantized = _cloned(model, convolution)
    for layer in quantized.layers:
        for part in ("kq", "iq", "oq"):
            if hasattr(layer, part):
                getattr(layer, part).trainable = False
    return quantized


def _cloned(model, convolution):
    """Return `model` with its convolutions, all with a ReLU, built by `convolution` from settings; same weights."""
    settings = ("name", "filters", "kernel_size", "strides", "padding")

    def clone(layer):
        if isinstance(layer, keras.layers.Conv2D):
            return convolution({name: getattr(layer, name) for name in settings})
        return layer.__class__.from_config(layer.get_config())

    quantized = keras.models.clone_model(model, clone_function=clone)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            other = quantized.get_layer(layer.name)
            other.kernel.assign(layer.kernel)
            other.bias.assign(layer.bias)
    return quantized

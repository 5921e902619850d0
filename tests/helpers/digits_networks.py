"""Networks of the zoo for digits, small enough for emulation, at the widths that every export must compute alike."""

from functools import cache

from fewbits import data, zoo
from fewbits.backend import keras
from fewbits.deploy import IntegerNetwork, lower
from fewbits.io.weights import load_weights
from fewbits.pruning import renew_statistics
from fewbits.quantization import QuantizedModel, calibration
from fewbits.quantization.conversion import quantize_model
from fewbits.zoo.trained import find_weights

L = keras.layers
DIGITS = data.load("digits")
PIXELS = DIGITS.test.images
CALIBRATION = DIGITS.scaled(DIGITS.test.take(64))
WIDTHS = {f"{bits} bits": (bits,) for bits in (8, 6, 4)} | {"mixed": (4, 6, 8)}  # layer by layer, in turn
SIGNED = "signed "  # before one of WIDTHS; otherwise what is never negative has no sign
NETWORKS = {
    "lenet": {},
    "squeezenet_digits": {},
    "mobilenet_cifar": {"width": 1 / 16},
    "resnet_cifar": {"blocks": 1},
    "projected": {},
}


def projected() -> keras.Model:
    """Return a network like ResNet whose shortcut is projected; that of resnet_cifar pads channels with zeros."""
    keras.utils.set_random_seed(4)
    image = L.Input((8, 8, 1))
    x = L.Conv2D(6, 3, padding="same", activation="relu", name="first")(image)
    for block, strides in enumerate((1, 2)):
        y = L.Conv2D(6, 3, padding="same", strides=strides, activation="relu", name=f"conv{block}")(x)
        y = L.Conv2D(6, 3, padding="same", name=f"last{block}")(y)
        short = x if strides == 1 else L.Conv2D(6, 1, strides=strides, name=f"shortcut{block}")(x)
        x = L.ReLU(name=f"relu{block}")(L.Add(name=f"sum{block}")([short, y]))
    return keras.Model(image, L.Dense(10, name="fc")(L.GlobalAveragePooling2D()(x)), name="projected")


@cache
def quantized(name: str, widths: str, rounding: str = "nearest") -> QuantizedModel:
    """Return one of NETWORKS with formats of one of WIDTHS, which may be `signed`."""
    keras.utils.set_random_seed(3)
    model = projected() if name == "projected" else zoo.build(name, (8, 8, 1), 10, **NETWORKS[name])
    if name == "squeezenet_digits":
        load_weights(model, find_weights(name))
    elif name.endswith("cifar"):  # else the signal fades from block to block
        renew_statistics(model, [(DIGITS.scaled(DIGITS.train.take(256)), None)])
    network = quantize_model(model, rounding=rounding, fold_batch_normalization=True)
    signed = widths.startswith(SIGNED)
    bits = WIDTHS[widths.removeprefix(SIGNED)]
    found = [calibration.formats_for(network, CALIBRATION, (n,) * 3, signed=signed) for n in bits]
    network.set_formats({layer: found[place % len(found)][layer] for place, layer in enumerate(found[0])})
    signs = {fmt.signed for layer in network.formats.values() for fmt in layer[1:3] if fmt}
    assert signs == ({True} if signed else {True, False})
    return network


@cache
def integers(name: str, widths: str, rounding: str = "nearest") -> IntegerNetwork:
    """Return the integers of `quantized`."""
    return lower(quantized(name, widths, rounding), levels=DIGITS.levels)

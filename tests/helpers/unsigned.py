"""Unsigned formats for networks of ReLUs, whose images and activations are never negative."""

from fewbits import FixedPoint, Formats
from fewbits.backend import keras


def unsigned(fmt):
    """Return the unsigned format of as many bits that reaches as far as `fmt`."""
    return FixedPoint(fmt.msb - 1, fmt.nbits, signed=False) if fmt.signed else fmt


def rectified(model, formats=None):
    """Return formats with unsigned inputs, and unsigned outputs where a ReLU follows in the layer."""
    return {
        name: fmt._replace(
            input=unsigned(fmt.input),
            output=unsigned(fmt.output) if model.get_layer(name).activation is keras.activations.relu else fmt.output,
        )
        for name, fmt in ((name, Formats(*three)) for name, three in (formats or model.formats).items())
    }

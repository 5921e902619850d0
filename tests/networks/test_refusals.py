"""Every refusal is one sentence that names the layer and a way out, and what it names exists.

CASES triggers the refusals. A scan of the source finds every `raise InputError` of quantization, deploy and pruning, so
that a new refusal without a case fails.
"""

import ast
import importlib
import inspect
import pkgutil
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import numpy as np
import pytest

import fewbits
from fewbits import FixedPoint, InputError, deploy, pruning, quantization, quantize_model
from fewbits.backend import keras
from fewbits.data import PixelCodes
from fewbits.deploy import lower, to_integer_onnx, to_litert, to_onnx, write_c  # noqa: E402
from fewbits.deploy.hardware.design import EngineDesign  # noqa: E402
from fewbits.deploy.hardware.job import design_for, plan_jobs  # noqa: E402
from fewbits.pruning import Plan, importance, remove_filters, would_remove
from fewbits.quantization import calibration, free_scales, range_rules

L = keras.layers
PACKAGES = "quantization", "deploy", "pruning"
SOURCE = Path(fewbits.__file__).parent
F8, F12, F16 = FixedPoint(0, 8), FixedPoint(0, 12), FixedPoint(0, 16)
EIGHT = F8, FixedPoint(3, 8), FixedPoint(3, 8)
IMAGES = np.random.default_rng(0).random((4, 8, 8, 4), dtype=np.float32)


def net(*build, shape=(8, 8, 4), **options):
    """Return a network of layers, or functions of a tensor, one after the other; the one in question is `here`."""
    x = image = L.Input(shape)
    for part in build:
        x = part(x)
    return keras.Model(image, x, name="net", **options)


def conv(**options):
    return L.Conv2D(**{"filters": 4, "kernel_size": 3, "padding": "same", "name": "here"} | options)


def before(**options):
    return conv(name="before", **options)


def tail():
    return lambda x: L.Dense(2, name="out")(L.Flatten(name="flat")(x))


def quantized(*build, formats=EIGHT, rounding="nearest", shape=(8, 8, 4), **options):
    """Return a quantized network of `build` and a dense layer."""
    model = net(*build, tail(), shape=shape)
    return quantize_model(model, formats, rounding=rounding, **{"fold_batch_normalization": True} | options)


def changed(model, **attributes):
    """Return `model` with attributes of its layer `here` set."""
    for name, value in attributes.items():
        setattr(model.get_layer("here"), name, value)
    return model


def with_formats(*formats, bias=None):
    model = quantized(conv(bias_initializer="ones"))
    model.get_layer("here").set_formats(*formats, bias=bias)
    return model


def for_bytes(model):
    model.pixels = PixelCodes(256, 256)
    return model


def with_nan():
    model = quantized(conv())
    model.get_layer("here").kernel.assign(np.full((3, 3, 4, 4), np.nan))
    return model


def joined(kind):
    return lambda x: kind(name="here")([x, L.Conv2D(4, 1, name="other")(x)])


def unequal(x):
    return L.Add(name="here")([x, quantization.QuantizedConv2D(1, 1, formats=EIGHT, rounding="nearest")(x)])


def on_sequence(*build):
    return quantized(L.Conv1D(4, 3, name="before"), *build, shape=(12, 4))


def labelled(model=None):
    return IMAGES, np.zeros(len(IMAGES), int)


QUANTIZATION = {
    "LayerNormalization": (lambda: quantize_model(net(conv(name="a"), L.LayerNormalization(name="here"))), "here"),
    "a layer of another kind": (lambda: quantize_model(net(conv(name="a"), L.UnitNormalization(name="here"))), "here"),
    "Lambda": (lambda: quantize_model(net(conv(name="a"), L.Lambda(lambda x: x, name="here"))), "here"),
    "an operation": (lambda: quantize_model(net(conv(name="a"), lambda x: keras.ops.sin(x))), "sin"),
    "an approximate GELU": (lambda: quantize_model(net(conv(name="a"), lambda x: keras.ops.gelu(x))), "gelu"),
    "images that are mixed": (
        lambda: quantize_model(net(conv(name="a"), lambda x: keras.ops.reshape(x, (-1, 4)))),
        "reshape",
    ),
    "Conv1DTranspose": (lambda: on_sequence(L.Conv1DTranspose(4, 3, name="here")), "here"),
    "shared weights": (lambda: quantize_model(net(*[conv(padding="same")] * 2)), "here"),
    "channels first": (lambda: quantize_model(net(conv(data_format="channels_first"))), "here"),
    "channels first, quantized": (
        lambda: quantization.QuantizedConv2D(4, 3, data_format="channels_first", name="here"),
        "here",
    ),
    "nothing to quantize": (lambda: quantize_model(net(L.ReLU())), "net"),
    "no graph": (lambda: quantize_model(keras.Sequential([L.Dense(2)], name="net")), "net"),
    "an unknown layer": (lambda: quantize_model(net(conv()), {"her": EIGHT}), "here"),
    "levels without a layer": (lambda: quantize_model(net(conv()), levels=[]), "here"),
    "no format": (lambda: quantize_model(net(conv()), 8), "here"),
    "an integer in place of a format": (lambda: quantize_model(net(conv()), (8, F8, F8)), "here"),
    "no format for a kernel": (lambda: quantize_model(net(conv()), ((), F8, F8)), "here"),
    "two formats for an input": (lambda: quantize_model(net(conv()), (F8, (F8, F8), F8)), "here"),
    "filters of unequal bits": (lambda: quantize_model(net(conv()), ((F8, F12) * 2, F8, F8)), "here"),
    "too many bits": (lambda: quantize_model(net(conv()), (FixedPoint(0, 30), F8, F8)), "here"),
    "formats for other filters": (lambda: quantize_model(net(conv()), ((F8, F8), F8, F8)), "here"),
    "an unknown rounding": (lambda: quantize_model(net(conv()), rounding="up"), ""),
    "NaN in a kernel": (lambda: calibration.formats_for(with_nan(), IMAGES), "here"),
    "images too large": (lambda: calibration.formats_for(net(conv()), 1e30 * IMAGES), "here"),
    "images of another size": (lambda: calibration.formats_for(net(conv()), IMAGES[:, 1:]), "net"),
    "per channel and generic": (
        lambda: calibration.formats_for(net(conv()), IMAGES, per_layer=False, per_channel=True),
        "",
    ),
    "two numbers of bits": (lambda: calibration.formats_for(net(conv()), IMAGES, (8, 8)), ""),
    "errors without formats": (lambda: calibration.quantization_errors(net(conv()), IMAGES, {}), "here"),
    "percentile of nothing": (lambda: range_rules.percentile_limits(np.array([]), 99.0), ""),
    "percentile 0": (lambda: range_rules.percentile_limits(np.ones(2), 0), ""),
    "infinite limits": (lambda: range_rules.msb_from_limits(-np.inf, 1.0), ""),
    "length of nothing": (lambda: quantization.dynamic_fixed_point.fractional_length(np.array([]), 8), ""),
    "length of one bit": (lambda: quantization.dynamic_fixed_point.fractional_length(np.ones(2), 1), ""),
    "codes that are floats": (lambda: quantization.from_codes(np.ones(2), F8), ""),
    "codes too large": (lambda: quantization.from_codes(np.array([300]), F8), ""),
    "too many bits for float32": (lambda: quantization.quantclip(IMAGES, FixedPoint(0, 30)), ""),
    "a sign that is no flag": (lambda: FixedPoint(0, 8, signed="no"), ""),
    "a value beyond its format": (lambda: fewbits.to_codes([-1.0], FixedPoint(0, 8, signed=False), strict=True), ""),
    "a kernel without a sign": (lambda: with_formats(FixedPoint(0, 8, signed=False), *EIGHT[1:]), "here"),
    "a step below zero": (lambda: free_scales.nearest_format(-1.0, 8), ""),
    "a free quantizer of another method": (lambda: free_scales.FreeQuantizer("tqt"), ""),
    "images of different sizes": (
        lambda: calibration.formats_for(
            net(conv(), shape=(None, None, 4)), iter([IMAGES[:2], IMAGES[:2, 1:]]), most=1000
        ),
        "",
    ),
    "a format that is a number": (lambda: quantization.quantize(IMAGES, 8), ""),
    "the thesis wraps": (lambda: quantization.quantize(IMAGES, F8, rounding="thesis", overflow="wrap"), ""),
    "errors through a float network": (lambda: quantization.Propagation(net(conv()), IMAGES), ""),
    "SQNR of two shapes": (lambda: quantization.measured_sqnr(np.ones(2), np.ones(3)), ""),
    "SQNR of NaN": (lambda: quantization.predicted_sqnr(np.nan), ""),
    "formats for another axis": (lambda: quantization.sqnr.quantization_error(np.ones((2, 3)), (F8, F8)), ""),
}
PRUNING = {
    "no filter at all": (
        lambda: would_remove(net(conv(), L.LayerNormalization(name="norm"), tail()), labelled(), Plan(ratio=0.5)),
        "here",
    ),
    "no layer with filters": (
        lambda: would_remove(net(L.GlobalAveragePooling2D(name="here")), labelled(), Plan(ratio=0.5)),
        "net",
    ),
    "a ratio that cannot be reached": (
        lambda: would_remove(net(conv(), tail()), labelled(), Plan(ratio=0.99)),
        "net",
    ),
    "a limit that cannot be reached": (lambda: would_remove(net(conv(), tail()), labelled(), Plan(macs=1)), "net"),
    "two goals": (lambda: Plan(ratio=0.5, macs=1), ""),
    "a ratio above 1": (lambda: Plan(ratio=2), ""),
    "an unknown filter": (lambda: remove_filters(net(conv()), {"here": [9]}), "here"),
    "an unknown layer to prune": (lambda: remove_filters(net(conv()), {"her": [0]}), "here"),
    "an output": (lambda: remove_filters(net(conv()), {"here": [0]}), "here"),
    "all filters": (lambda: remove_filters(net(conv(), tail()), {"here": range(4)}), "here"),
    "one of two that are added": (
        lambda: remove_filters(net(before(), joined(L.Add), tail()), {"before": [0]}),
        "before",
    ),
    "unequal groups": (
        lambda: remove_filters(net(before(), conv(groups=2), tail()), {"here": [0]}),
        "here",
    ),
    "more filters than there are": (lambda: pruning.shrunk_to(net(conv(), tail()), {"here": 9}), "here"),
    "importance of NaN": (lambda: importance(with_nan(), labelled(), "weights-l1"), "here"),
    "images without labels": (lambda: importance(net(conv(), tail()), (IMAGES, np.zeros(1, int)), "activation-l2"), ""),
}


INTEGERS = {
    "a float network": (lambda: lower(net(conv())), "net"),
    "levels that are no power of two": (lambda: lower(quantized(conv()), levels=100), ""),
    "a divisor that is no power of two": (lambda: lower(quantized(conv()), divisor=255), ""),
    "a mean out of range": (lambda: lower(quantized(conv()), mean=300), ""),
    "other pixels than the network says": (lambda: lower(for_bytes(quantized(conv())), divisor=1), ""),
    "open sizes": (
        lambda: lower(quantize_model(net(conv(), L.GlobalMaxPooling2D(), shape=(None, None, 4)), EIGHT)),
        "net",
    ),
    "products of floats": (lambda: lower(changed(quantized(conv()), enabled=False)), "here"),
    "the thesis' rounding": (lambda: lower(changed(quantized(conv()), rounding="thesis")), "here"),
    "a bias in float": (lambda: lower(quantized(conv(), bias_order="output", formats=(F8, F8, None))), "here"),
    "a bias between the grids": (lambda: lower(with_formats(*EIGHT, bias=FixedPoint(0, 24))), "here"),
    "sums of too many bits": (
        lambda: lower(with_formats(FixedPoint(-64, 8), *EIGHT[1:])),
        "here",
    ),
    "a softmax inside": (lambda: lower(quantized(before(), L.Softmax(name="here"))), "here"),
    "NaN": (lambda: lower(with_nan()), "here"),
    "a float layer": (
        lambda: lower(quantized(before(), L.UnitNormalization(name="here"), unsupported="float")),
        "here",
    ),
    "batch normalization of rows": (
        lambda: lower(quantized(before(), L.BatchNormalization(axis=1, name="here"))),
        "here",
    ),
    "resizing": (lambda: lower(quantized(L.Resizing(6, 6, name="here"), before())), "here"),
    "a slice of the channels": (lambda: lower(quantized(before(), lambda x: x[..., :2])), "get_item"),
    "batch normalization": (
        lambda: lower(quantized(before(), L.BatchNormalization(name="here"), fold_batch_normalization=False)),
        "here",
    ),
    "unequal channels": (lambda: lower(by_hand(quantized_conv(), unequal)), "here"),
    "bilinear interpolation": (
        lambda: lower(quantized(before(), L.UpSampling2D(interpolation="bilinear", name="here"))),
        "here",
    ),
    "channels that move": (lambda: lower(quantized(before(), L.Permute((3, 1, 2), name="here"))), "here"),
    "a scale of many bits": (lambda: lower(quantized(before(), L.Rescaling(0.1234567, name="here"), L.ReLU())), "here"),
    "a ReLU with a threshold": (lambda: lower(quantized(before(), L.ReLU(threshold=0.3, name="here"))), "here"),
    "four dimensions": (lambda: lower(quantized(before(), L.Reshape((2, 4, 8, 4), name="here"))), "here"),
    "a clip between the codes": (lambda: lower(quantized(before(), L.ReLU(0.3, name="here"))), "here"),
    "an activation in float": (
        lambda: lower(by_hand(quantized_conv(activation="tanh", name="here"), quantized_conv())),
        "here",
    ),
    "a slope in float": (
        lambda: lower(changed(quantized(before(), L.LeakyReLU(0.123, name="here")), enabled=False)),
        "here",
    ),
    "an activation of several values": (
        lambda: lower(quantized(before(), L.Activation("log_softmax", name="here"))),
        "here",
    ),
    "averages of averages": (lambda: lower(by_hand(quantized_conv(), average(), average(name="here"))), "here"),
    "averages and other values": (
        lambda: lower(by_hand(quantized_conv(), lambda x: L.Add(name="here")([L.Cropping2D(1)(x), average()(x)]))),
        "here",
    ),
    "an average of seven": (
        lambda: lower(quantized(before(), lambda x: L.Average(name="here")([L.Conv2D(4, 1)(x) for _ in range(7)]))),
        "here",
    ),
    "an offset of many bits": (
        lambda: lower(quantized(before(), L.Rescaling(1.0, 0.1234567, name="here"), L.ReLU())),
        "here",
    ),
    "one array for two inputs": (lambda: two_inputs().run(np.zeros((1, 8, 8, 4), int)), "net"),
    "unequal images at two inputs": (lambda: two_inputs().run([np.zeros((n, 8, 8, 4), int) for n in (1, 2)]), "net"),
    "a table without formats": (
        lambda: lower(changed(quantized(before(), L.Activation("tanh", name="here")), enabled=False)),
        "here",
    ),
}


def by_hand(*build):
    """Return a network of quantized layers without the quantizers that quantize_model places."""
    image = x = L.Input((8, 8, 4))
    for part in build:
        x = part(x)
    return quantization.QuantizedModel(image, x, name="net")


def quantized_conv(**options):
    return quantization.QuantizedConv2D(4, 3, formats=EIGHT, rounding="nearest", padding="same", **options)


def average(**options):
    return L.AveragePooling2D(3, strides=1, **options)


def two_inputs():
    images = [L.Input((8, 8, 4), name=name) for name in ("left", "right")]
    x = L.Add()([conv(name=name)(image) for name, image in zip(("here", "there"), images)])
    return lower(quantize_model(keras.Model(images, x, name="net"), EIGHT, rounding="nearest"))


def two_outputs():
    model = net(conv(name="a"))
    return quantize_model(keras.Model(model.inputs, [model.output, L.ReLU()(model.output)], name="net"), EIGHT)


def page(model):
    deploy.round_for_page(model)
    return deploy.page_program(model)


def integer_network(*build, levels=256, **options):
    return lower(quantized(*build, **options), levels=levels)


def to_int8(model):
    return to_litert(model, "int8")


def to_int16(model):
    return to_litert(model, "int16x8")


def two_readers():
    """Return a network whose image two layers read in formats of their own."""
    image = L.Input((8, 8, 4))
    model = keras.Model(image, [conv(name=name)(image) for name in ("here", "there")], name="net")
    model = quantize_model(model, EIGHT, rounding="nearest")
    model.get_layer("there").set_formats(F8, FixedPoint(1, 8), EIGHT[2])
    return model


def two_signs():
    """Return a network in which signed and unsigned codes are joined, and read by a layer each."""
    image = L.Input((8, 8, 4))
    joined = L.Concatenate()([conv(name=name)(image) for name in ("left", "right")])
    model = keras.Model(image, [conv(name=name)(joined) for name in ("here", "there")], name="net")
    model = quantize_model(model, EIGHT, rounding="nearest")
    model.get_layer("left").set_formats(*EIGHT[:2], FixedPoint(1, 8))
    model.get_layer("there").set_formats(F8, FixedPoint(2, 8, signed=False), EIGHT[2])
    return model


AROUND = "before", "out"
WIDE = (FixedPoint(0, 16), FixedPoint(3, 16), FixedPoint(3, 16))
EXPORTS = {
    "an open size": (lambda: to_onnx(net(conv(), L.GlobalMaxPooling2D(), shape=(None, None, 4))), "net"),
    "16-bit floats": (lambda: to_onnx(net(conv(dtype="float16"))), "here"),
    "channels first in an export": (
        lambda: to_onnx(net(L.MaxPooling2D(data_format="channels_first", name="here"))),
        "here",
    ),
    "NaN in an export": (lambda: to_onnx(with_nan()), "here"),
    "thesis in an export": (lambda: to_onnx(changed(quantized(conv()), rounding="thesis")), "here"),
    "a kind that ONNX lacks": (lambda: to_onnx(net(conv(name="a"), L.UnitNormalization(name="here"))), "here"),
    "an activation that ONNX lacks": (
        lambda: to_onnx(net(conv(activation=lambda x: x + 1))),
        "here",
    ),
    "a softmax over rows and columns": (lambda: to_onnx(net(conv(name="a"), L.Softmax((1, 2), name="here"))), "here"),
    "cubic resizing, ONNX": (lambda: to_onnx(net(L.UpSampling2D(interpolation="bicubic", name="here"))), "here"),
    "cubic resizing, LiteRT": (lambda: to_litert(net(L.UpSampling2D(interpolation="bicubic", name="here"))), "here"),
    "dilated and transposed": (
        lambda: to_litert(net(L.Conv2DTranspose(4, 3, dilation_rate=2, name="here"))),
        "here",
    ),
    "int8 without images": (lambda: to_int8(net(conv())), ""),
    "int8 of a transposed convolution": (lambda: to_int8(quantized(L.Conv2DTranspose(4, 3, name="here"))), "here"),
    "int8 without an output format": (lambda: to_int8(with_formats(F8, F8, None)), "here"),
    "int8 of 12 bits": (lambda: to_int8(with_formats(F12, F8, F8)), "here"),
    "int8 with a bias off the grid": (lambda: to_int8(with_formats(*EIGHT, bias=F8)), "here"),
    "int16x8 of 16-bit kernels": (lambda: to_int16(with_formats(F16, *EIGHT[1:])), "here"),
    "int16x8 of an activation": (
        lambda: to_int16(quantized(before(), L.Activation("tanh", name="here"))),
        "here",
    ),
    "int8 inputs of floats": (lambda: to_litert(net(conv()), int8_io=True), ""),
    "int8 inputs of two formats": (lambda: to_litert(two_readers(), "int8", int8_io=True), "net"),
    "int8 sums of many bits": (lambda: to_int8(with_formats(FixedPoint(-30, 8), *EIGHT[1:])), "here"),
    "int8 of codes with and without a sign": (lambda: to_int8(two_signs()), "here"),
    "int8 of an activation without format": (
        lambda: to_int8(
            quantized(before(), L.Activation("tanh", name="here"), formats={"before": EIGHT, "out": EIGHT})
        ),
        "here",
    ),
    "int8 of a function in a layer": (
        lambda: to_int8(by_hand(quantized_conv(activation="tanh", name="here"), quantized_conv())),
        "here",
    ),
    "Core ML of gelu": (lambda: write_package(quantized(before(), L.Activation("gelu", name="here"))), "here"),
    "Core ML with batch normalization": (
        lambda: write_package(
            quantized(before(), L.ReLU(), L.BatchNormalization(name="here"), fold_batch_normalization=False)
        ),
        "here",
    ),
    "Core ML as a folder of another name": (lambda: deploy.write_coreml(net(conv()), Path("net.onnx")), "net.onnx"),
    "Core ML in no folder": (lambda: deploy.write_coreml(net(conv()), Path("none/net.mlpackage")), "none"),
    "C of 16-bit pixels": (lambda: write_program(integer_network(conv(), levels=65536)), ""),
    "C in a folder that exists": (lambda: write_c(integer_network(conv()), Path.cwd()), ""),
    "CMSIS-NN where it computes nothing": (
        lambda: write_c(integer_network(conv()), Path("none"), kernels="cmsis-nn"),
        "",
    ),
    "CMSIS-NN for Arduino": (
        lambda: write_c(integer_network(conv()), Path("none"), package="arduino", kernels="cmsis-nn"),
        "",
    ),
    "C in no folder": (lambda: write_c(integer_network(conv()), Path("none/such/folder")), "none"),
    "integers of 16-bit pixels, ONNX": (lambda: to_integer_onnx(integer_network(conv(), levels=65536)), "net"),
    "products of 16 bits, ONNX": (lambda: to_integer_onnx(integer_network(conv(), formats=WIDE)), "here"),
    "sums of many bits, ONNX": (
        lambda: to_integer_onnx(integer_network(conv(bias_initializer=keras.initializers.Constant(1e7)))),
        "here",
    ),
    "codes of many bits, ONNX": (lambda: to_integer_onnx(integer_network(conv(), formats=(*WIDE[:2], None))), "here"),
    "codes of many bits, C": (lambda: write_program(integer_network(conv(), formats=(*WIDE[:2], None))), "out"),
    "C in a folder that cannot be": (lambda: write_c(integer_network(conv()), Path("/proc/none")), "none"),
    "Core ML over something else": (lambda: over_a_file(), "net.mlpackage"),
    "images of another scale": (lambda: deploy.to_pixels(integer_network(conv()), IMAGES), ""),
    "images that are floats": (lambda: integer_network(conv()).run(IMAGES), ""),
    "pixels out of range": (lambda: integer_network(conv()).run(np.full((1, 8, 8, 4), 300)), ""),
    "integers rounded as the thesis does": (lambda: deploy.operations.divide_rounded(np.ones(1, int), 3, "thesis"), ""),
    "a kernel of too many bits in a page": (lambda: deploy.page_program(quantized(conv())), "here"),
    "a transposed convolution in a page": (lambda: page(quantized(L.Conv2DTranspose(4, 3, name="here"))), "here"),
    "two outputs in a page": (lambda: page(two_outputs()), "net"),
    "QONNX of floats": (lambda: deploy.to_qonnx(net(conv())), "net"),
    "QONNX of one bit": (lambda: deploy.to_qonnx(quantized(conv(), formats=(FixedPoint(0, 1), F8, F8))), "here"),
    "QONNX of filters far apart": (
        lambda: deploy.to_qonnx(with_formats((F8, F8, F8, FixedPoint(30, 8)), F8, F8)),
        "here",
    ),
    "hls4ml of a ReLU with another cap": (lambda: to_hls4ml(before(), L.ReLU(4, name="here")), "here"),
    "hls4ml of zeros that are pooled": (lambda: to_hls4ml(L.ZeroPadding2D(name="here"), L.MaxPooling2D()), "here"),
    "hls4ml of zeros that one of two convolves": (
        lambda: to_hls4ml(L.ZeroPadding2D(name="here"), joined_to(L.MaxPooling2D(3, 1), L.Conv2D(4, 3))),
        "here",
    ),
    "hls4ml of the thesis' rounding": (lambda: to_hls4ml(conv(), rounding="thesis"), "here"),
    "hls4ml of a kind it lacks": (lambda: to_hls4ml(L.Conv2DTranspose(4, 3, name="here")), "here"),
    "hls4ml of a function": (lambda: to_hls4ml(before(), L.Activation("tanh", name="here")), "here"),
    "hls4ml of a late bias": (
        lambda: to_hls4ml(conv(), formats=(*EIGHT, FixedPoint(3, 8)), bias_order="output"),
        "here",
    ),
    "hls4ml of a dilated kernel": (lambda: to_hls4ml(conv(dilation_rate=2)), "here"),
    "hls4ml of a matrix": (lambda: to_hls4ml(L.Dense(4, name="here")), "here"),
    "hls4ml of three that are added": (
        lambda: to_hls4ml(lambda x: L.Add(name="here")([L.Conv2D(4, 1)(x) for _ in range(3)])),
        "here",
    ),
    "hls4ml of rows that are joined": (
        lambda: to_hls4ml(lambda x: L.Concatenate(1, name="here")([L.Conv2D(4, 1)(x) for _ in range(2)])),
        "here",
    ),
    "hls4ml of a padded average": (
        lambda: to_hls4ml(before(), L.AveragePooling2D(3, padding="same", name="here")),
        "here",
    ),
    "hls4ml of overlapping windows as a stream": (
        lambda: to_hls4ml(before(), L.MaxPooling2D(3, 2, name="here"), streaming=True),
        "here",
    ),
    "hls4ml of a stream that is reshaped": (
        lambda: to_hls4ml(before(), L.Reshape((16, 16), name="here"), L.MaxPooling1D(2), streaming=True),
        "here",
    ),
    "hls4ml without a clock": (lambda: to_hls4ml(conv(), clock=0.0), ""),
    "hls4ml for another tool": (lambda: to_hls4ml(conv(), backend="Quartus"), ""),
    "hls4ml in a folder that exists": (lambda: to_hls4ml(conv(), folder=Path.cwd()), ""),
    "Verilog of a large kernel": (lambda: to_engine(conv(kernel_size=7)), "here"),
    "Verilog of a dilated kernel": (lambda: to_engine(conv(dilation_rate=2)), "here"),
    "Verilog of a stride of 3": (lambda: to_engine(conv(strides=3)), "here"),
    "Verilog of wide pixels": (lambda: to_engine(conv(), formats=(F8, FixedPoint(3, 24), F8)), "here"),
    "Verilog of wide weights": (lambda: to_engine(conv(), formats=(FixedPoint(0, 20), *EIGHT[1:])), "here"),
    "Verilog of wide sums": (
        lambda: to_engine(conv(bias_initializer=keras.initializers.Constant(1e12)), formats=WIDE),
        "here",
    ),
    "Verilog of codes of many bits": (lambda: to_engine(conv(), formats=(*WIDE[:2], None)), "here"),
    "Verilog of dense layers": (lambda: to_engine(L.GlobalAveragePooling2D()), "net"),
    "an engine of another width": (lambda: EngineDesign(pixel_bits=12), ""),
    "an engine of no words": (lambda: EngineDesign(words=0), ""),
    "an engine too small": (lambda: to_engine(conv(), design=EngineDesign(columns=4)), "here"),
    "a file that is no ONNX": (lambda: deploy.ONNXRunner(b"no file"), ""),
}


def write_package(model):
    deploy.write_coreml(model, Path("refused.mlpackage"))


def to_hls4ml(*build, rounding="nearest", folder=Path("refused"), formats=EIGHT, bias_order="accumulator", **settings):
    model = quantized(*build, formats=formats, rounding=rounding, bias_order=bias_order)
    deploy.write_hls4ml(model, lower(model), folder, deploy.HLS4MLSettings(**settings))


def to_engine(*build, formats=EIGHT, design=None):
    network = integer_network(*build, formats=formats)
    plan_jobs(network, design or design_for(network))


def joined_to(*both):
    return lambda x: L.Concatenate()([layer(x) for layer in both])


def over_a_file():
    with TemporaryDirectory() as folder:
        Path(folder, "net.mlpackage").touch()
        deploy.write_coreml(net(conv()), Path(folder, "net.mlpackage"))


def write_program(network):
    write_c(network, Path("refused"))


CASES = QUANTIZATION | PRUNING | INTEGERS | EXPORTS


@cache
def message(case):
    with pytest.raises(InputError) as refused:
        CASES[case][0]()
    return str(refused.value)


# What a message must be

VERBS = (
    "build|calibrate|choose|clip|convert|enable|end|export|give|install|keep|leave|load|look at|make|measure|perhaps|"
    "prepare|put|quantize|raise|remove|Reshape|resize|scale|set|take|train|use|write"
)
WAY_OUT = re.compile(
    rf"(^|[;:,] (and |or )?|\bor )({VERBS})\b|\w+=|\bmust (be|hold|have)\b|\btakes? (at most|one|bytes)\b|is one of|"
    r"needs (exactly|at least)|there (is|are)\b|\) (folds|gives|returns|lists)\b|\w (gives|makes|folds)\b|are needed|"
    r"\btake\b|LiteRT in float32 does|files? (can|take)\b|has filters \d"
)
NEVER = re.compile(r"\n|array\(|<(?!lambda>)[a-zA-Z]|object at 0x|KerasTensor|tf\.Tensor|(?<!or )\bNone\b|\{'|dtype=")


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_is_one_sentence_that_names_the_layer_and_a_way_out(case):
    said = message(case)
    assert not NEVER.search(said), said
    assert not re.search(r"[.!?]( [A-Z]|$)", said) and len(said) < 400, said
    assert CASES[case][1] in said
    assert WAY_OUT.search(said), said


def test_a_way_out_is_not_one_that_was_taken_or_is_refused_as_well():
    assert message("batch normalization of rows").endswith("build it with axis=-1, so that it can be folded")
    assert "ONNX" not in message("resizing") + message("a slice of the channels")


@pytest.mark.parametrize("case", CASES)
def test_what_a_refusal_names_exists(case):
    said = re.sub(r"'[^']*'|/\S+|_\d+\b", "", message(case))  # values, paths and Keras' numbers are not names
    named = set(re.findall(r"\b\w+(?=\()", said)) | set(re.findall(r"\b\w+(?==)", said))
    named |= set(re.findall(r"\b[a-z]+(?:_[a-z0-9]+)+\b", said)) | set(re.findall(r"\b[A-Z][a-z]\w*[A-Z]\w*\b", said))
    unknown = {name for name in named if name not in known_names() and name not in OTHER_WORDS}
    assert not unknown, said


OTHER_WORDS = {"LiteRT", "NumPy", "NaN", "InputError", "KERAS_BACKEND", "GetItem", "get_item", "ap_ufixed"}


@cache
def known_names():
    """Return the public names of the library and of Keras' layers, and the names of their arguments."""
    names = [module.name for module in pkgutil.walk_packages(fewbits.__path__, "fewbits.")]
    if not find_spec("amaranth"):
        names = [name for name in names if not name.startswith("fewbits.deploy.hardware.")]
    modules = [importlib.import_module(name) for name in names if name.split(".")[1] in PACKAGES]
    found = set(vars(keras.layers)) | set(vars(keras.activations)) | {"fewbits"}
    objects = [vars(m).get(name) or getattr(m, name) for m in modules for name in dir(m) if not name.startswith("_")]
    objects += [L.Conv2D, L.UpSampling2D, keras.Model, keras.ops.gelu]
    for thing in objects:
        found.add(getattr(thing, "__name__", ""))
        if inspect.isclass(thing):
            members = [value for name, value in vars(thing).items() if inspect.isfunction(value) and name[0] != "_"]
            found |= {member.__name__ for member in members} | {p for m in members for p in _arguments(m)}
        found |= _arguments(thing) if callable(thing) and not isinstance(thing, ModuleType) else set()
    return found


def _arguments(function):
    try:
        return set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return set()


# Every refusal has a case

UNTRIGGERED = {  # part of a site -> why no small network shows it
    "was quantized by Keras ({mode})": "Keras needs data for such a mode; tests/quantization/test_adapted.py",
    "deploy/hls4ml: f'{COMPILER} cannot compile": "a damaged project; tests/deploy/test_hls4ml.py",
    "deploy/hls4ml: f'there is no": "only without g++; tests/deploy/test_hls4ml.py",
    "deploy/verilated": "only with, or only without, Verilator; tests/deploy/test_verilog_project.py",
    "deploy/synthesis": "only without Yosys; tests/deploy/test_synthesis.py",
    "deploy/compiled": "only with, or only without, a C compiler; tests/deploy/test_compiled.py",
    "deploy/emulation": "only with, or only without, a cross compiler; tests/deploy/test_emulation.py",
    "coremltools cannot convert": "coremltools fails; tests/deploy/test_coreml.py",
    "Core ML has": "coremltools errs; tests/deploy/test_coreml.py",
    "or not a Core ML package": "a damaged package; tests/deploy/test_coreml.py",
    "deploy/litert: f'LiteRT": "the converter errs",
    "needs integers of {loop.bits}": "lower refuses it first",
    "multiplies codes of more than 32 bits": "lower asks for an input format first",
    "sums up to {operation.partial_bits}": "the codes of such sums are refused first",
    "joins codes of {bits}": "what it makes is refused first; tests/deploy/test_onnx_integer.py",
    "the converter has lost": "the converter errs",
    "deploy/tensorflow_process": "under JAX; tests/deploy/test_tensorflow_process.py",
}


def sites():
    """Yield `package/module: template` of each InputError, and a pattern that its messages match."""
    for package in PACKAGES:
        for path in sorted((SOURCE / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "InputError":
                    pattern = _pattern(node.args[0])
                    if len(re.sub(r"\.\*|\\", "", pattern)) > 12:
                        yield f"{package}/{path.stem}: {ast.unparse(node.args[0])}", re.compile(pattern)


def _pattern(node):
    if isinstance(node, ast.Constant):
        return re.escape(str(node.value))
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_pattern, node.values))
    if isinstance(node, ast.IfExp):
        return f"({_pattern(node.body)}|{_pattern(node.orelse)})"
    return ".*"


def test_every_refusal_in_the_source_has_a_case():
    said = [message(case) for case in CASES]
    without = {site for site, pattern in sites() if not any(pattern.search(each) for each in said)}
    assert sorted(site for site in without if not any(part in site for part in UNTRIGGERED)) == []
    assert [part for part in UNTRIGGERED if not any(part in site for site in without)] == []

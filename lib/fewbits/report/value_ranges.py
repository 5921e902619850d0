"""Where the values of each layer lie: histograms, percentiles, MSBs, what is clipped, and channels that stand out."""

import warnings
from collections.abc import Iterator
from math import isfinite, log2
from typing import Any

import numpy as np

from fewbits.backend import keras
from fewbits.errors import CalibrationWarning
from fewbits.names import LEAST_ERROR
from fewbits.quantization.fixedpoint import FixedPoint
from fewbits.quantization.float_network import FloatNetwork
from fewbits.quantization.layers import QUANTIZED, Formats, by_filter
from fewbits.quantization.observation import Values, observe_ranges
from fewbits.quantization.range_rules import PERCENTILES, msb_from_limits, msb_of_least_error, percentile_limits
from fewbits.quantization.sqnr import quantization_error
from fewbits.report.measurements import SkewedChannels, ValueRange
from fewbits.report.samples import ImageSample

RULE = 99.9  # percentile that sets the formats of a report
BINS = 48
SKEWED = 3.0  # bits that the median channel loses; fewer are usual


def observe_value_ranges(
    network: keras.Model, sample: ImageSample, formats: dict[str, Formats]
) -> tuple[list[ValueRange], list[SkewedChannels]]:
    """Return where the values of each layer lie, and layers whose channels differ much in range.

    Args:
        network: A network that `quantize_model` accepts, quantized or not.
        sample: The calibration images.
        formats: Layer name -> formats of which clipping and SQNR are measured, with the MSBs of percentile RULE.

    Returns:
        One ValueRange per layer and kind in the order of the network, and the skewed layers.

    Raises:
        InputError: as `quantization.observation.observe`.
    """
    ranges, skewed, floats = [], [], FloatNetwork(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)  # the formats of the report were found before, and warned
        for layer, values in observe_ranges(network, sample.inputs):
            ceiling = floats.ceiling_of(floats.model.get_layer(layer.name))
            for kind, array in _kinds(values):
                fmt = getattr(formats[layer.name], kind)
                if kind == "output" and not fmt.signed and ceiling is not None:
                    array = np.clip(array, 0, ceiling)  # what the ReLU after it passes on
                ranges.append(_range(layer.name, kind, array, fmt))
            skewed += _skewed(layer, values)
    return ranges, skewed


def _kinds(values: Values) -> Iterator[tuple[str, np.ndarray]]:
    for kind in ("kernel", "input", "output"):
        array = getattr(values, kind)
        if array is not None:
            yield kind, np.asarray(array, np.float64)


def _range(layer: str, kind: str, values: np.ndarray, fmt: FixedPoint) -> ValueRange:
    limits = {f"{rule:g}": percentile_limits(values, rule) for rule in (*PERCENTILES, 100)}
    msbs = {rule: msb_from_limits(*pair, fmt.signed) for rule, pair in limits.items()} | {f"{RULE:g}": fmt.msb}
    error = quantization_error(values, fmt, "nearest")
    low, high = limits["100"]
    counts, _ = np.histogram(values, BINS, (low, high) if low < high else None)
    return ValueRange(
        layer=layer,
        kind=kind,
        low=low,
        high=high,
        counts=tuple(map(int, counts)),
        percentiles=limits,
        msbs=msbs | {LEAST_ERROR: msb_of_least_error(values, fmt.nbits, signed=fmt.signed)},
        signed=fmt.signed,
        clipped=error.clipped,
        sqnr=error.sqnr if isfinite(error.sqnr) else None,
    )


def _skewed(layer: Any, values: Values) -> list[SkewedChannels]:
    if type(layer) not in QUANTIZED:
        return []
    found = []
    for kind, columns in (("kernel", by_filter(layer, values.kernel)), ("output", values.output)):
        largest = np.abs(columns).reshape(-1, columns.shape[-1]).max(0)
        used = largest[largest > 0]
        if len(used) > 1 and (lost := log2(used.max() / np.median(used))) >= SKEWED:
            found.append(SkewedChannels(layer.name, kind, lost, int(largest.argmax())))
    return found

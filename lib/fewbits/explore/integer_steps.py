"""How integers make each code of a layer: products, their sum, a shift with a rounding, and a clip.

Python gives the page the codes that a layer reads, its kernel and its formats. The page computes each step and shows
the sum and the code in binary. Without JavaScript the steps of one place remain, as a table.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

import numpy as np

from fewbits.deploy.integer import IntegerNetwork
from fewbits.deploy.operations import Clip, Convolve, Operation, Requantize, divide_rounded
from fewbits.errors import InputError
from fewbits.explore import plots, readers
from fewbits.names import INTEGER_ROUNDINGS

SCRIPTS = "formats", "integer_steps"


@dataclass(frozen=True)
class IntegerSteps:
    """One layer of an integer network for one image, to step through place by place and filter by filter.

    Attributes:
        network: The integer network.
        layer: Name of a convolution that reads one channel and has an output format.
        image: The pixels of one image, integers (height, width, channels).
        label: The number of the figure.
        caption: What the figure shows.
        alt: What the tables of codes show, for those who do not see them.

    Raises:
        InputError: naming the layer, when it is of another kind.
    """

    network: IntegerNetwork
    layer: str
    image: np.ndarray
    label: str
    caption: str
    alt: str

    def __post_init__(self) -> None:
        found = [operation for operation in self.network.operations if operation.layer == self.layer]
        kinds = [type(operation) for operation in found]
        if Convolve not in kinds or Requantize not in kinds[kinds.index(Convolve) :]:
            raise InputError(f"layer {self.layer} is no convolution with an output format; choose one that is")
        convolution = found[kinds.index(Convolve)]
        channels = self.network.tensors[convolution.inputs[0]].shape[2]
        if channels > 1:
            raise InputError(f"layer {self.layer} reads {channels} channels; choose a layer that reads one")

    def show(self) -> None:
        """Display the steps; they run in JupyterLab as in the page."""
        from IPython.display import HTML, display

        display(HTML(self.html()))

    def html(self) -> str:
        """Return the figure as HTML, with its scripts and its style."""
        return (
            f'<figure class="fewbits-integer-steps" id="{plots.anchor(self.label)}" aria-label="{escape(self.alt)}">'
            f"<style>{readers.page_file('integer_steps.css')}</style>{readers.page_file('integer_steps.html')}"
            f"{plots.as_script(json.dumps(self._data(), separators=(',', ':')))}{readers.page_scripts(SCRIPTS)}"
            f"{plots.caption_html(self.label, self.caption, self._table())}</figure>"
        )

    @cached_property
    def codes(self) -> np.ndarray:
        """The codes that the layer reads, int64 (height, width), with the zeros around them."""
        codes: dict[int, Any] = {0: self.image[np.newaxis].astype(np.int64) - np.asarray(self.network.mean)}
        for number, operation in enumerate(self.network.operations, 1):
            if operation is self._convolution:
                break
            codes[number] = operation.compute(*(codes[i] for i in operation.inputs))
        [read] = self._convolution.inputs
        return np.pad(codes[read][0, :, :, 0], self._convolution.padding)

    def steps(self, row: int, column: int, filter: int, rounding: str) -> dict[str, int]:
        """Return the numbers from products to code at one place.

        Args:
            row: Of the output.
            column: Of the output.
            filter: Of the layer.
            rounding: One of INTEGER_ROUNDINGS.

        Returns:
            What each step makes: the sum of the products, the sum with the bias, the rounded quotient, and the code.
        """
        convolution = self._convolution
        height, width = convolution.kernel.shape[:2]
        (down, right), (below, beside) = convolution.strides, convolution.dilation
        top, left = row * down, column * right
        window = self.codes[top : top + below * height : below, left : left + beside * width : beside]
        products = int((window * convolution.kernel[:, :, 0, filter]).sum())
        total = products + int(convolution.bias[filter])
        shift = self._shifts[filter]
        rounded = int(divide_rounded(np.int64(total << max(-shift, 0)), 1 << max(shift, 0), rounding))
        return {
            "products": products,
            "sum": total,
            "rounded": rounded,
            "code": max(self._low, min(rounded, self._high)),
        }

    @property
    def _operations(self) -> list[Operation]:
        return [operation for operation in self.network.operations if operation.layer == self.layer]

    @property
    def _convolution(self) -> Any:
        return next(operation for operation in self._operations if isinstance(operation, Convolve))

    @property
    def _rescaling(self) -> Any:
        after = self._operations[self._operations.index(self._convolution) :]
        return next(operation for operation in after if isinstance(operation, Requantize))

    @property
    def _shifts(self) -> list[int]:
        return np.broadcast_to(self._rescaling.shift, self._convolution.output.shape[2:]).tolist()

    @property
    def _low(self) -> int:
        """The smallest code: 0 after a ReLU."""
        last = self._operations[-1]
        return last.low if isinstance(last, Clip) else self._rescaling.low

    @property
    def _high(self) -> int:
        last = self._operations[-1]
        return min(last.high, self._rescaling.high) if isinstance(last, Clip) else self._rescaling.high

    def _data(self) -> dict[str, Any]:
        convolution, rescaling = self._convolution, self._rescaling
        return {
            "codes": self.codes.tolist(),
            "padding": convolution.padding,
            "kernel": np.moveaxis(convolution.kernel[:, :, 0], -1, 0).tolist(),  # filter, row, column
            "bias": convolution.bias.tolist(),
            "shape": convolution.output.shape,
            "strides": convolution.strides,
            "dilation": convolution.dilation,
            "bits": {"sum": convolution.partial_bits, "code": (rescaling.high - rescaling.low).bit_length()},
            "shifts": self._shifts,
            "rounding": rescaling.rounding,
            "limits": [rescaling.low, rescaling.high],
            "relu": isinstance(self._operations[-1], Clip),
            "highest": self._high,
            "start": self._start,
            "exponent": rescaling.output.exponent,
        }

    @property
    def _start(self) -> tuple[int, int]:
        """The place where the first filter makes its largest code."""
        height, width, _ = self._convolution.output.shape
        rounding = self._rescaling.rounding
        places = [(row, column) for row in range(height) for column in range(width)]
        return max(places, key=lambda place: self.steps(place[0], place[1], 0, rounding)["code"])

    def _table(self) -> plots.Table:
        row, column = self._start
        rows = [(rounding, *self.steps(row, column, 0, rounding).values()) for rounding in INTEGER_ROUNDINGS]
        where = f"Row {row + 1}, column {column + 1}, filter 1; shifted by {self._shifts[0]} bits."
        return plots.Table(("rounding", "sum of products", "with the bias", "after the shift", "code"), rows, where)

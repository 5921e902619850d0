"""The network of the front page: a reader draws a digit, turns its formats, and sees at once what it reads.

The page computes everything itself, with the integers that `fewbits.deploy.IntegerNetwork` computes. Python gives it
the network, the MSBs for each number of bits, and test images. Without JavaScript a bar chart and a table remain.
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from html import escape
from typing import Any

from fewbits.backend import keras
from fewbits.data.dataset import Dataset, Split
from fewbits.deploy.in_page import round_for_page
from fewbits.deploy.lowering import lower
from fewbits.explore import plots, readers
from fewbits.quantization.calibration import formats_of
from fewbits.quantization.conversion import QuantizedModel, quantize_model
from fewbits.quantization.fixedpoint import FixedPoint
from fewbits.quantization.layers import Formats
from fewbits.quantization.streaming import layer_summaries
from fewbits.statistics import Share

BITS = range(2, 17)
SEEN = 64  # training images that set the MSBs
SCRIPTS = (
    *readers.SCRIPTS,
    "pad", "probabilities", "maps", "layer_maps", "weight_histogram", "controls", "score", "playground",
)  # fmt: skip


@dataclass(frozen=True)
class Preset:
    """A state of the playground's controls, the same for all layers.

    Attributes:
        weights: Bits of the weights.
        activations: Bits of inputs and outputs.
        shift: Added to the MSB of the weights.
        rounding: Of weights and activations.
        unsigned: Whether inputs and outputs that are never negative have unsigned formats.
    """

    weights: int
    activations: int
    shift: int = 0
    rounding: str = "nearest"
    unsigned: bool = False


PRESETS = {
    "8 bits": Preset(8, 8),
    "5 bits": Preset(5, 5),
    "5 bits, rounded down": Preset(5, 5, rounding="floor"),
    "4 bits": Preset(4, 4),
    "3 bits, unsigned": Preset(3, 3, unsigned=True),
    "2 bits: broken": Preset(2, 2),
}
"""The buttons of the playground; the first is where it begins."""


@dataclass(frozen=True)
class Playground:
    """A network that reads drawn digits in the page, at any number of bits.

    Attributes:
        network: A float network that `fewbits.deploy.in_page` supports.
        dataset: Square images of one channel with grey levels from 0 to 16; its training part sets the MSBs.
        label: The number of the figure.
        caption: What the figure shows.
        alt: A text alternative to the chart that stands for the figure where there is no JavaScript.
        count: Test images whose share of right answers is shown.
        samples: How many of them the reader can pick.
    """

    network: keras.Model
    dataset: Dataset
    label: str
    caption: str
    alt: str
    count: int = 300
    samples: int = 20

    def show(self) -> None:
        """Display the playground; it runs in JupyterLab as in the page."""
        from IPython.display import HTML, display

        display(HTML(self.html()))

    def html(self) -> str:
        """Return the playground as HTML, with its scripts and its style."""
        return (
            f'<figure class="fewbits-playground" id="{plots.anchor(self.label)}">'
            f"<style>{readers.page_file('playground.css')}</style>{readers.page_file('playground.html')}"
            f"<noscript>{_bars_svg(self.accuracies, self.alt)}</noscript>"
            f"{plots.as_script(json.dumps(self._data(), separators=(',', ':')))}"
            f"{readers.page_scripts(SCRIPTS)}"
            f"{plots.caption_html(self.label, self.caption, self._table())}</figure>"
        )

    def formats(self, preset: Preset) -> dict[str, Formats]:
        """Return the formats that a preset gives to each layer.

        Args:
            preset: The preset.
        """
        of_weights, of_values = (self._tables[preset.unsigned, n] for n in (preset.weights, preset.activations))
        return {
            layer: found._replace(kernel=_shifted(of_weights[layer].kernel, preset.shift))
            for layer, found in of_values.items()
        }

    @cached_property
    def accuracies(self) -> dict[str, Share]:
        """The share of the test images that the network reads: in float, and as integers with each preset."""
        images, labels = self._test.images, self._test.labels
        logits = self.network.predict(self.dataset.scaled(self._test), verbose=0)
        found = {"float": Share.of(logits.argmax(-1) == labels)}
        for name, preset in PRESETS.items():
            self._quantized.set_formats(self.formats(preset))
            self._quantized.set_rounding(preset.rounding)
            codes = lower(self._quantized, levels=self.dataset.levels).run(images)
            found[name] = Share.of(codes.argmax(-1) == labels)
        return found

    @cached_property
    def _test(self) -> Split:
        return self.dataset.test.take(self.count)

    @cached_property
    def _tables(self) -> dict[tuple[bool, int], dict[str, Any]]:
        """Unsigned or not, and bits -> layer -> Formats, in which no FixedPoint is missing."""
        images, _ = self.dataset.arrays("train", SEEN)
        summaries = list(layer_summaries(self.network, images))
        widths = [(n,) * 3 for n in BITS]
        return {
            (unsigned, bits): table
            for unsigned in (False, True)
            for (bits, _, _), table in formats_of(summaries, widths, "mse", signed=not unsigned).items()
        }

    @cached_property
    def _quantized(self) -> QuantizedModel:
        quantized = quantize_model(self.network, self.formats(next(iter(PRESETS.values()))), rounding="nearest")
        round_for_page(quantized)
        return quantized

    def _data(self) -> dict[str, Any]:
        msbs: dict[str, dict[int, Any]] = {"signed": {}, "unsigned": {}}
        for (unsigned, bits), table in self._tables.items():
            msbs["unsigned" if unsigned else "signed"][bits] = {
                layer: [kernel.msb, [x.msb, x.signed], [y.msb, y.signed]] for layer, (kernel, x, y, _) in table.items()
            }
        return {
            "reader": readers.reader_data(self._quantized, self._test, self.dataset.levels),
            "classes": self.dataset.classes,
            "samples": self.samples,
            "presets": {name: asdict(preset) for name, preset in PRESETS.items()},
            "msbs": msbs,
        }

    def _table(self) -> plots.Table:
        rows = [(name, share.hits, share.n, f"{share.value:.1%}") for name, share in self.accuracies.items()]
        return plots.Table(("formats", "read", "of", "share"), rows)


def _shifted(fmt: FixedPoint, shift: int) -> FixedPoint:
    return FixedPoint(fmt.msb + shift, fmt.nbits, fmt.signed)


def _bars_svg(accuracies: dict[str, Share], alt: str) -> str:
    """Return a bar chart for a page without scripts; its text takes the page's colour."""
    rows = []
    for number, (name, share) in enumerate(accuracies.items()):
        y = 34 * number
        rows.append(
            f'<text x="0" y="{y + 19}">{escape(name)}</text>'
            f'<rect x="190" y="{y + 4}" width="{330 * share.value:.0f}" height="20" fill="{plots.BLUE}"/>'
            f'<text x="{200 + 330 * share.value:.0f}" y="{y + 19}">{share.value:.1%}</text>'
        )
    return (
        f'<svg viewBox="0 0 600 {34 * len(rows)}" role="img" aria-label="{escape(alt)}" fill="currentColor" '
        f'font-size="15">{"".join(rows)}</svg>'
    )

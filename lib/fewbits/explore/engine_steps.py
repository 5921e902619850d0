"""How the hardware engine makes codes, window by window, as recorded in its simulation.

Python gives the page the planes, the weights and the trace of one filter. The page shows one transfer at a time: the
window, the sums of slices, the partial sum in binary, and behind the last plane the shift with its rounding. Without
JavaScript the numbers of one place remain, as a table.
"""

import json
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from fewbits.deploy.hardware.design import ENGINE_ROUNDINGS, NIBBLE, EngineDesign
from fewbits.deploy.hardware.job import EngineJob
from fewbits.deploy.hardware.trace import EngineTrace
from fewbits.explore import plots, readers

SCRIPTS = "formats", "engine_steps"


@dataclass(frozen=True)
class EngineSteps:
    """The first filter of a job on the engine, to step through window by window.

    Attributes:
        design: The engine.
        job: What it computed.
        trace: What was recorded.
        codes: The input codes, integers (height, width, channels).
        label: The number of the figure.
        caption: What the figure shows.
        alt: What its tables show, for those who do not see them.
    """

    design: EngineDesign
    job: EngineJob
    trace: EngineTrace
    codes: np.ndarray
    label: str
    caption: str
    alt: str

    def show(self) -> None:
        """Display the steps; they run in JupyterLab as in the page."""
        from IPython.display import HTML, display

        display(HTML(self.html()))

    def html(self) -> str:
        """Return the figure as HTML, with its scripts and its style."""
        return (
            f'<figure class="fewbits-engine-steps" id="{plots.anchor(self.label)}" aria-label="{escape(self.alt)}">'
            f"<style>{readers.page_file('engine_steps.css')}</style>{readers.page_file('engine_steps.html')}"
            f"{plots.as_script(json.dumps(self._data(), separators=(',', ':')))}{readers.page_scripts(SCRIPTS)}"
            f"{plots.caption_html(self.label, self.caption, self._table())}</figure>"
        )

    @property
    def weights(self) -> np.ndarray:
        """The weights of the first filter in the engine's window, int64 (planes, window, window)."""
        side, bits = self.design.window, NIBBLE << self.job.registers["slices"]
        words = self.job.weights[: self.job.planes.shape[1] * side, :, 0].reshape(-1, side, side)
        codes = (words & np.uint64(2**bits - 1)).astype(np.int64)
        return np.where(codes >> (bits - 1), codes - 2**bits, codes)

    @property
    def start(self) -> int:
        """The number of the first window at which rounding adds 1 and the code is not clipped; else of the last one."""
        totals, codes = self.trace.partial_sums[0, -1, ..., 0].ravel(), self.trace.codes[0, ..., 0].ravel()
        [found] = np.nonzero(codes == (totals >> self._shift) + 1)
        return self.trace.windows[0, ..., 0, 0].size - len(codes) + int(found[0] if len(found) else len(codes) - 1)

    @property
    def _shift(self) -> int:
        return int(self.job.filters[0, 0, 1])

    def _data(self) -> dict[str, Any]:
        registers, trace, slices = self.job.registers, self.trace, 1 << self.job.registers["slices"]
        places = trace.windows.shape[2:4]
        return {
            "planes": self.codes.transpose(2, 0, 1)[self.job.planes[0]].tolist(),
            "before": [registers["top"], registers["left"]],
            "stride": registers["stride_mask"] + 1,
            "places": places,
            "weights": self.weights.reshape(len(self.weights), -1).tolist(),
            "windows": trace.windows[0].reshape(-1, self.design.window**2).tolist(),
            "slices": trace.slice_sums[0, ..., :slices].reshape(-1, slices).tolist(),
            "sums": trace.window_sums[0, ..., 0].ravel().tolist(),
            "partial": trace.partial_sums[0, ..., 0].ravel().tolist(),
            "codes": trace.codes[0, ..., 0].ravel().tolist(),
            "bias": int(self.job.filters[0, 0, 0]),
            "shift": self._shift,
            "rounding": ENGINE_ROUNDINGS[registers["rounding"]],
            "limits": [registers["low"], registers["high"]],
            "bits": {"sum": self.design.sum_bits, "code": (registers["high"] - registers["low"]).bit_length()},
            "start": self.start,
        }

    def _table(self) -> plots.Table:
        """Return the sums of one place, plane by plane."""
        trace, places = self.trace, self.trace.windows.shape[2:4]
        row, column = divmod(self.start % (places[0] * places[1]), places[1])
        of_place = [part[0, :, row, column, 0] for part in (trace.window_sums, trace.partial_sums)]
        rows = [(plane + 1, int(total), int(partial)) for plane, (total, partial) in enumerate(zip(*of_place))]
        note = (
            f"Row {row + 1}, column {column + 1}; the bias is {self.job.filters[0, 0, 0]:,}. The last partial sum, "
            f"shifted by {self._shift} bits and rounded, becomes the code {trace.codes[0, row, column, 0]}."
        )
        return plots.Table(("plane", "sum of the window", "partial sum"), rows, note)

"""How fast the engine in gates computes whole networks: what data/reference/engine_speed.json holds."""

import json
from typing import NamedTuple

from fewbits.book import reference

CLOCK_MHZ = 100  # at which images per second are told


class LayerSpeed(NamedTuple):
    """What a layer takes on the engine, for one image.

    Attributes:
        layer: Its name.
        kernel: Height and width of its window.
        stride: The same both ways.
        input: (height, width, channels).
        output: (height, width, filters).
        weight_bits: Bits of the engine's weights: 4, 8 or 16.
        runs: Series of passes; each computes as many filters as fit.
        passes: How often the engine reads a plane of pixels.
        macs: Multiply-accumulates.
        peak_macs: Those that the engine could do in a cycle.
        ideal_cycles: Cycles in which it reads all pixels of all passes.
        cycles: Cycles that it takes.
        waits: Cycles by what the engine waited for in them.
        simulated_runs: How many of the runs were simulated; 0 if a layer of the same shape was.
        codes: Number of codes that were compared with those of the integer network.
        different: How many of them differ.
    """

    layer: str
    kernel: tuple[int, int]
    stride: int
    input: tuple[int, int, int]
    output: tuple[int, int, int]
    weight_bits: int
    runs: int
    passes: int
    macs: int
    peak_macs: int
    ideal_cycles: int
    cycles: int
    waits: dict[str, int]
    simulated_runs: int
    codes: int
    different: int

    @property
    def of_peak(self) -> float:
        """Multiply-accumulates per cycle, as a share of what the engine could do."""
        return self.macs / (self.cycles * self.peak_macs)


class NetworkSpeed(NamedTuple):
    """What the convolutions of a network take on an engine; a processor does the rest.

    Attributes:
        network: What the chapters call it.
        bits: Of weights.
        words: Words of 16 bits of weights that the engine multiplies each pixel of its window by in a cycle.
        window: Side of the engine's window.
        layers: Its layers, in topological order.
    """

    network: str
    bits: int
    words: int
    window: int
    layers: list[LayerSpeed]

    @property
    def cycles(self) -> int:
        """Cycles for one image, a layer after the other."""
        return sum(layer.cycles for layer in self.layers)

    @property
    def of_peak(self) -> float:
        """Multiply-accumulates per cycle, as a share of what the engine could do."""
        return sum(layer.macs for layer in self.layers) / sum(layer.cycles * layer.peak_macs for layer in self.layers)

    @property
    def images_per_second(self) -> float:
        """At a clock of CLOCK_MHZ."""
        return CLOCK_MHZ * 1e6 / self.cycles


def load_engine_speed() -> tuple[list[NetworkSpeed], str]:
    """Return what networks take on the engine, and a sentence that says how it was measured."""
    found = json.loads((reference.FOLDER / "engine_speed.json").read_text())
    networks = []
    for row in found["networks"]:
        layers = [
            LayerSpeed(**layer | {name: tuple(layer[name]) for name in ("kernel", "input", "output")})
            for layer in row["layers"]
        ]
        networks.append(
            NetworkSpeed(row["network"], row["bits"], row["design"]["words"], row["design"]["window"], layers)
        )
    tools, commit = found["tools"], found["run"]["commit"]
    made_with = f"Verilator {tools['verilator']}, Amaranth {tools['amaranth']}; code {commit['id'][:7]}."
    return networks, made_with

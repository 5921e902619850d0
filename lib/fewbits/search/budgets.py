"""Budgets of a network with mixed bits, and what it costs: bytes, MACs times bits, energy."""

import re
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from fewbits.costs import energy
from fewbits.costs.complexity import cost_table
from fewbits.errors import InputError, check_name
from fewbits.quantization.conversion import QuantizedModel
from fewbits.quantization.fixedpoint import MAX_NBITS_KERAS
from fewbits.search.storage import ACTIVATION, KERNEL, StoredTensor

BYTES, ACTIVATION_BYTES, BITOPS, ENERGY = "bytes", "activation-bytes", "bitops", "energy"
COSTS = {  # what a budget limits -> its unit
    BYTES: "bytes",
    ACTIVATION_BYTES: "bytes",
    BITOPS: "MACs x bits x bits",
    ENERGY: "pJ",
}
FLOAT_BITS = 32  # of the parameters that are not in kernels, such as biases
_PREFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "p": 1, "n": 10**3, "u": 10**6, "m": 10**9}
_UNITS = {"B": BYTES, "B-of-activations": ACTIVATION_BYTES, "bitops": BITOPS, "J": ENERGY}  # as amounts are written

Allocation = dict[str, int]
"""Name of a stored tensor -> its bits."""


class CostModel(NamedTuple):
    """One kind of cost as a function of bits: a sum over tensors, and over layers that multiply two of them.

    Attributes:
        fixed: What does not depend on the bits.
        per_bit: Name of a tensor -> cost of each of its bits.
        products: Names of the kernel and the activation that a layer multiplies -> its MACs.
        kind: One of COSTS, which says what a MAC costs.
    """

    fixed: float
    per_bit: dict[str, float]
    products: dict[tuple[str, str], int]
    kind: str

    def mac(self, kernel: int, activation: int) -> float:
        """Return the cost of one MAC.

        Args:
            kernel: Bits of the weight.
            activation: Bits of the input.
        """
        return energy.mac(kernel, activation) if self.kind == ENERGY else float(kernel * activation)

    def of(self, bits: Allocation) -> float:
        """Return the cost of a network with these bits, in the unit of COSTS.

        Args:
            bits: Of all tensors.
        """
        alone = sum(each * bits[name] for name, each in self.per_bit.items())
        products = (macs * self.mac(bits[k], bits[a]) for (k, a), macs in self.products.items())
        return self.fixed + alone + sum(products)


def cost_model(network: QuantizedModel, tensors: tuple[StoredTensor, ...], kind: str) -> CostModel:
    """Return how a kind of cost depends on the bits of a network.

    - `bytes`: kernels at their bits, all other parameters at 32. An MSB per filter is not counted.
    - `activation-bytes`: each activation at its bits, written once for one image.
    - `bitops`: over all layers, MACs times bits of the kernel times bits of the input.
    - `energy`: of these MACs and of reading each byte of the parameters once, from SRAM, in pJ; see `costs.energy`.

    Args:
        network: The quantized network.
        tensors: As `stored_tensors` returns them.
        kind: One of COSTS.

    Raises:
        InputError: on an unknown kind, and as `cost_table`.
    """
    check_name("cost", kind, COSTS)
    if kind == ACTIVATION_BYTES:
        return CostModel(0, {t.name: t.values / 8 for t in tensors if t.kind == ACTIVATION}, {}, kind)
    rows = cost_table(network)
    byte = energy.reading(1) if kind == ENERGY else 1.0
    kernels = {t.name: t.values for t in tensors if t.kind == KERNEL}
    others = sum(row.parameters for row in rows) - sum(kernels.values())
    fixed, per_bit = byte * others * FLOAT_BITS / 8, {name: byte * n / 8 for name, n in kernels.items()}
    if kind == BYTES:
        return CostModel(fixed, per_bit, {}, kind)
    macs = {row.name: row.macs for row in rows}
    at = {place: t.name for t in tensors for place in t.places}
    names = [layer.name for layer in network.quantized_layers]
    products = {(at[name, "kernel"], at[name, "input"]): macs[name] for name in names}
    return CostModel(fixed, per_bit, products, kind) if kind == ENERGY else CostModel(0, {}, products, kind)


@dataclass(frozen=True)
class Budget:
    """The most that a network may cost.

    Attributes:
        cost: One of COSTS.
        amount: In the unit of the cost; or the share, from 0 to 1, of what the network costs with `of_bits` everywhere.
        of_bits: Bits of the network that the share is of; None for an absolute amount.

    Raises:
        InputError: on an unknown cost, an amount that is not above 0, and bits out of range.

    Example:
        >>> print(Budget("bytes", 0.6, of_bits=8))
        60%-of-8-bit-bytes
    """

    cost: str
    amount: float
    of_bits: int | None = None

    def __post_init__(self) -> None:
        check_name("cost", self.cost, COSTS)
        if not 0 < self.amount < float("inf"):
            raise InputError(f"a budget must be above 0, not {self.amount!r}")
        if self.of_bits is not None and not 1 <= self.of_bits <= MAX_NBITS_KERAS:
            raise InputError(f"a budget is a share of 1 to {MAX_NBITS_KERAS} bits everywhere, not of {self.of_bits}")

    def __str__(self) -> str:
        if self.of_bits is None:
            unit = next(unit for unit, cost in _UNITS.items() if cost == self.cost)
            return f"{self.amount:.15g}{'p' if self.cost == ENERGY else ''}{unit}"
        return f"{100 * self.amount:.6g}%-of-{self.of_bits}-bit-{self.cost}"

    def limit(self, costs: CostModel) -> float:
        """Return the most that the network may cost, in the unit of the cost.

        Args:
            costs: Of the network, for the cost of this budget.
        """
        return self.amount if self.of_bits is None else self.amount * _uniform(costs, self.of_bits)

    def share(self, costs: CostModel, cost: float) -> "Budget":
        """Return a budget of the same kind that allows `cost`, rounded up, a share to a tenth of a per cent.

        Args:
            costs: Of the network, for the cost of this budget.
            cost: In the unit of the cost.
        """
        if self.of_bits is None:
            return Budget(self.cost, ceil(cost))
        per_mille = -(-1000 * cost // _uniform(costs, self.of_bits))
        return Budget(self.cost, per_mille / 1000, self.of_bits)


def _uniform(costs: CostModel, bits: int) -> float:
    names = {*costs.per_bit, *(name for pair in costs.products for name in pair)}
    return costs.of(dict.fromkeys(names, bits))


def read_budget(text: str) -> Budget:
    """Return the budget that a text names.

    Args:
        text: `60%-of-8-bit-bytes`, with any of COSTS; or an amount: `500kB`, `60kB-of-activations`, `3Gbitops`,
            `20uJ`.

    Raises:
        InputError: when it is something else.

    Example:
        >>> read_budget("500kB").amount
        500000.0
    """
    share = re.fullmatch(rf"(\d+(?:\.\d+)?)%-of-(\d+)-bit-({'|'.join(COSTS)})", text)
    if share:
        return Budget(share[3], float(share[1]) / 100, int(share[2]))
    amount = re.fullmatch(rf"(\d+(?:\.\d+)?) ?(?:([kMGT]?)({'|'.join(set(_UNITS) - {'J'})})|([pnum])(J))", text)
    if amount:
        prefix, unit = amount[2] or amount[4] or "", amount[3] or amount[5]
        return Budget(_UNITS[unit], float(amount[1]) * _PREFIXES[prefix])
    raise InputError(
        f"{text!r} is no budget; write a share, such as 60%-of-8-bit-bytes ({', '.join(COSTS)}), or an amount, such as "
        "500kB, 3Gbitops or 20uJ"
    )

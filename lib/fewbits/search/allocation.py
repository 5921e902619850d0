"""The bits of each tensor that add the least noise within a budget: an integer program, solved exactly.

One binary variable per tensor and number of bits says whether the tensor has these bits; a tensor has exactly one.
Noise is a sum over tensors, and so are bytes. MACs times bits have a product of two tensors: for each layer, one more
variable per pair of bits, from 0 to 1, whose sums over either side are the binary ones. Where these are 0 or 1, so are
the products, and the program stays linear.
"""

import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from fewbits.errors import InputError, check_name
from fewbits.quantization.conversion import QuantizedModel
from fewbits.search.budgets import COSTS, Allocation, Budget, CostModel, cost_model
from fewbits.search.logit_noise import LogitNoise
from fewbits.search.storage import stored_tensors

Choices = Mapping[str, Collection[int]]  # name of a tensor -> the bits that it may have
SLACK = 1e-6  # of a limit, which the solver may exceed by less


class _Row(NamedTuple):
    """One linear constraint: low <= sum of coefficient * variable <= high."""

    coefficients: Mapping[int, float]
    low: float
    high: float


class _Program:
    """The integer program of one network: its variables, and the constraints that hold for any budget."""

    def __init__(self, choices: dict[str, tuple[int, ...]], pairs: set[tuple[str, str]]):
        self.choices, self.rows = choices, list[_Row]()
        of_tensors = [(name, bits) for name, widths in choices.items() for bits in widths]
        of_pairs = [(k, a, n, m) for k, a in sorted(pairs) for n in choices[k] for m in choices[a]]
        self.variable: dict[tuple, int] = {key: i for i, key in enumerate([*of_tensors, *of_pairs])}
        self.binary = len(of_tensors)
        for name, widths in choices.items():
            self.rows.append(_Row({self.variable[name, bits]: 1 for bits in widths}, 1, 1))
        for k, a in sorted(pairs):
            self._tie(k, [[(k, a, n, m) for m in choices[a]] for n in choices[k]])
            self._tie(a, [[(k, a, n, m) for n in choices[k]] for m in choices[a]])

    def _tie(self, name: str, groups: list[list[tuple]]) -> None:
        """Let the variables of the pairs with each number of bits of a tensor add up to that of the tensor."""
        for bits, group in zip(self.choices[name], groups):
            self.rows.append(_Row({self.variable[key]: 1 for key in group} | {self.variable[name, bits]: -1}, 0, 0))

    def limit(self, costs: CostModel, most: float) -> _Row:
        """Return the constraint that the network costs at most `most`."""
        row = {self.variable[t, n]: each * n for t, each in costs.per_bit.items() for n in self.choices[t]}
        for (k, a), macs in costs.products.items():
            row |= {self.variable[k, a, n, m]: macs * costs.mac(n, m) for n in self.choices[k] for m in self.choices[a]}
        scale = most - costs.fixed
        return _Row({i: value / scale for i, value in row.items()}, -np.inf, 1)

    def solve(self, objective: dict[tuple[str, int], float], limits: list[_Row]) -> Allocation | None:
        """Return the bits with the least sum of the objective; None if no bits keep within the limits."""
        c = np.zeros(len(self.variable))
        for key, value in objective.items():
            c[self.variable[key]] = value
        relaxed = self._run(c / (c.max() or 1), limits, whole=False)
        if relaxed is None:
            return None
        scale = max(c @ relaxed, 1e-30)  # so that the optimum is about 1, and the solver's gaps are small beside it
        found = self._run(c / scale, limits, whole=True)
        if found is None:
            return None
        return {name: max(widths, key=lambda n: found[self.variable[name, n]]) for name, widths in self.choices.items()}

    def _run(self, c: np.ndarray, limits: list[_Row], whole: bool) -> np.ndarray | None:
        rows = [*self.rows, *limits]
        entries = [(i, j, value) for i, row in enumerate(rows) for j, value in row.coefficients.items()]
        i, j, values = map(np.array, zip(*entries))
        matrix = coo_array((values, (i, j)), (len(rows), len(c))).tocsr()
        kinds = np.zeros(len(c))
        kinds[: self.binary] = whole
        with _no_stdout():
            found = milp(
                c,
                constraints=LinearConstraint(matrix, [row.low for row in rows], [row.high for row in rows]),
                bounds=Bounds(0, 1),
                integrality=kinds,
                options={"mip_rel_gap": 0},
            )
        return found.x


@contextmanager
def _no_stdout() -> Iterator[None]:
    """Discard what the solver prints in the block, at the file descriptor: some lines do not ask whether they may."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def allocate_bits(noise: LogitNoise, budgets: Sequence[Budget], choices: Choices | None = None) -> Allocation:
    """Return the bits with the least predicted noise of the logits that keep within all budgets.

    Args:
        noise: As `measure_logit_noise` returns it.
        budgets: One or several.
        choices: Name of a tensor -> the bits that it may have, of those that were measured; by default all of them.

    Returns:
        Name of each tensor -> its bits.

    Raises:
        InputError: on an unknown tensor or bits that were not measured, and when a budget cannot be met; the message
            names the nearest that can.
    """
    allowed = checked_choices(noise, choices)
    least = check_budgets(noise.network, budgets, allowed)
    models = [cost_model(noise.network, noise.tensors, budget.cost) for budget in budgets]
    program = _Program(allowed, {pair for costs in models for pair in costs.products})
    objective = {(name, n): noise.noise[name][n] for name, widths in allowed.items() for n in widths}
    limits = [budget.limit(costs) for budget, costs in zip(budgets, models)]
    for margin in (0, 2 * SLACK):  # the solver may be over a limit by SLACK
        rows = [program.limit(costs, limit * (1 - margin)) for costs, limit in zip(models, limits)]
        found = program.solve(objective, rows)
        if found is not None and all(costs.of(found) <= limit for costs, limit in zip(models, limits)):
            return found
    return least


def checked_choices(noise: LogitNoise, choices: Choices | None) -> dict[str, tuple[int, ...]]:
    """Return the bits that each tensor may have, the fewest first.

    Args:
        noise: Of the network.
        choices: As in `allocate_bits`.

    Raises:
        InputError: as `allocate_bits`.
    """
    every = {tensor.name: noise.widths for tensor in noise.tensors}
    known = ", ".join(map(str, noise.widths))
    for name, widths in (choices or {}).items():
        check_name("tensor", name, every)
        wrong = set(widths) - set(noise.widths)
        if wrong or not widths:
            bits = min(wrong, default="no")
            raise InputError(f"{name} cannot have {bits} bits; there are {known}, which were measured")
        every[name] = tuple(sorted(set(widths)))
    return every


def check_budgets(network: QuantizedModel, budgets: Sequence[Budget], choices: Choices) -> Allocation:
    """Check that a network can keep within budgets, before anything is measured.

    Args:
        network: The quantized network.
        budgets: One or several.
        choices: Name of each tensor that the network stores -> the bits that it may have.

    Returns:
        The allocation with the fewest bits, which costs the least.

    Raises:
        InputError: when a budget cannot be met; the message names the nearest that can.
    """
    least = {name: min(widths) for name, widths in choices.items()}
    for budget in budgets:
        costs = cost_model(network, stored_tensors(network), budget.cost)
        if costs.of(least) > budget.limit(costs):
            raise InputError(
                f"{budget} cannot be met: with the fewest bits everywhere the network takes {costs.of(least):,.0f} "
                f"{COSTS[budget.cost]}; the nearest budget that can is {budget.share(costs, costs.of(least))}"
            )
    return least

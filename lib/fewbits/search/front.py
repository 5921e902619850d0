"""The Pareto front of mixed precision: for each budget the bits with the least noise, as points with names."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fewbits.search.allocation import Choices, allocate_bits, checked_choices
from fewbits.search.budgets import COSTS, Allocation, Budget, cost_model
from fewbits.search.logit_noise import LogitNoise

SHARES = tuple(n / 20 for n in range(20, 0, -1))  # 100 % to 5 %


class MixedPoint(NamedTuple):
    """A point of the front.

    Attributes:
        name: Its budget as a share of the network with `of_bits` everywhere, such as `60%`.
        bits: Name of each tensor -> its bits.
        predicted_sqnr: Of the logits, in dB.
        costs: Each of COSTS -> what the network costs, in its unit.
    """

    name: str
    bits: Allocation
    predicted_sqnr: float
    costs: dict[str, float]


def mixed_point(noise: LogitNoise, name: str, bits: Allocation) -> MixedPoint:
    """Return an allocation as a point, with its predicted SQNR and all its costs.

    Args:
        noise: Of the network.
        name: Of the point.
        bits: Of all tensors.
    """
    costs = {kind: cost_model(noise.network, noise.tensors, kind).of(bits) for kind in COSTS}
    return MixedPoint(name, bits, noise.predicted_sqnr(bits), costs)


def mixed_front(
    noise: LogitNoise,
    cost: str,
    shares: Iterable[float] = SHARES,
    *,
    of_bits: int = 8,
    within: Sequence[Budget] = (),
    choices: Choices | None = None,
) -> list[MixedPoint]:
    """Return the front of one kind of cost: the bits with the least noise for each share of it.

    Args:
        noise: As `measure_logit_noise` returns it.
        cost: One of COSTS.
        shares: Budgets, as shares of what the network costs with `of_bits` everywhere. Those that cannot be met are
            left out, and so are those that give the bits of the one before.
        of_bits: Bits of the network that the shares are of.
        within: Further budgets that all points keep within.
        choices: As in `allocate_bits`.

    Returns:
        The points, in the order of `shares`.

    Raises:
        InputError: as `allocate_bits`.
    """
    costs = cost_model(noise.network, noise.tensors, cost)
    least = costs.of({name: widths[0] for name, widths in checked_choices(noise, choices).items()})
    points: list[MixedPoint] = []
    for share in shares:
        budget = Budget(cost, share, of_bits)
        if budget.limit(costs) >= least:
            bits = allocate_bits(noise, [budget, *within], choices)
            if not points or bits != points[-1].bits:
                points.append(mixed_point(noise, f"{100 * share:.6g}%", bits))
    return points

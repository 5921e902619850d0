"""An explorer of mixed precision: the bits of each kernel and activation within a budget that the reader chooses."""

from collections.abc import Iterable, Sequence

import plotly.graph_objects as go

from fewbits.errors import InputError
from fewbits.explore import plots
from fewbits.explore.explorer import Explorer, View
from fewbits.search.allocation import allocate_bits
from fewbits.search.budgets import COSTS, Budget, cost_model
from fewbits.search.front import mixed_point
from fewbits.search.logit_noise import LogitNoise
from fewbits.search.storage import ACTIVATION, KERNEL

COLOUR_OF = {KERNEL: plots.BLUE, ACTIVATION: plots.ORANGE}


def bits_within_budget(
    noise: LogitNoise, label: str, costs: Sequence[str] = tuple(COSTS), shares: Iterable[int] = range(100, 20, -5)
) -> Explorer:
    """Return an explorer of the bits with the least noise, for budgets that are shares of the network at 8 bits.

    Args:
        noise: As `search.measure_logit_noise` returns it.
        label: The number of the figure.
        costs: Which of `search.COSTS` the reader can limit.
        shares: In per cent; those that some cost cannot meet are left out.

    Raises:
        InputError: when no share can be met, and as `cost_model`.
    """
    models = {cost: cost_model(noise.network, noise.tensors, cost) for cost in costs}
    least = {cost: model.of(noise.everywhere(noise.widths[0])) for cost, model in models.items()}
    budgets = {share: [Budget(cost, share / 100, 8) for cost in costs] for share in shares}
    met = [share for share, each in budgets.items() if all(b.limit(models[b.cost]) >= least[b.cost] for b in each)]
    if not met:
        raise InputError(f"the network can meet none of the shares; give some above {max(budgets, default=0)} %")

    def view(limit: str, share: int) -> View:
        point = mixed_point(noise, f"{share}%", allocate_bits(noise, [Budget(limit, share / 100, 8)]))
        shown = {kind: [tensor.name for tensor in noise.tensors if tensor.kind == kind] for kind in COLOUR_OF}
        traces = [{"x": names, "y": [point.bits[name] for name in names]} for names in shown.values()]
        readings = {cost: f"{point.costs[cost]:,.0f} {COSTS[cost]}" for cost in costs}
        return View(traces, readings | {"predicted SQNR of the logits": f"{point.predicted_sqnr:.1f} dB"})

    figure = plots.figure(
        *(go.Bar(name=f"{kind}s", marker={"color": colour}) for kind, colour in COLOUR_OF.items()),
        x="stored tensor",
        y="bits",
        yaxis={"range": [0, noise.widths[-1] + 0.5]},
        height=460,
    )
    return Explorer(
        {"limit": tuple(costs), "share": tuple(met)},
        {"limit": costs[0], "share": met[len(met) // 2]},
        view,
        figure,
        label,
        "The bits of each tensor that add the least noise to the logits, within a share of what the network costs with "
        "8 bits everywhere.",
        "Bars, one per stored tensor: its bits; kernels first, then activations, in the order of the network.",
    )

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 15 The Pareto line: which network do you take?
#
# You have a device, a battery and a task. This book has trained, quantized, narrowed and pruned. Which network do you put on the device?
#
# Put every network into one figure, accuracy over cost. Many are beaten: another is as accurate, or more so, and costs no more. What is left
# is the {term}`Pareto line`. Where it lies depends on what *cost* is: bytes, multiplications, time or energy.
#
# ```{admonition} Predict first
# :class: tip
# - Which technique owns the left end of the line, the cheapest networks: few bits, few filters, or few pixels? Is it the same for bytes and
#   for MACs?
# - Multiply-accumulates of 4 bits instead of floats: how many times less energy? And the whole inference, weights read from outside the
#   chip?
# - Two networks, one with more MACs. Which is faster?
#
# The answers are in [Four currencies](four-currencies), [Who is on the line](who-is-on-the-line) and
# [Why the axes disagree](why-axes-disagree).
# ```

# %% tags=["parameters", "hide-input"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
from collections import Counter

import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML, Markdown, display
from scipy.stats import t as student

from fewbits.quantization import calibration
from fewbits.costs import energy, latency
from fewbits import explore
from fewbits.book import inventory
from fewbits.book import papers, reference
from fewbits.explore import plots
from fewbits import quantize_model, zoo
from fewbits.book import quote, record
from fewbits.costs.complexity import totals
from fewbits.deploy import litert
from fewbits.pruning import shrunk_to

SMOKE = profile == "smoke"

# %% [markdown]
# (four-currencies)=
# ## Four currencies
#
# - **Bytes**: what is stored and sent. Weights at the bits of their kernels, biases at 32, batch normalization folded. Fewer bits, fewer
#   filters: both count. Fewer pixels do not.
# - **MACs**: multiply-accumulates for an image. Bits do not count.
# - **Time**: of one image, on one thread of this machine. Everything counts, memory and calls too, and it has to be measured.
# - **Energy**: an estimate, from published energies of single operations, of the arithmetic and of reading each weight once.
#
# {cite:t}`horowitz2014` gives an integer addition 0.03 pJ at 8 bits and 0.1 at 32, a multiplication 0.2 and 3.1. Our estimate in between: the
# adder grows with the width, the multiplier with the *product* of the two widths, the number of bits it adds up. A sum has 32 bits.

# %%
WIDTHS = (None, 8, 6, 4, 2)
for bits in WIDTHS:
    print(f"{bits or 'float'} bits: {energy.mac(bits, bits):.3f} pJ a MAC")
weight = {m: energy.reading(4, m) for m in energy.READING}
print(f"a float32 weight read: {weight['SRAM']:.0f} pJ from a cache,",
      f"{weight['DRAM']:.0f} pJ from DRAM")

# %% tags=["remove-cell"]
record(
    within=1e-9,
    **{f"mac_{bits or 'float'}": energy.mac(bits, bits) for bits in WIDTHS},
    **{f"read_{m}": pj for m, pj in weight.items()},
)
quote(mac_saving=energy.mac() / energy.mac(4, 4), byte_in_macs=weight["DRAM"] / energy.mac())

# %% [markdown]
# From float to 4 bits a MAC becomes {glue:text}`mac_saving:.0f` times cheaper. But one float weight, fetched from DRAM, costs as much as
# {glue:text}`byte_in_macs:.0f` MACs of floats. A weight that is used at few pixels is expensive to *have*, not to use.
#
# The estimate counts nothing else: no activation is read or written, nothing controls the work, nothing leaks. And it is of 45 nm. Use it to
# compare, not to size a battery. It stands here twice: with weights in a cache of 1 MB, and in DRAM (the least that is published). Which
# networks fit the cache is counted below.
#
# ## Every network
#
# The *reference* results on CIFAR-10, all tested on the same 10,000 images. A pruning leaves a network at each of its steps, and each counts.

# %%
networks, not_run = inventory.reference_networks("cifar10")
print(Counter(n.technique for n in networks))
print(f"{len(networks)} networks; {not_run} cells are not run yet")

# %% tags=["hide-input"]
UNITS = {"bytes": "kB", "MACs": "millions", "energy, cache": "µJ", "energy, DRAM": "µJ", "time of an image": "ms"}
COUNTED = list(UNITS)[:4]


def counted(network):
    """Return cost -> number, of all that need not be measured."""
    numbers = network.size / 1e3, network.macs / 1e6, network.energy("SRAM") / 1e6, network.energy("DRAM") / 1e6
    return dict(zip(COUNTED, numbers))


rows = []
for technique in inventory.TECHNIQUES:
    members = [n for n in networks if n.technique == technique]
    accuracies = [n.cell.measured[0] for n in members]
    spread = f"{min(accuracies):.1%} to {max(accuracies):.1%}" if members else reference.NOT_RUN
    bytes_of = (
        f"{min(n.size for n in members) / 1e3:,.0f} to {max(n.size for n in members) / 1e3:,.0f} kB"
        if members
        else reference.NOT_RUN
    )
    seeds = Counter(len(n.cell.records) for n in members)
    rows.append(
        (
            technique,
            len(members),
            spread,
            bytes_of,
            ", ".join(f"{n} with {s} seed{'s' * (s > 1)}" for s, n in sorted(seeds.items())),
        )
    )
display(HTML(plots.Table(("technique", "networks", "top-1", "bytes", "seeds"), rows).html()))
Markdown(f"*(reference) {reference.made_with({r.trial.key: r for n in networks for r in n.cell.records}.values())}*")

# %% tags=["remove-cell"]
floats = [n for n in networks if n.trial.bits is None]
quote(floats=len(floats), floats_fit=sum(n.size <= 1e6 for n in floats), few=len(networks) - len(floats))
quote(few_fit=sum(n.size <= 1e6 for n in networks if n.trial.bits is not None))
quote(networks=len(networks), not_run=not_run, alone=sum(len(n.cell.records) == 1 for n in networks))
budgets = sorted({n.trial.epochs for n in networks if n.trial.strategy == "float" and n.trial.start is None})
known = {n.name + n.training for n in networks if "imagenet" in n.training}  # networks that start from what ImageNet taught
quote(from_imagenet=len(known))
quote(fewest_epochs=budgets[0], most_epochs=budgets[-1])

# %% [markdown]
# {glue:text}`floats_fit` of the {glue:text}`floats` networks in float, pruned ones among them, would fit the cache of a megabyte,
# {glue:text}`few_fit` of the {glue:text}`few` with few bits.
#
# Before you compare: **their training differs.** What was trained from nothing had {glue:text}`fewest_epochs` to {glue:text}`most_epochs` epochs.
# What is quantized or pruned starts from one of these, and most are trained on; {glue:text}`from_imagenet` start from weights that know
# ImageNet. A network trained short is not a bad architecture. The
# figure tells each network's training when you point at it, and when you choose it. {glue:text}`alone` of the {glue:text}`networks` networks
# have one seed: their intervals know the test images, not the luck of a training. And the line is made of winners, so it flatters: of
# many networks about alike, the luckiest stands on it.
#
# Time is measured here and now for a few that are easy to convert, in LiteRT, all in turn. The rest is *not measured*:

# %%
models = {
    name: zoo.build(name, (32, 32, 3), 10)
    for name in ("squeezenet_cifar", "basicnet", "alexnet_small")
    if name == "squeezenet_cifar" or not SMOKE
}
for size in (32,) if SMOKE else (32, 16):
    models[f"mobilenet_cifar width 0.25 {size} px"] = zoo.build(
        "mobilenet_cifar", (size, size, 3), 10, width=0.25
    )

# %% [markdown]
# And a pruned one, its shape with new weights; and both SqueezeNets as integers of 8 bits. Time does not depend on what the weights are.

# %%
for one in reference.cell("pruned to a third").records[:1]:
    filters = one.results.pruning[-1]["filters"]
    name = f"pruned to {sum(filters.values()):,} filters (combined)"
    shape = shrunk_to(models["squeezenet_cifar"], filters)
    models[f"squeezenet_cifar {name}"] = shape
noise = np.random.default_rng(0).random((8, 32, 32, 3), np.float32)
files = {name: litert.to_litert(model) for name, model in models.items()}
for name in [] if SMOKE else [n for n in models if "squeezenet" in n]:
    eight = quantize_model(models[name], rounding="nearest",
                           fold_batch_normalization=True)
    eight.set_formats(calibration.formats_for(eight, noise, (8, 8, 8)))
    files[f"{name} 8-8-8"] = litert.to_litert(eight, "int8")
taken = latency.measure_latency(files, rounds=10 if SMOKE else 200)

# %% tags=["hide-input"]
rows = []
for name, ms in taken.items():
    millions = totals(models[name.removesuffix(" 8-8-8")]).macs / 1e6
    rows.append((name, f"{millions:.2f}", str(ms), f"{millions / ms.median:.1f}"))
HTML(plots.Table(("network, float32 or 8-8-8", "million MACs", "an image (quick)", "million MACs in a ms"), rows).html())

# %% tags=["remove-cell"]
speeds = {name: totals(model).macs / 1e6 / taken[name].median for name, model in models.items()}
found = [(totals(model).macs, taken[name].median) for name, model in models.items()]
crossed = [a for i, a in enumerate(found) for b in found[:i] if (a[0] - b[0]) * (a[1] - b[1]) < 0]
quote(crossed=len(crossed), timed_pairs=len(found) * (len(found) - 1) // 2)
quote(
    fastest=max(speeds, key=speeds.get),
    slowest=min(speeds, key=speeds.get),
    speed_ratio=max(speeds.values()) / min(speeds.values()),
)
fixed = {name: totals(models[name]) for name in ("squeezenet_cifar", "mobilenet_cifar width 0.25 32 px")}
record(
    **{f"macs_{i}": cost.macs for i, cost in enumerate(fixed.values())},
    **{f"parameters_{i}": c.parameters for i, c in enumerate(fixed.values())},
)

eight_of = {name: taken[f"{name} 8-8-8"].median / taken[name].median for name in models if f"{name} 8-8-8" in taken}
quote(eight_time=eight_of.get("squeezenet_cifar", float("nan")))

# %% [markdown]
# As integers of 8 bits, SqueezeNet takes {glue:text}`eight_time:.0%` of its time in float.
#
# ## Choose one
#
# Turn the cost, the place on the line (the cheapest first), and the technique whose line it is. The ring is your network; below stand its
# training, its costs, and the command that makes it. Hollow marks are the theses' own figures (read [what they are](theirs) first); no line
# goes through them.

# %% tags=["hide-input"]
points = []
for n in networks:
    costs = counted(n)
    shape = n.name.partition(" 8-8-8")  # whether trained with these bits or not
    if (timed := "".join(shape[:2])) in taken and n.trial.edge_bits is None:
        costs["time of an image"] = taken[timed].median
    points.append(explore.Point(n.name, n.technique, *n.cell.measured, costs, n.training, n.command))


def bytes_printed(text):
    """Return the kB of a size as a thesis prints it, such as 2.9M or 731K."""
    return float(text[:-1]) * {"M": 1000, "K": 1}[text[-1]]


others = []
for number, bits in ((12, "float"), (13, "8 bits")):
    for row in papers.table("backstrom2018", number):
        costs = {"bytes": bytes_printed(row["model_size"]), "MACs": 10.0 * row["mac"]}
        name = f"{row['kernels']} kernels, {bits}"
        others.append(explore.Point(name, "backstrom2018: plants", row["accuracy"] / 100, 0.0, costs, "five folds"))
for row in papers.table("chernis", 1):
    if row["dataset"] == "CIFAR-10":
        costs = {"bytes": 4 * row["parameters"] / 1e3}
        others.append(explore.Point(row["model"], "chernis: CIFAR-10", row["accuracy"] / 100, 0.0, costs, "20 epochs"))
published = zoo.build("squeezenet_v1_1", (227, 227, 3), 1000)
weights_of = sum(int(np.prod(x.kernel.shape)) for x in published.layers if hasattr(x, "kernel"))
macs_of, biases_of = totals(published).macs, totals(published).parameters - weights_of
for row in papers.table("vieito2017", 13):
    costs = {"bytes": (weights_of * row["kernel_bits"] / 8 + 4 * biases_of) / 1e3, "MACs": macs_of / 1e6}
    for way in ("lock", "train"):
        name = f"{row['kernel_bits']}-{row['input_bits']}-{row['output_bits']} {way}"
        others.append(
            explore.Point(
                name,
                "vieito2017: ImageNet",
                row[f"{way}_accuracy"] / 100,
                0.0,
                costs,
                f"{row['epochs_per_layer']} epochs a layer",
            )
        )
explore.choose_network(
    points,
    others,
    UNITS,
    "15.1",
    f"The {len(networks)} networks of this book on CIFAR-10 (reference; 95 % intervals; times: this machine, quick), and the theses' own. Training differs from network to network: see 'trained with'. Energy is an estimate.",
).show()

# %% [markdown]
# The command writes a file of one trial, `fewbits sweep` trains what it starts from where that is not there yet, and
# keeps the record; for float and pruned networks, their weights too. CIFAR-10 has to be in the folder `FEWBITS_DATA`; what begins at
# `mobilenet_imagenet` needs `fewbits import-litert` first ([chapter 10](10-mobilenet)). A cell of several seeds gives the first.
#
# (who-is-on-the-line)=
# ## Who is on the line
#
# Each column is a cost: how many of the networks on its line each technique has, and to whom its two ends belong.

# %%
lines = {cost: explore.pareto_front(points, cost) for cost in COUNTED}
count = {cost: Counter(p.group for p in line) for cost, line in lines.items()}
owner = {cost: (line[0].group, line[-1].group) for cost, line in lines.items()}

# %% tags=["hide-input"]
rows = [(t, *(count[cost][t] for cost in COUNTED)) for t in inventory.TECHNIQUES]
rows += [
    (end, *(owner[cost][i] for cost in COUNTED)) for i, end in enumerate(("the cheapest is", "the most accurate is"))
]
display(HTML(plots.Table(("on the line (reference)", *COUNTED), rows).html()))
both = {cost: {p.name + p.training for p in line} for cost, line in lines.items()}
everywhere = set.intersection(*both.values())
rows = []
for p in sorted({p.name + p.training: p for line in lines.values() for p in line}.values(), key=lambda p: p.accuracy):
    on = [cost for cost in COUNTED if p.name + p.training in both[cost]]
    rows.append(
        (
            p.name,
            p.training,
            f"{p.accuracy:.1%} ± {100 * p.half_width:.1f}",
            *(f"{p.costs[c]:,.4g}{' *' if c in on else ''}" for c in COUNTED),
        )
    )
HTML(plots.Table(("network", "trained with", "top-1", *(f"{c}, {UNITS[c]}" for c in COUNTED)), rows).html())

# %% [markdown]
# (A star: on that line.)


# %% tags=["remove-cell"]
def listed(names):
    names = list(names)
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else "none"


def most(cost):
    return max(count[cost], key=count[cost].get)


same = [cost for cost in COUNTED if owner[cost][0] == owner["bytes"][0]]
quote(
    left_bytes=owner["bytes"][0],
    left_macs=owner["MACs"][0],
    left_cache=owner["energy, cache"][0],
    left_dram=owner["energy, DRAM"][0],
)
quote(
    most_bytes=most("bytes"), most_macs=most("MACs"), most_cache=most("energy, cache"), most_dram=most("energy, DRAM")
)
quote(
    line_bytes=len(lines["bytes"]),
    line_macs=len(lines["MACs"]),
    everywhere=len(everywhere),
    on_any=len(set.union(*both.values())),
)
quote(never=listed(t for t in inventory.TECHNIQUES if not any(count[cost][t] for cost in COUNTED)))
quote(known_macs=len(known & both["MACs"]))
quantized_on_macs = sum(count["MACs"][t] for t in (inventory.STATIC, inventory.TRAINED, inventory.BOTH))
quote(quantized_on_macs=quantized_on_macs)


def cheapest(cost, accuracy):
    """Return the cheapest point of at least this accuracy."""
    return next(p for p in lines[cost] if p.accuracy >= accuracy)


for cost, key in zip(COUNTED, ("bytes", "macs", "cache", "dram")):
    best = lines[cost][-1]
    bargain = cheapest(cost, best.accuracy - 0.03)
    quote(
        **{
            f"half_{key}": cheapest(cost, 0.5).group,
            f"near_{key}": bargain.name,
            f"near_costs_{key}": bargain.costs[cost] / best.costs[cost],
        }
    )

# %% [markdown]
# | cost | the left end | the first right more often than wrong | most of the line |
# |---|---|---|---|
# | bytes | {glue:text}`left_bytes` | {glue:text}`half_bytes` | {glue:text}`most_bytes` |
# | MACs | {glue:text}`left_macs` | {glue:text}`half_macs` | {glue:text}`most_macs` |
# | energy, cache | {glue:text}`left_cache` | {glue:text}`half_cache` | {glue:text}`most_cache` |
# | energy, DRAM | {glue:text}`left_dram` | {glue:text}`half_dram` | {glue:text}`most_dram` |
#
# The very left is worth little: the cheapest network of all is on its line by definition, however badly it reads. Hence the second
# column. At the other end there are bargains. If you give up three points of accuracy at most, you need:
#
# | cost | the cheapest at most 3 points under the best | of the best's cost |
# |---|---|---|
# | bytes | {glue:text}`near_bytes` | {glue:text}`near_costs_bytes:.0%` |
# | MACs | {glue:text}`near_macs` | {glue:text}`near_costs_macs:.0%` |
# | energy, cache | {glue:text}`near_cache` | {glue:text}`near_costs_cache:.0%` |
# | energy, DRAM | {glue:text}`near_dram` | {glue:text}`near_costs_dram:.0%` |
#
# {glue:text}`on_any` networks of {glue:text}`networks` are on any of the four lines, {glue:text}`everywhere` on all of them. On no line, so
# far: {glue:text}`never`. And technique is not all: on the line of MACs {glue:text}`known_macs` of {glue:text}`line_macs` start from
# weights of ImageNet, so there it shows what these are worth as much as what is narrow.
#
# Quantization does not move a network along the axis of MACs. A quantized network can be on that line only by reading better than the
# float one it came from; {glue:text}`quantized_on_macs` do. Over bytes and energy it is a lever, and where it stands beside pruning you see
# in the figure: choose one technique, then the other.
#
# (why-axes-disagree)=
# ## Why the axes disagree
#
# If all costs ordered networks alike, one figure would do. Rank all networks by each cost (networks of the same cost count once) and
# correlate the ranks; 1 is the same order:


# %%
def ranks(values):
    ordered = np.sort(values)
    sides = (np.searchsorted(ordered, values, s) for s in ("left", "right"))
    return sum(sides) / 2


distinct = {tuple(p.costs[c] for c in COUNTED) for p in points}
columns = np.array(sorted(distinct)).T
alike = np.corrcoef([ranks(column) for column in columns])


# %% tags=["hide-input"]
def of_timed(models):
    """Return the rank correlation of time with bytes and with MACs, over the float networks that were timed."""
    found = [(totals(m).weight_bytes, totals(m).macs, taken[name].median) for name, m in models.items()]
    return np.corrcoef([ranks(np.array(column)) for column in zip(*found)])[2, :2]


rows = [(cost, *(f"{r:.2f}" for r in alike[i])) for i, cost in enumerate(COUNTED)]
display(HTML(plots.Table((f"rank correlation, {len(distinct)} networks (reference)", *COUNTED), rows).html()))
time_bytes, time_macs = of_timed(models)
Markdown(
    f"*Time, over the {len(models)} networks timed here (quick): {time_bytes:.2f} with bytes, {time_macs:.2f} with MACs.*"
)

# %% tags=["remove-cell"]
pairs = {(a, b): alike[i, j] for i, a in enumerate(COUNTED) for j, b in enumerate(COUNTED) if i < j}
closest, farthest = max(pairs, key=pairs.get), min(pairs, key=pairs.get)
quote(
    closest=" and ".join(closest),
    closest_rank=float(pairs[closest]),
    farthest=" and ".join(farthest),
    farthest_rank=float(pairs[farthest]),
)
quote(time_bytes=float(time_bytes), time_macs=float(time_macs), timed=len(models))


def shares(network):
    """Return which share of its energy goes into reading weights, from a cache and from DRAM."""
    return [energy.reading(network.size, memory) / network.energy(memory) for memory in energy.READING]


whole = next(n for n in networks if n.name == "squeezenet_cifar")
narrow = max((n for n in networks if n.trial.bits is None), key=lambda n: n.size / n.macs)
quote(
    read_cache=shares(whole)[0],
    read_dram=shares(whole)[1],
    uses=whole.macs / sum(layer.weights for layer in whole.layers),
)
four = whole._replace(layers=tuple(layer._replace(bits=(4, 4)) for layer in whole.layers))
record(
    within=1e-6, **{f"four_{key}": whole.energy(m) / four.energy(m) for key, m in (("cache", "SRAM"), ("dram", "DRAM"))}
)
quote(
    rarest=narrow.name,
    rarest_uses=narrow.macs / sum(layer.weights for layer in narrow.layers),
    rarest_dram=shares(narrow)[1],
)

# %% [markdown]
# The most alike are **{glue:text}`closest`** ({glue:text}`closest_rank:.2f`), the least **{glue:text}`farthest`**
# ({glue:text}`farthest_rank:.2f`). Four reasons:
#
# **How often a weight is used.** SqueezeNet uses a weight {glue:text}`uses:.0f` times an image. Of its energy in float,
# {glue:text}`read_cache:.0%` reads weights where they lie in a cache, {glue:text}`read_dram:.0%` where they come from DRAM. At the other end
# is {glue:text}`rarest`: {glue:text}`rarest_uses:.1f` uses a weight, {glue:text}`rarest_dram:.0%` of the energy. With DRAM, energy is bytes
# by another name.
#
# **Bits count in bytes and in energy, and differently.** Bytes fall with the bits, the energy of a multiplication with their square; MACs are
# what they were. And the sum keeps its 32 bits. SqueezeNet with 4 bits everywhere has MACs that take {glue:text}`mac_saving:.0f` times less energy; the whole
# inference takes {glue:text}`four_cache:.1f` times less with the cache, {glue:text}`four_dram:.1f` times with DRAM.
#
# **Pixels count in MACs, so in time and energy.** Half the sides leave a quarter of the MACs, and every byte of the weights.
#
# **MACs are not time.** Of the networks timed, {glue:text}`fastest` does {glue:text}`speed_ratio:.1f` times as many in a millisecond as
# {glue:text}`slowest`. In {glue:text}`crossed` of {glue:text}`timed_pairs` pairs, the one with more MACs is the faster. Layers that are
# large keep the processor busy; many small ones, and weights that are read to be used once, keep it waiting.
#
# ```{admonition} What the figure does not know
# :class: note
# Memory for activations ([chapter 2](02-counting)), the time of networks below 8 bits (no runtime here computes with them), and what your device is good at: a processor that
# multiplies 8 bits no faster than floats gives the energy to nobody.
# ```
#
# (theirs)=
# ## What the thesis found
#
# No thesis draws this figure, but all argue in it. {cite:t}`backstrom2018` lists bytes and MACs of each pruned network, in float and at 8
# bits; {cite:t}`chernis` have parameters; {cite:t}`vieito2017` gives bits, from which bytes follow; {cite:t}`gaikwad2018` times one
# network before and after ([chapter 13](13-prune-then-quantize)), but no table of his has bytes beside accuracies. Draw the Pareto line of Backström's table, as he could have:

# %% tags=["hide-input"]
his = [p for p in others if p.group.startswith("backstrom")]
display(
    HTML(
        plots.Table(
            ("cost", "on his line, cheapest first"),
            [(c, "; ".join(f"{p.name}: {p.accuracy:.1%}" for p in explore.pareto_front(his, c))) for c in ("bytes", "MACs")],
        ).html()
    )
)
first = his[0]
traces = []
for bits, colour, symbol in (("float", plots.BLUE, "circle"), ("8 bits", plots.ORANGE, "square")):
    of = [p for p in his if p.name.endswith(bits)]
    text = [p.name for p in of]
    traces.append(
        go.Scatter(
            x=[p.costs["bytes"] for p in of],
            y=[p.accuracy for p in of],
            text=text,
            name=bits,
            mode="lines+markers",
            marker={"symbol": symbol, "size": 9},
            line={"color": colour},
        )
    )
plots.show(
    plots.figure(*traces, x="kB, as printed", y="accuracy", xaxis={"type": "log"}, yaxis={"tickformat": ".0%"}),
    label="15.2",
    caption="Pruned networks of backstrom2018, Tables 12 and 13: photographs of plants, five folds.",
    alt="Two lines of accuracy over bytes, float and 8 bits; the one of 8 bits lies left of the other, and falls earlier in kernels.",
    table=plots.Table(
        ("network", "kB", "accuracy"), [(p.name, f"{p.costs['bytes']:,.0f}", f"{p.accuracy:.1%}") for p in his]
    ),
)

# %% tags=["remove-cell"]
his_line = {c: explore.pareto_front(his, c) for c in ("bytes", "MACs")}
quote(his_eight=sum(p.name.endswith("8 bits") for p in his_line["bytes"]), his_bytes=len(his_line["bytes"]))
record(his_line_bytes=len(his_line["bytes"]), his_line_macs=len(his_line["MACs"]))
ours_on_bytes = sum(count["bytes"][t] for t in (inventory.STATIC, inventory.TRAINED, inventory.BOTH))
quote(ours_few_bits=ours_on_bytes, both_on_bytes=count["bytes"][inventory.BOTH])
quote(both_ways=sum(n.technique == inventory.BOTH for n in networks))
record(
    within=1e-6,
    **{f"uses_{b or 'float'}": energy.reading((b or 32) / 8, "DRAM") / energy.mac(b, b) for b in (None, 8, 2)},
)

# %% [markdown]
# Over bytes, {glue:text}`his_eight` of the {glue:text}`his_bytes` networks on his line have 8 bits. In ours, {glue:text}`ours_few_bits` of
# {glue:text}`line_bytes` have fewer bits than 32.
#
# **Why they differ.** *What was combined*: each of his pruned networks was quantized, too, and costs a quarter then; of ours that is done with
# {glue:text}`both_ways`, of which {glue:text}`both_on_bytes` are on the line of bytes. *The task*: his plants are easy, with a few per cent
# between the best and the worst; ImageNet has a thousand classes; our ten leave room between. So heights in figure 15.1 compare within a
# group of marks only. *The rounding*: Vieito's networks are rounded down, whose price without training [chapter 6](06-two-theses) measures.
#
# ## Exercises
#
# **1.** A layer has $N$ weights, each used $u$ times. From which $u$ on does its arithmetic at 8 bits cost more than reading it from DRAM?
#
# ```{admonition} Solution
# :class: dropdown
# The energy of reading one weight over that of one MAC: above {glue:text}`uses_8:.0f` uses. With floats above
# {glue:text}`uses_float:.0f`, for their arithmetic is dear; at 2 bits above {glue:text}`uses_2:.0f`: the weight gets cheaper, the sum of 32 bits does not.
# ```
#
# **2.** Add noise: a line of winners flatters. Draw each accuracy anew from its interval. How many networks on the line of bytes stay there?

# %% tags=["hide-cell"]
rng = np.random.default_rng(15)
kept, draws = Counter(), 20 if SMOKE else 200
runs = [len(n.cell.records) for n in networks]  # an interval of few seeds is wide: Student's t
errors = [p.half_width / (student.ppf(0.975, k - 1) if k > 1 else 1.96) for p, k in zip(points, runs)]
for _ in range(draws):
    drawn = [p._replace(accuracy=rng.normal(p.accuracy, e)) for p, e in zip(points, errors)]
    kept.update(p.name + p.training for p in explore.pareto_front(drawn, "bytes"))
stays = [p for p in lines["bytes"] if kept[p.name + p.training] >= 0.9 * draws]
print(f"{len(stays)} of {len(lines['bytes'])} in nine of ten draws; {len(kept)} networks were on it at least once")

# %% tags=["remove-cell"]
quote(stays=len(stays), ever=len(kept))

# %% [markdown]
# ```{admonition} Solution
# :class: dropdown
# {glue:text}`stays` of {glue:text}`line_bytes` are there in nine of ten draws; {glue:text}`ever` networks are there at least once. Where
# points lie close together, the line is a band. (Each was drawn by itself. All were tested on the same images, so in truth they rise and fall
# together, and the band is narrower.)
# ```
#
# **3.** Your device has 300 kB. Choose from figure 15.1. Then say what you would train before you ship it.
#
# ```{admonition} Solution
# :class: dropdown
# The last place on the line of bytes that fits. How it was trained the figure says: train it longer, with three seeds, and test it on images
# that chose nothing.
# ```
#
# ## Run it on yours
#
# Where does your network stand? (`model` in Keras, its `accuracy`, and the `points` of others to compare with:)
#
# ```python
# from fewbits.costs import energy
# from fewbits import explore
# from fewbits.costs.complexity import totals
#
# macs, kilobytes = totals(model).macs, totals(model).parameters / 1e3  # at 8 bits
# microjoules = (macs * energy.mac(8, 8) + energy.reading(1e3 * kilobytes, "DRAM")) / 1e6
# mine = explore.Point("mine", "mine", accuracy, 0.0, {"bytes": kilobytes, "energy": microjoules})
# explore.accuracy_over_cost([mine, *points], {"bytes": "kB", "energy": "µJ"}, "1", "my networks").show()
# ```
#
# And with the `network.toml` of the network that you chose in figure 15.1:
#
# ```shell
# fewbits sweep network.toml --store results --list
# fewbits sweep network.toml --store results
# ```

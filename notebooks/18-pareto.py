# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 18 The Pareto front: which network do you take?
#
# *Reading time: 25 minutes. Needs: [chapter 2](02-counting) (costs), [chapter 5](05-sqnr) (how errors add), [chapter
# 14](14-pruning) (pruning) and [chapter 16](16-integers) (integers).*
#
# You have a device, a battery and a task. This book has trained, quantized, narrowed and pruned networks. Which one do you deploy?
#
# Plot accuracy over cost for every network. Many networks are dominated: another is at least as accurate, and costs no more. The
# others form the {term}`Pareto front`. It depends on the measure of *cost*: bytes, multiplications, time or energy.
#
# ```{admonition} Predict first
# :class: tip
# - Which technique gives the cheapest networks, at the left end of the line: few bits, few filters, or few pixels? Is it the same for
#   bytes and for MACs?
# - How many times less energy do multiply-accumulates of 4 bits take than those of floats? And the whole inference, if weights are
#   read from outside the chip?
# - One of two networks has more MACs. Which is faster?
# - All tensors of a network have 4 bits. You may move bits from one tensor to another, at the same number of bytes, without training.
#   **How many points** of accuracy does that gain?
#
# The answers are in [Four currencies](four-currencies), [Who is on the line](who-is-on-the-line),
# [Why the axes disagree](why-axes-disagree) and [Bits where they count](mixed-precision).
# ```

# %% tags=["parameters"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
from collections import Counter

import numpy as np
from scipy.stats import spearmanr, t

from fewbits import costs, data, explore, search, zoo
from fewbits.book import (
    inventory, mixed_precision, questions, quote, record, reference,
)
from fewbits.book.published import published_networks
from fewbits.costs import energy
from fewbits.deploy import to_litert
from fewbits.pruning import shrunk_to
from fewbits.quantization import formats_for, quantize_model
from fewbits.statistics import NO_DATA, Estimate, verdict

# %% tags=["hide-input"]
SMOKE = profile == "smoke"

# %% [markdown]
# (four-currencies)=
# ## Four currencies
#
# - **Bytes**: what is stored and transmitted. Kernels count with their own bits, biases with 32; batch normalization is folded. Fewer
#   bits and fewer filters both reduce them; fewer pixels do not.
# - **MACs**: multiply-accumulates for an image. They do not depend on bits.
# - **Time**: of one image, on one thread of this machine. It depends on everything, including memory and calls, and has to be
#   measured.
# - **Energy**: an estimate of the arithmetic and of reading each weight once, from published energies of single operations.
#
# {cite:t}`horowitz2014` gives 0.03 pJ for an integer addition at 8 bits and 0.1 at 32; for a multiplication, 0.2 and 3.1. We estimate
# the widths in between: the adder grows with the width, the multiplier with the *product* of the two widths, the number of bits that
# it adds. A sum has 32 bits.

# %%
WIDTHS = (None, 8, 6, 4, 2)
for bits in WIDTHS:
    print(f"{bits or 'float'} bits: {energy.mac(bits, bits):.3f} pJ a MAC")
weight = {m: energy.reading(4, m) for m in energy.READING}
print(f"a float32 weight read: {weight['SRAM']:.0f} pJ from a cache,",
      f"{weight['DRAM']:.0f} pJ from DRAM")

# %% [markdown]
# From float to 4 bits a MAC becomes {glue:text}`mac_saving:.0f` times cheaper. But one float weight, fetched from DRAM, costs as much as
# {glue:text}`byte_in_macs:.0f` MACs of floats. A weight that is used at few pixels is expensive to *read*, not to use.
#
# The estimate includes nothing else: no reads or writes of activations, no control logic, no leakage. It is for 45 nm. Use it to
# compare networks, not to size a battery. We give it twice: with weights in a cache of 1 MB, and in DRAM (the lowest published
# value). Below we count which networks fit the cache.
#
# ## Every network
#
# We use the *reference* results on CIFAR-10 {cite:p}`krizhevsky2009`, all tested on the same 10,000 images. A pruning run gives one
# network for each of its steps.

# %%
networks = inventory.reference_networks("cifar10")
print(Counter(n.technique for n in networks))
print(f"{len(networks)} networks")

# %%
UNITS = {"bytes": "kB", "MACs": "millions", "energy, cache": "µJ",
         "energy, DRAM": "µJ", "time of an image": "ms"}
COUNTED = list(UNITS)[:4]


def counted(network):
    """Return cost -> number, for all costs that need not be measured."""
    joules = (network.energy(m) / 1e6 for m in ("SRAM", "DRAM"))
    counts = network.size / 1e3, network.macs / 1e6, *joules
    return dict(zip(COUNTED, counts))


# %% tags=["hide-input"]
# The networks of each technique
inventory.technique_table(networks)

# %% tags=["remove-cell"]
# Quoted in the text
record(within=1e-9, mac={bits or "float": energy.mac(bits, bits) for bits in WIDTHS}, read=weight)
quote(mac_saving=energy.mac() / energy.mac(4, 4), byte_in_macs=weight["DRAM"] / energy.mac())
fits = {in_float: [n.size <= 1e6 for n in networks if (n.trial.bits is None) == in_float] for in_float in (True, False)}
quote(floats=len(fits[True]), floats_fit=sum(fits[True]), few=len(fits[False]), few_fit=sum(fits[False]))
quote(networks=len(networks), alone=sum(len(n.cell.records) == 1 for n in networks))
budgets = sorted({n.trial.epochs for n in networks if n.trial.strategy == "float" and n.trial.start is None})
known = {n.name + n.training for n in networks if "imagenet" in n.training}
quote(from_imagenet=len(known), fewest_epochs=budgets[0], most_epochs=budgets[-1])

# %% [markdown]
# Of the {glue:text}`floats` networks in float, including pruned ones, {glue:text}`floats_fit` would fit the cache of a megabyte; of
# the {glue:text}`few` with few bits, {glue:text}`few_fit`.
#
# Before you compare, note that **their training differs.** Networks trained from scratch had {glue:text}`fewest_epochs` to
# {glue:text}`most_epochs` epochs. The quantized and pruned ones start from one of them, and most are trained further;
# {glue:text}`from_imagenet` start from ImageNet weights. A network that was trained briefly is not necessarily a bad architecture.
# The figure shows each network's training when you point at it or choose it. Of the {glue:text}`networks` networks,
# {glue:text}`alone` have one seed: their intervals cover the test images, not the chance of training. A Pareto front also selects
# winners: of many similar networks, the luckiest is on it. We therefore choose the front by the *validation* images, on which no
# network was trained, and report its accuracy on the test images.
#
# We measure time on this machine for a few networks that are easy to convert, in LiteRT, all in turn. The time of the others is *not
# measured*:

# %%
NAMES = ("squeezenet_cifar", "basicnet", "alexnet_small")
models = {name: zoo.build(name, (32, 32, 3), 10)
          for name in NAMES[: 1 if SMOKE else None]}
for size in (32,) if SMOKE else (32, 16):
    models[f"mobilenet_cifar width 0.25 {size} px"] = zoo.build(
        "mobilenet_cifar", (size, size, 3), 10, width=0.25
    )

# %% [markdown]
# We add the shape of a pruned network with new weights, and both SqueezeNets in 8-bit integers. Time does not depend on the values of
# the weights.

# %%
pruning = reference.cell("pruned to a third").records[0].results.pruning
filters = pruning[-1]["filters"]
pruned = f"pruned to {sum(filters.values()):,} filters (combined)"
shape = shrunk_to(models["squeezenet_cifar"], filters)
models[f"squeezenet_cifar {pruned}"] = shape
noise = np.random.default_rng(0).random((8, 32, 32, 3), np.float32)
files = {name: to_litert(model) for name, model in models.items()}
for name in [] if SMOKE else [n for n in models if "squeezenet" in n]:
    eight = quantize_model(models[name], rounding="nearest",
                           fold_batch_normalization=True)
    eight.set_formats(formats_for(eight, noise, (8, 8, 8), signed=True))
    files[f"{name} 8-8-8"] = to_litert(eight, "int8")

# %%
taken = costs.measure_latency(files, rounds=10 if SMOKE else 100)
macs = {name: costs.totals(model).macs for name, model in models.items()}
rows = []
for name, ms in taken.items():
    millions = macs[name.removesuffix(" 8-8-8")] / 1e6
    rows.append((name, millions, ms, millions / ms.median))
explore.Table(
    ("network, float32 or 8-8-8", "million MACs", "an image (quick)",
     "million MACs in a ms"), rows)

# %% tags=["remove-cell"]
# Quoted in the text
found = [(macs[name], taken[name].median) for name in models]
crossed = [(a, b) for i, a in enumerate(found) for b in found[:i] if (a[0] - b[0]) * (a[1] - b[1]) < 0]
quote(crossed=len(crossed), timed_pairs=len(found) * (len(found) - 1) // 2)
speeds = {name: macs[name] / taken[name].median for name in models}
quote(fastest=max(speeds, key=speeds.get), slowest=min(speeds, key=speeds.get))
quote(speed_ratio=max(speeds.values()) / min(speeds.values()))
fixed = [costs.totals(models[name]) for name in ("squeezenet_cifar", "mobilenet_cifar width 0.25 32 px")]
record(macs=dict(enumerate(t.macs for t in fixed)), parameters=dict(enumerate(t.parameters for t in fixed)))
eight = taken.get("squeezenet_cifar 8-8-8")
quote(eight_time=eight.median / taken["squeezenet_cifar"].median if eight else float("nan"))  # nan: smoke

# %% [markdown]
# In 8-bit integers, SqueezeNet takes {glue:text}`eight_time:.0%` of its time in float.
#
# ## Choose one
#
# Choose the cost, the place on the line (the cheapest first), and the technique whose line it is. The ring marks your network; below
# the figure are its training, its costs, and the command that makes it. Hollow marks are the theses' own figures (read [what they
# are](theirs) first); no line goes through them. (The line of the figure joins the best networks on the test images. The tables below
# use the line chosen on validation images.)

# %%
points = []
for n in networks:
    spent, estimate = counted(n), n.cell.estimate
    # the time is the same, whether it was trained with its 8 bits or not
    timed = "".join(n.name.partition(" 8-8-8")[:2])
    if timed in taken and n.trial.edge_bits is None:
        spent["time of an image"] = taken[timed].median
    accuracy = estimate.mean, estimate.half_width
    points.append(explore.Point(n.name, n.technique, *accuracy, spent,
                                n.training, n.command))


# %%
def validated(network):
    found = [r.results.validation for r in network.cell.records]
    return np.mean([part.hits / part.n for part in found])


judges = [p._replace(accuracy=validated(n))
          for p, n in zip(points, networks)]
tested = {id(judge): p for judge, p in zip(judges, points)}
lines = {cost: [tested[id(judge)]
                for judge in explore.pareto_front(judges, cost)]
         for cost in COUNTED}

# %% tags=["hide-input"]
# Choose a network
others = published_networks()
explore.choose_network(
    points, others, UNITS, "18.1",
    f"The {len(networks)} networks of this book on CIFAR-10 (reference; 95 % intervals; times: this machine, quick), "
    "and the theses' own. Training differs from network to network: see 'trained with'. Energy is an estimate.",
).show()

# %% [markdown]
# The command writes a file with one trial. `fewbits sweep` first trains the network from which the trial starts, if it does not exist
# yet, and stores the record; for float and pruned networks, it stores their weights too. CIFAR-10 must be in the folder
# `FEWBITS_DATA`. Networks that start from `mobilenet_imagenet` need `fewbits import-litert` first ([chapter 12](12-mobilenet)). For
# results of several seeds, the command uses the first.
#
# (who-is-on-the-line)=
# ## Who is on the line
#
# Each column is a cost. The table shows how many networks on its line belong to each technique, and which technique has its two ends.

# %%
count = {cost: Counter(p.group for p in line) for cost, line in lines.items()}
owner = {cost: (line[0].group, line[-1].group) for cost, line in lines.items()}

rows = [(t, *(count[cost][t] for cost in COUNTED))
        for t in inventory.TECHNIQUES]
for i, end in enumerate(("the cheapest is", "the most accurate is")):
    rows.append((end, *(owner[cost][i] for cost in COUNTED)))
explore.Table(("on the line (reference)", *COUNTED), rows)

# %% tags=["hide-input"]
# Every network that is on a line
explore.table_of_fronts(lines, UNITS)

# %% [markdown]
# (A star: on that line.)
#
# The leftmost point means little: the cheapest network of all is on the line by definition, however inaccurate it is. The second
# column therefore gives the first network above 50 %:

# %%
def cheapest(cost, accuracy):
    return next(p for p in lines[cost] if p.accuracy >= accuracy)


explore.Table(
    ("cost", "the left end", "the first right more often than wrong",
     "most of the line"),
    [(cost, owner[cost][0], cheapest(cost, 0.5).group,
      count[cost].most_common(1)[0][0]) for cost in COUNTED])

# %% [markdown]
# At the other end, a small loss of accuracy saves a lot. If you give up at most three points, you need:

# %%
rows = []
for cost, line in lines.items():
    bargain = cheapest(cost, line[-1].accuracy - 0.03)
    share = bargain.costs[cost] / line[-1].costs[cost]
    rows.append((cost, bargain.name, f"{share:.0%}"))
explore.Table(
    ("cost", "the cheapest at most 3 points under the best",
     "of the best's cost"), rows)

# %% tags=["remove-cell"]
# Quoted in the text
on = {cost: {id(p) for p in line} for cost, line in lines.items()}
best = set.union(*on.values())
above = {id(p): j.accuracy - p.accuracy for p, j in zip(points, judges)}
quote(flattery=100 * (np.mean([above[key] for key in best]) - np.mean([*above.values()])))
top = {(line[-1].name, line[-1].training) for line in lines.values()}
quote(top=" and ".join(name for name, _ in sorted(top)), top_training=" and ".join(told for _, told in sorted(top)))
quote(line={key: len(lines[cost]) for key, cost in (("bytes", "bytes"), ("macs", "MACs"))}, on_any=len(best))
quote(everywhere=len(set.intersection(*on.values())), known_macs=sum(p.name + p.training in known for p in lines["MACs"]))
never = [t for t in inventory.TECHNIQUES if not any(count[cost][t] for cost in COUNTED)]
quote(never=" and ".join(filter(None, (", ".join(never[:-1]), *never[-1:]))) or "none")
FEW = inventory.STATIC, inventory.TRAINED, inventory.BOTH
quote(quantized_on_macs=sum(count["MACs"][t] for t in FEW))

# %% [markdown]
# Of {glue:text}`networks` networks, {glue:text}`on_any` are on any of the four lines, {glue:text}`everywhere` on all of them.
# Techniques on no line, so far: {glue:text}`never`. The technique is not the only factor. The most accurate end belongs to
# {glue:text}`top` (trained with {glue:text}`top_training`); on the line of MACs {glue:text}`known_macs` of {glue:text}`line_macs`
# start from ImageNet weights. The line reflects training as well as size, and a technique is not refuted because it is not on the
# line. (Networks chosen on validation images may look too good there. From validation to test, the networks on the lines lose
# {glue:text}`flattery:+.1f` points more than all networks do.)
#
# Quantization does not move a network along the axis of MACs. A quantized network can be on that line only if it is more accurate
# than the float network it came from; {glue:text}`quantized_on_macs` are. Over bytes and energy quantization does help, and the
# figure shows how it compares with pruning: choose one technique, then the other.
#
# (why-axes-disagree)=
# ## Why the axes disagree
#
# If all costs ordered networks alike, one figure would be enough. We rank all networks by each cost (networks of the same cost count
# once) and correlate the ranks; 1 is the same order:


# %%
distinct = {tuple(p.costs[c] for c in COUNTED) for p in points}
alike = spearmanr(sorted(distinct)).statistic
over_timed = [(costs.totals(model).weight_bytes, macs[name],
               taken[name].median) for name, model in models.items()]
*of_time, _ = spearmanr(over_timed).statistic[2].tolist()
note = (f"Time, over only {len(models)} networks timed here (quick): "
        f"{of_time[0]:.2f} with bytes, {of_time[1]:.2f} with MACs.")
explore.Table(
    (f"rank correlation, {len(distinct)} networks (reference)", *COUNTED),
    [(cost, *(f"{rank:.2f}" for rank in ranks))
     for cost, ranks in zip(COUNTED, alike)], note)

# %% [markdown]
# The most similar orders are those of **{glue:text}`closest`** ({glue:text}`closest_rank:.2f`), the least similar those of
# **{glue:text}`farthest`** ({glue:text}`farthest_rank:.2f`). There are four reasons:
#
# **How often a weight is used.** SqueezeNet uses a weight {glue:text}`uses:.0f` times per image. Reading weights takes
# {glue:text}`read_cache:.0%` of its energy in float if they are in a cache, {glue:text}`read_dram:.0%` if they come from DRAM. At the
# other end is {glue:text}`rarest`, with {glue:text}`rarest_uses:.1f` uses per weight and {glue:text}`rarest_dram:.0%` of the energy
# for reading. With DRAM, energy is almost proportional to bytes.
#
# **Bits count in bytes and in energy, and differently.** Bytes fall with the bits, the energy of a multiplication with their square;
# MACs stay the same, and the sum keeps its 32 bits. With 4 bits everywhere, the MACs of SqueezeNet take {glue:text}`mac_saving:.0f`
# times less energy; the whole inference takes {glue:text}`four_cache:.1f` times less with the cache, and {glue:text}`four_dram:.1f`
# times less with DRAM.
#
# **Pixels count in MACs, and so in time and energy.** Halving the sides leaves a quarter of the MACs, and every byte of the weights.
#
# **MACs are not time.** Of the networks timed, {glue:text}`fastest` computes {glue:text}`speed_ratio:.1f` times as many MACs per
# millisecond as {glue:text}`slowest`. In {glue:text}`crossed` of {glue:text}`timed_pairs` pairs, the network with more MACs is
# faster. Large layers keep the processor busy; many small layers, and weights that are used only once, make it wait.
# ```{admonition} What the figure leaves out
# :class: note
# Memory for activations ([chapter 2](02-counting)), the time of networks below 8 bits (no runtime here computes with them), and the
# strengths of your device: a processor that multiplies 8-bit integers no faster than floats saves no energy.
# ```
#
# (mixed-precision)=
# ## Bits where they count
#
# So far all kernels of a network have had the same number of bits, and so have all activations. But one layer may tolerate 3 bits
# where another needs 6. With {term}`mixed precision` the tensors of a network have different numbers of bits. Such networks lie
# between those of {figure}`18.1`. Which allocation is best within a budget? With {glue:text}`tensors` tensors and six numbers of bits
# there are {glue:text}`allocations` allocations, too many to try.
#
# Three steps find a good allocation, without labels and without training:
#
# 1. **Sensitivity.** Round one tensor alone to $b$ bits and measure the change of the logits. Their mean squared error is the *noise*
#    of this tensor at $b$ bits.
# 2. **Addition.** Small independent errors add in power ([chapter 5](05-sqnr)). The noise of a network is therefore about the sum of
#    the noises of its tensors.
# 3. **Choice.** Find the allocation with the least sum of noises within the budget. Noise and bytes are both sums over tensors, so
#    this is an integer program {cite:p}`hubara2020`, and a solver finds its exact optimum in milliseconds.
#
# We first measure the noises, for the small AlexNet on 16 training digits. The output of one layer and the input of the next are one
# tensor:

# %%
digits = data.load("digits")
few, _ = digits.arrays("train", 16)
small = zoo.build(
    "alexnet_small", digits.image_shape, 10, weights="alexnet_digits")
widths = (2, 4, 8) if SMOKE else (2, 3, 4, 5, 6, 8)
noise = search.measure_logit_noise(
    quantize_model(small, rounding="nearest"), few, widths,
    search_ranges=False)  # quicker; the reference below searches
rows = [(each.name, each.values,
         *(noise.sqnr_alone(each.name, bits) for bits in widths))
        for each in noise.tensors]
heads = [f"{bits} bits" for bits in widths]
explore.Table(("tensor, alone", "values", *heads), rows,
              note="SQNR of the logits in dB; 16 digits (quick).")

# %% [markdown]
# We then choose. A simple greedy rule removes bits one by one, each time from the tensor whose noise grows least per byte saved. The
# integer program considers all tensors together:

# %%
def greedy(noise, spent, limit):
    """Return bits within `limit`, lowered one by one from the most."""
    bits = noise.everywhere(noise.widths[-1])
    lower = dict(zip(noise.widths[1:], noise.widths))
    while spent.of(bits) > limit:
        prices = {}
        for name, each in spent.per_bit.items():
            if (now := bits[name]) in lower:
                more = noise.noise[name][lower[now]] - noise.noise[name][now]
                prices[name] = more / (each * (now - lower[now]))
        cheapest = min(prices, key=prices.get)
        bits = bits | {cheapest: lower[bits[cheapest]]}
    return bits


# %%
spent = search.cost_model(noise.network, noise.tensors, "bytes")
rows, choices = [], {}
for bits in widths[1:-1]:
    equal = noise.everywhere(bits)
    budget = search.Budget("bytes", 1, bits)
    top = dict.fromkeys(equal, noise.widths[-1])
    choices[bits] = {
        "equal": top | dict.fromkeys(spent.per_bit, bits),
        "one by one": greedy(noise, spent, spent.of(equal)),
        "integer program": search.allocate_bits(noise, [budget]),
    }
    rows += [(bits, way, noise.predicted_sqnr(found),
              noise.measured_sqnr(found), spent.of(found) / 1e3)
             for way, found in choices[bits].items()]

# %%
explore.Table(("bytes of equal", "kernels", "predicted SQNR in dB",
               "measured", "kB"), rows,
              note="Activations have 8 bits here: they take no bytes in the "
                   "file. SQNR of the logits, 16 digits (quick).")

# %% [markdown]
# At the bytes of 4 bits, the integer program gains {glue:text}`program_gain:.1f` dB over equal bits by prediction, and
# {glue:text}`program_measured:.1f` dB measured; the greedy rule gains {glue:text}`greedy_gain:.1f` dB by prediction. Set a budget
# yourself. Which tensors keep their bits, and does a budget of energy favour other tensors than a budget of bytes?

# %% tags=["hide-input"]
# The bits of each tensor within a budget
explore.bits_within_budget(noise, "18.2", ("bytes", "energy"), (60, 40) if SMOKE else range(90, 25, -10)).show()

# %% [markdown]
# For your own network, `fewbits search` does all of this. Each point of its front is named by its cost as a share of the 8-bit
# network, and can be saved as a file:

# %%
front = search.mixed_front(noise, "bytes", (0.8, 0.6, 0.5, 0.4, 0.3))
explore.Table(
    ("point", "kB", "predicted SQNR in dB", "measured", "bits of kernels"),
    [(p.name, p.costs["bytes"] / 1e3, p.predicted_sqnr,
      noise.measured_sqnr(p.bits),
      " ".join(str(p.bits[name]) for name in spent.per_bit)) for p in front])

# %% [markdown]
# ### Is the prediction right?
#
# We test the prediction on real images (*reference*), with three networks and without training. The noises were measured on 32
# training images, or on 16 of the first 128 photographs; no test image was used to choose formats or bits. Mixed bits stay within the
# bytes of the weights *and* of the activations at equal bits. All formats come from the same measurement, so only the bits differ.
# Random bits also stay within both limits of 4 bits, and use them up (seed 0):

# %%
MIXED = {
    "AlexNet, CIFAR-10": mixed_precision.load_mixed("alexnet_cifar"),
    "SqueezeNet, CIFAR-10": mixed_precision.load_mixed("squeezenet_cifar"),
    "SqueezeNet v1.1, photographs": mixed_precision.load_mixed("squeezenet"),
}
rows = []
for name, compared in MIXED.items():
    for bits in (3, 4, 5, 6):
        mixed, equal = f"bytes of {bits} bits", f"{bits} bits"
        found = [compared.under_float(way) for way in (equal, mixed)]
        rows.append((name, bits, *found, compared.gain(mixed, equal).points))
note = " ".join(compared.made_with for compared in MIXED.values())
explore.Table(("network", "bytes of", "equal: points under float",
               "mixed: points under float", "mixed over equal"), rows, note)

# %% tags=["hide-input"]
# Accuracy over the predicted noise
GROUPS = {"equal": ("equal",), "mixed": ("mixed", "mixed, bitops", "mixed, energy"), "random": ("random",)}


def ranked(network):
    """Return the accuracies of a network over their predicted SQNR, and how alike the two orders are."""
    compared = MIXED[network]
    series = {word: compared.shares_by_prediction(*members) for word, members in GROUPS.items()}
    ranks = {word: compared.rank_correlation(*members) for word, members in {"all": (), "random alone": ("random",)}.items()}
    readings = {f"rank correlation, {word}": f"{rank:.2f} of {n} networks" if n else NO_DATA for word, (rank, n) in ranks.items()}
    return series, readings | {"float": str(compared.float_share or NO_DATA)}


explore.adjustable_lines(
    ranked, {"network": tuple(MIXED)}, {"network": "SqueezeNet, CIFAR-10"}, "18.3",
    "Accuracy over the SQNR of the logits predicted from the sum of the noises, without training; 95 % intervals of the test images (reference).",
    "Points that rise together: networks with more predicted SQNR are more accurate, whether their bits are equal, mixed or random.",
    x="predicted SQNR of the logits in dB", y="top-1", modes=("markers",), yaxis=explore.ACCURACY, height=440,
).show()

# %%
def random_beaten(compared):
    """Return how many random choices mixed bits beat, of how many."""
    if not compared.tried:
        return NO_DATA
    tried = [x for x in compared.tried.values() if x.group == "random"]
    mixed = compared["bytes of 4 bits"].share.value
    return f"{sum(mixed > x.share.value for x in tried)} of {len(tried)}"


def too_high(compared, group):
    """Return by how many dB predictions are too high, on average."""
    apart = [x.predicted_sqnr - x.measured_sqnr
             for x in compared.tried.values() if x.group == group]
    return f"{np.mean(apart):+.1f}" if apart else NO_DATA


# %%
rows = []
for name, compared in MIXED.items():
    rank, n = compared.rank_correlation("random")
    rows.append((name, random_beaten(compared),
                 f"{rank:.2f}" if n else NO_DATA,
                 too_high(compared, "mixed"), too_high(compared, "random")))
explore.Table(("network, bytes of 4 bits", "random choices beaten",
               "rank correlation, random ones",
               "mixed: prediction too high by, dB", "random"), rows)

# %% tags=["remove-cell"]
# Quoted in the text
KEYS = "alexnet", "squeezenet", "photographs"
program, equal, lowered = (
    np.array([of(choices[4][way]) for of in (noise.predicted_sqnr, noise.measured_sqnr)])
    for way in ("integer program", "equal", "one by one")
)
record(tensors=len(noise.tensors))
record(within={"smoke": 6.0, "quick": 2.0}, program_gain=(program - equal)[0], program_measured=(program - equal)[1],
       greedy_gain=(lowered - equal)[0])
gain_4 = [compared.gain("bytes of 4 bits", "4 bits") for compared in MIXED.values()]
quote(allocations=f"{6 ** len(noise.tensors):,}", gain_4=dict(zip(KEYS, (gain.points for gain in gain_4))))
quote(goal_3=dict(zip(KEYS, (verdict(gain - Estimate(0.03, 0.0, 1)) for gain in gain_4))))
for heading, column in zip(("beaten", "rank", "over_mixed", "over_random"), list(zip(*rows))[1:]):
    quote(**{heading: dict(zip(KEYS, column))})

# %% [markdown]
# At the bytes of equal 4 bits, mixed bits add {glue:text}`gain_4_alexnet` (AlexNet), {glue:text}`gain_4_squeezenet` (SqueezeNet) and
# {glue:text}`gain_4_photographs` (SqueezeNet v1.1 on photographs). Our goal was three points. That the gain is more than three is
# **{glue:text}`goal_3_alexnet`**, **{glue:text}`goal_3_squeezenet`** and **{glue:text}`goal_3_photographs`**, in this order. Mixed
# bits are more accurate than {glue:text}`beaten_alexnet`, {glue:text}`beaten_squeezenet` and {glue:text}`beaten_photographs` random
# choices at the same bytes.
#
# The order is predicted well. Among random choices alone, the rank correlation of predicted SQNR and measured accuracy is
# {glue:text}`rank_alexnet`, {glue:text}`rank_squeezenet` and {glue:text}`rank_photographs`. The level is predicted less well. For
# mixed bits the prediction is too high by {glue:text}`over_mixed_alexnet`, {glue:text}`over_mixed_squeezenet` and
# {glue:text}`over_mixed_photographs` dB on average, for random ones by {glue:text}`over_random_alexnet`,
# {glue:text}`over_random_squeezenet` and {glue:text}`over_random_photographs`. There are two possible reasons, neither of which we
# have tested: large errors are not independent and do not simply add; and the lowest of many estimates is likely to be too low.
#
# There are two limits. Bytes here are those of the codes; a format per filter costs a few bits more, for equal bits as well. And a
# device must be able to compute with all these widths; most support 8 and 4 bits at best.
#
# (theirs)=
# ## What the thesis found
#
# No thesis draws this figure, but all argue about its axes. {cite:t}`backstrom2018` lists bytes and MACs of each pruned network, in
# float and at 8 bits; {cite:t}`chernis` have parameters; {cite:t}`vieito2017` gives bits, from which bytes follow;
# {cite:t}`gaikwad2018` times one network before and after ([chapter 15](15-prune-then-quantize)), but none of his tables has both
# bytes and accuracies. Here is the Pareto front of Backström's tables:

# %%
his = [p for p in others if p.group.startswith("backstrom")]
his_line = {c: explore.pareto_front(his, c) for c in ("bytes", "MACs")}
rows = [(cost, "; ".join(f"{p.name}: {p.accuracy:.1%}" for p in line))
        for cost, line in his_line.items()]
explore.Table(("cost", "on his line, cheapest first"), rows)

# %% tags=["hide-input"]
# Pruned networks of backstrom2018, in float and with 8 bits
series = {
    bits: {p.name: (p.costs["bytes"], p.accuracy) for p in his if p.name.endswith(bits)} for bits in ("float", "8 bits")
}
explore.scatter(
    series, "18.4", "Pruned networks of backstrom2018, Tables 12 and 13: photographs of plants, five folds.",
    "Two lines of accuracy over bytes, float and 8 bits; the line of 8 bits lies left of the other, and falls at more "
    "kernels.",
    x="kB, as printed", y="accuracy", mode="lines+markers", symbols=("circle", "square"),
    xaxis={"type": "log"}, yaxis=explore.PERCENT,
)

# %% tags=["remove-cell"]
# Quoted in the text
pairs = {f"{a} and {b}": alike[i, j] for i, a in enumerate(COUNTED) for j, b in enumerate(COUNTED) if i < j}
for name, pair in {"closest": max(pairs, key=pairs.get), "farthest": min(pairs, key=pairs.get)}.items():
    quote(**{name: pair, f"{name}_rank": pairs[pair]})
uses = {n.name: n.macs / sum(layer.weights for layer in n.layers) for n in networks}
whole = next(n for n in networks if n.name == "squeezenet_cifar")
rarest = max((n for n in networks if n.trial.bits is None), key=lambda n: n.size / n.macs)
four = whole._replace(layers=tuple(layer._replace(bits=(4, 4)) for layer in whole.layers))
MEMORIES = {"cache": "SRAM", "dram": "DRAM"}
quote(read={key: energy.reading(whole.size, m) / whole.energy(m) for key, m in MEMORIES.items()})
quote(rarest=rarest.name, rarest_dram=energy.reading(rarest.size, "DRAM") / rarest.energy("DRAM"))
quote(uses=uses[whole.name], rarest_uses=uses[rarest.name])
record(within=1e-6, four={key: whole.energy(m) / four.energy(m) for key, m in MEMORIES.items()})
quote(his_eight=sum(p.name.endswith("8 bits") for p in his_line["bytes"]), his_bytes=len(his_line["bytes"]))
record(his_line_bytes=len(his_line["bytes"]), his_line_macs=len(his_line["MACs"]))
quote(ours_few_bits=sum(count["bytes"][t] for t in FEW), both_on_bytes=count["bytes"][inventory.BOTH])
quote(both_ways=sum(n.technique == inventory.BOTH for n in networks))
per_weight = {b or "float": energy.reading((b or 32) / 8, "DRAM") / energy.mac(b, b) for b in (None, 8, 2)}
record(within=1e-6, uses=per_weight)

# %% [markdown]
# Over bytes, {glue:text}`his_eight` of the {glue:text}`his_bytes` networks on his line have 8 bits. On ours,
# {glue:text}`ours_few_bits` of {glue:text}`line_bytes` have fewer than 32 bits.
#
# **Why they differ.** *Combination*: each of his pruned networks was also quantized, to a quarter of the bytes; we did that with
# {glue:text}`both_ways` of ours, of which {glue:text}`both_on_bytes` are on the line of bytes. *The task*: his plants are easy, with
# a few per cent between the best and the worst; ImageNet has a thousand classes; our ten classes lie in between. Accuracies in
# {figure}`18.1` can therefore be compared only within a group of marks. *The rounding*: Vieito's networks are rounded down; [chapter
# 6](06-two-theses) measures what that costs without training.
#
# ## Two questions

# %% tags=["hide-input"]
# The energy of a weight that is used once
at = {bits: energy.mac(bits, bits) + energy.reading((bits or 32) / 8, "DRAM") for bits in (None, 8)}
all_of_it, multiplying = at[None] / at[8], energy.mac() / energy.mac(8, 8)
questions.ask(
    "A weight of a dense layer comes from DRAM, and is used once per image. It goes from float to 8 bits, and so does its input. How many "
    "times less energy do its reading and its MAC take?",
    (f"{all_of_it:.1f}", "Nearly all of it is the reading, and that falls with the bytes."),
    (f"{multiplying:.1f}", "This is the MAC alone. Compared with a read from DRAM it hardly counts."),
    (f"{4 * multiplying:.1f}", "The two savings belong to two parts of the energy. They do not multiply."),
    (f"{1:.1f}", "A weight of 8 bits is a quarter of the bytes to read."),
)

# %% tags=["hide-input"]
# On one line and not on another
questions.ask(
    "A network is on the Pareto front over bytes, but not on the one over MACs. What follows?",
    ("A network at least as accurate has no more MACs, and more bytes.", "Some network dominates it over MACs. Over bytes none does, so that network must be larger."),
    ("It is less accurate than all networks on the other front.", "It may be more accurate than many of them. One that dominates it is enough."),
    ("It has the fewest bytes of all.", "This is one end of the front. Its other networks have more bytes and are more accurate."),
    ("It has more MACs than all networks on the other front.", "It may have fewer than most of them. The network that dominates it has no more."),
)

# %% [markdown]
# ## Exercises
#
# **1.** A layer has $N$ weights, each used $u$ times. For which $u$ does its arithmetic at 8 bits cost more than reading it from
# DRAM?
#
# ```{admonition} Solution
# :class: dropdown
# The limit is the energy of reading one weight divided by that of one MAC: above {glue:text}`uses_8:.0f` uses. With floats it is
# {glue:text}`uses_float:.0f`, because their arithmetic is expensive; at 2 bits it is {glue:text}`uses_2:.0f`, because the weight gets
# cheaper but the 32-bit sum does not.
# ```
#
# **2.** A front selects winners, so test it with noise: draw each accuracy anew from its interval. How many networks on the line of
# bytes stay there?

# %% tags=["hide-cell"]
# How many networks stay on the line
rng = np.random.default_rng(15)
kept, draws = Counter(), 20 if SMOKE else 200
runs = [len(n.cell.records) for n in networks]  # an interval of few seeds is wide: Student's t
judged_on = networks[0].cell.records[0].results.validation.n
errors = [
    p.half_width / t.ppf(0.975, k - 1) if k > 1 else np.sqrt(j.accuracy * (1 - j.accuracy) / judged_on)
    for p, j, k in zip(points, judges, runs)
]
for _ in range(draws):
    drawn = [p._replace(accuracy=rng.normal(p.accuracy, e)) for p, e in zip(judges, errors)]
    place = {id(p): number for number, p in enumerate(drawn)}
    kept.update(place[id(p)] for p in explore.pareto_front(drawn, "bytes"))
stays = [n for n, p in enumerate(points) if id(p) in on["bytes"] and kept[n] >= 0.9 * draws]
print(f"{len(stays)} of {len(lines['bytes'])} in nine of ten draws; {len(kept)} networks were on it at least once")

# %% tags=["remove-cell"]
# Quoted in the text
quote(stays=len(stays), ever=len(kept))

# %% [markdown]
# ```{admonition} Solution
# :class: dropdown
# {glue:text}`stays` of {glue:text}`line_bytes` are there in nine of ten draws; {glue:text}`ever` networks are there at least once.
# Where points lie close together, the line is a band. (We drew each independently. All were tested on the same images, so in fact
# they rise and fall together, and the band is narrower.)
# ```
#
# **3.** Your device has 300 kB. Choose a network from {figure}`18.1`. What would you train before you deploy it?
#
# ```{admonition} Solution
# :class: dropdown
# Choose the last network on the line of bytes that fits. The figure shows how it was trained: train it longer, with three seeds, and
# test it on images that were not used for any choice.
# ```
#
# **Lab.** Find the front, choose on validation images, and allocate bits to each layer, in `notebooks/labs/18-pareto.py`
# ([all labs](../book/labs)).
#
# ## Run it on yours
#
# A report on your network shows its state and advises what to do next: its costs, the ranges of each layer, its accuracy at 16 to 4
# bits rounded to nearest and down, the most sensitive layer, filters without effect, channels in the wrong order, and the runtimes
# that can execute it. It needs a `.keras` file and a folder of images with one sub-folder per class:
#
# ```shell
# fewbits report mine.keras --data photos --output report.html --json
# ```
#
# A network of 8 bits goes to a microcontroller with the two lines in [chapter 16](on-a-microcontroller), and to an FPGA with these:
#
# ```shell
# pip install '.[fpga]'
# fewbits export yours-in-8-bits.keras --to hls4ml --output fpga
# ```
#
# The page of the report opens offline. Its advice was measured on images that were not used for calibration, and claims a gain only
# where that is statistically significant. Here it is in Python for the SqueezeNet for digits, without other formats and exports:

# %%
from fewbits.report import ImageSource, advise, change_in_points, examine

name = "squeezenet_digits"
mine = zoo.build(name, digits.image_shape, 10, weights=name)
train, test = (
    ImageSource((digits.scaled(part), part.labels))
    for part in (digits.train, digits.test)
)
most = 40 if SMOKE else 359
found = examine(mine, train, test, quick=True, most_images=most)
for each in advise(found):
    print(f"{each.what}: {change_in_points(each.change)}")

# %% [markdown]
# `report_page(found, advise(found))` returns the page as HTML.
#
# Where does the network stand in {figure}`18.1`? (`accuracy` is its own, and `points` are others to compare with.)
#
# ```python
# from fewbits import explore
# from fewbits.costs import energy, totals
#
# macs, kilobytes = totals(model).macs, totals(model).parameters / 1e3  # at 8 bits
# microjoules = (macs * energy.mac(8, 8) + energy.reading(1e3 * kilobytes, "DRAM")) / 1e6
# mine = explore.Point("mine", "mine", accuracy, 0.0, {"bytes": kilobytes, "energy": microjoules})
# explore.accuracy_over_cost([mine, *points], {"bytes": "kB", "energy": "µJ"}, "1", "my networks").show()
# ```
#
# To find the bits of each tensor within a budget, and also save a point of the front:
#
# ```shell
# fewbits search mine.keras --data photos --budget 60%-of-8-bit-bytes --output mixed.keras --save 45% small.keras
# ```
#
# With the `network.toml` of the network that you chose in {figure}`18.1`:
#
# ```shell
# fewbits sweep network.toml --store results --list
# fewbits sweep network.toml --store results
# ```

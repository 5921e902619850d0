# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 8 Gradual resolution loss, order, and down to 2 bits
#
# How few bits can a network learn to live with, and is there a best way down?
#
# The thesis {cite:p}`vieito2017` names three ways and tries two. The third, gradual resolution loss, lowers the bits of the whole network
# a little at a time. It always begins at the input, and it stops at 4 bits, where nothing worked. With the rounding of chapter 7, we
# can go on.
#
# ```{admonition} Predict first
# :class: tip
# Kernels, inputs and outputs go to **3 bits**, rounded to nearest, with 30 epochs for each of three ways: all levels at once; level
# by level; bit by bit. Which ends best, and by how much?
#
# And what is left with **2 bits**: for the kernels alone, and for everything? The answers are in
# [Ways down](ways-down) and [How low?](how-low).
# ```

# %% tags=["parameters", "hide-input"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
import random

import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML, Markdown, display

from fewbits import names
from fewbits import Calibration, Recipe, Schedule, data, explore, training, zoo
from fewbits.book import papers, reference
from fewbits.explore import plots
from fewbits.backend import keras
from fewbits.book import quote, record
from fewbits.statistics import wilson_interval

keras.utils.set_random_seed(1)
SMOKE = profile == "smoke"
EPOCHS = 2 if SMOKE else 12

# %% [markdown]
# ## The network
#
# The same as in chapter 7. The schedules train on a quarter of its images.

# %%
digits = data.load("digits", validation=0.25)


def part(split, n):
    return digits.scaled(split.take(n)), split.labels[:n]


train, few = (part(digits.train, 64 if SMOKE else n) for n in (1024, 256))
validation = part(digits.validation, 64 if SMOKE else 128)
test = part(digits.test, 64 if SMOKE else 320)

# %%
model = zoo.build("squeezenet_digits", digits.image_shape, 10)
training.prepare(model, "adam", learning_rate=0.001)
training.train(model, train, epochs=EPOCHS, batch_size=64, seed=1)
float_validation = training.evaluate(model, validation, 64).accuracy
float_accuracy = training.evaluate(model, test, 64).accuracy
print(f"float: {float_accuracy:.1%} of {len(test[1])} test digits")

# %% tags=["remove-cell"]
record(within=0.6 if SMOKE else 0.05, float_accuracy=float_accuracy)

# %% [markdown]
# (ways-down)=
# ## Ways down
#
# Two of the ways let the bits fall, from 8 on: of the whole network, or of one level after the other. Their first stages, and how
# many there are:

# %%
names = [level[0].split("_")[0] for level in zoo.levels(model)]
WAYS = ("all-at-once", "train", "gradual", "gradual-by-level")
planned = {way: Schedule((3, 3, 3), way).stages(names) for way in WAYS}
for way, stages in planned.items():
    first = ", ".join(stage.name for stage in stages[:3])
    print(f"{way:17}{len(stages):2} stages: {first}, ...")

# %% tags=["remove-cell"]
record(gradual_stages=len(planned["gradual"]), by_level_stages=len(planned["gradual-by-level"]))
total = 6 if SMOKE else 30
quote(total=total)

# %% [markdown]
# More stages with equal epochs in each would be more training. A fair comparison gives every way {glue:text}`total` epochs in all. The
# last, with its {glue:text}`by_level_stages` stages, is left to real data, below.

# %%
compiled = {}  # the network of the first schedule; all others use it again

# %%
def run(schedule, calibration=Calibration("mse"), **options):
    """Return the outcome, its Snapshots, and how many test digits it reads."""
    random.seed(2)  # Keras draws the seeds of dropout layers from it
    shots = explore.Snapshots()
    outcome = training.progressive_quantization(
        model, few, schedule, validation=validation, calibration=calibration,
        recipe=Recipe("adam", learning_rate=0.001, batch_size=64, seed=2),
        levels=zoo.levels(model), on_stage=shots, **compiled, **options,
    )  # fmt: skip
    compiled["reuse"] = outcome.model
    return outcome, shots, training.evaluate(outcome.model, test, 64).hits

# %%
live = explore.LiveCurve(start=float_validation)
ways = {
    way: run(
        Schedule((3, 3, 3), way, epochs=max(1, total // len(stages))),
        progress=live.follow(way),
    )
    for way, stages in planned.items() if way != "gradual-by-level"
}  # fmt: skip

# %% tags=["hide-input"]
def share(hits):
    low, high = wilson_interval(hits, n)
    return f"{hits / n:.1%} ({low:.1%} to {high:.1%})"


n = len(test[1])
explore.training_curve(
    {way: outcome for way, (outcome, *_) in ways.items()},
    len(validation[1]),
    "8.1",
    f"Three ways to 3-3-3 bits, rounded to nearest, {total} epochs each (quick; one seed).",
    start=float_validation,
)
HTML(plots.Table(("way", "stages", "test accuracy (quick)"), [(w, len(planned[w]), share(ways[w][2])) for w in ways]).html())

# %% tags=["remove-cell"]
accuracies = [hits / n for *_, hits in ways.values()]
best = max(ways, key=lambda way: ways[way][2])
quote(best_way=best)
record(within=0.5 if SMOKE else 0.1, worst_way=min(accuracies))
record(within=0.5 if SMOKE else 0.08, best_of_ways=max(accuracies))

# %% [markdown]
# Best is *{glue:text}`best_way`* with {glue:text}`best_of_ways:.1%`, last a way with {glue:text}`worst_way:.1%`; float reads
# {glue:text}`float_accuracy:.1%`. Look at the intervals before you call that a difference, and it is one seed. What *gradual* spends on 8 to 4
# bits teaches little that is needed at 3: five epochs, all at once, leave {glue:text}`rule_mse:.1%` (below).
#
# The kernels on their way down, stage by stage:

# %% tags=["hide-input"]
explore.kernels_by_stage({way: found[:2] for way, found in ways.items()}, len(validation[1]), "8.2").show()

# %% [markdown]
# ## Does the order matter?
#
# Level by level, as *train* does it, one epoch each. By *sensitivity* the level that costs least when it is quantized alone goes first.

# %%
ORDERS = ("input",) if SMOKE else names.LEVEL_ORDERS
orders = {order: run(Schedule((3, 3, 3), "train", order=order)) for order in ORDERS}

# %% tags=["hide-input"]
rows = [(o, ", ".join(stage.name for stage in outcome.stages), share(hits)) for o, (outcome, _, hits) in orders.items()]
HTML(plots.Table(("first", "order", "test accuracy (quick)"), rows).html())

# %% tags=["remove-cell"]
record(within=0.5 if SMOKE else 0.12, order_input=orders["input"][2] / n)
spread = np.ptp([hits for *_, hits in orders.values()]) / n
quote(order_spread=float(spread))

# %% [markdown]
# From the best to the worst order it is {glue:text}`order_spread:.1%` of the digits. One seed cannot tell that from chance: look at the
# intervals. With five levels there is little to arrange; whether it matters with ten, nobody has run yet.
#
# ## Where the MSB comes from
#
# At 3 bits every code counts. A percentile near 100 spends them on the few large values; `"mse"` takes the MSB with the least squared
# error, for kernel, input and output of each layer. And should the formats follow the network while it changes (`recalibrate`)?

# %%
rules = {}
for rule in (99.9, "mse"):
    for way in ("static", "all-at-once"):
        schedule = Schedule((3, 3, 3), way, epochs=5)
        rules[rule, way] = run(schedule, Calibration(rule))
again = run(Schedule((3, 3, 3), "train"), Calibration("mse", recalibrate=True))

# %% tags=["hide-input"]
named = {99.9: "99.9 %", "mse": "least squared error"}
rows = [(named[rule], way, share(hits)) for (rule, way), (*_, hits) in rules.items()]
rows += [("least squared error", "train, one epoch a level", share(orders["input"][2]))]
rows += [("the same, recalibrated at every stage", "train, one epoch a level", share(again[2]))]
HTML(plots.Table(("MSB", "strategy", "test accuracy (quick)"), rows).html())

# %% tags=["remove-cell"]
for name, rule in {"most": 99.9, "mse": "mse"}.items():
    record(within=0.5 if SMOKE else 0.2, **{f"rule_{name}": rules[rule, "all-at-once"][2] / n})
record(within=0.5 if SMOKE else 0.12, recalibrated=again[2] / n)

# %% [markdown]
# After training, the 99.9th percentile leaves {glue:text}`rule_most:.1%`, the least error {glue:text}`rule_mse:.1%`: the rule is worth
# more than the way. Recalibrating every stage gives {glue:text}`recalibrated:.1%`, against {glue:text}`order_input:.1%` with the formats
# of the float network. A network that has learned to live with a format does not gain by another.
#
# (how-low)=
# ## How low?
#
# All at once, five epochs, from 4 bits down. Often the first and last level are spared: `edge_bits=8` gives them 8 bits.

# %%
WIDTHS = ((4, 4, 4), (3, 3, 3), (2, 4, 4), (2, 2, 2))
low = {
    ("static", (3, 3, 3)): rules["mse", "static"],
    ("trained", (3, 3, 3)): rules["mse", "all-at-once"],
}
for b in WIDTHS:
    if b != (3, 3, 3):
        low["static", b] = run(Schedule(b, "static"))
        low["trained", b] = run(Schedule(b, "all-at-once", epochs=5))
    edges = Schedule(b, "all-at-once", epochs=5, edge_bits=8)
    low["edges 8 bits", b] = run(edges)

# %% tags=["hide-input"]
traces, rows = [], []
places = ["-".join(map(str, b)) for b in WIDTHS]
for name, colour in {"static": plots.GREY, "trained": plots.BLUE, "edges 8 bits": plots.GREEN}.items():
    hits = [low[name, b][2] for b in WIDTHS]
    bottom, top = np.transpose([wilson_interval(h, n) for h in hits])
    y = np.array(hits) / n
    error = {"type": "data", "symmetric": False, "array": top - y, "arrayminus": y - bottom, "thickness": 1}
    shown = name if name != "edges 8 bits" else "trained, edges 8 bits"
    traces.append(go.Bar(x=places, y=y, name=shown, marker={"color": colour}, error_y=error))
    rows += [(place, shown, *row) for place, *row in zip(places, y, bottom, top)]
plots.show(
    plots.figure(
        *traces,
        x="bits of kernel, input and output",
        y="top-1 accuracy",
        barmode="group",
        xaxis={"type": "category"},
        yaxis={"tickformat": ".0%", "range": [0, 1.02]},
    ),
    label="8.3",
    caption=f"Down to 2 bits, rounded to nearest, MSBs of least squared error. {n} test digits, one seed, 95 % intervals (quick).",
    alt="Bars of the accuracy: high at 4 bits, less at 3, less again with 2-bit kernels, and at the level of guessing with 2 bits for all.",
    table=plots.Table(("bits", "what", "accuracy", "95 % low", "95 % high"), rows),
)

# %% tags=["remove-cell"]
for b in WIDTHS:
    name = "".join(map(str, b))
    record(within=0.5 if SMOKE else 0.15, **{f"trained_{name}": low["trained", b][2] / n, f"edges_{name}": low["edges 8 bits", b][2] / n})
record(within=0.5 if SMOKE else 0.15, static_444=low["static", (4, 4, 4)][2] / n, static_244=low["static", (2, 4, 4)][2] / n)

# %% [markdown]
# Kernels of 2 bits hold the values $-A$, $-A/2$, 0 and $A/2$. With 4-bit inputs and outputs, static quantization leaves
# {glue:text}`static_244:.1%`, and five epochs bring back {glue:text}`trained_244:.1%`, or {glue:text}`edges_244:.1%` with 8 bits at the edges.
# With 2 bits for everything nothing comes back: {glue:text}`edges_222:.1%`, even so. A signed output of 2 bits behind a ReLU is 0 or
# $A/2$. Whether the gradients are lost or twenty steps (five epochs of four batches) are too few, we have not measured.

# %% [markdown]
# ## On real data
#
# CIFAR-10, a SqueezeNet of ten levels, everything at few bits and rounded to nearest (*reference* results; what nobody has run yet
# says so).

# %% tags=["hide-input"]
ROWS = {
    "static": reference.cells("static at 4 bits")[:1],
    "train, 10,000 images": reference.cells("train at 4 bits"),
    "all at once, all images": reference.cells("few bits, all images"),
    "the same, first and last level at 8, an MSB a filter": [
        *reference.cells("few bits, first and last level at 8"),
        *reference.cells("3 bits and fewer, first and last level at 8"),
    ],
    "other ways, 10,000 images": reference.cells("gradual"),
}
told = [(way, cell) for way, cells in ROWS.items() for cell in cells]
rows = [(way, c.trial.strategy, "-".join(map(str, c.trial.bits)), c.trial.epochs, str(c)) for way, c in told]
display(HTML(plots.Table(("what", "strategy", "bits", "epochs of each stage", "top-1"), rows).html()))
Markdown(f"*Reference: {reference.made_with([r for _, c in told for r in c.records])}*")

# %% tags=["remove-cell"]
def under(name, **fields):
    [found] = reference.cell(name, **fields).records
    return 100 * found.results.loss_of_accuracy


EDGES = "first and last level at 8"
quote(under_4=under("few bits, all images", bits=(4, 4, 4)), under_3=under("few bits, all images", bits=(3, 3, 3)))
quote(edges_4=under(f"few bits, {EDGES}", epochs=6), edges_4_longer=under(f"few bits, {EDGES}", epochs=12))
quote(edges_3=under(f"3 bits and fewer, {EDGES}", bits=(3, 3, 3)))

# %% [markdown]
# With 4 bits everywhere the network ends {glue:text}`under_4:.1f` points under float, with 3 bits {glue:text}`under_3:.1f`, after six epochs.
# With 8 bits at the edges, an MSB for each filter and another learning rate, it is {glue:text}`edges_4:.1f` at 4 bits after six epochs (twice
# the epochs: {glue:text}`edges_4_longer:.1f`), and {glue:text}`edges_3:.1f` at 3 bits, but after twelve. We had hoped for 3 and 10. So many
# things changed at once that these runs, one seed each, do not say which of them helped.

# %% [markdown]
# ## What the thesis found
#
# Gradual resolution loss is described (5.5.1) and not tried; the order is always from the input; the MSB comes from the 98th
# percentile. At 4-4-4, rounded down, neither 10 nor 100 epochs a level help (Tables 13 and 14):

# %% tags=["hide-input"]
rows = []
for number, column in ((13, "train_accuracy"), (14, "accuracy")):
    row = papers.table("vieito2017", number)[-1]
    bits = "-".join(str(row[f"{kind}_bits"]) for kind in ("kernel", "input", "output"))
    rows.append((bits, f"train, {row['epochs_per_layer']} epochs a level", "floor", f"{row[column]} % (Table {number})", "-"))
rows.append(("4-4-4", "static", "nearest", "-", share(low["static", (4, 4, 4)][2])))
rows.append(("4-4-4", "all at once, 5 epochs", "nearest", "-", share(low["trained", (4, 4, 4)][2])))
HTML(plots.Table(("bits", "strategy", "rounding", "thesis (float: 51 %)", "ours (quick)"), rows).html())

# %% [markdown]
# It asks for longer training, another optimizer, or a more advanced schedule.
#
# **Why they differ.** Not by the schedule: at 4 bits our digits need none. Static quantization reads {glue:text}`static_444:.1%`, five epochs
# all at once {glue:text}`trained_444:.1%`. Rounding to nearest and a good MSB come first. Training pays at 3 bits, and on CIFAR-10 at 4 bits
# already (the table above); the way down comes last. Digits are easy, with ten classes and eleven small layers.
#
# ## Exercises
#
# **1.** How many bits does a weight of the small SqueezeNet have on average with 2-bit kernels, when the first and last level have 8?

# %% tags=["hide-cell"]
sizes = {layer.name: int(np.prod(layer.kernel.shape)) for layer in compiled["reuse"].quantized_layers}
edges = sizes["conv1"] + sizes["conv10"]
average = (8 * edges + 2 * (sum(sizes.values()) - edges)) / sum(sizes.values())
print(f"{edges:,} of {sum(sizes.values()):,} weights have 8 bits: {average:.2f} bits on average")

# %% tags=["remove-cell"]
record(within=0.001, average_bits=average)

# %% [markdown]
# ```{admonition} Solution
# :class: dropdown
# {glue:text}`average_bits:.2f`: the edges are small here. In SqueezeNet v1.1 with its thousand classes conv10 alone has 512,000 of
# 1.2 million weights; there the spared level would be the dearest.
# ```
#
# **2.** Of inputs and outputs, which may have 2 bits, when everything else has 4? Predict, then run `(4, 2, 4)` and `(4, 4, 2)`.
#
# ```{admonition} Solution
# :class: dropdown
# With `run(Schedule((4, 2, 4), "all-at-once", epochs=5))` and its sibling. Think of what lies between an output and the next input: a ReLU,
# perhaps a pooling. The input quantizer sees values that are never negative, so it wastes half its codes; the output quantizer before
# the ReLU does not know yet which values will be cut.
# ```
#
# **3.** A clipped value has the gradient 0. `gradient="identity"` lets it pass. At 3 bits, where much is clipped, is that better?
#
# ```{admonition} Solution
# :class: dropdown
# Run it with both, and call `compiled.clear()` before each: the gradient is built into the network. A weight beyond the range gets a gradient
# by *identity* and can come back; but it can also drift further out, where moving changes nothing.
# ```
#
# ## Run it on yours
#
# ```python
# from fewbits import Calibration, Schedule, progressive_quantization
#
# outcome = progressive_quantization(
#     model, (images, labels),
#     Schedule(bits=(2, 4, 4), strategy="all-at-once", epochs=20, edge_bits=8),
#     validation=(more_images, more_labels), calibration=Calibration("mse"),
# )
# for entry in outcome.history:
#     print(entry["epoch"], f"{entry['val_accuracy']:.1%}")
# ```
#
# ```shell
# fewbits progressive-quantization digits.keras --data digits --bits 2,4,4 --strategy all-at-once --epochs 20 \
#         --percentile mse --edge-bits 8 --optimizer adam --learning-rate 0.001 --output two-bits.keras
# ```

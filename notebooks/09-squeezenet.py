# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 9 SqueezeNet on small images: which change pays?
#
# A network was made for photographs of 224 by 224 pixels. Now it gets images of 32 by 32. What has to change?
#
# {cite:t}`chernis` put CIFAR-10 into SqueezeNet v1.0 and change four things, nearly all on top of each other. The
# accuracy they print climbs with every step. But changes that pile up hide each other. Which one was it?
#
# ```{admonition} Predict first
# :class: tip
# The four changes: pooling windows of 2x2 instead of 3x3; filters of 2x2 instead of 7x7 in the first convolution; one fire module
# less, and less dropout; shrinking the image later. **Which of them alone** would help the most? **Which costs** the most
# multiplications? And how many pixels, side by side, are left of the 32 where the unchanged network comes to its last module? The answers are in
# [Where the pixels go](where-the-pixels-go), [What each change costs](what-changes-cost) and [One change at a time](one-change).
# ```

# %% tags=["parameters", "hide-input"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML, Markdown

from fewbits import data, training, zoo
from fewbits.book import papers, reference
from fewbits.explore import plots
from fewbits.backend import keras
from fewbits.book import quote, record
from fewbits.costs.complexity import cost_table, totals
from fewbits.statistics import wilson_interval

SMOKE = profile == "smoke"
STEPS = {"baseline": "baseline", "e1": "E1", "e2": "E2", "e3": "E3", "e4": "E4"}
ALONE = {  # change -> what it is; e1 is the first of them already
    "e1": "windows 2x2",
    "kernel": "filters 2x2",
    "fires": "no fire3",
    "dropout": "dropout 0.3",
    "delay": "shrink later",
}

# %% [markdown]
# The steps, each with what the step before has, but for E4, which goes back to E2 (its Table 2 has `fire3`):
#
# | step | what changes |
# |---|---|
# | baseline | SqueezeNet v1.0, as it is |
# | E1 | pooling windows of 2x2, not 3x3; another preparation of the images, which the text does not describe |
# | E2 | filters of 2x2 in `conv1`, not 7x7 |
# | E3 | no `fire3`; dropout 0.3, not 0.5 |
# | E4 | E2 with a `conv1` that steps by one pixel, not two, and without the first pooling |
# | E5 | E4 with a hundred classes |
#
# (where-the-pixels-go)=
# ## Where the pixels go
#
# A photograph can spare pixels. SqueezeNet's first convolution keeps every second one in each direction, and three poolings do so
# again. From 32 pixels that leaves little. The sides of the maps, level by level:

# %%
nets = {
    name: zoo.build(f"squeezenet_chernis_{name}", (32, 32, 3), 10)
    for name in [*STEPS, *ALONE, "linear"]
}

# %%
LEVELS = ["conv1", "pool1", "fire2", "fire3", "fire4", "pool4", "fire5",
          "fire6", "fire7", "fire8", "pool8", "fire9", "conv10"]


def sides(net):
    shown = {row.name.removesuffix("_concat"): row for row in cost_table(net)}
    return {x: shown[x].output_shape[0] for x in LEVELS if x in shown}


for name in ("baseline", "e2", "e4"):
    print(name, list(sides(nets[name]).values()))

# %% tags=["hide-input"]
lines = {"baseline": "baseline", "e1": "E1", "e2": "E2, E3", "e4": "E4"}
plots.show(
    plots.figure(
        *(
            go.Scatter(
                x=list(sides(nets[name])), y=list(sides(nets[name]).values()), name=words, mode="lines+markers",
                line={"color": colour, "dash": dash},
            )
            for (name, words), colour, dash in zip(lines.items(), plots.COLOURS, ("solid", "dot", "dash", "solid"))
        ),
        x="level",
        y="side of its map in pixels",
        xaxis={"categoryorder": "array", "categoryarray": LEVELS, "tickangle": -45, "title": {"standoff": 12}},
        margin={"l": 60, "r": 15, "t": 15, "b": 85},
        yaxis={"type": "log", "tickvals": [1, 2, 4, 8, 16, 32], "range": [-0.1, 1.6]},
    ),
    label="9.1",
    caption="What is left of 32 pixels after each level.",
    alt="Four falling lines on a logarithmic axis: the baseline ends at one pixel, E1 and E2 at two, E4 stays above them throughout and ends at nine.",
    table=plots.Table(("level", *lines.values()), [(x, *(sides(nets[n]).get(x, "") for n in lines)) for x in LEVELS]),
)

# %% [markdown]
# The baseline decides by maps of a single pixel. How much of the image does one value see there? Each filter and each window widens
# the view by its side less one, times the pixels that a step is worth by then:

# %%
def seen(net):
    side, jump = 1, 1
    for layer in net.layers:
        window = getattr(layer, "kernel_size", None)
        window = window or getattr(layer, "pool_size", None)
        if window:
            side += (window[0] - 1) * jump
            jump *= layer.strides[0]
    return side


print({words: seen(nets[name]) for name, words in STEPS.items()})

# %% tags=["remove-cell"]
for name, net in nets.items():
    record(**{f"seen_{name}": seen(net), f"last_side_{name}": sides(net)["conv10"]})

# %% [markdown]
# The baseline looks at {glue:text}`seen_baseline:d` pixels, side by side, of an image that has 32; the rest of the view is padding.
# E4's view of {glue:text}`seen_e4:d` is hardly wider than the image.
#
# That has a consequence which no table shows. A 3x3 filter on a map of one pixel meets one pixel and eight zeros. Replace the eight
# weights by noise:

# %%
crops = data.load("crops")  # drawn onions and weeds, 32 x 32
images = crops.scaled(crops.train)[:32]
net = nets["baseline"]
layer = net.get_layer("fire9_expand3x3")
kernel, bias = layer.get_weights()
before = np.array(net(images))
noise = np.random.default_rng(9).normal(size=kernel.shape)
noise[1, 1] = kernel[1, 1]
layer.set_weights([noise, bias])
change = np.abs(np.array(net(images)) - before).max()
idle = kernel.size * 8 // 9
print(f"{idle:,} weights replaced; the outputs change by {change}")

# %% tags=["remove-cell"]
layer.set_weights([kernel, bias])
record(idle=idle, changed=int(change > 0))
quote(idle_share=idle / totals(net).parameters)

# %% [markdown]
# {glue:text}`idle:,d` weights, {glue:text}`idle_share:.0%` of the network, can be anything. They cost memory, and they multiply.
#
# (what-changes-cost)=
# ## What each change costs
#
# Counted from the graph ([chapter 2](02-counting) says how), for one image of 32 by 32. The last column is what a device must hold
# at once:

# %%
cost = {name: totals(net) for name, net in nets.items()}
base = cost["baseline"]
for name in ("e2", "e4"):
    print(f"{STEPS[name]}: {cost[name].macs / base.macs:.1f} times the MACs,",
          f"{cost[name].parameters / base.parameters:.2f} the parameters")

# %% tags=["hide-input"]
words = STEPS | {name: f"only: {what}" for name, what in ALONE.items() if name not in STEPS}
HTML(plots.Table(
    ("network", "parameters", "MACs in millions", "times the baseline's", "peak of activations"),
    [(w, c.parameters, f"{c.macs / 1e6:.1f}", f"{c.macs / base.macs:.2f}", c.peak_activations)
     for name, w in words.items() for c in [cost[name]]],
).html())

# %% tags=["remove-cell"]
for name, c in cost.items():
    record(**{f"parameters_{name}": c.parameters, f"macs_{name}": c.macs, f"peak_{name}": c.peak_activations})
quote(e4_macs=cost["e4"].macs / base.macs, e4_e2_macs=cost["e4"].macs / cost["e2"].macs, e4_peak=cost["e4"].peak_activations / base.peak_activations)
quote(e1_macs=cost["e1"].macs / base.macs, delay_macs=cost["delay"].macs / base.macs)

# %% [markdown]
# Most of the changes keep pixels. Even the smaller *window* leaves larger maps, by one pixel here and there, and does
# {glue:text}`e1_macs:.2f` times the MACs. To shrink later costs {glue:text}`delay_macs:.0f` times as many, alone; all of E4
# {glue:text}`e4_macs:.0f` times, and {glue:text}`e4_peak:.0f` times the memory for activations.
#
# ## Born dead
#
# There is one more trap in the layout, and the report does not mention it. SqueezeNet puts a ReLU behind its *last* convolution.
# The logit of a class is a mean over the last map, after that ReLU. Where the sum is below zero for all images, the logit is 0 for
# all images, and so is its gradient: training cannot bring the class back by its own weights.
#
# How often does that happen at birth, by the draw of the weights alone? Build each network for a thousand classes, and count
# those whose logit is 0 for each of 32 images:

# %%
def dead(name, seed):
    keras.utils.set_random_seed(seed)
    net = zoo.build(f"squeezenet_chernis_{name}", (32, 32, 3), 1000)
    return np.mean(np.array(net(images)).max(axis=0) <= 0)


seeds = (1,) if SMOKE else (1, 2, 3)
born = {
    name: np.mean([dead(name, seed) for seed in seeds])
    for name in ("baseline", "e2", "e4")
}
for name, share in born.items():
    print(f"{STEPS[name]}: {share:.0%} of the classes")

# %% tags=["remove-cell"]
record(within=0.1, **{f"born_dead_{name}": float(share) for name, share in born.items()})

# %% [markdown]
# On a map of one pixel, nearly a coin is tossed for each class, once. On {glue:text}`last_side_e4:d` by {glue:text}`last_side_e4:d` pixels,
# some place in some image is above zero more easily. *So E4 does not only keep more pixels, it is also born healthier.* Training may wake a
# class, by moving the layers before, or kill one: in the short trainings that chose the rate for this chapter, Adam left one class dead at
# the higher rate, and RMSprop all ten. In such networks a lucky seed can look like a good idea.
#
# ## Two of them, while you read
#
# The baseline and E2 on onions, weeds and the soil between them, cut out of drawn photographs that come with this book. Same seed,
# same images, same order:

# %%
few = crops.train.take(64 if SMOKE else 704)
test = crops.test.take(64) if SMOKE else crops.test


def trained(name, epochs=1 if SMOKE else 4):
    keras.utils.set_random_seed(1)
    net = zoo.build(f"squeezenet_chernis_{name}", (32, 32, 3), 3)
    training.prepare(net, "adam", learning_rate=0.001)
    pixels = crops.scaled(few), few.labels
    training.train(net, pixels, epochs=epochs, batch_size=32, seed=1)
    return net.predict(crops.scaled(test), verbose=0)


# %%
answers = {name: trained(name) for name in ("baseline", "e2")}
scores = {}
for name, logits in answers.items():
    right = int(np.sum(logits.argmax(axis=1) == test.labels))
    low, high = wilson_interval(right, len(test))
    gone = np.sum(logits.max(axis=0) <= 0)
    print(f"{STEPS[name]}: {right / len(test):.1%} ({low:.1%} to {high:.1%}),",
          f"{gone} of 3 classes dead")
    scores[name] = right / len(test)

# %% tags=["remove-cell"]
record(within=0.6 if SMOKE else 0.35, **{f"crops_{name}": score for name, score in scores.items()})
quote(largest=float(np.bincount(test.labels).max() / len(test)), tested=len(test))

# %% [markdown]
# Who always answers with the most frequent class is right in {glue:text}`largest:.1%` of these {glue:text}`tested:d` images. The
# interval is of the images alone. Another seed would give other weights, perhaps dead classes, and another accuracy. How
# far off it would be, *one seed cannot tell.* For that we need more.
#
# (one-change)=
# ## One change at a time
#
# Now on CIFAR-10, {glue:text}`epochs:d` epochs each (*reference*). First the report's steps, as they pile up:

# %% tags=["hide-input"]
cells = {
    cell.trial.network.removeprefix("squeezenet_chernis_"): cell
    for grid in ("SqueezeNet of chernis", "SqueezeNet ablation", "SqueezeNet, three seeds")  # the last has the first seed, too
    for cell in reference.cells(grid)
}
EPOCHS = cells["baseline"].trial.epochs
printed = {row["model"]: row for row in papers.table("chernis", 1)}
thesis = dict(zip([*STEPS, "e5"], printed.values()))


def measured(name):
    """Return the accuracy of a network in percent and half of its 95 % interval; None if not run."""
    found = cells[name].measured
    return found and tuple(100 * x for x in found)


def points_above(one, other="baseline"):
    """Return by how many points `one` is above `other`, and half of the 95 % interval of that; None if not run."""
    found = reference.gap(cells[one], cells[other])
    return found and tuple(100 * x for x in found)


def told(pair):
    return "not run" if pair is None else f"{pair[0]:+.1f} ± {pair[1]:.1f}"


BEFORE = {"e1": "baseline", "e2": "e1", "e3": "e2", "e4": "e2"}
rows = [
    (w, str(cells[name]), told(points_above(name, BEFORE[name])) if name in BEFORE else "", f"{thesis[name]['accuracy']} %",
     f"{thesis[name]['accuracy'] - thesis[BEFORE[name]]['accuracy']:+.2f}" if name in BEFORE else "")
    for name, w in STEPS.items()
]
HTML(plots.Table(("network", "ours (reference)", "points over the step it builds on", "as printed", "points, as printed"), rows).html())

# %% [markdown]
# Where a network has one seed, the interval is of the test images alone, without the luck of the weights.
#
# Then each change alone, all else the baseline's. Two of the five leave the maps as large as
# they were. What a gain costs is told by its points for each doubling of the MACs:

# %% tags=["hide-input"]
gains = {name: points_above(name) for name in ALONE}
rows = []
for name, what in ALONE.items():
    doublings = np.log2(cost[name].macs / base.macs)
    rate = f"{gains[name][0] / doublings:+.1f}" if gains[name] and doublings > 0 else "not run" if doublings > 0 else "no more MACs"
    rows.append((what, str(cells[name]), told(gains[name]), f"{cost[name].macs / base.macs:.2f}", rate))
rows.append(("no last ReLU (ours)", str(cells["linear"]), told(points_above("linear")), f"{cost['linear'].macs / base.macs:.2f}", "no more MACs"))
HTML(plots.Table(("alone", "accuracy (reference)", "points over the baseline", "times the MACs", "points a doubling"), rows).html())

# %% tags=["hide-input"]
def carrier():
    """Return a sentence: which change alone gains most, and whether it is ahead of the next."""
    missing = [what for name, what in ALONE.items() if gains[name] is None]
    if missing:
        return f"Which change alone carries the gain is **not run**: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing."
    first, second = sorted(gains, key=lambda name: -gains[name][0])[:2]
    ahead = gains[first][0] - gains[second][0] > np.hypot(gains[first][1], gains[second][1])
    once = ahead and min(len(cells[name].records) for name in (first, second)) == 1
    verdict = "clear on the test images, with one seed" if once else "clear" if ahead else "not decided"
    return (f"Alone, *{ALONE[first]}* gains most, {told(gains[first])} points. That it is ahead of *{ALONE[second]}*, "
            f"{told(gains[second])}, is **{verdict}**.")


def together(whole, *parts):
    """Return how the sum of the gains of `parts` compares with that of `whole`, which has them all."""
    if points_above(whole) is None or any(gains[part] is None for part in parts):
        return f"The sum of the parts of {STEPS[whole]} is **not run**."
    total, joint = sum(gains[part][0] for part in parts), points_above(whole)[0]
    # The baseline is in each gain: of its error, all but one share is in what is left.
    reach = np.sqrt(sum(measured(n)[1] ** 2 for n in (*parts, whole)) + ((len(parts) - 1) * measured("baseline")[1]) ** 2)
    verdict = "more than" if total - joint > reach else "less than" if joint - total > reach else "about"
    return f"The parts of {STEPS[whole]} alone make {total:+.1f} points, all together {joint:+.1f}: the sum is **{verdict}** the whole (± {reach:.1f})."


Markdown(" ".join([carrier(), together("e4", "e1", "kernel", "delay"), together("e3", "e1", "kernel", "fires", "dropout")]))

# %% [markdown]
# Accuracy over what it costs, with the report's own points beside ours:

# %% tags=["hide-input"]
def trace(names, label, mode, **style):
    known = [n for n in names if measured(n)]
    return go.Scatter(
        x=[cost[n].macs / 1e6 for n in known], y=[measured(n)[0] for n in known], name=label, mode=mode,
        error_y={"type": "data", "array": [measured(n)[1] for n in known], "thickness": 1},
        text=[words.get(n, "no last ReLU") for n in known], hovertemplate="%{text}: %{y:.1f} %, %{x:.1f} M MACs<extra></extra>", **style)


plots.show(
    plots.figure(
        trace(STEPS, "ours, the steps (reference)", "lines+markers", marker={"size": 10, "color": plots.BLUE}, line={"width": 1}),
        trace([n for n in (*ALONE, "linear") if n not in STEPS], "ours, one change (reference)", "markers",
              marker={"size": 10, "symbol": "diamond", "color": plots.ORANGE}),
        go.Scatter(
            x=[cost[n].macs / 1e6 for n in STEPS], y=[thesis[n]["accuracy"] for n in STEPS], name="as printed",
            mode="lines+markers+text", text=list(STEPS.values()), textposition=["middle left", "middle right", "middle left", "top center", "top left"],
            marker={"size": 11, "symbol": "circle-open", "color": plots.GREY}, line={"width": 1, "dash": "dot"},
            hovertemplate="%{text}: %{y:.1f} %, printed<extra></extra>"),
        x="MACs of an image, in millions",
        y="top-1 accuracy in %",
        xaxis={"type": "log", "range": [0.6, 2.55], "tickvals": [10, 30, 100, 300]},
        height=420,
        showlegend=True,
    ),
    label="9.2",
    caption=f"Accuracy on CIFAR-10 over MACs: ours after {EPOCHS} epochs with 95 % intervals, the report's after 20. Points that are not run are left out.",
    alt="Points over a logarithmic axis: baseline, E1, E2 and E3 close together near ten million MACs, E4 far to the right.",
    table=plots.Table(
        ("network", "MACs in millions", "ours in % (reference)", "as printed in %"),
        [(words.get(n, "no last ReLU"), f"{cost[n].macs / 1e6:.1f}", str(cells[n]), thesis[n]["accuracy"] if n in thesis else "")
         for n in nets]),
)
Markdown(f"*Ours: {reference.made_with([r for c in cells.values() for r in c.records])}*")

# %% [markdown]
# E1 changes two things in the report, the windows and the preparation of the images, and says nothing of the second. One guess is
# augmentation. Without it:

# %% tags=["hide-input"]
plain = {cell.trial.network.removeprefix("squeezenet_chernis_"): cell for cell in reference.cells("SqueezeNet, no augmentation")}
HTML(plots.Table(
    ("network", "images as they are (reference)", "shifted and mirrored (reference)"),
    [(STEPS[name], str(cell), str(cells[name])) for name, cell in plain.items()],
).html())

# %% [markdown]
# ## A hundred classes
#
# E5 is E4 on CIFAR-100. In the network only `conv10` grows. The report explains the fall of accuracy by fewer images a class. But a
# guess is right in one case of ten there, here in one of a hundred:

# %%
hundred = zoo.build("squeezenet_chernis_e5", (32, 32, 3), 100)
more = totals(hundred).parameters - cost["e4"].parameters
print(f"{more:,} more parameters: 90 x (512 + 1) = {90 * 513:,}")
for name, classes in (("e4", 10), ("e5", 100)):
    above = thesis[name]["accuracy"] / (100 / classes)
    print(f"{name}: {above:.1f} times as good as a guess (as printed)")

# %% tags=["remove-cell"]
record(more_classes=more, parameters_e5=totals(hundred).parameters, e5_printed=printed["Experiment 5"]["parameters"])

# %% tags=["hide-input"]
e5 = reference.cell("SqueezeNet of chernis on CIFAR-100")
top5 = "not run" if not e5.records else f"{np.mean([r.results.test.hits_top5 / r.results.test.n for r in e5.records]):.1%}"
HTML(plots.Table(
    ("E5 on CIFAR-100", "top-1", "top-5"),
    [("ours (reference)", str(e5), top5), ("as printed", f"{thesis['e5']['accuracy']} %", "not given")],
).html())

# %% [markdown]
# ## What the thesis found
#
# From {glue:text}`printed_first:.2f` to {glue:text}`printed_best:.2f` %, the best of all by E4, "because more feature information is retained deeper into the network". Some of
# its numbers do not add up ([errata](91-errata) has them all):

# %% tags=["hide-input"]
e3, e4 = printed["Experiment 3"], printed["Experiment 4"]
modules = len({layer.name.split("_")[0] for layer in nets["e3"].layers if layer.name.startswith("fire")})
rows = [
    ("E3, parameters", f"{e3['parameters']:,}", f"{cost['e3'].parameters:,}"),
    ("E3, fire modules left", "6", f"{modules}"),
    ("E4 delays downsampling \"to reduce the number of parameters\"", f"{e4['parameters']:,}, as E2",
     f"{cost['e4'].parameters:,}: {cost['e4'].parameters - cost['e2'].parameters} fewer than E2, at {cost['e4'].macs / cost['e2'].macs:.1f} times its MACs"),
    ("E4 builds on", "not said", f"E2: its Table 2 has fire3, and E3's {cost['e3'].parameters:,} parameters are not E4's"),
    ("gain of E4", f"{e4['accuracy'] - e3['accuracy']:+.2f} over E3", f"{e4['accuracy'] - printed['Experiment 2']['accuracy']:+.2f} over E2, on which it builds"),
]
HTML(plots.Table(("what", "printed", "counted"), rows).html())

# %% tags=["remove-cell"]
quote(epochs=EPOCHS, printed_first=printed["Baseline"]["accuracy"], printed_best=e4["accuracy"])
record(fires_left=modules, e3_printed=e3["parameters"], e3_slip=e3["parameters"] - cost["e3"].parameters)
record(within=1e-6, e4_over_e2=e4["accuracy"] - printed["Experiment 2"]["accuracy"])

# %% [markdown]
# **Why they differ.** The report trains for 20 epochs, we for {glue:text}`epochs:d`, with a rate that falls to zero. It names neither optimizer nor
# rate nor augmentation, and how the images were prepared it does not say; if the baseline's were enlarged to a photograph's size
# first, our counts are not its. Each of its figures is one training. Its steps pile up, ours in the second table stand alone. And
# where `conv1` of E2 and E3 steps by one pixel or by two the text leaves open: we take the baseline's two.
#
# ## Exercises
#
# **1.** From which side of the image on does no weight of the baseline lie idle? Think first: which map must have two pixels?

# %% tags=["hide-cell"]
for side in range(32, 80):
    left = (side - 7) // 2 + 1
    for _ in range(3):
        left = -((3 - left) // 2) + 1  # rounded up
    if left > 1:
        break
wide = zoo.build("squeezenet_chernis_baseline", (side, side, 3), 10)
print(f"from {side} pixels: fire9's map has {sides(wide)['fire9']} by as many")

# %% [markdown]
# **2.** E4 undoes two halvings. Each halves both sides, so why has E4 not 16 times the MACs of E2, but more?
#
# ```{admonition} Solution
# :class: dropdown
# Sides are whole pixels, and E4 pads: 33, 17 and 9 instead of 32, 16 and 8. Between `fire2` and `fire4` that makes $(33/8)^2 = 17.0$, then
# $(17/4)^2 = 18.1$, and in `fire9` and `conv10` $(9/2)^2 = 20.3$. Only `conv1`, which undoes one halving, has $(33/16)^2 = 4.3$.
# ```
#
# **3.** The weights of `conv10` are drawn around zero. Why are not half of the classes born dead?
#
# ```{admonition} Solution
# :class: dropdown
# Half would be, if all images looked the same to `conv10`. A class is dead only if it is below zero for *every* image, and at every place of
# the map. The more the images differ, and the more places there are, the fewer are.
# ```
#
# ## Run it on yours
#
# ```python
# from fewbits.costs import complexity
# from fewbits import zoo
#
# for name in ("baseline", "e1", "kernel", "delay"):
#     net = zoo.build(f"squeezenet_chernis_{name}", (48, 48, 3), 5)
#     print(name, complexity.totals(net))
# ```
#
# ```shell
# fewbits train --network squeezenet_chernis_e2 --data cifar10 \
#         --optimizer adam --learning-rate 0.0003 --epochs 20 --output e2.keras
# ```
#
# All of the ablation, from a file `ablation.toml`:
#
# ```toml
# [common]
# data = "cifar10"
# epochs = 20
# optimizer = "adam"
# learning_rate = 0.0003
#
# [[grid]]
# name = "one change at a time"
#
# [grid.vary]
# seed = [1, 2, 3]
# network = [
#   "squeezenet_chernis_baseline",
#   "squeezenet_chernis_e1",
#   "squeezenet_chernis_kernel",
#   "squeezenet_chernis_fires",
#   "squeezenet_chernis_dropout",
#   "squeezenet_chernis_delay",
#   "squeezenet_chernis_linear",
# ]
# ```
#
# ```shell
# fewbits sweep ablation.toml --store ablation
# ```

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 11 SqueezeNet on small images: which change pays?
#
# *Reading time: 15 minutes. Needs: [chapter 2](02-counting) (MACs, fire modules).*
#
# A network was designed for photographs of 224 by 224 pixels. What has to change when its images have only 32 by 32?
#
# {cite:t}`chernis` train SqueezeNet v1.0 {cite:p}`iandola2016` on CIFAR-10 {cite:p}`krizhevsky2009` and change four things, nearly
# all cumulatively. Their printed accuracy rises with every step. But cumulative changes hide each other's effects. Which one helped?
#
# ```{admonition} Predict first
# :class: tip
# The four changes: pooling windows of 2x2 instead of 3x3; filters of 2x2 instead of 7x7 in the first convolution; one fire module
# less, and less dropout; shrinking the image later. **Which of them alone** would help the most? **Which costs** the most
# multiplications? How many of the 32 pixels of a side remain at the last module of the unchanged network? The answers are in [Where
# the pixels go](where-the-pixels-go), [What each change costs](what-changes-cost) and [One change at a time](one-change).
# ```

# %% tags=["parameters"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
import numpy as np

from fewbits import data, explore, training, zoo
from fewbits.backend import keras
from fewbits.book import papers, questions, quote, record, reference
from fewbits.costs import cost_table, totals
from fewbits.explore import plots
from fewbits.statistics import Estimate, SeedSpread, Share, verdict

# %% tags=["hide-input"]
SMOKE = profile == "smoke"
STEPS = {"baseline": "baseline",
         "e1": "E1", "e2": "E2", "e3": "E3", "e4": "E4"}
ALONE = {  # change -> what it is; e1 is the first of them already
    "e1": "windows 2x2",
    "kernel": "filters 2x2",
    "fires": "no fire3",
    "dropout": "dropout 0.3",
    "delay": "shrink later",
}

# %% [markdown]
# Each step includes the changes of the step before, except E4, which builds on E2 (its Table 2 has `fire3`):
#
# | step | what changes |
# |---|---|
# | baseline | SqueezeNet v1.0, unchanged |
# | E1 | pooling windows of 2x2, not 3x3; a different preprocessing of the images, which the text does not describe |
# | E2 | filters of 2x2 in `conv1`, not 7x7 |
# | E3 | no `fire3`; dropout 0.3, not 0.5 |
# | E4 | E2 with a `conv1` of stride one, not two, and without the first pooling |
# | E5 | E4 with a hundred classes |
#
# (where-the-pixels-go)=
# ## Where the pixels go
#
# A large photograph can lose pixels. SqueezeNet's first convolution keeps every second pixel in each direction, and each of three
# pooling layers does so again. Few remain of 32. These are the sides of the maps, level by level:

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
# The side of each level's map
explore.lines(
    {words: sides(nets[name]) for name, words in STEPS.items() if name != "e3"},
    "11.1", "How many of 32 pixels remain after each level. E3 is E2 without fire3.",
    "Four falling lines, logarithmic: the baseline ends at one pixel, E1 and E2 at two, and E4 above them at nine.",
    x="level", y="side of its map in pixels", dashes=("solid", "dot", "dash", "solid"),
    yaxis={"type": "log", "tickvals": [1, 2, 4, 8, 16, 32], "range": [-0.1, 1.6]})

# %% [markdown]
# The last maps of the baseline have a single pixel. How large is the receptive field of one value there? Each filter and each pooling
# window enlarges it by its side minus one, times the product of the strides so far:

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

# %% [markdown]
# The baseline's receptive field is {glue:text}`seen_baseline:d` pixels wide, but the image has only 32; the rest is padding. E4's
# receptive field of {glue:text}`seen_e4:d` pixels is hardly wider than the image.
#
# This has a consequence that no table shows. A 3x3 filter on a map of one pixel covers one pixel and eight zeros. We replace the
# eight weights by noise:

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
layer.set_weights([kernel, bias])
idle = kernel.size * 8 // 9
print(f"{idle:,} weights replaced; the outputs change by {change}")

# %% [markdown]
# {glue:text}`idle:,d` weights, {glue:text}`idle_share:.0%` of the network, can have any value. They still cost memory and
# multiplications.
#
# (what-changes-cost)=
# ## What each change costs
#
# The costs are counted from the graph ([chapter 2](02-counting) says how), for one image of 32 by 32. The last column is the number
# of activations that a device must hold at once:

# %%
cost = {name: totals(net) for name, net in nets.items()}
macs = {name: counted.macs for name, counted in cost.items()}
times = {name: count / macs["baseline"] for name, count in macs.items()}
single = {n: f"only: {what}" for n, what in ALONE.items() if n != "e1"}
rows = []
for n, what in (STEPS | single).items():
    millions, peak = f"{macs[n] / 1e6:.1f}", cost[n].peak_activations
    rows.append((what, cost[n].parameters, millions, f"{times[n]:.2f}", peak))
columns = ("network", "parameters", "MACs in millions",
           "times the baseline's", "peak of activations")
explore.Table(columns, rows)

# %% [markdown]
# Most of the changes keep more pixels. Even the smaller *window* makes some maps one pixel larger, and needs {glue:text}`e1_macs:.2f`
# times the MACs. Shrinking later alone needs {glue:text}`delay_macs:.0f` times as many; all of E4 needs {glue:text}`e4_macs:.0f`
# times the MACs, and {glue:text}`e4_peak:.0f` times the memory for activations.
#
# ## Born dead
#
# The layout has one more trap, which the report does not mention. SqueezeNet puts a ReLU after its *last* convolution. The logit of a
# class is a mean over the last map, after that ReLU. If the output before the ReLU is below zero everywhere for all images, the logit
# is 0 for all images, and so is its gradient: training the weights of the class cannot revive it.
#
# How often does that happen at initialization, before any training? We build each network for a thousand classes, and count those
# whose logit is 0 for each of 32 images:

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

# %% [markdown]
# On a map of one pixel, the fate of each class is almost one toss of a coin. On {glue:text}`last_side_e4:d` by
# {glue:text}`last_side_e4:d` pixels, some place in some image is more likely to be above zero. *E4 thus not only keeps more pixels,
# it also starts with fewer dead classes.* Training may revive a class by changing the earlier layers, or kill one: in the short
# trainings that chose the rate for this chapter, Adam left one class dead at the higher rate, and RMSprop all ten. In such networks a
# lucky seed can look like a good idea.
#
# ## Two networks, trained on this page
#
# We train the baseline and E2 on onions, weeds and the soil between them, cut out of drawn photographs that come with this book.
# Seed, images and order are the same:

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
    share = Share.of(logits.argmax(axis=1) == test.labels)
    gone = np.sum(logits.max(axis=0) <= 0)
    print(f"{STEPS[name]}: {share}, {gone} of 3 classes dead")
    scores[name] = share.value

# %% [markdown]
# Always answering with the most frequent class is right for {glue:text}`largest:.1%` of these {glue:text}`tested:d` images. The
# interval is of the images alone. Another seed would give other weights, perhaps dead classes, and another accuracy. *One seed cannot
# show* how different it would be; that takes more seeds.
#
# (one-change)=
# ## One change at a time
#
# The next networks were trained on CIFAR-10, for {glue:text}`epochs:d` epochs each (*reference*). Optimizer and rate were chosen for
# the baseline and E2, on validation images; the others use the same. First come the report's cumulative steps:

# %% tags=["hide-input"]
# The report's steps, ours and as printed
GRIDS = "SqueezeNet of chernis", "SqueezeNet ablation", "SqueezeNet, three seeds"  # the last has the first seed, too
cells = {c.trial.network.removeprefix("squeezenet_chernis_"): c for c in reference.cells(*GRIDS)}
EPOCHS = cells["baseline"].trial.epochs
printed = {row["model"]: row for row in papers.table("chernis", 1)}
thesis = dict(zip([*STEPS, "e5"], (row["accuracy"] for row in printed.values())))
BEFORE = {"e1": "baseline", "e2": "e1", "e3": "e2", "e4": "e2"}
seeds = SeedSpread.of(cell.accuracies for cell in reference.cells("MobileNet, corners"))  # also 4 epochs on CIFAR-10
steps = {n: seeds.difference(cells[n].accuracies, cells[m].accuracies) for n, m in BEFORE.items()}
gained = {n: (steps[n].written("+.1%"), verdict(steps[n]), f"{thesis[n] - thesis[m]:+.2f}") for n, m in BEFORE.items()}
rows = [(what, cells[n], f"{thesis[n]} %", *gained.get(n, 3 * [""])) for n, what in STEPS.items()]
heads = "step", "ours (reference)", "as printed", "points over its base", "is it better?", "points, as printed"
reference.results_table(heads, rows, note="Intervals of 95 %, from seeds of other networks that were trained as long.")

# %% [markdown]
# Most of these networks have one seed, which cannot show the spread between seeds. The intervals take that spread from the networks
# of [chapter 12](which-lever) that have three seeds and were trained as long: there seeds differ by {glue:text}`seed_spread:.1f`
# points (standard deviation). If the same holds here, these steps are decided so far: {glue:text}`decided`. The test images alone
# would suggest more: E2 above E1 by {glue:text}`e2_images`.
#
# The next table has each change alone, with all else as in the baseline. Two of the five leave the maps as large as they were. The
# points per doubling of the MACs relate a gain to its cost. The last rows give the sum of the gains of the parts alone, minus the
# gain of the step that combines them.

# %% tags=["hide-input"]
# One change at a time, and whether the parts add up
only = ALONE | {"linear": "no last ReLU (ours)"}
gains = {n: seeds.difference(cells[n].accuracies, cells["baseline"].accuracies) for n in only}
rate = {n: (gains[n] / np.log2(times[n])).written("+.1%") for n in only if times[n] > 1}
rows = [(only[n], cells[n], g.points, f"{times[n]:.2f}", rate.get(n, "no more MACs")) for n, g in gains.items()]
summed = {"e4": ("e1", "kernel", "delay"), "e3": ("e1", "kernel", "fires", "dropout")}
terms = {whole: {whole: -1, "baseline": 1 - len(parts)} | dict.fromkeys(parts, 1) for whole, parts in summed.items()}
less = {n: seeds.contrast(*((weight, cells[part].accuracies) for part, weight in of.items())) for n, of in terms.items()}
rows += [(f"the parts of {STEPS[n]} less {STEPS[n]}", "-", found.points, "-", "-") for n, found in less.items() if found]
reference.results_table(("alone", "ours (reference)", "over baseline", "times the MACs", "points per doubling"), rows)

# %% [markdown]
# Which change pays by itself? Better than the baseline: {glue:text}`better`. Worse: {glue:text}`worse`. Not decided at
# {glue:text}`epochs:d` epochs and one or three seeds: {glue:text}`open`.
#
# The next figure shows accuracy over cost, with the report's own points next to ours:

# %% tags=["hide-input"]
# Accuracy over MACs, ours and the report's
points = {n: (macs[n] / 1e6, cells[n]) for n in nets if n in cells and cells[n].records}
explore.scatter(
    {
        "ours, the steps (reference)": {what: points[n] for n, what in STEPS.items() if n in points},
        "ours, one change (reference)": {only[n]: points[n] for n in only if n in points and n not in STEPS},
        "as printed": {what: (macs[n] / 1e6, thesis[n] / 100) for n, what in STEPS.items()},
    }, "11.2", f"Accuracy on CIFAR-10 over MACs: ours after {EPOCHS} epochs (95 % intervals), the report's after 20.",
    "Points over a logarithmic axis: baseline, E1, E2 and E3 close together near ten million MACs, E4 far right.",
    x="MACs of an image, in millions", mode=("lines+markers", "markers", "lines+markers+text"),
    symbols=("circle", "diamond", "circle-open"), colours=(plots.BLUE, plots.ORANGE, plots.GREY), height=420,
    xaxis={"type": "log", "range": [0.6, 2.55], "tickvals": [10, 30, 100, 300]})

# %% [markdown]
# E1 changes two things in the report: the windows and the preprocessing of the images, which it does not describe. One guess is
# augmentation. Here are results without it:

# %%
plain = {
    cell.trial.network.removeprefix("squeezenet_chernis_"): cell
    for cell in reference.cells("SqueezeNet, no augmentation")
}
rows = [(STEPS[name], cell, cells[name]) for name, cell in plain.items()]
heads = "images as they are (reference)", "shifted and mirrored (reference)"
reference.results_table(("network", *heads), rows)

# %% [markdown]
# ## A hundred classes
#
# E5 is E4 on CIFAR-100. In the network only `conv10` grows. The report explains the lower accuracy by fewer images per class. But a
# guess is right in one case of ten for E4, and in one of a hundred for E5:

# %%
hundred = zoo.build("squeezenet_chernis_e5", (32, 32, 3), 100)
more = totals(hundred).parameters - cost["e4"].parameters
print(f"{more:,} more parameters: 90 x (512 + 1) = {90 * 513:,}")
for name, classes in (("e4", 10), ("e5", 100)):
    above = thesis[name] / (100 / classes)
    print(f"{name}: {above:.1f} times as good as a guess (as printed)")

# %%
e5 = reference.cell("SqueezeNet of chernis on CIFAR-100")
tests = [record.results.test for record in e5.records]
top5 = Estimate.of(test.hits_top5 / test.n for test in tests)
rows = [
    ("ours", e5, top5),
    ("as printed", f"{thesis['e5']} %", "not given"),
]
heads = "E5 on CIFAR-100", "top-1", "top-5 in %"
reference.results_table(heads, rows)

# %% [markdown]
# ## What the thesis found
#
# Accuracy rises from {glue:text}`printed_first:.2f` to {glue:text}`printed_best:.2f` %. E4 is the best, "because more feature
# information is retained deeper into the network". Some numbers of the report are inconsistent ([errata](91-errata) has them all):

# %% tags=["hide-input"]
# What the report prints, and what we count
e3, e4, e5_parameters = (printed[f"Experiment {n}"]["parameters"] for n in (3, 4, 5))
modules = len({layer.name.split("_")[0] for layer in nets["e3"].layers if layer.name.startswith("fire")})
(p2, p3, p4), over_e2 = (cost[name].parameters for name in ("e2", "e3", "e4")), thesis["e4"] - thesis["e2"]
rows = [
    ("E3, parameters", e3, p3), ("E3, fire modules left", 6, modules),
    ('E4 delays downsampling "to reduce the number of parameters"', f"{e4:,}, as E2",
     f"{p4:,}: {p4 - p2} fewer than E2, at {macs['e4'] / macs['e2']:.1f} times its MACs"),
    ("E4 builds on", "not stated", f"E2: its Table 2 has fire3, and E3's {p3:,} parameters are not E4's"),
    ("gain of E4", f"{thesis['e4'] - thesis['e3']:+.2f} over E3", f"{over_e2:+.2f} over E2, on which it builds"),
]
explore.Table(("what", "printed", "counted"), rows)

# %% [markdown]
# **Why they differ.** The report trains for 20 epochs, we for {glue:text}`epochs:d`, with a rate that falls to zero. It states
# neither optimizer, rate, augmentation nor preprocessing; if the baseline's images were first enlarged to a photograph's size, our
# counts do not apply to it. Each of its figures is one training. Its steps are cumulative; those of our second table are separate.
# The text leaves open whether `conv1` of E2 and E3 has stride one or two: we take the baseline's two.
#
# ## Two questions

# %% tags=["hide-input"]
# Weights that meet zeros only
questions.ask(
    "A 5x5 filter with padding is applied to a map of a single pixel. What share of its weights has no effect?",
    (f"{24 / 25:.0%}", "The middle weight is multiplied by the pixel, all others by zeros of the padding."),
    (f"{8 / 9:.0%}", "This is a 3x3 filter. A larger one has more weights around the middle."),
    (f"{1 / 25:.0%}", "This is the share that has an effect."),
    ("0%, because it slides", "There is only one place. Sliding needs a map larger than one pixel."),
)

# %% tags=["hide-input"]
# Why fewer classes are born dead
places = sides(nets["e4"])["conv10"] ** 2
questions.ask(
    "Why does E4 start with fewer dead classes than the baseline?",
    (f"Its last map has {places} places, not one.", "A class is dead if it is below zero at every place of every image. More places give more chances."),
    ("It has no ReLU after the last convolution.", "It has one, as the baseline does. Without it no class could be dead."),
    ("Its last convolution is drawn with larger weights.", "The distribution is the same. The scale of the weights does not change the sign of a sum."),
    ("It has been trained for longer.", "Dead classes are counted at initialization, before any training."),
)

# %% [markdown]
# ## Exercises
#
# **1.** What is the smallest side of an image at which every weight of the baseline has an effect? Hint: which map must have two
# pixels?

# %% tags=["hide-cell"]
# The smallest side at which fire9's map has two pixels
maps = {side: (side - 7) // 2 + 1 for side in range(32, 80)}
for _ in range(3):  # the poolings, rounded up
    maps = {side: -((3 - left) // 2) + 1 for side, left in maps.items()}
side = min(side for side, left in maps.items() if left > 1)
wide = zoo.build("squeezenet_chernis_baseline", (side, side, 3), 10)
print(f"from {side} pixels: fire9's map is {sides(wide)['fire9']} pixels wide")

# %% tags=["remove-cell"]
# Quoted in the text
parameters = {name: counted.parameters for name, counted in cost.items()} | {"e5": totals(hundred).parameters}
peak = {name: counted.peak_activations for name, counted in cost.items()}
record(seen={n: seen(net) for n, net in nets.items()}, last_side={n: sides(net)["conv10"] for n, net in nets.items()})
record(idle=idle, changed=int(change > 0), parameters=parameters, macs=macs, peak=peak, fires_left=modules)
record(within=0.1, born_dead=born)
record(within={"smoke": 0.6, "quick": 0.35}, crops=scores)
record(e3_printed=e3, e3_slip=e3 - p3, e5_printed=e5_parameters, more_classes=more)
record(within=1e-6, e4_over_e2=over_e2)
quote(idle_share=idle / parameters["baseline"], largest=np.bincount(test.labels).max() / len(test), tested=len(test))
quote(e1_macs=times["e1"], delay_macs=times["delay"], e4_macs=times["e4"], e4_peak=peak["e4"] / peak["baseline"])
quote(seed_spread=100 * seeds.deviation, e2_images=(cells["e2"].estimate - cells["e1"].estimate).points)
decided = [
    f"{STEPS[n]} above {STEPS[m]}, at {times[n] / times[m]:.1f} times its MACs"
    for n, m in BEFORE.items() if verdict(steps[n]) == "confirmed"
]
quote(decided=", ".join(decided) or "none")
for name, told in (("better", "confirmed"), ("worse", "refuted"), ("open", "not decided")):
    quote(**{name: ", ".join(f"*{only[n]}*" for n, gain in gains.items() if verdict(gain) == told) or "none"})
quote(epochs=EPOCHS, printed_first=thesis["baseline"], printed_best=thesis["e4"])

# %% [markdown]
# **2.** E4 removes two halvings of both sides. Why does E4 need not 16 times the MACs of E2, but more?
#
# ```{admonition} Solution
# :class: dropdown
# Sides are whole pixels, and E4 pads: 33, 17 and 9 instead of 32, 16 and 8. Between `fire2` and `fire4` the ratio is
# $(33/8)^2 = 17.0$, then $(17/4)^2 = 18.1$, and in `fire9` and `conv10` $(9/2)^2 = 20.3$. Only `conv1`, where one halving is removed,
# has $(33/16)^2 = 4.3$.
# ```
#
# **3.** The weights of `conv10` are drawn around zero. Why are fewer than half of the classes dead at initialization?
#
# ```{admonition} Solution
# :class: dropdown
# Half would be dead if all images looked the same to `conv10`. A class is dead only if it is below zero for *every* image, and at
# every place of the map. The more the images differ, and the more places there are, the fewer classes are dead.
# ```
#
# **Lab.** Write the tools that show what a layout does to 32 pixels, in `notebooks/labs/11-squeezenet.py`
# ([all labs](../book/labs)).
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
# The whole ablation can be run from a file `ablation.toml`:
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

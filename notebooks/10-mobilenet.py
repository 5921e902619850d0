# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 MobileNet: fewer filters or fewer pixels?
#
# A network has to become four times cheaper. Do you take away filters, or pixels?
#
# MobileNet {cite:p}`howard2017` is made for the question. Its convolutions are split in two, which saves most of their work, and
# two numbers make it smaller still: the *width* multiplies the filters of every layer, the *resolution* the sides of the images.
# {cite:t}`chiang2017` trains it at four widths and three sizes, and finds that the width is the better one to turn down.
#
# ```{admonition} Predict first
# :class: tip
# Half the width and half the resolution both leave about a quarter of the multiplications. Which of the two leaves the **smaller
# file**? Which is **faster** on one thread? Which is **more accurate** on images of 32 by 32 pixels? The answers are in
# [What each saves](what-each-saves) and [Which is the better lever?](which-lever).
# ```

# %% tags=["parameters", "hide-input"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML, Markdown, display

from fewbits import explore, zoo
from fewbits.costs import latency
from fewbits.explore import plots
from fewbits.book import reference
from fewbits.backend import keras
from fewbits.book import quote, record
from fewbits.costs.complexity import cost_table, totals
from fewbits.deploy import litert

SMOKE = profile == "smoke"
WIDTHS, SIZES = (1.0, 0.75, 0.5, 0.25), (32, 24, 16)

# %% [markdown]
# ## A convolution in two halves
#
# A convolution with $N$ filters of $w \times h$ looks at all $M$ channels of its window at once: $w h M N$ weights. A *depthwise
# separable* one first filters each channel by itself, then mixes the channels at each pixel: $w h M + M N$. Over an image of
# $W \times H$, each weight is used once a pixel, so parameters and multiplications shrink by the same ratio,
#
# $$\frac{W H (w h M + M N)}{W H \, w h M N} = \frac{1}{N} + \frac{1}{w h}.$$

# %%
image = keras.Input((32, 32, 64))
full = keras.layers.Conv2D(128, 3, padding="same", use_bias=False)(image)
x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(image)
x = keras.layers.Conv2D(128, 1, use_bias=False)(x)
counted = [totals(keras.Model(image, y)) for y in (full, x)]
ratio = counted[1].macs / counted[0].macs
print(f"{ratio:.4f} of the MACs; the formula says {1 / 128 + 1 / 9:.4f}")
print(f"{counted[1].parameters / counted[0].parameters:.4f} of the weights")

# %% tags=["remove-cell"]
record(within=1e-9, ratio=ratio)

# %% [markdown]
# An eighth of the work, and where it goes is telling: the filters that look *around* a pixel cost little, the mixing of channels nearly
# everything.

# %%
model = zoo.build("mobilenet_cifar", (32, 32, 3), 10)
work = {}
for row in cost_table(model):
    kind = row.name.split("_")[-1] if row.macs else None
    work[kind] = work.get(kind, 0) + row.macs
share = {kind: n / sum(work.values()) for kind, n in work.items() if n}
print({kind: f"{s:.1%}" for kind, s in share.items()})

# %% tags=["remove-cell"]
record(within=1e-9, pointwise=share["pointwise"], depthwise=share["depthwise"])

# %% [markdown]
# (what-each-saves)=
# ## What each saves
#
# A width $\alpha$ leaves $\alpha M$ channels in and $\alpha N$ out, a resolution $\beta$ leaves $\beta W \times \beta H$ pixels
# (Equations 4.1 and 4.2):
#
# $$\text{MACs} = \beta W \cdot \beta H \cdot \alpha M (w h + \alpha N) \qquad \text{weights} = w h \, \alpha M + \alpha M \cdot \alpha N$$
#
# Both enter the MACs squared, or nearly so. But in the weights there is no $\beta$: **images of half the size leave the file as it is.**

# %%
nets = {
    (width, size): zoo.build(
        "mobilenet_cifar", (size, size, 3), 10, width=width
    )
    for width in WIDTHS
    for size in SIZES
}
cost = {key: totals(net) for key, net in nets.items()}
for key in ((1.0, 32), (0.5, 32), (1.0, 16)):
    print(key, f"{cost[key].parameters:,} parameters,",
          f"{cost[key].macs / 1e6:.1f} M MACs")

# %% tags=["remove-cell"]
for (width, size), c in cost.items():
    record(**{f"macs_{width:g}_{size}": c.macs, f"parameters_{width:g}_{size}": c.parameters})
quote(half_width=cost[0.5, 32].macs / cost[1.0, 32].macs, half_size=cost[1.0, 16].macs / cost[1.0, 32].macs)
quote(file_of_half_width=cost[0.5, 32].parameters / cost[1.0, 32].parameters)

# %% [markdown]
# Half the width leaves {glue:text}`half_width:.1%` of the MACs and {glue:text}`file_of_half_width:.1%` of the parameters; half the
# size {glue:text}`half_size:.1%` of the MACs and all of the parameters. As published, for photographs of 224 pixels and fewer, MobileNet
# has these MACs, in millions; `complexity` counts them from the graph:

# %% tags=["hide-input"]
photos, rows = {}, []
for width in WIDTHS:
    for size in (224, 192, 160, 128):
        photos[width, size] = totals(zoo.build("mobilenet_v1", (size, size, 3), 1000, width=width)).macs / 1e6
    rows.append((f"{width:g}", *(f"{photos[width, size]:.1f}" for size in (224, 192, 160, 128))))
HTML(plots.Table(("width", "224", "192", "160", "128"), rows).html())

# %% tags=["remove-cell"]
record(within=0.05, photos_1_224=photos[1.0, 224], photos_quarter_128=photos[0.25, 128])

# %% [markdown]
# MACs are not yet time. Here is one image, on one thread of this machine, by LiteRT; all twelve in turn, round after round:

# %%
files = {key: litert.to_litert(net) for key, net in nets.items()}
taken = latency.measure_latency(files, rounds=10 if SMOKE else 200)
for key in ((1.0, 32), (0.5, 32), (1.0, 16)):
    print(key, taken[key])

# %% tags=["remove-cell"]
quote(faster_by_width=taken[1.0, 32].median / taken[0.5, 32].median, faster_by_size=taken[1.0, 32].median / taken[1.0, 16].median)
quote(macs_by_width=cost[1.0, 32].macs / cost[0.5, 32].macs, macs_by_size=cost[1.0, 32].macs / cost[1.0, 16].macs)

# %% [markdown]
# By half the width {glue:text}`macs_by_width:.1f` times fewer MACs are {glue:text}`faster_by_width:.1f` times less time, by half the
# size {glue:text}`macs_by_size:.1f` times fewer are {glue:text}`faster_by_size:.1f` times less.
#
# (which-lever)=
# ## Which is the better lever?
#
# Costs are counted and timed in seconds, accuracy takes hours of training: here are the twelve networks of the thesis' Table 4.1 on
# CIFAR-10 (*reference* results; more seeds at the four corners). Turn the quantity:

# %% tags=["hide-input"]
cells = {(c.trial.width, c.trial.size): c for c in reference.cells("MobileNet")}
cells |= {(c.trial.width, c.trial.size): c for c in reference.cells("MobileNet, corners") if c.records}


def mean_of(cell, of):
    """Return the mean over the seeds of what `of` makes of a test result; None where it was not run."""
    found = [of(record.results.test) for record in cell.records]
    return float(np.mean(found)) if found else None


accuracy = {key: mean_of(cells[key], lambda test: test.hits / test.n) for key in nets}
quantities = {
    "top-1": accuracy,
    "top-5": {key: mean_of(cells[key], lambda test: test.hits_top5 / test.n) for key in nets},
    "parameters": {key: c.parameters for key, c in cost.items()},
    "MACs in millions": {key: c.macs / 1e6 for key, c in cost.items()},
    "file in kB": {key: len(content) / 1000 for key, content in files.items()},
    "ms an image": {key: found.median for key, found in taken.items()},
}
formats = dict(zip(quantities, ("{:.1%}", "{:.1%}", "{:,}", "{:.1f}", "{:,.0f}", "{:.3f}")))
explore.surface(quantities, ("width", "size"), formats, "10.1", "MobileNet on CIFAR-10 at each width and size of the images.").show()
Markdown(f"*Accuracies (reference): {reference.made_with([r for c in cells.values() for r in c.records])} Times: this machine (quick).*")

# %% [markdown]
# The same twelve as points. Those on the line are beaten by none that is shown. Beside them, where they were run, the rivals of the thesis in
# sizes for such images, and this book's SqueezeNet. It was trained for 30 epochs, all others for 4: compare the MobileNets with each other.

# %% tags=["hide-input"]
UNITS = {"MACs": "millions", "parameters": "thousands", "file": "kB", "time of an image": "ms"}


def costs_of(net, content, time):
    counted = totals(net)
    numbers = counted.macs / 1e6, counted.parameters / 1e3, len(content) / 1e3, time.median
    return dict(zip(UNITS, numbers))


rivals = {name: zoo.build(name, (32, 32, 3), 10) for name in ("resnet_cifar", "inception_cifar", "squeezenet_cifar")}
their_files = {name: litert.to_litert(net) for name, net in rivals.items()}
their_times = latency.measure_latency(their_files, rounds=10 if SMOKE else 100)
their_cells = {c.trial.network: c for c in (*reference.cells("rivals of MobileNet"), *reference.cells("float"))}
points = [
    explore.Point(f"{width:g}, {size} px", f"MobileNet, {size} px", accuracy[width, size], cells[width, size].measured[1],
                  costs_of(net, files[width, size], taken[width, size]))
    for (width, size), net in nets.items()
    if accuracy[width, size] is not None
]
points += [
    explore.Point(name, name, float(np.mean(their_cells[name].accuracies)), their_cells[name].measured[1],
                  costs_of(net, their_files[name], their_times[name]))
    for name, net in rivals.items()
    if their_cells[name].records
]
explore.accuracy_over_cost(points, UNITS, "10.2", "Accuracy on CIFAR-10 over what it costs (reference; times: this machine). "
               "SqueezeNet was trained for 30 epochs, on a GPU; all others for 4.").show()

# %% [markdown]
# Three pairs cost about the same in MACs, one with fewer filters, the other with fewer pixels:

# %% tags=["hide-input"]
PAIRS = [((0.75, 32), (1.0, 24)), ((0.5, 32), (1.0, 16)), ((0.25, 32), (0.5, 16))]


rows, verdicts = [], []
for wide, fine in PAIRS:
    known = reference.gap(cells[wide], cells[fine])
    gap, reach = (100 * x for x in known or (0, 0))
    verdicts.append("not run" if not known else "fewer filters" if gap > reach else "fewer pixels" if -gap > reach else "not decided")
    rows.append((
        f"{wide[0]:g}, {wide[1]} px against {fine[0]:g}, {fine[1]} px",
        f"{cost[wide].macs / cost[fine].macs:.2f}", f"{cost[wide].parameters / cost[fine].parameters:.2f}",
        f"{taken[wide].median / taken[fine].median:.2f}", f"{gap:+.1f} ± {reach:.1f}" if known else "not run", verdicts[-1]))
HTML(plots.Table(("fewer filters against fewer pixels", "MACs", "parameters", "time", "points of accuracy", "better"), rows).html())

# %% tags=["remove-cell"]
won = {name: verdicts.count(name) for name in ("fewer filters", "fewer pixels", "not decided", "not run")}
quote(filters_win=won["fewer filters"], pixels_win=won["fewer pixels"], undecided=won["not decided"] + won["not run"])
lever = "confirmed" if won["fewer filters"] == 3 else "refuted" if won["fewer pixels"] == 3 else "not decided"
once = any(reference.difference(cells[wide], cells[fine]) is None for wide, fine in PAIRS)
quote(lever=f"{lever}, with one seed" if once and lever != "not decided" else lever)

# %% [markdown]
# At about equal MACs, fewer filters win {glue:text}`filters_win` of 3 times, fewer pixels {glue:text}`pixels_win` times;
# {glue:text}`undecided` are open. That the width is the better lever is **{glue:text}`lever`** here.
# Where a network has one seed, its interval is of the test images alone, without the luck of the seed, which may well be larger in
# trainings so short.
#
# ## In two stages
#
# The thesis does not start from nothing. It takes a MobileNet that was trained on ImageNet, first trains a new last level behind the
# others, which are held, then all of them at a smaller rate. Weights at width 0.25 are published, for photographs of 128 pixels and
# with batch normalization folded into biases; `fewbits import-litert` reads them. Do they help with 32 pixels, or with 16?

# %% tags=["hide-input"]
stages = {n: {c.trial.size: c for c in reference.cells(f"MobileNet from ImageNet, {n} stage")} for n in ("first", "second")}
rows = [
    (f"{size} px", str(cells[0.25, size]), str(stages["first"][size]), str(stages["second"][size])) for size in SIZES
]
display(HTML(plots.Table(("width 0.25", "from nothing, 4 epochs", "the last level, 2 epochs", "then all, 4 epochs"), rows).html()))
of_stages = [r for by_size in stages.values() for c in by_size.values() for r in c.records]
Markdown(f"*(reference)* {reference.made_with(of_stages)}")

# %% tags=["remove-cell"]
held = zoo.build("mobilenet_cifar_folded", (32, 32, 3), 10, width=0.25)
quote(last_level=held.get_layer("fc").count_params(), all_levels=held.count_params())
quote(last_16=str(stages["first"][16]), all_16=str(stages["second"][16]), nothing_16=str(cells[0.25, 16]))
quote(last_32=str(stages["first"][32]), all_32=str(stages["second"][32]), nothing_32=str(cells[0.25, 32]))

# %% [markdown]
# Of {glue:text}`all_levels:,d` parameters the first stage trains {glue:text}`last_level:,d`. At 32 pixels it reaches
# {glue:text}`last_32`, the second stage {glue:text}`all_32`, and the network that started from nothing {glue:text}`nothing_32`; at 16
# pixels they are {glue:text}`last_16`, {glue:text}`all_16` and {glue:text}`nothing_16`. So the filters from photographs are a good start, but
# held as they are they suit 16 pixels badly. (Not all is equal: the two stages are six epochs, not four, and one seed. The rates were chosen
# on validation images; there, three times the rate of the second stage left less than the first had reached.)
#
# ## What the thesis found
#
# Its Tables 4.1 to 4.3 are pictures. In 1.3 it says of width 1: more than 17 times faster than both Inception v3 and ResNet, in a file more than
# 6 times smaller; 18.3 % of top-1 and 8.5 % of top-5 lost to Inception v3, almost none to ResNet. Section 4.6 says: width 0.75 at full
# resolution is *more accurate, faster and smaller* than width 1 at resolution 0.75; so it is in the first of our pairs. It also says that a
# smaller resolution leaves *fewer parameters*: its own Equation 4.2 has no $\beta$, and the counts above agree with the equation
# ([errata](91-errata)).

# %% tags=["hide-input"]
rows = []
for name, thesis in (("mobilenet_cifar", "MobileNet"), ("resnet_cifar", "ResNet"), ("inception_cifar", "Inception v3")):
    net = nets[1.0, 32] if name == "mobilenet_cifar" else rivals[name]
    cell = cells[1.0, 32] if name == "mobilenet_cifar" else their_cells[name]
    time = taken[1.0, 32] if name == "mobilenet_cifar" else their_times[name]
    counted = totals(net)
    rows.append((thesis, name, f"{counted.parameters:,}", f"{counted.macs / 1e6:.1f} M", str(time), str(cell)))
HTML(plots.Table(("thesis", "ours, for 32 x 32", "parameters", "MACs", "an image (quick)", "top-1 (reference)"), rows).html())

# %% [markdown]
# **Why they differ.** The thesis starts from weights of ImageNet and trains for about 200 epochs on a hundred classes; the twelve above
# start from nothing, and train for few, on ten. Its networks are the full ones, made for photographs, with five halvings: from 32 pixels they leave
# one. Ours leave out the first. And its ResNet and Inception are large, ours are small: what it compares is what a phone would
# carry, what we compare is what a design buys at its size.
#
# ## Exercises
#
# **1.** A depthwise separable convolution of 5x5 with 256 filters: which share of the full convolution's MACs is left? And of one of 1x1?
#
# ```{admonition} Solution
# :class: dropdown
# $1/256 + 1/25 = 4.4\,\%$. For 1x1 it is $1/256 + 1$: more than before. A 1x1 convolution has nothing to separate.
# ```
#
# **2.** Which width has the same MACs as resolution one half? Use Equation 4.1 for $N = 512$ and 3x3.
#
# ```{admonition} Solution
# :class: dropdown
# $\alpha (9 + 512 \alpha) = (9 + 512) / 4$ gives $\alpha = 0.496$. It is nearly a half, because the depthwise part, which shrinks only
# with $\alpha$, is small.
# ```
#
# **3.** From 16 pixels, the last block of our network sees a single pixel, the one before it 2x2, in steps of two. How many weights of their
# depthwise filters matter then?
#
# ```{admonition} Solution
# :class: dropdown
# In the last block one of nine, the middle one; in the one before four, for its only window lies over all four pixels. The others meet zeros.
# ```
#
# ## Run it on yours
#
# ```python
# from fewbits.costs import latency
# from fewbits import zoo
# from fewbits.deploy import litert
#
# files = {w: litert.to_litert(zoo.build("mobilenet_v1", (128, 128, 3), 10, width=w)) for w in (1, 0.5, 0.25)}
# for width, taken in latency.measure_latency(files).items():
#     print(width, len(files[width]), taken)
# ```
#
# ```shell
# fewbits train --network mobilenet_cifar --data cifar10 --optimizer rmsprop --learning-rate 0.001 --epochs 10 \
#         --output mobilenet.keras
# fewbits import-litert mobilenet_v1_0.25_128.tflite --width 0.25 --output mobilenet_imagenet.npz
# ```

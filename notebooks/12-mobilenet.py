# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 12 MobileNet: fewer filters or fewer pixels?
#
# *Reading time: 10 minutes. Needs: [chapter 2](02-counting) (MACs, parameters).*
#
# A network has to become four times cheaper. Do you remove filters, or pixels?
#
# MobileNet {cite:p}`howard2017` is designed for this question. Its convolutions are split in two, which saves most of their work. Two
# multipliers make it smaller still: the *width* scales the number of filters of every layer, the *resolution* the sides of the
# images. {cite:t}`chiang2017` trains it at four widths and three sizes, and finds that the width is the better one to reduce.
#
# ```{admonition} Predict first
# :class: tip
# Half the width and half the resolution both leave about a quarter of the multiplications. Which of the two leaves the **smaller
# file**? Which is **faster** on one thread? Which is **more accurate** on images of 32 by 32 pixels? The answers are in
# [What each saves](what-each-saves) and [Which is the better lever?](which-lever).
# ```

# %% tags=["parameters"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
import numpy as np

from fewbits import explore, zoo
from fewbits.backend import keras
from fewbits.book import questions, quote, record, reference
from fewbits.costs import cost_table, measure_latency, totals
from fewbits.deploy import to_litert
from fewbits.statistics import SeedSpread, verdict

# %% tags=["hide-input"]
SMOKE = profile == "smoke"
WIDTHS, SIZES = (1.0, 0.75, 0.5, 0.25), (32, 24, 16)

# %% [markdown]
# ## A convolution in two halves
#
# A convolution with $N$ filters of $w \times h$ uses all $M$ channels of its window at once: $w h M N$ weights. A *depthwise
# separable* one first filters each channel by itself, then mixes the channels at each pixel: $w h M + M N$ weights. In an image of
# $W \times H$, each weight is used once per pixel, so parameters and multiplications shrink by the same ratio,
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

# %% [markdown]
# An eighth of the work remains. The filters that look *around* a pixel cost little; the mixing of channels costs nearly everything:

# %%
model = zoo.build("mobilenet_cifar", (32, 32, 3), 10)
work = {}
for row in cost_table(model):
    kind = row.name.split("_")[-1] if row.macs else None
    work[kind] = work.get(kind, 0) + row.macs
share = {kind: n / sum(work.values()) for kind, n in work.items() if n}
print({kind: f"{s:.1%}" for kind, s in share.items()})

# %% [markdown]
# (what-each-saves)=
# ## What each saves
#
# A width $\alpha$ leaves $\alpha M$ input and $\alpha N$ output channels; a resolution $\beta$ leaves $\beta W \times \beta H$ pixels
# (Equations 4.1 and 4.2):
#
# $$\text{MACs} = \beta W \cdot \beta H \cdot \alpha M (w h + \alpha N) \qquad \text{weights} = w h \, \alpha M + \alpha M \cdot \alpha N$$
#
# Both enter the MACs squared, or nearly so. But the weights do not depend on $\beta$: **images of half the size leave the file as it
# is.**

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

# %% [markdown]
# Half the width leaves {glue:text}`half_width:.1%` of the MACs and {glue:text}`file_of_half_width:.1%` of the parameters; half the
# size {glue:text}`half_size:.1%` of the MACs and all of the parameters. The published MobileNet, for photographs of 224 pixels and
# fewer, has these MACs, in millions; `totals` counts them from the graph:

# %%
PIXELS = 224, 192, 160, 128
photos, rows = {}, []
for width in WIDTHS:
    for size in PIXELS:
        net = zoo.build("mobilenet_v1", (size, size, 3), 1000, width=width,
                        normalize=False)  # folded: the same MACs
        photos[width, size] = totals(net).macs / 1e6
    rows.append((width, *(f"{photos[width, size]:.1f}" for size in PIXELS)))
explore.Table(("width", *map(str, PIXELS)), rows)

# %% [markdown]
# MACs are not time. We measure the time of one image in LiteRT, on one thread of this machine, for all twelve networks in turn, round
# after round:

# %%
files = {key: to_litert(net) for key, net in nets.items()}
taken = measure_latency(files, rounds=10 if SMOKE else 200)
for key in ((1.0, 32), (0.5, 32), (1.0, 16)):
    print(key, taken[key])

# %% [markdown]
# Half the width has {glue:text}`macs_by_width:.1f` times fewer MACs and is {glue:text}`faster_by_width:.1f` times as fast; half the
# size has {glue:text}`macs_by_size:.1f` times fewer and is {glue:text}`faster_by_size:.1f` times as fast.
#
# (which-lever)=
# ## Which is the better lever?
#
# Costs are counted and timed in seconds; accuracy takes hours of training. Here are the twelve networks of the thesis' Table 4.1 on
# CIFAR-10 (*reference* results; more seeds at the four corners). The rate was chosen on validation images at width 0.25 and 24
# pixels, and all twelve use it. Choose a quantity:

# %%
quantities = {
    "parameters": {key: c.parameters for key, c in cost.items()},
    "MACs in millions": {key: c.macs / 1e6 for key, c in cost.items()},
    "file in kB": {key: len(file) / 1000 for key, file in files.items()},
    "ms an image": {key: time.median for key, time in taken.items()},
}

# %% tags=["hide-input"]
# An explorer of the twelve networks
every = sorted(reference.cells("MobileNet", "MobileNet, corners"), key=lambda cell: len(cell.records))
cells = {(c.trial.width, c.trial.size): c for c in every}  # at the corners those with more seeds
tests = {key: [record.results.test for record in cells[key].records] for key in nets}
accuracies = {
    f"top-{n}": {k: sum(getattr(t, hits) / t.n for t in of) / len(of) if of else None for k, of in tests.items()}
    for n, hits in ((1, "hits"), (5, "hits_top5"))
}
formats = dict(zip((*accuracies, *quantities), ("{:.1%}", "{:.1%}", "{:,}", "{:.1f}", "{:,.0f}", "{:.3f}")))
caption = "MobileNet on CIFAR-10 at each width and size of the images. Accuracies: reference; times: this machine."
explore.surface(accuracies | quantities, ("width", "size"), formats, "12.1", caption).show()

# %% [markdown]
# The next figure shows the same twelve as points, with the rivals of the thesis in sizes for such images. No other network shown
# beats those on the line. All were trained for 4 epochs. (This book's SqueezeNet was trained for 30, and is left out here.)

# %%
networks = "resnet_cifar", "inception_cifar"
rivals = {name: zoo.build(name, (32, 32, 3), 10) for name in networks}
their_files = {name: to_litert(net) for name, net in rivals.items()}
their_times = measure_latency(their_files, rounds=10 if SMOKE else 100)
cost |= {name: totals(net) for name, net in rivals.items()}
files, taken = files | their_files, taken | their_times

# %%
UNITS = {"MACs": "millions", "parameters": "thousands",
         "file": "kB", "time of an image": "ms"}
spent = {}
for key, c in cost.items():
    counted = c.macs / 1e6, c.parameters / 1e3
    spent[key] = *counted, len(files[key]) / 1e3, taken[key].median

# %% tags=["hide-input"]
# Accuracy over cost, with the rivals
cells |= {c.trial.network: c for c in reference.cells("rivals of MobileNet")}
words = {(w, s): (f"{w:g}, {s} px", f"MobileNet, {s} px") for w, s in nets} | {name: (name, name) for name in rivals}
known = {key: cells[key].estimate for key in words if cells[key].records}
points = [explore.Point(*words[k], e.mean, e.half_width, dict(zip(UNITS, spent[k]))) for k, e in known.items()]
caption = "Accuracy on CIFAR-10 over cost after 4 epochs (reference; times: this machine)."
explore.accuracy_over_cost(points, UNITS, "12.2", caption).show()

# %% [markdown]
# Three pairs have about equal MACs; one network of each has fewer filters, the other fewer pixels:

# %%
PAIRS = [((0.75, 32), (1.0, 24)), ((0.5, 32), (1.0, 16)),
         ((0.25, 32), (0.5, 16))]
for wide, fine in PAIRS:
    times = cost[wide].macs / cost[fine].macs
    print(f"{wide} has {times:.2f} times the MACs of {fine}")

# %% [markdown]
# Some of these networks have one seed, which cannot show the spread between seeds. The four corners can: each was trained with three
# seeds. We use their spread for all twelve, and compute the intervals from it, not from the test images:

# %%
corners = reference.cells("MobileNet, corners")
seeds = SeedSpread.of(cell.accuracies for cell in corners)
print(f"standard deviation: {100 * seeds.deviation:.1f} points,",
      f"{seeds.degrees} degrees of freedom")


# %% tags=["hide-input"]
# Fewer filters against fewer pixels
gaps = [seeds.difference(cells[wide].accuracies, cells[fine].accuracies) for wide, fine in PAIRS]
better = [{"confirmed": "fewer filters", "refuted": "fewer pixels"}.get(v, v) for v in map(verdict, gaps)]
ratios = [[f"{a / b:.2f}" for a, b in zip(spent[wide], spent[fine])] for wide, fine in PAIRS]
names = [f"{words[wide][0]} against {words[fine][0]}" for wide, fine in PAIRS]
rows = [(name, *ratio, gap.written("+.1%"), won) for name, ratio, gap, won in zip(names, ratios, gaps, better)]
note = "Costs: those of the first divided by those of the second. Intervals of 95 %, from the seeds of the corners."
heads = "fewer filters or pixels", *UNITS, "points", "better"
reference.results_table(heads, rows, also=[cells[k] for k in nets], note=note)

# %% [markdown]
# At about equal MACs, fewer filters win {glue:text}`filters_win` of 3 times, fewer pixels {glue:text}`pixels_win` times;
# {glue:text}`undecided` are open. That the width is the better lever is **{glue:text}`lever`** here. Four epochs are a short
# training, and seeds of one network differ by {glue:text}`seed_spread:.1f` points (standard deviation). With an interval from the
# test images alone, as for a single seed, the first pair would be {glue:text}`first_images`; with the seeds it is
# {glue:text}`first_seeds`.
#
# ## In two stages
#
# The thesis does not train from scratch. It takes a MobileNet that was trained on ImageNet, trains a new last level while the others
# are frozen, then trains all of them at a smaller rate. Weights at width 0.25 are published, for photographs of 128 pixels and with
# batch normalization folded into biases; `fewbits import-litert` reads them. Do they help with 32 pixels, or with 16?

# %%
held = zoo.build("mobilenet_cifar_folded", (32, 32, 3), 10, width=0.25)
last_level = held.get_layer("fc").count_params()
all_levels = held.count_params()
print(f"{last_level:,} of {all_levels:,} parameters are in the last level")

# %% tags=["hide-input"]
# Two stages from ImageNet
stages = [reference.cells(f"MobileNet from ImageNet, {n} stage") for n in ("first", "second")]
first, second = ({c.trial.size: c for c in found} for found in stages)
rows = [(f"{size} px", cells[0.25, size], first[size], second[size]) for size in SIZES]
reference.results_table(("width 0.25", "from scratch, 4 epochs", "last level, 2 epochs", "then all, 4 epochs"), rows)

# %% [markdown]
# Of {glue:text}`all_levels:,d` parameters the first stage trains {glue:text}`last_level:,d`. At 32 pixels it reaches
# {glue:text}`last_32`, the second stage {glue:text}`all_32`, and the network trained from scratch {glue:text}`nothing_32`. At 16
# pixels these are {glue:text}`last_16`, {glue:text}`all_16` and {glue:text}`nothing_16`. Filters from photographs are a good start,
# but frozen they suit 16 pixels badly. (The training is not equal: the two stages are six epochs, not four, and one seed. The rates
# were chosen on validation images of 32 pixels; there, with three times its rate, the second stage ended below the first.)
#
# ## What the thesis found
#
# Its Tables 4.1 to 4.3 are pictures. Section 1.3 states that MobileNet of width 1 is more than 17 times faster than both Inception v3
# and ResNet, in a file more than 6 times smaller. It loses 18.3 % of top-1 and 8.5 % of top-5 against Inception v3, and almost
# nothing against ResNet. Section 4.6 states that width 0.75 at full resolution is *more accurate, faster and smaller* than width 1 at
# resolution 0.75. This is the first of our pairs. It is smaller, and takes {glue:text}`first_time:.2f` times the time; that it is
# more accurate is {glue:text}`first_verdict` ({glue:text}`first_seeds`). The thesis also says that a smaller resolution leaves *fewer
# parameters*. But its own Equation 4.2 has no $\beta$, and the counts above agree with the equation ([errata](91-errata)).

# %%
OURS = {
    "MobileNet": (1.0, 32),
    "ResNet": "resnet_cifar",
    "Inception v3": "inception_cifar",
}
rows = [
    (of, words[k][1], cost[k].parameters, f"{spent[k][0]:.1f} M", taken[k],
     cells[k]) for of, k in OURS.items()
]
heads = "parameters", "MACs", "an image (quick)", "top-1 (reference)"
heads = "thesis", "ours, for 32 x 32", *heads
reference.results_table(heads, rows)

# %% tags=["remove-cell"]
# Quoted in the text
record(within=1e-9, ratio=ratio, pointwise=share["pointwise"], depthwise=share["depthwise"])
record(**{f"{what}_{w:g}_{s}": getattr(cost[w, s], what) for w, s in nets for what in ("macs", "parameters")})
record(within=0.05, photos_1_224=photos[1.0, 224], photos_quarter_128=photos[0.25, 128])
by_width, by_size = (np.divide(spent[1.0, 32], spent[key]) for key in ((0.5, 32), (1.0, 16)))  # in the order of UNITS
quote(last_level=last_level, all_levels=all_levels)
quote(half_width=1 / by_width[0], half_size=1 / by_size[0], file_of_half_width=1 / by_width[1])
quote(macs_by_width=by_width[0], macs_by_size=by_size[0], faster_by_width=by_width[3], faster_by_size=by_size[3])
filters, pixels = better.count("fewer filters"), better.count("fewer pixels")
quote(filters_win=filters, pixels_win=pixels, undecided=3 - filters - pixels, lever=verdict(*gaps))
wide, fine = (cells[key].estimate for key in PAIRS[0])
quote(seed_spread=100 * seeds.deviation, first_images=(wide - fine).points, first_seeds=gaps[0].points)
quote(first_verdict=verdict(gaps[0]), first_time=spent[PAIRS[0][0]][3] / spent[PAIRS[0][1]][3])
starts = {"last": first, "all": second, "nothing": {size: cells[0.25, size] for size in SIZES}}
quote(**{name: {size: str(by_size[size]) for size in (16, 32)} for name, by_size in starts.items()})

# %% [markdown]
# **Why they differ.** The thesis starts from ImageNet weights and trains for about 200 epochs on a hundred classes; the twelve above
# start from scratch, and train for a few epochs on ten classes. Its networks are the full ones for photographs, with five halvings,
# which leave one pixel of 32; ours omit the first halving. Its ResNet {cite:p}`he2016` and Inception {cite:p}`szegedy2016` are large,
# ours are small: it compares networks that a phone would run, we compare designs at similar size.
#
# ## Two questions

# %% tags=["hide-input"]
# Fewer filters and fewer pixels
base, both, narrow = (cost[key] for key in ((1.0, 32), (0.75, 24), (0.75, 32)))
left_macs, left_weights = both.macs / base.macs, both.parameters / base.parameters
questions.ask(
    "Width and resolution of MobileNet both go to 0.75. What is left of the MACs, and of the parameters?",
    (f"{left_macs:.0%} and {left_weights:.0%}", "Both levers enter the MACs, each nearly squared. Only the width enters the parameters."),
    (f"{narrow.macs / base.macs:.0%} and {left_weights:.0%}", "This is the width alone. Fewer pixels save MACs on top of it."),
    (f"{left_macs:.0%} and {left_macs:.0%}", "The pixels are not in the file: the resolution leaves all weights."),
    (f"{0.75:.0%} and {0.75:.0%}", "Each convolution has fewer channels on both sides, so the width enters nearly squared."),
)

# %% tags=["hide-input"]
# What one seed does not show
questions.ask(
    "Two networks were trained once each. On 10,000 test images their difference has an interval above zero. What do you still not know?",
    ("how the same networks would do with other seeds", f"Seeds of one network are {100 * seeds.deviation:.1f} points apart here (standard deviation)."),
    ("which of these two trained networks is more accurate", "The interval of the test images shows exactly that, for these two sets of weights."),
    ("whether the test images were enough", "An interval above zero shows that they were. They are not the only source of chance."),
    ("how many MACs they differ by", "MACs are counted from the graph, without images and without chance."),
)

# %% [markdown]
# ## Exercises
#
# **1.** What share of a full convolution's MACs does a depthwise separable convolution of 5x5 with 256 filters need? And one of 1x1?
#
# ```{admonition} Solution
# :class: dropdown
# $1/256 + 1/25 = 4.4\,\%$. For 1x1 it is $1/256 + 1$, more than the full convolution. A 1x1 convolution has nothing to separate.
# ```
#
# **2.** Which width has the same MACs as resolution one half? Use Equation 4.1 for $N = 512$ and 3x3.
#
# ```{admonition} Solution
# :class: dropdown
# $\alpha (9 + 512 \alpha) = (9 + 512) / 4$ gives $\alpha = 0.496$. It is nearly a half because the depthwise part, which shrinks only
# with $\alpha$, is small.
# ```
#
# **3.** With images of 16 pixels, the last block of our network gets a single pixel, and the block before it 2x2 with stride two. How
# many weights of their depthwise filters have an effect?
#
# ```{admonition} Solution
# :class: dropdown
# In the last block, one of nine, the middle one; in the block before it, four, because its only window covers all four pixels. The
# others are multiplied by zeros.
# ```
#
# **Lab.** Split a convolution, and design a network for a budget, in `notebooks/labs/12-mobilenet.py`
# ([all labs](../book/labs)).
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

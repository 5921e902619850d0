# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Few Bits
#
# **An executable book on small convolutional networks.** A network that classifies images stores millions of numbers of
# 32 bits each. It does not need most of these bits. This book measures what each bit is worth, and comes with a library that
# removes bits from your own network. Here is a network to start with: draw a digit, then remove bits until the network fails.

# %% tags=["parameters", "remove-cell"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-cell"]
from fewbits import costs, data, deploy, explore, formats_for, quantize_model, zoo
from fewbits.book import quote, record
from fewbits.statistics import Share

SMOKE = profile == "smoke"

# %% tags=["hide-cell"]
# The network that reads digits

NAME = "squeezenet_digits"
digits = data.load("digits")
network = zoo.build(NAME, digits.image_shape, 10, weights=NAME)
playground = explore.Playground(
    network, digits, "0.1",
    f"A small SqueezeNet of {network.count_params():,} parameters reads handwritten digits. The page computes it with integers, "
    "as a device without floats does, and gets the same codes as the library. The MSBs are set on 64 training digits (quick).",
    "Bars: test digits classified correctly in float and in six formats. 8 bits match float, 5 bits nearly do; 5 bits "
    "rounded down and 2 bits get about one in ten right.",
)

# %% tags=["hide-input"]
# The network to play with
playground.show()

# %% [markdown]
# Try this: take *5 bits*, then *5 bits, rounded down*. Bits and ranges are the same; only the rounding differs, and one of
# the two networks fails. [Chapter 6](06-two-theses) asks whether two theses disagree for this reason.
#
# ## Eight bits instead of 32
#
# The same test with a larger network, an AlexNet of {glue:text}`parameters:,` parameters, measured while this page was built:
# all {glue:text}`test_digits` test digits, LiteRT files, one image on one thread (quick).

# %% tags=["hide-cell"]
# A larger network, in float and with 8 bits
images, labels = digits.arrays("test")
few, _ = digits.arrays("train", 64)
alexnet = zoo.build("alexnet_small", digits.image_shape, 10, weights="alexnet_digits")
quantized = quantize_model(alexnet, rounding="nearest")
quantized.set_formats(formats_for(quantized, few, nbits=(8, 8, 8), signed=True))

# %% tags=["hide-cell"]
# The accuracy and the time of both
files = {"float": deploy.to_litert(alexnet), "8 bits": deploy.to_litert(quantized, "int8")}
taken = costs.measure_latency(files, rounds=10 if SMOKE else 300)
integers = deploy.lower(quantized, levels=digits.levels)
answers = {
    "float": alexnet.predict(images, verbose=0).argmax(1),
    "8 bits": integers.run(digits.test.images).argmax(1),
}
read = {name: Share.of(found == labels) for name, found in answers.items()}

# %% tags=["hide-input"]
# Float next to 8 bits
explore.Table(
    ("network", "test digits correct", "bytes of the file", "time per image"),
    [(name, read[name], len(files[name]), taken[name]) for name in files],
)

# %% tags=["remove-cell"]
# Quoted in the text
record(float_read=read["float"].hits, few_read=read["8 bits"].hits, test_digits=len(labels))
record(playground={name: share.hits for name, share in playground.accuracies.items()})
record(within=0.02, bytes_left=len(files["8 bits"]) / len(files["float"]))
quote(time_left=taken["8 bits"].median / taken["float"].median, parameters=alexnet.count_params())

# %% [markdown]
# With 8 bits the network classifies {glue:text}`few_read` digits correctly, and in float {glue:text}`float_read`. The 8-bit
# file has {glue:text}`bytes_left:.0%` of the bytes and takes {glue:text}`time_left:.0%` of the time. [Chapter 16](16-integers) times a
# larger network in four programs.
#
# ## The library in ten lines

# %%
from fewbits import data, deploy, formats_for, quantize_model, zoo

NAME = "squeezenet_digits"
digits = data.load("digits")
model = zoo.build(NAME, (8, 8, 1), 10, weights=NAME)
images, _ = digits.arrays("train", 64)

quantized = quantize_model(model, rounding="nearest")
quantized.set_formats(formats_for(quantized, images, (6, 6, 6)))
integers = deploy.lower(quantized, levels=digits.levels)
answers = integers.run(digits.test.images).argmax(axis=1)
print(f"{(answers == digits.test.labels).mean():.1%} with 6 bits")

# %% tags=["remove-cell"]
# A result to compare
record(six_read=int((answers == digits.test.labels).sum()))

# %% [markdown]
# Replace `model` with your own Keras network. The [API](../book/api) has everything else; `fewbits --help` lists the
# commands that do the same from a shell.
#
# ## Three promises
#
# **Every number is measured.** The numbers were computed when this page was built, by the code above them. Three kinds of
# numbers never mix: *quick* (run live on small data for this page), *reference* (our own longer runs, stored with how they
# were made) and *thesis* (printed by its author; one of the five works is a report).
#
# **Figures answer questions.** Sliders work here, without a kernel and without a connection. In JupyterLab the same
# figures compute live.
#
# **Every claim is checked again.** Each notebook records its key results. The tests run all notebooks, compare the results,
# and fail if a number leaves its band.
#
# ## The chapters
#
# The book compares four theses and a course report that quantized, pruned and slimmed the same kind of network
# {cite:p}`vieito2017,backstrom2018,chiang2017,gaikwad2018,chernis`. Where they disagree, we measure. Begin with
# [chapter 1](01-fixed-point): it needs powers of two, some Python, and a first idea of what a neural network is.
#
# ::::{grid} 2 2 3 3
# :gutter: 3
#
# :::{grid-item-card} 1 Fixed point
# :link: 01-fixed-point
# :link-type: doc
# :img-top: ../book/images/chapters/01-fixed-point.svg
# :class-img-top: dark-light
# :img-alt: A staircase along a line
# What a number of few bits can represent, and why rounding down hurts.
# :::
#
# :::{grid-item-card} 2 Counting
# :link: 02-counting
# :link-type: doc
# :img-top: ../book/images/chapters/02-counting.svg
# :class-img-top: dark-light
# :img-alt: Bars: weights to the left, operations to the right
# Parameters, operations and memory: which layers hold what.
# :::
#
# :::{grid-item-card} 3 Percentiles
# :link: 03-percentiles
# :link-type: doc
# :img-top: ../book/images/chapters/03-percentiles.svg
# :class-img-top: dark-light
# :img-alt: A histogram between two limits
# Where to cut a range when a few values are far out.
# :::
#
# :::{grid-item-card} 4 Quantized layers
# :link: 04-quantized-conv2d
# :link-type: doc
# :img-top: ../book/images/chapters/04-quantized-conv2d.svg
# :class-img-top: dark-light
# :img-alt: A layer with a staircase at its input, kernel and output
# A convolution whose weights, inputs and outputs are rounded.
# :::
#
# :::{grid-item-card} 5 Dynamic fixed point
# :link: 05-sqnr
# :link-type: doc
# :img-top: ../book/images/chapters/05-sqnr.svg
# :class-img-top: dark-light
# :img-alt: Points on a rising line
# What each bit is worth in decibels, layer by layer.
# :::
#
# :::{grid-item-card} 6 Two theses, one network
# :link: 06-two-theses
# :link-type: doc
# :img-top: ../book/images/chapters/06-two-theses.svg
# :class-img-top: dark-light
# :img-alt: Two curves: one stays up, one falls
# Two works quantize one network and reach opposite verdicts.
# :::
#
# :::{grid-item-card} 7 Repairs without labels
# :link: 07-repairs
# :link-type: doc
# :img-top: ../book/images/chapters/07-repairs.svg
# :class-img-top: dark-light
# :img-alt: A shifted curve moved back
# Corrections that need a few images and no training.
# :::
#
# :::{grid-item-card} 8 Quantizers in use
# :link: 08-quantizers
# :link-type: doc
# :img-top: ../book/images/chapters/08-quantizers.svg
# :class-img-top: dark-light
# :img-alt: Three rulers with different marks
# Scales, powers of two and learned ranges on one test bench.
# :::
#
# :::{grid-item-card} 9 Lock or train
# :link: 09-lock-or-train
# :link-type: doc
# :img-top: ../book/images/chapters/09-lock-or-train.svg
# :class-img-top: dark-light
# :img-alt: Two training curves, one locked
# Whether to freeze rounded weights or to keep training them.
# :::
#
# :::{grid-item-card} 10 Few bits
# :link: 10-few-bits
# :link-type: doc
# :img-top: ../book/images/chapters/10-few-bits.svg
# :class-img-top: dark-light
# :img-alt: Stacks of eight, six, four, three and two blocks
# From 16 bits down to 2 in small steps.
# :::
#
# :::{grid-item-card} 11 SqueezeNet
# :link: 11-squeezenet
# :link-type: doc
# :img-top: ../book/images/chapters/11-squeezenet.svg
# :class-img-top: dark-light
# :img-alt: A narrow block that feeds two wide ones
# Fire modules on small images, and what each change brings.
# :::
#
# :::{grid-item-card} 12 MobileNet
# :link: 12-mobilenet
# :link-type: doc
# :img-top: ../book/images/chapters/12-mobilenet.svg
# :class-img-top: dark-light
# :img-alt: Planes with one filter each, then a column of filters
# Depthwise filters, width and resolution.
# :::
#
# :::{grid-item-card} 13 Transfer
# :link: 13-transfer
# :link-type: doc
# :img-top: ../book/images/chapters/13-transfer.svg
# :class-img-top: dark-light
# :img-alt: Layers copied from one network to another
# Training on a small set with borrowed layers.
# :::
#
# :::{grid-item-card} 14 Pruning
# :link: 14-pruning
# :link-type: doc
# :img-top: ../book/images/chapters/14-pruning.svg
# :class-img-top: dark-light
# :img-alt: Rows of filters, some of them missing
# Which filters a network can lose.
# :::
#
# :::{grid-item-card} 15 Prune, then quantize
# :link: 15-prune-then-quantize
# :link-type: doc
# :img-top: ../book/images/chapters/15-prune-then-quantize.svg
# :class-img-top: dark-light
# :img-alt: Many long bars, few long bars, few short bars
# Fewer filters and fewer bits, in this order.
# :::
#
# :::{grid-item-card} 16 Integers only
# :link: 16-integers
# :link-type: doc
# :img-top: ../book/images/chapters/16-integers.svg
# :class-img-top: dark-light
# :img-alt: A row of bits shifted to the right
# The whole network without a float, in four programs.
# :::
#
# :::{grid-item-card} 17 The engine, in gates
# :link: 17-engine
# :link-type: doc
# :img-top: ../book/images/chapters/17-engine.svg
# :class-img-top: dark-light
# :img-alt: A window on a grid, and an arrow to a chip with legs
# A convolution engine, simulated and synthesized: its cycles, and the price of each bit.
# :::
#
# :::{grid-item-card} 18 The Pareto front
# :link: 18-pareto
# :link-type: doc
# :img-top: ../book/images/chapters/18-pareto.svg
# :class-img-top: dark-light
# :img-alt: Points and the line through the best of them
# Accuracy against size and time: which networks are worth it.
# :::
#
# :::{grid-item-card} 19 Where are the plants?
# :link: 19-localisation
# :link-type: doc
# :img-top: ../book/images/chapters/19-localisation.svg
# :class-img-top: dark-light
# :img-alt: A grid of places, one of them lit and pointed at
# A classifier that also locates objects, and what it loses first at few bits.
# :::
#
# ::::
#
# The last pages compare [the papers' numbers with ours](90-paper-against-ours), draw
# [their figures again](92-curves), and list [errata](91-errata).
# [How to read this book](../book/how-to-read) explains labels, intervals and the notebooks.

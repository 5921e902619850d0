# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4 QuantizedConv2D and static quantization
#
# *Reading time: 15 minutes. Needs: [chapter 1](01-fixed-point) (the quantizer) and [chapter 3](03-percentiles) (MSBs
# from percentiles).*
#
# How much accuracy does a trained network keep when all its convolutions compute in few bits, without retraining?
#
# So far we have quantized weights and looked at values. A device quantizes three things in each layer: the kernel, the
# input and the output. This chapter builds a layer that simulates such a device, and puts it into a whole network.
#
# ```{admonition} Predict first
# :class: tip
# Kernels, inputs and outputs of a trained network get **6 bits**, and each layer has its own MSBs, found as in chapter
# 3. What share of the digits does the network still classify correctly if everything is rounded *down*? What share if
# everything is rounded to *nearest*?
#
# Which of the three costs most at 4 bits when it is quantized alone: the kernels, the inputs, or the outputs? The
# answers are in [All three at once](all-three-at-once) and [One at a time](one-at-a-time).
# ```

# %% tags=["parameters"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
import numpy as np

from fewbits import data, explore, training, zoo
from fewbits.backend import keras, ops
from fewbits.book import (
    papers, questions, quote, record, train_small_squeezenet,
)
from fewbits.explore import plots
from fewbits.quantization import (
    FixedPoint, QuantizedConv2D, formats_from_msbs, msb_from_limits, msb_table,
    observe, percentile_limits, quantclip, quantize, quantize_model,
)
from fewbits.statistics import Share, verdict

# %% tags=["hide-input"]
keras.utils.set_random_seed(1)
EPOCHS = 2 if profile == "smoke" else 15

# %% [markdown]
# ## The layer
#
# A quantized convolution is a convolution with three quantizers: for its kernel, its input and its output. Here is the
# complete layer, as a subclass of Keras' own (compare Code 11 of {cite:p}`vieito2017`):


# %%
class ByHand(keras.layers.Conv2D):
    kernel_format, input_format, output_format = [FixedPoint(0, 8)] * 3

    def call(self, inputs):
        x = quantclip(inputs, self.input_format, "nearest")
        kernel = quantclip(self.kernel, self.kernel_format, "nearest")
        products = self.convolution_op(x, kernel)
        grid = self.input_format.step * self.kernel_format.step
        bias = ops.round(self.bias / grid) * grid
        y = quantclip(products + bias, self.output_format, "nearest")
        return self.activation(y)


# %% [markdown]
# The bias needs an explanation. A device adds it to the sum of products, in the accumulator, so the bias lies on
# the grid of the products, whose step is $q_x q_w$. The thesis adds the bias in float, after the output quantizer;
# `bias_order="output"` does the same.
#
# The library's layer computes the same, and it holds its formats in *variables*. They can change at any time, even in a
# compiled network, without a new trace.

# %%
fmt = FixedPoint(0, 8)
options = {"rounding": "nearest", "activation": "relu"}
layer = QuantizedConv2D(8, 3, formats=(fmt, fmt, fmt), **options)
images = np.random.default_rng(0).random((16, 8, 8, 3), "float32")
y = layer(images)
by_hand = ByHand(8, 3, activation="relu")
by_hand.build(images.shape)
by_hand.set_weights([layer.kernel, layer.bias])
differing = int(ops.sum(by_hand(images) != y))
print(differing, "of", y.numpy().size, "outputs differ")

# %% [markdown]
# A layer has four settings: `layer.set_formats(...)`, `layer.rounding`, `layer.enabled` and `layer.locked`. A
# layer that is not enabled is exactly Keras' Conv2D. A locked layer keeps its weights through training, whatever the
# optimizer does. `layer.extract(images)` returns the sums of products alone, before bias and activation.
#
# ## A network of quantized layers
#
# Many networks have a batch normalization {cite:p}`ioffe2015` after each convolution. In a trained network, this layer
# multiplies each channel by one constant and adds another. Both can be *folded* into the convolution: the weights and the
# bias of the filter are multiplied by the factor, and the second constant is added to the bias. The outputs stay the same,
# the device computes one layer less, and the quantizer sees the kernel that the device will have. Therefore fold first:
# `quantize_model(model, fold_batch_normalization=True)`. The network of this chapter has nothing to fold.
#
# We train the network of chapter 3 again and convert it. Each fire module is one *level*, as in the thesis;
# `set_level(n)` enables the first $n$ levels.

# %%
digits = data.load("digits", validation=0.25)
train, test = digits.arrays("train"), digits.arrays("test")
validation = digits.arrays("validation")
model = train_small_squeezenet(*train, epochs=EPOCHS)
float_accuracy = training.evaluate(model, test).share
print(f"float: {float_accuracy:.1%} of the test digits")

# %%
network = quantize_model(model, levels=zoo.levels(model))
print([layer.name for layer in network.quantized_layers][:4], "...")
print(network.levels, "levels")


def accuracy(images, labels):
    scores = network.predict_on_batch(images)
    return Share.of(scores.argmax(-1) == labels)


# %%
network.set_level(0)
same = accuracy(*test) == float_accuracy
network.set_level(network.levels)
print("with no level enabled, the same as float:", same)

# %% [markdown]
# ## Off the model, on the model
#
# The thesis first quantized its weight *file* and evaluated the plain network (off-model). Then it quantized the
# weights inside the layers (on-model). The two results in its Table 6 differ by up to about a point. Ours must not differ
# at all:

# %%
plain = keras.models.clone_model(model)
plain.jit_compile = False


def off_model(fmt, rounding):
    old = model.get_weights()  # biases are kept as they are
    new = [quantize(w, fmt, rounding) if w.ndim > 1 else w for w in old]
    plain.set_weights(new)
    return plain.predict_on_batch(test[0])


# %%
unequal = 0
for nbits in (16, 8, 4):
    for rounding in ("floor", "nearest"):
        network.set_formats((FixedPoint(0, nbits), None, None))
        network.set_rounding(rounding)
        on_model = network.predict_on_batch(test[0])
        off = off_model(FixedPoint(0, nbits), rounding)
        unequal += int((on_model != off).sum())
print(unequal, "logits differ between off-model and on-model")

# %% [markdown]
# ## Clipping alone
#
# Before the thesis removed bits, it clipped: one MSB for all layers, from the percentiles of all kernels together
# (Table 4, 32 bits), or of all inputs together (Table 7). Table 7 does not state its bits; they were
# [probably 16](table-7), so it mixes clipping with a coarser step. We measure clipping alone, with 24 bits, which float32
# still represents exactly:

# %%
observed = dict(observe(model, train[0][:32]))
network.set_rounding("floor")
clipped = {}
for kind in ("kernel", "input"):
    values = [getattr(v, kind).ravel() for v in observed.values()]
    for p in (95, 98, 99.9, 99.99):
        limits = percentile_limits(np.concatenate(values), p)
        msb = msb_from_limits(*limits)
        fmt = FixedPoint(msb, 24)
        network.set_formats((fmt, None) if kind == "kernel" else (None, fmt))
        clipped[kind, p] = msb, accuracy(*test)

# %%
table = []
for kind, number in (("kernel", 4), ("input", 7)):
    for row in papers.table("vieito2017", number)[1:]:
        p, theirs = row["percentile"], (row["msb"], f"{row['accuracy']}%")
        table.append((f"{kind}, {p} %", *theirs, *clipped[kind, p]))
columns = "clipped to", "thesis: MSB", "accuracy (51% in float)"
explore.Table((*columns, "ours (quick): MSB", "accuracy"), table)

# %% [markdown]
# For the kernels our result resembles that of the thesis, but is milder: the 95th percentile of all kernels is too narrow
# for the layers with the largest weights, and our accuracy falls to {glue:text}`kernel_clipped_95:.1%`. For the inputs the
# results differ: with the 95th percentile, whose MSB is {glue:text}`input_msb_95` (99.99th: {glue:text}`input_msb_most`), our
# network still has {glue:text}`input_clipped_95:.1%`. There are two possible reasons, and we have measured neither. Table 7
# probably has fewer bits. And Table 11 gives `fire3` of the thesis' network an MSB of 11 for its 99.9th percentile, four above
# the 7 that it is clipped to.
#
# (one-at-a-time)=
# ## One at a time
#
# The MSBs come from 32 training images. The percentile comes from the validation digits: it is the best of four
# candidates at 6 bits, rounded to nearest. The test digits are only for reporting.

# %%
tables, scores = {}, {}
network.set_rounding("nearest")
for p in (95, 98, 99.9, 100):
    msbs = msb_table(model, train[0][:32], range_rule=p)
    network.set_formats(formats_from_msbs(msbs, 6))
    tables[f"{p} %"] = msbs
    scores[f"{p} %"] = accuracy(*validation)
    print(f"{p} %: {scores[f'{p} %']}")
best, second, *_ = sorted(scores, key=lambda p: -scores[p].value)
lead = scores[best].hits - scores[second].hits
print(f"{best} is {lead} of {len(validation[0])} digits ahead")

# %% [markdown]
# The choice is nearly a matter of chance: the best is ahead of the next by {glue:text}`lead:d` of the validation digits,
# {glue:text}`lead_points` in a paired comparison. With rounding down, the four would differ, as {figure}`4.3` shows.

# %%
BITS = (2, 3, 4, 5, 6, 8, 10, 16)
KINDS, ROUNDINGS = ("kernel", "input", "output"), ("floor", "nearest")


def quantized(nbits, rounding, percentile=best, per_layer=True):
    """Return the test accuracy of the quantized network."""
    msbs = tables[percentile]
    network.set_level(network.levels)
    network.set_rounding(rounding)
    network.set_formats(formats_from_msbs(msbs, nbits, per_layer))
    return accuracy(*test)


# %%
alone = {f"{kind}, {r}": {} for kind in KINDS for r in ROUNDINGS}
for n in BITS:
    for r in ROUNDINGS:
        alone[f"kernel, {r}"][n] = quantized((n, None, None), r)
        alone[f"input, {r}"][n] = quantized((None, n, None), r)
        alone[f"output, {r}"][n] = quantized((None, None, n), r)

# %% tags=["hide-input"]
# Kernels, inputs and outputs alone, over the bits
setting = f"{len(test[1])} test digits, one trained network, 95 % intervals (quick)."
look = {"x": "bits", "xaxis": {"type": "category"}, "dashes": ("dot", "solid"), "colours": np.repeat(plots.COLOURS, 2)}
explore.lines(
    alone, "4.1",
    f"Kernels, inputs or outputs quantized alone, each layer with its own MSBs. Dotted: rounded down. {setting}",
    "Accuracy over bits: solid lines of rounding to nearest stay high, dotted ones of rounding down fall earlier.",
    **look, height=420,
)

# %% [markdown]
# At 4 bits rounded down, the accuracy is lowest with {glue:text}`worst_floor`s quantized:
# {glue:text}`worst_floor_4:.1%`. That these cost more than the next, the {glue:text}`next_floor`s, is
# **{glue:text}`verdict_floor`** for this network: {glue:text}`gap_floor` on the same digits. Rounded to nearest, the accuracy
# is lowest with {glue:text}`worst_nearest`s: {glue:text}`worst_nearest_4:.1%`. That these cost more than the
# {glue:text}`next_nearest`s is **{glue:text}`verdict_nearest`** ({glue:text}`gap_nearest`).
#
# (all-three-at-once)=
# ## All three at once
#
# Now we quantize the whole layer. *Generic* means one MSB for all layers, as in the first experiments of the thesis;
# *per layer* gives each layer the MSBs of the percentile just chosen, {glue:text}`best`.

# %%
full = {}
for name, per_layer in (("generic MSB", False), ("per-layer MSB", True)):
    for r in ROUNDINGS:
        found = {n: quantized(n, r, per_layer=per_layer) for n in BITS}
        full[f"{name}, {r}"] = found

# %% tags=["hide-input"]
# Everything quantized, over the bits
explore.lines(
    full, "4.2", f"Kernel, input and output of every layer at once. Dotted: rounded down. {setting}",
    "Accuracy over bits: from 3 to 6 bits rounding to nearest with per-layer MSBs is best; from 8 bits on, one MSB for "
    "all is equally good.",
    **look, height=420,
)

# %% [markdown]
# At 6 bits, with an MSB for each layer, the accuracy is {glue:text}`floor_6:.1%` rounded down and
# {glue:text}`nearest_6:.1%` rounded to nearest; in float it is {glue:text}`float_accuracy:.1%`. With one MSB for all
# layers, it is {glue:text}`generic_floor_6:.1%` and {glue:text}`generic_nearest_6:.1%`. At 8 bits, rounded to nearest,
# an MSB for each layer is {glue:text}`own_msb_8` ahead; that it is better is **{glue:text}`own_msb_verdict`**.
#
# Which level breaks the network? Quantize one level after another, starting at the input (validation digits). Each level
# has its own bits, and its own shift of the MSBs that the percentile gives its layers. The page computes the network with
# your formats:

# %%
explore.accuracy_by_level(
    model, zoo.levels(model), digits, tables, "4.3"
).show()

# %% [markdown]
# Find the level that tolerates a shift of its MSBs by -1, and the one that does not. Then spend the bits where they count:
# how few bytes of weights are enough to stay within two points of float?

# %% [markdown]
# ## Changing formats costs nothing
#
# All these results come from one network. Each figure above changed variables of the compiled model, hundreds of times. We
# count how often Python had to trace the model again:

# %%
traced = []
call = network.call


def counted(*args, **kwargs):
    traced.append(1)
    return call(*args, **kwargs)


# %%
network.call = counted
network.predict_function = None  # forget what was traced, start to count
for nbits in range(2, 22):
    network.set_formats((FixedPoint(nbits % 3, nbits),) * 3)
    network.set_rounding(("floor", "nearest", "thesis")[nbits % 3])
    network.set_level(nbits % (network.levels + 1))
    network.predict_on_batch(test[0])
print(len(traced), "trace for 20 formats, roundings and levels")

# %% [markdown]
# ## What the thesis found
#
# The thesis used SqueezeNet v1.1 on ImageNet (51 % in float), rounded down, with one MSB for all layers (Tables 5, 8 and 9).
# The bits are those of kernel, input and output; f stands for float:

# %%
kernels, inputs, whole = (papers.table("vieito2017", n) for n in (5, 8, 9))
printed = {(row["bits"], None, None): row for row in kernels[1:]}
printed |= {(16, row["bits"], None): row for row in inputs[2:]}
printed |= {papers.bits_of(row): row for row in whole}
table = []
for bits, row in printed.items():
    ours = (quantized(bits, r, "100 %", per_layer=False) for r in ROUNDINGS)
    table.append((bits, f"{row['accuracy']}%", *ours))
columns = "bits", "thesis", "ours (quick), floor", "ours (quick), nearest"
explore.Table(columns, table)

# %%
kernels_cost = {}
for r in ROUNDINGS:
    kernel, both = (
        quantized(bits, r, "100 %", per_layer=False)
        for bits in ((8, None, None), (16, 8, None))
    )
    kernels_cost[r] = both - kernel
    print(f"{r}: kernels cost {kernels_cost[r].points} more than inputs")

# %% tags=["remove-cell"]
# Quoted in the text
record(by_hand_differing=differing, off_on_unequal=unequal, traces=len(traced), levels=network.levels)
record(same_as_float=same, convolutions=len(network.quantized_layers))
most = clipped["kernel", 99.99][1]
record(within={"smoke": 0.4, "quick": 0.06}, float_accuracy=float_accuracy, kernel_clipped_most=most)
record(within=0.4, kernel_clipped_95=clipped["kernel", 95][1], input_clipped_95=clipped["input", 95][1])
floor, nearest = ({kind: alone[f"{kind}, {r}"][4].value for kind in KINDS} for r in ROUNDINGS)
record(within=0.5, worst_floor_4=min(floor.values()))
record(within={"smoke": 0.5, "quick": 0.25}, worst_nearest_4=min(nearest.values()))
record(within=0.6, floor_6=full["per-layer MSB, floor"][6], generic_floor_6=full["generic MSB, floor"][6])
record(within={"smoke": 0.4, "quick": 0.08}, nearest_6=full["per-layer MSB, nearest"][6])
record(within={"smoke": 0.5, "quick": 0.3}, generic_nearest_6=full["generic MSB, nearest"][6])
own_msb_8 = full["per-layer MSB, nearest"][8] - full["generic MSB, nearest"][8]
quote(own_msb_8=own_msb_8.points, own_msb_verdict=verdict(own_msb_8))
quote(best=best, lead=lead, lead_points=(scores[best] - scores[second]).points)
for r in ROUNDINGS:
    worst, following, _ = sorted(KINDS, key=lambda kind: alone[f"{kind}, {r}"][4].value)
    gap = alone[f"{following}, {r}"][4] - alone[f"{worst}, {r}"][4]
    quote(**{f"worst_{r}": worst, f"next_{r}": following, f"gap_{r}": gap.points, f"verdict_{r}": verdict(gap)})
    quote(**{f"order_{r}": verdict(kernels_cost[r]), f"cost_{r}": kernels_cost[r].points})
quote(input_msb_95=clipped["input", 95][0], input_msb_most=clipped["input", 99.99][0])

# %% [markdown]
# Is the order the same: do kernels of 8 bits cost more than inputs of 8 bits? On the same test digits, rounded down, kernels
# cost {glue:text}`cost_floor` more: **{glue:text}`order_floor`**. Rounded to nearest, the difference is
# {glue:text}`cost_nearest`: **{glue:text}`order_nearest`**. (One trained network; the intervals are those of its test digits.)
# The sizes of the losses differ, too: at 8-8-8 the thesis has almost no accuracy left.
#
# **Why they differ.** Our network has ten classes instead of a thousand, eleven convolutions instead of 26, and other
# weights. Each of these may matter, and we vary none of them here. But the column on the right gives a hint: the same
# formats, rounded to nearest, lose far less. Chapter 6 asks whether this holds for SqueezeNet, with its published weights
# (the thesis' own are not available).
#
# ## Two questions

# %% tags=["hide-input"]
# The grid of the bias
kernel_step, input_step = FixedPoint(-1, 8).step, FixedPoint(3, 8).step
questions.ask(
    f"A kernel has the step 1/{1 / kernel_step:.0f}, the inputs have the step 1/{1 / input_step:.0f}. On which grid must the bias lie, so "
    "that a device can add it to the sum of products?",
    (f"1/{1 / (kernel_step * input_step):,.0f}", "The step of a product of two codes is the product of their steps, and the sum has the same step."),
    (f"1/{1 / kernel_step:.0f}", "This is the grid of the weights. A weight times an input lies on a finer one."),
    (f"1/{1 / input_step:.0f}", "This is the grid of the inputs. An input times a weight lies on a finer one."),
    ("on any: it is a float", "A device has only integers. A bias that lies between two codes cannot be added."),
)

# %% tags=["hide-input"]
# Why an MSB for each layer helps
questions.ask(
    "Everything is rounded down at 6 bits. Why is an MSB for each layer more accurate than one MSB for all?",
    ("Most layers get a finer step, so half a step is less.", "The common MSB is that of the widest layer. Its half step shifts all other layers too far."),
    ("Each layer gets more bits.", "All have 6 bits. What changes is which of them are empty."),
    ("Nothing is clipped any more.", "The common MSB clips less: it is the largest of all."),
    ("With the right MSB, rounding down is rounding to nearest.", "A shift of half a step remains, but the step is smaller."),
)

# %% [markdown]
# ## Exercises
#
# **1.** Table 9 has 0.25 % for 8-8-8 and 43.9 % for 16-8-8. What does this say about inputs and outputs, and what about
# kernels?
#
# ```{admonition} Solution
# :class: dropdown
# Compared with 16-16-16 (47.59 %), inputs and outputs of 8 bits cost less than four points; nearly all of the collapse
# comes from the rounding of the kernels. Kernels have MSB 0 there, although 95 % of the weights are below 0.17, for
# which MSB -2 is enough: two of the 8 bits are empty, and rounding down shifts the rest.
# ```
#
# **2.** Why does the layer quantize its input, although the previous layer has already quantized its output?
#
# ```{admonition} Solution
# :class: dropdown
# The two may have different formats: pooling and concatenation lie between them, and the input MSB of one layer need not
# be the output MSB of the previous one. With equal formats the second quantizer changes nothing, because quantization
# is idempotent.
# ```
#
# **3.** In {figure}`4.3`, find the level that costs most at 5 bits rounded down. Then add its bits back, one at a time.
#
# **Lab.** Build the layer in integers, codes in and codes out, in `notebooks/labs/04-quantized-conv2d.py`
# ([all labs](../book/labs)).
#
# ## Run it on yours
#
# ```python
# from fewbits import formats_for, quantize_model
#
# quantized = quantize_model(model, rounding="nearest", fold_batch_normalization=True)
# quantized.set_formats(formats_for(quantized, images[:32], nbits=(8, 8, 8)))
# quantized.save("quantized.keras")
# ```
#
# ```shell
# fewbits train --network lenet --data digits --epochs 10 --output digits.keras
# fewbits formats digits.keras --data digits --percentile 99.9 --bits 8,8,8 --save-model quantized.keras
# fewbits evaluate quantized.keras --data digits
# ```

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3 Histograms and MSB percentiles
#
# *Reading time: 15 minutes. Needs: [chapter 1](01-fixed-point) (MSB, step, rounding).*
#
# A fixed-point format must reach far enough. How far is far enough, and is it the same in every layer?
#
# An MSB that is one too small clips the largest values. An MSB that is one too large wastes a bit of every value. We
# therefore look at the values before we choose.
#
# ```{admonition} Predict first
# :class: tip
# A trained network has some 70,000 weights in eleven layers. One amplitude covers 95 % of all weights, another one covers
# 99.99 %. **By which factor** do the two differ? Each factor of two costs one bit of every weight.
#
# In which layer are the weights smallest: the first, the last, or one between them? The answers are in
# [One limit for all](one-limit-for-all) and [A limit for each layer](a-limit-for-each-layer).
# ```

# %% tags=["parameters"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
import numpy as np

from fewbits import data, explore, training
from fewbits.backend import keras
from fewbits.book import (
    papers, questions, quote, record, train_small_squeezenet,
)
from fewbits.quantization import (
    FixedPoint, msb_table, observe, percentile_limits, quantization_error,
)

# %% tags=["hide-input"]
keras.utils.set_random_seed(1)
EPOCHS = 2 if profile == "smoke" else 15

# %% [markdown]
# ## A small SqueezeNet
#
# The thesis {cite:p}`vieito2017` examined SqueezeNet v1.1 {cite:p}`iandola2016` on ImageNet. We use a smaller version for digits
# of 8 by 8 pixels, with the same fire modules, but three instead of eight.

# %%
digits = data.load("digits", validation=0.25)
train, validation = digits.arrays("train"), digits.arrays("validation")
model = train_small_squeezenet(*train, epochs=EPOCHS)
accuracy = training.evaluate(model, validation).share
print(f"{model.count_params():,} parameters, accuracy {accuracy:.1%}")

# %% [markdown]
# Two kinds of values need a format: weights and activations. The weights are stored in the network. The inputs and outputs
# of the convolutions exist only while the network processes an image, so we pass 32 training images through it and keep the
# values of each layer. The thesis did the same with 32 images of its verification set (5.2.2).

# %%
observed = dict(observe(model, train[0][:32]))
for name in ("conv1", "fire3_expand3x3"):
    values = observed[name]
    print(name, "kernel", values.kernel.shape, "output", values.output.shape)

# %% [markdown]
# ## From values to an MSB
#
# Cut off the same share of the values at both ends. The remaining values have two limits, and the MSB is the
# smallest whose amplitude $2^{\mathrm{MSB}}$ reaches both (Equation 11 of the thesis):


# %%
def limits_by_hand(values, percentile):
    ordered = np.sort(np.ravel(values))
    rest = (100 - percentile) / 200 * (len(ordered) - 1)
    at = np.array([rest, len(ordered) - 1 - rest])
    return np.interp(at, np.arange(len(ordered)), ordered)


def msb_by_hand(low, high):
    return int(np.ceil(np.log2(max(abs(low), abs(high)))))


# %%
PERCENTILES = (95, 98, 99.9, 99.99)
kernels = np.concatenate([v.kernel.ravel() for v in observed.values()])
limits, table = {}, []
for p in PERCENTILES:
    limits[p] = low, high = percentile_limits(kernels, p)
    assert np.allclose(limits_by_hand(kernels, p), (low, high))
    table.append((f"{p} %", low, high, msb_by_hand(low, high)))
explore.Table(("percentile", "lower limit", "upper limit", "MSB"), table)

# %% [markdown]
# (one-limit-for-all)=
# ## One limit for all
#
# Most weights are small, and a few are large. The histogram has a logarithmic axis, because the large ones would be
# invisible without it.

# %% tags=["hide-input"]
# All weights, with the limits of four percentiles
explore.histogram(
    kernels, {f"{p} %": ends for p, ends in limits.items()}, "3.1",
    f"All {len(kernels):,} weights of the network, with the limits of four percentiles (quick).",
    "Histogram of the weights, a narrow peak with long tails; four pairs of lines mark the percentiles' limits.",
    y="number of weights",
)

# %% [markdown]
# The outermost limits reach {glue:text}`reach_ratio:.1f` times as far as the innermost. Only {glue:text}`beyond:.1%` of
# the weights lie between them. To cover these too, the MSB must rise from {glue:text}`msb_95_all` to
# {glue:text}`msb_most_all`, and all other weights lose the same number of low-order bits.
#
# The outputs of the convolutions, on 32 images, look like this:

# %% tags=["hide-input"]
# All outputs, with the limits of four percentiles
outputs = np.concatenate([v.output.ravel() for v in observed.values()])
explore.histogram(
    outputs, {f"{p} %": percentile_limits(outputs, p) for p in limits}, "3.2",
    f"All {len(outputs):,} convolution outputs of the network, with the limits of four percentiles (quick).",
    "Histogram of the outputs, a narrow peak with long tails; four pairs of lines mark the percentiles' limits.",
    y="number of convolution outputs",
)

# %% [markdown]
# The outputs reach further and have longer tails than the weights, mostly because layers differ.
#
# (a-limit-for-each-layer)=
# ## A limit for each layer
#
# Each percentile sets a limit in each layer, for the weights and for the outputs of the convolution:


# %%
def reach(kind, percentile):
    """Return how far the values of each layer reach."""
    found = {}
    for name, values in observed.items():
        ends = percentile_limits(getattr(values, kind), percentile)
        found[name] = max(map(abs, ends))
    return found


kernel_reach = {f"{p} %": reach("kernel", p) for p in PERCENTILES}
output_reach = {f"{p} %": reach("output", p) for p in PERCENTILES}

# %% tags=["hide-input"]
# The limits, layer by layer
for found, label, what in ((kernel_reach, "3.3", "weights"), (output_reach, "3.4", "convolution outputs")):
    explore.lines(
        found, label, f"The limit of each percentile of a layer's {what} (quick; 32 training images).",
        f"Lines of the limits of the {what} over the layers, one per percentile; layers differ by powers of two.",
        x="layer", y=f"limit of the {what}", yaxis={"type": "log"}, height=430,
    )

# %%
msbs = msb_table(model, train[0][:32], range_rule=99.9)
columns = "MSBs at 99.9 %", "kernel", "input", "output"
explore.Table(columns, [(name, *found) for name, found in msbs.items()])

# %% [markdown]
# The largest and smallest MSB of the kernels differ by {glue:text}`kernel_spread:.0f`, those of the outputs by
# {glue:text}`output_spread:.0f`; {glue:text}`smallest` has the smallest weights. A single MSB for all layers has to be
# the largest of them: a layer whose own MSB is lower by $m$ leaves $m$ of its bits empty.
#
# ## Which percentile?
#
# If we clip more, the step becomes finer. The best percentile depends on how fine the step already is. Change
# bits, percentile and rounding, and look at the signal-to-quantization-noise ratio of each layer.
#
# The {term}`SQNR` compares the values with their errors: it is the mean square of the values, divided by the mean square
# of the errors, in decibels, $10 \log_{10} (\sum x^2 / \sum e^2)$. At 20 dB the errors are a tenth of the size of the values, at
# 40 dB a hundredth. One more bit halves the errors, which adds 6 dB.

# %%
explore.sqnr_by_percentile(observed, "3.5").show()

# %% [markdown]
# Choose `kernel`, and look for the percentile with the best mean SQNR at 8 bits and at 3 bits. The next cells search
# kernels and outputs. They test each limit on the outputs of 32 other images, because a limit always fits the values that
# set it. The figure shows the values that set the limits.


# %%
others = dict(observe(model, train[0][32:64]))


def mean_sqnr(kind, percentile, nbits):
    found = []
    for name, values in observed.items():
        low, high = percentile_limits(getattr(values, kind), percentile)
        fmt = FixedPoint(msb_by_hand(low, high), nbits)
        judging = getattr(others[name], kind)
        found.append(quantization_error(judging, fmt, "nearest").sqnr)
    return np.mean(found)


# %%
best = {}
for kind in ("kernel", "output"):
    for nbits in (3, 8):
        sqnr = {p: mean_sqnr(kind, p, nbits) for p in (*PERCENTILES, 100)}
        best[kind, nbits] = max(sqnr, key=sqnr.get)
        print(kind, nbits, "bits: best percentile", best[kind, nbits])

# %% [markdown]
# For the weights, the {glue:text}`best_kernel_3:.4g`th percentile is the best of these with 3 bits (we tried none below
# the 95th), and the {glue:text}`best_kernel_8:.4g`th with 8 bits. The fewer the bits, the more it pays to clip:
# clipping errors are large but rare, whereas every value has a rounding error, and its power grows fourfold with every
# bit that is removed.
#
# ## From SQNR to accuracy
#
# The best SQNR need not give the best accuracy. The page computes the network with the inputs of its layers quantized, each
# with the MSB of your percentile. In the histogram of one layer, the dotted lines are the limits of the percentile. The dashed
# lines are the range of the format: the smallest power of two that reaches these limits.

# %%
explore.accuracy_by_percentile(model, digits, "3.6").show()

# %% [markdown]
# Three things to find out:
#
# 1. Start with 8 bits. How low can the percentile go before the accuracy falls? Is it the same with 3 bits?
# 2. Move the percentile, and watch the dashed lines. Why do they stay in place and then jump? What does the SQNR do there?
# 3. The inputs are never negative. Which half of the codes does no value use?
#
# ## What the thesis found
#
# Table 2 of the thesis has the limits of all kernels of SqueezeNet, trained on ImageNet. Ours are next to them:

# %%
printed, table = papers.table("vieito2017", 2), []
for row in printed:
    theirs, ours = (row["lower"], row["upper"]), limits[row["percentile"]]
    found = *theirs, msb_by_hand(*theirs), *ours, msb_by_hand(*ours)
    table.append((f"{row['percentile']} %", *found))
columns = "percentile", "thesis: lower", "upper", "MSB"
explore.Table((*columns, "ours (quick): lower", "upper", "MSB"), table)

# %% [markdown]
# Table 11 of the thesis adds an MSB for each level. We check it against Table 2 and for consistency:

# %%
table_11 = papers.table("vieito2017", 11)
narrow = next(row for row in printed if row["percentile"] == 95)
msb_95 = msb_by_hand(narrow["lower"], narrow["upper"])
falling, above = [], 0
for row in table_11:
    above += row["kernel_msb_95"] > msb_95
    if row["kernel_msb_99_99"] < row["kernel_msb_95"]:
        falling.append(row["layer"])
print("MSB falls as the percentile rises in:", ", ".join(falling))
print(f"95 %: Table 2 gives {msb_95}; {above} of {len(table_11)} are above")

# %% tags=["remove-cell"]
# Quoted in the text
kernel_msbs, _, output_msbs = zip(*msbs.values())
innermost, outermost = (max(map(abs, limits[p])) for p in (95, 99.99))
record(within={"smoke": 0.35, "quick": 0.06}, parameters=model.count_params(), accuracy=accuracy)
record(within=1.5, layers=len(observed), reach_ratio=outermost / innermost)
record(within=0.03, beyond=np.mean(np.abs(kernels) > innermost))
record(within=2.0, kernel_spread=float(np.ptp(kernel_msbs)), output_spread=float(np.ptp(output_msbs)))
record(within=10.0, best_kernel_3=float(best["kernel", 3]), best_kernel_8=float(best["kernel", 8]))
record(falling=", ".join(falling), msb_95=msb_95, above=above, levels=len(table_11))
smallest = min(kernel_reach["99.9 %"], key=kernel_reach["99.9 %"].get)
quote(smallest=smallest, msb_95_all=msb_by_hand(*limits[95]), msb_most_all=msb_by_hand(*limits[99.99]))

# %% [markdown]
# A limit that holds more values cannot be nearer to zero. Yet in {glue:text}`falling` the printed MSB falls from the
# 95th to the 99.99th percentile. The 95th percentile of the whole network needs MSB {glue:text}`msb_95`, but
# {glue:text}`above` of {glue:text}`levels` levels are printed with 0 or 1: the levels cannot all be wider than their
# union. The kernel half of Table 11 therefore does not hold what 5.5.3 says it does: MSBs by Equation 11.
#
# **Why they differ.** Our limits differ from Table 2 because the networks differ: other images, and 71 thousand weights
# instead of 1.2 million. The shape is the same: a narrow peak, long tails, and a factor between the limits that costs
# bits.
#
# ## Two questions

# %% tags=["hide-input"]
# Bits that a wide range leaves empty
wide, narrow, bits = FixedPoint(2, 8), FixedPoint(0, 8), 8
empty = int(np.log2(wide.step / narrow.step))
questions.ask(
    "Nearly all weights of a layer lie between -1 and 1, and a few reach 3. Its format gets the MSB 2, so that none is clipped. "
    f"How many of the {bits} bits do the small weights still use?",
    (f"{bits - empty}", "The step is four times as wide as with MSB 0. Two bits are empty in all weights below 1."),
    (f"{bits}", "The codes have this many bits, but small weights use only a quarter of the codes."),
    (f"{bits // 2**empty}", "The range is four times as wide. That is a factor in the number of codes, not of bits."),
    (f"{bits - 1}", "One MSB costs one bit. From 0 to 2, the MSB costs two."),
)

# %% tags=["hide-input"]
# Why clipping pays
questions.ask(
    "Why does it pay to clip more when a format has fewer bits?",
    ("A wide step affects every value; clipping affects only a few.", "Each removed bit quadruples the power of rounding errors; clipping errors stay."),
    ("Fewer bits reach less far, so the large values are lost anyway.", "The MSB sets the reach, whatever the number of bits."),
    ("Clipped values have no rounding error.", "They have a larger one: their distance to the limit."),
    ("With fewer bits, fewer values lie beyond the limit.", "The percentile fixes how many lie beyond it. Bits do not change that."),
)

# %% [markdown]
# ## Exercises
#
# **1.** A layer's weights have the limits -0.30 and 0.26. Which MSB does Equation 11 give? With 8 bits, which values
# does the format lose, and how large is a step?
#
# ```{admonition} Solution
# :class: dropdown
# $\lceil \log_2 0.30 \rceil = \lceil -1.74 \rceil = -1$: the amplitude is 0.5, and the step is $2^{-1+1-8} = 1/256$. No
# value within the limits is clipped; values smaller than 1/256 underflow.
# ```
#
# **2.** The MSB is rounded up. On average, how much of the amplitude stays empty?

# %% tags=["hide-cell"]
# The share of its amplitude that each kernel uses
used = [kernel_reach["99.9 %"][name] / 2.0**kernel for name, (kernel, *_) in msbs.items()]
print("share of the amplitude used, layer by layer:", [f"{u:.0%}" for u in used])

# %% [markdown]
# ```{admonition} Solution
# :class: dropdown
# Between half of the amplitude and all of it is used. If the logarithms of the limits are spread evenly,
# $1/(2 \ln 2) = 72\,\%$ is used on average, and 28 % is empty.
# ```
#
# **3.** After a ReLU no value is negative. How many codes of an input are then never used, and what can a device do
# about it?
#
# ```{admonition} Solution
# :class: dropdown
# Half of the codes, which is one whole bit. A device can use unsigned codes there, as [chapter 8](08-quantizers) does. The
# formats of the thesis are always signed.
# ```
#
# **Lab.** Find a layer's MSB from a stream of values that memory cannot hold, in `notebooks/labs/03-percentiles.py`
# ([all labs](../book/labs)).
#
# ## Run it on yours
#
# ```python
# from fewbits import formats_for, quantize_model, training
#
# formats = formats_for(model, images[:32], nbits=(8, 8, 8), range_rule=99.9)
# quantized = quantize_model(model, formats, rounding="nearest")
# print(training.evaluate(quantized, (images, labels)).accuracy)
# ```

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 8 Quantizers in use
#
# *Reading time: 40 minutes, and 15 for what is marked for a second reading. Needs: [chapter 1](01-fixed-point)
# (straight-through gradient), [chapter 3](03-percentiles) (ranges) and [chapter 5](05-sqnr) (SQNR).*
#
# A network file for phones says `int8, scale 0.0041, zero point -128, quantized_dimension 0`. What does this mean, and what is it worth?
#
# So far this book has used the formats of the first thesis: signed codes times a power of two. The formats in use have four more
# freedoms: codes without a sign, a zero point, a scale for each filter, and scales that are any number. This chapter takes them one at a
# time, on one trained network and the same images. After it you can read the quantization of a TFLite or an ONNX file line by line,
# and you know what a device that can only shift gives up.
#
# ```{admonition} Predict first
# :class: tip
# All kernels and inputs of a network for digits get **4 bits**, in five ways that differ by one freedom each. Which freedom is worth
# most: codes without a sign, a scale for each filter, or scales that are not powers of two?
#
# With scales that must be powers of two, the step is up to twice as wide as the best one. **How many decibels** does this cost on
# average, at 8 bits and at 3? (One bit is 6 dB.) How much of its arithmetic energy does a device save if it shifts instead of
# multiplying? The answers are in [Five ways](five-ways), [Powers of two](powers-of-two) and [What a shift saves](what-a-shift-saves).
# ```

# %% tags=["parameters"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
import logging
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import onnx
from onnx.numpy_helper import from_array, to_array
from onnxruntime import quantization as tool
from scipy import stats

# %% tags=["hide-input"]
from fewbits import (
    FixedPoint, costs, data, explore, formats_for, quantize, zoo,
)
from fewbits.audit import litert_traces
from fewbits.backend import keras, ops
from fewbits.book import questions, quote, record, reference
from fewbits.deploy import ONNXRunner, to_litert, to_onnx
from fewbits.experiment import Scheme
from fewbits.explore import plots
from fewbits.io import LiteRTRunner, litert_interpreter

# %% tags=["hide-input"]
from fewbits.quantization import (
    Formats, is_clipped, measured_sqnr, msb_of_least_divergence,
    msb_of_least_error, observe, percentile_limits, quantize_model,
    range_gradient,
)
from fewbits.statistics import Share, verdict

# %% tags=["hide-input"]
SMOKE = profile == "smoke"
BITS = (8, 4) if SMOKE else (8, 6, 5, 4, 3)
array = ops.convert_to_numpy  # takes a tensor
rng = np.random.default_rng(8)

# %% [markdown]
# The network is the small AlexNet of chapter 5, with the weights that come with the book: a chain of five convolutions and three dense
# layers. Ranges are calibrated on 64 training images; SQNRs are measured on 64 validation images, accuracies on the test digits.

# %%
digits = data.load("digits", validation=0.25)
few, _ = digits.arrays("train", 64)
others, _ = digits.arrays("validation", 64)
test = digits.arrays("test", 64 if SMOKE else None)
model = zoo.build(
    "alexnet_small", digits.image_shape, 10, weights="alexnet_digits")
observed, judging = dict(observe(model, few)), dict(observe(model, others))
LAYERS = tuple(observed)

# %% [markdown]
# ## A scale and a zero point
#
# An *affine* quantizer {cite:p}`jacob2018` has two numbers. A code $k$ stands for
#
# $$x = s \, (k - z),$$
#
# where the *scale* $s$ is the step, any positive number, and the *zero point* $z$ is the code of 0. Here is the complete quantizer in
# ten lines:

# %%
@dataclass
class Affine:
    """Codes from `lowest` to `highest`; k is scale * (k - zero)."""
    scale: float | np.ndarray
    zero: int
    lowest: int
    highest: int

    def codes(self, x):
        k = np.round(x / self.scale).astype("int64") + self.zero
        return np.clip(k, self.lowest, self.highest)

    def values(self, k):
        return self.scale * (k - self.zero)


# %% [markdown]
# The book's formats are the special case with the zero point 0 and a scale $2^{\mathrm{MSB}+1-n}$. A signed format has the codes
# $-2^{n-1}$ to $2^{n-1}-1$, an unsigned one 0 to $2^n - 1$, and the step rule is the same:

# %%
x, differing = rng.normal(0, 1, 1_000_000), 0
for fmt in FixedPoint(0, 5), FixedPoint(0, 5, signed=False):
    ours = Affine(fmt.step, 0, fmt.min_code, fmt.max_code)
    library = quantize(x, fmt, "nearest")
    differing += int((ours.values(ours.codes(x)) != library).sum())
    print(fmt, "has the values", fmt.min_value, "to", fmt.max_value)
print(differing, "of two million values differ")

# %% [markdown]
# With a zero point, codes can span any range $[l, h]$. The third thesis {cite:p}`chiang2017` explains quantization with this example: 8
# bits for the range from -20 to 50; 0 stands for -20, 255 for 50, and 128 for 35 (its section 2.1.2.3). Is this correct?


# %%
def spanning(low, high, nbits=8):
    """Return unsigned codes that span [low, high] and 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    highest = 2**nbits - 1
    scale = (high - low) / highest
    return Affine(scale, round(-low / scale), 0, highest)


example = spanning(-20, 50)
print("scale", round(example.scale, 4), "- zero point", example.zero)
print("code 128 stands for", round(example.values(128), 2))
print("0 lies at", round(20 / example.scale, 2), "before it is rounded")

# %% [markdown]
# Code 128 stands for {glue:text}`code_128:.1f`, not for 35. The zero point also has to be *rounded*: unrounded, 0 would lie between two
# codes. Convolutions pad with zeros, and a ReLU produces zeros. These should be exact, so every specification demands an integer zero
# point, and the range moves a little instead.
#
# Files usually store int8, even where no value is negative. This changes nothing: subtract 128 from all codes and from the zero point.


# %%
def as_int8(q):
    """Return the same values with codes from -128 to 127."""
    return Affine(q.scale, q.zero - 128, -128, 127)


x = rng.uniform(-30, 60, 1000)
ours, moved = (q.values(q.codes(x)) for q in (example, as_int8(example)))
print("equal:", np.array_equal(ours, moved))

# %% [markdown]
# ### What a zero point costs
#
# A layer adds up products of values, but the device has only codes. With $k$ and $z$ of the kernel ($w$) and of the input ($x$), a sum
# of $n$ products is
#
# $$\sum s_w (k_w - z_w) \, s_x (k_x - z_x) = s_w s_x \Big( \sum k_w k_x \;-\; z_x \sum k_w \;-\; z_w \sum k_x \;+\; n \, z_w z_x \Big).$$
#
# We check this in integers, with the 384 inputs of the layer fc7:

# %%
x, w = observed["fc7"].input, observed["fc7"].kernel
qx, qw = (as_int8(spanning(v.min(), v.max())) for v in (x, w))
kx, kw = qx.codes(x), qw.codes(w)
exact = (kx - qx.zero) @ (kw - qw.zero)
parts = {
    "product of the codes": kx @ kw,
    "zero point of the input": -qx.zero * kw.sum(0),
    "zero point of the kernel": -qw.zero * kx.sum(1, keepdims=True),
    "both": len(kw) * qx.zero * qw.zero,
}
unequal = int((exact != sum(parts.values())).sum())
print(unequal, "of", exact.size, "sums differ; z_x", qx.zero, "z_w", qw.zero)

# %% tags=["remove-cell"]
# Quoted in the text
record(formats_differing=differing, zero_of_example=example.zero, sums_unequal=unequal)
record(within=0.01, code_128=float(example.values(128)))

# %% [markdown]
# | part | known when? | cost |
# |---|---|---|
# | $z_x \sum k_w$ | before any image: one number per filter | nothing; it goes into the bias |
# | $z_w \sum k_x$ | only with the image, different for each window | a sum of the inputs, which all filters share |
# | $n z_w z_x$ | before any image | nothing |
#
# A zero point of the *input* is therefore free, and a zero point of the *kernel* is not. (This sum of the inputs has appeared before:
# mid-step reconstruction in [chapter 7](07-repairs) interprets codes as $q (k + \tfrac12)$, which is a zero point of $-\tfrac12$.) Is it
# worth its cost? We quantize both kinds of values at 4 bits, once with the largest magnitude at both ends, once with a zero point.
# Nothing is clipped:


# %%
def symmetric(x, nbits=4):
    highest = 2 ** (nbits - 1) - 1
    return Affine(np.abs(x).max() / highest, 0, -highest, highest)


def gain_of_zero_point(kind):
    """Return how many decibels a zero point adds, for each layer."""
    found = {}
    for name in LAYERS:
        x = getattr(observed[name], kind)
        ways = symmetric(x), spanning(x.min(), x.max(), 4)
        plain, moved = (measured_sqnr(x, q.values(q.codes(x))) for q in ways)
        found[name] = moved - plain
    return found


# %%
gain = {kind: gain_of_zero_point(kind) for kind in ("kernel", "input")}
rows = [(kind, *found.values()) for kind, found in gain.items()]
explore.Table(("decibels gained by a zero point", *LAYERS), rows)

# %% tags=["remove-cell"]
# Quoted in the text
record(within=0.3, zero_gain={kind: np.mean([*found.values()]) for kind, found in gain.items()})

# %% [markdown]
# The average gain is {glue:text}`zero_gain_kernel:+.1f` dB for kernels and {glue:text}`zero_gain_input:+.1f` dB for inputs. Weights lie
# about evenly on both sides of zero, so there is little to gain. Inputs lie on one side, so the gain is one bit. For this reason,
# specifications allow a zero point for activations and fix that of weights at 0, which they call *symmetric*.
#
# ## After a ReLU
#
# For an input that is never negative, the zero point ends up at the lowest code. This is equivalent to unsigned codes without a zero
# point. How much does it cost to store a sign that is always plus?
#
# From here on, scales are those of the least squared error among candidates, which are powers of two or eight per octave. Each column of
# `values` can have its own scale:

# %%
POWERS, FREE = 1, 8  # candidates per octave


def candidates(largest, highest, per_octave):
    """Yield scales, from the widest useful one to finer ones."""
    scale = np.maximum(largest, 1e-9) / highest
    if per_octave == POWERS:
        amplitude = scale * highest / (highest + 1)
        scale = 2.0 ** np.ceil(np.log2(amplitude))
    for fall in np.arange(0, 5, 1 / per_octave):
        yield scale / 2**fall


# %%
def fit(values, nbits, signed, per_octave):
    """Return the scales of least squared error, one per column."""
    highest = 2 ** (nbits - signed) - 1
    q = Affine(0, 0, -highest - 1 if signed else 0, highest)
    largest, least = np.abs(values).max(0), np.inf
    best = np.zeros_like(largest)
    for q.scale in candidates(largest, highest, per_octave):
        error = np.square(q.values(q.codes(values)) - values).sum(0)
        best = np.where(error < least, q.scale, best)
        least = np.minimum(error, least)
    q.scale = best
    return q


# %%
def rounded(x, q):
    """Return `x` quantized, with a scale per entry of its last axis."""
    columns = x.reshape(-1, q.scale.size)
    return q.values(q.codes(columns)).reshape(x.shape).astype("float32")


@cache
def input_quantizer(name, nbits, signed, per_octave=POWERS, rule=fit):
    x = observed[name].input.reshape(-1, 1)
    return rule(x, nbits, signed, per_octave)


# %% [markdown]
# With powers of two, this is the `mse` rule of chapter 3. The library should choose the same MSBs:

# %%
choices = [(n, b, s) for n in LAYERS for b in BITS for s in (True, False)]
unequal = 0
for name, bits, signed in choices:
    msb = msb_of_least_error(observed[name].input, bits, signed=signed)
    scale = input_quantizer(name, bits, signed).scale.item()
    unequal += FixedPoint(msb, bits, signed).step != scale
print(unequal, "of", len(choices), "steps differ from the library's")

# %%
CODE_BITS = (3, 4) if SMOKE else (3, 4, 6)
SIGNS = {"signed": True, "unsigned": False}

# %% tags=["hide-input"]
# Which codes an input uses
def codes_used(layer, bits, codes):
    """Return how often each code of a layer's input occurs, and the resulting error."""
    q, x = input_quantizer(layer, bits, SIGNS[codes]), judging[layer].input
    counts = np.bincount((q.codes(x) - q.lowest).ravel(), minlength=2**bits)
    scale, top = q.scale.item(), q.values(q.highest).item()
    readings = {
        "codes that exist": str(2**bits), "codes that occur": str(int((counts > 0).sum())), "step": f"{scale:g}",
        "clipped": f"{np.mean(x > top + scale / 2):.2%}", "SQNR": f"{measured_sqnr(x, rounded(x, q)):.1f} dB",
    }
    ends = {"xaxis": {"title": {"text": "code"}, "range": [q.lowest - 0.6, q.highest + 0.6]}}
    return {"inputs": dict(enumerate(counts.tolist(), q.lowest))}, readings, ends


explore.adjustable_bars(
    codes_used, {"layer": LAYERS, "bits": CODE_BITS, "codes": tuple(SIGNS)}, {"layer": "conv3", "bits": 4, "codes": "signed"}, "8.1",
    f"The codes of a layer's inputs, powers of two as scales, ranges of least squared error. {len(others)} validation digits (quick).",
    "Bars, one per code: with signed codes the left half is empty, with unsigned codes all are used.",
    x="code", y="number of inputs", yaxis={"type": "log"}, bargap=0.1,
).show()

# %%
def occurring(signed, bits=4):
    """Return how many codes occur in the inputs of all layers."""
    return sum(
        len(np.unique(input_quantizer(n, bits, signed).codes(
            judging[n].input))) for n in LAYERS)


used = {word: occurring(signed) for word, signed in SIGNS.items()}
exist = 16 * len(LAYERS)
print(used, "of", exist, "codes occur in all layers together, at 4 bits")

# %% [markdown]
# Switch `codes` to *unsigned*: the empty half fills, and in most layers the step is halved. At 4 bits {glue:text}`used_signed` of
# {glue:text}`codes_exist` signed codes occur in all layers together, and {glue:text}`used_unsigned` unsigned ones. For the same range, an
# unsigned format has an MSB that is lower by one: it ends at $2^{\mathrm{MSB}+1}$, and its last value lies one step below this end. In
# other words, an unsigned format of $n$ bits has exactly the values that a signed one of $n + 1$ bits has from zero up.

# %%
x = np.abs(rng.normal(0, 1, 1_000_000))
half = quantize(x, FixedPoint(0, 4, signed=False), "nearest")
whole = quantize(x, FixedPoint(1, 5), "nearest")
print((half != whole).sum(), "of a million values differ")

# %% [markdown]
# Where no value is negative, unsigned codes are therefore worth as much as one more bit. Layer by layer:


# %%
def input_sqnr(name, bits, signed, per_octave=POWERS):
    x = judging[name].input
    return measured_sqnr(
        x, rounded(x, input_quantizer(name, bits, signed, per_octave)))


by_sign = {
    word: {name: input_sqnr(name, 4, signed) for name in LAYERS}
    for word, signed in SIGNS.items()
}

# %% tags=["hide-input"]
# SQNR of inputs, signed and unsigned
explore.bars(
    {f"{word} codes": found for word, found in by_sign.items()}, "8.2",
    f"SQNR of each layer's inputs at 4 bits, powers of two as scales; {len(others)} validation digits (quick).",
    "Two bars per layer: unsigned codes are some decibels above signed ones in every layer.",
    x="layer", y="SQNR in dB", height=400,
)

# %% tags=["remove-cell"]
# Quoted in the text
sign_gain = {b: np.mean([input_sqnr(n, b, False) - input_sqnr(n, b, True) for n in LAYERS]) for b in (8, 4)}
record(steps_unequal=int(unequal), half_differing=int((half != whole).sum()), used=used)
quote(codes_exist=exist)
record(within=0.5, sign_gain=sign_gain)

# %% [markdown]
# The gain is {glue:text}`sign_gain_8:.1f` dB on average at 8 bits and {glue:text}`sign_gain_4:.1f` at 4 bits: nearly a whole bit. At few
# bits, ranges clip, and some of the new codes represent values that were clipped before.
#
# *Cost:* a multiplier with one unsigned operand, or the zero point $-2^{n-1}$ and signed hardware, because $z_x \sum k_w$ goes into the
# bias. Codes are twice as large, so sums can take one more bit.
#
# In this book's library an output format before a ReLU may be unsigned, too. Its clipping at zero *is* the ReLU. Kernels and biases
# are always signed.
#
# ## One scale, or one per channel
#
# The filters of a kernel differ in size. *Per tensor* they share a scale, which suits the largest; *per channel* (TFLite says *per axis*)
# each has its own. The scale is the same for all products in a filter's sum, so one multiplication after the sum is enough:
#
# $$\sum_i (s_f k_{w,i}) (s_x k_{x,i}) = s_f s_x \sum_i k_{w,i} k_{x,i}.$$
#
# A scale per *input* channel does not factor out of the sum. The usual recipe {cite:p}`krishnamoorthi2018` is therefore one scale per
# filter for kernels and one scale for all activations of a layer. How much does a scale per filter gain?


# %%
@cache
def kernel_quantizer(name, nbits, per_octave, per_filter, rule=fit):
    w = observed[name].kernel
    columns = w.reshape(-1, w.shape[-1] if per_filter else 1)
    return rule(columns, nbits, True, per_octave)


def kernel_sqnr(name, *how):
    w = observed[name].kernel
    return measured_sqnr(w, rounded(w, kernel_quantizer(name, *how)))


# %%
KERNELS = {
    "powers of two, per layer": (POWERS, False),
    "powers of two, per filter": (POWERS, True),
    "free, per layer": (FREE, False),
    "free, per filter": (FREE, True),
}
sqnr = {(b, way): {n: kernel_sqnr(n, b, *how) for n in LAYERS}
        for b in BITS for way, how in KERNELS.items()}

# %% tags=["hide-input"]
# SQNR of kernels, in four ways
def kernels_at(bits):
    """Return the SQNR of all kernels, in four ways, and their means."""
    found = {way: sqnr[bits, way] for way in KERNELS}
    return found, {f"mean, {way}": f"{np.mean([*by_layer.values()]):.1f} dB" for way, by_layer in found.items()}


explore.adjustable_bars(
    kernels_at, {"bits": BITS[::-1]}, {"bits": 4}, "8.3",
    "SQNR of each kernel, signed codes, ranges of least squared error (quick).",
    "Four bars per layer: free scales and scales per filter are each about a decibel better than one power of two per layer.",
    x="layer", y="SQNR in dB", height=430,
).show()

# %%
def mean_gain(bits, better, worse):
    """Return by how many decibels one way is better, on average."""
    gains = [sqnr[bits, better][n] - sqnr[bits, worse][n] for n in LAYERS]
    return float(np.mean(gains))


LAYER, FILTER, FREE_LAYER, FREE_FILTER = KERNELS

# %% tags=["remove-cell"]
# Quoted in the text
record(within=0.2, filter_gain={b: mean_gain(b, FILTER, LAYER) for b in (8, 4)})
record(within=0.2, free_filter_gain={b: mean_gain(b, FREE_FILTER, FREE_LAYER) for b in (8, 4)})

# %% [markdown]
# At 4 bits a scale per filter adds {glue:text}`filter_gain_4:.1f` dB to powers of two and {glue:text}`free_filter_gain_4:.1f` dB to free
# scales, at 8 bits {glue:text}`filter_gain_8:.1f` and {glue:text}`free_filter_gain_8:.1f`. Powers of two gain less: filters that differ
# by less than a factor of two often get the same power.
#
# *Cost:* one multiplier or one shift per filter. The products themselves cost no more.
#
# (powers-of-two)=
# ## Powers of two
#
# What does a device that can only shift give up? Its step must be a power of two, and the best step lies somewhere between two of them.
# With the larger power, the step is up to twice too wide; with the smaller one, large values are clipped.
#
# Suppose that nothing may be clipped. Then the step is $2^u$ times too wide with $0 \le u < 1$, which costs $6.02 \, u$ dB: at worst
# 6 dB, one bit, and on average 3 dB, half a bit. Least squared error does better, because it may choose either power. How much better
# depends on how sharp the optimum is:

# %%
p = (np.arange(4000) + 0.5) / 4000
VALUES = {
    "normal": stats.norm.ppf(p),
    "Laplace": stats.laplace.ppf(p),
    "uniform": stats.uniform.ppf(p) * 2 - 1,
}
OCTAVES = np.arange(-2, 5, 1 / 8)  # log2 of the threshold


# %%
def over_thresholds(x, nbits):
    """Return the SQNR at thresholds 2**OCTAVES."""
    top, found = 2 ** (nbits - 1), []
    for threshold in 2.0**OCTAVES:
        q = Affine(threshold / top, 0, -top, top - 1)
        found.append(measured_sqnr(x, q.values(q.codes(x))))
    return np.array(found)


# %%
curves = {(name, bits): over_thresholds(x, bits)
          for name, x in VALUES.items() for bits in BITS}


def lost_by_powers(curve):
    """Return the loss of powers of two, for each place of the octave."""
    return curve.max() - np.array([curve[i::8].max() for i in range(8)])


# %% tags=["hide-input"]
# SQNR over the threshold, and where the powers of two lie
def over_threshold(values, bits, place):
    """Return a curve, the thresholds that powers of two allow, and what these lose."""
    curve = dict(zip(OCTAVES.tolist(), curves[values, bits]))
    powers = dict([*curve.items()][place::8])
    most, best = max(curve.values()), max(powers.values())
    readings = {"best of all": f"{most:.1f} dB", "best power of two": f"{best:.1f} dB", "lost": f"{most - best:.2f} dB"}
    return {"any threshold": curve, "powers of two": powers}, readings


explore.adjustable_lines(
    over_threshold, {"values": tuple(VALUES), "bits": BITS[::-1], "place": tuple(range(8))}, {"values": "normal", "bits": 4, "place": 4}, "8.4",
    "SQNR over the clipping threshold. Powers of two are one octave apart; the slider shifts the values relative to them, by eighths of an octave.",
    "A curve with one peak, flat at few bits and steep on its left at many; points on it one octave apart.",
    x="threshold, as a power of two", y="SQNR in dB", modes=("lines", "markers"), height=400,
).show()

# %% [markdown]
# Set 8 bits and move `place`: the curve falls 6 dB per octave on its right and steeply on its left, so the points often miss its peak. At
# 3 bits the peak is broad. Averaged over all places:

# %%
lost = {f"{name}, {what}": {} for name in VALUES for what in ("mean", "worst")}
for (name, bits), curve in curves.items():
    found = lost_by_powers(curve)
    lost[f"{name}, mean"][bits] = float(found.mean())
    lost[f"{name}, worst"][bits] = float(found.max())

# %% tags=["hide-input"]
# The loss of powers of two
explore.lines(
    {name: {b: found[b] for b in sorted(found)} for name, found in lost.items()}, "8.5",
    "SQNR lost when scales must be powers of two: the mean and the worst case over all positions of the values between two powers "
    "(computed for three distributions; ranges of least squared error).",
    "Lines over the bits: the loss grows with the bits, from a fraction of a decibel to one to three on average.",
    x="bits", xaxis={"type": "category"}, y="decibels lost", height=430,
    colours=(plots.BLUE, plots.BLUE, plots.ORANGE, plots.ORANGE, plots.GREEN, plots.GREEN), dashes=("solid", "dot"),
)

# %% [markdown]
# In the network, kernels have a scale per filter, inputs one per layer:

# %%
rows = []
for bits in BITS:
    kernel = mean_gain(bits, FREE_FILTER, FILTER)
    x = np.mean([input_sqnr(name, bits, False, FREE)
                 - input_sqnr(name, bits, False) for name in LAYERS])
    theory = lost["normal, mean"][bits], lost["Laplace, mean"][bits]
    rows.append((bits, float(kernel), float(x), *theory))
columns = "kernels: decibels lost", "inputs", "theory: normal", "Laplace"
explore.Table(("bits", *columns), rows)

# %% tags=["remove-cell"]
# Quoted in the text
record(within=0.1, lost_normal={b: lost["normal, mean"][b] for b in (8, 4)})
record(within=0.1, worst_normal={b: lost["normal, worst"][b] for b in (8, 4)})
record(within=0.4, lost_kernel={row[0]: row[1] for row in rows if row[0] in (8, 4)})
record(within=0.6, lost_input={row[0]: row[2] for row in rows if row[0] in (8, 4)})
fewest = BITS[-1]
quote(fewest_bits=fewest, lost_normal_fewest=lost["normal, mean"][fewest], lost_kernel_fewest=rows[-1][1])
quote(lost_uniform={b: lost["uniform, mean"][b] for b in (8, 4)})

# %% [markdown]
# For normal values, powers of two lose {glue:text}`lost_normal_8:.1f` dB on average at 8 bits ({glue:text}`worst_normal_8:.1f` at worst),
# {glue:text}`lost_normal_4:.1f` at 4 bits and {glue:text}`lost_normal_fewest:.1f` at {glue:text}`fewest_bits`. The kernels of the network
# lose {glue:text}`lost_kernel_8:.1f`, {glue:text}`lost_kernel_4:.1f` and {glue:text}`lost_kernel_fewest:.1f`, about as much as uniform
# values ({glue:text}`lost_uniform_8:.1f` and {glue:text}`lost_uniform_4:.1f` at 8 and 4 bits), because the few weights of a filter have
# short tails. A shift-only device therefore loses less than half a bit of its kernels, and it loses most where there are many bits.
#
# (five-ways)=
# ## Five ways
#
# We now measure the accuracy. All kernels and all inputs of the network get the same number of bits; biases and logits stay in float. The
# five ways differ by one freedom each.

# %%
WAYS = {  # signed inputs, candidates per octave, a scale per filter
    "signed, powers of two, per layer": (True, POWERS, False),
    "unsigned, powers of two, per layer": (False, POWERS, False),
    "unsigned, powers of two, per filter": (False, POWERS, True),
    "unsigned, free, per layer": (False, FREE, False),
    "unsigned, free, per filter": (False, FREE, True),
}

# %% [markdown]
# We test all five with two rules for the range: the least squared error, and the maximum, which is the default of converters. With the
# maximum, the largest value gets the largest code, or, with powers of two, the next wider scale is used:


# %%
def widest(values, nbits, signed, per_octave):
    """Return the finest scales that clip nothing, one per column."""
    highest = 2 ** (nbits - signed) - 1
    scale = np.maximum(np.abs(values).max(0), 1e-9) / highest
    if per_octave == POWERS:
        scale = 2.0 ** np.ceil(np.log2(scale))
    return Affine(scale, 0, -highest if signed else 0, highest)


RULES = {"least error": fit, "maximum": widest}

# %%
twin = keras.models.clone_model(model)
twin.set_weights(model.get_weights())


# %%
def logits(kernels, inputs):
    """Return the logits of the test digits with these quantizers."""
    x = test[0]
    for layer in twin.layers[1:]:
        name = layer.name
        if name in inputs:
            w = rounded(observed[name].kernel, kernels[name])
            layer.kernel.assign(w)
            x = rounded(x, inputs[name])
        x = array(layer(x))
    return x


# %%
def quantizers(nbits, way, rule="least error"):
    """Return the quantizers of all kernels and of all inputs."""
    signed, per_octave, per_filter = WAYS[way]
    chosen = RULES[rule]
    return (
        {n: kernel_quantizer(n, nbits, per_octave, per_filter, chosen)
         for n in LAYERS},
        {n: input_quantizer(n, nbits, signed, per_octave, chosen)
         for n in LAYERS},
    )


# %%
answers = {
    (rule, way, bits): logits(*quantizers(bits, way, rule))
    for rule in RULES for way in WAYS for bits in BITS
}
right = {key: Share.of(y.argmax(-1) == test[1])
         for key, y in answers.items()}
in_float = model.predict_on_batch(test[0])
float_share = Share.of(in_float.argmax(-1) == test[1])
noise = {key: measured_sqnr(in_float, y) for key, y in answers.items()}

# %% tags=["hide-input"]
# Accuracy and SQNR of the five ways, with either rule
MEASURED = {"accuracy": (right, explore.ACCURACY), "SQNR of the logits in dB": (noise, {"range": [0, 60], "tickformat": ""})}


def ways_at(ranges, measured):
    """Return the accuracy of the five ways with intervals, or the SQNR of their logits."""
    found, axis = MEASURED[measured]
    series = {way: {str(b): found[ranges, way, b] for b in sorted(BITS)} for way in WAYS}
    readings = {f"{way}, {b} bits": plots.text(values[str(b)]) for way, values in series.items() for b in sorted(BITS)[:2]}
    return series, {"accuracy of float": str(float_share)} | readings, {"yaxis": {"title": {"text": measured}, **axis}}


explore.adjustable_lines(
    ways_at, {"ranges": tuple(RULES), "measured": tuple(MEASURED)}, {"ranges": "least error", "measured": "accuracy"}, "8.6",
    f"Kernels and inputs of few bits, nothing trained. {len(test[1])} test digits, the same for all; 95 % intervals (quick).",
    "Lines over the bits, one per way: all hold at 8 to 5 bits; at 3 bits signed codes are far below the others.",
    x="bits of kernels and inputs", y="accuracy", xaxis={"type": "category"}, height=480, modes=("lines+markers",),
    colours=(plots.GREY, plots.BLUE, plots.BLUE, plots.ORANGE, plots.ORANGE), dashes=("solid", "dot", "solid", "dot", "solid"),
).show()

# %% [markdown]
# What is each freedom worth? We classify the same digits with and without it, and the intervals are paired:

# %%
SIGNED, PLAIN, FILTERS, FREE_ONE, FREE_EACH = WAYS
FREEDOMS = {
    "no sign": (PLAIN, SIGNED),
    "a scale per filter": (FILTERS, PLAIN),
    "free scales, per layer": (FREE_ONE, PLAIN),
    "free scales, per filter": (FREE_EACH, FILTERS),
}


def points(rule, freedom, bits):
    """Return what a freedom adds to the accuracy."""
    more, less = FREEDOMS[freedom]
    return right[rule, more, bits] - right[rule, less, bits]


# %%
rows = [(rule, name, *(points(rule, name, bits).points for bits in BITS))
        for rule in RULES for name in FREEDOMS]
heads = [f"{bits} bits" for bits in BITS]
explore.Table(("ranges", "freedom", *heads), rows)

# %% [markdown]
# Where the accuracy is saturated, the SQNR of the logits still distinguishes the ways:


# %%
def decibels(rule, freedom, bits):
    more, less = FREEDOMS[freedom]
    return noise[rule, more, bits] - noise[rule, less, bits]


rows = [(rule, name, *(f"{decibels(rule, name, b):+.1f} dB" for b in BITS))
        for rule in RULES for name in FREEDOMS]
explore.Table(("ranges", "freedom", *heads), rows)

# %% tags=["remove-cell"]
# Quoted in the text
KEYS = dict(zip(FREEDOMS, ("sign", "filter", "free", "free_each")))
RULE_KEYS = {"least error": "error", "maximum": "max"}
record(within=0.03, float_share=float_share)
record(within={"smoke": 0.12, "quick": 0.05}, at_4={
    f"{RULE_KEYS[rule]}_{key}": right[rule, way, 4]
    for rule in RULES for key, way in (("signed", SIGNED), ("free_each", FREE_EACH))})
record(within=1.5, logits_4={f"{RULE_KEYS[rule]}_{KEYS[f]}": noise[rule, FREEDOMS[f][0], 4] for rule in RULES for f in FREEDOMS})
EACH = "free scales, per filter"
for rule, word in RULE_KEYS.items():
    quote(**{f"few_{word}": {KEYS[f]: points(rule, f, fewest).points for f in FREEDOMS if f != "free scales, per layer"}})
    quote(**{f"four_{word}_free_each": points(rule, EACH, 4).points})
    quote(**{f"db_{word}_free_each": float(np.mean([decibels(rule, EACH, b) for b in BITS]))})
quote(sign_pays=verdict(*(points(rule, "no sign", fewest) for rule in RULES)))
quote(free_pays=verdict(*(points(rule, EACH, fewest) for rule in RULES)))
quote(digits=len(test[1]), worst_from_5=100 * max((float_share - share).mean for (_, _, b), share in right.items() if b > 4))
quote(rules_db_4=noise["maximum", FREE_EACH, 4] - noise["least error", FREE_EACH, 4])

# %% [markdown]
# At 8 to 5 bits no way loses more than {glue:text}`worst_from_5:.1f` points, so these bits decide little. At 4 bits free scales add
# {glue:text}`four_error_free_each` to powers of two with a scale per filter, or {glue:text}`four_max_free_each` if ranges reach the
# maximum. At {glue:text}`fewest_bits` bits and ranges of least error, unsigned codes add {glue:text}`few_error_sign`, a scale per filter
# adds {glue:text}`few_error_filter`, and free scales on top of it add {glue:text}`few_error_free_each`. With ranges of the maximum the
# gains are {glue:text}`few_max_sign`, {glue:text}`few_max_filter` and {glue:text}`few_max_free_each`.
#
# - That unsigned codes pay at {glue:text}`fewest_bits` bits, with either rule, is **{glue:text}`sign_pays`**. They cost almost nothing.
# - That free scales pay there, on top of a scale per filter, is **{glue:text}`free_pays`**. Averaged over the bits they add
#   {glue:text}`db_error_free_each:.1f` dB to the logits with ranges of least error, and {glue:text}`db_max_free_each:.1f` dB with the
#   maximum, where powers of two must take the wider scale.
# - *The least error of each layer is not the least error of the network.* At 4 bits with free scales, the maximum has
#   {glue:text}`rules_db_4:+.1f` dB in the logits against least error, although nearly every layer by itself is better with least error
#   (exercise 5). Chapter 7 has shown the same: a rule that looks at one layer clips too much.
#
# These results are for one network and {glue:text}`digits` digits, without training.
#
# ### On photographs
#
# We ask the same question for SqueezeNet v1.1 and photographs with the labels of ImageNet (*reference* results). The formats of our library
# limit it to powers of two. Kernels, inputs and outputs have the same bits:

# %%
study = reference.load_study("photographs")
MIXED = ("mse", 99.99, 99.99)  # only kernels by least error
RULED = {
    "per layer, least error": {"percentile": "mse"},
    "per filter, kernels by error, others 99.99 %": {
        "percentile": MIXED, "per_channel": True},
}
schemes = {
    (name, word, b): Scheme(bits=(b, b, b), signed=signed, **rule)
    for name, rule in RULED.items() for word, signed in SIGNS.items()
    for b in (8, 6, 5, 4)
}

# %%
rows = [(name, word, *(study.under_float(schemes[name, word, b])
                       for b in (8, 6, 5, 4)))
        for name in RULED for word in SIGNS]
heads = [f"{b}-{b}-{b}: points under float" for b in (8, 6, 5, 4)]
explore.Table(("scales", "activations", *heads), rows, note=study.made_with)

# %% tags=["remove-cell"]
# Quoted in the text
for key, rule in zip(("layer", "filter"), RULED):
    unsigned = {b: study.gain(schemes[rule, "unsigned", b], schemes[rule, "signed", b]) for b in (6, 5, 4)}
    quote(**{f"photo_{key}": {b: gain.points for b, gain in unsigned.items()}})
quote(photographs=f"{study.images:,}")

# %% [markdown]
# Unsigned activations add {glue:text}`photo_layer_6` at 6-6-6, {glue:text}`photo_layer_5` at 5-5-5 and {glue:text}`photo_layer_4` at 4-4-4 to
# formats per layer, and {glue:text}`photo_filter_6`, {glue:text}`photo_filter_5` and {glue:text}`photo_filter_4` to formats per filter, on
# {glue:text}`photographs` photographs.
#
# (what-a-shift-saves)=
# ## What a shift saves
#
# A sum of products is a code with the scale $s_w s_x$. The output has the scale $s_y$. The sum must be *requantized*: multiplied by
# $M = s_w s_x / s_y$, rounded, clipped. With powers of two, $M = 2^{-k}$, and a rounded shift is enough. With free scales $M$ is any
# number, usually below 1, and a device without floats needs an integer multiplier {cite:p}`jacob2018`: $M \approx m \cdot 2^{-k}$ with $m$
# of 31 bits.


# %%
def multiplier(factor):
    """Return m of 31 bits and k with m * 2**-k next to `factor`."""
    mantissa, exponent = np.frexp(factor)  # mantissa from 0.5 to 1
    m = np.round(mantissa * 2**31).astype("int64")
    return m, 31 - exponent.astype("int64")


def requantize(sums, m, k):
    """Return sums * m * 2**-k, rounded to nearest, halves up."""
    return (sums * m + (1 << (k - 1))) >> k


# %% [markdown]
# Is this exact? A float64 factor is a fraction, so Python's integers, which have unlimited length, give the exact rounded product:

# %%
N = 20_000 if SMOKE else 200_000
sums = rng.integers(-(2**19), 2**19, N)
factors = 2.0 ** rng.uniform(-13, -11, N)  # to codes of 8 bits


def exactly(total, factor):
    top, bottom = float(factor).as_integer_ratio()
    return (2 * int(total) * top + bottom) // (2 * bottom)


exact = np.array([exactly(*pair) for pair in zip(sums, factors)])
ours = requantize(sums, *multiplier(factors))
wrong = int((ours != exact).sum())
print(wrong, "of", N, "requantized sums differ from the exact product")

# %% [markdown]
# 31 bits are as good as exact. The original implementation in TFLite (gemmlowp) keeps only the rounded upper half of the 64-bit product,
# then shifts it and rounds again. Two roundings are not equal to one:


# %%
def twice(sums, m, k):
    """Return the same, rounded at bit 31 first and then to integers."""
    high = (sums * m + (1 << 30)) >> 31
    rest = k - 31
    return np.sign(high) * ((np.abs(high) + (1 << (rest - 1))) >> rest)


again = twice(sums, *multiplier(factors))
double = int((again != ours).sum())
print(double, "of", N, "differ, by at most", np.abs(again - ours).max())

# %% [markdown]
# The second rounding goes wrong where the first one lands on a half: {glue:text}`rounded_twice:.0f` of {glue:text}`requantized` times, by one
# step. This is rare, but it explains why two runtimes can give different results for one file. A device that shifts rounds only once, so
# this difference cannot occur.
#
# What does the multiplication cost? It happens once per *output*, not once per product:

# %%
rows = []
for name, shape, classes in (
    ("alexnet_small", digits.image_shape, 10),
    ("squeezenet_v1_1", (227, 227, 3), 1000),
    ("mobilenet_v1", (128, 128, 3), 1000),
):
    network = zoo.build(name, shape, classes)
    table = [row for row in costs.cost_table(network) if row.macs]
    macs = sum(row.macs for row in table)
    outputs = sum(row.activations for row in table)
    part = outputs * costs.multiplication(32, 32)
    part /= macs * costs.mac(8, 8) + part
    rows.append((name, macs / outputs, f"{part:.1%}"))

# %%
columns = "network", "products per output", "energy of its arithmetic"
explore.Table(columns, rows, note="Estimated from horowitz2014: "
    "multiplications of 32 bits, over all products and sums at 8 bits.")

# %% tags=["remove-cell"]
# Quoted in the text
record(requantized_wrong=wrong)
record(within=10.0, rounded_twice=float(double))
quote(requantized=f"{N:,}")
quote(multiplier_share={row[0].split("_")[0]: row[2] for row in rows})

# %% [markdown]
# The multiplier takes {glue:text}`multiplier_share_squeezenet` of the arithmetic's energy in SqueezeNet and
# {glue:text}`multiplier_share_mobilenet` in MobileNet, whose depthwise layers have nine products per output. (Estimated from figures for
# 45 nm {cite:p}`horowitz2014`.) Energy is therefore not the strongest reason for shifts. Stronger reasons are hardware without a 32-bit
# multiplier, one well-defined rounding, and additions of branches whose scales differ by a shift.
#
# ## Ranges that are learned
#
# *For a second reading.*
#
# Chapters 3 and 7 chose ranges by a percentile, by least squared error, by divergence and by search. In training, the threshold $t$ of a
# range can be a parameter as well, and gradient descent finds it. What is the gradient? Take unsigned codes up to $c = 2^n - 1$, so that
# the step is $s = t / c$:
#
# $$Q(x) = s \cdot \mathrm{clip}(\mathrm{round}(x / s),\, 0,\, c).$$
#
# Rounding counts as the identity, as for weights (straight-through estimator, chapter 1). Then, inside the range, $\partial Q / \partial s =
# \mathrm{round}(x/s) - x/s$, and where $x$ is clipped, it is $c$. Per octave of the threshold ($\partial / \partial \log_2 t$, a factor of
# $s \ln 2$) this is $\ln 2$ times
#
# - $Q(x) - x$, the rounding error, inside;
# - $t$ where $x$ is clipped.
#
# Three methods in use differ only slightly:
#
# | method | parameter | inside the range | clipped |
# |---|---|---|---|
# | PACT {cite:p}`choi2018` | $t$ | 0: rounding is ignored | $t$ |
# | LSQ {cite:p}`esser2020` | the step $s$ | $Q(x) - x$ | $t$ |
# | TQT {cite:p}`jain2020` | $\log_2 t$; the range ends at the next power of two | $Q(x) - x$ | $t$ |
#
# In one dimension, with the squared error as the loss:


# %%
def slopes(x, log_t, nbits):
    """Return the slope of the mean squared error per octave."""
    found, c = {}, 2**nbits - 1
    for method in ("PACT", "LSQ", "TQT"):
        t = 2.0**log_t
        if method == "TQT":  # the step is a power of two
            t = 2.0 ** np.ceil(log_t) * c / 2**nbits
        k = np.round(x / t * c)
        q = np.minimum(k, c) * t / c
        inside = 0.0 if method == "PACT" else q - x
        moves = np.log(2) * np.where(k <= c, inside, t)
        found[method] = float(np.mean(2 * (q - x) * moves))
    return found


# %%
p = (np.arange(20_000) + 0.5) / 20_000
x = -np.log(1 - p)  # like the outputs of a ReLU


def squared_error(log_t, nbits):
    q = Affine(2.0**log_t / (2**nbits - 1), 0, 0, 2**nbits - 1)
    return float(np.mean(np.square(q.values(q.codes(x)) - x)))


def numerical_slope(log_t, nbits, h=1 / 8):
    ends = (squared_error(log_t + e, nbits) for e in (h, -h))
    return (next(ends) - next(ends)) / (2 * h)


# %%
LEARNED_BITS = (2, 4) if SMOKE else (2, 3, 4, 6)
T = np.arange(-0.5, 4.01, 0.25 if SMOKE else 1 / 16)
slope_curves = {b: [slopes(x, t, b) for t in T] for b in LEARNED_BITS}
numerical = {b: [numerical_slope(t, b) for t in T] for b in LEARNED_BITS}
errors = {b: [squared_error(t, b) for t in T] for b in LEARNED_BITS}


def zero_of(values):
    """Return where a curve first crosses zero from below, or None."""
    for i, (low, high) in enumerate(zip(values, values[1:])):
        if low < 0 <= high:
            return float(T[i] + (T[i + 1] - T[i]) * low / (low - high))
    return None


# %% tags=["hide-input"]
# The slope of the error over the threshold, by method
def slopes_at(bits):
    """Return the three slopes and finite differences of the error, and where they are 0."""
    shown = {method: [point[method] for point in slope_curves[bits]] for method in ("PACT", "LSQ", "TQT")}
    shown["finite differences of the error"] = numerical[bits]
    least, zeros = T[int(np.argmin(errors[bits]))], {method: zero_of(curve) for method, curve in [*shown.items()][:3]}
    readings = {"threshold of least error": f"{2**least:.2f}"}
    readings |= {f"{m}: slope 0 at": "nowhere" if zero is None else f"{2**zero:.2f}" for m, zero in zeros.items()}
    top = 3 * max(abs(np.array(shown["LSQ"])[T > least]))
    axis = {"title": {"text": "slope of the squared error, per octave"}, "range": [-top, top]}
    return {name: dict(zip(T.tolist(), curve)) for name, curve in shown.items()}, readings, {"yaxis": axis}


explore.adjustable_lines(
    slopes_at, {"bits": LEARNED_BITS}, {"bits": 4}, "8.7",
    "The slope of the mean squared error over the threshold of an unsigned range; exponentially distributed values with mean 1. Where it is "
    "negative, descent widens the range.",
    "Four curves over the threshold: LSQ follows the finite differences through zero, PACT stays below zero, TQT is a staircase.",
    x="log2 of the threshold", y="slope of the squared error, per octave", height=430,
    colours=(plots.GREEN, plots.BLUE, plots.ORANGE, plots.GREY), dashes=("dash", "solid", "solid", "dot"),
).show()

# %% [markdown]
# The library learns MSBs as TQT does. It computes the slope from the gradient at the rounded values and the gradient that passes to $x$:


# %%
def by_library(log_t, nbits=4):
    """Return the slope that the library computes."""
    fmt = FixedPoint(int(np.ceil(log_t)) - 1, nbits, signed=False)
    q = quantize(x, fmt, "nearest")
    comes = 2 * (q - x) / x.size
    passes = np.where(is_clipped(x, fmt, "nearest"), 0, comes)
    tensors = (ops.convert_to_tensor(v[np.newaxis])
               for v in (comes, q, passes, x))
    return float(range_gradient(ops.zeros(()), *tensors))


pairs = [(by_library(t), slopes(x, t, 4)["TQT"]) for t in T[::4]]
unequal = sum(not np.isclose(a, b, 1e-5) for a, b in pairs)
print(unequal, "of", len(pairs), "slopes differ from the library's")

# %% [markdown]
# For comparison, here are the rules of chapter 3 on the same values. Least error and least divergence (KL) choose among powers of two
# there; percentiles do not depend on the bits:

# %%
lsq = {b: zero_of([at["LSQ"] for at in slope_curves[b]]) for b in LEARNED_BITS}
least = {b: float(T[np.argmin(errors[b])]) for b in LEARNED_BITS}
rows = [(f"{p} % of the values", *[percentile_limits(x, p)[1]] * len(least))
        for p in (99.0, 99.9, 100.0)]
for name, rule in (("error", msb_of_least_error),
                   ("divergence", msb_of_least_divergence)):
    msbs = (rule(x, b, signed=False) for b in LEARNED_BITS)
    ends = (2.0 ** (msb + 1) for msb in msbs)
    rows.append((f"least {name}, power of two", *ends))
for name, found in (("least error, free", least), ("LSQ: slope 0", lsq)):
    rows.append((name, *(2**log_t for log_t in found.values())))
heads = [f"{bits} bits: threshold" for bits in LEARNED_BITS]
explore.Table(("rule", *heads), rows)

# %% tags=["remove-cell"]
# Quoted in the text
record(library_slopes_differing=unequal)
record(within=0.15, lsq_zero_4=2 ** lsq[4], least_error_4=2 ** least[4])
record(within=0.15, lsq_apart=max(abs(lsq[b] - least[b]) for b in LEARNED_BITS))
record(pact_zeros_inside=sum(at["PACT"] >= 0 for b in LEARNED_BITS for t, at in zip(T, slope_curves[b]) if 2**t * (1 + 0.5 / (2**b - 1)) < x.max()))

# %% [markdown]
# The results show four things. **The best threshold depends on the bits**, so no percentile can be right for all of them. **LSQ follows the
# finite differences**: on average over many values, the straight-through gradient is nearly the true one. Its slope vanishes where the error
# is least (at 4 bits at {glue:text}`lsq_zero_4:.1f`, least error at {glue:text}`least_error_4:.1f`; at all bits within
# {glue:text}`lsq_apart:.2f` octaves). **PACT never reverses**: it sees only the cost of clipping, so it widens the range until nothing is
# clipped. Its authors add a penalty $\lambda t^2$ to the loss, and then $\lambda$ decides. **TQT is a staircase**: all thresholds of an
# octave have one range. In the end it oscillates around a power of two, and training has to freeze it there.
#
# Descent, with steps of about a twentieth of an octave:


# %%
def descend(method, log_t, nbits=4, penalty=0.0, steps=200):
    """Return the threshold after each step; slopes are normalized."""
    path, square = {}, 1e-12
    for step in range(steps):
        path[step] = 2.0**log_t
        slope = slopes(x, log_t, nbits)[method]
        slope += penalty * 2 * np.log(2) * 4.0**log_t
        square = 0.9 * square + 0.1 * slope**2
        log_t -= 0.05 * slope / np.sqrt(square)
    return path


# %%
STEPS = 40 if SMOKE else 200
paths = {
    "PACT": descend("PACT", 1.0, steps=STEPS),
    "PACT, penalty 0.0003": descend("PACT", 1.0, 4, 0.0003, STEPS),
    "PACT, penalty 0.003": descend("PACT", 1.0, 4, 0.003, STEPS),
    "LSQ": descend("LSQ", 1.0, steps=STEPS),
    "TQT": descend("TQT", 1.2, steps=STEPS),
}

# %% tags=["hide-input"]
# How thresholds move
explore.lines(
    paths, "8.8",
    "Thresholds during descent on the squared error, 4 bits, exponentially distributed values with mean 1. The line of TQT is its own "
    "parameter; its range is the next power of two.",
    "Lines over the steps: PACT grows until nothing is clipped, with penalties it ends at different places, LSQ settles, TQT swings at a power of two.",
    x="step", y="threshold", mode="lines", height=430, levels={"least error": 2 ** least[4]},
    colours=(plots.GREEN, plots.GREEN, plots.GREEN, plots.BLUE, plots.ORANGE), dashes=("solid", "dash", "dot", "solid", "solid"),
    table=explore.Table(("step", *paths), [(i, *(path[i] for path in paths.values())) for i in range(0, STEPS, 20)]),
)

# %% tags=["remove-cell"]
# Quoted in the text
path_ends = dict(zip(("pact", "pact_small", "pact_large", "lsq"), (path[STEPS - 1] for path in paths.values())))
record(within=0.3, ends=path_ends)
quote(steps=STEPS, largest_value=x.max())

# %% [markdown]
# PACT is at {glue:text}`ends_pact:.1f` after {glue:text}`steps` steps without a penalty and at {glue:text}`ends_pact_small:.1f` and
# {glue:text}`ends_pact_large:.1f` with two penalties; the largest value is {glue:text}`largest_value:.1f`. LSQ is at
# {glue:text}`ends_lsq:.1f`, least error at {glue:text}`least_error_4:.1f`.
#
# In a network the loss is that of the classification, not the squared error of one layer. The formulas are the same, but the gradient
# from the following layers takes the place of $2 (Q(x) - x)$. [Chapter 10](10-few-bits) measures the effect in training.
#
# ## Read a specification
#
# We now return to the file. TensorFlow's converter writes the float network in int8, and calibrates scales and zero points on the 64
# images. We compare it with our own file of the same network, with the powers of two of this chapter: 8 bits, inputs unsigned, a scale per
# filter. The library's `formats_for` should choose the same formats, because it uses unsigned ones wherever no value is negative:

# %%
theirs = to_litert(model, "int8", few)


def power_format(q):
    """Return the format of a quantizer whose scales are powers of two."""
    msbs = np.log2(q.scale).astype(int).ravel() + 7
    signed = q.lowest < 0
    found = tuple(FixedPoint(int(msb), 8, signed) for msb in msbs)
    return found if len(found) > 1 else found[0]


# %%
kernels, inputs = quantizers(8, FILTERS)
last = fit(observed["fc8"].output.reshape(-1, 1), 8, True, POWERS)
ends = [*(inputs[name] for name in LAYERS[1:]), last]
formats = {
    name: Formats(*map(power_format, (kernels[name], inputs[name], end)))
    for name, end in zip(LAYERS, ends)
}
by_rule = formats_for(model, few, 8, "mse", per_channel=True)
alike = sum(formats[n].kernel == by_rule[n].kernel
            and formats[n].input == by_rule[n].input for n in LAYERS)
print("formats_for chooses these kernels and inputs in", alike, "layers of",
      len(LAYERS))

# %%
network = quantize_model(model, formats, rounding="nearest")
ours = to_litert(network, "int8")

# %%
runner = LiteRTRunner(ours)
from_file = np.stack([runner.run(image) for image in few])
unlike = int((from_file != network.predict_on_batch(few)).sum())
print(unlike, "logits of our file differ from the simulation")

# %%
class Line(NamedTuple):
    """What a file says of the codes of a tensor."""

    type: str
    scale: np.ndarray
    zero: np.ndarray
    axis: int
    index: int = 0


# %%
def place_of(tensor):
    """Return layer and kind of a tensor of this network."""
    shape = tensor["shape"]
    named = re.findall(r"(?:conv|fc)\d", tensor["name"])
    kernel = "kernel" if len(shape) > 1 and shape[0] > 1 else "output"
    kind = "bias" if tensor["dtype"] is np.int32 else kernel
    return named[0] if named else "fc8" if shape[-1] == 10 else "image", kind


# %%
def tflite_lines(content):
    """Return (layer, kind) -> Line for the first tensor of each."""
    file, found = litert_interpreter(content), {}
    file.allocate_tensors()
    for tensor in file.get_tensor_details():
        said = tensor["quantization_parameters"]
        if len(said["scales"]):
            found.setdefault(place_of(tensor), Line(
                tensor["dtype"].__name__, said["scales"].astype(float),
                said["zero_points"], said["quantized_dimension"],
                tensor["index"]))
    return found


# %%
their_lines, our_lines = tflite_lines(theirs), tflite_lines(ours)

# %% tags=["hide-input"]
# The contents of both files as a table
def scales(line, form="{:.3g}".format):
    """Return the scales of a line as text: one, or the range of many."""
    return " to ".join(dict.fromkeys(form(end) for end in (line.scale.min(), line.scale.max())))


def zeros(line):
    return ", ".join(map(str, sorted(set(map(int, np.ravel(line.zero))))))


def axis(line):
    return f"{line.axis} ({line.scale.size} scales)" if line.scale.size > 1 else "-"


rows = []
for key in (("image", "output"), *((n, w) for n in ("conv1", "fc7", "fc8") for w in ("kernel", "bias", "output"))):
    line, own = their_lines[key], our_lines[key]
    powers = scales(own, lambda scale: f"2^{int(np.log2(scale))}")
    rows.append((*key, line.type, scales(line, "{:.4g}".format), zeros(line), axis(line), powers, zeros(own)))
heads = "layer", "tensor", "type", "TensorFlow: scale", "zero point", "quantized_dimension", "ours: scale", "zero point"
explore.Table(heads, rows)

# %% tags=["remove-cell"]
# Quoted in the text
free_kernel = their_lines["conv1", "kernel"]
relative = their_lines["conv1", "bias"].scale / (their_lines["image", "output"].scale * free_kernel.scale)
record(their_kernel_zeros=zeros(free_kernel), our_logits_differing=unlike, formats_alike=alike, conv1_scales=free_kernel.scale.size)
record(within=1e-4, bias_scale_over_product=float(relative.max()))
quote(image_scale=float(their_lines["image", "output"].scale[0]), image_zero=zeros(their_lines["image", "output"]))
quote(logits_zero=zeros(their_lines["fc8", "output"]))

# %% [markdown]
# Line by line:
#
# - **image**: the network first turns floats into codes. Scale {glue:text}`image_scale:.5f` and zero point {glue:text}`image_zero` mean that
#   codes -128 to 127 stand for 0 to {glue:text}`image_reach:.2f`. This is an unsigned range, stored as int8.
# - **kernel**: `quantized_dimension` 0 is the *axis* whose entries each have a scale: the first, the filters, in TFLite's order of axes. All
#   zero points are {glue:text}`their_kernel_zeros`: *symmetric* weights, which need no sum of the inputs. The specification
#   {cite:p}`litert2024` restricts codes to -127 to 127, so that positive and negative weights have the same range.
# - **bias**: int32, zero point 0, and a fixed scale per filter: the scale of the input times that of the kernel,
#   because the bias starts the accumulator.
# - **output** of a layer with a ReLU: zero point -128. No separate ReLU remains: codes cannot go below -128, which stands for 0.
# - **output** of the last layer: no ReLU, so values have both signs, and the zero point {glue:text}`logits_zero` splits the codes unevenly.
#
# Our file has the same fields. Its scales are powers of two, and the zero points 0 and -128 are those of signed and unsigned codes. But one
# line is outside the specification:

# %%
def lowest_codes(content, lines):
    """Count weights that have the code -128."""
    file = litert_interpreter(content)
    file.allocate_tensors()
    return sum(int((file.get_tensor(line.index) == -128).sum())
               for (_, what), line in lines.items() if what == "kernel")


lowest = {"theirs": lowest_codes(theirs, their_lines),
          "ours": lowest_codes(ours, our_lines)}
print("weights with the code -128:", lowest)

# %% tags=["remove-cell"]
# Quoted in the text
record(lowest=lowest)

# %% [markdown]
# A signed format has the code -128, and {glue:text}`lowest_ours` of our weights use it. LiteRT computes with it as with any other code, as
# the equal logits show, but a device that follows the specification need not support it.
#
# If this interpretation is correct, the file's numbers are enough to compute a layer. We compute fc8, from codes to codes, in integers:


# %%
def dense_layer(trace, zero):
    """Return the codes of a dense layer, from its input codes."""
    kernel = trace.kernels["given"]
    sums = trace.inputs[:, 0, 0] @ kernel.columns + kernel.bias
    m, k = multiplier(trace.input_step * kernel.steps / trace.output_step)
    codes = requantize(sums.astype("int64"), m, k)
    return np.clip(codes, -128 - zero, 127 - zero)


# %%
def check_fc8(content, lines):
    """Count codes of fc8 that our integers do not reproduce."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "network.tflite")
        path.write_bytes(content)
        *_, fc8 = litert_traces(path, model, test[0])
    ours = dense_layer(fc8, int(lines["fc8", "output"].zero[0]))
    return int((ours != fc8.codes[:, 0, 0]).sum()), ours.size


by_hand = {"theirs": check_fc8(theirs, their_lines),
           "ours": check_fc8(ours, our_lines)}
for name, (differing, codes) in by_hand.items():
    print(f"{name}: {differing} of {codes} codes differ")

# %% [markdown]
# ### The same in ONNX
#
# *For a second reading.*
#
# An ONNX file expresses the same with nodes. `QuantizeLinear` takes floats, a scale and a zero point, and returns codes; `DequantizeLinear`
# turns codes back into floats. The operators of the float network lie between the two, and a runtime fuses each group into one operation
# on integers. This format is called *QDQ*. The type of the zero point is the type of the codes, the shape of the scale shows whether there
# is one scale or one per channel, and the attribute `axis` names the axis. ONNX Runtime's own quantizer makes such a file from our float
# export:

# %%
class Images(tool.CalibrationDataReader):
    """The 64 images, one after another."""

    def __init__(self):
        self.images = iter(few)

    def get_next(self):
        image = next(self.images, None)
        return None if image is None else {"image": image[np.newaxis]}


# %%
def quantized_onnx(proto):
    """Return the QDQ file that ONNX Runtime makes from a float file."""
    with TemporaryDirectory() as folder:
        path = str(Path(folder, "float.onnx"))
        target = str(Path(folder, "int8.onnx"))
        onnx.save(proto, path)
        logging.disable()  # it recommends a preparation
        tool.quantize_static(path, target, Images(), per_channel=True,
                             quant_format=tool.QuantFormat.QDQ)
        logging.disable(logging.NOTSET)
        return onnx.load(target)


# %%
def onnx_lines(proto, nodes):
    """Return (node, its input, Line) for the first nodes."""
    constants = {c.name: to_array(c) for c in proto.graph.initializer}
    made_by = {name: n for n in proto.graph.node for name in n.output}
    computing = [n for n in proto.graph.node if n.op_type in COMPUTING]
    for node in computing[:nodes]:
        for read in (made_by[name] for name in node.input):
            scale, zero = (constants[n] for n in read.input[1:3])
            axes = [a.i for a in read.attribute if a.name == "axis"]
            values = constants.get(read.input[0])
            yield node.op_type, (
                "output before it" if values is None
                else f"constant {values.shape}"), Line(
                zero.dtype.name, np.ravel(scale), zero, *axes or [0])


# %%
COMPUTING = "Conv", "Add", "Gemm", "MatMul"


def shown(lines):
    rows = [(node, what, line.type, scales(line), zeros(line), axis(line))
            for node, what, line in lines]
    heads = "node", "reads", "type", "scale", "zero point", "axis"
    return explore.Table(heads, rows)


float_onnx = to_onnx(model)
apart = quantized_onnx(float_onnx)
apart_lines = list(onnx_lines(apart, 2))
shown(apart_lines)

# %% [markdown]
# Compare this with the TFLite file. The kernel is the same: int8, zero point 0, one scale per filter. But the bias is int8, with its own
# scale and zero point. There is also an extra line: the sum of products is rounded to 8 bits *before* the bias is
# added. The reason is our export. It writes the bias as a separate `Add`, which is the same in float, but the tool quantizes
# everything between nodes. We therefore make each bias the third input of its convolution, and quantize again:

# %%
def with_biases_inside(proto):
    """Return a copy in which each Add of a bias is part of its product."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    made_by = {n.output[0]: n for n in copy.graph.node}
    biases = {c.name: c for c in copy.graph.initializer}
    for node in [n for n in copy.graph.node if n.op_type == "Add"]:
        product, bias = made_by[node.input[0]], biases[node.input[1]]
        bias.CopyFrom(from_array(np.ravel(to_array(bias)), bias.name))
        product.op_type = product.op_type.replace("MatMul", "Gemm")
        product.input.append(bias.name)
        product.output[0] = node.output[0]
        copy.graph.node.remove(node)
    return copy


# %%
inside = quantized_onnx(with_biases_inside(float_onnx))
inside_lines = list(onnx_lines(inside, 1))
shown(inside_lines)

# %% [markdown]
# Now the bias is int32, with the zero point 0 and the scale of the products, as in TFLite. How much does this gain? Here are the logits of
# all files on the test digits, against float. One more file by TensorFlow's converter is calibrated on all training images, not on 64:

# %%
train, _ = digits.arrays("train", 200 if SMOKE else None)
runners = {
    "TFLite, TensorFlow's": LiteRTRunner(theirs),
    "TFLite, TensorFlow's, all training images": LiteRTRunner(
        to_litert(model, "int8", train)),
    "TFLite, ours, powers of two": LiteRTRunner(ours),
    "ONNX, biases apart": ONNXRunner(apart.SerializeToString()),
    "ONNX, biases inside": ONNXRunner(inside.SerializeToString()),
}
file_logits = {name: np.stack([runner.run(image) for image in test[0]])
               for name, runner in runners.items()}

# %%
rows, overall, typical = [], {}, {}
for name, y in file_logits.items():
    overall[name] = measured_sqnr(in_float, y)
    typical[name] = float(np.median(list(map(measured_sqnr, in_float, y))))
    share = Share.of(y.argmax(-1) == test[1])
    rows.append((name, share, overall[name], typical[name]))
heads = "accuracy", "SQNR of all logits in dB", "median of the images"
explore.Table(("file", *heads), rows)

# %% tags=["remove-cell"]
# Quoted in the text
FILES = dict(zip(runners, ("tensorflow", "all_images", "ours", "apart", "inside")))
record(by_hand={name: differing for name, (differing, _) in by_hand.items()})
record(bias_type={"apart": apart_lines[-1][2].type, "inside": inside_lines[-1][2].type})
record(within=2.0, file_sqnr={FILES[name]: value for name, value in overall.items()})
record(within=1.0, file_median={FILES[name]: value for name, value in typical.items()})
quote(image_reach=255 * float(their_lines["image", "output"].scale[0]), training_images=f"{len(train):,}")
reach = 127 - int(their_lines["fc8", "output"].zero[0])
quote(logits_reach=reach * float(their_lines["fc8", "output"].scale[0]))
quote(logits_largest=float(in_float.max()))

# %% [markdown]
# In the median image, TensorFlow's file has {glue:text}`file_median_tensorflow:.1f` dB, ours with powers of two
# {glue:text}`file_median_ours:.1f`, and the ONNX file {glue:text}`file_median_apart:.1f` with biases apart and
# {glue:text}`file_median_inside:.1f` with biases inside. The accuracy does not distinguish these files; their lines do.
#
# A specification does not say everything. On processors without dot products of bytes (VNNI), ONNX Runtime by default adds pairs of
# products in 16 bits, which saturate. Our runner asks for exact sums (`session.x64quantprecision`); without them, the logits of both ONNX
# files are much worse there, and only there.
#
# Over all images together the order differs: {glue:text}`file_sqnr_tensorflow:.1f` dB for TensorFlow's file,
# {glue:text}`file_sqnr_ours:.1f` for ours, and {glue:text}`file_sqnr_all_images:.1f` for TensorFlow's with {glue:text}`training_images` images.
# The ranges of TensorFlow's file end exactly at the largest values of the 64 images. Its logits reach {glue:text}`logits_reach:.1f`, and one
# logit of the test digits is {glue:text}`logits_largest:.1f`, which is clipped. Powers of two leave room by accident. A tight range
# therefore needs many calibration images: a scale that fits well fits *those* images.
#
# | term in a specification | meaning |
# |---|---|
# | *affine*, *asymmetric* | a zero point that may be any code |
# | *symmetric* | zero point 0; for TFLite's weights also only the codes -127 to 127 |
# | *per tensor*, *per layer* | one scale and zero point for all values |
# | *per axis*, *per channel* | one for each entry of one axis; `quantized_dimension` in TFLite, `axis` in ONNX |
# | *uint8* and zero point $z$ | the same values as int8 and $z - 128$ |
# | *multiplier and shift* | $M = s_w s_x / s_y$ as an integer and a power of two |
# | *dynamic range*, *weight only* | weights are stored in integers; activations get their scales at run time, or stay in float |
# | *QDQ* | `QuantizeLinear` and `DequantizeLinear` around float operators; *QOperator*: one node computes on codes |
#
# ## What the thesis found
#
# None of the five works uses a zero point.

# %%
TOLD = (
    ("vieito2017", "signed, powers of two", "per layer or one for all",
     "percentile", "down"),
    ("backstrom2018", "signed, powers of two", "per layer and kind",
     "never clips", "nearest (Ristretto)"),
    ("chiang2017", "affine, explained only", "per set of numbers",
     "minimum and maximum", "-"),
    ("chernis, gaikwad2018", "float only", "-", "-", "-"),
    ("TFLite", "affine, weights symmetric", "weights per filter",
     "minimum and maximum", "nearest"),
)
explore.Table(("source", "codes", "scales", "ranges", "rounding"), TOLD)

# %% [markdown]
# The first thesis {cite:p}`vieito2017` simulates a hardware convolution engine {cite:p}`conti2015`, whose formats have an MSB and a number
# of bits. The second {cite:p}`backstrom2018` also gives the reason: numbers with different fractional lengths can be aligned by shifts
# (2.3.1). The third {cite:p}`chiang2017` describes the affine code of TensorFlow at that time in a paragraph, with the error that we
# corrected above, and leaves quantization for future work (5.2.1).
#
# **Why they differ.** They had different devices in mind: a phone has a 32-bit multiplier, a small convolution engine need not have one. At
# 8 bits the choice affects no digit here. The signed codes after a ReLU are different: both theses waste one bit of every activation
# after a ReLU, and unsigned codes recover it with almost no hardware.
#
# ## Summary
#
# - A code stands for scale times (code minus zero point). The zero point of an input goes into the bias; that of a kernel would cost a sum
#   of the inputs in each window, so it is 0.
# - Unsigned codes after a ReLU are worth nearly a whole bit ({glue:text}`sign_gain_4:.1f` dB of the inputs at 4 bits), at almost no cost.
# - A device that only shifts gives up {glue:text}`lost_kernel_8:.1f` dB of its kernels at 8 bits, where this affects no digit, and
#   {glue:text}`lost_kernel_fewest:.1f` dB at {glue:text}`fewest_bits`, where free scales add {glue:text}`few_error_free_each`. It saves one
#   multiplication per output, a few percent of the arithmetic's energy, and the hardware for it.
# - Ranges that fit 64 images tightly clip other images. Powers of two leave room.
# - The gradients of LSQ and TQT include rounding *and* clipping; PACT includes only clipping and needs a penalty.
#
# ## Two questions

# %% tags=["hide-input"]
# Values that remain after a ReLU
behind = np.linspace(0, 7.9, 1000)
signed, unsigned = (len(np.unique(quantize(behind, FixedPoint(3 - (not s), 4, signed=s), "nearest"))) for s in (True, False))
questions.ask(
    "Values after a ReLU reach almost 8 and get 4 bits. How many different values remain with signed codes, and how many with "
    "unsigned codes of the same range?",
    (f"{signed} and {unsigned}", "Half of the signed codes are negative and never occur. Unsigned codes all lie where the values are."),
    (f"{unsigned} and {unsigned}", "4 bits have this many codes. But negative codes never occur after a ReLU."),
    (f"{signed} and {signed}", "Without a sign the same bits have twice as many codes from zero up."),
    (f"{unsigned} and {2 * unsigned}", "4 bits have 16 codes. Unsigned codes lie elsewhere, but there are no more of them."),
)

# %% tags=["hide-input"]
# Why weights have no zero point
questions.ask(
    "Why do specifications let activations have a zero point, but fix that of weights at 0?",
    ("That of activations goes into the bias; that of weights costs a sum per window.", "The term of the input's zero point is known before any image. The kernel's multiplies inputs."),
    ("Weights are never negative.", "They lie on both sides of zero. For this reason a zero point would gain little."),
    ("An int8 kernel has no room for a zero point.", "It is one number per tensor or per filter, stored next to the codes."),
    ("A zero point of weights would change the padding.", "Padding adds inputs. It is the zero point of the input that must be an exact code."),
)

# %% [markdown]
# ## Exercises
#
# **1.** A TFLite file says: int8, scale 0.05, zero point -28. Which values do the codes -128, -28 and 127 stand for? Which code does 1.37
# get? Is the layer's activation a ReLU?
#
# ```{admonition} Solution
# :class: dropdown
# -5, 0 and 7.75. $1.37 / 0.05 = 27.4$, so the code is $27 - 28 = -1$. Values below zero have codes, so no ReLU has been fused into the layer.
# ```
#
# **2.** A convolution pads its input with zeros. A programmer pads the *codes* of an int8 input with 0, and the zero point is -128. What do
# the added pixels stand for?
#
# ```{admonition} Solution
# :class: dropdown
# They stand for $s (0 + 128)$, the middle of the range: a grey frame around every feature map. Codes must be padded with the zero point.
# ```
#
# **3.** Two branches are added. One has the scale $0.013$, the other $0.021$. What does a device with free scales have to do? What does a
# device with the scales $2^{-6}$ and $2^{-5}$ have to do?
#
# ```{admonition} Solution
# :class: dropdown
# Codes of different scales cannot be added. With free scales one branch, usually both, must be requantized by a multiplier. With powers of
# two the codes of the second are shifted left by one bit, and the sum is exact.
# ```
#
# **4.** A kernel has only positive weights. What does a zero point gain, and what does it cost? How can a 1x1 convolution avoid the cost of
# the sum over the inputs if another one has the same input?
#
# ```{admonition} Solution
# :class: dropdown
# It gains about one bit, as for inputs. It costs $z_w \sum k_x$ in each window. Layers with the same window can share the sum, and so
# can all filters of a layer.
# ```
#
# **5.** Which rule is better for each input *by itself*, at 4 bits with free scales? Which is better for the network ({figure}`8.6`)?

# %% tags=["hide-cell"]
# Least error against maximum, inputs at 4 bits, free scales
for name in LAYERS:
    x = judging[name].input
    both = [measured_sqnr(x, rounded(x, input_quantizer(name, 4, False, FREE, rule))) for rule in RULES.values()]
    print(f"{name}: least error {both[0]:.1f} dB, maximum {both[1]:.1f} dB")

# %% [markdown]
# **Lab.** Build the arithmetic of scale and zero point in integers, in `notebooks/labs/08-quantizers.py`
# ([all labs](../book/labs)).
#
# ## Run it on yours
#
# ```python
# from fewbits import formats_for, quantize_model
# from fewbits.deploy import to_litert
#
# formats = formats_for(model, images[:64], 8, "mse", per_channel=True)  # unsigned where no value is negative
# network = quantize_model(model, formats, rounding="nearest")
# content = to_litert(network, "int8")  # the codes and scales of the network
# ```
#
# ```shell
# fewbits formats network.keras --data photos --percentile mse --per-channel --save-model quantized.keras
# fewbits export quantized.keras --to litert --precision int8 --data photos --output network.tflite
# ```

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1 Fixed point and quantclip
#
# A trained weight fills 32 bits. How few can stand for it, and does it matter *how* the last ones are dropped?
#
# Here is the whole chapter on one network: it reads real handwritten digits, and we shall take its weights from
# 32 bits to a handful without training it again.
#
# ```{admonition} Predict first
# :class: tip
# Every weight of the network goes to **4 bits** between -1 and +1. In one copy each weight is rounded *down* to the
# next value, in the other to the *nearest* value. No weight moves by more than one step of 1/8 in either.
#
# Which share of the digits does each copy still read? Write two numbers down. The answer is in
# [Down or nearest](down-or-nearest).
# ```

# %% tags=["parameters", "hide-input"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
import numpy as np
import plotly.graph_objects as go

from fewbits import FixedPoint, data, explore, quantclip, quantize, to_codes
from fewbits.book import papers
from fewbits.explore import plots
from fewbits.backend import keras
from fewbits.book import record
from fewbits.quantization.sqnr import quantization_error
from fewbits.statistics import wilson_interval

keras.utils.set_random_seed(1)
rng = np.random.default_rng(1)
EPOCHS = {"smoke": 4, "quick": 30, "full": 30}[profile]

# %% [markdown]
# ## A number in two integers
#
# A fixed-point format is a ruler. Two integers make it: the most significant bit sets how far it reaches, the number
# of bits $n$ how many marks it has {cite:p}`vieito2017`:
#
# $$A = 2^{\mathrm{MSB}} \qquad q = \frac{2A}{2^{n}} = 2^{\mathrm{MSB}+1-n}$$
#
# The amplitude $A$ is the reach, the step $q$ the distance between marks. What is stored is not the value but the
# number of its mark, the *code* $k$, an integer of $n$ bits; the value is $k \cdot q$.

# %%
fmt = FixedPoint(msb=0, nbits=4)
print("amplitude", fmt.amplitude, "and step", fmt.step)
print("codes", fmt.min_code, "to", fmt.max_code)
print("values", np.arange(fmt.min_code, fmt.max_code + 1) * fmt.step)

# %% [markdown]
# Zero is a mark, so there is one mark more below it than above: the ruler ends at $-A$ on the left, but at $A - q$
# on the right. Keep that in mind.
#
# ## The quantizer
#
# To quantize is to pick a mark. Divide by the step, round, clip to the codes that exist, multiply back. With
# rounding down, as in the thesis:

# %%
def quantize_by_hand(x, msb, nbits):
    step = 2.0 ** (msb + 1 - nbits)
    lowest, highest = -(2 ** (nbits - 1)), 2 ** (nbits - 1) - 1
    codes = np.clip(np.floor(x / step), lowest, highest)
    return codes * step


x = rng.normal(0, 1, 1_000_000)
by_hand, by_library = quantize_by_hand(x, 0, 4), quantize(x, fmt, "floor")
differing = int((by_hand != by_library).sum())
print(differing, "of a million values differ")

# %% tags=["remove-cell"]
record(by_hand_differing=differing)

# %% [markdown]
# The step is a power of two, so division and multiplication only move the binary point: they lose nothing. All the
# loss is in the rounding and in the clipping. See both at work; everything outside the amplitude is flat, everything
# inside is a stair.

# %% tags=["hide-input"]
explore.staircase("1.1").show()

# %% [markdown]
# Try this: start at 3 bits and MSB 0. Raise the MSB by one: the reach doubles, and so does the step. Now add a bit:
# the step is back. *One bit buys one MSB.* Then choose `nearest` and watch the error: it no longer lies on one side
# of zero.
#
# ## One level too many
#
# Choose `thesis` and look at the count of levels. The operator printed in the thesis (Code 6) clips to $+A$ *before* it
# rounds down. Then $x \ge A$ lands on the mark $+A$, and that mark has no code.

# %%
wide = np.linspace(-3, 3, 600_001)
levels = {}
for n in range(2, 9):
    levels[n] = len(np.unique(quantize(wide, FixedPoint(0, n), "thesis")))
    print(f"{n} bits: {2**n} codes, but {levels[n]} values")

# %% tags=["remove-cell"]
record(thesis_levels_8_bits=levels[8], thesis_levels_2_bits=levels[2])

# %% [markdown]
# With 2 bits it has {glue:text}`thesis_levels_2_bits` levels, with 8 bits {glue:text}`thesis_levels_8_bits`: always
# $2^n + 1$. The thesis' MATLAB twin (Code 14) clips to $A - 10^{-6}$ instead and stays within $n$ bits. So does
# everything in this book, except where it is named `thesis`.
#
# ## A network to take apart
#
# Real digits, 8 by 8 pixels, from scikit-learn. A part of the training images is held out for *choosing* things
# (validation); the test images are for *reporting* alone.

# %%
digits = data.load("digits", validation=0.25)
for part in ("train", "validation", "test"):
    print(part, len(getattr(digits, part)))

# %%
model = keras.Sequential(
    [
        keras.layers.Input(digits.image_shape),
        keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Conv2D(24, 3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(10, activation="softmax"),
    ]
)

# %%
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
train, test = digits.scaled(digits.train), digits.scaled(digits.test)
model.fit(train, digits.train.labels, epochs=EPOCHS, verbose=0)
_, float_accuracy = model.evaluate(test, digits.test.labels, verbose=0)
print(f"{model.count_params():,} parameters read {float_accuracy:.1%}")

# %% tags=["remove-cell"]
record(parameters=model.count_params())
record(within=0.04, float_accuracy=float_accuracy)

# %% [markdown]
# Now turn its weights. A weight is **clipped** where its mark does not exist, and **underflowed** where it is smaller
# than one step. The MSB trades one for the other; the bits pay for both.

# %% tags=["hide-input"]
explore.kernel_histogram(model, digits.scaled(digits.validation), digits.validation.labels, "1.2").show()

# %% [markdown]
# Three things to find:
#
# 1. With 8 bits, lower the MSB until the accuracy breaks. Is it clipping or underflow that breaks it?
# 2. With 4 bits and MSB 0, change the rounding from `floor` to `nearest`. The RMS error falls by half. Does the
#    accuracy say the same?
# 3. Compare 4 bits `floor` with 3 bits `nearest`, both with MSB 0. The RMS errors are nearly the same. Is the accuracy? Which reading tells
#    the two apart?
#
# (down-or-nearest)=
# ## Down or nearest
#
# The same, measured on the test digits: all kernels in one format with MSB 0, biases in float.

# %%
twin = keras.models.clone_model(model)


def correct(split, fmt, rounding):
    """Return how many digits are read with every kernel in `fmt`."""
    weights = [
        quantize(w, fmt, rounding) if w.ndim > 1 else w
        for w in model.get_weights()
    ]
    twin.set_weights(weights)
    scores = twin.predict_on_batch(digits.scaled(split))
    return int((scores.argmax(-1) == split.labels).sum())

# %%
n = len(digits.test)
BITS = (2, 3, 4, 5, 6, 8, 16)
hits = {
    rounding: [correct(digits.test, FixedPoint(0, b), rounding) for b in BITS]
    for rounding in ("floor", "nearest")
}

# %% tags=["remove-cell"]
floor_4, nearest_4 = (hits[r][BITS.index(4)] / n for r in hits)
record(within=0.25, floor_4_bits=floor_4)
record(within=0.06, nearest_4_bits=nearest_4)
record(test_images=n)

# %% tags=["hide-input"]
traces, rows, places = [], [], [str(b) for b in BITS]
for (rounding, counts), colour, name in zip(hits.items(), plots.COLOURS, ("rounded down", "rounded to nearest")):
    low, high = np.transpose([wilson_interval(c, n) for c in counts])
    share = np.array(counts) / n
    spread = {"type": "data", "symmetric": False, "array": high - share, "arrayminus": share - low}
    traces.append(go.Scatter(x=places, y=share, name=name, error_y=spread, line={"color": colour}))
    rows += [(name, b, c / n, lo, hi) for b, c, lo, hi in zip(BITS, counts, low, high)]
traces.append(go.Scatter(x=places, y=[float_accuracy] * len(BITS), name="float", line={"color": plots.GREY, "dash": "dot"}))
plots.show(
    plots.figure(
        *traces,
        x="bits of each weight",
        y="top-1 accuracy",
        xaxis={"type": "category"},
        yaxis={"tickformat": ".0%", "range": [0, 1.02]},
    ),
    label="1.3",
    caption=f"Accuracy on {n} test digits against the bits of a weight, MSB 0, one trained network; bars are 95 % intervals.",
    alt="Accuracy over bits: nearest rounding stays near the float line down to three bits, rounding down falls off earlier.",
    table=plots.Table(("rounding", "bits", "accuracy", "95 % low", "95 % high"), rows),
)

# %% [markdown]
# With 4 bits the copy rounded down reads {glue:text}`floor_4_bits:.1%` of the test digits, the copy rounded to nearest
# {glue:text}`nearest_4_bits:.1%`; the float network reads {glue:text}`float_accuracy:.1%`. Both have the same number
# of bits and the same marks. How far off were your two numbers?
#
# ## Why down is so much worse
#
# Not because the error is larger: 3 bits to nearest have the RMS error of 4 bits down (question 3), and read far more digits.
# Rounding to nearest errs to both sides, and the errors of many weights cancel. Rounding down errs to one side: on
# average every weight moves by *half a step towards minus infinity*, and that part does not cancel. Measured on all
# kernels, in steps:

# %%
pooled = np.concatenate([w.ravel() for w in model.get_weights() if w.ndim > 1])
shift = {}
for rounding in ("floor", "nearest-up"):
    shift[rounding] = quantization_error(pooled, fmt, rounding).bias / fmt.step
    print(f"{rounding}: {shift[rounding]:+.3f} steps")

# %% tags=["remove-cell"]
record(within=0.06, floor_shift=shift["floor"], nearest_shift=shift["nearest-up"])

# %% [markdown]
# A shift of {glue:text}`floor_shift:.2f` steps a weight shifts an output by that much times the *sum of its inputs*, and
# after a ReLU the inputs are all of one sign. The more inputs a filter has, the worse. Remember this sentence; a whole
# chapter of this book hangs on it.
#
# The cure costs one addition: add half a step, then round down. That is rounding to nearest, ties upwards.

# %%
half_a_step_more = quantize(pooled + fmt.step / 2, fmt, "floor")
unequal = half_a_step_more != quantize(pooled, fmt, "nearest-up")
print(unequal.sum(), "weights differ between the two ways")

# %% [markdown]
# ## A gradient through a staircase
#
# Later chapters train *through* the quantizer. A staircase has slope zero almost everywhere, so nothing would learn. The
# remedy is to pretend: going forward, quantize; going back, take the slope of the line that the staircase follows. This
# is the **straight-through estimator**. Outside the range there is a choice: slope 0, since clipping really is flat
# (`clipped`), or slope 1 as if there were no clipping (`identity`).

# %%
import tensorflow as tf

probe = tf.constant(np.linspace(-2, 2, 161), "float32")
slope = {}
for gradient in ("clipped", "identity"):
    with tf.GradientTape() as tape:
        tape.watch(probe)
        y = quantclip(probe, fmt, "floor", gradient)
    slope[gradient] = tape.gradient(y, probe).numpy()

# %% tags=["hide-input"]
plots.show(
    plots.figure(
        go.Scatter(x=probe, y=y, name="quantclip(x)", line={"shape": "hv", "color": plots.BLUE}),
        go.Scatter(x=probe, y=slope["clipped"], name="gradient, clipped", line={"color": plots.ORANGE, "width": 3}),
        go.Scatter(x=probe, y=slope["identity"], name="gradient, identity", line={"color": plots.GREEN, "dash": "dash"}),
        x="x",
        y="value and slope",
    ),
    label="1.4",
    caption="The operator (4 bits, MSB 0) and the two slopes that training can be told.",
    alt="A staircase from -1 to 0.875; the clipped gradient is one from -1 to just below 1 and zero elsewhere, identity is one everywhere.",
    table=plots.Table(
        ("x", "quantclip(x)", "gradient, clipped", "gradient, identity"),
        [tuple(float(v[i]) for v in (probe, y, slope["clipped"], slope["identity"])) for i in range(0, 161, 10)],
    ),
)

# %% [markdown]
# ## Would integers say the same?
#
# So far each quantized number was a float that happens to lie on a mark. A device has no floats: it multiplies codes and
# shifts at the end. The simulation is right only if both give the same number, bit for bit. Take the last layer: its
# kernel, and what it sees of the test digits.

# %%
kernel = model.layers[-1].get_weights()[0]
features = keras.Model(model.inputs, model.layers[-2].output)
seen = features.predict_on_batch(test)
w_fmt, x_fmt = FixedPoint(0, 8), FixedPoint(2, 8)

# %%
x, w = to_codes(seen, x_fmt, "nearest"), to_codes(kernel, w_fmt, "nearest")
integer = x @ w  # int64, no float in sight
x, w = quantize(seen, x_fmt, "nearest"), quantize(kernel, w_fmt, "nearest")
simulated = x @ w  # float32
unequal = int((integer * (w_fmt.step * x_fmt.step) != simulated).sum())
print(unequal, "of", simulated.size, "float32 sums differ from the integers")
print("largest sum:", np.abs(integer).max(), "codes; 2**24 is", 2**24)

# %% tags=["remove-cell"]
record(integer_mismatches=unequal)

# %% [markdown]
# Not one differs, because every sum stays below $2^{24}$, where float32 counts without a gap. Chapter 14 turns this into
# a promise for whole networks.
#
# ## What the thesis found
#
# The thesis put every kernel of SqueezeNet v1.1 into one format with MSB 0 and rounded down, off the model, on ImageNet
# (Table 5):

# %% tags=["hide-input"]
from IPython.display import HTML

thesis = papers.table("vieito2017", 5)
ours = {b: f"{c / n:.1%}" for b, c in zip(BITS, hits["floor"])} | {32: f"{float_accuracy:.1%}"}
rows = [(r["bits"], f"{r['accuracy']}%", ours[r["bits"]]) for r in thesis]
HTML(plots.Table(("bits", "thesis: SqueezeNet, ImageNet", "ours: this network, digits (quick)"), rows).html())

# %% [markdown]
# **Why they differ.** At 8 bits its network had nearly nothing left, ours has nearly everything. The operator is the
# same; the networks are not. Ours has three layers with at most 144 inputs to a sum; SqueezeNet has 26 with
# up to 576, and each hands its shift to the next. That explanation is a guess until it is measured: chapter 6 takes SqueezeNet v1.1
# with its published weights, both roundings, and 1,000 photographs.
#
# ## Exercises
#
# **1.** Which code and which value does 0.3 get in `FixedPoint(msb=-1, nbits=3)`, rounded down and to nearest?
#
# ```{admonition} Solution
# :class: dropdown
# $A = 1/2$ and $q = 1/8$, so $0.3/q = 2.4$. Down gives code 2, value 0.25; nearest gives the same.
# ```
#
# **2.** A weight of exactly $A$ is quantized to nearest. What is the error, and why is it larger than $q/2$?
#
# ```{admonition} Solution
# :class: dropdown
# It would need the code $2^{n-1}$, which does not exist; it becomes $A - q$, an error of a whole step. Inside the range
# the bound $q/2$ holds, at the upper edge it does not.
# ```
#
# **3.** The MATLAB twin clips to $A - 10^{-6}$. From how many bits on, with MSB 0, does it lose marks?
#
# ```{admonition} Solution
# :class: dropdown
# When the top mark $A - q$ lies above $A - 10^{-6}$: $q = 2^{1-n} < 10^{-6}$, that is from $n = 21$ on. At 32 bits, where
# the thesis uses it to study clipping alone, it loses the top two thousand of four thousand million marks: harmless.
# ```
#
# **4.** In figure 1.2, find the fewest bits that keep the validation accuracy within one point of float, once with
# `floor` and once with `nearest`. You may choose the MSB. Then let the machine look:

# %% tags=["hide-cell"]
within = correct(digits.validation, FixedPoint(0, 16), "nearest") - 0.01 * len(digits.validation)
for rounding in ("floor", "nearest"):
    enough = [
        (bits, msb)
        for bits in range(2, 9)
        for msb in range(-3, 2)
        if correct(digits.validation, FixedPoint(msb, bits), rounding) >= within
    ]
    print(rounding, "needs", enough[0][0] if enough else "more than 8", "bits; MSB", enough[0][1] if enough else "any")

# %% [markdown]
# ## Run it on yours
#
# ```python
# from fewbits import FixedPoint, quantize
# from fewbits.quantization.sqnr import quantization_error
#
# fmt = FixedPoint(msb=0, nbits=8)
# quantized = quantize(kernel, fmt, rounding="nearest")
# print(quantization_error(kernel, fmt, "nearest"))  # clipped, underflowed, bias, RMS error, SQNR
# ```
#
# ```shell
# fewbits quantize kernel.npy --msb 0 --bits 8 --rounding nearest --output quantized.npy
# ```

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1 Fixed point and quantclip
#
# *Reading time: 15 minutes. Needs: no other chapter; powers of two and a little Python, as in the
# [self-test](../book/prerequisites).*
#
# A trained weight takes 32 bits. How few bits are enough, and does it matter *how* the others are dropped?
#
# This chapter uses one small network that classifies real handwritten digits. We reduce its weights from 32 bits to a few
# and do not train it again.
#
# You need to know powers of two, what a slope is, and enough Python to read NumPy and a little Keras. Of neural networks
# you need one idea: a layer multiplies its inputs by *weights* that training has found, adds the products, and often
# sets negative sums to zero (a ReLU). A *convolution* does this at each place of an image with the same few weights, its
# *kernel*. The [glossary](../book/glossary) explains the other terms.
#
# ```{admonition} Predict first
# :class: tip
# Every weight of the network gets **4 bits** between -1 and +1. In one copy of the network each weight is rounded
# *down* to the next value, in the other to the *nearest* value. In neither copy does a weight move by more than one
# step of 1/8.
#
# What share of the digits does each copy still classify correctly? Write down two numbers. The answer is in
# [Down or nearest](down-or-nearest).
# ```

# %% tags=["parameters"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
import numpy as np
import tensorflow as tf

from fewbits import data, explore, training
from fewbits.backend import keras
from fewbits.book import papers, questions, record
from fewbits.quantization import (
    FixedPoint, quantclip, quantization_error, quantize, to_codes,
)
from fewbits.statistics import Share

# %% tags=["hide-input"]
keras.utils.set_random_seed(1)
rng = np.random.default_rng(1)
EPOCHS = 4 if profile == "smoke" else 30

# %% [markdown]
# ## A number in two integers
#
# A fixed-point format is a ruler. Two integers define it: the most significant bit (MSB) sets how far the ruler
# reaches, and the number of bits $n$ sets how many marks it has {cite:p}`vieito2017`:
#
# $$A = 2^{\mathrm{MSB}} \qquad q = \frac{2A}{2^{n}} = 2^{\mathrm{MSB}+1-n}$$
#
# The amplitude $A$ is the reach, and the step $q$ is the distance between two marks. A device stores the number of the
# mark, the *code* $k$, which is an integer of $n$ bits. The value is $k \cdot q$.

# %%
fmt = FixedPoint(msb=0, nbits=4)
print("amplitude", fmt.amplitude, "and step", fmt.step)
print("codes", fmt.min_code, "to", fmt.max_code)
print("values", np.arange(fmt.min_code, fmt.max_code + 1) * fmt.step)

# %% [markdown]
# Zero is a mark, so one more mark lies below it than above it: the ruler ends at $-A$ on the left, but at $A - q$
# on the right. Keep that in mind.
#
# ## The quantizer
#
# To quantize a value means to pick a mark for it: divide by the step, round, clip to the codes that exist, and multiply
# by the step. The thesis rounds down:


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

# %% [markdown]
# The step is a power of two, so the division and the multiplication only move the binary point and lose nothing. All
# the loss comes from rounding and clipping. The figure shows both: the curve is flat outside the amplitude and a staircase
# inside it.

# %%
explore.staircase("1.1").show()

# %% [markdown]
# Try this: start at 3 bits and MSB 0. Raise the MSB by one: the reach doubles, and so does the step. Now add a bit:
# the step is back to its old value. *One bit buys one MSB.* Then choose `nearest` and watch the error: it no longer lies on one
# side of zero.
#
# ## One level too many
#
# Choose `thesis` and look at the number of levels. The operator printed in the thesis (Code 6) clips to $+A$ *before*
# it rounds down. Values with $x \ge A$ then land on the mark $+A$, which has no code.

# %%
wide = np.linspace(-3, 3, 600_001)
levels = {}
for n in range(2, 9):
    levels[n] = len(np.unique(quantize(wide, FixedPoint(0, n), "thesis")))
    print(f"{n} bits: {2**n} codes, but {levels[n]} values")

# %% [markdown]
# The operator has {glue:text}`thesis_levels_2_bits` levels with 2 bits and {glue:text}`thesis_levels_8_bits` with 8 bits: always
# $2^n + 1$. The thesis' MATLAB version (Code 14) clips to $A - 10^{-6}$ instead and stays within $n$ bits. All quantizers
# in this book stay within $n$ bits, except those named `thesis`.
#
# ## A network to take apart
#
# The images are real digits of 8 by 8 pixels, from scikit-learn {cite:p}`pedregosa2011`. Part of the training images is
# held out for *choosing* (validation); the test images are only for *reporting*.

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
train, test = digits.arrays("train"), digits.arrays("test")
model.fit(*train, epochs=EPOCHS, verbose=0)
float_accuracy = training.evaluate(model, test).share
print(f"{model.count_params():,} parameters, accuracy {float_accuracy:.1%}")

# %% [markdown]
# Now change the format of the weights. A weight is **clipped** if its mark does not exist, and it **underflows** if it
# is smaller than one step. The MSB trades one for the other; more bits reduce both. The page recomputes the network after
# each change.

# %%
explore.kernel_histogram(model, digits, "1.2").show()

# %% [markdown]
# Four things to find out:
#
# 1. With 8 bits, lower the MSB until the accuracy breaks down. Is clipping or underflow the cause?
# 2. With 4 bits and MSB 0, change the rounding from `floor` to `nearest`. The RMS error falls by half. Does the
#    accuracy change as little?
# 3. Compare 4 bits `floor` with 3 bits `nearest`, both with MSB 0. The RMS errors are nearly the same. Is the accuracy
#    the same, too? Which displayed value distinguishes the two?
# 4. Quantize one kernel alone, to 2 bits, and give it the best MSB. Do all three kernels need the same MSB? Which kernel
#    costs the most accuracy?
#
# (down-or-nearest)=
# ## Down or nearest
#
# Here is the same comparison on the test digits: all kernels have one format with MSB 0, and biases stay in float.

# %%
twin = keras.models.clone_model(model)


def accuracy(part, bits, msb, rounding):
    """Return the accuracy with every kernel quantized."""
    fmt = FixedPoint(msb, bits)
    old = model.get_weights()
    new = [quantize(w, fmt, rounding) if w.ndim > 1 else w for w in old]
    twin.set_weights(new)
    images, labels = digits.arrays(part)
    return Share.of(twin.predict_on_batch(images).argmax(-1) == labels)


# %%
BITS = (2, 3, 4, 5, 6, 8, 16)
floor = {b: accuracy("test", b, 0, "floor") for b in BITS}
nearest = {b: accuracy("test", b, 0, "nearest") for b in BITS}

# %% tags=["hide-input"]
# Rounding down and rounding to nearest, over the bits
explore.lines(
    {"rounded down": floor, "rounded to nearest": nearest}, "1.3",
    f"Accuracy on {len(test[1])} test digits, MSB 0, one trained network (quick); error bars are 95 % intervals.",
    "Accuracy over bits: rounded to nearest it stays near float down to three bits; rounded down it falls earlier.",
    x="bits of each weight", levels={"float": float_accuracy}, xaxis={"type": "category"},
)

# %% [markdown]
# With 4 bits, the copy rounded down classifies {glue:text}`floor_4_bits:.1%` of the test digits correctly, and the copy rounded
# to nearest {glue:text}`nearest_4_bits:.1%`; the float network reaches {glue:text}`float_accuracy:.1%`. Both copies
# have the same number of bits and the same marks. How far off were your two numbers?
#
# ## Why down is so much worse
#
# The size of the error is not the reason: 3 bits rounded to nearest have the RMS error of 4 bits rounded down
# (question 3) and a far higher accuracy. Rounding to nearest errs to both sides, so the errors of many weights cancel.
# Rounding down errs to one side: on average every weight moves by *half a step towards minus infinity*, and that part
# does not cancel. Measured on all kernels, in steps:

# %%
kernels = [w.ravel() for w in model.get_weights() if w.ndim > 1]
pooled, shift = np.concatenate(kernels), {}
for rounding in ("floor", "nearest-up"):
    shift[rounding] = quantization_error(pooled, fmt, rounding).bias / fmt.step
    print(f"{rounding}: {shift[rounding]:+.3f} steps")

# %% [markdown]
# If every weight shifts by {glue:text}`floor_shift:.2f` steps, an output shifts by that much times the *sum of its
# inputs*, and after a ReLU all inputs have the same sign. The more inputs a filter has, the larger the shift. Remember
# this: a whole chapter of this book depends on it.
#
# The remedy costs one addition: add half a step, then round down. This is rounding to nearest, with ties rounded up.

# %%
half_a_step_more = quantize(pooled + fmt.step / 2, fmt, "floor")
unequal = half_a_step_more != quantize(pooled, fmt, "nearest-up")
print(unequal.sum(), "weights differ between the two ways")

# %% [markdown]
# ## A gradient through a staircase
#
# Later chapters train *through* the quantizer. A staircase has slope zero almost everywhere, so no weight would learn.
# The **straight-through estimator** {cite:p}`bengio2013` solves this: the forward pass quantizes, and the backward pass uses
# the slope of the line that the staircase follows. Outside the range there is a choice: slope 0, because clipping is flat
# there (`clipped`), or slope 1, as if there were no clipping (`identity`).

# %%
x = np.linspace(-2, 2, 161).tolist()
curves = {"quantclip(x)": dict(zip(x, quantize(x, fmt, "floor")))}
for gradient in ("clipped", "identity"):
    probe = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(probe)
        y = quantclip(probe, fmt, "floor", gradient)
    slope = tape.gradient(y, probe).numpy()
    curves[f"gradient, {gradient}"] = dict(zip(x, slope))

# %% tags=["hide-input"]
# The staircase and the two slopes
explore.lines(
    curves, "1.4", "The operator (4 bits, MSB 0) and the two slopes that training can use.",
    "Staircase from -1 to 0.875; the clipped gradient is one inside this range and zero outside, identity is always one.",
    x="x", y="value and slope", mode="lines", dashes=("solid", "solid", "dash"),
    table=explore.Table(("x", *curves), [(place, *(curve[place] for curve in curves.values())) for place in x[::10]]),
)

# %% [markdown]
# ## Would integers say the same?
#
# So far each quantized number was a float that lies on a mark. A device has no floats: it multiplies codes and shifts at
# the end. The simulation is right only if both give the same number, bit for bit. We test this on the last layer, with
# its kernel and the inputs that it gets for the test digits.

# %%
kernel = model.layers[-1].get_weights()[0]
features = keras.Model(model.inputs, model.layers[-2].output)
seen = features.predict_on_batch(test[0])
w_fmt, x_fmt = FixedPoint(0, 8), FixedPoint(2, 8)

# %%
x, w = to_codes(seen, x_fmt, "nearest"), to_codes(kernel, w_fmt, "nearest")
integer = x @ w  # int64, no floats
x, w = quantize(seen, x_fmt, "nearest"), quantize(kernel, w_fmt, "nearest")
simulated = x @ w  # float32
unequal = int((integer * (w_fmt.step * x_fmt.step) != simulated).sum())
print(unequal, "of", simulated.size, "float32 sums differ from the integers")
print("largest sum:", np.abs(integer).max(), "codes; 2**24 is", 2**24)

# %% tags=["remove-cell"]
# Quoted in the text
record(by_hand_differing=differing, thesis_levels_8_bits=levels[8], thesis_levels_2_bits=levels[2])
record(integer_mismatches=unequal, parameters=model.count_params(), test_images=len(test[1]))
record(within=0.04, float_accuracy=float_accuracy.value)
record(within=0.25, floor_4_bits=floor[4].value)
record(within=0.06, nearest_4_bits=nearest[4].value, floor_shift=shift["floor"], nearest_shift=shift["nearest-up"])

# %% [markdown]
# None differs, because every sum stays below $2^{24}$, and float32 represents every integer up to that limit exactly.
# Chapter 16 turns this into a guarantee for whole networks.
#
# ## What the thesis found
#
# The thesis gave every kernel of SqueezeNet v1.1 {cite:p}`iandola2016` one format with MSB 0, rounded down outside the
# model, and evaluated it on ImageNet {cite:p}`russakovsky2015` (Table 5):

# %%
thesis, ours = papers.table("vieito2017", 5), {**floor, 32: float_accuracy}
rows = [
    (row["bits"], f"{row['accuracy']}%", ours[row["bits"]]) for row in thesis
]
heads = "thesis: SqueezeNet, ImageNet", "ours: this network, digits (quick)"
explore.Table(("bits", *heads), rows)

# %% [markdown]
# **Why they differ.** At 8 bits the thesis' network has lost nearly all its accuracy, and ours has lost almost none. The
# operator is the same; the networks are not. Ours has three layers with at most 144 inputs per sum; SqueezeNet has 26
# with up to 576, and each passes its shift on to the next. This explanation is only a guess so far. Chapter 6 measures it
# with the published weights of SqueezeNet v1.1, both roundings, and photographs.
#
# ## Two questions

# %% tags=["hide-input"]
# A format with more bits and more reach
old, new = FixedPoint(0, 4), FixedPoint(1, 6)
questions.ask(
    f"A format of 4 bits with MSB 0 has the step {old.step:g}. It gets two more bits, and the MSB 1. What is its step?",
    (f"{new.step:g}", f"Two bits divide the step by four, and the MSB doubles it: the result is half of {old.step:g}."),
    (f"{FixedPoint(0, 6).step:g}", "This is the step if the MSB stays 0. The wider reach costs one of the two bits."),
    (f"{old.step:g}", "One bit pays for the wider reach. The other one halves the step."),
    (f"{FixedPoint(1, 4).step:g}", "This is the effect of the wider reach alone, without the new bits."),
)

# %% tags=["hide-input"]
# The shift of a sum
inputs, mean, moved = 144, 0.5, shift["floor"]
questions.ask(
    f"The weights of a filter are rounded down. It adds up {inputs} products with inputs of {mean:g} on average. By how many "
    "steps of the weights does its output move?",
    (f"about {moved * inputs * mean:+.0f}", f"Each weight moves by {moved:.2f} steps on average, and the shifts of all products add up."),
    (f"about {moved * inputs**0.5 * mean:+.0f}", "Sums of noise grow with the root of their number. This error has one sign."),
    (f"about {moved * mean:+.2f}", "This is the shift of one product. The errors of all products have the same sign, so they add up."),
    ("about 0, because errors cancel", "Errors to both sides cancel. Rounding down errs to one side."),
)

# %% [markdown]
# ## Exercises
#
# **1.** Which code and which value does 0.3 get in `FixedPoint(msb=-1, nbits=3)`, rounded down and rounded to nearest?
#
# ```{admonition} Solution
# :class: dropdown
# $A = 1/2$ and $q = 1/8$, so $0.3/q = 2.4$. Both roundings give code 2, value 0.25.
# ```
#
# **2.** A weight of exactly $A$ is rounded to nearest. What is the error, and why is it larger than $q/2$?
#
# ```{admonition} Solution
# :class: dropdown
# The weight would need the code $2^{n-1}$, which does not exist. It becomes $A - q$, so the error is a whole step.
# The bound $q/2$ holds inside the range, but not at the upper edge.
# ```
#
# **3.** The MATLAB version clips to $A - 10^{-6}$. At how many bits, with MSB 0, does it start to lose marks?
#
# ```{admonition} Solution
# :class: dropdown
# When the top mark $A - q$ lies above $A - 10^{-6}$: $q = 2^{1-n} < 10^{-6}$, that is, from $n = 21$ on. At 32 bits,
# which the thesis uses to study clipping alone, it loses the top two thousand of four billion marks. This loss is harmless.
# ```
#
# **4.** In {figure}`1.2`, find the fewest bits that keep the validation accuracy within one point of float, once with
# `floor` and once with `nearest`. You may choose the MSB. Then let the code search:

# %% tags=["hide-cell"]
# The fewest bits over all MSBs
least = accuracy("validation", 16, 0, "nearest").value - 0.01
for rounding in ("floor", "nearest"):
    tried = ((bits, msb) for bits in range(2, 9) for msb in range(-3, 2))
    enough = (fmt for fmt in tried if accuracy("validation", *fmt, rounding).value >= least)
    print(rounding, "needs {} bits; MSB {}".format(*next(enough, ("more than 8", "any"))))

# %% [markdown]
# **Lab.** Build the quantizer, and the rounding shift of a device, in `notebooks/labs/01-fixed-point.py`
# ([all labs](../book/labs)).
#
# ## Run it on yours
#
# ```python
# from fewbits.quantization import FixedPoint, quantization_error, quantize
#
# fmt = FixedPoint(msb=0, nbits=8)
# quantized = quantize(kernel, fmt, rounding="nearest")
# print(quantization_error(kernel, fmt, "nearest"))  # clipped, underflowed, bias, RMS error, ...
# ```
#
# ```shell
# fewbits quantize kernel.npy --msb 0 --bits 8 --rounding nearest --output quantized.npy
# ```

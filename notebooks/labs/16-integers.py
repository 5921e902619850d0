# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 16: a network without floats
#
# You build what a device computes: the shift that rounds, the layer, the sum of two branches, and the proof that no sum
# overflows. Then a network for the digits runs on integers alone, and you count the codes in which it differs from its
# simulation.
#
# - **Time**: 60 minutes.
# - **You need**: chapter 16, and NumPy.
# - **Goals**: round without a division; align steps that differ; prove the width of a sum without data.
#
# Replace the dots of a function by your code, run its cell, then run the check below it. A check says what is wrong,
# not how to do it. Use integers only: a float loses digits of a large sum.

# %%
import numpy as np

from fewbits.labs import dense_network
from fewbits.labs import integer_layers as lab

# %% [markdown]
# ## 1. The shift that rounds half to even
#
# Return `total / 2**shift` for an array of integers, rounded to nearest; what lies halfway goes to the even integer.
# `>>` rounds down; start from it and look at the bits that it drops. The shift may be 0.

# %%
def shift_to_even(total, shift):
    """Return the array of integers total / 2**shift, half to even."""
    ...


# %%
lab.check_shift_to_even(shift_to_even)

# %% [markdown]
# ## 2. How wide is a sum?
#
# A layer has integer `kernel` (inputs, units) and `bias` (units,). Each input is any integer from `low` to `high`, with
# `low <= 0 <= high`. How many bits, of two's complement, does an accumulator need to hold the sum of every unit,
# whatever comes in? It starts with the bias.

# %%
def accumulator_bits(kernel, bias, low, high):
    """Return the least bits that hold every sum of the layer."""
    ...


# %%
lab.check_accumulator_bits(accumulator_bits)

# %% [markdown]
# ## 3. A layer
#
# `codes` (n, inputs) have the step $2^{-i}$, the kernel's codes the step $2^{-k}$, those of the output $2^{-o}$, and
# `steps` is $(i, k, o)$ with $o \le i + k$. The codes of the bias have the step of the products. Multiply, add, apply
# the ReLU, round to nearest (half to even) and saturate to `bits` unsigned bits.

# %%
def integer_layer(codes, kernel, bias, steps, bits):
    """Return the output codes (n, units)."""
    ...


# %%
lab.check_integer_layer(integer_layer)

# %% [markdown]
# ## 4. Two branches
#
# Two arrays of codes meet in an addition. Their steps are $2^{-a}$ and $2^{-b}$. Return the codes of the exact sum, and
# the exponent of their step: the coarsest step that is exact whatever the codes are.

# %%
def add_aligned(first, a, second, b):
    """Return the codes of the sum, and c of their step 2**-c."""
    ...


# %%
lab.check_add_aligned(add_aligned)

# %% [markdown]
# ## The digits on integers
#
# The pixels are codes of 5 bits already (step $2^{-5}$). Kernels get 8 bits, hidden outputs 8 unsigned bits.

# %%
digits = dense_network.flat_digits()
network = dense_network.train_layers(
    dense_network.draw_layers((64, 32, 32, 10)), *digits["train"])
images, labels = digits["test"]
pixels = np.rint(images * 32).astype(np.int64)


def exponent(values, bits):
    """Return k of the finest step 2**-k whose codes reach all values."""
    return bits - int(np.ceil(np.log2(np.abs(values).max())))


# %%
few = digits["train"][0][:256]
reached = dense_network.layer_outputs(network, few)[:-1]
entering, layers = 5, []
for (kernel, bias), outputs in zip(network, reached):
    steps = entering, exponent(kernel, 7), exponent(outputs, 8)
    codes = np.clip(np.rint(kernel * 2.0**steps[1]), -128, 127)
    added = np.rint(bias * 2.0 ** (steps[0] + steps[1]))
    layers.append((codes.astype(np.int64), added.astype(np.int64), steps))
    entering = steps[2]

# %%
codes, simulated = pixels, images
for kernel, bias, (i, k, o) in layers:
    high = 31 if codes is pixels else 255
    print(f"{accumulator_bits(kernel, bias, 0, high)} bits hold the sums;",
          f"shift {i + k - o}")
    codes = integer_layer(codes, kernel, bias, (i, k, o), 8)
    sums = simulated @ (kernel / 2.0**k) + bias / 2.0 ** (i + k)
    simulated = np.clip(np.rint(sums * 2.0**o), 0, 255) / 2.0**o
different = np.sum(codes != simulated * 2.0**o)
print(f"{different} of {codes.size:,} codes differ from the simulation")

# %%
kernel, bias = network[-1]
scale = 2.0 ** exponent(kernel, 7)
last = np.rint(kernel * scale).astype(np.int64)
logits = codes @ last + np.rint(bias * scale * 2.0**entering).astype(np.int64)
float_logits = dense_network.layer_outputs(network, images)[-1]
for name, found in (("float", float_logits), ("integers", logits)):
    print(f"{name}: {np.mean(found.argmax(axis=1) == labels):.1%}")
total, step = add_aligned(pixels, 5, pixels, 7)
print("a sum of two steps:", total.max(), f"in steps of 2**-{step}")

# %% [markdown]
# ## An open question
#
# Your bound holds for every input, so it is wide. A device with sums of 16 bits would need narrower ones. You could use
# smaller kernels, split the sum, let it wrap around and show that wrapping does no harm as long as the *last* value
# fits, or train with a penalty on the bound. Which costs the least accuracy on the digits, and which of them can you
# still prove?

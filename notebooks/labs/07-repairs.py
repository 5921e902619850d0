# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 7: repairs on two layers
#
# Four repairs of chapter 7, on dense layers that are small enough to be understood. None of them needs a label.
#
# - **Time**: 60 minutes.
# - **You need**: chapters 6 and 7, NumPy (`@`, `np.maximum`), `itertools.product`.
# - **Goals**: put the mean shift of a layer into its bias; do so layer by layer; equalize the channels between two
#   layers; find the best of all ways to round a filter.
#
# Replace each `...` by your code and run the cell below it. A check names the first input that fails and a hint; it
# does not show the right result. Kernels have the shape `(inputs, outputs)`, inputs `(images, inputs)`.

# %%
from itertools import product

import numpy as np

from fewbits.labs import label_free_repairs as lab

# %% [markdown]
# ## The mean shift, folded into the bias
#
# A rounded kernel moves each output. Change the bias so that the mean output over the images is what it was.


# %%
def folded_bias(bias, kernel, rounded, x):
    """Return the bias that takes back the mean shift."""
    ...


# %%
lab.check_folded_bias(folded_bias)

# %% [markdown]
# ## In order
#
# With several layers, and a ReLU after each, a layer reads what the *repaired* layers before it deliver. Go through the
# layers in order, and give each the bias with which its mean sums, before the ReLU, are those of the float network.


# %%
def biases_in_order(layers, rounded, x):
    """Return a list of biases, one per layer.

    layers: a list of (kernel, bias) in float. rounded: their kernels.
    """
    ...


# %%
lab.check_biases_in_order(biases_in_order)

# %% [markdown]
# ## Equal channels
#
# A channel between two layers may be scaled: divide by a positive number before the ReLU, and multiply by it after. Choose
# the numbers so that, for each channel, the largest magnitude of the weights into it equals that of the weights out of
# it. The outputs of the second layer must not change.


# %%
def equalize(first, bias, second):
    """Return (first, bias, second) with equal ranges per channel."""
    ...


# %%
lab.check_equalize(equalize)

# %% [markdown]
# ## Up or down
#
# The code of a weight is rounded down or up. Try all $2^n$ ways for a filter of $n$ weights, and return the codes whose
# outputs on the images have the least squared error.


# %%
def best_codes(weights, x, step):
    """Return the integer codes with the least squared output error."""
    ...


# %%
lab.check_best_codes(best_codes)

# %% [markdown]
# ## What the repairs are worth
#
# Two layers with uneven channels, kernels of few bits. The error is that of the outputs, relative to their spread.

# %%
rng = np.random.default_rng(0)
x, step = np.abs(rng.normal(0, 1, (200, 8))), 0.25
scales = 4.0 ** rng.uniform(-1, 1, 12)
first = rng.normal(0, 0.4, (8, 12)) * scales, rng.normal(0, 0.3, 12)
second = rng.normal(0, 0.4, (12, 4)) / scales[:, None], np.zeros(4)


def outputs(layers):
    (a, a_bias), (b, b_bias) = layers
    return np.maximum(x @ a + a_bias, 0) @ b + b_bias


# %%
wanted = outputs([first, second])
a, a_bias, b = equalize(*first, second[0])
equal = [(a, a_bias), (b, second[1])]
for name, layers in (("as they are", [first, second]), ("equal", equal)):
    rounded = [np.floor(kernel / step) * step for kernel, _ in layers]
    biases = biases_in_order(layers, rounded, x)
    for way, used in (("down", [b for _, b in layers]), ("in order", biases)):
        error = outputs(list(zip(rounded, used))) - wanted
        print(f"{name}, {way}: {error.std() / wanted.std():.2f}")

# %% [markdown]
# ## An open question
#
# `best_codes` tries all ways, which ends at some twenty weights. A filter of SqueezeNet has 576. Find a way to good codes
# that is not the best one but can be afforded, and compare it with nearest and with the best on filters of 12 weights.
# What do the inputs tell about the weights that should be rounded together?

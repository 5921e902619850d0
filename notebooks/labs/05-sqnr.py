# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 5: noise that adds up, and noise that does not
#
# You build the rule of chapter 5 that foresees the SQNR of an output, and the measure that tells when it fails.
#
# - **Time**: 40 minutes.
# - **You need**: chapter 5, NumPy, logarithms.
# - **Goals**: measure an SQNR; find the format that never clips; predict the SQNR of a product; split errors into a
#   constant and the rest.
#
# Replace each `...` by your code and run the cell below it. A check names the first input that fails and a hint; it
# does not show the right result.

# %%
import numpy as np

from fewbits.labs import quantization_noise as lab

# %% [markdown]
# ## Decibels
#
# The SQNR is the power of the values over the power of their errors, $10 \log_{10}$ of it in dB. The power is the sum of
# the squares.


# %%
def decibels(values, quantized):
    """Return the SQNR in dB."""
    ...


# %%
lab.check_decibels(decibels)

# %% [markdown]
# ## The fractional length
#
# With a fractional length $fl$ the step is $2^{-fl}$, and the largest code of $b$ bits is $2^{b-1} - 1$. Equation 10
# takes the largest $fl$ at which the largest code lies above every magnitude.


# %%
def length(values, bits):
    """Return the largest fractional length that clips nothing."""
    ...


# %%
lab.check_length(length)

# %% [markdown]
# ## The rule
#
# The ratios of noise to signal add up: $1/\gamma = \sum_i 1/\gamma_i$ (Equation 8).


# %%
def added_noise(sqnrs):
    """Return the predicted SQNR in dB of parts in dB."""
    ...


# %%
lab.check_added_noise(added_noise)

# %% [markdown]
# ## The part of the mean
#
# The rule takes errors for noise: each one on its own, with no common part. Measure the share of the power of the errors
# that is left in their mean. It is 0 for noise, and 1 for a constant.


# %%
def part_of_the_mean(errors):
    """Return the share of the errors' power that is in their mean."""
    ...


# %%
lab.check_part_of_the_mean(part_of_the_mean)

# %% [markdown]
# ## The rule on a layer
#
# A dense layer with inputs that are never negative, as after a ReLU. The rule predicts the SQNR of its output.

# %%
rng = np.random.default_rng(0)
x, w = np.abs(rng.normal(0, 1, (200, 256))), rng.normal(0, 0.1, (256, 32))


def rounded(values, bits, rounding):
    step = 2.0 ** -length(values, bits)
    return rounding(values / step) * step


# %%
for name, rounding in (("nearest", np.round), ("floor", np.floor)):
    xq, wq = rounded(x, 8, rounding), rounded(w, 8, rounding)
    rule = added_noise([decibels(x, xq), decibels(w, wq)])
    part = part_of_the_mean(wq - w)
    print(f"{name}: rule {rule:.1f} dB, measured "
          f"{decibels(x @ w, xq @ wq):.1f} dB; part of the mean {part:.0%}")

# %% [markdown]
# ## An open question
#
# The rule fails by some decibels when values are rounded down. Can it be repaired with `part_of_the_mean`? Derive what the
# constant part of the kernel's error does to the power of the output's error, from the mean and the variance of the
# inputs. Test your formula on inputs that do have both signs.

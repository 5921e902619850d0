# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 1: a quantizer from nothing
#
# You build the quantizer of chapter 1 with integers, and the rounding shift that a device uses after its sums.
#
# - **Time**: 45 minutes.
# - **You need**: chapter 1, and NumPy (`np.floor`, `np.clip`).
# - **Goals**: derive the values of a format; round to the nearest code and saturate; do the same on integers alone;
#   choose an MSB by measurement.
#
# Replace each `...` by your code and run the cell below it. A check tries your function on hidden cases. It names the
# first input that fails and the idea to think about; it does not show the right result.

# %%
import numpy as np

from fewbits.labs import fixed_point as lab

# %% [markdown]
# ## The values of a format
#
# A format of $n$ bits with a given MSB has the amplitude $A = 2^{\mathrm{MSB}}$, and its codes run from $-2^{n-1}$ to
# $2^{n-1} - 1$.


# %%
def grid(msb, nbits):
    """Return an array of all values of the format, in ascending order."""
    ...


# %%
lab.check_grid(grid)

# %% [markdown]
# ## The nearest code
#
# Chapter 1 rounds down. Round to the nearest code here; a value halfway between two codes goes up, towards plus
# infinity. A value outside the range gets the nearest code that exists.


# %%
def encode(x, msb, nbits):
    """Return the integer codes of the array x, in its shape."""
    ...


# %%
lab.check_encode(encode)

# %% [markdown]
# ## The shift of a device
#
# A device multiplies codes, adds the products in a wide integer, and shifts the total to the right. A plain shift
# rounds down. Write the shift that rounds to nearest, ties upwards. Use integers only.


# %%
def shift_right(total, places):
    """Return the integer total / 2**places, rounded to nearest, ties up."""
    ...


# %%
lab.check_shift_right(shift_right)

# %% [markdown]
# ## The best MSB
#
# The MSB trades clipping for resolution. Find the MSB from -8 to 8 whose format has the least *mean squared error* on
# the values $x$. Of two that are equal take the smaller one.


# %%
def best_msb(x, nbits):
    """Return the MSB with the least mean squared error; use encode."""
    ...


# %%
lab.check_best_msb(best_msb)

# %% [markdown]
# ## What you have built
#
# The table shows the best MSB of a bell-shaped set of weights over the bits, and the share of weights that it clips.

# %%
weights = np.random.default_rng(0).normal(0, 0.3, 20_000)
for nbits in range(2, 9):
    msb = best_msb(weights, nbits)
    marks = grid(msb, nbits)
    outside = (weights < marks[0]) | (weights > marks[-1])
    print(f"{nbits} bits: MSB {msb}, {outside.mean():.2%} clipped")

# %% [markdown]
# ## An open question
#
# The least squared error lets a format clip some weights. A network does not average the errors of its weights: it
# multiplies them by inputs and adds. When would you rather keep the largest weight exact? Find a network, or a layer of
# one, in which the MSB of the maximum reads more digits than `best_msb`, and say what its largest weights do.

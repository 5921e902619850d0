# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 3: a range from a stream of values
#
# Chapter 3 sorts all values of a layer. The outputs of a layer on a thousand images do not fit into memory. You build
# percentiles first, and then a calibration that sees the images in batches and keeps some twenty integers.
#
# - **Time**: 45 minutes.
# - **You need**: chapter 3, and NumPy (`np.percentile` or `np.sort`, `np.log2`, `np.unique`).
# - **Goals**: cut the same share off both ends; turn limits into an MSB; count values by octave; find the MSB of a share
#   without ever holding the values.
#
# Replace each `...` by your code and run the cell below it. A check names the first input that fails and a hint; it
# does not show the right result.

# %%
import numpy as np

from fewbits.labs import streamed_percentiles as lab

# %% [markdown]
# ## Limits
#
# The limits at 98 % leave 1 % of the values below the lower one and 1 % above the upper one.


# %%
def limits(values, percentile):
    """Return (low, high), the limits that hold a percentile."""
    ...


# %%
lab.check_limits(limits)

# %% [markdown]
# ## An MSB
#
# The MSB of two limits is the smallest integer whose amplitude $2^{\mathrm{MSB}}$ reaches both (Equation 11 of the
# thesis).


# %%
def msb_of(low, high):
    """Return the smallest MSB whose amplitude reaches both limits."""
    ...


# %%
lab.check_msb_of(msb_of)

# %% [markdown]
# ## Octaves
#
# The MSB is an integer, so it is enough to know how many values each MSB would add. Octave $k$ holds the magnitudes above
# $2^{k-1}$, up to $2^k$ and including it. A value of zero needs no range and is left out.


# %%
def octaves(values):
    """Return a dictionary: octave -> number of values in it."""
    ...


# %%
lab.check_octaves(octaves)

# %% [markdown]
# ## An MSB from batches
#
# Now the values are gone, and only the octaves of each batch are left. Find the smallest MSB whose amplitude holds at
# least a percentile of all values. (Magnitudes only: this is not quite the percentile of the first section, which cuts
# each end on its own.)


# %%
def msb_holding(batches, percentile):
    """Return the MSB that holds a percentile of the values.

    batches: a list of dictionaries, as octaves returns them.
    """
    ...


# %%
lab.check_msb_holding(msb_holding)

# %% [markdown]
# ## A stream
#
# A hundred batches, of which one has a value far out. The values are drawn, counted and forgotten.

# %%
rng = np.random.default_rng(0)
batches = []
for number in range(100):
    values = rng.laplace(0, 0.5, 1000)
    values[0] *= 50 if number == 70 else 1
    batches.append(octaves(values))
for percentile in (95, 98, 99.9, 99.99, 100):
    print(f"{percentile} %: MSB {msb_holding(batches, percentile)}")

# %%
low, high = limits(values, 98)
print(f"the last batch alone, at 98 %: {low:.2f} to {high:.2f}, "
      f"MSB {msb_of(low, high)}")

# %% [markdown]
# ## An open question
#
# Octaves are enough for a percentile of magnitudes. Are they enough for the MSB of *least squared error* (lab 1)? The
# error of rounding needs only the step; the error of clipping needs the values. Find a small summary of each octave with
# which the squared error of every MSB can be computed, exactly or nearly.

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 6: convict the half step
#
# Chapter 6 finds that two theses differ by half a step. You build the evidence: the shift, the sum that carries it, the
# repair, and the comparison that tells a difference from chance.
#
# - **Time**: 45 minutes.
# - **You need**: chapter 6, NumPy, the mean and the standard deviation.
# - **Goals**: measure the shift of a kernel; predict its effect from the inputs alone; undo it with one sum; compare two
#   networks on the same images.
#
# Replace each `...` by your code and run the cell below it. A check names the first input that fails and a hint; it
# does not show the right result.

# %%
import numpy as np

from fewbits import FixedPoint, quantize
from fewbits.labs import half_step as lab

# %% [markdown]
# ## The shift of a kernel
#
# A kernel has the shape `(k, k, c, filters)`. How far has quantization moved the weights of each filter, on average and
# in steps?


# %%
def mean_shift(kernel, quantized, step):
    """Return the mean error of each filter, in steps."""
    ...


# %%
lab.check_mean_shift(mean_shift)

# %% [markdown]
# ## The sum of a window
#
# If all weights of a filter move by the same $\delta$, its output moves by $\delta \sum x$, summed over the window. The
# image has the shape `(h, w, c)`; there is no border, and the stride is 1.


# %%
def window_sums(x, size):
    """Return the sums of all windows of size by size pixels."""
    ...


# %%
lab.check_window_sums(window_sums)

# %% [markdown]
# ## Mid-step
#
# A kernel was rounded down, and its codes are stored. Read each code $k$ as $q\,(k + \frac12)$. Compute the outputs that
# this gives from the outputs of the kernel as stored, of shape `(h, w, filters)`, and the sums of the windows.


# %%
def mid_step(outputs, sums, step):
    """Return the outputs with codes read half a step higher."""
    ...


# %%
lab.check_mid_step(mid_step)

# %% [markdown]
# ## The same images
#
# Two networks read the same images. Compare them image by image: the difference is 1, 0 or -1. Return the mean of the
# differences and its standard error (the standard deviation of a sample, over the root of its size).


# %%
def compare(one, other):
    """Return (mean difference, standard error) of two bool arrays."""
    ...


# %%
lab.check_compare(compare)

# %% [markdown]
# ## The evidence
#
# A layer after a ReLU, with kernels of 5 bits. How much of the error of rounding down does one number per filter and
# one sum per window explain?

# %%
rng = np.random.default_rng(0)
x = np.maximum(rng.normal(0, 1, (20, 20, 16)), 0)
kernel, fmt = rng.normal(0, 0.1, (3, 3, 16, 8)), FixedPoint(0, 5)
windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (0, 1))
floor, nearest = (quantize(kernel, fmt, r) for r in ("floor", "nearest"))
wanted, down, near = (
    np.einsum("hwcij,ijcf->hwf", windows, w)
    for w in (kernel, floor, nearest)
)
sums = window_sums(x, 3)

# %%
print("shift", mean_shift(kernel, quantize(kernel, fmt), fmt.step).round(2))
repaired = mid_step(down, sums, fmt.step)
for name, y in (("down", down), ("mid-step", repaired), ("nearest", near)):
    print(f"{name}: RMS error {np.sqrt(np.mean((y - wanted) ** 2)):.3f}")
one, other = ((y > 0) == (wanted > 0) for y in (repaired, down))
gain, error = compare(one.ravel(), other.ravel())
print(f"right signs: {gain:+.1%}, standard error {error:.1%}")

# %% [markdown]
# ## An open question
#
# Mid-step costs one sum per window. Could a device do with less, for example with a sum that it keeps from window to
# window, or one sum per row? And what remains of the error if the sum itself is kept in few bits? Measure how coarse it
# may be before `mid_step` loses to rounding to nearest.

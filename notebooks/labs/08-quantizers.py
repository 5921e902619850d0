# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 8: the arithmetic of a phone
#
# Files for phones have a scale and a zero point. You build their arithmetic, up to the integer that replaces the last
# real number: the factor between two scales.
#
# - **Time**: 50 minutes.
# - **You need**: chapters 1 and 8, NumPy, `math.frexp` is of use.
# - **Goals**: find scale and zero point of a range; encode; multiply codes and see which zero point costs what; turn a
#   factor into a multiplication of integers and a shift.
#
# Replace each `...` by your code and run the cell below it. A check names the first input that fails and a hint; it
# does not show the right result.

# %%
import math

import numpy as np

from fewbits.labs import affine_codes as lab

# %% [markdown]
# ## Scale and zero point
#
# Unsigned codes $0$ to $2^n - 1$ span the range from `low` to `high` and, in any case, 0. A code $k$ stands for
# $s\,(k - z)$, and 0 must have a code of its own.


# %%
def span(low, high, nbits):
    """Return (scale, zero point) of unsigned codes."""
    ...


# %%
lab.check_span(span)

# %% [markdown]
# ## Codes
#
# Round to nearest (ties may go either way), and saturate.


# %%
def affine_encode(x, scale, zero, nbits):
    """Return the unsigned integer codes of an array."""
    ...


# %%
lab.check_affine_encode(affine_encode)

# %% [markdown]
# ## A product of codes
#
# Inputs have the shape `(images, inputs)`, kernels `(inputs, filters)`, both as uint8. Compute the sums of
# $(k_x - z_x)(k_w - z_w)$. A device does not subtract the zero points from every code: write the matrix product of the
# codes, and correct it with sums.


# %%
def product_of_codes(kx, kw, zx, zw):
    """Return the sums of products, of shape (images, filters)."""
    ...


# %%
lab.check_product_of_codes(product_of_codes)

# %% [markdown]
# ## A factor without a float
#
# A sum of products counts in $s_x s_w$, the output in $s_y$. The factor $s_x s_w / s_y$ is any positive number. Write it
# as $m / 2^{\mathrm{shift}}$ with an integer $2^{30} \le m < 2^{31}$, as exact as possible.


# %%
def multiplier(factor):
    """Return (m, shift): two integers for a positive factor."""
    ...


# %%
lab.check_multiplier(multiplier)

# %% [markdown]
# ## A layer as in a file
#
# A dense layer in integers from end to end, beside the float one.

# %%
rng = np.random.default_rng(0)
x, w = np.maximum(rng.normal(0, 1, (100, 64)), 0), rng.normal(0, 0.1, (64, 10))
wanted = x @ w
(sx, zx), (sw, zw), (sy, zy) = (
    span(v.min(), v.max(), 8) for v in (x, w, wanted)
)
kx, kw = affine_encode(x, sx, zx, 8), affine_encode(w, sw, zw, 8)
total = product_of_codes(kx.astype(np.uint8), kw.astype(np.uint8), zx, zw)
m, shift = multiplier(sx * sw / sy)

# %%
codes = ((total.astype(np.int64) * m + (1 << shift - 1)) >> shift) + zy
y = (np.clip(codes, 0, 255) - zy) * sy
noise = np.sum((y - wanted) ** 2) / np.sum(wanted**2)
print(f"multiplier {m}, shift {shift}, SQNR {-10 * math.log10(noise):.1f} dB")

# %% [markdown]
# ## An open question
#
# How many bits does the multiplier need? With one bit it is a power of two, and the device only shifts. Measure the SQNR
# of the layer with a multiplier of 1, 2, 4, 8 bits. Then let the *scale of the output* move so that a short multiplier is
# exact: what does that cost instead?

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 4: a convolution in integers
#
# Chapter 4 simulates a quantized convolution with floats. You build the same layer as a device has it: codes go in,
# codes come out, and there is no float in between.
#
# - **Time**: 60 minutes.
# - **You need**: chapters 1 and 4, NumPy (slices, `np.sum` or `np.einsum`). Lab 1 helps.
# - **Goals**: add up products of codes without overflow; put the bias into the accumulator; return to few bits by a
#   shift; compare the layer with its simulation, bit for bit.
#
# Replace each `...` by your code and run the cell below it. A check names the first input that fails and a hint; it
# does not show the right result.

# %%
import numpy as np

from fewbits.labs import quantized_convolution as lab


def codes_of(x, msb, nbits):
    """Return the nearest codes, ties up, saturated (lab 1)."""
    codes = np.floor(x / 2.0 ** (msb + 1 - nbits) + 0.5).astype(int)
    return np.clip(codes, -(2 ** (nbits - 1)), 2 ** (nbits - 1) - 1)


# %% [markdown]
# ## Sums of products
#
# An image of codes has the shape `(h, w, c)`, a kernel `(k, k, c, filters)`. There is no border, the stride is 1, and the
# output has the shape `(h - k + 1, w - k + 1, filters)`. The codes may come as int8.


# %%
def convolve(x, kernel):
    """Return the sums of products at each place, for each filter."""
    ...


# %%
lab.check_convolve(convolve)

# %% [markdown]
# ## The bias
#
# The bias is added to the sum of products, so it must count in the same step. It goes to the nearest code.


# %%
def bias_codes(bias, x_step, w_step):
    """Return the codes of the biases in the accumulator."""
    ...


# %%
lab.check_bias_codes(bias_codes)

# %% [markdown]
# ## Back to few bits
#
# The step of the output is $2^{\mathrm{shift}}$ times the step of the products. The shift may be negative. Round to the
# nearest code, ties upwards, and saturate.


# %%
def requantize(totals, shift, nbits):
    """Return codes of nbits: totals / 2**shift to nearest, ties up."""
    ...


# %%
lab.check_requantize(requantize)

# %% [markdown]
# ## The layer
#
# The formats are three pairs `(msb, nbits)`, of input, kernel and output. The steps are $2^{\mathrm{MSB}+1-n}$: which
# shift do they give? Use the functions above, and a ReLU at the end.


# %%
def quantized_layer(x, kernel, bias, formats):
    """Return the output's codes; x, kernel and bias are floats."""
    ...


# %%
lab.check_quantized_layer(quantized_layer)

# %% [markdown]
# ## Few bits on an image
#
# The layer on an image of noise, at fewer and fewer bits: how far are its outputs from the float layer?

# %%
rng = np.random.default_rng(0)
x, kernel = rng.random((16, 16, 3)), rng.normal(0, 0.2, (3, 3, 3, 8))
bias = rng.normal(0, 0.1, 8)
fine = quantized_layer(x, kernel, bias, ((0, 20), (0, 20), (2, 20)))
for n in (8, 6, 5, 4, 3):
    codes = quantized_layer(x, kernel, bias, ((0, n), (0, n), (2, n)))
    error = codes * 2.0 ** (3 - n) - fine * 2.0 ** (3 - 20)
    print(f"{n} bits: RMS error {np.sqrt(np.mean(error**2)):.4f}")

# %% [markdown]
# ## An open question
#
# How wide must the accumulator be? The bound from the formats, $k^2 c \cdot 2^{n_x - 1} 2^{n_w - 1}$, is never reached by
# a real kernel. Find a bound from the codes of the kernel alone, and compare it with the largest total that your layer
# meets. How many bits of the accumulator could a device save, and what would it risk?

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 17: an engine, pixel by pixel
#
# You build the parts of the convolution engine in Python: weights in slices of four bits, the window over a stream of
# pixels, the queue of partial sums, and the shift that rounds. Then you count cycles, and find out which change of a
# network or of the engine makes it fastest.
#
# - **Time**: 50 minutes.
# - **You need**: chapter 17, and NumPy.
# - **Goals**: cut integers into slices; compute on a stream without storing it; round by a bias; predict cycles.
#
# Replace the dots of a function by your code, run its cell, then run the check below it. A check says what is wrong,
# not how to do it.

# %%
from collections import deque

import numpy as np

from fewbits.labs import dense_network
from fewbits.labs import pixel_streams as lab

# %% [markdown]
# ## 1. Slices
#
# The multipliers take four bits of a weight. Cut an array of integer weights of `bits` bits (4, 8 or 16) into slices
# $s_0, s_1, \dots$, the lowest first, with $w = s_0 + 16 s_1 + 16^2 s_2 + \dots$. All slices are from 0 to 15, except
# for the last one, which has the sign: it is from -8 to 7.

# %%
def slices(weights, bits):
    """Return an array of integers (bits / 4, weights)."""
    ...


# %%
lab.check_slices(slices)

# %% [markdown]
# ## 2. A window on a stream
#
# `pixels` is an iterator over the pixels of a plane, row by row; `width` is the length of a row. Yield each complete
# window of 3x3, as three rows of three pixels, as soon as its last pixel has arrived. Do not wait for the end of the
# plane: an engine that did would have to store it. How many pixels must be kept?

# %%
def windows(pixels, width):
    """Yield the windows of 3x3, each as soon as it is complete."""
    ...


# %%
lab.check_windows(windows)

# %% [markdown]
# ## 3. The codes of a filter
#
# `planes` has the pixels (planes, height, width), `weights` the kernel (planes, 3, 3) of one filter. Take one plane
# after the other; the partial sum of each place waits in a queue for the next plane. Then shift the sums to the right
# by `shift` bits, rounding half up, and keep the codes between the two `limits`. No pixels are added at the border. You
# need no division and no float: which bias makes `>>` round half up?

# %%
def engine_layer(planes, weights, bias, shift, limits):
    """Return the codes (height - 2, width - 2)."""
    ...


# %%
lab.check_engine_layer(engine_layer)

# %% [markdown]
# ## 4. Cycles
#
# The engine reads a pixel per cycle, and multiplies with nine multipliers for each of the `at_once` filters of a run. A
# layer has `planes` planes of `height` x `width` pixels and `filters` kernels of `side` x `side` (1 or 3), and the
# engine pads so that with a stride of 1 each pixel has a place. With a stride of 2 each second row and column has one;
# `height` and `width` are even then. Count no cycles for the ends.

# %%
def cycles(height, width, planes, filters, side, stride, at_once):
    """Return the cycles, and the share of the multipliers in use."""
    ...


# %%
lab.check_cycles(cycles)

# %% [markdown]
# ## An edge on your engine
#
# A digit of 8x8 pixels (codes of 5 bits, step $2^{-5}$) meets a filter for edges, with weights of 8 bits. Each slice of
# the weights makes sums of its own, which are then joined:

# %%
digits = dense_network.flat_digits()
digit = np.rint(digits["test"][0][3] * 32).astype(int).reshape(1, 8, 8)
edge = np.array([[[-18, 0, 18], [-36, 0, 36], [-18, 0, 18]]])
wide = -(2**20), 2**20
low, high = (engine_layer(digit, part.reshape(edge.shape), 0, 0, wide)
             for part in slices(edge.ravel(), 8))
whole = engine_layer(digit, edge, 0, 0, wide)
print("joined slices differ from the whole in",
      np.sum(low + 16 * high != whole), "of", whole.size, "sums")
print(engine_layer(digit, edge, 0, 5, (0, 255)))

# %% [markdown]
# ## Which change pays?
#
# A fire module of SqueezeNet v1.1, with planes of 55x55 pixels: 128 planes are squeezed to 16 by 1x1 kernels, and
# expanded to 64 + 64 by 1x1 and 3x3 kernels.

# %%
def fire(squeeze, at_once):
    """Return the million cycles of a fire module, and its use."""
    layers = [(128, squeeze, 1), (squeeze, 64, 1), (squeeze, 64, 3)]
    counts = [cycles(55, 55, planes, filters, side, 1, at_once)
              for planes, filters, side in layers]
    total = sum(count for count, _ in counts)
    return total / 1e6, sum(n * used for n, used in counts) / total


for squeeze, at_once in ((16, 8), (8, 8), (16, 16), (16, 64)):
    total, used = fire(squeeze, at_once)
    print(f"{squeeze} squeezed, {at_once} filters at once: "
          f"{total:.2f} million cycles, {used:.0%} in use")

# %% [markdown]
# ## An open question
#
# Most cycles of SqueezeNet go into 1x1 kernels, which use one multiplier in nine. An engine could read nine planes at
# once and give one of them to each multiplier. What would become of the line buffers, the memory of the pixels, and the
# order of the weights? How many cycles would the fire module take, and what would a 3x3 layer cost on such an engine?

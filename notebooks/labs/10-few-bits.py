# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 10: train with 2 bits
#
# You build the training of a network whose weights and activations have few bits: the values, the gradient that passes
# a rounding, the step, and the way down. Then you take the digits to 2 bits.
#
# - **Time**: 45 minutes.
# - **You need**: chapter 10, and NumPy.
# - **Goals**: say why the small steps of training need weights in float; pass a gradient through a rounding that has
#   none; compare ways down with equal training.
#
# Replace the dots of a function by your code, run its cell, then run the check below it. A check says what is wrong,
# not how to do it.

# %%
import numpy as np

from fewbits.labs import dense_network
from fewbits.labs import few_bits as lab

# %% [markdown]
# ## 1. The values
#
# A format has an MSB $m$ and $n$ bits. Its step is $q = 2^{m+1-n}$. Signed codes begin at $-2^{n-1}$, unsigned ones at
# 0; there are $2^n$ of them in both. Round to the nearest code (halves to the even one), stay within the codes, and
# return values.

# %%
def few_bit_values(x, msb, nbits, signed):
    """Round an array to the values of a format."""
    ...


# %%
lab.check_few_bit_values(few_bit_values)

# %% [markdown]
# ## 2. The gradient
#
# A rounding is a staircase: its derivative is 0 nearly everywhere, and nothing would learn. So we act as if the
# rounding were not there, but not as if the *limits* were not there: beyond the lowest and the highest value, a change
# of `x` changes nothing.

# %%
def gradient_through(gradient, x, msb, nbits, signed):
    """Return the gradient by `x`, from that by its rounded values."""
    ...


# %%
lab.check_gradient_through(gradient_through)

# %% [markdown]
# ## 3. The step
#
# `gradient_at(w)` is the gradient of the loss of a network with the weights `w`. The network computes with
# `rounded(weights)`. One step is far smaller than the step of 2 bits. Where does the training keep its weights, and at
# which weights does it ask for the gradient?

# %%
def train_step(weights, gradient_at, rounded, rate):
    """Return the weights after one step of gradient descent."""
    ...


# %%
lab.check_train_step(train_step)

# %% [markdown]
# ## 4. The way down
#
# A stage gives each level its bits: a list with one number per level. All levels have `start` bits before the first
# stage. Return the list of stages:
#
# - `all at once`: one stage.
# - `level by level`: one stage per level, from the input on; a level that has been reached keeps the goal.
# - `bit by bit`: all levels lose one bit per stage.

# %%
def bit_stages(way, start, goal, levels):
    """Return the bits of each level in each stage."""
    ...


# %%
lab.check_bit_stages(bit_stages)

# %% [markdown]
# ## 5. What it costs
#
# The first and the last level keep `edge_bits`. How many bits has a *weight*, on average?

# %%
def bits_per_weight(sizes, bits, edge_bits):
    """Return the mean bits of a weight; `sizes` are weights per level."""
    ...


# %%
lab.check_bits_per_weight(bits_per_weight)

# %% [markdown]
# ## The digits with 2 bits
#
# Your functions at work: a network of four levels, kernels rounded with your values. (The hidden levels stay in float
# here, so that one thing changes at a time.)

# %%
digits = dense_network.flat_digits()
start = dense_network.draw_layers((64, 32, 32, 32, 10))
whole = dense_network.train_layers(start, *digits["train"])
SIZES = [kernel.size for kernel, _ in whole]
MSB = -1  # of all kernels


# %%
def rounded_network(network, bits):
    return [(few_bit_values(kernel, MSB, n, True), bias)
            for (kernel, bias), n in zip(network, bits)]


def gradients_with(bits):
    def gradients(network, images, labels):
        found = dense_network.layer_gradients(
            rounded_network(network, bits), images, labels)
        return [(gradient_through(by, kernel, MSB, n, True), b)
                for (by, b), (kernel, _), n in zip(found, network, bits)]
    return gradients


# %%
EPOCHS = 40
for way in ("all at once", "level by level", "bit by bit"):
    network, planned = whole, bit_stages(way, 8, 2, len(whole))
    for bits in planned:
        network = dense_network.train_layers(
            network, *digits["train"], epochs=EPOCHS // len(planned),
            rate=0.05, gradients=gradients_with(bits))
    untrained = rounded_network(whole, planned[-1])
    trained = rounded_network(network, planned[-1])
    shares = [dense_network.share_read(net, *digits["validation"])
              for net in (whole, untrained, trained)]
    print(way, *(f"{share:.1%}" for share in shares))
print(f"{bits_per_weight(SIZES, 2, 8):.2f} bits with edges at 8")

# %% [markdown]
# Each line shows the float network, the same rounded to 2 bits, and what training made of it. All ways had equal
# training; `train_layers` steps as your `train_step` does.
#
# ## An open question
#
# Which weights are within a thousandth of the edge between two codes at the end of training, and how many codes changed
# in the last epoch? Are weights that jump back and forth a help, because they try both codes, or noise? Count them for
# each way, and find out whether freezing them changes what the network reads.

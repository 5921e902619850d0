# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 15: what is left to spare
#
# A pruned network often suffers more from few bits. You build the instruments that say why: its bytes, the noise on its
# logits, the same noise for every network, the lead of its answers, and a comparison that is fair image by image.
#
# - **Time**: 45 minutes.
# - **You need**: chapter 15, and NumPy.
# - **Goals**: predict what two techniques save together; tell larger errors from less reserve; compare two losses with
#   an interval.
#
# Replace the dots of a function by your code, run its cell, then run the check below it. A check says what is wrong,
# not how to do it.

# %%
import numpy as np

from fewbits.labs import dense_network
from fewbits.labs import reserve as lab

# %% [markdown]
# ## 1. Bytes
#
# A chain of layers has `units`: the inputs, then the units of each layer. All weights have `bits`, each bias has 32.
# The weights of a layer are packed without gaps, and each layer begins at a byte of its own.

# %%
def chain_bytes(units, bits):
    """Return the bytes of all weights and biases."""
    ...


# %%
lab.check_chain_bytes(chain_bytes)

# %% [markdown]
# ## 2. Noise in decibels
#
# `before` and `after` are logits (images, classes). What all classes of an image have in common decides nothing, so
# take it out of both. Return ten times the decimal logarithm of the power of the signal over the power of the noise.

# %%
def logit_sqnr(before, after):
    """Return the SQNR of `after` in decibels."""
    ...


# %%
lab.check_logit_sqnr(logit_sqnr)

# %% [markdown]
# ## 3. The same noise for all
#
# Add noise to logits so that `logit_sqnr` of the result is `decibels`. `noise` is a draw of the shape of `logits`: only
# its strength has to change.

# %%
def add_noise(logits, noise, decibels):
    """Return the logits with noise of the given strength."""
    ...


# %%
lab.check_add_noise(add_noise)

# %% [markdown]
# ## 4. The lead
#
# By how much does the highest logit of an image lead over the second? Return the median over the images, in root mean
# squares of the logits (what classes have in common taken out, as above).

# %%
def median_lead(logits):
    """Return the median lead of the highest logit."""
    ...


# %%
lab.check_median_lead(median_lead)

# %% [markdown]
# ## 5. Who loses more?
#
# Two networks answer the same images, before and after they lose bits: four arrays of bools, right or wrong. By how
# much does the second network lose more than the first? Return the mean and half of its 95 % interval, 1.96 standard
# deviations of the mean (divide by the number of images, not by one less).

# %%
def extra_loss(first, first_after, second, second_after):
    """Return how much more the second loses, and the half-width."""
    ...


# %%
lab.check_extra_loss(extra_loss)

# %% [markdown]
# ## A pruned network at 3 bits
#
# The second network has a quarter of the units and equal training. Kernels are rounded to nearest, with the MSB of
# their largest weight.

# %%
digits = dense_network.flat_digits()
images, labels = digits["test"]
UNITS = {"whole": (64, 64, 64, 10), "small": (64, 16, 16, 10)}
nets = {name: dense_network.train_layers(
    dense_network.draw_layers(units), *digits["train"])
    for name, units in UNITS.items()}


# %%
def rounded(kernel, bits):
    step = 2.0 ** (np.ceil(np.log2(np.abs(kernel).max())) + 1 - bits)
    limit = 2 ** (bits - 1)
    return step * np.clip(np.rint(kernel / step), -limit, limit - 1)


def read(net):
    return dense_network.layer_outputs(net, images)[-1]


BITS = 3
logits = {name: read(net) for name, net in nets.items()}
after = {name: read([(rounded(kernel, BITS), bias) for kernel, bias in net])
         for name, net in nets.items()}

# %%
noise = np.random.default_rng(0).normal(size=logits["whole"].shape)
level = logit_sqnr(logits["whole"], after["whole"])
right = {}
for name, found in logits.items():
    noisy = add_noise(found, noise, level)
    tried = found, after[name], noisy
    right[name] = [each.argmax(axis=1) == labels for each in tried]
    print(f"{name}: {chain_bytes(UNITS[name], BITS):,} bytes,",
          f"{logit_sqnr(found, after[name]):.1f} dB,",
          f"lead {median_lead(found):.2f};",
          *(f"{np.mean(answers):.1%}" for answers in right[name]))

# %%
for what, i in (("3 bits", 1), ("equal noise", 2)):
    whole, small = right["whole"], right["small"]
    mean, half = extra_loss(whole[0], whole[i], small[0], small[i])
    print(f"{what}: the small one loses {100 * mean:+.1f} points more,",
          f"within {100 * half:.1f}")

# %% [markdown]
# Each line of the first output ends with what the network reads in float, at 3 bits, and with equal noise.
#
# ## An open question
#
# Noise that you draw is spread over all classes alike. That of a rounding is not: it is the same weights that err for
# every image. Measure how the errors of the logits correlate between classes, and draw noise with that covariance. Does
# the small network still lose as much, and which of the two instruments should decide what is to blame?

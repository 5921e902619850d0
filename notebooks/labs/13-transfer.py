# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 13: take levels from another network
#
# You take levels from a trained network, measure what training moves, set a moving mean so that a short training is
# judged fairly, and find out where a network sees what it names. Then you teach five digits to a network that knows the
# other five.
#
# - **Time**: 50 minutes.
# - **You need**: chapter 13, and NumPy.
# - **Goals**: transfer levels without tying two networks together; compare two starts fairly; turn a classifier into a
#   map without training.
#
# Replace the dots of a function by your code, run its cell, then run the check below it. A check says what is wrong,
# not how to do it.

# %%
import numpy as np

from fewbits.labs import dense_network
from fewbits.labs import taken_levels as lab

# %% [markdown]
# ## 1. Taking levels
#
# A network is a list of levels, from the input on; a level is a dict of arrays. Return a new network: its first `count`
# levels are those of `source`, the others those of `target`. Nobody wants to find one of the two networks changed when
# the new one is trained.

# %%
def take_first(target, source, count):
    """Return a network with `count` levels of `source`."""
    ...


# %%
lab.check_take_first(take_first)

# %% [markdown]
# ## 2. What moved
#
# How far is a kernel from where it began? The norm of the change, as a share of the norm before.

# %%
def moved_share(before, after):
    """Return the norm of the change over the norm of `before`."""
    ...


# %%
lab.check_moved_share(moved_share)

# %% [markdown]
# ## 3. A moving mean that forgets its start
#
# Batch normalization is tested with a moving mean. Each step of training replaces a part of it: `momentum` of the old
# mean stays, the rest comes from the mean of the batch. A training has `steps` steps. Which momentum leaves `share` of
# the mean that it started with, and no more?

# %%
def momentum_for(share, steps):
    """Return the momentum after which `share` of the start is left."""
    ...


# %%
lab.check_momentum_for(momentum_for)

# %% [markdown]
# ## 4. Maps of classes
#
# A network ends in a 1x1 convolution, then global average pooling: its logits are
# `(features @ kernel + bias).mean((0, 1))`. `features` are (height, width, channels). Leave the mean out, take the
# softmax over the classes at each place, and return the map of one class.

# %%
def class_map(features, kernel, bias, label):
    """Return how sure the network is of `label` at each place."""
    ...


# %%
lab.check_class_map(class_map)

# %% [markdown]
# ## 5. The pointing game
#
# The highest place of a map points at pixel coordinates: the middle of its cell, in an image of `height` by `width`
# pixels. A box is (top, left, bottom, right) in pixels; it begins at top and left, and ends just before bottom and
# right. Does the map point into one of the boxes?

# %%
def points_right(heat, boxes, height, width):
    """Return whether the highest place of `heat` is in a box."""
    ...


# %%
lab.check_points_right(points_right)

# %% [markdown]
# ## Five digits from the other five
#
# One network learns the digits 0 to 4 from all images. Another one learns 5 to 9 from forty images only: from random
# weights, or with the first level taken.

# %%
digits = dense_network.flat_digits()


def part(name, labels, count=None):
    images, truth = digits[name]
    chosen = np.flatnonzero(np.isin(truth, labels))[:count]
    return images[chosen], truth[chosen] - min(labels)


def as_levels(layers):
    return [{"kernel": kernel, "bias": bias} for kernel, bias in layers]


# %%
known = dense_network.train_layers(
    dense_network.draw_layers((64, 32, 5), seed=1), *part("train", range(5)))

# %%
for count in (0, 1):
    shares, moves = [], []
    for seed in range(5):
        fresh = dense_network.draw_layers((64, 32, 5), seed + 10)
        levels = take_first(as_levels(fresh), as_levels(known), count)
        start = [(level["kernel"], level["bias"]) for level in levels]
        few = part("train", range(5, 10), 40)
        net = dense_network.train_layers(start, *few, 200, seed=seed)
        test = part("validation", range(5, 10))
        shares.append(dense_network.share_read(net, *test))
        moves.append(moved_share(start[0][0], net[0][0]))
    print(f"{count} levels taken: {np.mean(shares):.1%} of 5 seeds,",
          f"from {min(shares):.1%} to {max(shares):.1%};",
          f"the first kernel moved by {np.mean(moves):.0%}")

# %% [markdown]
# Is that what you expected, and what chapter 13 found? A unit of this first level reads its strokes at fixed pixels, a
# filter of a convolution reads them anywhere.
#
# ## An open question
#
# Five seeds draw five starts, but all learn from the *same* forty images, and all take from the same network. Which of
# the three matters most: the seed, the images, or who taught the levels? Vary each of them alone, and compare the
# spreads. Then say how many runs of which kind a claim like "transfer helps by two points" would need.

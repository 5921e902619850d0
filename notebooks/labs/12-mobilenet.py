# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 12: fewer filters or fewer pixels
#
# You split a convolution in two, count what that saves, and work out which width costs as much as which resolution.
# Then you plan a MobileNet for a budget of multiplications and one of bytes.
#
# - **Time**: 45 minutes.
# - **You need**: chapter 12, and NumPy.
# - **Goals**: compute a depthwise separable convolution; tell which costs follow the width and which the resolution;
#   choose between the two under a budget.
#
# Replace the dots of a function by your code, run its cell, then run the check below it. A check says what is wrong,
# not how to do it.

# %%
import numpy as np

from fewbits.labs import separable as lab

# %% [markdown]
# ## 1. Two halves
#
# The first half filters each channel by a filter of its own, the second mixes the channels at each pixel. `image` is
# (height, width, inputs), `filters` (window, window, inputs), `mixing` (inputs, outputs). The filter steps by one pixel
# and never leaves the image. As in all networks, it is not flipped.

# %%
def separable(image, filters, mixing):
    """Return the map: (height - window + 1, width - window + 1, outputs)."""
    ...


# %%
lab.check_separable(separable)

# %% [markdown]
# ## 2. What it costs
#
# Count the weights and the MACs of both halves on a map of `side` by `side` pixels, without biases. The padding is
# `same`, the stride 1.

# %%
def separable_cost(side, inputs, outputs, window):
    """Return the weights and the MACs."""
    ...


# %%
lab.check_separable_cost(separable_cost)

# %% [markdown]
# ## 3. Narrower
#
# `layers` are dicts with `side`, `inputs`, `outputs` and `window`, one for each separable convolution, as
# `separable_cost` takes them. A width multiplies all channels, but the first layer still reads what the image gives it.
# Channels are whole: round down. A resolution multiplies the sides: round up.

# %%
def scaled_layers(layers, width, resolution):
    """Return the layers of the narrower network for smaller images."""
    ...


# %%
lab.check_scaled_layers(scaled_layers)

# %% [markdown]
# ## 4. As much for the width as for the resolution
#
# A network has `layers` as above. Which width leaves as many MACs as the resolution, with nothing rounded? Each half
# depends on the width in its own way; so write down the sum for all layers and solve it. Take it that the first layer's
# inputs shrink, too.

# %%
def equal_width(layers, resolution):
    """Return the width that costs as many MACs as `resolution`."""
    ...


# %%
lab.check_equal_width(equal_width)

# %% [markdown]
# ## A network for a budget
#
# The separable convolutions of a MobileNet for images of 32 by 32:

# %%
SHAPES = [(32, 32, 64), (16, 64, 128), (16, 128, 128), (8, 128, 256),
          (8, 256, 256), (4, 256, 512), *5 * [(4, 512, 512)],
          (2, 512, 1024), (2, 1024, 1024)]
LAYERS = [{"side": side, "inputs": m, "outputs": n, "window": 3}
          for side, m, n in SHAPES]


def total(layers):
    return np.sum([separable_cost(**layer) for layer in layers], axis=0)


# %%
whole = total(LAYERS)
for width in (1, 0.75, 0.5, 0.25):
    for resolution in (1, 0.75, 0.5):
        weights, macs = total(scaled_layers(LAYERS, width, resolution))
        print(f"width {width:4}, resolution {resolution:4}:",
              f"{weights / whole[0]:4.0%} of the weights,",
              f"{macs / whole[1]:4.0%} of the MACs")

# %%
for resolution in (0.75, 0.5, 0.25):
    width = equal_width(LAYERS, resolution)
    print(f"resolution {resolution} costs as much as width {width:.3f}")

# %%
rng = np.random.default_rng(0)
image, filters = rng.normal(size=(32, 32, 3)), rng.normal(size=(3, 3, 3))
print(separable(image, filters, rng.normal(size=(3, 8))).shape)

# %% [markdown]
# Find a width and a resolution with at most 400,000 weights and a sixth of the MACs. There are many. Which one would
# you take, and what does chapter 12 say to it?
#
# ## An open question
#
# The two levers are turned for the whole network at once. Suppose each layer had a width of its own, at equal MACs:
# would you make the early layers narrow or the late ones? Prune a MobileNet by chapter 14 and look which layers pay. Is
# that the width that you would have chosen, and is a network that is *trained* with those widths from random weights as
# good as the pruned one?

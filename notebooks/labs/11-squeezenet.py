# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 11: a network for smaller images
#
# A network for photographs gets images of 32 by 32 pixels. You write the tools that show what becomes of it: the sides
# of its maps, what a value sees, which weights lie idle, what a fire module costs, and which classes are born dead.
# Then you repair the layout yourself.
#
# - **Time**: 40 minutes.
# - **You need**: chapter 11, and NumPy.
# - **Goals**: follow a map through a network on paper; tell costs that depend on pixels from those that do not; find
#   weights and classes that no training can wake.
#
# Replace the dots of a function by your code, run its cell, then run the check below it. A check says what is wrong,
# not how to do it.

# %%
import numpy as np

from fewbits.labs import small_images as lab

# %% [markdown]
# ## 1. The side of a map
#
# A window of `window` pixels steps over a map of `side` pixels, `stride` pixels at a time. With the padding `valid` it
# never leaves the map; with `same` it is placed at every `stride`-th pixel, and zeros are added where it sticks out.
# With `up`, the way of Caffe, it steps as with `valid`, and once more if pixels are left that no window has seen.

# %%
def map_side(side, window, stride, padding):
    """Return the side of the next map, in pixels."""
    ...


# %%
lab.check_map_side(map_side)

# %% [markdown]
# ## 2. What a value sees
#
# `layers` are the windows and strides on the way, from the image on: `[(7, 2), (3, 2)]`, for example. How many pixels
# of the image, side by side, does one value of the last map depend on?

# %%
def field_of_view(layers):
    """Return how many pixels of the image one value sees."""
    ...


# %%
lab.check_field_of_view(field_of_view)

# %% [markdown]
# ## 3. Weights that meet only zeros
#
# A filter has an odd window, the padding `same` and the stride 1. On a small map, some of its weights never meet a
# pixel, wherever the filter stands. How many of the `window * window` weights are these?

# %%
def idle_weights(window, side):
    """Return how many weights of a filter never meet a pixel."""
    ...


# %%
lab.check_idle_weights(idle_weights)

# %% [markdown]
# ## 4. A fire module
#
# A fire module squeezes `inputs` channels to `squeeze` by 1x1 filters. Then `expand` filters of 1x1 and `expand`
# filters of 3x3 read those, both with the padding `same`. Every filter has a bias. Count the parameters, biases too,
# and the MACs of the kernels on a map of `side` by `side` pixels.

# %%
def fire_cost(inputs, squeeze, expand, side):
    """Return the parameters and the MACs of a fire module."""
    ...


# %%
lab.check_fire_cost(fire_cost)

# %% [markdown]
# ## 5. Born dead
#
# `maps` are the sums of the last convolution for some images, before its ReLU: (images, height, width, classes). The
# logit of a class is the mean over its map, after the ReLU. Return for each class whether its logit is 0 for *all*
# images.

# %%
def dead_classes(maps):
    """Return a bool for each class: (classes,)."""
    ...


# %%
lab.check_dead_classes(dead_classes)

# %% [markdown]
# ## A layout for 32 pixels
#
# SqueezeNet v1.0, level by level: window, stride, padding. A fire module is a window of 3 that steps by 1.

# %%
FIRE, POOL = (3, 1, "same"), (3, 2, "up")
LAYOUT = {
    "conv1": (7, 2, "valid"), "pool1": POOL, "fire2": FIRE, "fire3": FIRE,
    "fire4": FIRE, "pool4": POOL, "fire5": FIRE, "fire6": FIRE,
    "fire7": FIRE, "fire8": FIRE, "pool8": POOL, "fire9": FIRE,
}


def follow(layout, side=32):
    sides = {}
    for name, (window, stride, padding) in layout.items():
        sides[name] = side = map_side(side, window, stride, padding)
    return sides


# %%
def describe(layout):
    sides = follow(layout)
    view = field_of_view([level[:2] for level in layout.values()])
    _, early = fire_cost(96, 16, 64, sides["fire2"])
    weights, late = fire_cost(512, 64, 256, sides["fire9"])
    idle = idle_weights(3, sides["fire9"]) / 9
    print(list(sides.values()), f"view {view} pixels;",
          f"fire2 {early / 1e6:.1f} M MACs;",
          f"fire9 {weights:,} parameters, {late / 1e6:.2f} M MACs,",
          f"{idle:.0%} of its 3x3 weights idle")


describe(LAYOUT)
describe(LAYOUT | {"conv1": (3, 1, "same")})

# %%
rng = np.random.default_rng(0)
for side in (1, 2, 4, 9):
    ideas = rng.normal(size=(1, 1, 1, 500))  # what all images share
    maps = ideas + rng.normal(size=(32, side, side, 500)) / 2
    print(f"side {side}: {dead_classes(maps).mean():.0%} of classes dead")

# %% [markdown]
# Now change `LAYOUT` so that no weight of `fire9` lies idle, and `fire2` has at most four times the MACs that it has in
# the first line.
#
# ## An open question
#
# The report that chapter 11 follows leaves the pixels by a later pooling. You may also leave them by a stride of 1 in
# `conv1`, by padding, or by a larger image, scaled up. Which one buys the most points per MAC? Plan the experiment:
# what must be equal, how many seeds, which images choose the rate? Train two of them with `fewbits train` and say what
# you may conclude.

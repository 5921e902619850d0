# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 14: remove filters
#
# You write a pruning step: the surgery, a criterion, its comparison across layers, and the choice of what goes. Then
# you prune a network for the digits by your criterion, by the weights, and at random.
#
# - **Time**: 50 minutes.
# - **You need**: chapter 14, and NumPy.
# - **Goals**: remove a filter from a graph with a concatenation; say why a criterion averages sizes and not values;
#   keep narrow layers from paying for wide ones.
#
# Replace the dots of a function by your code, run its cell, then run the check below it. A check says what is wrong,
# not how to do it.

# %%
import numpy as np

from fewbits.labs import dense_network
from fewbits.labs import least_filters as lab

# %% [markdown]
# ## 1. The surgery
#
# A convolution has `kernel` (height, width, inputs, filters) and `bias` (filters,). Its maps are concatenated *after*
# `before` channels of another layer; a third layer reads all of them with `reader` (height, width, channels, outputs).
# Remove the filters whose numbers are in `gone`.

# %%
def remove_filters_of(kernel, bias, reader, gone, before):
    """Return the three arrays without the filters of `gone`."""
    ...


# %%
lab.check_remove_filters_of(remove_filters_of)

# %% [markdown]
# ## 2. The Taylor criterion
#
# `maps` are the maps of a layer, (images, height, width, filters), and `gradients` those of the loss of each image by
# them. To first order, removing a filter changes the loss of an image by the sum of map times gradient. A filter
# matters if it changes the loss of images, up or down.

# %%
def taylor_scores(maps, gradients):
    """Return the importance of each filter: (filters,)."""
    ...


# %%
lab.check_taylor_scores(taylor_scores)

# %% [markdown]
# ## 3. Across layers
#
# `scores` is a dict, layer -> importance of its filters. Their scale differs from layer to layer. Divide each layer by
# its L2 norm. A layer may be dead.

# %%
def compared_scores(scores):
    """Return the scores, each layer divided by its norm."""
    ...


# %%
lab.check_compared_scores(compared_scores)

# %% [markdown]
# ## 4. What goes
#
# Choose the `n` least important filters of all layers together: layer -> sorted list of their numbers, for layers that
# lose some. A layer never loses its last filter; then the next filter in line goes instead.

# %%
def choose_least(scores, n):
    """Return the filters that go, as lists by layer."""
    ...


# %%
lab.check_choose_least(choose_least)

# %% [markdown]
# ## Prune the digits
#
# In a dense network a unit is a filter on a map of one pixel, so your functions fit: `images` become (n, 1, 1, units).

# %%
digits = dense_network.flat_digits()
whole = dense_network.train_layers(
    dense_network.draw_layers((64, 48, 24, 10)), *digits["train"])
few = [array[:256] for array in digits["train"]]


def maps(arrays):
    return [array[:, None, None, :] for array in arrays[:-1]]


# %%
def scores_of(network, criterion):
    if criterion == "taylor":
        outputs = dense_network.layer_outputs(network, few[0])
        by = dense_network.output_gradients(network, *few)
        pairs = zip(maps(outputs), maps(by))
        return dict(enumerate(taylor_scores(*pair) for pair in pairs))
    if criterion == "weights":
        kernels = [np.abs(kernel).sum(axis=0) for kernel, _ in network]
        return dict(enumerate(kernels[:-1]))
    rng = np.random.default_rng(0)
    return {i: rng.random(len(bias)) for i, (_, bias) in
            enumerate(network[:-1])}


# %%
def pruned(network, gone):
    network = list(network)
    for layer, numbers in gone.items():
        (kernel, bias), (reader, after) = network[layer], network[layer + 1]
        kernel, bias, reader = remove_filters_of(
            kernel[None, None], bias, reader[None, None], numbers, 0)
        network[layer] = kernel[0, 0], bias
        network[layer + 1] = reader[0, 0], after
    return network


# %%
for criterion in ("taylor", "weights", "random"):
    scores = compared_scores(scores_of(whole, criterion))
    for n in (18, 36, 54):
        gone = choose_least(scores, n)
        left = pruned(whole, gone)
        read = dense_network.share_read(left, *digits["validation"])
        units = [len(bias) for _, bias in left[:-1]]
        print(f"{criterion:8}{n} of 72 units gone, {units} left: {read:.1%}")

# %% [markdown]
# ## An open question
#
# All went at once here, and nothing was trained. Go in steps: rank, remove six, train for two epochs, rank again. Does
# the order of the three criteria stay the same? Then give each criterion the same *MACs* instead of the same number of
# units, and judge it on several seeds of the whole network. How sure can you be of the winner?

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 2: a counter for your own network
#
# You build what `fewbits.costs` does: the bills of a network from nothing but the shapes of its layers.
#
# - **Time**: 40 minutes.
# - **You need**: chapter 2; Python without NumPy is enough.
# - **Goals**: find the size of an output; count parameters, MACs and values of a convolution, grouped ones too; count
#   packed bytes; find the peak of the memory by asking when each value is read last.
#
# Replace each `...` by your code and run the cell below it. A check names the first input that fails and a hint; it
# does not show the right result.

# %%
from fewbits.labs import counting as lab

# %% [markdown]
# ## The side of an output
#
# With padding `"valid"` the kernel stays within the image. With `"same"` the image gets a border of zeros, and there is
# a place at pixel 0, at pixel `stride`, and so on, as long as the pixel lies in the image.


# %%
def output_side(side, kernel, stride, padding):
    """Return how many places a kernel has along one side."""
    ...


# %%
lab.check_output_side(output_side)

# %% [markdown]
# ## The bills of a convolution
#
# Stride 1 and padding `"same"`, so the output has the sides of the image. With $g$ groups, the channels and the filters
# are split into $g$ equal parts, and a filter reads only the channels of its part. Each filter has a bias. The additions
# of biases are not counted as MACs.


# %%
def convolution_bills(image, filters, kernel, groups):
    """Return (parameters, MACs, values written); image = (h, w, c)."""
    ...


# %%
lab.check_convolution_bills(convolution_bills)

# %% [markdown]
# ## Bytes
#
# A device packs the weights of a layer, all with the same number of bits, without gaps. Each layer begins with a new
# byte, and each bias takes 32 bits.


# %%
def packed_bytes(layers, bits):
    """Return the bytes of layers, a list of (weights, biases)."""
    ...


# %%
lab.check_packed_bytes(packed_bytes)

# %% [markdown]
# ## The peak of the memory
#
# A network runs step by step. A step is a name, the names that it reads, and the number of values that it makes. A value
# is held from the step that makes it to the last step that reads it. The result of the last step is read by the user.


# %%
def peak_values(steps):
    """Return the most values that are held at a time.

    steps: a list of (name, names that it reads, values that it makes).
    """
    ...


# %%
lab.check_peak_values(peak_values)

# %% [markdown]
# ## A fire module and the layer it replaces
#
# Your functions on the module of chapter 2.

# %%
side = output_side(224, 3, 2, "valid")
pooled = output_side(output_side(side, 3, 2, "valid"), 1, 1, "valid")
plain = [((pooled, pooled, 128), 128, 3, 1)]
fire = [((pooled, pooled, 128), 16, 1, 1)]
fire += [((pooled, pooled, 16), 64, k, 1) for k in (1, 3)]
for name, layers in (("plain 3x3", plain), ("fire", fire)):
    bills = [convolution_bills(*layer) for layer in layers]
    parameters, macs, values = (sum(column) for column in zip(*bills))
    print(f"{name}: {parameters:,} parameters, {macs:,} MACs, {values:,}")

# %%
sizes = [(p - layer[1], layer[1]) for layer, (p, *_) in zip(fire, bills)]
for bits in (8, 6, 4):
    print(bits, "bits:", packed_bytes(sizes, bits), "bytes")

# %% [markdown]
# ## An open question
#
# The order of the steps changes the peak: two branches can be computed one after the other, or in turns. Write steps
# with two branches for which one order needs half the memory of another. Is there a rule that finds the best order for
# any network? Compare with the order that `fewbits.costs.totals` assumes.

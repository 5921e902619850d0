# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 18: bits within a budget
#
# You find the networks that no other one beats, choose one without looking at the test, and give every layer its bits
# within a budget: first the prediction, then the exact optimum.
#
# - **Time**: 60 minutes.
# - **You need**: chapter 18, and NumPy.
# - **Goals**: compute a front with ties; choose and report on different images; solve a small integer program by
#   yourself.
#
# Replace the dots of a function by your code, run its cell, then run the check below it. A check says what is wrong,
# not how to do it.

# %%
from itertools import product

import numpy as np

from fewbits.labs import budgets_of_bits as lab
from fewbits.labs import dense_network

# %% [markdown]
# ## 1. The front
#
# `points` is a dict, name -> (cost, accuracy). A network is beaten if another one costs no more and reads no worse, and
# is better in one of the two. Return the names of those that nobody beats, the cheapest first; of equal points, all
# stay, in the order of the dict.

# %%
def unbeaten(points):
    """Return the names on the front, from the cheapest."""
    ...


# %%
lab.check_unbeaten(unbeaten)

# %% [markdown]
# ## 2. Choose, then report
#
# Each candidate is a dict with `name`, `cost`, `validation` and `test`, the last two accuracies. Choose the best one
# that costs at most `limit`; of equally good ones the cheapest. Return its name and the accuracy that you report.

# %%
def chosen(candidates, limit):
    """Return the name of the best within the limit, and its accuracy."""
    ...


# %%
lab.check_chosen(chosen)

# %% [markdown]
# ## 3. A prediction
#
# `noise` is a dict, tensor -> {bits: power of the noise that it causes alone}. Predict the SQNR of the logits in
# decibels when each tensor has its `bits`. `signal` is the power of the logits. Noises of independent origin add up.

# %%
def predicted_sqnr(noise, bits, signal):
    """Return the predicted SQNR in decibels."""
    ...


# %%
lab.check_predicted_sqnr(predicted_sqnr)

# %% [markdown]
# ## 4. The best bits
#
# `sizes` is a dict, tensor -> its number of weights. Choose the bits of each tensor so that all weights together take
# at most `limit` *bits*, with the least sum of noises. To take bits away one by one is not the best in general. With
# few tensors you may try all choices (`product` is imported for that).

# %%
def best_bits(noise, sizes, limit):
    """Return tensor -> bits with the least noise within the limit."""
    ...


# %%
lab.check_best_bits(best_bits)

# %% [markdown]
# ## Bits for the digits
#
# The noise of each kernel of a network is measured on 200 training images. The candidates are judged on the validation
# images.

# %%
digits = dense_network.flat_digits()
network = dense_network.train_layers(
    dense_network.draw_layers((64, 32, 24, 16, 10)), *digits["train"])
few = digits["train"][0][:200]
NAMES = [f"kernel {i}" for i in range(1, 5)]
SIZES = {name: net[0].size for name, net in zip(NAMES, network)}
WIDTHS = (2, 3, 4, 5, 6, 8)


# %%
def rounded(kernel, bits):
    step = 2.0 ** (np.ceil(np.log2(np.abs(kernel).max())) + 1 - bits)
    limit = 2 ** (bits - 1)
    return step * np.clip(np.rint(kernel / step), -limit, limit - 1)


def with_bits(bits):
    return [(rounded(kernel, bits[name]) if name in bits else kernel, bias)
            for name, (kernel, bias) in zip(NAMES, network)]


# %%
def logits_of(bits):
    return dense_network.layer_outputs(with_bits(bits), few)[-1]


exact = logits_of({})
signal = np.mean(exact**2)
noise = {name: {n: np.mean((logits_of({name: n}) - exact) ** 2)
                for n in WIDTHS} for name in NAMES}

# %%
candidates = []
for mean in (2.5, 3, 3.5, 4, 5, 6):
    limit = mean * sum(SIZES.values())
    ways = {"mixed": best_bits(noise, SIZES, limit)}
    if mean in WIDTHS:
        ways["equal"] = dict.fromkeys(NAMES, mean)
    for way, bits in ways.items():
        read = {part: dense_network.share_read(with_bits(bits), *digits[part])
                for part in ("validation", "test")}
        cost = sum(SIZES[name] * n for name, n in bits.items()) / 8
        candidates.append({"name": f"{way} {mean}", "cost": cost} | read)
        print(f"{way} {mean}: {list(bits.values())}, {cost:,.0f} bytes,",
              f"{predicted_sqnr(noise, bits, signal):.1f} dB,",
              f"{read['validation']:.1%}")

# %%
points = {c["name"]: (c["cost"], c["validation"]) for c in candidates}
print("on the front:", ", ".join(unbeaten(points)))
for limit in (1300, 1600, 2000):
    name, accuracy = chosen(candidates, limit)
    print(f"at most {limit:,} bytes: {name}, {accuracy:.1%} of the test")

# %% [markdown]
# ## An open question
#
# The prediction adds the noises of tensors that were rounded alone. Where is it wrong, and in which direction? Measure
# the noise of *pairs* of tensors, and compare it with the sum. Then find a case in which the best bits by the sum are
# not the best when measured, and say what an integer program could do about it.

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 9: a trainer that locks
#
# You build the two strategies of chapter 9 for a model that is as small as possible: a linear regression, one weight per
# level.
#
# - **Time**: 50 minutes.
# - **You need**: chapters 1 and 9, NumPy, the gradient of a square.
# - **Goals**: write down a schedule; pass a gradient through a staircase; keep a locked weight where it is, in spite of
#   momentum; train weights that are used with few bits.
#
# Replace each `...` by your code and run the cell below it. A check names the first input that fails and a hint; it
# does not show the right result.

# %%
import numpy as np

from fewbits import FixedPoint, quantize
from fewbits.labs import lock_schedules as lab

# %% [markdown]
# ## The schedule
#
# Levels are quantized one by one, in order, one per stage. With `"lock"` a level is locked when it is quantized; with
# `"train"` no level is ever locked. A stage is a pair of lists of names: what is quantized, and what is locked.


# %%
def stages(levels, strategy):
    """Return a list of (quantized, locked), one pair per stage."""
    ...


# %%
lab.check_stages(stages)

# %% [markdown]
# ## The gradient
#
# The straight-through estimator passes the gradient where the weight is not clipped, and stops it elsewhere. A weight is
# clipped if its nearest code (ties up) does not exist.


# %%
def straight_through(w, upstream, msb, nbits):
    """Return the gradient of w; upstream is that of the quantized w."""
    ...


# %%
lab.check_straight_through(straight_through)

# %% [markdown]
# ## A step
#
# Gradient descent with momentum: the new velocity is 0.9 times the old one, less the rate times the gradient. The weight
# moves by the new velocity. A locked weight must not move at all.


# %%
def step_with_locks(w, velocity, gradient, locked, rate):
    """Return (new weights, new velocity); locked is a bool array."""
    ...


# %%
lab.check_step_with_locks(step_with_locks)

# %% [markdown]
# ## Through quantized weights
#
# The model computes `x @ w` with quantized weights (nearest, ties up: `quantize(w, FixedPoint(msb, nbits),
# "nearest-up")`), and the loss is the mean squared error. The float weights are those that are trained.


# %%
def quantized_gradient(w, x, y, msb, nbits):
    """Return the gradient of the loss for the float weights."""
    ...


# %%
lab.check_quantized_gradient(quantized_gradient)

# %% [markdown]
# ## Lock against train
#
# Six inputs that are correlated, so that one weight can make up for another; five data sets.

# %%
names, msb, nbits = [f"w{i}" for i in range(6)], 0, 4


def drawn(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (300, 6)) @ rng.normal(0, 1, (6, 6))
    return x, x @ rng.uniform(-0.9, 0.9, 6)


def used(w, quantized):
    few = quantize(w, FixedPoint(msb, nbits), "nearest-up")
    return np.where([name in quantized for name in names], few, w)


# %%
def run(strategy, x, y, steps=150, rate=0.003):
    w = np.linalg.lstsq(x, y)[0]
    for quantized, locked in stages(names, strategy):
        velocity, fixed = np.zeros(6), np.isin(names, locked)
        w = np.where(fixed, used(w, locked), w)
        for _ in range(steps):
            now = used(w, quantized)
            g = 2 * x.T @ (x @ now - y) / len(y)
            g = np.where(now == w, g, straight_through(w, g, msb, nbits))
            w, velocity = step_with_locks(w, velocity, g, fixed, rate)
    return np.mean((x @ used(w, names) - y) ** 2)


# %%
for strategy, steps in (("static", 0), ("lock", 150), ("train", 150)):
    name = strategy.replace("static", "train")
    losses = [run(name, *drawn(seed), steps) for seed in range(5)]
    print(f"{strategy}: mean squared error {np.mean(losses):.3f}")

# %% [markdown]
# ## An open question
#
# In the network of chapter 9, *train* ends ahead of *lock*. Is it so here? Print one weight of *train* over the last steps,
# and the mark that it is rounded to. What does it do, and what decides where it is in the end? Change the loop (a rate that
# falls, the best step instead of the last one) and find out whether *train* can win. Then say what a network has that six
# weights do not.

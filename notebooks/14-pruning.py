# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 14 Which filters matter?
#
# *Reading time: 25 minutes. Needs: [chapter 2](02-counting) (bytes, MACs).*
#
# A network has hundreds of filters. Which of them can be removed without loss?
#
# Quantization makes every number smaller. *Pruning* removes whole filters, and with them their output channels, the weights that read
# these channels, and the time of both. {cite:t}`backstrom2018` and {cite:t}`gaikwad2018` prune SqueezeNet until a third of its
# filters is left. The difficulty is to know in advance which filters can go.
#
# ```{admonition} Predict first
# :class: tip
# Remove each filter of a trained network **alone**, and measure.
#
# - For how many filters does the loss become *smaller*?
# - Half of all filters go at once, without training afterwards. What accuracy is left if they are chosen well? And if chosen at
#   random?
# - Which is the better guide to what can go: the size of a filter's *weights*, or that of its *maps*?
# - The network is trained briefly after each removal. Does the choice of filters still matter?
# - Two criteria leave the same number of filters. Do they leave the same number of MACs?
#
# The answers are in [One by one](one-by-one), [Many at once](many-at-once), [Step by step](step-by-step) and
# [At equal cost](at-equal-cost).
# ```

# %% tags=["parameters"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
import numpy as np
from scipy.stats import spearmanr

from fewbits import data, explore, pruning, training, zoo
from fewbits.backend import gradients, keras, ops
from fewbits.book import papers, prunings, questions, quote, record, reference
from fewbits.costs import totals
from fewbits.explore import plots
from fewbits.names import CRITERIA
from fewbits.pruning import Plan, importance, least_important
from fewbits.statistics import Estimate, Share, paired, verdict

# %% tags=["hide-input"]
SMOKE = profile == "smoke"
keras.utils.set_random_seed(1)

# %% [markdown]
# ## What goes with a filter
#
# Remove filter $i$ from a convolution. Its output has one channel fewer, so the next kernel loses the weights that read that channel.
# Two consecutive convolutions need nothing more:

# %%
def remove(first, second, i):
    (kernel, bias), (reader, reader_bias) = first, second
    kernel = np.delete(kernel, i, axis=3)  # (height, width, in, out)
    reader = np.delete(reader, i, axis=2)
    return (kernel, np.delete(bias, i)), (reader, reader_bias)


# %%
NAME = "squeezenet_digits"
digits = data.load("digits")
network = zoo.build(NAME, digits.image_shape, 10, weights=NAME)
layers = [network.get_layer(n) for n in ("conv1", "fire2_squeeze1x1")]
by_hand = remove(*(layer.get_weights() for layer in layers), 3)
print([array.shape for layer in by_hand for array in layer])

# %% [markdown]
# In a real graph more layers pass the channel on: batch normalization, pooling, concatenations that shift its position, additions
# that tie it to the channel of another filter. The library follows the channel through all of them, and names the layer where it
# cannot:

# %%
smaller = pruning.remove_filters(network, {"conv1": [3]})
same = [
    np.array_equal(ours, theirs)
    for layer, hand in zip(layers, by_hand)
    for ours, theirs in zip(smaller.get_layer(layer.name).get_weights(), hand)
]
groups = pruning.removable(network)
print(all(same), "-", len(groups), "filters can go")

# %% [markdown]
# The new network is smaller, and computes what the old one computes with that filter silent, up to the last bits of float:

# %%
def silence(model, name, filters):
    layer = model.get_layer(name)
    arrays = [array.copy() for array in layer.get_weights()]
    for array in arrays:  # kernel and bias
        array[..., filters] = 0
    layer.set_weights(arrays)


# %%
silent = keras.models.clone_model(network)
silent.set_weights(network.get_weights())
silence(silent, "conv1", [3])
images, labels = digits.arrays("validation")
outputs = [ops.convert_to_numpy(net(images)) for net in (smaller, silent)]
apart = np.abs(outputs[0] - outputs[1]).max()
before, after = totals(network).weight_bytes, totals(smaller).weight_bytes
print(f"outputs differ by {apart:.1e}; {before:,} bytes become {after:,}")

# %% [markdown]
# (one-by-one)=
# ## One by one
#
# The direct way to measure the importance of a filter is to remove it and test the network on all validation images, one filter after
# the other. (We silence the filter instead of removing it; that saves building each network.)

# %%
def loss_without(model, filters):
    kept = {n: model.get_layer(n).get_weights() for n in filters}
    for name, numbers in filters.items():
        silence(model, name, numbers)
    score = training.evaluate(model, (images, labels), len(labels))
    for name, arrays in kept.items():
        model.get_layer(name).set_weights(arrays)
    return score


# %%
whole = loss_without(network, {})
tried = [group[0] for group in groups[:: 12 if SMOKE else 1]]
losses = [loss_without(network, {name: [i]}).loss for name, i in tried]
change = np.array(losses) - whole.loss
print(f"{len(change)} filters, alone: the loss changes by",
      f"{change.min():+.3f} to {change.max():+.3f},",
      f"the median by {np.median(change):+.4f};",
      f"it falls for {np.mean(change < 0):.0%}")

# %% [markdown]
# That took one pass over the images for each filter. A large network has thousands of filters and a million images. And once two
# filters are gone, the results for all others change. The usual solution is a *criterion*: a cheap score per filter that ranks
# filters similarly.
#
# ## Criteria
#
# Let $a$ be the map of a filter and $C$ the loss. The theses have four criteria. We add the size of the weights, in two norms, and
# two that should do badly:
#
# | criterion | importance of a filter | source |
# |---|---|---|
# | mean activation | mean of $a$ over positions and images, divided by the layer's largest | backstrom2018, Equations 11, 12 |
# | L2 of activation | mean of $\lVert a \rVert_2$ over images | gaikwad2018, Equation 7.1 |
# | Taylor | mean over images of $\lvert \sum a \, \partial C / \partial a \rvert$ | {cite:t}`molchanov2017`; gaikwad2018, Equation 8.6 |
# | combined | mean of the last two (the thesis does not say how they are combined) | gaikwad2018, 9.1 |
# | L1, L2 of weights | $\lVert w \rVert_1$, $\lVert w \rVert_2$ | {cite:t}`li2017` (L1) |
# | Taylor, averaged first | $\lvert$ mean over images of $\sum a \, \partial C / \partial a \rvert$ | a common mistake |
# | random | drawn at random | |
#
# All but the first are divided by the norm of their layer, so that layers can be compared. The Taylor criterion takes the derivative
# of the loss with respect to $a$ and extrapolates linearly to $a = 0$. Here it is in full, for one layer:

# %%
def taylor(model, name, images, labels):
    maps = model.get_layer(name).output
    below = keras.Model(model.input, maps)
    above = keras.Model(maps, model.output)

    def loss(maps):
        return ops.sum(keras.losses.sparse_categorical_crossentropy(
            labels, above(maps["a"]), from_logits=True))

    a = below(images)
    products = a * gradients(loss, {"a": a})["a"]
    return np.abs(np.sum(products, axis=(1, 2))).mean(axis=0)


# %%
few = digits.arrays("train", 256)
scores = {name: importance(network, few, name) for name in CRITERIA}
mine = taylor(network, "conv1", *few)
off = np.abs(mine / np.linalg.norm(mine) - scores["taylor"]["conv1"]).max()
print(f"{off:.1e} apart")

# %% [markdown]
# How well do the criteria predict what we measured? A criterion has no sign: it states how much a filter *does*, for better or worse.
# We therefore compare it with the absolute change of the loss. We rank all filters by a criterion and by this change, and compare the
# ranks
# ([Spearman's correlation](https://docs.scipy.org/doc/scipy/reference/generated/scipy.stats.spearmanr.html): 1 for the same order, 0 for
# no relation):

# %%
truth = np.abs(change)
guess = {
    criterion: np.array([found[name][i] for name, i in tried])
    for criterion, found in scores.items()
}
ranks = {c: float(spearmanr(g, truth).statistic) for c, g in guess.items()}
for criterion, rank in sorted(ranks.items(), key=lambda item: -item[1]):
    print(f"{criterion:<22} {rank:+.2f}")

# %% tags=["hide-input"]
# An explorer of the ranks by criterion
explore.change_by_rank(
    guess, truth, [f"{name}, filter {i}" for name, i in tried], "14.1",
    "Each point is a filter: its rank by the criterion, and the change of the loss without it (quick); the "
    "line is the median of each tenth. A good criterion rises from left to right.",
).show()

# %%
silent_ones = guess["activation-l2"] == 0  # for every image
order = np.argsort(np.argsort(guess["weights-l1"])) / len(tried)
print(f"{silent_ones.sum()} filters never fire; of all filters, the",
      f"weights rank {order[silent_ones].mean():.0%} below them")

# %% [markdown]
# Weights cannot show this. After the ReLU of a dead filter every map is 0. Such a filter can be removed at no cost, although its
# weights are as large as those of others.
#
# (many-at-once)=
# ## Many at once
#
# We now remove the least important tenth of *all* filters by each criterion, then two tenths, and so on, without training.

# %%
SHARES = (0.3, 0.6) if SMOKE else [n / 10 for n in range(1, 9)]
left = {criterion: {0.0: whole.share} for criterion in CRITERIA}
for criterion, found in scores.items():
    for share in SHARES:
        gone = least_important(network, found, round(share * len(groups)))
        left[criterion][share] = loss_without(network, gone).share

# %% tags=["hide-input"]
# The remaining accuracy
AXES = {"x": "share of filters removed", "xaxis": explore.PERCENT, "yaxis": explore.ACCURACY}
explore.lines(
    left, "14.2",
    "The remaining accuracy when filters are removed all at once, without training; "
    f"{len(labels)} validation images, 95 % intervals, one network (quick).",
    "Accuracy over the share of filters removed, one line per criterion, all falling; random falls first.",
    **AXES,
)

# %% tags=["remove-cell"]
# Quoted in the text
record(same=all(same), filters=len(groups))
record(alike=bool(apart < 1e-4), bytes_before=before, bytes_after=after)
record(within=0.1, unmissed=float(np.mean(change < 0)))
record(taylor_alike=bool(off < 1e-3))
record(within={"smoke": 0.5, "quick": 0.15}, rank=ranks)
record(within=10.0, never_fire=float(silent_ones.sum()))
SOME, HALF = SHARES[len(SHARES) // 4], SHARES[len(SHARES) // 2]
at_some, at_half = ({criterion: by_share[share] for criterion, by_share in left.items()} for share in (SOME, HALF))
record(within={"smoke": 0.6, "quick": 0.3}, at_once=at_some)
second, first = sorted(share.hits for share in at_some.values())[-2:]
quote(some=SOME, best_some=first / len(labels), random_some=at_some["random"], ahead=first - second, judges=len(labels))
quote(half=HALF, best_half=max(map(float, at_half.values())), once={c: str(share) for c, share in at_some.items()})
by_weights = at_some["weights-l2"] - at_some["taylor"]
quote(by_weights=by_weights.points, by_weights_verdict=verdict(by_weights))

# %% [markdown]
# With {glue:text}`some:.0%` gone, random choice has {glue:text}`random_some:.0%` left, and the best criterion
# {glue:text}`best_some:.0%`. This run cannot decide which is best: the first two differ by {glue:text}`ahead` of {glue:text}`judges`
# images, and this is one network. With {glue:text}`half:.0%` gone the best has {glue:text}`best_half:.0%`. The weights rank single
# filters poorly. When many filters go together, the difference between their L2 and the Taylor criterion is {glue:text}`by_weights`;
# that the weights are better here is {glue:text}`by_weights_verdict`. Do the weights carry useful information after all?
#
# (divided-by)=
# ### The divisor of a layer
#
# A criterion has a different scale in each layer, so the scores of each layer are divided by their norm, or by their largest in mean
# activation. Does the choice matter? We remove {glue:text}`some:.0%` again, with both divisors:

# %%
DIVISORS = {"its norm": np.linalg.norm,
            "its largest": lambda score: np.abs(score).max()}
divided = {c: {} for c in CRITERIA if c != "random"}
for criterion in divided:
    for by, divisor in DIVISORS.items():
        fair = {name: score / divisor(score)
                for name, score in scores[criterion].items()}
        gone = least_important(network, fair, round(0.3 * len(groups)))
        divided[criterion][by] = loss_without(network, gone).share

# %%
columns = "accuracy (quick)", *(f"each layer over {by}" for by in DIVISORS)
explore.Table(columns, [
    (criterion, *found.values()) for criterion, found in divided.items()
])

# %% tags=["remove-cell"]
# Quoted in the text
over = {by: [*map(float, found)] for by, found in zip(("norm", "largest"), zip(*map(dict.values, divided.values())))}
record(within={"smoke": 0.5, "quick": 0.2}, over={by: np.mean(found) for by, found in over.items()},
       weights_over=dict(zip(over, divided["weights-l1"].values())))
norm, largest = divided["weights-l1"].values()
quote(norm_wins=sum(norm > largest for norm, largest in zip(*over.values())), divided=len(divided))
quote(weights_gap=(norm - largest).points, twice=divided["combined"]["its norm"], first_once=at_some["combined"])

# %% [markdown]
# The divisor matters as much as the criterion. The L1 of the weights keeps {glue:text}`weights_over_norm:.0%` with the norm, and
# {glue:text}`weights_over_largest:.0%` with the largest ({glue:text}`weights_gap`). The means of all criteria are
# {glue:text}`over_norm:.0%` and {glue:text}`over_largest:.0%`, and {glue:text}`norm_wins` of {glue:text}`divided` criteria do better
# with the norm. (*Combined* keeps {glue:text}`twice:.1%` here and {glue:text}`first_once:.1%` in {figure}`14.2`, because here it is
# divided twice: it is the mean of two criteria that were already divided by their norms, and the norm of such a mean differs from
# layer to layer.)
#
# Why does the divisor matter? The $n$ filters of a layer share its norm: each has about $1/\sqrt n$ of it. The filters of *narrow*
# layers therefore look important, whatever they compute. The largest score does not depend on the width. A criterion decides which
# filter of a layer goes first; the divisor decides which layer loses filters. Narrow layers should not lose many:
#
# ### Layer by layer
#
# Here one layer at a time loses its least important filters by the Taylor criterion:

# %%
PARTS = (0.5,) if SMOKE else (0.25, 0.5, 0.75)
lost = {part: {} for part in PARTS}  # part -> layer -> accuracy
for name in [n for n in scores["taylor"] if (n, 0) in {g[0] for g in groups}]:
    for part in PARTS:
        least = np.argsort(scores["taylor"][name])
        least = least[: round(part * len(least))].tolist()
        score = loss_without(network, {name: least})
        lost[part][name] = whole.accuracy - score.accuracy

# %% tags=["hide-input"]
# What one layer alone costs
explore.bars(
    {f"{part:.0%} of its filters gone": found for part, found in lost.items()}, "14.3",
    "Accuracy lost when one layer alone loses its least important filters, without training (quick).",
    "Bars, a group for each layer: the lost accuracy. They are highest at the narrow layers near the input.",
    x="layer", y="accuracy lost", yaxis=explore.PERCENT, height=420, colours=(plots.GREY, plots.BLUE, plots.ORANGE),
)

# %% [markdown]
# Squeeze layers are sensitive: removing {glue:text}`part:.0%` of their filters costs {glue:text}`squeeze_tender:.0%` on average,
# against {glue:text}`expand_tender:.0%` for expand layers. Everything must pass through the few filters of a squeeze layer.
#
# Pruning all at once is therefore uncommon. Once some filters are gone, the importance of the others changes and must be ranked
# again. And the remaining network can be trained.
#
# (step-by-step)=
# ## Step by step
#
# Both theses prune in steps: rank, remove some filters, train a little, and repeat. Here is one step:

# %%
def step(model, n, criterion, seed):
    found = importance(model, few, criterion, seed=seed)
    gone = least_important(model, found, n)
    model = pruning.remove_filters(model, gone)
    training.prepare(model, "adam", 0.001)
    training.train(model, shown, epochs=1, seed=seed)
    return model


# %%
# whole batches: each batch size is compiled anew
shown = digits.arrays("train", 1280)
held_out = digits.arrays("validation", 128)
one = step(network, 148, "combined", seed=1)
score = training.evaluate(one, held_out, 64)
before, after = totals(network).weight_bytes, totals(one).weight_bytes
print(f"{before:,} bytes become {after:,}; accuracy {score.accuracy:.1%}")

# %% [markdown]
# The library's `prune` adds what long runs need: a goal, newly drawn images for each step, more training in later steps, a lower
# learning rate in the last third of each training (`backstrom2018`, 4.5.2), a checkpoint after each step, and a check of the loss. If
# the trained network is worse than a guess, that is, if its loss is above $\ln 10$, the step is undone.

# %%
runs = {}
for criterion in ("combined", "random"):
    plan = Plan(ratio=0.25 if SMOKE else 0.75, per_step=148, seed=1,
                criterion=criterion, images=(1280, 1280), batch_size=64,
                optimizer="adam", learning_rate=0.001)
    pruned = pruning.prune(network, shown, plan, validation=held_out)
    runs[criterion] = pruned.steps
    print(criterion, pruned.stopped, f"{pruned.steps[-1]['val_accuracy']:.1%}")

# %% tags=["hide-input"]
# Accuracy after each removal and each training
caption = "Each step removes a quarter of the filters, then trains; 128 validation images, one seed (quick)."
explore.pruning_curve(runs, "14.4", caption)

# %% tags=["remove-cell"]
# Quoted in the text
tender = {f"{kind}_tender": float(np.mean([x for name, x in lost[PARTS[-1]].items() if kind in name]))
          for kind in ("squeeze", "expand")}
record(within={"smoke": 0.9, "quick": 0.25}, **tender)
quote(part=PARTS[-1])
record(within={"smoke": 0.6, "quick": 0.1}, one_step=score.accuracy)
ends = {criterion: steps[-1]["val_accuracy"] for criterion, steps in runs.items()}
record(within={"smoke": 0.7, "quick": 0.3}, pruned=ends)
combined_end, random_end = (Share(round(end * len(held_out[1])), len(held_out[1])) for end in ends.values())
quote(end_gap=(combined_end - random_end).points)
first, *_, last = runs["combined"]
record(steps=len(runs["combined"]) - 1, filters_left=sum(last["filters"].values()))
quote(bytes_left=last["weight_bytes"] / first["weight_bytes"], end=ends)

# %% [markdown]
# With {glue:text}`filters_left` filters and {glue:text}`bytes_left:.0%` of the bytes left, the network pruned by *combined* has
# {glue:text}`end_combined:.0%`; the one pruned at random has {glue:text}`end_random:.0%` ({glue:text}`end_gap`, from the images
# alone: one run of each). The next figure shows which layers lose filters:

# %% tags=["hide-input"]
# An explorer of the filters, step by step
explore.filters_by_step(
    runs, "14.5",
    "Filters of each layer, step by step (quick). Random choice takes from each layer in proportion to its filters; a "
    "criterion finds layers with too many.",
).show()

# %% [markdown]
# ## On CIFAR-10
#
# We prune the SqueezeNet for CIFAR-10 in the same way, in steps of a twelfth of its filters, by each criterion.
#
# **A trap.** This network has batch normalization. Its moving means and variances belong to maps whose inputs have changed, and a
# short training does not update them enough: with Keras' momentum, 0.99, two thirds of the old values remain after 40 steps. `prune`
# therefore measures them again after each removal, on the images that ranked the filters. Otherwise we would blame the removal for an
# effect of the normalization.

# %%
STEPS = {"50 %": 6, "67 %": 8, "80 %": 10}  # of a twelfth; the last is less
cells = {cell.trial.criterion: cell for cell in reference.cells("pruning")}


def at(criterion, number):
    """Return in percent what is left after a step, and of how many runs."""
    runs = len(cells[criterion].records)
    cell = cells[criterion].after_step(number)
    fewer = f" ({len(cell.records)} left)" if len(cell.records) < runs else ""
    return cell.estimate.percent + fewer


# %% tags=["hide-input"]
# Accuracy by criterion and share of filters removed
reference.results_table(
    ("criterion", *STEPS, "seeds"),
    [(criterion, *(at(criterion, n) for n in STEPS.values()), len(cells[criterion].records)) for criterion in CRITERIA],
    also=cells.values(),
    note="Top-1 in % on the test images, by the share of filters removed: the mean of the seeds that came this far, and "
    "half of its 95 % interval; with one seed, that of the test images.",
)

# %% tags=["remove-cell"]
# Quoted in the text
ended = {c: sum(r.results.pruned != "goal" for r in cell.records) for c, cell in cells.items()}
asked = cells["combined"].trial
plan = Plan(ratio=asked.ratio, per_step=asked.per_step, images=asked.train_images)
budget = np.mean([plan.images_after(step, 12) for step in range(1, 1 + STEPS["80 %"])])
original = reference.cell("float").estimate
quote(original=original.mean, budget=round(float(budget)), broke=", ".join(f"{c} ({n})" for c, n in ended.items() if n))

# %% [markdown]
# The unpruned network has {glue:text}`original:.1%`. Runs that broke down and were stopped: {glue:text}`broke`. The seeds select the
# images for ranking and training. They all prune the *same* trained network, so the intervals do not cover other networks. The
# learning rate was chosen on validation images for *combined*; the other criteria use the same.

# %% tags=["hide-input"]
# Accuracy over the share of filters removed
explore.lines(
    {criterion: cells[criterion].by_ratio for criterion in CRITERIA}, "14.6",
    "Pruned step by step and trained in between, on CIFAR-10 (reference): means of the seeds with 95 % intervals, of a "
    "single seed with that of the test images.",
    "Test accuracy over the share of filters removed, one line per criterion, falling faster and faster.",
    **AXES | {"yaxis": {"range": [0, 0.9]}},
)

# %% [markdown]
# (at-equal-cost)=
# ## At equal cost
#
# Both theses plot accuracy over removed filters. But a device pays for MACs and bytes, and filters do not cost the same. The next
# table shows the cost of the networks of the last table:

# %% tags=["hide-input"]
# The remaining cost by share of filters removed
KINDS = {"macs": "MACs", "weight_bytes": "bytes"}
remaining = {
    c: {(k, gone): prunings.share_left(cells[c], k, n) for k in KINDS for gone, n in STEPS.items()} for c in CRITERIA
}
explore.Table(
    ("left when filters are gone (reference)", *(f"{KINDS[k]} at {gone}" for k in KINDS for gone in STEPS)),
    [(criterion, *(f"{share:.0%}" for share in found.values())) for criterion, found in remaining.items()],
)

# %% [markdown]
# With 80 % of the filters gone the weights' L2 keeps {glue:text}`macs_weights_l2:.0%` of the MACs, *combined*
# {glue:text}`macs_combined:.0%`, random choice {glue:text}`macs_random:.0%`. A criterion that removes cheap filters looks good at
# equal filters. We therefore compare at equal remaining cost. Most runs have no step exactly there, so we interpolate linearly
# between two steps:

# %%
def at_cost(steps, cost, left):
    shares = [step[cost] / steps[0][cost] for step in steps]
    tops = [step["test"]["hits"] / step["test"]["n"] for step in steps]
    return np.interp(left, shares[::-1], tops[::-1])  # shares must rise


steps = cells["combined"].records[0].results.pruning
found = cells["combined"].at_cost("macs", 0.5)  # the same for all seeds
print(f"{at_cost(steps, 'macs', 0.5):.4f}, {next(iter(found.values())):.4f}")

# %% tags=["hide-input"]
# Accuracy over the share of MACs left
LEFT = 1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2
explore.lines(
    {criterion: prunings.top1_over_cost(cells[criterion], "macs", LEFT) for criterion in CRITERIA}, "14.7",
    "The prunings of figure 14.6 over the share of MACs left (reference): means of the seeds with 95 % intervals.",
    "Test accuracy over the share of MACs left, one line per criterion. Combined, Taylor and activation L2 lie highest "
    "and close together, both weight norms lower from one half down, random and mean activation far below.",
    x="share of MACs left", xaxis={**explore.PERCENT, "autorange": "reversed"},
    yaxis={**explore.ACCURACY, "range": [0, 0.9]},
)

# %% [markdown]
# **Is *combined* better than each of its parts?** {cite:t}`gaikwad2018` says so (Figure 9.9), from one run of each. One run decides
# nothing: with other images the order may change. Here are the differences, paired by seed, on the axis of the theses and at equal
# cost:

# %%
RIVALS = "taylor", "activation-l2", "weights-l2", "weights-l1", "random"
PAIRS = [*(("combined", rival) for rival in RIVALS),
         ("taylor", "taylor-averaged-first")]
WHERE = {f"{gone} of filters gone": ("filters", n)
         for gone, n in STEPS.items()}
WHERE |= {f"{share:.0%} of {KINDS[cost]} left": (cost, share)
          for cost in KINDS for share in (0.5, 0.3)}


def tops(criterion, axis, place):  # seed -> accuracy
    cell = cells[criterion]
    return (cell.after_step(place).by_seed if axis == "filters"
            else cell.at_cost(axis, place))


# %%
leads = {(pair, axis, place): paired(*(tops(c, axis, place) for c in pair))
         for pair in PAIRS for axis, place in WHERE.values()}
rows = [(where, *(leads[pair, *at].points.removesuffix(" points")
                  for pair in PAIRS)) for where, at in WHERE.items()]
for axis, said in [("filters", "filters"), *KINDS.items()]:
    found = [verdict(*(lead for (p, a, _), lead in leads.items()
                       if p == pair and a == axis)) for pair in PAIRS]
    rows.append((f"is it above, by {said}?", *found))
explore.Table(("points (reference)", *(" over ".join(p) for p in PAIRS)), rows)

# %% tags=["remove-cell"]
# Quoted in the text
quote(macs={c: remaining[c]["macs", "80 %"] for c in ("weights-l2", "combined", "random")})


def over(rival, axis, high="combined"):  # at all places of an axis
    return [lead for (pair, a, _), lead in leads.items() if pair == (high, rival) and a == axis]


quote(parts={a: verdict(*over("taylor", a), *over("activation-l2", a)) for a in ("filters", *KINDS)})
quote(**{f"over_{key}": {a: verdict(*over(rival, a)) for a in ("filters", *KINDS)}
         for key, rival in {"l1": "weights-l1", "l2": "weights-l2", "random": "random"}.items()})
quote(**{f"by_{key}": {f"{a}_{end}": over(rival, a)[i].points for a in KINDS for i, end in enumerate(("half", "third"))}
         for key, rival in {"l1": "weights-l1", "l2": "weights-l2", "random": "random", "act": "activation-l2"}.items()})
quote(averaged=verdict(*(lead for a in KINDS for lead in over("taylor-averaged-first", a, "taylor"))))
quote(intervals=len(leads), missed=0.05 * len(leads))
quote(seen={c: prunings.images_seen(cells[c], "macs", 0.5) for c in ("combined", "weights-l2", "random")})
left = {c: cells[c].steps[STEPS["67 %"]]["filters"] for c in ("weights-l2", "combined")}
hurt = min(left["weights-l2"], key=left["weights-l2"].get)
quote(hurt=hurt, left={criterion: filters[hurt] for criterion, filters in left.items()})

# %% [markdown]
# **Against its parts:** that *combined* is above both is **{glue:text}`parts_filters`** at equal filters, **{glue:text}`parts_macs`**
# at equal MACs and **{glue:text}`parts_weight_bytes`** at equal bytes. Its lead over the activations' L2 alone is
# {glue:text}`by_act_macs_half` at half of the MACs and {glue:text}`by_act_macs_third` at 30 %; only the Taylor criterion cannot be
# distinguished from it.
#
# **Against random choice:** {glue:text}`over_random_macs`, by {glue:text}`by_random_macs_half` at half of the MACs. The choice of
# filters is not the only cause: removing random filters saves more MACs per step, so those networks had been trained on
# {glue:text}`seen_random:,` images when they reached this point, those of *combined* on {glue:text}`seen_combined:,`.
#
# **Against the size of the weights,** which needs no image, the result depends on the axis. At equal filters, that *combined* is
# above the weights' L2 is {glue:text}`over_l2_filters`. At equal MACs it is **{glue:text}`over_l2_macs`**:
# {glue:text}`by_l2_macs_half` and {glue:text}`by_l2_macs_third`, although the L2 had {glue:text}`seen_weights_l2:,` images to train
# on before the first of these points. At equal bytes it is {glue:text}`over_l2_weight_bytes`, {glue:text}`by_l2_weight_bytes_half`
# and {glue:text}`by_l2_weight_bytes_third`, and above the L1 {glue:text}`over_l1_weight_bytes`: {glue:text}`by_l1_weight_bytes_half`
# and {glue:text}`by_l1_weight_bytes_third`. To save MACs, use a criterion that looks at images. To save bytes, the size of the
# weights may do as well.
#
# That the absolute value must come before the mean over images is **{glue:text}`averaged`** at equal cost. (Of {glue:text}`intervals`
# intervals of 95 %, {glue:text}`missed:.0f` should miss; small leads with intervals just above zero are weak evidence.)
#
# A criterion that uses no images can leave a bottleneck: with two thirds of the filters gone, the L2 leaves {glue:text}`hurt` with
# {glue:text}`left_weights_l2` filters, *combined* with {glue:text}`left_combined`. We have not measured whether these missing filters
# are the cause.
#
# From which layers does each criterion remove filters?

# %% tags=["hide-input"]
# An explorer of the filters, step by step
caption = "Filters of each layer of the SqueezeNet for CIFAR-10, step by step; one seed (reference)."
explore.filters_by_step({criterion: cell.steps for criterion, cell in cells.items()}, "14.8", caption).show()

# %% [markdown]
# ## What the thesis found
#
# {cite:t}`gaikwad2018` starts from weights of ImageNet, prunes 128 filters per step, and prints the accuracy at 22 ratios. (At 100 %
# it prints 0, although guessing gives 10.) But these are ratios of 2,292 filters, and no SqueezeNet has so few ([chapter
# 91](91-errata)): v1.1 has {glue:text}`theirs_all:,`, not counting its classes. What the thesis calls 67 % is
# {glue:text}`true_67:.0%`. We therefore compare each of our steps with the row of the thesis that has an equal share of *all* filters
# removed:

# %% tags=["hide-input"]
# Thesis and ours at equal shares of all filters
printed = {n: {row["pruning_ratio"]: row["accuracy"] for row in papers.table("gaikwad2018", n)} for n in (701, 802)}
RATIO_OF = 2292  # filters, in the thesis
theirs_net = {layer.name: layer.filters for layer in zoo.build("squeezenet_v1_1", (224, 224, 3), 10).layers
              if hasattr(layer, "filters")}
theirs_all = sum(theirs_net.values()) - 10


def in_thesis(percentage):  # of all filters removed -> what the thesis prints there
    ratio = percentage * theirs_all / RATIO_OF
    row = min(printed[701], key=lambda row: abs(row - ratio))
    return [f"{table[row]} (as {row} %)" if ratio < 97.5 else "-" for table in printed.values()]


rows = [("0 %", *in_thesis(0), *2 * [f"{100 * original.mean:.1f}"])]
rows += [(gone, *in_thesis(int(gone.split()[0])), at("activation-l2", n), at("taylor", n)) for gone, n in STEPS.items()]
columns = "thesis, L2 (7.1)", "thesis, Taylor (8.2)", "ours, L2 (reference)", "ours, Taylor (reference)"
explore.Table(("filters gone", *columns), rows)

# %% [markdown]
# The next table shows where the filters were removed, after 12 steps of 128 (Table 8.1) and after 6 of ours; half of all filters are
# then gone in both:

# %% tags=["hide-input"]
# Which modules lost the filters
THEIRS = [["Convolution 0"], [f"Fire {n}" for n in (3, 4, 6, 7)], [f"Fire {n}" for n in (9, 10, 11, 12)]]
OURS = [["conv1"], [f"fire{n}" for n in range(2, 6)], [f"fire{n}" for n in range(6, 10)]]
all_filters = cells["taylor"].steps[0]["filters"]
lost_there = {row["layer"]: row["total"] for row in papers.table("gaikwad2018", 801)[:-1]}
counted = (lost_there, THEIRS), (theirs_net, OURS), (cells["taylor"].filters_lost(6), OURS), (all_filters, OURS)
thesis_went, thesis_has, *ours = (prunings.shares_of_groups(*each) for each in counted)
columns = "of those removed: thesis", "of all filters: thesis", "of those removed: ours (reference)", "of all filters: ours"
shares = ([f"{share:.1%}" for share in found] for found in (thesis_went, thesis_has, *ours))
explore.Table(("fire modules", *columns), list(zip(("the first", "middle", "last four"), *shares)))

# %% [markdown]
# Of the filters that the thesis removes, {glue:text}`last_thesis:.0%` come from the last four modules, and it concludes that these
# are redundant. But they also hold {glue:text}`last_have:.0%` of all filters: random choice would remove as large a share there. Only
# the excess over that share is due to the criterion.
#
# {cite:t}`backstrom2018` prunes by mean activation and reports two things: the loss rises higher when filters are chosen at random (Figure
# 18), and squeeze layers lose few filters, expand layers many (Figure 19).

# %%
def share_gone(counts, kind):
    gone = sum(n for layer, n in counts.items() if kind in layer)
    return gone / sum(n for layer, n in all_filters.items() if kind in layer)


COMPARED = "mean-activation", "combined", "random"
halves = {c: cells[c].filters_lost(6) for c in COMPARED}
columns = "share gone when half of all are (reference, one seed)", *halves
explore.Table(columns, [
    (kind, *(f"{share_gone(lost, kind):.0%}" for lost in halves.values()))
    for kind in ("squeeze1x1", "expand1x1", "expand3x3")
])

# %% tags=["hide-input"]
# What backstrom2018 claims of mean activation
HERE = {"confirmed": "as there", "refuted": "other protocol, other result"}  # the protocols differ: nothing is refuted
JUDGED = "mean-activation", "combined"
first_loss = {c: {r.trial.seed: r.results.pruning[1]["val_loss_before"] for r in cells[c].records} for c in COMPARED}
spared = {
    c: Estimate.of(share_gone(lost, "expand") - share_gone(lost, "squeeze") for lost in prunings.filters_lost_by_run(cells[c], 6))
    for c in JUDGED
}
claims = {
    ("the loss after the first removal is higher by random choice", "+.2f", " nats"):
        [paired(first_loss["random"], first_loss[c]) for c in JUDGED],
    ("expand layers lose a larger share than squeeze layers", "+.1%", " points"): spared.values(),
}
rows = [
    (claim, *(f"{lead.written(*form)}: {HERE.get(verdict(lead), verdict(lead))}" for lead in leads))
    for (claim, *form), leads in claims.items()
]
explore.Table(("claim, by our protocol (reference)", *JUDGED), rows)

# %% tags=["remove-cell"]
# Quoted in the text
quote(true_67=0.67 * RATIO_OF / theirs_all)
record(theirs_all=theirs_all)
record(within=0.001, last_thesis=thesis_went[2], last_have=thesis_has[2])
by_mean, by_chance = (cells[c].after_step(6).estimate for c in ("mean-activation", "random"))
quote(half_mean_activation=by_mean.percent, half_random=by_chance.percent)
under = [paired(*(tops(c, *at) for c in ("mean-activation", "random"))) for at in (("filters", 6), ("macs", 0.5))]
quote(under=dict(zip(("filters", "macs"), (lead.points for lead in under))))
quote(conv1_first=cells["mean-activation"].filters_lost(1)["conv1"], conv1_all=all_filters["conv1"])

# %% [markdown]
# **His claims under another protocol.** Figure 18 removes a sixteenth of the filters of *each layer* (4.5.1), so no layer can lose
# most of its filters, and shows the training loss of a network without batch normalization. We rank the filters of all layers
# together, and show the loss of the validation images, with the normalization measured again. His other prunings remove 23 filters
# per step and rank again; ours remove 243. Neither row therefore refutes him.
#
# By our protocol his criterion does worse than chance: with half of all filters gone, *mean activation* has
# {glue:text}`half_mean_activation` % and random choice {glue:text}`half_random` % ({glue:text}`under_filters`; at half of the MACs
# {glue:text}`under_macs`). Its first step alone removes {glue:text}`conv1_first` of the {glue:text}`conv1_all` filters of conv1.
# Divided by its largest score, a layer whose filters differ much looks unimportant, and being narrow does not protect it
# ([above](divided-by)). We have not measured which part of the protocol makes the difference.
#
# **Why they differ.** *The share removed*: the ratios of the thesis overstate it, as the table shows. *Training*: the short training
# after each step does not recover what pruning loses; a long one at the end did, in one run ([chapter 15](15-prune-then-quantize)).
# Criteria can only be compared at *a budget* of training after each step, which may make up for a bad choice; ours is
# {glue:text}`budget:,` images per step on average. *The axis*: the thesis compares at equal ratios of filters. *The start*: the
# thesis' network comes from ImageNet. It may have more filters than ten classes need; we have no such network to prune.
#
# ## Two questions

# %% tags=["hide-input"]
# What goes with a filter
kept_in, kept_out = 32 / 64, 64 / 128
questions.ask(
    "A convolution has 64 input channels and 128 filters. Half of its filters go, and half of those of the layer before it. What share of "
    "its kernel is left?",
    (f"{kept_in * kept_out:.0%}", "It loses half of its filters, and each filter that is left loses half of its channels."),
    (f"{kept_out:.0%}", "This counts only its own filters. The removed channels of the layer before go, too."),
    (f"{1 - kept_in * kept_out:.0%}", "This is the share that has gone."),
    ("0%", "The halves do not add up: the second half is taken from what the first has left."),
)

# %% tags=["hide-input"]
# Scores of a narrow layer
few_filters, many_filters = 16, 256
narrow_score, wide_score = (1 / np.linalg.norm(np.ones(n)) for n in (few_filters, many_filters))
questions.ask(
    f"All filters of two layers have the same score. One layer has {few_filters} filters, the other {many_filters}. Then each layer is divided "
    "by its norm. How do the scores compare?",
    (f"those of the narrow layer are {narrow_score / wide_score:.0f} times as large", "The filters of a layer share its norm: each gets 1 over the square root of their number."),
    ("they are equal", "This would be so if each layer were divided by its largest score."),
    (f"those of the narrow layer are {many_filters / few_filters:.0f} times as large", "This would be so with the sum of a layer. The norm grows with the square root."),
    (f"those of the wide layer are {narrow_score / wide_score:.0f} times as large", "The norm of a wide layer is larger, and it divides."),
)

# %% [markdown]
# ## Exercises
#
# **1.** Every layer keeps a third of its filters. What share of its parameters does a network keep, roughly? Why is it more at both
# ends?
#
# ```{admonition} Solution
# :class: dropdown
# The size of a kernel is proportional to inputs times outputs, and both shrink: $1/3 \cdot 1/3 = 1/9$. The first layer keeps its
# input, the image, and the last its outputs, the classes: there only one side shrinks, and a third stays.
# ```
#
# **2.** The Taylor criterion is a derivative. What does it say about a filter whose map does not change the loss to first order, because
# training has converged?
#
# ```{admonition} Solution
# :class: dropdown
# At a minimum the *mean* gradient of the weights is 0, and the mean of the products of map and gradient is close to 0 for every
# filter, too: that is the mistake of averaging first. For single images the gradient is not 0. The mean of absolute values shows how
# much the images disagree about the filter, which is more useful.
# ```
#
# **3.** A filter is removed together with its bias. Why may the outputs still differ in the last bits from those with the filter silent?
#
# ```{admonition} Solution
# :class: dropdown
# The sum over channels has fewer terms and is added in another order or in other groups. Floating-point addition is not associative.
# ```
#
# **Lab.** Write a pruning step: surgery, criterion and choice, in `notebooks/labs/14-pruning.py`
# ([all labs](../book/labs)).
#
# ## Run it on yours
#
# ```python
# from fewbits.pruning import Plan, prune, remove_filters
#
# smaller = remove_filters(model, {"conv2": [0, 5, 7]})
# result = prune(model, (images, labels), Plan(ratio=0.67), validation=held_out)
# result.model.save("small.keras")
# ```
#
# ```shell
# fewbits prune photos.keras --data photos --ratio 0.67 --dry-run
# fewbits prune photos.keras --data photos --ratio 0.67 --least-accuracy 0.9 --output small.keras
# ```

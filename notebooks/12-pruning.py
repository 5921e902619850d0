# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 12 Which filters matter?
#
# A network has hundreds of filters. Which of them would nobody miss?
#
# Quantization makes every number smaller. *Pruning* takes whole filters away, and with them the channels that they make, the weights
# that read these channels, and the time that all of it takes. {cite:t}`backstrom2018` and {cite:t}`gaikwad2018` prune SqueezeNet until a
# third of it is left. The art is to know beforehand what can go.
#
# ```{admonition} Predict first
# :class: tip
# Take each filter of a trained network away **alone**, and measure.
#
# - For how many does the loss become *smaller*?
# - Half of all filters go at once, and nothing is trained afterwards. What is left, if they are chosen well? And if at random?
# - Which is the better guide to what can go: the size of a filter's *weights*, or that of its *maps*?
# - The network may train for a moment after each loss. Does it then still matter who chose?
#
# The answers are in [One by one](one-by-one), [Many at once](many-at-once) and [Step by step](step-by-step).
# ```

# %% tags=["parameters", "hide-input"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML, Markdown, display
from scipy.stats import spearmanr

from fewbits.zoo.trained import find_weights
from fewbits import data, explore, training, zoo
from fewbits.book import papers, reference
from fewbits.explore import plots
from fewbits.io import weights
from fewbits.backend import gradients, keras, ops
from fewbits.book import quote, record
from fewbits.costs.complexity import totals
from fewbits.names import CRITERIA
from fewbits.pruning import Plan, importance, least_important, prune, removable, remove_filters

SMOKE = profile == "smoke"
keras.utils.set_random_seed(1)

# %% [markdown]
# ## What goes with a filter
#
# Take filter $i$ out of one convolution. Its output has a channel less, so the next kernel loses what reads that channel. For two
# convolutions in a row that is all:

# %%
def remove(first, second, i):
    (kernel, bias), (reader, reader_bias) = first, second
    kernel = np.delete(kernel, i, axis=3)  # (height, width, in, out)
    reader = np.delete(reader, i, axis=2)
    return (kernel, np.delete(bias, i)), (reader, reader_bias)


# %%
digits = data.load("digits")
network = zoo.build("squeezenet_digits", digits.image_shape, 10)
weights.load_weights(network, find_weights("squeezenet_digits"))
first, second = (network.get_layer(name).get_weights()
                 for name in ("conv1", "fire2_squeeze1x1"))
by_hand = remove(first, second, 3)
print([array.shape for layer in by_hand for array in layer])

# %% [markdown]
# In a real graph more layers hand the channel on: batch normalization, pooling, concatenations that shift its place, additions that tie
# it to the channel of another filter. The library follows it through all of them, and refuses by name what cannot be:

# %%
smaller = remove_filters(network, {"conv1": [3]})
same = [np.array_equal(ours, theirs) for name, hand in zip(
            ("conv1", "fire2_squeeze1x1"), by_hand)
        for ours, theirs in zip(smaller.get_layer(name).get_weights(), hand)]
groups = removable(network)
print(all(same), "-", len(groups), "filters can go")

# %% tags=["remove-cell"]
record(same=all(same), filters=len(groups))

# %% [markdown]
# The new network computes what the old one computes with that filter silent, to the last bits of float; but it is smaller:

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
images = digits.scaled(digits.validation)
outputs = [ops.convert_to_numpy(net(images)) for net in (smaller, silent)]
apart = np.abs(outputs[0] - outputs[1]).max()
print(f"outputs differ by {apart:.1e}; {totals(network).weight_bytes:,}"
      f" bytes become {totals(smaller).weight_bytes:,}")

# %% tags=["remove-cell"]
record(alike=bool(apart < 1e-4), bytes_before=totals(network).weight_bytes, bytes_after=totals(smaller).weight_bytes)

# %% [markdown]
# (one-by-one)=
# ## One by one
#
# The honest way to know what a filter matters: take it away and look. One filter, one test on all validation images, and back. (A silent
# filter stands for a removed one; that saves building each network.)

# %%
labels = digits.validation.labels


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
tried = groups[:: 12 if SMOKE else 1]
change = np.array([
    loss_without(network, {name: [i]}).loss - whole.loss
    for ((name, i),) in tried
])
print(f"{len(change)} filters, alone: the loss changes by",
      f"{change.min():+.3f} to {change.max():+.3f},",
      f"the median by {np.median(change):+.4f};",
      f"it falls for {np.mean(change < 0):.0%}")

# %% tags=["remove-cell"]
record(within=0.1, unmissed=float(np.mean(change < 0)))
quote(worst=float(change.max()), median=float(np.median(change)))

# %% [markdown]
# That took one run over the images for each filter. A large network has thousands of filters and a million images; and with two filters
# gone, the answers for all others change. So one looks for a *criterion*: a number for each filter that costs little and tells the same.
#
# ## Criteria
#
# Let $a$ be the map of a filter, $C$ the loss. The theses have four criteria; weights alone are the obvious fifth, and two more shall do
# badly:
#
# | criterion | importance of a filter | source |
# |---|---|---|
# | mean activation | mean of $a$ over places and images, over the layer's largest | backstrom2018, Equations 11, 12 |
# | L2 of activation | mean of $\lVert a \rVert_2$ over images | gaikwad2018, Equation 7.1 |
# | Taylor | mean over images of $\lvert \sum a \, \partial C / \partial a \rvert$ | gaikwad2018, Equation 8.6 |
# | combined | mean of the last two (how they are combined, the thesis does not say) | gaikwad2018, 9.1 |
# | L1, L2 of weights | $\lVert w \rVert_1$, $\lVert w \rVert_2$ | |
# | Taylor, averaged first | $\lvert$ mean over images of $\sum a \, \partial C / \partial a \rvert$ | a common mistake |
# | random | drawn by lot | |
#
# All but the first are divided by the norm of their layer, so that layers can be compared. The Taylor criterion asks how the loss would
# change if $a$ were a little smaller, and takes the straight line to $a = 0$. Here it is in full, for one layer:

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
few = digits.scaled(digits.train)[:256], digits.train.labels[:256]
scores = {name: importance(network, few, name) for name in CRITERIA}
mine = taylor(network, "conv1", *few)
theirs = scores["taylor"]["conv1"]
print(f"{np.abs(mine / np.linalg.norm(mine) - theirs).max():.1e} apart")

# %% tags=["remove-cell"]
record(taylor_alike=bool(np.abs(mine / np.linalg.norm(mine) - theirs).max() < 1e-3))

# %% [markdown]
# How well do they guess what we measured? A criterion has no sign: it asks how much a filter *does*, for better or worse. So the truth here is
# the size of the change. Rank all filters by a criterion and by the truth, and compare the ranks
# ([Spearman's correlation](https://docs.scipy.org/doc/scipy/reference/generated/scipy.stats.spearmanr.html): 1 for the same order, 0 for none):

# %%
truth = np.abs(change)
guess = {
    criterion: np.array([found[name][i] for ((name, i),) in tried])
    for criterion, found in scores.items()
}
ranks = {c: float(spearmanr(g, truth).statistic) for c, g in guess.items()}
for criterion, rank in sorted(ranks.items(), key=lambda item: -item[1]):
    print(f"{criterion:<22} {rank:+.2f}")

# %% tags=["remove-cell"]
for criterion, rank in ranks.items():
    record(within=0.5 if SMOKE else 0.15, **{f"rank_{criterion.replace('-', '_')}": rank})

# %% tags=["hide-input"]
TENTH = max(1, len(truth) // 10)


def compared(criterion):
    order = np.argsort(np.argsort(guess[criterion]))
    least = set(np.argsort(guess[criterion])[:TENTH]) & set(np.argsort(truth)[:TENTH])
    readings = {
        "rank correlation": f"{ranks[criterion]:+.2f}",
        "of its least important tenth": f"{len(least) / TENTH:.0%} are in the true one",
        "most harm that this tenth does, one by one": f"{truth[np.argsort(guess[criterion])[:TENTH]].max():.4f}",
    }
    where = [f"{name}, filter {i}" for ((name, i),) in tried]
    shown = np.maximum(truth, 1e-6).round(7)
    ranked = shown[np.argsort(guess[criterion])]
    tenths = [(part.mean(), np.median(ranked[part])) for part in np.array_split(np.arange(len(ranked)), 10)]
    x, y = np.transpose(tenths).tolist()
    return explore.View([{"x": order.tolist(), "y": shown.tolist(), "text": where}, {"x": x, "y": y}], readings)


explore.Explorer(
    {"criterion": tuple(CRITERIA)},
    {"criterion": "taylor"},
    compared,
    plots.figure(
        go.Scatter(mode="markers", marker={"color": plots.BLUE, "size": 5, "opacity": 0.6}, hovertemplate="%{text}: %{y:.4f}<extra></extra>"),
        go.Scatter(mode="lines", line={"color": plots.ORANGE, "width": 3}, hovertemplate="median of a tenth: %{y:.4f}<extra></extra>"),
        x="rank by the criterion, least important first",
        y="|change of the loss| without it, in nats",
        yaxis={"type": "log"},
        showlegend=False,
    ),
    "12.1",
    "Each point is a filter: where the criterion ranks it, and by how much the loss changes without it (quick); the line is the median of each tenth. A good "
    "criterion rises from left to right.",
    "Points, one a filter: the size of the change of the loss when it is removed, over its rank by the chosen criterion; and a line of medians.",
).show()

# %%
silent_ones = guess["activation-l2"] == 0  # for every image
order = {c: np.argsort(np.argsort(g)) / len(g) for c, g in guess.items()}
print(f"{silent_ones.sum()} filters never fire; of all filters, the",
      f"weights rank {order['weights-l1'][silent_ones].mean():.0%} below them")

# %% tags=["remove-cell"]
record(within=10.0, never_fire=float(silent_ones.sum()))

# %% [markdown]
# Weights cannot know. Behind the ReLU of a dead filter every map is 0, it can go at no cost at all, and its weights are as large
# as those of others.
#
# (many-at-once)=
# ## Many at once
#
# Now remove the least important tenth of *all* filters, then two tenths, and so on, as each criterion says. Nothing is trained.

# %%
SHARES = (0.3, 0.6) if SMOKE else (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
left = {}
for criterion, found in scores.items():
    for share in SHARES:
        gone = least_important(network, found, round(share * len(groups)))
        left[criterion, share] = loss_without(network, gone)

# %% tags=["hide-input"]
STYLES = dict(zip(CRITERIA, [(c, d) for d in ("solid", "dot") for c in plots.COLOURS]))


def lines(found, whole):
    """Return a line a criterion: the accuracies `found`, criterion -> share -> accuracy, from the `whole` on."""
    return [
        go.Scatter(x=[0, *by_share], y=[whole, *by_share.values()], name=criterion, mode="lines+markers", line={"color": colour, "dash": dash})
        for (criterion, by_share), (colour, dash) in zip(found.items(), (STYLES[c] for c in found))
    ]


curves = {c: {share: left[c, share].accuracy for share in SHARES} for c in CRITERIA}
AXES = {"x": "share of filters removed", "y": "top-1 accuracy", "xaxis": {"tickformat": ".0%"}, "yaxis": {"tickformat": ".0%", "range": [0, 1.02]}}
plots.show(
    plots.figure(*lines(curves, whole.accuracy), **AXES),
    label="12.2",
    caption=f"What is left of the accuracy when filters go all at once, without training; {len(labels)} validation images (quick).",
    alt="Accuracy over the share of filters removed, one line a criterion, all falling; random falls first.",
    table=plots.Table(
        ("criterion", *(f"{share:.0%}" for share in SHARES)),
        [(c, *(f"{a:.1%}" for a in by_share.values())) for c, by_share in curves.items()],
    ),
)

# %% tags=["remove-cell"]
SOME, HALF = SHARES[len(SHARES) // 4], SHARES[len(SHARES) // 2]
for criterion in CRITERIA:
    record(within=0.6 if SMOKE else 0.3, **{f"at_once_{criterion.replace('-', '_')}": left[criterion, SOME].accuracy})
leads = {share: max((left[c, share].accuracy, c) for c in CRITERIA) for share in (SOME, HALF)}
quote(some=SOME, best_some=leads[SOME][0], leader=leads[SOME][1], random_some=left["random", SOME].accuracy)
quote(half=HALF, best_half=leads[HALF][0])

# %% [markdown]
# With {glue:text}`some:.0%` gone, {glue:text}`leader` has {glue:text}`best_some:.0%` left, and chance {glue:text}`random_some:.0%`. With
# {glue:text}`half:.0%` gone the best of all criteria has {glue:text}`best_half:.0%`. And look at the weights:
# poor at finding the filters that matter least one by one, but not when many go together. Do they know something after all?
#
# (divided-by)=
# ### What a layer is divided by
#
# A criterion has other scales in other layers, so each layer is divided by a number of its own: its norm, in all criteria but mean
# activation, which takes its largest. Does that matter? All again, {glue:text}`some:.0%` gone, with both:

# %%
DIVISORS = {"its norm": np.linalg.norm,
            "its largest": lambda score: np.abs(score).max()}
divided = {}
for criterion in [c for c in CRITERIA if c != "random"]:
    for by, divisor in DIVISORS.items():
        fair = {name: score / divisor(score)
                for name, score in scores[criterion].items()}
        gone = least_important(network, fair, round(0.3 * len(groups)))
        divided[criterion, by] = loss_without(network, gone).accuracy

# %% tags=["hide-input"]
rows = [(c, *(f"{divided[c, by]:.1%}" for by in DIVISORS)) for c in CRITERIA if c != "random"]
HTML(plots.Table((f"read, of {len(labels)} (quick)", *(f"each layer over {by}" for by in DIVISORS)), rows).html())

# %% tags=["remove-cell"]
for by, name in zip(DIVISORS, ("norm", "largest")):
    mean = float(np.mean([accuracy for (_, what), accuracy in divided.items() if what == by]))
    record(within=0.5 if SMOKE else 0.2, **{f"over_{name}": mean, f"weights_over_{name}": divided["weights-l1", by]})
quote(norm_wins=sum(divided[c, "its norm"] > divided[c, "its largest"] for c, *_ in rows), divided=len(rows))

# %% [markdown]
# It matters as much as the criterion. The L1 of the weights reads {glue:text}`weights_over_norm:.0%` over the norm, and
# {glue:text}`weights_over_largest:.0%` over the largest; the mean of all criteria is {glue:text}`over_norm:.0%` and
# {glue:text}`over_largest:.0%`, and {glue:text}`norm_wins` of {glue:text}`divided` do better over the norm. Why? The $n$ filters of a layer share its norm: each has about $1/\sqrt n$ of it. So filters of *narrow*
# layers look important, whatever is in them. The largest takes no notice of the width. A criterion says which filter of a layer
# goes first; the divisor, which layer pays. And narrow layers must not:
#
# ### Layer by layer
#
# The same for one layer at a time, its least important filters by the Taylor criterion:

# %%
PARTS = (0.5,) if SMOKE else (0.25, 0.5, 0.75)
tender = {}
for name, found in scores["taylor"].items():
    for part in PARTS if (name, 0) in {g[0] for g in groups} else ():
        least = np.argsort(found)[: round(part * len(found))]
        score = loss_without(network, {name: least.tolist()})
        tender[name, part] = score.accuracy

# %% tags=["hide-input"]
names = list(dict.fromkeys(name for name, _ in tender))
traces = [
    go.Bar(x=names, y=[whole.accuracy - tender[name, part] for name in names], name=f"{part:.0%} of its filters gone", marker={"color": colour})
    for part, colour in zip(PARTS, (plots.GREY, plots.BLUE, plots.ORANGE))
]
plots.show(
    plots.figure(*traces, x="layer", y="accuracy lost", barmode="group", xaxis={"tickangle": -45}, yaxis={"tickformat": ".0%"}, margin={"b": 130}, height=420),
    label="12.3",
    caption="What it costs when one layer alone loses its least important filters, without training (quick).",
    alt="Bars, a group for each layer: the accuracy that is lost. They are highest at the narrow layers near the input.",
    table=plots.Table(("layer", *(f"{part:.0%}" for part in PARTS)), [(n, *(f"{whole.accuracy - tender[n, part]:.1%}" for part in PARTS)) for n in names]),
)

# %% tags=["remove-cell"]
lost_most = {name: whole.accuracy - tender[name, PARTS[-1]] for name in names}
narrow = [x for name, x in lost_most.items() if "squeeze" in name]
wide = [x for name, x in lost_most.items() if "expand" in name]
record(within=0.9 if SMOKE else 0.25, squeeze_tender=float(np.mean(narrow)), expand_tender=float(np.mean(wide)))
quote(part=PARTS[-1])

# %% [markdown]
# Squeeze layers are tender: with {glue:text}`part:.0%` gone they cost {glue:text}`squeeze_tender:.0%` on average, expand layers
# {glue:text}`expand_tender:.0%`. Everything must pass through the few.
#
# So nobody prunes all at once. With some filters gone the others matter in another way: rank again. And what is left can learn.
#
# (step-by-step)=
# ## Step by step
#
# So both theses go in steps: rank, remove some, train a little, and again. Here is a step:

# %%
def step(model, n, criterion, seed):
    found = importance(model, few, criterion, seed=seed)
    model = remove_filters(model, least_important(model, found, n))
    training.prepare(model, "adam", 0.001)
    training.train(model, shown, epochs=1, seed=seed)
    return model


# %%
# whole batches: each size that comes is compiled anew
shown = digits.scaled(digits.train)[:1280], digits.train.labels[:1280]
held_out = images[:128], labels[:128]
one = step(network, 148, "combined", seed=1)
score = training.evaluate(one, held_out, 64)
print(f"{totals(network).weight_bytes:,} bytes become",
      f"{totals(one).weight_bytes:,}; accuracy {score.accuracy:.1%}")

# %% tags=["remove-cell"]
record(within=0.6 if SMOKE else 0.1, one_step=score.accuracy)

# %% [markdown]
# The library's `prune` adds what long runs need: a goal, images drawn anew for each step, more training the further it goes and a lower
# rate in its last third (`backstrom2018`, 4.5.2), a checkpoint after each step, and a look at the loss. If the trained network is worse than a
# guess, its loss above $\ln 10$, the step is undone.

# %%
runs = {}
for criterion in ("combined", "random"):
    plan = Plan(ratio=0.25 if SMOKE else 0.75, per_step=148, seed=1,
                criterion=criterion, images=(1280, 1280), batch_size=64,
                optimizer="adam", learning_rate=0.001)
    runs[criterion] = prune(network, shown, plan, validation=held_out)
    print(criterion, runs[criterion].stopped,
          f"{runs[criterion].steps[-1]['val_accuracy']:.1%}")

# %% tags=["hide-input"]
def teeth(steps):
    """Return the accuracies of `steps`, removed and trained, as x, y."""
    points = [(0, steps[0]["val_accuracy"])]
    for told in steps[1:]:
        points += [(told["step"], told["val_accuracy_before"]), (told["step"], told["val_accuracy"])]
    return zip(*points)


traces = []
for (criterion, result), (colour, dash) in zip(runs.items(), ((plots.BLUE, "solid"), (plots.ORANGE, "dot"))):
    x, y = teeth(result.steps)
    traces.append(go.Scatter(x=x, y=y, name=criterion, mode="lines+markers", line={"color": colour, "dash": dash}))
plots.show(
    plots.figure(*traces, x="step", y="validation accuracy", xaxis={"dtick": 1}, yaxis={"tickformat": ".0%", "range": [0, 1.02]}),
    label="12.4",
    caption=f"Each step takes a quarter of the filters (down), then trains (up); {len(held_out[1])} validation images, one seed (quick).",
    alt="Two saw-toothed lines over the steps: accuracy falls when filters go and rises when what is left is trained.",
    table=plots.Table(
        ("criterion", "step", "filters", "removed", "trained", "loss removed", "loss trained"),
        [
            (c, s["step"], sum(s["filters"].values()), f"{s['val_accuracy_before']:.1%}", f"{s['val_accuracy']:.1%}", s["val_loss_before"], s["val_loss"])
            for c, result in runs.items()
            for s in result.steps[1:]
        ],
    ),
)

# %% tags=["remove-cell"]
for criterion, result in runs.items():
    record(within=0.7 if SMOKE else 0.3, **{f"pruned_{criterion}": result.steps[-1]["val_accuracy"]})
    quote(**{f"lowest_{criterion}": min(s["val_accuracy_before"] for s in result.steps[1:]), f"end_{criterion}": result.steps[-1]["val_accuracy"]})
record(steps=len(runs["combined"].steps) - 1, filters_left=sum(runs["combined"].steps[-1]["filters"].values()))
quote(bytes_left=runs["combined"].steps[-1]["weight_bytes"] / runs["combined"].steps[0]["weight_bytes"])

# %% [markdown]
# With {glue:text}`filters_left` filters and {glue:text}`bytes_left:.0%` of the bytes left, the network that *combined* pruned has
# {glue:text}`end_combined:.0%`; chance, {glue:text}`end_random:.0%`. See which layers pay:

# %% tags=["hide-input"]
explore.filters_by_step(
    {criterion: result.steps for criterion, result in runs.items()},
    "12.5",
    "Filters of each layer, step by step (quick). Chance takes of each layer what it has; a criterion finds where there is too much.",
).show()

# %% [markdown]
# ## On CIFAR-10
#
# The same in earnest: the SqueezeNet for CIFAR-10, in steps of a twelfth of its filters, by each criterion.
#
# **A trap.** This network has batch normalization. Its means and variances belong to maps whose inputs are gone now, and a short training
# does not bring new ones: with Keras' momentum, 0.99, two thirds of the old are still there after 40 steps. So `prune` measures them
# anew behind each removal, on the images that judged the filters, lest we blame the removal for what is the normalization's.

# %% tags=["hide-input"]
FLOAT = reference.cell("float").measured[0]
STEPS = {"50 %": 6, "67 %": 8, "80 %": 10}  # of a twelfth each, the last is less
cells = {cell.trial.criterion: cell for cell in reference.cells("pruning")}
whole_runs = {c: max((r.results.pruning for r in cell.records), key=len) for c, cell in cells.items() if cell.records}  # of one seed


def behind(criterion, number):
    cell = cells[criterion].after_step(number)
    if cells[criterion].records and not cell.records:
        return "stopped before"
    fewer = f" ({len(cell.records)} left)" if len(cell.records) < len(cells[criterion].records) else ""
    return reference.percent(cell.measured) + fewer


rows = [(c, *(behind(c, n) for n in STEPS.values()), len(cells[c].records)) for c in CRITERIA]
display(HTML(plots.Table(("criterion", *STEPS, "seeds"), rows).html()))
made = reference.made_with([r for cell in cells.values() for r in cell.records])
display(Markdown(
    "*Top-1 in % on the test images when so many filters are gone (reference): the mean of the seeds that came so far and half of its 95 % "
    f"interval; where there is one seed, that of the test images. {made}*"
))

# %% tags=["remove-cell"]
ended = {c: sum(r.results.pruned != "goal" for r in cell.records) for c, cell in cells.items()}
broke = ", ".join(f"{c} ({n})" for c, n in ended.items() if n) or ("none" if whole_runs else reference.NOT_RUN)
asked = cells["combined"].trial
plan = Plan(ratio=asked.ratio, per_step=asked.per_step, images=asked.train_images)
budget = np.mean([plan.images_after(step, 12) for step in range(1, 1 + STEPS["80 %"])])
quote(original=FLOAT, budget=round(float(budget)), broke=broke)

# %% [markdown]
# Unpruned it has {glue:text}`original:.1%`. Runs that broke down and were stopped: {glue:text}`broke`. The seeds draw the images that rank and
# train. They all prune the *same* trained network, so the intervals do not tell what another network would do.

# %% tags=["hide-input"]
traces = []
for criterion, steps in whole_runs.items():
    x = [1 - sum(s["filters"].values()) / sum(steps[0]["filters"].values()) for s in steps]
    y, reach = zip(*(cells[criterion].after_step(n).measured for n in range(len(steps))))
    colour, dash = STYLES[criterion]
    style = {"name": criterion, "mode": "lines+markers", "line": {"color": colour, "dash": dash}}
    traces.append(go.Scatter(x=x, y=y, error_y={"array": reach, "thickness": 1}, **style))
if traces:
    plots.show(
        plots.figure(*traces, **AXES | {"yaxis": {"tickformat": ".0%", "range": [0, 0.9]}}),
        label="12.6",
        caption="Pruned step by step and trained in between, on CIFAR-10 (reference): means of the seeds with 95 % intervals, of a single "
        "seed with that of the test images.",
        alt="Test accuracy over the share of filters removed, one line a criterion, falling ever faster.",
        table=plots.Table(("criterion", *STEPS), [row[:-1] for row in rows]),
    )

# %% [markdown]
# **Is *combined* better than each of its parts?** {cite:t}`gaikwad2018` says so (Figure 9.9), from one run of each. One run decides
# nothing: other images, another order. So here are the differences, taken seed by seed:

# %% tags=["hide-input"]
def ahead(criterion, other, number):
    return reference.paired(*(cells[c].after_step(number).drawn_accuracies for c in (criterion, other)))


PAIRS = [("combined", rival) for rival in ("taylor", "activation-l2", "weights-l2", "weights-l1", "random")] + [("taylor", "taylor-averaged-first")]
leads = {pair: [ahead(*pair, number) for number in STEPS.values()] for pair in PAIRS}
rows = [(f"{a} above {b}", *map(reference.points, leads[a, b]), reference.verdict(*leads[a, b])) for a, b in PAIRS]
HTML(plots.Table(("claim (reference)", *STEPS, "at all three"), rows).html())

# %% tags=["remove-cell"]
quote(better=reference.verdict(*leads["combined", "taylor"], *leads["combined", "activation-l2"]))
quote(than_chance=reference.verdict(*leads["combined", "random"]), than_weights=reference.verdict(*leads["combined", "weights-l2"]))
quote(averaged=reference.verdict(*leads["taylor", "taylor-averaged-first"]))
left = {c: whole_runs[c][STEPS["67 %"]]["filters"] for c in ("weights-l2", "combined") if c in whole_runs}
hurt = min(left["weights-l2"], key=left["weights-l2"].get) if len(left) == 2 else reference.NOT_RUN
quote(hurt=hurt, blind_gap=reference.points(leads["combined", "weights-l2"][1]), blind_end=reference.points(leads["combined", "weights-l2"][2]))
quote(**{f"left_{c.replace('-', '_')}": left.get(c, {}).get(hurt, reference.NOT_RUN) for c in ("weights-l2", "combined")})

# %% [markdown]
# That *combined* is above both of its parts at all three ratios is **{glue:text}`better`**; above chance, **{glue:text}`than_chance`**;
# above the mere size of the weights (their L2), which no image has to be looked at for, **{glue:text}`than_weights`**. And that the absolute value
# must come before the mean over images: **{glue:text}`averaged`**.
#
# With two thirds gone *combined* is {glue:text}`blind_gap` ahead of the weights' L2; two steps later it has lost more, and the lead is
# {glue:text}`blind_end`. Who looks at no image can leave a bottleneck: at two thirds the L2 has left {glue:text}`hurt`
# {glue:text}`left_weights_l2` filters, *combined* {glue:text}`left_combined`. Whether it is these that were missing, nobody has measured.
#
# Where does each of them take its filters?

# %% tags=["hide-input"]
if whole_runs:
    explore.filters_by_step(whole_runs, "12.7", "Filters of each layer of the SqueezeNet for CIFAR-10, step by step; one seed (reference).").show()
else:
    print(reference.NOT_RUN)

# %% [markdown]
# ## What the thesis found
#
# {cite:t}`gaikwad2018` starts from weights of ImageNet, prunes 128 filters a step, and prints the accuracy at 22 ratios. (At 100 % it
# prints 0. A network that can only guess has 10.) But these are ratios of 2,292 filters, and no SqueezeNet has so few
# ([chapter 91](91-errata)): v1.1 has {glue:text}`theirs_all:,` before its classes. What the thesis calls 67 % is
# {glue:text}`true_67:.0%`. So beside each of our steps stands the row of the thesis with as large a share of *all* filters gone:

# %% tags=["hide-input"]
printed = {n: {row["pruning_ratio"]: row["accuracy"] for row in papers.table("gaikwad2018", n)} for n in (701, 802)}
RATIO_OF = 2292  # filters, in the thesis
theirs_all = sum(getattr(layer, "filters", 0) for layer in zoo.build("squeezenet_v1_1", (224, 224, 3), 10).layers) - 10


def in_thesis(share):
    """Return the printed ratio at which the thesis has removed about this share of all filters; None where it removes fewer."""
    ratio = 100 * share * theirs_all / RATIO_OF
    return min(printed[701], key=lambda row: abs(row - ratio)) if ratio < 97.5 else None


rows = []
for share, number in {"0 %": 0, **STEPS}.items():
    row = in_thesis(int(share.split()[0]) / 100)
    theirs = [f"{printed[n][row]} (as {row} %)" for n in printed] if row is not None else 2 * ["-"]
    rows.append((share, *theirs, *(behind(c, number) if number else f"{100 * FLOAT:.1f}" for c in ("activation-l2", "taylor"))))
HTML(plots.Table(("filters gone", "thesis, L2 (7.1)", "thesis, Taylor (8.2)", "ours, L2 (reference)", "ours, Taylor (reference)"), rows).html())

# %% tags=["remove-cell"]
quote(true_67=0.67 * RATIO_OF / theirs_all)
record(theirs_all=theirs_all)

# %% [markdown]
# And where they went, after 12 steps of 128 (Table 8.1) and, with half of all gone as well, after 6 of ours:

# %% tags=["hide-input"]
def parts(gone, names):
    """Return how `gone`, layer -> filters, is divided among groups of layers, name -> how the layers' names begin."""
    sums = [sum(n for layer, n in gone.items() if layer.split("_")[0] in group) for group in names.values()]
    return [n / max(1, sum(sums)) for n in sums]


def lost(criterion, number):
    """Return layer -> the filters lost up to step `number`, of one seed; None if not run."""
    steps = whole_runs.get(criterion, [])
    return {n: k - steps[number]["filters"][n] for n, k in steps[0]["filters"].items()} if number < len(steps) else None


THEIRS = {"the first": ("Convolution 0",), "middle": ("Fire 3", "Fire 4", "Fire 6", "Fire 7"), "last four": ("Fire 9", "Fire 10", "Fire 11", "Fire 12")}
OURS = {"the first": ("conv1",), "middle": ("fire2", "fire3", "fire4", "fire5"), "last four": ("fire6", "fire7", "fire8", "fire9")}
theirs = parts({row["layer"]: row["total"] for row in papers.table("gaikwad2018", 801)[:-1]}, THEIRS)
all_filters = {name: len(kernel) for name, kernel in importance(zoo.build("squeezenet_cifar", (32, 32, 3), 10), (), "weights-l1").items()}
have = parts(all_filters, OURS)
have_theirs = parts({layer.name: layer.filters for layer in zoo.build("squeezenet_v1_1", (224, 224, 3), 10).layers if hasattr(layer, "filters")}, OURS)
gone = lost("taylor", 6)
ours = [f"{x:.1%}" for x in parts(gone, OURS)] if gone else 3 * [reference.NOT_RUN]
heads = ("fire modules", "of what went: thesis", "of all filters: thesis", "of what went: ours (reference)", "of all filters: ours")
display(HTML(plots.Table(heads, [
    (group, f"{a:.1%}", f"{b:.1%}", c, f"{d:.1%}") for group, a, b, c, d in zip(THEIRS, theirs, have_theirs, ours, have)
]).html()))

# %% tags=["remove-cell"]
record(within=0.001, last_thesis=theirs[2], last_have=have_theirs[2])

# %% [markdown]
# {glue:text}`last_thesis:.0%` of what the thesis removes are from the last four modules, and it concludes that these hold what is redundant. But they
# also hold {glue:text}`last_have:.0%` of all filters: so much chance would take there, too. Only what is above that is the criterion's
# doing.
#
# {cite:t}`backstrom2018` prunes by mean activation and reports two things: the loss rises higher when chance chooses (Figure 18), and
# squeeze layers lose little, expand layers much (Figure 19).

# %% tags=["hide-input"]
KINDS = {"squeeze 1x1": "squeeze1x1", "expand 1x1": "expand1x1", "expand 3x3": "expand3x3"}
gone = {c: lost(c, 6) for c in ("mean-activation", "combined", "random")}


def of_kind(counts, kind):
    return sum(n for layer, n in counts.items() if kind in layer)


display(HTML(plots.Table(("share gone when half of all filters are (reference, one seed)", *gone), [
    (kind, *(f"{of_kind(g, part) / of_kind(all_filters, part):.0%}" if g else reference.NOT_RUN for g in gone.values()))
    for kind, part in KINDS.items()
]).html()))


def spikes(criterion):
    """Return seed -> the loss of the validation images right behind the first removal; before it all are the same."""
    return {r.trial.seed: r.results.pruning[1]["val_loss_before"] for r in cells[criterion].records}


def nats(found):
    if found is None:
        return reference.NOT_RUN
    return f"{found[0]:+.2f}" + (f" ± {found[1]:.2f} nats" if np.isfinite(found[1]) else " nats (1 run)")


def spared(criterion):
    """Return seed -> by how much the share of its expand filters that are gone is above that of squeeze filters, half of all gone."""
    found = {}
    for record_ in cells[criterion].records:
        for step in record_.results.pruning[6:7]:
            shares = [1 - of_kind(step["filters"], kind) / of_kind(all_filters, kind) for kind in ("expand", "squeeze")]
            found[record_.trial.seed] = shares[0] - shares[1]
    return reference.over_seeds(found.values())


higher = {c: reference.paired(spikes("random"), spikes(c)) for c in ("mean-activation", "combined")}
spares = {c: spared(c) for c in higher}
display(HTML(plots.Table(("claim (reference)", *higher), [
    ("the loss behind the first removal is higher by chance", *(f"{nats(found)}: {reference.verdict(found)}" for found in higher.values())),
    ("expand layers lose a larger share than squeeze layers", *(f"{reference.points(found)}: {reference.verdict(found)}" for found in spares.values())),
]).html()))

# %% tags=["remove-cell"]
at_half = {c: cells[c].after_step(STEPS["50 %"]).measured for c in ("mean-activation", "random")}
quote(**{f"half_{c.replace('-', '_')}": reference.percent(found) for c, found in at_half.items()})
below = None not in at_half.values() and at_half["mean-activation"][0] < at_half["random"][0]
first = lost("mean-activation", 1)
quote(than="less than" if below else "not less than", conv1_first=first["conv1"] if first else reference.NOT_RUN, conv1_all=all_filters["conv1"])

# %% [markdown]
# **A surprise.** With half of all filters gone, *mean activation* has {glue:text}`half_mean_activation` %, {glue:text}`than` chance with
# {glue:text}`half_random` %. Of the {glue:text}`conv1_all` filters of conv1 its first step alone takes {glue:text}`conv1_first`. Over its
# largest, a layer looks idle whose filters differ much, and being narrow does not help it ([above](divided-by)). The thesis saw no harm. For
# its Figure 18 it takes a sixteenth of the filters of *each layer* (4.5.1), so no layer can be stripped; ours may take all from one. Its
# prunings take 23 filters a step and look again, ours take 243. Which of these made the difference is not measured here.
#
# **Why they differ.** *How much went*: the ratios of the thesis flatter it, as the table shows. *Training*: the short one behind each step
# does not win back what pruning loses; a long one at the end did, in one run ([chapter 13](13-prune-then-quantize)). Criteria can only be
# compared at *a budget* of training behind each step, which may make up for a bad choice; ours are {glue:text}`budget:,` images a step on
# average. *The start*: the thesis' network comes from ImageNet. One may guess that it has filters to spare for ten classes; we have no
# such network to prune.
#
# ## Exercises
#
# **1.** Every layer keeps a third of its filters. Which share of its parameters does a network keep, roughly? Why is it more at both ends?
#
# ```{admonition} Solution
# :class: dropdown
# A kernel has (in x out) columns, and both shrink: $1/3 \cdot 1/3 = 1/9$. The first layer reads the image, the last answers with all
# classes: there only one side shrinks, and a third stays.
# ```
#
# **2.** The Taylor criterion is a derivative. What does it say of a filter whose map the loss does not depend on to first order, because
# training has come to its end?
#
# ```{admonition} Solution
# :class: dropdown
# At a minimum the *mean* gradient of the weights is 0, and a mean of products of map and gradient comes close to 0 for every filter, too:
# that is the mistake of averaging first. For single images the gradient is not 0, and the mean of absolute values tells how much the
# images disagree about the filter, which is more use.
# ```
#
# **3.** A filter is removed, and its bias with it. Why may the outputs still differ in the last bits from those with the filter silent?
#
# ```{admonition} Solution
# :class: dropdown
# The sum over channels has fewer terms, and is added up in another order or other groups. Floating-point addition is not associative.
# ```
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

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 13 Transfer learning: what a network already knows
#
# *Reading time: 20 minutes. Needs: [chapter 4](04-quantized-conv2d) (folding batch normalization) and [chapter
# 5](05-sqnr) (dynamic fixed point).*
#
# You have a hundred images of your own plants, which are few to train a network with. Another network has been trained on 50,000
# images of aeroplanes, cats and ships, but not on a single weed. Is it of use to you? {cite:t}`yosinski2014` measure how well each
# level of a network transfers.
#
# {cite:t}`backstrom2018` asks this for a robot that weeds onion fields. His networks take their first layers from a network trained
# on ImageNet. The other layers, and then all layers, are trained on onions and weeds.
#
# ```{admonition} Predict first
# :class: tip
# Two networks are trained on the same 96 images, one from random weights, one from weights trained on CIFAR-10.
#
# - By how many points does their accuracy differ?
# - In which of the two do the weights move further?
# - Which one loses more with 4-bit weights?
#
# The answers are in [Two starts](two-starts), [What moved](what-moved) and [Few bits afterwards](few-bits-afterwards).
# ```

# %% tags=["parameters"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
import numpy as np

from fewbits import data, explore, training, zoo
from fewbits.backend import keras
from fewbits.book import papers, questions, quote, record, reference
from fewbits.data.augmentation import shift_and_flip
from fewbits.explore import plots
from fewbits.io import weights
from fewbits.quantization import (
    FixedPoint, dequantize_model, fractional_length, quantize, quantize_model,
)
from fewbits.statistics import Share, paired, verdict
from fewbits.training import transfer

# %% tags=["hide-input"]
SMOKE = profile == "smoke"
IMAGES, EPOCHS = (24, 1) if SMOKE else (96, 8)
NAMES = {0: "from scratch", 9: "nine levels transferred"}

# %% [markdown]
# ## Transferred levels
#
# A network with $tl = l$ takes its levels 1 to $l$ from another network; the levels after them start at random. Then *all* are
# trained. The transfer only copies arrays by name:

# %%
SOURCE = zoo.find_weights("squeezenet_cifar")  # trained on CIFAR-10


def take(model, count):
    levels = list(dict.fromkeys(
        name.split("_")[0] for group in zoo.levels(model) for name in group
    ))
    with np.load(SOURCE) as arrays:
        for name, variable in weights.variables(model).items():
            if name.split("/")[0].split("_")[0] in levels[:count]:
                variable.assign(arrays[name])

# %%
def build(seed=1):
    keras.utils.set_random_seed(seed)
    return zoo.build("squeezenet_cifar", (32, 32, 3), 3)


by_hand, by_library = build(), build()
take(by_hand, 9)
transfer.take_levels(by_library, "squeezenet_cifar", 9)
pairs = list(zip(by_hand.get_weights(), by_library.get_weights()))
equal = sum(bool(np.array_equal(a, b)) for a, b in pairs)
print(f"{equal} of {len(pairs)} arrays are equal")

# %% [markdown]
# Nine is the most: the tenth level has ten classes, and we have three.
#
# (two-starts)=
# ## Two starts
#
# The images are onions, weeds and soil, cut out of drawn photographs. There are hundreds of them; we take 96.

# %%
crops = data.load("crops")
labels = crops.train.labels
chosen = np.sort(np.concatenate(
    [np.flatnonzero(labels == c)[: IMAGES // 3] for c in range(3)]
))
few = crops.scaled(crops.train)[chosen], labels[chosen]
test = crops.scaled(crops.test), crops.test.labels
print(len(few[1]), "of", len(labels), "images;", len(test[1]), "to test")

# %%
def start(levels):
    net = build()
    transfer.take_levels(net, "squeezenet_cifar", levels)
    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # a short training: see below
    return net


# %%
def train(net, epochs=EPOCHS, batch=16):
    steps = epochs, len(few[1]), batch
    rate = training.decaying_rate(0.003, "cosine", *steps)
    training.prepare(net, "adam", learning_rate=rate)
    return training.train(net, few, epochs=epochs, batch_size=batch,
                          seed=1, augment=shift_and_flip)


def share_right(net):
    _, right = training.evaluate_images(net, test)
    return Share.of(right)


# %%
nets = {levels: start(levels) for levels in NAMES}
before = {levels: transfer.copy_kernels(net) for levels, net in nets.items()}
history = {levels: train(net) for levels, net in nets.items()}
scores = {n: share_right(net) for n, net in nets.items()}
for levels, share in scores.items():
    print(f"{NAMES[levels]}: {share}")

# %% tags=["hide-input"]
# The loss, epoch by epoch
START = {"colours": (plots.ORANGE, plots.BLUE), "dashes": ("dot", "solid")}
explore.lines(
    {NAMES[n]: {epoch["epoch"]: epoch["loss"] for epoch in epochs} for n, epochs in history.items()}, "13.1",
    f"Training loss on {len(few[1])} images, from two starts; one seed (quick).",
    "Training loss over epochs, one line per start. With nine levels transferred it falls earlier and further.", x="epoch",
    y="training loss in nats", mode="lines", yaxis={"rangemode": "tozero"}, xaxis={"dtick": 1}, **START)

# %% [markdown]
# A better start alone changes the accuracy by {glue:text}`gained`. (That interval is of the test images. It is one seed and one
# choice of training images; [below](on-field-photographs) are five folds of real photographs, and a surprise.)
#
# **A trap.** The line with `momentum` makes the comparison fair. At test time batch normalization {cite:p}`ioffe2015` uses moving
# averages that it collects during training; each step replaces one hundredth of them. A short training has too few steps: a network
# trained from scratch would be tested with means that are still mostly 0, while one with transferred levels has the means of
# CIFAR-10. The difference would look like an effect of transfer, but come from the moving averages. Here each step therefore replaces
# a tenth.
#
# (what-moved)=
# ## What moved
#
# How far is each kernel from where it began? We measure the norm of the change as a share of the norm before:

# %%
after = {n: transfer.copy_kernels(net) for n, net in nets.items()}
moved = {n: transfer.relative_change(before[n], after[n]) for n in NAMES}
for levels, shares in moved.items():
    *body, last = shares.values()
    print(f"{NAMES[levels]}: {np.mean(body):.1%} on average,",
          f"conv10 {last:.1%}")
one, other = (transfer.copy_kernels(build(seed)) for seed in (1, 2))
apart = np.mean(list(transfer.relative_change(one, other).values()))
print(f"two random draws are {apart:.0%} apart")

# %% [markdown]
# Neither moves far. Even the network trained from scratch moves only {glue:text}`moved_0:.0%` of its norm, while one that had lost
# all trace of its start would be $\sqrt 2$ away ({glue:text}`apart:.0%`). Most of its weights are still the noise it began with.
# (Both move about equally far because Adam gives all weights steps of about one size.) The next figure shows the first layer before
# and after training:

# %% tags=["hide-input"]
# The filters of conv1, before and after
boards = {"transferred": before[9], "transferred, then trained": after[9], "random": before[0], "random, then trained": after[0]}
explore.filter_mosaics(
    {name: kernels["conv1"] for name, kernels in boards.items()}, "13.2",
    "The 32 filters of conv1 as colours, each over its own range: transferred or random, and after training (quick).",
    "Four boards of small coloured squares, two in a row. The boards of a row are nearly equal, square by square.",
)

# %% [markdown]
# (few-bits-afterwards)=
# ## Few bits afterwards
#
# The thesis warns that networks with transferred layers lose accuracy earlier when their weights have few bits. Here all kernels are
# rounded to nearest in dynamic fixed point ([chapter 5](05-sqnr)), with batch normalization folded; the rest stays in float.

# %%
def round_kernels(net, kernels, bits):
    for name, kernel in kernels.items():
        msb = bits - 1 - fractional_length(kernel, bits)
        codes = quantize(kernel, FixedPoint(msb, bits), "nearest")
        net.get_layer(name).kernel.assign(codes)


# %%
BITS = (8, 4) if SMOKE else (8, 7, 6, 5, 4, 3)
left, kernels = {}, {}
for levels, net in nets.items():
    folded = quantize_model(net, fold_batch_normalization=True)
    folded = dequantize_model(folded)
    kernels[levels] = transfer.copy_kernels(folded)
    left[levels] = {"float": scores[levels]}
    for bits in BITS:
        round_kernels(folded, kernels[levels], bits)
        left[levels][bits] = share_right(folded)

# %% tags=["hide-input"]
# Accuracy with weights of few bits
explore.lines(
    {NAMES[n]: found for n, found in left.items()}, "13.3",
    f"Few-bit weights after training from two starts. {len(test[1])} test images, 95 % intervals, one seed (quick).",
    "Accuracy over bits of the weights, a line per start, falling towards few bits.", x="bits of the weights", **START,
)

# %% [markdown]
# At 8 bits they lose {glue:text}`lost_8_0` (from scratch) and {glue:text}`lost_8_9` (nine levels transferred), at 4 bits
# {glue:text}`lost_4_0` and {glue:text}`lost_4_9`, each compared image by image. At 4 bits the network with transferred levels differs
# by {glue:text}`lead_4` from the other, in this one training of each. Its largest weights may be the reason: on average over the
# layers they are {glue:text}`peak_9:.1f` standard deviations, against {glue:text}`peak_0:.1f` from scratch, and the largest weight
# sets the step for all.
#
# [Chapter 19](19-localisation) asks these two networks *where* the plants are, for which they were not trained.

# %% tags=["remove-cell"]
# Quoted in the text: quick results
record(equal=equal, arrays=len(pairs))
record(within={"smoke": 0.7, "quick": 0.15}, accuracy=scores)
quote(gained=(scores[9] - scores[0]).points)
on_average = {n: np.mean(list(shares.values())[:-1]) for n, shares in moved.items()}
record(within={"smoke": 0.3, "quick": 0.15}, moved_body=on_average)
quote(moved=on_average, apart=apart)
at = {bits: {n: found[bits] for n, found in left.items()} for bits in (8, 4)}
record(within={"smoke": 0.9, "quick": 0.2}, weights_8=at[8])
record(within={"smoke": 0.9, "quick": 0.3}, weights_4=at[4])
quote(lost={f"{bits}_{n}": (scores[n] - at[bits][n]).points for bits in at for n in NAMES})
quote(peak={n: np.mean([abs(k).max() / k.std() for k in found.values()]) for n, found in kernels.items()})
quote(lead_4=(at[4][9] - at[4][0]).points)

# %% [markdown]
# (on-field-photographs)=
# ## On field photographs
#
# These *reference* results are for carrots and weeds, cut out of the field photographs of {cite:t}`haug2014`. Five folds of whole
# photographs test each plant once, by a network that has not seen its photograph. The number of training images is stated below.

# %% tags=["hide-input"]
# Accuracy on field photographs, by the number of levels transferred
cells = {c.trial.transfer: c for c in reference.cells("transfer", "transfer, other levels")}
cells, [frozen] = dict(sorted(cells.items())), reference.cells("transfer, frozen")
sixty, quick = (
    {c.trial.transfer: c for c in reference.cells(f"transfer, 60 images{more}")} for more in ("", ", momentum 0.9")
)


def plants(cell):  # of all folds together
    tests = [r.results.test for r in cell.records]
    return f"{sum(t.hits for t in tests)} of {sum(t.n for t in tests)}" if tests else None


trained_on = {"all images": {**cells, "9, frozen": frozen}, "60 images": sixty, "60 images, momentum 0.9": quick}
found = [(n, images, c) for images, by_levels in trained_on.items() for n, c in by_levels.items()]
heads = "levels transferred (tl)", "trained on", "accuracy in %, mean ± SD of 5 folds (reference)", "plants right"
rows = [(n, images, c.with_deviation(), plants(c)) for n, images, c in found]
reference.results_table(heads, rows, also=[c for *_, c in found])

# %% tags=["hide-input"]
# The lead of each number of levels over none, paired over the folds
run = {n: cell for n, cell in cells.items() if cell.records}
explore.lines(
    {"ahead of tl = 0": {n: cell.paired(run[0]) for n, cell in run.items() if n}}, "13.4",
    "Gain in accuracy on field photographs over a network with no level transferred: paired over five folds, 95 % intervals (reference).",
    "Points with intervals, one for each number of levels. Every interval holds zero.",
    x="levels transferred (tl)", y="accuracy ahead", mode="markers", xaxis={"type": "category"},
    yaxis={"range": [-0.13, 0.13], "tickformat": "+.0%", "zeroline": True, "zerolinecolor": plots.GREY},
)

# %% [markdown]
# Here is the surprise: the networks trained from scratch classify {glue:text}`right_0` plants correctly, those with nine levels
# transferred {glue:text}`right_9`. The difference, paired over the folds, is {glue:text}`gap`; that transfer helps is
# **{glue:text}`verdict`**. In the first fold both train on {glue:text}`learned` plants and as many images of soil.
#
# **We fell into the trap ourselves.** With 60 images, half of them plants, nine levels were ahead by {glue:text}`gap_60`, and we had
# called that confirmed. But momentum was 0.99 there. From scratch, training on the 60 images ends with {glue:text}`fit_60:.0%` of the
# training images right and a validation loss of {glue:text}`loss_60:.2f` nats, where a blind guess has {glue:text}`guess:.2f`. After
# all {glue:text}`steps` steps the moving means and variances still hold {glue:text}`remains:.1%` of their initial 0 and 1, which is a
# lot where the true variance is small. We repeated the ten trainings with the same seeds and momentum 0.9, which does not affect the
# training itself. From scratch, correct plants rise from {glue:text}`slow_0` to {glue:text}`quick_0`; with nine levels they go from
# {glue:text}`slow_9` to {glue:text}`quick_9`. The lead becomes {glue:text}`gap_quick`: that transfer helps with 60 images is
# **{glue:text}`verdict_quick`**. The two leads are {glue:text}`forgotten` apart. What we had called transfer came from the moving
# averages. (As a check, we trained from scratch on the first fold with both momenta on one machine. All training losses are
# {glue:text}`same_losses`. The test finds {glue:text}`check_slow` plants right with 0.99 and {glue:text}`check_quick` with 0.9:
# {glue:text}`check_gap`, image by image.)
#
# There are three caveats. The intervals are too narrow, since the folds share most of their training images {cite:p}`nadeau2003`. A
# fold tests about a hundred plants: even if all networks were equally good, so small a sample would scatter the folds by
# {glue:text}`by_count:.1f` points. Rate and augmentation were chosen on forty plants that the first fold does not test, but other
# folds do; both starts had the same choice.
#
# During training the two starts look more different than they are:

# %% tags=["hide-input"]
# Training loss and validation accuracy, by epoch
quantities = {"training loss": "loss", "validation accuracy": "val_accuracy"}
explore.stacked_lines(
    reference.training_panels({f"tl = {n}": cell for n, cell in run.items()}, quantities),
    "13.5", "Training loss, and accuracy on held-out photographs, by epoch; means over the folds (reference).",
    "Two panels over epochs. The losses are close. The validation accuracy from scratch drops, then rises slowly.",
    x="epoch", axes={"training loss": {"rangemode": "tozero"}, "validation accuracy": explore.PERCENT},
    colours=(plots.ORANGE, plots.BLUE, plots.GREEN, plots.PURPLE, plots.GREY), dashes=("dot", *["solid"] * 9),
)

# %% [markdown]
# The losses are close. But the network trained from scratch classifies less than half of the plants on held-out photographs correctly
# for {glue:text}`late` epochs, and then catches up. (Soil is a third answer and never right there: always answering soil scores 0 %.)
# The trap above may be the reason: the moving averages lag behind the weights, as they did with 60 images. We have no run with all
# images and another momentum to test this. Early stopping would mistake this lag for poor learning.

# %% tags=["hide-input"]
# How far each kernel moved, and how wide its weights are: means over the folds
far, deviation = ({n: cell.by_layer(quantity) for n, cell in cells.items()} for quantity in ("moved", "spread"))
explore.value_by_layer(
    far, "13.6",
    "How far each kernel moved, as a share of its norm: means over folds, logarithmic (reference).",
    "A heat map of layers by levels transferred. Most random kernels moved further than transferred ones, the last layer most.",
    logarithmic=True, x="levels transferred (tl)", name="tl")
explore.lines(
    {NAMES[n]: deviation[n] for n in NAMES}, "13.7",
    "The standard deviation of each kernel's weights after training: means over folds (reference).",
    "Two lines over the layers. The transferred weights are wider in the first levels, most of all in conv1.",
    x="layer", y="standard deviation", height=420, yaxis={"rangemode": "tozero"}, **START,
)

# %% [markdown]
# Transferred kernels move {glue:text}`far_9:.1%` on average, random ones {glue:text}`far_0:.1%`; random ones move further in
# {glue:text}`further` of {glue:text}`layers` layers. In {glue:text}`wider` of them the transferred weights spread wider, most of all
# in the first level: {glue:text}`conv1_9:.2f` against {glue:text}`conv1_0:.2f`. Both findings agree with the thesis. Wide kernels
# need large steps: is that why transferred networks should lose more with few bits?

# %% tags=["hide-input"]
# What quantization costs, with and without transferred levels
grids = {8: "transfer, quantized", 6: "transfer, quantized to 6 bits", 4: "transfer, quantized to 4 bits"}
quantized = {bits: {c.trial.start.transfer: c for c in reference.cells(name)} for bits, name in grids.items()}
extra = {bits: paired(c[9].lost_by_seed, c[0].lost_by_seed) for bits, c in quantized.items()}
heads = "bits", "tl = 0: accuracy", "tl = 9: accuracy", "tl = 0: lost", "tl = 9: lost", "tl = 9 loses more by"
rows = [((b,) * 3, c[0], c[9], c[0].lost.points, c[9].lost.points, extra[b].points) for b, c in quantized.items()]
reference.results_table(heads, rows, note="Paired over folds, 95 % intervals.")

# %% [markdown]
# Kernels, inputs and outputs of all layers are rounded to nearest, without retraining. On average the networks with nine levels
# transferred do lose more: {glue:text}`extra_6` at 6 bits, {glue:text}`extra_4` at 4. But the folds differ so much that this is
# **{glue:text}`sensitive`** at both: with nine levels transferred and 6 bits, one fold loses {glue:text}`most_6:.0f` points and
# another {glue:text}`least_6:.0f`.
#
# ## What the thesis found
#
# The table shows the thesis' AlexNet on onions and weeds in pots, with up to seven of eight levels transferred (Table 7), and its
# SqueezeNets at 8 bits (Table 11). Next to each printed deviation is the one that counting alone would give, with a fifth of the
# images in each fold.

# %% tags=["hide-input"]
# The thesis' accuracies with the deviation that counting would give, and ours
def by_chance(share, images):  # with a fifth of the images in each fold
    return 100 * np.sqrt(share * (1 - share) / (images / 5))


table_7, table_11 = (papers.table("backstrom2018", number) for number in (7, 11))
printed = [("AlexNet (Table 7)", row["tl"], row["accuracy"], row["std_dev"], 332 + 259) for row in table_7]  # 4.2
printed += [  # 4.4.1; the background is not tested
    (f"{row['network']}, 8 bits (Table 11)", tl, row[f"tl_{tl}_accuracy"], row[f"tl_{tl}_std_dev"], 410 + 639)
    for row in table_11 for tl in (0, 25)
]
chance = [by_chance(mean / 100, images) for *_, mean, _, images in printed]
ours = ["-"] * (len(printed) - 2) + [quantized[8][n].with_deviation() for n in (0, 9)]  # SqueezeNet v1.1 comes last
rows = [(*row[:2], f"{row[2]} ± {row[3]}", f"{by:.2f}", mine) for row, by, mine in zip(printed, chance, ours)]
explore.Table(("network", "tl", "thesis, % ± SD", "SD by counting", "ours at 8-8-8 (reference)"), rows)

# %% [markdown]
# In Table 7 the accuracy is highest at tl = {glue:text}`best_7`. The thesis interprets this as a rise and a fall, and rightly calls
# that speculation: the deviations are {glue:text}`least_ratio:.1f` to {glue:text}`most_ratio:.1f` times what counting gives, and
# larger than any step from row to row. Table 11 shows a much larger effect: {glue:text}`gain_11:.1f` points for SqueezeNet v1.1.
# Ours, at the same 8 bits, differ by {glue:text}`eight`.
#
# **Why they differ.** There are three reasons, and we cannot say how much each contributes. *What is transferred:* his levels were
# pretrained on ImageNet, a thousand classes at 224 pixels; ours on ten classes at 32 pixels. *Training from scratch:* his SqueezeNet
# has no batch normalization, and such a deep network is hard to train from random weights; ours has it. *What is tested:* he shuffles
# cut-out images, so plants of one photograph are in training and test; our folds keep photographs whole.
#
# We agree on the weights: transferred ones move little and spread wider. But Figure 12 of the thesis has a flaw. It shows the norm
# itself, which grows with the number of weights. It must also not compare with a newly drawn random start, because two draws are
# {glue:text}`apart:.0%` apart, whatever training does.
#
# ## Two questions

# %% tags=["hide-input"]
# The distance of a network that forgets
questions.ask(
    "A kernel was drawn at random, then trained. How far from its start would it be, as a share of its norm, if training led to an "
    "independent kernel of the same size?",
    (f"{apart:.0%}", "Two independent draws are the square root of 2 apart. Kernels that moved much less still contain their start."),
    (f"{1:.0%}", "This is the distance to zero. The new kernel adds its own size at a right angle."),
    (f"{2:.0%}", "This is the distance to its own negative, which is not independent of it."),
    ("0%", "This is a kernel that training has not moved."),
)

# %% tags=["hide-input"]
# Moving means after a short training
left_over = 0.99**100
questions.ask(
    "A network is trained from random weights for 100 steps, with moving means of momentum 0.99, then tested. What do you see?",
    (f"It is tested with means that are still {left_over:.0%} of their start.", "This is 0.99 to the power of 100. What looks like poor learning may be old means."),
    ("It has not learned.", "Training uses the means of each batch, and has learned as well as with any other momentum."),
    ("Nothing special: the means have settled.", "They need hundreds of steps to settle at this momentum."),
    ("It overfits.", "Overfitting means that more training images than test images are right. Here both are tested with the wrong means."),
)

# %% [markdown]
# ## Exercises
#
# **1.** Batch normalization with momentum 0.99 has run for 48 training steps. What share of its means is still the initial value?
# What share with momentum 0.9? After how many steps is it one percent with 0.99?
#
# ```{admonition} Solution
# :class: dropdown
# $0.99^{48} = 62\,\%$; $0.9^{48} = 0.6\,\%$. $\ln 0.01 / \ln 0.99 = 458$ steps.
# ```
#
# **2.** Two kernels are drawn independently from the same distribution with mean 0. Show that they are $\sqrt 2$ apart, as a share of one
# of them.
#
# ```{admonition} Solution
# :class: dropdown
# $\mathrm{E}\,(a - b)^2 = \mathrm{E}\,a^2 + \mathrm{E}\,b^2 - 2\,\mathrm{E}\,a\,\mathrm{E}\,b = 2\,\mathrm{E}\,a^2$; the root of the ratio is
# $\sqrt 2$.
# ```
#
# **3.** A fold tests 100 plants, and 90 are right. By how many points would folds scatter if all networks were equally good?
#
# ```{admonition} Solution
# :class: dropdown
# $\sqrt{0.9 \cdot 0.1 / 100} = 3$ points (standard deviation). A scatter of 3 points gives no information about the networks.
# ```

# %% tags=["remove-cell"]
# Quoted in the text: reference results
gap, gap_60, gap_quick = (c[9].paired(c[0]) for c in (cells, sixty, quick))
quote(gap=gap.points, verdict=verdict(gap), gap_60=gap_60.points, gap_quick=gap_quick.points)
leads = [{fold: top - c[0].by_seed[fold] for fold, top in c[9].by_seed.items()} for c in (sixty, quick)]
quote(verdict_quick=verdict(gap_quick), forgotten=paired(*leads).points)
last_steps = sixty[0].trial.epochs * -(-sixty[0].trial.images // sixty[0].trial.batch_size)
quote(steps=last_steps, remains=0.99**last_steps)
[check], [first_quick, *_] = (c.records for c in (reference.cell("transfer, 60 images, check"), quick[0]))
curves = [[epoch["loss"] for epoch in r.results.history] for r in (check, first_quick)]
quote(same_losses="equal to the last bit" if curves[0] == curves[1] else "not equal")
quote(check_gap=(first_quick.results.share() - check.results.share()).points)
quote(check={name: f"{r.results.test.hits} of {r.results.test.n}" for name, r in (("slow", check), ("quick", first_quick))})
quote(slow={n: plants(sixty[n]) for n in (0, 9)}, quick={n: plants(quick[n]) for n in (0, 9)})
right, n = map(int, plants(cells[9]).split(" of "))
first, last = cells[0].records[0].results, [r.results.history[-1] for r in sixty[0].records]
quote(right={n: plants(cells[n]) for n in (0, 9)}, by_count=by_chance(right / n, n))
from_scratch = np.array([*cells[0].by_epoch("val_accuracy").values()])
quote(learned=n - first.test.n - first.validation.n, late=np.argmax(from_scratch > 0.5))
quote(guess=np.log(3), fit_60=np.mean([e["accuracy"] for e in last]), loss_60=np.mean([e["val_loss"] for e in last]))
body = [name for name in far[0] if name != "conv10"]
quote(far={n: np.mean([far[n][name] for name in body]) for n in (0, 9)}, layers=len(body))
quote(further=sum(far[0][name] > far[9][name] for name in body), conv1={n: deviation[n]["conv1"] for n in (0, 9)})
quote(wider=sum(deviation[9][name] > deviation[0][name] for name in body))
six = [100 * lost for lost in quantized[6][9].lost_by_seed.values()]
quote(sensitive=verdict(extra[6], extra[4]))
quote(most_6=max(six), least_6=min(six), extra={bits: more.points for bits, more in extra.items()})
ratios = [row["std_dev"] / by for row, by in zip(table_7, chance)]
quote(least_ratio=min(ratios), most_ratio=max(ratios), best_7=max(table_7, key=lambda row: row["accuracy"])["tl"])
eight, v11 = quantized[8][9].paired(quantized[8][0]), table_11[1]
quote(eight=eight.points, gain_11=v11["tl_25_accuracy"] - v11["tl_0_accuracy"])

# %% [markdown]
# **Lab.** Transfer levels, evaluate a short training fairly, and find plants with a classifier, in `notebooks/labs/13-transfer.py`
# ([all labs](../book/labs)).
#
# ## Run it on yours
#
# ```python
# from fewbits import training, zoo
# from fewbits.training import transfer
#
# network = zoo.build("squeezenet_cifar", (32, 32, 3), 2)
# transfer.take_levels(network, "squeezenet_cifar", 9)
# for layer in network.layers:
#     if hasattr(layer, "momentum"):
#         layer.momentum = 0.9  # few steps: see the trap
# training.train(network, (images, labels), epochs=20)
# ```
#
# ```shell
# fewbits train --network squeezenet_cifar --data plants --size 32 --by-photograph --transfer squeezenet_cifar --levels 9 \
#         --epochs 30 --output plants.keras
# ```

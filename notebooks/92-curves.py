# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The figures of the five works, measured again
#
# [Paper against ours](90-paper-against-ours) sets our numbers beside the tables of the five works. This page does the same for their
# figures, and for the tables that no other chapter has. Most of these figures are curves printed without numbers, so shapes are compared.
#
# All results here are *reference* results: real data, run by `make reference`, kept with their provenance in `data/reference`. This page
# trains nothing. It draws what has been measured; [the status page](../book/status) lists what has not.
#
# Curves of two works never agree in full: data, networks and budgets differ, and each section says how. The seeds, the machine and the code
# behind a figure stand below its data.

# %% tags=["parameters", "remove-cell"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
import numpy as np

from fewbits import explore, zoo
from fewbits.book import papers, prunings, quote, record, reference
from fewbits.book.level_paths import path_of, show_level_paths
from fewbits.experiment import Scheme
from fewbits.explore import plots
from fewbits.quantization import msb_from_limits
from fewbits.statistics import mean_and_deviation

# %% [markdown]
# ## vieito2017
#
# From {cite:p}`vieito2017`.
#
# ### The training (Figure 13)
#
# Figure 13 (5.1.2) shows the accuracy over 5,000 epochs of 1,000 images: validation ends at 51 %, and twice the author lowered the rate, the
# second time because only the training images still gained.

# %% tags=["hide-input"]
# Accuracy during the training
original = reference.cell("float")
[whole] = original.records
accuracy = {f"{part} images": original.by_epoch(of)
            for part, of in (("training", "accuracy"), ("validation", "val_accuracy"))}
explore.lines(
    accuracy, "92.1",
    f"The training of our SqueezeNet on CIFAR-10, {whole.trial.epochs} epochs of all images (reference; one seed).",
    "Two lines over the epochs that rise fast, then slowly, and stay close; the training images end a little higher.",
    x="epoch", y="top-1 accuracy", yaxis=explore.ACCURACY,
    table=reference.data_table("epoch", accuracy, reference.made_with([original])))

# %% [markdown]
# Both flatten. Ours ends with {glue:text}`last_train:.1%` of the training images right and {glue:text}`last_val:.1%` of the validation
# images. The gap is small: the training images are shifted and mirrored, and the rate falls along a cosine that nobody touches. (An epoch
# has 1,000 images there and {glue:text}`images_per_epoch:,d` here.)
#
# ### Where the values lie (Figures 15 to 18, Tables 2 and 11)
#
# Figures 15 and 17 (5.2) are histograms of all kernels and of all convolution outputs, Figures 16 and 18 the limits of each layer. [Chapter
# 3](03-percentiles) explains them with a small network. Here is the network for CIFAR-10, on {glue:text}`images_seen` training images, with
# batch normalization folded into its kernels:

# %% tags=["hide-input"]
# All kernels and all outputs
ranges, heads = reference.load_ranges(), ("percentile", "lower limit", "upper limit")
for kind, label, what in (("kernel", "92.2", "weights"), ("output", "92.3", "convolution outputs")):
    bars, limits = ranges.histograms[kind], {f"{p:g} %": ends for p, ends in ranges.together[kind].items()}
    explore.histogram(
        np.repeat([*bars], [*bars.values()]), limits, label,
        f"All {sum(bars.values()):,} {what} of the SqueezeNet for CIFAR-10, and the limits of four percentiles (reference).",
        f"Histogram of the {what}: a narrow peak with long, thin tails. Pairs of lines mark the percentiles.",
        y=f"number of {what}",
        table=explore.Table(heads, [(p, *ends) for p, ends in limits.items()], f"Reference: {ranges.made_with}"))

# %% tags=["hide-input"]
# The limits of each layer
DRAWN = ("kernel", "92.4", "weights", "first"), ("output", "92.5", "convolution outputs", "last")
for kind, label, what, widest in DRAWN:
    explore.lines(
        ranges.reach(kind), label,
        f"The limit that holds each percentile of a layer's {what} (reference; {ranges.images} images).",
        f"Four lines over the layers: the limits of the {what}, largest in the {widest} layer.",
        x="layer", y=f"limit of the {what}", yaxis={"type": "log"}, height=460)

# %% [markdown]
# A narrow peak with long tails agrees, as far as the percentiles of Table 2 tell. By Table 11, `conv1` has the widest kernels there, as it
# has here; the widest outputs are those of `fire3` there and of `conv10` here. Table 2, and ours:

# %%
rows = []
for row in papers.table("vieito2017", 2):
    theirs = row["lower"], row["upper"]
    ours = ranges.together["kernel"][row["percentile"]]
    both = (n for ends in (theirs, ours)
            for n in (*ends, msb_from_limits(*ends)))
    rows.append((f"{row['percentile']:g} %", *both))
heads = [f"{whose}: {what}" for whose in ("thesis", "ours")
         for what in ("lower", "upper", "MSB")]
explore.Table(("percentile of all weights", *heads), rows)

# %% [markdown]
# And Table 11, the MSB of each level, to which we add the biases. Four numbers stand for the percentiles 95, 98, 99.9 and 99.99; the MSB of a
# level holds all its layers. The thesis has one MSB for inputs and outputs; ours is that of the outputs.

# %% tags=["hide-input"]
# The MSBs of each level
def together(numbers):
    return ", ".join(f"{n}".replace("-", "\N{MINUS SIGN}") for n in numbers)


printed = {
    row["layer"]: [[row[f"{kind}_msb_{p:g}".replace(".", "_")] for p in ranges.percentiles] for kind in ("kernel", "data")]
    for row in papers.table("vieito2017", 11)
}
ours = {kind: ranges.msbs(kind) for kind in ("kernel", "bias", "output")}
rows = [
    (level, *map(together, (kernels, ours["kernel"][level], ours["bias"][level], outputs, ours["output"][level])))
    for level, (kernels, outputs) in printed.items()
]
heads = "thesis: kernels", "ours: kernels", "ours: biases", "thesis: inputs and outputs", "ours: outputs"
explore.Table(("level", *heads), rows, f"Reference: {ranges.made_with}")

# %% [markdown]
# The MSBs of the kernels are alike, those of the outputs are not: {glue:text}`their_output_msbs` there, {glue:text}`our_output_msbs` here.
# The thesis' network has no batch normalization, and its pixels have only their mean subtracted; ours differs in both. And in ours no MSB falls as the
# percentile rises, as it does in {glue:text}`falling` levels of the thesis ([errata](91-errata)).
#
# (level-by-level)=
# ### Level by level, locked (Figures 22 and 23)
#
# Figure 22 (5.5.2) shows the accuracy while one level after the other is quantized and locked, and the others are trained on. It falls with
# each level and recovers a little: with `fire6`, 8-6-6 falls from 37 % to 19 %, and 100 epochs bring it to 25 %. Ours, as a saw: the first
# point of a level is the network right after its quantization, the second after {glue:text}`images_per_level:,d` images of training.

# %% tags=["hide-input"]
# Accuracy while level after level is quantized
GRIDS = {
    "to nearest": ("lock or train", "lock or train at 8-6-6", "lock or train at 4 bits"),
    "down": ("lock or train, rounded down",),
    "down, 98 %": ("lock or train, 98th percentile, rounded down",),
}
COLOUR = {(8, 8, 8): plots.BLUE, (8, 6, 6): plots.GREEN, (6, 6, 6): plots.ORANGE, (4, 4, 4): plots.PURPLE}
DASH = dict(zip(GRIDS, ("solid", "dot", "dash")))
every = [(way, cell) for way, names in GRIDS.items() for cell in reference.cells(*names) if cell.records]
runs = {(cell.trial.bits, way, cell.trial.strategy): cell for way, cell in every}
runs, start = {key: runs[key] for key in sorted(runs, reverse=True)}, whole.results.validation.share


def show_strategy(strategy, label, caption, alt):
    chosen = {(bits, way): cell for (bits, way, run_by), cell in runs.items() if run_by == strategy}
    show_level_paths(
        {f"{'-'.join(map(str, bits))}, {way}": cell for (bits, way), cell in chosen.items()}, start, label, caption, alt,
        colours=[COLOUR[bits] for bits, _ in chosen], dashes=[DASH[way] for _, way in chosen])


show_strategy(
    "lock", "92.6", "Quantize-and-lock on CIFAR-10, level after level",
    "Lines over the ten levels. To nearest they stay near float down to 6 bits; 6-6-6 rounded down falls far at each "
    "level and recovers less and less.")

# %% tags=["hide-input"]
# The deepest falls, and what is won back
paths = {key: path_of(cell, start) for key, cell in runs.items()}
locked = {key: cell for key, cell in runs.items() if key[2] == "lock"}
rows = []
for (bits, way, strategy), cell in locked.items():
    path = paths[bits, way, strategy]
    level, fall = path.deepest
    back = f"{100 * path.rises[level]:.1f}" if level in path.rises else "-"
    under = f"{100 * (start.value - path.end):.1f}"
    rows.append((bits, way, f"{100 * fall:.1f} ({level})", back, under, len(cell.records)))
heads = "bits", "rounding", "deepest fall, points", "won back by training", "under float in the end", "seeds"
reference.results_table(heads, rows, also=locked.values(), note="Quantize-and-lock, validation images.")

# %% [markdown]
# The saw is the same, its depth is not. Rounded to nearest, no level of 8-6-6 costs more than {glue:text}`fall_866:.1f` points. Rounded down,
# 6-6-6 falls by {glue:text}`fall_666:.1f` points at {glue:text}`level_666`, and the levels that are still trained win much of it back; in the
# thesis they do not. Its schedules round down with one MSB for all levels, 0 for kernels and 9 for inputs and outputs; ours have one for each
# layer. Its network has a thousand classes, ours ten; batches and rates differ too.
#
# Figure 23 (5.5.3) compares MSBs at 8-6-6: the 95th and the 98th percentile end above one MSB for all levels, the 99.9th below it.

# %% tags=["hide-input"]
# One MSB for all levels, or one for each
custom = reference.cell("lock or train at 8-6-6", strategy="lock")
chosen = {"8-6-6, an MSB per layer (99.9 %)": custom, "8-6-6, one MSB (99.9 %)": reference.cell("generic MSB")}
chosen |= {f"6-6-6, down, {p}": runs[(6, 6, 6), way, "lock"] for p, way in (("99.9 %", "down"), ("98 %", "down, 98 %"))
           if ((6, 6, 6), way, "lock") in runs}
show_level_paths(
    chosen, start, "92.7", "Quantize-and-lock with other MSBs",
    "Lines over the ten levels: at 8-6-6 an MSB per layer stays near float, one MSB for all falls far below it. Rounded "
    "down, the 98th percentile ends above the 99.9th.",
    colours=(plots.GREEN, plots.GREY, plots.ORANGE, plots.ORANGE), dashes=("solid", "solid", "dot", "dash"))

# %% [markdown]
# One MSB for all levels is worse in ours, too: {glue:text}`end_generic:.1%` against {glue:text}`end_custom:.1%`, rounded to nearest. And in
# the thesis' own rounding, down, the order of its percentiles returns, here at 6-6-6: the 98th ends at {glue:text}`end_98:.1%`, the 99.9th at
# {glue:text}`end_999:.1%`. A smaller MSB clips more and has a finer step, and rounding down costs half a step of every value.
#
# ### Level by level, trained (Figure 24)
#
# Figure 24 (5.5.4) trains the levels that are quantized as well. There 8-6-6 and 6-6-6 recover after each level; 4-4-4 does not from `fire5`
# on, and ends at a guess.

# %% tags=["hide-input"]
# The same, with quantized levels trained
show_strategy(
    "train", "92.8", "Quantize-while-train on CIFAR-10, level after level",
    "Lines over the ten levels. 6-6-6 rounded down falls at each level as before, but recovers to the same height each "
    "time; 4-4-4 stays about eight points under float.")

# %% [markdown]
# Here the figures agree best: what *lock* loses for good, *train* wins back, and 6-6-6, rounded down, ends at {glue:text}`end_666:.1%` (*lock*
# {glue:text}`end_666_lock:.1%`). Our 4-4-4 ends at {glue:text}`end_444:.1%`. But it rounds to nearest, with ranges of least squared error,
# and the thesis rounds down.
#
# ### A longer training (Figure 25, Table 14)
#
# Figure 25 (5.5.5) gives each level 100,000 images instead of 10,000: 6-6-6 gains, 4-4-4 stays at a guess (0.19 %). We have no schedule as
# long as that level by level. What we have is few bits over the number of images:

# %% tags=["hide-input"]
# Validation accuracy over the images of the training
LONG = {
    "4-4-4, level by level": reference.cell("lock or train at 4 bits", strategy="train"),
    "4-4-4, bit by bit, level by level": reference.cell("gradual", strategy="gradual-by-level"),
    "4-4-4, all at once": reference.cell("few bits, all images", bits=(4, 4, 4)),
    "3-3-3 that fit, level by level": reference.cell("ways to 3 bits, level by level"),
    "3-3-3 that fit, all at once": reference.cell("ways to 3 bits, all at once"),
}
LONG = {name: cell for name, cell in LONG.items() if cell.records}
few = {
    name: {n * cell.images_per_epoch / 1000: value for n, value in cell.by_epoch("val_accuracy").items()}
    for name, cell in LONG.items()
}
explore.lines(
    few, "92.9",
    f"Few bits over the images of their training, on CIFAR-10 (reference; means of {reference.seeds_of(LONG.values())}). 3-3-3 "
    "has an MSB per filter, unsigned formats, and its first and last level at 8 bits.",
    "Lines over the number of images: level by level they fall a little, all at once they rise; all come to about three "
    "quarters.",
    x="thousands of images", y="validation accuracy", yaxis={**explore.PERCENT, "range": [0.55, 0.85]}, mode="lines",
    colours=[plots.PURPLE] * 3 + [plots.ORANGE] * 2, dashes=("solid", "dash", "dot", "solid", "dot"), height=440,
    table=reference.data_table("thousands of images", few, reference.made_with(LONG.values())))

# %% [markdown]
# Rounded to nearest, 4-4-4 hardly asks for more images: {glue:text}`last_level:.1%` after {glue:text}`images_level:.0f` thousand level by level,
# {glue:text}`last_bit:.1%` after {glue:text}`images_bit:.0f` thousand bit by bit and level by level, {glue:text}`last_once:.1%` after
# {glue:text}`images_once:.0f` thousand all at once. (Their rates differ; [chapter 10](10-few-bits) compares ways with equal training.)
# That a longer training does not help 4-4-4 agrees; that it is lost does not.

# %% tags=["remove-cell"]
# Quoted in the text
record(images_seen=ranges.images, falling=sum(kernels[-1] < kernels[0] for kernels, _ in printed.values()))
record(msbs={level: together(of) for level, of in ours["kernel"].items()})
quote(last_train=original.at_end("accuracy"), last_val=original.at_end("val_accuracy"))
quote(images_per_epoch=original.images_per_epoch, images_per_level=custom.trial.images)
outputs = {"their": [of for _, of in printed.values()], "our": ours["output"].values()}
quote(**{f"{whose}_output_msbs": f"{min(map(min, of))} to {max(map(max, of))}" for whose, of in outputs.items()})
_, fall_866 = paths[(8, 6, 6), "to nearest", "lock"].deepest
level_666, fall_666 = paths[(6, 6, 6), "down", "lock"].deepest
quote(fall_866=100 * fall_866, fall_666=100 * fall_666, level_666=level_666)
ends = {name: path_of(cell, start).end for name, cell in zip(("custom", "generic", "999", "98"), chosen.values())}
quote(**{f"end_{name}": end for name, end in ends.items()}, end_444=paths[(4, 4, 4), "to nearest", "train"].end)
quote(end_666=paths[(6, 6, 6), "down", "train"].end, end_666_lock=paths[(6, 6, 6), "down", "lock"].end)
for name, path in zip(("level", "bit", "once"), few.values()):
    quote(**{f"images_{name}": float(max(path)), f"last_{name}": path[max(path)]})

# %% [markdown]
# ## backstrom2018
#
# From {cite:p}`backstrom2018`. His figures of weights and maps have counterparts in other chapters, on carrots and weeds in the field
# {cite:p}`haug2014`, on drawn plants, or on digits:
#
# | there | shows | here | what differs |
# |---|---|---|---|
# | Figure 4 | loss and accuracy in training, one fold | {figure}`13.5` | the mean of five folds; SqueezeNet |
# | Figure 5 | accuracy by fold over the levels transferred | {figure}`13.4`, and below | SqueezeNet, ten levels |
# | Figures 6 to 9, Tables 8 to 10 | photographs with parts painted over | [chapter 19](what-it-looks-at) | many scenes; drawn plants |
# | Figure 11 | 25 of the filters of the first layer | {figure}`13.2` | all 32; SqueezeNet, drawn plants |
# | Figure 12 | how far each layer moved | {figure}`13.6` | as a share of the kernel's norm; SqueezeNet |
# | Figure 13 | standard deviation of each layer | {figure}`13.7` | SqueezeNet |
# | Figure 14 | maps of the last convolution | {figure}`19.3` | SqueezeNet, drawn plants, two starts |
# | Figures 15 and 17 | a photograph and the maps of its classes | {figure}`19.1` | drawn scenes |
# | Figures 16 and 20 | maps before and after pruning | {figure}`15.2` | digits |
#
# ### Without the odd fold (Figure 5)
#
# The lowest panel of Figure 5 (4.2.2) leaves out fold 3, an outlier for every number of levels.

# %% tags=["hide-input"]
# Accuracy over the levels transferred, with all folds and without the odd one
taken = {c.trial.transfer: c for c in reference.cells("transfer", "transfer, other levels") if len(c.records) == 5}
by_fold = {n: {run.trial.fold: run.results.accuracy for run in taken[n].records} for n in sorted(taken)}
mean_of_fold = {fold: np.mean([found[fold] for found in by_fold.values()]) for fold in range(5)}
odd = max(mean_of_fold, key=lambda fold: abs(mean_of_fold[fold] - np.median([*mean_of_fold.values()])))
panels = {
    "all folds": {n: mean_and_deviation(found.values()) for n, found in by_fold.items()},
    f"without fold {odd}": {
        n: mean_and_deviation(a for fold, a in found.items() if fold != odd) for n, found in by_fold.items()},
    f"fold {odd}": {n: found[odd] for n, found in by_fold.items()},
}
explore.lines(
    panels, "92.10",
    "Accuracy on field photographs over the number of levels transferred: mean and standard deviation of the folds, and the odd "
    "fold alone (reference).",
    "Three lines over the levels transferred. The means hardly change; the odd fold lies above them nearly everywhere.",
    x="levels transferred (tl)", yaxis=explore.PERCENT, xaxis={"type": "category"},
    colours=(plots.GREY, plots.BLUE, plots.ORANGE), dashes=("solid", "solid", "dot"),
    table=reference.data_table("levels transferred", panels, reference.made_with(taken.values())))

# %% [markdown]
# Ours has an odd fold as well, fold {glue:text}`odd`: it is {glue:text}`odd_apart:.1f` points from the median of the folds, here the better
# one. Without it the standard deviation falls from {glue:text}`deviation_all:.1f` to {glue:text}`deviation_rest:.1f` points on average. That
# agrees with the thesis. But whoever leaves out the fold that is farthest away will always find less spread, so the smaller deviation is not
# the better one.
#
# ### Bits (Figure 10)
#
# Figure 10 (4.2.4) quantizes convolutions, dense layers and activations separately, in AlexNets with none to seven levels from ImageNet. Our
# AlexNet is the small one for CIFAR-10, on {glue:text}`study_images:,d` test images, in dynamic fixed point:

# %% tags=["hide-input"]
# Accuracy of AlexNet over bits, one kind of values at a time
study = reference.load_study("alexnet_cifar")
KINDS = {"convolutions": tuple(f"conv{n}" for n in range(1, 6)), "dense layers": ("fc6", "fc7", "fc8"), "activations": None}
BITS = (16, 8, 6, 5, 4, 3, 2)


def scheme(kind, bits, rounding):
    widths = (None, bits, bits) if kind == "activations" else (bits, None, None)
    return Scheme(bits=widths, percentile="dynamic", layers=KINDS[kind], rounding=rounding)


alone = {
    f"{kind}, {said}": {"float": study.float}
    | {str(bits): study[asked] for bits in BITS if (asked := scheme(kind, bits, rounding)) in study}
    for kind in KINDS for rounding, said in (("nearest", "to nearest"), ("floor", "down"))
}
explore.lines(
    alone, "92.11", f"AlexNet on CIFAR-10 with one kind of values quantized; {study.images:,} test images (reference).",
    "Six lines over falling bits, flat down to 8. Rounded down, all are at a guess by 4 bits. To nearest, activations fall "
    "first, then convolutions; dense layers last to 3 bits.",
    x="bits", colours=np.repeat([plots.BLUE, plots.GREEN, plots.ORANGE], 2), dashes=("solid", "dot"),
    xaxis={"type": "category"}, table=reference.data_table("bits", alone, study.made_with))

# %% tags=["hide-input"]
# Accuracy on plants over bits, with and without levels transferred
GRID_OF = {"8": "transfer, quantized", "6": "transfer, quantized to 6 bits", "4": "transfer, quantized to 4 bits"}
quantized = {
    bits: {cell.trial.start.transfer: cell for cell in reference.cells(name) if cell.records}
    for bits, name in GRID_OF.items()
}
plants = {
    f"{n} levels transferred": {"float": taken[n]} | {bits: found[n] for bits, found in quantized.items() if n in found}
    for n in (0, 9)
}
made = reference.made_with([taken[0], taken[9], *(cell for found in quantized.values() for cell in found.values())])
explore.lines(
    plants, "92.12",
    "SqueezeNet on field photographs, everything at so many bits, with no level taken and with nine: means of the folds with "
    "95 % intervals (reference).",
    "Two lines over falling bits, level down to 8 and falling to 4, where nine levels transferred lie below none; the intervals "
    "overlap.",
    x="bits", colours=(plots.ORANGE, plots.BLUE), xaxis={"type": "category"},
    table=reference.data_table("bits", plants, made))

# %% [markdown]
# At 8 bits no network of the thesis loses a point. Ours agree: activations of 8 bits cost AlexNet {glue:text}`alexnet_8:.1f` points, and the
# plants with nine levels transferred {glue:text}`plants_8:.1f`. Below 8 bits the networks with levels transferred fall first there; here too, on average,
# but [chapter 13](13-transfer) finds the folds too different to be sure. Both find dense layers the least sensitive. The rounding, which the thesis does
# not name, moves our curves by one bit or more.
#
# ## chiang2017
#
# From {cite:p}`chiang2017`.
#
# ### Losses in training (Figures 4.3 to 4.11)
#
# Figures 4.3 to 4.5 (page 39) show the total loss, the cross-entropy and the loss of weight decay for MobileNet at width 1 and 32 pixels, in
# two stages: the last layer alone, then all layers. The other sizes are said to be similar. Figures 4.6 to 4.11 (pages 40 and 41) show the same
# for Inception v3 and ResNet. In ours the optimizer decays the weights itself, so that the loss is the cross-entropy alone; that of the decay
# is not recorded.

# %% tags=["hide-input"]
# Cross-entropy of the MobileNets, and of their rivals where they have been run
SIZES, WIDTHS = (32, 24, 16), (1.0, 0.75, 0.5, 0.25)
found = sorted(reference.cells("MobileNet", "MobileNet, corners"), key=lambda cell: len(cell.records))
nets = {(c.trial.width, c.trial.size): c for c in found if c.records}
curves = {f"{w:g}, {s} px": nets[w, s] for w in WIDTHS for s in SIZES if (w, s) in nets}
rivals = {c.trial.network.removesuffix("_cifar"): c for c in reference.cells("rivals of MobileNet") if c.records}
LOSSES, EPOCHS = {"training loss": "loss", "validation loss": "val_loss"}, {"epoch": {"dtick": 1}}
SHADES = plots.BLUE, plots.GREEN, plots.ORANGE, plots.PURPLE
looks = [(colour, dash) for colour in SHADES for dash in ("solid", "dash", "dot")]
colours, dashes = zip(*looks, (plots.GREY, "solid"), (plots.GREY, "dash"))
explore.stacked_lines(
    reference.training_panels(curves | rivals, LOSSES), "92.13",
    f"Cross-entropy in nats of MobileNets by width and pixels, trained from scratch on CIFAR-10 for "
    f"{nets[1.0, 32].trial.epochs} epochs (reference; means of {reference.seeds_of(curves.values())}).",
    "Two panels over the epochs: all lines fall side by side, those of 32 pixels lowest, those of 16 highest.",
    x="epoch", axes=EPOCHS, colours=colours, dashes=dashes, height=680)

# %% tags=["hide-input"]
# Cross-entropy of the two stages
stages = [
    {cell.trial.size: cell for cell in reference.cells(f"MobileNet from ImageNet, {n} stage") if cell.records}
    for n in ("first", "second")
]
first, second = (stage[32] for stage in stages)
explore.stacked_lines(
    reference.training_panels({f"{size} px": [stage[size] for stage in stages] for size in SIZES}, LOSSES), "92.14",
    f"Cross-entropy in nats of MobileNet 0.25 from ImageNet, on CIFAR-10: the last layer alone for {first.trial.epochs} "
    f"epochs, then all layers for {second.trial.epochs} (reference; {reference.seeds_of([first, second])}).",
    "Two panels over the epochs. The validation loss falls throughout; the training loss halts where all layers begin to be "
    "trained.",
    x="epoch", axes=EPOCHS, colours=(plots.BLUE, plots.GREEN, plots.ORANGE), dashes=("solid", "dash", "dot"), height=520)

# %% [markdown]
# That the sizes are similar agrees: all fall side by side, and {glue:text}`ordered:.0%` of the pairs are in the same order after the first and
# after the last epoch. Both stages lower the loss, at 32 pixels to {glue:text}`loss_first:.2f` and then to {glue:text}`loss_second:.2f` nats
# on validation images. More cannot be compared: the thesis trains 25,000 and 55,000 steps on CIFAR-100, about 64 and 141 epochs, and our
# stages have width 0.25, the only one whose published weights we use.
#
# ### What the others cost (Tables 4.2 and 4.3)
#
# Tables 4.2 and 4.3 (pages 43 and 44) are pictures. Section 1.3 says in words that MobileNet's file is more than 6 times smaller than those
# of Inception v3 and ResNet. [Chapter 2](02-counting) counts these networks for the thousand classes of ImageNet. For the hundred of the
# thesis only the last layer changes:

# %%
FEATURES = {  # parameters with 1,000 classes, inputs of the last layer
    "MobileNet": (4_253_864, 1024), "Inception v3": (23_851_784, 2048),
    "ResNet-50": (25_636_712, 2048)}
fewer = {name: total - 900 * (inputs + 1)
         for name, (total, inputs) in FEATURES.items()}
times = {name: n / fewer["MobileNet"] for name, n in fewer.items()}
explore.Table(
    ("network", "parameters, 100 classes", "times MobileNet's"),
    [(name, n, f"{times[name]:.2f}") for name, n in fewer.items()])

# %% [markdown]
# So the sentence holds, if that ResNet is the one with 50 layers, which the thesis does not say. What MobileNet loses to its
# rivals, and how fast all are, is the matter of [chapter 12](12-mobilenet), with small rivals of our own.
#
# ## chernis
#
# From {cite:p}`chernis`. The appendix has a graph of the training and validation accuracy of each experiment, without numbers in the text.

# %% tags=["hide-input"]
# Accuracy in training of the variants
grids = "SqueezeNet of chernis", "SqueezeNet of chernis on CIFAR-100"
variants = {c.trial.network.removeprefix("squeezenet_chernis_"): c for c in reference.cells(*grids) if c.records}
SHARES = {"training accuracy": "accuracy", "validation accuracy": "val_accuracy"}
explore.stacked_lines(
    reference.training_panels(variants, SHARES), "92.15",
    f"The variants of SqueezeNet in {variants['baseline'].trial.epochs} epochs (reference; "
    f"{reference.seeds_of(variants.values())}).",
    "Two panels over the epochs: all variants rise together, the baseline lowest in the end and E4 highest.",
    x="epoch", axes={**EPOCHS, **dict.fromkeys(SHARES, explore.PERCENT)}, height=560)

# %% [markdown]
# The report trains for 20 epochs, we for {glue:text}`chernis_epochs`, so ours are the beginnings of its curves. In all of ours the validation
# images are ahead, by {glue:text}`val_above:.1f` points on average in the last epoch: they are neither shifted nor mirrored, and no dropout
# disturbs them. {glue:text}`best_variant` is best in both works ([chapter 11](11-squeezenet)).
#
# ## gaikwad2018
#
# From {cite:p}`gaikwad2018`.
#
# ### Convolutions and dense layers (Tables 1.1 and 1.2)
#
# Table 1.1 (section 1.1) gives the shares of convolutions and of dense layers "percentage wise", and not of what; Table 1.2 gives millions
# of parameters. AlexNet {cite:p}`krizhevsky2012` and VGG16 {cite:p}`simonyan2015` can be counted by hand, from the side of the output, the
# side of the kernel, its inputs and its filters:

# %%
ALEXNET = [(55, 11, 3, 96), (27, 5, 48, 256), (13, 3, 256, 384),
           (13, 3, 192, 384), (13, 3, 192, 256)]
BLOCKS = [(224, 64, 2), (112, 128, 2), (56, 256, 3), (28, 512, 3),
          (14, 512, 3)]
VGG, inputs = [], 3
for side, filters, layers in BLOCKS:
    for _ in range(layers):
        VGG.append((side, 3, inputs, filters))
        inputs = filters


# %%
def share_of_convolutions(convolutions, flat):
    """Return the share of the parameters and of the MACs."""
    dense = (1, 1, flat, 4096), (1, 1, 4096, 4096), (1, 1, 4096, 1000)
    conv, rest = (
        np.sum([(k * k * n * m + m, k * k * n * m * side**2)
                for side, k, n, m in part], 0)
        for part in (convolutions, dense))
    return int(conv[0] + rest[0]), conv / (conv + rest)


counted = {"Alexnet": share_of_convolutions(ALEXNET, 6 * 6 * 256),
           "VGG16": share_of_convolutions(VGG, 7 * 7 * 512)}
assert counted["Alexnet"][0] == 60_965_224  # as published
assert counted["VGG16"][0] == 138_357_544

# %% tags=["hide-input"]
# Parameters, and the shares of convolutions
squeezenet = zoo.build("squeezenet_v1_1", (227, 227, 3), 1000)
if not any(type(layer).__name__ == "Dense" for layer in squeezenet.layers):
    counted["SqueezeNet"] = squeezenet.count_params(), np.ones(2)
percent, millions = (
    {row["network"]: row[column] for row in papers.table("gaikwad2018", number)}
    for number, column in ((101, "convolution_percent"), (102, "million_parameters"))
)
heads = "parameters, as printed", "counted", "convolutions, as printed", "of the parameters", "of the MACs"
explore.Table(("network", *heads), [
    (name, f"{millions[name]} M", total, f"{percent[name]} %", *(f"{share:.1%}" for share in shares))
    for name, (total, shares) in counted.items()
])

# %% [markdown]
# The printed shares are near those of the *MACs*. They are far from those of the parameters, of which the sentences around the table speak.
# AlexNet's are {glue:text}`alexnet_off:.1f` points off. (The table's fourth network, R3DCNN, is one for videos; we have not counted it.) The
# millions are right. {cite:t}`backstrom2018` lists the same AlexNet in Table 1, but with a 7x7 `fc6`: that would be
# {glue:text}`alexnet_7:,d` parameters, and 6x6 gives the published number, and the 60 million of its own text.
#
# ### From scratch and from ImageNet (Figures 5.1 to 5.4)
#
# Figures 5.1 and 5.3 (5.2) train SqueezeNet on CIFAR-10 from scratch, to 64 % after 110 epochs; Figures 5.2 and 5.4 start from ImageNet and
# reach 74 %. We have a SqueezeNet from scratch, and a MobileNet from both starts:

# %% tags=["hide-input"]
# Training from scratch, and from ImageNet
nothing = nets[0.25, 32]
starts = {
    "SqueezeNet, from scratch": original,
    "MobileNet 0.25, from scratch": nothing,
    "MobileNet 0.25, from ImageNet": (first, second),
}
explore.stacked_lines(
    reference.training_panels(starts, {"training loss": "loss", "validation accuracy": "val_accuracy"}), "92.16",
    "Training loss and validation accuracy on CIFAR-10, from scratch and from ImageNet (reference; "
    f"{reference.seeds_of([original, nothing, first])}).",
    "Two panels over the epochs. SqueezeNet rises for thirty epochs; MobileNet from ImageNet starts higher than from "
    "nothing, and stays higher.",
    x="epoch", axes={"training loss": {"rangemode": "tozero"}, "validation accuracy": explore.PERCENT},
    colours=(plots.BLUE, plots.ORANGE, plots.GREEN), dashes=("solid", "dot", "dash"), height=520)

# %% [markdown]
# That ImageNet is a good start agrees: MobileNet ends {glue:text}`lead_imagenet:.1f` points higher on the test images, after
# {glue:text}`epochs_imagenet` epochs against {glue:text}`epochs_nothing`. From scratch our SqueezeNet ends at {glue:text}`whole_test:.1%`, far
# above the thesis' 64 %: it has batch normalization and was built for images of 32 pixels.
#
# (accuracy-over-the-ratio)=
# ### Accuracy over the ratio (Figures 7.9, 8.8, 9.8 and 9.9, Tables 7.1 and 8.2)
#
# Figure 7.9 draws the 22 ratios of Table 7.1, the L2 of activations; Figure 8.8 those of Table 8.2, Taylor; Figure 9.8 both criteria
# combined, and Figure 9.9 all three side by side. The accuracies start at 74 % there and at {glue:text}`whole_test:.1%` here, so ours shows
# what is lost.

# %% tags=["hide-input"]
# Accuracy lost over the share of filters removed: eight criteria, and the two printed tables
pruned = {cell.trial.criterion: cell for cell in reference.cells("pruning") if cell.records}
tables = {f"thesis, {name}": papers.table("gaikwad2018", n) for name, n in (("activation-l2", 701), ("taylor", 802))}
RATIOS = [row["pruning_ratio"] / 100 for row in tables["thesis, taylor"]][:-1]  # without filters nothing answers
lost = {
    name: {r: change for r in RATIOS if (change := prunings.change_at(cell, r)) is not None} for name, cell in pruned.items()
}
lost |= {
    name: {r: (row["accuracy"] - rows[0]["accuracy"]) / 100 for r, row in zip(RATIOS, rows)}
    for name, rows in tables.items()
}
made = reference.made_with(pruned.values())
explore.lines(
    lost, "92.17",
    "Accuracy less that of the unpruned network over the share of filters removed (reference; means of "
    f"{reference.seeds_of(pruned.values())} with 95 % intervals), and Tables 7.1 and 8.2 of the thesis.",
    "Lines from zero downwards. The two printed ones are flat to two thirds and then drop; ours bend earlier. Mean activation and "
    "random choice fall from the first step.",
    x="share of filters removed", y="accuracy less the unpruned", xaxis=explore.PERCENT, height=560,
    yaxis={**explore.PERCENT, "range": [-0.75, 0.03]}, colours=[*(plots.COLOURS[:4] * 2)[: len(pruned)], plots.GREY, plots.GREY],
    dashes=[*(["solid"] * 4 + ["dot"] * 4)[: len(pruned)], "solid", "dash"],
    table=reference.data_table("removed", lost, made, {r: f"{r:.0%}" for r in RATIOS}))

# %% [markdown]
# A plateau, then a fall: that agrees, the length of the plateau does not. The thesis loses nothing at 65 %; ours has lost
# {glue:text}`taylor_65:.1f` points there by Taylor and {glue:text}`combined_65:.1f` by both combined. One reason is arithmetic. The thesis counts 2,292
# filters where SqueezeNet has {glue:text}`filters:,d` ([errata](91-errata)), so that its 67 % are {glue:text}`true_67:.0%` of them; there ours
# has lost {glue:text}`taylor_true:.1f` and {glue:text}`combined_true:.1f` points. Others are untested: steps of 128 filters there and of
# {glue:text}`per_step` here, the training between them, and a network that had 74 % to lose.
#
# Figure 9.9 has *combined* first. Ours does not tell it from Taylor; [chapter 14](14-pruning) compares them seed by seed.
#
# ### Filters by layer (Figures 7.3 to 7.8, 8.2 to 8.7 and 9.2 to 9.7)
#
# These figures show, for each of the three criteria, how many filters each convolution loses at six ratios from 67 % to 95 %. Ours, step by step
# ({figure}`14.8` has all criteria, and one seed):

# %% tags=["hide-input"]
# Filters that each layer has lost, step by step
THREE = [name for name in ("activation-l2", "taylor", "combined") if name in pruned]
LATE = "fire6", "fire7", "fire8", "fire9"


def share_of_late(counts):
    return sum(n for layer, n in counts.items() if layer[:5] in LATE) / sum(counts.values())


def lost_by_layer(step):
    """Return criterion -> layer -> how many filters it has lost, the mean of the runs, and readings."""
    found = {name: prunings.filters_lost_by_layer(pruned[name], step) for name in THREE}
    gone = sum(found[THREE[-1]].values()) / sum(pruned[THREE[-1]].steps[0]["filters"].values())
    late = {f"{name}: from the last four modules": f"{share_of_late(of):.0%}" for name, of in found.items()}
    return found, {"filters gone": f"{gone:.0%}"} | late


explore.adjustable_bars(
    lost_by_layer, {"step": tuple(range(1, min(len(pruned[name].steps) for name in THREE)))}, {"step": 8}, "92.18",
    "Filters that each layer of the SqueezeNet for CIFAR-10 has lost after a step of three prunings (reference; means of "
    f"{reference.seeds_of(pruned.values())}).",
    "Three bars per layer: the expand layers of the last modules lose most, squeeze layers little; the criteria hardly "
    "differ.",
    x="layer", y="filters removed", height=460, colours=(plots.BLUE, plots.ORANGE, plots.GREEN)).show()

# %% [markdown]
# The thesis reads from its figures that the deep layers have most to give. Ours show the same: with {glue:text}`gone_8` of the filters gone,
# {glue:text}`late_8` of them came from the last four modules by *combined*. But these hold {glue:text}`late_all:.0%` of all filters, so that
# random choice would take nearly as many there.

# %% tags=["remove-cell"]
# Quoted in the text
deviations = [100 * np.mean([e.half_width for e in found.values()]) for found in [*panels.values()][:2]]
quote(odd=odd, odd_apart=100 * abs(mean_of_fold[odd] - np.median([*mean_of_fold.values()])), study_images=study.images)
quote(deviation_all=deviations[0], deviation_rest=deviations[1], plants_8=100 * quantized["8"][9].lost.mean)
quote(alexnet_8=100 * study.under_float(scheme("activations", 8, "nearest")).mean)
ends = [(cell.by_epoch("val_loss")[1], cell.at_end("val_loss")) for cell in curves.values()]
pairs = [(a, b) for i, a in enumerate(ends) for b in ends[i + 1 :]]
quote(ordered=np.mean([(a[0] < b[0]) == (a[1] < b[1]) for a, b in pairs]))
quote(loss_first=first.at_end("val_loss"), loss_second=second.at_end("val_loss"))
record(within=1e-6, times=times, share_of_parameters={name: of[0] for name, (_, of) in counted.items()})
record(within=1e-6, share_of_macs={name: of[1] for name, (_, of) in counted.items()})
record(parameters={name: total for name, (total, _) in counted.items()})
record(alexnet_7=share_of_convolutions(ALEXNET, 7 * 7 * 256)[0])
ten = {name: cell for name, cell in variants.items() if cell.trial.data == "cifar10"}
above = [cell.at_end("val_accuracy") - cell.at_end("accuracy") for cell in ten.values()]
best = max(ten, key=lambda name: ten[name].estimate.mean)
quote(chernis_epochs=ten["baseline"].trial.epochs, val_above=100 * np.mean(above), best_variant=best.upper())
quote(alexnet_off=abs(100 * counted["Alexnet"][1][1] - percent["Alexnet"]), whole_test=whole.results.accuracy)
quote(lead_imagenet=100 * (second.estimate.mean - nothing.estimate.mean))
quote(epochs_imagenet=first.trial.epochs + second.trial.epochs, epochs_nothing=nothing.trial.epochs)
filters = sum(layer.filters for layer in squeezenet.layers if hasattr(layer, "filters")) - 1000
true_67 = 0.67 * 2292 / filters
record(filters=filters)
quote(true_67=true_67, per_step=pruned["taylor"].trial.per_step)
for place, ratio in (("65", 0.65), ("true", true_67)):
    quote(**{f"{name}_{place}": -100 * float(prunings.change_at(pruned[name], ratio)) for name in ("taylor", "combined")})
found, readings = lost_by_layer(8)
quote(gone_8=readings["filters gone"], late_8=readings["combined: from the last four modules"])
quote(late_all=share_of_late(pruned["combined"].steps[0]["filters"]))

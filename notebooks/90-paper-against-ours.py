# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Paper against ours
#
# This page compares the figures of four theses and a report with our *reference results*. These are measured on real data by
# `make reference` and stored with their provenance in `data/reference`. (The live figures of the chapters, from digits and drawn
# plants, are not on this page.) The SqueezeNet for CIFAR-10 was trained on a GPU; its record names the machine that tested it.
#
# Two warnings apply to the first sections. {cite:p}`vieito2017` trained SqueezeNet v1.1 on ImageNet, a thousand classes; ours is a
# SqueezeNet for CIFAR-10 {cite:p}`krizhevsky2009`, ten classes. Compare the effects, not the percentages. Also, most of our cells are
# one network, or three seeds from one network: where a table has no interval over seeds, another seed may differ by more than the
# test images show.

# %% tags=["parameters", "remove-cell"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
from fewbits import explore
from fewbits.book import papers, quote, record, reference
from fewbits.statistics import Share

# %% [markdown]
# ## Float networks
#
# These are the starting points. The thesis' figures are from its sections 3.3 and 5.1.2; LeNet and MNIST are those of
# {cite:t}`lecun1998`. The last three networks are not in the theses; the book comes with their weights.

# %%
NONE = "not in the theses"
PRINTED = {"float": "51 % (SqueezeNet v1.1, ImageNet)", "LeNet": "98.49 %",
           "BasicNet": "up to 60 %", "SqueezeNet on digits": NONE,
           "AlexNet on digits": NONE, "AlexNet on CIFAR-10": NONE}
rows = []
for name, thesis in PRINTED.items():
    trial, [first] = cell = reference.cell(name)
    test = Share(first.results.test.hits, first.results.test.n)
    interval = f"{test.low:.1%} to {test.high:.1%}"
    rows.append((trial.network, trial.data, thesis, cell, interval,
                 first.results.parameters, trial.epochs))
reference.results_table(
    ("network", "our data", "thesis", "ours, top-1",
     "95 % interval (test images)", "parameters", "epochs"), rows)

# %% [markdown]
# ## Static quantization (Table 10, static column)
#
# All levels are quantized at once, without training. The thesis rounds down. Our MSBs are those of the 99.9th percentile, and at 4
# bits those of least squared error: each was the best of four rules on validation images. The 98th percentile, which the thesis chose
# later (5.5.3), was not among the four. The table includes it; at 4 bits, rounded to nearest, it is better than ours, on validation
# images too.

# %%
static = {papers.bits_of(row): f"{row['static_accuracy']} %"
          for row in papers.table("vieito2017", 10)}
rows = []
for bits in ((8, 8, 8), (8, 6, 6), (6, 6, 6), (4, 4, 4)):
    grid = "static at 4 bits" if bits == (4, 4, 4) else "static"
    ours = [reference.cell(grid, bits=bits, rounding=rounding)
            for rounding in ("floor", "nearest")]
    if bits != (8, 6, 6):
        ours += [reference.cell("static, 98th percentile", bits=bits,
                                rounding=r) for r in ("floor", "nearest")]
    rows.append((bits, static.get(bits, NONE), *ours, "-", "-")[:6])
heads = "bits", "thesis: floor", "ours: floor", "ours: nearest"
reference.results_table((*heads, "98 %: floor", "98 %: nearest"), rows)

# %% [markdown]
# ## Lock or train (Table 13)
#
# Ten levels are quantized one after the other, with 10,000 images per level both in the thesis (ten epochs of 1,000 images, section
# 5.1.1) and in ours. The number of images is equal; batches (512 images in the thesis, 128 in ours), networks and learning rates are
# not. The thesis rounds down, probably with MSBs of the 98th percentile (5.5.4 names none); ours have the 99.9th, and at 4 bits least
# squared error.

# %%
thesis = {papers.bits_of(row): [f"{row[f'{way}_accuracy']} %"
                                for way in ("lock", "train")]
          for row in papers.table("vieito2017", 13)}
GRIDS = (
    ("nearest", (8, 8, 8), ""),
    ("nearest", (8, 6, 6), " at 8-6-6"),
    ("nearest", (6, 6, 6), ""),
    ("nearest", (4, 4, 4), " at 4 bits"),
    ("floor", (8, 8, 8), ", rounded down"),
    ("floor", (6, 6, 6), ", rounded down"),
    ("floor, 98 %", (6, 6, 6), ", 98th percentile, rounded down"),
    ("floor, 98 %", (4, 4, 4), ", 98th percentile, rounded down"),
)

# %%
rows = []
for rounding, bits, more in GRIDS:
    lock, train = (
        reference.cell(f"lock or train{more}", bits=bits, strategy=way)
        for way in ("lock", "train"))
    gap = train.paired(lock).written("+.2%", " points")
    printed = thesis.get(bits, ["not in Table 13"] * 2)
    rows.append((bits, rounding, *printed, lock, train, gap))
reference.results_table(
    ("bits", "our rounding", "thesis: lock", "thesis: train", "ours: lock",
     "ours: train", "train above lock, 95 %"), rows)

# %% [markdown]
# The interval is Student's {cite:p}`student1908`, over the seeds: it covers the order of the images and their augmentation. It does
# not cover the float network from which all start, nor the choice of the test images. *Lock* has one epoch fewer than *train*: when
# its last level is locked, nothing is left to train. The learning rates are those of [chapter 9](09-lock-or-train).
#
# ## Few bits (Tables 13 and 14)
#
# The thesis ends at 4-4-4. Ours is quantization-aware training of all levels at once, on all training images, with MSBs of least
# squared error, rounded to nearest, with and without more bits for the first and the last level. The interval of the distance to the
# float network includes the errors of both tests, but does not cover other seeds:

# %% tags=["hide-input"]
# Our few bits
ALL, EDGES = "all levels", "first and last at 8, an MSB per filter"
FEW = {"few bits, all images": ALL, "few bits, first and last level at 8": EDGES}
FEW["3 bits and fewer, first and last level at 8"] = EDGES
rows = []
original = reference.cell("float")
for what, cell in ((what, cell) for name, what in FEW.items() for cell in reference.cells(name)):
    under = (original - cell).written(".1%")
    rows.append((cell.trial.bits, what, cell.trial.epochs, cell, under))
reference.results_table(("bits", "which levels", "epochs", "ours, top-1", "points under float"), rows)

# %%
rows = [
    (
        papers.bits_of(row),
        1000 * row["epochs_per_layer"],
        f"{row['accuracy']} %",
    )
    for row in papers.table("vieito2017", 14)
]
heads = "bits", "images per level", "thesis (Table 14; 51 % in float)"
explore.Table(heads, rows)

# %% [markdown]
# ## SqueezeNet on small images (chernis, Table 1)
#
# {cite:t}`chernis` train for 20 epochs and do not say how; ours are trained for {glue:text}`epochs_chernis:d`, so the two columns do
# not have equal training. [Chapter 11](11-squeezenet) tests each change alone.

# %% tags=["hide-input"]
# Variants of SqueezeNet
variants = reference.cells("SqueezeNet of chernis", "SqueezeNet of chernis on CIFAR-100")
rows = [
    (row["model"], row["dataset"], row["parameters"], f"{row['accuracy']} %", cell)
    for row, cell in zip(papers.table("chernis", 1), variants)
]
reference.results_table(("experiment", "data", "parameters, as printed", "report, top-1", "ours, top-1"), rows)

# %% [markdown]
# ## MobileNet, two recipes (chiang2017)
#
# {cite:t}`chiang2017` lowers the learning rate in steps and augments the brightness of its images. The networks of [chapter
# 12](12-mobilenet) have a cosine schedule and no such augmentation. Both recipes here have width 0.25, 32 pixels and equal epochs:

# %%
[steps] = reference.cells("MobileNet as in the thesis")
cosine = reference.cell("MobileNet", width=0.25, size=32)
assert steps.trial.epochs == cosine.trial.epochs
rows = [("rate in steps, brightness varied", steps), ("cosine", cosine)]
reference.results_table(("recipe", "ours, top-1 on CIFAR-10"), rows)

# %% [markdown]
# The recipe of the thesis starts at a rate of {glue:text}`rate_steps:g`, and multiplies it by 0.94 after every second epoch: it is
# designed for about 200 epochs. Ours starts at {glue:text}`rate_cosine:g` and falls to zero within {glue:text}`epochs_mobile:d`. This
# pair shows that a recipe must suit its budget, not that one of the two is better.
#
# ## Transfer by level (backstrom2018, Tables 7 and 11)
#
# {cite:t}`backstrom2018` transfers AlexNet and SqueezeNet from ImageNet to onions and weeds; we transfer a SqueezeNet from CIFAR-10
# to carrots and weeds in the field. The figures are means and standard deviations of five folds. [Chapter 13](13-transfer) explains
# why they differ.

# %% tags=["hide-input"]
# Transfer by level
ours = {cell.trial.transfer: cell for cell in reference.cells("transfer", "transfer, other levels")}
seven = {row["tl"]: f"{row['accuracy']} ± {row['std_dev']} %" for row in papers.table("backstrom2018", 7)}
rows = [(n, seven.get(n, "-"), f"{ours[n].with_deviation()} %") for n in sorted(ours)]
heads = "levels transferred", "thesis: AlexNet, of 8 levels", "ours: SqueezeNet, of 10 levels"
reference.results_table(heads, rows, also=ours.values())

# %%
found = reference.cells("transfer, quantized")
eight = {cell.trial.start.transfer: cell for cell in found}
table = papers.table("backstrom2018", 11)
[thesis] = [row for row in table if row["network"].endswith("1.1")]
theirs = {
    tl: f"{thesis[f'tl_{tl}_accuracy']} ± {thesis[f'tl_{tl}_std_dev']} %"
    for tl in (0, 25)
}
rows = [
    ("none", theirs[0], f"{eight[0].with_deviation()} %"),
    ("all but the last", theirs[25], f"{eight[9].with_deviation()} %"),
]
heads = "transferred, then 8 bits", "thesis: SqueezeNet v1.1", "ours, 8-8-8"
reference.results_table(heads, rows, also=eight.values())

# %% tags=["remove-cell"]
# Quoted in the text
every = [cell for grid in reference.grids() for cell in reference.cells(grid.name)]
record(cells=len(every))
quote(rate_steps=steps.trial.learning_rate, rate_cosine=cosine.trial.learning_rate, epochs_mobile=steps.trial.epochs)
quote(epochs_chernis=variants[0].trial.epochs, cells_run=sum(bool(cell.records) for cell in every))
quote(trials_run=len({r.trial.key for cell in every for r in cell.records}))

# %% [markdown]
# ## Run them yourself
#
# {glue:text}`cells_run` of {glue:text}`cells` cells have been run, {glue:text}`trials_run` trials in all; [the status of this
# build](../book/status) lists the others. To run them, put CIFAR-10 and MNIST into a folder (trials that need CIFAR-100, field
# photographs or a published MobileNet are left out if these are not there):
#
# ```shell
# make reference DATA=folder
# ```
#
# It continues where it stopped, and stores each finished trial in `data/reference/trials`.

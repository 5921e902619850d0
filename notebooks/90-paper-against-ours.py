# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Paper against ours
#
# The theses' figures beside our *reference results*: real data, run by `make reference`, kept with their provenance in `data/reference`. (The
# live figures of the chapters, from digits and drawn plants, are not on this page.) A cell that nobody has run yet says so. The SqueezeNet for
# CIFAR-10 was trained on a GPU; its record names the machine that tested it.
#
# One warning goes for the first sections. {cite:p}`vieito2017` trained SqueezeNet v1.1 on ImageNet, a thousand classes; ours is a
# SqueezeNet for CIFAR-10, ten classes. Compare what *happens*, not the percentages.

# %% tags=["parameters", "remove-cell"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
from statistics import mean, stdev

from IPython.display import HTML, Markdown, display

from fewbits.book import papers, reference
from fewbits.explore import plots
from fewbits.book import quote, record
from fewbits.statistics import wilson_interval


def beside(columns, rows, *grids):
    """Show a table, and below it where our figures come from."""
    display(HTML(plots.Table(columns, rows).html()))
    records = [r for name in grids for cell in reference.cells(name) for r in cell.records]
    display(Markdown(f"*Ours: {reference.made_with(records)}*"))

# %% [markdown]
# ## Float networks
#
# Where everything starts. The thesis' figures are from its sections 3.3 and 5.1.2.

# %% tags=["hide-input"]
rows, theses = [], {"float": "51 % (SqueezeNet v1.1, ImageNet)", "LeNet": "98.49 %", "BasicNet": "up to 60 %"}
for name, thesis in theses.items():
    [cell] = reference.cells(name)
    test = cell.records[0].results.test if cell.records else None
    interval = "" if test is None else "{:.1%} to {:.1%}".format(*wilson_interval(test.hits, test.n))
    parameters = f"{cell.records[0].results.parameters:,}" if cell.records else ""
    rows.append((cell.trial.network, cell.trial.data, thesis, str(cell), interval, parameters, cell.trial.epochs))
beside(
    ("network", "our data", "thesis", "ours, top-1", "95 % interval (test images)", "parameters", "epochs"),
    rows,
    *theses,
)

# %% [markdown]
# ## Static quantization (Table 10, static column)
#
# All levels at once, nothing trained. The thesis rounds down.

# %% tags=["hide-input"]
WORD = {(8, 8, 8): "8-8-8", (8, 6, 6): "8-6-6", (6, 6, 6): "6-6-6", (4, 4, 4): "4-4-4"}
static = {
    tuple((row["kernel_bits"], row["input_bits"], row["output_bits"])): row["static_accuracy"]
    for row in papers.table("vieito2017", 10)
}
rows = []
for bits, word in WORD.items():
    grid = "static at 4 bits" if bits == (4, 4, 4) else "static"
    ours = [str(reference.cell(grid, bits=bits, rounding=rounding)) for rounding in ("floor", "nearest")]
    thesis = f"{static[bits]} %" if bits in static else "not in the thesis"
    rows.append((word, thesis, *ours))
beside(("bits", "thesis: floor", "ours: floor", "ours: nearest"), rows, "static", "static at 4 bits")

# %% [markdown]
# ## Lock or train (Table 13)
#
# Ten levels, one after the other. The thesis trained ten epochs of ImageNet a level and rounded down; ours train one epoch of
# 10,000 images a level.

# %% tags=["hide-input"]
GRIDS = {
    ("nearest", (8, 8, 8)): "lock or train",
    ("nearest", (8, 6, 6)): "lock or train at 8-6-6",
    ("nearest", (6, 6, 6)): "lock or train",
    ("nearest", (4, 4, 4)): "lock or train at 4 bits",
    ("floor", (8, 8, 8)): "lock or train, rounded down",
    ("floor", (6, 6, 6)): "lock or train, rounded down",
}
thesis = {
    tuple((row["kernel_bits"], row["input_bits"], row["output_bits"])): (row["lock_accuracy"], row["train_accuracy"])
    for row in papers.table("vieito2017", 13)
}
rows = []
for (rounding, bits), grid in GRIDS.items():
    lock, train = (reference.cell(grid, bits=bits, strategy=s) for s in ("lock", "train"))
    gap = reference.difference(train, lock)
    printed = [f"{a} %" for a in thesis.get(bits, ())] or ["not in the thesis"] * 2
    shown = "not run" if gap is None else f"{100 * gap[0]:+.2f} ± {100 * gap[1]:.2f} points"
    rows.append((WORD[bits], rounding, *printed, str(lock), str(train), shown))
beside(
    ("bits", "our rounding", "thesis: lock", "thesis: train", "ours: lock", "ours: train", "train above lock, 95 %"),
    rows,
    *dict.fromkeys(GRIDS.values()),
)

# %% [markdown]
# The interval is Student's, over the seeds: it covers the order of the images and their augmentation, not the choice of the test
# images, which all cells share.
#
# ## Few bits (Tables 13 and 14)
#
# The thesis ends at 4-4-4. Quantization-aware training of all levels at once, on all training images, MSBs of least squared error,
# rounded to nearest; with and without more bits for the first and the last level:

# %% tags=["hide-input"]
FEW = {
    "few bits, all images": "all levels",
    "few bits, first and last level at 8": "first and last at 8, an MSB a filter",
    "3 bits and fewer, first and last level at 8": "first and last at 8, an MSB a filter",
}
rows = []
for name, what in FEW.items():
    for cell in reference.cells(name):
        under = [f"{100 * r.results.loss_of_accuracy:.2f}" for r in cell.records] or ["not run"]
        rows.append(("-".join(map(str, cell.trial.bits)), what, cell.trial.epochs, str(cell), ", ".join(under)))
beside(("bits", "which levels", "epochs", "ours, top-1", "points under float"), rows, *FEW)

# %% tags=["hide-input"]
rows = [
    (f"{row['kernel_bits']}-{row['input_bits']}-{row['output_bits']}", f"{row['epochs_per_layer']} a level", f"{row['accuracy']} %")
    for row in papers.table("vieito2017", 14)
]
display(HTML(plots.Table(("bits", "epochs", "thesis (Table 14; 51 % in float)"), rows).html()))

# %% [markdown]
# ## SqueezeNet on small images (chernis, Table 1)
#
# {cite:t}`chernis` train for 20 epochs and do not say how; ours are trained for {glue:text}`epochs_chernis:d`.
# [Chapter 9](09-squeezenet) takes the changes apart.

# %% tags=["hide-input"]
variants = {cell.trial.network.rsplit("_", 1)[1]: cell for cell in reference.cells("SqueezeNet of chernis")}
variants["e5"] = reference.cell("SqueezeNet of chernis on CIFAR-100")
rows = [
    (row["model"], row["dataset"], f"{row['parameters']:,}", f"{row['accuracy']} %", str(cell))
    for row, cell in zip(papers.table("chernis", 1), variants.values())
]
beside(
    ("experiment", "data", "parameters, as printed", "report, top-1", "ours, top-1"),
    rows,
    "SqueezeNet of chernis",
    "SqueezeNet of chernis on CIFAR-100",
)

# %% [markdown]
# ## Transfer by level (backstrom2018, Tables 7 and 11)
#
# {cite:t}`backstrom2018`: AlexNet and SqueezeNet from ImageNet on onions and weeds there, a SqueezeNet from CIFAR-10 on carrots and weeds in the field here; mean
# and standard deviation of five folds. [Chapter 11](11-transfer) says why they differ.

# %% tags=["hide-input"]
def folds(cell):
    """Return the mean and the standard deviation over the folds."""
    found = [100 * accuracy for accuracy in cell.accuracies]
    return f"{mean(found):.1f} ± {stdev(found):.1f} %" if len(found) > 1 else str(cell)


ours = {cell.trial.transfer: cell for grid in ("transfer", "transfer, other levels") for cell in reference.cells(grid)}
seven = {row["tl"]: f"{row['accuracy']} ± {row['std_dev']} %" for row in papers.table("backstrom2018", 7)}
rows = [(n, seven.get(n, "-"), folds(ours[n])) for n in sorted(ours)]
beside(("levels taken", "thesis: AlexNet, of 8 levels", "ours: SqueezeNet, of 10 levels"), rows, "transfer", "transfer, other levels")

# %% tags=["hide-input"]
eight = {cell.trial.start.transfer: cell for cell in reference.cells("transfer, quantized")}
[thesis] = [row for row in papers.table("backstrom2018", 11) if row["network"].endswith("1.1")]
rows = [
    (words, f"{thesis[f'tl_{tl}_accuracy']} ± {thesis[f'tl_{tl}_std_dev']} %", folds(eight[n]))
    for words, tl, n in (("none", 0, 0), ("all but the last", 25, 9))
]
beside(("levels taken, then 8 bits", "thesis: SqueezeNet v1.1", "ours, 8-8-8"), rows, "transfer, quantized")

# %% tags=["remove-cell"]
every = [cell for grid in reference.grids() for cell in reference.cells(grid.name)]
record(cells=len(every))
quote(epochs_chernis=variants["baseline"].trial.epochs)
quote(cells_run=sum(bool(cell.records) for cell in every))
quote(trials_run=len({r.trial.key for cell in every for r in cell.records}))

# %% [markdown]
# ## What is not run yet
#
# {glue:text}`cells_run` of {glue:text}`cells` cells have been run, {glue:text}`trials_run` trials in all. To run the others, with
# CIFAR-10 and MNIST in a folder (what needs CIFAR-100, field photographs or a published MobileNet is left out where these are not there):
#
# ```shell
# make reference DATA=folder
# ```
#
# It goes on where it was stopped, and keeps each finished trial in `data/reference/trials`.

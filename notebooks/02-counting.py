# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2 Counting parameters, MACs and memory
#
# *Reading time: 20 minutes. Needs: no other chapter; the [start of chapter 1](01-fixed-point) says what a convolution
# is.*
#
# What does a network cost, and which of its layers cause the cost?
#
# There are three costs: parameters to store, multiplications to compute, and intermediate values to keep. The shapes of the
# layers are enough to count all three exactly, before any training.
#
# ```{admonition} Predict first
# :class: tip
# SqueezeNet v1.1 distinguishes 1,000 classes in photographs of 224 by 224 pixels. It has ten levels: `conv1`, `fire2` to
# `fire9`, and `conv10`. Name the level that has the **most parameters**, the one that does the **most
# multiplications**, and the one that writes the **most values**.
#
# Then start from photographs of 112 by 112 and double their side. By what factor does each of the three costs grow?
# The answers are in [Where SqueezeNet pays](where-squeezenet-pays).
# ```

# %% tags=["parameters"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
from functools import partial

import numpy as np

from fewbits import explore, zoo
from fewbits.backend import keras
from fewbits.book import papers, questions, record
from fewbits.costs import cost_table, totals

# %% tags=["hide-input"]
SIDES = (192, 224, 256) if profile == "smoke" else explore.SIDES

# %% [markdown]
# ## Three counts
#
# A convolution slides $c_\mathrm{out}$ filters over an image of $c_\mathrm{in}$ channels. Each filter has $k \times k$
# weights per channel, and uses each of them once at every one of the $H \times W$ places of its output. One use is a
# {term}`MAC`: multiply, then add to the sum (Equations 2 to 4 of {cite:p}`backstrom2018`).
#
# $$\mathrm{weights} = k^2 \, c_\mathrm{in} \, c_\mathrm{out} \qquad \mathrm{MACs} = \mathrm{weights} \cdot H W
# \qquad \mathrm{activations} = c_\mathrm{out} \, H W$$
#
# The size of the image is in the second and third count, but not in the first. The number of input channels is in the
# first and second count, but not in the third. The three costs therefore arise in different layers. In code, with one bias
# per filter:


# %%
def count(image, filters, kernel, stride=1, border=0):
    height, width, channels = image
    height = (height + 2 * border - kernel) // stride + 1
    width = (width + 2 * border - kernel) // stride + 1
    weights = kernel * kernel * channels * filters
    shape = (height, width, filters)
    return weights + filters, weights * height * width, shape


parameters, macs, shape = count((224, 224, 3), 64, kernel=3, stride=2)
print(f"{parameters:,} parameters, {macs:,} MACs, output {shape}")

# %% [markdown]
# This is `conv1` of SqueezeNet v1.1. The layer itself can verify the formula: set every weight and every pixel to 1. Then
# each multiplication adds exactly one, and the sum of all outputs is the number of MACs.

# %%
adder = keras.layers.Conv2D(64, 3, 2, kernel_initializer="ones")  # bias 0
ones = np.ones((1, 224, 224, 3), "float32")
added = np.array(adder(ones), "float64").sum()
print(f"{added:,.0f} MACs by adding ones")

# %% [markdown]
# The library counts any functional Keras model and returns one row per layer. We compare our few lines with its rows, over
# all convolutions of the network:


# %%
def network(name, side=224, classes=1000, **options):
    return zoo.build(name, (side, side, 3), classes, **options)


model = network("squeezenet_v1_1")
rows = {row.name: row for row in cost_table(model)}
sums = totals(model)
convolutions = [x for x in model.layers if isinstance(x, keras.layers.Conv2D)]

# %%
differing = 0
for layer in convolutions:
    kernel, stride = layer.kernel_size[0], layer.strides[0]
    border = kernel // 2 if layer.padding == "same" else 0
    image = layer.input.shape[1:]
    by_hand = count(image, layer.filters, kernel, stride, border)
    row = rows[layer.name]
    differing += by_hand != (row.parameters, row.macs, row.output_shape)
print(differing, "of", len(convolutions), "convolutions differ")

# %% [markdown]
# ## Dense or convolution
#
# A dense layer joins every input to every output. For $n_i$ inputs of size $s_i$ and $n_o$ outputs of size $s_o$, it
# has $n_i s_i n_o s_o$ weights (Equation 1 of {cite:p}`vieito2017`; 5 and 6 of backstrom2018), and it uses each of them
# once. Vieito's example, Equation 3, has *four 2x2 images and five outputs* and gives 320 parameters. We count with Keras,
# for images of 2x2 and of 4x4:

# %%
dense = {}
for side in (2, 4):
    images = keras.layers.Input((side, side, 4))
    five = keras.layers.Dense(5, use_bias=False)
    outputs = five(keras.layers.Flatten()(images))
    dense[side] = totals(keras.Model(images, outputs)).parameters
    print(f"four {side}x{side} images to five outputs: {dense[side]}")

# %% [markdown]
# The example in the text has {glue:text}`equation_3_2x2:d` parameters. The printed {glue:text}`equation_3_4x4:d` belongs to
# images of 4x4, the size in the label of the thesis' figure.
#
# The correction strengthens the point of the example. Now turn four images into five *images* of the same size, and increase
# that size:

# %%
sides = [2, 4, 8, 16, 32, 64, 128, 256]
weights = {
    "dense, to five images": {n: 4 * n**2 * 5 * n**2 for n in sides},
    "dense, to five numbers": {n: 4 * n**2 * 5 for n in sides},
    "convolution 3x3, to five images": {
        n: count((n, n, 4), 5, kernel=3, border=1)[0] - 5 for n in sides
    },
}

# %% tags=["hide-input"]
# Weights over the side of the images
explore.lines(
    weights, "2.1", "Weights of a layer that takes four square images, without biases.",
    "Weights over the side of the images: both dense lines climb, one past ten to the tenth; the convolution is flat.",
    x="side of each image in pixels", y="weights", xaxis={"type": "log", "tickvals": sides},
    yaxis={"type": "log", "exponentformat": "power", "dtick": 2},
)

# %% [markdown]
# A convolution shares its weights between all places, so their number does not depend on the size. This saves
# *parameters*, but the convolution still multiplies at each place.
#
# ## The fire module
#
# SqueezeNet's designers saved parameters in two ways: they replaced 3x3 filters by 1x1 filters, and they reduced the number
# of channels that reach the remaining 3x3 filters {cite:p}`iandola2016`. A *fire module* does both: 1x1 filters squeeze the
# channels, and 1x1 and 3x3 filters expand them in parallel. Here we build `fire3` (128 channels in, 128 out) one step
# at a time, from the layer that it replaces.

# %%
whole, few = (55, 55, 128), (55, 55, 16)
squeeze = count(whole, 16, 1)
designs = {
    "plain 3x3": [count(whole, 128, 3, border=1)],
    "half of it 1x1": [count(whole, 64, 1), count(whole, 64, 3, border=1)],
    "squeezed, then 3x3": [squeeze, count(few, 128, 3, border=1)],
    "fire": [squeeze, count(few, 64, 1), count(few, 64, 3, border=1)],
}

# %%
costs = {}
for name, parts in designs.items():
    sizes = [(p, m, np.prod(shape)) for p, m, shape in parts]
    costs[name] = np.sum(sizes, 0).tolist()
explore.Table(
    ("design", "parameters", "MACs", "values written"),
    [(name, *cost) for name, cost in costs.items()],
)

# %% [markdown]
# The module needs {glue:text}`fire_parameters:,d` parameters instead of {glue:text}`plain_parameters:,d`, and
# 1/{glue:text}`fire_saves_macs:.0f` of the MACs. Squeezing saves most of them: a factor of
# {glue:text}`squeezing_saves_macs:.1f` by itself; the smaller filters alone save {glue:text}`halving_saves_macs:.1f`. The third
# cost increases: the module *writes* {glue:text}`fire_writes:.1%` more values, those between squeeze and
# expand.
#
# (where-squeezenet-pays)=
# ## Where SqueezeNet pays
#
# Now we count the whole network, level by level. Change `quantity` first, then `side`.

# %%
builders = {
    "v1.1, 1000 classes": partial(network, "squeezenet_v1_1"),
    "v1.1, 10 classes": partial(network, "squeezenet_v1_1", classes=10),
    "v1.0, 1000 classes": partial(network, "squeezenet_v1_0"),
    "MobileNet, 1000 classes": partial(network, "mobilenet_v1"),
    "E2, 10 classes": partial(network, "squeezenet_chernis_e2", classes=10),
    "E4, 10 classes": partial(network, "squeezenet_chernis_e4", classes=10),
}
explore.costs_by_level(builders, "2.2", sides=SIDES).show()

# %%
levels, level = {}, None
for row in cost_table(model):
    level = row.name.split("_")[0] if row.parameters else level
    bill = row.parameters, row.macs, row.activations
    levels[level] = np.add(bill, levels.get(level, 0))
explore.Table(
    ("v1.1 at 224", "parameters", "MACs", "activations"),
    [(level, *bill.tolist()) for level, bill in levels.items()],
)

# %% tags=["remove-cell"]
# Quoted in the text
plain, half, squeezed, fire = costs.values()
small, share = totals(network("squeezenet_v1_1", 112)), np.array([*levels.values()]) / sum(levels.values())
for quantity, column in zip(("parameters", "macs", "activations"), share.T):
    record(within=1e-6, **{f"most_{quantity}": [*levels][column.argmax()], f"most_{quantity}_share": column.max()})
record(
    within=1e-6, by_hand_differing=differing, ones_differing=int(added) - macs, convolutions=len(convolutions),
    parameters=sums.parameters, macs=sums.macs, activations=sums.activations, peak=sums.peak_activations,
    equation_3_2x2=dense[2], equation_3_4x4=dense[4], plain_parameters=plain[0], fire_parameters=fire[0],
    halving_saves_macs=plain[1] / half[1], squeezing_saves_macs=plain[1] / squeezed[1],
    fire_saves_macs=plain[1] / fire[1], fire_writes=fire[2] / plain[2] - 1, weight_megabytes=sums.weight_bytes / 1e6,
    early_activations=share[:3, 2].sum(), early_parameters=share[:3, 0].sum(),
    doubled_macs=sums.macs / small.macs, doubled_activations=sums.activations / small.activations,
    doubled_parameters=sums.parameters - small.parameters, peak_megabytes=4 * sums.peak_activations / 1e6,
    peak_in_first_pooling=sums.peak_activations == rows["conv1"].activations + rows["pool1"].activations,
)

# %% [markdown]
# The levels are those at which vieito2017 quantizes; a pooling belongs to the level before it. The counts include copies. A
# concatenation writes the expanded values a second time, so `fire3` has more values here than in the table
# above. The dropout before `conv10` also writes a copy, although it does nothing in a trained network. Without the copies,
# the shares of `conv1` and of the first three levels would be even larger.
#
# - **Parameters:** {glue:text}`most_parameters`, with {glue:text}`most_parameters_share:.1%`. It has a filter for each
#   of the 1,000 classes. In the network with 10 classes, its share is close to zero.
# - **MACs:** {glue:text}`most_macs` again, with {glue:text}`most_macs_share:.1%`; the other levels share the rest
#   rather evenly, because channels grow as images shrink.
# - **Activations:** {glue:text}`most_activations`, with {glue:text}`most_activations_share:.1%`. The first three levels
#   write {glue:text}`early_activations:.0%` of all values and hold {glue:text}`early_parameters:.1%` of the parameters.
#
# With twice the side, from 112 to 224 pixels, the network has {glue:text}`doubled_parameters:d` more parameters,
# {glue:text}`doubled_macs:.2f` times the MACs, and {glue:text}`doubled_activations:.2f` times the activations. These
# factors are above four because `conv1` and the three poolings have no border: each of them cuts off a rim, and the rim is a
# larger part of a small image.
#
# The memory for activations is less than their sum, because a value can be discarded once no layer needs it. The **peak** of
# {glue:text}`peak:,d` values is reached in the first pooling, which holds its input and its output. At 32 bits this is
# {glue:text}`peak_megabytes:.2f` MB, next to {glue:text}`weight_megabytes:.2f` MB of weights. If only the weights are
# quantized, the activations still need the same memory.
#
# ## The smaller file, the longer work
#
# These are the networks of all five works for 1,000 classes, as they were published: AlexNet {cite:p}`krizhevsky2012`,
# SqueezeNet {cite:p}`iandola2016`, MobileNet {cite:p}`howard2017`, ResNet {cite:p}`he2016` and Inception v3
# {cite:p}`szegedy2016`. Is the network with the smaller file also the faster one?

# %%
MADE_FOR = {"alexnet": 227, "inception_v3": 299}  # pixels; others 224
PUBLISHED = {
    "AlexNet": ("alexnet", {}, 60_965_224),
    "AlexNet, no groups": ("alexnet", {"groups": 1}, 62_378_344),
    "SqueezeNet v1.0": ("squeezenet_v1_0", {}, 1_248_424),
    "SqueezeNet v1.1": ("squeezenet_v1_1", {}, 1_235_496),
    "MobileNet": ("mobilenet_v1", {}, 4_253_864),
    "MobileNet 0.75": ("mobilenet_v1", {"width": 0.75}, 2_601_976),
    "MobileNet 0.5": ("mobilenet_v1", {"width": 0.5}, 1_342_536),
    "MobileNet 0.25": ("mobilenet_v1", {"width": 0.25}, 475_544),
    "ResNet-50": ("resnet50", {}, 25_636_712),
    "Inception v3": ("inception_v3", {}, 23_851_784),
}

# %%
bills, families = {}, {}
for name, (key, options, _) in PUBLISHED.items():
    net = network(key, MADE_FOR.get(key, 224), **options)
    bills[name] = bill = totals(net)
    family = name.split()[0].rstrip(",")
    families.setdefault(family, {})[name] = bill.parameters, bill.macs

# %%
table = []
for name, bill in bills.items():
    published, size = PUBLISHED[name][2], f"{bill.weight_bytes / 1e6:.1f} MB"
    counts = bill.parameters, published, size, bill.macs, bill.peak_activations
    table.append((name, *counts))
heads = "network", "parameters", "as published", "at 32 bits", "MACs"
explore.Table((*heads, "peak activations"), table)

# %% tags=["hide-input"]
# MACs over parameters
explore.scatter(
    families, "2.3", "Ten networks for 1,000 classes, at the image sizes that they were made for: MACs over parameters.",
    "MACs over parameters, both logarithmic: AlexNet far to the right at middle height, SqueezeNet far to the left at "
    "about the same height, ResNet and Inception between them and highest, four MobileNets in a line from lower left.",
    x="parameters", y="MACs for one image", xaxis={"type": "log", "tickvals": [3e5, 1e6, 3e6, 1e7, 3e7, 1e8]},
    yaxis={"type": "log", "tickvals": [3e7, 1e8, 3e8, 1e9, 3e9, 1e10], "automargin": True},
)

# %%
alexnet = cost_table(network("alexnet", 227))
dense_parameters = sum(r.parameters for r in alexnet if r.kind == "dense")
dense_share = dense_parameters / bills["AlexNet"].parameters
print(f"{dense_share:.1%} of AlexNet's parameters are in dense layers")

# %% [markdown]
# Of {glue:text}`networks:d` counts, {glue:text}`published_differing:d` differ from the published ones. The network with the
# smaller file is not the faster one: AlexNet has {glue:text}`alexnet_over_squeezenet:.0f` times the parameters of
# SqueezeNet v1.0, which does {glue:text}`squeezenet_over_alexnet_macs:.2f` times the MACs of AlexNet. AlexNet has
# {glue:text}`alexnet_over_resnet:.1f` times the parameters of ResNet-50, which does
# {glue:text}`resnet_over_alexnet_macs:.1f` times the MACs of AlexNet. The reason is that three dense layers hold
# {glue:text}`dense_share:.1%` of AlexNet's parameters, and each of these is used only once. SqueezeNet v1.1 and the narrow
# MobileNets are small in both; [chapter 12](12-mobilenet) shows how MobileNets achieve this.
#
# ## The same parameters, another cost
#
# Papers report the number of parameters most often. How much does it hide? {cite:t}`chernis` turn SqueezeNet v1.0 step by
# step into a network for CIFAR, with images of 32 by 32. The last step before CIFAR-100, E4, drops the first pooling
# and gives `conv1` a stride of one pixel instead of two.

# %%
printed, chernis, counted = papers.table("chernis", 1), {}, {}
for step in ("baseline", "E1", "E2", "E3", "E4", "E5"):
    classes, name = 100 if step == "E5" else 10, step.lower()
    chernis[step] = network(f"squeezenet_chernis_{name}", 32, classes)
    counted[step] = totals(chernis[step])
table = [
    (step, c.parameters, c.macs, c.peak_activations, row["accuracy"])
    for (step, c), row in zip(counted.items(), printed)
]
heads = "network", "parameters", "MACs", "peak activations"
explore.Table((*heads, "accuracy in %, as printed"), table)

# %% tags=["hide-input"]
# The printed accuracy over MACs
places = {step: {step: (macs, accuracy)} for step, _, macs, _, accuracy in table[:5]}
explore.scatter(
    places, "2.4", "CIFAR-10 accuracy as printed in the report (a single training each) over MACs as we count them.",
    "Accuracy over MACs, logarithmic: four networks close together near ten million, E4 beyond two hundred million.",
    x="MACs for one image", y="top-1 accuracy in %", yaxis={"range": [40, 77]},
    xaxis={"type": "log", "range": [6.7, 8.6], "tickvals": [1e7, 3e7, 1e8, 3e8]},
)

# %% tags=["remove-cell"]
# Quoted in the text
alexnet, squeezenet, mobilenet = (bills[name] for name in ("AlexNet", "SqueezeNet v1.0", "MobileNet"))
resnet, e2, e4 = bills["ResNet-50"], counted["E2"], counted["E4"]
for step, c in counted.items():
    record(**{f"{step.lower()}_parameters": c.parameters, f"{step.lower()}_macs": c.macs})
record(
    within=1e-6, networks=len(bills), dense_share=dense_share,
    published_differing=sum(bills[n].parameters != published for n, (*_, published) in PUBLISHED.items()),
    alexnet_macs=alexnet.macs, resnet_macs=resnet.macs, mobilenet_macs=mobilenet.macs,
    inception_macs=bills["Inception v3"].macs, alexnet_over_squeezenet=alexnet.parameters / squeezenet.parameters,
    squeezenet_over_alexnet_macs=squeezenet.macs / alexnet.macs, resnet_over_alexnet_macs=resnet.macs / alexnet.macs,
    alexnet_over_resnet=alexnet.parameters / resnet.parameters, e4_more_parameters=e4.parameters - e2.parameters,
    e4_more_macs=e4.macs / e2.macs, e4_more_peak=e4.peak_activations / e2.peak_activations,
)

# %% [markdown]
# E4 is the report's best network, as far as a single training of each shows. It has {glue:text}`e4_more_parameters:d` more parameters
# than E2, but it does {glue:text}`e4_more_macs:.1f` times the MACs and needs {glue:text}`e4_more_peak:.1f` times the memory for
# activations. The report's table shows neither. (The text does not say which stride E2 has; we took the baseline's 2. If it was
# already 1, only the pooling would remain: a factor of about four.)
#
# ## What the thesis found
#
# We compare the counts printed in the theses with ours:

# %%
v1_0 = {s: totals(network("squeezenet_v1_0", s)) for s in (224, 227)}
v1_1 = {s: totals(network("squeezenet_v1_1", s)) for s in (224, 227)}
share = {s: v1_1[s].macs / v1_0[s].macs for s in v1_0}
three = network("squeezenet_v1_1", classes=3)
filters = sum(x.filters for x in three.layers if hasattr(x, "filters"))
three = totals(three)

# %% tags=["hide-input"]
# Printed and counted
first, steps = papers.table("backstrom2018", 12)[0], zip(printed, counted.values())
table = [
    ("vieito2017, Equation 3: parameters of its dense layer", "320", dense[2]),
    ("vieito2017, 4.1: weights of v1.1", "around 5 MB", f"{sums.weight_bytes / 1e6:.2f} MB"),
    ("vieito2017, 4.3: computation of v1.1 against v1.0", "41%", f"{share[224]:.1%} at 224, {share[227]:.1%} at 227"),
    ("backstrom2018, 2.1.6: parameters of AlexNet", "60M", alexnet.parameters),
    ("backstrom2018, 4.4: share of its dense layers", "≈ 95%", f"{dense_share:.1%}"),
    ("backstrom2018, 2.1.6: parameters of v1.0", "around 1.2M", v1_0[224].parameters),
    ("backstrom2018, Table 12: filters of v1.1, 3 classes", first["kernels"], filters),
    ("backstrom2018, Table 12: its model size", first["model_size"], f"{three.weight_bytes / 1e6:.2f} MB"),
    ("backstrom2018, Table 12: its MACs", f"{first['mac']} (no unit)", f"{three.macs / 1e6:.1f} million"),
    *((f"chernis, Table 1: {row['model']}", row["parameters"], cost.parameters) for row, cost in steps),
]
explore.Table(("", "printed", "counted"), table)

# %% [markdown]
# The widely used torchvision {cite:p}`marcel2010` has the same two networks, with poolings that complete their last window. At 224
# pixels our counts agree with its documentation:

# %%
v1_0_ceil = totals(network("squeezenet_v1_0", pooling="ceil")).macs
v1_1_ceil = totals(network("squeezenet_v1_1", pooling="ceil")).macs
stated = [
    ("parameters of v1.0", "1,248,424", v1_0[224].parameters),
    ("parameters of v1.1", "1,235,496", v1_1[224].parameters),
    ("10⁹ operations of v1.0", "0.819", f"{v1_0_ceil / 1e9:.3f}"),
    ("10⁹ operations of v1.1", "0.349", f"{v1_1_ceil / 1e9:.3f}"),
]
explore.Table(("", "stated by torchvision", "counted"), stated)

# %% [markdown]
# Table 2 of the report lists the layers of E4:

# %%
layers, table = cost_table(chernis["E4"]), []
for row in papers.table("chernis", 2):
    level, squeeze = row["layer"], row["s1x1"]
    parts = [r for r in layers if r.name.split("_")[0] == level.lower()]
    weights = sum(r.parameters for r in parts)
    if weights:  # neither the image nor a pooling
        channels = parts[0].output_shape[-1] if squeeze else ""
        table.append((level, squeeze, channels, row["parameters"], weights))
explore.Table(
    ("layer", "squeeze, printed", "counted", "parameters, printed", "counted"),
    table,
)

# %% tags=["remove-cell"]
# Quoted in the text
bordered = v1_0[227].macs + count((15, 15, 512), 1000, 1)[1] - count((13, 13, 512), 1000, 1)[1]
counts = {level.lower(): (squeeze, n) for level, _, squeeze, _, n in table}
record(
    within=1e-6, share_224=share[224], share_227=share[227], share_ceil=v1_1_ceil / v1_0_ceil,
    bordered_macs=bordered, bordered_share=v1_1[227].macs / bordered, backstrom_share=first["mac"] * 1e7 / three.macs,
    v1_0_parameters=v1_0[224].parameters, v1_0_macs=v1_0[224].macs, v1_1_macs_227=v1_1[227].macs, filters=filters,
    ceil_v1_0_macs=v1_0_ceil, ceil_v1_1_macs=v1_1_ceil, three_macs=three.macs, e3_printed=printed[3]["parameters"],
    printed_differing=sum(row["parameters"] != c.parameters for row, c in zip(printed, counted.values())),
    slips=", ".join(level.lower() for level, squeeze, c, p, n in table if squeeze != c or p not in ("", n)),
    fire3_parameters=counts["fire3"][1], fire4_squeeze=counts["fire4"][0],
    fire4_parameters=counts["fire4"][1], conv10_parameters=counts["conv10"][1],
    rows_add_up=sum(n for _, n in counts.values()) == printed[4]["parameters"],
)

# %% [markdown]
# **Why they differ.** Counts cannot differ by chance, so each difference has a cause.
#
# - *E3* removes `fire3`, which has {glue:text}`fire3_parameters:,d` parameters, and no other layer with parameters. This
#   leaves {glue:text}`e3_parameters:,d` parameters, not {glue:text}`e3_printed:,d`.
# - *Table 2 of the report*: `fire4` squeezes to {glue:text}`fire4_squeeze:d` channels and has
#   {glue:text}`fire4_parameters:,d` parameters; `conv10` has {glue:text}`conv10_parameters:,d` with its biases, which
#   all other rows include. Only with these numbers do the rows add up to the total in Table 1.
# - *Fewer parameters by delaying downsampling* is the report's explanation of E4. It is wrong. The first formula does not
#   depend on where images shrink, and E2 and E4 have the same count in the report's own table.
# - *41 %*: this depends on the edges. If poolings complete their last window, as in Caffe {cite:p}`jia2014` and
#   torchvision, v1.1 does
#   {glue:text}`share_ceil:.1%` of v1.0's MACs at 224 pixels. With a border of one pixel around the input of v1.0's
#   `conv10`, as in its authors' version, the share at 227 is {glue:text}`bordered_share:.1%`. The thesis does not say which
#   version it means.
# - *25.8*: in units of ten million, this is {glue:text}`backstrom_share:.1%` of our count. The unit is our guess, and
#   we cannot explain the rest.
#
# ## Two questions

# %% tags=["hide-input"]
# A stride of two
image = (56, 56, 64)
(held, done, _), (_, strided, _) = (count(image, 128, 3, stride, border=1) for stride in (1, 2))
questions.ask(
    "A 3x3 convolution computes every place of its image. Now it gets a stride of 2. How many of its parameters and MACs remain?",
    (f"all parameters, 1/{done / strided:.0f} of the MACs", "The weights are the same. Each is used at every second row and column."),
    (f"1/{done / strided:.0f} of both", "The stride removes places, not weights: parameters do not depend on the size of the image."),
    (f"all parameters, 1/{(done / strided) ** 0.5:.0f} of the MACs", "A stride of 2 halves both sides, so a quarter of the places remains."),
    (f"all of both: {held:,} parameters", "A stride skips places, and each skipped place saves all MACs there."),
)

# %% tags=["hide-input"]
# The multiplications of dense layers
dense_work = sum(r.macs for r in cost_table(network("alexnet", 227)) if r.kind == "dense") / bills["AlexNet"].macs
questions.ask(
    f"Dense layers hold {dense_share:.0%} of AlexNet's parameters. What share of its MACs do they do?",
    (f"{dense_work:.0%}", "Each of their weights is used once per image; a convolution uses its weights at each place of its output."),
    (f"{dense_share:.0%}", "This would be true if every weight were used equally often."),
    (f"{1 - dense_share:.0%}", "This is the share of the parameters that convolutions hold."),
    ("50%", "MACs are weights times the places where they are used. Nothing makes the two kinds equal."),
)

# %% [markdown]
# ## Exercises
#
# **1.** Count the parameters of `fire2` of v1.1 by hand: 64 channels in, squeezed to 16, expanded to 64 and 64.
#
# ```{admonition} Solution
# :class: dropdown
# Squeeze: $64 \cdot 16 + 16 = 1{,}040$. Expand 1x1: $16 \cdot 64 + 64 = 1{,}088$. Expand 3x3:
# $9 \cdot 16 \cdot 64 + 64 = 9{,}280$. The sum is 11,408. In v1.0, `conv1` has 96 channels, so `fire2` has
# $32 \cdot 16 = 512$ more parameters.
# ```
#
# **2.** According to Table 2 of backstrom2018, `conv10` has filters of 3x3. Can this be true if the network has around
# 1.2 million parameters?

# %% tags=["hide-cell"]
# conv10 with filters of 1x1 and of 3x3
conv10 = {f"{kernel}x{kernel}": count((13, 13, 512), 1000, kernel)[0] for kernel in (1, 3)}
print({kernel: f"{n:,}; v1.0: {v1_0[224].parameters - conv10['1x1'] + n:,}" for kernel, n in conv10.items()})

# %% [markdown]
# **3.** In {figure}`2.2`, at which side does v1.1 with 1,000 classes start to need more memory for its activations than for
# its weights, both at 32 bits? What if the weights had 8 bits and the activations still 32?

# %% tags=["hide-cell"]
# Peaks of the activations, side by side
peaks = {side: totals(network("squeezenet_v1_1", side)).peak_activations for side in explore.SIDES}
for bits in (32, 8):
    print(bits, "bits:", next(s for s, peak in peaks.items() if 32 * peak > bits * sums.parameters), "pixels")

# %% [markdown]
# **4.** The network should distinguish 10 classes instead of 1,000. What share of the parameters is saved, and what share of
# the MACs? Guess, then look at {figure}`2.2`.

# %% tags=["hide-cell"]
# The savings with 10 classes
ten = totals(network("squeezenet_v1_1", classes=10))
print(f"parameters {1 - ten.parameters / sums.parameters:.1%}, MACs {1 - ten.macs / sums.macs:.1%}")

# %% [markdown]
# **Lab.** Build a counter for your own network, and find the peak of its memory, in `notebooks/labs/02-counting.py`
# ([all labs](../book/labs)).
#
# ## Run it on yours
#
# ```python
# import keras
#
# from fewbits import explore
# from fewbits.costs import cost_table, totals
#
# model = keras.applications.MobileNetV2((224, 224, 3), weights=None)
# for row in cost_table(model):
#     print(row.name, row.parameters, row.macs, row.activations)
# print(totals(model))  # with the peak of activations
#
# mine = {"mine": lambda side: my_network((side, side, 3))}
# explore.costs_by_level(mine, "1", sides=(96, 128, 160)).show()  # in JupyterLab
# ```

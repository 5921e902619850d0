# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2 Counting parameters, MACs and memory
#
# What does a network cost, and which of its layers sends the bill?
#
# There are three bills: parameters to store, multiplications to do, and values in between to keep. All three can be counted
# from the shapes of the layers alone, exactly, before anything is trained.
#
# ```{admonition} Predict first
# :class: tip
# SqueezeNet v1.1 tells 1,000 kinds of things apart in photographs of 224 by 224 pixels. It has ten levels: `conv1`, `fire2`
# to `fire9`, and `conv10`. Name the level that holds the **most parameters**, the one that does the **most
# multiplications**, and the one that writes the **most values**.
#
# Then give it photographs of 112 by 112, and double their side. By which factor does each of the three bills grow? The answers are in
# [Where SqueezeNet pays](where-squeezenet-pays).
# ```

# %% tags=["parameters", "hide-input"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
from functools import partial

import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML

from fewbits.costs import complexity
from fewbits import explore, zoo
from fewbits.book import papers
from fewbits.explore import plots
from fewbits.backend import keras
from fewbits.book import record

SIDES = (192, 224, 256) if profile == "smoke" else explore.SIDES

# %% [markdown]
# ## Three counts
#
# A convolution slides $c_\mathrm{out}$ filters over an image of $c_\mathrm{in}$ channels. Each filter has $k \times k$
# weights a channel, and uses all of them once at each of the $H \times W$ places of its output. One use is a
# {term}`MAC`: multiply, add to the sum (Equations 2 to 4 of {cite:p}`backstrom2018`).
#
# $$\mathrm{weights} = k^2 \, c_\mathrm{in} \, c_\mathrm{out} \qquad \mathrm{MACs} = \mathrm{weights} \cdot H W
# \qquad \mathrm{activations} = c_\mathrm{out} \, H W$$
#
# The image's size is in the second and in the third count, not in the first. The number of inputs is in the first and in
# the second, not in the third. So the three bills go to different layers. In code, with one bias a filter:

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
# That was `conv1` of SqueezeNet v1.1. Need we believe the formula? Let the layer count for itself: make every weight and
# every pixel 1. Then each multiplication adds exactly one, and the sum of all outputs is the number of MACs.

# %%
adder = keras.layers.Conv2D(64, 3, 2, kernel_initializer="ones")  # bias 0
ones = np.ones((1, 224, 224, 3), "float32")
added = np.array(adder(ones), "float64").sum()
print(f"{added:,.0f} MACs by adding ones")

# %% [markdown]
# The library counts any functional Keras model, a row for each layer. Our few lines against its rows, over all
# convolutions of the network:

# %%
model = zoo.build("squeezenet_v1_1", (224, 224, 3), 1000)
rows = {row.name: row for row in complexity.cost_table(model)}
convolutions = [x for x in model.layers if isinstance(x, keras.layers.Conv2D)]
differing = 0
for layer in convolutions:
    kernel, stride = layer.kernel_size[0], layer.strides[0]
    border = kernel // 2 if layer.padding == "same" else 0
    image = layer.input.shape[1:]
    by_hand = count(image, layer.filters, kernel, stride, border)
    row = rows[layer.name]
    differing += by_hand != (row.parameters, row.macs, row.output_shape)
print(differing, "of", len(convolutions), "convolutions differ")

# %% tags=["remove-cell"]
sums = complexity.totals(model)
record(by_hand_differing=differing, ones_differing=int(added) - macs, convolutions=len(convolutions))
record(parameters=sums.parameters, macs=sums.macs, activations=sums.activations, peak=sums.peak_activations)

# %% [markdown]
# ## Dense or convolution
#
# A dense layer joins every input to every output. For $n_i$ inputs of size $s_i$ and $n_o$ outputs of size $s_o$ that makes
# $n_i s_i n_o s_o$ weights (Equation 1 of {cite:p}`vieito2017`; 5 and 6 of backstrom2018), and uses each once.
# Vieito's example, Equation 3, is *four 2x2 images and five outputs*, and comes to 320 parameters. Ask Keras, for images of 2x2 and of 4x4:

# %%
dense = {}
for side in (2, 4):
    images = keras.layers.Input((side, side, 4))
    five = keras.layers.Dense(5, use_bias=False)
    outputs = five(keras.layers.Flatten()(images))
    dense[side] = complexity.totals(keras.Model(images, outputs)).parameters
    print(f"four {side}x{side} images to five outputs: {dense[side]}")

# %% tags=["remove-cell"]
record(equation_3_2x2=dense[2], equation_3_4x4=dense[4])

# %% [markdown]
# The words make {glue:text}`equation_3_2x2:d`, the printed {glue:text}`equation_3_4x4:d` belongs to images of 4x4, as the
# label in the thesis' figure has it.
#
# The point of the example stands all the more. Turn four images into five *images* of the same size and let them grow:

# %% tags=["hide-input"]
sides = [2, 4, 8, 16, 32, 64, 128, 256]
lines = {
    "dense, to five images": [4 * n**2 * 5 * n**2 for n in sides],
    "dense, to five numbers": [4 * n**2 * 5 for n in sides],
    "convolution 3x3, to five images": [count((n, n, 4), 5, 3, border=1)[0] - 5 for n in sides],
}
plots.show(
    plots.figure(
        *(go.Scatter(x=sides, y=y, name=name, line={"color": c}) for (name, y), c in zip(lines.items(), plots.COLOURS)),
        x="side of each image in pixels",
        y="weights",
        xaxis={"type": "log", "tickvals": sides},
        yaxis={"type": "log", "exponentformat": "power", "dtick": 2},
    ),
    label="2.1",
    caption="Weights of a layer that takes four square images, biases left out.",
    alt="Weights over the side of the images: both dense lines climb, the steeper one past ten to the tenth; the convolution stays flat.",
    table=plots.Table(("side", *lines), list(zip(sides, *lines.values()))),
)

# %% [markdown]
# A convolution shares its weights between all places, so it does not notice the size. It saves *parameters*; it still
# multiplies at each place.
#
# ## The fire module
#
# SqueezeNet's designers had two ways of saving parameters: make filters 1x1 instead of 3x3, and let few channels reach the
# 3x3 filters that remain {cite:p}`vieito2017`. A *fire module* does both: 1x1 filters squeeze, 1x1 and 3x3 filters side by
# side expand. Here is `fire3` (128 channels in, 128 out) against what it replaces, one step at a time.

# %%
whole, few = (55, 55, 128), (55, 55, 16)
squeeze = count(whole, 16, 1)
designs = {
    "plain 3x3": [count(whole, 128, 3, border=1)],
    "half of it 1x1": [count(whole, 64, 1), count(whole, 64, 3, border=1)],
    "squeezed, then 3x3": [squeeze, count(few, 128, 3, border=1)],
    "fire": [squeeze, count(few, 64, 1), count(few, 64, 3, border=1)],
}

# %% tags=["hide-input"]
costs = {
    name: (sum(p for p, _, _ in parts), sum(m for _, m, _ in parts), sum(int(np.prod(s)) for _, _, s in parts))
    for name, parts in designs.items()
}
plain, fire = costs["plain 3x3"], costs["fire"]
table = [(name, p, f"{m / 1e6:.1f}", values) for name, (p, m, values) in costs.items()]
HTML(plots.Table(("design", "parameters", "million MACs", "values written"), table).html())

# %% tags=["remove-cell"]
record(fire_parameters=fire[0], plain_parameters=plain[0])
record(
    within=1e-6,
    fire_saves_macs=plain[1] / fire[1],
    halving_saves_macs=plain[1] / costs["half of it 1x1"][1],
    squeezing_saves_macs=plain[1] / costs["squeezed, then 3x3"][1],
    fire_writes=fire[2] / plain[2] - 1,
)

# %% [markdown]
# The module needs {glue:text}`fire_parameters:,d` parameters instead of {glue:text}`plain_parameters:,d`, and
# 1/{glue:text}`fire_saves_macs:.0f` of the MACs. Squeezing does most of it: alone it saves a factor of
# {glue:text}`squeezing_saves_macs:.1f`, the smaller filters alone {glue:text}`halving_saves_macs:.1f`. The third bill goes
# the other way: the module *writes* {glue:text}`fire_writes:.1%` more values, those between squeeze and expand.
#
# (where-squeezenet-pays)=
# ## Where SqueezeNet pays
#
# Now the whole network, level by level. Turn `quantity` first, then `side`.

# %% tags=["hide-input"]
def network(name, classes, side):
    return zoo.build(name, (side, side, 3), classes)


explorer = explore.costs_by_level(
    {
        "v1.1, 1000 classes": partial(network, "squeezenet_v1_1", 1000),
        "v1.1, 10 classes": partial(network, "squeezenet_v1_1", 10),
        "v1.0, 1000 classes": partial(network, "squeezenet_v1_0", 1000),
        "MobileNet, 1000 classes": partial(network, "mobilenet_v1", 1000),
        "E2, 10 classes": partial(network, "squeezenet_chernis_e2", 10),
        "E4, 10 classes": partial(network, "squeezenet_chernis_e4", 10),
    },
    "2.2",
    sides=SIDES,
)
explorer.show()

# %% tags=["hide-input"]
bars = {
    q: dict(zip(*explorer.view(network="v1.1, 1000 classes", side=224, quantity=q).traces[0].values()))
    for q in explore.QUANTITIES
}
whole = {q: sum(levels.values()) for q, levels in bars.items()}
table = [
    (level, parameters, f"{bars['MACs'][level] / 1e6:.1f}", bars["activations"][level])
    for level, parameters in bars["parameters"].items()
]
HTML(plots.Table(("v1.1 at 224", "parameters", "million MACs", "activations"), table).html())

# %% tags=["remove-cell"]
most = {q: max(levels, key=levels.get) for q, levels in bars.items()}
small = complexity.totals(zoo.build("squeezenet_v1_1", (112, 112, 3), 1000))
early = ("conv1", "fire2", "fire3")
record(**{f"most_{q.lower()}": level for q, level in most.items()})
record(
    within=1e-6,
    **{f"most_{q.lower()}_share": bars[q][level] / whole[q] for q, level in most.items()},
    early_activations=sum(bars["activations"][x] for x in early) / whole["activations"],
    early_parameters=sum(bars["parameters"][x] for x in early) / whole["parameters"],
    doubled_macs=sums.macs / small.macs,
    doubled_activations=sums.activations / small.activations,
    weight_megabytes=sums.weight_bytes / 1e6,
    peak_megabytes=4 * sums.peak_activations / 1e6,
)
record(peak_in_first_pooling=sums.peak_activations == rows["conv1"].activations + rows["pool1"].activations)
record(doubled_parameters=sums.parameters - small.parameters)

# %% [markdown]
# The levels are those at which vieito2017 quantizes; a pooling counts to the level before it. So do copies: a concatenation writes
# the expanded values a second time (that is why `fire3` has more here than in the table above), and the dropout before `conv10`, which does
# nothing once trained, another time. Left out, `conv1` and the first three levels would have larger shares still.
#
# - **Parameters:** {glue:text}`most_parameters`, with {glue:text}`most_parameters_share:.1%`. It has a filter for each of
#   the 1,000 classes. Take the network with 10 classes, and it nearly vanishes.
# - **MACs:** {glue:text}`most_macs` again, {glue:text}`most_macs_share:.1%`; the others share the rest rather evenly, for
#   channels grow as images shrink.
# - **Activations:** {glue:text}`most_activations`, {glue:text}`most_activations_share:.1%`. The first three levels write
#   {glue:text}`early_activations:.0%` of all values, and hold {glue:text}`early_parameters:.1%` of the parameters.
#
# And twice the side, from 112 to 224 pixels: {glue:text}`doubled_parameters:d` parameters more,
# {glue:text}`doubled_macs:.2f` times the MACs, {glue:text}`doubled_activations:.2f` times the activations. More than four,
# because `conv1` and the three poolings, which have no border, lose a rim each, and a small image loses more of itself.
#
# What has to fit into memory is less than the sum: a value can go once nothing needs it. The **peak** of
# {glue:text}`peak:,d` values is reached in the first pooling, which holds its input and its output. At 32 bits that is
# {glue:text}`peak_megabytes:.2f` MB, beside {glue:text}`weight_megabytes:.2f` MB of weights. Quantize the weights alone, and
# activations are what is left to pay.
#
# ## The smaller file, the longer work
#
# Now the networks of all five theses, as they were published, for 1,000 classes. Does the smaller file belong to the
# faster network?

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
bills = {}
for name, (key, options, _) in PUBLISHED.items():
    side = MADE_FOR.get(key, 224)
    net = zoo.build(key, (side, side, 3), 1000, **options)
    bills[name] = complexity.totals(net)
    if name == "AlexNet":
        alexnet = complexity.cost_table(net)

# %% tags=["hide-input"]
families = {name: name.split()[0].rstrip(",") for name in PUBLISHED}
colours = dict(zip(dict.fromkeys(families.values()), plots.COLOURS))
plots.show(
    plots.figure(
        *(
            go.Scatter(
                x=[c.parameters for n, c in bills.items() if families[n] == family],
                y=[c.macs for n, c in bills.items() if families[n] == family],
                mode="markers",
                name=family,
                text=[n for n in bills if families[n] == family],
                hovertemplate="%{text}<br>%{x:,} parameters<br>%{y:,} MACs<extra></extra>",
                marker={"size": 13, "color": colour},
            )
            for family, colour in colours.items()
        ),
        x="parameters",
        y="MACs for one image",
        xaxis={"type": "log", "tickvals": [3e5, 1e6, 3e6, 1e7, 3e7, 1e8]},
        yaxis={"type": "log", "tickvals": [3e7, 1e8, 3e8, 1e9, 3e9, 1e10], "automargin": True},
    ),
    label="2.3",
    caption="Ten networks for 1,000 classes, at the size of photograph they were made for: what they store, and what they do.",
    alt="MACs over parameters, both logarithmic: AlexNet far to the right at middle height, SqueezeNet far to the left at about the same height, ResNet and Inception between them and highest, four MobileNets in a line from lower left.",
    table=plots.Table(
        ("network", "parameters", "as published", "million MACs", "peak activations", "MB at 32 bits"),
        [
            (n, c.parameters, PUBLISHED[n][2], f"{c.macs / 1e6:.1f}", c.peak_activations, f"{c.weight_bytes / 1e6:.1f}")
            for n, c in bills.items()
        ],
    ),
)

# %% tags=["remove-cell"]
published_differing = sum(bills[n].parameters != parameters for n, (_, _, parameters) in PUBLISHED.items())
dense_share = sum(row.parameters for row in alexnet if row.kind == "dense") / bills["AlexNet"].parameters
record(published_differing=published_differing, networks=len(bills))
record(alexnet_macs=bills["AlexNet"].macs, mobilenet_macs=bills["MobileNet"].macs, resnet_macs=bills["ResNet-50"].macs)
record(inception_macs=bills["Inception v3"].macs)
record(
    within=1e-6,
    alexnet_over_squeezenet=bills["AlexNet"].parameters / bills["SqueezeNet v1.0"].parameters,
    squeezenet_over_alexnet_macs=bills["SqueezeNet v1.0"].macs / bills["AlexNet"].macs,
    alexnet_over_resnet=bills["AlexNet"].parameters / bills["ResNet-50"].parameters,
    resnet_over_alexnet_macs=bills["ResNet-50"].macs / bills["AlexNet"].macs,
    dense_share=dense_share,
)

# %% [markdown]
# Of {glue:text}`networks:d` counts {glue:text}`published_differing:d` differ from the published ones. And no: AlexNet has
# {glue:text}`alexnet_over_squeezenet:.0f` times the parameters of SqueezeNet v1.0, which does
# {glue:text}`squeezenet_over_alexnet_macs:.2f` times *its* MACs. Against ResNet-50 it has
# {glue:text}`alexnet_over_resnet:.1f` times the parameters, and ResNet-50 {glue:text}`resnet_over_alexnet_macs:.1f` times its
# MACs. The reason: {glue:text}`dense_share:.1%` of AlexNet's parameters stand in three dense layers, where each is used once.
# Small in both are SqueezeNet v1.1 and the narrow MobileNets; how a MobileNet does it, [chapter 10](10-mobilenet) asks.
#
# ## The same parameters, another bill
#
# Parameters are the number most often printed. How much do they hide? {cite:t}`chernis` turn SqueezeNet v1.0 step by step
# into a network for CIFAR, images of 32 by 32. The last step before CIFAR-100, E4, drops the first pooling and lets
# `conv1` step by one pixel instead of two.

# %%
steps = ("baseline", "e1", "e2", "e3", "e4", "e5")
chernis = {
    step: zoo.build(f"squeezenet_chernis_{step}", (32, 32, 3), classes)
    for step, classes in zip(steps, (10, 10, 10, 10, 10, 100))
}
counted = {s: complexity.totals(net) for s, net in chernis.items()}
for step, cost in counted.items():
    print(f"{step}: {cost.parameters:,} parameters, {cost.macs:,} MACs")

# %% tags=["remove-cell"]
record(**{f"{step}_parameters": cost.parameters for step, cost in counted.items()})
record(**{f"{step}_macs": cost.macs for step, cost in counted.items()})
record(e4_more_parameters=counted["e4"].parameters - counted["e2"].parameters)
record(
    within=1e-6,
    e4_more_macs=counted["e4"].macs / counted["e2"].macs,
    e4_more_peak=counted["e4"].peak_activations / counted["e2"].peak_activations,
)

# %% tags=["hide-input"]
printed = papers.table("chernis", 1)
names = [s.upper() if s != "baseline" else s for s in steps[:5]]
x = [counted[s].macs for s in steps[:5]]
y = [row["accuracy"] for row in printed[:5]]
plots.show(
    plots.figure(
        go.Scatter(
            x=x,
            y=y,
            mode="markers+text",
            text=names,
            textposition=["top center", "bottom right", "bottom left", "top left", "top left"],
            marker={"size": 14, "color": plots.BLUE},
        ),
        x="MACs for one image",
        y="top-1 accuracy in %",
        xaxis={"type": "log", "range": [6.7, 8.6], "tickvals": [1e7, 3e7, 1e8, 3e8]},
        yaxis={"range": [40, 77]},
    ),
    label="2.4",
    caption="CIFAR-10 accuracy as the report prints it (a single training each) over MACs as we count them.",
    alt="Accuracy over MACs on a logarithmic axis: four networks stand close together at about ten million, E4 far to the right at more than two hundred million.",
    table=plots.Table(
        ("network", "parameters", "MACs", "peak activations", "accuracy in %, as printed"),
        [(n, counted[s].parameters, counted[s].macs, counted[s].peak_activations, a) for n, s, a in zip(names, steps, y)],
    ),
)

# %% [markdown]
# E4 is the report's best network, and it has {glue:text}`e4_more_parameters:d` parameters more than E2. It does
# {glue:text}`e4_more_macs:.1f` times the MACs, and needs {glue:text}`e4_more_peak:.1f` times the memory for activations. Its
# table shows neither. (Which stride E2 has, the text leaves open; we took the baseline's 2. Had it been 1 already, the
# pooling alone would be left: a factor of about four.)
#
# ## What the thesis found
#
# Count what the theses print, and what the widely used torchvision states for the same two networks (224 pixels, poolings that
# complete their last window):

# %% tags=["hide-input"]
v1_0 = {s: complexity.totals(zoo.build("squeezenet_v1_0", (s, s, 3), 1000)) for s in (224, 227)}
v1_1 = {s: complexity.totals(zoo.build("squeezenet_v1_1", (s, s, 3), 1000)) for s in (224, 227)}
three = zoo.build("squeezenet_v1_1", (224, 224, 3), 3)
filters = sum(x.filters for x in three.layers if isinstance(x, keras.layers.Conv2D))
three = complexity.totals(three)
share = {s: v1_1[s].macs / v1_0[s].macs for s in v1_0}
ceil = {v: complexity.totals(zoo.build(v, (224, 224, 3), 1000, pooling="ceil")).macs for v in zoo.NAMES if "_v1_" in v}
first = papers.table("backstrom2018", 12)[0]
table = [
    ("vieito2017, Equation 3: parameters of its dense layer", "320", f"{dense[2]}"),
    ("vieito2017, 4.1: weights of v1.1", "around 5 MB", f"{sums.weight_bytes / 1e6:.2f} MB"),
    ("vieito2017, 4.3: computation of v1.1 against v1.0", "41%", f"{share[224]:.1%} at 224, {share[227]:.1%} at 227"),
    ("backstrom2018, 2.1.6: parameters of AlexNet", "60M", f"{bills['AlexNet'].parameters:,}"),
    ("backstrom2018, 4.4: share of its dense layers", "≈ 95%", f"{dense_share:.1%}"),
    ("backstrom2018, 2.1.6: parameters of v1.0", "around 1.2M", f"{v1_0[224].parameters:,}"),
    ("backstrom2018, Table 12: filters of v1.1, 3 classes", f"{first['kernels']:,}", f"{filters:,}"),
    ("backstrom2018, Table 12: its model size", first["model_size"], f"{three.weight_bytes / 1e6:.2f} MB"),
    ("backstrom2018, Table 12: its MACs", f"{first['mac']} (no unit)", f"{three.macs / 1e6:.1f} million"),
    *(
        (f"chernis, Table 1: {row['model']}", f"{row['parameters']:,}", f"{counted[step].parameters:,}")
        for row, step in zip(printed, steps)
    ),
    ("torchvision: parameters of v1.0", "1,248,424", f"{v1_0[224].parameters:,}"),
    ("torchvision: parameters of v1.1", "1,235,496", f"{v1_1[224].parameters:,}"),
    ("torchvision: 10⁹ operations of v1.0", "0.819", f"{ceil['squeezenet_v1_0'] / 1e9:.3f}"),
    ("torchvision: 10⁹ operations of v1.1", "0.349", f"{ceil['squeezenet_v1_1'] / 1e9:.3f}"),
]
HTML(plots.Table(("", "printed", "counted"), table).html())

# %% tags=["remove-cell"]
bordered = v1_0[227].macs + count((15, 15, 512), 1000, 1)[1] - count((13, 13, 512), 1000, 1)[1]
record(v1_0_parameters=v1_0[224].parameters, v1_0_macs=v1_0[224].macs, v1_1_macs_227=v1_1[227].macs)
record(filters=filters, three_macs=three.macs, bordered_macs=bordered)
record(printed_differing=sum(r["parameters"] != counted[s].parameters for r, s in zip(printed, steps)))
record(e3_printed=printed[3]["parameters"])
record(ceil_v1_0_macs=ceil["squeezenet_v1_0"], ceil_v1_1_macs=ceil["squeezenet_v1_1"])
record(within=1e-6, share_ceil=ceil["squeezenet_v1_1"] / ceil["squeezenet_v1_0"])
record(within=1e-6, share_224=share[224], share_227=share[227], bordered_share=v1_1[227].macs / bordered)
record(within=1e-6, backstrom_share=first["mac"] * 1e7 / three.macs)

# %% [markdown]
# And Table 2 of the report, the layers of E4:

# %% tags=["hide-input"]
e4 = {row.name: row for row in complexity.cost_table(chernis["e4"])}
table, slips = [], []
for row in papers.table("chernis", 2):
    name = row["layer"].lower()
    parts = [r for n, r in e4.items() if n.split("_")[0] == name and r.parameters]
    if not parts:
        continue  # the image, and poolings
    n, squeeze = sum(r.parameters for r in parts), parts[0].output_shape[-1] if row["s1x1"] else ""
    if (row["parameters"] or n, row["s1x1"]) != (n, squeeze):
        slips.append(name)
    table.append((row["layer"], row["s1x1"], squeeze, row["parameters"], n))
HTML(plots.Table(("layer", "squeeze, printed", "counted", "parameters, printed", "counted"), table).html())

# %% tags=["remove-cell"]
found = {row[0].lower(): row for row in table}
record(slips=", ".join(slips))
record(fire4_squeeze=found["fire4"][2], fire4_parameters=found["fire4"][4], conv10_parameters=found["conv10"][4])
record(fire3_parameters=found["fire3"][4])
record(rows_add_up=sum(row[4] for row in table) == printed[4]["parameters"])

# %% [markdown]
# **Why they differ.** Counts cannot differ by chance, so each difference has a cause.
#
# - *E3* removes `fire3`, {glue:text}`fire3_parameters:,d` parameters, and nothing else that has any: that leaves
#   {glue:text}`e3_parameters:,d`, not {glue:text}`e3_printed:,d`.
# - *Table 2 of the report*: `fire4` squeezes to {glue:text}`fire4_squeeze:d` channels and has
#   {glue:text}`fire4_parameters:,d` parameters; `conv10` has {glue:text}`conv10_parameters:,d` with its biases, which all
#   other rows include. Only so do the rows add up to the total in Table 1.
# - *Fewer parameters by delaying downsampling*, as the report explains E4: no. Where images shrink is not in the first
#   formula, and E2 and E4 have the same count in its own table.
# - *41 %*: it hangs on the edges. Let poolings complete their last window, as Caffe and torchvision do, and v1.1 does
#   {glue:text}`share_ceil:.1%` of v1.0's MACs at 224 pixels. Put a border of one pixel around the input of v1.0's `conv10`, as
#   its authors did, and at 227 it is {glue:text}`bordered_share:.1%`. Which of them the thesis means it does not say.
# - *25.8*: in units of ten million it is {glue:text}`backstrom_share:.1%` of our count. The unit is our guess, and the rest
#   we cannot explain.
#
# ## Exercises
#
# **1.** Count the parameters of `fire2` of v1.1 by hand: 64 channels in, squeezed to 16, expanded to 64 and 64.
#
# ```{admonition} Solution
# :class: dropdown
# Squeeze: $64 \cdot 16 + 16 = 1{,}040$. Expand 1x1: $16 \cdot 64 + 64 = 1{,}088$. Expand 3x3:
# $9 \cdot 16 \cdot 64 + 64 = 9{,}280$. Together 11,408. In v1.0, `conv1` hands on 96 channels, and `fire2` has
# $32 \cdot 16 = 512$ more.
# ```
#
# **2.** Table 2 of backstrom2018 gives `conv10` filters of 3x3. Can that be, if the network has around 1.2 million parameters?

# %% tags=["hide-cell"]
for kernel in (1, 3):
    conv10, _, _ = count((13, 13, 512), 1000, kernel)
    print(f"conv10 of {kernel}x{kernel}: {conv10:,}; v1.0 in all: {v1_0[224].parameters - rows['conv10'].parameters + conv10:,}")

# %% [markdown]
# **3.** In figure 2.2, from which side on does v1.1 with 1,000 classes need more memory for activations than for its weights,
# both at 32 bits? And if the weights had 8 bits, the activations still 32?

# %% tags=["hide-cell"]
peaks = {s: complexity.totals(zoo.build("squeezenet_v1_1", (s, s, 3), 1000)).peak_activations for s in explore.SIDES}
for bits in (32, 8):
    print(bits, "bits:", next(s for s, peak in peaks.items() if 32 * peak > bits * sums.parameters), "pixels")

# %% [markdown]
# **4.** The network shall read 10 classes instead of 1,000. Which share of the parameters goes, and which share of the MACs? Guess,
# then look at figure 2.2.

# %% tags=["hide-cell"]
ten = complexity.totals(zoo.build("squeezenet_v1_1", (224, 224, 3), 10))
print(f"parameters {1 - ten.parameters / sums.parameters:.1%}, MACs {1 - ten.macs / sums.macs:.1%}")

# %% [markdown]
# ## Run it on yours
#
# ```python
# import keras
#
# from fewbits.costs import complexity
# from fewbits import explore
#
# model = keras.applications.MobileNetV2((224, 224, 3), weights=None)
# for row in complexity.cost_table(model):
#     print(row.name, row.parameters, row.macs, row.activations)
# print(complexity.totals(model))  # with the peak of activations
#
# mine = {"mine": lambda side: my_network((side, side, 3))}
# explore.costs_by_level(mine, "1", sides=(96, 128, 160)).show()  # in JupyterLab
# ```

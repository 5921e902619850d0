# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 7 Repairs without labels
#
# *Reading time: 40 minutes, and 5 for what is marked for a second reading. Needs: [chapter 3](03-percentiles) (rules
# for ranges), [chapter 4](04-quantized-conv2d) (quantized layers) and [chapter 6](06-two-theses) (the shift).*
#
# A network has lost its accuracy to few bits. You have no labels and no time to train. What can be repaired?
#
# Chapter 6 found the fault: rounding down shifts every output, and larger inputs shift it more. In a trained network we can
# still choose biases, formats, the scale of each channel, and the code that each weight is rounded to. This
# chapter takes the repairs one at a time. Each is shown once in full and compared with the function of the library, and its
# hardware cost is stated. Then we measure all of them, on digits and on photographs.
#
# ```{admonition} Predict first
# :class: tip
# A network for digits with kernels of **5 bits**, rounded down, has an accuracy of {glue:text}`down_5:.0%`, against
# {glue:text}`float_accuracy:.0%` in float. You may add a constant to the bias of each filter, so that its mean output is right again.
# You can compute all constants at once, from the values of the float network; or one layer after another, from the outputs of the
# corrected layers before it. What does each method recover? What do both recover on photographs, at **8 bits**?
#
# Then everything is rounded to nearest, at **3 bits**, and the network guesses. Which repair adds most: other biases, other ranges, or
# other codes for the weights?
#
# Finally, a filter has **nine weights**, and each may be rounded up or down. In how many of a layer's 16 filters is rounding to
# nearest the best of all 512 ways? The answers are in [Constants](constants), [On photographs](repairs-on-photographs),
# [One on top of the other](one-on-top-of-the-other) and [Up or down](up-or-down).
# ```

# %% tags=["parameters"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
from functools import partial
from itertools import product
from time import perf_counter

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import softmax

# %% tags=["hide-input"]
from fewbits import FixedPoint, data, explore, post_training, quantize, zoo
from fewbits.backend import keras, ops
from fewbits.book import papers, questions, quote, record, reference
from fewbits.book.gate_prices import load_gate_prices
from fewbits.experiment import Scheme, run_schemes
from fewbits.explore import plots
from fewbits.post_training.range_search import edges
from fewbits.quantization import formats_for, observe, quantize_model
from fewbits.statistics import NO_DATA, Share, verdict

SMOKE = profile == "smoke"
array = ops.convert_to_numpy  # takes a tensor or a variable

# %% [markdown]
# ## Twelve repairs and their costs
#
# Where the hardware cost is *nothing*, the device runs the same computation with other constants; the work is done once, offline. For the
# other repairs we synthesized the parts in gates ([chapter 17](17-engine)), and counted the lookup tables of an FPGA that each adds:

# %% tags=["hide-input"]
# What each repair adds to the hardware of one filter
prices = load_gate_prices()
KERNEL_BITS = 8, 5


def priced(added):
    """Return lookup tables at each width, and their share of those of a product and its sum."""
    return [f"{added(b):+} ({added(b) / prices.mac(b):+.0%})" if added else "0" for b in KERNEL_BITS]


def window_sum(bits):
    return prices.cost(bits, "sum_pixels", pixels="signed")


def quantizer(bits):
    return -prices.rounding(bits, "floor")


def shifter(bits):
    return prices.rounding(bits, "floor", "filter") - prices.rounding(bits, "floor", "layer")


REPAIRS = [
    ("mean shift folded", "biases", "some tens", "nothing", None),
    ("bias corrected in order", "biases", "some tens", "nothing", None),
    ("kernels rounded offline", "codes of kernels", "none", "nothing", None),
    ("mid-step reconstruction", "the value of a code", "none", "one more sum per window, shared by all filters", window_sum),
    ("half a step in the bias", "biases", "none", "nothing", None),
    ("one format per edge", "formats of outputs", "none", "one quantizer fewer per edge", quantizer),
    ("equalization", "scales of channels", "none", "nothing", None),
    ("a scale per filter", "formats of kernels", "none", "a shifter in place of a wired shift", shifter),
    ("range search", "formats of inputs and outputs", "some tens", "nothing", None),
    ("kernels refitted", "codes of kernels", "some tens", "nothing", None),
    ("rounding learned", "codes of kernels, biases", "some tens", "nothing", None),
    ("blocks reconstructed", "codes of kernels, biases", "some tens", "nothing", None),
]
explore.Table(
    ("repair", "what it changes", "images", "hardware cost", *(f"lookup tables, {b} bits" for b in KERNEL_BITS)),
    [(*row, *priced(added)) for *row, added in REPAIRS],
    f"In brackets: of a MAC (a product and its sum). Pixels, weights and codes have the same bits. {prices.made_with}",
)

# %% tags=["remove-cell"]
# Quoted in the text
for name, cost in {"sum": window_sum, "quantizer": quantizer, "shifter": shifter}.items():
    quote(**{f"{name}_luts": abs(cost(8)), f"{name}_of_mac": f"{abs(cost(8)) / prices.mac(8):.0%}"})
half_up = prices.above_floor(8, "nearest-up")
quote(half_up_luts=half_up, half_up_of_mac=f"{half_up / prices.mac(8):.0%}")

# %% [markdown]
# The network is the small SqueezeNet of chapter 6, with the weights that come with this book. The repairs use 64 training images,
# without labels:

# %%
digits = data.load("digits", validation=0.25)
train, _ = digits.arrays("train")
images, test = train[:64], digits.arrays("test")
NAME = "squeezenet_digits"
model = zoo.build(NAME, digits.image_shape, 10, weights=NAME)

# %%
fmt = FixedPoint(msb=0, nbits=5)


def rounded_down():
    """Return the network with kernels of 5 bits, all else in float."""
    return quantize_model(model, [fmt], rounding="floor")


down = rounded_down()
agrees = {}  # repair -> whether our few lines agree with the library


# %%
def equal(name, ours, theirs, tolerance=0.0):
    """Note whether two lists of arrays are equal."""
    pairs = list(zip(ours, theirs, strict=True))
    agrees[name] = all(
        np.allclose(array(a), array(b), rtol=0, atol=tolerance)
        for a, b in pairs
    )
    print(f"{name}: {'' if agrees[name] else 'not '}equal")


# %% [markdown]
# (constants)=
# ## Constants
#
# ### The mean shift, folded into the bias
#
# A rounded kernel has an error $\Delta w$, and the output is off by $\sum \Delta w\,x$. Its mean over the images is
# $\sum \Delta w\,\bar x$: the product of the kernel's error and the mean input. Subtract it from the bias:

# %%
def folded_bias(layer, x):
    """Return the bias less the mean shift; x are the float inputs."""
    kernel = array(layer.kernel)
    error = quantize(kernel, fmt, "floor") - kernel
    mean_input = x.mean(0, keepdims=True)
    shift = layer.product(mean_input, error.astype("float32"))
    return array(layer.bias) - array(shift).mean((0, 1, 2))


folded = post_training.correct_bias(down, images)
layers = down.quantized_layers
observed = dict(observe(model, images))

# %%
equal("mean shift folded",
      [folded_bias(layer, observed[layer.name].input) for layer in layers],
      [layer.bias for layer in folded.quantized_layers], 1e-5)

# %% [markdown]
# This correction uses the inputs of the *float* network. In the quantized network a layer never sees them. The layers before it
# still make errors that depend on the image, and a ReLU turns errors with zero mean into errors with a nonzero mean.
#
# ### The bias, corrected in order
#
# The remedy is to go through the network in order {cite:p}`nagel2019`. Run the float network and the quantized one on the same images,
# compare the mean output of each filter, add the difference to the bias, and continue with the next layer, which now gets corrected
# inputs:

# %%
def products(network, name):
    """Return what a layer computes before bias and activation."""
    layer = network.get_layer(name)
    reader = keras.Model(network.input, layer.input)
    return array(layer.extract(reader(images)))


plain, in_order = rounded_down(), rounded_down()
plain.set_level(0)  # quantizers off
for layer in in_order.quantized_layers:
    off = products(plain, layer.name) - products(in_order, layer.name)
    layer.bias.assign_add(off.mean((0, 1, 2)))

# %%
library = post_training.correct_bias_sequentially(down, images)
equal("bias corrected in order",
      [layer.bias for layer in in_order.quantized_layers],
      [layer.bias for layer in library.quantized_layers], 1e-4)

# %% [markdown]
# Both corrections are constants, so both can remove only the mean error. The figure shows the total error of each layer's outputs in
# four networks:

# %%
def sums(network):
    """Return layer name -> sums of products and bias, on the images."""
    layers = network.quantized_layers
    reader = keras.Model(network.input, [x.input for x in layers])
    return {layer.name: array(layer.extract(x)) + array(layer.bias)
            for layer, x in zip(layers, reader(images))}


networks = {
    "rounded down": down,
    "mean shift folded": folded,
    "corrected in order": in_order,
    "nearest": post_training.round_kernels(down),
}

# %%
wanted, mean_part, all_of_it = sums(plain), {}, {}
for name, network in networks.items():
    off = {n: x - wanted[n] for n, x in sums(network).items()}
    spread = {n: wanted[n].std() for n in off}
    all_of_it[name] = {n: float(np.sqrt(np.mean(x**2)) / spread[n])
                       for n, x in off.items()}
    mean_part[name] = {
        n: float(np.sqrt(np.mean(x.mean((0, 1, 2)) ** 2)) / spread[n])
        for n, x in off.items()}

# %% tags=["hide-input"]
# The error of the outputs, layer by layer
explore.lines(
    all_of_it, "7.1",
    f"Root mean square error of the outputs before the activation, relative to their standard deviation in float; kernels of "
    f"{fmt.nbits} bits, {len(images)} digits (quick).",
    "Lines over the layers: rounded down rises to 1, both corrections to about a half, nearest to a fifth.",
    x="layer", y="relative error of the outputs", yaxis={"type": "log"}, height=440,
    colours=(plots.ORANGE, plots.PURPLE, plots.GREEN, plots.BLUE),
)

# %% tags=["remove-cell"]
# Quoted in the text
last = layers[-1].name
record(within=0.05, mean_last={name.split()[0]: by_layer[last] for name, by_layer in mean_part.items()})
record(within=0.1, rms_last={name.split()[0]: by_layer[last] for name, by_layer in all_of_it.items() if name != "rounded down"})
corrected, in_float = sums(in_order)[last], wanted[last]
quote(spread_left=corrected.std() / in_float.std())
quote(relu_left=np.maximum(corrected, 0).mean() / np.maximum(in_float, 0).mean())

# %% [markdown]
# In the last layer, the mean of a filter is off by {glue:text}`mean_last_rounded:.2f` standard deviations when kernels are rounded
# down, by {glue:text}`mean_last_mean:.2f` with the shift folded, and by {glue:text}`mean_last_corrected:.2f` when it is corrected in
# order. The rest of the error depends on the image: the total errors are {glue:text}`rms_last_mean:.2f` and
# {glue:text}`rms_last_corrected:.2f`. Nearest leaves {glue:text}`rms_last_nearest:.2f`. It has a mean error as well, of
# {glue:text}`mean_last_nearest:.2f`: small, and different for each filter.
#
# A correct mean is not a correct distribution. The shift reduces large sums more than small ones, so the sums also move closer
# together: in the last layer, corrected in order, their standard deviation is {glue:text}`spread_left:.0%` of float's. Less of the
# distribution then lies above zero, and the mean *after* the ReLU is {glue:text}`relu_left:.0%` of float's.
#
# What does this mean for the accuracy? Here are all schemes of this section, on one trace of the network:

# %%
DOWN, NEAREST = {"rounding": "floor"}, {"rounding": "nearest"}
FOLD, ORDER = "fold mean shift", "correct bias in order"
LINES = {
    "rounded down": DOWN,
    "mean shift folded": DOWN | {"remedies": (FOLD,)},
    "corrected in order": DOWN | {"remedies": (ORDER,)},
    "mid-step": DOWN | {"remedies": ("mid-step",)},
    "nearest": NEAREST,
    "nearest, corrected in order": NEAREST | {"remedies": (ORDER,)},
}
BITS = {name: (3, 4, 5) if "nearest" in name else (4, 5) for name in LINES}
BITS = dict.fromkeys(LINES, (5,)) if SMOKE else BITS


# %%
def kernels_only(bits, options):
    return Scheme(bits=(bits, None, None), msb=(0, 9, 9), **options)


live = run_schemes(
    model, [kernels_only(b, LINES[name]) for name in LINES
            for b in BITS[name]], images, test,
)
at = {name: live[kernels_only(5, way)].share for name, way in LINES.items()}
for name, share in at.items():
    print(f"5 bits, {name}: {share}")

# %% tags=["hide-input"]
# Kernels of few bits, by repair
def share_at(bits, way):
    return live[kernels_only(bits, way)].share if kernels_only(bits, way) in live else None


explore.lines(
    {name: {b: share_at(b, way) for b in BITS["nearest"]} for name, way in LINES.items()}, "7.2",
    f"Kernels of few bits, MSB 0, nothing trained. {len(test[1])} test digits, 95 % intervals (quick).",
    "Lines of the accuracy: rounded down is lowest, constants recover a part, mid-step and nearest nearly all.",
    x="bits of the kernels", xaxis={"type": "category"}, levels={"float": live.float}, height=440,
)

# %% tags=["remove-cell"]
# Quoted in the text
WORDS = "down", "folded", "in_order", "mid", "near", "near_in_order"
record(within=0.02, float_accuracy=live.float.share, **{f"{w}_5": share for w, share in zip(WORDS, at.values())})
quote(order_over_fold=(at["corrected in order"] - at["mean shift folded"]).points)
quote(nearest_over_order=(at["nearest"] - at["corrected in order"]).points)


def share_of(study, scheme):
    """Return the share of a scheme as text."""
    return f"{study[scheme].share:.1%}" if scheme in study else NO_DATA


quote(in_order_4=share_of(live, kernels_only(4, LINES["corrected in order"])))
quote(near_3=share_of(live, kernels_only(3, NEAREST)))
quote(near_in_order_3=share_of(live, kernels_only(3, LINES["nearest, corrected in order"])))

# %% [markdown]
# At 5 bits, the accuracy is {glue:text}`down_5:.1%` with kernels rounded down, {glue:text}`folded_5:.1%` with the shift folded at once,
# and {glue:text}`in_order_5:.1%` corrected in order ({glue:text}`order_over_fold` over at once). A test of folding alone therefore
# underrates constants. Nearest has {glue:text}`near_5:.1%` without any correction ({glue:text}`nearest_over_order` over in order).
# At 4 bits constants no longer repair kernels that are rounded down ({glue:text}`in_order_4`).
#
# The correction in order also helps kernels that are rounded to *nearest*: at 3 bits it raises {glue:text}`near_3` to
# {glue:text}`near_in_order_3`.
#
# *Cost:* nothing. Only the values of the biases change.
#
# ## The kernels themselves
#
# ### Rounded offline
#
# Kernels do not change on the device, so the device need not round them. Round them to nearest beforehand. They are then multiples of
# the step, and dropping bits leaves them as they are:

# %%
def nearest_kernel(kernel):
    codes = np.round(kernel / fmt.step)
    return np.clip(codes, fmt.min_code, fmt.max_code) * fmt.step


library = networks["nearest"]
equal("kernels rounded offline",
      [nearest_kernel(array(layer.kernel)) for layer in layers],
      [layer.kernel for layer in library.quantized_layers])

# %% [markdown]
# *Cost:* nothing. Begin with this repair. The others are for kernels that a tool has already rounded, and for the errors that this
# repair leaves.
#
# ### Mid-step reconstruction
#
# If the codes are given, and all of them were rounded down, interpret them differently: each code $k$ stands for the middle of its
# step, $kq + q/2$. Such a kernel fits a format of one more bit, and the device need not store that bit:
#
# $$\sum (kq + \tfrac q2)\,x \;=\; q \sum k\,x \;+\; \tfrac q2 \sum x .$$

# %%
def mid_step(kernel):
    codes = np.floor(kernel / fmt.step)
    codes = np.clip(codes, fmt.min_code, fmt.max_code)
    return codes * fmt.step + fmt.step / 2


library = post_training.reconstruct_mid_step(down)
equal("mid-step reconstruction",
      [mid_step(array(layer.kernel)) for layer in layers],
      [layer.kernel for layer in library.quantized_layers])

# %% [markdown]
# *Cost:* one more sum of the inputs in each window, which all filters share: {glue:text}`sum_luts` lookup tables at 8 bits,
# {glue:text}`sum_of_mac` of a MAC. No constant can replace this sum, because it depends on the window. With mid-step reconstruction,
# the accuracy at 5 bits is {glue:text}`mid_5:.1%`.
#
# ## What the device itself rounds
#
# ### Half a step in the bias
#
# The device must round outputs itself; no offline work can replace this. A convolution adds up products in a wide accumulator,
# and a shift drops the lowest bits of the sum. If half of the dropped step is added first, the shift rounds to nearest:

# %%
sums_of_products = np.arange(-4096, 4096)  # codes in an accumulator
DROPPED = 6  # bits
half = 1 << (DROPPED - 1)
shifted = (sums_of_products + half) >> DROPPED
nearest_up = np.floor(sums_of_products / 2**DROPPED + 0.5)
print("equal for all sums:", np.array_equal(shifted, nearest_up))

# %% [markdown]
# The accumulator starts with the bias, so the half step goes into the bias. The bias lies on the grid of the products, whose step is
# that of the kernel times that of the input:

# %%
formats = formats_for(model, images[:32], 5, 99.99, signed=True)
every = post_training.round_kernels(
    quantize_model(model, formats, rounding="floor"))


def with_half_a_step(layer):
    """Return the bias on the grid of the products, half a step up."""
    kernel, x, output, _ = layer.formats
    grid = kernel.step * x.step
    on_grid = np.round(array(layer.bias).astype("float64") / grid) * grid
    return on_grid + output.step / 2


# %%
lifted = post_training.add_half_a_step(every)
equal("half a step in the bias",
      [with_half_a_step(layer) for layer in every.quantized_layers],
      [layer.bias for layer in lifted.quantized_layers], 1e-6)

# %% [markdown]
# *Cost:* nothing. A device that adds the half step itself needs {glue:text}`half_up_luts` lookup tables more per filter at 8 bits,
# {glue:text}`half_up_of_mac` of a MAC, to compute the same codes.
#
# ### One format per edge
#
# A layer writes its outputs in one format, and the next layer reads them in another. The value is rounded twice. The second rounding
# drops bits again, and no bias comes before it. If both get the same MSB, the larger one, the second rounding changes nothing:

# %%
def places(edge):
    """Return the formats at an edge as pairs (layer, kind)."""
    outputs = [(name, "output") for name in edge.writers]
    return outputs + [(name, "input") for name in edge.readers]


def set_msb(network, name, kind, msb):
    f = network.get_layer(name).formats
    new = FixedPoint(msb, getattr(f, kind).nbits)
    network.set_formats({name: f._replace(**{kind: new})})


# %%
def shared(network):
    """Give outputs and inputs of each edge the largest MSB of its readers."""
    for edge in edges(network):
        if edge.writers and edge.readers:
            own = [network.get_layer(n).formats.input for n in edge.readers]
            msb = max(f.msb for f in own)
            for name, kind in places(edge):
                set_msb(network, name, kind, msb)


# %%
library = post_training.share_formats(every)
ours = quantize_model(model, every.formats)
shared(ours)
agrees["one format per edge"] = ours.formats == library.formats
print("one format per edge: equal:", agrees["one format per edge"])

# %% [markdown]
# *Cost:* less than nothing, because the second quantizer is removed: {glue:text}`quantizer_luts` lookup tables at 8 bits. With
# these three repairs (kernels rounded offline, half a step, one format per edge), hardware that drops bits computes the same as
# hardware that rounds to nearest. From here on, *nearest* stands for both.
#
# ## Ranges
#
# ### Equalization
#
# One format for a whole kernel suits only its largest channel. A ReLU passes positive factors through, so channel $i$ of a layer may be
# divided by $s_i$ if the next layer multiplies it by $s_i$ {cite:p}`nagel2019`. With $s_i = \sqrt{r_i / r'_i}$, where $r_i$ and $r'_i$
# are the largest weights of the channel in the first kernel and in the second, both kernels need the same range there. We take the
# nearest power of two, which loses no bit:

# %%
def equalized(a, bias, b):
    """Return two 1x1 kernels and the bias between with equal ranges."""
    before = np.abs(a).max((0, 1, 2))  # of each filter of a
    after = np.abs(b).max((0, 1, 3))  # of each input channel of b
    exponent = np.round(np.log2(before / after) / 2)
    s = (2.0**exponent).astype("float32")
    return a / s, bias / s, b * s[:, None]


# %%
x = keras.Input((4, 4, 8))
pair = [keras.layers.Conv2D(n, 1, activation="relu") for n in (6, 10)]
small = keras.Model(x, pair[1](pair[0](x)))
rng = np.random.default_rng(0)
uneven = rng.uniform(-4, 4, 6)  # factors of the channels between
pair[0].kernel.assign(array(pair[0].kernel) * 2.0**uneven)

# %%
library = post_training.equalize(small)
a, bias, b = equalized(*map(array, small.weights[:3]))
equal("equalization", (a, bias, b), library.weights[:3])
given = rng.normal(size=(5, 4, 4, 8)).astype("float32")
same = np.array_equal(array(small(given)), array(library(given)))
print("outputs are the same bits:", same)

# %% [markdown]
# *Cost:* nothing. But the scales also change the ranges of activations, and only the kernels determine the scales. A *scale per filter*
# does exactly what equalization approximates for kernels. The shift is then no longer wired, and the shifter takes
# {glue:text}`shifter_luts` lookup tables more at 8 bits, {glue:text}`shifter_of_mac` of a MAC.
#
# ### Range search
#
# The rules of chapter 3 choose an MSB from the values of one layer. But what counts is the output of the network. Therefore move the
# MSBs of an edge up, or else down, as long as the probabilities come nearer to those of the float network. Their distance is the
# Kullback-Leibler divergence $\sum p \log (p / p')$, and needs no labels:

# %%
wanted = softmax(model.predict(images, verbose=0).astype("float64"), -1)


def divergence(network):
    found = softmax(network.predict_on_batch(images).astype("float64"), -1)
    return float(np.sum(wanted * np.log(wanted / found)))


def move(network, edge, step):
    for name, kind in places(edge):
        f = getattr(network.get_layer(name).formats, kind)
        set_msb(network, name, kind, f.msb + step)


# %%
def search(network, edge):
    start = least = divergence(network)
    for step in (1, -1):
        while True:
            before = network.formats
            move(network, edge, step)
            now = divergence(network)
            if now >= least:
                network.set_formats(before)
                break
            least = now
        if least < start:
            break


# %%
FEW = 3
formats = formats_for(
    model, images[:32], FEW, ("mse", 99.99, 99.99), signed=True)
searched = quantize_model(model, formats, rounding="nearest")
shared(searched)
start = post_training.share_formats(searched)
library = post_training.search_msbs(start, images)
walk = [divergence(searched)]
for edge in edges(searched):
    search(searched, edge)
    walk.append(divergence(searched))
agrees["range search"] = searched.formats == library.formats
print("range search: equal:", agrees["range search"])

# %% tags=["remove-cell"]
# Quoted in the text
record(within=5.0, divergence_before=walk[0], divergence_after=walk[-1])
quote(fewest=FEW, edges=len(walk) - 1)

# %% [markdown]
# At {glue:text}`fewest` bits, the search over {glue:text}`edges` edges lowers the divergence from {glue:text}`divergence_before:.0f` to
# {glue:text}`divergence_after:.0f`. A rule that looks at one layer clips too much: large values are few, and they decide.
#
# *Cost:* nothing. The search stops at once if all outputs are alike, so at very few bits it has to start from narrow ranges.
#
# ## Codes that compensate each other
#
# Rounding to nearest makes the error of each weight small. But what should be small is the error of their *sum*, and the errors of
# weights can compensate each other {cite:p}`frantar2022,frantar2023`. First fit the kernel by least squares: which kernel, applied to
# the inputs of the quantized network, comes nearest to the sums of the float kernel on float inputs?

# %%
def fitted(kernel, reached, wanted):
    """Return a kernel for the inputs `reached`, and their power.

    kernel: (weights, filters); reached, wanted: (windows, weights).
    """
    power = reached.T @ reached / len(reached)
    share = max(0.01, len(kernel) / len(reached))
    damping = share * np.mean(np.diag(power)) * np.eye(len(power))
    products = reached.T @ (wanted @ kernel) / len(reached)
    new = np.linalg.solve(power + damping, products + damping @ kernel)
    return new, power + damping


# %% [markdown]
# Then round its weights in turn, strongest inputs first. The remaining weights take over the error, as far as their inputs correlate
# with those of the weight just rounded. The inverse of the power matrix determines how:

# %%
def rounded_in_turn(kernel, power):
    order = np.argsort(-np.diag(power), kind="stable")
    left, power = kernel[order], power[np.ix_(order, order)]
    rounded = np.empty_like(kernel)
    for i, weight in enumerate(order):
        rounded[weight] = quantize(left[i], fmt, "nearest")
        inverse = np.linalg.inv(power[i:, i:])[:, 0]
        error = left[i] - rounded[weight]
        left[i + 1 :] -= np.outer(inverse[1:] / inverse[0], error)
    return rounded


# %%
two = quantize_model(model, [fmt], rounding="nearest")
two.set_level(2)  # the first layer, and a 1x1 convolution after it
library = post_training.refit_kernels(two, images)
name = two.quantized_layers[1].name
reader = keras.Model(library.input, library.get_layer(name).input)
reached, x = array(reader(images)), observed[name].input
kernel = array(two.get_layer(name).kernel).astype("float64")

# %%
n = kernel.shape[2]  # weights of a filter
windows = [v.reshape(-1, n).astype("float64") for v in (reached, x)]
ours = rounded_in_turn(*fitted(kernel.reshape(n, -1), *windows))
theirs = array(library.get_layer(name).kernel)
equal("kernels refitted", [ours.reshape(theirs.shape)], [theirs])
other = np.mean(theirs != nearest_kernel(kernel))
print(f"{other:.0%} of the weights do not have the nearest code")

# %% tags=["remove-cell"]
# Quoted in the text
record(within=0.1, other_codes=float(other))

# %% [markdown]
# {glue:text}`other_codes:.0%` of the weights of this layer are not rounded to nearest, and the sums are more accurate as a result.
#
# *Cost:* nothing.
#
# (up-or-down)=
# ## Up or down
#
# Refitting rounds one weight after another and never revises a code. Which codes would be best? Take a filter with the weights 0.4,
# 0.45 and 0.3 and a step of 1, so that each weight becomes 0 or 1. It sees three windows. Which weights would you round up?

# %%
weights = np.array([0.4, 0.45, 0.3])
windows = np.array([[1, 1, 1], [2, 1, 1], [1, 2, 1]])
wanted_sums = windows @ weights
by_hand = {}  # rounded weights -> squared error of the three sums
for ups in product((0, 1), repeat=3):
    found = windows @ ups
    by_hand[ups] = float(np.square(found - wanted_sums).sum())
rows = [(str(ups), str(windows @ ups), f"{error:.3f}")
        for ups, error in by_hand.items()]
explore.Table(("weights", "sums", "squared error"), rows,
              note="In float the sums are 1.15, 1.55 and 1.6.")

# %% [markdown]
# With rounding to nearest, all three weights become 0, and the squared error is {glue:text}`hand_nearest:.2f`. Each single error is as
# small as possible, but all three errors have the same sign, and so do the inputs: the errors add up. If 0.45 is rounded up, which is the
# wrong way for this weight, it compensates the other two: {glue:text}`hand_best:.2f`. With the errors $e_i$ of the weights, the squared
# error of a sum is
#
# $$\Big(\sum_i e_i x_i\Big)^2 = \sum_i e_i^2 x_i^2 + \sum_{i \ne j} e_i e_j \, x_i x_j .$$
#
# Nearest makes the first part small. It ignores the second part, which is large where inputs are correlated, as neighbouring pixels are.
#
# The first layer of our network has nine weights per filter, which gives 512 ways to round them: few enough to try all. With 3 bits:

# %%
three = FixedPoint(msb=0, nbits=3)
pixels = observed["conv1"].input[..., 0].astype("float64")
patches = sliding_window_view(pixels, (3, 3), (1, 2)).reshape(-1, 9)
power = patches.T @ patches / len(patches)
exact = array(model.get_layer("conv1").kernel).reshape(9, -1) / three.step
code_below = np.clip(np.floor(exact), three.min_code, three.max_code - 1)
to_nearest = np.clip(np.round(exact), three.min_code, three.max_code)


def squared_error(codes):
    """Return the mean squared error of the sums, for each filter."""
    return np.sum((codes - exact) * (power @ (codes - exact)), 0)


# %%
ups = np.array(list(product((0, 1), repeat=9)))
best = np.min([squared_error(code_below + up[:, None]) for up in ups], 0)


def over_best(codes):
    """Return the error of all filters over that of the best codes."""
    return squared_error(codes).sum() / best.sum()


def best_filters(codes):
    return int(np.isclose(squared_error(codes), best).sum())


# %%
print(f"nearest: {over_best(to_nearest):.1f} times the least error,",
      f"best in {best_filters(to_nearest)} of {len(best)} filters")

# %% [markdown]
# But a filter of 3x3 weights and 16 channels has $2^{144}$ ways. *AdaRound* {cite:p}`nagel2020` makes the choice soft, so that gradients
# can find it. Each weight gets a number $v$, its gate. The gate sets how far the weight lies above the code below it:
#
# $$h(v) = \mathrm{clip}\big(1.2\,\sigma(v) - 0.1,\; 0,\; 1\big).$$
#
# The sigmoid $\sigma$ is stretched and clipped (*rectified*), so that $h$ reaches 0 and 1 at finite $v$. The loss is the squared
# error of the sums, divided by that of nearest, plus a penalty (the *price*) for lying between two codes:
#
# $$\lambda \cdot \mathrm{mean}\big(1 - (2h - 1)^2\big).$$
#
# The penalty is 0 if all $h$ are 0 or 1, and largest half way. Its factor $\lambda$ rises from 0 during training: at first weights move
# freely, at the end each is driven to 0 or 1. (The paper begins with a power of 20 in place of 2, and takes thousands of steps.) Both
# slopes are short, so here is the complete training, without a framework:

# %%
def share_up(gates):
    """Return how far above the codes below the weights lie."""
    return np.clip(1.2 / (1 + np.exp(-gates)) - 0.1, 0, 1)


def slope(gates, price):
    """Return the slope of error and price over the gates."""
    h, sigmoid = share_up(gates), 1 / (1 + np.exp(-gates))
    error = 2 * power @ (code_below + h - exact) / squared_error(to_nearest)
    between = -4 * (2 * h - 1) / len(h)
    inside = (h > 0) & (h < 1)
    return (error + price * between) * (
        1.2 * sigmoid * (1 - sigmoid) * inside)


# %%
def learned(price, steps=300):
    """Return how far up each weight lies, after each step."""
    start = np.clip(exact - code_below, 0.01, 0.99)
    gates, square = np.log((start + 0.1) / (1.1 - start)), 1e-12
    path = [share_up(gates)]
    for step in range(steps):
        now = slope(gates, price * step / steps)
        square = 0.9 * square + 0.1 * now**2
        gates -= 0.05 * now / np.sqrt(square + 1e-12)
        path.append(share_up(gates))
    return np.array(path)


# %%
PRICES = (0.0, 0.3, 3.0, 30.0)
paths = {f"price {price:g}": learned(price) for price in PRICES}
rows = [("nearest", "", over_best(to_nearest), best_filters(to_nearest))]
for name, path in paths.items():
    last = path[-1]
    codes = code_below + (last > 0.5)
    undecided = np.mean((last > 0.01) & (last < 0.99))
    rows.append((name, f"{undecided:.0%}", over_best(codes),
                 best_filters(codes)))
explore.Table(("rounding", "weights between two codes at the end",
               "error over the least", "best filters of 16"), rows)

# %% tags=["hide-input"]
# The nine weights of a filter while their rounding is learned
def gates_of(price, filter):
    """Return the paths of a filter's weights, and the resulting errors."""
    path = paths[price][::10, :, filter - 1]
    found = squared_error(code_below + (paths[price][-1] > 0.5))[filter - 1] / best[filter - 1]
    near = squared_error(to_nearest)[filter - 1] / best[filter - 1]
    series = {f"weight {i + 1}": dict(zip(range(0, 301, 10), of_weight)) for i, of_weight in enumerate(path.T)}
    return series, {"error over the least, learned": f"{found:.2f}", "to nearest": f"{near:.2f}"}


explore.adjustable_lines(
    gates_of, {"price": tuple(paths), "filter": (1, 2, 3, 4)}, {"price": "price 3", "filter": 1}, "7.3",
    f"How far up each weight of a filter of conv1 lies between the codes below (0) and above it (1) while its rounding is learned; 3 bits, "
    f"{len(images)} digits (quick).",
    "Nine lines over the steps: with a price they all end at 0 or 1, some of them across the middle; without one most stay between.",
    x="step", y="share of the way up", yaxis={"range": [-0.05, 1.05]}, dashes=("solid", "dot"), height=420,
).show()

# %%
library = post_training.learned_rounding
gates = rng.normal(0, 3, (9, 16))
shares = share_up(gates)
equal("rounding learned", [shares, np.mean(1 - (2 * shares - 1) ** 2)],
      [library.rectified_sigmoid(gates), library.indecision(shares)], 1e-6)

# %% tags=["remove-cell"]
# Quoted in the text
record(agrees=sum(agrees.values()), compared=len(agrees), near_best=best_filters(to_nearest))
record(within=1e-6, hand={"nearest": by_hand[0, 0, 0], "best": min(by_hand.values())})
record(within=0.3, over_best={"near": over_best(to_nearest)} | {f"{price:g}": row[2] for price, row in zip(PRICES, rows[1:])})
quote(learned_best=rows[3][3], undecided={f"{price:g}": row[1] for price, row in zip(PRICES, rows[1:])})

# %% [markdown]
# Rounding to nearest is the best way for {glue:text}`near_best` of 16 filters, and all filters together have
# {glue:text}`over_best_near:.1f` times the least error. Learned rounding at the price 3 has {glue:text}`over_best_3:.2f` times the least
# error, with {glue:text}`learned_best` filters at their best.
#
# The price matters. Set it to 0 in the figure: {glue:text}`undecided_0` of the weights end between two codes. The error is
# small there, but no device can store such weights; after the final rounding, they have {glue:text}`over_best_0:.1f` times the least
# error. A price that is too low has the same fault. At the price 30, weights reach a code before the error has moved them to a good one
# ({glue:text}`over_best_30:.2f` times).
#
# ### Learned in the network
#
# *For a second reading.*
#
# The library's `learn_rounding` goes through the network in order. The inputs of a layer come from the quantized layers before it, its
# targets are the float outputs *after* the ReLU, and the bias is trained, too. A layer whose result is worse than nearest is rounded to
# nearest. `reconstruct_blocks` {cite:p}`li2021` trains all layers of a block, here a fire module, together: errors of one layer may cancel
# those of another. It refits the kernels, rounds them anew in each step, and trains with the straight-through estimator
# {cite:p}`hubara2020`. The first two levels (conv1 and fire2, four layers) get kernels of {glue:text}`learned_bits` bits and ranges of
# least squared error; everything else stays in float:

# %%
LEARNED_BITS, STEPS_OF_LAYER = 2, 2 if SMOKE else 60
formats = formats_for(model, images[:32], (LEARNED_BITS, None, None), "mse",
                      signed=True)
two = quantize_model(model, formats, rounding="nearest")
two.set_level(2)
CHOSEN_CODES = {
    "nearest": lambda network, _: network,
    "refitted": post_training.refit_kernels,
    "learned": partial(post_training.learn_rounding, steps=STEPS_OF_LAYER),
    "reconstructed": partial(post_training.reconstruct_blocks,
                             steps=STEPS_OF_LAYER),
}

# %%
read, seconds = {}, {}
for name, repair in CHOSEN_CODES.items():
    start = perf_counter()
    network = repair(two, images)
    seconds[name] = perf_counter() - start
    right = network.predict_on_batch(test[0]).argmax(-1) == test[1]
    read[name] = Share.of(right)
rows = [(name, share, (share - read["nearest"]).points,
         f"{seconds[name]:.0f} s") for name, share in read.items()]
explore.Table(
    ("codes", "top-1", "points over nearest", "time on this machine"), rows,
    note=f"{len(test[1])} test digits, 95 % intervals (quick).")

# %% tags=["remove-cell"]
# Quoted in the text
quote(learned_bits=LEARNED_BITS, learned_steps=STEPS_OF_LAYER)
record(within={"smoke": 0.2, "quick": 0.05}, chosen=read)
gains = {name: read[name] - read["nearest"] for name in ("refitted", "learned", "reconstructed")}
quote(over_nearest={name: gain.points for name, gain in gains.items()}, learned_pays=verdict(gains["learned"]))
quote(learned_over_refit=(read["learned"] - read["refitted"]).points, blocks_over_refit=(read["reconstructed"] - read["refitted"]).points)
quote(time_of={name: f"{s:.0f} s" for name, s in seconds.items()})

# %% [markdown]
# With {glue:text}`learned_steps` steps per layer or block, learned rounding adds {glue:text}`over_nearest_learned` to nearest. That it
# pays is **{glue:text}`learned_pays`** on these digits. Refitting adds {glue:text}`over_nearest_refitted`, and block reconstruction
# {glue:text}`over_nearest_reconstructed`. Against refitting, which takes {glue:text}`time_of_refitted`, learning adds
# {glue:text}`learned_over_refit` in {glue:text}`time_of_learned`, and reconstruction {glue:text}`blocks_over_refit` in
# {glue:text}`time_of_reconstructed`. Where such a difference is negative, refitting is better as well as faster. Our guess, not tested: a
# refitted weight may get any code, but a learned one only the two next to it, and with four codes in all this choice is narrow. The 64
# digits that set formats and codes are training images; no test digit chose anything.
#
# *Cost:* nothing. {glue:text}`agrees` of the {glue:text}`compared` repairs that we wrote agree with the library, which supports any
# graph, any layer and a scale per filter. From here on we use the library.
#
# (one-on-top-of-the-other)=
# ## One on top of the other
#
# The first table is for a device that drops bits. Everything has 5 bits, and the MSBs come from the 99.99th percentile of each layer.
# Each line adds to the one before:

# %%
ROUND, HALF, SHARE = "round kernels", "half a step", "share formats"
LADDER = {
    "rounded down": (),
    "kernels rounded offline": (ROUND,),
    "+ half a step in the bias": (ROUND, HALF),
    "+ one format per edge": (SHARE, ROUND, HALF),
}


# %%
SEARCH, REFIT = "search MSBs", "refit kernels"
LEARNED, BLOCKS = "learned rounding", "block reconstruction"
STEPS = {
    "nearest": (),
    "shared": (SHARE,),
    "shared, corrected in order": (SHARE, ORDER),
    "shared, searched": (SHARE, SEARCH),
    "shared, searched, corrected in order": (SHARE, SEARCH, ORDER),
    "shared, searched, refitted": (SHARE, SEARCH, REFIT),
}

# %% [markdown]
# The second is for rounding to nearest with {glue:text}`fewest` bits. Kernels have the MSB of least squared error, inputs and outputs
# that of the 99.99th percentile, as above:

# %%
MIXED = "mse", 99.99, 99.99  # of kernels, inputs and outputs
ladder = {name: Scheme(bits=(5, 5, 5), percentile=99.99, remedies=r, **DOWN)
          for name, r in LADDER.items()}
near = {name: Scheme(bits=(FEW,) * 3, percentile=MIXED, remedies=r)
        for name, r in STEPS.items()}
live = run_schemes(model, [*ladder.values(), *near.values()], images, test)

# %% tags=["hide-input"]
# Both ladders
columns = ("rounding", "repairs", "bits", "top-1", "points under float")
rows = [("down", name, s.bits, live[s], live.under_float(s)) for name, s in ladder.items()]
rows += [("nearest", name, s.bits, live[s], live.under_float(s)) for name, s in near.items()]
explore.Table(columns, rows, note=f"{len(test[1])} test digits, 95 % intervals (quick).")

# %% tags=["remove-cell"]
# Quoted in the text
record(within=0.02, ladder={i: live[s].share for i, s in enumerate(ladder.values())})
steps = dict(zip(("plain", "shared", "ordered", "searched", "search_order", "search_refit"), near.values()))
record(within=0.05, few={word: live[scheme].share for word, scheme in steps.items()})
quote(refit_over_order=(live[steps["search_refit"]].share - live[steps["search_order"]].share).points, tests=len(test[1]))

# %% [markdown]
# Rounded down, the accuracy is {glue:text}`ladder_0:.1%`; with the kernels rounded offline {glue:text}`ladder_1:.1%`; with half a
# step in the bias {glue:text}`ladder_2:.1%`; with one format per edge {glue:text}`ladder_3:.1%`. None of these repairs costs anything.
#
# Rounded to nearest with {glue:text}`fewest` bits, the network starts at {glue:text}`few_plain:.1%`, and shared formats raise it to
# {glue:text}`few_shared:.1%`. Added to these, biases corrected in order reach {glue:text}`few_ordered:.1%`, searched ranges
# {glue:text}`few_searched:.1%`, and both together {glue:text}`few_search_order:.1%`. Search and refitting reach
# {glue:text}`few_search_refit:.1%`, which is {glue:text}`refit_over_order` against search and biases: {glue:text}`tests` digits cannot
# distinguish the two.
#
# (repairs-on-photographs)=
# ## On photographs
#
# The network has the published weights of SqueezeNet v1.1; the photographs have the labels of ImageNet (*reference* results). The
# photographs that set formats and biases are not among those that are tested. First, kernels alone, MSB 0, rounded down on the device:

# %%
study = reference.load_study("photographs")
f = None


# %%
def compare(repairs, widths, **options):
    """Return a table of top-1 and points under float."""
    columns, rows = ["repair"], []
    for bits in widths:
        columns += [f"{plots.text(bits)}: top-1", "under float"]
    for name, remedies in repairs.items():
        row = [name]
        for bits in widths:
            scheme = Scheme(bits=bits, remedies=remedies, **options)
            row += [study.get(scheme), study.under_float(scheme)]
        rows.append(row)
    return explore.Table(columns, rows, note=study.made_with)


# %%
THESIS = {"msb": (0, 9, 9)}
REPAIRS = {
    "none": (),
    "mean shift folded into the bias": (FOLD,),
    "bias corrected in order": (ORDER,),
    "mid-step reconstruction": ("mid-step",),
    "kernels rounded offline": (ROUND,),
}
compare(REPAIRS, [(8, f, f), (6, f, f)], **THESIS, **DOWN)

# %% tags=["remove-cell"]
# Quoted in the text

def gap(better, worse):
    """Return by how much one scheme exceeds another on the same photographs, as text."""
    both = better in study and worse in study
    return (study[better].share - study[worse].share).points if both else NO_DATA


def alone(bits, rounding, *remedies):
    return Scheme(bits=(bits, f, f), rounding=rounding, remedies=remedies, **THESIS)


eight, ordered = alone(8, "nearest"), alone(8, "floor", ORDER)
quote(photo_down=share_of(study, alone(8, "floor")), photo_order=share_of(study, ordered))
quote(photo_fold=share_of(study, alone(8, "floor", FOLD)))
quote(photo_near=share_of(study, eight), photo_order_fold=gap(ordered, alone(8, "floor", FOLD)), photos=f"{study.images:,}")
known = eight in study and ordered in study
others = ordered, alone(8, "floor", FOLD)
stands = verdict(*(study[eight].share - study[other].share for other in others)) if known else NO_DATA
quote(no_constant=stands)
quote(near5=share_of(study, alone(5, "nearest")), near5_order=share_of(study, alone(5, "nearest", ORDER)))
quote(near5_gap=gap(alone(5, "nearest", ORDER), alone(5, "nearest")))
quote(near4_gap=gap(alone(4, "nearest", ORDER), alone(4, "nearest")))

# %% [markdown]
# Chapter 6 says that no constant can undo rounding down. Folding the mean shift at once is not a fair test of this claim: on digits
# the correction in order recovers far more. On photographs it does not. At 8 bits the correction in order has
# {glue:text}`photo_order`, folding at once {glue:text}`photo_fold` (in order against at once: {glue:text}`photo_order_fold`), and
# rounding down {glue:text}`photo_down`. Nearest has {glue:text}`photo_near`. That it is above both constants is
# **{glue:text}`no_constant`** on {glue:text}`photos` photographs.
#
# How can the better mean give a worse result? This network is deeper. In each layer, sums have the correct mean but lie closer
# together than they should; each ReLU passes less than in float; and the last fire modules are nearly silent. The correction at
# once assumes float inputs, which a layer never gets. It adds too much, and by this accident keeps the last layers active. (We looked
# at 16 of the photographs that set the formats; those values are not stored.) Each window needs its own sum of inputs, and that is not
# a constant.
#
# With kernels rounded to *nearest*, the same correction is a baseline that no comparison should omit:

# %%
CONSTANTS = {
    "nearest": (),
    "mean shift folded": (FOLD,),
    "corrected in order": (ORDER,),
}
compare(CONSTANTS, [(b, f, f) for b in (8, 6, 5, 4)], **THESIS, **NEAREST)

# %% [markdown]
# At 5 bits, the correction in order raises {glue:text}`near5` to {glue:text}`near5_order` ({glue:text}`near5_gap`); at 4 bits the
# difference is {glue:text}`near4_gap`. The correction only changes constants that exist anyway.
#
# In the next table everything is quantized and rounded down, with MSBs of the 99.99th percentile for each layer. The first lines add
# up, the others stand alone:

# %%
LADDER |= {
    "half a step alone": (HALF,),
    "mean shift folded, alone": (FOLD,),
    "bias corrected in order, alone": (ORDER,),
    "mid-step alone": ("mid-step",),
}
compare(LADDER, [(8, 8, 8), (6, 6, 6)], percentile=99.99, **DOWN)

# %% tags=["remove-cell"]
# Quoted in the text
for b in (8, 6):
    of = {word: Scheme(bits=(b, b, b), percentile=99.99, remedies=r, **DOWN) for word, r in
          (("none", ()), ("half", (ROUND, HALF)), ("edge", (SHARE, ROUND, HALF)))}
    quote(under={(word, b): study.under_float(scheme).percent for word, scheme in of.items()})

# %% [markdown]
# Rounded down, 8-8-8 is {glue:text}`under_none_8` points under float. With kernels rounded offline and half a step in the bias it is
# {glue:text}`under_half_8`, with one format per edge {glue:text}`under_edge_8`; 6-6-6 goes from {glue:text}`under_none_6` to
# {glue:text}`under_edge_6`. The device is the same and drops bits as before.

# %% [markdown]
# (few-bits-without-training)=
# ## How low without training?
#
# With the rounding settled, three choices remain: the rule for the MSBs, one scale per layer or per filter, and the combination of
# repairs. Guess which row wins at 4-4-4 before you choose those bits:

# %%
ONE, EACH = {"percentile": MIXED}, {"percentile": MIXED, "per_channel": True}
WAYS = {
    "a layer, 99.9 %": {"percentile": 99.9},
    "a layer, 99.99 %": {"percentile": 99.99},
    "a layer, maximum": {"percentile": 100.0},
    "a layer, least squared error": {"percentile": "mse"},
    "a layer, least divergence": {"percentile": "kl"},
    "a layer, kernels by error, others 99.99 %": ONE,
    "the same, equalized": ONE | {"remedies": ("equalize",)},
    "the same, corrected in order": ONE | {"remedies": (ORDER,)},
}

# %%
ALL = {"remedies": (SHARE, SEARCH, REFIT)}
steps = {
    ", shared": {"remedies": (SHARE,)},
    ", shared, searched": {"remedies": (SHARE, SEARCH)},
    ", shared, searched, refitted": ALL,
}
WAYS |= {f"a layer{name}": ONE | step for name, step in steps.items()}

# %%
steps = {"": {}} | steps | {
    ", corrected in order": {"remedies": (ORDER,)},
    ", shared, searched, in order": {"remedies": (SHARE, SEARCH, ORDER)},
    ", equalized, shared": {"remedies": ("equalize", SHARE)},
    ", shared, refitted": {"remedies": (SHARE, REFIT)},
    ", all three, from 99.9 %": ALL | {"percentile": ("mse", 99.9, 99.9)},
    ", all three, from 99 %": ALL | {"percentile": ("mse", 99.0, 99.0)},
    ", all three, from least error": ALL | {"percentile": "mse"},
}
WAYS |= {f"a filter{name}": EACH | step for name, step in steps.items()}

# %%
LOW = (8, 6, 5, 4)
schemes = {
    name: {(b, b, b): Scheme(bits=(b, b, b), **way) for b in LOW}
    for name, way in WAYS.items()
}

# %% tags=["hide-input"]
# An explorer of all ways, at the bits that the reader chooses
network = f"Everything rounded to nearest, nothing trained. SqueezeNet v1.1, {study.images:,} photographs (reference)"
explore.accuracy_by_repair(study, schemes, "7.4", network, height=760).show()

# %%
columns = [f"{b}-{b}-{b}: points under float" for b in LOW]
rows = [
    (name, *map(study.under_float, by_bits.values()))
    for name, by_bits in schemes.items()
]
explore.Table(("a scale for each ...", *columns), rows)

# %% tags=["remove-cell"]
# Quoted in the text
six = {name: by_bits[6, 6, 6] for name, by_bits in schemes.items()}
plain_six = six["a layer, kernels by error, others 99.99 %"]
quote(equalized_6=gap(six["the same, equalized"], plain_six), per_filter_6=gap(six["a filter"], plain_six))
quote(order_6=gap(six["the same, corrected in order"], plain_six))
quote(search_order_6=gap(six["a filter, shared, searched, in order"], six["a filter, shared, searched"]))

# %% [markdown]
# Equalization changes 6-6-6 by {glue:text}`equalized_6`; a scale per filter does more for the same purpose
# ({glue:text}`per_filter_6`). Biases corrected in order change it by {glue:text}`order_6`, and cost nothing. But repairs do not simply
# add up: on top of searched ranges, the same correction changes 6-6-6 by {glue:text}`search_order_6`. The search has judged each range by
# the output of the whole network, biases included. Our guess, not tested: searched ranges clip, and a bias that restores the mean of a
# clipped layer moves all values that were right.
#
# ### Unsigned formats and learned codes
#
# *For a second reading.*
#
# All rows so far have the signed formats of 2017. After a ReLU they waste one bit ([chapter 8](08-quantizers)). The next rows have
# unsigned formats where no value is negative, a scale per filter, and ranges of least squared error:

# %%
FITTING = {"percentile": "mse", "per_channel": True, "signed": False}
STEPS_OF_CODES = {
    "unsigned, a filter": (),
    "unsigned, a filter, shared": (SHARE,),
    "unsigned, a filter, shared, corrected in order": (SHARE, ORDER),
    "unsigned, a filter, shared, refitted": (SHARE, REFIT),
    "unsigned, a filter, shared, learned": (SHARE, LEARNED),
    "unsigned, a filter, shared, blocks reconstructed": (SHARE, BLOCKS),
    "unsigned, a filter, blocks, searched": (SHARE, SEARCH, BLOCKS),
}
unsigned = {
    name: {(b, b, b): Scheme(bits=(b, b, b), remedies=remedies, **FITTING)
           for b in LOW} for name, remedies in STEPS_OF_CODES.items()
}

# %% [markdown]
# The Model Compression Toolkit is a tool for the same purpose {cite:p}`habi2021`. We measured its row outside this book, with the same
# network and photographs, scales that are also powers of two, unsigned activations, and 128 images without labels. We have its totals
# but not its answer to each image, so its intervals cannot be compared image by image with the others.

# %%
tool = reference.load_tool("model-compression-toolkit")
rows = []
for name, by_bits in unsigned.items():
    taken = [study.seconds[s] / 60 for s in by_bits.values() if s in study]
    if taken:
        rows.append((name, *map(study.under_float, by_bits.values()),
                     f"{max(taken):.1f}"))
rows.append((tool.name, *(tool.under_float[b] for b in LOW),
             f"{tool.minutes:.1f}"))
explore.Table(("a scale for each ...", *columns, "minutes at most"), rows,
              note=f"{study.made_with} The last row: {tool.made_with}")

# %% tags=["remove-cell"]
# Quoted in the text
UNSIGNED_WORDS = dict(zip(("plain", "shared", "order", "refit", "learned", "blocks", "searched"), unsigned.values()))
quote(fitting={f"{word}_{b}": study.under_float(by_bits[b, b, b]).percent for word, by_bits in UNSIGNED_WORDS.items() for b in LOW})
blocks_gap = {b: gap(UNSIGNED_WORDS["blocks"][b, b, b], UNSIGNED_WORDS["refit"][b, b, b]) for b in LOW}
quote(searched_gap={b: gap(UNSIGNED_WORDS["searched"][b, b, b], UNSIGNED_WORDS["blocks"][b, b, b]) for b in LOW})
quote(blocks_gap=blocks_gap, tool={b: tool.under_float[b].percent for b in LOW})

# %% [markdown]
# **Which images chose what.** The first 32 photographs set formats. All 128 corrected biases and trained codes. The other
# {glue:text}`photos` are for testing. But we chose these rows, and their numbers of steps, with prototypes that were tested on the same
# {glue:text}`photos` photographs. The results may therefore be slightly too good. The halves below choose among these rows, so they do
# not remove this bias.
#
# Refitted, the network is {glue:text}`fitting_refit_8` / {glue:text}`fitting_refit_6` / {glue:text}`fitting_refit_5` /
# {glue:text}`fitting_refit_4` points under float at 8, 6, 5 and 4 bits; the toolkit is {glue:text}`tool_8` / {glue:text}`tool_6` /
# {glue:text}`tool_5` / {glue:text}`tool_4` points under float. Against refitting, block reconstruction adds {glue:text}`blocks_gap_4` at
# 4 bits and {glue:text}`blocks_gap_6` at 6 bits. A range search before block reconstruction adds another {glue:text}`searched_gap_8`,
# {glue:text}`searched_gap_6`, {glue:text}`searched_gap_5` and {glue:text}`searched_gap_4` at 8, 6, 5 and 4 bits.
#
# ### A network with depthwise layers
#
# *For a second reading.*
#
# A filter of a depthwise layer sees one channel, with 9 weights for a 3x3 window: few other weights can compensate an error in one. The
# table is for the published MobileNet v1 of width 0.25 and 128 pixels {cite:p}`howard2017`, with the same formats and photographs:

# %%
mobile = reference.load_study("mobilenet")
rows = []
for name, by_bits in unsigned.items():
    asked = [by_bits[b, b, b] for b in (8, 6)]
    if asked[0] in mobile:
        rows.append((name, *map(mobile.under_float, asked)))
heads = "8-8-8: points under float", "6-6-6: points under float"
explore.Table(("a scale for each ...", *heads), rows, note=mobile.made_with)

# %% tags=["remove-cell"]
# Quoted in the text
quote(mobile_float=mobile.float.share)
mobile_ways = {f"{word}_{b}": UNSIGNED_WORDS[word][b, b, b] for word in ("refit", "learned", "order") for b in (8, 6)}
mobile_ways["searched_6"] = Scheme(bits=(6, 6, 6), remedies=(SHARE, SEARCH, LEARNED), **FITTING)
quote(mobile={name: mobile.under_float(scheme).percent for name, scheme in mobile_ways.items()})

# %% [markdown]
# Its float accuracy is {glue:text}`mobile_float:.1%`. Refitted, it is {glue:text}`mobile_refit_8` points under float at 8 bits and
# {glue:text}`mobile_refit_6` at 6 bits; with learned rounding {glue:text}`mobile_learned_6` at 6 bits. With biases corrected in order it is
# {glue:text}`mobile_order_8` and {glue:text}`mobile_order_6`. Here searched ranges do harm: with a search before learned rounding, the
# network is {glue:text}`mobile_searched_6` points under float at 6 bits. The search judges ranges by the logits of a network whose kernels
# are not yet repaired, and these logits carry almost no information here.
#
# ### Chosen on one half, measured on the other
#
# The best of many rows is partly luck. We therefore choose on one half of the photographs and measure on the other, and then swap the
# halves: each photograph is classified with the scheme that is best on the half that does not contain it. The photographs that set
# formats are in neither half.

# %%
HALVES = slice(0, None, 2), slice(1, None, 2)
chosen, answered = {}, {}
for bits in ((b, b, b) for b in LOW):
    known = {n: study[by_bits[bits]].top1
             for n, by_bits in (schemes | unsigned).items()
             if by_bits[bits] in study}
    answered[bits], chosen[bits] = np.zeros(study.images, bool), []
    for ours, theirs in (HALVES, HALVES[::-1]):
        best = max(known, key=lambda name: int(known[name][theirs].sum()))
        answered[bits][ours] = known[best][ours]
        chosen[bits].append(best)

# %%
low = {bits: Share.of(right) for bits, right in answered.items()}
lost = {bits: study.float.share - share for bits, share in low.items()}
rows = [
    (bits, "; ".join(dict.fromkeys(chosen[bits])), low[bits], lost[bits])
    for bits in low
]
columns = "bits", "chosen on the other half", "top-1", "points under float"
explore.Table(columns, rows)

# %% tags=["remove-cell"]
# Quoted in the text
lost, left = ({b: found[b, b, b] for b in LOW} for found in (lost, low))
quote(lost={b: x.percent for b, x in lost.items()}, left=left)
for b, goal in {8: 0.003, 6: 0.02, 5: 0.06, 4: 0.15}.items():
    within = "met, but not for sure" if lost[b].mean <= goal else "not met"
    quote(goal={b: "met for sure" if lost[b].high <= goal else within})
all_8, train_8 = papers.table("vieito2017", 9)[1]["accuracy"], papers.table("vieito2017", 10)[-1]["dynamic_accuracy"]
quote(vieito={888: f"{all_8} %", "train": f"{train_8} %", "float": f"{papers.table('vieito2017', 5)[0]['accuracy']} %"})

# %% [markdown]
# 8-8-8 is {glue:text}`lost_8` points under float (our goal was at most 0.3: {glue:text}`goal_8`), 6-6-6 {glue:text}`lost_6` (at most 2:
# {glue:text}`goal_6`), 5-5-5 {glue:text}`lost_5` (at most 6: {glue:text}`goal_5`), and 4-4-4 {glue:text}`lost_4` (at most 15:
# {glue:text}`goal_4`). The repairs take minutes on a CPU and need no labels.
#
# ## What the thesis found
#
# The first thesis {cite:p}`vieito2017` tries no repair. At 8-8-8 without training it has {glue:text}`vieito_888`, and it concludes
# (5.4.3) that fewer than 16 bits need training; with 100 epochs of 1,000 images per level it reaches {glue:text}`vieito_train`. The
# second {cite:p}`backstrom2018` chooses formats by SQNR and trains nothing at 8 bits.
#
# **Why they differ.** The first thesis rounds down everywhere, and its repair is training: among other things, the network learns
# biases that suit its shifted sums. The constants of this chapter were available to the thesis without one epoch, and
# rounding kernels offline would have made them unnecessary. [Chapter 10](10-few-bits) shows what training still adds at 4 bits and
# fewer. The two results are not compared here, because the networks differ.
#
# ## Two questions

# %% tags=["hide-input"]
# Two weights with the same input
way = {0: "both down, to nearest", 1: "one up, one down", 2: "both up"}
error = {up: (up - 0.8) ** 2 for up in way}
best, *others = sorted(error, key=error.get)
questions.ask(
    "A filter has two weights of 0.4, and a step of 1. Both weights always get the input 1. Which rounding has the least error of the sum?",
    (way[best], f"The sum should be 0.8 and is {best}. The errors of the two weights, -0.4 and +0.6, nearly cancel."),
    *((way[up], f"The sum is {up} instead of 0.8: both errors have the same sign.") for up in others),
)

# %% tags=["hide-input"]
# A price of zero
questions.ask(
    "Rounding is learned with the price 0 for weights between two codes. The loss in training is small. Why are the codes not good?",
    ("Weights end between two codes and have to be rounded in the end.", "No device can store the kernels of this loss. Training ignores the final rounding."),
    ("Without a price, weights cannot move.", "They move freely. Nothing drives them to a code."),
    ("The price makes the error of the sums small.", "The price does not depend on the sums. It drives weights to codes."),
    ("A price of 0 means rounding to nearest.", "Training starts at the float weights and moves them. Only the final step rounds to nearest."),
)

# %% [markdown]
# ## Exercises
#
# **1.** All inputs of a network are the same constant, at every place and in every image. Kernels are rounded down, and nothing is padded.
# Which of the two bias corrections restores the float outputs? What if inputs are padded with zeros?
#
# ```{admonition} Solution
# :class: dropdown
# Both. All windows have the same sum, so the shift is one constant, and the bias undoes it exactly. The next layer then gets the same
# inputs as in float, and the two corrections agree there, too. With zeros at the edges, windows there have smaller sums. No constant
# fits both kinds of windows, so the next layer gets other inputs than in float, and from there on the two corrections differ.
# ```
#
# **2.** Kernels are refitted, and then the bias is corrected in order. The correction compares with the network that has the refitted
# kernels in float. What errors can it still find?
#
# ```{admonition} Solution
# :class: dropdown
# Only the errors of the rounded inputs. The kernels are already on their grid, so the correction sees no error in them. To correct the
# mean error of refitted kernels, one would have to keep the float network.
# ```
#
# **3.** With mid-step reconstruction no weight is zero any more. Which other method of this book would this break?
#
# ```{admonition} Solution
# :class: dropdown
# Any method that skips zeros. A pruned kernel of zeros would become half a step everywhere.
# ```
#
# **4.** Equalization divides channel $i$ by $s_i$. Why does this fail after a sigmoid?
#
# ```{admonition} Solution
# :class: dropdown
# $\mathrm{relu}(x / s) = \mathrm{relu}(x) / s$ for $s > 0$, so the next kernel can multiply by $s$ again. A sigmoid of $x / s$ is not a
# multiple of the sigmoid of $x$.
# ```
#
# **5.** In the filter of [Up or down](up-or-down), inputs are now (1, 0, 0), (0, 1, 0) and (0, 0, 1). Which way is best? When, in
# general, is nearest best?
#
# ```{admonition} Solution
# :class: dropdown
# All three down, which is nearest. No two inputs are nonzero at once, so the mean of each product $x_i x_j$ is 0, and only the first
# part of the error remains. Nearest is best where inputs do not occur together.
# ```
#
# **Lab.** Build four of these repairs on two small layers, in `notebooks/labs/07-repairs.py`
# ([all labs](../book/labs)).
#
# ## Run it on yours
#
# ```python
# from fewbits.experiment import Scheme, run_schemes
#
# repairs = [[], ["correct bias in order"], ["share formats", "search MSBs", "correct bias in order"]]
# schemes = [Scheme(bits=(b, b, b), percentile="mse", remedies=r) for b in (8, 6, 5) for r in repairs]
# study = run_schemes(model, schemes, unlabelled_images, (images, labels))
# for scheme in schemes:
#     print(scheme.name, study[scheme], study.under_float(scheme).points)
# ```
#
# ```shell
# fewbits schemes network.keras schemes.toml --data photos --output answers.json
# ```

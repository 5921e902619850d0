# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5 Dynamic fixed point and SQNR
#
# Can we foresee what few bits will cost, layer by layer, without reading a single label?
#
# {cite:p}`backstrom2018` gives every layer a scale of its own that never clips, finds that 8 bits are enough nearly everywhere, and
# quotes a rule {cite:p}`lin2016` that adds up errors through a whole network. We test both: the claims on two networks, the rule on
# every layer.
#
# ```{admonition} Predict first
# :class: tip
# A small AlexNet has five convolutions and three dense layers. Give **3 bits** to the weights of one kind only. Which kind takes it
# better? And is that because of the kind of layer?
#
# The rule predicts, from errors measured one by one, how clean the last layer's output will be. Everything goes to **8 bits**. By how
# many decibels is the rule off if you round to nearest? If you round *down*? The answers are in
# [Each kind alone](each-kind-alone) and [Where the rule fails](where-the-rule-fails).
# ```

# %% tags=["parameters", "hide-input"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
from math import log10

import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML, Markdown, display
from scipy.stats import spearmanr
from scipy.stats import t as student

from fewbits.zoo.trained import find_weights
from fewbits import FixedPoint, data, explore, quantize, quantize_model, zoo
from fewbits.quantization import calibration
from fewbits.book import papers, reference
from fewbits.explore import plots
from fewbits.io import weights
from fewbits.backend import ops
from fewbits.book import quote, record
from fewbits.quantization.dynamic_fixed_point import dynamic_formats, fractional_length
from fewbits.experiment import Scheme
from fewbits.quantization.layers import FLOAT, Formats
from fewbits.quantization.propagation import Propagation
from fewbits.quantization.sqnr import measured_sqnr, predicted_sqnr, quantization_error
from fewbits.statistics import wilson_interval

SMOKE = profile == "smoke"
BITS = (8, 4, 3) if SMOKE else (16, 8, 6, 5, 4, 3, 2)
N = 64 if SMOKE else 320

# %% [markdown]
# ## Two trained networks
#
# The small SqueezeNet of chapter 3, and a small AlexNet: five convolutions, then three dense layers. Both come with the book,
# trained on the digits. Formats are set from 64 training images.

# %%
digits = data.load("digits", validation=0.25)
few = digits.scaled(digits.train)[:64]


def part(split):
    return digits.scaled(split)[:N], split.labels[:N]


validation, test = part(digits.validation), part(digits.test)

# %%
ZOO = {
    "SqueezeNet": ("squeezenet_digits", "squeezenet_digits"),
    "AlexNet": ("alexnet_small", "alexnet_digits"),
}
models, networks = {}, {}
for name, (network, trained) in ZOO.items():
    model = models[name] = zoo.build(network, digits.image_shape, 10)
    weights.load_weights(model, find_weights(trained))
    networks[name] = quantize_model(
        model, levels=zoo.levels(model), rounding="nearest"
    )

# %%
def logits(name, images):
    batches = [images[i : i + 64] for i in range(0, len(images), 64)]
    return np.concatenate(
        [networks[name].predict_on_batch(batch) for batch in batches]
    )


def read(name, images, labels):
    """Return how many images are read: a number from 0 to N."""
    return int((logits(name, images).argmax(-1) == labels).sum())

# %%
in_float = {name: read(name, *test) for name in networks}
for name, hits in in_float.items():
    print(f"{name}: {hits} of {N} test digits in float")

# %% tags=["remove-cell"]
for name, hits in in_float.items():
    record(within=0.02, **{f"float_{name}": hits / N})

# %% [markdown]
# ## One length for each kind of values
#
# A number of Equation 9 is a sign $s$, an integer of $bw - 1$ bits, and a shift by the *fractional length* $fl$:
# $(-1)^s \cdot 2^{-fl} \sum_i B_i 2^i$. That is our format with an MSB of $bw - 1 - fl$. Equation 10 picks the largest $fl$, the finest
# step, at which the largest code still lies above every magnitude:

# %%
def length_by_hand(values, bw):
    largest, fl = np.abs(values).max(), 60
    while 2.0**-fl * (2 ** (bw - 1) - 1) <= largest:
        fl -= 1
    return fl


observed = {n: dict(calibration.observe(models[n], few)) for n in models}
every = [x for n in models for v in observed[n].values()
         for x in (v.kernel, v.input, v.output)]
differing = sum(length_by_hand(x, b) != fractional_length(x, b)
                for x in every for b in BITS)
print(differing, "of", len(every) * len(BITS), "lengths differ")

# %% [markdown]
# Chapter 3's MSB of the maximum lets the amplitude $2^{\mathrm{MSB}}$ reach the largest value. But the amplitude has no code: a value
# just below it is clipped by up to a step. Equation 10 never clips. What does that take?

# %%
higher = {}
for bits in (8, 4, 3, 2):
    higher[bits] = 0
    for values in every:
        limits = calibration.percentile_limits(values, 100)
        msb = bits - 1 - fractional_length(values, bits)
        higher[bits] += msb > calibration.msb_from_limits(*limits)
    print(f"{bits} bits: {higher[bits]:2} of {len(every)} MSBs are higher")

# %% tags=["remove-cell"]
record(lengths_differing=differing, formats=len(every), higher_8=higher[8], higher_3=higher[3], higher_2=higher[2])

# %% [markdown]
# At 8 bits it costs {glue:text}`higher_8` of {glue:text}`formats` formats a step twice as wide, at 3 bits {glue:text}`higher_3`, at 2
# bits all of them: of the codes -2, -1, 0 and 1 only the last is on the positive side, so the step itself must exceed the largest value.
#
# (each-kind-alone)=
# ## Each kind alone
#
# Tables 3 and 5 quantize convolution weights, dense weights and activations separately:

# %%
tables = {
    name: {b: dynamic_formats(
        model, few, convolutions=b, dense=b, activations=b) for b in BITS}
    for name, model in models.items()
}

# %%
def alone(table, kind):
    """Keep the formats of one kind of values, the others in float."""
    dense = {name for name in table if name.startswith("fc")}
    if kind == "activations":
        return {n: fmt._replace(kernel=None) for n, fmt in table.items()}
    return {
        n: Formats(fmt.kernel) if (n in dense) == (kind == "dense") else FLOAT
        for n, fmt in table.items()
    }

# %%
KINDS = {
    "SqueezeNet": ("convolutions", "activations"),
    "AlexNet": ("convolutions", "dense", "activations"),
}
read_alone = {}
for name, kinds in KINDS.items():
    for kind in kinds:
        for bits in BITS:
            networks[name].set_formats(alone(tables[name][bits], kind))
            read_alone[name, kind, bits] = read(name, *test)

# %% tags=["hide-input"]
def line(name, places, hits, n, colour, dash="solid"):
    """Return a line of shares with their intervals, and its rows of a table."""
    y = np.array(hits) / n
    low, high = np.transpose([wilson_interval(h, n) for h in hits])
    error = {"type": "data", "symmetric": False, "array": high - y, "arrayminus": y - low, "thickness": 1}
    trace = go.Scatter(x=places, y=y, name=name, line={"color": colour, "dash": dash}, error_y=error, mode="lines+markers")
    return trace, [(name, *row) for row in zip(places, y, low, high)]


COLOUR = {"convolutions": plots.BLUE, "dense": plots.ORANGE, "activations": plots.GREEN}
drawn = [
    line(f"{name}, {kind}", [str(b) for b in BITS], [read_alone[name, kind, b] for b in BITS], N, COLOUR[kind], dash)
    for (name, kinds), dash in zip(KINDS.items(), ("dot", "solid"))
    for kind in kinds
]
plots.show(
    plots.figure(
        *(trace for trace, _ in drawn),
        x="bits",
        y="top-1 accuracy",
        xaxis={"type": "category"},
        yaxis={"tickformat": ".0%", "range": [0, 1.02]},
        height=440,
    ),
    label="5.1",
    caption=f"One kind of values in dynamic fixed point, rounded to nearest, the rest in float. {N} test digits, 95 % intervals (quick).",
    alt="Accuracy over bits. All kinds hold until 5 bits; at 3 bits the dense weights still read nearly everything, at 2 bits nothing does.",
    table=plots.Table(("what", "bits", "accuracy", "95 % low", "95 % high"), [row for _, rows in drawn for row in rows]),
)

# %%
def fewest(name, kind):
    """Return the fewest bits that, like all more, lose at most a point."""
    lost = [in_float[name] - read_alone[name, kind, b] for b in BITS]
    good = [n <= N / 100 for n in lost]
    held = good.index(False) if False in good else len(good)
    return BITS[held - 1] if held else "more than we tried"


few_bits = {kind: fewest("AlexNet", kind) for kind in KINDS["AlexNet"]}
at_3 = {k: wilson_interval(read_alone["AlexNet", k, 3], N) for k in few_bits}
apart = at_3["dense"][0] > at_3["convolutions"][1]
print(few_bits, "- intervals at 3 bits apart:", apart)

# %% tags=["remove-cell"]
def share(hits, n=N):
    low, high = wilson_interval(hits, n)
    return f"{hits / n:.1%} ({low:.1%} to {high:.1%})"


for kind in few_bits:
    record(within=0.06 if SMOKE else 0.03, **{f"at_3_{kind}": read_alone["AlexNet", kind, 3] / N})
    quote(**{f"fewest_{kind}": few_bits[kind], f"share_3_{kind}": share(read_alone["AlexNet", kind, 3])})
    if kind != "dense":
        quote(**{f"fewest_squeezenet_{kind}": fewest("SqueezeNet", kind)})
quote(verdict="confirmed" if apart else "not decided by these digits")

# %% [markdown]
# To lose at most a point, AlexNet's dense weights need {glue:text}`fewest_dense` bits, its convolutions
# {glue:text}`fewest_convolutions`, its activations {glue:text}`fewest_activations`. At 3 bits, dense weights leave
# {glue:text}`share_3_dense`, convolutions {glue:text}`share_3_convolutions`. That dense layers take fewer bits is
# **{glue:text}`verdict`**.
#
# Is it because they are dense? If so, it should show when every layer gets an *equal* error: noise as strong as its own kernel (0 dB),
# in one layer at a time.

# %%
def with_noise(layer, seed, decibels=0):
    kernel = ops.convert_to_numpy(layer.kernel)
    noise = np.random.default_rng(seed).uniform(-1, 1, kernel.shape)
    power = np.sum(kernel**2) / 10 ** (decibels / 10)
    noise *= np.sqrt(power / np.sum(noise**2))
    layer.kernel.assign(kernel + noise)
    hits = read("AlexNet", *test)
    layer.kernel.assign(kernel)
    return hits

# %%
alexnet, draws = networks["AlexNet"], range(1 if SMOKE else 3)
alexnet.set_formats(FLOAT)
noisy = {layer.name: [with_noise(layer, seed) for seed in draws]
         for layer in alexnet.quantized_layers}

# %% tags=["hide-input"]
of_3_bits = {n: quantization_error(v.kernel, tables["AlexNet"][3][n].kernel, "nearest").sqnr for n, v in observed["AlexNet"].items()}
rows = [(n, f"{v.kernel.size:,}", f"{of_3_bits[n]:.1f} dB", f"{np.mean(noisy[n]) / N:.1%}") for n, v in observed["AlexNet"].items()]
HTML(plots.Table(("layer", "weights", "SQNR of its kernel at 3 bits", f"read with noise of 0 dB ({len(draws)} draws, quick)"), rows).html())

# %% tags=["remove-cell"]
def mean_of(values, prefix):
    return float(np.mean([v for n, v in values.items() if n.startswith(prefix)]))


record(within=0.5, kernels_of_convolutions=mean_of(of_3_bits, "conv"), kernels_of_dense=mean_of(of_3_bits, "fc"))
for name in ("conv1", "conv2", "conv5", "fc6"):
    record(within=0.3 if SMOKE else 0.1, **{f"noisy_{name}": float(np.mean(noisy[name]) / N)})

# %% [markdown]
# The dense kernels are hardly rounded better: on average {glue:text}`kernels_of_dense:.1f` dB, the convolutions
# {glue:text}`kernels_of_convolutions:.1f`. With equal noise conv1 leaves {glue:text}`noisy_conv1:.0%` and conv2
# {glue:text}`noisy_conv2:.0%`; but conv5, a convolution too, leaves {glue:text}`noisy_conv5:.0%`, and fc6 {glue:text}`noisy_fc6:.0%`.
# So it need not be the kind. Here the *first* layers are the tender ones, and those happen to be convolutions.
#
# ## Layer after layer
#
# Tables 4 and 6 quantize everything, up to and including a layer. `set_level` does that; a fire module is one level.

# %%
WIDTHS = (8, 4)
steps = {}
for name, network in networks.items():
    for bits in WIDTHS:
        network.set_formats(tables[name][bits])
        steps[name, bits] = []
        for level in range(network.levels + 1):
            network.set_level(level)
            steps[name, bits].append(read(name, *test))

# %% tags=["hide-input"]
LEVELS = {name: ["none", *(level[0].split("_")[0] for level in zoo.levels(model))] for name, model in models.items()}
drawn = [
    line(f"{name}, {bits} bits", list(range(len(hits))), hits, N, colour, "solid" if bits == 8 else "dot")
    for ((name, bits), hits), colour in zip(steps.items(), np.repeat((plots.BLUE, plots.ORANGE), 2))
]
plots.show(
    plots.figure(*(trace for trace, _ in drawn), x="levels quantized, from the input", y="top-1 accuracy", yaxis={"tickformat": ".0%"}),
    label="5.2",
    caption=f"Weights and activations quantized level after level. {N} test digits, 95 % intervals (quick).",
    alt="Accuracy over quantized levels: flat at 8 bits; at 4 bits it falls, mostly with the first levels.",
    table=plots.Table(("what", "levels", "accuracy", "95 % low", "95 % high"), [row for _, rows in drawn for row in rows]),
)

# %% tags=["remove-cell"]
worst_8 = max(max(in_float[n] - h for h in steps[n, 8]) for n in networks)
record(within=0.03, worst_8=100 * worst_8 / N, squeezenet_4=steps["SqueezeNet", 4][-1] / N, alexnet_4=steps["AlexNet", 4][-1] / N)

# %% [markdown]
# At 8 bits no level costs anything that these digits show: at most {glue:text}`worst_8:.1f` points. At 4 bits SqueezeNet ends with
# {glue:text}`squeezenet_4:.1%`, AlexNet with {glue:text}`alexnet_4:.1%`.
#
# ## Errors in decibels
#
# Accuracy needs labels, and at 8 bits it says nothing. The *signal-to-quantization-noise ratio* does: SQNR $\gamma$ is the power
# of the values over that of their errors, $10 \log_{10} \gamma$ in dB. A bit more halves the step, quarters the power:

# %%
kernel = observed["AlexNet"]["fc7"].kernel
decibels = {}
for bits in (4, 6, 8, 10):
    msb = bits - 1 - fractional_length(kernel, bits)
    fmt = FixedPoint(msb, bits)
    decibels[bits] = quantization_error(kernel, fmt, "nearest").sqnr
    print(f"{bits:2} bits: {decibels[bits]:.1f} dB")
per_bit = (decibels[10] - decibels[4]) / 6
print(f"{per_bit:.2f} dB a bit")

# %% tags=["remove-cell"]
record(within=0.2, per_bit=per_bit)

# %% [markdown]
# In a product of noisy values, $(w + n_w)(a + n_a) \approx wa + w n_a + a n_w$, noise over signal adds up, and so it goes
# through a network (Equation 8):
#
# $$\frac{1}{\gamma_{\text{output}}} = \frac{1}{\gamma_{a(0)}} + \frac{1}{\gamma_{w(1)}} + \frac{1}{\gamma_{a(1)}} + \dots +
# \frac{1}{\gamma_{w(L)}} + \frac{1}{\gamma_{a(L)}}$$
#
# By hand for one layer with a 1x1 kernel, a plain matrix product, at 6 bits:

# %%
squeeze, product = "fire2_squeeze1x1", {}
values = observed["SqueezeNet"][squeeze]
fmt = dynamic_formats(
    models["SqueezeNet"], few, convolutions=6, activations=6)[squeeze]
x, w = values.input, values.kernel[0, 0]
for rounding in ("nearest", "floor"):
    xq = quantize(x, fmt.input, rounding)
    wq = quantize(w, fmt.kernel, rounding)
    parts = measured_sqnr(w, wq), measured_sqnr(x, xq)
    rule = -10 * log10(sum(10 ** (-p / 10) for p in parts))
    assert np.isclose(rule, predicted_sqnr(*parts))
    product[rounding] = measured_sqnr(x @ w, xq @ wq), rule
    print(rounding, "{:.1f} dB, rule {:.1f}".format(*product[rounding]))

# %% tags=["remove-cell"]
for rounding, (measured, rule) in product.items():
    record(within=1.0, **{f"over_{rounding}": rule - measured})

# %% [markdown]
# To nearest the rule promises {glue:text}`over_nearest:.1f` dB too much, rounded down {glue:text}`over_floor:.1f`. That is one layer.
#
# ## All layers
#
# `Propagation` compares what each layer hands on, behind its output quantizer and its activation, with the float network. That is the
# $a(L)$ of Equation 8. Beside it stands what the rule says, from parts each measured *alone*. Where the branches of a fire module are
# joined, nothing is multiplied: each branch's noise counts by its share of the power. The error has two parts: its mean in each channel
# (*bias*), and what is left (*variance*).

# %%
followed = {name: Propagation(network, validation[0][:64])
            for name, network in networks.items()}
networks["AlexNet"].set_formats(tables["AlexNet"][8])
for name, error in followed["AlexNet"].errors().items():
    print(f"{name}: {error.sqnr:.1f} dB, predicted {error.predicted:.1f}")

# %% tags=["hide-input"]
for number, name in enumerate(networks):
    networks[name].set_level(networks[name].levels)
    turned = {b: tables[name][b] for b in sorted(BITS) if 2 < b < 16}
    explore.propagated_sqnr(followed[name], turned, f"5.{3 + number}").show()

# %% [markdown]
# Figure 5.3 is SqueezeNet, figure 5.4 AlexNet. Turn *rounding* to floor.
#
# (where-the-rule-fails)=
# ## Where the rule fails

# %%
off, shares = {}, {}
for name, network in networks.items():
    for bits in (8, 4):
        network.set_formats(tables[name][bits])
        for rounding in ("nearest", "floor"):
            network.set_rounding(rounding)
            errors = list(followed[name].errors().values())
            key = name, bits, rounding
            off[key] = [e.sqnr - e.predicted for e in errors]
            shares[key] = [e.bias / (e.bias + e.variance) for e in errors]
    network.set_rounding("nearest")

# %% tags=["hide-input"]
rows = [
    (*key, f"{np.mean(gaps):+.1f} dB", f"{gaps[-1]:+.1f} dB", f"{np.mean(shares[key]):.0%}", f"{shares[key][-1]:.0%}")
    for key, gaps in off.items()
]
HTML(plots.Table(("network", "bits", "rounding", "measured minus rule, mean of the layers", "last layer", "bias part of the error, mean", "last layer"), rows).html())

# %% tags=["remove-cell"]
for (name, bits, rounding), gaps in off.items():
    if bits == 8:
        record(within=2.0, **{f"off_{name}_{rounding}": gaps[-1]})
        record(within=0.2, **{f"bias_{name}_{rounding}": float(np.mean(shares[name, bits, rounding]))})

# %% [markdown]
# Everything at 8 bits, last layer: to nearest, SqueezeNet is {glue:text}`off_SqueezeNet_nearest:+.1f` dB off the rule and AlexNet
# {glue:text}`off_AlexNet_nearest:+.1f`; rounded down {glue:text}`off_SqueezeNet_floor:+.1f` and {glue:text}`off_AlexNet_floor:+.1f`.
# Six decibels are a bit. At 4 bits floor even beats the rule, but only because nothing is left: a network that hands on zeros has 0 dB, and
# the rule goes on falling.
#
# Why? A sum of $n$ products, weights rounded:

# %%
rng, fmt = np.random.default_rng(0), FixedPoint(0, 6)
sums = {}
for n in (1, 10, 100, 1000):
    w, x = rng.uniform(-1, 1, (n, 50)), rng.uniform(0, 1, (500, n))
    for rounding in ("nearest", "floor"):
        wq = quantize(w, fmt, rounding)
        rule = measured_sqnr(w, wq)
        sums[n, rounding] = measured_sqnr(x @ w, x @ wq) - rule
    print(f"{n:4} products: nearest {sums[n, 'nearest']:+.1f} dB,",
          f"floor {sums[n, 'floor']:+.1f} dB off the rule")

# %% tags=["remove-cell"]
record(within=1.0, sums_nearest=sums[1000, "nearest"], sums_floor=sums[1000, "floor"])

# %% [markdown]
# Errors to nearest have either sign and cancel: their power grows like $n$, as the signal's does. Errors of floor have *one* sign and
# add up: their power grows like $n^2$. The rule knows powers only and cannot see it: with a thousand products it is off by
# {glue:text}`sums_floor:.0f` dB.
#
# Is this error at least a constant, which a bias could take away? It is about $-q/2$ times the *sum of the inputs* in the window. In
# our layer of before, kernel alone, correlate the two over all places:

# %%
x = values.input.reshape(-1, values.input.shape[-1])
w, fmt = values.kernel[0, 0], tables["SqueezeNet"][4][squeeze].kernel
follows = {}
for rounding in ("nearest", "floor"):
    error = x @ quantize(w, fmt, rounding) - x @ w
    each = [np.corrcoef(e, x.sum(1))[0, 1] for e in error.T]
    follows[rounding] = float(np.mean(each))
    print(f"{rounding}: correlation {follows[rounding]:+.2f} on average")

# %% tags=["remove-cell"]
record(within=0.1, follows_floor=follows["floor"], follows_nearest=follows["nearest"])

# %% [markdown]
# Rounded down: {glue:text}`follows_floor:+.2f`; to nearest: {glue:text}`follows_nearest:+.2f`. The shift moves with the picture. So
# only a part of floor's error is bias, {glue:text}`bias_SqueezeNet_floor:.0%` on average over SqueezeNet's layers, and what
# figure 5.3 shows as variance is no noise either. [Chapter 4](04-quantized-conv2d) saw what that does to the accuracy.
#
# Two smaller failures. Rounded to nearest, both networks *beat* the rule, AlexNet by far: the rule lets signal and noise through a layer alike,
# and a trained layer need not. By how much does it amplify its signal more than white noise?

# %%
gain = {}
for name in ("fc6", "fc7", "fc8"):
    a, w = observed["AlexNet"][name].input, observed["AlexNet"][name].kernel
    of_signal = np.sum((a @ w) ** 2) / np.sum(a**2)
    of_noise = np.sum(w**2) / len(w)
    gain[name] = 10 * log10(of_signal / of_noise)
    print(f"{name}: {gain[name]:+.1f} dB")

# %% tags=["remove-cell"]
record(within=1.5, **{f"gain_{name}": value for name, value in gain.items()})

# %% [markdown]
# The last two layers lift the signal {glue:text}`gain_fc7:.0f` and {glue:text}`gain_fc8:.0f` dB above it. That is a part of the answer only:
# most of AlexNet's lead over the rule is there behind conv5 already (figure 5.4). And **clipping** is an error
# with a sign, too: it always points to zero. MSBs of the 95th percentile clip, those of the maximum hardly do:

# %%
clipped = {}
for name, network in networks.items():
    for p in (95, 100):
        network.set_formats(
            calibration.formats_for(models[name], few, (8, 8, 8), p)
        )
        last = list(followed[name].errors().values())[-1]
        clipped[name, p] = last.sqnr - last.predicted
        print(f"{name}, {p} %: {last.sqnr:.1f} dB,",
              f"{clipped[name, p]:+.1f} dB off the rule")

# %% tags=["remove-cell"]
clip = {name: clipped[name, 95] - clipped[name, 100] for name in networks}
record(within=2.0, **{f"clip_{name}": gap for name, gap in clip.items()})

# %% [markdown]
# Clipping moves SqueezeNet by {glue:text}`clip_SqueezeNet:+.1f` dB against the rule and AlexNet by {glue:text}`clip_AlexNet:+.1f`: it costs more
# than the rule says. It does not take the networks further from the rule, for without clipping both are better than it.
#
# ## Which layer is tender?
#
# Quantize one layer at a time to 3 bits and count the validation digits it loses. Then forget the labels. Do two cheaper measures put
# the layers in the same order? The SQNR of the layer's own parts, joined by the rule, needs no run of the quantized network. The SQNR of
# the logits needs one.

# %%
def sensitivity(name, kinds, bits=3):
    table, network, lost_by = tables[name][bits], networks[name], {}
    network.set_formats(FLOAT)
    exact = logits(name, validation[0])
    for layer, fmt in table.items():
        fmt = Formats(**{kind: getattr(fmt, kind) for kind in kinds})
        own = [quantization_error(getattr(observed[name][layer], kind),
                       getattr(fmt, kind), "nearest").sqnr for kind in kinds]
        network.set_formats(dict.fromkeys(table, FLOAT) | {layer: fmt})
        after = logits(name, validation[0])
        right = [(y.argmax(-1) == validation[1]).sum() for y in (exact, after)]
        lost_by[layer] = (int(right[0] - right[1]), predicted_sqnr(*own),
                          measured_sqnr(exact, after))
    return lost_by

# %%
PARTS = {"kernel": ("kernel",), "all three": ("kernel", "input", "output")}
tender = {(name, what): sensitivity(name, kinds)
          for name in networks for what, kinds in PARTS.items()}
rank = {}
for key, lost_by in tender.items():
    lost, own, after = np.transpose(list(lost_by.values()))
    rank[key] = [spearmanr(-lost, sqnr).statistic for sqnr in (own, after)]
    print(*key, "- own parts {:+.2f}, logits {:+.2f}".format(*rank[key]))

# %% tags=["hide-input"]
traces, rows = [], []
for (name, what), lost_by in tender.items():
    for layer, (lost, own, after) in lost_by.items():
        rows.append((name, what, layer, lost, f"{own:.1f}", f"{after:.1f}"))
    if what == "all three":
        lost, own, after = np.transpose(list(lost_by.values()))
        for x, of, colour in ((own, "own parts", plots.GREY), (after, "logits", plots.BLUE)):
            symbol = "circle" if name == "SqueezeNet" else "x"
            style = {"mode": "markers", "marker": {"color": colour, "symbol": symbol, "size": 10}}
            traces.append(go.Scatter(x=x, y=lost / N, name=f"{name}, {of}", hovertext=list(lost_by), **style))
plots.show(
    plots.figure(*traces, x="SQNR in dB", y="validation digits lost", yaxis={"tickformat": ".0%"}, height=440),
    label="5.5",
    caption=f"One layer at a time with kernel, input and output of 3 bits: what it costs, over two SQNRs. {N} validation digits (quick).",
    alt="Points, one a layer. Over the SQNR of the logits they lie on one falling curve; over that of the layer's own parts they are scattered.",
    table=plots.Table(("network", "quantized", "layer", "digits lost", "SQNR of own parts in dB", "of the logits"), rows),
)

# %% tags=["hide-input"]
def by_chance(n):
    """Return what Spearman's correlation of n pairs exceeds by chance in one case of twenty, on either side."""
    t = student.ppf(0.975, n - 2)
    return t / np.sqrt(n - 2 + t * t)


rows = []
for (name, what), (own, after) in rank.items():
    lost = [row[0] for row in tender[name, what].values()]
    ties = len(lost) - len(set(lost))
    rows.append((name, what, f"{own:+.2f}", f"{after:+.2f}", f"±{by_chance(len(lost)):.2f}", f"{min(lost)} to {max(lost)}", ties))
HTML(plots.Table(("network", "3 bits for", "rank correlation: own parts", "logits", "by chance, 1 in 20", "digits lost by a layer", "ties"), rows).html())

# %% tags=["remove-cell"]
for (name, what), (own, after) in rank.items():
    word = f"{name}_{what.split()[0]}"
    quote(**{f"own_{word}": float(own)})
    record(within=0.9 if SMOKE else 0.3, **{f"logits_{word}": float(after)})
quote(own_beyond=int(sum(own > by_chance(len(tender[key])) for key, (own, _) in rank.items())), ranked=len(rank))
quote(logits_beyond=int(sum(after > by_chance(len(tender[key])) for key, (_, after) in rank.items())))
quote(alexnet_most=max(row[0] for row in tender["AlexNet", "kernel"].values()))

# %% [markdown]
# Spearman's rank correlation is +1 where two orders agree. The logits rank well: {glue:text}`logits_SqueezeNet_all:.2f` in SqueezeNet
# and {glue:text}`logits_AlexNet_all:.2f` in AlexNet with everything at 3 bits; beyond chance in {glue:text}`logits_beyond` of
# {glue:text}`ranked` cases. The layer's own parts do so in {glue:text}`own_beyond`: here it counts more how much the
# network cares for a layer than how well the layer is rounded. So spend the one run; labels you do not need.
#
# A word of care. With kernels alone AlexNet's layers lose at most {glue:text}`alexnet_most` digits each: there an order rests on a
# handful of images, and layers that lose equally many share a rank.
#
# ## On real data
#
# The same schemes on a small AlexNet for CIFAR-10, whose weights come with the book, and on the published SqueezeNet v1.1, which answers 1,000
# photographs (*reference* results, rounded to nearest; what nobody has run yet says so). First, each kernel alone at 4 bits:

# %% tags=["hide-input"]
photographs, cifar = reference.study("photographs"), reference.study("alexnet_cifar")
FIRES = {f"fire{n}": [f"fire{n}_{part}" for part in ("squeeze1x1", "expand1x1", "expand3x3")] for n in range(2, 10)}
V1_1 = {"conv1": ["conv1"], **FIRES, "conv10": ["conv10"]}
ALEXNET = {"convolutions": [f"conv{n}" for n in range(1, 6)], "dense": ["fc6", "fc7", "fc8"]}
SINGLE = {name: [name] for names in ALEXNET.values() for name in names}
NOT_RUN, UNQUANTIZED = reference.NOT_RUN, Scheme(bits=(None, None, None))


def dynamic(kernel, activations, layers=None):
    return Scheme(bits=(kernel, activations, activations), percentile="dynamic", layers=layers and tuple(layers))


def told(study, scheme):
    return str(study[scheme]) if scheme in study else NOT_RUN


def under(study, scheme):
    """Return how many points a scheme is under float, and half of the interval; None where it was not run."""
    lost = study.under_float(scheme)
    return (100 * lost.mean, 100 * lost.half_width) if lost else None


def points(found):
    return NOT_RUN if found is None else "{:.1f} ± {:.1f} points".format(*found)


def one_layer(study, groups, label, what):
    """Show what each layer loses alone, and return it."""
    found = {name: under(study, dynamic(4, None, [name])) for names in groups.values() for name in names}
    run = {name: loss for name, loss in found.items() if loss is not None}
    if run:
        y, reach = np.transpose(list(run.values()))
        error = {"type": "data", "array": reach, "thickness": 1}
        plots.show(
            plots.figure(
                go.Bar(x=list(run), y=y, marker={"color": plots.BLUE}, error_y=error),
                x="layer",
                y="points under float",
                showlegend=False,
                margin={"b": 130},
                height=400,
            ),
            label=label,
            caption=f"{what}: top-1 lost when one kernel has 4 bits of dynamic fixed point; paired 95 % intervals (reference).",
            alt="Bars, one a layer: the points of accuracy that it loses when it alone has a kernel of 4 bits.",
            table=plots.Table(("layer", "points under float"), [(name, points(loss)) for name, loss in found.items()]),
        )
    return run


tender_cifar = one_layer(cifar, SINGLE, "5.6", "The small AlexNet on 10,000 test images of CIFAR-10")
tender_v1_1 = one_layer(photographs, V1_1, "5.7", "SqueezeNet v1.1 on 1,000 photographs")
display(Markdown(f"*CIFAR-10: {cifar.made_with}*\n\n*Photographs: {photographs.made_with}*"))

# %% tags=["hide-input"]
with np.load(find_weights("alexnet_cifar")) as arrays:
    kernels = {name: arrays[f"{name}/kernel"].astype(float) for name in SINGLE}
own = {name: quantization_error(k, FixedPoint(3 - fractional_length(k, 4), 4), "nearest").sqnr for name, k in kernels.items()}
four = {kind: dynamic(4, None, names) for kind, names in ALEXNET.items()}
real_verdict = rank_cifar = worst_cifar = NOT_RUN
if all(scheme in cifar for scheme in four.values()):
    of = {kind: wilson_interval(int(cifar[scheme].top1.sum()), cifar.images) for kind, scheme in four.items()}
    above, below = of["dense"][0] > of["convolutions"][1], of["dense"][1] < of["convolutions"][0]
    real_verdict = "confirmed" if above else "refuted" if below else "not decided"
if set(tender_cifar) == set(own):
    rank_cifar = f"{spearmanr([own[name] for name in SINGLE], [-tender_cifar[name][0] for name in SINGLE]).statistic:+.2f}"
    worst_cifar = max(tender_cifar, key=lambda name: tender_cifar[name][0])
    worst_cifar = f"{worst_cifar}, {points(tender_cifar[worst_cifar])}"
worst_v1_1 = NOT_RUN
if tender_v1_1:
    name = max(tender_v1_1, key=lambda name: tender_v1_1[name][0])
    robust = sum(loss + reach <= 2 for loss, reach in tender_v1_1.values())
    worst_v1_1 = f"{name}, {points(tender_v1_1[name])}; {robust} of {len(tender_v1_1)} surely lose less than 2"
HTML(
    plots.Table(
        ("question", "answer (reference)"),
        [
            ("AlexNet, CIFAR-10: 4 bits for the weights of its convolutions", told(cifar, four["convolutions"])),
            ("4 bits for those of its dense layers", told(cifar, four["dense"])),
            ("do dense layers take fewer bits (Table 3)?", real_verdict),
            ("which layer loses most at 4 bits, and how much?", worst_cifar),
            ("rank correlation of what layers keep with the SQNR of their own kernels", rank_cifar),
            ("SqueezeNet v1.1: which layer loses most at 4 bits, and how much?", worst_v1_1),
        ],
    ).html()
)

# %% tags=["remove-cell"]
quote(best_kernel=max(own, key=own.get), best_decibels=max(own.values()))
quote(real_verdict=real_verdict, worst_cifar=worst_cifar, rank_cifar=rank_cifar)
quote(cifar_8=points(under(cifar, dynamic(8, 8, SINGLE))), photographs_8=points(under(photographs, dynamic(8, 8))))

# %% [markdown]
# On CIFAR-10, that dense layers take fewer bits is **{glue:text}`real_verdict`**; and again the first layers are the tender ones. Most is
# lost by {glue:text}`worst_cifar`. The SQNR of its own kernel does not tell: the best rounded kernel of all is that of
# {glue:text}`best_kernel`, with {glue:text}`best_decibels:.0f` dB, and the rank correlation is {glue:text}`rank_cifar`. But that is AlexNet. In
# SqueezeNet v1.1 (figure 5.7) the tender ones come *late*: the 3x3 kernels of fire5 to fire9, the last one most. That the first layers are the
# tender ones is no law.
#
# ## What the thesis found
#
# Its Tables 3 and 5, one kind of values at a time. AlexNet and SqueezeNet on ImageNet; our AlexNet is the small one.

# %% tags=["hide-input"]
def quick(name, kind, bits):
    return share(read_alone[name, kind, bits]) if (name, kind, bits) in read_alone else "-"


WORDS = {"CONV weights": "convolutions", "FC weights": "dense", "Activations": "activations"}
rows = []
for number, name, study in ((3, "AlexNet", cifar), (5, "SqueezeNet", photographs)):
    none = papers.table("backstrom2018", number + 1)[0]
    rows.append((name, "nothing", "-", f"{none.get('accuracy', none.get('top1_accuracy')):.1%}", told(study, UNQUANTIZED), share(in_float[name])))
    for row in papers.table("backstrom2018", number):
        kind, bits = WORDS[row["quantized"]], row["bits"]
        layers = ALEXNET.get(kind) if name == "AlexNet" else None
        scheme = dynamic(None, bits) if kind == "activations" else dynamic(bits, None, layers)
        rows.append((name, kind, bits, f"{row['accuracy']:.1%}", told(study, scheme), quick(name, kind, bits)))
HTML(plots.Table(("network", "quantized", "bits", "thesis", "ours (reference)", "ours (quick), digits"), rows).html())

# %% [markdown]
# Its Tables 4 and 6, everything at 8 bits, up to and including a layer:

# %% tags=["hide-input"]
def reached(study, groups, level):
    """Return what is left with all groups of layers up to `level` at 8 bits."""
    if level == "none":
        return told(study, UNQUANTIZED)
    names = list(groups)
    return told(study, dynamic(8, 8, [layer for name in names[: names.index(level) + 1] for layer in groups[name]]))


rows = []
for name, number, study, groups in (("AlexNet", 4, cifar, SINGLE), ("SqueezeNet", 6, photographs, V1_1)):
    for row in papers.table("backstrom2018", number):
        level, printed = row["layer"], row.get("accuracy", row.get("top1_accuracy"))
        at = LEVELS[name].index(level) if level in LEVELS[name] else None
        live = "-" if at is None else share(steps[name, 8][at])
        rows.append((name, level, f"{printed:.1%}", reached(study, groups, level), live))
HTML(plots.Table(("network", "up to", "thesis", "ours (reference)", "ours (quick), digits"), rows).html())

# %% [markdown]
# How sure are its figures? It gives no number of images. But a share of $n$ images is a multiple of $1/n$:

# %%
images = {}
for number in (3, 4, 5, 6):
    cells = [
        round(10_000 * value)
        for row in papers.table("backstrom2018", number)
        for column, value in row.items() if column.endswith("accuracy")
    ]
    n = images[number] = 10_000 // int(np.gcd.reduce(cells))
    low, high = wilson_interval(n // 2, n)
    print(f"Table {number}: multiples of 1/{n:,};",
          f"half of so many is known to be {low:.1%} to {high:.1%}")

# %% tags=["remove-cell"]
record(**{f"images_{number}": n for number, n in images.items()})
five = {(row["quantized"], row["bits"]): 100 * row["accuracy"] for row in papers.table("backstrom2018", 5)}
before = 100 * papers.table("backstrom2018", 6)[0]["top1_accuracy"]
quote(thesis_16=before - five["CONV weights", 16], thesis_8=before - five["CONV weights", 8])

# %% [markdown]
# **Why they differ.** On the large effects we agree. With everything at 8 bits our AlexNet is {glue:text}`cifar_8` under float on CIFAR-10,
# SqueezeNet {glue:text}`photographs_8` on the photographs. That dense layers take fewer bits is {glue:text}`verdict` on digits and
# {glue:text}`real_verdict` on CIFAR-10; but in AlexNet they also come last, and with equal noise a late convolution does as well. Nor are late
# layers robust by law: in SqueezeNet v1.1 the late 3x3 kernels lose most.
#
# The thesis' small differences can be chance, if it took {glue:text}`images_3` images for Table 3 and {glue:text}`images_5` for
# Table 5. AlexNet's activations are *better* there with 8 bits than with 16. And SqueezeNet's weights lose {glue:text}`thesis_8:.1f`
# points at 8 bits, but {glue:text}`thesis_16:.1f` at 16 already, whose step is 256 times finer: those two points are hardly rounding.
#
# ImageNet breaks down earlier than our digits; so does CIFAR-10, with the same small AlexNet and ten classes. The number of classes is not the
# whole reason.
#
# ## Exercises
#
# **1.** The largest magnitude of a layer's weights is 0.995. Which fractional length has Equation 10 for 8 bits, and which MSB is that? What
# would chapter 3 do?
#
# ```{admonition} Solution
# :class: dropdown
# With $fl = 7$ the largest code is $127/128 = 0.992$, too small; so $fl = 6$, an MSB of $8 - 1 - 6 = 1$. Chapter 3 takes MSB 0 and clips
# 0.995 to 0.992, an error of less than half a step, for steps half as wide everywhere else.
# ```
#
# **2.** A network has 26 layers. The SQNR of each layer's weights and activations is the same, $\gamma$. How far below $\gamma$ is the
# output by Equation 8, and how many bits is that?
#
# ```{admonition} Solution
# :class: dropdown
# Some 52 equal parts: $10 \log_{10} 52 = 17$ dB, nearly three bits. Depth costs bits, but only with its logarithm. Rounded down, it costs more.
# ```
#
# **3.** At 2 bits dynamic fixed point reads nothing. Is it the bits, or Equation 10? Give AlexNet's dense weights the MSB of least squared
# error.

# %% tags=["hide-cell"]
formats = calibration.formats_for(models["AlexNet"], few, (2, None, None), "mse")
networks["AlexNet"].set_formats(alone(formats, "dense"))
rescued = read("AlexNet", *test) / N
print(f"dense weights of 2 bits, least squared error: {rescued:.1%}")

# %% tags=["remove-cell"]
record(within=0.1, rescued=rescued)

# %% [markdown]
# ```{admonition} Solution
# :class: dropdown
# Equation 10: with the other MSB, {glue:text}`rescued:.1%` are read. Never to clip is a good rule as long as there are codes to spare.
# ```
#
# ## Run it on yours
#
# ```python
# from fewbits import quantize_model
# from fewbits.quantization.dynamic_fixed_point import dynamic_formats
# from fewbits.quantization.propagation import Propagation
#
# network = quantize_model(model, dynamic_formats(model, images[:32]), rounding="nearest")
# for name, error in Propagation(network, more_images[:64]).errors().items():
#     print(f"{name}: {error.sqnr:.1f} dB, predicted {error.predicted:.1f}")
# ```
#
# What each part has alone, from the command line:
#
# ```shell
# fewbits train --network lenet --data digits --epochs 10 --output digits.keras
# fewbits formats digits.keras --data digits --percentile 100 --bits 8
# ```

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5 Dynamic fixed point and SQNR
#
# *Reading time: 30 minutes. Needs: [chapter 3](03-percentiles) (ranges) and [chapter 4](04-quantized-conv2d) (quantized
# layers, levels).*
#
# Can we foresee what few bits will cost, layer by layer, without reading a single label?
#
# {cite:p}`backstrom2018` gives every layer a scale of its own that never clips, as Ristretto does {cite:p}`gysel2018`, finds that 8 bits
# are enough nearly everywhere, and quotes a rule {cite:p}`lin2016` that adds up errors through a whole network. We test both: the claims
# on two networks, the rule on every layer.
#
# ```{admonition} Predict first
# :class: tip
# A small AlexNet has five convolutions and three dense layers. Give **3 bits** to the weights of one kind only. Which kind tolerates
# that better? And is that because of the kind of layer?
#
# The rule predicts, from errors measured one by one, how clean the last layer's output will be. Everything is quantized to **8 bits**.
# By how many decibels is the rule off if you round to nearest? If you round *down*? The answers are in
# [Each kind alone](each-kind-alone) and [Where the rule fails](where-the-rule-fails).
# ```

# %% tags=["parameters"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
from math import log10

import numpy as np
from scipy.stats import spearmanr

from fewbits import FixedPoint, data, explore, quantize, quantize_model, zoo
from fewbits.book import papers, questions, quote, record, reference

# %% tags=["hide-input"]
from fewbits.experiment import Scheme
from fewbits.explore import plots
from fewbits.quantization import (
    Formats, Propagation, calibration, dynamic_formats, fractional_length,
    measured_sqnr, observation, predicted_sqnr, quantization_error,
    range_rules,
)
from fewbits.statistics import Share, verdict

# %% tags=["hide-input"]
SMOKE = profile == "smoke"
BITS = (8, 4, 3) if SMOKE else (16, 8, 6, 5, 4, 3, 2)
N = 64 if SMOKE else 320

# %% [markdown]
# ## Two trained networks
#
# The small SqueezeNet of chapter 3, and a small AlexNet {cite:p}`krizhevsky2012`: five convolutions, then three dense layers. Both come
# with the book, trained on the digits, one seed each: every verdict below is about these two networks. Formats are set from 64 training
# images.

# %%
digits = data.load("digits", validation=0.25)
few, _ = digits.arrays("train", 64)
validation, test = digits.arrays("validation", N), digits.arrays("test", N)

# %%
ZOO = {
    "SqueezeNet": ("squeezenet_digits", "squeezenet_digits"),
    "AlexNet": ("alexnet_small", "alexnet_digits"),
}
models, networks = {}, {}
for name, (network, trained) in ZOO.items():
    model = zoo.build(network, digits.image_shape, 10, weights=trained)
    models[name] = model
    networks[name] = quantize_model(
        model, levels=zoo.levels(model), rounding="nearest"
    )


# %%
def logits(name, images):
    batches = [images[i : i + 64] for i in range(0, len(images), 64)]
    return np.concatenate(
        [networks[name].predict_on_batch(batch) for batch in batches]
    )


def read(name):
    """Return the share of the test digits that a network reads."""
    images, labels = test
    return Share.of(logits(name, images).argmax(-1) == labels)


# %%
in_float = {name: read(name) for name in networks}
for name, share in in_float.items():
    print(f"{name}: {share} of {N} test digits in float")

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


observed = {n: dict(observation.observe(models[n], few)) for n in models}
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
        limits = range_rules.percentile_limits(values, 100)
        msb = bits - 1 - fractional_length(values, bits)
        higher[bits] += msb > range_rules.msb_from_limits(*limits)
    print(f"{bits} bits: {higher[bits]:2} of {len(every)} MSBs are higher")

# %% tags=["remove-cell"]
# Quoted in the text
record(within=0.02, **{f"float_{name}": share.value for name, share in in_float.items()})
record(lengths_differing=differing, formats=len(every), higher_8=higher[8], higher_3=higher[3], higher_2=higher[2])

# %% [markdown]
# At 8 bits {glue:text}`higher_8` of {glue:text}`formats` formats get a step twice as wide, at 3 bits {glue:text}`higher_3`, at 2
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
    if kind == "activations":
        return {n: fmt._replace(kernel=None) for n, fmt in table.items()}
    return {
        name: Formats(fmt.kernel)
        if name.startswith("fc") == (kind == "dense") else Formats()
        for name, fmt in table.items()
    }


# %%
KINDS = {
    "SqueezeNet": ("convolutions", "activations"),
    "AlexNet": ("convolutions", "dense", "activations"),
}
read_alone = {(n, kind): {} for n, kinds in KINDS.items() for kind in kinds}
for (name, kind), shares in read_alone.items():
    for bits in BITS:
        networks[name].set_formats(alone(tables[name][bits], kind))
        shares[bits] = read(name)

# %% tags=["hide-input"]
# Accuracy over bits, one kind of values at a time
explore.lines(
    {", ".join(key): shares for key, shares in read_alone.items()},
    "5.1",
    "One kind of values in dynamic fixed point, rounded to nearest, the rest in float. "
    f"{N} test digits, 95 % intervals (quick).",
    "Accuracy over bits. All kinds hold until 5 bits; at 3 bits the dense weights still read nearly everything, at 2 "
    "bits nothing does.",
    x="bits", xaxis={"type": "category"}, dashes=("dot", "dot", "solid", "solid", "solid"), height=440,
    colours=(plots.BLUE, plots.GREEN, plots.BLUE, plots.ORANGE, plots.GREEN),
)


# %%
def fewest(name, kind):
    """Return the fewest bits that, like all more, lose at most a point."""
    held = "more than we tried"
    for bits, share in read_alone[name, kind].items():
        if (in_float[name] - share).mean > 0.01:
            break
        held = bits
    return held


few_bits = {kind: fewest("AlexNet", kind) for kind in KINDS["AlexNet"]}
at_3 = {kind: read_alone["AlexNet", kind][3] for kind in few_bits}
gap = at_3["dense"] - at_3["convolutions"]  # digit by digit
print(few_bits, "- dense over convolutions at 3 bits:", gap.points)

# %% tags=["remove-cell"]
# Quoted in the text
record(within={"smoke": 0.06, "quick": 0.03}, **{f"at_3_{kind}": share.value for kind, share in at_3.items()})
quote(**{f"share_3_{kind}": str(share) for kind, share in at_3.items()})
quote(**{f"fewest_{kind}": bits for kind, bits in few_bits.items()})
quote(verdict=verdict(gap), dense_gap=gap.points)

# %% [markdown]
# To lose at most a point (three of these digits), AlexNet's dense weights need {glue:text}`fewest_dense` bits, its convolutions
# {glue:text}`fewest_convolutions`, its activations {glue:text}`fewest_activations`. At 3 bits, dense weights leave
# {glue:text}`share_3_dense`, convolutions {glue:text}`share_3_convolutions`, which is {glue:text}`dense_gap` digit by digit. That the dense
# layers of this AlexNet need fewer bits is **{glue:text}`verdict`**.
#
# Is it because they are dense? If so, the difference should remain when every layer gets an *equal* error: noise as strong as its own
# kernel (0 dB), in one layer at a time.

# %%
def with_noise(layer, seed, decibels=0):
    """Return the share that AlexNet reads with noise in one kernel."""
    kernel = layer.kernel.numpy()
    noise = np.random.default_rng(seed).uniform(-1, 1, kernel.shape)
    power = np.sum(kernel**2) / 10 ** (decibels / 10)
    noise *= np.sqrt(power / np.sum(noise**2))
    layer.kernel.assign(kernel + noise)
    share = read("AlexNet")
    layer.kernel.assign(kernel)
    return share.value


# %%
def kernel_sqnr(kernel, bits):
    """Return how far rounding errors lie below a kernel, in decibels."""
    fmt = FixedPoint(bits - 1 - fractional_length(kernel, bits), bits)
    return quantization_error(kernel, fmt, "nearest").sqnr


# %%
alexnet, draws = networks["AlexNet"], range(1 if SMOKE else 3)
alexnet.set_formats(Formats())
noisy, of_3_bits, rows = {}, {}, []
for layer in alexnet.quantized_layers:
    name, kernel = layer.name, layer.kernel.numpy()
    of_3_bits[name] = kernel_sqnr(kernel, 3)
    noisy[name] = np.mean([with_noise(layer, seed) for seed in draws])
    decibels = f"{of_3_bits[name]:.1f} dB"
    rows.append((name, kernel.size, decibels, f"{noisy[name]:.1%}"))
read_with = f"read with noise of 0 dB ({len(draws)} draws, quick)"
columns = "layer", "weights", "SQNR of its kernel at 3 bits", read_with
explore.Table(columns, rows)

# %% [markdown]
# The dense kernels are hardly rounded better: on average {glue:text}`kernels_of_dense:.1f` dB, the convolutions
# {glue:text}`kernels_of_convolutions:.1f`. With equal noise conv1 leaves {glue:text}`noisy_conv1:.0%` and conv2
# {glue:text}`noisy_conv2:.0%`; but conv5, a convolution too, leaves {glue:text}`noisy_conv5:.0%`, and fc6 {glue:text}`noisy_fc6:.0%`.
# So it need not be the kind. Here the *first* layers are the sensitive ones, and those happen to be convolutions.
#
# ## Layer after layer
#
# Tables 4 and 6 quantize everything, up to and including a layer. `set_level` does that; a fire module is one level.

# %%
steps = {}
for name, network in networks.items():
    for bits in (8, 4):
        network.set_formats(tables[name][bits])
        steps[name, bits] = []
        for level in range(network.levels + 1):
            network.set_level(level)
            steps[name, bits].append(read(name))

# %% tags=["hide-input"]
# Accuracy over levels
explore.lines(
    {f"{name}, {bits} bits": dict(enumerate(shares)) for (name, bits), shares in steps.items()},
    "5.2", f"Weights and activations quantized level after level. {N} test digits, 95 % intervals (quick).",
    "Accuracy over quantized levels: flat at 8 bits; at 4 bits it falls, mostly with the first levels.",
    x="levels quantized, from the input", dashes=("solid", "dot"),
    colours=(plots.BLUE, plots.BLUE, plots.ORANGE, plots.ORANGE),
)

# %% [markdown]
# At 8 bits no level costs anything that these digits show: at most {glue:text}`worst_8:.1f` points. At 4 bits SqueezeNet ends with
# {glue:text}`squeezenet_4:.1%`, AlexNet with {glue:text}`alexnet_4:.1%`.
#
# ## Errors in decibels
#
# Accuracy needs labels, and at 8 bits it says nothing. The *signal-to-quantization-noise ratio* does: SQNR $\gamma$ is the power
# of the values divided by the power of their errors, $10 \log_{10} \gamma$ in dB. One more bit halves the step and quarters the power of
# the errors:

# %%
kernel = observed["AlexNet"]["fc7"].kernel
decibels = {bits: kernel_sqnr(kernel, bits) for bits in (4, 6, 8, 10)}
for bits, sqnr in decibels.items():
    print(f"{bits:2} bits: {sqnr:.1f} dB")
per_bit = (decibels[10] - decibels[4]) / 6
print(f"{per_bit:.2f} dB per bit")

# %% [markdown]
# In a product of noisy values, $(w + n_w)(a + n_a) \approx wa + w n_a + a n_w$, the ratios of noise to signal add up. The same holds
# through a whole network (Equation 8):
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
# Quoted in the text
kernels = {kind: np.mean([v for n, v in of_3_bits.items() if n.startswith(kind)]) for kind in ("conv", "fc")}
record(within=0.5, kernels_of_convolutions=kernels["conv"], kernels_of_dense=kernels["fc"])
record(within={"smoke": 0.3, "quick": 0.1}, **{f"noisy_{n}": noisy[n] for n in ("conv1", "conv2", "conv5", "fc6")})
record(within=0.03, worst_8=100 * max((in_float[name] - share).mean for name in networks for share in steps[name, 8]))
record(within=0.03, **{f"{name.lower()}_4": steps[name, 4][-1].value for name in networks})
record(within=0.2, per_bit=per_bit)
record(within=1.0, **{f"over_{rounding}": rule - measured for rounding, (measured, rule) in product.items()})

# %% [markdown]
# Rounded to nearest, the rule promises {glue:text}`over_nearest:.1f` dB too much; rounded down, {glue:text}`over_floor:.1f`. That is one
# layer.
#
# ## All layers
#
# `Propagation` compares what each layer passes on, after its output quantizer and its activation, with the float network. That is the
# $a(L)$ of Equation 8. Next to it stands the prediction of the rule, from parts that are each measured *alone*. Where the branches of a
# fire module are joined, nothing is multiplied: the noise of each branch counts by its share of the power. The error has two parts: its
# mean in each channel (*bias*), and the rest (*variance*).

# %%
followed = {name: Propagation(network, validation[0][:64])
            for name, network in networks.items()}
networks["AlexNet"].set_formats(tables["AlexNet"][8])
for name, error in followed["AlexNet"].errors().items():
    print(f"{name}: {error.sqnr:.1f} dB, predicted {error.predicted:.1f}")

# %%
for label, (name, network) in zip(("5.3", "5.4"), networks.items()):
    network.set_level(network.levels)
    by_bits = {b: tables[name][b] for b in sorted(BITS) if 2 < b < 16}
    explore.propagated_sqnr(followed[name], by_bits, label).show()

# %% [markdown]
# SqueezeNet is {figure}`5.3`, AlexNet {figure}`5.4`. Set *rounding* to floor.
#
# (where-the-rule-fails)=
# ## Where the rule fails

# %%
off, bias = {}, {}
for name, network in networks.items():
    for bits in (8, 4):
        network.set_formats(tables[name][bits])
        for rounding in ("nearest", "floor"):
            network.set_rounding(rounding)
            errors = list(followed[name].errors().values())
            key = name, bits, rounding
            off[key] = [e.sqnr - e.predicted for e in errors]
            bias[key] = [e.bias / (e.bias + e.variance) for e in errors]
    network.set_rounding("nearest")

# %%
rows = []
for key in off:
    gap = (f"{v:+.1f} dB" for v in (np.mean(off[key]), off[key][-1]))
    part = (f"{v:.0%}" for v in (np.mean(bias[key]), bias[key][-1]))
    rows.append((*key, *gap, *part))
columns = (
    "network", "bits", "rounding",
    "measured minus rule, mean of the layers", "last layer",
    "bias part of the error, mean", "last layer",
)
explore.Table(columns, rows)

# %% tags=["remove-cell"]
# Quoted in the text
record(within=2.0, **{f"off_{name}_{rounding}": gaps[-1] for (name, bits, rounding), gaps in off.items() if bits == 8})
record(within=0.2, **{f"bias_{name}_{rounding}": np.mean(b) for (name, bits, rounding), b in bias.items() if bits == 8})

# %% [markdown]
# Everything at 8 bits, last layer: rounded to nearest, SqueezeNet is {glue:text}`off_SqueezeNet_nearest:+.1f` dB off the rule and
# AlexNet {glue:text}`off_AlexNet_nearest:+.1f`; rounded down {glue:text}`off_SqueezeNet_floor:+.1f` and
# {glue:text}`off_AlexNet_floor:+.1f`. Six decibels are one bit. At 4 bits floor even beats the rule, but only because nothing is left: a
# network that passes on zeros has 0 dB, and the rule goes on falling.
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

# %% [markdown]
# Errors of rounding to nearest have either sign and cancel: their power grows like $n$, as the signal's does. Errors of floor have *one*
# sign and add up: their power grows like $n^2$. The rule knows only powers and cannot see the sign: with a thousand products it is off by
# {glue:text}`sums_floor:.0f` dB.
#
# Is this error at least a constant, which a bias could take away? It is about $-q/2$ times the *sum of the inputs* in the window. We
# correlate the two over all places, in the same layer as above, with only the kernel rounded:

# %%
x = values.input.reshape(-1, values.input.shape[-1])
w, fmt = values.kernel[0, 0], tables["SqueezeNet"][4][squeeze].kernel
follows = {}
for rounding in ("nearest", "floor"):
    error = x @ quantize(w, fmt, rounding) - x @ w
    each = [np.corrcoef(e, x.sum(1))[0, 1] for e in error.T]
    follows[rounding] = float(np.mean(each))
    print(f"{rounding}: correlation {follows[rounding]:+.2f} on average")

# %% [markdown]
# Rounded down: {glue:text}`follows_floor:+.2f`; to nearest: {glue:text}`follows_nearest:+.2f`. The shift depends on the image. So
# only a part of floor's error is bias, {glue:text}`bias_SqueezeNet_floor:.0%` on average over SqueezeNet's layers, and what
# {figure}`5.3` shows as variance is not noise either. [Chapter 4](04-quantized-conv2d) saw what that does to the accuracy.
#
# The rule fails in two smaller ways. Rounded to nearest, both networks *beat* the rule, AlexNet by far: the rule assumes that a layer
# passes signal and noise on alike, and a trained layer need not. By how much does it amplify its signal more than white noise?

# %%
gain = {}
for name in ("fc6", "fc7", "fc8"):
    a, w = observed["AlexNet"][name].input, observed["AlexNet"][name].kernel
    of_signal = np.sum((a @ w) ** 2) / np.sum(a**2)
    of_noise = np.sum(w**2) / len(w)
    gain[name] = 10 * log10(of_signal / of_noise)
    print(f"{name}: {gain[name]:+.1f} dB")

# %% [markdown]
# The last two layers amplify the signal {glue:text}`gain_fc7:.0f` and {glue:text}`gain_fc8:.0f` dB more than noise. That is only a part
# of the answer: most of AlexNet's lead over the rule is already there after conv5 ({figure}`5.4`). And **clipping** is an error
# with a sign, too: it always points to zero. MSBs of the 95th percentile clip, those of the maximum hardly do:

# %%
clipped = {}
for name, network in networks.items():
    for p in (95, 100):
        network.set_formats(
            calibration.formats_for(
                models[name], few, (8, 8, 8), p, signed=True
            )
        )
        last = list(followed[name].errors().values())[-1]
        clipped[name, p] = last.sqnr - last.predicted
        print(f"{name}, {p} %: {last.sqnr:.1f} dB,",
              f"{clipped[name, p]:+.1f} dB off the rule")

# %% tags=["remove-cell"]
# Quoted in the text
record(within=1.0, sums_nearest=sums[1000, "nearest"], sums_floor=sums[1000, "floor"])
record(within=0.1, follows_floor=follows["floor"], follows_nearest=follows["nearest"])
record(within=1.5, **{f"gain_{name}": value for name, value in gain.items()})
record(within=2.0, **{f"clip_{name}": clipped[name, 95] - clipped[name, 100] for name in networks})

# %% [markdown]
# Clipping moves SqueezeNet by {glue:text}`clip_SqueezeNet:+.1f` dB against the rule and AlexNet by {glue:text}`clip_AlexNet:+.1f`: it costs
# more than the rule says. It does not take the networks further from the rule, for without clipping both are better than the rule.
#
# ## Which layer is sensitive?
#
# Quantize one layer at a time to 3 bits and count the validation digits it loses. Then forget the labels. Do two cheaper measures put
# the layers in the same order? The SQNR of the layer's own parts, combined by the rule, needs no run of the quantized network. The SQNR
# of the logits needs one.

# %%
def own_parts(values, formats):
    """Return the SQNR of what a layer rounds, combined by the rule."""
    return predicted_sqnr(*(
        quantization_error(getattr(values, kind), fmt, "nearest").sqnr
        for kind, fmt in formats.items()
    ))


# %%
def sensitivity(name, kinds, bits=3):
    """Return layer -> digits lost, SQNR of its own parts and of logits."""
    network, (images, labels), found = networks[name], validation, {}
    network.set_formats(Formats())
    exact = logits(name, images)
    for layer, values in observed[name].items():
        fmt = {k: getattr(tables[name][bits][layer], k) for k in kinds}
        network.set_formats({layer: Formats(**fmt)})
        after = logits(name, images)
        network.set_formats({layer: Formats()})
        right = [(y.argmax(-1) == labels).sum() for y in (exact, after)]
        sqnr = own_parts(values, fmt), measured_sqnr(exact, after)
        found[layer] = (int(right[0] - right[1]), *sqnr)
    return found


# %%
PARTS = {"kernel": ("kernel",), "all three": ("kernel", "input", "output")}
lost_by = {(name, what): sensitivity(name, kinds)
           for name in networks for what, kinds in PARTS.items()}

# %%
rank, rows = {}, []
for key, found in lost_by.items():
    lost, own, after = np.transpose(list(found.values()))
    rank[key] = [spearmanr(-lost, sqnr) for sqnr in (own, after)]
    texts = (f"{r.statistic:+.2f} (p = {r.pvalue:.1g})" for r in rank[key])
    range_lost = f"{lost.min():.0f} to {lost.max():.0f}"
    rows.append((*key, *texts, range_lost, len(lost) - len(set(lost))))
columns = (
    "network", "3 bits for", "rank correlation: own parts", "logits",
    "digits lost by a layer", "ties",
)
explore.Table(columns, rows)

# %% tags=["hide-input"]
# What a layer costs, over two SQNRs
SHOWN = [(name, i, of, lost_by[name, "all three"]) for name in networks for i, of in ((1, "own parts"), (2, "logits"))]
explore.scatter(
    {f"{name}, {of}": {n: (lost[i], lost[0] / N) for n, lost in found.items()} for name, i, of, found in SHOWN}, "5.5",
    "One layer at a time with kernel, input and output of 3 bits: what it costs, over two SQNRs. "
    f"{N} validation digits (quick).",
    "Points, one per layer. Over the SQNR of the logits they lie on one falling curve; over that of the layer's own "
    "parts they are scattered.",
    x="SQNR in dB", y="validation digits lost", yaxis=explore.PERCENT, height=440,
    colours=(plots.GREY, plots.BLUE), symbols=("circle", "circle", "x", "x"),
)

# %% tags=["remove-cell"]
# Quoted in the text
logits_rank = {f"logits_{name}_{what.split()[0]}": after.statistic for (name, what), (_, after) in rank.items()}
record(within={"smoke": 0.9, "quick": 0.3}, **logits_rank)
own_beyond, logits_beyond = (sum(r.statistic > 0 and r.pvalue < 0.05 for r in found) for found in zip(*rank.values()))
alexnet_most = max(lost for lost, *_ in lost_by["AlexNet", "kernel"].values())
quote(own_beyond=int(own_beyond), logits_beyond=int(logits_beyond), ranked=len(rank), alexnet_most=alexnet_most)

# %% [markdown]
# Spearman's rank correlation is +1 where two orders agree. The logits rank well: {glue:text}`logits_SqueezeNet_all:.2f` in SqueezeNet
# and {glue:text}`logits_AlexNet_all:.2f` in AlexNet with everything at 3 bits; they are beyond chance (p below 0.05) in
# {glue:text}`logits_beyond` of {glue:text}`ranked` cases. The layer's own parts are so in {glue:text}`own_beyond`: here it matters more how
# sensitive the network is to a layer than how well the layer is rounded. So spend the one run; you do not need labels.
#
# A word of caution. With kernels alone AlexNet's layers lose at most {glue:text}`alexnet_most` digits each: such an order rests on a
# handful of images, and layers that lose equally many share a rank.
#
# ## On real data
#
# The same schemes on a small AlexNet for CIFAR-10 {cite:p}`krizhevsky2009`, whose weights come with the book, and on the published SqueezeNet
# v1.1 {cite:p}`iandola2016`, which answers photographs (*reference* results, rounded to nearest).
# Both studies keep every answer under its scheme:

# %%
photographs = reference.load_study("photographs")
cifar = reference.load_study("alexnet_cifar")


def dynamic(kernel, activations, layers=None):
    """Return the scheme of dynamic fixed point with these bits."""
    bits = kernel, activations, activations
    layers = None if layers is None else tuple(layers)
    return Scheme(bits=bits, percentile="dynamic", layers=layers)


# %%
FIRE = ("squeeze1x1", "expand1x1", "expand3x3")
LEVELS = {  # network -> level -> layers
    "AlexNet": {layer: [layer] for layer in observed["AlexNet"]},
    "SqueezeNet": {
        "conv1": ["conv1"],
        **{f"fire{n}": [f"fire{n}_{x}" for x in FIRE] for n in range(2, 10)},
        "conv10": ["conv10"],
    },
}

# %% [markdown]
# First, each kernel alone at 4 bits:

# %%
tender = {
    name: {
        layer: study.under_float(dynamic(4, None, [layer]))
        for layers in LEVELS[name].values() for layer in layers
    }
    for name, study in (("AlexNet", cifar), ("SqueezeNet", photographs))
}

# %% tags=["hide-input"]
# What each layer loses alone
WHAT = (
    f"The small AlexNet on {cifar.images:,} test images of CIFAR-10",
    f"SqueezeNet v1.1 on {photographs.images:,} photographs",
)
for label, what, lost in zip(("5.6", "5.7"), WHAT, tender.values()):
    explore.bars(
        {"lost": lost}, label,
        f"{what}: top-1 lost when one kernel has 4 bits of dynamic fixed point; paired 95 % intervals (reference).",
        "Bars, one per layer: the accuracy that the network loses when this layer alone has a kernel of 4 bits.",
        x="layer", y="points under float", height=400,
    )

# %%
rows = []
for name, lost in tender.items():
    worst = max(lost, key=lambda layer: lost[layer].mean)
    robust = sum(estimate.high <= 0.02 for estimate in lost.values())
    rows.append((name, worst, lost[worst], f"{robust} of {len(lost)}"))
columns = (
    "network (reference)", "most is lost by", "points under float",
    "lose less than 2 points (95 %)",
)
made_with = f"AlexNet: {cifar.made_with} SqueezeNet: {photographs.made_with}"
explore.Table(columns, rows, note=made_with)

# %% [markdown]
# Does the SQNR of its own kernel predict what a layer of AlexNet loses? And do dense layers need fewer bits on CIFAR-10, too?

# %%
alexnet = zoo.build("alexnet_small", (32, 32, 3), 10, weights="alexnet_cifar")
own = {
    layer: kernel_sqnr(alexnet.get_layer(layer).kernel.numpy(), 4)
    for layer in tender["AlexNet"]
}
kept = [-lost.mean for lost in tender["AlexNet"].values()]
rank_cifar = spearmanr([*own.values()], kept).statistic
print(f"rank correlation {rank_cifar:+.2f}")

# %%
ALEXNET = {"convolutions": [*own][:5], "dense": [*own][5:]}
four, lost = {}, {}
for kind, layers in ALEXNET.items():
    scheme = dynamic(4, None, layers)
    four[kind], lost[kind] = cifar.get(scheme), cifar.under_float(scheme)
    print(f"{kind}, weights of 4 bits: {four[kind]}")
real_verdict = verdict(lost["convolutions"] - lost["dense"])
print("dense layers need fewer bits:", real_verdict)

# %% tags=["remove-cell"]
# Quoted in the text
_, worst, most, _ = rows[0]
eight = {"cifar_8": cifar.under_float(dynamic(8, 8, own)), "photographs_8": photographs.under_float(dynamic(8, 8))}
quote(best_kernel=max(own, key=own.get), best_decibels=max(own.values()), rank_cifar=f"{rank_cifar:+.2f}")
quote(worst_cifar=f"{worst}, {most.percent} points", real_verdict=real_verdict)
quote(**{name: f"{estimate.percent} points" for name, estimate in eight.items()})

# %% [markdown]
# On CIFAR-10, that the dense layers of the small AlexNet need fewer bits is **{glue:text}`real_verdict`**; and again the first layers are
# the sensitive ones. The largest loss is that of {glue:text}`worst_cifar`. The SQNR of a layer's own kernel does not predict this: the best rounded kernel of all is that of
# {glue:text}`best_kernel`, with {glue:text}`best_decibels:.0f` dB, and the rank correlation is {glue:text}`rank_cifar`. But that is AlexNet. In
# SqueezeNet v1.1 ({figure}`5.7`) the sensitive layers come *late*: the 3x3 kernels of fire5 to fire9, the last one most. It is not a law that the
# first layers are the sensitive ones.
#
# ## What the thesis found
#
# Its Tables 3 and 5, one kind of values at a time. AlexNet and SqueezeNet on ImageNet; our AlexNet is the small one.

# %% tags=["hide-input"]
# One kind of values at a time: the thesis, our studies and our digits
WORDS = {"CONV weights": "convolutions", "FC weights": "dense", "Activations": "activations"}
rows = []
for number, name, study in ((3, "AlexNet", cifar), (5, "SqueezeNet", photographs)):
    printed = [*papers.table("backstrom2018", number + 1)[0].values()][1]
    rows.append((name, "nothing", "-", f"{printed:.1%}", study.float, in_float[name]))
    for words, bits, printed in map(dict.values, papers.table("backstrom2018", number)):
        kind, layers = WORDS[words], ALEXNET.get(WORDS[words]) if name == "AlexNet" else None
        scheme = dynamic(None, bits) if kind == "activations" else dynamic(bits, None, layers)
        quick = read_alone[name, kind].get(bits, "-")
        rows.append((name, kind, bits, f"{printed:.1%}", study.get(scheme), quick))
explore.Table(("network", "quantized", "bits", "thesis", "ours (reference)", "ours (quick), digits"), rows)

# %% [markdown]
# Its Tables 4 and 6, everything at 8 bits, up to and including a layer:

# %% tags=["hide-input"]
# Level after level: the thesis, our studies and our digits
rows = []
for name, number, study in (("AlexNet", 4, cifar), ("SqueezeNet", 6, photographs)):
    live = dict(zip(["none", *(level[0].split("_")[0] for level in zoo.levels(models[name]))], steps[name, 8]))
    layers = []
    for level, printed, *_ in map(dict.values, papers.table("backstrom2018", number)):
        layers += LEVELS[name].get(level, [])
        ours = study.get(dynamic(8, 8, layers)) if layers else study.float
        rows.append((name, level, f"{printed:.1%}", ours, live.get(level, "-")))
explore.Table(("network", "up to", "thesis", "ours (reference)", "ours (quick), digits"), rows)

# %% [markdown]
# How certain are its figures? It gives no number of images. But a share of $n$ images is a multiple of $1/n$:

# %%
images = {}
for number in (3, 4, 5, 6):
    cells = [
        round(10_000 * value)
        for row in papers.table("backstrom2018", number)
        for column, value in row.items() if column.endswith("accuracy")
    ]
    n = images[number] = 10_000 // int(np.gcd.reduce(cells))
    print(f"Table {number}: multiples of 1/{n:,};",
          "half of the images right is", Share(n // 2, n))

# %% [markdown]
# **Why they differ.** On the large effects we agree. With everything at 8 bits our AlexNet is {glue:text}`cifar_8` under float on CIFAR-10,
# SqueezeNet {glue:text}`photographs_8` on the photographs. That dense layers need fewer bits is {glue:text}`verdict` on digits and
# {glue:text}`real_verdict` on CIFAR-10; but in AlexNet they also come last, and with equal noise a late convolution does as well. Nor are late
# layers always robust: in SqueezeNet v1.1 the late 3x3 kernels lose most.
#
# The thesis' small differences can be chance, if it took {glue:text}`images_3` images for Table 3 and {glue:text}`images_5` for
# Table 5. AlexNet's activations are *better* there with 8 bits than with 16. And SqueezeNet's weights lose {glue:text}`thesis_8:.1f`
# points at 8 bits, but {glue:text}`thesis_16:.1f` at 16 already, whose step is 256 times finer: rounding hardly explains those two points.
#
# ImageNet breaks down earlier than our digits; so does CIFAR-10, with the same small AlexNet and ten classes. The number of classes is not the
# whole reason.
#
# ## Two questions

# %% tags=["hide-input"]
# Where two more bits go
weights_db, inputs_db, two_bits = 30, 50, 2 * 20 * log10(2)
better, worse = predicted_sqnr(weights_db + two_bits, inputs_db), predicted_sqnr(weights_db, inputs_db + two_bits)
questions.ask(
    f"A product has weights with an SQNR of {weights_db} dB and inputs with {inputs_db} dB. Two more bits may go to one of them. Which "
    "one gets them, and what does the rule then predict for the product?",
    (f"the weights: {better:.0f} dB", "Noise adds in power, so the noisier part decides. The cleaner one limits it only at the end."),
    (f"the inputs: {inputs_db + two_bits:.0f} dB", f"The product would stay at {worse:.0f} dB, because the noise of the weights remains."),
    (f"either: {(weights_db + inputs_db + two_bits) / 2:.0f} dB", "Decibels of the parts do not average. Powers of the noise add."),
    (f"the weights: {weights_db + inputs_db + two_bits:.0f} dB", "Decibels of the parts do not add. A product is never cleaner than its parts."),
)

# %% tags=["hide-input"]
# Why the rule fails
questions.ask(
    "The rule is close where values are rounded to nearest, and far off where they are rounded down. Why?",
    ("Errors of one sign do not add like independent noise.", "The rule adds powers. Errors that go the same way add their sizes, layer after layer."),
    ("Rounding down clips more.", "Clipping depends on the range. Dynamic fixed point clips next to nothing, whatever the rounding is."),
    ("The step is twice as wide.", "The step is the same. The error is up to twice as large, which the measured parts contain."),
    ("The SQNR does not see a shift of all values.", "It does: each part is measured with its shift. What fails is the way the parts are added."),
)

# %% [markdown]
# ## Exercises
#
# **1.** The largest magnitude of a layer's weights is 0.995. Which fractional length does Equation 10 give for 8 bits, and which MSB is that?
# What would chapter 3 do?
#
# ```{admonition} Solution
# :class: dropdown
# With $fl = 7$ the largest code is $127/128 = 0.992$, too small; so $fl = 6$, an MSB of $8 - 1 - 6 = 1$. Chapter 3 takes MSB 0 and clips
# 0.995 to 0.992, an error of less than half a step. In return, all steps are half as wide.
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
# Dense weights of 2 bits with another MSB
formats = calibration.formats_for(models["AlexNet"], few, (2, None, None), "mse")
networks["AlexNet"].set_formats(alone(formats, "dense"))
rescued = read("AlexNet").value
print(f"dense weights of 2 bits, least squared error: {rescued:.1%}")

# %% tags=["remove-cell"]
# Quoted in the text
record(**{f"images_{number}": n for number, n in images.items()})
five = {(row["quantized"], row["bits"]): 100 * row["accuracy"] for row in papers.table("backstrom2018", 5)}
before = 100 * papers.table("backstrom2018", 6)[0]["top1_accuracy"]
quote(**{f"thesis_{bits}": before - five["CONV weights", bits] for bits in (16, 8)})
record(within=0.1, rescued=rescued)

# %% [markdown]
# ```{admonition} Solution
# :class: dropdown
# Equation 10: with the other MSB, {glue:text}`rescued:.1%` are read. Never clipping is a good rule as long as there are codes to spare.
# ```
#
# **Lab.** Build the rule that adds up noise, and a measure that tells when it fails, in `notebooks/labs/05-sqnr.py`
# ([all labs](../book/labs)).
#
# ## Run it on yours
#
# ```python
# from fewbits import quantize_model
# from fewbits.quantization import Propagation, dynamic_formats
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

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3 Histograms and MSB percentiles
#
# A fixed-point format must reach far enough. How far is far enough, and is it the same in every layer?
#
# An MSB one too small clips the values that stick out. An MSB one too large wastes a bit on every value. So we look at where
# the values lie before we choose.
#
# ```{admonition} Predict first
# :class: tip
# A trained network has some 70,000 weights in eleven layers. Take the amplitude that holds 95 % of all weights, and the one
# that holds 99.99 %. **By which factor** do the two differ? Each factor of two is one bit of every weight.
#
# And in which layer are the weights smallest: the first, one in the middle, the last? The answers are in
# [One limit for all](one-limit-for-all) and [A limit for each layer](a-limit-for-each-layer).
# ```

# %% tags=["parameters", "hide-input"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML

from fewbits import FixedPoint, data, explore, training, zoo
from fewbits.quantization import calibration
from fewbits.book import papers
from fewbits.explore import plots
from fewbits.backend import keras
from fewbits.book import quote, record
from fewbits.quantization.sqnr import quantization_error

keras.utils.set_random_seed(1)
EPOCHS = {"smoke": 2, "quick": 15, "full": 15}[profile]

# %% [markdown]
# ## A small SqueezeNet
#
# The thesis {cite:p}`vieito2017` looked at SqueezeNet v1.1 on ImageNet. Here is its little sister for digits of 8 by 8 pixels:
# the same fire modules, three instead of eight.

# %%
digits = data.load("digits", validation=0.25)
train = digits.scaled(digits.train), digits.train.labels
validation = digits.scaled(digits.validation), digits.validation.labels
model = zoo.build("squeezenet_digits", digits.image_shape, 10)
training.prepare(model, "adam", learning_rate=0.001)
training.train(model, train, epochs=EPOCHS, seed=1)
accuracy = training.evaluate(model, validation).accuracy
print(f"{model.count_params():,} parameters, accuracy {accuracy:.1%}")

# %% tags=["remove-cell"]
record(parameters=model.count_params())
record(within=0.35 if profile == "smoke" else 0.06, accuracy=accuracy)

# %% [markdown]
# Two kinds of values need a format. Weights are there to be read. The inputs and outputs of the convolutions exist only while
# an image passes, so we send 32 training images through and keep what each layer sees; the thesis did so with 32 images of its verification set (5.2.2).

# %%
observed = dict(calibration.observe(model, train[0][:32]))
for name in ("conv1", "fire3_expand3x3"):
    values = observed[name]
    print(name, "kernel", values.kernel.shape, "output", values.output.shape)

# %% [markdown]
# ## From values to an MSB
#
# Cut off the same share at both ends, and what is left has two limits. The MSB is the smallest whose amplitude
# $2^{\mathrm{MSB}}$ reaches both (Equation 11 of the thesis):

# %%
def limits_by_hand(values, percentile):
    ordered = np.sort(np.ravel(values))
    rest = (100 - percentile) / 200 * (len(ordered) - 1)
    at = np.array([rest, len(ordered) - 1 - rest])
    return np.interp(at, np.arange(len(ordered)), ordered)


def msb_by_hand(low, high):
    return int(np.ceil(np.log2(max(abs(low), abs(high)))))

# %%
kernels = np.concatenate([v.kernel.ravel() for v in observed.values()])
limits = {}
for p in (95, 98, 99.9, 99.99):
    limits[p] = low, high = calibration.percentile_limits(kernels, p)
    assert np.allclose(limits_by_hand(kernels, p), (low, high))
    print(f"{p:5} %: {low:.3f} to {high:.3f}, MSB {msb_by_hand(low, high)}")

# %% [markdown]
# (one-limit-for-all)=
# ## One limit for all
#
# Most weights are small, and a few are not. The histogram has a logarithmic axis; without it, the few would be invisible.

# %% tags=["hide-input"]
def histogram_figure(values, limits, label, what):
    counts, edges = np.histogram(values, 120)
    top, styles = counts.max(), ("solid", "dash", "dot", "dashdot")
    bounds = [
        go.Scatter(
            x=[low, low, None, high, high],
            y=[0.7, top, None, 0.7, top],
            mode="lines",
            name=f"{p} %",
            line={"color": colour, "dash": style},
        )
        for (p, (low, high)), colour, style in zip(limits.items(), plots.COLOURS[1:], styles)
    ]
    bars = {"name": what, "marker": {"color": plots.BLUE, "line": {"width": 0}}}
    plots.show(
        plots.figure(
            go.Bar(x=(edges[1:] + edges[:-1]) / 2, y=counts, **bars),
            *bounds,
            x="value",
            y=f"number of {what}",
            bargap=0,
            yaxis={"type": "log", "range": [-0.15, np.log10(top) + 0.1], "dtick": 1},
        ),
        label=label,
        caption=f"All {len(values):,} {what} of the network, with the limits that hold four percentiles (quick).",
        alt=f"Histogram of the {what}, a narrow peak with long tails; four pairs of lines mark the percentiles' limits.",
        table=plots.Table(
            ("percentile", "lower limit", "upper limit", "MSB"),
            [(f"{p} %", low, high, msb_by_hand(low, high)) for p, (low, high) in limits.items()],
        ),
    )


histogram_figure(kernels, limits, "3.1", "weights")

# %% tags=["remove-cell"]
reach = {p: max(abs(lo), abs(hi)) for p, (lo, hi) in limits.items()}
beyond = float(np.mean(np.abs(kernels) > reach[95]))
record(within=1.5, reach_ratio=reach[99.99] / reach[95])
record(within=0.03, beyond=beyond)
quote(msb_95_all=msb_by_hand(*limits[95]), msb_most_all=msb_by_hand(*limits[99.99]))

# %% [markdown]
# The outermost limits reach {glue:text}`reach_ratio:.1f` times as far as the innermost. In between lie only
# {glue:text}`beyond:.1%` of the weights: to hold them too, the MSB goes from {glue:text}`msb_95_all` to {glue:text}`msb_most_all`, and
# all others give up as many of their last bits.
#
# What comes out of the convolutions, on 32 images:

# %% tags=["hide-input"]
outputs = np.concatenate([v.output.ravel() for v in observed.values()])
output_reach = {p: calibration.percentile_limits(outputs, p) for p in limits}
histogram_figure(outputs, output_reach, "3.2", "convolution outputs")

# %% [markdown]
# The outputs reach further and have the longer tails. Mostly that is because layers differ:
#
# (a-limit-for-each-layer)=
# ## A limit for each layer
#
# Layers differ. Here is the limit that each percentile sets in each layer, for the weights and for what comes out of the
# convolution:

# %% tags=["hide-input"]
def limit_figure(kind, label, what):
    names, values = list(observed), [getattr(v, kind) for v in observed.values()]
    lines = {p: [max(map(abs, calibration.percentile_limits(v, p))) for v in values] for p in limits}
    plots.show(
        plots.figure(
            *(
                go.Scatter(x=names, y=y, name=f"{p} %", mode="lines+markers", line={"color": c})
                for (p, y), c in zip(lines.items(), plots.COLOURS)
            ),
            x="layer",
            y=f"limit of the {what}",
            yaxis={"type": "log", "dtick": "D2"},
            margin={"b": 130},
            height=430,
        ),
        label=label,
        caption=f"The limit that holds each percentile of a layer's {what} (quick; 32 training images).",
        alt=f"Lines of the limits of the {what} over the layers, one a percentile; layers differ by powers of two.",
        table=plots.Table(("layer", *(f"{p} %" for p in lines)), list(zip(names, *lines.values()))),
    )
    return lines


kernel_limits = limit_figure("kernel", "3.3", "weights")
output_limits = limit_figure("output", "3.4", "convolution outputs")

# %%
msbs = calibration.msb_table(model, train[0][:32], range_rule=99.9)
for name, (kernel, x, y) in msbs.items():
    print(f"{name:18} kernel {kernel:2d}   input {x:2d}   output {y:2d}")

# %% tags=["remove-cell"]
kernel_msbs = [m[0] for m in msbs.values()]
output_msbs = [m[2] for m in msbs.values()]
smallest = list(observed)[int(np.argmin(kernel_limits[99.9]))]
record(layers=len(observed))
quote(smallest=smallest)
record(within=2.0, kernel_spread=float(np.ptp(kernel_msbs)), output_spread=float(np.ptp(output_msbs)))

# %% [markdown]
# The kernels' MSBs spread over {glue:text}`kernel_spread:.0f`, the outputs' over {glue:text}`output_spread:.0f`; the smallest
# weights are those of {glue:text}`smallest`. One MSB for all layers is the largest of them: a layer whose own MSB is lower by
# $m$ leaves $m$ of its bits empty.
#
# ## Which percentile?
#
# Clip more, and the rest is finer. What is best depends on how fine it is already. Turn bits, percentile and rounding, and look at the
# signal-to-quantization-noise ratio (SQNR) of each layer: 6 dB are one bit.

# %% tags=["hide-input"]
explore.sqnr_by_percentile(observed, "3.5").show()

# %% [markdown]
# Choose `kernel`, and the percentile with the best mean SQNR, at 8 bits and at 3 bits. The machine did it for all:

# %%
def mean_sqnr(kind, percentile, nbits):
    table = []
    for values in (getattr(v, kind) for v in observed.values()):
        low, high = calibration.percentile_limits(values, percentile)
        fmt = FixedPoint(msb_by_hand(low, high), nbits)
        table.append(quantization_error(values, fmt, "nearest").sqnr)
    return np.mean(table)

# %%
percentiles = (95, 98, 99.9, 99.99, 100)
best = {}
for kind in ("kernel", "output"):
    for nbits in (3, 8):
        sqnr = [mean_sqnr(kind, p, nbits) for p in percentiles]
        best[kind, nbits] = percentiles[int(np.argmax(sqnr))]
        print(kind, nbits, "bits: best percentile", best[kind, nbits])

# %% tags=["remove-cell"]
record(within=10.0, best_kernel_3=float(best["kernel", 3]), best_kernel_8=float(best["kernel", 8]))

# %% [markdown]
# With 3 bits the {glue:text}`best_kernel_3:.4g`th percentile is the best of these for the weights (none below the 95th was tried),
# with 8 bits the {glue:text}`best_kernel_8:.4g`th. The fewer the bits, the more it pays to clip: an error of clipping is large but rare, an error
# of rounding hits everyone, and grows fourfold in power with every bit that is taken away.
#
# ## What the thesis found
#
# Its Table 2 has the limits of all kernels of SqueezeNet, trained on ImageNet; next to them ours:

# %% tags=["hide-input"]
printed = papers.table("vieito2017", 2)
rows = []
for row in printed:
    low, high = limits[row["percentile"]]
    theirs = row["lower"], row["upper"]
    rows.append((f"{row['percentile']} %", *theirs, msb_by_hand(*theirs), low, high, msb_by_hand(low, high)))
HTML(plots.Table(("percentile", "thesis: lower", "upper", "MSB", "ours (quick): lower", "upper", "MSB"), rows).html())

# %% [markdown]
# Its Table 11 goes on to an MSB for each level. Check it against Table 2, and against itself:

# %%
table_11 = papers.table("vieito2017", 11)
falling, above = [], 0
narrow = next(r for r in printed if r["percentile"] == 95)
msb_95 = msb_by_hand(narrow["lower"], narrow["upper"])
for row in table_11:
    above += row["kernel_msb_95"] > msb_95
    if row["kernel_msb_99_99"] < row["kernel_msb_95"]:
        falling.append(row["layer"])
print("MSB falls as the percentile rises in:", ", ".join(falling))
print(f"95 %: Table 2 gives {msb_95}; {above} of {len(table_11)} are above")

# %% tags=["remove-cell"]
record(falling=", ".join(falling), msb_95=msb_95, above=above, levels=len(table_11))

# %% [markdown]
# A limit that holds more values cannot be nearer to zero. Yet in {glue:text}`falling` the printed MSB falls from the 95th to the
# 99.99th percentile. And where the whole network's 95th percentile calls for MSB {glue:text}`msb_95`, all
# {glue:text}`above` of {glue:text}`levels` levels are printed with 0 or 1: the levels cannot all be wider than their union. The
# kernel half of Table 11 is not what 5.5.3 says it is, MSBs by Equation 11.
#
# **Why they differ.** Our limits differ from Table 2 because the networks do: other images, 71 thousand weights instead of 1.2
# million. What carries over is the shape: a narrow peak, long tails, and a factor between the limits that is worth bits.
#
# ## Exercises
#
# **1.** A layer's weights have the limits -0.30 and 0.26. Which MSB does Equation 11 give? Which values does it lose if it has 8
# bits, and how large is a step?
#
# ```{admonition} Solution
# :class: dropdown
# $\lceil \log_2 0.30 \rceil = \lceil -1.74 \rceil = -1$: amplitude 0.5, step $2^{-1+1-8} = 1/256$. Nothing within the limits is
# clipped; what is smaller than 1/256 underflows.
# ```
#
# **2.** The MSB is rounded up. On average, how much of the amplitude is left empty?

# %% tags=["hide-cell"]
used = [kernel_limits[99.9][i] / 2.0**m for i, m in enumerate(kernel_msbs)]
print("used of the amplitude, layer by layer:", [f"{u:.0%}" for u in used])

# %% [markdown]
# ```{admonition} Solution
# :class: dropdown
# Between a half and all of it is used. If the logarithms of the limits fall evenly, $1/(2 \ln 2) = 72\,\%$ on average.
# ```
#
# **3.** After a ReLU no value is negative. How many of the codes of an input are then never used, and what would a device do about
# it?
#
# ```{admonition} Solution
# :class: dropdown
# Half of them, one whole bit. A device can take unsigned codes there. The thesis' operator, and ours, are signed throughout.
# ```
#
# ## Run it on yours
#
# ```python
# from fewbits.quantization import calibration
# from fewbits import quantize_model, training
#
# formats = calibration.formats_for(model, images[:32], nbits=(8, 8, 8), range_rule=99.9)
# quantized = quantize_model(model, formats, rounding="nearest")
# print(training.evaluate(quantized, (images, labels)).accuracy)
# ```

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 6 Two theses, one network
#
# *Reading time: 25 minutes. Needs: [chapter 1](01-fixed-point) (rounding down), [chapter 4](04-quantized-conv2d)
# (quantized networks) and [chapter 5](05-sqnr) (dynamic fixed point).*
#
# Do 8-bit weights ruin a network, or do they cost nothing?
#
# Two theses quantized the weights of SqueezeNet {cite:p}`iandola2016` to 8 bits. In one {cite:p}`vieito2017` the accuracy fell from
# {glue:text}`vieito_float` to {glue:text}`vieito_8`, and the author designed training methods to recover it. In the other
# {cite:p}`backstrom2018` it went from {glue:text}`backstrom_float` to {glue:text}`backstrom_8`, and the author turned to other questions.
# Both cannot be true of the same 8 bits.
#
# ```{admonition} Predict first
# :class: tip
# Take the published weights of SqueezeNet v1.1, photographs, kernels of **8 bits**, and everything else in float. What is the accuracy if
# kernels are rounded *down*, and what if they are rounded to *nearest*? Both errors are smaller than one step of 1/128.
#
# Rounding down makes every weight too small, by half a step on average. What would a quarter of a step do? Can the float network alone
# predict in which layer the shift costs most? The answers are in [Dose and response](dose-and-response) and
# [Predicted in advance](told-beforehand).
# ```

# %% tags=["parameters"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
import numpy as np
from scipy.optimize import curve_fit

from fewbits import FixedPoint, data, explore, quantize, zoo
from fewbits.backend import ops
from fewbits.book import papers, questions, quote, record, reference
from fewbits.book.gate_prices import load_gate_prices
from fewbits.experiment import Scheme, run_schemes
from fewbits.explore import plots
from fewbits.quantization import observe, rounding_shifts
from fewbits.statistics import NO_DATA, Estimate, paired, verdict

SMOKE = profile == "smoke"

# %% [markdown]
# ## The suspect: half a step
#
# The first thesis rounds down, because a device gets this for free: it drops bits. The second uses Ristretto
# {cite:p}`gysel2018`, and names no rounding. We compare rounding down with rounding to nearest on the weights of the small SqueezeNet for
# digits that comes with this book:

# %%
digits = data.load("digits", validation=0.25)
train, _ = digits.arrays("train")
test = digits.arrays("test")
NAME = "squeezenet_digits"
model = zoo.build(NAME, digits.image_shape, 10, weights=NAME)

# %%
fmt = FixedPoint(msb=0, nbits=5)
kernels = np.concatenate([
    np.ravel(w) for w in model.weights if w.name == "kernel"
])
mean_error = {}
for rounding in ("floor", "nearest"):
    error = (quantize(kernels, fmt, rounding) - kernels) / fmt.step
    mean_error[rounding] = error.mean()
    print(f"{rounding:8} mean error {error.mean():+.3f} steps, "
          f"standard deviation {error.std():.3f}")

# %% [markdown]
# Rounded down, a weight is {glue:text}`mean_floor:.2f` steps off on average; rounded to nearest, {glue:text}`mean_nearest:.2f`. This
# is the only difference. The spread is the same.
#
# Now multiply. A filter with weights $w - q/2 + n$, where $n$ is noise with zero mean, computes
#
# $$\sum (w - \tfrac{q}{2} + n)\,x = \sum w\,x \;-\; \frac{q}{2} \sum x \;+\; \sum n\,x .$$
#
# The noise cancels over a window of many inputs. The middle term does not: after a ReLU no input is negative, so the *whole sum of
# the window* is subtracted. The next cells plot the error of a layer's outputs, averaged over its filters, against this sum:

# %%
layer = model.get_layer("fire3_expand3x3")
observed = dict(observe(model, train[:64]))
x, kernel = observed[layer.name].input, observed[layer.name].kernel
window_sum = np.ravel(layer.convolution_op(x, np.ones_like(kernel[..., :1])))
shift = {}
for rounding in ("floor", "nearest"):
    error = quantize(kernel, fmt, rounding) - kernel
    products = layer.convolution_op(x, error.astype("float32"))
    shift[rounding] = ops.convert_to_numpy(products).mean(-1).ravel()

# %%
slope = {
    rounding: float(np.polyfit(window_sum, error, 1)[0] / fmt.step)
    for rounding, error in shift.items()
}
for rounding, steps in slope.items():
    print(f"{rounding:8} slope {steps:+.3f} steps")

# %% tags=["hide-input"]
# Errors of the outputs over the sum of the window
picked = np.random.default_rng(0).choice(len(window_sum), 300, replace=False)
longest = float(window_sum[picked].max())
half_step = {"type": "line", "x0": 0, "y0": 0, "x1": longest, "y1": -fmt.step / 2 * longest, "showlegend": True}
explore.scatter(
    {r: {str(i): (float(window_sum[i]), float(s[i])) for i in picked} for r, s in shift.items()}, "6.1",
    f"The output errors that rounding the kernel of {layer.name} to {fmt.nbits} bits causes, at 300 places in 64 images "
    "(quick).",
    "Scatter plot: errors of rounding down lie along a falling line with slope -q/2; those of nearest lie near zero.",
    x="sum of the inputs in the window", y="mean error of the outputs there", colours=(plots.ORANGE, plots.BLUE),
    symbols=("circle", "diamond"), table=explore.Table(("rounding", "slope in steps"), [*slope.items()]),
    shapes=[{**half_step, "name": "−q/2 times the sum", "line": {"color": plots.GREY, "dash": "dash"}}],
)

# %% [markdown]
# The slope is {glue:text}`slope_floor:.2f` steps for floor and {glue:text}`slope_nearest:.2f` for nearest. The sum is not the
# same everywhere: its standard deviation is {glue:text}`spread:.0%` of its mean. The error therefore depends on the image and on the
# place, and no constant can undo it. Nor is it noise: all filters shift in the same direction, layer after layer, and the ReLU removes
# every value that the shift moves below zero.
#
# (dose-and-response)=
# ## Dose and response
#
# Is the shift the cause, or merely the larger error? To distinguish them, we apply the shift in doses: round all kernels to nearest, and
# then add $\delta$ steps to every weight. Nothing is added at $\delta = 0$; rounding down is
# $\delta = -\frac{1}{2}$ on average; and $+\frac{1}{2}$ is rounding up.

# %%
BITS = (5,) if SMOKE else (4, 5, 6)
DOSES = (-0.5, 0.0, 0.5) if SMOKE else tuple(np.linspace(-0.5, 0.5, 9))


def kernels_only(bits, msb=0, **options):
    """Return the scheme of kernels with the step of `bits` bits at MSB 0."""
    return Scheme(bits=(bits + msb, None, None), msb=(msb, 9, 9), **options)


# %%
doses = [kernels_only(b, kernel_shift=d) for b in BITS for d in DOSES]
live = run_schemes(model, doses, train[:64], test)
print(f"float: {live.float}")
for dose in DOSES:
    print(f"5 bits, {dose:+.3f}: {live[kernels_only(5, kernel_shift=dose)]}")

# %% tags=["hide-input"]
# Dose and response on digits
def responses(study, bits, doses):
    known = {b: {d: kernels_only(b, kernel_shift=d) for d in doses} for b in bits}
    return {f"{b} bits": {d: study[s] for d, s in schemes.items() if s in study} for b, schemes in known.items()}


explore.lines(
    responses(live, BITS, DOSES), "6.2",
    f"Kernels rounded to nearest, then moved by parts of a step. {len(test[1])} test digits, 95 % intervals (quick).",
    "Lines of the accuracy over the shift: highest at zero, falling on both sides, sooner with fewer bits.",
    x="shift of the kernels, in steps", levels={"float": live.float}, height=440,
)

# %% [markdown]
# (on-photographs)=
# Digits are easy. A harder test uses the published weights of SqueezeNet v1.1 and photographs with labels of ImageNet (*reference* results
# from here on). The photographs are the development set of the NIPS 2017 competition on adversarial examples {cite:p}`kurakin2018`, not
# ImageNet's validation images {cite:p}`russakovsky2015`. The first 128 of the 1,000 set formats where a scheme needs images for
# calibration. All accuracies are measured on the other {glue:text}`photos`. Two schemes are compared image by image, which is far more
# precise than a comparison of their intervals.

# %%
study = reference.load_study("photographs")
PHOTO_BITS = (8, 7, 6, 5)
fine = tuple(k / 32 for k in (-16, -12, -8, -4, -2, -1, 0, 1, 2, 4, 8, 12, 16))

# %% tags=["hide-input"]
# Dose and response on photographs
explore.lines(
    responses(study, PHOTO_BITS, fine), "6.3",
    f"Kernels rounded to nearest, then moved by parts of a step: SqueezeNet v1.1, {study.images:,} photographs, 95 % "
    "intervals (reference).",
    "Lines of the accuracy over the shift: bells around zero, half as wide with each bit less; at 6 bits and an eighth of a "
    "step almost no accuracy is left.",
    x="shift of the kernels, in steps", levels={"float": study.float}, height=440,
)

# %% tags=["remove-cell"]
# Quoted in the text
def share(found, scheme):
    """Return the share of a scheme as text."""
    return f"{found[scheme].share.value:.1%}" if scheme in found else NO_DATA


vieito = {row["bits"]: row["accuracy"] for row in papers.table("vieito2017", 5)}
backstrom = papers.table("backstrom2018", 5)
backstrom = {row["bits"]: row["accuracy"] for row in backstrom if row["quantized"] == "CONV weights"}
backstrom_float = papers.table("backstrom2018", 6)[0]["top1_accuracy"]
all_8, train_8 = papers.table("vieito2017", 9)[1]["accuracy"], papers.table("vieito2017", 10)[-1]["dynamic_accuracy"]
quote(vieito={"float": f"{vieito[32]} %", 8: f"{vieito[8]} %", 888: f"{all_8} %", "train": f"{train_8} %"})
quote(backstrom_float=f"{100 * backstrom_float:.2f} %", backstrom_8=f"{100 * backstrom[8]:.2f} %")
record(within=0.001, mean={rounding: float(error) for rounding, error in mean_error.items()})
record(within=0.1, slope=slope, spread=float(window_sum.std() / window_sum.mean()))
record(within=0.02, float_accuracy=live.float.share)
record(within=0.05, dose={word: live[kernels_only(5, kernel_shift=d)].share
                          for word, d in (("down", -0.5), ("none", 0.0), ("up", 0.5))})
quote(photos=f"{study.images:,}")
quote(quarter=share(study, kernels_only(8, kernel_shift=-0.25)), eighth=share(study, kernels_only(6, kernel_shift=-0.125)))
quote(half_8=share(study, kernels_only(8, kernel_shift=-0.5)), quarter_7=share(study, kernels_only(7, kernel_shift=-0.25)))

# %% [markdown]
# On digits, kernels of 5 bits lose little at $\delta = 0$ ({glue:text}`dose_none:.1%` of {glue:text}`float_accuracy:.1%`), and much at
# half a step down ({glue:text}`dose_down:.1%`) or up ({glue:text}`dose_up:.1%`). On photographs, at 8 bits, the accuracy is
# {glue:text}`quarter` after a quarter of a step down; at 6 bits it is {glue:text}`eighth` after an eighth. The resolution is the same along
# a line: only the shift changes. The absolute size of the shift counts: half a step of 8 bits is a quarter of a step of 7, and the
# accuracies are {glue:text}`half_8` and {glue:text}`quarter_7`.
#
# Rounding modes differ in their dose. Down is -1/2, up +1/2. Toward zero decreases positive weights and increases negative
# ones, so the mean shift is small, but every weight shrinks. To nearest has no shift, whatever happens to ties. Stochastic
# rounding has no mean shift either, but twice the variance:

# %%
MODES = "floor", "ceiling", "toward-zero", "nearest", "nearest-up"
MODES += ("nearest-away",)
rows = [(mode, *(study.get(kernels_only(b, kernel_rounding=mode))
                 for b in PHOTO_BITS)) for mode in MODES]
for seed in (0, 1, 2):
    drawn = {"kernel_rounding": "stochastic", "seed": seed}
    rows.append((f"stochastic, seed {seed}",
                 *(study.get(kernels_only(b, **drawn)) for b in PHOTO_BITS)))
columns = "kernels rounded", *(f"{b} bits" for b in PHOTO_BITS)
explore.Table(columns, rows, note=study.made_with)

# %% [markdown]
# (told-beforehand)=
# ## Predicted in advance
#
# If the formula is right, the float network predicts the loss. For each window we know how far rounding down shifts its output:
# $\frac{q}{2} \sum x$. The shift matters if it is large compared with the spread of the outputs that the layer passes on. We therefore
# define the *relative shift* of a layer as the root mean square of the change after the activation, in units of the standard deviation of
# the values there. It needs some tens of images, no labels, and no rounding. Here is the complete computation for one layer:

# %%
values = observed[layer.name]
outputs = values.output  # with the bias, before the ReLU
sums = ops.convert_to_numpy(
    layer.convolution_op(values.input, np.ones_like(values.kernel)))
before = np.maximum(outputs, 0)
after = np.maximum(outputs - fmt.step / 2 * sums, 0)
deviation = np.sqrt(before.var((0, 1, 2)).mean())  # over places; all filters
relative = np.sqrt(np.mean((after - before) ** 2)) / deviation

shifts = {shift.layer: shift for shift in rounding_shifts(model, train[:64])}
print(f"{relative:.3f}, and from the library "
      f"{shifts[layer.name].at(fmt.step):.3f}")

# %% [markdown]
# Next, we round down one layer at a time, at several widths, and measure the accuracy. A curve with two parameters maps the relative shift
# to the share of the accuracy that is kept (chance counts as nothing kept). The parameters are the shift at which half is kept, and the
# steepness of the fall.

# %%
def kept(shift, half, slope):
    """Return the share of the accuracy that is kept."""
    return 1 / (1 + (shift / half) ** slope)


def curve(points):
    """Return `half` and `slope` that fit (relative shift, share kept)."""
    return curve_fit(kept, *zip(*points), p0=(1, 2), bounds=(1e-3, 50))[0]


def explained(measured, predicted):
    """Return the share of the variance that a prediction explains."""
    measured, error = np.array(measured), np.subtract(measured, predicted)
    return 1 - np.sum(error**2) / np.sum((measured - measured.mean()) ** 2)


# %% [markdown]
# A curve that is tested on the data of its fit proves little. The layers are therefore split into two halves, and each half is predicted
# from the other.

# %%
def measured(study, shifts, widths, chance, msb=0):
    """Return (layer, bits) -> (relative shift, share of accuracy kept)."""
    known, whole = {}, study.float.share.value - chance
    for shift in shifts:
        down = {"rounding": "floor", "layers": (shift.layer,), "msb": msb}
        for b in widths:
            alone = kernels_only(b, **down)
            if alone in study:
                left = (study[alone].share.value - chance) / whole
                known[shift.layer, b] = shift.at(FixedPoint(0, b).step), left
    return known


# %%
def predicted(known):
    """Return the same keys -> share kept, from the other half's curve."""
    names = list(dict.fromkeys(name for name, _ in known))
    halves = [{k: v for k, v in known.items() if names.index(k[0]) % 2 == i}
              for i in (0, 1)]
    return {key: kept(shift, *curve(other.values()))
            for own, other in (halves, halves[::-1])
            for key, (shift, _) in own.items()}


# %%
WIDTHS = (4,) if SMOKE else (6, 5, 4, 3)
alone = [kernels_only(b, rounding="floor", layers=(name,))
         for name in shifts for b in WIDTHS]
live_alone = run_schemes(model, alone, train[:64], test)
known = measured(live_alone, shifts.values(), WIDTHS, chance=0.1)
told = predicted(known)
digits_explained = explained([left for _, left in known.values()],
                             [told[key] for key in known])
print(f"digits: {digits_explained:.0%} of the variance explained")

# %% [markdown]
# On digits, {glue:text}`digits_explained:.0%` of the variance over layers and bits is explained. The photographs are the decisive test.
# There the curve of single layers must also predict the accuracy of the *whole* network when all its kernels are moved, by all doses of
# {figure}`6.3`. We assume that shifts of different layers add up like independent errors, as the root of the sum of their squares.

# %%
def whole(study, shifts, widths, doses, law, chance, msb=0):
    """Return (dose, bits) -> (predicted, measured) share kept."""
    pairs, base = {}, study.float.share.value - chance
    for b in widths:
        near = study.get(kernels_only(b, msb))
        for d in doses if near else ():
            scheme = kernels_only(b, msb, kernel_shift=d)
            if scheme in study and d:
                step = 2 * abs(d) * FixedPoint(0, b).step
                total = np.sqrt(sum(s.at(step) ** 2 for s in shifts))
                start, end = ((a.share.value - chance) / base
                              for a in (near, study[scheme]))
                pairs[d, b] = start * kept(total, *law), end
    return pairs


# %%
PHOTO_WIDTHS = (8, 7, 6, 5, 4)
photo_shifts = reference.load_shifts("squeezenet")
photo_known = measured(study, photo_shifts, PHOTO_WIDTHS, chance=0.001)
photo_told = predicted(photo_known)
photo_law = curve(photo_known.values())
photo_whole = whole(study, photo_shifts, PHOTO_BITS, fine, photo_law, 0.001)
photo_layers = {key: (photo_told[key], left)
                for key, (_, left) in photo_known.items()}

# %% tags=["hide-input"]
# Predicted against measured
def top1(pairs, name):
    return {name(*key): tuple(float(study.float.share.value * v) for v in pair) for key, pair in pairs.items()}


ends = [0, study.float.share.value]
explore.scatter(
    {"one layer rounded down": top1(photo_layers, lambda layer, b: f"{layer}, {b} bits"),
     "all kernels moved": top1(photo_whole, lambda d, b: f"{d:+g} steps of {b} bits")},
    "6.4", f"Accuracy predicted from the float network, and measured: SqueezeNet v1.1, {study.images:,} photographs (reference). "
    "Measured shares have 95 % intervals of up to 3.3 points either way.",
    "Scatter plot: points of single layers and of the whole network lie along the diagonal, with a spread of some ten points.",
    x="predicted top-1 accuracy", y="measured top-1 accuracy", colours=(plots.ORANGE, plots.BLUE), symbols=("circle", "diamond"),
    xaxis={"tickformat": ".0%"}, yaxis={"tickformat": ".0%"},
    shapes=[{"type": "line", "x0": 0, "y0": 0, "x1": ends[1], "y1": ends[1], "name": "as predicted", "showlegend": True,
             "line": {"color": plots.GREY, "dash": "dash"}}],
)

# %% tags=["remove-cell"]
# Quoted in the text
def variance(pairs):
    """Return the share of the variance that is explained, from pairs (predicted, measured), as text."""
    return f"{explained([m for _, m in pairs.values()], [p for p, _ in pairs.values()]):.0%}" if pairs else NO_DATA


record(within=0.02, relative=float(relative))
record(within=0.3, digits_explained=float(digits_explained))
quote(layers_explained=variance(photo_layers), whole_explained=variance(photo_whole))
reached = explained([left for _, left in photo_layers.values()], [guess for guess, _ in photo_layers.values()])
quote(points=len(photo_layers), half=photo_law[0], goal_80="met" if reached >= 0.8 else "not met")
off = {key: left - guess for key, (guess, left) in photo_layers.items()}
worst, best = min(off, key=off.get), max(off, key=off.get)
quote(below=f"{worst[0]} at {worst[1]} bits", above=f"{best[0]} at {best[1]} bits")
quote(below_by=100 * study.float.share.value * -off[worst], above_by=100 * study.float.share.value * off[best])

# %% [markdown]
# Over {glue:text}`points` pairs of a layer and a width, the prediction explains {glue:text}`layers_explained` of the variance (our goal
# was 80 %: {glue:text}`goal_80`), and half of the accuracy is lost at a relative shift of {glue:text}`half:.2f`. The same curve, fitted to
# single layers only, explains {glue:text}`whole_explained` for the whole network. It is not exact: {glue:text}`below` is
# {glue:text}`below_by:.0f` points worse than predicted, {glue:text}`above` {glue:text}`above_by:.0f` points better. The prediction includes how
# far the values of a layer move, but not how much the rest of the network depends on them.
#
# There is one caveat. We compared several measures of the shift on these same photographs, and kept the one after the activation; the
# measure before the activation explained a little less. This network therefore influenced the choice. The networks of the next section
# did not: they are the fair test.
#
# ## Other networks
#
# Does the law hold for other networks? The published MobileNet v1 of width 0.25 {cite:p}`howard2017` has depthwise layers and ReLU6. LeNet
# for MNIST and a residual network of eight layers for CIFAR-10 were trained for this chapter, and so was the same residual network with
# *tanh* in place of each ReLU. For tanh the theory predicts less harm: inputs of both signs cancel in the sum of a window.

# %%
NETWORKS = {
    "squeezenet": ("SqueezeNet v1.1", 0.001),
    "mobilenet": ("MobileNet v1, 0.25, 128 pixels", 0.001),
    "lenet": ("LeNet, MNIST", 0.1),
    "residual": ("residual, CIFAR-10", 0.1),
    "residual_tanh": ("residual, tanh, CIFAR-10", 0.1),
}


# %%
def law_of(own, found, chance, msb):
    """Return the shares of the variance that the law explains in a network."""
    known = measured(own, found, PHOTO_WIDTHS, chance, msb) if own else {}
    if not known:
        return NO_DATA, NO_DATA
    told = predicted(known)
    layers = explained([left for _, left in known.values()],
                       [told[key] for key in known])
    law = curve(known.values())
    pairs = whole(own, found, PHOTO_BITS, fine, law, chance, msb)
    return f"{layers:.0%}", variance(pairs)


# %% tags=["hide-input"]
# The law in five networks
studies = {name: study if name == "squeezenet" else reference.load_study(f"rounding-{name}") for name in NETWORKS}
msbs = {name: 0 if own is study or not own else max(s.msb[0] for s in own if s.msb) for name, own in studies.items()}
laws, rows = {}, []
for name, (title, chance) in NETWORKS.items():
    own, found = studies[name], reference.load_shifts(name)
    total = np.sqrt(sum(s.at(FixedPoint(0, 8).step) ** 2 for s in found)) if found else None
    ratio = np.mean([abs(s.window_sum) / s.window_deviation for s in found[1:] if s.window_deviation]) if found else None
    answered = [own.get(kernels_only(8, msbs[name], kernel_rounding=r)) for r in ("floor", "nearest")]
    laws[name] = law_of(own, found, chance, msbs[name])
    numbers = [NO_DATA if number is None else f"{number:.2f}" for number in (ratio, total)]
    rows.append((title, own.float if own else None, *answered, *numbers, *laws[name]))
explore.Table(
    ("network", "float", "8 bits, floor", "8 bits, nearest", "mean over deviation of the window sums", "relative shift, 8 bits",
     "explained, single layers", "explained, all moved"), rows,
    note="Kernels only, with a step of 1/128; the MSB covers the largest weight, which takes more than 8 bits in some. Explained: share of the variance, each half of the layers predicted from the other; all moved: the "
    "doses, from the curve of single layers. The sums are those of all layers but the first.",
)

# %% tags=["remove-cell"]
# Quoted in the text
def kept_by_layer(name, bits):
    """Return layer -> share kept when it is rounded down alone; without the first layer and the last."""
    known = measured(studies[name], reference.load_shifts(name), (bits,), 0.1, msbs[name]) if studies[name] else {}
    return {layer: left for (layer, _), (_, left) in [*known.items()][1:-1]}


both = [kept_by_layer(name, 7) for name in ("residual", "residual_tanh")]
means = [Estimate.of(found.values()) for found in both]
tanh_gap = paired(both[1], both[0])
quote(relu_kept=means[0].percent, tanh_kept=means[1].percent, tanh_gap=tanh_gap.points, tanh_verdict=verdict(tanh_gap))
quote(law={name: layers for name, (layers, _) in laws.items()}, moved={name: moved for name, (_, moved) in laws.items()})

# %% [markdown]
# Within each network, a larger shift does more harm. But no single curve fits all networks. Half of the accuracy is lost at a different
# shift in each, and the explained share of the variance differs: {glue:text}`law_mobilenet` in MobileNet, {glue:text}`law_squeezenet` in
# SqueezeNet, {glue:text}`law_residual` in the residual network, whose shortcuts carry values past a damaged layer,
# {glue:text}`law_residual_tanh` with tanh, and {glue:text}`law_lenet` in LeNet (below zero, the mean would predict better). LeNet has three
# layers that the shift can harm, too few to predict one from the others, and its digits tolerate a shift as large as the spread.
#
# The curve of single layers also predicts the whole network in SqueezeNet ({glue:text}`moved_squeezenet`) and in the residual network
# ({glue:text}`moved_residual`). In MobileNet ({glue:text}`moved_mobilenet`), LeNet ({glue:text}`moved_lenet`) and with tanh
# ({glue:text}`moved_residual_tanh`) it does not: there, shifts of many layers do not add up like independent errors.
#
# The prediction for signed inputs holds. Each layer that reads activations was rounded down alone, with a step of 1/64. On average over the
# layers, this keeps {glue:text}`relu_kept` % of the accuracy with ReLU and {glue:text}`tanh_kept` % with tanh: {glue:text}`tanh_gap`,
# **{glue:text}`tanh_verdict`** (the interval is over layers, of one network each). The layer that reads pixels, which have one sign,
# does not gain: it makes the network with tanh fail as a whole.
#
# (the-theses)=
# ## The two theses
#
# We return to the contradiction. The thesis that rounds down has MSB 0 for all kernels and 9 for inputs and outputs.

# %%
THESIS = {"msb": (0, 9, 9)}
f = None


def answers(bits, rounding, **options):
    """Return the answers of the network, if they are known."""
    options = options or THESIS
    return study.get(Scheme(bits=bits, rounding=rounding, **options))


# %% tags=["hide-input"]
# Kernels of 16 to 4 bits: both theses, and ours by rounding
rows = []
for bits in (16, 8, 6, 4):
    first = f"{vieito[bits]} %" if bits in vieito else "-"
    second = f"{100 * backstrom[bits]:.2f} %" if bits in backstrom else "-"
    rows.append((bits, first, second, *(answers((bits, f, f), rounding) for rounding in ("floor", "nearest"))))
rows.append(("float", f"{vieito[32]} %", f"{100 * backstrom_float:.2f} %", study.float, study.float))
heads = "bits of the kernels", "vieito2017", "backstrom2018", "ours: floor", "ours: nearest"
explore.Table(heads, rows, note=f"Ours: {study.made_with}")

# %% tags=["remove-cell"]
# Quoted in the text
down, near = (answers((8, f, f), rounding).share for rounding in ("floor", "nearest"))
quote(photo_top5=study.float.top5.mean(), photo_float=study.float.share, photo_down=down, photo_near=near)
gap, under = near - down, study.float.share - near
quote(gap=100 * gap.mean, gap_reach=100 * gap.half_width, near_under=under.percent)
backstrom_lost = backstrom_float - backstrom[8]
tests = {
    "gap": gap,
    "down": Estimate(vieito[8] / 100 - down.value, down.half_width, study.images),
    "near": Estimate(backstrom_lost - under.mean, under.half_width, study.images),
}
quote(test={name: verdict(difference) for name, difference in tests.items()}, backstrom_under=100 * backstrom_lost)
quote(verdict={"confirmed": "A rounding mode is enough to explain both", "refuted": "A rounding mode does not explain both"}.get(
    verdict(*tests.values()), "A rounding mode may explain both, but these photographs do not decide it"))

# %% [markdown]
# With the same 8 bits and the same MSB, the top-1 accuracy is {glue:text}`photo_down:.1%` rounded down and {glue:text}`photo_near:.1%`
# rounded to nearest; in float it is {glue:text}`photo_float:.1%` (top-5: {glue:text}`photo_top5:.1%`). Three tests, on intervals of 95 %:
#
# - Nearest is better than down, by {glue:text}`gap:.1f` ± {glue:text}`gap_reach:.1f` points: **{glue:text}`test_gap`**.
# - Down leaves less than the first thesis' {glue:text}`vieito_8`: **{glue:text}`test_down`**.
# - Nearest loses less than the second thesis' {glue:text}`backstrom_under:.1f` points ({glue:text}`near_under` here):
#   **{glue:text}`test_near`**.
#
# **{glue:text}`verdict`.** The resolution of the weights does not explain the first thesis' result at 8 bits.
#
# The tables of that thesis also quantize inputs and outputs, and choose MSBs by percentile. The explorer varies all of these:

# %%
RULES = {"the thesis': 0, 9, 9": THESIS}
for what, per_layer in (("one per layer", True), ("one for all", False)):
    for p in (95.0, 98.0, 99.9, 99.99):
        options = {} if per_layer else {"per_layer": False}
        RULES[f"{what}, {p:g} %"] = {"percentile": p, **options}
WIDTHS = [(b, f, f) for b in (24, 16, 8, 6, 4)]
WIDTHS += [(16, b, f) for b in (24, 16, 8)]
WIDTHS += [(16, 16, 16), (16, 8, 8), (8, 8, 8), (8, 6, 6), (6, 6, 6)]

# %% tags=["hide-input"]
# An explorer of bits, rounding and MSBs, next to the cells of the thesis' Tables 4 to 9
TABLES = {number: papers.table("vieito2017", number) for number in range(4, 10)}
CELLS = [
    *((4, (24, f, f), (r["msb"], 9, 9), r["accuracy"]) for r in TABLES[4][1:]),
    *((5, (r["bits"], f, f), (0, 9, 9), r["accuracy"]) for r in TABLES[5][1:]),
    *((6, (r["bits"], f, f), (0, 9, 9), r["on_model_accuracy"]) for r in TABLES[6][1:]),
    *((7, (16, 16, f), (0, r["msb"], 9), r["accuracy"]) for r in TABLES[7][1:]),
    *((8, (16, min(24, r["bits"]), f), (0, 9, 9), r["accuracy"]) for r in TABLES[8][1:]),
    *((9, papers.bits_of(r), (0, 9, 9), r["accuracy"]) for r in TABLES[9]),
]
printed = {bits: accuracy / 100 for number, bits, msb, accuracy in CELLS if msb == (0, 9, 9) and number != 6}
network = f"SqueezeNet v1.1, {study.images:,} photographs (reference)"
explore.accuracy_by_scheme(study, WIDTHS, RULES, printed, "6.5", network).show()

# %% [markdown]
# Choose *kernels, inputs, outputs* and *nearest*, and go through the rules for the MSB. The next table has every cell of the thesis'
# Tables 4 to 9, with its bits and MSBs. (24 bits stand for its 32, which float32 cannot represent. We assume 16 bits for the inputs of
# Table 7, because its row of MSB 9 is the row of 16 bits in Table 8: [page 91](table-7).)

# %% tags=["hide-input"]
# Every cell of the thesis' Tables 4 to 9, and ours
rows = []
for number, bits, msb, accuracy in CELLS:
    used = ", ".join(str(m) for m, b in zip(msb, bits) if b is not None)
    ours = (answers(bits, rounding, msb=msb) for rounding in ("floor", "nearest"))
    rows.append((number, bits, used, f"{accuracy} %", *ours))
explore.Table(("Table", "bits", "MSBs", "thesis (51 % in float)", "ours: floor", "ours: nearest"), rows)

# %% tags=["remove-cell"]
# Quoted in the text
record(cells_of_thesis=len(CELLS))
dynamic = study.under_float(Scheme(bits=(8, f, f), percentile="dynamic"))
quote(dynamic_under=dynamic.percent, backstrom_lost=100 * (backstrom_float - backstrom[8]))
quote(all_down=answers((8, 8, 8), "floor").share, all_near=answers((8, 8, 8), "nearest").share)
quote(clipped=answers((24, f, f), "nearest", msb=(-2, 9, 9)).share)

# %% [markdown]
# The table shows three things. Clipping kernels at a quarter of their range ruins the network whatever the rounding
# ({glue:text}`clipped:.1%`): here the thesis is right. At 8-8-8 the thesis has {glue:text}`vieito_888`, and the published weights have
# {glue:text}`all_down:.1%` rounded down and {glue:text}`all_near:.1%` to nearest. Dynamic fixed point, the second thesis' format, loses
# {glue:text}`dynamic_under` points with 8-bit kernels rounded to nearest, where that thesis lost {glue:text}`backstrom_lost:.1f`.
#
# [Chapter 7](07-repairs) tests repairs without labels, including constants that are meant to undo the shift.
#
# ## A rounding for each level
#
# The results on photographs are stored, but the page computes the small SqueezeNet for digits with the rounding that you choose for each
# level. It compares the outputs of each layer, and the logits, with those in float.

# %%
explore.error_by_rounding(model, zoo.levels(model), digits, "6.6").show()

# %% [markdown]
# Three things to find out:
#
# 1. All levels are rounded down. Round one of them to nearest: which one recovers most? Is one level rounded down enough to
#    ruin a network that is otherwise rounded to nearest?
# 2. Round only `conv10` down. The logits move, and their error is nearly the same in all classes. How does this affect the prediction?
# 3. With everything rounded to nearest, look at the mean error and the RMS error of each layer. Which of them grows with depth?
#
# ## Other ways to lose as much
#
# Too few bits are not the only possible error on the way to a device. The table has the same network in float, with images prepared
# differently (4.3.4 of the thesis), and with pooling that drops the pixels at the edge, as in its Code 5:

# %% tags=["hide-input"]
# The same network with other images and pooling
OTHERS = {
    "as trained: BGR, less the mean pixel, ceil pooling": ("57.8 % (Caffe)", ""),
    "floor pooling": ("56.9 %", "-floor-pooling"),
    "without the mean pixel": ("36.5 %", "-no-mean"),
    "RGB instead of BGR": ("16.4 %", "-rgb"),
    "both": ("-", "-rgb-no-mean"),
}
others = {name: reference.load_study(f"photographs{ending}").float for name, (_, ending) in OTHERS.items()}
under_first = {name: study.float.share - other.share for name, other in others.items()}
rows = [(n, OTHERS[n][0], other, under_first[n], f"{other.top5.mean():.1%}") for n, other in others.items()]
explore.Table(("images and pooling", "thesis", "ours: top-1", "points under the first", "top-5"), rows)

# %% tags=["remove-cell"]
# Quoted in the text
no_mean = under_first["without the mean pixel"]
theirs = {name: float(text.split()[0]) for name, (text, _) in OTHERS.items() if text != "-"}
quote(no_mean=no_mean.percent, no_mean_thesis=theirs["floor pooling"] - theirs["without the mean pixel"])
quote(rgb=others["RGB instead of BGR"].share, both=others["both"].share, pooling=under_first["floor pooling"].percent)

# %% [markdown]
# Without the mean pixel, the loss is {glue:text}`no_mean` points here and {glue:text}`no_mean_thesis:.1f` in the thesis. Swapped channels
# leave more accuracy here ({glue:text}`rgb:.1%`) than the 16.4 % in the thesis; with both mistakes at once it is {glue:text}`both:.1%`. Floor
# pooling costs {glue:text}`pooling` points. The thesis found the published weights 0.9 points under Caffe's figure and suspected the
# implementation: floor pooling is a difference of this kind and of this size.
#
# ## What the thesis found
#
# The first thesis concludes (5.4.3) that static quantization cannot go below 16 bits, and that a network is most sensitive to the
# resolution of its kernels. The second (4.1.2) concludes that 8 bits are enough for everything.
#
# **Why they differ.** {glue:text}`verdict`: the effect appears in a network for digits and in the published one, in one layer and in
# the whole network; it follows the dose of the shift with the resolution unchanged; and the float network predicts where it occurs.
#
# **What the sources say.** The first thesis rounds by `floor` in its own code. Hardware does the same by default: the default
# of `ap_fixed` in Vitis HLS is `AP_TRN`, truncation to minus infinity {cite:p}`amd2024hls`. Ristretto, which the second thesis used,
# has only two modes, to nearest and stochastic {cite:p}`gysel2018`; in its code, layers round to nearest when they are tested, unless the
# network's description asks for stochastic rounding.
#
# **What rounding costs.** Rounding down is not quite free: hardware shifts the sum, and clips it to a code. The other roundings add one to
# some results. We synthesized each of them in gates ([chapter 17](17-engine)), for codes of several widths:

# %% tags=["hide-input"]
# Roundings in an FPGA
prices = load_gate_prices()
widths = range(4, 17, 2)


def rounder(rounding, b):
    """Return its lookup tables, and how much of a MAC it takes more than floor."""
    more = prices.above_floor(b, rounding) / prices.mac(b)
    return f"{prices.rounding(b, rounding)}" + (f" ({more:+.0%})" if more else "")


explore.Table(
    ("lookup tables to shift, round and clip", *(f"{b} bits" for b in widths)),
    [(rounding, *(rounder(rounding, b) for b in widths)) for rounding in ("floor", "nearest-up", "nearest-away", "nearest")],
    "In brackets: more than floor, as a share of a MAC (a product of two codes and a saturating sum). A sum has twice the bits of a "
    f"code and 8 more; the shift is wired. {prices.made_with}",
)

# %% tags=["remove-cell"]
# Quoted in the text
up = {b: prices.above_floor(b, "nearest-up") / prices.mac(b) for b in range(4, 17)}
quote(up_luts=prices.above_floor(8, "nearest-up"), up={b: f"{up[b]:.0%}" for b in (4, 8, 16)})
quote(even_more=prices.above_floor(8, "nearest") - prices.above_floor(8, "nearest-up"))

# %% [markdown]
# Half up takes {glue:text}`up_luts` lookup tables more than floor at 8 bits. This is {glue:text}`up_8` of one MAC
# ({glue:text}`up_4` at 4 bits, {glue:text}`up_16` at 16), and one rounding follows the MACs of a whole window. Half to even
# takes {glue:text}`even_more` more than half up. Chapter 7 moves the half step into the bias, where it costs nothing.
#
# **What remains unknown.** We do not know how the first thesis' *own* weights, trained to 51 %, would have behaved. The second thesis does
# not say which version of SqueezeNet it quantized, so the architecture need not be the same. We assume that it left Ristretto's rounding
# unchanged. All photographs here come from one set. Chapter 9 has the other half: quantize-while-train recovers much of the accuracy that
# rounding down costs, a loss that nearest would have avoided.
#
# ## Two questions

# %% tags=["hide-input"]
# The same harm with fewer bits
dose = 0.25
same_shift = dose * FixedPoint(0, 8).step / FixedPoint(0, 6).step
questions.ask(
    f"Kernels of 8 bits, rounded to nearest, are moved down by {dose:g} steps. Which move does the same harm to kernels of 6 bits with the "
    "same MSB, as far as the shift is the cause?",
    (f"{same_shift:g} steps", "The absolute shift counts. A step of 6 bits is four times as wide, so a quarter of the dose is enough."),
    (f"{dose:g} steps", "This is the same share of a step that is four times as wide: four times the shift."),
    (f"{4 * dose:g} step", "This is sixteen times the absolute shift."),
    (f"{dose / 2:g} steps", "This would be right for 7 bits, whose step is twice as wide."),
)

# %% tags=["hide-input"]
# The layer that suffers most
windows = {"576 inputs with the mean 0.1": 57.6, "64 inputs with the mean 0.5": 32.0, "1,152 inputs with the mean 0": 0.0}
most, *less = sorted(windows, key=windows.get, reverse=True)
questions.ask(
    "Three layers have kernels of one format, rounded down, and outputs of equal spread. Which layer's outputs are shifted most, on average?",
    (f"the one with {most}", f"The shift is half a step times the sum of the inputs, and that sum is {windows[most]:g} on average."),
    *((f"the one with {each}", f"The sum of its inputs is {windows[each]:g} on average: {why}") for each, why in zip(less, (
        "large inputs, but few of them.", "inputs of both signs cancel. A single window may still be shifted."))),
)

# %% [markdown]
# ## Exercises
#
# **1.** Kernels of 8 bits, MSB 0, rounded down. A layer sees windows of 576 inputs with a mean of 20. By how much are its outputs
# shifted? Compare with an output's typical size of 100.
#
# ```{admonition} Solution
# :class: dropdown
# $q = 2^{0+1-8} = 1/128$, so $q/2 \cdot 576 \cdot 20 = 45$: nearly half of the output's size.
# ```
#
# **2.** In {figure}`6.5`, kernels only, rounded down, choose *one per layer* with 95 % and with 99.99 %. With 95 % most steps are much finer than
# with MSB 0. Why does neither come near float at 8 bits?
#
# ```{admonition} Solution
# :class: dropdown
# With 95 % the cause is clipping: at 24 bits the step is negligible, but the accuracy is little higher. With 99.99 % the cause is still the
# shift: hardly any weight is clipped, but the largest weights keep the MSB of most layers near 0, so half a step is as large as before.
# Nearest has no shift at any step.
# ```
#
# **3.** In {figure}`6.3`, find the shift at which half of the accuracy is left, at 8 and at 7 bits. What do you expect for 9 bits?
#
# ```{admonition} Solution
# :class: dropdown
# About a quarter of a step at 8 bits, about an eighth at 7: the same absolute shift. At 9 bits this is half a step, the shift of
# rounding down. Kernels of 9 bits with MSB 0, rounded down, therefore keep about half, and each additional bit halves the shift.
# ```
#
# **4.** A layer reads signed inputs whose window sums have a mean of 0 and a large deviation. Is it safe to round its kernels down?
#
# ```{admonition} Solution
# :class: dropdown
# The mean shift is 0, but each window is shifted by its own sum. The relative shift counts the root mean square, so it need not be small:
# conv1, which reads pixels less their mean, is such a layer, and at 6 bits it loses nearly half of the accuracy.
# ```
#
# **5.** Rounding toward zero has no mean shift in a kernel with as many positive as negative weights. Why is it worse than to nearest?
#
# ```{admonition} Solution
# :class: dropdown
# Every weight shrinks by half a step on average, so each output keeps its sign and loses size. Its error follows the sum of inputs times
# the signs of their weights, so it is not noise either. The small weights, which are the majority, become zero.
# ```
#
# **Lab.** Measure the shift, undo it with one sum, and compare two networks image by image, in `notebooks/labs/06-two-theses.py`
# ([all labs](../book/labs)).
#
# ## Run it on yours
#
# Where would rounding down harm your network? The test needs a few images, but neither labels nor quantization:
#
# ```python
# from fewbits.quantization import rounding_shifts
#
# for shift in rounding_shifts(model, images[:32]):
#     print(f"{shift.layer:20} {shift.at(2**-7):.2f} of the spread at 8 bits")
# ```
#
# One command runs the measurement on any folder of labelled images. A file lists the schemes to compare:
#
# ```toml
# [[grid]]
# name = "dose"
# fixed = { bits = [8, "float", "float"], msb = [0, 9, 9] }
# vary = { kernel_shift = [-0.5, -0.25, 0.0, 0.25, 0.5] }
# ```
#
# ```shell
# fewbits import-caffe squeezenet_v1.1.caffemodel --network squeezenet_v1_1 --pooling ceil --output squeezenet.keras
# fewbits schemes squeezenet.keras schemes.toml --data photos --order bgr --mean-pixel 104,117,123 --no-crop \
#         --output answers.json
# ```
#
# Does a given runtime round down? `fewbits audit` determines this from the inputs and outputs of its layers:
#
# ```shell
# fewbits audit network.keras network_int8.tflite --data photos
# ```
#
# ## Summary
#
# *What rounding does.* Two theses quantized the weights of SqueezeNet to 8 bits and reported opposite results ({glue:text}`vieito_8` of
# {glue:text}`vieito_float`, and {glue:text}`backstrom_8` of {glue:text}`backstrom_float`). We measure the published weights of SqueezeNet v1.1,
# without training, on {glue:text}`photos` photographs that set no format. Kernels of 8 bits with one format for all have
# {glue:text}`photo_down:.1%` rounded down and {glue:text}`photo_near:.1%` rounded to nearest, against {glue:text}`photo_float:.1%` in float
# (difference: {glue:text}`gap:.1f` ± {glue:text}`gap_reach:.1f` points). The cause is a shift, not the resolution: kernels rounded to nearest
# and then moved by a quarter of a step have {glue:text}`quarter`. The shift of an output is half a step times the sum of the inputs in its
# window. Relative to the spread of the layer's outputs, it predicts the accuracy when one layer is rounded down, over all layers and five
# widths, with {glue:text}`layers_explained` of the variance explained, and that of the whole network under all doses with
# {glue:text}`whole_explained`. The shift is computed from the float network and 32 images without labels; the two parameters of the curve are
# fitted on layers other than those predicted. In four other networks the direction holds, but the curve differs (explained: MobileNet
# {glue:text}`law_mobilenet`, a residual network {glue:text}`law_residual`, LeNet {glue:text}`law_lenet`), and only in the residual one does it
# predict the whole network ({glue:text}`moved_residual`). Where layers read values of both signs, from tanh, the harm is smaller
# ({glue:text}`tanh_verdict`).
#
# The answers to every photograph under every scheme are in `data/reference/studies` (the README there says how to read them);
# `make chapter N=6` computes every number of this chapter from them. To cite it:
#
# ```bibtex
# @incollection{fewbits_rounding,
#   title     = {Two theses, one network: what rounding does},
#   author    = {{The Few Bits authors}},
#   booktitle = {Few Bits: an executable book on small convolutional networks},
#   chapter   = {6},
#   year      = {2026},
#   version   = {0.1.0},
# }
# ```

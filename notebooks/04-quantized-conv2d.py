# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4 QuantizedConv2D and static quantization
#
# What is left of a trained network when all its convolutions compute in few bits, and nothing is trained again?
#
# So far we have quantized weights and looked at values. A device quantizes three things in each layer: the kernel, what comes
# in, and what goes out. This chapter builds the layer that simulates it, and puts it into a whole network.
#
# ```{admonition} Predict first
# :class: tip
# Kernel, inputs and outputs of a trained network go to **6 bits**, each layer with MSBs of its own, found as in chapter 3. Which share of
# the digits is still read if everything is rounded *down*? If everything is rounded to *nearest*?
#
# And which of the three hurts most at 4 bits, when it is quantized alone: the kernels, the inputs, or the outputs? The answers are
# in [All three at once](all-three-at-once) and [One at a time](one-at-a-time).
# ```

# %% tags=["parameters", "hide-input"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML

from fewbits import FixedPoint, data, explore, quantclip, quantize, quantize_model
from fewbits.quantization import calibration
from fewbits.book import papers
from fewbits.explore import plots
from fewbits import training, zoo
from fewbits.backend import keras, ops
from fewbits.book import quote, record
from fewbits.quantization.layers import QuantizedConv2D
from fewbits.statistics import wilson_interval

keras.utils.set_random_seed(1)
EPOCHS = {"smoke": 2, "quick": 15, "full": 15}[profile]

# %% [markdown]
# ## The layer
#
# A quantized convolution is a convolution with a quantizer on each of its three wires. Here it is whole, as a subclass of Keras'
# own layer (compare Code 11 of {cite:p}`vieito2017`):

# %%
class ByHand(keras.layers.Conv2D):
    kernel_format, input_format, output_format = [FixedPoint(0, 8)] * 3

    def call(self, inputs):
        x = quantclip(inputs, self.input_format, "nearest")
        kernel = quantclip(self.kernel, self.kernel_format, "nearest")
        products = self.convolution_op(x, kernel)
        grid = self.input_format.step * self.kernel_format.step
        bias = ops.round(self.bias / grid) * grid
        y = quantclip(products + bias, self.output_format, "nearest")
        return self.activation(y)

# %% [markdown]
# One line needs a word. A device adds the bias to the sum of products, in the accumulator, so the bias lies on the grid of the
# products: a step of $q_x q_w$. The thesis adds it in float, behind the output quantizer; `bias_order="output"` does that.
#
# The library's layer computes the same, and holds its formats in *variables*. They can change at any time, also in a compiled
# network, and nothing is traced anew.

# %%
fmt = FixedPoint(0, 8)
layer = QuantizedConv2D(
    8, 3, formats=(fmt, fmt, fmt), rounding="nearest", activation="relu"
)
images = np.random.default_rng(0).random((16, 8, 8, 3), "float32")
y = layer(images)
by_hand = ByHand(8, 3, activation="relu")
by_hand.build(images.shape)
by_hand.set_weights([layer.kernel, layer.bias])
differing = int(ops.sum(by_hand(images) != y))
print(differing, "of", y.numpy().size, "outputs differ")

# %% tags=["remove-cell"]
record(by_hand_differing=differing)

# %% [markdown]
# `layer.set_formats(...)`, `layer.rounding`, `layer.enabled` and `layer.locked` are all that can be turned. A layer that is not
# enabled is exactly Keras' Conv2D; one that is locked keeps its weights through training, whatever the optimizer does.
# `layer.extract(images)` gives the products alone, before bias and activation.
#
# ## A network of them
#
# The network of chapter 3, trained anew, and converted. Each fire module is one *level*, as in the thesis; `set_level(n)`
# switches the first $n$ on.

# %%
digits = data.load("digits", validation=0.25)
train = digits.scaled(digits.train), digits.train.labels
validation = digits.scaled(digits.validation), digits.validation.labels
test = digits.scaled(digits.test), digits.test.labels
model = zoo.build("squeezenet_digits", digits.image_shape, 10)
training.prepare(model, "adam", learning_rate=0.001)
training.train(model, train, epochs=EPOCHS, seed=1)
float_accuracy = training.evaluate(model, test).accuracy
print(f"float: {float_accuracy:.1%} of the test digits")

# %%
network = quantize_model(model, levels=zoo.levels(model))
print([layer.name for layer in network.quantized_layers][:4], "...")
print(network.levels, "levels")


def accuracy(images, labels):
    scores = network.predict_on_batch(images)
    return float((scores.argmax(-1) == labels).mean())

# %%
network.set_level(0)
same = accuracy(*test) == float_accuracy
network.set_level(network.levels)
print("with no level on, the same as float:", same)

# %% tags=["remove-cell"]
record(levels=network.levels, same_as_float=same, convolutions=len(network.quantized_layers))
record(within=0.4 if profile == "smoke" else 0.06, float_accuracy=float_accuracy)

# %% [markdown]
# ## Off the model, on the model
#
# The thesis first quantized its weight *file* and evaluated the plain network (off-model), then the same inside the layers
# (on-model). Its two columns differ by up to about a point (Table 6). Ours must not differ at all:

# %%
plain = keras.models.clone_model(model)
plain.jit_compile = False


def off_model(fmt, rounding):
    weights = [
        quantize(w, fmt, rounding) if w.ndim > 1 else w  # biases stay
        for w in model.get_weights()
    ]
    plain.set_weights(weights)
    return plain.predict_on_batch(test[0])

# %%
unequal = 0
for nbits in (16, 8, 4):
    for rounding in ("floor", "nearest"):
        network.set_formats((FixedPoint(0, nbits), None, None))
        network.set_rounding(rounding)
        on_model = network.predict_on_batch(test[0])
        off = off_model(FixedPoint(0, nbits), rounding)
        unequal += int((on_model != off).sum())
print(unequal, "logits differ between off-model and on-model")

# %% tags=["remove-cell"]
record(off_on_unequal=unequal)

# %% [markdown]
# ## Clipping alone
#
# Before it took bits away, the thesis clipped with plenty of them (Tables 4 and 7): one MSB for all layers, from the percentiles of
# all kernels, or of all inputs, together. The same with 24 bits, which float32 still holds exactly:

# %%
observed = dict(calibration.observe(model, train[0][:32]))
network.set_rounding("floor")
clipped = {}
for kind in ("kernel", "input"):
    values = [getattr(v, kind).ravel() for v in observed.values()]
    for p in calibration.PERCENTILES:
        limits = calibration.percentile_limits(np.concatenate(values), p)
        msb = calibration.msb_from_limits(*limits)
        fmt = FixedPoint(msb, 24)
        network.set_formats((fmt, None) if kind == "kernel" else (None, fmt))
        clipped[kind, p] = msb, accuracy(*test)

# %% tags=["hide-input"]
rows = []
for kind, number in (("kernel", 4), ("input", 7)):
    for row in papers.table("vieito2017", number)[1:]:
        msb, share = clipped[kind, row["percentile"]]
        rows.append((f"{kind}, {row['percentile']} %", row["msb"], f"{row['accuracy']}%", msb, f"{share:.1%}"))
HTML(plots.Table(("clipped to", "thesis: MSB", "accuracy (51% in float)", "ours (quick): MSB", "accuracy"), rows).html())

# %% tags=["remove-cell"]
record(within=0.4, kernel_clipped_95=clipped["kernel", 95][1], input_clipped_95=clipped["input", 95][1])
quote(input_msb_95=clipped["input", 95][0], input_msb_most=clipped["input", 99.99][0])
record(within=0.4 if profile == "smoke" else 0.06, kernel_clipped_most=clipped["kernel", 99.99][1])

# %% [markdown]
# For the kernels it is the thesis' picture, only milder: the 95th percentile of all kernels is too narrow for the layers with the
# largest ones, and ours then reads {glue:text}`kernel_clipped_95:.1%`. Not so for the inputs: ours still reads
# {glue:text}`input_clipped_95:.1%` with the 95th percentile, whose MSB is {glue:text}`input_msb_95` (with the 99.99th:
# {glue:text}`input_msb_most`). A place to look, not measured here: Table 11 gives `fire3` of the thesis' network an MSB of 11 for its 99.9th
# percentile, four above the 7 that it is clipped to.
#
# (one-at-a-time)=
# ## One at a time
#
# MSBs come from 32 training images, the percentile from the validation digits: of four candidates the one that is best at 6 bits,
# rounded to nearest. They lie close together; rounded down they would not, as figure 4.3 shows. The test digits are for reporting.

# %%
tables = {
    f"{p} %": calibration.msb_table(model, train[0][:32], range_rule=p)
    for p in (95, 98, 99.9, 100)
}
network.set_rounding("nearest")
scores = {}
for name, msbs in tables.items():
    network.set_formats(calibration.formats_from_msbs(msbs, 6))
    scores[name] = accuracy(*validation)
    print(name, f"{scores[name]:.1%}")
best = max(scores, key=scores.get)

# %%
KINDS, BITS = ("kernel", "input", "output"), (2, 3, 4, 5, 6, 8, 10, 16)


def sweep(rounding, bits, only=None, generic=False):
    """Return test accuracies over bits of kernel, input and output."""
    network.set_rounding(rounding)
    found = []
    for n in bits:
        nbits = tuple(n if only in (None, kind) else None for kind in KINDS)
        network.set_formats(
            calibration.formats_from_msbs(tables[best], nbits, not generic)
        )
        found.append(accuracy(*test))
    return found

# %%
ROUNDINGS = ("floor", "nearest")
alone = {(k, r): sweep(r, BITS, only=k) for k in KINDS for r in ROUNDINGS}

# %% tags=["hide-input"]
def lines(found, label, caption, alt):
    n, places = len(test[1]), [str(b) for b in BITS]
    traces, rows = [], []
    for (name, rounding), values in found.items():
        low, high = np.transpose([wilson_interval(round(v * n), n) for v in values])
        colour = plots.COLOURS[list(dict.fromkeys(k for k, _ in found)).index(name)]
        spread = {"type": "data", "symmetric": False, "array": high - values, "arrayminus": values - low, "thickness": 1}
        line = {"color": colour, "dash": "dot" if rounding == "floor" else "solid"}
        traces.append(go.Scatter(x=places, y=values, name=f"{name}, {rounding}", line=line, error_y=spread))
        rows += [(name, rounding, b, v, lo, hi) for b, v, lo, hi in zip(BITS, values, low, high)]
    plots.show(
        plots.figure(*traces, x="bits", y="top-1 accuracy", xaxis={"type": "category"}, yaxis={"tickformat": ".0%", "range": [0, 1.02]}, height=420),
        label=label,
        caption=f"{caption} {n} test digits, one trained network, 95 % intervals (quick).",
        alt=alt,
        table=plots.Table(("what", "rounding", "bits", "accuracy", "95 % low", "95 % high"), rows),
    )


lines(
    alone,
    "4.1",
    "Kernels, inputs or outputs quantized alone, each layer with its own MSBs. Dotted: rounded down.",
    "Accuracy over bits for kernel, input and output alone: solid lines of nearest rounding stay high, dotted ones of floor fall earlier.",
)

# %% tags=["remove-cell"]
at_4 = {k: alone[k, "floor"][BITS.index(4)] for k in KINDS}
at_4_nearest = {k: alone[k, "nearest"][BITS.index(4)] for k in KINDS}
quote(best=best, worst_floor=min(at_4, key=at_4.get), worst_nearest=min(at_4_nearest, key=at_4_nearest.get))
record(within=0.5, worst_floor_4=min(at_4.values()))
record(within=0.5 if profile == "smoke" else 0.25, worst_nearest_4=min(at_4_nearest.values()))

# %% [markdown]
# At 4 bits rounded down, the {glue:text}`worst_floor`s hurt most: {glue:text}`worst_floor_4:.1%` of the digits are read. Rounded to
# nearest the {glue:text}`worst_nearest`s come last, with {glue:text}`worst_nearest_4:.1%`, but the intervals of inputs and outputs overlap. At
# 4 bits, how you round matters more than what.
#
# (all-three-at-once)=
# ## All three at once
#
# Now the whole layer. *Generic* means one MSB for all layers, as the thesis started; *per layer* gives each layer the
# MSBs of the percentile just chosen, {glue:text}`best`.

# %%
full = {}
for name, generic in (("generic MSB", True), ("per-layer MSB", False)):
    for rounding in ROUNDINGS:
        full[name, rounding] = sweep(rounding, BITS, generic=generic)

# %% tags=["hide-input"]
lines(
    full,
    "4.2",
    "Kernel, input and output of every layer at once. Dotted: rounded down.",
    "Accuracy over bits with everything quantized: from 3 to 6 bits nearest rounding with MSBs for each layer is best; from 8 bits on, one MSB for all is level with it.",
)

# %% tags=["remove-cell"]
six = {key: values[BITS.index(6)] for key, values in full.items()}
record(within=0.6, floor_6=six["per-layer MSB", "floor"], generic_floor_6=six["generic MSB", "floor"])
record(within=0.4 if profile == "smoke" else 0.08, nearest_6=six["per-layer MSB", "nearest"])
record(within=0.5 if profile == "smoke" else 0.3, generic_nearest_6=six["generic MSB", "nearest"])

# %% [markdown]
# At 6 bits with an MSB for each layer: {glue:text}`floor_6:.1%` rounded down, {glue:text}`nearest_6:.1%` to nearest; float reads
# {glue:text}`float_accuracy:.1%`. With one MSB for all, {glue:text}`generic_floor_6:.1%` and {glue:text}`generic_nearest_6:.1%`. From 8 bits on,
# one MSB for all, to nearest, is no worse: the percentile's clipping is what is left.
#
# Where on the way does it break? Quantize level after level, from the input on (validation digits):

# %% tags=["hide-input"]
explore.accuracy_by_level(network, *validation, tables, "4.3").show()

# %% [markdown]
# ## Changing formats costs nothing
#
# All these networks were one network. Each figure above changed variables of the compiled model, hundreds of times. Count how
# often Python had to look at it again:

# %%
traced = []
call = network.call


def counted(*args, **kwargs):
    traced.append(1)
    return call(*args, **kwargs)

# %%
network.call = counted
network.predict_function = None  # forget what was traced, start to count
for nbits in range(2, 22):
    network.set_formats((FixedPoint(nbits % 3, nbits),) * 3)
    network.set_rounding(("floor", "nearest", "thesis")[nbits % 3])
    network.set_level(nbits % (network.levels + 1))
    network.predict_on_batch(test[0])
print(len(traced), "trace for 20 formats, roundings and levels")

# %% tags=["remove-cell"]
record(traces=len(traced))

# %% [markdown]
# ## What the thesis found
#
# SqueezeNet v1.1 on ImageNet (51 % in float), rounded down, with one MSB for all layers (Tables 5, 8 and 9):

# %% tags=["hide-input"]
def ours(nbits, rounding):
    network.set_level(network.levels)
    network.set_rounding(rounding)
    network.set_formats(calibration.formats_from_msbs(tables["100 %"], nbits, per_layer=False))
    return f"{accuracy(*test):.1%}"


rows = []
for row in papers.table("vieito2017", 5)[1:]:
    rows.append((f"kernel {row['bits']}", row["accuracy"], (row["bits"], None, None)))
for row in papers.table("vieito2017", 8)[2:]:
    rows.append((f"kernel 16, input {row['bits']}", row["accuracy"], (16, row["bits"], None)))
for row in papers.table("vieito2017", 9):
    bits = row["kernel_bits"], row["input_bits"], row["output_bits"]
    rows.append(("-".join(map(str, bits)), row["accuracy"], bits))
HTML(
    plots.Table(
        ("bits", "thesis", "ours (quick), floor", "ours (quick), nearest"),
        [(name, f"{printed}%", ours(bits, "floor"), ours(bits, "nearest")) for name, printed, bits in rows],
    ).html()
)

# %% [markdown]
# Rounded down, the order is the same: coarse kernels are worse than coarse inputs. Rounded to nearest, it is not. Nor are the sizes: at 8-8-8
# the thesis has nothing left.
#
# **Why they differ.** Ten classes instead of a thousand, eleven convolutions instead of 26, other weights: any of it may count, and none is
# varied here. But the column on the right says where to look: the same formats, rounded to nearest, lose far less. Whether that holds for
# SqueezeNet, with its published weights (the thesis' own are not to be had), is chapter 6's question.
#
# ## Exercises
#
# **1.** Table 9 has 8-8-8 at 0.25 % and 16-8-8 at 43.9 %. What does that say about inputs and outputs, and what about kernels?
#
# ```{admonition} Solution
# :class: dropdown
# Against 16-16-16 (47.59 %), inputs and outputs of 8 bits cost under four points; nearly all of the collapse is the kernels' rounding. Kernels
# have MSB 0 there, though 95 % of the weights are below 0.17, for which MSB -2 is enough: two of the 8 bits are empty, and floor shifts
# what is left.
# ```
#
# **2.** Why does the layer quantize its input, when the layer before has quantized its output already?
#
# ```{admonition} Solution
# :class: dropdown
# The two may have different formats: between them stand pooling and concatenation, and the reader's MSB need not be the writer's. With
# equal formats the second quantizer changes nothing, for quantizing is idempotent.
# ```
#
# **3.** In figure 4.3, find the level that costs most at 5 bits rounded down. Then give the bits back one at a time.
#
# ## Run it on yours
#
# ```python
# from fewbits.quantization import calibration
# from fewbits import quantize_model
#
# quantized = quantize_model(model, rounding="nearest", fold_batch_normalization=True)
# quantized.set_formats(calibration.formats_for(quantized, images[:32], nbits=(8, 8, 8)))
# quantized.save("quantized.keras")
# ```
#
# ```shell
# fewbits train --network lenet --data digits --epochs 10 --output digits.keras
# fewbits formats digits.keras --data digits --percentile 99.9 --bits 8,8,8 --save-model quantized.keras
# fewbits evaluate quantized.keras --data digits
# ```

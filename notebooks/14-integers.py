# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 14 Integers only
#
# Thirteen chapters have simulated small numbers with large ones. Would a device that has no floats say the same?
#
# {cite:t}`vieito2017` writes his layers for a hardware convolution engine, and never gets to build on it: he trusts that fewer bits in a
# simulation are fewer bits on the device. {cite:t}`chiang2017` ends on a telephone, {cite:t}`gaikwad2018` on a computer for cars, both with
# floats. This chapter takes the float away, proves how wide every sum can become, and lets four programs compute the same network.
#
# ```{admonition} Predict first
# :class: tip
# SqueezeNet for the digits, 8 bits everywhere, all test digits.
#
# - Keras simulates it in float32. In how many of its codes does it differ from integers: none, one in a million, one in a hundred?
# - How wide must a sum of products be, so that it never overflows: 16, 20, 24 or 32 bits?
# - With 16 bits everywhere, which of the two is wrong, the simulation or the integers?
# - The engine multiplies windows of 3x3. How many of its multipliers have work when it runs SqueezeNet?
#
# The answers are in [The whole network](the-whole-network), [How wide is a sum?](how-wide-is-a-sum), [Where float32 ends](where-float32-ends)
# and [The engine](the-engine).
# ```

# %% tags=["parameters", "hide-input"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
from math import log2
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import plotly.graph_objects as go
import tensorflow as tf
from IPython.display import HTML, Markdown, display

from fewbits import names
from fewbits.zoo.trained import find_weights
from fewbits import FixedPoint, data, explore
from fewbits.quantization import calibration
from fewbits.costs import latency
from fewbits.explore import plots
from fewbits import quantize, quantize_model, to_codes, zoo
from fewbits.book import reference
from fewbits.io import weights
from fewbits.backend import keras, ops
from fewbits.book import quote, record
from fewbits.deploy import compiled, engine, litert, onnx, onnx_integer, operations
from fewbits.deploy.c import write_c
from fewbits.deploy.identity import compare_layers, compare_program, program_runners
from fewbits.deploy.identity import simulation, to_values
from fewbits.deploy.lowering import lower
from fewbits.experiment import Trial
from fewbits.pruning import shrunk_to

SMOKE = profile == "smoke"
keras.utils.set_random_seed(1)
tf.config.run_functions_eagerly(True)  # to compile takes longer

# %% [markdown]
# ## One sum
#
# A value is a code times a step, and steps are powers of two. So a sum of products of values is a sum of products of *codes*, times the
# product of the steps. Three inputs and three weights of 4 bits:

# %%
x, w, y = FixedPoint(0, 4), FixedPoint(-1, 4), FixedPoint(-1, 4)
inputs, kernel = np.array([0.8, -0.33, 0.51]), np.array([0.21, 0.4, -0.31])
a, b = to_codes(inputs, x, "nearest"), to_codes(kernel, w, "nearest")
total = int(a @ b)
print(f"codes: {a} times {b} is {total}, in steps of {x.step * w.step:g}")
simulated = quantize(inputs, x, "nearest") @ quantize(kernel, w, "nearest")
print(f"values: {total * x.step * w.step:g}, simulated {simulated:g}")

# %% [markdown]
# What is left to do is to bring the sum into the format of the output. Its step is a power of two larger: that is a **shift**, with a
# rounding. No multiplication, no table, no float. Four of the book's roundings have
# an integer form ($a$ the sum, $s$ the shift; stochastic rounding and the operator of one thesis do not):
#
# | rounding | with integers |
# |---|---|
# | `floor` | $a \gg s$ |
# | `nearest-up` | $(a + 2^{s-1}) \gg s$ |
# | `nearest` (half to even) | as `nearest-up`, one less where the rest is just half and the result odd |
# | `nearest-away` | the sign of $a$ times `nearest-up` of its size |
#
# A ReLU compares codes, and so does a maximum. An average is a sum; it is divided where the next layer rounds it. That is all there is.

# %%
shift = int(log2(y.step / (x.step * w.step)))
for rounding in names.INTEGER_ROUNDINGS:
    code = int(operations.divide_rounded(np.array(total), 2**shift, rounding))
    same = to_codes(simulated, y, rounding)
    print(f"{rounding:<13}{total} / 2^{shift}: {code}, simulated {same}")

# %% [markdown]
# (the-whole-network)=
# ## The whole network
#
# `lower` walks through a quantized network and writes down such steps. What it cannot say with integers it refuses, by the layer's name.

# %%
digits = data.load("digits")
net = zoo.build("squeezenet_digits", digits.image_shape, 10)
weights.load_weights(net, find_weights("squeezenet_digits"))
few = digits.scaled(digits.train)[:64]
tables = calibration.formats_for_each(
    net, few, [(bits,) * 3 for bits in (8, 6, 4)], "mse")
formats = tables[8, 8, 8]
quantized = quantize_model(net, formats, rounding="nearest")
network = lower(quantized, levels=digits.levels)
for step in network.operations[:8]:
    print(f"{type(step).__name__:<12}{step.layer}")

# %%
images = digits.test.images[:40] if SMOKE else digits.test.images
found = compare_layers(quantized, network, images)
print(f"{len(images)} images, {len(found)} layers, "
      f"{sum(layer.codes for layer in found.values()):,} codes:",
      f"{sum(layer.different for layer in found.values())} differ")

# %% tags=["hide-input"]
rows = []
for bits in (8, 6, 4):
    quantized.set_formats(tables[bits, bits, bits])
    for rounding in ("nearest", "floor"):
        quantized.set_rounding(rounding)
        lowered = lower(quantized, levels=digits.levels)
        layers = compare_layers(quantized, lowered, images).values()
        right = int((lowered.run(images).argmax(1) == digits.test.labels[: len(images)]).sum())
        rows.append((bits, rounding, sum(x.codes for x in layers), sum(x.different for x in layers), right))
quantized.set_rounding("nearest")
HTML(plots.Table(("bits", "rounding", "codes compared", "differ", f"right of {len(images)}, with integers (quick)"), rows).html())

# %% tags=["remove-cell"]
record(steps=len(network.operations), codes=sum(layer.codes for layer in found.values()))
record(differ=sum(layer.different for layer in found.values()) + sum(row[3] for row in rows))
record(**{f"right_{bits}_{rounding}": right for bits, rounding, _, _, right in rows})
quote(images=len(images), all_codes=sum(row[2] for row in rows))

# %% [markdown]
# **None differs**: of {glue:text}`all_codes:,` codes in all layers of {glue:text}`images` digits, at three widths and with two
# roundings, {glue:text}`differ`. This is no luck. float32 holds every integer up to $2^{24}$; as long as no sum passes that, it adds integers without
# an error, in any order.
#
# (how-wide-is-a-sum)=
# ## How wide is a sum?
#
# The largest sum that a filter can make needs no data: take every input at its limit. `lower` computes two such bounds for each layer. The
# *accumulator* must hold every partial sum: behind a ReLU no input is negative, so only weights of one sign add up. The *simulation* may add
# in any way it likes, so it is given the sum of all absolute products. This one is drawn for every pair of widths: where the bar ends below
# the line at 24, float32 is proven to be exact.

# %%
msbs = calibration.msb_table(net, few, range_rule=100)
WIDTHS = (4, 8, 16) if SMOKE else (2, 4, 6, 8, 12, 16)
networks = {}
for weight in WIDTHS:
    for activation in WIDTHS[1:]:
        widths = (weight, activation, activation)
        quantized.set_formats(calibration.formats_from_msbs(msbs, widths))
        networks[weight, activation] = lower(quantized, digits.levels)

# %% tags=["hide-input"]
explore.accumulator_sizes(
    networks,
    "14.1",
    "The largest sum of absolute products, plus bias, in each layer of SqueezeNet for the digits: proven, whatever the image.",
).show()

# %% tags=["remove-cell"]
proven = networks[8, 8]
widest = max(proven.convolutions, key=lambda step: step.partial_bits)
largest = {s.layer: 0 for s in proven.convolutions}
codes = {0: digits.test.images.astype(int)}
for number, step in enumerate(proven.operations, 1):
    codes[number] = step.compute(*(codes[i] for i in step.inputs))
    if step.layer in largest and isinstance(step, operations.Convolve):
        largest[step.layer] = int(abs(codes[number]).max())
met = {s.layer: log2(s.magnitude / largest[s.layer]) for s in proven.convolutions}
record(widest=widest.partial_bits, widest_layer=widest.layer, sixteen=max(s.partial_bits for s in networks[16, 16].convolutions))
record(proven_8=log2(max(s.magnitude for s in proven.convolutions)), within=0.001)
record(met_8=float(np.median(list(met.values()))), within=0.001)
quote(sixteen_layers=len(networks[16, 16].beyond_float32), layers=len(proven.convolutions))

# %% [markdown]
# With 8 bits the widest accumulator needs **{glue:text}`widest` bits** ({glue:text}`widest_layer`). That is proven for every image, so nothing
# needs a check at run time. On the test digits the sums of a layer stay {glue:text}`met_8:.1f` bits below what is drawn for it, by the median of
# the layers. Each bit less of a weight takes one bit off the sum, and so does each bit less of an activation. Drag both to 16, and the widest
# accumulator needs {glue:text}`sixteen` bits.
#
# (where-float32-ends)=
# ## Where float32 ends
#
# At 16 bits, {glue:text}`sixteen_layers` of {glue:text}`layers` layers stand above the line. There the *simulation* is what errs: float32 rounds
# a sum that integers hold. So the same network is simulated in float64, whose integers reach to $2^{53}$:

# %%
quantized.set_formats(calibration.formats_from_msbs(msbs, (16, 16, 16)))
wide = lower(quantized, levels=digits.levels)
exact = to_values(wide.tensors[-1], wide.run(images))
scaled = images.astype("float32") / digits.levels
off, read = {}, {}
for dtype in ("float32", "float64"):
    logits = ops.convert_to_numpy(simulation(quantized, dtype)(scaled))
    off[dtype] = np.mean(logits != exact.astype(dtype))
    read[dtype] = np.sum(logits.argmax(1) != exact.argmax(1))
    print(f"{dtype}: {off[dtype]:.1%} of the logits differ,",
          f"{read[dtype]} digits are read otherwise")

# %% tags=["remove-cell"]
record(off_64=int(off["float64"] * exact.size))
apart = ops.convert_to_numpy(simulation(quantized, "float32")(scaled)) - exact
quote(gap_32=float(np.abs(apart).max() / np.abs(exact).max()))
quote(off_32=float(off["float32"]), read_32=int(read["float32"]))

# %% [markdown]
# In float32 {glue:text}`off_32:.0%` of the logits are not what the integers say, in float64 {glue:text}`off_64`. They are off by little,
# {glue:text}`gap_32:.0e` of the largest logit at most, and {glue:text}`read_32` digits are read otherwise for it. But who tests a device against the simulation does not know whether to look for a bug. `compare_layers` takes
# float64 by itself, wherever a sum is not proven to fit.
#
# (four-programs)=
# ## Four programs, one answer
#
# If all is integers, any program that adds integers must find the same ones. The 8-bit network goes to three more: an **ONNX** file whose
# products are integers; **C** without a float or a heap, which the compiler of this machine turns into a library; a **LiteRT** file of
# `int8` that carries our codes and our steps.

# %%
quantized.set_formats(formats)
network = lower(quantized, levels=digits.levels)
codes = network.run(images)
said = {name: compare_program(codes, program, images)
        for name, program in program_runners(network).items()}
for name, found in said.items():
    print(f"{name}: {found.different} of {found.codes:,} codes differ")

# %%
by_layer = {
    kernels: litert.compare_litert(quantized, scaled[:100], delegate=delegate)
    for kernels, delegate in (("XNNPACK", True), ("LiteRT's own", False))
}

# %% tags=["hide-input"]
shares = {kernels: {name: x.different / x.codes for name, x in found.items()} for kernels, found in by_layer.items()}
plots.show(
    plots.figure(
        *(
            go.Bar(name=kernels, x=list(found), y=list(found.values()), marker={"color": colour})
            for (kernels, found), colour in zip(shares.items(), (plots.BLUE, plots.ORANGE))
        ),
        x="layer",
        y="codes that differ",
        yaxis={"tickformat": ".0%"},
        xaxis={"autotickangles": [0, -45, -90]},
        margin={"b": 130},
        height=440,
    ),
    label="14.2",
    caption=f"Codes that LiteRT computes otherwise, with the same weights, formats and images: {min(100, len(images))} digits (quick).",
    alt="Bars, one a layer: none with XNNPACK; with LiteRT's own kernels in nearly every layer, and most in the last.",
    table=plots.Table(
        ("kernels", "layer", "codes", "differ", "by at most, in steps"),
        [(kernels, name, *found) for kernels, layers in by_layer.items() for name, found in layers.items()],
    ),
)

# %% tags=["remove-cell"]
totals = {kernels: [sum(numbers) for numbers in zip(*((x.codes, x.different) for x in found.values()))] for kernels, found in by_layer.items()}
record(onnx_differ=said["ONNX Runtime"].different, xnnpack_differ=totals["XNNPACK"][1])
record(within=0.05, own_differ=totals["LiteRT's own"][1] / totals["LiteRT's own"][0], own_logits=shares["LiteRT's own"]["pool10"])
quote(c_differ=said["C"].different if "C" in said else "(no C compiler here) no", own_most=max(x.largest for x in by_layer["LiteRT's own"].values()))
quote(litert_codes=totals["XNNPACK"][0])

# %% [markdown]
# ONNX Runtime: {glue:text}`onnx_differ` codes differ. C: {glue:text}`c_differ`. And LiteRT, whose float scales would let it compute anything:
# {glue:text}`xnnpack_differ` of {glue:text}`litert_codes:,`, on XNNPACK, the library it uses by default. Two of the three files still ask for floats between
# integers (ONNX has no shift that rounds, and LiteRT takes halves up where a step gets coarser); but a code times a power of two is exact in
# them, too. **Scales that are powers of two leave nothing to interpretation but the rounding.**
#
# The rounding is enough. LiteRT's *own* kernels, for machines without XNNPACK, compute {glue:text}`own_differ:.0%` of the codes otherwise, by up
# to {glue:text}`own_most:.0f` steps. They round twice: first a product with a 32-bit factor, then a shift. What was a little less than a half
# becomes a half in the first rounding, and goes up in the second. One code moves others in the next layer, and of the logits
# {glue:text}`own_logits:.0%` have another code. Nothing is broken there; it is another arithmetic, and no simulation that does not know it
# will agree with it.
#
# A few hundred digits are easy. So, in three networks and at three widths, all 10,000 test images of CIFAR-10: every layer's codes in NumPy
# beside those of the simulation, and the logits of the other two programs beside NumPy's.

# %% tags=["hide-input"]
cells = {name: reference.cells(f"{name} in integers") for name in ("SqueezeNet", "LeNet", "MobileNet")}
rows = []
for name, of_bits in cells.items():
    for one in of_bits:
        found = one.records[0].results.identity if one.records else {}
        told = (f"{found[p][1]} of {found[p][0]:,}" if p in found else reference.NOT_RUN for p in ("NumPy", "ONNX Runtime", "C"))
        first = one.trial.start if isinstance(one.trial.start, Trial) else None  # else our own weights
        which = f"{name}{f', width {first.width:g}' if first and first.width != 1 else ''}{f', {first.epochs} epochs' if first else ''}"
        rows.append((which, one.trial.bits[0], *told, reference.percent(one.measured)))
of_cifar = [r for of_bits in cells.values() for c in of_bits for r in c.records]
display(HTML(plots.Table(("network", "bits", "codes that differ: NumPy, all layers", "ONNX Runtime, logits", "C, logits", "top-1, %"), rows).html()))
Markdown(f"*Reference: {reference.made_with(of_cifar)}*")

# %% tags=["remove-cell"]
identities = [numbers for r in of_cifar for numbers in r.results.identity.values()]
quote(cifar_codes=sum(n for n, _ in identities) / 1e9, cifar_differ=sum(off for _, off in identities), cifar_runs=len(of_cifar), cifar_planned=len(rows))

# %% [markdown]
# In {glue:text}`cifar_codes:.1f` thousand million codes, {glue:text}`cifar_differ` differ ({glue:text}`cifar_runs` of {glue:text}`cifar_planned` networks are run).
#
# Part of the C, as `fewbits export --to c` writes it. Every layer is one call; what it takes of memory stands at the top of its header:

# %%
with TemporaryDirectory() as folder:
    memory = write_c(network, Path(folder, "c"))
    source = Path(folder, "c", "squeezenet_digits.c").read_text()
start = source.index("void squeezenet_digits_run")
print(source[start : source.index("\n}", start) + 2])
print(f"{memory.weight_bytes:,} bytes of constants,",
      f"{memory.ram_bytes:,} of memory")

# %% tags=["remove-cell"]
record(weight_bytes=memory.weight_bytes, ram_bytes=memory.ram_bytes)

# %% [markdown]
# (how-fast)=
# ## How fast?
#
# To measure times we take the larger SqueezeNet, for CIFAR-10: as it is; in the shape that pruning two thirds of its filters left
# ([chapter 12](12-pruning); its time does not depend on what its weights are); and both with 8 bits. One image, one thread of this machine, all in
# turn:

# %%
large = zoo.build("squeezenet_cifar", (32, 32, 3), 10)
weights.load_weights(large, find_weights("squeezenet_cifar"))
steps_of_one = reference.cell("pruned to a third").records[0].results.pruning
noise = np.random.default_rng(0).random((16, 32, 32, 3), np.float32)
nets = {"whole": large,
        "pruned": shrunk_to(large, steps_of_one[-1]["filters"])}
for name, plain in list(nets.items()):
    eight = quantize_model(plain, rounding="nearest",
                           fold_batch_normalization=True)
    eight.set_formats(calibration.formats_for(eight, noise, (8, 8, 8)))
    nets[f"{name}, 8 bits"] = eight

# %% tags=["hide-input"]
tf.config.run_functions_eagerly(False)  # Keras shall be timed compiled


def at_work(name, net):
    """Yield runtime, `net` at work in it, and bytes of its file."""
    if "8 bits" not in name:
        yield "Keras", latency.KerasRunner(net), 4 * net.count_params()
    content = litert.to_litert(net, "int8" if "8 bits" in name else "float32")
    yield "LiteRT", litert.LiteRTRunner(content), len(content)
    if "8 bits" in name:
        integers = lower(net)
        content = onnx_integer.to_integer_onnx(integers).SerializeToString()
        if compiled.find_compiler():
            in_c = compiled.CRunner(integers)
            yield "C", in_c, in_c.memory.weight_bytes
    else:
        content = onnx.to_onnx(net).SerializeToString()
    yield "ONNX Runtime", onnx.ONNXRunner(content), len(content)


running, sizes = {}, {}
for name, one in nets.items():
    for runtime, network_at_work, size in at_work(name, one):
        running[runtime, name], sizes[runtime, name] = network_at_work, size
taken = latency.measure_latency(running, rounds=5 if SMOKE else 100)
tf.config.run_functions_eagerly(True)

# %% tags=["hide-input"]
RUNTIMES = ("Keras", "LiteRT", "ONNX Runtime", "C")
rows = [
    (runtime, name, f"{taken[runtime, name].median:.3f}", f"{taken[runtime, name].low:.3f} to {taken[runtime, name].high:.3f}", f"{sizes[runtime, name]:,}")
    for runtime in RUNTIMES
    for name in nets
    if (runtime, name) in taken
]
plots.show(
    plots.figure(
        *(
            go.Bar(
                name=name,
                x=[runtime for runtime in RUNTIMES if (runtime, name) in taken],
                y=[taken[runtime, name].median for runtime in RUNTIMES if (runtime, name) in taken],
                marker={"color": colour},
            )
            for name, colour in zip(nets, plots.COLOURS)
        ),
        x="runtime",
        y="ms for an image",
        yaxis={"type": "log", "tickvals": [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20]},
    ),
    label="14.3",
    caption="Median time for one image on one thread, SqueezeNet for CIFAR-10, this machine (quick). Logarithmic.",
    alt="Bars by runtime, four networks each: LiteRT is fastest in every one; pruned networks take less time everywhere.",
    table=plots.Table(("runtime", "network", "ms", "quartiles", "bytes"), rows),
)

# %% tags=["remove-cell"]
def ratio(runtime, name, other):
    return taken[runtime, name].median / taken[runtime, other].median


quote(litert_gain=ratio("LiteRT", "whole, 8 bits", "whole"), litert_both=ratio("LiteRT", "pruned, 8 bits", "whole"))
quote(onnx_gain=ratio("ONNX Runtime", "whole, 8 bits", "whole"), keras_ms=taken["Keras", "whole"].median, litert_ms=taken["LiteRT", "whole"].median)
c_time = taken["C", "whole, 8 bits"].median if ("C", "whole, 8 bits") in taken else float("nan")
quote(c_of_litert=c_time / taken["LiteRT", "whole, 8 bits"].median)
record(within=0.001, int8_left=sizes["LiteRT", "whole, 8 bits"] / sizes["LiteRT", "whole"], onnx_left=sizes["ONNX Runtime", "whole, 8 bits"] / sizes["ONNX Runtime", "whole"])

# %% [markdown]
# The file of 8 bits has {glue:text}`int8_left:.1%` of the bytes of the float file in LiteRT, {glue:text}`onnx_left:.1%` in ONNX. Time is another matter.
# LiteRT takes {glue:text}`litert_gain:.0%` of its float time with 8 bits, {glue:text}`litert_both:.0%` with two thirds of the filters gone as well.
# ONNX Runtime takes {glue:text}`onnx_gain:.0%` with our file. That one spells out each requantization in several operations, each a pass over memory;
# whether this is the reason we have not profiled, and its own quantized convolution, which rounds as it likes, we have not tried. Our C
# takes {glue:text}`c_of_litert:.1f` times what LiteRT takes: loops that any compiler understands, beside kernels written for this
# processor. **Bits save memory by themselves; whether they save time depends on who computes.**
#
# (the-engine)=
# ## The engine that was never built on
#
# The convolution engine for which {cite:t}`vieito2017` writes ({cite:t}`conti2015`) is a small machine. It holds a window of 3x3 or 5x5 and slides
# it over one plane of 16-bit pixels. With weights of 16 bits it makes one plane of sums in a pass, with 8 bits two, with 4 bits four.
# Everything else must be laid onto it: a 1x1 window is a 3x3 one with eight zeros, one of 7x7 is cut into four pieces of 5x5, and with a stride
# it computes every place and throws away most.

# %%
quantized.set_formats(formats)
photos = zoo.build("squeezenet_v1_1", (224, 224, 3), 1000)
mobile = zoo.build("mobilenet_v1", (224, 224, 3), 1000, normalize=False)
plans = {}
for name, model in (("SqueezeNet v1.1", photos), ("MobileNet", mobile)):
    wide_net, byte = quantize_model(model), FixedPoint(0, 8)
    for bits in (16, 8, 4):
        for layer in wide_net.quantized_layers:
            # the largest weight needs all bits
            msb = calibration.msb_from_limits(0, np.abs(layer.kernel).max())
            layer.set_formats(FixedPoint(msb, bits), byte, byte)
        plans[name, bits] = engine.map_to_engine(lower(wide_net))

# %% tags=["hide-input"]
rows = []
for (name, bits), plan in plans.items():
    on_it = [row for row in plan if not row.reason]
    macs = sum(row.macs for row in plan)
    rows.append(
        (
            name,
            bits,
            f"{sum(row.passes for row in on_it):,}",
            f"{sum(row.macs for row in on_it) / macs:.1%}",
            f"{sum(row.macs for row in on_it) / sum(row.macs / row.utilisation for row in on_it):.0%}",
        )
    )
display(HTML(plots.Table(("network at 224 x 224 (counted)", "bits of a weight", "passes", "MACs on the engine", "multipliers with work"), rows).html()))
plan = plans["SqueezeNet v1.1", 8]
plots.show(
    plots.figure(
        go.Bar(x=[row.layer for row in plan], y=[row.utilisation for row in plan], marker={"color": plots.BLUE}, showlegend=False),
        x="layer",
        y="multipliers with work",
        yaxis={"tickformat": ".0%", "range": [0, 1]},
        xaxis={"autotickangles": [0, -45, -90]},
        margin={"b": 140},
        height=440,
    ),
    label="14.4",
    caption="Share of the engine's multipliers that have work in each layer of SqueezeNet v1.1 with weights of 8 bits: counted, not measured.",
    alt="Bars, one a layer: 3x3 layers near the top, 1x1 layers at one ninth, the first layer with its stride at a quarter.",
    table=plots.Table(
        ("layer", "passes", "multipliers with work"),
        [(row.layer, row.passes, f"{row.utilisation:.0%}") for row in plan],
    ),
)

# %% [markdown]
# And its sums have 16 bits. A window's sum is shifted until all planes together are sure to fit, then added, and each addition saturates: one
# rounding a plane, all of them *down*. [Chapter 6](06-two-theses) has shown what that can do. Here are the digits on such an engine:

# %%
def on_engine(network, images):
    shift = {row.layer: row.shift for row in engine.map_to_engine(network)}
    codes, cut = {0: images.astype(int)}, {}
    for number, step in enumerate(network.operations, 1):
        inputs = [codes[i] for i in step.inputs]
        codes[number] = step.compute(*inputs)
        if isinstance(step, operations.Convolve):
            s = shift[step.layer]
            found = engine.convolve_on_engine(step, *inputs, s) << s
            cut[step.layer] = np.mean(codes[number] - found)
            codes[number] = found
    return codes[len(network.operations)].reshape(len(images), -1), cut


# %%
labels, engine_rows, cuts = digits.test.labels[: len(images)], [], {}
for bits in (8, 6, 4):
    quantized.set_formats(tables[bits, bits, bits])
    lowered = lower(quantized, levels=digits.levels)
    logits, cuts[bits] = on_engine(lowered, images)
    right = [int((each.argmax(1) == labels).sum())
             for each in (lowered.run(images), logits)]
    shifts = [row.shift for row in engine.map_to_engine(lowered)]
    engine_rows.append((bits, f"{min(shifts)} to {max(shifts)}", *right))

# %% tags=["hide-input"]
heads = ("bits", "shifts of the sums", f"right of {len(images)} (quick), one sum of 32 bits", "sums of 16 bits, plane by plane")
HTML(plots.Table(heads, engine_rows).html())

# %% tags=["remove-cell"]
used = {key: sum(r.macs for r in p if not r.reason) / sum(r.macs / r.utilisation for r in p if not r.reason) for key, p in plans.items()}
record(within=0.001, squeezenet_used=used["SqueezeNet v1.1", 8], mobilenet_used=used["MobileNet", 8])
quantized.set_formats(formats)
lowered = lower(quantized, levels=digits.levels)
behind = {step.layer: after.shift for step, after in zip(lowered.operations, lowered.operations[1:]) if isinstance(step, operations.Convolve)}
in_steps = {layer: float(cut) / 2 ** behind[layer] for layer, cut in cuts[8].items()}  # of the layer's output
most_cut = max(in_steps, key=in_steps.get)
record(engine_shift=max(row.shift for row in engine.map_to_engine(lowered)), most_cut_layer=most_cut)
record(within=0.5 if SMOKE else 0.01, most_cut=in_steps[most_cut])
quote(planes_cut=next(s.kernel.shape[2] for s in lowered.convolutions if s.layer == most_cut), median_cut=float(np.median(list(in_steps.values()))))
record(squeezenet_passes=sum(r.passes for r in plans["SqueezeNet v1.1", 8]))
record(**{f"engine_{bits}": right for bits, _, _, right in engine_rows}, **{f"sum32_{bits}": right for bits, _, right, _ in engine_rows})

# %% [markdown]
# Every convolution runs on it, and it is still no match. In SqueezeNet {glue:text}`squeezenet_used:.0%` of its multipliers have work, in MobileNet
# {glue:text}`mobilenet_used:.0%`: both networks save by 1x1 windows, of which the engine uses one multiplier in nine. Fewer bits pay twice there,
# in memory and in passes.
#
# And the 16-bit sums? With 6 and 4 bits hardly one needs a shift. With 8 bits shifts go up to {glue:text}`engine_shift`, each plane is rounded down,
# and that adds up: {glue:text}`most_cut_layer`, with {glue:text}`planes_cut` planes, loses {glue:text}`most_cut:.1f` steps of its output on
# average, the median layer {glue:text}`median_cut:.1f`. The codes are not those of one sum, by far. The digits bear it: {glue:text}`engine_8` are
# right after {glue:text}`sum32_8`. A task with less to spare than these digits need not; that is not measured here.
#
# ## What the thesis found
#
# {cite:t}`vieito2017` writes that SqueezeNet, with its small windows, "aligns perfectly" with the engine, and plans the software that would send it
# there (3.4, "not yet implemented"). His results are those of the simulation: floats that were rounded, in Keras. Whether the engine would
# say the same was not asked. The others measured devices, with networks in float32: {cite:t}`chiang2017` a telephone, {cite:t}`gaikwad2018` a
# computer for cars.
#
# **Why they differ.** On paper a window of 1x1 is smaller than one of 3x3, so it fits. In hardware it fits as a small box fits a large lorry: the
# trip costs the same. The claim was about windows; the engine's price is passes. And the simulation is better than its author could know: as long
# as sums stay below $2^{24}$ it *is*, code by code, a device with sums of 32 bits. With 16 bits everywhere it is not: SqueezeNet for the
# digits needs {glue:text}`sixteen` (quick). And this engine it never is, whose sums have 16 bits and lose a little with each plane.
#
# ## Exercises
#
# 1. A layer has 512 inputs a window, 8-bit weights and 8-bit activations with a sign. How many bits does its accumulator need at the worst? Why did
#    `lower` prove fewer for the layers above?
# 2. Round to nearest twice: first to a step of 1/2, then to 1. Find a value where this is not rounding to nearest once. How often does it happen to
#    numbers spread evenly?
# 3. Lay MobileNet's 3x3 depthwise layers onto the engine. Why do four planes at once not help them?
# 4. The logits of SqueezeNet are averages over $n$ places. `lower` never divides by $n$. Why is that right for the class, and what would you do for
#    the probabilities?
#
# ```{admonition} Solutions
# :class: dropdown
# 1. A product is at most $2^7 \cdot 2^7 = 2^{14}$, 512 of them $2^{23}$. 24 bits hold one less than that, so 25. `lower` knows the weights (few are
#    at their limit) and that inputs behind a ReLU are not negative.
# 2. 0.6 becomes 0.5 and then, half to even, 0; but 1 is nearer. Of numbers spread evenly, half lie between a quarter and three quarters; all of
#    these become a half first, and half of these then go the wrong way: one in four.
# 3. A pass reads one plane of pixels and makes sums for up to four filters of it. A depthwise layer has one filter a plane.
# 4. To divide all logits by the same number changes no order. For probabilities, divide the sums by $n$ before the exponential, in float, outside.
# ```
#
# ## Run it on yours
#
# ```python
# from fewbits.deploy.identity import compare_layers
# from fewbits.deploy.lowering import lower
#
# network = lower(quantized, levels=256)  # pixels / 256 is what your network sees
# print(compare_layers(quantized, network, pixels))
# ```
#
# ```console
# $ fewbits export quantized.keras --to c --output net_c
# $ make -C net_c && net_c/classify < image.raw
# ```

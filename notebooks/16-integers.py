# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 16 Integers only
#
# *Reading time: 25 minutes. Needs: [chapter 1](01-fixed-point) (codes, rounding), [chapter 4](04-quantized-conv2d)
# (quantized networks) and [chapter 14](14-pruning) (the pruned shape that is timed).*
#
# The earlier chapters simulated small numbers with large ones. Would a device without floats compute the same?
#
# {cite:t}`vieito2017` writes his layers for a hardware convolution engine, but never runs them on it: he assumes that the simulation
# predicts the device. {cite:t}`chiang2017` measures on a phone, {cite:t}`gaikwad2018` on an embedded computer for cars, both with
# floats. This chapter removes the floats {cite:p}`jacob2018`, proves how wide every sum can become, and has four programs compute the
# same network.
#
# ```{admonition} Predict first
# :class: tip
# SqueezeNet classifies all test digits with 8 bits everywhere.
#
# - Keras simulates it in float32. In how many of its codes does it differ from integers: none, one in a million, one in a hundred?
# - How wide must a sum of products be, so that it never overflows: 16, 20, 24 or 32 bits?
# - With 16 bits everywhere, which of the two is wrong, the simulation or the integers?
# - The engine multiplies windows of 3x3. What share of its multipliers is in use when it runs SqueezeNet?
#
# The answers are in [The whole network](the-whole-network), [How wide is a sum?](how-wide-is-a-sum), [Where float32 ends](where-float32-ends)
# and [The engine](the-engine).
# ```

# %% tags=["parameters"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
from math import log2
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tensorflow as tf

from fewbits import costs, data, deploy, explore, names, quantization, zoo
from fewbits.backend import keras, ops
from fewbits.book import questions, quote, record, reference
from fewbits.book.engine_speed import CLOCK_MHZ
from fewbits.deploy import compare_layers, lower, operations
from fewbits.pruning import shrunk_to
from fewbits.quantization import FixedPoint, quantize, quantize_model, to_codes

# %% tags=["hide-input"]
SMOKE = profile == "smoke"
keras.utils.set_random_seed(1)
tf.config.run_functions_eagerly(True)  # to compile takes longer

# %% [markdown]
# ## One sum
#
# A value is a code times a step, and steps are powers of two. A sum of products of values is therefore a sum of products of *codes*,
# times the product of the steps. Here are three inputs and three weights of 4 bits:

# %%
x, w, y = FixedPoint(0, 4), FixedPoint(-1, 4), FixedPoint(-1, 4)
inputs, kernel = np.array([0.8, -0.33, 0.51]), np.array([0.21, 0.4, -0.31])
a, b = to_codes(inputs, x, "nearest"), to_codes(kernel, w, "nearest")
total = int(a @ b)
print(f"codes: {a} times {b} is {total}, in steps of {x.step * w.step:g}")
simulated = quantize(inputs, x, "nearest") @ quantize(kernel, w, "nearest")
print(f"values: {total * x.step * w.step:g}, simulated {simulated:g}")

# %% [markdown]
# The sum must then be converted to the format of the output. Its step is larger by a power of two, so this takes only a **shift**
# with a rounding: no multiplication, no table, no float. Four of the book's roundings have an integer form ($a$ is the sum, $s$ the
# shift; stochastic rounding and the operator of one thesis have none):
#
# | rounding | with integers |
# |---|---|
# | `floor` | $a \gg s$ |
# | `nearest-up` | $(a + 2^{s-1}) \gg s$ |
# | `nearest` (half to even) | as `nearest-up`, one less if the remainder is exactly half and the result odd |
# | `nearest-away` | the sign of $a$ times `nearest-up` of its absolute value |
#
# A ReLU compares codes, and so does max pooling. An average is a sum, which is divided when the next layer rounds it. No other
# operation is needed.

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
# `lower` converts a quantized network into such steps. It refuses what it cannot express with integers, and names the layer.

# %%
digits = data.load("digits")
NAME = "squeezenet_digits"
net = zoo.build(NAME, digits.image_shape, 10, weights=NAME)
few, _ = digits.arrays("train", 64)
tables = quantization.formats_for_each(
    net, few, [(bits,) * 3 for bits in (8, 6, 4)], "mse", signed=True)
formats = tables[8, 8, 8]
quantized = quantize_model(net, formats, rounding="nearest")
network = lower(quantized, levels=digits.levels)
for step in network.operations[:8]:
    print(f"{type(step).__name__:<12}{step.layer}")

# %% [markdown]
# The figure shows the steps of the first convolution: nine products of codes, a bias, a shift and a comparison make one code. Move
# from place to place with the arrow keys. Where the bits that are struck out are one half or more, the roundings differ.

# %% tags=["hide-input"]
# One convolution, code by code
explore.IntegerSteps(
    network, "conv1", digits.test.images[0], "16.1",
    "How the first convolution of SqueezeNet makes each of its codes from those of a test digit: 8 bits, no float.",
    "Three tables: the codes of the digit with a window of three by three, the kernel, and the codes that come out.",
).show()

# %%
images = digits.test.images[: 40 if SMOKE else None]
labels = digits.test.labels[: len(images)]
found = compare_layers(quantized, network, images)
print(f"{len(images)} images, {len(found)} layers, "
      f"{sum(layer.codes for layer in found.values()):,} codes:",
      f"{sum(layer.different for layer in found.values())} differ")

# %%
rows = []
for bits in (8, 6, 4):
    quantized.set_formats(tables[bits, bits, bits])
    for rounding in ("nearest", "floor"):
        quantized.set_rounding(rounding)
        lowered = lower(quantized, levels=digits.levels)
        layers = compare_layers(quantized, lowered, images).values()
        differ = [sum(layer[i] for layer in layers) for i in (0, 1)]
        right = int((lowered.run(images).argmax(1) == labels).sum())
        rows.append((bits, rounding, *differ, right))
quantized.set_rounding("nearest")
right = f"right of {len(images)}, with integers (quick)"
explore.Table(("bits", "rounding", "codes compared", "differ", right), rows)

# %% tags=["remove-cell"]
# Quoted in the text
record(steps=len(network.operations), codes=sum(layer.codes for layer in found.values()))
record(differ=sum(layer.different for layer in found.values()) + sum(row[3] for row in rows))
record(right={(bits, rounding): right for bits, rounding, _, _, right in rows})
quote(images=len(images), all_codes=sum(row[2] for row in rows))

# %% [markdown]
# **None differs**: of {glue:text}`all_codes:,` codes in all layers for {glue:text}`images` digits, at three widths and with two
# roundings, {glue:text}`differ` differ. This is no coincidence. float32 represents every integer up to $2^{24}$; as long as no sum
# exceeds that, it adds integers without an error, in any order.
#
# (how-wide-is-a-sum)=
# ## How wide is a sum?
#
# The largest possible sum of a filter follows without data, with every input at its limit. `lower` computes two such bounds for each
# layer. The *accumulator* must hold every partial sum: after a ReLU no input is negative, so only weights of one sign add up. The
# *simulation* may add in any order, so its bound is the sum of all absolute products. The figure shows this second bound for every
# pair of widths: if the bar ends below the line at 24, float32 is proven to be exact.

# %%
msbs = quantization.msb_table(net, few, range_rule=100)
WIDTHS = (4, 8, 16) if SMOKE else (2, 4, 6, 8, 12, 16)
networks = {}
for weight in WIDTHS:
    for activation in WIDTHS[1:]:
        widths = (weight, activation, activation)
        formats_of = quantization.formats_from_msbs(msbs, widths)
        quantized.set_formats(formats_of)
        networks[weight, activation] = lower(quantized, digits.levels)

# %% tags=["hide-input"]
# The width of the sums
explore.accumulator_sizes(
    networks, "16.2",
    "The largest sum of absolute products, plus bias, in each layer of SqueezeNet for the digits: proven, whatever the "
    "image.",
).show()

# %% [markdown]
# How large do the sums become on the test digits?

# %%
proven = networks[8, 8]
codes, met = {0: digits.test.images.astype(int)}, {}
for number, step in enumerate(proven.operations, 1):
    codes[number] = step.compute(*(codes[i] for i in step.inputs))
    if isinstance(step, operations.Convolve):
        largest = abs(codes[number]).max()
        met[step.layer] = log2(step.magnitude / largest)
bits_below = float(np.median(list(met.values())))
print(f"{bits_below:.1f} bits below what is proven, the median layer")

# %% tags=["remove-cell"]
# Quoted in the text
wide = networks[16, 16]
widest = max(proven.convolutions, key=lambda step: step.partial_bits)
record(widest=widest.partial_bits, widest_layer=widest.layer, sixteen=max(s.partial_bits for s in wide.convolutions))
record(within=0.001, proven_8=log2(max(s.magnitude for s in proven.convolutions)), met_8=bits_below)
quote(sixteen_layers=len(wide.beyond_float32), layers=len(proven.convolutions))

# %% [markdown]
# With 8 bits the widest accumulator needs **{glue:text}`widest` bits** ({glue:text}`widest_layer`). That is proven for every image,
# so no check is needed at run time. On the test digits the sums of a layer stay {glue:text}`met_8:.1f` bits below its bar (the median
# of the layers). Each bit fewer in a weight takes one bit off the sum, and so does each bit fewer in an activation. With both at 16,
# the widest accumulator needs {glue:text}`sixteen` bits.
#
# (where-float32-ends)=
# ## Where float32 ends
#
# At 16 bits, {glue:text}`sixteen_layers` of {glue:text}`layers` layers are above the line. There the *simulation* is wrong: float32
# rounds a sum that integers represent exactly. We therefore also simulate the same network in float64, which represents integers up
# to $2^{53}$:

# %%
formats_of = quantization.formats_from_msbs(msbs, (16, 16, 16))
quantized.set_formats(formats_of)
wide = lower(quantized, levels=digits.levels)
exact = deploy.to_values(wide.tensors[-1], wide.run(images))
scaled = images.astype("float32") / digits.levels
off, read, gap = {}, {}, {}
for dtype in ("float32", "float64"):
    simulated = deploy.simulation(quantized, dtype)
    logits = ops.convert_to_numpy(simulated(scaled))
    off[dtype] = np.mean(logits != exact.astype(dtype))
    read[dtype] = np.sum(logits.argmax(1) != exact.argmax(1))
    gap[dtype] = np.abs(logits - exact).max() / np.abs(exact).max()
    print(f"{dtype}: {off[dtype]:.1%} of the logits differ,",
          f"{read[dtype]} digits are read differently")

# %% tags=["remove-cell"]
# Quoted in the text
record(off_64=int(off["float64"] * exact.size))
quote(gap_32=gap["float32"], off_32=off["float32"], read_32=read["float32"])

# %% [markdown]
# In float32 {glue:text}`off_32:.0%` of the logits differ from those of the integers, in float64 {glue:text}`off_64`. The differences
# are small, at most {glue:text}`gap_32:.0e` of the largest logit, and change the answer for {glue:text}`read_32` digits. But if you
# test a device against the simulation, you cannot tell them from a bug. `compare_layers` uses float64 by itself wherever a sum is not
# proven to fit.
#
# (four-programs)=
# ## Four programs, one answer
#
# If everything is an integer, any program that adds integers must compute the same results. We export the 8-bit network to three more
# programs: an **ONNX** file whose products are integers; **C** without floats or a heap, compiled to a library on this machine; and a
# **LiteRT** file of `int8` with our codes and our steps.

# %%
quantized.set_formats(formats)
network = lower(quantized, levels=digits.levels)
codes = network.run(images)
said = {name: deploy.compare_program(codes, program, images)
        for name, program in deploy.program_runners(network).items()}
for name, found in said.items():
    print(f"{name}: {found.different} of {found.codes:,} codes differ")

# %%
by_layer = {
    kernels: deploy.compare_litert(quantized, scaled[:100], delegate=how)
    for kernels, how in (("XNNPACK", True), ("LiteRT's own", False))
}

# %% tags=["hide-input"]
# Codes that LiteRT computes differently
shares = {kernels: {name: x.different / x.codes for name, x in found.items()} for kernels, found in by_layer.items()}
rows = [(kernels, name, *found) for kernels, layers in by_layer.items() for name, found in layers.items()]
explore.bars(
    shares, "16.3",
    "Codes that LiteRT computes differently, with the same weights, formats and images: "
    f"{min(100, len(images))} digits (quick).",
    "Bars, one per layer: none with XNNPACK; with LiteRT's own kernels in nearly every layer, and most in the last.",
    x="layer", y="codes that differ", yaxis=explore.PERCENT, height=440,
    table=explore.Table(("kernels", "layer", "codes", "differ", "by at most, in steps"), rows),
)

# %% tags=["remove-cell"]
# Quoted in the text
(codes_nn, differ_nn, _), (codes_own, differ_own, _) = (np.sum([*f.values()], 0).tolist() for f in by_layer.values())
record(onnx_differ=said["ONNX Runtime"].different, xnnpack_differ=int(differ_nn))
record(within=0.05, own_differ=differ_own / codes_own, own_logits=shares["LiteRT's own"]["pool10"])
quote(c_differ=said["C"].different if "C" in said else "(no C compiler here) no", litert_codes=int(codes_nn))
quote(own_most=max(x.largest for x in by_layer["LiteRT's own"].values()))

# %% [markdown]
# In ONNX Runtime {glue:text}`onnx_differ` codes differ, in C {glue:text}`c_differ`. In LiteRT, whose float scales are less strict,
# {glue:text}`xnnpack_differ` of {glue:text}`litert_codes:,` differ on XNNPACK, the library it uses by default. Two of the three files
# still use floats between integers (ONNX has no shift that rounds, and LiteRT rounds halves up where a step gets coarser); but a code
# times a power of two is exact in them, too. **With power-of-two scales, only the rounding is open to interpretation.**
#
# The rounding alone can make a difference. LiteRT's *own* kernels, for machines without XNNPACK, compute {glue:text}`own_differ:.0%`
# of the codes differently, by up to {glue:text}`own_most:.0f` steps. They round twice: first in a product with a 32-bit factor, then
# in a shift. A value slightly below a half becomes a half in the first rounding, and is rounded up in the second. One code changes
# others in the next layer, and {glue:text}`own_logits:.0%` of the logits have another code. This is not a bug but a different
# arithmetic, which a simulation must model to agree with it.
#
# A few hundred digits are a small test. The next table has all 10,000 test images of CIFAR-10, in three networks and at three widths.
# It compares every layer's codes in NumPy with those of the simulation, and the logits of the other two programs with NumPy's.

# %% tags=["hide-input"]
# All test images of CIFAR-10, with integers
rows, compared = [], []
for name in ("SqueezeNet", "LeNet", "MobileNet"):
    for cell in reference.cells(f"{name} in integers"):
        found = cell.records[0].results.identity if cell.records else {}
        differ = (f"{found[p][1]} of {found[p][0]:,}" if p in found else None for p in ("NumPy", "ONNX Runtime", "C"))
        first, which = cell.trial.start, [name]
        if not isinstance(first, str):  # not our own weights
            which += [f"width {first.width:g}"] * (first.width != 1) + [f"{first.epochs} epochs"]
        rows.append((", ".join(which), cell.trial.bits[0], *differ, cell))
        compared += found.values()
heads = "network", "bits", "codes that differ: NumPy, all layers", "ONNX Runtime, logits", "C, logits", "top-1"
reference.results_table(heads, rows)

# %% tags=["remove-cell"]
# Quoted in the text
quote(cifar_codes=sum(n for n, _ in compared) / 1e9, cifar_differ=sum(off for _, off in compared))
quote(cifar_planned=len(rows), cifar_runs=sum(bool(row[-1].records) for row in rows))

# %% [markdown]
# Of {glue:text}`cifar_codes:.1f` billion codes, {glue:text}`cifar_differ` differ ({glue:text}`cifar_runs` of {glue:text}`cifar_planned`
# networks have been run).
#
# Here is a part of the C code that `fewbits export --to c` writes. Every layer is one call; the top of the header states the memory
# that it needs:

# %%
with TemporaryDirectory() as folder:
    memory = deploy.write_c(network, Path(folder, "c"))
    source = Path(folder, "c", "squeezenet_digits.c").read_text()
start = source.index("void squeezenet_digits_run")
print(source[start : source.index("\n}", start) + 2])
print(f"{memory.weight_bytes:,} bytes of constants,",
      f"{memory.ram_bytes:,} of memory")

# %% tags=["remove-cell"]
# Quoted in the text
record(weight_bytes=memory.weight_bytes, ram_bytes=memory.ram_bytes)

# %% [markdown]
# (how-fast)=
# ## How fast?
#
# We measure the time of the larger SqueezeNet, for CIFAR-10: unpruned; in the shape left after pruning two thirds of its filters
# ([chapter 14](14-pruning); its time does not depend on the values of its weights); and both with 8 bits. All are measured in turn,
# for one image on one thread of this machine:

# %%
NAME = "squeezenet_cifar"
large = zoo.build(NAME, (32, 32, 3), 10, weights=NAME)
steps = reference.cell("pruned to a third").records[0].results.pruning
noise = np.random.default_rng(0).random((16, 32, 32, 3), np.float32)
nets = {"whole": large, "pruned": shrunk_to(large, steps[-1]["filters"])}
for name, plain in list(nets.items()):
    eight = quantize_model(plain, rounding="nearest",
                           fold_batch_normalization=True)
    widths = quantization.formats_for(eight, noise, (8, 8, 8), signed=True)
    eight.set_formats(widths)
    nets[f"{name}, 8 bits"] = eight


# %%
def files_of(name, net):
    """Return runtime -> the file that it reads."""
    small = "8 bits" in name
    exported = deploy.to_integer_onnx(lower(net)) if small else (
        deploy.to_onnx(net))
    return {"LiteRT": deploy.to_litert(net, "int8" if small else "float32"),
            "ONNX Runtime": exported.SerializeToString()}


# %%
tf.config.run_functions_eagerly(False)  # time Keras as compiled
running, sizes = {}, {}
for name, one in nets.items():
    for runtime, file in files_of(name, one).items():
        running[runtime, name], sizes[runtime, name] = file, len(file)
    onnx = deploy.ONNXRunner(running["ONNX Runtime", name])
    running["ONNX Runtime", name] = onnx
    if "8 bits" not in name:
        running["Keras", name] = costs.KerasRunner(one)
        sizes["Keras", name] = 4 * one.count_params()
    elif deploy.find_compiler():
        running["C", name] = deploy.CRunner(lower(one))
        sizes["C", name] = running["C", name].memory.weight_bytes

# %%
taken = costs.measure_latency(running, rounds=5 if SMOKE else 100)
tf.config.run_functions_eagerly(True)
ms = {key: found.median for key, found in taken.items()}

# %% tags=["hide-input"]
# Time by runtime
RUNTIMES = sorted({runtime for runtime, _ in taken}, key=("Keras", "LiteRT", "ONNX Runtime", "C").index)
rows = [(r, name, taken[r, name], sizes[r, name]) for r in RUNTIMES for name in nets if (r, name) in taken]
explore.bars(
    {name: {r: ms.get((r, name)) for r in RUNTIMES} for name in nets}, "16.4",
    "Median time for one image on one thread, SqueezeNet for CIFAR-10, this machine (quick). Logarithmic.",
    "Bars by runtime, up to four networks each: whole and pruned, in float and with 8 bits. The table has the times.",
    x="runtime", y="ms for an image", yaxis={"type": "log", "tickvals": [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20]},
    table=explore.Table(("runtime", "network", "time", "bytes"), rows),
)

# %% tags=["remove-cell"]
# Quoted in the text
whole, small = (ms["LiteRT", name] for name in ("whole", "whole, 8 bits"))
quote(litert_gain=small / whole, litert_both=ms["LiteRT", "pruned, 8 bits"] / whole)
quote(onnx_gain=ms["ONNX Runtime", "whole, 8 bits"] / ms["ONNX Runtime", "whole"])
quote(c_of_litert=ms.get(("C", "whole, 8 bits"), float("nan")) / small)
left = {r: sizes[r, "whole, 8 bits"] / sizes[r, "whole"] for r in ("LiteRT", "ONNX Runtime")}
record(within=0.001, int8_left=left["LiteRT"], onnx_left=left["ONNX Runtime"])

# %% [markdown]
# The 8-bit file has {glue:text}`int8_left:.1%` of the bytes of the float file in LiteRT, and {glue:text}`onnx_left:.1%` in ONNX. Time
# does not follow bytes. LiteRT takes {glue:text}`litert_gain:.0%` of its float time with 8 bits, and {glue:text}`litert_both:.0%`
# with two thirds of the filters gone as well. ONNX Runtime takes {glue:text}`onnx_gain:.0%` with our file, which expresses each
# requantization in several operations, each a pass over memory. We have not profiled whether this is the reason, and have not tried
# its own quantized convolution, which rounds differently. Our C takes {glue:text}`c_of_litert:.1f` times as long as LiteRT: it is
# plain C, but its loops are written so that a compiler makes vectors of them, for the processor that it finds. **Fewer bits always
# save memory; whether they save time depends on the runtime.**
#
# (on-a-microcontroller)=
# ### On a microcontroller
#
# A microcontroller has some kilobytes of memory and no operating system. Our C needs only a compiler there. We compiled LeNet and
# SqueezeNet for the digits, with 8 and 4 bits, for four cores, and ran them in an emulator, which executes the instructions of the
# core and counts them. (It does not know how many cycles each takes.) Flash holds code and constants, RAM the codes between layers;
# the stack is extra. CMSIS-NN is Arm's own library of layers for these cores:

# %% tags=["hide-input"]
# Two networks on four cores
counted, how_counted = reference.load_devices()
on_core = {(r.network, r.bits, r.device, r.kernels, r.optimized): r for r in counted}
rows = []
for r in counted:
    if (r.kernels, r.optimized) == ("ours", "-O2"):
        theirs = on_core.get((r.network, r.bits, r.device, "CMSIS-NN", "-O2"))
        taken_there = r.flash, r.ram, r.stack, r.instructions, theirs and theirs.instructions
        rows.append((r.network, r.bits, r.device, *taken_there))
heads = "network (reference)", "bits", "core", "flash", "RAM", "stack", "instructions", "with CMSIS-NN"
explore.Table(heads, rows, f"Bytes, and instructions of one image; -O2. {how_counted}")

# %% tags=["remove-cell"]
# Quoted in the text
def instructions(network, bits=8, device="cortex-m4", kernels="ours", optimized="-O2"):
    return on_core[network, bits, device, kernels, optimized].instructions


for short, network in (("lenet", "LeNet"), ("squeeze", "SqueezeNet")):
    quote(**{f"core_{short}": instructions(network) / instructions(network, kernels="CMSIS-NN")})
quote(core_small=instructions("LeNet", device="cortex-m0plus") / instructions("LeNet"))
quote(core_size=instructions("LeNet", optimized="-Os") / instructions("LeNet"))
packed, loose = (on_core["LeNet", 4, "cortex-m4", kernels, "-O2"] for kernels in ("ours", "ours, not packed"))
quote(packed_flash=packed.flash / loose.flash, packed_price=packed.instructions / loose.instructions)

# %% [markdown]
# All codes of 40 digits are those of the integers above, on every core and with both sets of kernels: CMSIS-NN, told to round once,
# divides by a power of two exactly as `nearest-up` does. On the Cortex-M4 our C takes {glue:text}`core_lenet:.2f` times the
# instructions of CMSIS-NN for LeNet, and {glue:text}`core_squeeze:.2f` times for SqueezeNet. The Cortex-M0+ has fewer kinds of
# instructions and takes {glue:text}`core_small:.1f` times as many as the Cortex-M4 for LeNet. Compiled for size (`-Os`) instead of
# speed, the Cortex-M4 takes {glue:text}`core_size:.2f` times as many. With 4 bits two weights share a byte: LeNet then takes
# {glue:text}`packed_flash:.0%` of the flash, and {glue:text}`packed_price:.1f` times the instructions, because every weight is
# unpacked before it is used. Two lines count all this for your network:
#
# ```shell
# fewbits export yours-in-8-bits.keras --to c --output device
# fewbits benchmark yours-in-8-bits.keras --device cortex-m4
# ```
#
# (the-engine)=
# ## The engine that was never used
#
# The convolution engine for which {cite:t}`vieito2017` writes ({cite:t}`conti2015`) is a small machine. It holds a window of 3x3 or
# 5x5 and slides it over one plane of 16-bit pixels. With weights of 16 bits it makes one plane of sums in a pass, with 8 bits two,
# with 4 bits four. Everything else must be mapped to it: a 1x1 window is a 3x3 one with eight zeros, a 7x7 window is split into four
# of 5x5. The engine reads one pixel in a clock cycle, so that a pass takes as many cycles as the plane has pixels. That includes
# pixels without an output: with a stride of 2, three in four.
#
# [Chapter 17](17-engine) builds such an engine in gates. The cycles below are counted. A test compares this count with the simulation
# of that engine, for all shapes of layers in SqueezeNet v1.1 and in two networks for digits: they are equal, but for three cycles at
# the start of a 1x1 layer, in which its first weights arrive.

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
            largest = np.abs(layer.kernel).max()
            msb = quantization.msb_from_limits(0, largest)
            layer.set_formats(FixedPoint(msb, bits), byte, byte)
        plans[name, bits] = deploy.map_to_engine(lower(wide_net))


# %%
def with_work(plan):
    """Return the share of the engine's multipliers in use."""
    on_it = [row for row in plan if not row.reason]
    could = sum(row.macs / row.utilisation for row in on_it)
    return sum(row.macs for row in on_it) / could


# %%
rows = []
for (name, bits), plan in plans.items():
    passes = sum(row.passes for row in plan)
    cycles = sum(row.cycles for row in plan)
    on_it = sum(row.macs for row in plan if not row.reason)
    on_it /= sum(row.macs for row in plan)
    each = CLOCK_MHZ * 1e6 / cycles
    rows.append((name, bits, passes, f"{cycles / 1e6:.1f}", f"{each:.2f}",
                 f"{on_it:.1%}", f"{with_work(plan):.0%}"))

# %%
explore.Table(
    ("network at 224 x 224 (counted)", "bits of a weight", "passes",
     "million cycles", f"images per second at {CLOCK_MHZ} MHz",
     "MACs on the engine", "multipliers in use"), rows)

# %% tags=["hide-input"]
# SqueezeNet on the engine, layer by layer
plan = plans["SqueezeNet v1.1", 8]
explore.bars(
    {"in use": {row.layer: row.utilisation for row in plan}}, "16.5",
    "Share of the engine's multipliers in use in each layer of SqueezeNet v1.1 with weights of 8 bits: "
    "counted, not measured.",
    "Bars, one per layer: 3x3 layers near the top, 1x1 layers at one ninth, the first one with its stride at a quarter.",
    x="layer", y="multipliers in use", yaxis={**explore.PERCENT, "range": [0, 1]}, height=440,
    table=explore.Table(
        ("layer", "passes", "multipliers in use"), [(r.layer, r.passes, f"{r.utilisation:.0%}") for r in plan]
    ),
)

# %% [markdown]
# Moreover, its sums have 16 bits. Each window's sum is shifted so that all planes together are certain to fit, then added, and each
# addition saturates. This rounds once per plane, always *down*. [Chapter 6](06-two-theses) showed the possible effect. Here are the
# digits on such an engine:

# %%
def on_engine(network, images):
    shift = {row.layer: row.shift for row in deploy.map_to_engine(network)}
    codes, cut = {0: images.astype(int)}, {}
    for number, step in enumerate(network.operations, 1):
        inputs = [codes[i] for i in step.inputs]
        codes[number] = step.compute(*inputs)
        if isinstance(step, operations.Convolve):
            s = shift[step.layer]
            found = deploy.convolve_on_engine(step, *inputs, s) << s
            cut[step.layer] = np.mean(codes[number] - found)
            codes[number] = found
    return codes[len(network.operations)].reshape(len(images), -1), cut


# %%
rows, cuts = [], {}
for bits in (8, 6, 4):
    quantized.set_formats(tables[bits, bits, bits])
    lowered = lower(quantized, levels=digits.levels)
    logits, cuts[bits] = on_engine(lowered, images)
    right = [int((each.argmax(1) == labels).sum())
             for each in (lowered.run(images), logits)]
    shifts = [row.shift for row in deploy.map_to_engine(lowered)]
    rows.append((bits, f"{min(shifts)} to {max(shifts)}", *right))
heads = (f"right of {len(images)} (quick), one sum of 32 bits",
         "sums of 16 bits, plane by plane")
explore.Table(("bits", "shifts of the sums", *heads), rows)

# %% tags=["remove-cell"]
# Quoted in the text: multipliers in use, and what the engine cuts off, in steps of the layer's output
record(within=0.001, squeezenet_used=with_work(plan), mobilenet_used=with_work(plans["MobileNet", 8]))
record(squeezenet_passes=sum(row.passes for row in plan))
record(squeezenet_cycles=sum(row.cycles for row in plan))
quote(squeezenet_seconds=sum(row.cycles for row in plan) / (CLOCK_MHZ * 1e6), clock=CLOCK_MHZ)
quantized.set_formats(formats)
lowered = lower(quantized, levels=digits.levels)
pairs = zip(lowered.operations, lowered.operations[1:])
shift = {step.layer: after.shift for step, after in pairs if isinstance(step, operations.Convolve)}
in_steps = {layer: float(cut) / 2 ** shift[layer] for layer, cut in cuts[8].items()}
most_cut = max(in_steps, key=in_steps.get)
record(engine_shift=max(row.shift for row in deploy.map_to_engine(lowered)), most_cut_layer=most_cut)
record(within={"smoke": 0.5, "quick": 0.01}, most_cut=in_steps[most_cut])
quote(planes_cut=next(s.kernel.shape[2] for s in lowered.convolutions if s.layer == most_cut))
quote(median_cut=float(np.median(list(in_steps.values()))))
record(engine={bits: right for bits, _, _, right in rows}, sum32={bits: right for bits, _, right, _ in rows})

# %% [markdown]
# Every convolution runs on the engine, but the match is poor. SqueezeNet uses {glue:text}`squeezenet_used:.0%` of its multipliers,
# MobileNet {glue:text}`mobilenet_used:.0%`: both networks save MACs with 1x1 windows, for which the engine uses one multiplier in
# nine. With weights of 8 bits, SqueezeNet takes {glue:text}`squeezenet_seconds:.2f` s for an image at {glue:text}`clock` MHz. Fewer
# bits help twice there, in memory and in passes.
#
# With 6 and 4 bits hardly any 16-bit sum needs a shift. With 8 bits shifts go up to {glue:text}`engine_shift`, each plane is rounded
# down, and the errors add up: {glue:text}`most_cut_layer`, with {glue:text}`planes_cut` planes, loses {glue:text}`most_cut:.1f` steps
# of its output on average, the median layer {glue:text}`median_cut:.1f`. The codes are far from those of a single wide sum. The
# digits tolerate this: {glue:text}`engine_8` are right instead of {glue:text}`sum32_8`. A harder task may not; we have not measured
# that.
#
# ## What the thesis found
#
# {cite:t}`vieito2017` writes that SqueezeNet, with its small windows, "aligns perfectly" with the engine, and plans the software that
# would map it to the engine (3.4, "not yet implemented"). His results are those of the simulation: rounded floats in Keras. He did
# not ask whether the engine would compute the same. The others measured devices, with networks in float32: {cite:t}`chiang2017` a
# phone, {cite:t}`gaikwad2018` an embedded computer for cars.
#
# **Why they differ.** On paper a 1x1 window fits because it is smaller than 3x3. In hardware it fits as a small box fits a large
# lorry: the trip costs the same. The claim was about windows, but the engine's cost is in passes. The simulation is better than its
# author could know: as long as sums stay below $2^{24}$, it equals, code by code, a device with sums of 32 bits. With 16 bits
# everywhere it does not: SqueezeNet for the digits needs {glue:text}`sixteen` bits (quick). It never equals this engine, whose sums
# have 16 bits and lose a little with each plane.
#
# ## Two questions

# %% tags=["hide-input"]
# A bound with fewer bits
bound = {bits: log2(512 * 2 ** (bits - 1) * 2 ** (bits - 1)) for bits in (8, 4)}
questions.ask(
    f"A window has 512 inputs. With weights and activations of 8 bits no sum of products exceeds 2 to the power of {bound[8]:.0f}. What is the "
    "power if both have 4 bits?",
    (f"{bound[4]:.0f}", "Each bit fewer in a weight takes one bit off every product, and so does each bit fewer in an activation."),
    (f"{bound[8] - 4:.0f}", "This is one of the two at 4 bits. Both factors of a product become smaller."),
    (f"{bound[8] / 2:.1f}", "The number of inputs adds nine bits at both widths, and these are not halved."),
    (f"{bound[8]:.0f}", "The bound depends on how large the codes can be, not on the number of inputs alone."),
)

# %% tags=["hide-input"]
# A shift of a negative sum
negative, bits_off = -13, 2
down, up = (int(operations.divide_rounded(np.array(negative), 2**bits_off, r)) for r in ("floor", "nearest-up"))
questions.ask(
    f"A device drops the lowest {bits_off} bits of the sum {negative}, in two's complement. Which code remains?",
    (f"{down}", f"{negative} / {2**bits_off} is {negative / 2**bits_off}. Dropping bits rounds down, and down is away from zero here."),
    (f"{up}", "This is the nearest code. It needs half a step added before the shift."),
    (f"{negative / 2**bits_off}", "A code is an integer. The fraction is what was dropped."),
    (f"{-negative >> bits_off}", "The sign is the highest bit. The lowest ones are dropped."),
)

# %% [markdown]
# ## Exercises
#
# 1. A layer has 512 inputs per window, 8-bit weights and 8-bit activations with a sign. How many bits does its accumulator need in
#    the worst case? Why are fewer bits proven for the layers above?
# 2. Round to nearest twice: first to a step of 1/2, then to 1. Find a value for which the result differs from rounding to nearest
#    once. How often does this happen for uniformly distributed numbers?
# 3. Map MobileNet's 3x3 depthwise layers to the engine. Why does computing four planes at once not help them?
# 4. The logits of SqueezeNet are averages over $n$ places. `lower` never divides by $n$. Why is that correct for the class, and what
#    must be done for probabilities?
#
# ```{admonition} Solutions
# :class: dropdown
# 1. A product is at most $2^7 \cdot 2^7 = 2^{14}$, 512 of them $2^{23}$. The largest value of 24 bits is one less than that, so it
#    needs 25. `lower` knows the weights (few are at their limit) and that inputs after a ReLU are not negative.
# 2. 0.6 becomes 0.5 and then, half to even, 0; but 1 is nearer. Of uniformly distributed numbers, half have a fraction between a
#    quarter and three quarters. All of these first become a half, and half of them are then rounded the wrong way: one in four.
# 3. A pass reads one plane of pixels and makes sums for up to four of its filters. A depthwise layer has one filter per plane.
# 4. Dividing all logits by the same number does not change their order. For probabilities, divide the sums by $n$ before the
#    exponential, in float, outside the network.
# ```
#
# **Lab.** Run a network on integers, and prove that no sum overflows, in `notebooks/labs/16-integers.py`
# ([all labs](../book/labs)).
#
# ## Run it on yours
#
# ```python
# from fewbits.deploy import compare_layers, lower
#
# network = lower(quantized, levels=256)  # pixels / 256 is what your network sees
# print(compare_layers(quantized, network, pixels))
# ```
#
# ```console
# $ fewbits export quantized.keras --to c --levels 256 --divisor 256 --output net_c
# $ make -C net_c && net_c/classify < image.raw
# ```

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 17 The engine, in gates
#
# *Reading time: 20 minutes. Needs: [chapter 2](02-counting) (MACs) and [chapter 16](16-integers) (codes, shifts, the engine).*
#
# The last chapter removed the floats and mapped a network to a convolution engine on paper. Would the engine itself compute the same,
# how much of its time would it multiply, and what does each bit and each rounding cost in gates?
#
# {cite:t}`vieito2017` plans "the NeuralNet system on a low-power platform" with such an engine {cite:p}`conti2015`, and leaves it to
# future work. This chapter builds one. It is written in Amaranth, a hardware language inside Python, is simulated cycle by cycle, and
# is synthesized to the lookup tables (LUTs) of a small FPGA.
#
# ```{admonition} Predict first
# :class: tip
# The engine computes whole layers of SqueezeNet with 8 bits.
#
# - How many of its codes differ from those of the integers in chapter 16?
# - A 3x3 layer fits the engine's window. In what share of the cycles do the multipliers work?
# - Rounding half up adds half a step before the shift. How many more LUTs does this take than rounding down: none, a tenth, or half
#   as many again and more?
# - A product of 16-bit codes has four times the bits of one of 4-bit codes. How many times the LUTs?
#
# The answers are in [Code for code](code-for-code), [Cycles](how-many-cycles) and [The price list](the-price-list).
# ```

# %% tags=["parameters"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
import json
import shutil
from dataclasses import replace

import numpy as np
import tensorflow as tf
from amaranth.hdl import Module, Signal, signed
from amaranth.sim import Simulator

from fewbits import data, explore, quantization, zoo
from fewbits.backend import keras
from fewbits.book import questions, quote, record, reference
from fewbits.book.engine_speed import CLOCK_MHZ, load_engine_speed
from fewbits.book.gate_prices import load_gate_prices
from fewbits.deploy import lower, operations
from fewbits.deploy.hardware import (
    ENGINE_ROUNDINGS, EngineDesign, compute_tensors, design_for, ideal_cycles, lookup_tables, peak_macs, plan_jobs,
    rounded_shift, simulate, trace_job,
)
from fewbits.quantization import quantize_model
from fewbits.statistics import Share

# %% tags=["hide-input"]
SMOKE = profile == "smoke"
keras.utils.set_random_seed(1)
tf.config.run_functions_eagerly(True)  # to compile takes longer

# %% [markdown]
# ## One pixel per cycle
#
# The engine reads the planes of a layer as a stream, one pixel per cycle, row by row and plane by plane. It never stores a plane. Each
# part does one thing, and passes its result to the next one in the following cycle:
#
# | part | what it does |
# |---|---|
# | line buffers | keep the last rows; the pixel that arrives completes a column of the window |
# | window | moves on by that column; pixels outside of the plane are 0, and take no cycles |
# | products | 9 pixels times 9 slices of weights, 4 bits each, added in a tree |
# | slices | a weight of 8 bits has two slices: $w = w_\text{low} + 16\,w_\text{high}$, so the sums are joined as $s_\text{low} + 16\,s_\text{high}$ |
# | partial sums | a queue with one sum per place; the sum of the window is added to that of the planes before, which starts with the bias |
# | normalization | after the last plane: shift, round, clip to a code; a ReLU is a lower limit of 0 |
#
# Slices are how the engine of {cite:t}`conti2015` uses the same multipliers for few bits and many: a word of 16 bits holds one weight
# of 16 bits, two of 8 or four of 4, each of a filter of its own. A design fixes the widths when the engine is built:

# %%
design = EngineDesign(window=3, pixel_bits=8, word_bits=16, words=1)
for bits, filters in design.weight_widths.items():
    print(f"weights of {bits} bits, filters at once: {filters},",
          f"MACs per cycle: {filters * design.window**2}")

# %% [markdown]
# Streams connect the parts. Each has two wires besides its data: the sender says when an item is *valid*, the reader when it is
# *ready*, and the item passes in the cycle in which both are 1. So a part that has to wait stops those before it, and nothing is lost.
#
# ### Step by step
#
# A recorder on the simulation notes each item that passes. Here is one trained filter of 3x3 on the edge of a leaf. The picture has
# three planes, one per colour, so the partial sum of each place waits twice in the queue:

# %%
NAME = "squeezenet_cifar"
trained = zoo.build(NAME, (32, 32, 3), 10, weights=NAME)
folded = quantize_model(trained, fold_batch_normalization=True)
kernel, bias = folded.quantized_layers[0].get_weights()[:2]
layer = keras.layers.Conv2D(1, 3, padding="same", activation="relu")
small = keras.Sequential([keras.layers.Input((6, 6, 3)), layer])
layer.set_weights([kernel[..., 6:7], bias[6:7]])  # it likes green

# %%
leaf = data.load("crops").test.images[6][7:13, 7:13]
formats = quantization.formats_for(
    small, leaf[None] / np.float32(256), (8, 8, 8), "mse")
few_bits = quantize_model(small, formats, rounding="nearest-up")
network = lower(few_bits, levels=256)
leaf_design = design_for(network)
[leaf_job] = plan_jobs(network, leaf_design).values()
trace = trace_job(leaf_design, leaf_job, leaf.astype(int))
print(f"{trace.windows[..., 0, 0].size} windows become",
      f"{trace.codes.shape[1] * trace.codes.shape[2]} codes")

# %% tags=["hide-input"]
# One filter, window by window
explore.EngineSteps(
    leaf_design, leaf_job, trace, leaf.astype(int), "17.1",
    "How the engine makes the codes of one filter, recorded in its simulation: three planes of 6x6 pixels, 8 bits. "
    "After the third plane the sum is shifted, and the bit in the frame decides whether rounding adds 1.",
    "Tables of a plane with a window of three by three, of weights, products and output codes, and the sums of one window.",
).show()

# %% [markdown]
# ### A rounding, as logic
#
# A shift needs no logic if its distance is fixed: it renames wires. Rounding down is then free of cost. The other roundings look at
# the bits that were dropped. The first of them is worth half a step, and *half up* adds it to what is left:

# %%
def half_up(total, shift):
    floor = total >> shift
    half = (total << 1 >> shift)[0]  # the first bit that is dropped
    return floor + half


# %% [markdown]
# These are signals, not numbers: Amaranth turns the three lines into adders and multiplexers. The library's `rounded_shift` has the
# other roundings, too. Are they those of the number format? We try every sum of 10 bits, with every shift up to 6:

# %%
def in_gates(make, totals, shift):  # what logic makes of each sum
    m, found = Module(), []
    total, by, out = Signal(signed(10)), Signal(3), Signal(signed(11))
    m.d.comb += out.eq(make(total, by))
    async def bench(context):
        context.set(by, shift)
        for value in totals:
            context.set(total, int(value))
            found.append(context.get(out))

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    return np.array(found)


# %%
def library(name):
    index = ENGINE_ROUNDINGS.index(name)
    return lambda total, by: rounded_shift(total, by, index, (name,))


totals, tried, wrong = np.arange(-512, 512, 16 if SMOKE else 1), 0, 0
for name in ENGINE_ROUNDINGS:
    logic = half_up if name == "nearest-up" else library(name)
    for shift in range(7):
        expected = operations.divide_rounded(totals, 2**shift, name)
        wrong += int((in_gates(logic, totals, shift) != expected).sum())
        tried += len(totals)
print(f"{wrong} of {tried:,} results differ")

# %% tags=["remove-cell"]
# Quoted in the text
record(rounded_wrong=wrong, roundings=len(ENGINE_ROUNDINGS))
quote(rounded_tried=tried)

# %% [markdown]
# {glue:text}`rounded_wrong` of {glue:text}`rounded_tried:,` results differ, with {glue:text}`roundings` roundings. The library's tests
# go further: they have Yosys *prove* it for every sum of 48 bits and every shift.
#
# (code-for-code)=
# ## Code for code
#
# `plan_jobs` turns each convolution of an integer network into a job: register values, and the order in which pixels and weights
# stream in. The simulated engine then computes layers of SqueezeNet for the digits, which chapter 16 computed with integers. Four
# words of 8 bits make four filters at once:

# %%
digits, NAME = data.load("digits"), "squeezenet_digits"
net = zoo.build(NAME, digits.image_shape, 10, weights=NAME)
few, _ = digits.arrays("train", 64)
formats = quantization.formats_for(net, few, (8, 8, 8), "mse")
quantized = quantize_model(net, formats, rounding="nearest-up")
network = lower(quantized, levels=digits.levels)
design = design_for(network, words=4)
jobs = plan_jobs(network, design)
codes = compute_tensors(network, digits.test.images[:1], {}, None)

# %%
LAYERS = ("conv1",) if SMOKE else (
    "conv1", "fire2_squeeze1x1", "fire2_expand3x3")
chosen = {n: job for n, job in jobs.items() if job.layer in LAYERS}
runs = [(job, codes[job.reads]) for job in chosen.values()]
results = simulate(design, runs, seed=1)
rows, compared, differ = [], 0, 0
for (number, job), (found, counters) in zip(chosen.items(), results):
    differ += int((found != codes[number]).sum())
    compared += found.size
    used = job.macs / (counters["cycles"] * peak_macs(job, design))
    rows.append((job.layer, found.size, counters["cycles"],
                 ideal_cycles(job), f"{used:.1%}"))

# %%
explore.Table(
    ("layer (quick)", "codes", "cycles", "pixels read",
     "multipliers in use"), rows, f"{differ} codes differ.")

# %% tags=["remove-cell"]
# Quoted in the text
record(codes_wrong=differ, codes_compared=compared)
record(cycles=sum(row[2] for row in rows), pixels_read=sum(row[3] for row in rows))

# %% [markdown]
# Again **none differs**: {glue:text}`codes_wrong` of {glue:text}`codes_compared:,` codes. The same holds when both streams stall at
# random in the library's tests, for windows of 1x1, 3x3 and 5x5, for pixels of 8 and 16 bits and weights of 4, 8 and 16, and for every
# rounding. Integers leave no room for interpretation, in gates no more than in programs.
#
# (how-many-cycles)=
# ## Cycles
#
# Without a stall the engine takes a cycle per pixel that it reads, plus a few at the end: a row and a pixel until the last window is
# complete, and one for each stage that the last sum passes. Three things keep multipliers idle, and the table shows all of them:
#
# - A **1x1** kernel uses one multiplier in nine. `fire2_squeeze1x1` cannot exceed that.
# - The engine reads pixels that **complete no window**. `conv1` reads a border of zeros that a layer before it has added: 100 pixels
#   for 64 places. Zeros that the engine adds itself take no cycles. A stride has the same effect: with a stride of 2 one place in four
#   is wanted.
# - The **ends**: a filter count that does not divide by the number of filters at once leaves some idle in the last run, and every job
#   fills and empties its pipeline once.
#
# The 3x3 layer has hardly any of these, and its multipliers work in {glue:text}`used_3x3:.1%` of its cycles. A real system adds
# *stalls*. The engine counts them by their cause: it waits for a pixel, for weights, for a bias, for a partial sum that is not back yet
# (in planes of a few pixels), or for the reader of its codes.

# %% tags=["remove-cell"]
# Quoted in the text
record(within=0.001, used_3x3=float(rows[-1][4].rstrip("%")) / 100)

# %% [markdown]
# ### Whole networks
#
# Verilator compiles the Verilog that `fewbits export` writes, and is fast enough for whole networks. It ran all layers that slide a
# window, with streams that never wait, and compared their codes with those of integers. The engine has words of 16 bits; the
# processor does pooling and dense layers, which are not counted here:

# %% tags=["hide-input"]
# Whole networks on the engine
speeds, simulated_with = load_engine_speed()


def of_all(name):
    """Return the sum of an attribute over all layers that were simulated."""
    return sum(getattr(layer, name) for each in speeds for layer in each.layers)


def row_of(each):
    differ, compared = (sum(getattr(layer, name) for layer in each.layers) for name in ("different", "codes"))
    peak = each.layers[0].peak_macs
    rate = each.images_per_second
    return (f"{each.network}, {each.bits} bits", peak, f"{differ} of {compared:,}", each.cycles, f"{each.of_peak:.1%}",
            f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}")


explore.Table(
    ("network (reference)", "MACs per cycle at most", "codes that differ", "cycles", "multipliers in use", "images per second"),
    [row_of(each) for each in speeds],
    f"Bits of weights; inputs have 8. Images per second at {CLOCK_MHZ} MHz. Layers of the same shape are simulated once, and of very long "
    f"ones only the first runs. {simulated_with}",
)

# %% tags=["hide-input"]
# The layers of SqueezeNet v1.1
photo = next(each for each in speeds if each.network == "SqueezeNet v1.1")
sizes = {"1x1 kernels": (1, 1), "3x3 kernels": (3, 3)}
explore.bars(
    {name: {each.layer: each.cycles if each.kernel == size else None for each in photo.layers} for name, size in sizes.items()},
    "17.2",
    "Cycles of each layer of SqueezeNet v1.1 for an image of 224 x 224 on the simulated engine, weights of 8 bits (reference).",
    "Bars, one per layer: most are short, those of 1x1 kernels no shorter than the others; the last, of 1x1 kernels, is by far the highest.",
    x="layer", y="cycles", barmode="stack", height=440,
    table=explore.Table(
        ("layer", "cycles", "pixels read", "multipliers in use"),
        [(each.layer, each.cycles, each.ideal_cycles, f"{each.of_peak:.1%}") for each in photo.layers],
    ),
)

# %% tags=["remove-cell"]
# Quoted in the text
square = [each.of_peak for each in photo.layers if each.kernel == (3, 3) and each.stride == 1]
point = [each for each in photo.layers if each.kernel == (1, 1)]
quote(net_codes=of_all("codes"), net_wrong=of_all("different"), photo_used=photo.of_peak, photo_rate=photo.images_per_second)
quote(square_least=min(square), square_most=max(square), last_cycles=photo.layers[-1].cycles / photo.cycles)
quote(point_cycles=sum(each.cycles for each in point) / photo.cycles)
quote(point_macs=sum(each.macs for each in point) / sum(each.macs for each in photo.layers))
by_bits = {each.bits: each.images_per_second for each in speeds if each.network == "SqueezeNet, digits"}
quote(narrow_gain=by_bits[4] / by_bits[16], photo_filters=photo.layers[0].peak_macs // 9)
quote(most_waited=max(sum(layer.waits.values()) for each in speeds for layer in each.layers))
lenet = [each.of_peak for each in speeds if each.network == "LeNet, digits"]
quote(lenet_least=min(lenet), lenet_most=max(lenet), clock=CLOCK_MHZ)

# %% [markdown]
# **{glue:text}`net_wrong` of {glue:text}`net_codes:,` codes differ.** No layer waits for more than {glue:text}`most_waited` cycles.
# LeNet, whose kernels are as large as its engine's window of 5x5, keeps {glue:text}`lenet_least:.1%` to {glue:text}`lenet_most:.1%` of
# the multipliers busy, and the 3x3 layers of SqueezeNet v1.1 keep {glue:text}`square_least:.2%` to {glue:text}`square_most:.2%` busy.
# SqueezeNet v1.1 as a whole uses {glue:text}`photo_used:.0%`: its 1x1 layers hold {glue:text}`point_macs:.0%` of the MACs and take
# {glue:text}`point_cycles:.0%` of the cycles, the last one alone, with its 1,000 filters, {glue:text}`last_cycles:.0%`. With
# {glue:text}`photo_filters` filters at once it makes {glue:text}`photo_rate:.1f` images per second at {glue:text}`clock` MHz. Narrow
# weights help: with 4 bits instead of 16, SqueezeNet for the digits runs {glue:text}`narrow_gain:.1f` times as fast, in the same
# multipliers.
#
# (the-price-list)=
# ## The price list
#
# Yosys turns the parts into what an FPGA has. An iCE40, a small one, has tables with four inputs and one output (LUTs), and a carry
# chain beside them. A sum has twice the bits of a code, and 8 more for its window and planes:

# %% tags=["hide-input"]
# The stored price list
stored = {name: json.loads((reference.FOLDER / f"{name}.json").read_text()) for name in ("toggles", "widths")}
prices = load_gate_prices()


def price(unit, **kind):
    """Return the lookup tables of a part by bits."""
    return {bits: prices.cost(bits, unit, **kind) for bits in range(4, 17)}


products, wraps = price("multiply", pixels="signed"), price("accumulate", overflow="wrap")
saturates = price("accumulate", overflow="saturate")
rounders = {name: price("round", rounding=name, shift="layer", codes="signed") for name in ENGINE_ROUNDINGS}

# %% tags=["hide-input"]
# Lookup tables of each part
explore.lines(
    {"a product": products, "a sum that saturates": saturates, "a sum that wraps": wraps,
     "a rounding, half up": rounders["nearest-up"]},
    "17.3",
    f"Lookup tables of four inputs in each part of the engine, in an iCE40 (reference). Logarithmic. {prices.made_with}",
    "Lines over bits from 4 to 16: the product rises steeply and is the largest from 5 bits on; sums and rounding rise slowly.",
    x="bits of a code", y="lookup tables", yaxis={"type": "log", "tickvals": [10, 20, 50, 100, 200, 500, 1000]},
)

# %% tags=["remove-cell"]
# Quoted in the text
quote(product_4=products[4], product_8=products[8], product_16=products[16], product_ratio=products[16] / products[4])
quote(product_half=products[8] / products[4], sum_8=saturates[8], wrap_8=wraps[8], sum_ratio=saturates[16] / saturates[4])
unsigned = price("multiply", pixels="unsigned")
quote(unsigned_8=unsigned[8] / products[8] - 1)

# %% [markdown]
# A product grows with the *square* of its bits: {glue:text}`product_4` LUTs with 4 bits, {glue:text}`product_8` with 8,
# {glue:text}`product_16` with 16, which is {glue:text}`product_ratio:.0f` times as many. A sum grows with its bits:
# {glue:text}`sum_ratio:.1f` times from 4 to 16. Halving the bits from 8 to 4 makes a multiplier {glue:text}`product_half:.1f` times
# smaller, while memory only halves. Saturation doubles the price of a sum, from
# {glue:text}`wrap_8` LUTs to {glue:text}`sum_8` with 8 bits; where the width of a sum is proven, as in
# [chapter 16](16-integers), it is not needed.
#
# ### A rounding
#
# What do the three lines of `half_up` cost? If Yosys is installed, it tells us now, for a sum of 24 bits and a shift by 8:

# %%
def luts(rounding):
    """Return how many lookup tables Yosys needs, here and now."""
    return lookup_tables(lambda total: rounding(total, 8), signed(24))


if shutil.which("yosys"):
    print("floor:", luts(lambda total, shift: total >> shift), "LUTs")
    print("half up:", luts(half_up), "LUTs")
else:
    print("install Yosys to see it (Debian: apt-get install yosys)")

# %% [markdown]
# A wired shift only picks wires, so that rounding down takes no table at all. Half a step needs an adder, with one table for each bit
# of the result. In the engine the result is then clipped to a code. The next figure has the part that shifts, rounds and clips. *Per
# layer* the shift is wired; *per filter* the engine needs a shifter,
# as it does when every filter has a format of its own.

# %% tags=["hide-input"]
# Roundings beside each other
def roundings_at(shift, codes):
    found = {name: price("round", rounding=name, shift=shift, codes=codes) for name in rounders}
    extra = {name: each[8] / found["floor"][8] - 1 for name, each in found.items()}
    readings = {f"{name}, 8 bits": f"{found[name][8]} LUTs ({extra[name]:+.0%})" for name in found}
    return found, readings


explore.adjustable_lines(
    roundings_at, {"shift": ("layer", "filter"), "codes": ("signed", "unsigned")}, {"shift": "layer", "codes": "signed"},
    "17.4",
    f"Lookup tables of a part that shifts, rounds and clips a sum, in an iCE40 (reference). {prices.made_with}",
    "Lines over bits, one per rounding: floor lowest, half up well above it, half to even slightly above that.",
    x="bits of a code", y="lookup tables", modes=("lines+markers",), yaxis={"rangemode": "tozero"},
).show()

# %% tags=["remove-cell"]
# Quoted in the text
floor, up, even = (rounders[name] for name in ("floor", "nearest-up", "nearest"))
more = {bits: up[bits] / floor[bits] - 1 for bits in floor}
quote(up_8=more[8], up_least=min(more.values()), up_most=max(more.values()), up_luts=up[8] - floor[8])
quote(even_luts=even[8] - up[8])
shifter = price("round", rounding="floor", shift="filter", codes="signed")
quote(shifter_8=shifter[8] / floor[8], up_share=(up[8] - floor[8]) / (9 * (products[8] + saturates[8])))

# %% [markdown]
# What is left of floor is the clip. As logic of its own, half up takes {glue:text}`up_8:.0%` more LUTs than floor with 8 bits
# ({glue:text}`up_least:.0%` to {glue:text}`up_most:.0%` at all widths), for the adder that adds the bit. Half to even takes
# {glue:text}`even_luts` LUTs more than that. A shifter per filter costs more than any rounding: {glue:text}`shifter_8:.1f` times the
# LUTs of a wired floor. But a code is rounded once, after a whole window of products. Beside the nine multipliers and adders of one
# filter, the {glue:text}`up_luts` LUTs of half up are {glue:text}`up_share:.1%`.
#
# ### A whole engine
#
# Here are whole engines: first with all roundings and words of weights of 4, 8 and 16 bits, then with 8 bits and a single rounding. Each
# has line buffers for 64 columns, 256 partial sums of 24 bits, and a shift per filter:

# %% tags=["hide-input"]
# Whole engines
def called(design):
    each = design["roundings"]
    return f"{design['word_bits']} bits, {each[0] if len(each) == 1 else 'all roundings'}"


explore.Table(
    ("word of weights, roundings (reference)", "filters at once", "LUTs", "flip-flops", "memories", "longest path"),
    [(called(e["design"]), e["design"]["words"] * e["design"]["word_bits"] // 4, e["luts"], e["ice40_flip_flops"], e["memories"],
      e["ice40_path"]) for e in prices.engines],
    f"Filters with weights of 4 bits; a memory has 4,096 bits; the path is counted in LUTs and carries. {prices.made_with}",
)

# %% tags=["remove-cell"]
# Quoted in the text
whole = {called(engine["design"]): engine for engine in prices.engines}
one_up, one_floor = (whole[f"8 bits, {name}"]["luts"] for name in ("nearest-up", "floor"))
quote(engine_up=one_up / one_floor - 1, engine_8=one_floor)
quote(path={name: whole[f"8 bits, {name}"]["ice40_path"] for name in ("floor", "nearest-up", "nearest")})
quote(word_ratio=whole["16 bits, all roundings"]["luts"] / whole["4 bits, all roundings"]["luts"])

# %% [markdown]
# An engine with half up takes {glue:text}`engine_up:.1%` more LUTs than one with floor ({glue:text}`engine_8:,`). The longest path,
# which limits the clock, is {glue:text}`path_floor` cells with floor, {glue:text}`path_nearest_up` with half up and
# {glue:text}`path_nearest` with half to even, which has to look at the result before it can round it. A word of 16 bits instead of 4 has
# four times the multipliers, and takes {glue:text}`word_ratio:.1f` times the LUTs, because the window and the line buffers are shared.
#
# ### For nothing
#
# And even this can be saved. Half a step may be added anywhere before the shift, so why not where a sum starts? Each filter has a
# bias, and half a step can be part of it:

# %%
def half_in_bias(job):
    """Return the job with half a step in the bias, rounded down."""
    filters = job.filters.copy()  # bias and shift of each filter
    filters[..., 0] += (1 << filters[..., 1]) >> 1
    return replace(job, filters=filters,
                   registers={**job.registers, "rounding": 0})


leaf_codes = leaf.astype(int)
free = simulate(leaf_design, [(half_in_bias(leaf_job), leaf_codes)])[0][0]
rounds = simulate(leaf_design, [(leaf_job, leaf_codes)])[0][0]
print(f"{(free != rounds).sum()} of {free.size} codes differ")

# %% tags=["remove-cell"]
# Quoted in the text
record(bias_wrong=int((free != rounds).sum()), bias_codes=free.size)

# %% [markdown]
# {glue:text}`bias_wrong` of {glue:text}`bias_codes` codes differ. An engine that only shifts, the cheapest of all, rounds half up if
# it is told the right bias. So both repairs of [chapter 6](06-two-theses) cost no gate and no cycle: weights are rounded to nearest
# before they are stored, and sums by their bias.
#
# (accuracy-per-gate)=
# ### Accuracy per gate
#
# What do the bits of a MAC buy? The figure has a product and a sum that wraps, together, for 4 to 16 bits, and the share of right
# answers of SqueezeNet for the digits with these bits everywhere, and with two roundings of its sums:

# %% tags=["hide-input"]
# Accuracy against the price of a MAC
widths = stored["widths"]
mac = {bits: products[bits] + wraps[bits] for bits in products}
right = {(row["bits"], row["rounding"]): Share(row["hits"], widths["images"]) for row in widths["rows"]}
explore.scatter(
    {name: {f"{bits} bits": (mac[bits], right[bits, rounding]) for bits in mac}
     for name, rounding in (("half up", "nearest-up"), ("floor", "floor"))},
    "17.5",
    f"Right answers of {widths['images']} test digits against the lookup tables of a MAC, for 4 to 16 bits of kernels, inputs and "
    "outputs; 95 % intervals, no training with few bits (reference).",
    "Points from 4 bits on the left to 16 on the right: accuracy rises up to 6 bits and is flat from there on; floor is lower at 4 bits.",
    x="lookup tables of a multiplier and an adder", mode="lines+markers", symbols=("circle", "diamond"), xaxis={"type": "log", "tickvals": [50, 100, 200, 500]},
    yaxis={**explore.PERCENT, "range": [0.75, 1]},
)

# %% tags=["remove-cell"]
# Quoted in the text
best = max(float(right[bits, "nearest-up"]) for bits in mac)
enough = min(bits for bits in mac if float(right[bits, "nearest-up"]) >= best - 0.01)
quote(enough=enough, enough_right=float(right[enough, "nearest-up"]), enough_luts=mac[enough])
quote(enough_part=mac[enough] / mac[16], best_right=best, four_right=float(right[4, "nearest-up"]))
quote(four_floor=float(right[4, "floor"]))

# %% [markdown]
# With {glue:text}`enough` bits the network is within one point of its best ({glue:text}`enough_right:.1%` of {glue:text}`best_right:.1%`),
# and a MAC takes {glue:text}`enough_part:.0%` of the LUTs of one with 16 bits. The rounding of the sums decides only where bits are
# few: with 4 bits {glue:text}`four_right:.1%` are right with half up, {glue:text}`four_floor:.1%` with floor. On so few
# digits, more bits do not tell the two apart. (The kernels are rounded to nearest in both.)
#
# (energy)=
# ### Energy
#
# Power in a chip depends on wires, memories and voltage, which we do not know. But one part of it is known: a gate takes energy when
# its output *changes*. We therefore run the gates of a MAC on the codes of a layer, and count the changes. This is a **relative**
# measure: all gates count the same, and none changes twice in a cycle. The engine holds a weight while the pixels of a plane pass;
# the other order changes the weight with every product.

# %% tags=["hide-input"]
# Changes per MAC
switched = stored["toggles"]


def toggles(codes, order):
    found = {}
    for row in switched["rows"]:
        if row["codes"] == codes and row.get("order") == order:
            found[row["bits"]] = found.get(row["bits"], 0) + row["toggles"]
    return found


energy = {(codes, order): toggles(codes, order)
          for codes in ("layer", "drawn") for order in ("weights held", "weights changing")}
unit = energy["layer", "weights held"][8]
explore.lines(
    {f"{'codes of a layer' if codes == 'layer' else 'random codes'}, {order}":
     {bits: count / unit for bits, count in found.items()} for (codes, order), found in energy.items()},
    "17.6",
    "Changes of gates in a MAC, relative to 8 bits with the codes of a layer and weights held (reference, gates without delay; "
    f"{switched['of']['layer']} of SqueezeNet on {switched['of']['images']} digits).",
    "Lines that rise with the bits, faster than in proportion; random codes change more gates than codes of a layer.",
    x="bits of a code", y="changes per MAC, relative", dashes=("solid", "dash", "solid", "dash"), yaxis={"rangemode": "tozero"},
)

# %% tags=["remove-cell"]
# Quoted in the text
held, changing, drawn = (energy[key] for key in (("layer", "weights held"), ("layer", "weights changing"), ("drawn", "weights held")))
quote(energy_16=held[16] / held[8], energy_4=held[4] / held[8], energy_changing=changing[8] / held[8])
quote(energy_drawn=drawn[8] / held[8], zeros_8=switched["of"]["zeros"]["8"])
quote(energy_6=held[6] / held[16], bits_6=6 / 16)

# %% [markdown]
# From 8 to 16 bits the changes grow {glue:text}`energy_16:.1f` times; with 4 bits {glue:text}`energy_4:.0%` are left. Random codes
# change {glue:text}`energy_drawn:.1f` times as many gates as real ones: {glue:text}`zeros_8:.0%` of the real codes are 0, after a ReLU,
# and a product with 0 changes little. A benchmark on random numbers would overstate the energy of a network.
#
# ## What the thesis found
#
# {cite:t}`vieito2017` designs for the engine, and does not have it: the software that would forward convolutions to it is "not yet
# implemented" (3.4), and "check the power efficiency" is the first line of his future work (6.2). What he states is an estimate: a
# 6-bit model "would require only 18.75% of the parameters store space" of 32 bits, and "would have an equivalent lower power impact"
# (5.5).
#
# **Why they differ.** Space is linear in the bits, and his figure for it is exact. Gates are not: a product grows with the square of
# its bits; sums, line buffers and queues grow in proportion. In changes, a MAC of 6 bits has {glue:text}`energy_6:.0%` of one
# with 16 bits, where proportion would give {glue:text}`bits_6:.1%`. His estimate was cautious for the multipliers, and says nothing
# about what surrounds them. The other plan, that codes on the engine are those of the simulation, holds without an exception once
# both are integers; and the rounding that cost him his accuracy costs nothing to mend.
#
# ## Two questions

# %% tags=["hide-input"]
# Slices
many = EngineDesign(word_bits=16, words=4).weight_widths
questions.ask(
    f"An engine makes {many[16]} filters at once with weights of 16 bits. How many with weights of 4 bits, with the same multipliers?",
    (f"{many[4]}", "A weight of 16 bits takes four slices of 4 bits. Each slice can be a weight of its own, of another filter."),
    (f"{many[8]}", "This is the number with 8 bits: two slices each."),
    (f"{16 * many[16]}", "A product of 4 by 4 bits has a sixteenth of the size, but the pixels keep their 8 bits: only the weights are sliced."),
    (f"{many[16]}", "The multipliers stay the same, but a narrow weight leaves some of its word to other filters."),
)

# %% tags=["hide-input"]
# The share of a stride
last = next(job for job in jobs.values() if job.layer == "conv1")
places, pixels = last.output.shape[0] * last.output.shape[1], last.input.shape[0] * last.input.shape[1]
questions.ask(
    f"A layer of 3x3 reads planes of {pixels} pixels and outputs {places} codes for each. What is the most that its multipliers can be in use?",
    (f"{places / pixels:.0%}", "The engine reads one pixel per cycle, and only a window at a wanted place is a multiplication that counts."),
    ("100%", "Every pixel takes a cycle, also one that completes no window."),
    (f"{1 / 9:.0%}", "This is the share of a 1x1 kernel, which uses one multiplier in nine."),
    (f"{9 * places / pixels / 10:.0%}", "Each place needs nine products, but the nine multipliers do them in one cycle."),
)

# %% [markdown]
# ## Exercises
#
# 1. A layer has 3x3 kernels, 64 input planes of 16x16 pixels and 48 filters; the engine makes 8 filters at once. How many cycles does
#    it take, about, and how many frames is that per second at 100 MHz?
# 2. `half_in_bias` makes half up for nothing. Why does the same trick not make half to even? And when does it fail for half up?
# 3. The queue of partial sums has one place per output place. What would change if the engine read all planes of a place before it
#    moved on? What would it have to store instead?
# 4. Change `in_gates` so that it tries `saturated` from the library: every sum of 10 bits, into 6.
#
# ```{admonition} Solutions
# :class: dropdown
# 1. 48 filters are 6 runs, each reads 64 planes of 256 pixels: $6 \cdot 64 \cdot 256 = 98{,}304$ cycles, and about 20 at the ends. At
#    100 MHz that is one millisecond, 1,017 frames per second.
# 2. Half to even depends on whether the result is odd, which the bias cannot know before the sum is there. For half up the sum with
#    half a step must still fit: a sum that is close to the largest one saturates.
# 3. No partial sums, but the weights of all planes at once: the window of every plane has to be kept, so the line buffers grow with
#    the number of planes. This engine holds the weights of one plane, and reads its pixels again for each run.
# 4. `make=lambda total, by: saturated(total, 6)`, expected is `np.clip(totals, -32, 31)`.
# ```
#
# **Lab.** Build the window, the sums that wait and the rounding, and count cycles, in `notebooks/labs/17-engine.py`
# ([all labs](../book/labs)).
#
# ## Run it on yours
#
# ```console
# $ fewbits export quantized.keras --to verilog --levels 256 --divisor 256 --output engine
# $ make -C engine
# ```
#
# The folder has the engine, a testbench, and the weights of each layer as memory files; `make` compiles them with Verilator and
# compares every code. Layers that an engine cannot compute are refused by name.
#
# ```python
# from fewbits.deploy.hardware import EngineRunner, design_for
#
# runner = EngineRunner(network, design_for(network, words=4))  # needs Verilator
# print(runner.run(image), runner.counters)
# ```

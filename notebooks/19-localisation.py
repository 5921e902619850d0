# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 19 Where are the plants? A classifier that points
#
# *Reading time: 15 minutes. Needs: [chapter 4](04-quantized-conv2d) (quantized layers) and [chapter 13](13-transfer) (the
# two networks).*
#
# A robot that weeds needs the place of a plant, not only its name. Boxes around plants are expensive to draw. Our network has learned
# names only, from cut-out images of one plant each. Can it also point?
#
# {cite:t}`backstrom2018` tries this on one photograph, and examines on a few more what his network looks at. We ask both questions of
# many scenes, and add a third that he leaves open: which do few bits damage first, the name or the place?
#
# ```{admonition} Predict first
# :class: tip
# - Pointing blindly hits a plant of the right kind in one of five cases. How often does a network hit one if it was never trained on
#   positions?
# - A scene shows onions and weeds. All weeds are painted over with soil. Does a network that answered "weed" now answer "onion"?
# - Kernels, inputs and outputs get 5 bits. Which suffers more: the name of a single plant, or its place in a scene?
#
# The answers are in [A map for each class](map-for-each-class), [What it looks at](what-it-looks-at) and
# [Few bits](place-with-few-bits).
# ```

# %% tags=["parameters"]
profile = "quick"  # smoke: seconds, for tests; quick: what the book shows

# %% tags=["hide-input"]
from dataclasses import replace

import numpy as np

from fewbits import data, explore, training
from fewbits.book import questions, quote, record, train_on_plants
from fewbits.data.cutouts import cut_out
from fewbits.explore import plots
from fewbits.inspection import localisation
from fewbits.quantization import Calibration, quantize_model
from fewbits.statistics import Share, verdict

# %% tags=["hide-input"]
SMOKE = profile == "smoke"
IMAGES, EPOCHS, SCENES = (24, 1, 12) if SMOKE else (96, 8, 60)
NAMES = {0: "from scratch", 9: "nine levels transferred"}

# %% [markdown]
# ## Two networks
#
# The two networks are those of [chapter 13](two-starts). Both were trained on the same 96 cut-out images of onions, weeds and soil:
# one from random weights, one with nine levels transferred from a network for CIFAR-10.

# %%
crops = data.load("crops")
nets = {
    levels: train_on_plants(crops, levels, images=IMAGES, epochs=EPOCHS)
    for levels in NAMES}
test = crops.scaled(crops.test), crops.test.labels


def share_right(net, images=test):
    return Share.of(training.evaluate_images(net, images)[1])


named = {levels: share_right(net) for levels, net in nets.items()}
for levels, share in named.items():
    print(f"{NAMES[levels]}: {share} of {len(test[1])} cut-outs right")

# %% [markdown]
# (map-for-each-class)=
# ## A map for each class
#
# Our network ends with a 1x1 convolution that has one filter per class and gives a *map* for each class. Global average pooling then
# takes the mean of each map. Without the mean, the network answers at every place {cite:p}`zhou2016`. No earlier layer depends on the
# size of the image.

# %%
scenes = list(data.draw_scenes(SCENES, 112, seed=2018))


def class_maps(net, scenes):
    """Return the probability of each class at each place."""
    images = np.stack([scene.image for scene in scenes])
    heat = localisation.heat_maps(net, images / np.float32(256))
    return localisation.probabilities(heat)


maps = {n: class_maps(net, scenes) for n, net in nets.items()}
print("one answer:", nets[9].output_shape[1:],
      "- a map:", maps[9].shape[1:])

# %% [markdown]
# At each of 7 x 7 places the softmax gives a probability for each class. The network was never trained on a whole photograph, only on
# single plants, stretched to 32 x 32. Choose a scene, a network and a class: dark areas are those that the network does not assign to
# that class.

# %% tags=["hide-input"]
# An explorer of scenes with both plants
mixed = [i for i, scene in enumerate(scenes) if len({box.name for box in scene.boxes}) == 2]
shown = {f"scene {n}": scenes[i] for n, i in enumerate(mixed[:4], 1)}
heats = {NAMES[n]: found[mixed[:4]] for n, found in maps.items()}
caption = "Drawn scenes with the boxes of their plants, lit where the network sees the chosen class (quick)."
explore.overlay(shown, heats, crops.classes, "19.1", caption).show()

# %% [markdown]
# How good are these maps? In the *pointing game* {cite:p}`zhang2016`, the maximum of a class's map is a hit if it lies in a box of
# the class. The *overlap* asks for more: of all pixels that are called onion or lie in an onion's box, how many are both? There are
# two controls: blind pointing, and the same maps with the boxes of *another* scene.

# %%
others = scenes[1:] + scenes[:1]


def points(maps, beside=scenes):
    return localisation.pointing_game(maps, beside, crops.classes)


games = {n: points(found) for n, found in maps.items()}
pointed = {n: Share(game.hits, game.n) for n, game in games.items()}
blind = games[9].chance

# %%
rows = []
for n, found in maps.items():
    elsewhere = points(found, others)
    rows.append((NAMES[n], pointed[n], f"{blind:.0%}",
                 f"{elsewhere.hits / elsewhere.n:.0%}"))
explore.Table(("network", "points right", "blind", "other scenes"), rows)

# %%
iou, rows = {}, []
for n, found in maps.items():
    for boxes, beside in (("its own", scenes), ("another's", others)):
        overlap = localisation.overlap(found, beside, crops.classes)
        iou[n, boxes] = overlap
        shares = (f"{share:.0%}" for share in overlap.values())
        rows.append((NAMES[n], boxes, *shares))
columns = "network", f"boxes ({len(scenes)} scenes, quick)", *crops.classes
explore.Table(columns, rows)

# %% [markdown]
# The network with transferred levels points correctly {glue:text}`points_9:.0%` of the time, the other {glue:text}`points_0:.0%`, and
# blind pointing {glue:text}`blind_9:.0%`. A classifier thus learns *where* at no extra cost. But the outlines are poor: the overlap
# with the boxes is {glue:text}`iou_onion:.0%` for onions and {glue:text}`iou_weed:.0%` for weeds. A place is 16 pixels wide, and its
# receptive field is much larger. A box around the thin blades of an onion is mostly soil.
#
# (what-it-looks-at)=
# ## What it looks at
#
# The thesis paints over parts of three photographs with soil and records the answers (Tables 8 to 10). They do not follow the change:
# with the weed removed, its network still says weed. Three photographs are an anecdote. We have {glue:text}`mixed:d` scenes with both
# plants, and know each plant's pixels. We paint all plants of one kind with the colour of the ground. The scene's answer is the plant
# whose map has the higher mean:

# %%
def without(scene, name):
    """Return the scene with all plants of a kind painted over."""
    kinds = np.array([box.name == name for box in scene.boxes])
    ground = ~scene.masks.any(0)
    image = scene.image.copy()
    image[scene.masks[kinds].any(0)] = np.median(image[ground], axis=0)
    return replace(scene, image=image)


def answers(net, scenes):
    """Return the plant that each scene is called, soil left out."""
    seen = class_maps(net, scenes).mean((1, 2))
    onion, weed = (seen[:, crops.classes.index(n)] for n in PLANTS)
    return np.where(onion > weed, *PLANTS)


# %%
PLANTS = "onion", "weed"
both, follows, rows = [scenes[i] for i in mixed], {}, []
for n, net in nets.items():
    whole = answers(net, both)
    for gone, left in (PLANTS, PLANTS[::-1]):
        after = answers(net, [without(scene, gone) for scene in both])
        follows[n, gone] = Share.of(after == left)
        rows.append((NAMES[n], f"{gone}s", left,
                     Share.of(whole == left), follows[n, gone]))
heads = "before", "after (quick)"
explore.Table(("network", "painted over", "answers", *heads), rows)

# %% [markdown]
# Without weeds, the better network says onion in {glue:text}`onion_left:.0%` of the scenes; without onions, it says weed in
# {glue:text}`weed_left:.0%`. Its answers mostly follow what is in the scene. Those of the network trained from random weights do not:
# whatever is painted over, it says onion in about {glue:text}`onion_anyway:.0%` of the scenes.
#
# The thesis suspects two more causes of its errors: plants are stretched, and the background is bright. We cut out each plant of all
# scenes in three ways:

# %%
def brighter(scene):
    """Return the scene with soil and pot 1.6 times as bright."""
    image = scene.image.astype("float64")
    image[~scene.masks.any(0)] *= 1.6
    return replace(scene, image=image.clip(0, 255).astype("uint8"))


def plants(scenes, **options):
    """Return each plant of the scenes as an image, and its label."""
    cut = cut_out(scenes, 32, background=False, **options)
    labels = [crops.classes.index(cut.classes[i]) for i in cut.labels]
    return cut.images / np.float32(256), np.array(labels)


# %%
ways = {
    "stretched, as in training": plants(scenes),
    "square, not stretched": plants(scenes, square=True),
    "stretched, bright ground": plants([brighter(s) for s in scenes]),
}

# %%
found = {(n, way): share_right(net, images)
         for n, net in nets.items() for way, images in ways.items()}
first, *changed = ways
rows = []
for n in NAMES:
    rows.append((NAMES[n], first, found[n, first], "-"))
    for way in changed:
        gap = found[n, way] - found[n, first]
        rows.append((NAMES[n], way, found[n, way], gap.points))
heads = "plants named right (quick)", "change"
explore.Table(("network", "cut out", *heads), rows)

# %% [markdown]
# Square cut-outs change the accuracy of the better network by {glue:text}`square_9`. That natural proportions harm a network trained
# on stretched plants is **{glue:text}`square_harms`**. The thesis saw the reverse on one photograph. A square also shows more of the
# neighbours, so two things change at once. A bright ground changes the accuracy by {glue:text}`bright_9` (that it harms:
# {glue:text}`bright_harms`).
#
# (place-with-few-bits)=
# ## Few bits
#
# We now quantize kernels, inputs and outputs of the better network to few bits, without retraining. Values are rounded to nearest,
# and calibration on 64 training images chooses the MSBs of least squared error. The name is that of a cut-out test image; the place
# is that of the pointing game.

# %%
BITS = (6, 4) if SMOKE else (6, 5, 4, 3)
network = quantize_model(
    nets[9], rounding="nearest", fold_batch_normalization=True)
widths = [(b, b, b) for b in BITS]
known = Calibration("mse").formats(
    network, crops.scaled(crops.train)[:64], widths)
names_left, places_left = {"float": named[9]}, {"float": pointed[9]}
outlines = {"float": iou[9, "its own"]}
for b, bits in zip(BITS, widths):
    network.set_formats(known[bits])
    few = class_maps(network, scenes)
    game, names_left[b] = points(few), share_right(network)
    places_left[b] = Share(game.hits, game.n)
    outlines[b] = localisation.overlap(few, scenes, crops.classes)

# %% tags=["hide-input"]
# Names and places over bits
explore.lines(
    {"name of a cut-out": names_left, "place in a scene": places_left}, "19.2",
    f"Accuracy with few bits: names of {len(test[1])} cut-outs, places in {len(scenes)} scenes; one network, 95 % intervals (quick).",
    "Two lines over bits. Both stay near float down to 6 bits; at 5 bits names have fallen and places have not; at 3 bits places fall most.",
    x="bits of kernel, input and output", colours=(plots.BLUE, plots.ORANGE), dashes=("solid", "dash"),
    xaxis={"type": "category"},
)

# %%
rows = [(b, *(f"{outlines[b].get(name, 0):.0%}" for name in PLANTS))
        for b in outlines]
heads = (f"overlap, {name}s (quick)" for name in PLANTS)
explore.Table(("bits", *heads), rows)

# %% [markdown]
# At 5 bits the accuracy of names falls by {glue:text}`name_5`, and that of places changes by {glue:text}`place_5`. A place needs only
# the *order* of the values in one map. A name needs the maps of three classes to be comparable, and an error common to a whole map
# shifts it against the others. Outlines need comparable maps too, and fall with the names: the overlap for weeds falls from
# {glue:text}`weed_float:.0%` to {glue:text}`weed_5:.0%`. At 3 bits places fall as well: {glue:text}`place_3:.0%` are right, against
# {glue:text}`blind_9:.0%` for blind pointing. (All this is one network and one seed. Accuracy at 4 bits is higher than at 5, which
# shows how much chance there is in one set of MSBs.)
#
# ## Are the maps sparser?
#
# The thesis looks at the maps that enter the last level. In its AlexNet they get more *detailed and sparse* as more levels are
# transferred. In its SqueezeNet several stay empty, although all classes are in the picture. We count zeros and empty maps after our
# last fire module:

# %%
images = np.stack([scene.image for scene in scenes]) / np.float32(256)
inner, zeros, empty, never = {}, {}, {}, {}
for n, net in nets.items():
    inner[n] = localisation.activation_maps(net, images, "fire9_concat")
    silent = inner[n].max(axis=(1, 2)) <= 0  # scene, map
    zeros[n], empty[n] = np.mean(inner[n] == 0), np.mean(silent)
    never[n] = np.mean(silent.all(axis=0))
    print(f"{NAMES[n]}: {zeros[n]:.0%} zeros;",
          f"{empty[n]:.0%} of {silent.shape[1]} maps empty",
          f"in a scene, {never[n]:.0%} in all")

# %% tags=["hide-input"]
# The maps that vary most
explore.liveliest_maps(
    {name: inner[n][mixed[0]] for n, name in NAMES.items()}, "19.3",
    "The eight maps of fire9 that vary most over scene 1, in both networks (quick).",
    "Two rows of eight small coloured squares: maps of the last fire module, bright in a few places.", what="network",
)

# %% tags=["remove-cell"]
# Quoted in the text
record(within={"smoke": 0.7, "quick": 0.15}, accuracy=named)
record(within={"smoke": 0.9, "quick": 0.3}, pointing=pointed)
record(within=1e-9, chance=blind)
quote(points={n: share.value for n, share in pointed.items()}, blind_9=blind, mixed=len(mixed))
quote(iou_onion=iou[9, "its own"]["onion"], iou_weed=iou[9, "its own"]["weed"])
record(within={"smoke": 0.9, "quick": 0.3}, onion_left=follows[9, "weed"].value, weed_left=follows[9, "onion"].value)
for name, way in zip(("square", "bright"), changed):
    better, worse = found[9, first], found[9, way]
    quote(**{f"{name}_9": (worse - better).points, f"{name}_harms": verdict(better - worse)})
five = 4 if SMOKE else 5
quote(name_5=(named[9] - names_left[five]).points, place_5=(places_left[five] - pointed[9]).points)
quote(onion_anyway=follows[0, "weed"].value, place_3=places_left[BITS[-1]].value)
quote(weed_float=outlines["float"]["weed"], weed_5=outlines[five].get("weed", 0.0))
record(within={"smoke": 0.9, "quick": 0.3}, name_of=names_left[five].value, place_of=places_left[five].value)
record(within={"smoke": 0.5, "quick": 0.2}, zeros=zeros, empty=empty)
quote(zeros_of=zeros, empty_of=empty, never=max(never.values()))
quote(sparser="as the thesis saw it" if zeros[9] > zeros[0] else "against what the thesis saw")

# %% [markdown]
# The share of zeros is {glue:text}`zeros_of_9:.0%` with nine levels transferred and {glue:text}`zeros_of_0:.0%` from random weights:
# {glue:text}`sparser`, but the difference is small and comes from one seed. In one scene, {glue:text}`empty_of_9:.0%` and
# {glue:text}`empty_of_0:.0%` of the maps are empty; in all scenes, at most {glue:text}`never:.0%`. A map that is empty in one picture
# may matter in the next. The networks of the thesis have no batch normalization, which keeps each map around zero before its ReLU;
# that may be why more of their maps are empty.
#
# ## What the thesis found
#
# On one photograph of full size, "some localisation information can be gained from the heat maps" (4.4.3, Figures 15 to 17), and the
# background's map responds to the edge of the pot. Several maps that enter the last level are empty; after pruning, fewer are (Figure
# 20). In three misclassified photographs, the answers do not depend on the part that was removed (Tables 8 to 10).
#
# **Why they differ.** They hardly do: our counts put a number on what he saw in one photograph. He finds no rule in what the network
# looks at, but in only three photographs, chosen because the network was wrong on them; we use all scenes with both plants. Our
# plants are drawn, and simpler than his. His network has 25 levels pretrained on ImageNet, ours nine pretrained on CIFAR-10.
#
# ## Two questions

# %% tags=["hide-input"]
# The size of a map
side = maps[9].shape[1]
questions.ask(
    f"The network was trained on images of 32 x 32. A scene of {scenes[0].image.shape[0]} x {scenes[0].image.shape[1]} gives maps of "
    f"{side} x {side}. What does a scene of 160 x 160 give?",
    (f"maps of {160 * side // 112} x {160 * side // 112}", "All its layers slide over the image, so the maps grow with it: one place for each 16 pixels."),
    (f"maps of {side} x {side}", "No layer fixes the size of a map. Only the mean over all places has a fixed size."),
    (f"maps of {160 // 32} x {160 // 32}", "It does not cut the scene into tiles of 32: its receptive fields overlap and lie 16 pixels apart."),
    ("an error", "That would happen with a dense layer after the maps, which needs a fixed number of inputs."),
)

# %% tags=["hide-input"]
# A constant on one map
questions.ask(
    "Rounding adds the same constant to every place of the weeds' map. What changes?",
    ("The name may change; the place of the weed does not.", "A constant keeps the order within the map, but shifts the map against those of the other classes."),
    ("The place of the weed may change; the name does not.", "It is the other way round: the highest place of a map stays the highest."),
    ("Neither, because the softmax removes constants.", "It removes a constant that is common to all classes, not one of a single class."),
    ("Both, because the mean of the map changes.", "The mean changes, and with it the name. The highest place does not."),
)

# %% [markdown]
# ## Exercises
#
# **1.** Does the network point at the *class*, or just at some plant? Swap the boxes of onions and weeds.

# %% tags=["hide-cell"]
# The pointing game with the names of the plants swapped
swapped = [crops.classes.index(name) for name in ("background", "weed", "onion")]
game = points(maps[9][..., swapped])
print(f"{game.hits} of {game.n} ({game.hits / game.n:.0%}), blind {game.chance:.0%}")

# %% tags=["remove-cell"]
# Quoted in the text
record(within={"smoke": 0.9, "quick": 0.3}, swapped=game.hits / game.n)

# %% [markdown]
# ```{admonition} Solution
# :class: dropdown
# At the class: with the names swapped, it hits only {glue:text}`swapped:.0%`, which is what pointing at something else would give.
# ```
#
# **2.** Make the boxes of the pointing game larger. Which numbers of the first table rise although the network is no better?
#
# ```{admonition} Solution
# :class: dropdown
# All of them, including blind pointing. That is why every such number needs blind pointing next to it.
# ```
#
# **3.** A plant is painted over with the median colour of the ground. What could a network still see of it?
#
# ```{admonition} Solution
# :class: dropdown
# Its outline, as a smooth patch in grainy soil, and its shadow, which belongs to no plant's pixels. To be sure, fill the patch with soil from
# another place of the scene, and compare.
# ```
#
# **Lab.** The fourth part of `notebooks/labs/13-transfer.py` turns a classifier into a map ([all labs](../book/labs)).
#
# ## Run it on yours
#
# ```python
# from fewbits.inspection.localisation import heat_maps, pointing_game, probabilities
#
# maps = probabilities(heat_maps(network, photographs))  # of any size
# print(pointing_game(maps, photographs_with_boxes, classes))
# ```
#
# If you have photographs with boxes, cut the plants out, then train; one whole photograph in ten is held out.
#
# ```shell
# fewbits data voc-crops photographs --size 32 --output plants
# fewbits train --network squeezenet_cifar --data plants --size 32 --by-photograph --transfer squeezenet_cifar --levels 9 \
#         --epochs 30 --output plants.keras
# ```

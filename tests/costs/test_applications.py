"""MobileNet v1, ResNet-50 and Inception v3 against keras.applications: layer by layer the same configuration, and,
with the same weights, the same outputs."""

import numpy as np
import pytest

from fewbits import zoo
from fewbits.backend import keras

layers = keras.layers

SIDES = {"mobilenet_v1": 64, "resnet50": 64, "inception_v3": 75}
FACTS = (
    *("filters", "units", "kernel_size", "strides", "padding", "groups", "depth_multiplier", "dilation_rate"),
    *("use_bias", "pool_size", "rate", "axis", "epsilon", "scale", "center"),
)


def ours_and_theirs(name, side, classes):
    shape = (side, side, 3)
    options = {"input_shape": shape, "classes": classes, "weights": None, "classifier_activation": None}
    if name == "mobilenet_v1":
        theirs = keras.applications.MobileNet(alpha=0.5, **options)
        return zoo.build(name, shape, classes, width=0.5), theirs
    peer = {"resnet50": keras.applications.ResNet50, "inception_v3": keras.applications.InceptionV3}[name]
    return zoo.build(name, shape, classes), peer(**options)


def pairs(ours, theirs):
    """Return our layer and theirs for each place in the two graphs, walked together from the outputs to the images."""
    found = {}

    def walk(x, y):
        (layer, node, _), (peer, other, _) = x._keras_history, _ported(y)._keras_history
        if layer.name in found:
            assert found[layer.name] == (layer, peer)
            return
        found[layer.name] = (layer, peer)
        inputs = [op._inbound_nodes[index].input_tensors for op, index in ((layer, node), (peer, other))]
        for a, b in zip(*inputs, strict=True):
            walk(a, b)

    walk(ours.output, theirs.output)
    return list(found.values())


def _ported(y):
    """Return the tensor behind what only their MobileNet has: paddings of their own, and a flattening at the end."""
    layer, node, _ = y._keras_history
    end = layer.name == "reshape_2" or (layer.name == "predictions" and type(layer) is layers.Activation)
    return _ported(layer._inbound_nodes[node].input_tensors[0]) if end or layer.name.startswith("conv_pad_") else y


def facts(layer):
    """Return what `layer` computes, but for its weights."""
    if isinstance(layer, layers.ReLU | layers.Activation):
        if isinstance(layer, layers.Activation):
            assert layer.activation is keras.activations.relu
            layer = layers.ReLU()
        return "relu", (layer.max_value, layer.negative_slope, layer.threshold)
    assert getattr(layer, "activation", None) in (None, keras.activations.linear)
    found = {fact: getattr(layer, fact) for fact in FACTS if hasattr(layer, fact)}
    if "axis" in found:
        found["axis"] %= 4  # of four, the last is -1 or 3
    return type(layer).__name__, found


@pytest.fixture(scope="module", params=SIDES)
def network(request):
    """Two networks with the same weights, drawn at random, and the pairs of their layers."""
    ours, theirs = ours_and_theirs(request.param, SIDES[request.param], 10)
    rng = np.random.default_rng(0)
    found = pairs(ours, theirs)
    for layer, peer in found:
        for weight in peer.weights:
            if weight.name in ("gamma", "moving_variance"):
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
            elif "kernel" not in weight.name:
                weight.assign(rng.normal(0, 0.3, weight.shape))
        layer.set_weights([np.reshape(w, v.shape) for w, v in zip(peer.get_weights(), layer.weights, strict=True)])
    return request.param, ours, theirs, found


def test_every_layer_is_paired(network):
    name, ours, theirs, found = network
    extra = 4 + 2 if name == "mobilenet_v1" else 0  # paddings; the flattening and its activation
    assert len(found) == len(ours.layers) == len(theirs.layers) - extra


def test_paired_layers_are_configured_alike(network):
    name, _, _, found = network
    for layer, peer in found:
        (kind, mine), (their_kind, other) = facts(layer), facts(peer)
        if name == "mobilenet_v1" and layer.name == "fc":  # theirs is a convolution, of a single pixel
            assert (kind, mine["units"]) == ("Dense", other["filters"]) and other["kernel_size"] == (1, 1)
            continue
        if peer.name in [f"conv_dw_{i}" for i in (2, 4, 6, 12)]:  # behind paddings of their own
            assert (mine["padding"], mine["strides"]) == ("same", (2, 2))
            mine["padding"] = "valid"
        assert (kind, mine) == (their_kind, other), f"{layer.name}, {peer.name}"


def test_paired_layers_have_the_same_outputs(network):
    _, ours, theirs, found = network
    images = np.random.default_rng(1).uniform(-1, 1, (2, *ours.input_shape[1:])).astype("float32")
    taps = [keras.Model(m.input, [pair[i].output for pair in found]) for i, m in enumerate((ours, theirs))]
    for (layer, peer), mine, other in zip(found, *(tap(images) for tap in taps), strict=True):
        mine, other = np.array(mine), np.array(other).reshape(mine.shape)
        scale = np.abs(other).max()
        assert scale > 0
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-5 * scale, err_msg=f"{layer.name}, {peer.name}")


@pytest.mark.parametrize("name", SIDES)
def test_sides_and_parameters_are_alike_at_full_size(name):
    ours, theirs = ours_and_theirs(name, 299 if name == "inception_v3" else 224, 1000)
    assert ours.count_params() == theirs.count_params()
    for layer, peer in pairs(ours, theirs):
        assert np.prod(layer.output.shape[1:]) == np.prod(peer.output.shape[1:]), layer.name

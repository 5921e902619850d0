"""Heat maps against convolutions written out, and their scores against maps painted by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import softmax

from fewbits import InputError, quantize_model, zoo
from fewbits.backend import keras, ops
from fewbits.data import Box, draw_scenes
from fewbits.inspection.localisation import activation_maps, heat_maps, overlap, pointing_game, probabilities
from fewbits.quantization.fixedpoint import FixedPoint

RNG = np.random.default_rng(11)
CLASSES = ("background", "onion", "weed")
layers = keras.layers


def network(*stack, shape=(8, 8, 3)):
    keras.utils.set_random_seed(1)
    return keras.Sequential([layers.Input(shape), *stack, layers.GlobalAveragePooling2D()], name="small")


def valid():
    """Return a network without borders, whose places are 4 pixels apart and see 14."""
    convolve = [layers.Conv2D(n, 3, activation=a) for n, a in ((4, "relu"), (5, "relu"), (3, None))]
    return network(
        convolve[0], layers.MaxPooling2D(), convolve[1], layers.MaxPooling2D(), layers.Conv2D(3, 1), shape=(14, 14, 3)
    )


def scene(height, width, *boxes):
    return SimpleNamespace(image=np.zeros((height, width, 3), np.uint8), boxes=tuple(Box(*box) for box in boxes))


# Heat maps


def test_a_map_is_the_last_convolution_at_each_place():
    model = network(layers.Conv2D(2, 1))
    kernel, bias = RNG.normal(size=(1, 1, 3, 2)).astype(np.float32), np.array([0.5, -1], np.float32)
    model.layers[0].set_weights([kernel, bias])
    images = RNG.random((3, 6, 11, 3), np.float32)  # neither square nor of the size it was built for
    maps = heat_maps(model, images)
    assert maps.shape == (3, 6, 11, 2) and maps.dtype == np.float32
    np.testing.assert_allclose(maps, images @ kernel[0, 0] + bias, rtol=1e-5, atol=1e-6)


def test_a_window_of_more_than_a_pixel_is_its_sum_of_products():
    model = network(layers.Conv2D(2, (2, 3), use_bias=False))
    kernel = RNG.normal(size=(2, 3, 3, 2)).astype(np.float32)
    model.layers[0].set_weights([kernel])
    image = RNG.random((9, 10, 3), np.float32)
    expected = [[np.einsum("ijc,ijck->k", image[y : y + 2, x : x + 3], kernel) for x in range(8)] for y in range(8)]
    np.testing.assert_allclose(heat_maps(model, image[np.newaxis])[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("quantized", [False, True])
def test_the_mean_of_a_map_is_what_the_network_answers(quantized):
    fmt = FixedPoint(1, 5)
    model = quantize_model(valid(), (fmt, fmt, fmt)) if quantized else zoo.build("squeezenet_digits", (14, 14, 3), 4)
    n = 32 if quantized else 20  # more than a batch; whole ones where each shape is compiled
    images = RNG.random((n, 14, 14, 3), np.float32)
    logits = np.concatenate([ops.convert_to_numpy(model(half, training=False)) for half in np.split(images, 2)])
    np.testing.assert_allclose(heat_maps(model, images).mean((1, 2)), logits, rtol=1e-4, atol=1e-4)


def test_a_scene_moved_by_a_stride_moves_its_map_by_a_place():
    model, image = valid(), RNG.random((1, 34, 42, 3), np.float32)
    whole, moved = heat_maps(model, image), heat_maps(model, image[:, 8:, 4:])
    assert whole.shape == (1, 7, 9, 3)
    np.testing.assert_allclose(moved, whole[:, 2:, 1:], rtol=1e-4, atol=1e-5)


def test_a_batch_normalization_uses_the_means_it_has():
    model = network(layers.Conv2D(2, 1), layers.BatchNormalization())
    mean, variance = np.array([1, 2], np.float32), np.array([4, 0.25], np.float32)
    model.layers[1].set_weights([np.ones(2), np.zeros(2), mean, variance])
    images = RNG.random((1, 5, 5, 3), np.float32)
    kernel, bias = (ops.convert_to_numpy(v) for v in model.layers[0].weights)
    expected = (images @ kernel[0, 0] + bias - mean) / np.sqrt(variance + 1e-3)
    np.testing.assert_allclose(heat_maps(model, images), expected, rtol=1e-4, atol=1e-5)


def test_the_network_stays_as_it_is():
    model = valid()
    before, images = model.get_weights(), RNG.random((1, 20, 20, 3), np.float32)
    assert np.array_equal(heat_maps(model, images), heat_maps(model, images))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
    assert [layer.input.shape[1:] for layer in model.layers][0] == (14, 14, 3)  # an error with a second input


def test_what_cannot_be_mapped_is_refused():
    flat = keras.Sequential([layers.Input((8, 8, 3)), layers.Flatten(), layers.Dense(2, name="fc")], name="flat")
    images = np.zeros((1, 16, 16, 3), np.float32)
    for model, given, said in (
        (flat, images, "flat ends in fc, not in global average pooling, so it has no heat maps"),
        (valid(), images[0], r"images must be \(n, height, width, channels\), not \(16, 16, 3\)"),
        (valid(), images[:0], r"images must be \(n, height, width, channels\), not \(0, 16, 16, 3\)"),
        (valid(), images[..., :1], "small takes 3 channels, but the images have 1"),
        (valid(), images[:, :4, :4], "small cannot run over images of 4 x 4; give it larger ones"),
    ):
        with pytest.raises(InputError, match=said):
            heat_maps(model, given)


def test_probabilities_are_a_softmax_over_the_classes():
    maps = RNG.normal(scale=400, size=(2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(probabilities(maps), softmax(maps.astype(float), axis=-1), atol=1e-15)
    maps[0, 0, 0] = 2000, 1000, 0, 0, 0  # far above what exp holds
    assert probabilities(maps)[0, 0, 0].tolist() == [1, 0, 0, 0, 0]


# Scores

FIELD = scene(40, 80, ("onion", 0, 0, 20, 20), ("weed", 50, 10, 80, 40), ("weed", 20, 30, 40, 40))


def painted(field, h, w):
    """Return maps that have 1 where the class is, by their cells: (h, w, 3)."""
    heat = np.zeros((h, w, 3))
    for box in field.boxes:
        cells = (
            slice(round(a * n / side), round(b * n / side))
            for a, b, n, side in ((box.top, box.bottom, h, 40), (box.left, box.right, w, 80))
        )
        heat[(*cells, CLASSES.index(box.name))] = 1
    heat[..., 0] = heat.max(-1) == 0
    return heat


def test_a_map_painted_by_hand_has_all_and_its_mirror_less():
    maps = painted(FIELD, 4, 8)[np.newaxis]
    assert pointing_game(maps, [FIELD], CLASSES)[:2] == (2, 2)
    assert overlap(maps, [FIELD], CLASSES) == {"background": 1, "onion": 1, "weed": 1}
    mirror = maps[:, :, ::-1]
    assert pointing_game(mirror, [FIELD], CLASSES)[:2] == (0, 2)
    assert overlap(mirror, [FIELD], CLASSES)["onion"] == 0


def test_each_class_of_a_scene_counts_once_and_only_its_own_boxes():
    maps = np.zeros((1, 4, 8, 3))
    maps[0, 1, 6, 1] = 0.2  # the highest place of the onion is in a weed
    maps[0, 3, 2, 2] = 0.1  # that of the weed in the smaller one
    maps[0, 0, 0, 0] = 9
    assert pointing_game(maps, [FIELD], CLASSES)[:2] == (1, 2)
    maps[0, 0, 1, 1] = 0.3
    assert pointing_game(maps, [FIELD], CLASSES)[:2] == (2, 2)


def test_a_place_is_the_middle_of_its_cell():
    """One cell of 40 x 80 has its middle at (20, 40): the box that begins there has it, the one that ends there not."""
    for box, hits in (
        (("onion", 40, 20, 80, 40), 1),
        (("onion", 0, 0, 40, 20), 0),
        (("onion", 40, 0, 80, 20), 0),
        (("onion", 39, 19, 41, 21), 1),
    ):
        assert pointing_game(np.zeros((1, 1, 1, 3)), [scene(40, 80, box)], CLASSES).hits == hits


def test_chance_is_what_maps_of_noise_hit():
    """The onion has 4 of 32 cells, the weeds 9 + 2: 3/64 + 11/64 for each pair, as long as cells fit boxes."""
    maps = np.random.default_rng(3).random((4000, 4, 8, 3))
    found = pointing_game(maps, [FIELD] * len(maps), CLASSES)
    assert found.n == 8000 and found.chance == pytest.approx((4 / 32 + 11 / 32) / 2)
    assert found.hits / found.n == pytest.approx(found.chance, abs=4 * np.sqrt(0.25 / found.n))


def test_an_overlap_is_of_pixels_over_all_scenes():
    small = scene(40, 80, ("onion", 0, 0, 10, 10))
    maps = np.zeros((2, 1, 2, 3))
    maps[:, 0, :, 0] = 1, 0
    maps[:, 0, :, 1] = 0, 1
    maps[1] = maps[1, :, ::-1]
    found = overlap(maps, [FIELD, small], CLASSES)
    # In each scene half is called onion: the right one, where FIELD has none of its 400 pixels; the left one, with 100.
    assert found["onion"] == pytest.approx((0 + 100) / (1600 + 400 + 1600))
    assert found["weed"] == 0
    ground = 40 * 40 - 400 - 200, 40 * 80 - 400 - 200 - 900  # of FIELD: in its left half, and in all
    assert found["background"] == pytest.approx((ground[0] + 1600) / (1600 + ground[1] - ground[0] + 3100))


def test_a_class_that_is_nowhere_is_left_out_and_without_a_background_there_is_none():
    maps = np.zeros((1, 2, 2, 3))
    maps[..., 1] = 1
    assert overlap(maps, [scene(8, 8, ("onion", 0, 0, 8, 8))], CLASSES) == {"onion": 1}
    half = scene(8, 8, ("onion", 0, 0, 4, 8))
    assert overlap(maps, [half], CLASSES) == {"background": 0, "onion": 0.5}
    assert overlap(maps[..., 1:], [half], ("onion", "weed")) == {"onion": 0.5}


def test_drawn_scenes_can_be_scored():
    scenes = list(draw_scenes(3, 64, seed=2))
    maps = RNG.random((3, 4, 4, 3))
    assert pointing_game(maps, scenes, CLASSES).n == sum(len({box.name for box in s.boxes}) for s in scenes)
    assert set(overlap(maps, scenes, CLASSES)) == set(CLASSES)


def test_maps_and_scenes_that_do_not_fit_are_refused():
    maps = np.zeros((1, 4, 8, 3))
    for score in (pointing_game, overlap):
        for given, scenes, said in (
            (maps, [FIELD, FIELD], "each map needs its scene, but there are 1 maps and 2 scenes"),
            (maps[..., :2], [FIELD], r"maps must be \(n, h, w, 3\), one map per class, not \(1, 4, 8, 2\)"),
            (
                maps,
                [scene(8, 8, ("leek", 0, 0, 1, 1))],
                "a box has the class 'leek', but the maps are for background, onion, weed",
            ),
        ):
            with pytest.raises(InputError, match=said):
                score(given, scenes, CLASSES)
    with pytest.raises(InputError, match="no scene has a box, so no place can be right"):
        pointing_game(maps, [scene(8, 8)], CLASSES)


def test_maps_of_a_layer_within_are_what_the_network_computes_there_at_any_size():
    model = zoo.build("squeezenet_digits", (16, 16, 1), 3)
    images = np.random.default_rng(0).random((3, 16, 16, 1), np.float32)
    tapped = keras.Model(model.input, model.get_layer("fire3_concat").output)
    np.testing.assert_allclose(activation_maps(model, images, "fire3_concat"), tapped(images), rtol=1e-5, atol=1e-6)
    wide = activation_maps(model, np.tile(images, (1, 1, 2, 1)), "fire3_concat")
    assert wide.shape == (3, 8, 16, 128)
    np.testing.assert_array_equal(heat_maps(model, images), activation_maps(model, images, "conv10"))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("fire3_conca", "has no layer fire3_conca, perhaps 'fire3_concat'"),
        ("pool10", r"pool10 of squeezenet_digits has no maps; its output is \(3,\)"),
    ],
)
def test_a_layer_without_maps_is_refused(layer, message):
    with pytest.raises(InputError, match=message):
        activation_maps(zoo.build("squeezenet_digits", (8, 8, 1), 3), np.zeros((1, 8, 8, 1), np.float32), layer)

"""Drawn onions and weeds: their boxes against their pixels, and the same plants for the same seed."""

from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fewbits import InputError
from fewbits.data import crops, draw_scenes, load, read_photographs, write_scene
from fewbits.data.crops import CLASSES, LEAST_SIDE, LEAST_VISIBLE, MOST_PLANTS


def scenes(n=12, size=64, seed=0):
    return list(draw_scenes(n, size, seed))


def greens(image):
    """Return where an image is clearly green, which no soil, pebble or pot is where they are not mossy."""
    red, green, blue = np.moveaxis(image.astype(int), -1, 0)
    return (green > red + 12) & (green > blue + 12)


@settings(max_examples=40)
@given(size=st.integers(32, 150), seed=st.integers(0, 2**40))
def test_a_box_is_the_tightest_around_the_pixels_in_which_its_plant_is_seen(size, seed):
    [scene] = draw_scenes(1, size, seed)
    assert scene.image.shape == (size, size, 3) and scene.image.dtype == np.uint8
    assert scene.masks.shape == (len(scene.boxes), size, size) and scene.masks.dtype == bool
    assert 1 <= len(scene.boxes) <= MOST_PLANTS
    for box, mask in zip(scene.boxes, scene.masks):
        assert box.name in CLASSES
        assert mask.sum() == mask[box.top : box.bottom, box.left : box.right].sum() > 0  # nothing outside
        for edge in (mask[box.top], mask[box.bottom - 1], mask[:, box.left], mask[:, box.right - 1]):
            assert edge.any()  # and no room inside
        assert box.width >= LEAST_SIDE and box.height >= LEAST_SIDE


def test_a_mask_is_every_pixel_that_has_some_of_the_plants_colour():
    canvas = crops._Canvas(np.zeros((64, 64, 3), np.uint8), crops._Sun(3, 2, np.uint16(4)))
    rng = np.random.default_rng(0)
    for colour in ((255, 0, 0), (0, 255, 0)):
        x, y = rng.integers(-1, 64, (2, 300))
        assert canvas.add([crops._Leaf(x, y, np.full((300, 3), colour, np.uint8))])
    painted = canvas.colours.reshape(32, 2, 32, 2, 3).any((1, 3))
    assert np.array_equal(canvas.masks(), [painted[..., 0], painted[..., 1]])
    assert 0 < (painted[..., 0] & painted[..., 1]).sum() and not painted[..., 2].any()


def test_what_a_plant_paints_is_in_the_sun_and_what_it_shades_is_not():
    ground = np.full((64, 64, 3), 100, np.uint8)
    canvas = crops._Canvas(ground, crops._Sun(0, 10, np.uint16(4)))
    x, y = (grid.ravel() for grid in np.meshgrid(np.arange(10, 30), np.arange(10, 30)))
    assert canvas.add([crops._Leaf(x, y, np.full((400, 3), 100, np.uint8))] * 2)
    expected = np.zeros((64, 64), bool)
    expected[30:40, 10:30] = True
    assert np.array_equal(canvas.shaded.reshape(64, 64), expected)


def test_a_plant_that_would_hide_another_or_is_mostly_outside_does_not_grow():
    def leaf(left, right):
        x, y = (grid.ravel() for grid in np.meshgrid(np.arange(left, right), np.arange(20)))
        return [crops._Leaf(x, y, np.zeros((len(x), 3), np.uint8))]

    canvas = crops._Canvas(np.zeros((64, 64, 3), np.uint8), crops._Sun(0, 0, np.uint16(8)))
    assert canvas.add(leaf(0, 20))
    assert not canvas.add(leaf(11, 31))  # hides 9 of 20 columns
    assert not canvas.add(leaf(55, 71))  # 9 of 16 columns inside
    assert not canvas.add(leaf(40, 47))  # under 4 pixels of the image wide
    assert canvas.add(leaf(12, 32))
    assert not canvas.add(leaf(10, 15))  # too much, with what is hidden already
    assert canvas.add(leaf(54, 70)) and len(canvas.areas) == 3


def test_the_masks_are_where_plants_are_in_the_image():
    """The clearly green pixels are those of the masks: found without the boxes' own bookkeeping."""
    hits = misses = 0
    for scene in scenes(40, 96, seed=5):
        seen, green = scene.masks.any(0), greens(scene.image)
        if green[~seen].mean() > 0.02:  # mossy soil
            continue
        hits += (green & seen).sum()
        misses += (green & ~seen).sum()
    assert hits > 10_000 and misses < 0.01 * hits


def test_a_plant_lies_before_the_one_behind_it_and_leaves_enough_of_it_to_see():
    """Two plants share only the pixels along their common edge, and what is hidden is in no mask."""
    shared = together = 0
    for scene in scenes(60, 96):
        total = scene.masks.sum(0)
        shared, together = shared + (total > 1).sum(), together + (total > 0).sum()
    assert 0 < shared < 0.1 * together
    assert 0.5 <= LEAST_VISIBLE < 1


def test_boxes_overlap_in_some_scenes_and_stand_alone_in_others():
    def overlap(a, b):
        return min(a.right, b.right) > max(a.left, b.left) and min(a.bottom, b.bottom) > max(a.top, b.top)

    touching = [any(overlap(a, b) for i, a in enumerate(s.boxes) for b in s.boxes[:i]) for s in scenes(60)]
    assert 10 < sum(touching) < 55


def test_both_classes_are_about_as_frequent_and_scenes_hold_one_to_seven_plants():
    boxes = [scene.boxes for scene in scenes(200, 48)]
    onions = [box.name == "onion" for plants in boxes for box in plants]
    assert 0.4 < np.mean(onions) < 0.6
    assert {len(plants) for plants in boxes} == set(range(1, MOST_PLANTS + 1))


def test_the_seed_draws_the_scenes_and_their_number_does_not():
    first, same, more, other = scenes(3, seed=1), scenes(3, seed=1), scenes(5, seed=1), scenes(3, seed=2)
    for a, b in [(first, same), (first, more)]:
        for left, right in zip(a, b):
            assert left.name == right.name and left.boxes == right.boxes
            assert np.array_equal(left.image, right.image) and np.array_equal(left.masks, right.masks)
    assert not any(np.array_equal(a.image, b.image) for a in first for b in other)
    assert not np.array_equal(first[0].image, first[1].image)


def test_the_scenes_are_those_that_were_always_drawn():
    """A change of one bit is a change of the data set: reference results are of these pixels."""
    digest = sha256()
    for scene in scenes(8, 64, seed=2018):
        digest.update(scene.image)
        digest.update(repr(scene.boxes).encode())
    assert digest.hexdigest() == "99c014098c152320f7bf646f24fb408e766d8ef134828834f6fc6850447fb180"


def mean_colours(seed):
    """Return the mean colour in each box, and whether it is an onion's."""
    found = [
        (s.image[b.top : b.bottom, b.left : b.right].mean((0, 1)), b.name)
        for s in scenes(150, 48, seed)
        for b in s.boxes
    ]
    return np.array([colour for colour, _ in found]), np.array([name == "onion" for _, name in found])


def test_a_mean_colour_does_not_tell_onions_from_weeds():
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=1000).fit(*mean_colours(0))
    assert model.score(*mean_colours(1)) < 0.8  # a small network finds 19 in 20


def test_the_data_set_of_crops_holds_out_whole_scenes():
    data = load("crops", validation=0.25, seed=3)
    assert data.classes == ("background", "onion", "weed") and data.image_shape == (32, 32, 3) and data.levels == 256
    scenes = [set(part.photographs) for part in (data.train, data.validation, data.test)]
    assert [len(names) for names in scenes] == [180, 60, 60] and len(set.union(*scenes)) == 300
    for part in (data.train, data.validation, data.test):
        assert np.bincount(part.labels, minlength=3).min() > 0.2 * len(part)
    other = load("crops", validation=0.25, seed=4)
    assert np.array_equal(data.test.images, other.test.images) and data.checksum != other.checksum
    assert set(other.validation.photographs) != scenes[1]


def test_shadow_and_light_differ_between_scenes():
    brightness = [scene.image.mean() for scene in scenes(40)]
    assert np.std(brightness) > 15


def test_a_scene_is_written_without_loss_and_read_with_its_boxes(tmp_path):
    for scene in scenes(3):
        write_scene(scene, tmp_path)
    photographs = read_photographs(tmp_path, CLASSES)
    assert [p.name for p in photographs] == ["scene-00000.png", "scene-00001.png", "scene-00002.png"]
    for scene, photograph in zip(scenes(3), photographs):
        assert photograph.boxes == scene.boxes
        assert np.array_equal(photograph.image, scene.image)
        assert Image.open(photograph.path).format == "PNG"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n": 0}, "scenes must be an integer of at least 1, not 0"),
        ({"n": 1.5}, "scenes must be an integer of at least 1, not 1.5"),
        ({"n": True}, "scenes must be an integer of at least 1, not True"),
        ({"size": 31}, "size must be an integer of at least 32, not 31"),
        ({"size": "64"}, "size must be an integer of at least 32, not '64'"),
        ({"seed": -1}, "seed must be an integer of at least 0, not -1"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_the_first_scene(options, said):
    with pytest.raises(InputError, match=said):
        draw_scenes(**{"n": 1, **options})

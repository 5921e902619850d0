import numpy as np

from fewbits.data.augmentation import shift_and_flip, shift_flip_and_light

IMAGES = np.random.default_rng(0).random((200, 16, 24, 3), np.float32)


def test_every_result_is_a_window_of_the_mirrored_surroundings_or_its_mirror_image():
    wide = np.pad(IMAGES, ((0, 0), (2, 2), (3, 3), (0, 0)), "reflect")
    seen = set()
    for original, changed in zip(wide, shift_and_flip(IMAGES, np.random.default_rng(1))):
        found = [
            (down, right, flip)
            for down in range(5)
            for right in range(7)
            for flip in (1, -1)
            if (original[down : down + 16, right : right + 24][:, ::flip] == changed).all()
        ]
        assert len(found) == 1
        seen |= set(found)
    assert {s[0] for s in seen} == set(range(5)) and {s[1] for s in seen} == set(range(7)) and len(seen) > 60


def test_it_follows_the_generator_and_leaves_the_images_alone():
    before = IMAGES.copy()
    first, again, other = (shift_and_flip(IMAGES, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any() and (before == IMAGES).all()
    assert first.shape == IMAGES.shape and first.dtype == IMAGES.dtype


def test_light_keeps_the_pattern_of_each_channel_and_changes_its_mean_and_contrast():
    moved, lit = (change(IMAGES, np.random.default_rng(1)) for change in (shift_and_flip, shift_flip_and_light))
    means = lit.mean((1, 2)) - moved.mean((1, 2))
    assert np.allclose(means, means[:, :1], atol=1e-5)  # all channels get the same light
    assert -63 / 256 <= means.min() < -0.2 and 0.2 < means.max() <= 63 / 256
    factors = lit.std((1, 2)) / moved.std((1, 2))
    assert np.allclose(factors, factors[:, :1], atol=1e-4)
    assert 0.2 <= factors.min() < 0.3 and 1.7 < factors.max() <= 1.8 + 1e-4
    pattern, expected = (i - i.mean((1, 2), keepdims=True) for i in (lit, moved))
    assert np.allclose(pattern, expected * factors[:, np.newaxis, np.newaxis], atol=1e-4)
    assert lit.dtype == np.float32

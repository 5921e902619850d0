import numpy as np

from fewbits.data.augmentation import shift_and_flip

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

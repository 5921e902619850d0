"""Files of arrays: what they may be called and hold, what comes out, and hostile or damaged ones refused by array."""

import zipfile

import numpy as np
import pytest

from fewbits import InputError
from fewbits.data import Pixels, Split, load_folder, read_archive

RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 256, (40, 6, 5, 3), np.uint8), np.arange(40) % 4


def saved(folder, **arrays):
    path = folder / "mine.npz"
    np.savez(path, **arrays)
    return path


def refused(path):
    with pytest.raises(InputError) as error:
        read_archive(path)
    said = str(error.value)
    assert "\n" not in said and "[" not in said and len(said) < 300
    return said


def test_parts_are_read_by_their_names(tmp_path):
    path = saved(tmp_path, x_train=X, y_train=Y, x_val=X[:8], y_val=Y[:8], x_test=X[8:], y_test=Y[8:, None], other=3)
    archive = read_archive(path)
    train, validation, test = archive.read("train", "validation", "test")
    assert np.array_equal(train.images, X) and np.array_equal(validation.images, X[:8])
    assert np.array_equal(test.images, X[8:]) and test.labels.tolist() == Y[8:].tolist()
    assert archive.n_classes == 4 and archive.classes == () and archive.levels == 256


def test_a_tenth_of_the_training_images_is_held_out_where_no_part_is_for_that(tmp_path):
    archive = read_archive(saved(tmp_path, x_train=X, y_train=Y))
    train, validation = archive.read("train", "validation")
    assert len(train) == 36 and np.bincount(validation.labels).tolist() == [1] * 4
    everything = np.concatenate([train.images, validation.images])
    assert sorted(x.tobytes() for x in everything) == sorted(x.tobytes() for x in X)
    [alone] = archive.read("train")
    assert np.array_equal(alone.images, train.images)
    assert not np.array_equal(archive.read("validation", seed=1)[0].images, validation.images)
    with pytest.raises(InputError, match=r"mine.npz has no array 'x_test'; add it, or name a part .*: train$"):
        archive.read("test")


def test_a_file_without_parts_is_each_part_and_is_divided_only_for_training(tmp_path):
    archive = read_archive(saved(tmp_path, images=X, labels=Y, classes=["a", "b", "c", "d", "e"]))
    for name in ("train", "validation", "test"):
        [part] = archive.read(name)
        assert isinstance(part, Split) and np.array_equal(part.images, X)
    assert [len(part) for part in archive.read("train", "validation")] == [36, 4]
    assert archive.classes == tuple("abcde") and archive.n_classes == 5


@pytest.mark.parametrize(
    ("dtype", "levels", "lowest"), [("uint8", 256, 0), ("uint16", 65536, 0), ("int8", 128, -1), ("int16", 32768, -1)]
)
def test_integers_are_scaled_by_their_own_range(dtype, levels, lowest, tmp_path):
    ends = np.iinfo(dtype)
    images = np.array([ends.min, ends.max] * 6, dtype).reshape(3, 2, 2)
    archive = read_archive(saved(tmp_path, images=images, labels=[0, 1, 1]))
    scaled = archive.pixels()(archive.read("test")[0].images)
    assert archive.levels == levels and scaled.dtype == np.float32
    assert scaled.min() == lowest and scaled.max() == 1 - 1 / levels


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_are_taken_as_they_are(dtype, tmp_path):
    images = RNG.normal(0, 99, (3, 7, 2)).astype(dtype)
    archive = read_archive(saved(tmp_path, images=images, labels=[True, False, True]))
    [part] = archive.read("test")
    assert np.array_equal(archive.pixels()(part.images), images.astype(np.float32)) and part.labels.tolist() == [
        1,
        0,
        1,
    ]
    assert np.allclose(archive.pixels(scale=0.5)(part.images), images.astype(np.float32) / 2)


def test_pixels_are_prepared_as_in_a_folder(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for i, name in enumerate("ab"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        image.fromarray(X[i]).save(tmp_path / "photos" / name / "0.png")
    options = {"order": "bgr", "mean_pixel": (104, 117, 123), "scale": 0.25}
    [(photos, labels)] = load_folder(tmp_path / "photos", size=(6, 5), **options).batches(2)
    pixels = read_archive(saved(tmp_path, images=X[:2], labels=labels)).pixels("bgr", (104, 117, 123), 0.25)
    assert np.array_equal(pixels(X[:2]), photos)
    unscaled = read_archive(saved(tmp_path, images=X[:2], labels=labels)).pixels(mean=(1, 2, 3))(X[:2])
    assert np.array_equal(unscaled, X[:2] - np.float32([1, 2, 3]))


def test_three_channels_are_asked_of_no_other_images():
    for pixels in (Pixels("bgr"), Pixels(mean=(1, 2, 3))):
        with pytest.raises(InputError, match="is for images of 3 channels, and these have 1; leave it out"):
            pixels(X[..., :1])


def test_an_image_may_have_several_labels(tmp_path):
    labels = RNG.integers(0, 2, (40, 3)).astype(np.float32)
    archive = read_archive(saved(tmp_path, images=X, labels=labels))
    [part] = archive.read("train")
    assert np.array_equal(part.labels, labels) and part.labels.dtype == np.int64
    assert [len(part) for part in archive.read("train", "validation")] == [36, 4]


REFUSED = {
    "no images": ({"x": X, "y": Y}, "has no array x_train or images, only x, y; save images (n, height, width,"),
    "no labels": ({"x_train": X}, "has x_train and no y_train; add the labels of the images, integers (n,)"),
    "fewer labels": (
        {"images": X, "labels": Y[:9]},
        "labels must have the shape (40,), a label per image of images, or",
    ),
    "a single image": ({"images": X[0, 0, 0], "labels": Y}, "images must have the shape (n, height, width, channels)"),
    "nothing": ({"images": X[:0], "labels": Y[:0]}, "images must have the shape (n, height, width, channels), not (0,"),
    "wide integers": ({"images": X.astype(int), "labels": Y}, "images holds int64; save pixels as integers of 8 or 16"),
    "truth values": ({"images": X > 9, "labels": Y}, "images holds bool; save pixels as integers of 8 or 16 bits"),
    "complex": ({"images": X * 1j, "labels": Y}, "images holds complex128; save pixels"),
    "NaN": ({"images": np.where(X == 9, np.nan, X), "labels": Y}, "images holds NaN, infinity or numbers beyond 3e38"),
    "huge": ({"images": X * 1e300, "labels": Y}, "images holds NaN, infinity or numbers beyond 3e38"),
    "negative": ({"images": X, "labels": Y - 1}, "labels holds the label -1; labels are class numbers from 0 up"),
    "not 0 or 1": ({"images": X, "labels": np.stack([Y, Y], 1)}, "labels holds the label 3; labels are 0 or 1 if an"),
    "halves": ({"images": X, "labels": Y / 2}, "the labels of {path}, array labels must be integers, not float64"),
    "names": ({"images": X, "labels": Y.astype(str)}, "array labels must be integers, not <U"),
    "objects": ({"images": np.array([X, 1], object), "labels": Y}, "images holds Python objects, which are not read;"),
    "two types": (
        {"x_train": X, "y_train": Y, "x_test": X / 1.0, "y_test": Y},
        "has parts of different types, uint8 for train and float32 for test; save all images in one",
    ),
    "too few names": (
        {"images": X, "labels": Y, "classes": ["a", "b"]},
        "labels holds the label 3, and classes names 2 classes, 0 to 1",
    ),
    "no names": (
        {"images": X, "labels": Y, "classes": [1, 2, 3, 4]},
        "classes must hold the names of the classes, text",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_used_is_refused_by_array(what, tmp_path):
    arrays, said = REFUSED[what]
    path = saved(tmp_path, **arrays)
    sentence = refused(path)
    assert said.format(path=path) in sentence and str(path) in sentence


class Evil:
    def __reduce__(self):
        return (open, ("/tmp/fewbits-evil", "w"))


def test_hostile_and_damaged_files_are_refused_and_run_no_code(tmp_path):
    path = saved(tmp_path, images=np.array([Evil()], object), labels=[0])
    assert "images holds Python objects, which are not read; save it as one array of numbers" in refused(path)
    np.array([Evil()], object).dump(path)
    assert "cannot be read" in refused(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", b"not an array")
        archive.writestr("labels.npy", b"")
    assert "images is not an array; save it with np.savez" in refused(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (9,)}")
    assert "mine.npz" in refused(path)
    np.savez(path, images=X, labels=Y)
    path.write_bytes(path.read_bytes()[:3000])
    assert "mine.npz cannot be read" in refused(path)
    np.save(tmp_path / "one.npy", X)
    assert "is a single array; an .npz archive is needed" in refused(tmp_path / "one.npy")
    assert "does not exist" in refused(tmp_path / "none.npz")

"""The data sets: what comes out of good files, and what is said about bad ones."""

import os
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from fewbits import InputError
from fewbits.data import NAMES, cut_out, draw_scenes, load, read_photographs, write_scene

SHAPES = {"mnist": (28, 28), "cifar10": (32, 32, 3), "cifar100": (32, 32, 3)}


def arrays(name, n=200, classes=10):
    """Return arrays of the right shapes; the training image i is filled with i, the label is i modulo `classes`."""
    numbers = np.arange(n, dtype=np.uint8).reshape(-1, *[1] * len(SHAPES[name]))
    x = np.broadcast_to(numbers, (n, *SHAPES[name]))
    y = np.arange(n) % classes
    return {"x_train": x, "y_train": y, "x_test": x[:50], "y_test": y[:50]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FEWBITS_DATA", str(tmp_path))
    return tmp_path


def numbers(split):
    return split.images[:, 0, 0, 0].tolist()


def rows(*splits):
    """Return all images and their labels, sorted."""
    return sorted((*split.images[i].ravel(), split.labels[i]) for split in splits for i in range(len(split)))


# Digits


def test_digits_are_those_of_scikit_learn_each_in_one_split():
    digits, original = load("digits"), load_digits()
    expected = sorted((*pixels, label) for pixels, label in zip(original.data, original.target, strict=True))
    assert rows(digits.train, digits.validation, digits.test) == expected


def test_digits_have_1797_images_of_5_bits():
    digits = load("digits")
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (1295, 143, 359)
    assert digits.image_shape == (8, 8, 1)
    assert digits.levels == 32
    assert digits.train.images.dtype == np.uint8
    assert digits.train.images.max() == 16
    assert digits.classes == tuple("0123456789")


def test_scaled_pixels_are_codes_over_levels():
    digits = load("digits")
    scaled = digits.scaled(digits.test)
    assert scaled.dtype == np.float32
    assert np.array_equal(scaled * 32, digits.test.images)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
@pytest.mark.parametrize("n", [None, 0, 5, 10_000])
def test_arrays_are_the_first_scaled_images_and_their_labels(part, n):
    digits = load("digits")
    split = getattr(digits, part)
    images, labels = digits.arrays(part, n)
    assert images.dtype == np.float32 and np.array_equal(images * 32, split.images[:n])
    assert np.array_equal(labels, split.labels[:n])


def test_arrays_of_an_unknown_part_are_refused():
    with pytest.raises(InputError, match="unknown part 'tset'; it is one of train, validation, test"):
        load("digits").arrays("tset")


@pytest.mark.parametrize("side", [1, 2, 4])
def test_a_smaller_image_has_the_means_of_equal_squares(side):
    digits = load("digits")
    for part in ("train", "validation", "test"):
        images, small = (getattr(d, part).images for d in (digits, digits.resized(side)))
        means = images.reshape(-1, side, 8 // side, side, 8 // side, 1).mean((2, 4))
        assert np.array_equal(small, np.rint(means)) and small.dtype == np.uint8


@pytest.mark.parametrize("side", [3, 5, 7])
def test_a_smaller_image_has_the_means_of_what_its_pixels_cover(side):
    images = load("digits").test.images
    fine = images.repeat(side, 1).repeat(side, 2)  # 8 x side pixels, and so as many squares of 8 x 8
    means = fine.reshape(-1, side, 8, side, 8, 1).mean((2, 4))
    small = load("digits").resized(side).test.images
    assert np.abs(small - means).max() <= 0.5 + 1e-4


def test_images_of_their_own_size_stay_as_they_are_and_grow_not():
    digits = load("digits")
    assert digits.resized(8).checksum == digits.checksum
    for side in (9, 0, -1):
        with pytest.raises(InputError, match=f"images of digits are 8 x 8; they cannot be scaled to {side} x {side}"):
            digits.resized(side)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.999])
def test_the_validation_split_is_a_share_of_each_class_and_leaves_some_to_train(share):
    digits = load("digits", validation=share)
    held_out, left = np.bincount(digits.validation.labels), np.bincount(digits.train.labels)
    assert (left >= 1).all()
    assert (np.abs(held_out - share * (held_out + left)) <= 1).all()


def test_the_seed_draws_the_validation_split_and_no_other():
    first, same, other = load("digits", seed=1), load("digits", seed=1), load("digits", seed=2)
    assert first.checksum == same.checksum != other.checksum
    assert rows(first.validation) != rows(other.validation)
    assert np.array_equal(first.test.images, other.test.images)


# Field photographs


@pytest.fixture
def field(folder):
    """Return a folder with 40 drawn photographs in place of the real ones."""
    (folder / "cwfid").mkdir()
    for scene in draw_scenes(40, 64):
        write_scene(scene, folder / "cwfid")
    return folder


def test_each_plant_of_the_field_is_tested_in_one_fold_by_who_never_saw_its_photograph(field):
    plants = cut_out(read_photographs(field / "cwfid"), 32)
    tested = []
    for fold in range(5):
        data = load("cwfid", fold=fold)
        parts = [set(part.photographs) for part in (data.train, data.validation, data.test)]
        assert not parts[0] & parts[1] and not parts[2] & (parts[0] | parts[1]) and len(parts[1]) in (3, 4)
        assert data.train.background.any() and not (data.validation.background.any() or data.test.background.any())
        assert len(data.train) == sum(name in parts[0] for name in plants.photographs), "the rest is all trained on"
        tested += rows(data.test)
    assert sorted(tested) == rows(plants.pick(np.flatnonzero(~plants.background)))
    assert (data.image_shape, data.classes, data.levels) == ((32, 32, 3), ("background", "onion", "weed"), 256)


def test_the_seed_and_the_share_of_the_field_are_of_the_validation_part(field):
    first, other, more = load("cwfid"), load("cwfid", seed=1), load("cwfid", validation=0.3)
    assert first.checksum == load("cwfid", fold=0).checksum != other.checksum
    for data in (other, more):
        assert np.array_equal(data.test.images, first.test.images)
    assert set(first.validation.photographs) != set(other.validation.photographs)
    assert len(set(more.validation.photographs)) > 2 * len(set(first.validation.photographs))


@pytest.mark.parametrize("missing", ["variable", "folder"])
def test_a_missing_field_says_where_it_is_to_be_had(missing, folder, monkeypatch):
    if missing == "variable":
        (folder / "cwfid").mkdir()
        monkeypatch.chdir(folder)  # which is not to be read instead
        monkeypatch.delenv("FEWBITS_DATA")
    with pytest.raises(
        InputError, match="^cwfid is the Crop/Weed Field .* from its authors, Haug and Ostermann, and put "
    ) as e:
        load("cwfid")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("name", "fold", "last"), [("cwfid", 5, 4), ("cwfid", -1, 4), ("cwfid", 1.0, 4), ("digits", 1, 0)]
)
def test_a_fold_that_is_not_there_is_refused(name, fold, last):
    with pytest.raises(InputError, match=f"fold must be an integer from 0 to {last}, those of {name}, not {fold}"):
        load(name, fold=fold)


# Archives


@pytest.mark.parametrize("layout", ["{}.npz", "{0}/{0}.npz"])
@pytest.mark.parametrize("name", SHAPES)
def test_both_layouts_of_the_folder_are_read(name, layout, folder):
    path = folder / layout.format(name)
    path.parent.mkdir(exist_ok=True)
    np.savez(path, **arrays(name))
    data = load(name)
    assert (len(data.train), len(data.validation), len(data.test)) == (180, 20, 50)
    assert data.image_shape == (*SHAPES[name], 1)[:3]
    assert data.levels == 256
    assert numbers(data.test) == list(range(50))


def test_no_training_image_is_in_two_splits(folder):
    np.savez(folder / "mnist.npz", **arrays("mnist"))
    data = load("mnist", validation=0.3)
    assert sorted(numbers(data.train) + numbers(data.validation)) == list(range(200))
    assert np.array_equal(data.validation.labels, np.array(numbers(data.validation)) % 10)


def test_labels_may_be_a_column(folder):
    data = arrays("cifar10")
    np.savez(folder / "cifar10.npz", **data | {"y_train": data["y_train"][:, np.newaxis]})
    assert load("cifar10").train.labels.shape == (180,)


def test_cifar100_has_a_hundred_classes_each_of_them_in_every_part(folder):
    np.savez(folder / "cifar100.npz", **arrays("cifar100", classes=100))
    data = load("cifar100", validation=0.5)
    assert len(set(data.classes)) == 100 and data.image_shape == (32, 32, 3)
    for split in (data.train, data.validation):
        assert sorted(split.labels) == list(range(100))
        assert np.array_equal(split.labels, np.array(numbers(split)) % 100)
    np.savez(folder / "cifar100.npz", **arrays("cifar100", classes=101))
    with pytest.raises(InputError, match="cifar100: labels"):
        load("cifar100")


def test_without_a_folder_keras_is_asked(monkeypatch):
    monkeypatch.delenv("FEWBITS_DATA", raising=False)
    x, y, x_test, y_test = arrays("mnist").values()
    monkeypatch.setattr(keras.datasets.mnist, "load_data", lambda: ((x, y), (x_test, y_test)))
    assert len(load("mnist").train) == 180


def test_a_failed_download_says_how_to_do_without(monkeypatch):
    def fail():
        raise OSError("no route to host")

    monkeypatch.delenv("FEWBITS_DATA", raising=False)
    monkeypatch.setattr(keras.datasets.mnist, "load_data", fail)
    with pytest.raises(
        InputError, match=r"mnist could not be downloaded \(no route to host\); without a network, set FEWBITS_DATA"
    ):
        load("mnist")


# Real data


@pytest.mark.skipif(not os.environ.get("FEWBITS_DATA"), reason="FEWBITS_DATA is not set: no real data")
@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        (
            "mnist",
            [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
            [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
        ),
        ("cifar10", [5000] * 10, [1000] * 10),
        ("cifar100", [500] * 100, [100] * 100),
    ],
)
def test_the_real_data_have_their_published_class_counts(name, train, test):
    folder = Path(os.environ["FEWBITS_DATA"])
    if not ((folder / f"{name}.npz").exists() or (folder / name / f"{name}.npz").exists()):
        pytest.skip(f"no {name}.npz in FEWBITS_DATA")
    data = load(name)
    assert np.bincount(np.concatenate([data.train.labels, data.validation.labels])).tolist() == train
    assert np.bincount(data.test.labels).tolist() == test


# Bad input


@pytest.mark.parametrize("name", ["imagenet", "MNIST", "", None])
def test_an_unknown_name_is_answered_with_the_known_ones(name):
    with pytest.raises(InputError, match=f"unknown data set {name!r}; it is one of {', '.join(NAMES)}"):
        load(name)


@pytest.mark.parametrize("share", [0, 1, 1.5, -0.1, float("nan")])
def test_the_validation_share_is_between_0_and_1(share):
    with pytest.raises(InputError, match="validation must be a share between 0 and 1, not "):
        load("digits", validation=share)


def test_a_missing_file_is_named(folder):
    with pytest.raises(InputError, match=r"neither .*/mnist\.npz nor .*/mnist/mnist\.npz exists; check FEWBITS_DATA"):
        load("mnist")


@pytest.mark.parametrize("kept", [0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(kept, folder):
    path = folder / "mnist.npz"
    np.savez(path, **arrays("mnist"))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match=r"mnist\.npz cannot be read \(.+\); it may be truncated"):
        load("mnist")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_file_is_read_or_refused_but_never_crashes(save, folder):
    path = folder / "mnist.npz"
    save(path, **arrays("mnist", n=20))
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    places = [*range(200), *range(len(content) - 500, len(content)), *rng.integers(0, len(content), 100)]
    for place in places:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << rng.integers(8)]) + content[place + 1 :])
        try:
            load("mnist")
        except InputError:
            pass


def test_a_file_that_is_no_archive_is_refused(folder):
    (folder / "mnist.npz").write_text("<html>404</html>")
    with pytest.raises(InputError, match=r"mnist\.npz cannot be read"):
        load("mnist")


def test_a_single_array_is_refused(folder):
    with (folder / "mnist.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InputError, match=r"mnist\.npz is a single array; an \.npz archive is needed"):
        load("mnist")


class Harmful:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_is_never_run(folder):
    trace = folder / "harm"
    np.savez(folder / "mnist.npz", **arrays("mnist") | {"x_train": np.array([Harmful(trace)])})
    with pytest.raises(
        InputError,
        match=r"mnist\.npz: x_train holds Python objects, which are not read; save it as one array of numbers",
    ):
        load("mnist")
    assert not trace.exists()
    np.load(folder / "mnist.npz", allow_pickle=True)["x_train"]
    assert trace.exists()  # it would have done harm


def test_a_missing_array_is_named_with_those_there_are(folder):
    data = arrays("mnist")
    del data["y_test"]
    np.savez(folder / "mnist.npz", **data)
    with pytest.raises(InputError, match=r"has no array 'y_test'; it holds x_train, y_train, x_test"):
        load("mnist")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": np.zeros((200, 32, 32, 3))}, r"mnist: images must have the shape \(28, 28\), not \(32, 32, 3\)"),
        ({"x_train": np.zeros(())}, r"mnist: images must have the shape \(28, 28\), not \(\)"),
        ({"x_test": np.zeros((0, 28, 28)), "y_test": np.zeros(0, int)}, r"mnist: images must .* not \(0, 28, 28, 1\)"),
        ({"y_train": np.zeros(199, int)}, r"mnist: 200 images need as many labels, not an array of shape \(199,\)"),
        ({"y_train": np.zeros((200, 2), int)}, r"mnist: 200 images need as many labels, .* \(200, 2\)"),
        ({"y_train": np.full(200, 10)}, "mnist: labels must be from 0 to 9, not 10 to 10"),
        ({"y_test": np.full(50, -1)}, "mnist: labels must be from 0 to 9, not -1 to -1"),
        ({"y_train": np.full(200, 0.5)}, "mnist: labels must be integers from 0 to 9"),
        ({"y_train": np.full(200, "7")}, "mnist: labels must be integers from 0 to 9"),
        ({"x_train": np.full((200, 28, 28), np.nan)}, "mnist: pixels contain NaN or infinity; clean the data first"),
        ({"x_test": np.full((50, 28, 28), 256)}, "mnist: pixels must be from 0 to 255, not 256 to 256"),
        ({"x_test": np.full((50, 28, 28), 0.5)}, "mnist: pixels must be integers from 0 to 255"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message, folder):
    np.savez(folder / "mnist.npz", **arrays("mnist") | change)
    with pytest.raises(InputError, match=message):
        load("mnist")

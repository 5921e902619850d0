"""Folders of images: pixels against a computation by hand, the order, and files that are none."""

import json
import os
import threading
import warnings
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewbits import InputError
from fewbits.data import load_folder
from fewbits.training.evaluation import evaluate
from fewbits.training.loop import train

CLASSES = ("onion", "weed")


def picture(seed, width=20, height=12):
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path):
    """Return a folder of 2 classes with 6 and 5 lossless images."""
    root = tmp_path / "photos"
    for label, name in enumerate(reversed(CLASSES)):  # made in the wrong order
        (root / name).mkdir(parents=True)
        for i in range(5 + label):
            picture(10 * label + i).save(root / name / f"{i}.png")
    return root


def everything(folder, batch_size=4, **options):
    """Return all images and labels of a folder."""
    images, labels = zip(*folder.batches(batch_size, **options))
    return np.concatenate(images), np.concatenate(labels)


def quiet(path, **options):
    """Return the folder, the list of what it skips as (name, reason), and no warning."""
    told = []
    return load_folder(path, on_skip=lambda file, why: told.append((file.name, why)), **{"size": 8, **options}), told


# Pixels


def resized(image, size, box=None):
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR), np.float32)


def test_a_crop_is_the_middle_of_the_image_with_its_shorter_side_scaled(photos):
    images, _ = everything(load_folder(photos, size=8))
    by_hand = resized(Image.open(photos / "onion" / "3.png"), (13, 8))[:, 2:10]  # 20 x 12 becomes 13 x 8
    assert images.dtype == np.float32 and images.shape == (11, 8, 8, 3)
    assert np.array_equal(images[3], by_hand)


def test_without_crop_the_whole_image_is_squeezed(photos):
    images, _ = everything(load_folder(photos, size=8, crop=False))
    assert np.array_equal(images[3], resized(Image.open(photos / "onion" / "3.png"), (8, 8)))
    assert not np.array_equal(images, everything(load_folder(photos, size=8))[0])


def test_an_upright_image_is_cropped_at_top_and_bottom(photos):
    tall = picture(99, width=12, height=20)
    tall.save(photos / "onion" / "0.png")
    assert np.array_equal(everything(load_folder(photos, size=8))[0][0], resized(tall, (8, 13))[2:10])


def test_the_mean_pixel_is_subtracted_in_the_order_of_the_channels(photos):
    rgb, _ = everything(load_folder(photos, size=8))
    bgr, _ = everything(load_folder(photos, size=8, order="bgr", mean_pixel=(104, 117, 123), scale=0.5))
    assert bgr.dtype == np.float32
    for channel, (source, mean) in enumerate([(2, 104), (1, 117), (0, 123)]):
        assert np.array_equal(bgr[..., channel], (rgb[..., source] - np.float32(mean)) / 2)
    less, _ = everything(load_folder(photos, size=8, mean_pixel=(1, 2, 3)))
    assert np.array_equal(less, rgb - np.float32([1, 2, 3]))


def test_grey_palette_and_transparent_images_become_rgb(photos):
    grey = picture(5).convert("L")
    grey.save(photos / "onion" / "0.png")
    picture(6).convert("P").save(photos / "onion" / "1.png")
    picture(7).convert("RGBA").save(photos / "onion" / "2.png")
    folder, told = quiet(photos, size=8, crop=False)
    images, _ = everything(folder)
    assert np.array_equal(images[0], np.repeat(resized(grey, (8, 8))[..., np.newaxis], 3, -1))
    assert np.array_equal(images[2], resized(picture(7), (8, 8)))
    assert not told


def test_gray_images_of_16_bits_are_scaled_by_their_own_range(photos):
    codes = np.array([[0, 257, 65535], [1, 256, 32768]], np.uint16)
    for name, kind in (("0.png", "PNG"), ("1.png", "TIFF")):
        Image.fromarray(codes).save(photos / "onion" / name, kind)
    (photos / "onion" / "2.png").write_bytes(b"P5 3 2 65535\n" + codes.astype(">u2").tobytes())
    wanted = np.float32(codes) * np.float32(255 / 65535)
    for order, channels in (("rgb", 3), ("gray", 1)):
        folder, told = quiet(photos, size=(2, 3), order=order)
        images, _ = everything(folder)
        assert not told and images.shape[1:] == folder.image_shape == (2, 3, channels)
        assert all(np.array_equal(image, np.repeat(wanted[..., None], channels, -1)) for image in images[:3])
    assert wanted.max() == 255


def test_gray_is_one_channel_of_the_luma_of_colours(photos):
    Image.new("RGB", (9, 9), (200, 100, 50)).save(photos / "onion" / "0.png")
    Image.new("L", (9, 9), 77).save(photos / "onion" / "1.png")
    images, _ = everything(load_folder(photos, size=8, order="gray", mean_pixel=[7], scale=2))
    assert images.shape == (11, 8, 8, 1)
    assert np.unique(images[0]) == 2 * (round(0.299 * 200 + 0.587 * 100 + 0.114 * 50) - 7)
    assert np.unique(images[1]) == 140


def test_transparent_pixels_show_the_background(photos):
    for name, mode, colour in (("0", "RGBA", (200, 0, 100, 51)), ("1", "LA", (200, 51)), ("2", "RGBA", (9, 9, 9, 0))):
        Image.new(mode, (9, 9), colour).save(photos / "onion" / f"{name}.png")
    palette = Image.new("P", (9, 9), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.save(photos / "onion" / "3.png", transparency=1)
    Image.new("RGB", (9, 9), (1, 2, 3)).save(photos / "onion" / "4.png", transparency=(1, 2, 3))
    for background, below in ({}, (255, 255, 255)), ({"background": "#102030"}, (16, 32, 48)):
        images, _ = everything(load_folder(photos, size=8, crop=False, **background))
        colours = images[:5, 0, 0]
        mixed = [[0.2 * x + 0.8 * b for x, b in zip(c, below)] for c in ((200, 0, 100), (200, 200, 200))]
        assert np.allclose(colours[:2], mixed, atol=1) and np.array_equal(colours[2:], [below] * 3)
    assert load_folder(photos, size=8).checksum == load_folder(photos, size=8, background="white").checksum
    assert load_folder(photos, size=8).checksum != load_folder(photos, size=8, background="black").checksum


@pytest.mark.parametrize(("size", "scaled"), [((4, 10), (10, 6)), ((12, 5), (20, 12)), ((6, 10), (10, 6))])
def test_a_rectangle_is_covered_and_cut_from_the_middle(size, scaled, photos):
    """Images are 20 wide and 12 high."""
    folder = load_folder(photos, size=size)
    images, _ = everything(folder)
    assert images.shape[1:] == folder.image_shape == (*size, 3)
    image = resized(Image.open(photos / "onion" / "3.png"), scaled)
    top, left = ((a - b) // 2 for a, b in zip(image.shape, size))
    assert np.array_equal(images[3], image[top : top + size[0], left : left + size[1]])
    squeezed, _ = everything(load_folder(photos, size=size, crop=False))
    assert np.array_equal(squeezed[3], resized(Image.open(photos / "onion" / "3.png"), size[::-1]))


def test_a_photograph_is_turned_as_its_camera_says(photos):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    picture(8).save(photos / "onion" / "0.png", exif=exif)
    images, _ = everything(load_folder(photos, size=8, crop=False))
    assert np.array_equal(images[0], resized(picture(8).rotate(180), (8, 8)))


# Labels and order


def test_labels_follow_the_sorted_names_of_the_classes(photos, monkeypatch):
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: sorted(scan(path), key=lambda e: e.name, reverse=True))
    (photos / ".hidden").mkdir()
    (photos / "onion" / ".DS_Store").write_text("")
    (photos / "note.txt").write_text("outside of the classes")
    (photos / "weed" / "more").mkdir()
    picture(1).save(photos / "weed" / "more" / "z.png")
    folder, told = quiet(photos)
    assert folder.classes == CLASSES and len(folder) == 12 and not told
    assert folder.files[0] == "onion/0.png" and folder.files[-1] == "weed/more/z.png"
    assert everything(folder)[1].tolist() == folder.labels.tolist() == [0] * 6 + [1] * 6


def test_the_seed_draws_the_order_and_threads_do_not_change_it(photos):
    folder = load_folder(photos, size=8)
    plain, labels = everything(folder)
    first, first_labels = everything(folder, shuffle_seed=[3, 1])
    same, _ = everything(folder, batch_size=11, shuffle_seed=[3, 1])
    other, _ = everything(folder, shuffle_seed=[3, 2])
    order = np.random.default_rng([3, 1]).permutation(11)
    assert np.array_equal(first, plain[order]) and np.array_equal(first_labels, labels[order])
    assert np.array_equal(first, same) and not np.array_equal(first, other)


def test_batches_are_decoded_ahead_and_no_more_than_a_few(photos, monkeypatch):
    opened, go_on = [], threading.Event()
    really = Image.open

    def slow(path):
        opened.append(path)
        if len(opened) == 1:
            go_on.wait(10)  # the first image comes last; the order stays
        return really(path)

    monkeypatch.setattr(Image, "open", slow)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    folder = load_folder(photos, size=8)
    threading.Timer(0.1, go_on.set).start()
    batches = folder.batches(2)
    first, _ = next(batches)
    assert len(opened) <= 6  # the batch in hand and two more
    batches.close()
    monkeypatch.undo()
    assert np.array_equal(first, everything(folder)[0][:2])
    assert not [t for t in threading.enumerate() if t.name.startswith("fewbits-images")]


def cut_outs(root, names):
    for i, name in enumerate(names):
        path = root / CLASSES[i % 2] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(path, "PNG")
    return load_folder(root, size=4)


def test_whole_photographs_are_held_out(tmp_path):
    folder = cut_outs(tmp_path, [f"scene-{i}.jpg-{j:03}.png" for i in range(20) for j in range(5)])
    first, same, other = (folder.split_photographs(0.2, seed) for seed in (0, 0, 1))
    rest, held_out = ({name.split("/")[1][:-8] for name in part.files} for part in first)
    assert len(rest) == 16 and len(held_out) == 4 and not rest & held_out
    assert sorted([*first[0].files, *first[1].files]) == sorted(folder.files) and len(first[1]) == 20
    assert first[1].files == same[1].files != other[1].files
    assert all(part.classes == folder.classes for part in first)


@pytest.mark.parametrize("name", ["lonely.png", "-1.png", "a-b.png", "a-.png"])
def test_a_name_without_a_photograph_is_refused(name, tmp_path):
    folder = cut_outs(tmp_path, ["a-1.png", name, "b-2.png", "c-3.png"])
    with pytest.raises(
        InputError, match=rf"/{name} is not called PHOTOGRAPH-NUMBER\.png, so its photograph is unknown"
    ):
        folder.split_photographs()


def test_what_cannot_be_held_out_is_refused(tmp_path):
    folder = cut_outs(tmp_path, ["a-1.png", "a-2.png"])
    with pytest.raises(InputError, match="has images of one photograph, a; none can be held out"):
        folder.split_photographs()
    with pytest.raises(InputError, match="the share must be between 0 and 1, not 1"):
        folder.split_photographs(1)


def test_a_split_takes_a_share_of_each_class_and_no_image_twice(photos):
    rest, held_out = load_folder(photos, size=8).split(0.4, seed=1)
    assert sorted(rest.files + held_out.files) == sorted(load_folder(photos, size=8).files)
    assert np.bincount(held_out.labels).tolist() == [2, 2]
    assert len(everything(held_out)[0]) == 4
    assert load_folder(photos, size=8).split(0.4, seed=2)[1].files != held_out.files
    with pytest.raises(InputError, match="the share must be between 0 and 1, not 1"):
        rest.split(1)


def test_the_checksum_knows_files_and_preparation(photos):
    folder = load_folder(photos, size=8)
    assert folder.checksum == load_folder(photos, size=8).checksum != load_folder(photos, size=9).checksum
    (photos / "weed" / "0.png").unlink()
    assert load_folder(photos, size=8).checksum != folder.checksum


# Files that cannot be used


def truncated(path):
    picture(0, 400, 400).save(path, quality=95)
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (truncated, "image file is truncated"),
        (lambda p: p.write_text("a list of photographs"), "cannot identify image file"),
        (lambda p: p.write_bytes(b""), "cannot identify image file"),
        (lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40), ""),
        (lambda p: Image.fromarray(np.zeros((9, 9), np.int32)).save(p, "TIFF"), "mode I, not of 8 or 16 bits"),
        (lambda p: Image.fromarray(np.zeros((9, 9), np.float32)).save(p, "TIFF"), "mode F, not of 8 or 16 bits"),
        (lambda p: p.symlink_to(p.parent / "missing"), "it is a link to a folder or to nothing"),
        (lambda p: p.symlink_to("/etc/hostname"), "it is a link that leads out of the folder"),
        (lambda p: p.symlink_to("../weed"), "it is a link to a folder or to nothing"),
        (os.mkfifo, "it is not a file"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_skipped_and_counted(spoil, said, photos):
    plain, _ = everything(load_folder(photos, size=8))
    spoil(photos / "onion" / "2b.jpg")
    folder, told = quiet(photos)
    for _ in range(2):  # told once, skipped always
        images, labels = everything(folder)
        assert np.array_equal(images, plain) and labels.tolist() == [0] * 6 + [1] * 5
    assert list(folder.skipped) == ["onion/2b.jpg"] and said in folder.skipped["onion/2b.jpg"]
    assert told == [("2b.jpg", folder.skipped["onion/2b.jpg"])]


def test_a_skipped_file_is_warned_of(photos):
    truncated(photos / "weed" / "1.png")
    with pytest.warns(UserWarning, match=r"weed/1\.png is skipped: image file is truncated"):
        images, labels = everything(load_folder(photos, size=8), batch_size=1)
    assert len(images) == len(labels) == 10


def test_a_link_within_the_folder_is_followed(photos):
    (photos / "weed" / "9.png").symlink_to("0.png")
    images, _ = everything(load_folder(photos, size=8))
    assert np.array_equal(images[-1], images[6])


def test_a_decompression_bomb_is_skipped(photos, monkeypatch):
    picture(0, 40, 40).save(photos / "onion" / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        folder, told = quiet(photos)
        assert len(everything(folder)[0]) == 11
    assert told == [("bomb.png", "it has 40 x 40 pixels, more than Pillow's limit of 1,000")]


def test_a_strip_that_would_become_a_bomb_when_scaled_is_skipped(photos, monkeypatch):
    Image.new("RGB", (600, 1)).save(photos / "onion" / "strip.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    folder, told = quiet(photos)
    assert len(everything(folder)[0]) == 11
    assert told[0][0] == "strip.png" and "4800 x 8 pixels" in told[0][1]


# Folders that cannot be used


def test_a_folder_without_two_classes_is_refused(photos, tmp_path):
    (tmp_path / "one" / "onion").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="one has 1 sub-folders; it needs at least two"):
        load_folder(tmp_path / "one", size=8)
    with pytest.raises(InputError, match="onion has 0 sub-folders"):
        load_folder(photos / "onion", size=8)
    for name in ("missing", "file"):
        with pytest.raises(InputError, match=rf"{name} is not a folder that can be read \("):
            load_folder(tmp_path / name, size=8)


def test_a_part_may_lack_classes_of_the_training_part(photos):
    (photos / "yam").mkdir()
    folder, _ = quiet(photos, classes=["onion", "potato", "weed", "yam"])
    assert folder.classes == ("onion", "potato", "weed", "yam")
    assert everything(folder)[1].tolist() == [0] * 6 + [2] * 5
    with pytest.raises(InputError, match="has a folder 'onion', and there is no such class in the training part, only"):
        load_folder(photos, size=8, classes=["weed", "yam"])
    with pytest.raises(InputError, match="yam holds no files in the folders of its classes"):
        load_folder(photos / "yam", size=8, classes=["weed", "yam"])


def test_a_class_outside_of_the_folder_is_no_class(photos, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    picture(0).save(tmp_path / "elsewhere" / "0.png")
    (photos / "zebra").symlink_to(tmp_path / "elsewhere")
    assert load_folder(photos, size=8).classes == CLASSES


def test_an_empty_class_is_refused(photos):
    (photos / "carrot").mkdir()
    with pytest.raises(InputError, match="carrot holds no files; fill or remove it"):
        load_folder(photos, size=8)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 0}, "size must be an integer of at least 1, not 0"),
        ({"size": 8.5}, "size must be an integer of at least 1, not 8.5"),
        ({"order": "grb"}, "unknown order 'grb'; it is one of rgb, bgr"),
        ({"mean_pixel": (1, 2)}, "the mean pixel must be three numbers"),
        ({"mean_pixel": (1, 2, float("nan"))}, "the mean pixel must be three numbers"),
        ({"mean_pixel": 104}, "the mean pixel must be three numbers"),
        ({"mean_pixel": (1, 2, 3), "order": "gray"}, "the mean pixel of gray images must be one number, not three"),
        ({"size": (8, 0)}, "size must be an integer of at least 1, not 0"),
        ({"size": (8, 8, 3)}, r"size must be one number, or height and width, not \(8, 8, 3\)"),
        ({"background": "whitish"}, "background must be a colour, such as white or #808080, not 'whitish'"),
        ({"scale": 0}, "scale must be a number other than 0, not 0"),
    ],
)
def test_wrong_options_are_refused(options, said, photos):
    with pytest.raises(InputError, match=said):
        load_folder(photos, **{"size": 8, **options})


def test_without_pillow_it_says_what_to_install(photos, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    said = r"Folders of images need the package PIL; install it with `pip install '.\[data\]'`"
    with pytest.raises(InputError, match=said):
        load_folder(photos, size=8)


# Training on them


def network(size, classes=2):
    from fewbits.backend import keras

    keras.utils.set_random_seed(0)
    flat = [keras.layers.Input((size, size, 3)), keras.layers.Flatten(), keras.layers.Dense(classes)]
    return keras.Sequential(flat)


def test_training_on_a_folder_equals_training_on_its_pixels_and_resumes(photos, tmp_path):
    truncated(photos / "weed" / "bad.jpg")
    folder, told = quiet(photos, scale=1 / 256)
    options = {"epochs": 3, "batch_size": 3, "seed": 1}
    history = train(network(8), folder, validation=folder, **options)

    def interrupt(now):
        if now.epoch == 2:
            raise KeyboardInterrupt

    path = tmp_path / "run.npz"
    with pytest.raises(KeyboardInterrupt):
        train(network(8), folder, validation=folder, checkpoint=path, progress=interrupt, **options)
    assert train(network(8), folder, validation=folder, checkpoint=path, resume=True, **options) == history
    assert [name for name, _ in told] == ["bad.jpg"]

    (photos / "weed" / "bad.jpg").unlink()
    folder = load_folder(photos, size=8, scale=1 / 256)
    pixels = everything(folder)
    assert train(network(8), folder, **options) == train(network(8), pixels, **options)
    assert evaluate(network(8), folder, 4) == evaluate(network(8), pixels, 4)


def test_a_folder_that_does_not_fit_the_network_is_refused(photos):
    folder = load_folder(photos, size=8)
    with pytest.raises(InputError, match="takes images of 9 x 9 x 3, and the training data are 8 x 8 x 3"):
        train(network(9), folder, epochs=1)
    (photos / "yam").mkdir()
    picture(0).save(photos / "yam" / "0.png")
    with pytest.raises(InputError, match="hold the label 2; .* has 2 classes, 0 to 1"):
        train(network(8), load_folder(photos, size=8), epochs=1)


def test_a_folder_of_nothing_readable_is_refused(photos):
    for path in photos.rglob("*.png"):
        Path(path).write_text("no image")
    folder, told = quiet(photos)
    with pytest.raises(InputError, match="none of the training images could be read"):
        train(network(8), folder, epochs=1)
    assert len(told) == 11
    assert not list(islice(folder.batches(3), 1))


# Tables of labels


def listed(root, rows, header="image,label"):
    root.mkdir(exist_ok=True)
    (root / "labels.csv").write_text("\n".join([header, *rows]))
    return root


@pytest.fixture
def table(tmp_path):
    """Return a folder of 4 images, the labels of 3 of them in a table, in another order than the files'."""
    root = listed(tmp_path / "table", ["c.png,7,b", "a.png,0,", "b.webp,2,x"], "image,label,author")
    (root / "images").mkdir()
    for seed, name in enumerate(("a.png", "b.webp", "c.png", "unlisted.png")):
        picture(seed).save(root / "images" / name, lossless=True)
    return root


def test_labels_come_from_the_table(table):
    folder, told = quiet(table)
    images, labels = everything(folder, batch_size=2)
    assert folder.files == ("images/a.png", "images/b.webp", "images/c.png") and not told
    assert labels.tolist() == folder.labels.tolist() == [0, 2, 7]
    assert folder.classes == tuple("01234567")
    assert np.array_equal(images[1], resized(Image.open(table / "images" / "b.webp"), (13, 8))[:, 2:10])


def test_a_table_is_prepared_like_any_folder(table):
    rgb, _ = everything(load_folder(table, size=8, crop=False))
    bgr, _ = everything(load_folder(table, size=8, crop=False, order="bgr", mean_pixel=(104, 117, 123)))
    assert np.array_equal(rgb[0], resized(picture(0), (8, 8)))
    assert np.array_equal(bgr, rgb[..., ::-1] - np.float32([104, 117, 123]))


@pytest.mark.parametrize("column", ["image", "file", "filename", "id"])
def test_a_file_is_found_by_its_path_in_the_folder_or_in_images_with_suffix_or_without(column, table):
    (table / "more").mkdir()
    picture(9).save(table / "more" / "d.e.png")
    rows = ["1,images/a.png", "1,b", "0,./c.png", "0,more/d.e"]
    folder, told = quiet(listed(table, rows, f"\ufefflabel,{column}"))  # as spreadsheets begin their files
    assert dict(zip(folder.files, folder.labels.tolist())) == {
        "images/a.png": 1,
        "images/b.webp": 1,
        "images/c.png": 0,
        "more/d.e.png": 0,
    }
    assert not told


def test_a_table_wins_over_sub_folders(photos):
    listed(photos, ["weed/1.png,1", "onion/1.png,0"])
    folder = load_folder(photos, size=8)
    assert folder.files == ("onion/1.png", "weed/1.png") and folder.labels.tolist() == [0, 1]


def test_the_index_names_the_classes(table):
    index = {str(i): [f"n{i}", f"class {i}"] for i in range(8)} | {"8": "the last"}
    (table / "class_index.json").write_text(json.dumps(index))
    assert load_folder(table, size=8).classes == (*(f"class {i}" for i in range(8)), "the last")


def test_what_a_table_lists_and_cannot_be_used_is_named_skipped_and_counted(table):
    (table / "images" / "c.png").unlink()
    (table / "images" / "c.png").symlink_to("/etc/hostname")
    truncated(table / "images" / "t.jpg")
    listed(table, ["c.png,7", "a.png,0", "gone.png,1", "t,1"])
    folder, told = quiet(table)
    assert everything(folder)[1].tolist() == [0]
    assert {name: why.partition(" (")[0] for name, why in folder.skipped.items()} == {
        "images/c.png": "it is a link that leads out of the folder",
        "gone.png": "labels.csv lists it, but it does not exist",
        "images/t.jpg": "image file is truncated",
    }
    assert len(told) == 3 and folder.classes == tuple("01234567")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            ["../secret.png,0"],
            "line 2: '../secret.png' is not a path below the folder; write it relative to the folder",
        ),
        (["a.png,1", "images/../../x.png,0"], "line 3: 'images/../../x.png' is not a path below the folder"),
        (["/etc/hostname,0"], "line 2: '/etc/hostname' is not a path below the folder"),
        ([",0"], "line 2: '' is not a path below the folder"),
        (["a.png"], "line 2: the label must be an integer from 0 to 99999, not ''"),
        (["a.png,tench"], "the label must be an integer from 0 to 99999, not 'tench'"),
        (["a.png,1.0"], "not '1.0'"),
        (["a.png,-1"], "not '-1'"),
        (["a.png,1_0"], "not '1_0'"),
        (["a.png,\u0661"], "the label must be an integer"),
        (["a.png,100000"], "from 0 to 99999, not '100000'"),
        (["a.png," + "9" * 5000], "from 0 to 99999, not '9{40}'$"),
        (["a.png,1", "c.png,0", "a.png,1"], "line 4: 'a.png' is listed twice; keep one line"),
        (["a.png,1", "images/a,1"], "line 3: 'images/a' is listed twice"),
        (["a,1", "images/a.png,1"], "line 3: 'images/a.png' is listed twice"),
        (["gone.png,1", "gone.png,1"], "line 3: 'gone.png' is listed twice"),
        (["gone.png,1"], "lists 1 files, none of which is in .*table or its sub-folder images"),
        (["same,1"], "line 2: 'same' may be images/same.png or images/same.webp; write its suffix too"),
        (["a.png,0", "c.png,0"], "has one class; it needs at least two"),
        ([], "lists no images; write a line for each"),
        (['"a.png,0'], "line 2: the label must be"),
        (["a.png," + "0" * 200_000], r"cannot be read \(field larger than field limit"),
    ],
)
def test_a_wrong_table_is_refused(rows, said, table):
    for suffix in ("png", "webp"):
        picture(1).save(table / "images" / f"same.{suffix}")
    with pytest.raises(InputError, match=said) as error:
        load_folder(listed(table, rows), size=8)
    assert "labels.csv" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("name,label", "has no column image or file or filename or id; its first line has name, label"),
        ("image,class", "has no column label; its first line has image, class"),
        ("", "has no column image"),
    ],
)
def test_a_table_without_the_columns_is_refused(header, said, table):
    with pytest.raises(InputError, match=said):
        load_folder(listed(table, ["a.png,1"] if header else [], header), size=8)


def test_a_table_that_is_no_text_is_refused(table):
    (table / "labels.csv").write_bytes(b"image,label\n\xff\xfe\0\n")
    with pytest.raises(InputError, match=r"labels.csv cannot be read \(.*\); it must be a table in UTF-8"):
        load_folder(table, size=8)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("{", "must name the classes 0, 1"),
        ("[]", "must name the classes"),
        ("3", "must name the classes"),
        ('{"1": "a"}', "must name the classes"),
        ('{"0": 1}', "must name the classes"),
        ('{"0": []}', "must name the classes"),
        ("[" * 100_000, "must name the classes"),
        ('{"0": "a", "1": "b"}', "labels.csv has the label 7, and .*class_index.json names the classes 0 to 1"),
    ],
)
def test_a_wrong_index_is_refused(index, said, table):
    (table / "class_index.json").write_text(index)
    with pytest.raises(InputError, match=said):
        load_folder(table, size=8)

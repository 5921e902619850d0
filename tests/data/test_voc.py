"""Boxes of PASCAL VOC: what is read from good files, and what is said about bad ones; images cut out of them."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fewbits import InputError
from fewbits.data import (
    Box,
    cut_out,
    draw_scenes,
    load_folder,
    read_boxes,
    read_cutouts,
    read_photographs,
    write_boxes,
    write_cutouts,
)

WIDTH, HEIGHT = 40, 30
PHOTO = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def annotation(*boxes, filename="a.png", size=(WIDTH, HEIGHT), before=""):
    """Return a VOC file of boxes (name, xmin, ymin, xmax, ymax)."""
    found = "".join(
        f"<object><name>{name}</name><pose>Left</pose><difficult>0</difficult><bndbox><xmin>{a}</xmin><ymin>{b}</ymin>"
        f"<xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for name, a, b, c, d in boxes
    )
    width, height = size
    return (
        f"{before}<annotation><folder>somewhere</folder><filename>{filename}</filename><path>C:\\x\\{filename}</path>"
        f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>{found}</annotation>"
    )


@pytest.fixture
def folder(tmp_path):
    """Return a folder with one photograph, a.png, and no boxes yet."""
    root = tmp_path / "photos"
    root.mkdir()
    Image.fromarray(PHOTO).save(root / "a.png")
    return root


def boxes(folder, *written, classes=None, **options):
    (folder / "a.xml").write_text(annotation(*written, **options))
    return read_boxes(folder / "a.xml", classes).boxes


def refused(folder, *written, classes=None, **options):
    """Return the one sentence that refuses."""
    with pytest.raises(InputError) as error:
        boxes(folder, *written, classes=classes, **options)
    said = str(error.value)
    assert str(folder / "a.xml") in said and "\n" not in said
    return said


# Reading


def test_boxes_count_from_0_and_hold_their_last_pixel(folder):
    [box] = boxes(folder, ("weed", 1, 2, 10, 30))
    assert box == Box("weed", 0, 1, 10, 30) and (box.width, box.height) == (10, 29)


def test_the_image_is_read_as_it_is(folder):
    boxes(folder, ("weed", 1, 1, 9, 9))
    [photograph] = read_photographs(folder)
    assert np.array_equal(photograph.image, PHOTO) and photograph.name == "a.png"


def test_a_photograph_without_plants_has_no_boxes(folder):
    assert boxes(folder) == ()


def test_fractions_of_pixels_are_rounded(folder):
    assert boxes(folder, ("weed", 1.6, 2.4, "10.0", 1e1)) == (Box("weed", 1, 1, 10, 10),)


def test_boxes_of_parts_are_no_boxes_of_objects(folder):
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></part>"
    text = annotation(("weed", 1, 1, 9, 9)).replace("</object>", f"{part}</object>")
    (folder / "a.xml").write_text(text)
    assert read_boxes(folder / "a.xml").boxes == (Box("weed", 0, 0, 9, 9),)


@pytest.mark.parametrize(
    ("edges", "kept"),
    [
        ((-5, -5, 10, 10), (0, 0, 10, 10)),
        ((35, 25, 50, 50), (34, 24, WIDTH, HEIGHT)),
        ((0, 0, WIDTH + 1, HEIGHT + 1), (0, 0, WIDTH, HEIGHT)),
        ((WIDTH, 1, WIDTH + 5, 9), (WIDTH - 1, 0, WIDTH, 9)),
    ],
)
def test_what_is_outside_of_the_image_is_cut_off(edges, kept, folder):
    assert boxes(folder, ("weed", *edges)) == (Box("weed", *kept),)


@pytest.mark.parametrize("edges", [(41, 1, 50, 9), (1, 31, 9, 40), (-9, 1, 0, 9), (1, -9, 9, 0)])
def test_a_box_outside_of_the_image_is_refused(edges, folder):
    assert "box 2 (weed) lies outside of the image of 40 x 30 pixels" in refused(
        folder, ("weed", 1, 1, 9, 9), ("weed", *edges)
    )


@pytest.mark.parametrize("edges", [(5, 5, 5, 9), (5, 5, 9, 5), (9, 5, 5, 9), (5, 9, 9, 5)])
def test_a_box_without_area_is_refused(edges, folder):
    assert "box 1 (weed) has no area; its edges are" in refused(folder, ("weed", *edges))


@pytest.mark.parametrize("edge", ["", "ten", "nan", "inf", "1e300", "9" * 5000, "0x10"])
def test_an_edge_that_is_no_number_is_refused(edge, folder):
    assert "box 1 needs a number as <xmax>, not '" in refused(folder, ("weed", 1, 1, edge, 9))


def test_an_unknown_class_is_answered_with_the_known_ones(folder):
    written = ("onion", 1, 1, 9, 9), ("wed", 1, 1, 9, 9)
    assert "unknown class 'wed', perhaps 'weed'; there are onion, weed" in refused(
        folder, *written, classes=("onion", "weed")
    )
    assert len(boxes(folder, *written)) == 2


@pytest.mark.parametrize("name", ["", " ", "../weed", "a/b", "..", ".hidden", "a\\b", "C:weed", "we\ned"])
def test_a_class_that_could_be_no_folder_is_refused(name, folder):
    assert "box 1 needs a <name> that could be a folder's" in refused(folder, (name, 1, 1, 9, 9))


# Files that are not what they should be


@pytest.mark.parametrize(
    "name", ["", "..", "../a.png", "/etc/hostname", "sub/a.png", "..\\a.png", "C:\\a.png", "a.png\n.x", ".a.png"]
)
def test_an_image_elsewhere_is_refused(name, folder):
    Image.fromarray(PHOTO).save(folder.parent / "a.png")
    (folder / "sub").mkdir()
    Image.fromarray(PHOTO).save(folder / "sub" / "a.png")
    assert "is no file name; write that of the image beside it" in refused(folder, filename=name)


def test_a_link_out_of_the_folder_is_refused(folder):
    Image.fromarray(PHOTO).save(folder.parent / "secret.png")
    (folder / "b.png").symlink_to("../secret.png")
    assert "'b.png' is a link that leads out of the folder" in refused(folder, filename="b.png")


def test_xml_of_a_hundred_thousand_levels_is_read_or_refused(folder):
    (folder / "a.xml").write_text("<a>" * 100_000 + "</a>" * 100_000)
    with pytest.raises(InputError, match=r"a\.xml "):
        read_boxes(folder / "a.xml")


def test_a_missing_image_is_named(folder):
    assert "is of the image 'b.png', which is not beside it" in refused(folder, filename="b.png")


LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
EXTERNAL = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize(
    ("before", "name"),
    [(LAUGHS, "&b;"), (EXTERNAL, "&a;"), ('<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">', "weed")],
)
def test_entities_and_document_types_are_refused(before, name, folder):
    assert "cannot be read (DTDForbidden" in refused(folder, (name, 1, 1, 9, 9), before=before)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no xml",
        b"<annotation>",
        b"\xff\xfe\0",
        b'<?xml version="1.0" encoding="klingon"?><annotation/>',
        b"<a>&b;</a>",
    ],
)
def test_a_file_that_is_no_xml_is_refused(content, folder):
    (folder / "a.xml").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.xml cannot be read \(.+\); it must be plain XML") as error:
        read_boxes(folder / "a.xml")
    assert "\n" not in str(error.value)


def test_xml_of_another_kind_is_refused(folder):
    (folder / "a.xml").write_text("<svg/>")
    with pytest.raises(InputError, match=r"a\.xml is no file of boxes; it holds <svg>, and not <annotation>"):
        read_boxes(folder / "a.xml")
    with pytest.raises(InputError, match=r"b\.xml does not exist"):
        read_boxes(folder / "b.xml")


@pytest.mark.parametrize("size", [(0, 30), (40, 0), (-1, 30)])
def test_an_image_without_pixels_is_refused(size, folder):
    assert "write its true size" in refused(folder, size=size)


def test_a_file_without_a_size_is_refused(folder):
    (folder / "a.xml").write_text("<annotation><filename>a.png</filename></annotation>")
    with pytest.raises(InputError, match=r"a\.xml: the image needs a number as <width>, not ''"):
        read_boxes(folder / "a.xml")


def test_boxes_of_another_size_than_the_image_are_refused(folder):
    boxes(folder, ("weed", 1, 1, 9, 9), size=(80, 60))
    with pytest.raises(InputError, match=r"a\.png has 40 x 30 pixels, but its boxes are for 80 x 60"):
        cut_out(read_photographs(folder), 8)


def test_a_truncated_image_is_refused_by_name(folder):
    boxes(folder, ("weed", 1, 1, 9, 9))
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:500])
    with pytest.raises(InputError, match=r"a\.png is not an image that can be read \("):
        cut_out(read_photographs(folder), 8)


def test_a_folder_without_boxes_is_refused(folder):
    with pytest.raises(InputError, match=r"photos has no \.xml files; there must be one with boxes for each image"):
        read_photographs(folder)
    with pytest.raises(InputError, match=r"a\.png is not a folder"):
        read_photographs(folder / "a.png")


def test_two_files_of_one_image_are_refused(folder):
    for name in ("a.xml", "b.xml"):
        (folder / name).write_text(annotation(("weed", 1, 1, 9, 9)))
    with pytest.raises(InputError, match=r"photos has two \.xml files with boxes of a\.png; keep one"):
        read_photographs(folder)


def test_without_defusedxml_it_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "defusedxml.ElementTree", None)
    said = r"Files of boxes need the package defusedxml.*; install it with `pip install '.\[data\]'`"
    with pytest.raises(InputError, match=said):
        boxes(folder)


def test_a_warning_of_pillow_names_the_file(folder):
    exif = Image.Exif()
    exif[0x0112] = 1
    Image.fromarray(PHOTO).save(folder / "a.jpg", exif=exif.tobytes()[:-9])  # cut within its only entry
    boxes(folder, ("weed", 1, 1, 9, 9), filename="a.jpg")
    with pytest.warns(UserWarning, match=r"a\.jpg: (Corrupt EXIF data|Truncated)"):
        cut_out(read_photographs(folder), 8)
    with pytest.warns(UserWarning, match=r"a\.jpg: (Corrupt EXIF data|Truncated)"):
        next(plants_of(folder).batches(1))


def plants_of(folder):
    """Return a folder of two classes, each with a copy of the image a.jpg."""
    for name in ("one", "two"):
        (folder / "plants" / name).mkdir(parents=True)
        (folder / "plants" / name / "a.jpg").write_bytes((folder / "a.jpg").read_bytes())
    return load_folder(folder / "plants", size=8)


# Writing

EDGES = st.tuples(st.integers(0, WIDTH - 2), st.integers(0, HEIGHT - 2)).flatmap(
    lambda corner: st.tuples(
        st.just(corner[0]),
        st.just(corner[1]),
        st.integers(corner[0] + 2, WIDTH),
        st.integers(corner[1] + 2, HEIGHT),
    )
)


@settings(max_examples=50)
@given(written=st.lists(st.tuples(st.sampled_from(["onion", "weed", "<&\u00e9>"[1:3]]), EDGES), max_size=5))
def test_what_is_written_is_read(written, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    Image.fromarray(PHOTO).save(folder / "a.png")
    expected = tuple(Box(name, *edges) for name, edges in written)
    write_boxes(folder / "a.xml", "a.png", WIDTH, HEIGHT, expected)
    assert read_boxes(folder / "a.xml").boxes == expected


# Cutting out


def photographs(folder, *written):
    boxes(folder, *written)
    return read_photographs(folder)


def scaled(part, size):
    return np.asarray(Image.fromarray(part).resize((size, size), Image.Resampling.BILINEAR))


def test_a_box_is_stretched_to_a_square_as_in_the_source(folder):
    found = cut_out(photographs(folder, ("weed", 5, 7, 24, 12), ("onion", 1, 1, 4, 9)), 8, background=False)
    assert found.classes == ("onion", "weed") and found.labels.tolist() == [1, 0]
    assert found.images.dtype == np.uint8 and found.labels.dtype == np.int64
    assert np.array_equal(found.images[0], scaled(PHOTO[6:12, 4:24], 8))
    assert np.array_equal(found.images[1], scaled(PHOTO[0:9, 0:4], 8))
    assert found.photographs == ("a.png", "a.png")


@pytest.mark.parametrize(
    ("edges", "window"),
    [
        ((11, 9, 20, 12), (slice(5, 15), slice(10, 20))),  # grows up and down around its middle
        ((1, 1, 10, 4), (slice(0, 10), slice(0, 10))),  # moved into the photograph
        ((36, 10, 40, 19), (slice(9, 19), slice(30, 40))),  # at its right edge
        ((10, 26, 19, 30), (slice(20, 30), slice(9, 19))),  # at its lower edge
        ((1, 1, 40, 10), (slice(0, 30), slice(5, 35))),  # no more than the shorter side
    ],
)
def test_a_square_keeps_proportions(edges, window, folder):
    found = cut_out(photographs(folder, ("weed", *edges)), 8, square=True, background=False)
    assert np.array_equal(found.images[0], scaled(PHOTO[window], 8))


class Coloured:
    """A photograph that is red in its boxes and blue elsewhere."""

    def __init__(self, name, boxes, width=60, height=50):
        self.name, self.boxes = name, boxes
        self.image = np.full((height, width, 3), (0, 0, 200), np.uint8)
        for box in boxes:
            self.image[box.top : box.bottom, box.left : box.right] = 200, 0, 0


@settings(max_examples=100)
@given(data=st.data(), square=st.booleans(), seed=st.integers(0, 2**32))
def test_background_touches_no_box(data, square, seed):
    sides = data.draw(st.lists(EDGES, min_size=1, max_size=8))
    photograph = Coloured("a", tuple(Box("weed", *edges) for edges in sides))
    found = cut_out([photograph], 5, square=square, seed=seed)
    background = found.images[found.background]
    assert (background == (0, 0, 200)).all()
    assert len(background) <= len(sides) and len(found) - len(background) == len(sides)


def test_background_is_as_frequent_and_as_large_as_the_boxes():
    sizes = np.random.default_rng(0).integers(4, 25, (300, 2))
    drawn = draws(sizes)
    assert abs(drawn.mean(0) - sizes.mean(0)).max() < 1.5 and abs(drawn.std(0) - sizes.std(0)).max() < 1.5
    assert (drawn >= sizes.min(0)).all() and (drawn <= sizes.max(0)).all()


def draws(sizes):
    """Return widths and heights of 300 places of background in a photograph with room for all."""
    from fewbits.data.cutouts import _between

    boxes = [Box("weed", 0, 0, int(w), int(h)) for w, h in sizes]
    rng = np.random.default_rng(2)
    found = [box for _ in sizes for box in _between(boxes[:1], boxes, 4000, 3000, False, rng)]
    return np.array([(box.width, box.height) for box in found])


def test_a_photograph_without_room_has_no_background_and_one_without_plants_has_some():
    full, empty, small = (
        Coloured("full", (Box("weed", 0, 0, 60, 50),)),
        Coloured("empty", ()),
        Coloured("small", (Box("weed", 0, 0, 6, 5),)),
    )
    assert Counter(cut_out([full], 4).photographs) == {"full": 1}
    assert Counter(cut_out([small, empty], 4).photographs) == {"small": 2, "empty": 1}


def test_the_seed_draws_the_background_and_nothing_else():
    scenes = list(draw_scenes(4, 64))
    first, same, other = (cut_out(scenes, 8, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.images, same.images) and first.photographs == same.photographs
    assert np.array_equal(first.images[~first.background], other.images[~other.background])
    assert not np.array_equal(first.images[first.background][:3], other.images[other.background][:3])


def test_progress_is_told_photograph_by_photograph_then_image_by_image(tmp_path):
    told = []
    found = cut_out(list(draw_scenes(3, 32)), 4, progress=told.append)
    write_cutouts(found, tmp_path, told.append)
    assert told == [1, 2, 3, *range(1, len(found) + 1)]


@pytest.mark.parametrize(
    ("plants", "options", "said"),
    [
        ([], {}, "0 photographs have no boxes; draw one around each plant"),
        ([()], {}, "1 photographs have no boxes"),
        ([(Box("background", 0, 0, 9, 9),)], {}, "a box is called 'background'"),
        ([(Box("weed", 0, 0, 9, 9),)], {"size": 0}, "size must be an integer of at least 1, not 0"),
        ([(Box("weed", 0, 0, 9, 9),)], {"size": 8.5}, "size must be an integer of at least 1, not 8.5"),
        ([(Box("weed", 0, 0, 9, 9),)], {"seed": -1}, "seed must be an integer of at least 0, not -1"),
    ],
)
def test_what_cannot_be_cut_out_is_refused(plants, options, said):
    with pytest.raises(InputError, match=said):
        cut_out([Coloured(str(i), boxes) for i, boxes in enumerate(plants)], **{"size": 8, **options})


def test_without_background_a_class_may_be_called_so():
    found = cut_out([Coloured("a", (Box("background", 0, 0, 9, 9),))], 4, background=False)
    assert found.classes == ("background",)


# Cut-outs in a folder


def rows(cutouts):
    return sorted(
        (cutouts.classes[label], photograph, image.tobytes())
        for image, label, photograph in zip(cutouts.images, cutouts.labels, cutouts.photographs)
    )


def test_a_folder_keeps_images_classes_and_photographs(tmp_path):
    found = cut_out([*draw_scenes(4, 64), Coloured("a-b.jpg", (Box("weed", 0, 0, 9, 9),))], 16)
    write_cutouts(found, tmp_path)
    kept = read_cutouts(tmp_path, 16)
    assert kept.classes == found.classes and rows(kept) == rows(found) and kept.images.dtype == np.uint8
    images = load_folder(tmp_path, size=16)
    assert len(images) == len(found) and images.classes == found.classes


def test_a_cut_out_without_a_photograph_is_refused(tmp_path):
    write_cutouts(cut_out(list(draw_scenes(2, 64)), 16), tmp_path)
    (tmp_path / "weed" / "lonely.png").write_bytes(next((tmp_path / "weed").iterdir()).read_bytes())
    with pytest.raises(InputError, match=r"lonely\.png is not called PHOTOGRAPH-NUMBER\.png"):
        read_cutouts(tmp_path, 16)
    (tmp_path / "weed" / "lonely.png").rename(tmp_path / "weed" / "a-1.png")
    (tmp_path / "weed" / "a-1.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"a-1\.png cannot be used: "):
        read_cutouts(tmp_path, 16)


# Real data

CWFID = Path(os.environ.get("FEWBITS_DATA", "")) / "cwfid"


@pytest.mark.skipif(
    not os.environ.get("FEWBITS_DATA") or not CWFID.is_dir(), reason="no cwfid in FEWBITS_DATA: no real photographs"
)
def test_the_field_photographs_have_their_published_plants():
    found = read_photographs(CWFID, ("crop", "weed"))
    assert len(found) == 60
    assert Counter(box.name for photograph in found for box in photograph.boxes) == {"crop": 162, "weed": 330}
    plants = cut_out(found, 32)
    counts = dict(zip(plants.classes, np.bincount(plants.labels).tolist()))
    assert counts == {"background": 489, "crop": 162, "weed": 330}
    assert len(set(plants.photographs)) == 60

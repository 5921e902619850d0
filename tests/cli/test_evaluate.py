"""`fewbits evaluate`: the accuracy of each class, and the page of a confusion matrix."""

from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from fewbits.backend import keras
from fewbits.cli import main
from fewbits.io import files
from helpers.cli import refused

L = keras.layers
COUNTS = {"<onion & leek>": 12, "weed": 4, "yam": 2}


def folder(path, counts=COUNTS):
    """Return a folder with as many images of each class as `counts` says: the last class is bright, others are dark."""
    for label, (name, n) in enumerate(counts.items()):
        (path / name).mkdir(parents=True)
        for i in range(n):
            level = 200 if label == len(counts) - 1 or i == 3 else 0
            Image.new("L", (4, 4), level).save(path / name / f"{i}.png")
    return str(path)


def network(path, *last, classes=3):
    """Return a network that takes dark images for class 0 and bright ones for the last class."""
    images = L.Input((4, 4, 1))
    x = L.Dense(classes, name="out")(L.GlobalAveragePooling2D()(images)) if not last else last[0](images)
    model = keras.Model(images, x, name="net")
    if not last:
        kernel = np.zeros((1, classes), np.float32)
        kernel[0, -1] = 4
        model.get_layer("out").set_weights([kernel, np.eye(classes, dtype=np.float32)[0]])
    model.save(path)
    return str(path)


class Reader(HTMLParser):
    """The tables of a page, the tags that are open, and all that refers to something else."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.open, self.links, self.scopes, self.text = [], [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links += [attributes[name] for name in ("src", "href") if name in attributes]
        self.scopes += [attributes.get("scope")] * (tag == "th")
        if tag not in ("meta",):
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data


def test_unequal_classes_are_told_one_by_one(tmp_path, capsys):
    path, photos = network(tmp_path / "net.keras"), folder(tmp_path / "photos")
    assert main(["evaluate", path, "--data", photos]) == 0
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    said = [" ".join(part.strip() for part in line if part) for line in lines]
    assert said[-4:] == [
        f"balanced accuracy {(11 / 12 + 0 + 1) / 3:.2%}, the mean over 3 classes",
        "<onion & leek> 91.67% (11 of 12)",
        "weed 0.00% (0 of 4)",
        "yam 100.00% (2 of 2)",
    ]
    equal = folder(tmp_path / "equal", dict.fromkeys("abc", 3))
    assert main(["evaluate", path, "--data", equal]) == 0
    assert "balanced" not in capsys.readouterr().out


def test_of_many_classes_the_worst_are_told(tmp_path, capsys):
    path = network(tmp_path / "net.keras", classes=30)
    photos = folder(tmp_path / "photos", {f"c{i:02}": 2 if i else 5 for i in range(30)})
    assert main(["evaluate", path, "--data", photos]) == 0
    said = capsys.readouterr().out
    assert "and 10 classes that are better" in said and "c01    0.00%  (0 of 2)" in said and "c29" not in said


def test_the_page_holds_the_matrix_and_refers_to_nothing(tmp_path, capsys):
    path, photos, page = network(tmp_path / "net.keras"), folder(tmp_path / "photos"), tmp_path / "out.html"
    assert main(["evaluate", path, "--data", photos, "--confusion", str(page)]) == 0
    assert f"{page} written" in capsys.readouterr().out
    text = page.read_text()
    read = Reader(text)
    assert not read.open and not read.links and None not in read.scopes and "http" not in text and "url(" not in text
    matrix, by_class, mistakes = read.tables
    assert matrix == [
        ["class", "<onion & leek>", "weed", "yam", "images"],
        ["<onion & leek>", "11", "0", "1", "12"],
        ["weed", "3", "0", "1", "4"],
        ["yam", "0", "0", "2", "2"],
    ]
    assert [row[:4] for row in by_class[1:]] == [
        ["<onion & leek>", "12", "11", "91.67%"],
        ["weed", "4", "0", "0.00%"],
        ["yam", "2", "2", "100.00%"],
    ]
    assert mistakes[1] == ["weed", "<onion & leek>", "3", "75.0%"] and len(mistakes) == 4
    assert "72.22% are right (13 of 18;" in " ".join(read.text.split())
    assert 'lang="en"' in text and "prefers-color-scheme: dark" in text and "<caption>" in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.keras", "out.html", "photos"]


def test_two_classes_of_one_sigmoid_unit_and_numbers_for_names(tmp_path):
    unit = L.Dense(1, activation="sigmoid")
    path = network(tmp_path / "net.keras", lambda x: unit(L.GlobalAveragePooling2D()(x)))
    np.savez(tmp_path / "mine.npz", images=np.zeros((5, 4, 4), np.uint8), labels=[0, 0, 0, 0, 1])
    page = tmp_path / "out.html"
    assert main(["evaluate", path, "--data", str(tmp_path / "mine.npz"), "--confusion", str(page)]) == 0
    assert Reader(page.read_text()).tables[0] == [
        ["class", "0", "1", "images"],
        ["0", "4", "0", "4"],
        ["1", "1", "0", "1"],
    ]


def test_a_matrix_of_hundreds_of_classes_is_left_out(tmp_path):
    path = network(tmp_path / "net.keras", classes=200)
    np.savez(tmp_path / "mine.npz", images=np.zeros((5, 4, 4), np.uint8), labels=[0, 0, 0, 0, 150])
    page = tmp_path / "out.html"
    assert main(["evaluate", path, "--data", str(tmp_path / "mine.npz"), "--confusion", str(page)]) == 0
    read = Reader(page.read_text())
    assert "The matrix of 200 classes is left out" in read.text and len(read.tables) == 2
    assert read.tables[0][151][:2] == ["150", "1"] and read.tables[1][1] == ["150", "0", "1", "100.0%"]
    assert page.stat().st_size < 50_000


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("out.htm", "the output must be a .html file, not "),
        ("no/such/out.html", "cannot be written; it is a folder, or there is no folder"),
    ],
)
def test_a_page_that_cannot_be_written_is_refused_first(file, said, tmp_path, capsys):
    path, photos = network(tmp_path / "net.keras"), folder(tmp_path / "photos")
    command = ["evaluate", path, "--data", photos, "--confusion", str(tmp_path / file)]
    assert said in refused(command, capsys)


def test_several_labels_have_no_matrix(tmp_path, capsys):
    unit = L.Dense(2, activation="sigmoid")
    path = network(tmp_path / "net.keras", lambda x: unit(L.GlobalAveragePooling2D()(x)))
    np.savez(tmp_path / "mine.npz", images=np.zeros((5, 4, 4), np.uint8), labels=np.eye(2, dtype=int)[[0, 1, 0, 1, 1]])
    command = ["evaluate", path, "--data", str(tmp_path / "mine.npz")]
    assert main(command) == 0
    capsys.readouterr()
    said = refused([*command, "--confusion", str(tmp_path / "out.html")], capsys)
    assert f"{path} gives images several labels, and --confusion is for one each; leave it out" in said


def test_nothing_is_left_half_written(tmp_path, capsys, monkeypatch):
    path, photos, page = network(tmp_path / "net.keras"), folder(tmp_path / "photos"), tmp_path / "out.html"
    page.write_text("before")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    said = refused(["evaluate", path, "--data", photos, "--confusion", str(page)], capsys, quiet=False)
    assert "No space left on device" in said and page.read_text() == "before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.keras", "out.html", "photos"]

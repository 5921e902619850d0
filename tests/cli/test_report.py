"""`fewbits report`: a page and measurements from a .keras file and a folder, whole or not at all."""

import json
import signal
import subprocess
import sys
import time

import pytest

from fewbits.backend import keras
from fewbits.cli import main
from fewbits.cli.progress import StepsBar
from helpers.cli import refused
from helpers.colours import colour_network, write_folder

pytestmark = pytest.mark.filterwarnings("ignore::fewbits.errors.CalibrationWarning")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    colour_network((2, 1, 0)).save(folder / "net.keras")
    write_folder(folder / "photos")
    return folder


def report(place, *arguments):
    return ["report", str(place / "net.keras"), "--data", str(place / "photos"), "--quick", *map(str, arguments)]


@pytest.fixture(scope="module")
def written(place):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main(report(place, "--output", "page.html", "--json", "--seed", 4)) == 0
    return json.loads((place / "page.json").read_text()), (place / "page.html").read_text()


def test_a_folder_is_divided_and_both_files_hold_the_same(written):
    found, page = written
    assert found["images"]["seed"] == 4
    assert found["images"]["calibration_images"] == 12 and "held out" in found["images"]["calibration"]
    assert found["images"]["judging_images"] == 100 and found["float_accuracy"]["n"] == 100
    assert f"{found['float_accuracy']['value']:.1%}" in page and found["advice"][0]["what"][1:] in page


def test_swapped_channels_come_first_with_a_command_that_mends_them(written, place, capsys):
    found, _ = written
    advice = found["advice"][0]
    assert advice["what"] == "prepare images differently: channels reversed, as bgr" and advice["change"]["low"] > 0.3
    assert main(advice["command"].split()[1:]) == 0
    right = float(capsys.readouterr().out.split("top-1")[1].split("%")[0])
    assert right > 80 > 50 > 100 * found["float_accuracy"]["value"]


def test_parts_that_a_folder_has_are_kept(place, capsys):
    write_folder(place / "parts" / "train", 30)
    write_folder(place / "parts" / "val", 60)
    line = [*report(place, "--json", place / "parts.json"), "--images", "20", "--data", str(place / "parts")]
    assert main(line) == 0
    images = json.loads((place / "parts.json").read_text())["images"]
    assert images["calibration"] == f"30 images of {place / 'parts' / 'train'}"
    assert images["judging"] == f"60 images of {place / 'parts' / 'val'}" and images["judging_images"] == 20
    said = capsys.readouterr()
    assert "parts.json written" in said.out and "accuracy" in said.err


def test_a_network_without_images_of_its_kind_is_still_reported(place):
    two = [keras.Input((8, 8, 3), name=name) for name in "ab"]
    keras.Model(two, keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.Add()(two)))).save(place / "two.keras")
    line = ["report", str(place / "two.keras"), "--data", str(place), "--quick", "--output", str(place / "2.html")]
    assert main(line) == 0
    assert "No images were given" in (place / "2.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--output report.html"),
        (("--output", "report.pdf"), "must be a .html"),
        (("--output", "absent/report.html"), "no folder"),
        (("--output", "report.html", "--json", "report.txt"), "must be a .json"),
        (("--output", "report.html", "--images", "0"), "--images must be at least 1"),
        (("--output", "report.html", "--seed", "-1"), "--seed must be at least 0"),
        (("--output", "report.html", "--data", "nowhere"), "'nowhere' is neither"),
        (("--output", "report.html", "--size", "9"), "8 x 8"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(arguments, message, place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    assert message in refused(report(place, *arguments), capsys)
    assert not (place / "report.html").exists()


def test_ctrl_c_leaves_nothing(place):
    folder = place / "stopped"
    folder.mkdir()
    line = [sys.executable, "-m", "fewbits.cli", *report(place, "--output", folder / "page.html", "--json")]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while "accuracy" not in process.stderr.readline():  # the work has begun
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 130, said
    assert "stopped; nothing was written" in said and "Traceback" not in said
    assert not list(folder.iterdir())


class Stream:
    """A stream that is no terminal."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return False


def test_progress_names_each_step_once_with_the_time_left(monkeypatch):
    now = iter([0.0, 0.0, 10.0, 30.0])
    stream = Stream()
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    bar = StepsBar(stream)
    for step, done in (("formats", 0), ("accuracy", 25), ("accuracy", 50), ("done", 100)):
        bar(step, done, 100)
    lines = [line.strip() for line in stream.text.splitlines() if line.strip()]
    assert lines == ["0%  formats", "25%  accuracy  30 s left", "100%  done"]

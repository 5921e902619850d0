"""`fewbits data crops` and `fewbits data voc-crops`: what they write and what they refuse."""

import numpy as np
import pytest

from fewbits.cli import main
from fewbits.data import crops, draw_scenes, read_boxes, read_cutouts, read_photographs

DRAW = ["data", "crops", "--scenes", "6", "--size", "64", "--seed", "3"]


@pytest.fixture
def scenes(tmp_path, capsys):
    assert main([*DRAW, "--output", str(tmp_path / "scenes")]) == 0
    capsys.readouterr()
    return tmp_path / "scenes"


def refused(arguments, capsys):
    """Run; return the one sentence that refuses."""
    assert main(["data", *map(str, arguments)]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("fewbits: error: ") and said.err.count("\n") == 1
    return said.err


def test_crops_writes_scenes_with_their_boxes(tmp_path, capsys):
    assert main([*DRAW, "--output", str(tmp_path / "scenes")]) == 0
    said = capsys.readouterr().out
    found, expected = read_photographs(tmp_path / "scenes"), list(draw_scenes(6, 64, 3))
    assert [p.boxes for p in found] == [scene.boxes for scene in expected]
    assert all(np.array_equal(p.image, scene.image) for p, scene in zip(found, expected))
    onions = sum(box.name == "onion" for scene in expected for box in scene.boxes)
    assert "6 of 6 scenes" in said and f"6 photographs of 64 x 64 pixels, boxes of {onions} onion, " in said
    assert [p.name for p in tmp_path.iterdir()] == ["scenes"]


def test_voc_crops_writes_a_folder_that_train_and_folds_read(scenes, tmp_path, capsys):
    out = tmp_path / "plants"
    assert main(["data", "voc-crops", str(scenes), "--size", "16", "--output", str(out)]) == 0
    said = capsys.readouterr().out
    found, expected = read_cutouts(out, 16), read_photographs(scenes)
    assert found.classes == ("background", "onion", "weed")
    assert (~found.background).sum() == sum(len(p.boxes) for p in expected)
    assert set(found.photographs) == {p.name for p in expected}
    assert "6 of 6 photographs" in said and f"{len(found)} of {len(found)} images" in said
    assert f"{(found.labels == 1).sum()} onion" in said
    command = ["train", "--network", "lenet", "--data", str(out), "--size", "16", "--epochs", "1"]
    assert main([*command, "--output", str(tmp_path / "plants.keras")]) == 0


def test_options_of_voc_crops_reach_the_cutting(scenes, tmp_path):
    written = {}
    for name, options in {
        "plain": [],
        "square": ["--square"],
        "bare": ["--no-background"],
        "seed": ["--seed", "9"],
    }.items():
        assert main(["data", "voc-crops", str(scenes), *options, "--output", str(tmp_path / name)]) == 0
        written[name] = read_cutouts(tmp_path / name, 32)
    assert written["bare"].classes == ("onion", "weed")
    plants = {name: found.images[~found.background] for name, found in written.items()}
    assert np.array_equal(plants["plain"], plants["bare"]) and np.array_equal(plants["plain"], plants["seed"])
    assert not np.array_equal(plants["plain"], plants["square"])
    assert not np.array_equal(written["plain"].images, written["seed"].images)


def test_a_box_of_another_class_is_refused_where_classes_are_named(scenes, tmp_path, capsys):
    arguments = ["voc-crops", scenes, "--output", tmp_path / "out", "--classes", "onion,wheat"]
    assert main(["data", *map(str, arguments)]) == 2
    *named, last = capsys.readouterr().err.splitlines()
    assert named and all("unknown class 'weed'; there are onion, wheat" in line for line in named)
    assert f"{len(named)} of 6 photographs cannot be used; mend them, or leave them out with --skip-bad" in last
    assert not (tmp_path / "out").exists()


def spoil(scenes):
    """Spoil two files of boxes and one image; return how many plants are left and the names of the bad files."""
    (scenes / "scene-00001.xml").write_text("<annotation>")
    (scenes / "scene-00003.xml").write_text("<folder/>")
    image = scenes / "scene-00004.png"
    image.write_bytes(image.read_bytes()[:300])
    good = (scenes / f"scene-0000{i}.xml" for i in (0, 2, 5))
    return sum(len(read_boxes(path).boxes) for path in good), ("scene-00001.xml", "scene-00003.xml", image.name)


def test_every_bad_photograph_is_named_and_nothing_is_written(scenes, tmp_path, capsys):
    _, names = spoil(scenes)
    assert main(["data", "voc-crops", str(scenes), "--output", str(tmp_path / "out")]) == 2
    *named, last = capsys.readouterr().err.splitlines()
    assert len(named) == 3 and all(name in line for name, line in zip(names, named))
    assert "3 of 6 photographs cannot be used" in last and not (tmp_path / "out").exists()


def test_bad_photographs_are_left_out_on_request(scenes, tmp_path, capsys):
    plants, names = spoil(scenes)
    assert main(["data", "voc-crops", str(scenes), "--skip-bad", "--output", str(tmp_path / "out")]) == 1
    said, found = capsys.readouterr(), read_cutouts(tmp_path / "out", 32)
    assert (~found.background).sum() == plants
    assert set(found.photographs) == {f"scene-0000{i}.png" for i in (0, 2, 5)}
    assert all(name in said.err for name in names) and "3 of 6 photographs left out" in said.out


def test_photographs_may_stand_in_a_folder_per_class(scenes, tmp_path, capsys):
    whole = read_photographs(scenes)
    for i, folder in enumerate(("field", "pots")):
        (scenes / folder).mkdir()
        for path in (*scenes.glob(f"scene-0000{i}.*"),):
            path.rename(scenes / folder / path.name)
    found = read_photographs(scenes)
    assert [p.name for p in found[-2:]] == ["field-scene-00000.png", "pots-scene-00001.png"]
    assert [p.boxes for p in (*found[-2:], *found[:-2])] == [p.boxes for p in whole]
    assert main(["data", "voc-crops", str(scenes), "--output", str(tmp_path / "out")]) == 0
    assert set(read_cutouts(tmp_path / "out", 32).photographs) == {p.name for p in found}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["digits", "--size", "3"], "--size is for crops and voc-crops, not for digits"),
        (["digits", "--output", "x"], "--output is for crops and voc-crops, not for digits"),
        (["digits", "folder"], "a folder is for voc-crops, not for digits"),
        (["crops", "--square", "--output", "x"], "--square is for voc-crops, not for crops"),
        (["crops", "--no-background", "--output", "x"], "--no-background is for voc-crops, not for crops"),
        (["voc-crops", ".", "--scenes", "3", "--output", "x"], "--scenes is for crops, not for voc-crops"),
        (["voc-crops", "--output", "x"], "voc-crops needs a folder of images with .xml files"),
        (["voc-crops", "missing", "--output", "x"], "missing is not a folder"),
        (["voc-crops", "."], "--output is missing; name a new folder to write to"),
        (["crops", "--scenes", "3"], "--output is missing; name a new folder to write to"),
        (["crops", "--output", "."], ". exists; name a new folder"),
        (["crops", "--output", "no/such/x"], "no/such/x cannot be written; there is no folder no/such"),
        (["crops", "--scenes", "0", "--output", "x"], "scenes must be an integer of at least 1, not 0"),
        (["crops", "--size", "8", "--output", "x"], "size must be an integer of at least 32, not 8"),
        (["crops", "--seed", "-1", "--output", "x"], "seed must be an integer of at least 0, not -1"),
    ],
)
def test_a_wrong_option_is_refused_and_nothing_is_written(arguments, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in refused(arguments, capsys)
    assert not list(tmp_path.iterdir())


def test_crops_alone_are_described_like_any_data_set(capsys):
    assert main(["data", "crops"]) == 0
    assert "crops: 3 classes, images 32 x 32 x 3" in capsys.readouterr().out


def test_a_folder_of_ones_own_is_counted_by_class(scenes, tmp_path, capsys):
    assert main(["data", "voc-crops", str(scenes), "--size", "16", "--output", str(tmp_path / "plants")]) == 0
    counts = {p.name: len(list(p.iterdir())) for p in sorted((tmp_path / "plants").iterdir())}
    (tmp_path / "plants" / "weed" / ".DS_Store").write_text("")
    capsys.readouterr()
    assert main(["data", str(tmp_path / "plants")]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"{tmp_path / 'plants'}: 3 classes, {sum(counts.values())} files"
    assert [line.split() for line in lines] == [[str(n), name] for name, n in counts.items()]
    (tmp_path / "all").mkdir()
    (tmp_path / "plants").rename(tmp_path / "all" / "train")
    (tmp_path / "all" / "test" / "weed").mkdir(parents=True)
    (tmp_path / "all" / "test" / "weed" / "1.png").write_bytes(b"")
    assert main(["data", str(tmp_path / "all")]) == 0
    assert capsys.readouterr().out.splitlines()[4:] == [
        f"{tmp_path / 'all' / 'test'}: 3 classes, 1 files",
        "        0  background",
        "        0  onion",
        "        1  weed",
    ]
    assert "some has 0 sub-folders; it needs" in refused(
        [(tmp_path / "some").mkdir() or str(tmp_path / "some")], capsys
    )


@pytest.mark.parametrize(("stop", "status"), [(KeyboardInterrupt, 130), (OSError("no space left"), 2)])
def test_nothing_is_left_half_written(stop, status, tmp_path, capsys, monkeypatch):
    write, written = crops.write_scene, []

    def failing(scene, folder):
        if written:
            raise stop
        write(scene, folder)
        written.extend(folder.iterdir())

    monkeypatch.setattr("fewbits.data.write_scene", failing)
    assert main([*DRAW, "--output", str(tmp_path / "scenes")]) == status
    assert len(written) == 2 and not list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_kept(scenes, capsys):
    before = sorted(p.name for p in scenes.iterdir())
    assert "scenes exists; name a new folder" in refused(["crops", "--scenes", "2", "--output", scenes], capsys)
    assert sorted(p.name for p in scenes.iterdir()) == before


def test_what_a_killed_run_left_is_no_hindrance(tmp_path):
    (tmp_path / ".scenes.part").mkdir()
    (tmp_path / ".scenes.part" / "scene-00099.png").write_text("half")
    assert main([*DRAW, "--output", str(tmp_path / "scenes")]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["scenes"] and len(list((tmp_path / "scenes").iterdir())) == 12

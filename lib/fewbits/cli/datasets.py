"""`fewbits data`: what a data set holds; photographs of plants, drawn, and cut into images of one plant each."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from fewbits.cli.parser import Commands, add_command
from fewbits.errors import InputError

ABOUT = """
digits, mnist, cifar10, cifar100, crops, cwfid: check and describe the data set; the environment variable FEWBITS_DATA
names the folder to read it from.
FILE.npz: check and describe images of your own, in arrays x_train and y_train, x_test and y_test, and x_validation and
y_validation, or images and labels. Images are (n, height, width, channels), or (n, height, width) if they are gray:
integers of 8 or 16 bits, or floats, which are taken as they are. Labels are class numbers (n,) from 0 up, or 0 and 1
(n, units) if an image has several. An array `classes` may name the classes.
FOLDER: count the images of each class in a folder of your own, as `fewbits train --data` reads it.
crops with --output: draw photographs of onions and weeds, each with its boxes in a PASCAL VOC file.
voc-crops: cut an image from each box of such files, labelImg's included, and from the ground between the boxes. The
output has a sub-folder per class, as `fewbits train --data` reads it. Files are named PHOTOGRAPH-NUMBER.png; `fewbits
train --by-photograph` puts all images of a photograph either into the training part or into the validation part.
Photographs may stand in sub-folders, such as one per class. If some cannot be used, all of these are named and nothing
is written; with --skip-bad the others are cut, and the exit status is 1.
"""
EXAMPLES = """
  fewbits data digits
  FEWBITS_DATA=~/datasets fewbits data cifar10
  fewbits data mine.npz
  fewbits data photos
  fewbits data crops --scenes 100 --size 224 --seed 0 --output scenes
  fewbits data voc-crops scenes --size 32 --output plants
"""
MOST_CLASSES = 40  # whose images are counted
OPTIONS = {
    "crops": {"output", "size", "seed", "scenes"},
    "voc-crops": {"output", "size", "seed", "folder", "classes", "square", "no_background", "skip_bad"},
}


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = add_command(commands, "data", run, "check and describe a data set, or make one", EXAMPLES, ABOUT)
    command.add_argument(
        "name", help="digits, mnist, cifar10, cifar100, crops, cwfid, an .npz file, a folder of images, or voc-crops"
    )
    command.add_argument(
        "folder", nargs="?", type=Path, help="voc-crops: folder of images, each with an .xml file of its boxes"
    )
    command.add_argument("--output", type=Path, help="crops, voc-crops: write to this new folder")
    command.add_argument("--size", type=int, help="side of the images in pixels (default: crops 224, voc-crops 32)")
    command.add_argument("--seed", type=int, help="seed of the plants, or of the places of the background (default 0)")
    command.add_argument("--scenes", type=int, help="crops: number of photographs (default 100)")
    command.add_argument(
        "--classes", type=lambda text: text.split(","), metavar="A,B", help="voc-crops: refuse boxes of other classes"
    )
    command.add_argument(
        "--square",
        action="store_true",
        default=None,
        help="voc-crops: cut squares around the boxes instead of stretching them",
    )
    command.add_argument(
        "--no-background", action="store_true", default=None, help="voc-crops: cut no images of the ground"
    )
    command.add_argument(
        "--skip-bad", action="store_true", default=None, help="voc-crops: leave out what cannot be read or used"
    )


def run(options: argparse.Namespace) -> int:
    """Describe the data set, or make it.

    Returns:
        The exit status: 1 if photographs were left out.
    """
    for option in ("folder", "output", "size", "seed", "scenes", "classes", "square", "no_background", "skip_bad"):
        if getattr(options, option) is not None and option not in OPTIONS.get(options.name, ()):
            what = "a folder" if option == "folder" else f"--{option.replace('_', '-')}"
            raise InputError(f"{what} is for {_takers(option)}, not for {options.name}")
    from fewbits.data import NAMES

    if options.name == "voc-crops":
        return _cut_out(options)
    if any(getattr(options, option) is not None for option in OPTIONS["crops"]):
        _draw(options)
    elif Path(options.name).is_dir() and options.name not in NAMES:
        _describe_folder(Path(options.name))
    elif options.name.lower().endswith(".npz"):
        _describe_archive(options)
    else:
        _describe(options)
    return 0


def _takers(option: str) -> str:
    return " and ".join(name for name, taken in OPTIONS.items() if option in taken)


def _describe(options: argparse.Namespace) -> None:
    from fewbits.data import load

    dataset = load(options.name)
    height, width, channels = dataset.image_shape
    print(f"{dataset.name}: {len(dataset.classes)} classes, images {height} x {width} x {channels}")
    for part in ("train", "validation", "test"):
        print(f"  {part:<11}{len(getattr(dataset, part)):>7,} images")
    print(f"  sha256 {dataset.checksum}")


def _describe_archive(options: argparse.Namespace) -> None:
    from fewbits.data import read_archive

    archive = read_archive(options.name)
    first = next(iter(archive.parts.values())).images
    sides = " x ".join(map(str, first.shape[1:] if first.ndim != 3 else (*first.shape[1:], 1)))
    print(f"{archive.path}: {archive.n_classes} classes, images {sides}, {first.dtype}")
    for part, split in archive.parts.items():
        print(f"  {part:<11}{len(split):>7,} images")
    if archive.classes:
        print(f"  classes    {', '.join(archive.classes)}")


def _describe_folder(path: Path) -> None:
    from fewbits.data import class_folders, load_folder, part_folders

    inner = part_folders(path)
    parts = inner if "train" in inner else {"": path}
    known = class_folders(inner["train"]) if "train" in inner else []
    for part, folder in parts.items():
        found = load_folder(folder, size=1, classes=known or None if part not in ("", "train") else None)
        counts = Counter(found.labels.tolist())
        print(f"{folder}: {len(found.classes)} classes, {len(found):,} files")
        for label, name in list(enumerate(found.classes))[:MOST_CLASSES]:
            print(f"  {counts[label]:>7,}  {name}")
        if len(found.classes) > MOST_CLASSES:
            print(f"  and {len(found.classes) - MOST_CLASSES:,} more classes")


def _draw(options: argparse.Namespace) -> None:
    from fewbits.cli.progress import CountBar
    from fewbits.data import draw_scenes, write_scene

    n, size = _or(options.scenes, 100), _or(options.size, 224)
    plants: Counter[str] = Counter()
    with _new_folder(options.output) as folder:
        count = CountBar(sys.stdout, n, "scenes")
        for done, scene in enumerate(draw_scenes(n, size, _or(options.seed, 0)), 1):
            write_scene(scene, folder)
            plants.update(box.name for box in scene.boxes)
            count(done)
        count.finish(n)
    print(f"{options.output} written: {n:,} photographs of {size} x {size} pixels, boxes of {_listed(plants)}")


def _cut_out(options: argparse.Namespace) -> int:
    from fewbits.cli.progress import CountBar
    from fewbits.data import cut_out, read_photographs, write_cutouts

    if options.folder is None:
        raise InputError("voc-crops needs a folder of images with .xml files, as in `fewbits data voc-crops scenes`")
    size, bad = _or(options.size, 32), []
    with _new_folder(options.output) as folder:
        photographs = read_photographs(options.folder, options.classes, lambda _, why: bad.append(why))
        n = len(photographs) + len(bad)
        if not photographs:
            _refuse_bad(bad, n)
        count = CountBar(sys.stdout, len(photographs), "photographs")
        cutouts = cut_out(
            photographs,
            size,
            square=bool(options.square),
            background=not options.no_background,
            seed=_or(options.seed, 0),
            progress=count,
            on_bad=lambda _, why: bad.append(why),
        )
        count.finish(len(photographs))
        if bad and not options.skip_bad:
            _refuse_bad(bad, n)
        count = CountBar(sys.stdout, len(cutouts), "images")
        write_cutouts(cutouts, folder, count)
        count.finish(len(cutouts))
    found = Counter(cutouts.classes[label] for label in cutouts.labels)
    print(f"{options.output} written: images of {size} x {size} pixels, {_listed(found)}")
    if bad:
        _name_bad(bad)
        print(f"{len(bad):,} of {n:,} photographs left out")
    return 1 if bad else 0


def _refuse_bad(bad: list[InputError], n: int) -> None:
    """Raise the only reason against photographs; name them all if there are several."""
    if len(bad) == 1:
        raise bad[0]
    _name_bad(bad)
    raise InputError(f"{len(bad):,} of {n:,} photographs cannot be used; mend them, or leave them out with --skip-bad")


def _name_bad(bad: list[InputError]) -> None:
    for why in bad:
        print(f"fewbits: warning: {why}", file=sys.stderr)


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _listed(counts: Counter) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in sorted(counts.items()))


@contextmanager
def _new_folder(output: Path | None) -> Iterator[Path]:
    """Make a folder beside `output` that takes its place if the block succeeds and is removed if it fails."""
    if output is None:
        raise InputError("--output is missing; name a new folder to write to")
    if output.exists():
        raise InputError(f"{output} exists; name a new folder")
    if not output.parent.is_dir():
        raise InputError(f"{output} cannot be written; there is no folder {output.parent}")
    aside = output.with_name(f".{output.name}.part")
    rmtree(aside, ignore_errors=True)  # of a run that was killed
    aside.mkdir()
    try:
        yield aside
        aside.replace(output)
    finally:
        rmtree(aside, ignore_errors=True)

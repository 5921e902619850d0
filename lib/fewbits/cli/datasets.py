"""`fewbits data`: what a data set holds; photographs of plants, drawn, and cut into images of one plant each."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from fewbits.cli.parser import add_command
from fewbits.errors import InputError

ABOUT = """
digits, mnist, cifar10, cifar100, crops, cwfid: checked and described; FEWBITS_DATA names a folder to read from.
crops, with --output: photographs of onions and weeds are drawn; beside each, a file of PASCAL VOC has its boxes.
voc-crops: each box of such files, those of labelImg too, becomes an image, and so does ground between the boxes; the
output has one sub-folder a class, as `fewbits train --data` reads it. Files are called PHOTOGRAPH-NUMBER.png; with
`fewbits train --by-photograph`, those of one photograph are all trained on, or all held out.
"""
EXAMPLES = """
  fewbits data digits
  FEWBITS_DATA=~/datasets fewbits data cifar10
  fewbits data crops --scenes 100 --size 224 --seed 0 --output scenes
  fewbits data voc-crops scenes --size 32 --output plants
"""
OPTIONS = {
    "crops": {"output", "size", "seed", "scenes"},
    "voc-crops": {"output", "size", "seed", "folder", "classes", "square", "no_background"},
}


def add(commands) -> None:
    command = add_command(commands, "data", run, "check and describe a data set, or make one", EXAMPLES, ABOUT)
    command.add_argument("name", help="digits, mnist, cifar10, cifar100, crops, cwfid or voc-crops")
    command.add_argument(
        "folder", nargs="?", type=Path, help="voc-crops: images, and beside each a .xml file of its boxes"
    )
    command.add_argument("--output", type=Path, help="crops, voc-crops: write to this new folder")
    command.add_argument("--size", type=int, help="of what is written, in pixels (crops: 224, voc-crops: 32)")
    command.add_argument("--seed", type=int, help="draws plants, or places of the background (default 0)")
    command.add_argument("--scenes", type=int, help="crops: how many photographs (default 100)")
    command.add_argument(
        "--classes", type=lambda text: text.split(","), metavar="A,B", help="voc-crops: refuse boxes of other classes"
    )
    command.add_argument(
        "--square", action="store_true", default=None, help="voc-crops: cut squares around boxes; do not stretch them"
    )
    command.add_argument(
        "--no-background", action="store_true", default=None, help="voc-crops: cut no ground between the boxes"
    )


def run(options) -> None:
    for option in ("folder", "output", "size", "seed", "scenes", "classes", "square", "no_background"):
        if getattr(options, option) is not None and option not in OPTIONS.get(options.name, ()):
            what = "a folder" if option == "folder" else f"--{option.replace('_', '-')}"
            raise InputError(f"{what} is for {_takers(option)}, not for {options.name}")
    if options.name == "voc-crops":
        _cut_out(options)
    elif any(getattr(options, option) is not None for option in OPTIONS["crops"]):
        _draw(options)
    else:
        _describe(options)


def _takers(option: str) -> str:
    return " and ".join(name for name, taken in OPTIONS.items() if option in taken)


def _describe(options) -> None:
    from fewbits.data import load

    dataset = load(options.name)
    height, width, channels = dataset.image_shape
    print(f"{dataset.name}: {len(dataset.classes)} classes, images {height} x {width} x {channels}")
    for part in ("train", "validation", "test"):
        print(f"  {part:<11}{len(getattr(dataset, part)):>7,} images")
    print(f"  sha256 {dataset.checksum}")


def _draw(options) -> None:
    from fewbits.cli.progress import Count
    from fewbits.data import draw_scenes, write_scene

    n, size = _or(options.scenes, 100), _or(options.size, 224)
    plants = Counter()
    with _new_folder(options.output) as folder:
        count = Count(sys.stdout, n, "scenes")
        for done, scene in enumerate(draw_scenes(n, size, _or(options.seed, 0)), 1):
            write_scene(scene, folder)
            plants.update(box.name for box in scene.boxes)
            count(done)
        count.finish(n)
    print(f"{options.output} written: {n:,} photographs of {size} x {size} pixels, boxes of {_told(plants)}")


def _cut_out(options) -> None:
    from fewbits.cli.progress import Count
    from fewbits.data import cut_out, read_photographs, write_cutouts

    if options.folder is None:
        raise InputError("voc-crops needs a folder of images with .xml files, as in `fewbits data voc-crops scenes`")
    size = _or(options.size, 32)
    with _new_folder(options.output) as folder:
        photographs = read_photographs(options.folder, options.classes)
        count = Count(sys.stdout, len(photographs), "photographs")
        cutouts = cut_out(
            photographs,
            size,
            square=bool(options.square),
            background=not options.no_background,
            seed=_or(options.seed, 0),
            progress=count,
        )
        count.finish(len(photographs))
        count = Count(sys.stdout, len(cutouts), "images")
        write_cutouts(cutouts, folder, count)
        count.finish(len(cutouts))
    found = Counter(cutouts.classes[label] for label in cutouts.labels)
    print(f"{options.output} written: images of {size} x {size} pixels, {_told(found)}")


def _or(value, default):
    return default if value is None else value


def _told(counts: Counter) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in sorted(counts.items()))


@contextmanager
def _new_folder(output: Path | None) -> Iterator[Path]:
    """Make a folder beside `output` that takes its place when the block ends well, and is removed when it does not."""
    if output is None:
        raise InputError("nothing says where to write to; add --output FOLDER")
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

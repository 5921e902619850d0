"""Run what the reference results lack, on real data: python data/reference DATA [--processes N] [--minutes N].

What is left is told from the grid files and the stored answers, before any data are read. Each part then runs in a
process of its own, because TensorFlow keeps the graphs of every model until its process ends. Parts whose data are not
in DATA are left out; with --minutes, all but the trials. `make reference` calls it from the root of the repository.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import mixed
import ranges
import rounding

from fewbits.experiment import Scheme, Store, Study, read_grid

HERE = Path(__file__).parent
FEWBITS = "-m", "fewbits.cli"
TRIALS = "trials"
MOBILENET, SQUEEZENET = "mobilenet/mobilenet_v1_0.25_128.tflite", "squeezenet/squeezenet_v1.1_imagenet.npz"
NEEDS = {"squeezenet": ("imagenet1k", SQUEEZENET), "mobilenet": ("imagenet1k", MOBILENET)}  # in DATA
BGR = "--order bgr --mean-pixel 104,117,123"
# Study -> pooling and options. SqueezeNet v1.1 as published takes BGR, less the mean pixel, and pools with ceil; of
# networks and photographs without one of these, only float is asked for.
PHOTOGRAPHS = {
    "photographs": ("ceil", BGR),
    "photographs-no-mean": ("ceil", "--order bgr --scale 1 --grid float"),
    "photographs-rgb": ("ceil", "--mean-pixel 123,117,104 --grid float"),
    "photographs-rgb-no-mean": ("ceil", "--scale 1 --grid float"),
    "photographs-floor-pooling": ("floor", f"{BGR} --grid float"),
}


class Part(NamedTuple):
    """A part of the reference results.

    Attributes:
        name: What it is.
        left: What is left to do, in words; empty if nothing is.
        command: Arguments of Python that do it.
        needs: Files and folders of DATA that it reads.
        files: Files that `made_by` makes for it.
    """

    name: str
    left: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()


def parts(folder: Path, *options: str) -> Iterator[Part]:
    """Yield all parts, in the order in which they run.

    Args:
        folder: DATA.
        options: Of `fewbits sweep`.
    """
    weights = [_weights(folder)] if (folder / MOBILENET).exists() else []
    grids, store = HERE / "grids.toml", HERE / "trials"
    sweep = (*FEWBITS, "sweep", str(grids), "--store", str(store), "--skip-missing", *options)
    yield Part(TRIALS, _trials_left(grids, store), sweep, files=tuple(weights))
    yield _schemes("alexnet_cifar", "alexnet_cifar", "--data cifar10 --images 10000")
    for study, (pooling, how) in PHOTOGRAPHS.items():
        part = _schemes(study, f"squeezenet-{pooling}", f"--no-crop {how}", "--data", str(folder / "imagenet1k"))
        yield part._replace(needs=NEEDS["squeezenet"])
    for name in rounding.NETWORKS:
        yield _script("rounding.py", name, rounding.left(name), str(folder), name)
    yield _script("ranges.py", ranges.NETWORK, "" if ranges.TARGET.exists() else "all", str(folder))
    yield _script("mobilenet.py", "mobilenet", _schemes_left("mobilenet"), str(folder))
    for name in mixed.NETWORKS:
        yield _script("mixed.py", name, "" if mixed.path_of(name).exists() else "all", str(folder), name)


def made_by(folder: Path) -> dict[Path, tuple[str, ...]]:
    """Return file -> the arguments of Python that make it: trained networks and weights, from DATA or the library."""
    small = _network("alexnet_cifar")
    built = "zoo.build('alexnet_small', (32, 32, 3), 10, weights='alexnet_cifar')"
    caffe = (*FEWBITS, "import-caffe", str(folder / SQUEEZENET), "--network", "squeezenet_v1_1")
    litert = (*FEWBITS, "import-litert", str(folder / MOBILENET), "--width", "0.25")
    return {
        small: ("-c", f"from fewbits import io, zoo; io.write_model({built}, {str(small)!r})"),
        (path := _weights(folder)): (*litert, "--output", str(path)),
        (path := _network("squeezenet-ceil")): (*caffe, "--pooling", "ceil", "--output", str(path)),
        (path := _network("squeezenet-floor")): (*caffe, "--pooling", "floor", "--output", str(path)),
    }


def main(folder: Path, processes: int = 1, minutes: float | None = None) -> int:
    """Say what is left, and run it; return the exit status of the command that failed, or 0."""
    options = ["--processes", str(processes), *([] if minutes is None else ["--minutes", f"{minutes:g}"])]
    left = [part for part in parts(folder, *options) if part.left]
    if not left:
        print("nothing is left to do: data/reference has the answers of every trial and scheme that it asks for")
    chosen = [part for part in left if not _why_not(part, folder, minutes)]
    for part in left:
        reason = _why_not(part, folder, minutes)
        print(f"{'left out' if reason else 'to run'}: {part.name}, {part.left}{reason}", flush=True)
    files = made_by(folder)
    for part in chosen:
        missing = [path for path in part.files if not path.exists()]
        for path in missing:
            path.parent.mkdir(parents=True, exist_ok=True)
        for command in (*map(files.__getitem__, missing), part.command):
            done = subprocess.run([sys.executable, *command], env=os.environ | {"FEWBITS_DATA": str(folder)})
            if done.returncode:
                return done.returncode
    return 0


def _why_not(part: Part, folder: Path, minutes: float | None) -> str:
    """Return why a part does not run, as the end of a line; nothing if it does."""
    lacking = [name for name in part.needs if not (folder / name).exists()]
    if lacking:
        return f"; {folder / lacking[0]} is not there"
    return "" if minutes is None or part.name == TRIALS else "; only trials run by the minute"


def _trials_left(file: Path, folder: Path) -> str:
    grids = read_grid(file)
    left = set(Store(folder).missing(trial for grid in grids for trial in grid.trials))
    names = [grid.name for grid in grids if left & {*grid.trials}]
    n = len(left)
    return f"{n} trial{'s' * (n > 1)} of: {'; '.join(names)}" if n else ""


def _schemes_left(study: str, grid: str | None = None) -> str:
    """Return which schemes have no answers yet; those of photographs-NAME are asked for in photographs.toml."""
    grids = [each for each in read_grid(_file(study), Scheme) if grid in (None, each.name)]
    missing = Study.load(_answers(study)).missing(scheme for each in grids for scheme in each.trials)
    return f"{len(missing)} scheme{'s' * (len(missing) > 1)}" if missing else ""


def _schemes(study: str, network: str, how: str, *options: str) -> Part:
    """Return the part of a study that `fewbits schemes` runs."""
    grid = "float" if how.endswith("--grid float") else None
    command = (*FEWBITS, "schemes", str(_network(network)), str(_file(study)), *how.split(), *options)
    left = _schemes_left(study, grid)
    return Part(study, left, (*command, "--output", str(_answers(study))), files=(_network(network),))


def _script(name: str, network: str, left: str, *arguments: str) -> Part:
    """Return the part of a network that a script beside this one runs."""
    files = (_network("squeezenet-ceil"),) if network == "squeezenet" else ()
    return Part(f"{name} {network}", left, (str(HERE / name), *arguments), NEEDS.get(network, ()), files)


def _file(study: str) -> Path:
    return HERE / f"{study.partition('-')[0]}.toml"


def _answers(study: str) -> Path:
    return rounding.STUDIES / f"{study}.json"


def _network(name: str) -> Path:
    return rounding.MODELS / f"{name}.keras"


def _weights(folder: Path) -> Path:
    return folder / "weights" / "mobilenet_imagenet.npz"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--minutes", type=float)
    sys.exit(main(**vars(parser.parse_args())))

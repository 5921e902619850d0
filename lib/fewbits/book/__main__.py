"""The commands behind the Makefile: `python -m fewbits.book COMMAND`; with `--help` it lists them."""

import argparse
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fewbits.errors import InputError
from fewbits.names import PROFILES

if TYPE_CHECKING:
    from fewbits.book.chapter import Chapter


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The command and its options; default those of this process.

    Returns:
        The exit code: 0, 1 after an error, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="python -m fewbits.book", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    sync = commands.add_parser("sync", help="write the paired .ipynb of each script in notebooks/")
    sync.set_defaults(command=_sync)

    execute = commands.add_parser("execute", help="run the chapters that changed, and compare with the baselines")
    execute.set_defaults(command=_execute)

    render = commands.add_parser("render", help="execute, then build the pages; with CHAPTERS, those chapters only")
    render.add_argument("--open", action="store_true", help="show the page in a browser, if there is one")
    render.set_defaults(command=_render)

    layers = commands.add_parser("layers", help="write book/layers.md: which layer can go how far (about a minute)")
    layers.set_defaults(command=_layers)

    chart = commands.add_parser("map", help="draw book/images/chapter-map.svg: which chapter needs which")
    chart.set_defaults(command=_map)

    baselines = commands.add_parser("baselines", help="store the results of a run as the new baselines")
    baselines.add_argument("--reason", required=True, help="why the results may change")
    baselines.set_defaults(command=_baselines)

    capstone = commands.add_parser("capstone", help="score a network for the capstone: bytes, accuracy, points")
    capstone.add_argument("file", type=Path, help="a .keras or .tflite file")
    capstone.set_defaults(command=_capstone)

    pack = commands.add_parser("pack", help="write _build/html as a zip file")
    pack.add_argument("target", type=Path)
    pack.set_defaults(command=_pack)

    pdf = commands.add_parser("pdf", help="print _build/html into one PDF file, with Chromium")
    pdf.add_argument("target", type=Path)
    pdf.set_defaults(command=_pdf)

    for command in (execute, render, baselines):
        command.add_argument("--profile", choices=PROFILES, default="quick")
        command.add_argument("--workers", type=int, help="how many chapters run at a time; default one per core")
        command.add_argument("chapters", nargs="*", help="the beginnings of chapter names, for example 01; default all")
    options = parser.parse_args(arguments)

    from fewbits.book.execution import ExecutionError

    try:
        options.command(options, Path.cwd())
    except (InputError, ExecutionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; chapters that had ended are kept", file=sys.stderr)
        return 130
    return 0


def _sync(options: argparse.Namespace, root: Path) -> None:
    from fewbits.book.chapter import chapters
    from fewbits.book.lab_notebooks import find_labs

    for chapter in [*chapters(root), *find_labs(root)]:
        if not chapter.in_pair():
            chapter.write_pair()
            print(f"{chapter.pair.relative_to(root)} written from {chapter.script.name}")


def _execute(options: argparse.Namespace, root: Path) -> "list[Chapter]":
    from fewbits.book.chapter import chapters
    from fewbits.book.execution import ExecutionError, check
    from fewbits.book.parallel import run_chapters

    selected = chapters(root, options.chapters)
    failed = run_chapters(selected, options.profile, options.workers)
    moved = [f"{c.name}: {d}" for c in selected if c not in failed for d in check(c, options.profile)]
    errors = [f"{len(failed)} chapters failed:", *failed.values()] if failed else []
    errors += ["results differ from tests/baselines:", *moved] if moved else []
    if errors:
        raise ExecutionError("\n  ".join(errors))
    return selected


def _render(options: argparse.Namespace, root: Path) -> None:
    from fewbits.book.pages import open_page, render

    selected = _execute(options, root)
    print("pages ...", flush=True)
    page = render(root, selected, options.profile, whole=not options.chapters)
    print(f"the book is at {page.relative_to(root)}", flush=True)
    if options.open:
        open_page(page)


def _layers(options: argparse.Namespace, root: Path) -> None:
    from fewbits.book.layer_stages import layer_page

    (root / "book/layers.md").write_text(layer_page())
    print("book/layers.md written")


def _map(options: argparse.Namespace, root: Path) -> None:
    from fewbits.book.chapter_map import map_of

    (root / "book/images/chapter-map.svg").write_text(map_of(root))
    print("book/images/chapter-map.svg drawn")


def _baselines(options: argparse.Namespace, root: Path) -> None:
    import nbformat

    from fewbits.book.chapter import chapters
    from fewbits.book.execution import ExecutionError
    from fewbits.book.parallel import run_chapters
    from fewbits.book.results import recorded, write_baseline

    selected = chapters(root, options.chapters)
    failed = run_chapters(selected, options.profile, options.workers)
    if failed:
        raise ExecutionError("\n  ".join([f"{len(failed)} chapters failed, no baseline is stored:", *failed.values()]))
    for chapter in selected:
        results = recorded(nbformat.read(chapter.executed(options.profile), 4))
        write_baseline(chapter.baseline, options.profile, results, options.reason)


def _capstone(options: argparse.Namespace, root: Path) -> None:
    from fewbits.labs.capstone import score_capstone

    print(score_capstone(options.file))


def _pack(options: argparse.Namespace, root: Path) -> None:
    from fewbits.book.pages import pack

    pack(root / "_build" / "html", options.target)
    print(f"{options.target} written")


def _pdf(options: argparse.Namespace, root: Path) -> None:
    from fewbits.book.pdf import printed_parts, write_pdf

    write_pdf(root / "_build" / "html", printed_parts(root / "_toc.yml"), options.target)
    print(f"{options.target} written")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended from outside, it still stops its kernels
    sys.exit(main())

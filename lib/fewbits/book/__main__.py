"""The commands behind the Makefile: `python -m fewbits.book {sync,execute,render,baselines,pack}`."""

import argparse
import sys
from pathlib import Path

from fewbits.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fewbits.book", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    sync = commands.add_parser("sync", help="write the paired .ipynb of each script in notebooks/")
    sync.set_defaults(command=_sync)

    execute = commands.add_parser(
        "execute", help="run the chapters whose inputs changed, and compare with the baselines"
    )
    execute.set_defaults(command=_execute)

    render = commands.add_parser("render", help="execute, then build _build/html")
    render.set_defaults(command=_render)

    baselines = commands.add_parser("baselines", help="store the results of a run as the new baselines")
    baselines.add_argument("--reason", required=True, help="why the results may change")
    baselines.set_defaults(command=_baselines)

    pack = commands.add_parser("pack", help="write _build/html as a zip file")
    pack.add_argument("target", type=Path)
    pack.set_defaults(command=_pack)

    for command in (execute, render, baselines):
        command.add_argument("--profile", choices=("smoke", "quick", "full"), default="quick")
        command.add_argument("chapters", nargs="*", help="the beginnings of chapter names, for example 01; default all")
    options = parser.parse_args(arguments)

    from fewbits.book.execution import ExecutionError

    try:
        options.command(options, Path.cwd())
    except (InputError, ExecutionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _sync(options, root):
    from fewbits.book.chapter import chapters

    for chapter in chapters(root):
        if not chapter.in_pair():
            chapter.write_pair()
            print(f"{chapter.pair.name} written from {chapter.script.name}")


def _run_all(options, root):
    from fewbits.book.chapter import chapters
    from fewbits.book.execution import run

    selected = chapters(root, options.chapters)
    for number, chapter in enumerate(selected, 1):
        print(f"[{number}/{len(selected)}] {chapter.name} ({options.profile})", flush=True)
        ran = run(chapter, options.profile, progress=sys.stderr.isatty())
        print("      executed" if ran else "      unchanged", flush=True)
    return selected


def _execute(options, root):
    from fewbits.book.execution import ExecutionError, check

    selected = _run_all(options, root)
    problems = [f"{c.name}: {d}" for c in selected for d in check(c, options.profile)]
    if problems:
        raise ExecutionError("results differ from tests/baselines:\n  " + "\n  ".join(problems))
    return selected


def _render(options, root):
    from fewbits.book.pages import render

    selected = _execute(options, root)
    print("[pages] building HTML", flush=True)
    rendered = render(root, selected, options.profile)
    print("        built" if rendered else "        unchanged", "- open _build/html/index.html", flush=True)


def _baselines(options, root):
    import nbformat

    from fewbits.book.results import recorded, write_baseline

    for chapter in _run_all(options, root):
        results = recorded(nbformat.read(chapter.executed(options.profile), 4))
        write_baseline(chapter.baseline, options.profile, results, options.reason)


def _pack(options, root):
    from fewbits.book.pages import pack

    pack(root, options.target)
    print(f"{options.target} written")


if __name__ == "__main__":
    sys.exit(main())

"""How a chapter's page says where and how to run it."""

import re
import subprocess
from pathlib import Path

import pytest

from fewbits.book.running import clone_commands, launch_links, panel
from fewbits.errors import InputError

ROOT = Path(__file__).parents[2]
GITHUB = "https://github.com/owner/few-bits"


@pytest.mark.parametrize(
    ("address", "links"),
    [
        ("", {}),
        (
            GITHUB,
            {
                "Binder": "https://mybinder.org/v2/gh/owner/few-bits/HEAD?urlpath=lab/tree/notebooks/a.ipynb",
                "Colab": "https://colab.research.google.com/github/owner/few-bits/blob/HEAD/notebooks/a.ipynb",
            },
        ),
        (
            "https://gitlab.com/group/few-bits.git",
            {"Binder": "https://mybinder.org/v2/gl/group%2Ffew-bits/HEAD?urlpath=lab/tree/notebooks/a.ipynb"},
        ),
        (
            "https://code.example/owner/few-bits",
            {
                "Binder": "https://mybinder.org/v2/git/https%3A%2F%2Fcode.example%2Fowner%2Ffew-bits/HEAD"
                "?urlpath=lab/tree/notebooks/a.ipynb"
            },
        ),
    ],
)
def test_the_address_decides_which_services_open_a_chapter(address, links):
    assert launch_links(address, "notebooks/a.ipynb") == links


@pytest.mark.parametrize("address", ["owner/few-bits", "git@github.com:owner/few-bits", "https://github.com/owner"])
def test_an_address_that_no_service_reads_is_refused(address):
    with pytest.raises(InputError, match="book_repository must be like https://"):
        launch_links(address, "notebooks/a.ipynb")


def test_without_an_address_a_panel_has_only_local_commands():
    html = panel("", "03-percentiles", "../_static/downloads")
    assert "git clone" not in html and "http" not in html and "Colab" not in html
    assert "make chapter N=3 " in html and "make lab N=3 " in html
    links = re.findall(r'href="([^"]+)" download', html)
    assert links == ["../_static/downloads/03-percentiles.ipynb", "../_static/downloads/03-percentiles.py"]


def test_with_an_address_a_panel_clones_it_and_opens_the_chapter():
    html = panel(GITHUB, "16-integers", "x")
    assert html.count(f"git clone {GITHUB} few-bits") == 2  # in a shell, and in Colab
    assert all(link in html for link in launch_links(GITHUB, "notebooks/16-integers.ipynb").values())
    assert clone_commands("") == []


@pytest.mark.parametrize("number", ["3", "16"])
def test_the_commands_of_a_panel_are_commands_of_the_makefile(number):
    for target in ("chapter", "lab"):
        done = subprocess.run(
            ["make", "--dry-run", "--assume-old=.venv/ready", target, f"N={number}"],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert re.search(rf"(render --open|jupyter lab notebooks/){' ?'}{number:0>2}", done.stdout)


def test_no_page_leaves_a_placeholder_for_the_repository():
    texts = [*ROOT.glob("*.md"), *ROOT.glob("book/*.md"), *ROOT.glob("notebooks/*.py")]
    assert not [path.name for path in texts if "this repository>" in path.read_text()]

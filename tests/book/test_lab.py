"""The notebooks in JupyterLab: both twins open as notebooks, saving changes nothing, hidden code is folded."""

import json
import re
import shutil
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from jupyterlab_server.config import LabConfig
from jupyterlab_server.settings_utils import _get_overrides
from traitlets.config import Config

from fewbits.book.chapter import Chapter, chapters

ROOT = Path(__file__).parents[2]
SETTINGS = ROOT / "notebooks" / ".jupyter" / "jupyter_server_config.json"


@pytest.fixture
def copied(tmp_path):
    """Copy a chapter, with a twin that is in step with its script."""

    def copy(name):
        folder = tmp_path / "notebooks"
        folder.mkdir()
        for file in (f"{name}.py", "jupytext.toml"):
            shutil.copy(ROOT / "notebooks" / file, folder)
        chapter = Chapter(tmp_path, name)
        chapter.write_pair()
        return chapter

    return copy


@pytest.mark.parametrize("opened", [".py", ".ipynb"])
@pytest.mark.parametrize("name", ["09-lock-or-train", "91-errata"])
def test_opening_and_saving_a_twin_changes_no_byte_of_either(copied, name, opened):
    chapter = copied(name)
    before = chapter.script.read_bytes(), chapter.pair.read_bytes()
    settings = Config(json.loads(SETTINGS.read_text()))
    manager = jupytext.TextFileContentsManager(root_dir=str(chapter.script.parent), config=settings)
    chapter.script.write_bytes(before[0] + b"\n# %%\n1 + 1\n")  # a save does write both
    manager.save(manager.get(name + opened, type="notebook", content=True), name + opened)
    assert b"1 + 1" in chapter.pair.read_bytes()
    chapter.script.write_bytes(before[0])
    model = manager.get(name + opened, type="notebook", content=True)
    model["content"]["metadata"]["language_info"] = {"name": "python", "version": "3.99"}  # as JupyterLab does
    manager.save(model, name + opened)
    after = chapter.script.read_bytes(), chapter.pair.read_bytes()
    assert after[0] == before[0] == (ROOT / "notebooks" / f"{name}.py").read_bytes()
    assert after[1] == before[1]


@pytest.mark.parametrize("chapter", chapters(ROOT), ids=lambda chapter: chapter.name)
def test_code_that_records_is_folded_in_the_twin_alone(chapter):
    cells = nbformat.read(chapter.pair, 4).cells
    recording = [c for c in cells if c.cell_type == "code" and re.search(r"^\s*(record|quote)\(", c.source, re.M)]
    assert recording and all(c.metadata.jupyter.source_hidden for c in recording)
    assert "source_hidden" not in chapter.script.read_text()


@pytest.mark.parametrize("chapter", chapters(ROOT), ids=lambda chapter: chapter.name)
def test_a_chapter_names_its_kernel_as_the_kernel_does(chapter):
    kernel = json.loads(next(Path(sys.prefix).glob("share/jupyter/kernels/python3/kernel.json")).read_text())
    assert chapter.notebook().metadata.kernelspec.display_name == kernel["display_name"]  # or saving renames it


def test_scripts_open_as_notebooks(monkeypatch):
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(ROOT / "notebooks" / ".jupyter"))
    overrides, error = _get_overrides("")
    assert not error
    viewer = overrides["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"]["python"]
    folders = [Path(folder, "jupyterlab-jupytext", "static") for folder in LabConfig().labextensions_path]
    assert any(viewer in script.read_text() for folder in folders for script in folder.glob("*.js"))

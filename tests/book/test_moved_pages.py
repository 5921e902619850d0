"""Pages at old addresses."""

from pathlib import Path

import pytest
import yaml

from fewbits.book.moved_pages import write_moved_pages

ROOT = Path(__file__).parents[2]


def test_an_old_page_leads_to_the_new_one_and_keeps_the_part_of_the_link(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks/08-lock.html").write_text("new")
    write_moved_pages(tmp_path, {"notebooks/07-lock": "notebooks/08-lock", "07-lock": "notebooks/08-lock", "a": "b"})
    page = (tmp_path / "notebooks/07-lock.html").read_text()
    assert 'url=08-lock.html"' in page and 'location.replace("08-lock.html" + location.hash)' in page
    assert 'url=notebooks/08-lock.html"' in (tmp_path / "07-lock.html").read_text()
    assert not (tmp_path / "a.html").exists()
    write_moved_pages(tmp_path, {"notebooks/07-lock": "notebooks/08-lock"})  # again, over its own pages


def test_a_page_that_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "old.html").write_text("a page")
    with pytest.raises(ValueError, match="old still exists"):
        write_moved_pages(tmp_path, {"old": "old"})
    assert (tmp_path / "old.html").read_text() == "a page"


def test_every_chapter_that_moved_leads_to_a_chapter():
    moved = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]["moved_pages"]
    assert len(moved) == 12
    for old, new in moved.items():
        assert (ROOT / f"{new}.py").exists() and not list(ROOT.glob(f"{old}.*"))
        if old.startswith("notebooks/"):
            assert old.split("-", 1)[1] == new.split("-", 1)[1]

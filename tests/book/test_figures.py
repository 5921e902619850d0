"""Mentions of figures: links to the figure, or a warning."""

from io import StringIO

from sphinx.application import Sphinx


def built(folder, words):
    """Return the HTML of a page with these words, beside a chapter 3, and what Sphinx warned of."""
    source, out = folder / "source", folder / "out"
    (source / "notebooks").mkdir(parents=True)
    (source / "conf.py").write_text("extensions = ['myst_parser', 'fewbits.book.figures']\n")
    (source / "index.md").write_text(f"# Book\n\n{words}\n\n```{{toctree}}\nnotebooks/03-percentiles\n```\n")
    (source / "notebooks" / "03-percentiles.md").write_text("# 3 Percentiles\n\nSee {figure}`3.1`.\n")
    warned = StringIO()
    Sphinx(source, source, out, folder / "trees", "html", status=None, warning=warned).build()
    return (out / "index.html").read_text(), (out / "notebooks" / "03-percentiles.html").read_text(), warned.getvalue()


def test_a_mention_leads_to_the_figure_and_to_another_chapter_of_none_is_a_warning(tmp_path):
    page, chapter, warned = built(tmp_path, "In {figure}`3.2`, not in {figure}`9.1`.")
    assert 'href="notebooks/03-percentiles.html#figure-3-2">figure 3.2</a>' in page
    assert 'href="#figure-3-1">figure 3.1</a>' in chapter
    assert "not in figure 9.1." in page and "no chapter has figure 9.1" in warned

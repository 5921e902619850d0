"""The search of the book: the texts that the build writes, and the page that searches them from file://."""

import os
import shutil
from pathlib import Path

import pytest
from docutils.core import publish_doctree
from playwright.sync_api import sync_playwright

from fewbits.book.search_texts import Passage, passages, write_texts

STATIC = Path(__file__).parents[2] / "book" / "offline"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PAGE = """<!doctype html><meta charset="utf-8"><title>Search</title>
<div class="bd-search-container"><form><input name="q"></form><p id="fewbits-found" role="status"></p>
<ol id="fewbits-results"></ol></div>
<script src="search-texts.js"></script><script src="search.js"></script>"""
PAGES = {
    "book/glossary": [Passage("", "Glossary", "A step is the distance of two marks."), Passage("word", "Words", "")],
    "notebooks/01": [
        Passage("", "1 Fixed point", "Why the STEP, the step and once more the step matters to Bäckström."),
        Passage("the-step", "The step", "It is <b>small</b> & never zero. " + "padding " * 60 + "tail"),
        Passage("other", "Other", "Nothing of that kind."),
    ],
}


def test_a_page_is_cut_into_its_sections_and_no_text_is_there_twice():
    tree = publish_doctree(
        "Page\n====\n\nIntro *text*\nof two lines.\n\nFirst\n-----\n\n- one\n- two\n\n::\n\n   code()\n\n"
        ".. raw:: html\n\n   <b>raw</b>\n\nDeep\n~~~~\n\ninside\n\nSecond\n------\n\nlast\n",
        settings_overrides={"doctitle_xform": False},
    )
    assert list(passages(tree)) == [
        Passage("", "Page", "Intro text of two lines."),
        Passage("first", "First", "one two code()"),
        Passage("deep", "Deep", "inside"),
        Passage("second", "Second", "last"),
    ]


@pytest.fixture(scope="module")
def browser():
    path = os.environ.get("FEWBITS_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("there is no Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def search(browser, tmp_path):
    """Open the page of the search with a query; nothing may be wrong in the console, nothing be fetched."""
    (tmp_path / "search.html").write_text(PAGE)
    shutil.copy(STATIC / "search.js", tmp_path)
    write_texts(tmp_path, PAGES)
    page, trouble = browser.new_page(), []
    page.on("console", lambda m: trouble.append(m.text))
    page.on("pageerror", lambda e: trouble.append(str(e)))
    page.on("request", lambda r: None if r.url.startswith(tmp_path.as_uri()) else trouble.append(r.url))

    def open_page(query):
        page.goto(f"{(tmp_path / 'search.html').as_uri()}?q={query}")
        return page

    yield open_page
    page.close()
    assert not trouble


def links(page):
    return page.locator("#fewbits-results a").evaluate_all("all => all.map(a => a.getAttribute('href'))")


def test_titles_come_first_then_pages_that_say_it_more_often(search):
    page = search("step")
    assert links(page) == ["notebooks/01.html#the-step", "notebooks/01.html", "book/glossary.html"]
    assert page.inner_text("#fewbits-found") == "3 passages with this word"
    assert page.locator("#fewbits-results mark").all_inner_texts() == ["step", "STEP", "step", "step", "step"]
    assert page.locator("li").first.locator("span").inner_text().strip() == "in 1 Fixed point"


def test_all_words_must_be_there_and_accents_and_case_do_not_matter(search):
    page = search("backstrom+STEP")
    assert links(page) == ["notebooks/01.html"]
    assert "Bäckström" in page.locator("mark").all_inner_texts()
    assert links(search("step+absent")) == []
    assert page.inner_text("#fewbits-found") == "No passages with all words"


def test_an_excerpt_shows_text_not_markup_and_stands_around_the_word(search):
    assert "<b>small</b> & never" in search("small").inner_text("li p")
    text = search("tail").inner_text("li p")
    assert text.startswith("… padding") and text.endswith("padding tail") and len(text) < 150


def test_typing_searches_and_arrow_keys_lead_through_the_results(search):
    page = search("")
    assert links(page) == [] and page.inner_text("#fewbits-found") == ""
    page.keyboard.type("step")
    assert len(links(page)) == 3
    focused = "document.activeElement.getAttribute('href') ?? document.activeElement.name"
    visited = []
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
        visited.append(page.evaluate(focused))
    assert visited == ["notebooks/01.html#the-step", "notebooks/01.html", "notebooks/01.html#the-step", "q"]

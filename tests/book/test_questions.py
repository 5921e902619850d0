"""Questions with answers: what Python writes of them, and what their script makes of it in a browser."""

import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from fewbits.book.chapter import chapters
from fewbits.book.questions import question_html
from fewbits.errors import InputError

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
RIGHT, WRONG = ("four", "two bits have four codes"), (("two", "that is one bit"), ("eight", "that is three bits"))
QUESTION = "How many codes have two bits?"


class Reader(HTMLParser):
    """Keeps the texts of a question's parts: legend, choices, and explanations with whether they are the right one."""

    def __init__(self, html):
        super().__init__()
        self.legend, self.choices, self.explained, self._at = "", [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self._at.append(tag)
        if tag == "input":  # it has no end
            self._at.pop()
            self.choices.append("")
        if tag == "li":
            self.explained.append(["data-right" in dict(attributes), ""])

    def handle_endtag(self, tag):
        assert self._at.pop() == tag

    def handle_data(self, text):
        if "legend" in self._at:
            self.legend += text
        elif "label" in self._at:
            self.choices[-1] += text
        elif "li" in self._at:
            self.explained[-1][1] += text


def test_a_question_has_all_choices_and_marks_exactly_one_as_right():
    seen = Reader(question_html(QUESTION, RIGHT, *WRONG))
    assert seen.legend == QUESTION
    assert sorted(choice.strip() for choice in seen.choices) == ["eight", "four", "two"]
    assert [text.split()[0] for right, text in seen.explained if right] == ["four"]
    for choice, (_, text) in zip(seen.choices, seen.explained):
        assert text.startswith(choice.strip())  # explanations are in the order of the choices


def place_of_right(html):
    return [right for right, _ in Reader(html).explained].index(True)


def test_the_right_answer_has_no_fixed_place_but_stays_where_it_is_in_every_run():
    places = []
    for n in range(30):
        places.append(place_of_right(question_html(f"Question {n}", RIGHT, *WRONG)))
        computed_anew = ("4.01", RIGHT[1])
        assert place_of_right(question_html(f"Question {n}", computed_anew, *WRONG)) == places[-1]
    assert set(places) == {0, 1, 2}


def test_texts_cannot_end_their_element():
    evil = "</legend><script>alert(1)</script> & \"quoted\" 'twice'"
    html = question_html(evil, (evil + "1", evil), (evil + "2", evil))
    assert html.count("<script") == 1 and html.count("alert(1)") == html.count("&lt;script&gt;alert(1)")
    assert Reader(html).legend == evil


@pytest.mark.parametrize(
    ("question", "answers", "said"),
    [
        (QUESTION, [RIGHT], "no wrong answer"),
        (QUESTION, [(f"{0.5:.0%}", "a"), (f"{0.501:.0%}", "b")], "answer '50%' twice"),
        (QUESTION, [("8 bits", "a"), ("8  bits ", "b")], "twice"),
        (QUESTION, [RIGHT, ("two", " ")], "empty text"),
        (QUESTION, [RIGHT, ("", "why")], "empty text"),
        (" ", [RIGHT, *WRONG], "empty text"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(question, answers, said):
    with pytest.raises(InputError, match=said):
        question_html(question, *answers)


def test_an_answer_is_stored_under_a_name_that_changes_with_the_choices():
    name = re.compile(r'id="(question-\w+)"')
    ids = [name.search(question_html(*each))[1] for each in ((QUESTION, RIGHT, *WRONG), (QUESTION, RIGHT, WRONG[0]))]
    assert ids[0] != ids[1]


@pytest.mark.parametrize("chapter", [c for c in chapters(ROOT) if "01" <= c.name < "90"], ids=lambda c: c.name)
def test_a_chapter_asks_two_questions(chapter):
    asked = sum(cell.source.count("questions.ask(") for cell in chapter.notebook().cells if cell.cell_type == "code")
    assert asked == 2 and "## Two questions" in chapter.script.read_text()


@pytest.fixture(scope="module")
def browser(request):
    path = os.environ.get("FEWBITS_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("there is no Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


ASKED = question_html(QUESTION, RIGHT, *WRONG), question_html("Is 1 a bit?", ("yes", "it is"), ("no", "it is one"))


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A page of two questions."""
    file = tmp_path_factory.mktemp("page") / "page.html"
    file.write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Questions</title><body>{''.join(ASKED)}</body></html>"
    )
    return file.as_uri()


def test_a_reader_answers_by_keyboard_and_the_score_is_kept(browser, page_file):
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(page_file)
    first, second = page.locator(".fewbits-question").all()
    score = page.locator(".fewbits-score")
    assert score.inner_text().strip() == "2 questions to answer"
    assert not first.locator("details").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

    first.get_by_role("button", name="Check").press("Enter")
    assert first.get_by_role("status").inner_text() == "Choose an answer first."
    first.get_by_label("two").press("Space")
    assert not first.locator("details").is_visible()  # moving among the choices is no answer
    first.get_by_role("button", name="Check").press("Enter")
    assert first.get_by_role("status").inner_text() == "✗ Not right. that is one bit"
    assert first.locator("details").is_visible() and first.get_by_label("four").is_disabled()
    second.get_by_label("yes").press("Space")
    second.get_by_role("button", name="Check").press("Enter")
    assert second.get_by_role("status").inner_text() == "✓ Right. it is"
    assert score.inner_text().startswith("1 of 2 right")

    page.reload()
    assert page.locator(".fewbits-score").inner_text().startswith("1 of 2 right")
    page.get_by_role("button", name="Ask me again").press("Enter")
    assert page.locator(".fewbits-score").inner_text().strip() == "2 questions to answer"
    page.reload()
    assert page.locator(".fewbits-score").inner_text().strip() == "2 questions to answer"
    assert errors == []
    context.close()


def test_paper_has_all_explanations(browser, page_file):
    page = browser.new_page()
    page.goto(page_file)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.get_by_text("two bits have four codes").is_visible()
    assert not page.get_by_role("button", name="Check").first.is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not page.get_by_text("two bits have four codes").is_visible()
    page.close()


def test_without_a_script_the_explanations_are_folded_below(browser, page_file):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file)
    assert page.locator("details").count() == 2 and page.get_by_role("button").count() == 0
    page.locator("summary").first.click()
    assert page.get_by_text("two bits have four codes").is_visible()
    context.close()


def test_a_browser_that_stores_nothing_still_asks(browser, page_file):
    context = browser.new_context()
    context.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('refused'); }})")
    page = context.new_page()
    page.goto(page_file)
    page.get_by_label("four").check()
    page.get_by_role("button", name="Check").first.click()
    assert page.locator(".fewbits-score").inner_text().startswith("1 of 2 right")
    context.close()


# JupyterLab sets the HTML of an output, puts new script elements in place of those in it, and then shows it.
AS_OUTPUT = """([notebook, html]) => {
    const output = document.createElement("div");
    output.innerHTML = html;
    for (const script of output.querySelectorAll("script")) {
        const running = document.createElement("script");
        running.textContent = script.textContent;
        script.replaceWith(running);
    }
    document.getElementById(notebook).append(output);
}"""


def test_each_notebook_of_jupyterlab_has_a_score_and_a_cell_can_run_again(browser):
    page = browser.new_page()
    page.set_content("<div class='jp-Notebook' id='one'></div><div class='jp-Notebook' id='two'></div>")
    one, two = page.locator("#one"), page.locator("#two")
    page.evaluate(AS_OUTPUT, ["one", ASKED[0]])
    assert one.locator(".fewbits-score").inner_text().strip() == "1 question to answer"
    page.evaluate(AS_OUTPUT, ["one", ASKED[1]])
    page.evaluate(AS_OUTPUT, ["two", ASKED[1]])
    assert one.locator(".fewbits-score").inner_text().strip() == "2 questions to answer"
    assert two.locator(".fewbits-score").inner_text().strip() == "1 question to answer"
    one.get_by_label("yes").check()
    one.get_by_role("button", name="Check").last.click()
    page.evaluate("document.querySelector('#one > div:last-child').remove()")
    page.evaluate(AS_OUTPUT, ["one", ASKED[1]])
    assert one.locator(".fewbits-score").inner_text().startswith("1 of 2 right")
    assert two.locator(".fewbits-score").inner_text().strip() == "1 question to answer"
    page.close()

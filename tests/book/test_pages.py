"""The built book, as a reader's browser sees it: from http and from file, by keyboard, mouse and finger."""

import functools
import http.server
import os
import re
import shutil
import threading
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import sync_playwright

from helpers.pages import silent_pages

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
WRITTEN = sorted(p for folder in ("book", "notebooks") for p in HTML.glob(f"{folder}/*.html"))
MOVED = [p.relative_to(HTML).as_posix() for p in WRITTEN if "This page has moved" in p.read_text("utf-8")[:2000]]
PAGES = [name for p in WRITTEN if (name := p.relative_to(HTML).as_posix()) not in MOVED]
EXECUTED = sorted(p.stem for p in (ROOT / "_build" / "executed" / "quick").glob("*.ipynb"))
CHAPTERS = [name for name in EXECUTED if "01" <= name < "90"]  # the first page has no plots, 90 and 91 have tables
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHAPTER_PAGES = [f"notebooks/{chapter}.html" for chapter in CHAPTERS]
SHARED = ("_static/", "_sphinx_design_static/")
MEBIBYTE = 2**20
DRAWN = "[...document.querySelectorAll('.fewbits-plot')].every(p => p.querySelector('.main-svg[aria-hidden]'))"
COUNTED = "!document.querySelector('.fewbits-explorer.counting')"
# Chromium would look for updates and sandbox itself, which a container forbids.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
]


def missing(what, request):
    (pytest.fail if request.config.getoption("--require-pages") else pytest.skip)(what)


@pytest.fixture(scope="module")
def browser(request):
    if not PAGES:
        missing("there is no built book; `make book` builds it", request)
    path = os.environ.get("FEWBITS_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        missing(
            "there is no Chromium; install it (Debian: apt-get install chromium) or name it in FEWBITS_BROWSER", request
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def origin(request, browser):
    """The address of the book: `file` or `http`, on this machine alone."""
    if request.param == "file":
        yield HTML.as_uri()
        return

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=HTML)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def visit(browser, origin):
    """Open a page; at the end, nothing may have been asked of another host, and nothing be wrong in the console."""
    with silent_pages(browser, ("error", "warning")) as (new_page, trouble):

        def open_page(name, **settings):
            page = new_page(**settings)
            page.on(
                "request", lambda r: None if r.url.startswith((origin, "data:", "blob:")) else trouble.append(r.url)
            )
            page.on("requestfailed", lambda r: None if _leads_on(r) else trouble.append(f"failed: {r.url}"))
            page.on("response", lambda r: trouble.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
            page.goto(f"{origin}/{name}", wait_until="load")
            page.wait_for_function(DRAWN)
            return page

        yield open_page


both = pytest.mark.parametrize("origin", ["http", "file"], indirect=True)
from_http = pytest.mark.parametrize("origin", ["http"], indirect=True)
from_file = pytest.mark.parametrize("origin", ["file"], indirect=True)


def chapter_html(chapter):
    notebook = nbformat.read(ROOT / "_build" / "executed" / "quick" / f"{chapter}.ipynb", 4)
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return "".join(o.get("data", {}).get("text/html", "") for o in outputs)


def _leads_on(request):
    """Return whether a page that has moved was left before it was there as a whole; `goto` tells real failures."""
    return request.is_navigation_request() and request.failure == "net::ERR_ABORTED"


def figures_and_words(page, name):
    """What a page must show: a title, pictures with words, and each figure of its chapter, drawn and explained."""
    assert page.locator("article h1").count() == 1
    assert "WARNING" not in page.inner_text("article")
    figures = page.locator(".fewbits-figure:has(> .fewbits-plot)").all()
    if name in CHAPTER_PAGES:
        html = chapter_html(Path(name).stem)
        assert len(figures) == html.count('<div class="fewbits-plot"') > 0
        assert page.locator(".fewbits-explorer").count() == html.count("fewbits-explorer")
    for figure in figures:
        drawing = figure.locator(".main-svg").first.bounding_box()
        assert drawing["width"] > 250 and drawing["height"] > 200
        marks = figure.locator(".scatterlayer path, .barlayer path, .heatmaplayer image, .imagelayer image").all()
        boxes = (m.bounding_box() or {"width": 0, "height": 0} for m in marks)
        assert any(max(box["width"], box["height"]) > 10 for box in boxes), "no visible mark"
        assert figure.locator("figcaption").inner_text().startswith("Figure ")
        assert len(figure.locator(".fewbits-plot").get_attribute("aria-label")) > 20
        assert figure.locator("details tbody tr").count() > 1
        assert figure.evaluate(LABELS_AMISS) == []


# Labels that are cut off, lie under the title of their axis, or say the same twice on a logarithmic axis.
LABELS_AMISS = """figure => {
    const plot = figure.querySelector(".fewbits-plot"), room = plot.getBoundingClientRect(), amiss = [];
    const boxes = (what) => [...plot.querySelectorAll(what)].map((t) => [t.textContent, t.getBoundingClientRect()]);
    for (const [text, b] of boxes(".xtick text, .ytick text, .xtitle, .ytitle"))
        if (b.left < room.left - 2 || b.right > room.right + 2 || b.top < room.top - 2 || b.bottom > room.bottom + 2)
            amiss.push(`cut off: ${text}`);
    for (const [title, a] of boxes(".xtitle, .ytitle"))
        for (const [text, b] of boxes(".xtick text, .ytick text"))
            if (a.left + 2 < b.right && b.left + 2 < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom)
                amiss.push(`${title} lies over ${text}`);
    for (const axis of Object.values(plot._fullLayout).filter((a) => a?.type === "log" && a._vals)) {
        const shown = axis._vals.filter((v) => !v.minor && v.text).map((v) => v.text);
        if (new Set(shown).size < shown.length) amiss.push(`logarithmic: ${shown}`);
    }
    return amiss;
}"""


# A slider goes down to its least value, a menu down to its last.
CAN_GO_DOWN = "c => c.type === 'range' ? Number(c.value) > Number(c.min) : c.selectedIndex < c.options.length - 1"
FARTHER_END = "c => c.value - c.min > c.max - c.value ? 0.1 : 0.9"
STEPS = 3  # neighbours may look the same: two levels of one accuracy, a stage that a short schedule does not have
# All that can be operated, besides the buttons that copy code and those of a figure's tool bar.
CONTROLS = "article :is(input, select, button, summary):not(.copybtn, .modebar-btn)"
# What a reader sees of the part to which a control belongs.
SEEN = """control => {
    const explorer = control.closest("form") && control.closest(".fewbits-explorer:has(.fewbits-readings)");
    const part = explorer || control.closest("details, figure, .fewbits-question, .admonition") || document.body;
    if (explorer) {
        const marks = explorer.querySelectorAll(".scatterlayer path, .barlayer path, .shapelayer path");
        return explorer.querySelector(".fewbits-readings").innerText + [...marks].map((m) => m.getAttribute("d"));
    }
    const painted = [...part.querySelectorAll("canvas")].map((canvas) => canvas.toDataURL());
    return [part.outerHTML, document.documentElement.className, control.checked, ...painted].join();
}"""
CAN_BE_OPERATED = "c => c.checkVisibility() && !c.disabled && !(c.type === 'radio' && c.checked)"
OTHER_OPTIONS = "c => [...c.options].map((option, at) => at).filter((at) => at !== c.selectedIndex)"
KEYS = {"checkbox": "Space", "radio": "Space"}


def tries(control, press):
    """Operate a control in one way after the other, so that one of them must show: `press` is None for the keyboard."""
    kind = control.evaluate("c => c.type ?? c.localName")
    if press is None and kind in ("range", "select-one"):
        key = "ArrowDown" if control.evaluate(CAN_GO_DOWN) else "ArrowUp"
        for _ in range(STEPS):
            yield control.press(key)
    elif kind == "range":
        box = control.bounding_box()
        assert box["height"] >= 44
        for at in (control.evaluate(FARTHER_END), 0.5):
            yield press(control)(position={"x": box["width"] * at, "y": box["height"] / 2})
    elif kind == "select-one":  # the browser draws its menu
        for option in control.evaluate(OTHER_OPTIONS):
            yield control.select_option(index=option)
    elif kind == "search":
        yield control.fill("no row has these words")
    else:
        yield press(control)() if press else control.press(KEYS.get(kind, "Enter"))


def answers(page, control, press):
    page.wait_for_function(COUNTED)  # what another control began to count changes no more
    before = control.evaluate(SEEN)
    for _ in tries(control, press):
        for _ in range(20):  # an explorer that computes shows its first numbers by then
            if control.evaluate(SEEN) != before:
                return True
            page.wait_for_timeout(30)
    return False


def every_control_answers(page, press):
    """Operate all controls; what shows nothing, as the preset that is set, has a second try after all others."""
    silent = page.query_selector_all(CONTROLS)
    for _ in range(2):
        silent = [c for c in silent if c.evaluate(CAN_BE_OPERATED) and not answers(page, c, press)]
    assert [control.evaluate("c => c.outerHTML.slice(0, 200)") for control in silent] == []


@both
def test_the_search_leads_from_a_page_to_passages_with_the_words_marked(visit):
    page = visit("book/glossary.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("quantizer")
    page.keyboard.press("Enter")
    page.wait_for_selector("#fewbits-results mark")
    assert page.locator("#fewbits-results li").count() > 1
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("article h1")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_offers_its_twins_to_download(chapter):
    page = HTML / "notebooks" / f"{chapter}.html"
    links = re.findall(r'href="([^"]+)" download', page.read_text())
    for link, twin in zip(links, (".ipynb", ".py"), strict=True):
        assert (page.parent / link).read_bytes() == (ROOT / "notebooks" / f"{chapter}{twin}").read_bytes()


@both
@pytest.mark.parametrize("name", MOVED)
def test_a_page_that_has_moved_leads_on(visit, name):
    page = visit(name)
    assert page.locator("article h1").count() == 1 and not page.url.endswith(name)


# Each page is opened three times: from http by keyboard, from a file by mouse, and on a phone by finger.


@from_http
@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_what_it_should_and_answers_to_the_keyboard(visit, name):
    page = visit(name)
    figures_and_words(page, name)
    every_control_answers(page, None)
    if not page.locator(".fewbits-plot").count():
        assert page.evaluate(SHARED_WEIGHT) < MEBIBYTE


SHARED_WEIGHT = "performance.getEntriesByType('resource').reduce((sum, r) => sum + r.encodedBodySize, 0)"


@from_file
@pytest.mark.parametrize("name", PAGES)
def test_a_page_from_a_file_answers_to_the_mouse_and_can_be_read_in_light_and_dark(visit, name):
    page = visit(name, color_scheme="light")
    figures_and_words(page, name)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function("scheme => document.documentElement.dataset.theme === scheme", arg=scheme)
        page.wait_for_timeout(500)  # colours fade, on a busy machine for longer
        faults = page.evaluate(FAULTS)
        if faults:
            page.wait_for_timeout(5000)
            faults = page.evaluate(FAULTS)
        assert faults == []
    if name != "book/api.html":  # minutes; its entries are all built alike
        assert serious_faults(page) == []
    if page.locator(".fewbits-code-switch").count():
        code_folds_behind_one_switch(page)
    every_control_answers(page, lambda control: control.click)


def serious_faults(page):
    """Return what axe-core calls serious or critical, in the colours that the page has."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"resultTypes": ["violations"], "preload": False}).response["violations"]
    return [(fault["id"], fault["nodes"]) for fault in found if fault["impact"] in ("serious", "critical")]


FAULTS = (Path(__file__).parent / "faults.js").read_text()
"""Returns what those cannot use who do not see well, or do not use a mouse."""


LONG_LINES_ARE_REACHED = (
    "[...document.querySelectorAll('pre')].every(p => p.scrollWidth <= p.clientWidth || p.tabIndex === 0)"
)


def code_folds_behind_one_switch(page):
    switch, folded = page.locator(".fewbits-code-switch"), page.locator(".cell details.hide .cell_input").first
    bars = page.locator(".cell details.hide > summary:visible")
    assert switch.get_attribute("aria-pressed") == "false" and not folded.is_visible() and bars.count() == 0
    switch.press("Enter")
    assert switch.get_attribute("aria-pressed") == "true" and folded.is_visible() and bars.count() == 0
    page.wait_for_function(LONG_LINES_ARE_REACHED)
    page.wait_for_timeout(1000)  # the browser writes down what it keeps a little later
    page.reload()
    page.wait_for_function(DRAWN)
    folded.wait_for(state="visible")  # the choice stays
    page.emulate_media(media="print")
    assert bars.count() == 0 and not switch.is_visible()
    page.emulate_media(media="screen")
    switch.click()
    assert not folded.is_visible()


@from_file
@pytest.mark.parametrize("name", [*PAGES, "genindex.html", "py-modindex.html"])
def test_a_phone_shows_the_page_and_a_finger_scrolls_it(visit, name):
    page = visit(name, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator(".modebar-btn").count() == 0
    for figure in page.locator(".fewbits-figure:has(> .fewbits-plot)").all():
        plot = figure.locator(".fewbits-plot")
        room, drawing = plot.bounding_box(), plot.locator(".main-svg").first.bounding_box()
        assert drawing["height"] <= room["height"] + 1  # or it would lie upon what follows
        assert figure.evaluate(LABELS_AMISS) == []
    if page.locator(".fewbits-plot .nsewdrag").count():
        a_swipe_over_a_figure_scrolls(page)
    every_control_answers(page, lambda control: control.tap)


RANGES = """plot => JSON.stringify(
    Object.entries(plot._fullLayout).filter(([name]) => /^[xy]axis/.test(name)).map(([, axis]) => axis.range)
)"""


def a_swipe_over_a_figure_scrolls(page):
    plot = page.locator(".fewbits-plot:has(.nsewdrag)").first
    plot.evaluate("plot => plot.scrollIntoView({ block: 'center', behavior: 'instant' })")
    before, ranges, box = page.evaluate("scrollY"), plot.evaluate(RANGES), plot.bounding_box()
    finger = page.context.new_cdp_session(page)
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
    for step in range(1, 9):
        moved = {"x": at["x"], "y": at["y"] + 20 * step}  # down, so that there is room to scroll: figures lie low
        finger.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [moved]})
        page.wait_for_timeout(20)
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(300)
    assert before - page.evaluate("scrollY") > 80 and plot.evaluate(RANGES) == ranges


@from_file
@pytest.mark.parametrize("name", CHAPTER_PAGES[:1])
def test_no_button_of_a_figure_sends_it_away(visit, name):
    page = visit(name)
    figure = page.locator(".fewbits-figure").first
    figure.hover()
    buttons = figure.locator(".modebar-btn")
    assert buttons.evaluate_all("all => all.map(b => b.dataset.title)") == [
        "Zoom", "Pan", "Reset axes", "Download plot as a PNG",
    ]  # fmt: skip
    bar, legend = figure.locator(".modebar").bounding_box(), figure.locator(".legend").bounding_box()
    assert bar["y"] + bar["height"] <= legend["y"]
    for button in buttons.all()[:-1]:
        button.click()
    with page.expect_download() as download:
        buttons.last.click()
    assert download.value.url.startswith(("blob:", "data:"))
    assert len(page.context.pages) == 1 and page.locator("dialog[open], [role=dialog]").count() == 0


@from_file
@pytest.mark.parametrize("name", CHAPTER_PAGES[:1])
def test_without_scripts_code_and_data_can_be_reached(browser, origin, name):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{origin}/{name}")
    assert page.locator(".cell details.hide > summary").first.is_visible()
    assert page.locator(".fewbits-figure noscript").first.is_visible()
    assert page.locator(".fewbits-figure details > summary").first.is_visible()
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_every_mention_of_a_figure_leads_to_one(name):
    for address, anchor in re.findall(r'href="([^"#]*)#(figure-[^"]+)"', (HTML / name).read_text()):
        target = (HTML / name).parent / address if address else HTML / name
        assert f'id="{anchor}"' in target.read_text(), f"{address}#{anchor}"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_light_beside_the_shared_scripts(name):
    html = (HTML / name).read_text()
    own = {
        HTML / Path(name).parent / u
        for u in re.findall(r'(?:src|href)="([^"#?:]+)', html)
        if not any(s in u for s in SHARED)
    }
    weight = len(html.encode()) + sum(
        p.stat().st_size for p in own if p.is_file() and p.suffix not in (".html", ".ipynb", ".zip")
    )
    assert weight <= 3 * MEBIBYTE


@pytest.mark.parametrize("name", [name for name in PAGES if "status" not in name])
def test_no_page_waits_for_a_result(name):
    """The page on the status of the build lists what is missing; chapters leave it out."""
    html = re.sub(r"<code.*?</code>", "", (HTML / name).read_text(), flags=re.S)
    assert not re.search(r"\bnot run\b", html)
    assert not (name.startswith("notebooks/") and re.search(r"\bno data\b", html))


@pytest.mark.parametrize("name", PAGES)
def test_no_page_loads_from_another_host(name):
    loaded = re.findall(r'<(?:script|img|iframe|link)[^>]+(?:src|href)="(https?:[^"]+)', (HTML / name).read_text())
    assert not loaded

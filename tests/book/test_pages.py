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

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
PAGES = sorted(
    p.relative_to(HTML).as_posix() for folder in ("book", "notebooks") for p in HTML.glob(f"{folder}/*.html")
)
EXECUTED = sorted(p.stem for p in (ROOT / "_build" / "executed" / "quick").glob("*.ipynb"))
CHAPTERS = [name for name in EXECUTED if "01" <= name < "90"]  # the first page has no plots, 90 and 91 have tables
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SHARED = ("_static/", "_sphinx_design_static/")
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
    contexts, trouble = [], []

    def open_page(name, **settings):
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda r: None if r.url.startswith((origin, "data:", "blob:")) else trouble.append(r.url))
        page.on("requestfailed", lambda r: None if _leads_on(r) else trouble.append(f"failed: {r.url}"))
        page.on("response", lambda r: trouble.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        page.on("console", lambda m: trouble.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: trouble.append(str(e)))
        page.goto(f"{origin}/{name}", wait_until="load")
        page.wait_for_function(
            "[...document.querySelectorAll('.fewbits-plot')].every(p => p.querySelector('.main-svg'))"
        )
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not trouble


both = pytest.mark.parametrize("origin", ["http", "file"], indirect=True)
from_file = pytest.mark.parametrize("origin", ["file"], indirect=True)


def chapter_html(chapter):
    notebook = nbformat.read(ROOT / "_build" / "executed" / "quick" / f"{chapter}.ipynb", 4)
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return "".join(o.get("data", {}).get("text/html", "") for o in outputs)


def _leads_on(request):
    """Return whether a page that has moved was left before it was there as a whole; `goto` tells real failures."""
    return request.is_navigation_request() and request.failure == "net::ERR_ABORTED"


@both
@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_and_shows_what_it_should(visit, name):
    page = visit(name)
    assert page.locator("article h1").count() == 1
    for image in page.locator("img:not(.logo__image)").all():  # the logo has its words beside it
        assert image.get_attribute("alt"), image.get_attribute("src")
    assert "WARNING" not in page.inner_text("article")


@both
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_figure_is_drawn_with_caption_alternative_and_table(visit, chapter):
    page = visit(f"notebooks/{chapter}.html")
    figures = page.locator(".fewbits-figure").all()
    assert len(figures) == len(re.findall(r'<figure class="fewbits-figure', chapter_html(chapter))) > 0
    for figure in figures:
        drawing = figure.locator(".main-svg").first.bounding_box()
        assert drawing["width"] > 250 and drawing["height"] > 200
        marks = figure.locator(".scatterlayer path, .barlayer path, .heatmaplayer image, .imagelayer image").all()
        boxes = [m.bounding_box() or {"width": 0, "height": 0} for m in marks]
        assert any(max(box["width"], box["height"]) > 10 for box in boxes), "no visible mark"
        assert figure.locator("figcaption").inner_text().startswith("Figure ")
        assert len(figure.locator(".fewbits-plot").get_attribute("aria-label")) > 20
        assert figure.locator("details tbody tr").count() > 1


def seen(explorer):
    """What a reader sees of an explorer: the readings, and the shape of every mark."""
    marks = explorer.locator(".scatterlayer path, .barlayer path, .shapelayer path").evaluate_all(
        "paths => paths.map(p => p.getAttribute('d')).join()"
    )
    return explorer.locator(".fewbits-readings").inner_text(), marks


# A slider goes down to its least value, a menu down to its last.
CAN_GO_DOWN = "c => c.type === 'range' ? Number(c.value) > Number(c.min) : c.selectedIndex < c.options.length - 1"
FARTHER_END = "c => c.value - c.min > c.max - c.value ? 0.1 : 0.9"
STEPS = 3  # neighbours may look the same: two levels of one accuracy, a stage that a short schedule does not have


@both
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_slider_moves_the_drawing_by_keyboard(visit, chapter):
    page = visit(f"notebooks/{chapter}.html")
    explorers = page.locator(".fewbits-explorer").all()
    assert len(explorers) == chapter_html(chapter).count("fewbits-explorer")
    for explorer in explorers:
        for control in explorer.locator("form input, form select").all():
            views = [seen(explorer)]
            control.focus()
            key = "ArrowDown" if control.evaluate(CAN_GO_DOWN) else "ArrowUp"
            while len(views) <= STEPS and views[-1] == views[0]:
                page.keyboard.press(key)
                page.wait_for_timeout(150)
                views.append(seen(explorer))
            assert views[0] != views[-1], control.get_attribute("name")


@from_file
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_sliders_answer_to_the_mouse(visit, chapter):
    page = visit(f"notebooks/{chapter}.html")
    for explorer in page.locator(".fewbits-explorer:has(input[type=range])").all():  # others have menus, tested above
        slider = explorer.locator("input[type=range]").first
        before = seen(explorer)
        box = slider.bounding_box()
        slider.click(position={"x": box["width"] * slider.evaluate(FARTHER_END), "y": box["height"] / 2})
        page.wait_for_timeout(150)
        assert seen(explorer) != before


@from_file
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_phone_shows_the_chapter_and_its_sliders_answer_to_a_finger(visit, chapter):
    page = visit(f"notebooks/{chapter}.html", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for plot in page.locator(".fewbits-plot").all():
        room, drawing = plot.bounding_box(), plot.locator(".main-svg").first.bounding_box()
        assert drawing["height"] <= room["height"] + 1  # or it would lie upon what follows
    for explorer in page.locator(".fewbits-explorer:has(input[type=range])").all():  # others have menus, tested above
        slider = explorer.locator("input[type=range]").first
        before = seen(explorer)
        box = slider.bounding_box()
        assert box["height"] >= 44
        slider.tap(position={"x": box["width"] * slider.evaluate(FARTHER_END), "y": box["height"] / 2})
        page.wait_for_timeout(150)
        assert seen(explorer) != before


@from_file
@pytest.mark.parametrize("chapter", CHAPTERS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_can_be_read_in_light_and_dark(visit, chapter, scheme):
    page = visit(f"notebooks/{chapter}.html", color_scheme=scheme)
    for figure in page.locator(".fewbits-figure").all():
        ground = figure.evaluate(BACKGROUND)
        for text in figure.locator(".xtick text, .legendtext").all():
            assert contrast(text.evaluate("t => getComputedStyle(t).fill"), ground) > 4.5
        assert contrast(figure.locator("figcaption").evaluate("c => getComputedStyle(c).color"), ground) > 4.5


BACKGROUND = """element => {
    for (let e = element; e; e = e.parentElement) {
        const colour = getComputedStyle(e).backgroundColor;
        if (!/, 0\\)$/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
}"""


def contrast(ink, paper):
    """The WCAG contrast ratio of two CSS colours."""

    def luminance(colour):
        channels = [int(c) / 255 for c in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(ink), luminance(paper)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_light_beside_the_shared_scripts(name):
    html = (HTML / name).read_text()
    own = {
        HTML / Path(name).parent / u
        for u in re.findall(r'(?:src|href)="([^"#?:]+)', html)
        if not any(s in u for s in SHARED)
    }
    weight = len(html.encode()) + sum(
        p.stat().st_size for p in own if p.is_file() and p.suffix not in (".html", ".ipynb")
    )
    assert weight <= 3 * 2**20


@pytest.mark.parametrize("name", PAGES)
def test_no_page_loads_from_another_host(name):
    loaded = re.findall(r'<(?:script|img|iframe|link)[^>]+(?:src|href)="(https?:[^"]+)', (HTML / name).read_text())
    assert not loaded

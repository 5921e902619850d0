import pytest


@pytest.fixture
def page(chromium, steps, tmp_path):
    """The figure `steps` of a test file in a narrow page, which must raise no error."""
    file = tmp_path / "steps.html"
    file.write_text(f"<!doctype html><html data-theme='light'><meta charset='utf-8'><body>{steps.html()}")
    page = chromium.new_page(viewport={"width": 390, "height": 800})
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(file.as_uri())
    yield page
    assert not page.errors
    page.close()

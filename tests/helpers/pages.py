"""Pages in a browser whose console is listened to."""

from contextlib import contextmanager


@contextmanager
def silent_pages(browser, kinds=None):
    """Give a function that opens pages, and a list of what is wrong with them, which must be empty at the end.

    Args:
        browser: Of Playwright.
        kinds: The kinds of console messages that may not be there; None for all.
    """
    contexts, trouble = [], []

    def new_page(**options):
        """Return an empty page in a context of its own, with these options."""
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda m: trouble.append(m.text) if kinds is None or m.type in kinds else None)
        page.on("pageerror", lambda e: trouble.append(str(e)))
        return page

    yield new_page, trouble
    for context in contexts:
        context.close()
    assert not trouble

"""The bibliography: what is cited is in it, and its addresses have the form of addresses."""

import re
from pathlib import Path

from pybtex.database import parse_file

ROOT = Path(__file__).parents[2]
ENTRIES = parse_file(ROOT / "book" / "references.bib").entries
UNLINKED = {"vieito2017", "chiang2017", "chernis", "conti2015", "krizhevsky2012", "kurakin2018"}  # no known address


def test_every_citation_is_in_the_bibliography():
    pages = [*ROOT.glob("notebooks/*.py"), *ROOT.glob("book/*.md")]
    cited = {key.strip() for page in pages for keys in re.findall(r"\{cite:\w+\}`([^`]+)`", page.read_text())
             for key in keys.split(",")}  # fmt: skip
    assert len(cited) > 20 and cited <= set(ENTRIES)


def test_every_entry_has_an_address_but_those_that_have_none():
    fields = {"doi", "eprint", "url"}
    assert {key for key, entry in ENTRIES.items() if not fields & set(entry.fields)} == UNLINKED


def test_addresses_have_the_form_of_addresses():
    forms = {"doi": r"10\.\d{4,5}/\S+", "eprint": r"\d{4}\.\d{4,5}", "url": r"https?://[\w.-]+(/\S*)?"}
    for key, entry in ENTRIES.items():
        for field, form in forms.items():
            assert re.fullmatch(form, entry.fields.get(field, "")) or field not in entry.fields, (key, field)

"""Multiple-choice questions in a chapter, whose answers may come from its run.

A question is HTML that works alone: choices, and the explanations of all of them folded below. Its script holds the
explanations back until the reader has answered, and keeps the score, in the book as in JupyterLab.
"""

import hashlib
import random
from html import escape
from importlib.resources import files
from typing import NamedTuple

from fewbits.errors import InputError


class Choice(NamedTuple):
    """One possible answer.

    Attributes:
        text: The answer as the reader sees it.
        why: Why it is right or wrong, in a sentence or two.
    """

    text: str
    why: str


def ask(question: str, right: tuple[str, str], *wrong: tuple[str, str]) -> None:
    """Display a question with one right answer.

    Args:
        question: What is asked; plain text.
        right: The right answer, and why it is right.
        *wrong: The other answers, each with why it is wrong.

    Raises:
        InputError: when there is no wrong answer, two answers look the same, or a text is empty.

    Example:
        >>> ask("How many codes have 3 bits?", (f"{2**3}", "Each bit doubles them."), ("6", "Bits do not add codes."))
        <IPython.core.display.HTML object>
    """
    from IPython.display import HTML, display

    display(HTML(question_html(question, right, *wrong)))


def question_html(question: str, right: tuple[str, str], *wrong: tuple[str, str]) -> str:
    """Return a question as HTML, with its choices in an order that depends on `question` alone.

    Args:
        question: What is asked; plain text.
        right: The right answer, and why it is right.
        *wrong: The other answers, each with why it is wrong.

    Raises:
        InputError: when there is no wrong answer, two answers look the same, or a text is empty.
    """
    first, *others = (Choice(*each) for each in (right, *wrong))
    choices = [first, *others]
    _check(question, choices)
    random.Random(question).shuffle(choices)
    name = _name(question, choices)
    inputs = "".join(
        f'<label><input type="radio" name="{name}" value="{at}"> <span>{escape(choice.text)}</span></label>'
        for at, choice in enumerate(choices)
    )
    answers = "".join(
        f"<li{' data-right' if choice is first else ''}><b>{escape(choice.text)}</b> "
        f"<em>{'Right.' if choice is first else 'Wrong.'}</em> {escape(choice.why)}</li>"
        for choice in choices
    )
    page = files("fewbits.book")
    return (  # JupyterLab would take the keys for its own
        f'<div class="fewbits-question" id="{name}" data-lm-suppress-shortcuts="true">'
        f"<style>{(page / 'questions.css').read_text(encoding='utf-8')}</style>"
        f"<fieldset><legend>{escape(question)}</legend>{inputs}</fieldset>"
        f"<details><summary>Answer</summary><ul>{answers}</ul></details>"
        f"<script>{(page / 'questions.js').read_text(encoding='utf-8')}</script></div>"
    )


def _check(question: str, choices: list[Choice]) -> None:
    if len(choices) < 2:
        raise InputError(f"the question {question!r} has no wrong answer; give at least one")
    if not all(text.strip() for text in (question, *(part for choice in choices for part in choice))):
        raise InputError(f"the question {question!r} has an empty text; write the question, each answer, and why")
    texts = [" ".join(choice.text.split()) for choice in choices]
    twice = next((text for text in texts if texts.count(text) > 1), None)
    if twice is not None:
        raise InputError(
            f"the question {question!r} has the answer {twice!r} twice; compute answers that differ in every run"
        )


def _name(question: str, choices: list[Choice]) -> str:
    """Return an identifier that changes with the texts, so that a stored answer is never that to another question."""
    texts = repr((question, [choice.text for choice in choices]))
    return f"question-{hashlib.sha256(texts.encode()).hexdigest()[:12]}"

"""Builds the book: pairs and executes its notebooks, compares their results with baselines, renders its pages."""

from fewbits.book.results import quote, record

__all__ = ["quote", "record"]

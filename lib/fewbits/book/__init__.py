"""Builds the book: pairs and executes its notebooks, compares their results with baselines, renders its pages."""

from fewbits.book.results import record

__all__ = ["record"]

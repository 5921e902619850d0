"""Figures a reader turns: sliders for bits, MSB and rounding, and what they change.

An Explorer is a few controls and a function from their values to a view. In JupyterLab the function runs at each
move (ipywidgets and Plotly's FigureWidget). In the book it has run for every combination beforehand, and the book's
script looks the view up; or the page computes it itself, with networks as integers. The numbers are the library's in
each.
"""

import lazy_loader

from fewbits.errors import needs_extra

with needs_extra("book", "Figures"):
    import plotly  # noqa: F401  all modules here need it

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

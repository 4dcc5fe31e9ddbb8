"""Figures of runs for papers: several runs in one, as PDF, SVG, PNG or PGF.

`series` has the numbers, which need no matplotlib; `drawing` draws them; `look` sets the style.
"""

from iqattack.reporting.figures.figure import KINDS, Request, plot

__all__ = ["KINDS", "Request", "plot"]

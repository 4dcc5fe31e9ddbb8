"""Portfolio search (ours): many brushes and channels, each used according to its gain here.

A change that moves one NR-IQA model may not move another: some use only luma and others also
colour, some pool by the mean and others by the maximum, and a black box does not reveal which. This
is filter search with stages that find out.

1. *Bank*, as in `filter_search.py`.
2. *Colours*: checkerboards of opponent colours, since networks that use colour respond to them.
3. *Filter*, as in `filter_search.py`, added to the best direction so far.
4. *Channels*: the brush of the best candidate in one channel only, or with one channel negated.
5. *Portfolio*: squares, from coarse to fine, are repainted. Brushes are the best filters and the
   whole bank; each paints all channels, one, or all with one negated. Brush and channels are drawn
   by their recent gains per query, so that colour costs few queries on a model that ignores it, and
   gets most of them on one that responds.
"""

from __future__ import annotations

import torch

from iqattack.attacks.contract import Search, Task
from iqattack.attacks.options import Count, CountFromOne, Fraction, ModelOption, ProfileFile
from iqattack.attacks.shared.painting.canvas import Brush, Canvas
from iqattack.attacks.shared.painting.filters import (
    FILTERS,
    PATIENCE,
    SHARE,
    SIDE,
    Side,
    searched_filters,
)
from iqattack.attacks.shared.painting.first import Stage, first_brushes
from iqattack.attacks.shared.painting.portfolio import portfolio
from iqattack.attacks.shared.painting.regions import PALETTE
from iqattack.attacks.shared.painting.way_back import way_back
from iqattack.directions import coloured_checkerboards


def portfolio_search(
    task: Task,
    filters: Count = FILTERS,
    share: Fraction = SHARE,
    patience: CountFromOne = PATIENCE,
    side: Side = SIDE,
    palette: CountFromOne = PALETTE,
    profile: ProfileFile | None = None,
    substitute: ModelOption | None = None,
) -> Search:
    """Bank, colours, filter, channels, portfolio.

    filters: maximum number of queries for the filter; share: maximum share of the budget for it;
        patience: consecutive queries without a gain after which it ends; side: of the filter in
        pixels, odd; palette: number of best filters in the portfolio; profile: file of `iqattack
        profile`, whose strokes and students replace the bank; substitute: spec of a model whose
        gradients give two more directions.
    """
    if torch.equal(task.lower8, task.upper8):
        return
    canvas = Canvas(task)
    task.stage("bank" if profile is None else "profile")
    directions = yield from first_brushes(canvas, profile, substitute, keep=None)
    if profile is None:
        task.stage("colours")
        directions = yield from _with_colours(canvas, directions)
    task.stage("filter")
    budget = min(filters, int(share * task.queries))
    found = yield from searched_filters(canvas, directions[0], budget, patience, side)
    yield from portfolio(canvas, found, directions, palette)
    yield from way_back(canvas)


def _with_colours(canvas: Canvas, directions: list[Brush]) -> Stage:
    """Coloured directions come first if they gain more. Otherwise the portfolio still covers them:
    as grey directions of the bank with negated channels.
    """
    for direction in coloured_checkerboards(canvas.image):
        if canvas.done:
            break
        brush, before = Brush(*direction), canvas.gain
        if (yield from canvas.ask(canvas.painted(brush))) > before:
            directions = [brush, *directions]
    return directions

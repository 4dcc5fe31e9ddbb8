"""Filter search (ours): the image's own detail, filtered so that the model misreads it.

A perturbation that moves an NR-IQA score is no set of independent pixels. Such models pool
responses of filters over the picture, so what moves them is a texture that sits everywhere in the
right place: on edges with one sign, beside them with the other. One small filter over the image's
own high frequencies describes it completely, and 25 numbers can be searched by asking for scores
where 150,528 cannot.

1. *Bank*: fixed directions, one query each (`directions/bank.py`): noise, stripes, blur, JPEG; or
   the strokes of a profile, which other images taught. The best of them is tried with one channel
   after the other turned to its contrary, as some models look at colours.
2. *Filter*: to the best of them, a filter of the image's high frequencies is added; CMA-ES searches
   the filter and the weight of the two, for as long as that helps. The sign of the sum is laid on
   the ends of the box.
3. *Regions*: squares, from coarse to fine, are repainted with the best filters and directions of
   the first stages, as different places of an image need different ones; what worked is drawn
   more often.

Where the objective has a score boundary, yes or no is all that counts, so a model that says no more
can be attacked too. Once it is crossed, the picture is brought back towards the image: as a whole
by halving, then square by square, as far as it still crosses.
"""

from __future__ import annotations

import torch

from iqattack.attacks.contract import Search, Task
from iqattack.attacks.options import Count, CountFromOne, Fraction, ModelOption, ProfileFile
from iqattack.attacks.shared.painting.canvas import Canvas
from iqattack.attacks.shared.painting.filters import (
    FILTERS,
    PATIENCE,
    SHARE,
    SIDE,
    Side,
    searched_filters,
)
from iqattack.attacks.shared.painting.first import first_brushes
from iqattack.attacks.shared.painting.regions import PALETTE, painted_regions
from iqattack.attacks.shared.painting.way_back import way_back


def filter_search(
    task: Task,
    filters: Count = FILTERS,
    share: Fraction = SHARE,
    patience: CountFromOne = PATIENCE,
    side: Side = SIDE,
    palette: CountFromOne = PALETTE,
    channels: bool = True,
    regions: bool = True,
    profile: ProfileFile | None = None,
    substitute: ModelOption | None = None,
) -> Search:
    """Bank, filter, regions.

    filters: maximum number of queries for the filter; share: maximum share of the budget for it;
        patience: consecutive queries without a gain after which it ends; side: of the filter in
        pixels, odd; palette: number of best filters with which regions are painted; channels:
        whether to try negating channels of the best direction; regions: whether to paint regions;
        profile: file of `iqattack profile`, whose strokes and students replace the bank;
        substitute: spec of a model whose gradients give two more directions.
    """
    if torch.equal(task.lower8, task.upper8):
        return
    canvas = Canvas(task)
    task.stage("bank" if profile is None else "profile")
    brushes = yield from first_brushes(canvas, profile, substitute, channels)
    budget = min(filters, int(share * task.queries))
    task.stage("filter")
    found = yield from searched_filters(canvas, brushes[0], budget, patience, side)
    if regions:
        task.stage("regions")
        yield from painted_regions(canvas, [*found[:palette], *brushes])
    yield from way_back(canvas)

"""Filter search (ours): high frequencies of the image itself, filtered to mislead the model.

An effective perturbation of an NR-IQA score is not a set of independent pixels. Such models pool
filter responses over the image, so a texture that is aligned with its content everywhere moves
them: one sign on edges, the other beside them. A single small filter of the image's own high
frequencies describes such a texture, and its 25 coefficients can be searched with scores alone,
which is hopeless for 150,528 values.

1. *Bank*: fixed directions, one query each (`directions/bank.py`): noise, stripes, blur, JPEG; or
   the strokes of a profile, learnt from other images. The best of them is tried with one channel
   negated at a time, since some models depend on colour.
2. *Filter*: a filter of the image's high frequencies is added to the best direction; CMA-ES
   searches its coefficients and the weight of the direction, as long as that gains. The sign of the
   sum is projected onto the faces of the box.
3. *Regions*: squares, from coarse to fine, are repainted with the best filters and directions of
   the first stages, since different regions need different ones; those that gained are drawn more
   often.

With an objective that has a score boundary, only crossing it counts, so a model that answers just
yes or no can be attacked too. Once the boundary is crossed, the candidate is moved back towards the
clean image, as a whole by binary search and then square by square, as far as it still crosses.
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

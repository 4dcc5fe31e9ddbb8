"""The second stage: a filter of the image's own detail, added to the best direction."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Protocol

import numpy as np
import torch
from pydantic import AfterValidator, Field

from iqattack.attacks.shared.painting.canvas import Brush, Canvas, Coefficients
from iqattack.attacks.shared.painting.first import Stage
from iqattack.directions import MOST_SIDE

SIDE = 5  # of the filter, pixels
WEIGHT = 3.0  # initial weight of the bank's direction, in steps of CMA-ES
KNOWN = 10.0  # norm of a profile's theta, in steps of CMA-ES: larger searches closer to it
FILTERS = 500  # maximum number of queries for the filter
SHARE = 0.5  # maximum share of the budget for it
PATIENCE = 100  # consecutive queries without a gain after which the stage ends


def _odd(side: int) -> int:
    if side % 2 == 0:
        raise ValueError("expected an odd number")
    return side


Side = Annotated[int, Field(ge=1, le=MOST_SIDE), AfterValidator(_odd)]


def searched_filters(
    canvas: Canvas, first: Brush, budget: int, patience: int = PATIENCE, side: int = SIDE
) -> Stage:
    """Filters added to the direction of the first brush by CMA-ES (Hansen), the best first."""
    from cmaes import CMA  # noqa: PLC0415 - imports scipy.stats, which takes a second

    start = np.append(np.zeros(side**2), WEIGHT)
    if first.theta is not None:
        start = KNOWN * first.theta / np.linalg.norm(first.theta)
    seed = int(torch.randint(2**31, (), generator=canvas.task.rng))
    search = CMA(mean=start, sigma=1.0, seed=seed)
    return (yield from searched(canvas, first, search, budget, patience))


class Optimiser(Protocol):
    """An ask-and-tell minimiser: proposes a generation point by point, then receives its values."""

    @property
    def population_size(self) -> int: ...  # noqa: D102
    def ask(self) -> Coefficients: ...  # noqa: D102
    def tell(self, solutions: list[tuple[Coefficients, float]]) -> None: ...  # noqa: D102


def searched(
    canvas: Canvas, first: Brush, search: Optimiser, budget: int, patience: int = PATIENCE
) -> Stage:
    """The first brush with each theta that an optimiser tried, the best first."""
    tried: list[tuple[float, Coefficients]] = []
    success, first_left = 0, canvas.left
    while not canvas.done and first_left - canvas.left < budget and len(tried) < success + patience:
        theta, before = search.ask(), canvas.gain
        gain = yield from canvas.ask(canvas.painted(replace(first, theta=theta)))
        tried.append((gain, theta))
        if gain > before:
            success = len(tried)
        if len(tried) % search.population_size == 0:
            generation = tried[-search.population_size :]
            search.tell([(point, -value) for value, point in generation])
    tried.sort(key=lambda pair: -pair[0])
    return [replace(first, theta=theta) for _, theta in tried]

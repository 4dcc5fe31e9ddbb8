"""The attack of Ran et al. (Expert Systems with Applications 2025): Square with more squares.

Made for NR-IQA. Its bi-directional loss, scores above the middle of the range down and the others
up, is a matter of the objective here; its random search is that of Square Attack (ECCV 2020) with
several squares a step.
"""

from __future__ import annotations

from itertools import count
from typing import Annotated

import torch
from pydantic import Field

from iqattack.attacks.contract import Search, Task
from iqattack.attacks.options import Fraction
from iqattack.attacks.square import repaint, side, stripes

# Published for DBCNN, UNIQUE and TReS; for LIQE 8 squares and 0.09.
SQUARES = 2
P_INIT = 0.04


def ran(
    task: Task, squares: Annotated[int, Field(ge=1)] = SQUARES, p_init: Fraction = P_INIT
) -> Search:
    """Random search from vertical stripes, `squares` squares a step.

    squares: how many a step; p_init: share of pixels of each of the first ones.
    """
    if torch.equal(task.lower, task.upper):
        return
    lower, upper = task.lower.byte(), task.upper.byte()
    x_hat = stripes(lower, upper, task.rng)
    best = float((yield x_hat[None]).gain[0])
    for i in count(1):
        if best >= task.reach:
            return
        new = x_hat
        for _ in range(squares):
            new = repaint(new, lower, upper, side(task, i, p_init), task.rng)
        gain = float((yield new[None]).gain[0])
        if gain > best:
            x_hat, best = new, gain

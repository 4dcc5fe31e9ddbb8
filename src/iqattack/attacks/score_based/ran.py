"""The attack of Ran et al. (Expert Systems with Applications 2025): Square with more squares.

Designed for NR-IQA. Its bi-directional loss, scores above the middle of the range down and the
others up, is the objective `farther` here; its random search is that of Square Attack (ECCV 2020)
with several squares per step.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from iqattack.attacks.contract import Search, Task
from iqattack.attacks.options import Fraction
from iqattack.attacks.score_based.square import random_search, repaint, side, stripes

# Published for DBCNN, UNIQUE and TReS; for LIQE 8 squares and 0.09.
SQUARES = 2
P_INIT = 0.04


def ran(
    task: Task,
    squares: Annotated[int, Field(ge=1)] = SQUARES,
    p_init: Fraction = P_INIT,
    grey: bool = False,
) -> Search:
    """Random search from vertical stripes, `squares` squares per step.

    squares: number per step; p_init: initial share of pixels of each square; grey: whether the
        channels of a stripe or square share one sign (ours) rather than one each.
    """
    if torch.equal(task.lower8, task.upper8):
        return

    def sampled(x_hat: Tensor, i: int) -> Tensor:
        for _ in range(squares):
            x_hat = repaint(task, x_hat, side(task, i, p_init), grey)
        return x_hat

    yield from random_search(task, stripes(task, grey), sampled)

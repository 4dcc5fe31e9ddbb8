"""Parsimonious attack (Moon, An & Song, ICML 2019): which blocks lie on the upper end of the box.

The set function F(S) is a classifier's loss in the paper and the gain here, with the blocks in S at
the upper end of the box and the others at the lower end.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from heapq import heapify, heappop, heapreplace
from typing import Annotated

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from iqattack.attacks.contract import Answer, Search, Task

K = 32  # side of the first blocks (sec. 4.1)
BATCH = 64  # blocks that are searched together


def _power_of_two(side: int) -> int:
    if side.bit_count() != 1:
        raise ValueError("expected a power of two, so that blocks nest")
    return side


Side = Annotated[int, Field(ge=1), AfterValidator(_power_of_two)]
Batch = Annotated[int, Field(ge=1)]
Block = tuple[int, slice, slice]
State = tuple[Tensor, float]


def parsimonious(task: Task, k: Side = K, batch: Batch = BATCH) -> Search:
    """Algorithm 2: local search over blocks whose side is halved, down to single values.

    k: side of the first blocks in pixels, of one channel each, a power of two;
        batch: blocks searched together.
    """
    x_hat = task.lower8  # S is empty
    flip = task.upper8 ^ x_hat  # takes a value from one end of the box to the other
    if not flip.any():
        return
    best = float((yield x_hat[None]).gain[0])
    while True:
        before = best
        for group in batches(task, k, batch):
            blocks = [block for block in group if flip[block].any()]
            # Algorithm 1: what to insert into S, then what to delete from it.
            for upper in (False, True):
                inside = [b for b in blocks if bool((x_hat[b] != task.lower8[b]).any()) == upper]
                x_hat, best = yield from greedy((x_hat, best), flip, inside)
                if best >= task.reach:
                    return
        if k == 1 and best == before:
            return
        k = max(k // 2, 1)


def batches(task: Task, k: int, batch: int) -> Iterator[list[Block]]:
    """All blocks of side k in random order, `batch` at a time."""
    _, height, width = task.image.shape
    across = -(-width // k)
    each = -(-height // k) * across
    order = torch.randperm(3 * each, generator=task.rng).int()
    for first in range(0, len(order), batch):
        yield [
            (index // each, slice(r, r + k), slice(s, s + k))
            for index in order[first : first + batch].tolist()
            for r, s in [(index % each // across * k, index % across * k)]
        ]


def greedy(state: State, flip: Tensor, blocks: list[Block]) -> Generator[Tensor, Answer, State]:
    """Lazy greedy search (sec. 3.3): flip blocks one by one, the one that gains most first.

    Gains do not grow as more blocks are flipped where F is submodular, so an old one is an upper
    bound: a block whose gain was asked anew and is still the largest is the best of all.
    """
    x_hat, best = state

    def flipped(block: Block) -> Tensor:
        new = x_hat.clone()
        new[block] ^= flip[block]
        return new

    heap = []  # −gain, the block's number, the state in which it was asked
    for number, block in enumerate(blocks):
        gain = float((yield flipped(block)[None]).gain[0])
        heap.append((best - gain, number, 0))
    heapify(heap)
    accepted = 0
    while heap and heap[0][0] < 0.0:
        bound, number, asked = heap[0]
        if asked < accepted:
            gain = float((yield flipped(blocks[number])[None]).gain[0])
            heapreplace(heap, (best - gain, number, accepted))
        else:
            heappop(heap)
            x_hat, best, accepted = flipped(blocks[number]), best - bound, accepted + 1
    return x_hat, best

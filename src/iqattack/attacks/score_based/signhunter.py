"""SignHunter (Al-Dujaili & O'Reilly, ICLR 2020): flips signs in halves, quarters and so on.

The gain replaces the loss of a classifier. A sign puts a value on the upper or the lower end of the
box. Values are in the order of the authors' images, (H, W, 3), so that a block of
signs is a band of rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from iqattack.attacks.contract import Search, Task


def signhunter(task: Task) -> Search:
    """Algorithm 2, again and again until a whole pass flips nothing.

    After 2^(⌈log2 n⌉ + 1) queries all n signs are right where they do not depend on each other
    (theorem 2).
    """
    x_hat = task.upper8.contiguous()  # all signs +1
    # Takes a value from one end of the box to the other.
    flip = task.lower8.contiguous() ^ x_hat
    order = torch.arange(flip.numel(), dtype=torch.int32).view(flip.shape).permute(1, 2, 0)
    signs = order[flip.permute(1, 2, 0) != 0]  # where the box has no width there is none
    if not len(signs):
        return
    best = float((yield x_hat[None]).gain[0])
    flipped = True
    while flipped:
        flipped = False
        for first, last in blocks(len(signs)):
            new, block = x_hat.clone(), signs[first:last].long()
            new.view(-1)[block] ^= flip.view(-1)[block]
            gain = float((yield new[None]).gain[0])
            if gain > best:
                x_hat, best, flipped = new, gain, True
            if best >= task.reach:
                return


def blocks(n: int) -> Iterator[tuple[int, int]]:
    """Where the blocks of n signs begin and end: all, halves, quarters, ..., one by one."""
    for h in range((n - 1).bit_length() + 1):  # 0 to ⌈log2 n⌉
        for i in range(2**h):
            first, last = i * n >> h, (i + 1) * n >> h
            if first < last:
                yield first, last

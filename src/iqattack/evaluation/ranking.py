"""What an attack did to a ranking: how many of the first k places, and how much of their order, it
leaves.

Positions are qualities (N,), higher is better. Among equal qualities, the earlier image in the
array ranks first. Functions raise InputError for arrays of different lengths and for k outside
1..N.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iqattack.errors import InputError


def _order(positions: ArrayLike) -> NDArray[np.int64]:
    return np.argsort(-np.asarray(positions, dtype=np.float64), kind="stable")


def _check(before: ArrayLike, after: ArrayLike, k: int) -> None:
    x, y = np.shape(before), np.shape(after)
    if x != y or len(x) != 1 or not 1 <= k <= x[0]:
        raise InputError(f"positions of shape {x} and {y}, first {k}: expected as many, and k ≤ N")


def top_overlap(before: ArrayLike, after: ArrayLike, k: int) -> float:
    """The share of the first k images that are still among the first k after the attack, 0..1.

    >>> from iqattack.evaluation import top_overlap
    >>> top_overlap([0.9, 0.8, 0.3, 0.2], [0.1, 0.8, 0.7, 0.2], k=2)
    0.5
    """
    _check(before, after, k)
    return len(set(_order(before)[:k].tolist()) & set(_order(after)[:k].tolist())) / k


def ndcg(before: ArrayLike, after: ArrayLike, k: int) -> float:
    """NDCG@k of the ranking by `after`, with the qualities `before` as relevance, 0..1.

    Relevance is `before` less its minimum, gain is linear, and the discount is 1 / log₂(1 + place)
    (Järvelin & Kekäläinen, ACM TOIS 2002). NaN if all qualities before are equal.

    >>> from iqattack.evaluation import ndcg
    >>> ndcg([1.0, 0.5, 0.0], [1.0, 0.5, 0.0], k=2), ndcg([1.0, 0.5, 0.0], [0.0, 0.5, 1.0], k=1)
    (1.0, 0.0)
    """
    _check(before, after, k)
    relevance = np.asarray(before, dtype=np.float64)
    relevance = relevance - relevance.min()
    discounts = 1.0 / np.log2(np.arange(k) + 2.0)
    best = float(relevance[_order(before)[:k]] @ discounts)
    return float(relevance[_order(after)[:k]] @ discounts) / best if best > 0.0 else float("nan")

"""The first places: overlap and NDCG."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqattack.errors import InputError
from iqattack.evaluation import ndcg, top_overlap

QUALITIES = [0.9, 0.7, 0.4, 0.1]


def test_an_unchanged_ranking_keeps_everything():
    for k in range(1, 5):
        assert top_overlap(QUALITIES, QUALITIES, k) == 1.0
        assert ndcg(QUALITIES, QUALITIES, k) == 1.0


def test_closed_forms():
    turned = QUALITIES[::-1]
    assert [top_overlap(QUALITIES, turned, k) for k in (1, 2, 3, 4)] == [0.0, 0.0, 2 / 3, 1.0]
    # Relevances from 0 to 1: 1, 0.75, 0.375, 0; discounts 1, 1 / log2(3), 1 / 2.
    best = 1.0 + 0.75 / math.log2(3) + 0.375 / 2
    found = 0.0 + 0.375 / math.log2(3) + 0.75 / 2
    assert ndcg(QUALITIES, turned, 3) == pytest.approx(found / best, rel=1e-12)
    assert ndcg(QUALITIES, [0.0, 1.0, 0.5, 0.2], 1) == pytest.approx(0.75)


def test_equal_qualities_have_no_relevance():
    assert math.isnan(ndcg([3.0, 3.0], [1.0, 2.0], 1))
    assert top_overlap([3.0, 3.0], [2.0, 1.0], 1) == 1.0  # the earlier goes first


@given(st.permutations(range(7)), st.permutations(range(7)), st.integers(1, 7))
def test_they_lie_between_0_and_1_and_only_order_counts_afterwards(before, after, k):
    assert 0.0 <= ndcg(before, after, k) <= 1.0
    assert 0.0 <= top_overlap(before, after, k) <= 1.0
    assert ndcg(before, after, k) == ndcg(before, np.exp(after), k)
    assert ndcg(np.multiply(before, 3.0) - 5.0, after, k) == pytest.approx(ndcg(before, after, k))


@pytest.mark.parametrize("k", [0, 3])
def test_places_that_there_are_not(k):
    with pytest.raises(InputError, match="k ≤ N"):
        ndcg([1.0, 2.0], [1.0, 2.0], k)

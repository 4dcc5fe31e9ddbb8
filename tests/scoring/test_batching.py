import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iqattack.scoring.batching import LARGEST, SIZES, TRIAL_S, WORTH, BatchSize, largest_on


def settle(seconds, device="cpu"):
    """Run full batches that take seconds[size] until a size is settled on."""
    sizes = BatchSize(largest=largest_on(device))
    for _ in range(100_000):
        if sizes.settled:
            return sizes.current
        sizes.record(sizes.current, seconds[sizes.current])
    raise AssertionError("never settles")


@pytest.mark.parametrize(
    ("cost", "best"),
    [
        (lambda n: 0.1 + 0.0001 * n, 64),  # what a call costs dominates
        (lambda n: 0.02 * n, 4),  # nothing is shared but what is outside the model
        (lambda n: 0.02 * n**1.1, 1),  # it gets slower
        (lambda n: 0.1 + 0.01 * n + 0.01 * max(0, n - 8) ** 2, 8),  # outgrows a cache
        (lambda n: 0.1 * max(1, n // 2) if n < 4 else 0.05, 64),  # one step that does not pay
    ],
)
def test_finds_the_best_size(cost, best):
    assert settle({n: cost(n) for n in SIZES}) == best


@pytest.mark.parametrize(
    ("cost", "best"),
    [
        (lambda n: 0.006 + 0.00002 * n, 256),  # never full
        (lambda n: 0.001 * max(n, 32), 32),  # full with 32
    ],
)
def test_a_gpu_may_get_larger_batches(cost, best):
    seconds = {n: cost(n) for n in SIZES}
    assert settle(seconds, "cuda:1") == best
    assert settle(seconds) <= LARGEST


def test_out_of_memory_ends_the_growth():
    sizes = BatchSize(largest=256)
    while sizes.current < 128:
        sizes.record(sizes.current, 0.1)
    sizes.too_large(128)
    assert (sizes.current, sizes.settled) == (64, True)


@given(st.lists(st.floats(0.001, 1.0), min_size=len(SIZES), max_size=len(SIZES)))
@settings(max_examples=50, deadline=None)
def test_settles_on_a_size_that_nothing_tried_beats_by_much(seconds):
    cost = dict(zip(SIZES, seconds, strict=True))
    tried = []
    sizes = BatchSize()
    while not sizes.settled:
        tried.append(sizes.current)
        sizes.record(sizes.current, cost[sizes.current])
    rates = {size: size / cost[size] for size in tried}
    assert rates[sizes.current] >= max(rates.values()) / WORTH * (1 - 1e-9)


def test_a_size_is_not_judged_by_its_first_batch_nor_by_underfull_ones():
    sizes = BatchSize()
    sizes.record(2, 100 * TRIAL_S)  # the pair, to see whether it can be
    sizes.record(1, 100 * TRIAL_S)  # warms up
    assert sizes.current == 1
    for _ in range(3):
        sizes.record(1, TRIAL_S)
    assert sizes.current == 1
    sizes.record(1, TRIAL_S)
    assert sizes.current == 2
    for _ in range(100):
        sizes.record(1, TRIAL_S)
    assert sizes.current == 2


def test_a_fixed_size_stays():
    sizes = BatchSize(5)
    for _ in range(100):
        sizes.record(5, 1.0)
        sizes.give_up_growing()
    assert (sizes.current, sizes.settled) == (5, True)


def test_without_candidates_to_fill_a_batch_the_best_so_far_stays():
    sizes = BatchSize()
    sizes.give_up_growing()
    assert not sizes.settled  # nothing is timed yet
    while sizes.current < 8:
        sizes.record(sizes.current, 0.1)
    sizes.give_up_growing()
    assert (sizes.current, sizes.settled) == (4, True)


def test_the_first_batch_is_a_pair():
    sizes = BatchSize()
    assert sizes.current == 2
    sizes.record(1, 0.1)  # there was no second image
    assert sizes.current == 2
    sizes.record(2, 0.1)
    assert sizes.current == 1  # where timing begins
    assert BatchSize(1).current == 1


def test_a_pair_that_is_refused_is_the_last():
    sizes = BatchSize()
    sizes.refused(2)
    assert (sizes.current, sizes.settled) == (1, True)


def test_a_batch_that_is_refused_again_and_again_is_too_large():
    sizes = BatchSize(8)
    sizes.refused(8)
    assert sizes.current == 8  # once may be chance
    sizes.record(8, 0.1)
    sizes.refused(8)
    assert sizes.current == 8
    sizes.refused(8)
    assert (sizes.current, sizes.settled) == (4, True)

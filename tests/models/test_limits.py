"""The rate limit and the bound on calls in flight, on a clock of their own; waiting threads."""

import heapq
import math
import threading
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iqattack.models.services.limits import LONGEST_PAUSE_S, ClosedError, Gate, Limiter


def play(gate, latencies, outcomes, calls=200):
    """As many callers as there is room for; (starts, calls in flight after each, bounds)."""
    now, ends, starts, flying, bounds = 0.0, [], [], [], []
    for number in range(calls):
        while (wait := gate.wait(now)) > 0.0:
            if math.isinf(wait) or (ends and ends[0][0] <= now + wait):
                now = max(now, ends[0][0])
                gate.end(heapq.heappop(ends)[2], now, outcomes(number))
                bounds.append(gate.bound)
            else:
                now += wait
        gate.start(now)
        starts.append(now)
        heapq.heappush(ends, (now + latencies(number, gate.running), number, now))
        flying.append(gate.running)
        assert gate.running == len(ends)
    return starts, flying, bounds


@given(
    most=st.integers(1, 12),
    rate=st.floats(0.1, 1000.0),
    latency=st.lists(st.floats(0.0, 5.0), min_size=1, max_size=20),
    outcome=st.lists(st.sampled_from(["answered", "refused", "failed"]), min_size=1, max_size=20),
)
@settings(deadline=None, max_examples=100)
def test_never_faster_than_the_rate_nor_more_at_once_than_the_bound(most, rate, latency, outcome):
    gate = Gate(most, rate)
    starts, flying, bounds = play(
        gate,
        lambda n, _: latency[n % len(latency)],
        lambda n: outcome[n % len(outcome)],
        calls=80,
    )
    assert all(b - a >= (1 - 1e-6) / rate for a, b in pairwise(starts))
    assert max(flying) <= most
    assert all(1.0 <= bound <= most for bound in bounds)


def test_a_rate_is_used_up():
    starts, _, _ = play(Gate(8, 10.0), lambda n, _: 0.05, lambda n: "answered", calls=101)
    assert starts[-1] == pytest.approx(10.0)


def test_a_service_that_answers_evenly_gets_all_calls_at_once_soon():
    _, flying, _ = play(Gate(16), lambda n, _: 0.1, lambda n: "answered", calls=64)
    assert flying[0] == 1
    assert max(flying[:32]) == 16


def test_a_service_that_does_one_at_a_time_is_not_asked_more_and_more():
    """Its latency is in proportion to the calls in flight."""
    gate = Gate(64)
    _, flying, _ = play(gate, lambda n, running: 0.5 * running, lambda n: "answered", calls=300)
    assert max(flying) <= 8


def test_a_refusal_halves_the_bound_once_a_round_and_it_recovers_by_one_a_round():
    gate = Gate(8)
    play(gate, lambda n, _: 0.1, lambda n: "answered", calls=60)
    while gate.running:
        gate.end(0.0, 10.0, "failed")
    assert gate.bound == 8.0
    for _ in range(8):
        gate.start(10.0)
    for _ in range(8):  # all of one round are refused
        gate.end(10.0, 10.1, "refused")
    assert gate.bound == 4.0
    rounds = []
    for now in range(11, 31):
        for _ in range(int(gate.bound)):
            gate.start(float(now))
        for _ in range(gate.running):
            gate.end(float(now), now + 0.1, "answered")
        rounds.append(gate.bound)
    assert all(b - a <= 1.0 for a, b in pairwise([4.0, *rounds]))
    assert rounds[-1] > 4.0


def test_refusals_leave_one_call():
    gate = Gate(8)
    for now in range(20):
        gate.start(float(now))
        gate.end(float(now), now + 0.1, "refused")
    assert gate.bound == 1.0
    assert gate.wait(100.0) == 0.0


@pytest.mark.parametrize(("asked", "paused"), [(5.0, 5.0), (1e9, LONGEST_PAUSE_S)])
def test_a_pause_that_the_service_asks_for_holds_all_calls(asked, paused):
    gate = Gate(4)
    gate.start(0.0)
    gate.end(0.0, 1.0, "refused", asked)
    assert gate.wait(1.0) == pytest.approx(paused)
    assert gate.wait(1.0 + paused) == 0.0


def test_close_wakes_what_waits():
    limiter, raised = Limiter(1), []

    def wait():
        try:
            limiter.start()
        except ClosedError as error:
            raised.append(error)

    limiter.start()
    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    limiter.close()
    for thread in threads:
        thread.join(10)
    assert len(raised) == 3
    with pytest.raises(ClosedError):
        limiter.start()


def test_hold_wakes_what_waits_just_now():
    limiter, raised = Limiter(1), []
    epoch, first = limiter.epoch, limiter.start()

    def wait():
        try:
            limiter.start(epoch)
        except ClosedError as error:
            raised.append(error)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    limiter.hold()
    for thread in threads:
        thread.join(10)
    assert len(raised) == 3
    limiter.end(first, "answered")
    limiter.end(limiter.start(), "answered")
    with pytest.raises(ClosedError):  # a further turn of a call that was made before
        limiter.start(epoch)


def test_threads_share_the_bound():
    limiter, lock = Limiter(3), threading.Lock()
    running, most = 0, 0

    def calls():
        nonlocal running, most
        for _ in range(50):
            started = limiter.start()
            with lock:
                running += 1
                most = max(most, running)
            with lock:
                running -= 1
            limiter.end(started, "answered")

    threads = [threading.Thread(target=calls) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert running == 0
    assert 1 <= most <= 3


def test_refusals_of_the_only_call_make_longer_and_longer_pauses():
    gate, now, waits = Gate(8), 0.0, []
    for _ in range(8):
        gate.start(now)
        gate.end(now, now + 0.1, "refused")
        now += 0.1
        waits.append(gate.wait(now))
        now += waits[-1]
    assert waits == pytest.approx([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0])
    gate.start(now)
    gate.end(now, now + 0.1, "answered")
    gate.start(now + 0.1)
    gate.end(now + 0.1, now + 0.2, "refused", pause=3.0)  # the service's own word goes before
    assert gate.wait(now + 0.2) == pytest.approx(3.0)

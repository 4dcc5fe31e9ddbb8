"""A model that fails at random, in every way there is: nothing paid for is lost or paid twice."""

import math
import random
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iqattack.attacks import load_attack
from iqattack.engine import Failure, Interrupted, Outcome, QueryLog, image_hash
from iqattack.errors import InputError, TransientError
from iqattack.scoring import InProcess, Retry, Threads

BUDGET = 18


def lists(task):
    """Lists of 0 to 5 candidates, with repetitions; ends well before or after the budget."""
    for _ in range(int(torch.randint(3, 20, (), generator=task.rng))):
        n = int(torch.randint(0, 6, (), generator=task.rng))
        noise = torch.randint(-3, 4, (n, *task.image.shape), generator=task.rng)
        noise[2::3] = noise[1::3][: len(noise[2::3])]
        yield task.image + noise


ATTACKS = {
    "lists": lists,
    "filter-search": load_attack("filter-search"),
    "square": load_attack("square"),
}


class Chaos:
    """Scores as the kit's model; `seed` decides what fails, None for nothing.

    answered: the hash of every image that it gave a score for; sent: how many it was given.
    """

    name, score_range, lower_better, min_size = "integers", (0.0, 100.0), False, 16

    def __init__(self, kit, seed, *, answered, largest=64, bad=0.0, rate=0.3, slow=False):
        self._model = kit.Scorer()
        self._chance = None if seed is None else random.Random(seed)
        self._lock = threading.Lock()
        self._largest, self._bad, self._rate, self._slow = largest, bad, rate, slow
        self.answered, self.sent = answered, 0

    def __call__(self, images):
        hashes = [image_hash(image) for image in images]
        found = [
            math.nan if digest % 31 == 7 else self._model.score(image)
            for digest, image in zip(hashes, images, strict=True)
        ]
        with self._lock:
            self.sent += len(images)
            fate = "" if self._chance is None else self._fate()
            fates = ["" if self._chance is None else self._fate(each=True) for _ in images]
            pause = 0.0 if self._chance is None else self._chance.uniform(0, 0.003)
        if self._slow:
            time.sleep(pause)
        if self._chance is not None:
            if len(images) > self._largest:
                raise torch.OutOfMemoryError
            if any(digest % 1009 < 1009 * self._bad for digest in hashes):
                raise ValueError("cannot take it")
            match fate:
                case "lost":
                    raise ConnectionError("lost")
                case "billed":
                    raise TransientError("busy", retry_after=0.001, billed=True)
                case "odd":
                    raise RuntimeError("by chance")
                case "shape" if len(images) > 1:
                    return torch.tensor(found).mean()
            kinds = {"lost": TimeoutError("slow"), "odd": ZeroDivisionError("by chance")}
            found = [kinds.get(f, score) for f, score in zip(fates, found, strict=True)]
        with self._lock:
            self.answered += [
                digest
                for digest, score in zip(hashes, found, strict=True)
                if not isinstance(score, Exception)
            ]
        return found

    def _fate(self, *, each=False):
        if self._chance.random() > self._rate / (6 if each else 1):
            return ""
        weights = [8, 4, 1 if each else 0.2, 0 if each else 1]
        return self._chance.choices(["lost", "billed", "odd", "shape"], weights)[0]


@pytest.fixture(scope="module", params=ATTACKS)
def undisturbed(request, kit, images):
    log = QueryLog()
    attack, answered = ATTACKS[request.param], []
    items = kit.attack_all(
        images, Chaos(kit, None, answered=answered), attack, log=log, **options()
    )
    assert any(isinstance(item, Outcome) for item in items.values())
    return Whole(attack, plain(kit, items), kit.all_rows(log))


class Whole(NamedTuple):
    attack: object
    items: dict
    rows: dict

    def __repr__(self):
        return "undisturbed"  # hypothesis prints it


def options():
    # A direction that depends on no other image, of which some may not be scored at first.
    return {"queries": BUDGET, "objective": "farther"}


def plain(kit, items):
    return {name: kit.as_plain(item) for name, item in items.items()}


def logged(log):
    """Hashes by image, those that wait for their turn included."""
    return {
        name: [int(h) for h in log.rows(name)["hash"]] + [h for h, _ in log.early(name).values()]
        for name in log.images()
    }


@given(
    seeds=st.lists(st.integers(0, 10**6), min_size=1, max_size=2),
    batch=st.integers(1, 6),
    threads=st.sampled_from([None, 1, 3]),
    largest=st.sampled_from([1, 2, 3, 64]),
    bad=st.sampled_from([0.0, 0.01, 0.05]),
    rate=st.sampled_from([0.05, 0.3, 0.7]),
    retries=st.integers(0, 2),
    stops=st.booleans(),
)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_fails_nothing_is_lost_or_asked_twice(
    kit, images, undisturbed, seeds, batch, threads, largest, bad, rate, retries, stops
):
    attack, expected, rows = undisturbed
    log, answered, finished = QueryLog(), [], {}
    attempts = 0
    retry = Retry(retries=retries, first_s=0.0)
    for number, seed in enumerate([*seeds, None]):
        scorer = Chaos(
            kit,
            seed,
            answered=answered,
            largest=largest,
            bad=bad,
            rate=rate,
            slow=threads is not None,
        )
        before = len(answered)
        stop_at = before + 40 if stops and seed is not None else math.inf
        pool = (
            InProcess(scorer, batch=batch, retry=retry)
            if threads is None
            else Threads(scorer, threads, batch=batch, retry=retry)
        )
        states, items = [], {}
        gave_up = False
        engine = kit.engine(
            scorer,
            attack,
            log=log,
            pool=pool,
            stop=lambda at=stop_at, answered=answered: len(answered) >= at,
            progress=states.append,
            **options(),
        )
        try:
            for item in engine.run(images):
                assert item.entry.name not in items
                items[item.entry.name] = item
                if isinstance(item, Outcome):
                    log.finish(item.entry.name, "{}")
        except Interrupted:
            assert stops
        except InputError as error:  # nothing at all was scored
            assert "and it scored none" in str(error)
            gave_up = True
        pool.close()

        of = logged(log)
        every = [digest for digests in of.values() for digest in digests]
        if gave_up:
            assert Counter(every) <= Counter(answered)
            answered = list(every)  # threads may still answer what was in flight then
        assert Counter(every) == Counter(answered)
        assert all(len(set(digests)) == len(digests) for digests in of.values())
        assert all(len(digests) <= BUDGET for digests in of.values())
        assert all(item.queries == len(of[name]) for name, item in items.items())
        assert all(log.queries(name) == len(digests) for name, digests in of.items())
        new = sum(log.attempts().values()) - attempts
        attempts += new
        if not gave_up:
            assert scorer.sent == len(answered) - before + new
            assert states[-1].queries == len(answered) - before
            assert states[-1].attempts == new
            assert states[-1].spent == len(answered)
        for name, found in kit.all_rows(log).items():
            assert repr(found) == repr(rows[name][: len(found)])  # NaN is among them
        outcomes = {n: item for n, item in items.items() if isinstance(item, Outcome)}
        finished |= outcomes
        failed = {n: item.reason for n, item in items.items() if isinstance(item, Failure)}
        assert gave_up or log.failures() == failed
        assert number < len(seeds) or scorer.sent == len(answered) - before
    final = finished | {name: item for name, item in items.items() if isinstance(item, Failure)}
    assert plain(kit, final) == expected
    assert repr(kit.all_rows(log)) == repr(rows)
    assert all(not log.early(name) for name in log.images())


@pytest.mark.parametrize("threads", [2, 5])
def test_replies_before_their_turn_are_on_disk_at_once(kit, images, tmp_path, threads):
    """Here the first of five is answered last, or not at all."""
    one = images.limit(1)

    def five(task):
        yield task.image + torch.arange(1.0, 6.0).view(5, 1, 1, 1)
        yield task.image + torch.arange(-5.0, 0.0).view(5, 1, 1, 1)

    first = []
    hold, seen = threading.Event(), []

    scorer_class: Any = kit.Scorer

    class Held(scorer_class):
        def __call__(self, images):
            digest = image_hash(images[0])
            seen.append(digest)
            if digest in first:
                hold.wait()
                raise ConnectionError("lost")
            return super().__call__(images)

    log = QueryLog()
    whole = kit.attack_all(one, kit.Scorer(), five, log=log, queries=11, constraint="none")
    rows = kit.all_rows(log)
    (name,) = rows
    first.append(rows[name][1][0])

    log = QueryLog(tmp_path / "log.sqlite")
    scorer = Held()
    reader_saw = []

    def progress(state):
        if state.queries == 5:  # all but the one that is held
            with QueryLog(tmp_path / "log.sqlite", read_only=True) as reader:
                reader_saw.append((reader.early(name), len(reader.rows(name))))
            hold.set()

    pool = Threads(scorer, threads, retry=Retry(retries=0))
    items = kit.attack_all(
        one, scorer, five, log=log, queries=11, constraint="none", pool=pool, progress=progress
    )
    pool.close()
    assert reader_saw[0] == ({k: tuple(rows[name][k]) for k in (2, 3, 4, 5)}, 1)
    assert isinstance(items[name], Failure)
    assert items[name].queries == log.queries(name) == 5
    assert log.attempts() == {name: 1}
    log.close()

    log, healed = QueryLog(tmp_path / "log.sqlite"), kit.Scorer()
    again = kit.attack_all(one, healed, five, log=log, queries=11, constraint="none")
    assert plain(kit, again) == plain(kit, whole)
    assert kit.all_rows(log) == rows
    assert log.early(name) == {}
    assert healed.asked == [row[0] for k, row in enumerate(rows[name]) if k in (1, 6, 7, 8, 9, 10)]
    log.close()


@pytest.mark.parametrize("kind", ["in process", "threads"])
def test_a_keyboard_interrupt_out_of_the_model_keeps_what_was_answered(kit, images, kind):
    calls = []

    scorer_class: Any = kit.Scorer

    class Interrupting(scorer_class):
        def __call__(self, batch):
            calls.append(len(batch))
            if len(calls) == 30:
                raise KeyboardInterrupt
            return super().__call__(batch)

    log, scorer = QueryLog(), Interrupting()
    pool = InProcess(scorer, batch=1) if kind == "in process" else Threads(scorer, 3)
    with pytest.raises(KeyboardInterrupt):
        kit.attack_all(images, scorer, lists, log=log, pool=pool, **options())
    pool.close()
    every = [digest for digests in logged(log).values() for digest in digests]
    assert sorted(every) == sorted(scorer.asked)


def test_a_pause_does_not_hold_up_a_run_that_is_to_stop(kit, images):
    """The model asked for a day."""
    stop = threading.Event()

    def busy(batch):
        if len(scorer.asked) >= 8:
            threading.Timer(0.1, stop.set).start()
            raise TransientError("come back tomorrow", retry_after=86_400.0)

    log, scorer = QueryLog(), kit.Scorer(before=busy)
    done = threading.Event()

    def run():
        with suppress(Interrupted):
            kit.attack_all(images.limit(2), scorer, lists, log=log, stop=stop.is_set, batch=1)
        done.set()

    # The log belongs to the thread that opened it.
    def thread():
        nonlocal log
        log = QueryLog()
        run()

    threading.Thread(target=thread, daemon=True).start()
    assert done.wait(30.0)
    assert len(scorer.asked) == 8

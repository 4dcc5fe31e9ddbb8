"""Attacks on several images at once."""

import math
import random
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqattack.attacks import (
    BudgetSpent,
    ImageFailed,
    NothingLeft,
    NothingNew,
    load_attack,
    single,
)
from iqattack.engine import Failure, Interrupted, Outcome, QueryLog, image_hash
from iqattack.errors import InputError
from iqattack.images import ImageSet, read_image
from iqattack.scoring import NO_RETRY, Threads

BUDGET = 22


def lists(task):
    """Lists of random length, with duplicates; says when it draws them."""
    for number in range(12):
        task.stage(f"list {number}")
        n = int(torch.randint(0, 6, (), generator=task.rng))
        noise = torch.randint(-3, 4, (n, *task.image.shape), generator=task.rng)
        noise[2::3] = noise[1::3][: len(noise[2::3])]
        answer = yield task.image + noise
    return answer.left


ATTACKS = {"lists": lists} | {
    name: load_attack(name) for name in ("filter-search", "square", "noise", "score-boundary")
}


def run_set(kit, images, scorer, attack, **options):
    """Items by name, and what the attack returned."""
    items, returned = kit.engine(scorer, None, **options).run_set(images, attack)
    names = [item.entry.name for item in items if isinstance(item, Outcome)]
    failed = {item.entry.name: item for item in items if isinstance(item, Failure)}
    if not any(item.transient for item in failed.values()):  # else it ended there
        assert names == [e.name for e in images if e.name not in failed]
    return {item.entry.name: item for item in items}, returned.value


def plain(kit, items):
    return {name: (kit.as_plain(i), getattr(i, "stages", ())) for name, i in sorted(items.items())}


def raised(task, amount):
    return (task.image + amount)[None]


# -- as if each image were alone ------------------------------------------------------------------


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("constraint", ["linf:3", "jnd:0.38"])
def test_a_lifted_attack_does_what_it_does_alone(kit, images, name, constraint):
    options = {"queries": BUDGET, "constraint": constraint, "seed": 3}
    log = QueryLog()
    alone = kit.attack_all(images, kit.Scorer(), ATTACKS[name], log=log, **options)
    chance = random.Random(0)
    for together, pool, batch in ((16, None, None), (1, None, 1), (2, None, 3), (16, Threads, 1)):
        again, scorer = QueryLog(), kit.Scorer()
        if pool is not None:
            scorer.before = lambda _: time.sleep(chance.choice((0.0, 0.0, 0.0005, 0.002)))
        made = None if pool is None else pool(scorer, 3)
        lifted, _ = run_set(
            kit,
            images,
            scorer,
            single(ATTACKS[name], together=together),
            log=again,
            pool=made,
            batch=batch,
            **options,
        )
        if made is not None:
            made.close()
        assert plain(kit, lifted) == plain(kit, alone)
        assert kit.all_rows(again) == kit.all_rows(log)
        assert not scorer.repeats


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("queries", [1, 2, 3])
def test_a_lifted_attack_on_images_that_leave_little(kit, images, name, queries):
    """No query but the clean one; clean scores at and beyond the end that they are to reach."""
    of = [image_hash(read_image(entry.path).pixels) for entry in images]
    answers = {of[0]: 100.0, of[1]: 120.0, of[2]: math.nan}
    options = {"queries": queries, "objective": "up"}
    log, again = QueryLog(), QueryLog()
    alone = kit.attack_all(images, kit.Scorer(answers), ATTACKS[name], log=log, **options)
    lifted, _ = run_set(
        kit, images, kit.Scorer(answers), single(ATTACKS[name]), log=again, **options
    )
    assert plain(kit, lifted) == plain(kit, alone)
    assert repr(kit.all_rows(again)) == repr(kit.all_rows(log))  # NaN is among them
    assert isinstance(lifted[images[2].name], Failure)
    assert lifted[images[0].name].queries == 1


@pytest.mark.parametrize("together", [1, 2, 16])
def test_a_lifted_attack_that_goes_round_in_circles_ends_for_its_image_alone(kit, images, together):
    ends = []

    def circles(task):
        answer = yield raised(task, 1.0)
        try:
            while True:
                answer = yield answer.images
        except NothingNew as end:
            ends.append(str(end))
            return float(task.image.sum())

    log = QueryLog()
    alone = kit.attack_all(images, kit.Scorer(), circles)
    assert len(ends) == 5
    lifted, values = run_set(kit, images, kit.Scorer(), single(circles, together=together), log=log)
    assert plain(kit, lifted) == plain(kit, alone)
    assert {item.queries for item in lifted.values()} == {2}
    assert values == [float(read_image(entry.path).pixels.sum()) for entry in images]
    assert ends == ["200 answers in a row were known already"] * 10


def test_a_lifted_attack_ends_where_nothing_is_left_to_gain(kit, images):
    """The score of the third candidate is the end of the range."""
    found = []

    def climb(task):
        try:
            for amount in range(1, 10):
                yield raised(task, float(amount))
        except NothingLeft as end:
            found.append((float(end.answer.gain[0]), end.answer.left, str(end)))
            return task.reach

    best = {image_hash(read_image(e.path).pixels + 3): 100.0 for e in images}
    options = {"objective": "up", "queries": 20, "constraint": "none"}
    alone = kit.attack_all(images, kit.Scorer(best), climb, **options)
    assert len(found) == 5
    lifted, values = run_set(kit, images, kit.Scorer(best), single(climb), **options)
    assert plain(kit, lifted) == plain(kit, alone)
    assert {item.queries for item in lifted.values()} == {4}
    assert all(item.score_adv == 100.0 for item in lifted.values())
    assert found[5:] == [(value, 16, "the score is at the end of its range") for value in values]


def test_a_lifted_attack_of_which_an_image_fails(kit, images):
    bad = images[1]
    options = {"objective": "up", "queries": BUDGET, "retry": NO_RETRY}
    log = QueryLog()
    kit.attack_all(images, kit.Scorer(), lists, log=log, **options)
    third = int(log.rows(bad.name)["hash"][3])

    def singular(batch):
        if third in map(image_hash, batch):
            raise ValueError("singular")

    for batch in (1, 4):
        log, again = QueryLog(), QueryLog()
        one = {**options, "batch": batch}
        alone = kit.attack_all(images, kit.Scorer(before=singular), lists, log=log, **one)
        lifted, _ = run_set(
            kit, images, kit.Scorer(before=singular), single(lists), log=again, **one
        )
        assert isinstance(lifted[bad.name], Failure)
        assert plain(kit, lifted) == plain(kit, alone)
        assert kit.all_rows(again) == kit.all_rows(log)
        assert again.failures() == log.failures()
        assert batch > 1 or again.attempts() == log.attempts()


# -- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lifted", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_an_attack_that_catches_the_end_of_its_budget_can_return_something(
    kit, images, batch, lifted
):
    ends = []

    def greedy(task):
        try:
            for first in range(1, 100, 5):
                steps = torch.arange(first, first + 5.0).view(5, 1, 1, 1)
                yield task.image * 0.0 + steps
        except BudgetSpent as end:
            ends.append(end)
            return end.answer.pixels[:, 0, 0, 0].tolist()

    options = {"queries": 9, "constraint": "none", "objective": "up", "batch": batch}
    if lifted:
        items, values = run_set(kit, images, kit.Scorer(), single(greedy), **options)
        assert values == [[6, 7, 8]] * 5  # the clean image, 1 to 5, and these
    else:
        items = kit.attack_all(images, kit.Scorer(), greedy, **options)
    assert {item.queries for item in items.values()} == {9}
    assert len(ends) == 5
    for end, entry in zip(ends, images, strict=True) if lifted else ():
        assert (end.limit, end.spent, end.source) == (9, 9, f"the budget of {entry.name}")
        assert str(end) == f"9 of 9 queries are spent, as set by the budget of {entry.name}"
    for end in ends:
        assert (end.answer.left, end.answer.end) == (0, None)
        assert end.answer.gain.shape == (3,)
        scores = [kit.Scorer().score(image) for image in end.answer.pixels]
        clean = {float(kit.Scorer().score(read_image(e.path).pixels)) for e in images}
        assert any(
            [(s - c) / 100 for s in scores] == pytest.approx(end.answer.gain.tolist())
            for c in clean
        )


def test_an_attack_that_asks_exactly_its_budget_is_not_thrown_out(kit, images):
    seen = []

    def exact(task):
        for amount in range(1, task.queries + 1):
            answer = yield raised(task, amount / 2)
            seen.append((answer.left, answer.end))
        return "done"

    items, values = run_set(
        kit, images.limit(2), kit.Scorer(), single(exact), queries=7, constraint="none"
    )
    assert values == ["done"] * 2
    assert all(end is None for _, end in seen)
    assert min(left for left, _ in seen) == min(7 - item.queries for item in items.values())


def test_each_image_of_a_set_has_a_budget_of_its_own(kit, images):
    """The first one is asked about more often than the others; its end does not end the rest."""
    seen = []

    def uneven(given):
        for step in range(1, 9):
            asked = [(0, torch.stack([given.tasks[0].image + 4 * step + k for k in range(3)]))]
            asked += [(2, raised(given.tasks[2], float(step)))]
            if step % 2:
                asked += [(3, given.tasks[3].image[None][:0])]
            answers = yield asked
            assert len(answers) == len(asked)
            seen.append([(len(a.gain), a.left, type(a.end).__name__) for a in answers])
        return "all"

    log = QueryLog()
    options = {"queries": 12, "constraint": "none"}
    items, value = run_set(kit, images, kit.Scorer(), uneven, log=log, **options)
    assert value == "all"
    none = "NoneType"
    assert [step[0] for step in seen] == [
        (3, 8, none), (3, 5, none), (3, 2, none), (2, 0, "BudgetSpent"),
        *[(0, 0, "BudgetSpent")] * 4,
    ]  # fmt: skip
    assert [step[1] for step in seen] == [(1, 12 - 1 - k, none) for k in range(1, 9)]
    assert seen[0][2] == (0, 11, none)
    names = [entry.name for entry in images]
    assert [items[name].queries for name in names] == [12, 1, 9, 1, 1]
    assert [len(rows) for rows in kit.all_rows(log).values()] == [12, 1, 9, 1, 1]
    for name in (names[1], names[3], names[4]):
        assert torch.equal(items[name].adversarial, items[name].clean)
        assert items[name].gain == 0.0


def test_of_an_image_that_fails_a_set_attack_hears(kit, images):
    """It may also query it repeatedly, without another call of the model."""
    fatal = []
    seen = []

    def steady(given):
        for step in range(1, 6):
            answers = yield [
                (k, torch.stack([task.image + step, task.image + step + 0.6, task.image - step]))
                for k, task in enumerate(given.tasks)
            ]
            seen.append(answers)
        return len(seen)

    def singular(batch):
        if not set(fatal).isdisjoint(map(image_hash, batch)):
            raise ValueError("singular")

    options = {"queries": 99, "constraint": "none", "objective": "up", "retry": NO_RETRY}
    log = QueryLog()
    run_set(kit, images, kit.Scorer(), steady, log=log, **options)
    fatal.append(int(log.rows(images[1].name)["hash"][4]))
    good = [[answer.gain.tolist() for answer in answers] for answers in seen]
    for threads in (None, 3):
        for batch in (1, 4):
            seen.clear()
            scorer = kit.Scorer(before=singular)
            pool = None if threads is None else Threads(scorer, 3, batch=batch, retry=NO_RETRY)
            log = QueryLog()
            items, value = run_set(
                kit, images, scorer, steady, log=log, batch=batch, pool=pool, **options
            )
            assert value == 5
            assert isinstance(items.pop(images[1].name), Failure)
            assert all(isinstance(item, Outcome) for item in items.values())
            ends = [type(answers[1].end) for answers in seen]
            assert ends == [type(None), *[ImageFailed] * 4]
            assert str(seen[1][1].end) == (
                "model 'integers' failed to score images: ValueError: singular"
            )
            assert seen[1][1].gain.tolist() == good[1][1][:1]  # those before the fatal one
            assert all(len(answers[1].gain) == 0 for answers in seen[2:])
            for answers, expected in zip(seen, good, strict=True):
                found = [answer.gain.tolist() for answer in answers]
                assert found[0] == expected[0]
                assert found[2:] == expected[2:]
            assert len(log.rows(images[1].name)) == 4
            assert log.queries(images[1].name) in (4, 5)  # one of the same list may be there


def test_a_set_attack_that_asks_nothing_new_is_ended(kit, images):
    asked = []

    def stuck(given):
        yield [(0, raised(given.tasks[0], 2.0))]
        while True:
            asked.append(1)
            yield [(0, raised(given.tasks[0], 2.0)), (1, given.tasks[1].image[None])]

    items, value = run_set(kit, images, kit.Scorer(), stuck)
    assert value is None
    assert len(asked) < 10_000
    assert [item.queries for item in items.values()] == [2, 1, 1, 1, 1]

    def nothing(given):
        while True:
            yield []

    items, value = run_set(kit, images, kit.Scorer(), nothing)
    assert {item.queries for item in items.values()} == {1}


def test_a_set_attack_that_asks_nothing_at_all(kit, images):
    def idle(given):
        return len(given.tasks)
        yield

    items, value = run_set(kit, images, kit.Scorer(), idle)
    assert value == 5
    assert {item.queries for item in items.values()} == {1}


def test_a_set_attack_may_not_ask_twice_for_an_image_at_once(kit, images):
    def twice(given):
        yield [(0, raised(given.tasks[0], 1.0)), (0, raised(given.tasks[0], 2.0))]

    with pytest.raises(ValueError, match="proposed candidates for one image twice"):
        run_set(kit, images, kit.Scorer(), twice)


def test_an_error_of_a_set_attack_ends_it_and_its_scores_stay(kit, images):
    def broken(given):
        yield [(0, raised(given.tasks[0], 1.0))]
        raise InputError("a set of 5 images, expected 6")

    log = QueryLog()
    with pytest.raises(InputError, match="a set of 5 images, expected 6"):
        run_set(kit, images, kit.Scorer(), broken, log=log)
    assert [len(rows) for rows in kit.all_rows(log).values()] == [2, 1, 1, 1, 1]


def test_images_whose_clean_one_fails_are_left_out_of_the_set(kit, images):
    of = [image_hash(read_image(entry.path).pixels) for entry in images]

    def refuse(batch):
        if of[1] in map(image_hash, batch):
            raise ValueError("no")

    def count(given):
        answers = yield [(k, raised(task, 1.0)) for k, task in enumerate(given.tasks)]
        return len(answers)

    items, value = run_set(kit, images, kit.Scorer({of[3]: math.nan}, before=refuse), count)
    assert value == 3
    failed = [isinstance(items[entry.name], Failure) for entry in images]
    assert failed == [False, True, False, True, False]


# -- memory ---------------------------------------------------------------------------------------


def test_an_image_is_opened_when_it_is_looked_at_first(kit, images, monkeypatch):
    opened = []

    def noted(path, **options):
        opened.append(path.name)
        return read_image(path, **options)

    def looks(given):
        opened.clear()  # the clean scores'
        assert len(given.tasks) == 5
        yield [(3, raised(given.tasks[3], 1.0))]
        assert opened == ["003.png"]
        given.tasks[-1].rng  # noqa: B018
        assert opened == ["003.png", "004.png"]
        assert given.tasks[0:1][0] is given.tasks[0]
        assert opened == ["003.png", "004.png", "000.png"]
        yield [(1, torch.full((1, 3, 32, 24), 99.0))]
        with pytest.raises(IndexError):
            given.tasks[5]
        return list(opened)

    monkeypatch.setattr("iqattack.engine.searcher.read_image", noted)
    items, value = run_set(kit, images, kit.Scorer(), looks, constraint="none")
    assert value == ["003.png", "004.png", "000.png", "001.png"]
    assert opened == [*value, "002.png"]
    assert len(items) == 5


def test_the_set_has_a_generator_of_its_own(kit, images):
    drawn, by_image = [], []

    def draw(given):
        of_set = torch.rand(3, generator=given.rng).tolist()
        drawn.append((of_set, [torch.rand(3, generator=task.rng).tolist() for task in given.tasks]))
        yield [(0, raised(given.tasks[0], 1.0))]

    def alone(task):
        by_image.append(torch.rand(3, generator=task.rng).tolist())
        yield raised(task, 1.0)

    for seed in (0, 0, 1):
        run_set(kit, images, kit.Scorer(), draw, seed=seed)
    assert drawn[0] == drawn[1]
    assert drawn[0][0] != drawn[2][0]
    assert drawn[0][0] not in drawn[0][1]
    kit.attack_all(images, kit.Scorer(), alone, seed=0)
    assert sorted(by_image) == sorted(drawn[0][1])


# -- resuming -------------------------------------------------------------------------------------


def shared(given):
    """Lists for some of the images at a time; what it asks depends on all answers so far."""
    chance = given.rng
    for _ in range(14):
        asked = []
        for k in torch.randperm(len(given.tasks), generator=chance)[:3].tolist():
            task = given.tasks[k]
            n = int(torch.randint(0, 4, (), generator=chance))
            noise = torch.randint(-3, 4, (n, *task.image.shape), generator=chance)
            asked.append((k, task.image + noise))
        answers = yield asked
        gain = sum(float(answer.gain.sum()) for answer in answers)
        chance.manual_seed(int(abs(gain) * 2**30) + 1)
    return gain


@pytest.fixture(scope="module")
def whole(kit, images):
    log = QueryLog()
    items, value = run_set(kit, images, kit.Scorer(), shared, log=log, queries=12)
    rows = kit.all_rows(log)
    assert max(map(len, rows.values())) == 12
    return Whole((items, value, rows))


class Whole(tuple):
    __slots__ = ()

    def __repr__(self):
        return "whole"  # hypothesis prints it


class Killed(Exception):  # noqa: N818
    pass


@given(
    after=st.lists(st.integers(6, 48), min_size=1, max_size=3),
    calls=st.integers(1, 4),
    batch=st.integers(1, 3),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=15, deadline=None)
def test_a_set_attack_that_is_killed_goes_on(kit, images, whole, after, calls, batch, seed):
    """Replies come in any order, so that some are logged before their turn."""
    items, value, rows = whole
    chance, log, kept, holes = random.Random(seed), QueryLog(), 0, 0
    for last in [*sorted(after), None]:
        scorer = kit.Scorer(before=lambda _: time.sleep(chance.choice((0.0, 0.0, 0.002))))
        pool = Threads(scorer, calls, batch=batch)

        def progress(state, last=last):
            if last is not None and state.spent >= last:
                raise Killed

        options = {"log": log, "queries": 12, "pool": pool, "progress": progress}
        try:
            again, found = run_set(kit, images, scorer, shared, **options)
        except Killed:
            assert last is not None
        pool.close()
        before, kept = kept, sum(map(log.queries, rows))
        assert kept >= (last or before)
        holes += sum(len(log.early(name)) for name in rows)
        for name, every in rows.items():
            assert log.rows(name).tolist() == every[: len(log.rows(name))]
            assert all(row == tuple(every[k]) for k, row in log.early(name).items())
    assert found == value
    assert plain(kit, again) == plain(kit, items)
    assert kit.all_rows(log) == rows
    assert all(not log.early(name) for name in rows)
    assert len(scorer.asked) == kept - before


def test_a_set_attack_of_which_an_image_failed_for_a_time_goes_on(kit, images, whole):
    items, value, rows = whole
    lost = rows[images[1].name][2][0]

    def fail(batch):
        if lost in map(image_hash, batch):
            raise TimeoutError

    log = QueryLog()
    options = {"log": log, "queries": 12}
    failed, _ = run_set(kit, images, kit.Scorer(before=fail), shared, retry=NO_RETRY, **options)
    assert list(failed) == [images[1].name]
    again, found = run_set(kit, images, kit.Scorer(), shared, **options)
    assert found == value
    assert plain(kit, again) == plain(kit, items)


def test_a_long_log_of_a_set_attack_is_replayed(kit, images):
    """Hundreds of answers come from it one after another, which is no going round in circles."""

    def long(given):
        for step in range(400):
            image = given.tasks[0].image8.clone()
            image[0, step // 20, step % 20] ^= 1
            yield [(0, image[None])]
        return "the end"

    options = {"queries": 500, "constraint": "none", "objective": "up"}
    log, scorer = QueryLog(), kit.Scorer()
    stop = lambda: len(scorer.asked) >= 320  # noqa: E731
    with pytest.raises(Interrupted):
        run_set(kit, images, scorer, long, log=log, stop=stop, batch=1, **options)
    more = kit.Scorer()
    items, value = run_set(kit, images, more, long, log=log, **options)
    assert value == "the end"
    assert items[images[0].name].queries == 401
    assert len(scorer.asked) + len(more.asked) == 400 + len(images)
    silent = kit.Scorer()
    assert run_set(kit, images, silent, long, log=log, **options)[1] == "the end"
    assert silent.asked == []


def test_a_set_of_many_images_needs_no_more_at_once_than_it_looks_at(kit, tmp_path):
    images = kit.write_set(tmp_path, [(16, 16)] * 40)
    live = []

    def counted(task):
        live.append(task)
        yield raised(task, 1.0)
        live.remove(task)

    most = []

    def watched(task):
        search = counted(task)
        answer = None
        while True:
            most.append(len(live))
            try:
                answer = yield search.send(answer)
            except StopIteration:
                return

    items, _ = run_set(kit, ImageSet(images.entries), kit.Scorer(), single(watched, together=4))
    assert {item.queries for item in items.values()} == {2}
    assert max(most) <= 4

"""One budget that images share: what no path exceeds, and who is notified of its end."""

import math
import random
import time
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqattack.attacks import BudgetSpent, Chosen, load_attack, ranking, single
from iqattack.engine import Failure, Interrupted, Outcome, QueryLog, image_hash
from iqattack.engine.drivers import IN_A_ROW
from iqattack.errors import InputError
from iqattack.images import read_image
from iqattack.scoring import NO_RETRY, Retry, Threads

N = 5
OWN = 1000  # queries of each image, more than any total here


def greedy(given):
    """Seven new candidates of each image at once, whatever is left; notes all answers."""
    seen = []
    for _ in range(200):
        asked = []
        for k, task in enumerate(given.tasks):
            noise = torch.randint(-3, 4, (7, *task.image.shape), generator=given.rng)
            asked.append((k, task.image + noise))
        answers = yield asked
        seen.append([(len(a.gain), a.left, a.end) for a in answers])
        if all(a.end is not None for a in answers):
            return seen
    return seen


def picked(given):
    """Asks about some at a time, as answers have it, and chooses pictures at random."""
    chance, scored = given.rng, {}
    for _ in range(60):
        asked = []
        for k in torch.randperm(len(given.tasks), generator=chance)[:3].tolist():
            n = int(torch.randint(1, 4, (), generator=chance))
            image = given.tasks[k].image
            asked.append((k, image + torch.randint(-3, 4, (n, *image.shape), generator=chance)))
        answers = yield asked
        for (k, _), answer in zip(asked, answers, strict=True):
            if len(answer.pixels):
                scored[k] = answer.pixels[-1].clone()
        gain = sum(float(answer.gain.sum()) for answer in answers)
        chance.manual_seed(int(abs(gain) * 2**30) + 1)
        if all(answer.left == 0 for answer in answers):
            break
    return Chosen({k: picture for k, picture in scored.items() if k % 2})


GOES_ON = {
    "greedy": greedy,
    "picked": picked,
    "nes": single(load_attack("nes")),
    "square, two at a time": single(load_attack("square"), together=2),
}
ENDS = {f"ranking of {name}": ranking(load_attack(name)) for name in ("nes", "filter-search")}
ATTACKS = GOES_ON | ENDS


def run_set(kit, images, scorer, attack, total, **options):
    """Items by name, and what the attack returned."""
    engine = kit.engine(scorer, None, **{"objective": "srocc", "queries": OWN} | options)
    items, returned = engine.run_set(images, attack, total=total)
    return {item.entry.name: item for item in items}, returned


def plain(kit, items):
    return {name: kit.as_plain(item) for name, item in items.items()}


# -- no path exceeds it ---------------------------------------------------------------------------


@pytest.mark.parametrize("total", [6, 7, 11, 40, 230])
@pytest.mark.parametrize("name", ATTACKS)
def test_a_total_is_spent_to_the_last_query_and_no_further(kit, images, name, total):
    log, scorer = QueryLog(), kit.Scorer()
    items, returned = run_set(kit, images, scorer, ATTACKS[name], total, log=log)
    spent = {entry.name: items[entry.name].queries for entry in images}
    assert sum(spent.values()) == len(scorer.asked) == sum(map(log.queries, spent))
    assert not scorer.repeats
    assert len(scorer.asked) <= total
    if name in GOES_ON and total < 100:  # a search may end by itself
        assert len(scorer.asked) == total
    asked = Counter()
    for image, n in returned.order:
        assert n > 0
        asked[image] += n
    assert {image: 1 + asked[image] for image in spent} == spent


@pytest.mark.parametrize("batch", [1, 4])
def test_an_image_has_no_more_than_its_own_limit(kit, images, batch):
    items, _ = run_set(kit, images, kit.Scorer(), greedy, 60, queries=12, batch=batch)
    spent = [items[entry.name].queries for entry in images]
    assert max(spent) == 12
    assert sum(spent) == 60
    items, _ = run_set(kit, images, kit.Scorer(), greedy, 61, queries=12, batch=batch)
    assert sum(item.queries for item in items.values()) == 60


class Killed(Exception):  # noqa: N818
    pass


@given(
    name=st.sampled_from(sorted(ATTACKS)),
    total=st.integers(N + 1, 60),
    kills=st.lists(st.integers(1, 60), max_size=3),
    calls=st.integers(1, 3),
    batch=st.integers(1, 3),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=20, deadline=None)
def test_a_total_holds_when_a_run_is_killed_and_goes_on(
    kit, images, name, total, kills, calls, batch, seed
):
    """Replies come in any order, so that some are logged before their turn."""
    chance, log, answered = random.Random(seed), QueryLog(), []
    whole, _ = run_set(kit, images, kit.Scorer(), ATTACKS[name], total)
    for last in [*sorted(kills), None]:
        scorer = kit.Scorer(before=lambda _: time.sleep(chance.choice((0.0, 0.0, 0.002))))
        pool = Threads(scorer, calls, batch=batch)

        def progress(state, last=last):
            if last is not None and state.spent >= last:
                raise Killed

        options = {"log": log, "pool": pool, "progress": progress}
        try:
            items, _ = run_set(kit, images, scorer, ATTACKS[name], total, **options)
        except Killed:
            assert last is not None
        pool.close()
        answered += scorer.asked
        assert sum(log.queries(entry.name) for entry in images) <= total
    assert plain(kit, items) == plain(kit, whole)
    assert sum(item.queries for item in whole.values()) <= total
    # What was being answered when it was killed is lost, and nothing else.
    assert len(answered) <= total + len(kills) * calls * batch


@pytest.mark.parametrize("name", ["greedy", "picked", "ranking of nes"])
def test_a_total_holds_when_a_run_is_stopped_and_goes_on(kit, images, name):
    total, log, asked = 47, QueryLog(), 0
    whole, _ = run_set(kit, images, kit.Scorer(), ATTACKS[name], total)
    for more in (4, 5, 14, 20, None):
        scorer = kit.Scorer()
        stop = lambda scorer=scorer, more=more: len(scorer.asked) >= (more or OWN)  # noqa: E731
        try:
            items, _ = run_set(
                kit, images, scorer, ATTACKS[name], total, log=log, stop=stop, batch=2
            )
        except Interrupted:
            assert more is not None
        asked += len(scorer.asked)
        assert sum(log.queries(entry.name) for entry in images) == asked <= total
    assert plain(kit, items) == plain(kit, whole)


class Unsteady:
    """Before a batch: now and then it is lost."""

    def __init__(self, seed, rate):
        self._chance, self._rate = random.Random(seed), rate

    def __call__(self, _):
        if self._chance.random() < self._rate:
            raise TimeoutError("slow")


@pytest.mark.parametrize("name", ["greedy", "picked", "ranking of nes", "nes"])
@pytest.mark.parametrize("retry", [NO_RETRY, Retry(retries=2, first_s=0.0005)])
def test_a_total_holds_with_a_model_that_fails_for_a_time(kit, images, name, retry):
    """Such a failure ends the attack, which goes on in another session."""
    total, log, answered, sessions = 45, QueryLog(), 0, 0
    whole, _ = run_set(kit, images, kit.Scorer(), ATTACKS[name], total)
    while True:
        scorer = kit.Scorer(before=Unsteady(sessions, 0.1))
        try:
            items, _ = run_set(
                kit, images, scorer, ATTACKS[name], total, log=log, retry=retry, batch=2
            )
        except InputError:  # nothing at all could be scored
            items = {}
        answered += len(scorer.asked)
        assert sum(log.queries(entry.name) for entry in images) <= total
        assert answered <= total
        sessions += 1
        if len(items) == N and all(isinstance(item, Outcome) for item in items.values()):
            break
        assert sessions < 200
    assert plain(kit, items) == plain(kit, whole)
    assert answered == sum(item.queries for item in whole.values())


def test_a_total_holds_when_an_image_fails_for_good(kit, images):
    log = QueryLog()
    run_set(kit, images, kit.Scorer(), greedy, 60, log=log)
    fatal = int(log.rows(images[1].name)["hash"][4])

    def singular(batch):
        if fatal in map(image_hash, batch):
            raise ValueError("singular")

    log, scorer = QueryLog(), kit.Scorer(before=singular)
    items, _ = run_set(kit, images, scorer, greedy, 60, log=log, retry=NO_RETRY, batch=1)
    # It is a candidate without a score, as a replay has to see it, too.
    assert isinstance(items[images[1].name], Outcome)
    assert np.isnan(log.rows(images[1].name)["score"]).sum() == 1
    assert len(scorer.asked) <= 60
    assert sum(log.queries(entry.name) for entry in images) <= 60
    repaired = kit.Scorer()
    again, _ = run_set(kit, images, repaired, greedy, 60, log=log, batch=1)
    assert not repaired.asked
    assert kit.as_plain(again[images[1].name]) == kit.as_plain(items[images[1].name])


@pytest.mark.parametrize("batch", [1, 4])
def test_a_model_that_breaks_for_good_ends_the_attack_which_goes_on_later(kit, images, batch):
    """What was asked in vain before it was noticed counts; nothing else is lost."""
    total, log, broken = 400, QueryLog(), []

    def breaks(pixels):
        if broken or len(scorer.asked) > 60:
            broken.extend(map(image_hash, pixels))
            raise ValueError("out of order")

    scorer = kit.Scorer(before=breaks)
    items, _ = run_set(
        kit, images, scorer, greedy, total, log=log, retry=NO_RETRY, batch=batch
    )  # fmt: skip
    assert all(isinstance(item, Failure) for item in items.values())
    assert any("out of order" in item.reason for item in items.values())
    without = sum(int(np.isnan(log.rows(entry.name)["score"]).sum()) for entry in images)
    assert 0 < without < IN_A_ROW
    assert len(set(broken)) <= IN_A_ROW + N * batch  # a batch that fails is tried again, one by one
    repaired = kit.Scorer()
    items, _ = run_set(kit, images, repaired, greedy, total, log=log, batch=batch)
    assert all(isinstance(item, Outcome) for item in items.values())
    assert sum(log.queries(entry.name) for entry in images) == total


def only_one(given):
    for step in range(2 * IN_A_ROW):
        yield [(0, given.tasks[0].image[None] + step + 1)]


def test_a_model_that_breaks_while_one_image_is_asked_about_ends_the_attack(kit, images):
    """As with `top:1,into=…`, or once the others have nothing to gain: the model has scored some of
    its candidates, if only in an earlier session.
    """
    log, works = QueryLog(), [N + 1]

    def breaks(_pixels):
        if len(scorer.asked) >= works[0]:
            raise ValueError("out of order")

    name, options = images[0].name, {"log": log, "retry": NO_RETRY, "constraint": "linf:90"}
    for sessions in (1, 2):
        scorer = kit.Scorer(before=breaks)
        items, _ = run_set(kit, images, scorer, only_one, 200, **options)
        assert "out of order" in items[name].reason
        lost = int(np.isnan(log.rows(name)["score"]).sum())
        assert lost == sessions * (IN_A_ROW - 1)
        works[0] = 0
    items, _ = run_set(kit, images, kit.Scorer(), only_one, 200, **options)
    assert isinstance(items[name], Outcome)
    assert log.queries(name) == 1 + 2 * IN_A_ROW


def test_failures_on_one_image_alone_do_not_end_the_attack(kit, images):
    first = image_hash(read_image(images[0].path).pixels)
    log, clean = QueryLog(), []

    def fails(pixels):
        clean.extend(map(image_hash, pixels))
        if first in clean and len(clean) > N:
            raise ValueError("singular")

    items, _ = run_set(
        kit, images, kit.Scorer(before=fails), only_one, 200, log=log, retry=NO_RETRY,
        constraint="linf:90",
    )  # fmt: skip
    assert isinstance(items[images[0].name], Outcome)
    assert np.isnan(log.rows(images[0].name)["score"]).sum() > IN_A_ROW


def test_an_image_that_failed_at_first_stays_out_once_the_search_has_begun(kit, images):
    bad = image_hash(read_image(images[2].path).pixels)

    def singular(batch):
        if bad in map(image_hash, batch):
            raise ValueError("singular")

    log = QueryLog()

    def stop():
        return len(scorer.asked) > 25

    scorer = kit.Scorer(before=singular)
    with pytest.raises(Interrupted):
        run_set(kit, images, scorer, greedy, 60, log=log, retry=NO_RETRY, batch=1, stop=stop)
    repaired = kit.Scorer()
    items, _ = run_set(kit, images, repaired, greedy, 60, log=log, batch=1)
    asked = sum(log.queries(entry.name) for entry in images)
    assert asked <= 60
    assert images[2].name not in items
    assert "singular" in log.failures()[images[2].name]


@pytest.mark.parametrize("total", [6, 7, 30])
def test_a_clean_image_without_a_score_counts_all_the_same(kit, images, total):
    of = [image_hash(read_image(entry.path).pixels) for entry in images]
    log, scorer = QueryLog(), kit.Scorer({of[1]: math.nan, of[4]: math.inf})
    run_set(kit, images, scorer, greedy, total, log=log)
    assert len(scorer.asked) == total
    assert sum(log.queries(entry.name) for entry in images) == total


# -- what the attack knows ------------------------------------------------------------------------


def test_what_is_left_is_the_smaller_of_both_budgets(kit, images):
    total, own, seen = 40, 14, []

    def counted(given):
        assert given.queries == total - N
        assert [task.queries for task in given.tasks] == [own - 1] * N
        spent = [1] * N
        for step in range(12):
            asked = [
                (k, given.tasks[k].image + torch.tensor([step % 7 - 3.0, 3.5]).view(2, 1, 1, 1))
                for k in ((0, 1) if step < 5 else (0, 2, 3))
            ]
            asked = [
                (k, (c + torch.randint(-3, 4, c.shape, generator=given.rng))) for k, c in asked
            ]
            answers = yield asked
            for (k, _), answer in zip(asked, answers, strict=True):
                spent[k] += len(answer.gain)
            for (k, _), answer in zip(asked, answers, strict=True):
                assert answer.left == min(own - spent[k], total - sum(spent))
                seen.append((k, answer.left, answer.end and answer.end.source))
        return sum(spent)

    _, returned = run_set(
        kit, images, kit.Scorer(), counted, total, queries=own, constraint="linf:40"
    )
    assert returned.value == total
    ends = {(k, source) for k, _, source in seen if source is not None}
    assert (0, f"the budget of {images[0].name}") in ends
    assert (2, "the budget of all images") in ends
    assert all(left == 0 for _, left, source in seen if source is not None)


@pytest.mark.parametrize("total", [6, 23])
def test_the_end_names_the_budget_of_all_images(kit, images, total):
    _, returned = run_set(kit, images, kit.Scorer(), greedy, total)
    last = returned.value[-1]
    assert sum(n for step in returned.value for n, _, _ in step) == total - N
    for _, left, end in last:
        assert left == 0
        assert isinstance(end, BudgetSpent)
        assert end.source == "the budget of all images"


def test_searches_on_one_image_are_notified_of_it_too(kit, images):
    ends = []

    def search(task):
        try:
            while True:
                yield task.image + torch.randint(-3, 4, task.image.shape, generator=task.rng)[None]
        except BudgetSpent as end:
            ends.append((end.source, end.answer.left))
            return "spent"

    _, returned = run_set(kit, images, kit.Scorer(), single(search), 33)
    assert returned.value == ["spent"] * N
    assert ends == [("the budget of all images", 0)] * N


@pytest.mark.parametrize("total", [0, 1, 4, 5])
def test_a_total_that_clean_images_take_is_refused(kit, images, total):
    scorer = kit.Scorer()
    refused = f"budget of {total} queries for all images: the clean images take 5"
    with pytest.raises(InputError, match=refused):
        run_set(kit, images, scorer, greedy, total)
    assert scorer.asked == []


# -- what is chosen -------------------------------------------------------------------------------


def choosing(picture_of):
    def attack(given):
        task = given.tasks[2]
        answers = yield [(2, torch.stack([task.image + 1, task.image - 2]))]
        return Chosen({2: picture_of(task, answers[0])})

    return attack


@pytest.mark.parametrize("which", [0, 1])
def test_an_image_ends_as_the_picture_that_is_chosen(kit, images, which):
    """Though another one may gain more; all others stay clean."""
    attack = choosing(lambda _, answer: answer.pixels[which])
    items, _ = run_set(kit, images, kit.Scorer(), attack, 30, constraint="none")
    clean = [read_image(entry.path).pixels for entry in images]
    item = items[images[2].name]
    expected = (clean[2].float() + (1, -2)[which]).to(torch.uint8)
    assert torch.equal(item.adversarial, expected)
    assert item.score_adv == kit.Scorer().score(expected)
    assert item.gain == item.target.gain(item.score_adv)
    for k in (0, 1, 3, 4):
        other = items[images[k].name]
        assert torch.equal(other.adversarial, clean[k])
        assert (other.gain, other.score_adv) == (0.0, other.score_clean)


def test_a_clean_image_may_be_chosen(kit, images):
    items, _ = run_set(kit, images, kit.Scorer(), choosing(lambda task, _: task.image8), 30)
    assert items[images[2].name].gain == 0.0
    assert items[images[2].name].queries == 3


@pytest.mark.parametrize(
    "picture_of",
    [
        lambda task, _: task.image8 + 3,
        lambda _, answer: answer.pixels[0] + 1,
        lambda _, answer: answer.pixels[0].flip(0),
    ],
)
def test_a_picture_without_a_score_is_refused(kit, images, picture_of):
    with pytest.raises(InputError, match=r"002\.png: the attack chose a picture without a score"):
        run_set(kit, images, kit.Scorer(), choosing(picture_of), 30)


def test_a_picture_whose_score_is_not_finite_is_refused(kit, images):
    one = image_hash((read_image(images[2].path).pixels.float() + 1).to(torch.uint8))
    attack = choosing(lambda _, answer: answer.pixels[0])
    with pytest.raises(InputError, match="chose a picture without a score"):
        run_set(kit, images, kit.Scorer({one: math.nan}), attack, 30)

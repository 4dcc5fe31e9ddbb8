"""Pooled search: what images of one set learn from each other."""

import numpy as np
import pytest
import torch

from iqattack.attacks import (
    Answer,
    BudgetSpent,
    SetTask,
    is_of_set,
    load_attack,
    load_set_attack,
    name_of,
    single,
)
from iqattack.attacks.set_based import pooled_search
from iqattack.attacks.set_based.pooled_search import (
    FOUND,
    FRESH,
    HALVED,
    LEAST,
    PRIOR,
    TRIED,
    Lessons,
    Stroke,
)
from iqattack.attacks.shared.painting.canvas import Canvas
from iqattack.directions import BANK, COLOURED, bank
from iqattack.errors import InputError
from iqattack.objectives import ScoreBoundary

HEIGHT, WIDTH = 48, 64
LAST = list(BANK)[-1]  # of the fixed directions, so that nobody meets it by chance


@pytest.fixture
def images(natural):
    whole = natural(HEIGHT, WIDTH + 60)
    return [whole[:, :, 10 * k : 10 * k + WIDTH] for k in range(6)]


def played(attack, tasks, gains):
    """The gains of each task's queries, in order, as the engine would have them."""
    found = [[] for _ in tasks]
    search = attack(SetTask(tasks, torch.Generator().manual_seed(0)))
    try:
        proposals = next(search)
        while True:
            answers = []
            for number, candidates in proposals:
                task = tasks[number]
                left = task.queries - len(found[number])
                pixels = candidates[:left].float().clamp(task.lower, task.upper).round()
                values = [gains[number](image) for image in pixels]
                found[number] += values
                left -= len(pixels)
                end = None
                scores = torch.tensor(values, dtype=torch.float64)
                if len(pixels) < len(candidates):
                    nothing = Answer(pixels.byte(), scores, 0)
                    end = BudgetSpent(task.queries, task.queries, "the test", nothing)
                answers.append(Answer(pixels.byte(), scores, left, end))
            proposals = search.send(answers)
    except StopIteration:
        return found


def towards(image, name):
    """A gain that is 1 where a fixed direction is followed to the ends of ±3."""
    ((_, signs),) = bank(image, torch.Generator(), [name])
    w = signs.expand(3, -1, -1).double()
    return lambda x: float((w * (x - image).double()).sum()) / (3.0 * w.numel())


# -- what is expected of a stroke -----------------------------------------------------------------


def at(lessons, name):
    return [stroke.direction for stroke in lessons.strokes].index(name)


def test_before_anything_is_known_the_bank_is_tried_in_its_order():
    lessons = Lessons()
    image = lessons.enter(rising=True)
    names = []
    while (stroke := lessons.choose(image)) is not None:
        names.append(stroke.direction)
        lessons.learn(image, stroke, 0.0)
    assert names == [*BANK, *COLOURED][: len(names)]
    assert len(names) == sum(FRESH / (1 + k / HALVED) >= LEAST for k in range(lessons.fixed))


def test_what_a_stroke_adds_is_beyond_what_this_image_has_tried():
    """Two images have tried noise (0.3, 0.1) and blur (0.5, 0.05); this one has tried noise."""
    lessons = Lessons()
    noise, blur = Stroke("noise"), Stroke("blur 0.6")
    for gains in ((0.3, 0.5), (0.1, 0.05)):
        image = lessons.enter(rising=False)
        for stroke, gain in zip((noise, blur), gains, strict=True):
            lessons.add(image, stroke, gain)
    image = lessons.enter(rising=False)
    lessons.add(image, noise, 0.2)
    place = at(lessons, "blur 0.6")
    before = FRESH / (1 + place / HALVED)
    # Of noise itself nothing is expected; blur added 0.2 on the first image, nothing on the other.
    assert lessons.expected(image)[at(lessons, "noise")] == -1.0
    assert lessons.expected(image)[place] == pytest.approx((0.2 + PRIOR * before) / (2 + PRIOR))


def test_images_whose_scores_go_the_other_way_say_nothing():
    lessons = Lessons()
    one = lessons.enter(rising=True)
    lessons.add(one, Stroke(LAST), 0.9)
    other, same = lessons.enter(rising=False), lessons.enter(rising=True)
    assert lessons.choose(same) == Stroke(LAST)
    assert lessons.choose(other) == Stroke("noise")


def test_a_stroke_that_others_are_trying_is_worth_less():
    lessons = Lessons()
    first = [lessons.choose(lessons.enter(rising=True)).direction for _ in range(TRIED)]
    assert len(set(first)) > 1


def test_a_gain_that_is_no_gain_counts_as_nothing():
    """A candidate without a finite score has a gain of −1."""
    lessons = Lessons()
    image = lessons.enter(rising=True)
    lessons.add(image, Stroke(LAST), -1.0)
    other = lessons.enter(rising=True)
    place = at(lessons, LAST)
    assert lessons.expected(other)[place] == pytest.approx(
        PRIOR * FRESH / (1 + place / HALVED) / (1 + PRIOR)
    )


def test_found_strokes_are_bounded_and_the_fixed_ones_stay():
    lessons = Lessons()
    best = Stroke("noise", tuple(range(1, 27)))
    for number in range(3 * FOUND):
        image = lessons.enter(rising=bool(number % 2))
        lessons.add(image, best, 0.9)
        lessons.add(image, Stroke("noise", (float(number),) * 26), 0.1)
    assert len(lessons.strokes) == lessons.fixed + FOUND
    assert lessons.gains.shape == (3 * FOUND, len(lessons.strokes))
    assert lessons.trying.shape == (2, len(lessons.strokes))
    assert [stroke.direction for stroke in lessons.strokes[: lessons.fixed]] == [*BANK, *COLOURED]
    assert best in lessons.strokes
    assert Stroke("noise", (3.0 * FOUND - 1,) * 26) in lessons.strokes  # of equals, the latest


# -- searches -------------------------------------------------------------------------------------


def test_what_gained_on_one_image_is_tried_first_on_the_next(images, make_task):
    """All images want the last fixed direction: the first finds it late, the others at once."""
    tasks = [make_task(image, radius=3.0, queries=60, reach=1.0) for image in images]
    gains = [towards(image, LAST) for image in images]
    found = played(load_set_attack("pooled-search:together=1"), tasks, gains)
    firsts = [next(n for n, gain in enumerate(each) if gain > 0.99) for each in found]
    assert firsts[0] > 20
    assert firsts[1:] == [0] * 5


def test_filters_are_learnt_too(images, make_task):
    """Scores that respond to filtered detail, which no fixed direction has."""
    theta = np.random.default_rng(3).normal(size=25)

    def filtered(task):
        canvas = Canvas(task)
        rows, columns = (slice(0, side) for side in task.image8.shape[1:])
        field = torch.from_numpy(canvas._filtered(theta, rows, columns))
        w = field.sign().double().expand(3, -1, -1)
        return lambda x: float((w * (x - task.image).double()).sum()) / (3.0 * w.numel())

    def tasks():
        return [make_task(image, radius=3.0, queries=160, reach=1.0) for image in images[:4]]

    gains = [filtered(task) for task in tasks()]
    together = played(load_set_attack("pooled-search:together=1"), tasks(), gains)
    single = [
        played(load_set_attack("pooled-search"), [task], [gain])[0]
        for task, gain in zip(tasks(), gains, strict=True)
    ]
    after = [np.mean([max(each[:10]) for each in found[1:]]) for found in (together, single)]
    assert after[0] > 1.5 * after[1]
    assert together[0] == single[0]  # the first has nobody to learn from


def test_one_image_is_a_set_of_one(images, make_task, play):
    task = make_task(images[0], radius=3.0, queries=80, reach=1.0)
    (as_set,) = played(load_set_attack("pooled-search"), [task], [towards(images[0], "noise")])
    task = make_task(images[0], radius=3.0, queries=80, reach=1.0)
    alone = play(load_attack("pooled-search")(task), task, towards(images[0], "noise"))
    assert alone.gains == as_set


def test_a_stroke_that_reaches_the_end_of_the_range_is_learnt(images, make_task):
    """It ends the search of its image; on all others, it is the first that is tried."""
    tasks = [make_task(image, radius=3.0, queries=60, reach=0.9) for image in images]
    gains = [towards(image, LAST) for image in images]
    found = played(load_set_attack("pooled-search:together=1"), tasks, gains)
    assert len(found[0]) > 20
    assert [len(each) for each in found[1:]] == [1] * 5


def test_negated_channels_that_reach_the_end_of_the_range_are_learnt(images, make_task):
    """Red is to go the other way than green and blue, which no fixed direction does."""

    def of(image):
        ((_, signs),) = bank(image, torch.Generator(), ["checkerboard 1"])
        w = signs.expand(3, -1, -1).double() * torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
        return lambda x: float((w * (x - image).double()).sum()) / (3.0 * w.numel())

    tasks = [make_task(image, radius=3.0, queries=60, reach=0.9) for image in images]
    found = played(load_set_attack("pooled-search:together=1"), tasks, list(map(of, images)))
    assert found[0][-1] > 0.9
    assert [len(each) for each in found[1:]] == [1] * 5


def test_a_stroke_that_no_query_was_left_for_counts_as_never_tried(images, make_task, monkeypatch):
    lessons = Lessons()
    monkeypatch.setattr(pooled_search, "Lessons", lambda: lessons)
    tasks = [make_task(image, radius=3.0, queries=5, reach=1.0) for image in images]
    found = played(load_set_attack("pooled-search:together=2"), tasks, [lambda _: 0.0] * 6)
    assert [len(each) for each in found] == [5] * 6
    assert not lessons.trying.any()
    assert np.isfinite(lessons.gains).sum() == 30


def test_an_error_names_the_attack(images, make_task, monkeypatch):
    def broken(*_):
        raise ValueError("no filters today")

    monkeypatch.setattr(pooled_search, "searched_filters", broken)
    for attack in (load_set_attack("pooled-search"), single(load_attack("pooled-search"))):
        task = make_task(images[0], radius=3.0, queries=60, reach=1.0)
        with pytest.raises(InputError, match=r"attack .pooled-search. failed: .*no filters"):
            played(attack, [task], [lambda _: 0.0])
    assert name_of(load_attack("pooled-search")) == "pooled-search"


def test_it_goes_back_from_a_score_boundary(images, make_task):
    task = make_task(images[0], radius=3.0, queries=60, boundary=ScoreBoundary(1.0, 0.3), reach=1.0)
    gain = towards(images[0], "checkerboard 1")  # the second that is tried
    (gains,) = played(load_set_attack("pooled-search"), [task], [gain])
    assert gains[1] > 0.9
    assert 0.3 <= min(gain for gain in gains if gain >= 0.3) < 0.4


def test_a_box_of_nothing_costs_nothing(images, make_task):
    tasks = [make_task(images[0], radius=0.0), make_task(images[1], radius=3.0)]
    found = played(load_set_attack("pooled-search"), tasks, [lambda _: 0.0, lambda _: 0.0])
    assert found[0] == []
    assert found[1]


def test_specs():
    assert is_of_set("pooled-search:together=2")
    assert not is_of_set("portfolio-search")
    assert not is_of_set("mine.py:pooled-search")
    with pytest.raises(InputError, match="together"):
        load_set_attack("pooled-search:together=0")

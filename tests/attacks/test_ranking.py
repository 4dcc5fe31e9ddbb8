"""One budget for the ranking of a set, on searches of which is known what each query gains."""

import math
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch

from iqattack.attacks import load_attack, ranking
from iqattack.attacks.set_based.ranking import FIRST, TRIES, Growth
from iqattack.constraints import parse_constraint
from iqattack.engine import Engine, Failure, Interrupted, Outcome, QueryLog, image_hash
from iqattack.evaluation import srocc
from iqattack.images import ImageSet, write_png
from iqattack.objectives import parse_objective
from iqattack.scoring import NO_RETRY

SIDE = 16
STEPS = 255 * SIDE * SIDE  # that the mean of a channel has


def picture(score, number, nonce=0):
    """One with this score. number: of its image; nonce: tells it from others with that score."""
    made = torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)
    level, rest = divmod(round(min(max(score, 0.0), 1.0) * STEPS), SIDE * SIDE)
    made[0] = level
    made[0].view(-1)[:rest] += 1
    made[1, 0, 0], made[1, 0, 1] = divmod(nonce, 256)
    made[2] = number
    return made


class Mean:
    """The mean of the first channel, 0..1; before: called with each batch ahead of scoring it."""

    name, score_range, lower_better, min_size = "mean", (0.0, 1.0), False, 1

    def __init__(self, before=lambda _: None):
        self.before, self.asked = before, []

    def __call__(self, images):
        self.before(images)
        self.asked += map(image_hash, images)
        return images[:, 0].sum((1, 2)).double() / STEPS


def along(*paths):
    """An attack: of each image, a function of the n-th query, from 1, to its gain, or None."""

    def attack(task):
        number = int(task.image8[2, 0, 0])
        start = float(Mean()(task.image8[None])[0])
        n = 0
        while (gain := paths[number](n := n + 1)) is not None:
            score = start + gain if task.rising else start - gain
            yield picture(score, number, n)[None]

    return attack


def steady(step):
    return lambda n: n * step


def jump(gain):
    return lambda n: gain if n == 1 else None


def still(_):
    return 0.0


@pytest.fixture
def make_set(tmp_path):
    def made(*scores):
        for number, score in enumerate(scores):
            write_png(tmp_path / f"{number}.png", picture(score, number))
        return ImageSet.from_folder(tmp_path)

    return made


class Played:
    """What became of a set: scores, queries beside the clean ones, images that failed."""

    def __init__(self, images, items, returned):
        self.items = {item.entry.name: item for item in items}
        found = [self.items[entry.name] for entry in images]
        good = [item for item in found if isinstance(item, Outcome)]
        self.clean = np.array([item.score_clean for item in good])
        self.now = np.array([item.score_adv for item in good])
        self.touched = [not torch.equal(item.clean, item.adversarial) for item in good]
        self.queries = [item.queries - 1 for item in found]
        self.failed = [isinstance(item, Failure) for item in found]
        self.plain = [
            (item.score_adv, item.adversarial.numpy().tobytes(), item.queries) for item in good
        ]
        self.order = returned.order

    @property
    def total(self):
        return sum(self.queries)


def play(images, attack, objective="srocc", total=500, scorer=None, constraint="none", **options):
    engine = Engine.in_process(
        scorer or Mean(),
        attack,
        parse_constraint(constraint),
        parse_objective(objective),
        queries=options.pop("queries", total),
        **options,
    )
    return Played(images, *engine.run_set(images, ranking(attack), total=total))


# -- where queries go -----------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "needed"), [(0.15, 6), (0.5, 2), (0.05, 17)])
def test_for_one_place_only_its_image_is_asked_about(make_set, step, needed):
    images = make_set(0.9, 0.7, 0.1, 0.8)
    found = play(images, along(*[steady(step)] * 4), "top:1,into=2.png")
    assert found.queries == [0, 0, needed, 0]
    assert found.touched == [False, False, True, False]
    assert found.now[2] == pytest.approx(min(0.1 + needed * step, 1.0), abs=1e-4)


def test_to_leave_the_first_places_the_nearest_gain_that_does_is_taken(make_set):
    images = make_set(0.9, 0.7, 0.1, 0.8)
    found = play(images, along(*[steady(0.06)] * 4), "top:2,out=0.png")
    assert found.queries == [4, 0, 0, 0]
    assert found.now[0] == pytest.approx(0.66, abs=1e-4)


def test_a_place_that_is_out_of_reach_costs_no_more_than_there_is(make_set):
    images = make_set(0.9, 0.7, 0.1, 0.8)
    found = play(images, along(*[steady(0.001)] * 4), "top:1,into=2.png", total=40)
    assert found.queries == [0, 0, 36, 0]
    assert found.touched == [False] * 4  # nothing has come of it


@pytest.mark.parametrize("fast", [0, 1])
def test_of_two_images_the_one_that_moves_fast_is_asked_about(make_set, fast):
    images = make_set(0.6, 0.4)
    paths = [steady(0.001), steady(0.001)]
    paths[fast] = steady(0.02)
    found = play(images, along(*paths))
    assert srocc(found.clean, found.now) == -1.0
    assert found.total <= 11 + 4
    assert found.queries[fast] >= 10


def test_with_ample_reach_a_ranking_is_inverted_and_the_rest_of_the_budget_is_left(make_set):
    images = make_set(*(0.15 + 0.1 * k for k in range(8)))
    found = play(images, along(*[steady(0.05)] * 8))
    assert srocc(found.clean, found.now) == -1.0
    assert found.total <= 100


def test_images_that_do_not_move_take_few_queries(make_set):
    """Of eight, three do not; for the least SROCC that there is, the others need 75 queries."""
    images = make_set(*(0.15 + 0.1 * k for k in range(8)))
    idle = (1, 4, 6)
    paths = [still if k in idle else steady(0.037) for k in range(8)]
    found = play(images, along(*paths), total=110)
    assert srocc(found.clean, found.now) == pytest.approx(-2 / 3)
    assert max(found.queries[k] for k in idle) <= 14
    assert not any(found.touched[k] for k in idle)


def test_a_place_between_two_pictures_is_reached_by_mixing_them(make_set):
    """The worst jumps to the top, and so does the next one, beyond it: it belongs beneath."""
    images = make_set(0.2, 0.4, 0.6, 0.8)
    found = play(images, along(jump(0.75), jump(0.59), still, still), total=60)
    first, second = found.now[:2]
    assert first == pytest.approx(0.95, abs=1e-4)
    assert 0.8 < second < first
    assert found.queries[0] == 1
    assert found.queries[1] == 2  # the jump, and one mixture in the middle of the place


class Cliff(Mean):
    """Of image 1, it sees a share of any change, and all of the last bit before the jump."""

    def __init__(self, share):
        super().__init__()
        self._share = share

    def __call__(self, images):
        scores = super().__call__(images)
        below = (images[:, 2, 0, 0] == 1) & (scores < 0.98)
        return torch.where(below, 0.4 + self._share * (scores - 0.4), scores)


@pytest.mark.parametrize(("share", "mixtures"), [(0.5, range(2, TRIES + 1)), (0.0, [1])])
def test_mixing_in_vain_is_given_up(make_set, share, mixtures):
    """The same mixture is never paid for twice."""
    images = make_set(0.2, 0.4, 0.6, 0.8)
    attack = along(jump(0.75), jump(0.59), still, still)
    found = play(images, attack, scorer=Cliff(share), total=60)
    assert 0.95 < found.now[1] <= 0.99
    assert found.queries[0] == 1
    assert found.queries[1] - 1 in mixtures


# -- what is expected of searches -----------------------------------------------------------------


def harmonic(n, scale=FIRST):
    return [0.0, *np.cumsum(scale / np.arange(1, n + 1))]


def test_growth_that_falls_off_as_1_over_n_is_foreseen():
    paths, powers = [harmonic(n) for n in (40, 40, 20)], [2**k for k in range(12)]
    growth, path, whole = Growth(paths), harmonic(10), harmonic(4000)
    for queries in (1, 5, 20, 30):
        assert growth.after(path, queries) == pytest.approx(whole[10 + queries])
        gain = np.array([whole[10 + queries] - 1e-9])
        assert growth.queries(path, gain).tolist() == [queries]
    for queries in (100, 1000):  # farther than any search has gone
        assert growth.after(path, queries) == pytest.approx(whole[10 + queries], rel=0.01)
        gain = whole[10 + queries]
        lucky = min(n * (1 + ((gain - path[-1]) / (whole[10 + n] - path[-1])) ** 2) for n in powers)
        found = growth.queries(path, np.array([gain]))[0]
        assert found == pytest.approx(min(queries, lucky), rel=0.05)


def test_with_no_search_yet_growth_is_a_guess():
    for paths in ([], [[0.0]], [[0.0]] * 5):
        growth = Growth(paths)
        assert growth.after([0.0], 0) == 0.0
        assert growth.after([0.0], 1) == pytest.approx(FIRST * math.log(2))
        more = growth.queries([0.0], np.array([0.0, 0.05, 0.1, 0.5, 1.0]))
        assert more[0] == 1.0
        assert (np.diff(more) >= 0.0).all()
        # Expected after e^10 queries, but a few are lucky often enough.
        lucky = [n * (1 + (1.0 / (FIRST * math.log(n + 1))) ** 2) for n in (1, 2, 4, 8, 16)]
        assert more[-1] == pytest.approx(min(lucky))


def test_a_search_that_does_well_is_expected_to_go_on_so():
    paths = [harmonic(20)] * 6
    growth = Growth(paths)
    good, bad, stuck = harmonic(10, 2 * FIRST), harmonic(10, FIRST / 2), [0.0] * 11
    after = [growth.after(path, 10) - path[-1] for path in (good, harmonic(10), bad, stuck)]
    assert after == sorted(after, reverse=True)
    assert after[-1] > 0.0
    needed = [
        growth.queries(path, np.array([path[-1] + 0.05]))[0]
        for path in (good, harmonic(10), bad, stuck)
    ]
    assert needed == sorted(needed)


def test_a_search_with_bad_luck_at_first_is_not_given_up():
    """The mean of five would take a million queries for what one of them reached in ten."""
    slow = harmonic(40, FIRST / 4)
    paths = [harmonic(40), slow, slow, harmonic(10, 2 * FIRST)]
    growth = Growth([*paths, [0.0, 0.0]])
    gain = np.array([paths[-1][-1]])
    assert growth.after([0.0, 0.0], 100) < gain[0]
    assert growth.queries([0.0, 0.0], gain)[0] < 400


def test_growth_ever_after_nothing_is_finite():
    growth = Growth([[0.0] * 200] * 24)
    assert growth.after([0.0] * 200, 1000) < 0.1
    assert np.isfinite(growth.queries([0.0] * 200, np.array([0.5, 1.0]))).all()


# -- failures, order, resuming --------------------------------------------------------------------


def test_an_image_that_fails_in_the_middle_leaves_the_others_going(make_set):
    images = make_set(*(0.15 + 0.1 * k for k in range(6)))
    fatal = picture(0.25 + 3 * 0.05, 1, 3)  # the third of image 1

    def singular(batch):
        if any(torch.equal(image, fatal) for image in batch):
            raise ValueError("singular")

    for batch in (1, 4):
        found = play(
            images,
            along(*[steady(0.05)] * 6),
            scorer=Mean(singular),
            batch=batch,
            retry=NO_RETRY,
        )
        assert not any(found.failed)  # a candidate without a score, and the search goes on
        assert srocc(found.clean, found.now) == -1.0
        assert found.total > 20


def wobbly(task):
    """Lists of 1 to 3, better on the whole; ends by itself now and then."""
    gain, number = 0.0, int(task.image8[2, 0, 0])
    start = float(Mean()(task.image8[None])[0])
    for step in range(60):
        n = int(torch.randint(1, 4, (), generator=task.rng))
        steps = gain + 0.03 * (torch.rand(n, generator=task.rng) - 0.2)
        signed = steps if task.rising else -steps
        answer = yield torch.stack(
            [picture(start + s, number, 4 * step + k) for k, s in enumerate(signed.tolist())]
        )
        gain = max(gain, float(answer.gain.max()))


def enough(scorer, most):
    return most is not None and len(scorer.asked) >= most


ATTACKS = {"wobbly": (wobbly, "none"), "nes": (load_attack("nes"), "linf:20")}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("objective", ["srocc", "top:2"])
def test_the_result_hangs_on_no_batch_and_no_interruption(make_set, name, objective):
    attack, box = ATTACKS[name]
    images = make_set(*(0.3 + 0.06 * k for k in range(6)))
    options = {"objective": objective, "constraint": box, "total": 120, "seed": 4}
    log = QueryLog()
    whole = play(images, attack, log=log, batch=1, **options)
    assert whole.total > 20
    for batch in (3, 16):
        assert play(images, attack, batch=batch, **options).plain == whole.plain
    silent = Mean()
    assert play(images, attack, scorer=silent, log=log, **options).plain == whole.plain
    assert silent.asked == []
    for ends in ([9], [30], [8, 15, 40, 41]):
        log, asked = QueryLog(), []
        for end in [*ends, None]:
            scorer = Mean()

            stop = partial(enough, scorer, None if end is None else end - len(asked))
            size = 1 if end is None else 2
            try:
                last = play(
                    images, attack, scorer=scorer, log=log, stop=stop, batch=size, **options
                )
            except Interrupted:
                assert end is not None
            asked += scorer.asked
        assert last.plain == whole.plain
        assert len(asked) == whole.total + len(images)
        assert max(Counter(asked).values()) == 1


def test_the_order_of_queries_is_kept(make_set):
    images = make_set(*(0.3 + 0.06 * k for k in range(6)))
    found = play(images, wobbly, total=90)
    spent = Counter()
    for name, n in found.order:
        spent[name] += n
    assert [spent[entry.name] for entry in images] == found.queries


def test_a_set_needs_an_objective_of_its_own(make_set):
    with pytest.raises(ValueError, match="the objective is none of a set"):
        play(make_set(0.2, 0.4), wobbly, "rank", total=20)

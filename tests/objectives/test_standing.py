"""Objectives of a whole set: what they value, and which of its pictures each image is to have."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from iqattack.errors import InputError
from iqattack.objectives import SetObjective, parse_objective
from iqattack.objectives.objective import Srocc, Top
from iqattack.objectives.standing import FirstPlaces, RankCorrelation

RANGE = (0.0, 100.0)
relaxed = settings(deadline=None, max_examples=60)
PLACES = st.integers(0, 10**6).map(lambda n: n / 10**6)


def spearman(clean, now, ways=None):
    ways = np.ones(len(clean)) if ways is None else ways
    return RankCorrelation(np.array(clean), np.array(ways), np.ones(len(clean), dtype=bool))


def first(k, clean, *, into=(), out=(), free=None):
    wanted = np.array([(n in into) - float(n in out) for n in range(len(clean))])
    ways = np.where(wanted < 0, -1.0, 1.0)
    chosen = wanted != 0 if free is None else np.array(free)
    return FirstPlaces(np.array(clean, dtype=float), ways, chosen, k, wanted)


@st.composite
def standings(draw, least=2, most=8):
    """One of either kind, of clean positions that all differ."""
    n = draw(st.integers(least, most))
    clean = np.array(draw(st.lists(PLACES, min_size=n, max_size=n, unique=True)))
    ways = np.array(draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=n, max_size=n)))
    free = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    if draw(st.booleans()):
        return RankCorrelation(clean, ways, free)
    k = draw(st.integers(1, n - 1))
    wanted = np.array(draw(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=n, max_size=n)))
    assume(wanted.any() and np.count_nonzero(wanted > 0) <= k)
    return FirstPlaces(clean, ways, free, k, wanted)


@st.composite
def sets(draw, least=2, most=8, pictures=4):
    """A standing, and gains of each image from 0 upwards; all positions differ."""
    standing = draw(standings(least, most))
    gains = [
        np.array([0.0, *sorted(draw(st.lists(PLACES, max_size=pictures - 1, unique=True)))])
        for _ in standing.clean
    ]
    every = np.concatenate([standing.at(k, one) for k, one in enumerate(gains)])
    assume(len(np.unique(every.round(9))) == len(every))
    return standing, gains


# -- values and costs -----------------------------------------------------------------------------


@relaxed
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=9))
def test_the_value_of_a_rank_correlation_is_spearmans(pairs):
    clean, now = np.array(pairs, dtype=float).T
    found = spearman(clean, now).value(now)
    if len(set(clean)) == 1 or len(set(now)) == 1:
        assert found == 1.0
    else:
        assert found == pytest.approx(spearmanr(clean, now).statistic)


@relaxed
@given(sets(), st.data())
def test_costs_differ_as_potentials_do(given_, data):
    standing, gains = given_
    now = standing.positions(gains, [data.draw(st.integers(0, len(g) - 1)) for g in gains])
    for number, one in enumerate(gains):
        places = standing.at(number, one)
        stood = np.array([_moved(standing, now, number, place) for place in places])
        costs = standing.costs(number, places, now)
        assert np.allclose(costs - costs[0], stood - stood[0], atol=1e-9)


def _moved(standing, now, number, place):
    there = now.copy()
    there[number] = place
    return standing.potential(there)


@pytest.mark.parametrize(
    ("now", "value"),
    [
        ([0.1, 0.2, 0.3, 0.4], 1.0),  # neither has gone where it is to go
        ([0.35, 0.2, 0.3, 0.4], 0.5),  # the one that is to come is there
        ([0.5, 0.2, 0.3, 0.4], 0.5),  # first; but second place is still that of the other
        ([0.1, 0.2, 0.3, 0.15], 0.5),  # the one that is to go has gone
        ([0.35, 0.2, 0.3, 0.25], 0.0),
        ([0.3, 0.2, 0.3, 0.25], 0.0),  # two for two places
        ([0.2, 0.2, 0.3, 0.1], 0.5),  # a tie for the last one: it may be the other's
        ([0.3, 0.2, 0.25, 0.25], 0.5),  # a tie for the last one: it may be its own
        ([0.3, 0.3, 0.3, 0.3], 1.0),
    ],
)
def test_the_share_of_images_that_are_not_where_they_are_to_be(now, value):
    """Two places; image 0 is to come, image 3 to go. A tie counts against the attacker."""
    standing = first(2, [0.1, 0.2, 0.3, 0.4], into=[0], out=[3])
    assert standing.value(np.array(now)) == value


def test_passes_say_how_far_it_is():
    """Two places of five images, best last."""
    clean = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    come = first(2, clean, into=[0])
    assert [come.passes(np.array([at, *clean[1:]])) for at in (0.1, 0.25, 0.35, 0.45, 0.6)] == [
        3, 2, 1, 0, 0,
    ]  # fmt: skip
    assert come.passes(np.array([0.4, *clean[1:]])) == 1  # a tie is no pass
    go = first(2, clean, out=[4])
    assert [go.passes(np.array([*clean[:4], at])) for at in (0.5, 0.35, 0.25)] == [2, 1, 0]
    assert go.passes(np.array([*clean[:4], 0.3])) == 1


@relaxed
@given(standings(), st.data())
def test_passes_count_less_than_an_image_in_its_place(standing, data):
    assume(isinstance(standing, FirstPlaces))
    n = len(standing.clean)
    one, other = (np.array(data.draw(st.lists(PLACES, min_size=n, max_size=n))) for _ in "ab")
    if standing.value(one) < standing.value(other):
        assert standing.potential(one) < standing.potential(other)


# -- choosing -------------------------------------------------------------------------------------


@given(sets(), st.data())
@relaxed
def test_a_choice_is_no_worse_than_what_it_began_with(given_, data):
    standing, gains = given_
    start = [
        data.draw(st.integers(0, len(g) - 1)) if free else 0
        for g, free in zip(gains, standing.free, strict=True)
    ]
    clean = [0] * len(gains)
    largest = [len(g) - 1 if f else 0 for g, f in zip(gains, standing.free, strict=True)]
    chosen = standing.chosen(gains, start)
    value = standing.potential(standing.positions(gains, chosen))
    for begun in (start, clean, largest):
        assert value <= standing.potential(standing.positions(gains, begun)) + 1e-9
    assert all(free or k == 0 for k, free in zip(chosen, standing.free, strict=True))
    assert standing.chosen(gains, chosen) == chosen or value == pytest.approx(
        standing.potential(standing.positions(gains, standing.chosen(gains, chosen)))
    )


def random_set(chance, kind, grid=None):
    """Up to five images with up to four pictures each; with a grid, many positions are equal."""

    def drawn(n):
        return chance.random(n) if grid is None else chance.integers(0, grid, n) / grid

    n = int(chance.integers(2, 6))
    clean, free = drawn(n), np.ones(n, dtype=bool)
    gains = [np.unique([0.0, *drawn(chance.integers(0, 4))]) for _ in range(n)]
    if kind == "srocc":
        return RankCorrelation(clean, np.where(clean > np.median(clean), -1.0, 1.0), free), gains
    k = int(chance.integers(1, n))
    last = np.sort(clean)[::-1][k - 1]
    ways = np.where(clean >= last, -1.0, 1.0)
    return FirstPlaces(clean, ways, free, k, np.where(ways < 0, -1.0, 0.0)), gains


def best_of_all(standing, gains):
    every = itertools.product(*(range(len(one)) for one in gains))
    return min(standing.value(standing.positions(gains, one)) for one in every)


@pytest.mark.parametrize(("kind", "share", "most"), [("srocc", 0.98, 0.2), ("top", 1.0, 0.0)])
def test_a_choice_is_the_best_of_all_nearly_always(kind, share, most):
    """Of 200 sets, 198 by SROCC, which is 0.2 higher at worst; and all by first places."""
    chance, sets_, missed = np.random.default_rng(0), 50, []
    for _ in range(sets_):
        standing, gains = random_set(chance, kind)
        found = standing.value(standing.positions(gains, standing.chosen(gains, [0] * len(gains))))
        missed.append(found - best_of_all(standing, gains))
    assert min(missed) >= -1e-9
    assert np.mean(np.array(missed) <= 1e-9) >= share
    assert max(missed) <= most + 1e-9


@pytest.mark.parametrize("kind", ["srocc", "top"])
def test_with_ties_a_choice_is_no_worse_than_clean_images_and_the_largest_gains(kind):
    """Costs leave ties aside."""
    chance = np.random.default_rng(1)
    for _ in range(60):
        standing, gains = random_set(chance, kind, grid=6)
        clean, largest = [0] * len(gains), [len(one) - 1 for one in gains]
        found = standing.value(standing.positions(gains, standing.chosen(gains, clean)))
        for begun in (clean, largest):
            assert found <= standing.value(standing.positions(gains, begun)) + 1e-9


def test_of_equal_places_the_smallest_gain_is_taken():
    clean = np.array([0.0, 0.5])
    standing = RankCorrelation(clean, np.array([1.0, -1.0]), np.array([True, True]))
    gains = [np.array([0.0, 0.1, 0.6, 0.7, 0.9]), np.array([0.0])]
    assert standing.chosen(gains, [0, 0]) == [2, 0]
    assert standing.chosen(gains, [4, 0]) == [2, 0]
    assert standing.chosen([gains[0][:2], gains[1]], [1, 0]) == [0, 0]


def test_of_equal_values_the_fewest_images_are_touched():
    """Either of two swaps them; both are needed where neither goes all the way."""
    both = np.array([True, True])
    standing = RankCorrelation(np.array([0.2, 0.6]), np.array([1.0, -1.0]), both)
    one = standing.chosen([np.array([0.0, 0.5]), np.array([0.0, 0.5])], [1, 1])
    assert sorted(one) == [0, 1]
    half = [np.array([0.0, 0.25]), np.array([0.0, 0.25])]
    assert standing.chosen(half, [0, 0]) == [1, 1]


# -- objectives -----------------------------------------------------------------------------------


def ways(spec, clean, lower_better=False):
    targets = parse_objective(spec).targets(clean, RANGE, lower_better)
    return [target.direction for target in targets]


@pytest.mark.parametrize("lower_better", [False, True])
def test_srocc_goes_the_ways_of_rank(lower_better):
    clean = [80.0, 10.0, 60.0, 30.0, 50.0]
    assert ways("srocc", clean, lower_better) == ways("rank", clean, lower_better)


@pytest.mark.parametrize(
    ("lower_better", "k", "expected"),
    [
        (False, 1, "down up up up"),
        (False, 2, "down up down up"),
        (True, 1, "up down up up"),
        (True, 2, "up down up down"),
        (False, 9, "down down down down"),
    ],
)
def test_the_first_places_go_down_and_all_others_up(lower_better, k, expected):
    assert ways(f"top:{k}", [80.0, 10.0, 60.0, 30.0], lower_better) == expected.split()


def test_equal_scores_are_all_among_the_first():
    assert ways("top:2", [5.0, 7.0, 5.0, 1.0]) == ["down", "down", "down", "up"]
    assert ways("top:1", []) == []


@pytest.mark.parametrize("lower_better", [False, True])
def test_a_standing_has_qualities(lower_better):
    """In widths of the range, larger ones better; gains move them the way of the target."""
    clean = [80.0, 10.0, 60.0, 30.0]
    objective = parse_objective("srocc")
    assert isinstance(objective, Srocc)
    targets = objective.targets(clean, RANGE, lower_better)
    standing = objective.standing(list("abcd"), targets)
    sign = -1.0 if lower_better else 1.0
    assert standing.clean == pytest.approx([sign * score / 100 for score in clean])
    assert standing.free.all()
    for number, target in enumerate(targets):
        moved = standing.at(number, np.array([target.gain(clean[number] + 5.0)]))[0]
        assert moved == pytest.approx(sign * (clean[number] + 5.0) / 100)


@pytest.mark.parametrize(
    ("spec", "free", "wanted"),
    [
        ("top:1", [1, 1, 1], [-1, 0, 0]),
        ("top:2", [1, 1, 1], [-1, 0, -1]),
        ("top:1,into=b.png", [0, 1, 0], [0, 1, 0]),
        ("top:2,out=a.png", [1, 0, 0], [-1, 0, 0]),
        ("top:2,into=b.png,out=a.png,out=c.png", [1, 1, 1], [-1, 1, -1]),
    ],
)
def test_only_named_pictures_are_changed(spec, free, wanted):
    objective, clean = parse_objective(spec), [80.0, 10.0, 60.0]
    assert isinstance(objective, Top)
    standing = objective.standing(
        ["a.png", "b.png", "c.png"], objective.targets(clean, RANGE, lower_better=False)
    )
    assert isinstance(standing, FirstPlaces)
    assert standing.free.tolist() == [bool(one) for one in free]
    assert standing.wanted.tolist() == wanted
    assert standing.k == objective.k


@pytest.mark.parametrize(
    ("spec", "objective"),
    [
        ("srocc", Srocc()),
        ("top:3", Top(3)),
        ("top:3,into=a.png", Top(3, ("a.png",))),
        ("top:3,into=a.png,out=b.png", Top(3, ("a.png",), ("b.png",))),
        ("top:2,into=a=b.png,into=sub/c d.png", Top(2, ("a=b.png", "sub/c d.png"))),
    ],
)
def test_names_are_parsed_back(spec, objective):
    assert parse_objective(spec) == objective
    assert objective.name == spec
    assert isinstance(objective, SetObjective)
    assert objective.of_set


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("top:0", "objective 'top:0': expected at least 1 place, e.g. top:3"),
        ("top", "objective 'top': expected how many places, e.g. top:3"),
        ("top:", "objective 'top:': expected how many places, e.g. top:3"),
        ("top:-1", "objective 'top:-1': expected how many places, e.g. top:3"),
        ("top:3.5", "objective 'top:3.5': expected how many places, e.g. top:3"),
        ("top:a.png", "objective 'top:a.png': expected how many places, e.g. top:3"),
        (
            "top:1,into=a,into=b",
            "objective 'top:1,into=a,into=b': 2 pictures do not fit into 1 places",
        ),
        ("top:2,into=a,into=a", "objective 'top:2,into=a,into=a': names a twice; once is enough"),
        ("top:2,into=a,out=a", "objective 'top:2,into=a,out=a': names a twice; once is enough"),
        (
            "top:2,into=a,b.png",
            "objective 'top:2,into=a,b.png': 'b.png' is neither into=IMAGE nor out=IMAGE, such as "
            "top:3,into=a.png; an image whose name has a comma has to be renamed",
        ),
        ("srocc:0.2", "objective 'srocc:0.2': srocc takes no score boundary; write srocc"),
    ],
)
def test_what_is_refused(spec, message):
    with pytest.raises(InputError) as error:
        parse_objective(spec)
    assert str(error.value) == message


@pytest.mark.parametrize("field", ["in=a", "into", "into=", "=a", "", " into=a"])
def test_fields_of_places_that_are_none(field):
    with pytest.raises(InputError, match=f"'{field}' is neither into=IMAGE nor out=IMAGE"):
        parse_objective(f"top:2,{field}")


def test_a_misspelt_objective_is_suggested():
    with pytest.raises(InputError, match="did you mean 'srocc'"):
        parse_objective("sroc")


def test_a_picture_that_is_not_there_is_refused():
    objective = parse_objective("top:1,into=kodim1.png")
    assert isinstance(objective, Top)
    targets = objective.targets([1.0, 2.0], RANGE, lower_better=False)
    with pytest.raises(InputError, match=r"kodim1\.png.*such as kodim01\.png"):
        objective.standing(["kodim01.png", "other.png"], targets)


@pytest.mark.parametrize("n", [1, 2])
def test_as_many_places_as_images_are_refused(n):
    objective = parse_objective("top:2")
    assert isinstance(objective, Top)
    targets = objective.targets([1.0, 2.0][:n], RANGE, lower_better=False)
    with pytest.raises(InputError, match=f"'top:2': {n} images, of which all are among the first"):
        objective.standing(["a", "b"][:n], targets)

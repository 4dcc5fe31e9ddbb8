import math
from itertools import pairwise

import numpy as np
import pytest

from iqattack.evaluation import bootstrap_interval, srocc
from iqattack.evaluation.verdict import (
    FEWEST,
    RANKINGS,
    images_by_fieller,
    images_needed,
    judge,
    noise_gain,
)

NAN = (math.nan, math.nan)


def ranked(value, low, high, images=30, **more):
    """The kind of verdict from the ranking, for a model without other findings."""
    return judge(value, (low, high), images, **{"gain": 0.2, "queries": 100, **more}).kind


def test_each_kind_at_the_bounds_of_its_srocc():
    """With an interval that holds nothing else."""
    for (kind, least, _), (below, *_) in pairwise(RANKINGS):
        under = math.nextafter(least, -1)
        assert ranked(least, least, least) == kind
        assert ranked(under, under, under) == below
    assert ranked(1.0, 1.0, 1.0) == "kept"
    assert ranked(-1.0, -1.0, -1.0) == "reversed"


@pytest.mark.parametrize(
    ("value", "low", "high", "kind"),
    [
        (0.97, 0.81, 1.0, "kept"),
        (0.97, 0.8, 1.0, "open"),
        (0.85, 0.41, 0.99, "slight"),
        (0.85, 0.4, 0.99, "open"),
        (0.6, -0.19, 0.94, "strong"),
        (0.6, -0.2, 0.9, "open"),
        (0.6, 0.1, 0.95, "open"),
        (0.1, -1.0, 0.79, "lost"),
        (0.1, -0.3, 0.8, "open"),
        (-0.71, -0.9, -0.01, "reversed"),
        (
            -0.71,
            -0.9,
            0.0,
            "lost",
        ),  # 0 lies within: no ranking is left, and none shown to be turned
        (-0.71, -1.0, 0.79, "lost"),
        (-0.71, -1.0, 0.8, "open"),
        (-0.71, *NAN, "open"),
    ],
)
def test_the_interval_decides(value, low, high, kind):
    assert ranked(value, low, high) == kind


@pytest.mark.parametrize(
    ("images", "kind"),
    [
        (1, "none"),
        (2, "none"),
        (3, "few"),
        (6, "few"),
        (9, "few"),
        (10, "reversed"),
        (30, "reversed"),
    ],
)
def test_the_number_of_images_decides(images, kind):
    judged = judge(-0.9, (-1.0, -0.5), images, gain=0.2, queries=100)
    assert judged.kind == kind
    assert judged.needed == (None if kind == "reversed" else FEWEST)


def test_six_images_whose_interval_holds_zero_are_not_turned_round():
    judged = judge(-0.71, (-1.0, 0.09), 6, gain=0.2, queries=100)
    assert judged.kind == "few"
    assert judged.needed == FEWEST


def test_images_needed_narrow_the_interval_as_fisher_has_it():
    # artanh 0.5 = 0.549; the end 0 is 0.549 away, the bound 0.4 is 0.549 − 0.424 = 0.126 away.
    bounds = (0.4, math.inf)
    expected = 3 + math.ceil(27 * (math.atanh(0.5) / (math.atanh(0.5) - math.atanh(0.4))) ** 2)
    assert images_needed(0.5, (0.0, 0.8), 30, bounds) == expected > 30
    assert images_needed(0.5, (0.45, 0.8), 30, bounds) is None
    assert images_needed(0.5, NAN, 30, bounds) is None
    assert images_needed(1.0, (0.0, 1.0), 3, bounds) > 3  # artanh 1 is infinite


def test_few_images_need_as_many_as_fieller_has_it():
    # artanh −0.3 = −0.3095; the bound of `reversed` is 0.
    assert images_by_fieller(-0.3, (-math.inf, 0.0)) == 3 + math.ceil(1.06 * (1.96 / 0.30952) ** 2)
    judged = judge(-0.3, (-0.9, 1.0), 6, gain=0.2, queries=100)
    assert (judged.kind, judged.needed) == ("few", 46)
    # An interval of Fisher's own at that number of images just lies within the bounds.
    for n, within in ((46, True), (45, False)):
        high = math.tanh(math.atanh(-0.3) + 1.96 * math.sqrt(1.06 / (n - 3)))
        assert (high < 0) == within


def test_all_scores_equal():
    assert judge(math.nan, NAN, 30, gain=0.0, queries=100, constant=True).kind == "constant"
    assert judge(math.nan, NAN, 2, gain=0.0, queries=100, constant=True).kind == "constant"
    # Clean scores differ, and the attack made all the same.
    assert judge(math.nan, NAN, 30, gain=0.2, queries=100).kind == "lost"
    assert judge(math.nan, NAN, 9, gain=0.2, queries=100).kind == "few"
    assert judge(math.nan, NAN, 0, gain=math.nan, queries=100).kind == "none"


def test_noise_that_explains_the_gain():
    noise = 0.01
    most = noise_gain(noise, 100)
    assert most == pytest.approx(0.01 * math.sqrt(2 * math.log(100)))
    assert ranked(-0.9, -1.0, -0.8, noise=noise, gain=2 * most) == "noise"
    assert ranked(-0.9, -1.0, -0.8, noise=noise, gain=math.nextafter(2 * most, 1)) == "reversed"
    # The best of so many draws does stay below that.
    draws = np.random.default_rng(0).normal(scale=noise, size=(2000, 100))
    assert 0.7 * most < draws.max(axis=1).mean() < most


def test_noise_that_makes_the_ranking():
    spread = 0.05
    assert ranked(0.1, -0.1, 0.3, noise=0.71 * spread, spread=spread, gain=0.9) == "noise"
    assert ranked(0.1, -0.1, 0.3, noise=0.70 * spread, spread=spread, gain=0.9) == "lost"


def test_a_batch_that_moves_scores_as_far_as_the_attack():
    assert ranked(-0.9, -1.0, -0.8, batch=0.1) == "batch"  # known within a factor of two
    assert ranked(-0.9, -1.0, -0.8, batch=0.0999) == "reversed"
    assert ranked(1.0, 1.0, 1.0, batch=0.0, gain=0.0) == "kept"  # nothing moved, nothing depends


def test_a_batch_that_makes_the_ranking():
    spread = 0.05
    assert ranked(0.1, -0.1, 0.3, batch=0.71 * spread, spread=spread, gain=0.9) == "batch"
    assert ranked(0.1, -0.1, 0.3, batch=0.70 * spread, spread=spread, gain=0.9) == "lost"


@pytest.mark.parametrize("kind", ["workers", "drift"])
def test_what_another_process_or_time_does(kind):
    assert ranked(-0.9, -1.0, -0.8, **{kind: 0.1}) == kind
    assert ranked(-0.9, -1.0, -0.8, **{kind: 0.0999}) == "reversed"
    assert ranked(0.1, -0.1, 0.3, **{kind: 0.0355}, spread=0.05, gain=0.9) == kind


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"nonfinite": 0.49}, "kept"),
        ({"nonfinite": 0.5}, "nonfinite"),
        ({"without_reach": 15}, "kept"),
        ({"without_reach": 16}, "unattacked"),  # more than half of 30
        ({"without_reach": 30, "gain": 0.0, "noise": 0.1}, "unattacked"),
        ({"queries": 1}, "unattacked"),  # the clean image alone
        ({"queries": 2}, "kept"),
        ({"queries": 1, "constant": True}, "constant"),
        ({"filled": 1e-4}, "flat"),
        ({"filled": 1.01e-4}, "kept"),
        ({"filled": 0.0, "without_reach": 30}, "flat"),
    ],
)
def test_what_was_hardly_attacked_or_hardly_differs(fields, kind):
    assert ranked(1.0, 1.0, 1.0, **fields) == kind


def test_one_image_is_not_flat():
    assert ranked(math.nan, *NAN, 1, filled=0.0) == "none"
    assert ranked(math.nan, *NAN, 2, filled=0.0) == "flat"


def closed_form(clean, attacked):
    """The kind of a verdict on two sets of scores."""
    interval = bootstrap_interval(srocc, clean, attacked)
    return judge(srocc(clean, attacked), interval, len(clean), gain=0.1, queries=100).kind


def test_scores_of_a_known_ranking():
    x = np.arange(30.0)
    assert closed_form(x, x + 5) == "kept"
    assert closed_form(x, -x) == "reversed"
    assert closed_form(x, np.where(x % 2, x, 30 - x)) == "lost"  # half of it turned
    assert closed_form(x // 10, x // 10) == "kept"  # ties on both sides
    assert closed_form(x, np.ones(30)) == "lost"
    assert closed_form(x[:6], -x[:6]) == "few"
    assert closed_form(x[:2], -x[:2]) == closed_form(x[:1], -x[:1]) == "none"

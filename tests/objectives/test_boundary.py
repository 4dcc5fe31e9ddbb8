import math

import pytest
import torch

from iqattack.errors import InputError
from iqattack.objectives import ScoreBoundary, parse_objective


def test_a_boundary_lies_a_fraction_of_the_way_to_the_end() -> None:
    boundary = ScoreBoundary(reach=0.6, fraction=0.25)
    assert boundary.gain == pytest.approx(0.15)
    assert boundary.crossed(0.16)
    assert not boundary.crossed(0.14)
    gains = torch.tensor([-0.5, 0.0, boundary.gain, 0.6, math.nan], dtype=torch.float64)
    assert boundary.crossed(gains).tolist() == [False, False, True, True, False]


@pytest.mark.parametrize("lower_better", [False, True])
@pytest.mark.parametrize("clean", [0.1, 33.3, 71.7])
def test_it_is_where_the_paper_has_it(clean, lower_better) -> None:
    """y0 + (M − y0)·b, in raw scores; the end itself is crossed at b = 1."""
    (target,) = parse_objective("up").targets([clean], (-3.0, 97.0), lower_better)
    for b in (0.01, 0.5, 1.0):
        boundary = ScoreBoundary(target.reach, b)
        score = clean + (target.end - clean) * b
        assert target.gain(score) == pytest.approx(boundary.gain)
    assert ScoreBoundary(target.reach, 1.0).crossed(target.gain(target.end))


def test_without_reach_the_clean_image_is_across() -> None:
    assert ScoreBoundary(0.0, 0.5).crossed(0.0)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan])
def test_fractions_outside_are_refused(fraction) -> None:
    with pytest.raises(InputError, match="expected a fraction from 0 to 1"):
        ScoreBoundary(0.5, fraction)


@pytest.mark.parametrize("reach", [-0.1, math.inf, math.nan])
def test_an_impossible_reach_is_refused(reach) -> None:
    with pytest.raises(InputError, match="reach"):
        ScoreBoundary(reach, 0.5)

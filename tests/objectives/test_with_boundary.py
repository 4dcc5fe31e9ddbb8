import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqattack.errors import InputError
from iqattack.objectives import OBJECTIVES, Rank, ScoreBoundary, parse_objective
from iqattack.objectives.objective import WithBoundary

bases = st.sampled_from(sorted(OBJECTIVES))


@given(base=bases, fraction=st.floats(0, 1, exclude_min=True))
def test_names_read_back(base, fraction) -> None:
    objective = WithBoundary(OBJECTIVES[base], fraction)
    assert parse_objective(objective.name) == objective


def test_its_name_is_short() -> None:
    assert parse_objective("rank:0.20").name == "rank:0.2"
    assert parse_objective("up:1.0").name == "up:1"


@given(
    base=bases,
    clean=st.lists(st.floats(-20, 120), max_size=9),
    fraction=st.floats(0.01, 1),
    lower_better=st.booleans(),
)
def test_targets_are_those_of_the_other_with_a_boundary(
    base, clean, fraction, lower_better
) -> None:
    plain = parse_objective(base).targets(clean, (0.0, 100.0), lower_better)
    bounded = parse_objective(f"{base}:{fraction}").targets(clean, (0.0, 100.0), lower_better)
    assert [replace(target, fraction=None) for target in bounded] == plain
    for one, other in zip(bounded, plain, strict=True):
        assert one.boundary == ScoreBoundary(one.reach, fraction)
        assert other.boundary is None


def test_the_boundary_in_raw_scores() -> None:
    """20 % of the way from 70 down to 0 is 56."""
    (target,) = parse_objective("down:0.2").targets([70.0], (0.0, 100.0), lower_better=False)
    assert target.boundary is not None
    assert target.boundary.crossed(target.gain(55.9))
    assert not target.boundary.crossed(target.gain(56.1))


@pytest.mark.parametrize("fraction", [0.0, -0.2, 1.01, 20.0, math.inf, math.nan])
def test_fractions_that_are_none_are_refused(fraction) -> None:
    with pytest.raises(InputError, match=r"^objective 'rank:.*above 0 and up to 1") as error:
        WithBoundary(Rank(), fraction)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("spec", ["rank:", "rank:much", "rank:0.2:0.3", "up:20%"])
def test_what_is_no_number_is_refused_with_an_example(spec) -> None:
    with pytest.raises(InputError, match=r"is not a number, expected e\.g\. rank:0\.2") as error:
        parse_objective(spec)
    assert f"'{spec}'" in str(error.value)


def test_an_unknown_base_gets_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown objective 'rnk': did you mean 'rank'"):
        parse_objective("rnk:0.2")

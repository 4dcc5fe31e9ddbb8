import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from iqattack.directions import Stroke, ranked, read_profile
from iqattack.directions.profile import in_order
from iqattack.errors import InputError

GAINS = np.array(
    [
        [0.3, 0.0, 0.2],
        [0.0, 0.25, 0.2],
        [-9.0, 0.1, 0.2],
    ]
)


def test_the_order_is_greedy_for_the_best_gain_so_far():
    """0.2 for all comes first, though 0.3 is the largest; a loss costs a query, no more."""
    assert in_order(GAINS, 3) == [2, 0, 1]
    assert in_order(GAINS, 2) == [2, 0]


def test_what_brings_nothing_more_is_left_out():
    assert in_order(np.array([[0.2, 0.2, -1.0]]), 3) == [0]
    assert in_order(np.zeros((2, 3)), 3) == []


def test_the_gains_are_told():
    strokes = [Stroke(direction=name) for name in ("noise", "grain 1", "blur 1")]
    best, second = ranked(strokes, GAINS, 2)
    assert (best.direction, second.direction) == ("blur 1", "noise")
    assert best.gain == best.together == pytest.approx(0.2)
    assert second.gain == pytest.approx(-2.9)
    assert second.together == pytest.approx(0.7 / 3)


@given(
    hnp.arrays(
        float,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(-1, 1),
    )
)
def test_each_one_adds_something_and_all_of_them_all(gains):
    order = in_order(gains, gains.shape[1])
    so_far = np.maximum.accumulate(np.maximum(gains[:, order], 0.0), axis=1).mean(0)
    assert len(set(order)) == len(order)
    assert (np.diff(so_far, prepend=0.0) > 0.0).all()
    assert np.append(so_far, 0.0).max() == pytest.approx(np.maximum(gains.max(1), 0.0).mean())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Invalid JSON"),
        ("{}", "version: Field required"),
        ('{"strokes": [{"direction": "blurr", "gain": 1, "together": 1}]}', "blurr"),
    ],
)
def test_a_file_that_is_none(tmp_path, text, message):
    path = tmp_path / "profile.json"
    path.write_text(text)
    with pytest.raises(InputError, match="expected a file that iqattack profile wrote") as reported:
        read_profile(path)
    assert str(path) in str(reported.value)
    if "strokes" not in text:
        assert message in str(reported.value)


@pytest.mark.parametrize(
    ("stroke", "message"),
    [
        ({"filter": [1.0] * 3}, "3 coefficients are no filter"),
        ({"filter": [1.0] * 16}, "16 coefficients are no filter"),
        ({"filter": [1.0] * 361}, "361 coefficients are no filter; .* up to 17"),
        ({"filter": []}, "0 coefficients"),
        ({"filter": [0.0] * 9, "weight": 0.0}, "are 0"),
        ({"weight": float("nan")}, "finite"),
        ({"turned": [3]}, "less than or equal to 2"),
    ],
)
def test_a_stroke_that_is_none(stroke, message):
    with pytest.raises(ValueError, match=message):
        Stroke(direction="noise", **stroke)


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_profile(tmp_path / "profile.json")

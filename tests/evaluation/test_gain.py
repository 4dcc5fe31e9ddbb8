import numpy as np
import pytest

from iqattack.errors import InputError
from iqattack.evaluation import mean_gain, normalised_gain


def test_gain_is_signed_by_the_direction():
    gain = normalised_gain([20, 80, 50], [30, 60, 45], [1, -1, 1], (0, 100))
    np.testing.assert_allclose(gain, [0.1, 0.2, -0.05])
    assert mean_gain(gain) == pytest.approx(0.25 / 3)


def test_gain_is_a_fraction_of_the_range():
    np.testing.assert_allclose(normalised_gain([0], [1], 1, (-3, 3)), [1 / 6])


def test_an_image_without_a_score_is_left_out_of_the_mean():
    gain = normalised_gain([1, np.nan, 3], [2, 2, 3], 1, (0, 10))
    assert np.isnan(gain[1])
    assert mean_gain(gain) == pytest.approx(0.05)
    assert np.isnan(mean_gain([]))


@pytest.mark.parametrize("score_range", [(1, 1), (2, 1), (0, np.inf), (np.nan, 1)])
def test_empty_range(score_range):
    with pytest.raises(InputError, match="two finite numbers, the lower first"):
        normalised_gain([1], [2], 1, score_range)


def test_lengths_must_agree():
    with pytest.raises(InputError, match=r"\(2,\), \(3,\), \(\).*one value per image"):
        normalised_gain([1, 2], [1, 2, 3], 1, (0, 1))

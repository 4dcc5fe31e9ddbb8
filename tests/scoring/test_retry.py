import math

import pytest

from iqattack.errors import InputError
from iqattack.scoring import Retry


@pytest.mark.parametrize(
    ("tries", "doubled"), [(1, 0.5), (2, 1.0), (4, 4.0), (9, 5.0), (9999, 5.0)]
)
def test_pauses_double_up_to_the_longest(tries, doubled):
    retry = Retry(first_s=0.5, longest_s=5.0)
    pauses = [retry.pause(tries) for _ in range(200)]
    assert all(doubled <= pause <= doubled + 0.5 for pause in pauses)
    assert max(pauses) - min(pauses) > 0.25  # many calls do not retry at once


def test_a_service_may_ask_for_a_longer_pause():
    assert Retry(first_s=0.5).pause(1, 30.0) == 30.0
    assert Retry(first_s=0.5).pause(1, 0.1) >= 0.5


@pytest.mark.parametrize("change", [{"retries": -1}, {"first_s": -1.0}, {"longest_s": math.nan}])
def test_numbers_that_mean_nothing(change):
    with pytest.raises(InputError, match="expected 0 or more"):
        Retry(**change)

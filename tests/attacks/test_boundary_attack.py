from collections import deque

import pytest
import torch

from iqattack.attacks.decision_based.boundary import EPSILON, HALVINGS, adapted, boundary_attack
from iqattack.objectives import ScoreBoundary


@pytest.mark.parametrize(
    ("successes", "factor"), [(9, 1.0), (10, 1.5), (6, 1.5), (5, 1.0), (2, 1.0), (1, 1 / 1.5)]
)
def test_lengths_follow_the_share_of_successes(successes, factor) -> None:
    trials = 9 if successes == 9 else 10
    outcomes = deque([True] * successes + [False] * (trials - successes), maxlen=10)
    assert adapted(outcomes, 10, 0.5, 0.2) == pytest.approx(factor)
    assert len(outcomes) == (9 if trials == 9 else 0)  # they count anew


def test_steps_lie_on_the_sphere_and_then_nearer(make_task, play) -> None:
    goal = ScoreBoundary(1.0, 0.5)
    image = torch.full((3, 12, 12), 128.0)
    task = make_task(image, radius=120.0, queries=1 + HALVINGS + 60, boundary=goal)
    asked = iter(range(1000))
    # The first one crosses and nothing later does.
    played = play(boundary_attack(task), task, lambda x: 1.0 if next(asked) == 0 else 0.0)
    d = float((played.images[0] - image).norm())
    ratios = [float((z - image).norm()) / d for z in played.candidates[1 + HALVINGS :]]
    assert ratios[0] == pytest.approx(1.0, rel=0.01)  # a check on the sphere, every tenth step
    assert ratios[11] == pytest.approx(1.0, rel=0.01)
    assert ratios[1:11] == pytest.approx([1.0 - EPSILON] * 10, rel=0.01)


def test_where_all_crosses_it_walks_to_the_image_and_ends(make_task, play) -> None:
    image = torch.full((3, 6, 6), 128.0)
    task = make_task(image, radius=50.0, queries=3000, boundary=ScoreBoundary(1.0, 0.5))
    played = play(boundary_attack(task), task, lambda x: 1.0)
    assert played.ended
    assert torch.equal(played.images[-1], image)

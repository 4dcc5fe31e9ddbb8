"""The transfer attack: walks along the gradient of a substitute, on busy places first."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from iqattack.attacks import load_attack
from iqattack.attacks.reference.transfer import FLAT, activity


def along(w):
    return lambda spec: w.expand_as


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_substitute_that_is_the_model_leads_to_the_optimum(
    natural, make_task, play, sign
) -> None:
    w = torch.randn(3, 12, 20, generator=torch.Generator().manual_seed(0))
    task = make_task(natural(12, 20), radius=4.0, queries=100, reach=1e9)

    def gain(x):
        return float(sign * (w * (x - task.image)).sum())

    corner = torch.where(sign * w > 0, task.upper, task.lower)
    played = play(load_attack("transfer", along(w))(task), task, gain)
    assert played.ended
    assert len(played.gains) == 80
    assert max(played.gains) == pytest.approx(gain(corner))


def test_the_quadratic_is_approached(natural, make_task, play) -> None:
    """A substitute that knows the peak of the model, inside the box."""
    task = make_task(natural(12, 20), radius=8.0, queries=100, reach=1e9)
    peak = (task.image + torch.tensor([3.0, -4.0, 5.0])[:, None, None]).clamp(0, 255)
    start = float((task.image - peak).square().sum())
    attack = load_attack("transfer", lambda spec: lambda x: 2.0 * (peak - x))
    played = play(attack(task), task, lambda x: start - float((x - peak).square().sum()))
    assert max(played.gains) >= 0.9 * start


def test_busy_places_change_first(natural, make_task, play) -> None:
    image = natural(24, 40)
    image[:, :, :20] = 100.0
    w = torch.ones_like(image)
    task = make_task(image, radius=8.0, queries=20)
    played = play(load_attack("transfer", along(w))(task), task, lambda x: 0.0)
    change = (played.candidates[4] - image).abs().mean(0)
    assert float(change[:, :15].max()) == pytest.approx(FLAT * 4.0, rel=1e-3)
    assert float(change[:, 25:].mean()) > 2 * float(change[:, :15].mean())
    unmasked = play(load_attack("transfer:mask=no", along(w))(task), task, lambda x: 0.0)
    assert float((unmasked.candidates[4] - image)[:, :, :15].min()) == pytest.approx(4.0, rel=1e-3)


def test_activity_is_sobels(natural) -> None:
    image = natural(30, 50)
    grey = np.tensordot([0.299, 0.587, 0.114], image.numpy(), 1)
    magnitude = np.hypot(*(ndimage.sobel(grey, axis, mode="nearest") for axis in (0, 1)))
    smooth = ndimage.uniform_filter(magnitude, 3, mode="nearest")
    expected = np.clip(smooth / np.quantile(smooth, 0.95), None, 1.0)
    assert np.allclose(activity(image), expected, atol=1e-3)
    assert not activity(torch.full((3, 9, 9), 70.0)).any()


def test_the_substitute_is_the_one_that_was_named(natural, make_task, play) -> None:
    asked = []

    def gradients(spec):
        asked.append(spec)
        return torch.ones_like

    load_attack("transfer", gradients)
    load_attack("transfer:substitute=cnniqa:some/weights.pth", gradients)
    load_attack("pgd", gradients)
    load_attack("square", gradients)
    assert asked == ["builtin", "cnniqa:some/weights.pth", "attacked"]

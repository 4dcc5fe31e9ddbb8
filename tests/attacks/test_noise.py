from dataclasses import replace

import pytest
import torch

from iqattack.attacks.reference.noise import noise


def candidates(task, count, **options):
    search = noise(task, **options)
    yield next(search)[0]
    for _ in range(count - 1):
        yield search.send(None)[0]


@pytest.mark.parametrize(("kind", "kurtosis"), [("gaussian", 3.0), ("uniform", 1.8)])
def test_the_box_is_the_deviation(make_task, kind, kurtosis) -> None:
    """Fourth moment over squared variance: 3 of a normal, 9/5 of a uniform distribution."""
    task = make_task(torch.full((3, 64, 64), 128.0), radius=5.0)
    (first,) = candidates(task, 1, kind=kind)
    values = (first - task.image) / 5.0
    assert float(values.mean()) == pytest.approx(0.0, abs=0.03)
    assert float(values.var()) == pytest.approx(1.0, abs=0.03)
    assert float((values**4).mean()) == pytest.approx(kurtosis, abs=0.2)


def test_both_kinds_in_turn(make_task) -> None:
    task = make_task(torch.full((3, 32, 32), 128.0), radius=1.0)
    largest = [float((c - task.image).abs().max()) for c in candidates(task, 6)]
    assert [value > 3.0**0.5 + 1e-3 for value in largest] == [True, False] * 3


def test_scored_images_lie_in_the_box_and_mostly_on_it(make_task, play) -> None:
    task = make_task(torch.full((3, 32, 32), 128.0), radius=4.0, queries=10)
    played = play(noise(task), task, lambda x: 0.0)
    for image in played.images:
        change = (image - task.image).abs()
        assert float(change.max()) == 4.0
        assert float((change == 4.0).float().mean()) > 0.3


def test_the_best_grows_with_the_number(make_task, play, linear) -> None:
    """On a linear model gains are normal: the best of 10 is expected at 1.54, of 100 at 2.51.

    In deviations; Gaussian noise alone, inside a box that it does not reach.
    """
    image = torch.full((3, 8, 8), 128.0)
    best = []
    for seed in range(40):
        task = make_task(image, queries=100, seed=seed)
        w = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(1000 + seed))
        gain = linear(image, w / (8.0 * w.norm()))
        wide = replace(task, lower8=(image - 100).clamp(0).byte(), upper8=(image + 100).byte())
        gains = play(noise(task, kind="gaussian"), wide, gain).gains
        best.append((max(gains[:10]), max(gains)))
    ten, hundred = (sum(values) / 40 for values in zip(*best, strict=True))
    assert ten == pytest.approx(1.54, abs=0.3)
    assert hundred == pytest.approx(2.51, abs=0.25)


def test_a_seed_gives_the_same(make_task) -> None:
    image = torch.full((3, 4, 4), 128.0)
    one, other, third = (
        torch.stack([*candidates(make_task(image, seed=seed), 4)]) for seed in (1, 1, 2)
    )
    assert torch.equal(one, other)
    assert not torch.equal(one, third)


def test_nothing_changes_where_the_box_has_no_width(make_task) -> None:
    task = make_task(torch.full((3, 4, 4), 128.0), radius=0.0)
    assert all(torch.equal(candidate, task.image) for candidate in candidates(task, 4))

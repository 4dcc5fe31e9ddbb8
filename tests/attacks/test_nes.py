import pytest
import torch

from iqattack.attacks.nes import nes


@pytest.mark.parametrize(("samples", "expected"), [(40, 0.30), (400, 0.71)])
def test_steps_agree_with_the_gradient_as_far_as_samples_tell(
    make_task, play, samples, expected
) -> None:
    """On a linear model g is Wishart: its cosine to w is about √(m/(m + n + 1)).

    m pairs, n values; the sign of g then agrees with that of w at a share that follows from it:
    for n = 192 and m = 20 or 200 cosines are 0.31 and 0.71.
    """
    image = torch.full((3, 8, 8), 128.0)
    rng = torch.Generator().manual_seed(1000)
    cosines = []
    for seed in range(6):
        w = torch.randn(image.shape, generator=rng)
        task = make_task(image, radius=100.0, queries=samples + 1, reach=1e9, seed=seed)
        played = play(
            nes(task, samples=samples), task, lambda x, w=w: float((w * (x - image)).sum()),
            rounded=False,
        )  # fmt: skip
        g = torch.zeros_like(image)
        for up, down in zip(range(0, samples, 2), range(1, samples, 2), strict=True):
            change = played.gains[up] - played.gains[down]
            g += change * (played.images[up] - played.images[down])
        assert torch.equal(played.images[-1], image + g.sign())  # one grey level along its sign
        cosines.append(float((g * w).sum() / g.norm() / w.norm()))
    assert sum(cosines) / 6 == pytest.approx(expected, abs=0.05)


def test_samples_are_antithetic_around_the_last_step(natural, make_task, play) -> None:
    task = make_task(natural(9, 7), radius=200.0, queries=42, reach=1e9)
    played = play(nes(task, sigma=2.0), task, lambda x: float(x.mean()))
    for first in (0, 21):
        centre = task.image if first == 0 else played.candidates[20]
        probes = played.candidates[first : first + 20]
        for up, down in zip(probes[::2], probes[1::2], strict=True):
            assert not torch.equal(up, down)
            assert torch.allclose((up + down) / 2, centre, atol=1e-4)
    noise = torch.stack(played.candidates[:20:2]) - task.image
    assert float(noise.std()) == pytest.approx(2.0, abs=0.15)


def test_momentum_keeps_the_direction(make_task, play) -> None:
    """With the gains of the second estimate at zero, momentum alone takes the step again."""
    image = torch.full((3, 6, 6), 128.0)
    for momentum, moves in ((0.9, True), (0.0, False)):
        task = make_task(image, radius=50.0, queries=42, reach=1e9)
        asked = iter(range(42))
        played = play(
            nes(task, momentum=momentum), task,
            lambda x, asked=asked: float(x.mean()) if next(asked) < 20 else 0.0,
        )  # fmt: skip
        assert torch.equal(played.images[41], played.images[20]) is not moves

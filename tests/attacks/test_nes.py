from itertools import pairwise

import pytest
import torch

from iqattack.attacks.score_based.nes import estimated, nes

PAPERS = {"mirrored": True, "grey": False}


def estimate(played, centre, samples, mirrored, grey):
    """Samples times what they gained more than their mirror images, or than the mean."""
    gains, noise = torch.tensor(played.gains[:samples]), torch.stack(played.images[:samples])
    if mirrored:
        gains, noise = gains[::2] - gains[1::2], noise[::2] - noise[1::2]
    else:
        gains, noise = gains - gains.mean(), noise - centre
    g = (gains[:, None, None, None] * noise).sum(0)
    return g.mean(0, keepdim=True).expand_as(g) if grey else g


@pytest.mark.parametrize("samples", [40, 400])
@pytest.mark.parametrize("form", [PAPERS, {}], ids=["paper", "default"])
def test_steps_agree_with_the_gradient_as_far_as_samples_tell(
    make_task, play, samples, form
) -> None:
    """On a linear model g is Wishart: its cosine to w is about √(m/(m + n + 1)).

    m pairs, n values; of samples compared with their mean, m is one less than they are, and of
    grey ones n the pixels, and w the sum over channels. The sign of g then agrees with that of w at
    a share that follows from it.
    """
    image = torch.full((3, 8, 8), 128.0)
    mirrored, grey = form.get("mirrored", False), form.get("grey", True)
    m, n = samples // 2 if mirrored else samples - 1, 64 if grey else 192
    rng = torch.Generator().manual_seed(1000)
    cosines = []
    for seed in range(6):
        w = torch.randn(image.shape, generator=rng)
        task = make_task(image, radius=100.0, queries=samples + 1, reach=1e9, seed=seed)
        played = play(
            nes(task, samples=samples, last=1.0, **form), task,
            lambda x, w=w: float((w * (x - image)).sum()), rounded=False,
        )  # fmt: skip
        g = estimate(played, image, samples, mirrored, grey)
        assert torch.equal(played.images[-1], image + g.sign())  # one grey level along its sign
        seen = w.sum(0, keepdim=True).expand_as(w) if grey else w
        cosines.append(float((g * seen).sum() / g.norm() / seen.norm()))
    assert sum(cosines) / 6 == pytest.approx((m / (m + n + 1)) ** 0.5, abs=0.05)


def test_samples_are_antithetic_around_the_last_step(natural, make_task, play) -> None:
    task = make_task(natural(9, 7), radius=200.0, queries=42, reach=1e9)
    played = play(nes(task, sigma=2.0, mirrored=True), task, lambda x: float(x.mean()))
    for first in (0, 21):
        centre = task.image if first == 0 else played.candidates[20]
        probes = played.candidates[first : first + 20]
        for up, down in zip(probes[::2], probes[1::2], strict=True):
            assert not torch.equal(up, down)
            assert torch.allclose((up + down) / 2, centre, atol=1e-4)
    noise = torch.stack(played.candidates[:20:2]) - task.image
    assert float(noise.std()) == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_gain_that_all_samples_have_changes_no_estimate(
    natural, make_task, play, mirrored
) -> None:
    w = torch.randn((3, 9, 7), generator=torch.Generator().manual_seed(3)) / 100
    gradients = []
    for offset in (0.0, 0.5):
        task = make_task(natural(9, 7), radius=200.0, reach=1e9)
        search = estimated(
            task, task.image, 10, sigma=1.0, grey=True, mirrored=mirrored, density=1.0
        )
        played = play(
            search, task, lambda x, at=task.image, more=offset: float((w * (x - at)).sum()) + more
        )
        gradients.append(played.result.gradient)
    assert float(gradients[0].abs().max()) > 0.0
    first, second = gradients
    assert torch.allclose(first, second, atol=1e-5)


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("density", [1.0, 0.2])
def test_what_a_sample_changes(make_task, play, grey, density) -> None:
    """A share of the pixels, the same in all channels, and alike where grey."""
    task = make_task(torch.full((3, 40, 50), 128.0), radius=100.0, queries=20)
    played = play(nes(task, grey=grey, density=density), task, lambda x: 0.0)
    for noise in torch.stack(played.candidates) - task.image:
        changed = noise != 0.0
        assert torch.equal(changed.any(0), changed.all(0))
        assert float(changed.float().mean()) == pytest.approx(density, abs=0.05)
        assert torch.equal(noise, noise[:1].expand_as(noise)) is grey


def test_steps_shrink_from_eta_to_last(make_task, play) -> None:
    task = make_task(torch.full((3, 6, 6), 128.0), radius=100.0, queries=105, reach=1e9)
    search = nes(task, eta=4.0, last=1.0, momentum=0.0)
    played = play(search, task, lambda x: float(x.mean()), rounded=False)
    centres = [task.image, *played.candidates[20::21]]
    steps = [float((b - a).abs().max()) for a, b in pairwise(centres)]
    assert steps == pytest.approx([4.0 - 3.0 * (20 + 21 * k) / 105 for k in range(5)], abs=1e-4)


def test_momentum_keeps_the_direction(make_task, play) -> None:
    """With the gains of the second estimate at zero, momentum alone takes the step again."""
    image = torch.full((3, 6, 6), 128.0)
    for momentum, moves in ((0.9, True), (0.0, False)):
        task = make_task(image, radius=50.0, queries=42, reach=1e9)
        asked = iter(range(42))
        played = play(
            nes(task, momentum=momentum, last=1.0), task,
            lambda x, asked=asked: float(x.mean()) if next(asked) < 20 else 0.0,
        )  # fmt: skip
        assert torch.equal(played.images[41], played.images[20]) is not moves

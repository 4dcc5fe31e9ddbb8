"""Portfolio search on scores that filter search does not see: of single channels."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from iqattack.attacks import load_attack
from iqattack.attacks.shared.painting.canvas import EVERY, Brush, Canvas
from iqattack.directions import BANK, bank, coloured_checkerboards
from iqattack.objectives import ScoreBoundary

HEIGHT, WIDTH = 48, 64


@pytest.fixture
def image(natural):
    return natural(HEIGHT, WIDTH)


def linear(image, w):
    """The score of an image with these weights, 1 at the optimum of ±3."""
    optimum = 3.0 * float(w.abs().sum())
    return lambda x: float((w * (x - image).double()).sum()) / optimum


@pytest.fixture
def opposed(image):
    """Noise that changes sign from green to the others, block by block."""
    ((_, noise),) = bank(image, torch.Generator().manual_seed(0), ["noise"])
    w = noise.expand(3, -1, -1).double().clone()
    down, across = torch.arange(HEIGHT)[:, None] // 16, torch.arange(WIDTH) // 16
    w[1, (down + across) % 2 == 0] *= -1
    w[2] *= 0.5
    return linear(image, w)


def yellow_and_dark(image):
    """A score that wants it darker, and more so a yellow checkerboard, but none that is grey."""
    signs = dict(coloured_checkerboards(image))["yellow checkerboard 2"]
    return linear(image, signs * torch.tensor([1.0, 1.0, 2.0]).reshape(3, 1, 1) - 0.3)


def played(name, image, gain, make_task, play, queries=500, **more):
    task = make_task(image, radius=3.0, queries=queries, reach=1e9, **more)
    return play(load_attack(name)(task), task, gain)


def test_a_score_of_colours_falls_to_channels(image, opposed, make_task, play) -> None:
    """Blocks respond to noise in red and blue, and in green to the same noise or its negative."""
    ours, filters = (
        played(name, image, opposed, make_task, play)
        for name in ("portfolio-search", "filter-search")
    )
    assert max(ours.gains) > 1.15 * max(filters.gains)


def test_a_score_of_luma_is_asked_about_colours_no_more_than_it_has_to(
    image, make_task, play, monkeypatch
) -> None:
    """Thirds of the picture want a direction each; one channel gains a third of what all do."""
    signs = dict(bank(image, make_task(image).rng))
    names = ("noise", "checkerboard 1", "grain 1")
    thirds = [signs[name].tensor_split(3, 2)[k] for k, name in enumerate(names)]
    gain = linear(image, torch.cat(thirds, 2).expand(3, -1, -1).double())
    painted, drawn = Canvas.painted, Counter()

    def recorded(self, brush, window=None):
        if window is not None:
            drawn[brush.channels] += 1
        return painted(self, brush, window)

    monkeypatch.setattr(Canvas, "painted", recorded)
    for seed in range(8):  # one alone depends on chance
        played("portfolio-search", image, gain, make_task, play, 900, seed=seed)
    assert drawn[EVERY] > 1.2 * max(count for way, count in drawn.items() if way != EVERY)
    assert len(drawn) == 7  # and none is given up


@pytest.mark.parametrize("channels", [(1, 0, 0), (0, 0, 1), (1, -1, 1), EVERY])
@pytest.mark.parametrize("windowed", [False, True])
def test_channels_are_painted_negated_or_left(image, make_task, channels, windowed) -> None:
    """In a window and without: 0 and 255 by the sign, swapped where a channel is negated."""
    canvas = Canvas(make_task(image, radius=3.0))
    canvas.best = (canvas.image + 1).clamp(max=255)
    signs = bank(image, torch.Generator().manual_seed(0), ["noise"])
    ((name, noise),) = signs
    window = (slice(8, 24), slice(16, 40)) if windowed else None
    place = window or (slice(None), slice(None))
    picture = canvas.painted(Brush(name, noise, channels=channels), window)
    for channel, sign in enumerate(channels):
        found, wanted = picture[channel], canvas.best[channel].clone()
        if sign:
            up = sign * noise[0 if len(noise) == 1 else channel] > 0
            wanted[place] = torch.where(up, 255, 0).to(torch.uint8)[place]
        assert torch.equal(found, wanted)


def test_it_tells_its_stages_and_ends_its_budget(image, make_task, play) -> None:
    stages = []
    task = replace(make_task(image, queries=200), stage=stages.append)
    found = play(load_attack("portfolio-search:patience=5")(task), task, lambda _: 0.0)
    assert stages == ["bank", "colours", "filter", "channels", "portfolio"]
    assert len(found.gains) > len(BANK) + 3 + 6 + 5 + 6


def test_a_score_of_opponent_colours_is_asked_about_them(image, make_task, play) -> None:
    """Within the bank, its turned channels and six queries more; what is grey it does not see."""
    found = played(
        "portfolio-search", image, yellow_and_dark(image), make_task, play, len(BANK) + 3 + 6
    )
    assert max(found.gains[: len(BANK) + 3]) < 0.5
    assert max(found.gains) > 0.9


def test_other_stages_go_on_from_a_colour_that_gains(image, make_task, play, monkeypatch) -> None:
    """The filter is searched beside it."""
    beside = []

    def searched(_, brush, *rest):
        beside.append(brush.name)
        return []
        yield

    monkeypatch.setattr("iqattack.attacks.score_based.portfolio_search.searched_filters", searched)
    played("portfolio-search", image, yellow_and_dark(image), make_task, play, 60)
    assert beside == ["yellow checkerboard 2"]


def test_yes_and_no_are_enough(image, opposed, make_task, play) -> None:
    """Crossed first, then brought back."""
    goal = ScoreBoundary(reach=1.0, fraction=0.5)
    found = played(
        "portfolio-search", image, lambda x: float(opposed(x) > 0.3), make_task, play, 600,
        boundary=goal,
    )  # fmt: skip
    crossing = [x for x, yes in zip(found.images, found.gains, strict=True) if yes]
    changes = [float((x.double() - image.double()).norm()) for x in crossing]
    assert changes[-1] == min(changes) < 0.9 * changes[0]

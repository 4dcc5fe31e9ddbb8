"""Filter search on scores that only a filter of the image's detail moves."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from iqattack.attacks import is_white_box, load_attack
from iqattack.attacks.shared.painting.canvas import Brush, Canvas
from iqattack.attacks.shared.painting.first import brushes_of
from iqattack.directions import BANK, Profile, Stroke, bank, high_frequencies
from iqattack.objectives import ScoreBoundary

HEIGHT, WIDTH = 48, 64


@pytest.fixture
def image(natural):
    return natural(HEIGHT, WIDTH)


@pytest.fixture
def kernel():
    return torch.randn(1, 1, 5, 5, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def w(image, kernel):
    """The detail through a filter."""
    detail = F.pad(high_frequencies(image)[None, None], (2, 2, 2, 2), mode="replicate")
    return F.conv2d(detail, kernel)[0].double()


@pytest.fixture
def gain(image, w):
    """A linear score with these weights for all channels; 1 at the optimum of ±3."""
    optimum = 3.0 * 3.0 * float(w.abs().sum())
    return lambda x: float((w * (x - image.double())).sum()) / optimum


@pytest.fixture
def profile(tmp_path, kernel):
    """The file of a profile whose second stroke is the optimum of `gain`."""

    def ranked(**stroke):
        return {**stroke, "gain": 0.1, "together": 0.1}

    profile = Profile.model_validate(
        {
            "version": "1",
            "model": "m",
            "images": ["a.png"],
            "constraint": "linf:3",
            "objective": "rank",
            "queries_per_image": 100,
            "seed": 0,
            "queries": 200,
            "strokes": [
                ranked(direction="noise"),
                ranked(direction="grain 1", weight=0.0, filter=kernel.flatten().tolist()),
            ],
        }
    )
    path = tmp_path / "profile.json"
    path.write_text(profile.model_dump_json())
    return path


def test_it_finds_a_filter_that_no_fixed_direction_is(image, gain, make_task, play) -> None:
    """The optimum is the signs of the filtered detail."""
    task = make_task(image, radius=3.0, queries=500, reach=1e9)
    fixed = max(
        gain(image.double() + 3.0 * signs)
        for _, signs in bank(image, torch.Generator().manual_seed(0))
    )
    played = play(load_attack("filter-search:regions=false,share=1")(task), task, gain)
    assert max(played.gains) > 0.8
    assert max(played.gains) > 1.5 * fixed


def test_whole_numbers_are_enough(image, gain, make_task, play) -> None:
    """A model that rounds its score says little, but of many candidates."""
    task = make_task(image, radius=3.0, queries=500, reach=1e9)

    def coarse(x):
        return round(10 * gain(x)) / 10

    played = play(load_attack("filter-search")(task), task, coarse)
    assert max(gain(x.double()) for x in played.images) > 0.7


def test_yes_and_no_are_enough(image, gain, make_task, play) -> None:
    """Of a model that says only whether it accepts: crossed first, then brought back."""
    goal = ScoreBoundary(reach=1.0, fraction=0.5)
    task = make_task(image, radius=3.0, queries=600, boundary=goal)
    fixed = [
        gain(image.double() + 3.0 * signs)
        for _, signs in bank(image, torch.Generator().manual_seed(0))
    ]
    accepted = 0.9 * max(fixed)

    played = play(load_attack("filter-search")(task), task, lambda x: float(gain(x) > accepted))
    crossing = [x for x, yes in zip(played.images, played.gains, strict=True) if yes]
    changes = [float((x - image).norm()) for x in crossing]
    assert changes[-1] == min(changes) < 0.8 * changes[0]
    # A linear score: the shortest change that crosses is along its gradient.
    assert gain(crossing[-1].double()) < gain(crossing[0].double())


def test_a_filter_that_brings_nothing_is_given_up(image, make_task, play) -> None:
    task = make_task(image, queries=400)
    played = play(load_attack("filter-search:regions=false,patience=20")(task), task, lambda _: 0.0)
    assert (played.ended, len(played.gains)) == (True, len(BANK) + 3 + 20)


def test_it_tells_its_stages(image, make_task, play) -> None:
    reported = []
    task = replace(make_task(image, queries=400), stage=reported.append)
    play(load_attack("filter-search:patience=5")(task), task, lambda _: 0.0)
    assert reported == ["bank", "filter", "regions"]


@pytest.mark.parametrize("turned", [(), (1,), (0, 2), (0, 1, 2)])
def test_channels_are_turned_where_a_model_looks_at_colours(image, make_task, play, turned) -> None:
    """The score responds to white noise with some channels negated: found in three queries."""
    task = make_task(image, radius=3.0, queries=len(BANK) + 3, reach=1e9)
    ((_, noise),) = bank(image, make_task(image).rng, ["noise"])
    w = noise.expand(3, -1, -1).double().clone()
    w[list(turned)] *= -1
    weights = torch.tensor([0.5, 0.3, 0.2])[:, None, None].double()

    def gain(x):
        change = (w * weights * (x - image.double())).sum()
        return float(change.abs()) / (3.0 * HEIGHT * WIDTH)

    played = play(load_attack("filter-search")(task), task, gain)
    assert max(played.gains) > 0.97
    assert (max(played.gains[:-3]) > 0.97) == (turned in ((), (0, 1, 2)))


def test_a_cast_moves_a_score_of_colour_on_a_grey_picture(image, make_task, play) -> None:
    grey = image.mean(dim=0, keepdim=True).round().expand(3, -1, -1).contiguous()
    task = make_task(grey, radius=3.0, queries=len(BANK) + 3, reach=1e9)
    red = lambda x: float((x[0] - x[2]).mean()) / 6.0  # noqa: E731
    played = play(load_attack("filter-search")(task), task, red)
    assert max(played.gains) > 0.97


def test_regions_are_painted_with_what_was_found_and_more_with_what_works(
    image, make_task, play, monkeypatch
) -> None:
    """Two thirds of the picture want a direction each that was not the best of the bank."""
    signs = dict(bank(image, make_task(image).rng))
    names = ("noise", "checkerboard 1", "grain 1")
    w = torch.cat([signs[name].tensor_split(3, 2)[k] for k, name in enumerate(names)], 2).double()
    w[:, :, :22] *= 1.2  # noise is the best
    painted, drawn = Canvas.painted, []

    def recorded(self, brush, window=None):
        if window is not None:
            drawn.append(brush)
        return painted(self, brush, window)

    monkeypatch.setattr(Canvas, "painted", recorded)
    task = make_task(image, radius=3.0, queries=900, reach=1e9)
    play(
        load_attack("filter-search:channels=false")(task), task,
        lambda x: float((w * (x - image.double())).sum()),
    )  # fmt: skip
    filters = [brush for brush in drawn if brush.theta is not None]
    directions = Counter(brush.name for brush in drawn if brush.theta is None)
    assert len({brush.theta.tobytes() for brush in filters}) == 15
    for name in names[1:]:
        assert directions[name] > 2 * len(filters) / 15


def test_regions_go_on_where_the_filter_ends(image, make_task, play) -> None:
    """A score of one corner: more than a filter of the whole picture can gain there."""
    w = torch.randn(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)).double()
    w[:, 12:, 16:] = 0.0

    def corner(x):
        return float((w * (x - image.double())).sum())

    task = make_task(image, radius=3.0, queries=400, reach=1e9)
    with_regions = play(load_attack("filter-search")(task), task, corner)
    task = make_task(image, radius=3.0, queries=400, reach=1e9)
    without = play(load_attack("filter-search:regions=false,share=1")(task), task, corner)
    assert max(with_regions.gains) > 1.1 * max(without.gains)


def test_what_costs_nothing_takes_nothing_of_the_budget(make_task, play) -> None:
    """On so few pixels regions ask for many pictures again."""
    image = torch.full((3, 6, 6), 100.0)
    task = make_task(image, radius=1.0, queries=300, reach=1e9)
    w = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    played = play(
        load_attack("filter-search:filters=50")(task), task,
        lambda x: float((w * (x - image)).sum()), remembered=True,
    )  # fmt: skip
    assert len({x.numpy().tobytes() for x in played.images}) == 300 < len(played.images)


@pytest.mark.parametrize("turned", [(), (1,)])
@pytest.mark.parametrize("window", [None, (slice(5, 40), slice(3, 50))])
def test_bands_leave_no_trace(image, make_task, monkeypatch, window, turned) -> None:
    """A large picture is painted a few rows at a time."""
    canvas, theta = Canvas(make_task(image)), np.random.default_rng(0).standard_normal(26)
    brushes = [Brush(*pair) for pair in bank(image, make_task(image).rng, ["noise", "blur 1"])]
    brushes += [replace(brush.turning(*turned), theta=theta) for brush in brushes]
    painted = [canvas.painted(brush, window) for brush in brushes]
    monkeypatch.setattr("iqattack.perception.pixels.BAND", 4 * WIDTH)
    for brush, expected in zip(brushes, painted, strict=True):
        assert torch.equal(canvas.painted(brush, window), expected)


def test_brushes_paint_what_they_say(image, make_task) -> None:
    task, theta = make_task(image), np.random.default_rng(0).standard_normal(26)
    ((_, signs),) = bank(image, task.rng, ["blur 1"])
    detail = F.pad(high_frequencies(image)[None, None], (2, 2, 2, 2), mode="replicate")
    kernel = torch.from_numpy(theta[:-1]).float().view(1, 1, 5, 5)
    filtered = theta[-1] * signs + F.conv2d(detail, kernel)[0]
    for brush, field in (
        (Brush("blur 1", signs), signs),
        (Brush("blur 1", signs, theta), filtered),
        (Brush("blur 1", torch.zeros_like(signs)), torch.zeros_like(signs)),
    ):
        sign = field.sign().expand(3, -1, -1)
        ends = torch.where(sign > 0, task.upper8, torch.where(sign < 0, task.lower8, task.image8))
        painted = Canvas(task).painted(brush).clamp(task.lower8, task.upper8)
        assert (painted != ends).float().mean() < 1e-3  # of sums that are nearly 0


def test_a_profile_takes_the_place_of_the_bank(image, gain, profile, make_task, play) -> None:
    task = make_task(image, radius=3.0, queries=2, reach=1e9)
    played = play(load_attack(f"filter-search:profile={profile}")(task), task, gain)
    assert played.gains[1] > 0.95 > played.gains[0]


def test_the_filter_is_searched_around_that_of_the_profile(
    image, gain, profile, make_task, play
) -> None:
    """Far from there it would gain next to nothing in 20 queries."""
    task = make_task(image, radius=3.0, queries=22, reach=1e9)
    played = play(
        load_attack(f"filter-search:profile={profile},share=1,channels=false")(task), task, gain
    )
    assert np.mean(played.gains[2:]) > 0.7


@pytest.mark.parametrize("filtered", [False, True])
def test_a_brush_is_the_same_after_it_went_through_a_file(image, make_task, filtered) -> None:
    theta = np.random.default_rng(0).standard_normal(26)
    signs = dict(bank(image, make_task(image).rng))["blur 1"]
    brush = Brush("blur 1", signs, theta if filtered else None).turning(0).turning(2)
    stroke = Stroke.model_validate_json(brush.stroke.model_dump_json())
    (again,) = brushes_of(make_task(image), [stroke])
    canvas = Canvas(make_task(image))
    assert torch.equal(canvas.painted(again), canvas.painted(brush))


def test_a_substitute_gives_two_more_directions(image, w, gain, make_task, play) -> None:
    """Gradients of the model itself lead to the optimum of a linear score, up and down."""
    task = make_task(image, radius=3.0, queries=len(BANK) + 2, reach=1e9)
    attack = load_attack(
        "filter-search:substitute=mine", lambda _: lambda images: w.float().expand_as(images)
    )
    *_, up, down = play(attack(task), task, gain).gains
    assert up > 0.95
    assert down < -0.95


@pytest.mark.parametrize(
    ("spec", "white"),
    [
        ("filter-search", False),
        ("filter-search:substitute=builtin", False),
        ("filter-search:substitute=attacked", True),
    ],
)
def test_gradients_of_the_attacked_model_are_told(spec, white) -> None:
    assert is_white_box(spec) is white

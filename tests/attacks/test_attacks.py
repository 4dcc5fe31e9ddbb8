"""What holds for every attack."""

import re
from itertools import cycle

import pytest
import torch

from iqattack.attacks import ATTACKS, load_attack
from iqattack.objectives import ScoreBoundary

# Transforms promise no gain: black stays black under them, and brighter may be worse.
# What looks for nothing in particular need not find it.
UNRESTRICTED = [ATTACKS[name].function for name in ("clahe", "gamma", "tone-map", "unsharp")]
FIXED = [ATTACKS["universal"].function]
SHAPES = [(40, 72), (72, 40), (1, 50), (50, 1), (1, 1), (2, 3)]


def weights(shape):
    """Mostly positive: a start on the ends of the box gains on black images, too."""
    chance = torch.Generator().manual_seed(5)
    return torch.randn(shape, generator=chance, dtype=torch.float32) + 0.2


@pytest.fixture(params=sorted(ATTACKS))
def attack(request):
    return load_attack(request.param, lambda spec: lambda x: weights(x.shape[1:]).expand_as(x))


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_the_table_tells_what_there_is(name) -> None:
    kind = ATTACKS[name]
    assert kind.name == name
    assert kind.summary
    assert kind.paper
    described = kind.function.__doc__ or ""
    missing = [o for o in kind.options if not re.search(rf"\b{o}(, \w+)*:", described)]
    assert not missing, f"{name}: the docstring says nothing of {missing}"


def finite(played) -> bool:
    return all(candidate.isfinite().all() for candidate in played.candidates)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["colour", "grey", "black", "noise"])
def test_images_of_all_kinds(attack, natural, make_task, play, linear, shape, kind) -> None:
    image = {
        "colour": natural(*shape),
        "grey": natural(*shape).mean(dim=0, keepdim=True).round().expand(3, -1, -1).contiguous(),
        "black": torch.zeros(3, *shape),
        "noise": torch.randint(0, 256, (3, *shape), generator=torch.manual_seed(0)).float(),
    }[kind]
    task = make_task(image, queries=120)
    w = weights(image.shape)
    played = play(attack(task), task, linear(image, w / (8.0 * w.abs().sum())))
    assert finite(played)
    assert played.ended or len(played.gains) == 120
    assert max(played.gains) > 0.0 or shape == (1, 1) or attack.func in UNRESTRICTED + FIXED


def test_a_box_without_width(attack, natural, make_task, play) -> None:
    """There is nothing to try: it ends, at once or once no start crossed.

    These two draw on; the engine ends them, as each of their candidates is the image.
    """
    task = make_task(natural(12, 20), radius=0.0, queries=300)
    played = play(attack(task), task, lambda x: 0.0)
    assert finite(played)
    assert played.ended or attack.func in [ATTACKS[n].function for n in ("score-boundary", "noise")]
    assert len(played.gains) in (0, 200) or not played.ended


@pytest.mark.parametrize("boundary", [None, ScoreBoundary(1e-9, 0.5)])
def test_an_image_already_near_the_end_of_the_range(
    attack, natural, make_task, play, boundary
) -> None:
    task = make_task(natural(12, 20), queries=300, reach=1e-9, boundary=boundary)
    played = play(attack(task), task, lambda x: 1e-9 if (x != task.image).any() else 0.0)
    assert finite(played)
    assert played.gains


def test_the_default_dtype_changes_nothing(attack, natural, make_task, play, linear) -> None:
    """A model may change it at any moment, while an attack computes in another thread."""
    image = natural(40, 32)
    gain = linear(image, weights(image.shape) / 1e5)

    def played(kinds):
        def changing(x):
            torch.set_default_dtype(next(kinds))
            return gain(x)

        return play(attack(task := make_task(image, queries=70)), task, changing)

    before = torch.get_default_dtype()
    try:
        plain = played(cycle([torch.float32]))
        other = played(cycle([torch.float64, torch.float64, torch.float32]))
    finally:
        torch.set_default_dtype(before)
    assert other.gains == plain.gains
    assert all(map(torch.equal, other.candidates, plain.candidates))


def test_a_budget_of_one(attack, natural, make_task, play) -> None:
    task = make_task(natural(12, 20), queries=1)
    played = play(attack(task), task, lambda x: 0.5)
    assert finite(played)
    assert len(played.gains) == 1


@pytest.mark.parametrize("gain", [-1.0, 0.0, 1.0])
def test_whatever_the_answers(attack, natural, make_task, play, gain) -> None:
    task = make_task(natural(12, 20), queries=700)
    assert finite(play(attack(task), task, lambda x: gain))


def test_answers_that_mean_nothing(attack, natural, make_task, play) -> None:
    task = make_task(natural(12, 20), queries=300)
    rng = torch.Generator().manual_seed(0)
    assert finite(play(attack(task), task, lambda x: float(torch.randn((), generator=rng))))


def test_the_task_stays_as_it_was(attack, natural, make_task, play) -> None:
    image = natural(12, 20)
    task = make_task(image.clone(), queries=150)
    lower, upper = task.lower.clone(), task.upper.clone()
    play(attack(task), task, lambda x: float((x - image).mean()))
    assert torch.equal(task.image, image)
    assert torch.equal(task.lower, lower)
    assert torch.equal(task.upper, upper)

"""Alternatives tried for filter-search: each idea is one, and does what its name says."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from iqattack.attacks import load_attack
from iqattack.attacks.shared.painting.canvas import Brush, Canvas
from iqattack.engine import QueryLog
from iqattack.images import ImageSet
from iqattack.models import wrap

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import common
import filter_search_tried as tried

QUERIES = 140


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    Image.fromarray(data.chelsea()[60:109, 110:159]).save(folder / "a.png")
    return ImageSet.from_folder(folder)


@pytest.fixture(scope="module")
def model():
    """Edges of some orientations more than of others, up to a share: no direction of the bank."""
    kernel = torch.randn(4, 1, 5, 5, generator=torch.Generator().manual_seed(2)).double()
    kernel -= kernel.mean((2, 3), keepdim=True)

    def score(pixels):
        grey = pixels.double().mean(1, keepdim=True) / 255
        return torch.nn.functional.conv2d(grey, kernel).clamp(min=0).mean((1, 2, 3))

    return wrap(score, name="edges", score_range=(0.0, 1.0), lower_better=False)


@pytest.fixture(scope="module")
def scores(images, model):
    """Of all queries of an attack."""

    def of(attack):
        with QueryLog() as log:
            common.measure(
                "", model, images, attack, constraint="linf:3", queries=QUERIES,
                objective="up", log=log,
            )  # fmt: skip
            return log.rows("a.png")["score"].copy()

    return of


@pytest.fixture(scope="module")
def usual(scores):
    return scores(load_attack("filter-search"))


def test_as_it_is_is_the_attack_itself(scores, usual) -> None:
    assert np.array_equal(scores(tried.TRIED[tried.AS_IT_IS]), usual)


@pytest.mark.parametrize("name", [name for name in tried.TRIED if name != tried.AS_IT_IS])
def test_an_idea_is_tried_after_the_same_bank(scores, usual, name) -> None:
    """The first 38 queries, image and bank, are alike; then something is done in another way."""
    found = scores(tried.TRIED[name])
    assert np.array_equal(found[:38], usual[:38])
    assert not np.array_equal(found, usual)
    # In so few queries regression asks for one round at most; its test is the next one.
    assert found.max() >= found[:38].max() > found[0]
    assert found.max() > found[:38].max() or name.startswith("regression")


def test_regression_finds_the_blocks_that_gain(images) -> None:
    """On a score that is a mean over blocks, one round is enough for all that gain by a brush."""
    weights = torch.randn(7, 7, generator=torch.Generator().manual_seed(0)).double()

    def score(pixels):
        return (torch.nn.functional.adaptive_avg_pool2d(pixels.double(), 7) * weights).mean(
            (1, 2, 3)
        )

    def attack(task):
        side = task.image.shape[1:]
        return tried.regression(Canvas(task), [Brush("up", torch.ones(1, *side, dtype=torch.int8))])

    model = wrap(score, name="blocks", score_range=(-300.0, 300.0), lower_better=False)
    found = common.measure(
        "", model, images, attack, constraint="linf:3", queries=70, objective="up"
    )  # fmt: skip
    assert 600 * found.gain[0] == pytest.approx(3.0 * float(weights.clamp(min=0).mean()))


def test_evolution_climbs() -> None:
    search = tried.Evolution(mean=np.zeros(5), sigma=0.3, seed=0)
    goal = np.arange(5.0)
    for _ in range(200):
        points = [search.ask() for _ in range(search.population_size)]
        search.tell([(point, float(((point - goal) ** 2).sum())) for point in points])
    assert np.abs(search.mean - goal).max() < 0.5

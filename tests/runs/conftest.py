from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iqattack.evaluation import evaluate_scores
from iqattack.images import ImageSet
from iqattack.models import Scorer, wrap
from iqattack.runs import Settings


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    """Intervals take longer than everything else here, and have tests of their own."""
    few = partial(evaluate_scores, resamples=20)
    monkeypatch.setattr("iqattack.runs.summary.evaluate_scores", few)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Five images of 24×20 pixels, brighter from one to the next."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(5):
        pixels = rng.integers(20 + 30 * k, 60 + 30 * k, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
    return folder


@pytest.fixture
def images(photos) -> ImageSet:
    return ImageSet.from_folder(photos)


@pytest.fixture
def brightness() -> Scorer:
    return wrap(
        lambda batch: batch.double().mean((1, 2, 3)),
        name="brightness",
        score_range=(0.0, 255.0),
        lower_better=False,
    )


@pytest.fixture
def settings(photos) -> Callable[..., Settings]:
    def make(**changes: object) -> Settings:
        values = {
            "images": (str(photos),),
            "model": "brightness",
            "attack": "noise",
            "constraint": "linf:3",
            "queries": 12,
        }
        return Settings.model_validate({**values, **changes})

    return make

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import iqattack
from iqattack.auditing import Suite
from iqattack.evaluation import evaluate_scores
from iqattack.images import ImageEntry, ImageSet
from iqattack.runs import Run

SIZES = [(24, 20)] * 7 + [(224, 224)]
WHITE = 3  # the image that no noise moves
BROKEN = 5  # the image that cannot be read
HOSTILE = {
    0: "<img src=x onerror=alert(1)>.png",
    1: "\"double\" 'single' & </script><script>alert(2)</script>.png",
}


@pytest.fixture(scope="session", autouse=True)
def _few_resamples() -> Iterator[None]:
    """Intervals take longer than everything else here, and have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        few = partial(evaluate_scores, resamples=20)
        patch.setattr("iqattack.runs.summary.evaluate_scores", few)
        patch.setattr("iqattack.auditing.from_runs.evaluate_scores", few)
        patch.setattr("iqattack.auditing.from_runs.RESAMPLES", 20)
        yield


def brightness(batch):
    """Mean grey level; almost white is white."""
    mean = batch.double().mean((1, 2, 3))
    return mean.where(mean < 248.0, 255.0)


def hostile_images(photos: Path, *, mos: bool = True) -> ImageSet:
    """Eight images in a new folder, one of them broken, some with names that are HTML."""
    photos.mkdir()
    rng = np.random.default_rng(0)
    entries = []
    for k, (width, height) in enumerate(SIZES):
        name = HOSTILE.get(k, f"{k}.png")
        path = photos / f"{k}.png"
        low = 252 if k == WHITE else 20 + 20 * k
        pixels = rng.integers(low, min(low + 40, 256), (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        if k == BROKEN:
            path.write_bytes(path.read_bytes()[:200])
        entries.append(ImageEntry(name, path, mos=float(k) if mos else None))
    return ImageSet(tuple(entries))


@pytest.fixture(scope="session")
def model():
    """A model whose name is HTML."""
    name = '<b>bright</b> & "co"'
    return iqattack.wrap(brightness, name=name, score_range=(0.0, 255.0), lower_better=False)


@pytest.fixture(scope="session")
def audit(model, tmp_path_factory) -> Path:
    """The folder of an audit of those images, with its page."""
    folder = tmp_path_factory.mktemp("audit")
    suite = {"name": "mine", "version": 1, "about": "Mine.", "budgets": [4, 12]}
    attempts = [{"attack": name, "constraint": "linf:3"} for name in ("noise", "square")]
    iqattack.audit(
        model,
        hostile_images(folder / "photos"),
        out=folder / "audit",
        suite=Suite.model_validate(suite | {"attempts": attempts}),
    )
    return folder / "audit"


@pytest.fixture(scope="session")
def make_run(model) -> Callable[..., Run]:
    """Attacks eight images in folder/photos, one of them broken, into folder/run."""

    def make(folder: Path, *, mos: bool = True, **changes: Any) -> Run:
        images = hostile_images(folder / "photos", mos=mos)
        asked: dict[str, Any] = {
            "attack": "noise",
            "constraint": "linf:3",
            "queries": 12,
            **changes,
        }
        return iqattack.attack(images, model, out=folder / "run", **asked)

    return make


@pytest.fixture(scope="session")
def run(make_run, tmp_path_factory) -> Run:
    return make_run(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def page(run) -> Path:
    return iqattack.report(run)


@pytest.fixture
def browser(chromium, page):
    """The page of `run`, just opened, 1280 pixels wide."""
    chromium.size(1280, 900)
    chromium.dark(False)
    chromium.open(page)
    chromium.js("localStorage.clear(); document.documentElement.removeAttribute('data-theme')")
    yield chromium
    assert chromium.complaints() == []

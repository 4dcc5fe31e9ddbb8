import runpy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import iqattack
from iqattack.evaluation import evaluate_scores
from iqattack.images import ImageEntry, ImageSet
from iqattack.runs import Run

_chromium = runpy.run_path(str(Path(__file__).parents[1] / "chromium.py"))
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
        yield


def brightness(batch):
    """Mean grey level; almost white is white."""
    mean = batch.double().mean((1, 2, 3))
    return mean.where(mean < 248.0, 255.0)


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Run]:
    """Attacks eight images in folder/photos, one of them broken, into folder/run."""

    def make(folder: Path, *, mos: bool = True, **changes: object) -> Run:
        photos = folder / "photos"
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
        model = iqattack.wrap(
            brightness,
            name='<b>bright</b> & "co"',
            score_range=(0.0, 255.0),
            lower_better=False,
        )
        asked = {"attack": "noise", "constraint": "linf:3", "queries": 12, **changes}
        return iqattack.attack(ImageSet(tuple(entries)), model, out=folder / "run", **asked)

    return make


@pytest.fixture(scope="session")
def run(make_run, tmp_path_factory) -> Run:
    return make_run(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def page(run) -> Path:
    return iqattack.report(run)


@pytest.fixture(scope="session")
def chromium():
    if not _chromium["chromium_is_here"]():
        pytest.skip("no browser: expected Debian's chromium and chromium-driver")
    browser = _chromium["Browser"]()
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium, page):
    """The page of `run`, just opened, 1280 pixels wide."""
    chromium.size(1280, 900)
    chromium.dark(False)
    chromium.open(page)
    chromium.js("localStorage.clear(); document.documentElement.removeAttribute('data-theme')")
    yield chromium
    assert chromium.complaints() == []

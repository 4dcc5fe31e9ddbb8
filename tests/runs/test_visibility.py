import numpy as np
import pytest
import torch
from PIL import Image

import iqattack
from iqattack.errors import InputError, RunError
from iqattack.images import read_image


@pytest.fixture(scope="module")
def pyiqa():
    return pytest.importorskip("pyiqa", reason="pyiqa is not installed: the extra 'pyiqa'")


@pytest.fixture
def run(tmp_path):
    """Three attacked images of 64×48 pixels."""
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for k in range(3):
        pixels = rng.integers(20 + 30 * k, 90 + 30 * k, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{k}.png")
    model = iqattack.wrap(
        lambda batch: batch.double().mean((1, 2, 3)),
        name="brightness",
        score_range=(0.0, 255.0),
        lower_better=False,
    )
    return iqattack.attack(
        tmp_path / "photos",
        model,
        out=tmp_path / "run",
        attack="noise",
        constraint="linf:3",
        queries=5,
    )


def test_metrics_are_those_of_pyiqa(run, pyiqa, tmp_path):
    """GMSD needs no weights; lpips and dists are metrics like it."""
    found = iqattack.evaluate(run, metrics=["gmsd"]).full_reference["gmsd"]
    metric = pyiqa.create_metric("gmsd", device="cpu")
    expected = []
    for result in run.results:
        pair = [
            read_image(path).pixels[None].float() / 255
            for path in (run.images / result.png_name, tmp_path / "photos" / result.image)
        ]
        expected.append(float(metric(*pair)))
    assert found.value == pytest.approx(np.mean(expected))
    assert 0.0 < found.interval[0] <= found.value <= found.interval[1]
    assert "gmsd" in iqattack.evaluate(run, metrics=["gmsd"]).model_dump_json()
    assert iqattack.evaluate(run).full_reference == {}


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["gmds"], "unknown pyiqa metric 'gmds': did you mean 'gmsd'"),
        (["brisque"], "'brisque' takes no reference image; expected a full-reference metric"),
    ],
)
def test_metrics_that_are_none(run, pyiqa, metrics, message):
    with pytest.raises(InputError, match=message):
        iqattack.evaluate(run, metrics=metrics)


def test_a_metric_that_fails_says_on_what(run, pyiqa, monkeypatch):
    def fail(*_):
        raise ValueError("too small")

    monkeypatch.setattr(torch, "as_tensor", fail)
    with pytest.raises(InputError, match=r"'gmsd' failed on an image of 64×48: .*too small"):
        iqattack.evaluate(run, metrics=["gmsd"])


def test_they_need_the_images_of_the_run(run, pyiqa, tmp_path):
    with pytest.raises(InputError, match="leave out queries"):
        iqattack.evaluate(run, queries=3, metrics=["gmsd"])
    path = tmp_path / "photos" / "1.png"
    path.write_bytes((tmp_path / "photos" / "2.png").read_bytes())
    with pytest.raises(RunError, match=r"1\.png: is another image than was attacked"):
        iqattack.evaluate(run, metrics=["gmsd"])

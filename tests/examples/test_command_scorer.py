import base64
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import iqattack
from iqattack.models import load_model

SCORER = Path(__file__).parents[2] / "examples" / "command_scorer.py"
SPEC = f"command:{sys.executable} {SCORER}"


def gradient(pixels):
    """The example's score once more: mean length of central differences, times 5."""
    grey = pixels.astype(float).mean(2)
    padded = np.pad(grey, 1, mode="reflect", reflect_type="odd")
    rows = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    columns = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2
    return np.sqrt(rows**2 + columns**2).mean() * 5


@pytest.fixture
def ramps(tmp_path):
    """A folder of pictures that get steeper."""
    folder = tmp_path / "ramps"
    folder.mkdir()
    for step in (1, 3, 7):
        row = np.arange(32, dtype=np.uint8) * step
        pixels = np.broadcast_to(row[None, :, None], (24, 32, 3))
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{step}.png")
    return folder


def test_it_speaks_the_protocol():
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 40, (16, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    picture = base64.b64encode(file.getvalue()).decode()
    lines = [json.dumps({"id": 0, "describe": True}), json.dumps({"id": 1, "png": picture})]
    found = subprocess.run(
        [sys.executable, SCORER],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    described, answer = map(json.loads, found.stdout.splitlines())
    assert found.stderr == ""
    assert described["score_range"] == [0, 100]
    assert answer["id"] == 1
    assert answer["score"] == pytest.approx(gradient(pixels))


def test_it_is_a_model(ramps):
    model = load_model(SPEC)
    assert (model.name, model.score_range, model.lower_better) == ("sharpness", (0.0, 100.0), False)
    pictures = [np.asarray(Image.open(path)) for path in sorted(ramps.iterdir())]
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    assert torch.as_tensor(model(images)).tolist() == pytest.approx([5.0, 15.0, 35.0])


def test_a_run_with_it_can_be_verified(ramps, tmp_path):
    run = iqattack.attack(
        ramps, SPEC, out=tmp_path / "run", attack="square", constraint="linf:8", queries=12
    )
    assert [row.queries for row in run.results] == [12, 12, 12]
    assert [row.score_clean for row in run.results] == pytest.approx([5.0, 15.0, 35.0])
    assert all(row.gain > 0 for row in run.results)
    assert iqattack.verify(tmp_path / "run").ok

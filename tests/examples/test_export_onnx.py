"""The exports run in ONNX Runtime, on pictures of any size, with PyTorch's scores."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from iqattack.models import load_model, score_checked
from iqattack.models.cnniqa import CnniqaNetwork

PROGRAM = Path(__file__).resolve().parents[2] / "examples" / "export_onnx.py"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder of both graphs, CNNIQA's with random weights, and what was printed."""
    folder = tmp_path_factory.mktemp("graphs")
    torch.manual_seed(1)
    torch.save(CnniqaNetwork().state_dict(), folder / "random.pth")
    command = [sys.executable, str(PROGRAM), str(folder), "--weights", str(folder / "random.pth")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return folder, done.stdout


def graph(path, ours):
    return load_model(
        f"onnx:{path}",
        score_range=ours.score_range,
        lower_better=ours.lower_better,
        input="float255",
    )


@pytest.mark.slow
def test_says_how_far_scores_are_apart(exported):
    folder, printed = exported
    lines = printed.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        str(folder / "builtin.onnx"),
        str(folder / "cnniqa.onnx"),
    ]
    for line in lines:
        assert float(line.split()[-5]) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 64), (70, 100), (224, 224), (333, 250)])
@pytest.mark.parametrize("name", ["builtin", "cnniqa"])
def test_scores_of_noise(exported, name, size):
    folder, _ = exported
    ours = load_model("builtin" if name == "builtin" else f"cnniqa:{folder / 'random.pth'}")
    random = torch.Generator().manual_seed(2)
    images = torch.randint(256, (3, 3, *size), dtype=torch.uint8, generator=random)
    images[2] = images[2, :, :1, :1]  # flat
    theirs = score_checked(graph(folder / f"{name}.onnx", ours), images)
    assert (theirs - score_checked(ours, images)).abs().max() <= 1e-3  # of a range of 100


@pytest.mark.slow
def test_scores_of_photographs(exported, sample_images):
    folder, _ = exported
    images = torch.stack(list(sample_images.values()))
    ours = load_model("builtin")
    expected = score_checked(ours, images)
    assert expected.std() > 5
    theirs = score_checked(graph(folder / "builtin.onnx", ours), images)
    assert (theirs - expected).abs().max() <= 1e-3

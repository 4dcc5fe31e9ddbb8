import csv

import numpy as np
import pytest
import torch

from iqattack.evaluation import srocc
from iqattack.models.builtin import NOISE_MASK, Builtin, blocking, noise


def test_ranks_distortions_as_a_trained_model_does(shared, dev_images):
    with (shared / "reference" / "cnniqa_live_dev.csv").open() as file:
        cnniqa = {row["image"]: float(row["score"]) for row in csv.DictReader(file)}
    scores = Builtin()(torch.stack([dev_images[name] for name in cnniqa]))
    assert srocc(scores.numpy(), [-score for score in cnniqa.values()]) > 0.85
    clean = np.array(["none" in name for name in cnniqa])
    assert 70 < scores.numpy()[clean].mean() < 90
    assert scores.numpy()[clean].min() > 70


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_a_score_does_not_depend_on_its_batch(batch):
    images = torch.randint(0, 256, (8, 3, 51, 64), dtype=torch.uint8)
    model = Builtin()
    parts = torch.cat([model(part) for part in images.split(batch)])
    assert torch.equal(parts, model(images))
    assert parts.dtype == torch.float64


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_images_have_a_score_in_range(level):
    score = Builtin()(torch.full((1, 3, 32, 32), level, dtype=torch.uint8))
    assert 0 <= score.item() <= 100


def test_noise_estimate_follows_the_noise():
    """The mask has unit gain: σ of white noise is √(π/2) times its mean absolute response."""
    assert np.square(NOISE_MASK).sum() == pytest.approx(1)
    grey = np.random.default_rng(0).normal(128, 5, (128, 128)).astype(np.float32)
    assert np.expm1(noise(grey)) * np.sqrt(np.pi / 2) == pytest.approx(5, rel=0.25)


def test_blocking_sees_the_grid_only():
    flat = np.random.default_rng(0).uniform(0, 255, (8, 8))
    grid = np.kron(flat, np.ones((8, 8))).astype(np.float32)
    shifted = np.roll(grid, 4, (0, 1))
    assert blocking(grid) > 1.5
    assert blocking(shifted) < 0

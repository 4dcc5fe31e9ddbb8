import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.filters import gaussian

import iqattack.models.builtin
from iqattack.evaluation import srocc
from iqattack.models.builtin import (
    SHARES,
    Builtin,
    BuiltinNetwork,
    Energies,
    card,
    load_network,
    quantiles,
)
from iqattack.samples import sample_set

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "iqattack"


@pytest.fixture(scope="module")
def model():
    return Builtin()


def noise_images(n, height=70, width=100):
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8, generator=rng)


def test_ranks_photographs_never_seen(model):
    samples = sample_set().values()
    images = torch.stack([torch.from_numpy(picture).permute(2, 0, 1) for picture, _ in samples])
    assert srocc(model(images).numpy(), [mos for _, mos in samples]) > 0.87


def test_ranks_as_a_model_trained_on_opinions(model, shared, dev_images):
    with (shared / "reference" / "cnniqa_live_dev.csv").open() as file:
        cnniqa = {row["image"]: float(row["score"]) for row in csv.DictReader(file)}
    scores = model(torch.stack([dev_images[name] for name in cnniqa]))
    assert srocc(scores.numpy(), [-score for score in cnniqa.values()]) > 0.85


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_a_score_does_not_depend_on_its_batch(model, batch):
    images = noise_images(8)
    together = model(images)
    assert torch.equal(torch.cat([model(part) for part in images.split(batch)]), together)
    assert torch.equal(model(images.flip(0)).flip(0), together)
    assert (together.dtype, together.shape) == (torch.float64, (8,))


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (301, 64), (384, 512)])
def test_any_size_has_a_score_in_range(model, size):
    assert ((model(noise_images(1, *size)) >= 0) & (model(noise_images(1, *size)) <= 100)).all()


@pytest.mark.parametrize("size", [(64, 64), (72, 104), (224, 224), (136, 500)])
def test_the_differentiable_path_gives_the_same_scores(model, size):
    images = noise_images(2, *size)
    images[..., 40:] = images[..., 40:] // 8 + 100
    scores = load_network()(images.float().requires_grad_())
    assert scores.requires_grad
    np.testing.assert_allclose(scores.detach(), model(images), atol=1e-3)


@pytest.mark.parametrize("band", [1, 20_000, 10**9])
def test_bands_leave_no_seams(band, monkeypatch):
    images = noise_images(1, 200, 136).float()
    local, overall = Energies()(images)
    monkeypatch.setattr(iqattack.models.builtin, "BAND", band)
    for found, wanted in zip(Energies()(images), (local, overall), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("differentiable", [True, False])
@pytest.mark.parametrize("count", [2, 57])
def test_quantiles_are_those_of_numpy(differentiable, count):
    values = torch.rand((2, 3, count), generator=torch.Generator().manual_seed(0))
    values[0, 0] = values[0, 0].round()  # ties
    shares = torch.tensor(SHARES)
    found = quantiles(values.clone().requires_grad_(differentiable), shares)
    wanted = np.moveaxis(np.quantile(values.numpy(), shares.numpy(), axis=-1), 0, -1)
    np.testing.assert_allclose(found.detach(), wanted, atol=1e-6)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_images_have_a_score_in_range_and_a_gradient(level):
    images = torch.full((1, 3, 64, 64), float(level), requires_grad=True)
    score = load_network()(images)
    score.sum().backward()
    assert 0 <= score.item() <= 100
    assert images.grad.isfinite().all()


def test_energies_of_a_wave():
    """Of sin(2πx/8) with amplitude 60, in closed form, at the finest scale."""
    x = torch.arange(64).float()
    wave = (60 * torch.sin(2 * torch.pi * x / 8)).expand(1, 3, 64, 64)
    local, _ = Energies()(128 + wave)
    energies = local[0, :8].exp() - 0.05
    across = energies[:, 3, 3]
    # The first DCT filter across is (1, 0, -1)/√2, weighted 1/√3 down three equal rows: √3/√2 of
    # x(t-1) - x(t+1) = -2 sin(2π/8) cos, whose square has the mean 1/2.
    assert across[0].item() == pytest.approx(1.5 * (2 * 60 * np.sin(np.pi / 4)) ** 2 / 2, rel=1e-4)
    # (1, -2, 1)/√6, likewise.
    assert across[1].item() == pytest.approx(0.5 * (60 * (2 - np.sqrt(2))) ** 2 / 2, rel=1e-4)
    assert across[2:].abs().max() < 0.01  # all others change down the image


def test_noise_adds_its_variance_to_every_energy():
    noise = 10 * torch.randn((1, 1, 256, 256), generator=torch.Generator().manual_seed(0))
    local, _ = Energies()((128 + noise).expand(1, 3, 256, 256))
    energies = local[0, :8].exp().mean((1, 2))
    np.testing.assert_allclose(energies, 100, rtol=0.03)


def test_more_blur_scores_lower(model):
    clean = next(iter(sample_set().values()))[0]
    blurred = [
        gaussian(clean, sigma, channel_axis=2, preserve_range=True) for sigma in (0, 1, 2, 4)
    ]
    images = torch.from_numpy(np.stack(blurred).round().astype(np.uint8)).permute(0, 3, 1, 2)
    assert (model(images).diff() < -5).all()


def test_no_images(model):
    assert model(noise_images(0)).shape == (0,)


def test_is_small():
    assert sum(p.numel() for p in BuiltinNetwork().parameters()) <= 1_500_000
    assert (PACKAGE / "models" / "builtin.safetensors").stat().st_size <= 4_000_000


def test_the_card_is_the_documents_page():
    page = (PACKAGE.parents[1] / "docs" / "builtin.md").read_text(encoding="utf-8")
    assert page == card()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_agrees_with_cpu(model):
    images = noise_images(40, 224, 224)
    np.testing.assert_allclose(Builtin("cuda")(images), model(images), atol=0.05)

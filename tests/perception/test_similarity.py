import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torchmetrics.functional.image import structural_similarity_index_measure

from iqattack.errors import InputError
from iqattack.perception import jnd_violation, linf, luma, ms_ssim, psnr, rms, similarity, ssim

MEASURES = (linf, rms, psnr, ssim)


def noisy_pair(seed: int, count: int, height: int = 24, width: int = 31) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), generator=rng)
    change = torch.randint(-20, 21, (count, 3, height, width), generator=rng)
    return image.to(torch.uint8), (image + change).clamp(0, 255).to(torch.uint8)


def test_a_change_of_minus_three_is_three() -> None:
    image = torch.full((3, 12, 12), 100, dtype=torch.uint8)
    other = image.clone()
    other[1, 4, 5] = 97
    assert linf(image, other).item() == 3.0
    assert linf(other, image).item() == 3.0


def test_closed_forms() -> None:
    image = torch.full((3, 12, 12), 100.0)
    others = torch.stack([image, image - 1, image + 5])
    assert linf(image, others).tolist() == [0.0, 1.0, 5.0]
    assert rms(image, others).tolist() == [0.0, 1.0, 5.0]
    expected = [math.inf, 20 * math.log10(255), 20 * math.log10(51)]
    assert psnr(image, others).tolist() == pytest.approx(expected)
    one_value = image.clone()
    one_value[0, 0, 0] += 12
    assert rms(image, one_value).item() == pytest.approx(math.sqrt(144 / 432))


def test_ssim_of_two_flat_pictures_is_its_luminance_term() -> None:
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    value = ssim(torch.full((3, 16, 16), 100.0), torch.full((3, 16, 16), 120.0))
    assert value.item() == pytest.approx(expected, abs=1e-6)


def test_ssim_agrees_with_torchmetrics_away_from_the_border() -> None:
    image, others = noisy_pair(0, 3)
    _, maps = structural_similarity_index_measure(
        luma(others)[:, None].double(),
        luma(image).expand(3, 1, -1, -1).double(),
        data_range=255.0,
        return_full_image=True,
    )
    expected = maps[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))
    torch.testing.assert_close(ssim(image, others), expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("size", [(176, 176), (181, 230)])
def test_ms_ssim_agrees_with_torchmetrics_away_from_the_border(size) -> None:
    """Scale by scale: at the last, torchmetrics' own takes the padded border in."""
    image, others = noisy_pair(4, 3, *size)
    x, y = luma(image).expand(3, 1, -1, -1).double(), luma(others)[:, None].double()
    expected = torch.ones(3, dtype=torch.float64)
    for weight in (0.0448, 0.2856, 0.3001, 0.2363):
        _, structure = structural_similarity_index_measure(
            y, x, data_range=255.0, return_contrast_sensitivity=True, reduction="none"
        )
        expected *= structure**weight
        x, y = avg_pool2d(x, 2), avg_pool2d(y, 2)
    _, maps = structural_similarity_index_measure(y, x, data_range=255.0, return_full_image=True)
    expected *= maps[..., 5:-5, 5:-5].mean(dim=(1, 2, 3)) ** 0.1333
    torch.testing.assert_close(ms_ssim(image, others), expected, atol=1e-9, rtol=0)
    assert ms_ssim(image, image).item() == pytest.approx(1.0)


def test_ms_ssim_of_flat_pictures_is_the_luminance_term_of_the_last_scale() -> None:
    c1 = (0.01 * 255) ** 2
    luminance = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    value = ms_ssim(torch.full((3, 176, 200), 100.0), torch.full((3, 176, 200), 120.0))
    assert value.item() == pytest.approx(luminance**0.1333, abs=1e-6)


def test_ms_ssim_is_not_defined_where_no_window_fits() -> None:
    image, others = noisy_pair(1, 2, height=175, width=300)
    assert ms_ssim(image, others).isnan().tolist() == [True, True]


def test_ssim_is_not_defined_where_no_window_fits() -> None:
    image, others = noisy_pair(1, 2, height=10, width=40)
    assert ssim(image, others).isnan().tolist() == [True, True]
    image, others = noisy_pair(1, 2, height=11, width=11)
    assert ssim(image, others).isfinite().all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_identity_and_independence_of_the_batch(seed) -> None:
    image, others = noisy_pair(seed, 3)
    for measure, same in zip(MEASURES, (0.0, 0.0, math.inf, 1.0), strict=True):
        assert measure(image, image).item() == same
        batched = measure(image, others)
        assert batched.shape == (3,)
        assert batched.dtype == torch.float64
        assert torch.equal(batched, torch.stack([measure(image, one) for one in others]))
        assert torch.equal(batched, measure(image.float(), others.float()))


def test_jnd_violation_counts_pixels_by_their_largest_channel() -> None:
    image = torch.full((3, 2, 4), 50, dtype=torch.uint8)
    other = image.clone()
    other[0, 0, 0] += 3  # at the threshold
    other[2, 0, 1] -= 4  # over it
    other[:, 1, 3] += 9  # one pixel, not three
    jnd = torch.full((2, 4), 3.0)
    assert jnd_violation(image, torch.stack([image, other]), jnd).tolist() == [0.0, 0.25]


def test_other_sizes_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(3, 8, 9\) and \(3, 9, 8\)"):
        linf(torch.zeros(3, 8, 9), torch.zeros(3, 9, 8))


@pytest.mark.parametrize(("height", "width"), [(11, 11), (24, 31), (224, 200), (517, 801)])
def test_ssim_agrees_with_scikit_image(height, width) -> None:
    image, others = noisy_pair(2, 2, height, width)
    expected = [
        structural_similarity(
            luma(image).numpy().astype(float),
            luma(one).numpy().astype(float),
            data_range=255.0,
            gaussian_weights=True,
            use_sample_covariance=False,
        )
        for one in others
    ]
    np.testing.assert_allclose(ssim(image, others).numpy(), expected, rtol=1e-12)


def test_whole_changes_are_summed_exactly() -> None:
    image, others = noisy_pair(3, 2, 300, 701)
    change = (others.long() - image.long()).flatten(1)
    mean_square = change.square().sum(dim=1).double() / image.numel()
    assert torch.equal(linf(image, others), change.abs().amax(dim=1).double())
    assert torch.equal(rms(image, others), mean_square.sqrt())


@pytest.mark.parametrize("band", [1, 200 * 9, 200 * 166, 200 * 168])
def test_bands_do_not_change_what_is_measured(monkeypatch, band) -> None:
    """The picture has 167 rows of windows: 166 leave a band with one of them."""
    image, others = noisy_pair(5, 2, 177, 200)
    jnd = torch.rand(177, 200, generator=torch.Generator().manual_seed(5)) * 20
    # The only change of the first is in its last row.
    others[0] = image
    others[0, 1, 176, 199] = image[1, 176, 199] ^ 128
    monkeypatch.setattr(similarity, "BAND", 2**40)
    whole = [measure(image, others) for measure in (*MEASURES, ms_ssim)]
    violations = jnd_violation(image, others, jnd)
    assert whole[0][0].item() == 128.0
    assert violations[0].item() == 1 / (177 * 200)
    monkeypatch.setattr(similarity, "BAND", band)
    for measure, expected in zip((*MEASURES, ms_ssim), whole, strict=True):
        exact = measure in (linf, rms, psnr)
        torch.testing.assert_close(
            measure(image, others), expected, rtol=0 if exact else 1e-12, atol=0
        )
    assert torch.equal(jnd_violation(image, others, jnd), violations)

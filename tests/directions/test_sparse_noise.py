from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from torch import Tensor

from iqattack.directions import SOURCES, SUPPORTS, Source, SparseNoise, Support
from iqattack.directions.sparse_noise import widened_edges
from iqattack.perception import canny

PHOTOGRAPH = torch.from_numpy(data.coffee()[200:240, 200:272]).permute(2, 0, 1).float()


def sparse_noise(image: Tensor, radius: float = 8.0, **options) -> SparseNoise:
    return SparseNoise(image, image - radius, image + radius, **options)


def changed(candidate: Tensor, start: Tensor) -> Tensor:
    return (candidate != start).any(dim=0)


def extent(mask: Tensor) -> tuple[int, int]:
    """Height and width of the smallest rectangle around what is set."""
    rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
    return int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1


def test_the_names_in_the_types_are_those_of_the_tables() -> None:
    assert set(get_args(Support)) == set(SUPPORTS)
    assert set(get_args(Source)) == set(SOURCES)


def test_widened_edges_are_canny_and_their_neighbours() -> None:
    edges = canny(PHOTOGRAPH)
    widened = widened_edges(PHOTOGRAPH)
    around = torch.nn.functional.max_pool2d(edges[None].float(), 3, stride=1, padding=1)[0] > 0
    assert edges.any()
    assert torch.equal(widened > 0, around)
    assert 0.0 <= float(widened.min()) <= float(widened.max()) <= 1.0


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    support=st.sampled_from(sorted(SUPPORTS)),
    share=st.floats(0.001, 1),
)
def test_it_changes_the_support_within_one_rectangle(seed, support, share) -> None:
    rng = torch.Generator().manual_seed(seed)
    start = PHOTOGRAPH + torch.randn(PHOTOGRAPH.shape, generator=rng)
    candidate = sparse_noise(PHOTOGRAPH, supports=(support,)).draw(start, share, rng).candidate
    assert candidate.isfinite().all()
    where = changed(candidate, start)
    assert not (where & ~SUPPORTS[support](PHOTOGRAPH)).any()
    if where.any():
        height, width = extent(where)
        assert height <= max(1, round(40 * share**0.5))
        assert width <= max(1, round(72 * share**0.5))


def test_the_whole_image_is_a_window_too() -> None:
    noise = sparse_noise(PHOTOGRAPH, supports=("everywhere",), sources=("gaussian",))
    rng = torch.Generator().manual_seed(0)
    assert changed(noise.draw(PHOTOGRAPH, 1.0, rng).candidate, PHOTOGRAPH).all()


def test_every_pixel_is_as_likely_and_windows_have_about_their_share() -> None:
    image = PHOTOGRAPH[:, :12, :18]
    noise = sparse_noise(image, supports=("everywhere",), sources=("gaussian",))
    rng = torch.Generator().manual_seed(0)
    draws = 4000
    windows = [changed(noise.draw(image, 0.1, rng).candidate, image) for _ in range(draws)]
    height, width = round(12 * 0.1**0.5), round(18 * 0.1**0.5)
    assert {extent(w) for w in windows} >= {(height, width), (1, 1)}  # in the middle, in a corner
    rates = torch.stack(windows).float().mean(dim=0)
    expected = height * width / ((12 + height - 1) * (18 + width - 1))
    assert float((rates - expected).abs().max()) < 5 * (expected / draws) ** 0.5


def test_noise_is_added_or_put_in_its_place() -> None:
    """In units of the box: where the box has no width nothing changes, but back to the image."""
    image = PHOTOGRAPH
    start = image + 5.0
    noise = SparseNoise(image, image, image, supports=("everywhere",))
    rng = torch.Generator().manual_seed(0)
    seen = {float((noise.draw(start, 1.0, rng).candidate - image).unique()) for _ in range(30)}
    assert seen == {0.0, 5.0}


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_radius_is_the_larger_side_of_the_box(sign) -> None:
    image = PHOTOGRAPH
    bounds = sorted((0.0, sign * 6.0))
    options: dict[str, Any] = {
        "supports": ("everywhere",),
        "amplitudes": (1.0,),
        "sources": ("gaussian",),
    }
    one_sided = SparseNoise(image, image + bounds[0], image + bounds[1], **options)
    both_sides = SparseNoise(image, image - 6.0, image + 6.0, **options)
    one, both = (
        noise.draw(image, 1.0, torch.Generator().manual_seed(3)).candidate
        for noise in (one_sided, both_sides)
    )
    assert torch.equal(one, both)
    assert float((one - image).std()) == pytest.approx(6.0, rel=0.1)


def test_the_same_generator_draws_the_same() -> None:
    drawn = []
    for _ in range(2):
        noise, rng = sparse_noise(PHOTOGRAPH), torch.Generator().manual_seed(7)
        drawn.append([noise.draw(PHOTOGRAPH, 0.3, rng) for _ in range(8)])
    for one, other in zip(*drawn, strict=True):
        assert torch.equal(one.candidate, other.candidate)
        assert one.options == other.options


def test_in_8_bits_it_draws_the_same_rounded() -> None:
    start = PHOTOGRAPH.to(torch.uint8)
    drawn = []
    for begin in (start, start.float()):
        noise, rng = sparse_noise(PHOTOGRAPH), torch.Generator().manual_seed(7)
        drawn.append([noise.draw(begin, 0.3, rng).candidate for _ in range(40)])
    for whole, fine in zip(*drawn, strict=True):
        assert whole.dtype == torch.uint8
        assert torch.equal(whole, fine.round().clamp(0.0, 255.0).to(torch.uint8))


def test_it_does_not_touch_what_it_is_given() -> None:
    start = PHOTOGRAPH.clone()
    noise, rng = sparse_noise(PHOTOGRAPH), torch.Generator().manual_seed(7)
    for _ in range(10):
        noise.draw(start, 0.5, rng)
    assert torch.equal(start, PHOTOGRAPH)


def test_what_worked_is_drawn_more_often() -> None:
    noise = sparse_noise(PHOTOGRAPH, supports=("everywhere",), bands=(3,), amplitudes=(1.0,))
    rng = torch.Generator().manual_seed(0)
    signs = []
    for _ in range(400):
        draw = noise.draw(PHOTOGRAPH, 0.2, rng)
        signs.append(draw.options[2])
        noise.learn(draw, draw.options[2] == 0)
    assert signs[200:].count(0) > 180
    assert 1 in signs[50:]


@pytest.mark.parametrize("size", [(32, 40), (1, 30), (30, 1), (1, 1)])
def test_a_flat_image_has_no_edges_and_gets_noise_everywhere(size) -> None:
    image = torch.full((3, *size), 90.0)
    noise = sparse_noise(image, supports=("edges", "salient"), sources=("gaussian",))
    rng = torch.Generator().manual_seed(0)
    for _ in range(20):
        candidate = noise.draw(image, 1.0, rng).candidate
        assert candidate.isfinite().all()
        assert changed(candidate, image).all()

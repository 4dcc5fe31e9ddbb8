import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqattack.directions import BUNDLED, SOURCES, crop, textures
from iqattack.errors import InputError
from iqattack.images import ImageSet, read_image, write_png


@pytest.fixture
def own_folder(tmp_path):
    rng = torch.Generator().manual_seed(0)
    for name, size in (("a", (30, 50)), ("b", (17, 16))):
        pixels = torch.randint(0, 256, (3, *size), generator=rng, dtype=torch.uint8)
        write_png(tmp_path / f"{name}.png", pixels)
    return tmp_path


@pytest.mark.parametrize("source", sorted(SOURCES))
@pytest.mark.parametrize("band", [3, 5])
def test_bundled_textures_have_deviation_one_and_no_mean(source, band) -> None:
    bank = textures(source, band)
    assert len(bank) == len(ImageSet.from_folder(BUNDLED))
    for texture in bank:
        assert texture.dtype == torch.float32
        assert texture.shape[0] == 3
        assert texture.isfinite().all()
        assert float(texture.std()) == pytest.approx(1.0, abs=1e-3)
        assert texture.mean(dim=(1, 2)).abs().max() < 0.02


def test_the_high_pass_is_the_difference_from_a_local_mean(own_folder) -> None:
    first, _ = textures("sharp", 3, own_folder)
    pixels = read_image(own_folder / "a.png").pixels.double()
    mean = torch.nn.functional.avg_pool2d(pixels, 3, stride=1)
    expected = pixels[:, 1:-1, 1:-1] - mean
    found = first[:, 1:-1, 1:-1].double()
    scale = float(expected.std() / found.std())
    torch.testing.assert_close(scale * found, expected, atol=1e-2, rtol=1e-4)


def test_sources_differ() -> None:
    made = [textures(source, 3)[0] for source in SOURCES]
    for n, one in enumerate(made):
        for other in made[:n]:
            # JPEG at quality 10 keeps what is strongest, so it is the one that is not unlike.
            assert float((one * other).mean()) < 0.8


def test_a_folder_of_ones_own(own_folder) -> None:
    shapes = [tuple(texture.shape) for texture in textures("degraded", 5, own_folder)]
    assert shapes == [(3, 30, 50), (3, 17, 16)]


def test_a_band_larger_than_the_image(own_folder) -> None:
    for texture in textures("sharp", 301, own_folder):
        assert texture.isfinite().all()
        assert float(texture.std()) == pytest.approx(1.0, abs=1e-3)


def test_a_flat_image_gives_nothing_rather_than_rounding(tmp_path) -> None:
    write_png(tmp_path / "flat.png", torch.full((3, 9, 9), 201, dtype=torch.uint8))
    for source in ("sharp", "degraded", "smooth"):
        (texture,) = textures(source, 5, tmp_path)
        assert not texture.any()


def test_an_empty_folder_and_none_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="no images in this folder"):
        textures("sharp", 3, tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        textures("sharp", 3, tmp_path / "missing")
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"bad\.png"):
        textures("sharp", 3, tmp_path)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    extent=st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
def test_a_crop_is_one_of_the_mirrored_texture(seed, size, extent) -> None:
    rng = torch.Generator().manual_seed(seed)
    texture = torch.randn(3, *size, generator=rng)
    found = crop(texture, *extent, *torch.rand(2, generator=rng).tolist())
    assert found.shape == (3, *extent)
    beyond = [(0, length) for length in extent]
    mirrored = np.pad(texture.numpy(), [(0, 0), *beyond], mode="symmetric")
    places = np.lib.stride_tricks.sliding_window_view(mirrored, extent, axis=(1, 2))
    rows, columns = (
        side - length + 1 if length <= side else side
        for side, length in zip(size, extent, strict=True)
    )
    starts = places[:, :rows, :columns]
    assert (starts == found.numpy()[:, None, None]).all(axis=(0, 3, 4)).any()


def test_every_place_is_drawn() -> None:
    texture = torch.arange(5.0).expand(3, 1, 5)
    rng = torch.Generator().manual_seed(0)
    drawn = [
        int(crop(texture, 1, 2, *torch.rand(2, generator=rng).tolist())[0, 0, 0])
        for _ in range(800)
    ]
    assert [drawn.count(n) / 800 for n in range(4)] == pytest.approx([0.25] * 4, abs=0.06)

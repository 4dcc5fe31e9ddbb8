import logging
import math
import sys
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqattack.errors import InputError
from iqattack.perception import (
    NO_DIFFERENCE,
    ColorVideoVdp,
    Flip,
    Viewing,
    jod,
    ssim,
    tiles,
    viewing,
)


@pytest.fixture(scope="module")
def metric():
    if find_spec("pycvvdp") is None:
        pytest.skip("cvvdp is not installed: the extra 'visibility'")
    return ColorVideoVdp()


@pytest.fixture(scope="module")
def flip():
    pytest.importorskip("flip_evaluator", reason="not installed: the extra 'visibility'")
    return Flip()


def noisy_pair(seed, height=40, width=52, most=9):
    rng = torch.Generator().manual_seed(seed)
    image = torch.randint(20, 236, (3, height, width), generator=rng)
    change = torch.randint(-most, most + 1, image.shape, generator=rng)
    return image.byte(), (image + change).byte()


def checkerboard(image, side, levels):
    y, x = np.indices(image.shape[1:]) // side
    signs = torch.from_numpy(1 - 2 * ((x + y) % 2))
    return (image.int() + levels * signs).clamp(0, 255).byte()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), height=st.integers(8, 60), width=st.integers(8, 60))
def test_unchanged_is_10_and_nothing_is_above(metric, flip, seed, height, width):
    image, other = noisy_pair(seed, height, width)
    assert metric.jod(image, torch.stack([image, image])).tolist() == [NO_DIFFERENCE] * 2
    assert flip.mean(image, image).item() == 0.0
    assert metric.jod(image, other).item() <= NO_DIFFERENCE
    assert 0.0 < flip.mean(image, other).item() <= 1.0
    assert not metric.visible(image, image).any()


def test_no_value_depends_on_a_batch(metric, flip):
    image, other = noisy_pair(0)
    batch = torch.stack([image, other, image])[:, None]
    for measure in (metric.jod, flip.mean):
        alone = [measure(image, one).item() for one in (image, other, image)]
        assert measure(image, batch).shape == (3, 1)
        assert measure(image, batch).flatten().tolist() == alone


def test_patterns_of_three_grey_levels(metric, sample_images):
    """As ColorVideoVDP ranks them: the finest is hardly seen, 8 pixels most."""
    pictures = [image for name, image in sample_images.items() if "clean" in name][:4]
    by_side = {
        side: [metric.jod(image, checkerboard(image, side, 3)).item() for image in pictures]
        for side in (1, 2, 8)
    }
    assert np.mean(by_side[8]) == pytest.approx(9.0, abs=0.5)
    similar = [
        np.mean([ssim(image, checkerboard(image, side, 3)).item() for image in pictures])
        for side in (1, 8)
    ]
    assert similar[0] < similar[1]  # which says the opposite
    assert all(fine > coarse for fine, coarse in zip(by_side[1], by_side[8], strict=True))
    assert min(by_side[1] + by_side[2]) > 9.8


def test_where_a_change_is_seen_is_where_it_is(metric, flip):
    image = torch.full((3, 96, 128), 128, dtype=torch.uint8)
    other = image.clone()
    other[:, 16:48, 16:48] = checkerboard(image, 4, 20)[:, 16:48, 16:48]
    for tool in (metric, flip):
        seen = tool.visible(image, other)
        assert seen.shape == (96, 128)
        assert seen.dtype == torch.float32
        assert seen.min() >= 0.0
        assert seen[20:44, 20:44].mean() > 20 * seen[60:, 80:].mean()
    value, seen = metric.measure(image, other)
    assert value == metric.jod(image, other).item()
    assert 0.0 < float(seen.mean()) < 10.0 - value < float(seen.max())


def test_parts_of_a_large_picture(metric, flip, monkeypatch):
    """FLIP is local, and the same; JOD differs by what lies across the borders."""
    image, _ = noisy_pair(1, 300, 420)
    image = torch.nn.functional.avg_pool2d(image.float(), 5, 1, 2).byte()
    other = checkerboard(image, 8, 3)
    whole = metric.measure(image, other), flip.measure(image, other)
    monkeypatch.setattr(tiles, "TILE", 256)
    assert len(list(tiles.tiles(300, 420))) == 4
    parts = metric.measure(image, other), flip.measure(image, other)
    assert parts[0][0] == pytest.approx(whole[0][0], abs=0.1)  # with bands fewer, too
    assert parts[0][0] != whole[0][0]
    assert float((parts[0][1] - whole[0][1]).abs().mean()) < 0.1 * float(whole[0][1].mean())
    assert torch.equal(parts[1][1], whole[1][1])
    assert metric.jod(image, image).item() == NO_DIFFERENCE


@given(height=st.integers(1, 9), width=st.integers(1, 9), most=st.integers(1, 4))
def test_tiles_cover_a_picture_once(height, width, most):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tiles, "TILE", most)
        covered = np.zeros((height, width), int)
        for part in tiles.tiles(height, width):
            covered[part] += 1
            assert max(covered[part].shape) <= most
    assert (covered == 1).all()


def test_too_small_has_no_jod(metric, flip):
    image, other = noisy_pair(2, 7, 40)
    assert math.isnan(metric.jod(image, other).item())
    assert not metric.visible(image, other).any()
    assert flip.mean(image, other).item() > 0.0


def seen(meter, image, other):
    """How visible, in the meter's own measure."""
    return meter.jod(image, other) if isinstance(meter, ColorVideoVdp) else meter.mean(image, other)


def test_the_display_and_the_distance_matter(metric, flip):
    image, _ = noisy_pair(3, 64, 64, 0)
    other = checkerboard(image, 8, 12)
    for kind, near in ((ColorVideoVdp, metric), (Flip, flip)):
        far = kind("standard_fhd", 1.2)
        assert far.viewing.pixels_per_degree == pytest.approx(
            2 * near.viewing.pixels_per_degree, rel=1e-3
        )
        assert seen(far, image, other) != seen(near, image, other)


def test_pixels_per_degree_are_those_of_the_package(metric):
    geometry = sys.modules["pycvvdp"].vvdp_display_geometry
    known = viewing.displays()
    assert {"standard_4k", "standard_fhd", "standard_phone"} <= known.keys()
    assert not {"standard_hdr_pq", "standard_hmd"} & known.keys()
    for name in known:
        found = Viewing.of(name)
        assert found.pixels_per_degree == pytest.approx(geometry.load(name).get_ppd(), rel=1e-12)
    assert {name: known["standard_fhd"][name] for name in viewing.FULL_HD} == viewing.FULL_HD


@pytest.mark.parametrize(
    ("display", "distance", "message"),
    [
        ("standard_4K", None, "unknown display 'standard_4K': did you mean 'standard_4k'"),
        ("standard_hdr_pq", None, "unknown display 'standard_hdr_pq'"),
        (None, 0.0, r"distance 0: expected 0\.08 to 7\.9 metres, where standard_fhd has"),
        (None, math.nan, "distance nan: expected"),
    ],
)
def test_what_is_no_display_or_distance(metric, display, distance, message):
    with pytest.raises(InputError, match=message):
        ColorVideoVdp(display, distance)


def test_pictures_of_two_sizes_are_refused(metric, flip):
    for measure in (metric.jod, flip.mean):
        with pytest.raises(InputError, match=r"cannot compare pictures of shapes \(3, 8, 9\)"):
            measure(torch.zeros(3, 8, 9), torch.zeros(3, 9, 8))


def test_its_modules_are_not_those_of_others(metric, monkeypatch, tmp_path):
    """It imports 'interp' and 'third_party' by these names, and leaves its folder in sys.path."""
    (tmp_path / "interp.py").write_text("raise RuntimeError\n")
    monkeypatch.syspath_prepend(tmp_path)
    mine = ModuleType("third_party")
    monkeypatch.setitem(sys.modules, "third_party", mine)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pycvvdp"]:
        monkeypatch.delitem(sys.modules, name)
    path, handlers = list(sys.path), list(logging.getLogger().handlers)
    assert jod._library().cvvdp
    assert sys.path == path
    assert logging.getLogger().handlers == handlers
    assert "interp" not in sys.modules
    assert sys.modules["third_party"] is mine


def test_it_says_nothing(metric, caplog, capfd):
    image = torch.zeros(3, 16, 16, dtype=torch.uint8)  # which it warns of
    with caplog.at_level(logging.DEBUG):
        metric.jod(image, image + 1)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", [ColorVideoVdp, Flip])
def test_without_its_package(monkeypatch, kind):
    for name in ("pycvvdp", "flip_evaluator"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(viewing, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"is not installed: pip install 'iqattack\[visibility\]'"):
        kind()
    assert Viewing.of().display == "standard_fhd"
    with pytest.raises(InputError, match="displays are those of the package 'cvvdp'"):
        Viewing.of("standard_4k")

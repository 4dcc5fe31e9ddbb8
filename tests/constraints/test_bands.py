"""`bands:` and `jod:`: what is projected is allowed, stays as it is, and keeps the promise."""

import itertools
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from iqattack.constraints import (
    Bands,
    JodBands,
    SsimFloor,
    ends,
    find_scale,
    parse_constraint,
)
from iqattack.constraints import jod as jod_module
from iqattack.constraints import metric as metric_of_jod
from iqattack.errors import InputError
from iqattack.perception import ContrastBands, patterns

sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    """112×112 of a photograph that scikit-image brings along."""
    picture = data.cat()[80:192, 150:262]
    return torch.from_numpy(picture.transpose(2, 0, 1).copy())


def random_image(seed: int, size: tuple[int, int]) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    spread = 10 ** float(torch.rand(1, generator=rng) * 2)  # from flat ground to noise
    return (128 + spread * torch.randn((3, *size), generator=rng)).clamp(0, 255).byte()


@settings(max_examples=60, deadline=None)
@given(st.floats(0.1, 12), st.integers(0, 2**31), sizes, st.floats(1, 200))
def test_what_is_projected_is_allowed_and_stays_as_it_is(scale, seed, size, strength) -> None:
    image = random_image(seed, size)
    rng = torch.Generator().manual_seed(seed + 1)
    candidates = image + strength * torch.randn((2, 3, *size), generator=rng)
    region = Bands(scale).around(image)
    found = region.project(candidates)
    assert torch.equal(found, found.round())
    assert ((found >= region.lower) & (found <= region.upper)).all()
    assert torch.equal(region.project(found), found)
    for one in found:
        change = (one - image.float()).numpy()
        assert ContrastBands(image).largest(change) <= scale
        # Between the image and the candidate, so that no value overshoots.
    assert ((found - image).sign() * (candidates - image).sign() >= 0).all()
    again = Bands(scale).around(image.float()).project(candidates)
    assert torch.equal(found, again)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([0.5, 2.5, 5.0, 10.0]),
    st.sampled_from([0, 255]),
    st.integers(0, 2**31),
    st.sampled_from([19.0, 37.84]),
)
def test_also_beside_hard_edges(scale, ground, seed, pixels_per_degree) -> None:
    """What bright texture may have is far more than dark ground beside it may, which it reaches."""
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.random((12, 12)) > 0.5, np.ones((8, 8))) > 0
    texture = rng.integers(0, 2, (1, 96, 96)) * 255
    image = torch.from_numpy(
        np.broadcast_to(np.where(blocks, texture, ground), (3, 96, 96)).astype(np.uint8)
    )
    region = Bands(scale, pixels_per_degree).around(image)
    ways = torch.from_numpy(rng.random((2, 1, 96, 96)) > 0.5)
    found = region.project(torch.where(ways, region.upper, region.lower).float())
    for one in found:
        assert region.allows((one - image.float()).numpy())
    assert torch.equal(region.project(found), found)


def test_a_larger_scale_allows_more(photo) -> None:
    regions = [Bands(scale).around(photo) for scale in (0.5, 1.0, 2.0, 4.0)]
    for narrow, wide in itertools.pairwise(regions):
        assert (narrow.upper <= wide.upper).all()
        assert (narrow.lower >= wide.lower).all()
        for _, signs in patterns(photo):
            picture = ends(narrow, photo, signs)[None].float()
            assert torch.equal(wide.project(picture), picture)


def test_a_scale_of_next_to_nothing_leaves_the_image(photo) -> None:
    region = Bands(1e-6).around(photo)
    assert torch.equal(region.project(255 - photo[None].float())[0], photo.float())
    assert torch.equal(region.lower, photo)
    assert torch.equal(region.upper, photo)


def test_larger_pixels_allow_less(photo) -> None:
    """What is fine on one display is coarse at half the distance, where an eye sees it better."""
    near, far = (Bands(2.5, density).around(photo) for density in (19.0, 38.0))
    assert (far.upper - photo).float().mean() > 1.5 * (near.upper - photo).float().mean()


def test_fine_patterns_may_be_stronger_than_coarse_ones(photo) -> None:
    region = Bands(2.5).around(photo)
    change = {
        name: float((ends(region, photo, signs).float() - photo).std())
        for name, signs in patterns(photo)
    }
    assert change["checkerboard 1 px"] > 2 * change["checkerboard 8 px"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "bands:0",
            "constraint 'bands:0': expected a scale above 0 and up to 1000, such as bands:3",
        ),
        ("bands:1e308", "expected a scale above 0 and up to 1000"),
        ("bands:nan", "expected a scale above 0"),
        ("bands:-1", "expected a scale above 0"),
        ("bands", "constraint 'bands': expected bands:SCALE or bands:SCALE:PIXELS_PER_DEGREE"),
        ("bands:1:2:3", "such as bands:3 or bands:3:19"),
        ("bands:1:2", "constraint 'bands:1:2': expected 5 to 500 pixels per degree"),
        ("bands:1:nan", "expected 5 to 500 pixels per degree, such as bands:3:19"),
        ("bands:1:x", "'bands:1:x': 'x' is not a number, expected e.g. bands:3:19"),
        ("jod:10", "constraint 'jod:10': expected JOD between 5 and 10, where 10 is no visible"),
        ("jod:nan", "expected JOD between 5 and 10"),
        ("jod:x", "'jod:x': 'x' is not a number, expected e.g. jod:9.75"),
    ],
)
def test_bad_specs_say_what_was_expected(spec, message) -> None:
    with pytest.raises(InputError) as caught:
        parse_constraint(spec)
    assert message in str(caught.value)


def test_specs_read_back() -> None:
    assert parse_constraint("bands:2.5") == Bands(2.5)
    assert Bands(2.5).spec == "bands:2.5"
    assert parse_constraint("bands:2.5:19").spec == "bands:2.5:19"
    assert parse_constraint(JodBands(9.75).spec) == JodBands(9.75)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.9, 0.999), st.integers(0, 2**31))
def test_what_a_floor_makes_of_it_is_still_allowed(least, seed) -> None:
    """Rounding a part of an allowed change can strengthen a band of it."""
    image = random_image(seed, (24, 31))
    region, floor = Bands(2.5).around(image), SsimFloor(least)
    rng = torch.Generator().manual_seed(seed + 1)
    found = region.project(image + 60 * torch.randn((2, 3, 24, 31), generator=rng))
    held = floor.enforce(image.float(), found, region.project)
    assert torch.equal(region.project(held), held)
    assert all(floor.satisfied(image.float(), one) for one in held)


# -- jod ------------------------------------------------------------------------------------------


@pytest.fixture
def metric():
    """ColorVideoVDP, where it is installed."""
    if find_spec("pycvvdp") is None:  # not imported, as that leaves its folder in sys.path
        pytest.skip("ColorVideoVDP is not installed: the extra 'visibility'")
    return metric_of_jod.metric()


@pytest.mark.parametrize("shade", [0.08, 0.0])
def test_nor_on_dark_and_flat_pictures(photo, shade, metric) -> None:
    image = (
        (48 + shade * photo[:, :64, :64].float()).byte()
        if shade
        else torch.full_like(photo[:, :64, :64], 128)
    )
    region = Bands(find_scale(image, 9.75)).around(image)
    rows = torch.arange(64)[None, :, None].expand(3, 64, 64)
    for side in (1, 2, 3):  # three is no pattern of the family
        level = (rows // side % 2 * 2 - 1).numpy().astype(np.int8)
        assert float(metric.jod(image, ends(region, image, level))) >= 9.75 - 0.02 * (side == 3)
    jods = [float(metric.jod(image, ends(region, image, signs))) for _, signs in patterns(image)]
    assert min(jods) >= 9.75


def test_a_scale_needs_the_package_and_says_so(photo, metric, monkeypatch, tmp_path) -> None:
    def missing() -> None:
        raise InputError("JOD need a package")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(jod_module, "metric", missing)
    monkeypatch.setattr(jod_module, "version", lambda _: pytest.fail("asked before"))
    with pytest.raises(InputError, match="need a package"):
        JodBands(9.75).around(photo)
    assert JodBands(9.75).knowing(2.0).around(photo).scale == 2.0  # that needs none


def test_a_user_without_a_home_has_no_cache(photo, metric, monkeypatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(jod_module, "find_scale", lambda *_: 1.5)
    assert JodBands(9.75).around(photo).scale == 1.5


def test_no_pattern_at_the_scale_that_is_found_costs_more_than_allowed(photo, metric) -> None:
    scales = {least: find_scale(photo, least) for least in (9.9, 9.75)}
    assert scales[9.9] < scales[9.75]
    for least, scale in scales.items():
        region = Bands(scale).around(photo)
        jods = [
            float(metric.jod(photo, ends(region, photo, signs))) for _, signs in patterns(photo)
        ]
        assert least <= min(jods) < least + 0.05


def test_a_scale_is_found_once(photo, metric, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = []

    def counted(image: torch.Tensor, least: float) -> float:
        found.append(least)
        return 1.23

    monkeypatch.setattr(jod_module, "find_scale", counted)
    for _ in range(2):
        assert JodBands(9.75).around(photo).scale == 1.23
    JodBands(9.5).around(photo)
    JodBands(9.75).around(photo.flip(2))
    assert found == [9.75, 9.5, 9.75]
    for file in tmp_path.rglob("*"):
        if file.is_file():
            file.write_text("1e9")  # no scale: it is found again
    JodBands(9.75).around(photo)
    assert len(found) == 4


def test_the_search_for_a_scale_ends_on_the_grid() -> None:
    def power(scale: float) -> float:
        return 0.25 * (scale / 3.217) ** 1.9

    assert jod_module._largest(power, {2.5: power(2.5)}, 0.25) == pytest.approx(3.21, abs=0.011)
    assert jod_module._largest(power, {2.5: power(2.5)}, power(1.0)) == pytest.approx(
        1.0, abs=0.011
    )
    steps = np.array([0.1, 0.3])

    def step(scale: float) -> float:
        return float(steps[int(scale > 2.718)])

    found = jod_module._largest(step, {2.5: 0.1}, 0.25)
    assert 2.5 <= found <= 2.72

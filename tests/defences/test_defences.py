"""Each defence against a closed form or another implementation, and what all of them promise."""

import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage import data

from iqattack.catalogue.defences import DEFENCES
from iqattack.defences import KINDS, Behind, certified_bounds, parse_defence
from iqattack.defences.crop import Crop
from iqattack.errors import InputError

BEHIND = Behind((0.0, 100.0))
EXAMPLES = [text.spec for text in DEFENCES.values()]
PURIFIERS = ("jpeg", "webp", "resize", "bits", "median", "blur", "unsharp", "tv")


@pytest.fixture(scope="module")
def images():
    """Two crops of a photograph."""
    photograph = torch.from_numpy(data.coffee()).permute(2, 0, 1)
    return torch.stack([photograph[:, 100:148, 200:264], photograph[:, 200:248, 300:364]])


def sent(spec, images, behind=BEHIND):
    """What the model is shown of images, in order."""
    seen = []

    def ask(shown):
        seen.extend(shown)
        return [float(image.double().mean()) for image in shown]

    parse_defence(spec)(images, ask, behind)
    return seen


def reported(spec, scores, behind=BEHIND):
    """The scores reported in place of these."""
    images = torch.arange(len(scores), dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    return parse_defence(spec)(images, lambda _: list(scores), behind)


def pixels(image):
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


# -- all of them ----------------------------------------------------------------------------------


def test_the_catalogue_has_what_there_is() -> None:
    assert list(DEFENCES) == list(KINDS)
    for name, text in DEFENCES.items():
        assert text.form.split(":")[0].partition("[")[0] == name
        assert parse_defence(text.spec).defences[0].name == name


@pytest.mark.parametrize("spec", EXAMPLES)
def test_a_spec_reads_back_as_it_is_written(spec) -> None:
    whole = parse_defence(spec).spec
    assert whole.startswith(spec)
    assert parse_defence(whole).spec == whole


@pytest.mark.parametrize("spec", EXAMPLES)
def test_answers_hang_on_the_image_alone(spec, images) -> None:
    """Not on the batch, on what was asked before, or on the process; and images stay unchanged."""
    before = images.clone()

    def ask(shown):
        return [float(image.double().square().mean()) % 100.0 for image in shown]

    defence = parse_defence(spec)
    together = defence(images, ask, BEHIND)
    alone = [defence(image[None], ask, BEHIND)[0] for image in images.flip(0)]
    assert together == alone[::-1]
    assert torch.equal(images, before)


@pytest.mark.parametrize("spec", EXAMPLES)
def test_a_failure_of_one_image_is_its_own(spec, images) -> None:
    """Whichever of its versions it was."""
    failure = RuntimeError("down")
    bright = float(images[0].double().mean())

    def ask(shown):
        near = [abs(float(image.double().mean()) - bright) < 8.0 for image in shown]
        return [failure if here else 50.0 for here in near]

    assert abs(float(images[1].double().mean()) - bright) > 20.0
    first, second = parse_defence(spec)(images, ask, BEHIND)
    assert first is failure
    assert isinstance(second, float)


@pytest.mark.parametrize("spec", EXAMPLES)
def test_a_score_that_is_no_number_is_passed_on(spec, images) -> None:
    (found,) = parse_defence(spec)(images[:1], lambda shown: [math.nan] * len(shown), BEHIND)
    assert isinstance(found, float)
    assert math.isnan(found)


@pytest.mark.parametrize(
    "spec",
    [
        "", "+", "jpeg:75+", "nothing:1", "jpeg", "jpeg:0", "jpeg:101", "jpeg:75.5", "jpeg:75:1",
        "jpeg:x", "resize:0", "resize:1.1", "bits:9", "median:2", "median:1", "blur:4", "unsharp:0",
        "tv:-1", "crop:0", "crop:0.9:0", "flip:0", "noise:nan", "noise:inf", "noise:3:10001",
        "smoothing:0", "round:101", "aaa:5:cosine", "score-noise:", "JPEG:75",
        "round:1e-322", "crop:1e-310", "noise:1e+1", "noise:3:200+crop:0.9:100",
    ],
)  # fmt: skip
def test_what_does_not_exist_is_refused_with_what_does(spec) -> None:
    with pytest.raises(InputError, match=r"expected|available"):
        parse_defence(spec)


def test_the_first_sees_the_image_first_and_the_score_last(images) -> None:
    (bits_first,) = sent("bits:1+blur:9", images[:1])
    (blur_first,) = sent("blur:9+bits:1", images[:1])
    assert len(bits_first.unique()) > 2 == len(blur_first.unique())
    assert reported("round:7+aaa:20", [3.0]) == [14.0]  # reported 17, then rounded
    assert reported("aaa:20+round:7", [3.0]) == [20.0]  # rounded to 0, then mirrored


def test_versions_of_versions_are_counted(images) -> None:
    chain = parse_defence("noise:1:3+jpeg:90+crop:0.9:2")
    assert chain.scored == 6 == len(sent(chain.spec, images[:1]))


# -- purifiers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [s for s in EXAMPLES if s.startswith(PURIFIERS)])
def test_a_flat_picture_is_pure(spec) -> None:
    flat = torch.full((1, 3, 32, 40), 85, dtype=torch.uint8)  # a level of 4 bits, and of 8
    (shown,) = sent(spec, flat)
    assert shown.shape == flat[0].shape
    assert shown.dtype == torch.uint8
    assert (shown.int() - 85).abs().max() <= (2 if spec.startswith("webp") else 0)


@pytest.mark.parametrize(("name", "form"), [("jpeg", "JPEG"), ("webp", "WEBP")])
def test_codecs_are_pillows(name, form, images) -> None:
    file = io.BytesIO()
    Image.fromarray(pixels(images[0])).save(file, form, quality=40)
    (shown,) = sent(f"{name}:40", images[:1])
    assert np.array_equal(pixels(shown), np.array(Image.open(file)))


def test_a_median_is_scipys(images) -> None:
    (shown,) = sent("median:5", images[:1])
    wanted = ndimage.median_filter(pixels(images[0]), size=(5, 5, 1), mode="nearest")
    assert np.array_equal(pixels(shown), wanted)


def test_a_blur_is_opencvs(images) -> None:
    """Binomial up to seven pixels, above a Gaussian of the deviation that it takes."""
    sigma = 0.3 * (11 / 2 - 1.5) + 0.8
    for spec, weights in (
        ("blur:3", [1.0, 2.0, 1.0]),
        ("blur:5", [1.0, 4.0, 6.0, 4.0, 1.0]),
        ("blur:11", np.exp(-np.square(np.arange(-5, 6)) / (2 * sigma**2))),
    ):
        (shown,) = sent(spec, images[:1])
        exact = pixels(images[0]).astype(float)
        for axis in (0, 1):
            exact = ndimage.correlate1d(
                exact, np.divide(weights, sum(weights)), axis, mode="mirror"
            )
        assert np.abs(pixels(shown) - exact).max() <= 1.0


@pytest.mark.parametrize("depth", range(1, 9))
def test_bits_are_nearest_levels(depth) -> None:
    ramp = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(-1, 3, -1, -1)
    (shown,) = sent(f"bits:{depth}", ramp)
    levels = np.rint(np.linspace(0, 255, 2**depth))
    nearest = np.abs(np.arange(256)[:, None] - levels).min(1)
    assert sorted(set(shown[0].flatten().tolist())) == levels.tolist()
    assert np.array_equal(np.abs(shown[0].flatten().int().numpy() - np.arange(256)), nearest)


def test_resizing_averages_areas() -> None:
    """A checkerboard of single pixels is gone; one of whole areas is still there."""
    fine = torch.tensor([[0, 200], [200, 0]], dtype=torch.uint8).repeat(16, 16).expand(3, -1, -1)
    coarse = fine.repeat_interleave(8, 1).repeat_interleave(8, 2)
    (of_fine,) = sent("resize:0.5", fine[None])
    (of_coarse,) = sent("resize:0.5", coarse[None])
    assert (of_fine == 100).all()
    assert (of_coarse[:, 3::8, 3::8] == coarse[:, 3::8, 3::8]).all()


def test_unsharp_masking_takes_the_blur_away_twice(images) -> None:
    (shown,) = sent("unsharp:0.5", images[:1])
    exact = pixels(images[0]).astype(float)
    blurred = ndimage.gaussian_filter(exact, (1, 1, 0), mode="mirror", truncate=4)
    wanted = np.clip(exact + 0.5 * (exact - blurred), 0, 255)
    assert np.abs(pixels(shown) - wanted).max() <= 1.0


def test_total_variation_falls_with_the_weight(images) -> None:
    def variation(image):
        image = image.double()
        return sum(float(image.diff(dim=axis).abs().sum()) for axis in (1, 2))

    found = [variation(sent(f"tv:{weight}", images[:1])[0]) for weight in (0.001, 0.03, 0.1, 0.5)]
    assert variation(images[0]) > found[0]
    assert found == sorted(found, reverse=True)


# -- random ones ----------------------------------------------------------------------------------


def test_noise_has_its_deviation_and_is_other_in_each_pass() -> None:
    grey = torch.full((1, 3, 100, 100), 128, dtype=torch.uint8)
    shown = torch.stack(sent("noise:5:4", grey)).double() - 128.0
    assert len(shown) == 4
    deviation = math.sqrt(25.0 + 1.0 / 12.0)  # of rounding
    assert abs(float(shown.std()) - deviation) < 0.1
    assert abs(float(shown.mean())) < 0.1
    planes = shown.flatten(1)
    assert (torch.corrcoef(planes) - torch.eye(4)).abs().max() < 0.05


def test_a_pixel_or_a_key_changes_all_that_is_random(images) -> None:
    other = images[:1].clone()
    other[0, 0, 0, 0] ^= 1
    keyed = Behind(BEHIND.score_range, key=1)
    first, second, third = (
        sent("noise:5", one, behind)[0].int() - one[0].int()
        for one, behind in ((images[:1], BEHIND), (other, BEHIND), (images[:1], keyed))
    )
    for noise in (second, third):
        together = torch.stack([first.flatten(), noise.flatten()]).double()
        assert abs(float(torch.corrcoef(together)[0, 1])) < 0.05


def test_windows_are_of_the_picture_and_anywhere(images) -> None:
    shown = sent("crop:0.75:60", images[:1])
    places = set()
    for window in shown:
        assert window.shape == (3, 36, 48)
        unfolded = images[0].unfold(1, 36, 1).unfold(2, 48, 1).permute(1, 2, 0, 3, 4)
        same = (unfolded == window).all(-1).all(-1).all(-1).nonzero().tolist()
        assert same
        places.add(tuple(same[0]))
    assert len(places) > 45


@given(share=st.floats(0.01, 1.0), min_size=st.integers(1, 500))
def test_the_smallest_picture_of_a_window_is_found(share, min_size) -> None:
    """Its window is large enough, and that of a smaller picture is not."""
    (crop,) = parse_defence(f"crop:{share!r}").defences
    assert isinstance(crop, Crop)
    side = crop.smallest(min_size)

    def inside(whole):
        rng = np.random.default_rng(0)
        return crop.version(torch.zeros(()).expand(3, whole, whole), rng).shape[1]

    assert inside(side) >= min_size
    assert side == min_size or inside(side - 1) < min_size


def test_half_of_all_pictures_are_mirrored(images) -> None:
    shown = sent("flip:200", images[:1])
    mirrored = [torch.equal(image, images[0].flip(2)) for image in shown]
    assert all(
        torch.equal(image, images[0]) for image, odd in zip(shown, mirrored, strict=True) if not odd
    )
    assert 70 < sum(mirrored) < 130


def test_smoothing_takes_the_median() -> None:
    scores: list[float | Exception] = [5.0, 1.0, 90.0, 2.0, 3.0]
    image = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    for passes, wanted in ((5, 3.0), (4, 2.0)):
        defence = parse_defence(f"smoothing:1:{passes}")
        assert defence(image, lambda shown: scores[: len(shown)], BEHIND) == [wanted]
    assert parse_defence("noise:1:5")(image, lambda _: scores, BEHIND) == [pytest.approx(101.0 / 5)]


@pytest.mark.parametrize("radius", [0.0, 3.0, 10.0])
def test_the_certificate_of_a_linear_score_is_the_change_that_is_possible(radius) -> None:
    """The median of ⟨w, x + noise⟩ moves by ‖w‖·r at most, which the bounds come near to."""
    sigma, w = 10.0, 2.0
    rng = np.random.default_rng(0)
    low, high = certified_bounds(
        (50.0 + w * sigma * rng.standard_normal(20_000)).tolist(), sigma, radius
    )
    assert 50.0 - w * radius - 1.5 < low < 50.0 - w * radius <= 50.0 + w * radius < high
    assert high < 50.0 + w * radius + 1.5


def test_a_certificate_holds_as_often_as_it_says() -> None:
    """Medians of scores moved either way are outside in no more than 10 % of 2,000."""
    sigma, radius = 10.0, 5.0
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(2_000):
        low, high = certified_bounds((sigma * rng.standard_normal(50)).tolist(), sigma, radius, 0.9)
        missed += not (low <= -radius and radius <= high)
    assert missed < 0.11 * 2_000


def test_few_passes_certify_nothing() -> None:
    assert certified_bounds([1.0, 2.0, 3.0], 1.0, 1.0) == (-math.inf, math.inf)


# -- scores ---------------------------------------------------------------------------------------


def test_scores_are_rounded_from_the_low_end_on() -> None:
    behind = Behind((1.0, 5.0))  # a hundredth is 0.04
    found = reported("round:25", [1.0, 1.4, 1.6, 3.4, 3.6, 5.0], behind)
    assert found == [1.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_noise_on_scores_has_its_deviation() -> None:
    behind = Behind((0.0, 10.0))
    flat = torch.arange(4000).reshape(-1, 1, 1, 1).expand(-1, 3, 1, 1)
    images = torch.cat([flat[:, :1] // 256, flat[:, 1:] % 256], 1).to(torch.uint8)
    found = np.array(
        parse_defence("score-noise:2")(images, lambda shown: [4.0] * len(shown), behind), float
    )
    assert abs(np.std(found) - 0.2) < 0.01
    assert abs(np.mean(found) - 4.0) < 0.01


@settings(max_examples=200)
@given(
    score=st.floats(-50.0, 150.0), form=st.sampled_from(["linear", "sine"]), length=st.floats(1, 50)
)
def test_no_score_is_told_further_off_than_an_interval(score, form, length) -> None:
    (found,) = reported(f"aaa:{length!r}:{form}", [score])
    assert abs(found - score) <= length * (1.0 + 1e-9)


@pytest.mark.parametrize("form", ["linear", "sine"])
def test_small_steps_are_misled_and_large_ones_are_not(form) -> None:
    """Within an interval the score falls where it rises; an interval further on it is that much
    more.
    """
    found = reported(f"aaa:10:{form}", [44.0, 45.0, 46.0, 54.0, 55.0, 56.0])
    assert found[0] > found[1] > found[2]
    assert found[1] == pytest.approx(45.0)
    assert np.allclose(np.subtract(found[3:], found[:3]), 10.0)


@pytest.mark.parametrize("spec", ["aaa:5", "aaa:7", "aaa:7:sine", "aaa:60", "round:60", "round:30"])
def test_what_is_in_the_range_is_told_in_the_range(spec) -> None:
    for behind in (BEHIND, Behind((-3.0, 7.0))):
        low, high = behind.score_range
        scores = np.linspace(low, high, 301).tolist()
        found = reported(spec, scores, behind)
        assert low - 1e-9 <= min(found) <= max(found) <= high + 1e-9
        assert reported(spec, [low - 1.0, high + 1.0], behind) == [low - 1.0, high + 1.0]


def test_two_random_defences_have_numbers_of_their_own() -> None:
    images = torch.arange(2000).reshape(-1, 1, 1, 1) % torch.tensor([256, 251, 241]).reshape(
        3, 1, 1
    )
    images = images.to(torch.uint8)
    once, twice = (
        np.array(parse_defence(spec)(images, lambda shown: [50.0] * len(shown), BEHIND), float)
        for spec in ("score-noise:1", "score-noise:1+score-noise:1")
    )
    assert abs(np.std(once) - 1.0) < 0.05
    assert abs(np.std(twice) - math.sqrt(2.0)) < 0.07


def test_a_model_is_asked_about_few_versions_at_once(images) -> None:
    asked = []

    def ask(shown):
        asked.append(len(shown))
        return [1.0] * len(shown)

    assert parse_defence("noise:3:50")(images, ask, BEHIND) == [1.0, 1.0]
    assert sum(asked) == 100
    assert max(asked) <= 16


@pytest.mark.parametrize(
    ("sigma", "radius", "confidence", "scores"),
    [
        (0.0, 1.0, 0.9, [1.0]),
        (1.0, -1.0, 0.9, [1.0]),
        (1.0, 1.0, 2.0, [1.0]),
        (1.0, 1.0, 0.9, [math.nan]),
    ],
)
def test_a_certificate_of_nonsense_is_refused(sigma, radius, confidence, scores) -> None:
    with pytest.raises(InputError, match="expected sigma above 0"):
        certified_bounds(scores, sigma, radius, confidence)


def test_the_mirror_is_at_the_attractor() -> None:
    assert reported("aaa:10", [41.0, 45.0, 49.0]) == [49.0, 45.0, 41.0]

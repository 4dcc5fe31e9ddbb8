import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqattack.detection import Blacklight, parse_detector
from iqattack.detection.blacklight import window_hashes
from iqattack.errors import InputError


def noise(seed, size=32, low=0, high=256):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(low, high, (3, size, size), dtype=np.uint8))


def slowly(kind, image):
    """The windows themselves in place of their hashes, chosen by another hash."""
    values = (image.permute(1, 2, 0).numpy().reshape(-1) // kind.quantisation).tobytes()
    count = len(values) - kind.window + 1
    return {values[k : k + kind.window] for k in range(0, count, kind.stride)}


seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.integers(1, 40), st.integers(1, 120))
@settings(max_examples=60, deadline=None)
def test_hashes_differ_where_windows_do(seed, window, length):
    values = np.random.default_rng(seed).integers(0, 3, length, dtype=np.uint8)
    hashes = window_hashes(values, window).tolist()
    windows = [values[k : k + window].tobytes() for k in range(length - window + 1)]
    assert len(hashes) == len(windows)
    assert len(set(zip(hashes, windows, strict=True))) == len(set(hashes)) == len(set(windows))


def test_which_windows_are_kept_looks_like_chance():
    values = np.arange(20_000, dtype=np.int64).astype(np.uint8)[
        np.random.default_rng(0).permutation(20_000)
    ]
    hashes = window_hashes(values, 50)
    assert abs(np.mean(hashes.astype(np.float64) / 2.0**64) - 0.5) < 4 / np.sqrt(12 * len(hashes))


@given(seeds, st.integers(2, 12), st.integers(1, 7))
@settings(max_examples=30, deadline=None)
def test_fingerprints_are_the_largest_hashes_without_repeats(seed, keep, stride):
    kind = Blacklight(window=9, quantisation=50, keep=keep, matches=1, stride=stride)
    image = noise(seed, 12, high=80)  # two levels: windows repeat
    found = kind.fingerprints(image).tolist()
    values = image.permute(1, 2, 0).numpy().reshape(-1) // 50
    every = set(window_hashes(values, 9)[::stride].tolist())
    assert found == sorted(every, reverse=True)[:keep]
    assert len(every) == len(slowly(kind, image))


def test_an_identical_image_is_flagged_at_the_second_query_and_noise_never():
    detector = Blacklight().open()
    assert not detector.flags(noise(0))
    assert detector.flags(noise(0))
    assert not any(detector.flags(noise(seed)) for seed in range(1, 30))


def test_images_that_share_no_window_share_no_fingerprint():
    detector = Blacklight().open()
    for level in range(0, 250, 50):
        assert detector.most_shared(noise(level, low=level, high=level + 50)) == 0
    # Each is of one level: they have one window, and are too poor to be known again.
    assert detector.most_shared(noise(7, low=0, high=50)) == 1


def test_a_copy_shifted_by_a_row_is_flagged():
    image = noise(0, 64)
    shifted = torch.cat([noise(1, 64)[:, :1], image[:, :-1]], dim=1)
    detector = Blacklight().open()
    assert not detector.flags(image)
    assert detector.flags(shifted)


def test_what_quantisation_hides_is_the_same_image():
    image = noise(0, high=250) // 50 * 50
    detector = Blacklight().open()
    detector.flags(image)
    assert detector.most_shared(image + 49) == 50


def test_the_threshold_has_to_be_exceeded():
    image = noise(0, 64)
    shared = []
    for rows in range(1, 64):  # ever more of it is another image
        other = torch.cat([noise(9, 64)[:, :rows], image[:, rows:]], dim=1)
        first = Blacklight().fingerprints(image).tolist()
        both = len(set(first) & set(Blacklight().fingerprints(other).tolist()))
        shared.append(both)
        for matches in {max(both - 1, 0), min(both, 49)}:
            detector = Blacklight(matches=matches).open()
            detector.flags(image)
            assert detector.flags(other) == (both > matches)
    assert min(shared) < 10
    assert max(shared) > 40


@given(seeds, seeds, st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_sharing_is_symmetric(one, two, share):
    first = noise(one, 24)
    mask = torch.rand(first.shape, generator=torch.Generator().manual_seed(two)) < share**4
    second = torch.where(mask, noise(two, 24), first)

    def shared(a, b):
        detector = Blacklight().open()
        detector.most_shared(a)
        return detector.most_shared(b)

    assert shared(first, second) == shared(second, first)


@given(st.permutations(range(6)))
@settings(max_examples=20, deadline=None)
def test_how_many_resemble_none_before_depends_on_no_order_for_groups_of_copies(order):
    images = [noise(k // 2) for k in order]  # three pairs
    detector = Blacklight().open()
    assert sum(detector.flags(image) for image in images) == 3


def test_it_remembers_every_earlier_image_and_each_state_by_itself():
    kind = Blacklight()
    detector = kind.open()
    images = [noise(seed) for seed in range(20)]
    assert not any(map(detector.flags, images))
    assert all(map(detector.flags, images))
    assert not any(map(kind.open().flags, images))


def test_images_of_any_size_are_taken():
    detector = Blacklight().open()
    small = torch.zeros((3, 2, 2), dtype=torch.uint8)  # shorter than a window
    assert not detector.flags(small)
    assert not detector.flags(small)
    assert len(Blacklight().fingerprints(small)) == 0
    wide = noise(0)[:, :20]
    assert not detector.flags(wide)
    assert detector.flags(wide)


def test_specs():
    assert parse_detector("blacklight") == Blacklight()
    assert parse_detector("blacklight:matches=30,window=20") == Blacklight(window=20, matches=30)
    assert parse_detector(Blacklight(keep=60).spec) == Blacklight(keep=60)


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ("backlight", "did you mean 'blacklight'"),
        ("blacklight:", "'' is none of its constants"),
        ("blacklight:window", "'window' is none"),
        ("blacklight:size=3", "'size=3' is none"),
        ("blacklight:window=3,window=4", "at most once"),
        ("blacklight:window=0", "window=0: expected a whole number, 1 to 4,096"),
        ("blacklight:window=x", "window=x: expected a whole number, 1 to 4,096"),
        ("blacklight:keep=25", "matches=25 is not below keep=25"),
        (3, "expected text"),
    ],
)
def test_what_is_no_detector(spec, part):
    with pytest.raises(InputError) as raised:
        parse_detector(spec)
    assert part in str(raised.value)

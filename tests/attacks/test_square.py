import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqattack.attacks import load_attack
from iqattack.attacks.score_based import square_l2
from iqattack.attacks.score_based.ran import ran
from iqattack.attacks.score_based.square import side, square
from iqattack.attacks.score_based.square_l2 import shift, tiles
from iqattack.directions import eta, window


def changed(new, old):
    """Bounding box (height, width) of what differs, and how many pixels do."""
    places = (new != old).any(dim=0).nonzero()
    if not len(places):
        return (0, 0), 0
    extent = places.max(dim=0).values - places.min(dim=0).values + 1
    return tuple(extent.tolist()), len(places)


@pytest.mark.parametrize("queries", [10_000, 2_000])
def test_p_halves_at_the_published_queries(make_task, queries) -> None:
    """Sec. 5: 10, 50, 200, 500, 1k, 2k, 4k, 6k, 8k of 10k; p = 0.8 of 512×512 is a side of 458."""
    task = make_task(torch.zeros(3, 512, 512), queries=queries)
    scale = queries / 10_000
    for n, end in enumerate((10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000, 9999)):
        before, after = (round((0.8 / 2**k * 512**2) ** 0.5) for k in (n, n + 1))
        assert side(task, int(end * scale), 0.8) == before
        if end < 9999:
            assert side(task, int(end * scale) + 1, 0.8) == after


def test_a_side_is_at_least_a_pixel(make_task) -> None:
    assert side(make_task(torch.zeros(3, 1, 1), queries=10), 9, 0.05) == 1


def test_it_starts_with_vertical_stripes_on_the_ends_of_the_box(natural, make_task, play) -> None:
    task = make_task(natural(20, 30), radius=5.0, queries=1)
    (first,) = play(square(task), task, lambda x: 0.0).images
    at_upper, at_lower = first == task.upper, first == task.lower
    assert (at_upper | at_lower).all()
    assert ((at_upper.all(dim=1)) | (at_lower.all(dim=1))).all()
    assert 0.2 < at_upper.float().mean() < 0.8


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 99))
def test_a_step_repaints_one_square_with_one_sign_a_channel(
    make_task, play, height, width, seed
) -> None:
    image = torch.full((3, height, width), 100.0)
    task = make_task(image, queries=40, seed=seed)
    played = play(square(task, p_init=0.5), task, lambda x: -1.0)  # all but the first rejected
    first = played.images[0]
    for i, new in enumerate(played.images[1:], start=1):
        h = side(task, i, 0.5)
        extent, _ = changed(new, first)
        assert 1 <= extent[0] <= min(h, height)
        assert 1 <= extent[1] <= min(h, width)
        rows, columns = (new != first).any(dim=0).nonzero(as_tuple=True)
        painted = new[:, rows, columns]
        for channel, at in zip(painted, (new != first)[:, rows, columns], strict=True):
            assert len(set(channel[at].tolist())) <= 1


def test_windows_may_lie_anywhere_and_nowhere_else() -> None:
    rng = torch.Generator().manual_seed(0)
    places = [window((3, 4, 9), 3, rng) for _ in range(500)]
    assert {p.stop - p.start for place in places for p in place[1:]} == {3}
    assert {(r.start, s.start) for _, r, s in places} == {
        (r, s) for r in range(2) for s in range(7)
    }
    assert window((3, 1, 9), 3, rng)[1] == slice(0, 1)


def test_ran_repaints_two_squares(make_task, play) -> None:
    task = make_task(torch.full((3, 64, 64), 100.0), queries=60)
    played = play(ran(task, p_init=0.01), task, lambda x: -1.0)
    first = played.images[0]
    most = [
        (changed(new, first)[1], side(task, i, 0.01))
        for i, new in enumerate(played.images[1:], start=1)
    ]
    assert all(pixels <= 2 * h * h for pixels, h in most)
    assert sum(pixels > h * h for pixels, h in most) > len(most) / 2


def test_both_end_where_the_score_range_does(natural, make_task, play) -> None:
    for attack in (square, ran):
        task = make_task(natural(8, 8), queries=100, reach=0.5)
        gains = iter([0.1, 0.2, 0.5])
        played = play(attack(task), task, lambda x, gains=gains: next(gains))
        assert played.ended
        assert len(played.gains) == 3


@pytest.mark.parametrize(
    ("spec", "alike"),
    [
        ("square", False), ("square:grey=yes", True),
        ("square:norm=l2", False), ("square:norm=l2,grey=yes", True),
        ("ran", False), ("ran:grey=yes", True),
    ],
)  # fmt: skip
def test_channels_change_alike_where_grey(natural, make_task, play, spec, alike) -> None:
    image = natural(20, 30).clamp(20.0, 235.0)  # nothing is cut off at 0 or 255
    task = make_task(image, queries=40)
    played = play(load_attack(spec)(task), task, lambda x: float(x[0].mean()))
    for change in (new.float() - image for new in played.candidates):
        assert torch.allclose(change, change[:1].expand_as(change), atol=1e-3) is alike


# -- L2 -------------------------------------------------------------------------------------------


def test_eta_is_two_peaks_of_opposite_sign() -> None:
    """Eq. 2 by hand for h = 5: the wider peak is ∑ 1/(n + 1 − k)² for k to n less the distance."""
    at = [1 / 9, 1 / 9 + 1 / 4, 1 / 9 + 1 / 4 + 1]
    distance = np.maximum(np.abs(np.arange(5) - 2)[:, None], np.abs(np.arange(2) - 1))
    left = np.array(at)[2 - distance] / at[2]
    found = eta(5).numpy()
    assert np.allclose(found[:, :2] / found[2, 1], left)
    assert (found[:, 2:] < 0.0).all()
    for h in (1, 2, 3, 8, 31):
        assert float(eta(h).norm()) == pytest.approx(1.0, abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 24), width=st.integers(1, 24), h=st.integers(1, 30),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_a_change_moves_from_w2_to_w1_and_keeps_its_length(
    make_task, height, width, h, seed
) -> None:
    """Algorithm 3: W2 is as it was in the image, its change and what is missing of ε are in W1."""
    image = torch.full((3, height, width), 128.0)
    task = make_task(image, radius=100.0, seed=seed)
    length = 2.0 * image.numel() ** 0.5
    x_hat = tiles(task, 2.0)
    assert float((x_hat - image).norm()) == pytest.approx(length, rel=1e-4)
    for _ in range(5):
        x_hat = x_hat.clamp(task.lower, task.upper)
        drawn = []

        def draw(*given, drawn=drawn):
            drawn.append(window(*given))
            return drawn[-1]

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(square_l2, "window", draw)
            new = shift(task, x_hat, 2.0, h)
        w1, w2 = drawn
        kept, emptied = torch.ones(image.shape).bool(), torch.zeros(image.shape).bool()
        kept[w1] = kept[w2] = False
        emptied[w2], emptied[w1] = True, False
        assert torch.equal(new[kept], x_hat[kept])
        assert torch.equal(new[emptied], image[emptied])
        # A channel loses everything if η is the negative of W1 there.
        lost = not (new - image)[w1].flatten(1).any(1).all()
        assert float((new - image).norm()) <= length * 1.0001
        assert lost or float((new - image).norm()) >= length * 0.9999
        x_hat = new

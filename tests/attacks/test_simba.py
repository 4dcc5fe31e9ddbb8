import numpy as np
import pytest
import torch
from scipy.fft import dctn

from iqattack.attacks.score_based.simba import BANDS, directions, pixels, simba


@pytest.mark.parametrize("shape", [(6, 9), (1, 7), (5, 1), (1, 1)])
def test_directions_are_the_orthonormal_dct_basis_once_each(make_task, shape) -> None:
    task = make_task(torch.full((3, *shape), 128.0), radius=4.0)
    epsilon = 4.0 * (shape[0] * shape[1]) ** 0.5 / 2
    vectors = np.zeros((task.image.numel(), *task.image.shape))
    for vector, (channel, q) in zip(vectors, directions(task, 1.0), strict=True):
        vector[channel] = q.numpy() / epsilon
    flat = vectors.reshape(len(vectors), -1)
    assert np.allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-5)
    spectra = np.abs(dctn(vectors, axes=(2, 3), norm="ortho")).reshape(len(flat), -1)
    assert sorted(spectra.argmax(axis=1)) == list(range(len(flat)))
    assert np.allclose(spectra.max(axis=1), 1.0, atol=1e-5)


def test_low_frequencies_come_first(make_task) -> None:
    task = make_task(torch.full((3, 16, 24), 128.0))
    vectors = torch.stack([q for _, q in directions(task, 1.0)]).numpy()
    peaks = np.abs(dctn(vectors, axes=(1, 2), norm="ortho")).reshape(len(vectors), -1).argmax(1)
    u, v = np.divmod(peaks, 24)
    bands = np.maximum(u * BANDS // 16, v * BANDS // 24)
    assert (np.diff(bands) >= 0).all()
    assert (bands[: 3 * 2 * 3] == 0).all()
    assert (np.diff(peaks[:18]) != 1).any()  # at random within a band


def test_pixels_are_every_value_with_width_once(make_task) -> None:
    image = torch.full((3, 4, 5), 128.0)
    image[0, 1, 2] = 0.0
    task = make_task(image, radius=3.0)
    task.upper[2, 3, 4] = task.lower[2, 3, 4]
    seen = set()
    for channel, q in pixels(task):
        ((row, column),) = q.nonzero().tolist()
        assert q[row, column] == (task.upper - task.lower)[channel, row, column]
        seen.add((channel, row, column))
    assert len(seen) == 59
    assert (2, 3, 4) not in seen


def test_minus_is_tried_where_plus_fails_and_failures_leave_no_trace(make_task, play) -> None:
    task = make_task(torch.full((3, 4, 4), 128.0), radius=100.0, queries=7, reach=1e9)
    gains = iter([-1.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0])
    played = play(simba(task, step=0.1), task, lambda x: next(gains))
    x, c = task.image, played.candidates
    assert torch.allclose(c[0] - x, x - c[1], atol=1e-4)
    assert torch.allclose(c[3] - c[2], c[2] - c[4], atol=1e-4)  # both from the accepted third
    assert torch.allclose(c[5] - c[2], c[2] - c[6], atol=1e-4)


def test_it_ends_after_the_last_direction(make_task, play) -> None:
    task = make_task(torch.full((3, 2, 2), 128.0), queries=1000, reach=1e9)
    for basis in ("dct", "pixel"):
        played = play(simba(task, basis=basis), task, lambda x: -1.0)
        assert played.ended
        assert len(played.gains) == 24

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dctn

from iqattack.directions import low_frequency, orthogonal


def spectrum_of(direction: torch.Tensor) -> np.ndarray:
    return dctn(direction.numpy(), axes=(1, 2), norm="ortho")


@pytest.mark.parametrize("shape", [(3, 64, 64), (3, 40, 72), (3, 72, 40), (3, 1, 200)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_signs_on_the_lowest_frequencies_and_nothing_above(shape, share) -> None:
    rng = torch.Generator().manual_seed(0)
    drawn = [spectrum_of(low_frequency(shape, share, rng)) for _ in range(12)]
    signs = np.rint(drawn)
    np.testing.assert_allclose(drawn, signs, atol=1e-4)
    assert set(np.unique(signs)) == {-1.0, 0.0, 1.0}

    used = signs.any(axis=(0, 1))  # of 36 signs one is almost surely not 0
    height, width = shape[1:]
    rank = np.add.outer(np.arange(height) / height, np.arange(width) / width)
    assert rank[used].max() <= rank[~used].min() + 1e-9
    assert used.mean() == pytest.approx(share, abs=0.02)
    assert [np.mean(signs[:, :, used] == sign) for sign in (-1, 0, 1)] == pytest.approx(
        [1 / 3] * 3, abs=0.03
    )


def test_the_same_generator_gives_the_same_direction() -> None:
    one, other = (
        low_frequency((3, 8, 9), 0.5, torch.Generator().manual_seed(seed)) for seed in (4, 4)
    )
    assert torch.equal(one, other)
    assert not torch.equal(one, low_frequency((3, 8, 9), 0.5, torch.Generator().manual_seed(5)))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.integers(0, 8), scale=st.floats(1e-3, 1e3))
def test_orthogonal_to_an_orthonormal_basis_and_of_length_one(seed, size, scale) -> None:
    rng = torch.Generator().manual_seed(seed)
    vectors = torch.randn(60, size + 1, generator=rng)
    basis = [*torch.linalg.qr(vectors[:, :size]).Q.T.reshape(size, 3, 4, 5)]
    v = orthogonal(scale * vectors[:, size].reshape(3, 4, 5), basis)
    assert float(v.norm()) == pytest.approx(1.0, abs=1e-5)
    for u in basis:
        assert abs(float((u * v).sum())) < 1e-5


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_orthogonal_to_the_last_of_a_basis_that_is_none(seed) -> None:
    rng = torch.Generator().manual_seed(seed)
    basis = [u / u.norm() for u in torch.randn(6, 3, 2, 2, generator=rng)]
    v = orthogonal(torch.randn(3, 2, 2, generator=rng), basis)
    assert abs(float((basis[-1] * v).sum())) < 1e-4


def test_nothing_is_left_in_the_span() -> None:
    u = torch.ones(3, 2, 2) / 12**0.5
    assert not orthogonal(5.0 * u, [u]).any()
    assert not orthogonal(torch.zeros(3, 2, 2), [u]).any()
    assert not orthogonal(torch.zeros(3, 2, 2), []).any()

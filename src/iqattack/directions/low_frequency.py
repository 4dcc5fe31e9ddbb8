"""Directions that SurFree searches along: low frequencies, orthogonal to the ones before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import idctn
from torch import Tensor


@lru_cache(maxsize=8)
def _lowest(height: int, width: int, spectrum: float) -> NDArray[np.int8]:
    """1 at that share of the frequencies, lowest first, 0 elsewhere."""
    rank = np.add.outer(np.arange(height) * width, np.arange(width) * height)
    lowest: NDArray[np.int8] = (rank <= np.quantile(rank, spectrum)).astype(np.int8)
    return lowest


def low_frequency(shape: Sequence[int], spectrum: float, rng: torch.Generator) -> Tensor:
    """A direction (3, H, W): random signs −1, 0, 1 on the lowest DCT frequencies.

    Maho, Furon & Le Merrer (CVPR 2021, sec. 4.3). Lowest in zig-zag order: row plus column, as
    shares of the sides.

    shape: (3, H, W); spectrum: share of the frequencies, in (0, 1].
    """
    seed = int(torch.randint(2**63 - 1, (), generator=rng))
    signs = np.random.default_rng(seed).integers(-1, 2, tuple(shape), dtype=np.int8)
    signs *= _lowest(*shape[-2:], spectrum)
    coefficients = signs.astype(np.float32)
    return torch.from_numpy(idctn(coefficients, axes=(1, 2), norm="ortho", overwrite_x=True))


def orthogonal(v: Tensor, basis: Iterable[Tensor]) -> Tensor:
    """V without its components along unit tensors, one after the other, of length 1.

    Gram-Schmidt: orthogonal to all where they are orthonormal, and to the last in any case. Zero
    where v lies in their span, of which rounding would leave a direction that means nothing.
    """
    rest = v.clone()
    for u in basis:
        rest.sub_(u, alpha=float(torch.dot(rest.flatten(), u.flatten())))
    length = torch.linalg.vector_norm(rest)
    if length <= 1e-3 * torch.linalg.vector_norm(v):
        return torch.zeros_like(v)
    return rest.div_(length)

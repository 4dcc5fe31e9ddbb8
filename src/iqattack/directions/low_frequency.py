"""The search directions of SurFree: low frequencies, orthogonal to previous directions."""

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
    """1 at the lowest share `spectrum` of the frequencies, 0 elsewhere: (height, width)."""
    rank = np.add.outer(np.arange(height) * width, np.arange(width) * height)
    lowest: NDArray[np.int8] = (rank <= np.quantile(rank, spectrum)).astype(np.int8)
    return lowest


def low_frequency(shape: Sequence[int], spectrum: float, rng: torch.Generator) -> Tensor:
    """A direction (3, H, W) with random signs −1, 0, 1 on the lowest DCT frequencies.

    Maho, Furon & Le Merrer (CVPR 2021, sec. 4.3). Frequencies are ordered as in a zig-zag scan, by
    the sum of row and column relative to the sides.

    shape: (3, H, W). spectrum: share of the frequencies, in (0, 1].
    """
    seed = int(torch.randint(2**63 - 1, (), generator=rng))
    signs = np.random.default_rng(seed).integers(-1, 2, tuple(shape), dtype=np.int8)
    signs *= _lowest(*shape[-2:], spectrum)
    coefficients = signs.astype(np.float32)
    return torch.from_numpy(idctn(coefficients, axes=(1, 2), norm="ortho", overwrite_x=True))


def orthogonal(v: Tensor, basis: Iterable[Tensor]) -> Tensor:
    """Remove from v its components along unit tensors, one after the other, and normalise it.

    Gram-Schmidt: the result is orthogonal to all of `basis` if it is orthonormal, and to its last
    tensor in any case. Zero if v lies in their span, where only rounding errors would be left.
    """
    rest = v.clone()
    for u in basis:
        rest.sub_(u, alpha=float(torch.dot(rest.flatten(), u.flatten())))
    length = torch.linalg.vector_norm(rest)
    if length <= 1e-3 * torch.linalg.vector_norm(v):
        return torch.zeros_like(v)
    return rest.div_(length)

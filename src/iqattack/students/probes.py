"""Changes of a picture that a model is asked about, so that students learn from its scores."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

AMPLITUDE = 2.0  # grey levels
SIDE = 5  # of a filter, pixels
CELLS = (1, 4, 7)  # filters along each side of a picture
KINDS = 4  # of changes


def kind_of(number: int) -> int:
    """Of the four kinds that changes take turns in: grey or coloured, noise or texture."""
    return number % KINDS


class Probes:
    """Signs over one picture, times `AMPLITUDE`.

    Half of them are white noise, which covers all directions equally; half are filters of the
    picture's own detail, random ones for every cell of a grid, to which scores respond most. Half
    of each are grey, as most models look at luma, and half change each channel on its own.
    """

    def __init__(self, detail: Tensor, rng: torch.Generator) -> None:
        """Of a picture with this detail (H, W); rng: where signs and filters are from."""
        self.shape, self.rng = tuple(detail.shape), rng
        padded = F.pad(detail[None, None], (SIDE // 2,) * 4, mode="replicate")[0, 0]
        height, width = self.shape
        self._moved = torch.stack(
            [padded[i : i + height, j : j + width] for i in range(SIDE) for j in range(SIDE)]
        )

    def __call__(self, number: int) -> Tensor:
        """The change of that number, (3, H, W)."""
        kind = kind_of(number)
        channels = 3 if kind % 2 else 1
        if kind < 2:
            signs = 2.0 * torch.randint(2, (channels, *self.shape), generator=self.rng) - 1.0
        else:
            cells = CELLS[number // KINDS % len(CELLS)]
            signs = torch.stack([self._filtered(cells) for _ in range(channels)]).sign()
        return (AMPLITUDE * signs).expand(3, -1, -1)

    def _filtered(self, cells: int) -> Tensor:
        """The detail after random filters, one for each of cells × cells."""
        filters = torch.randn((SIDE**2, cells, cells), generator=self.rng, dtype=torch.float32)
        down, across = (torch.arange(side) * cells // side for side in self.shape)
        total = torch.zeros(self.shape)
        for coefficients, moved in zip(filters, self._moved, strict=True):
            total += coefficients[down[:, None], across] * moved
        return total

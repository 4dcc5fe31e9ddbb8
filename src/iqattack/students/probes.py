"""Changes of an image whose scores are the training data of students."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

AMPLITUDE = 2.0  # grey levels
SIDE = 5  # of a filter, pixels
CELLS = (1, 4, 7)  # filters along each side of a picture
KINDS = 4  # of changes


def kind_of(number: int) -> int:
    """The kind of a change, 0..3, in turn: noise or texture, each grey or in colour."""
    return number % KINDS


class Probes:
    """Random changes of one image: patterns of signs times `AMPLITUDE` grey levels.

    Half of them are white noise, which covers all directions equally. The other half are the
    image's own detail after random filters, one for each cell of a grid, to which scores respond
    most. Half of each are grey, as most models mainly use luma; the others change each channel
    independently.
    """

    def __init__(self, detail: Tensor, rng: torch.Generator) -> None:
        """detail: of the image, (H, W). rng: source of signs and filters."""
        self.shape, self.rng = tuple(detail.shape), rng
        padded = F.pad(detail[None, None], (SIDE // 2,) * 4, mode="replicate")[0, 0]
        height, width = self.shape
        self._moved = torch.stack(
            [padded[i : i + height, j : j + width] for i in range(SIDE) for j in range(SIDE)]
        )

    def __call__(self, number: int) -> Tensor:
        """The change with this number, (3, H, W) in grey levels."""
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

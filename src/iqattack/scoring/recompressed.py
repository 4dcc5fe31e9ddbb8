"""A scorer pool that compresses every image as JPEG, like a service that recompresses uploads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from iqattack.defences import coded
from iqattack.errors import InputError
from iqattack.scoring.contract import Reply, Request, ScorePool

BEST = 100  # quality, at most


class Recompressed:
    """A `ScorePool` that encodes each image as JPEG and decodes it before scoring.

    pool: that scores. quality: of JPEG, 1..100; InputError otherwise. Replies refer to the original
    images, which are therefore the ones that are stored, hashed and reported.
    """

    def __init__(self, pool: ScorePool, quality: int) -> None:
        check_quality(quality)
        self._pool = pool
        self._quality = quality
        self._asked: dict[Request, Request] = {}  # by what was sent in its place

    @property
    def batch(self) -> int:
        """See `ScorePool`."""
        return self._pool.batch

    @property
    def capacity(self) -> int:
        """See `ScorePool`."""
        return self._pool.capacity

    @property
    def pending(self) -> int:
        """See `ScorePool`."""
        return self._pool.pending

    @property
    def sent(self) -> int:
        """See `ScorePool`."""
        return self._pool.sent

    @property
    def running(self) -> int:
        """See `ScorePool`."""
        return self._pool.running

    @property
    def notes(self) -> list[str]:
        """See `ScorePool`."""
        return self._pool.notes

    def submit(self, requests: Sequence[Request]) -> None:
        """Submit images of one size, after JPEG."""
        sent = [replace(r, image=recompressed(r.image, self._quality)) for r in requests]
        self._asked |= zip(sent, requests, strict=True)
        self._pool.submit(sent)

    def wait(self, *, resend: bool = True) -> list[Reply]:
        """See `ScorePool`."""
        replies = self._pool.wait(resend=resend)
        found = [replace(reply, request=self._asked[reply.request]) for reply in replies]
        for reply in replies:
            if reply.final:
                del self._asked[reply.request]
        return found

    def wake(self) -> None:
        """See `ScorePool`."""
        self._pool.wake()

    def short(self) -> None:
        """See `ScorePool`."""
        self._pool.short()

    def forget(self) -> None:
        """See `ScorePool`."""
        self._asked.clear()
        self._pool.forget()

    def close(self) -> None:
        """See `ScorePool`."""
        self._pool.close()


def recompressed(image: Tensor, quality: int) -> Tensor:
    """An image (3, H, W) uint8 after JPEG compression with 4:2:0 chroma subsampling."""
    pixels = coded(image.permute(1, 2, 0).contiguous().numpy(), "JPEG", quality)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def check_quality(quality: int) -> None:
    """Raise InputError for a quality outside 1..100."""
    if not 1 <= quality <= BEST:
        raise InputError(
            f"jpeg {quality}: expected a quality from 1 to {BEST}, such as 75; leave it out to "
            "score candidates as they are"
        )

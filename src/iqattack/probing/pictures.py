"""Test pictures of a probe, and their transformations.

All are (3, H, W) uint8 RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from iqattack.errors import InputError
from iqattack.images import ImageSet, read_image
from iqattack.models.inputs import LUMA, resized
from iqattack.pillow import Image
from iqattack.samples import sample_set

T = TypeVar("T")

BLUR, NOISE = 1.5, 3.0  # σ in pixels and in grey levels, of one channel


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture (3, H, W) uint8 RGB; mos: its quality label, higher is better, None without."""

    name: str
    pixels: Tensor
    mos: float | None = None

    def fitted(self, size: tuple[int, int]) -> Picture:
        """Resized to a height and width."""
        return replace(self, pixels=fitted(self.pixels, *size))


def samples() -> list[Picture]:
    """The sample set, with pseudo-MOS."""
    return [
        Picture(name, torch.from_numpy(picture).permute(2, 0, 1).contiguous(), mos)
        for name, (picture, mos) in sample_set().items()
    ]


def pictures_of(
    images: ImageSet | Sequence[Tensor], *, n: int, convert: bool = False, resize: int | None = None
) -> tuple[list[Picture], list[str]]:
    """At most n pictures spread over a set, and why others were left out.

    Raises InputError if none can be read, or for tensors that are not 8-bit pictures.
    """
    if not isinstance(images, ImageSet):
        wrong = [x for x in images if x.dtype != torch.uint8 or x.ndim != 3 or len(x) != 3]
        if wrong or not len(images):
            what = f"{wrong[0].dtype} {tuple(wrong[0].shape)}" if wrong else "none"
            raise InputError(f"images for the probe: expected (3, H, W) uint8 tensors, not {what}")
        return spread([Picture(f"image {k + 1}", x) for k, x in enumerate(images)], n), []
    found, unread = [], []
    for entry in spread(list(images), n):
        try:
            read = read_image(entry.path, convert=convert, resize=resize, endings=False)
            found.append(Picture(entry.name, read.pixels, entry.mos))
        except InputError as error:
            unread.append(error)
    if not found:
        raise unread[0]
    return found, [str(error) for error in unread]


def spread(items: Sequence[T], n: int) -> list[T]:
    """At most n of the items, spread evenly."""
    if len(items) <= n:
        return list(items)
    return [items[k * len(items) // n] for k in range(n)]


def alike(pictures: Sequence[Tensor], n: int) -> list[Tensor]:
    """n different pictures of the most common size, completed with mirrored ones."""
    shapes = [picture.shape for picture in pictures]
    shape = max(shapes, key=shapes.count)
    same = [picture for picture in pictures if picture.shape == shape]
    turned = [x.flip(dims) for dims in ((2,), (1,), (1, 2)) for x in same]
    found = (same + turned)[:n]
    return [found[k % len(found)] for k in range(n)]


def fitted(image: Tensor, height: int, width: int) -> Tensor:
    """A picture at another height and width, bilinear with antialiasing."""
    found = resized(image[None].float(), (height, width), "bilinear")[0]
    return found.round().to(torch.uint8)


def swapped(image: Tensor) -> Tensor:
    """Red and blue swapped."""
    return image.flip(0)


def grey(image: Tensor) -> Tensor:
    """BT.601's luma in all channels."""
    luma = (image.float() * image.new_tensor(LUMA, dtype=torch.float32)[:, None, None]).sum(0)
    return luma.round().to(torch.uint8).expand(3, -1, -1)


def blurred(image: Tensor, channel: int) -> Tensor:
    """One channel blurred, 0 being red."""
    found = image.clone()
    plane = np.ascontiguousarray(image[channel].numpy())
    found[channel] = torch.from_numpy(cv2.GaussianBlur(plane, (0, 0), BLUR))
    return found


def noisy(image: Tensor, channel: int) -> Tensor:
    """White noise in one channel, 0 being red; the same in every picture of a size."""
    found = image.float()
    found[channel] += NOISE * torch.randn(
        image.shape[1:], generator=torch.Generator().manual_seed(0), dtype=torch.float32
    )
    return found.round().clamp(0, 255).to(torch.uint8)


def brighter(image: Tensor) -> Tensor:
    """One grey level added everywhere."""
    return (image.int() + 1).clamp(max=255).to(torch.uint8)


def jpeg(image: Tensor, quality: int) -> Tensor:
    """Encoded as JPEG and decoded."""
    file = BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).contiguous()

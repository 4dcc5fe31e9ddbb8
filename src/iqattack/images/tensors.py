"""Pictures in memory: tensors and arrays in, a folder of PNG files out, and back again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iqattack.errors import InputError
from iqattack.images.reading import encode_png, make_folder, read_image, write_bytes

Pictures = Tensor | NDArray[Any] | Sequence[Tensor | NDArray[Any]]
_COLOURS = 3


def write_pictures(
    pictures: Pictures, folder: Path, names: Sequence[str] | None = None
) -> list[Path]:
    """Write uint8 RGB pictures as PNG files and return their paths, in order.

    pictures: (N, 3, H, W), or N of (3, H, W), whose sizes may differ. names: of the files, by
    default 00000.png and so on. A file that is there with the same pixels stays; with others it
    raises InputError, as do pictures of another shape or type, and names that are no file names.
    """
    checked = [_pixels(k, picture) for k, picture in enumerate(pictures)]
    digits = max(5, len(str(len(checked) - 1)))
    files = _files(names, len(checked)) or [f"{k:0{digits}d}.png" for k in range(len(checked))]
    paths = [folder / file for file in files]
    for path, pixels in zip(paths, checked, strict=True):
        if path.exists() and not _same(path, pixels):
            raise InputError(
                f"{path}: is there and shows another picture; choose a new folder for these images"
            )
    if checked:
        make_folder(folder)
    for path, pixels in zip(paths, checked, strict=True):
        if not path.exists():
            write_bytes(path, encode_png(pixels))
    return paths


def stacked(paths: Sequence[Path]) -> Tensor:
    """Pictures of equal size as one tensor (N, 3, H, W) uint8; InputError if sizes differ."""
    pictures = [read_image(path).pixels for path in paths]
    for path, pixels in zip(paths, pictures, strict=True):
        if pixels.shape != pictures[0].shape:
            sizes = [f"{p.shape[2]}×{p.shape[1]}" for p in (pictures[0], pixels)]
            raise InputError(
                f"{paths[0].name} has {sizes[0]} pixels and {path.name} {sizes[1]}, which cannot "
                "be one tensor; pass the names of images of one size"
            )
    return torch.stack(pictures)


def _pixels(number: int, picture: Tensor | NDArray[Any]) -> Tensor:
    what = f"picture {number}"
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8:
        picture = torch.from_numpy(np.ascontiguousarray(picture))
    if not isinstance(picture, Tensor | np.ndarray):
        raise InputError(f"{what}: is {type(picture).__name__}, expected a tensor or an array")
    if picture.dtype != torch.uint8:
        how = "(x * 255).round().astype('uint8')"
        if isinstance(picture, Tensor):
            how = "(x * 255).round().to(torch.uint8)"
        raise InputError(
            f"{what}: is {str(picture.dtype).removeprefix('torch.')}, expected uint8 in 0..255, "
            f"what a file can hold; {how} makes that of numbers in 0..1"
        )
    if picture.ndim != _COLOURS or picture.shape[0] != _COLOURS or 0 in picture.shape:
        shape = tuple(picture.shape)
        remedy = ""
        if picture.ndim == _COLOURS and shape[-1] == _COLOURS:
            remedy = "; move the colours to the front: permute(2, 0, 1), of a batch (0, 3, 1, 2)"
        raise InputError(f"{what}: has shape {shape}, expected (3, H, W) in RGB{remedy}")
    return torch.as_tensor(picture).cpu()


def _files(names: Sequence[str] | None, number: int) -> list[str]:
    if names is None:
        return []
    if isinstance(names, str) or len(names) != number:
        raise InputError(f"names: expected {number}, one for each picture, got {len(names)}")
    for name in names:
        if not name or Path(name).name != name:
            raise InputError(f"name {name!r}: expected the name of a file, without folders")
    files = [name if name.lower().endswith(".png") else f"{name}.png" for name in names]
    file, times = Counter(files).most_common(1)[0] if files else ("", 1)
    if times > 1:
        raise InputError(f"name {file!r}: is given to {times} pictures; each needs its own")
    return files


def _same(path: Path, pixels: Tensor) -> bool:
    try:
        return torch.equal(read_image(path).pixels, pixels)
    except InputError:
        return False

"""Reading and writing of 8-bit RGB images.

A model must see what the file contains, so nothing is changed silently: lossless conversions are
noted, and lossy ones are made only on request.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from iqattack.errors import InputError
from iqattack.images.colours import ignored_colours
from iqattack.images.endings import ends_early
from iqattack.images.files import LARGEST_IMAGE, read_data
from iqattack.images.formats import SUFFIXES, Opened, deep_levels, open_picture
from iqattack.paths import FILE, FOLDER, kind_of_file
from iqattack.pillow import Image

__all__ = [
    "SUFFIXES",
    "Picture",
    "encode_png",
    "pixels_sha256",
    "read_image",
    "write_bytes",
    "write_png",
]

_ORIENTATION = 0x0112
# Exif 2.32, sec. 4.6.4: what makes a picture upright again.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_REMEDY = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.ENOENT: "create its folder first",
    errno.EACCES: "make its folder writable",
    errno.EPERM: "make its folder writable",
    errno.ENAMETOOLONG: "shorten its name",
    errno.EROFS: "choose a folder that is writable",
}


@dataclass(frozen=True)
class Picture:
    """An image as models see it.

    pixels: (3, H, W) uint8 RGB.
    notes: conversions that were made, one phrase each; empty for a plain 8-bit RGB file.
    """

    pixels: Tensor
    notes: tuple[str, ...] = ()


def read_image(
    path: str | Path,
    *,
    convert: bool = False,
    resize: int | None = None,
    endings: bool = True,
    data: bytes | None = None,
) -> Picture:
    """Read an image in one of `formats.FORMATS`, whatever its suffix; HEIC needs iqattack[heic].

    Grey and palette images become RGB, the EXIF orientation is applied, an opaque alpha channel is
    dropped, and of several frames the first is taken; `notes` reports all of this. Images of more
    than 8 bits, CMYK and transparency are refused unless `convert` is set: then levels are scaled
    and rounded, CMYK is converted without a colour profile, and transparency is composited on
    white. Levels are read as sRGB; another colour space is noted, but not applied.

    The result depends neither on Pillow's process-wide switches nor on warning filters.

    convert: whether to make lossy conversions.
    resize: longest side in pixels. A larger image is reduced to it, upright and in 8-bit RGB, with
        Pillow's Lanczos filter; the other side is rounded, to at least 1. Others keep their size.
    endings: whether to look for missing data at the end of a JPEG, which takes as long as decoding
        it and affects only `notes`.
    data: contents of the file, as from `read_file`, which is then not read.

    Raises InputError for a file that is missing, unreadable, a pipe or a device, damaged, truncated
    or empty, has too many pixels or bytes, or would need a conversion that is impossible or not
    requested; and for a `resize` below 1.

    >>> from iqattack.images import read_image
    >>> picture = read_image("photos/01_astronaut_clean.png")
    >>> picture.pixels.shape, picture.pixels.dtype, picture.notes
    (torch.Size([3, 256, 256]), torch.uint8, ())
    """
    if resize is not None and resize < 1:
        raise InputError(f"resize {resize}: expected a length of at least 1 pixel, such as 1024")
    path = Path(path)
    data = read_file(path) if data is None else data
    try:
        return _decode(path, data, convert, resize, endings=endings)
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: is too large ({_line(error)}); crop or shrink it") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow lets through whatever its parsers stumble over.
        reason = _line(error)
        raise InputError(f"{path}: is damaged or truncated ({reason}); get it again") from None


def read_file(path: str | Path) -> bytes:
    """The bytes of an image file; InputError as in `read_image` if it cannot be read."""
    path = Path(path)
    try:
        kind = kind_of_file(path)
        if kind == FOLDER:
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        if kind != FILE:
            raise InputError(f"{path}: is a {kind}, expected an image file")
        data = read_data(path, LARGEST_IMAGE, "an image")
    except FileNotFoundError:
        raise InputError(f"{path}: no such image; check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason}); expected a readable file") from None
    if not data:
        raise InputError(f"{path}: is an empty file, expected an image; get it again")
    return data


def encode_png(pixels: Tensor) -> bytes:
    """Encode pixels (3, H, W) uint8 RGB as an 8-bit PNG; the same pixels give the same bytes.

    Raises ValueError for another shape or dtype.
    """
    if (
        pixels.dtype != torch.uint8
        or pixels.ndim != 3
        or pixels.shape[0] != 3
        or not pixels.numel()
    ):
        raise ValueError(
            f"expected uint8 pixels (3, H, W), got {pixels.dtype} {tuple(pixels.shape)}"
        )
    encoded = BytesIO()
    array = pixels.detach().cpu().permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(array).save(encoded, format="PNG", compress_level=6)
    return encoded.getvalue()


def write_png(path: str | Path, pixels: Tensor) -> None:
    """Write pixels (3, H, W) uint8 RGB as an 8-bit PNG, completely or not at all.

    Raises ValueError for another shape or dtype, InputError if the file cannot be written.

    >>> import torch
    >>> from pathlib import Path
    >>> from iqattack.images import read_image, write_png
    >>> image = torch.randint(0, 256, (3, 32, 48), dtype=torch.uint8)
    >>> write_png(Path("noise.png"), image)
    >>> torch.equal(read_image("noise.png").pixels, image)
    True
    """
    write_bytes(path, encode_png(pixels))


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file completely or not at all; InputError if that fails."""
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")  # short: names may be long
    try:
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # some file systems report a full disk only here
            os.replace(temporary, path)  # noqa: PTH105 - the atomic one on every system
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or error
        remedy = _REMEDY.get(error.errno or 0, "choose another place")
        raise InputError(f"{path}: cannot be written ({reason}); {remedy}") from None


def make_folder(folder: Path) -> None:
    """Make a folder with those above it, if it is not there; InputError when it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{folder}: cannot be made ({reason}); choose another folder") from None


def pixels_sha256(pixels: Tensor) -> str:
    """The SHA-256 of pixels (3, H, W) uint8, of the bytes R, G, B, R, … row by row, in hexadecimal.

    `hashlib.sha256(Image.open(file).convert("RGB").tobytes())` gives the same for an upright 8-bit
    file.
    """
    rows = pixels.permute(1, 2, 0).contiguous().numpy()
    return hashlib.sha256(rows.data).hexdigest()


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _decode(
    path: Path, data: bytes, convert: bool, resize: int | None, *, endings: bool
) -> Picture:
    opened = open_picture(path, data)
    with opened.image as image:
        notes = [] if opened.frames is None else [opened.frames]
        orientation = image.getexif().get(_ORIENTATION, 1)
        image.load()
        if endings and ends_early(image, data):
            notes.append("its data end before the picture does, and the rest is filled in")
        ignored = ignored_colours(image, opened.colours)
        rgb = _to_rgb(path, data, opened, convert=convert, notes=notes)
        if ignored is not None:
            notes.append(ignored)
        if orientation in _UPRIGHT:
            notes.append(f"rotated upright from EXIF orientation {int(orientation)}")
            # Pillow has turned TIFFs by itself when it loaded them, and then forgets the tag.
            if _ORIENTATION in image.getexif():
                rgb = rgb.transpose(_UPRIGHT[orientation])
        if resize is not None and resize < max(rgb.size):
            width, height = (_scaled(side, resize, max(rgb.size)) for side in rgb.size)
            notes.append(f"resized from {rgb.width}×{rgb.height} to {width}×{height} (Lanczos)")
            rgb = rgb.resize((width, height), Image.Resampling.LANCZOS)
        pixels = torch.from_numpy(np.array(rgb)).permute(2, 0, 1).contiguous()
        return Picture(pixels, tuple(notes))


def _scaled(side: int, new: int, old: int) -> int:
    """`side` times new / old to the nearest pixel, halves up, and at least 1."""
    return max(1, (2 * side * new + old) // (2 * old))


def _to_rgb(
    path: Path, data: bytes, opened: Opened, *, convert: bool, notes: list[str]
) -> Image.Image:
    """Make 8-bit RGB of any kind of picture, or refuse; appends to `notes` what was done."""

    def lossy(what: str, done: str) -> None:
        if not convert:
            raise InputError(
                f"{path}: is {what}, expected 8-bit RGB; save it as such, or request conversion "
                "(--convert, or convert=True)"
            )
        notes.append(done)

    image = opened.image
    transparent = image.has_transparency_data and not _is_no_alpha(image, data)
    if opened.bits > 8:
        lossy(f"{opened.bits}-bit", f"{opened.bits}-bit levels scaled to 8 bits")
        image = _eight_bits(path, data, opened)
    if transparent:
        rgba = image.convert("RGBA")
        if rgba.getchannel("A").getextrema() == (255, 255):
            notes.append("alpha channel dropped, which is opaque everywhere")
        else:
            lossy("transparent (it has an alpha channel)", "transparency composited on white")
            rgba = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
            return rgba.convert("RGB")
        colours = rgba.convert("RGB")
    else:
        colours = image.convert("RGB")
    if image.mode in ("1", "L", "LA", "La"):
        notes.append("grey converted to RGB")
    elif image.mode in ("P", "PA"):
        notes.append("palette converted to RGB")
    elif image.mode not in ("RGB", "RGBX", "RGBA", "RGBa"):
        lossy(image.mode, f"{image.mode} converted to RGB")
    return colours


def _is_no_alpha(image: Image.Image, data: bytes) -> bool:
    """Whether a TGA file says that it has no bits of alpha, and the spare ones are all 0.

    Truevision TGA 2.0, field 5.6: bits 3 to 0. Many programs leave them at 0 beside alpha.
    """
    return (
        image.format == "TGA"
        and image.mode == "RGBA"
        and not data[17] & 0x0F
        and image.getchannel("A").getextrema() == (0, 0)
    )


def _eight_bits(path: Path, data: bytes, opened: Opened) -> Image.Image:
    """Scale unsigned levels 0..2^bits − 1 to 0..255 and round."""
    levels = deep_levels(opened, data)
    if levels is None:
        raise InputError(
            f"{path}: {opened.bits}-bit {opened.image.mode} cannot be converted, expected 8-bit "
            "RGB; save it as such"
        )
    if levels.dtype == np.uint8:
        return Image.fromarray(levels)
    return Image.fromarray(np.rint(levels * (255 / (2**opened.bits - 1))).astype(np.uint8))

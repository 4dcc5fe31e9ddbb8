"""Image formats, recognised by the contents of a file and opened with Pillow's readers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from iqattack.errors import InputError
from iqattack.images.containers import (
    av1_bits,
    brands,
    coded_colours,
    jpeg2000_bits,
    jpeg2000_profile,
    jpeg2000_signed,
)
from iqattack.pillow import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PcxImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    QoiImagePlugin,
    SgiImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
    heif,
)

PIXELS = 1024 * 1024 * 1024 // 4 // 3  # Pillow's own limit, of which it allows the double
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
# TIFF 6.0, p. 80: what samples are, but for unsigned integers, which 1 stands for.
_SAMPLES = {2: "signed", 3: "floating-point"}

# By name: how a file begins, suffixes, and what opens it. Left out of what Pillow reads: formats
# that need other programs (EPS, WMF), that hold other things than pictures (HDF5, GRIB), several
# sizes of one icon (ICO, ICNS), or layers and textures (PSD, DDS).
_READERS: dict[str, tuple[tuple[bytes, ...], tuple[str, ...], Callable[..., Image.Image]]] = {
    "PNG": ((b"\x89PNG\r\n\x1a\n",), (".png", ".apng"), PngImagePlugin.PngImageFile),
    "JPEG": (
        (b"\xff\xd8\xff",),
        (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
        JpegImagePlugin.jpeg_factory,
    ),
    "BMP": ((b"BM",), (".bmp", ".dib"), BmpImagePlugin.BmpImageFile),
    "TIFF": (
        (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        (".tif", ".tiff"),
        TiffImagePlugin.TiffImageFile,
    ),
    "WebP": ((b"RIFF",), (".webp",), WebPImagePlugin.WebPImageFile),
    "PPM": (
        tuple(b"P%c" % kind for kind in b"123456f"),
        (".ppm", ".pgm", ".pbm", ".pnm"),
        PpmImagePlugin.PpmImageFile,
    ),
    "GIF": ((b"GIF87a", b"GIF89a"), (".gif",), GifImagePlugin.GifImageFile),
    "JPEG 2000": (
        (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"),
        (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
        Jpeg2KImagePlugin.Jpeg2KImageFile,
    ),
    "QOI": ((b"qoif",), (".qoi",), QoiImagePlugin.QoiImageFile),
    "SGI": ((b"\x01\xda",), (".sgi",), SgiImagePlugin.SgiImageFile),
    # Files that begin like other things, too: only by their suffix.
    "DIB": ((), (".dib",), BmpImagePlugin.DibImageFile),
    "PCX": ((), (".pcx",), PcxImagePlugin.PcxImageFile),
    "TGA": ((), (".tga",), TgaImagePlugin.TgaImageFile),
    # Files of boxes, distinguished by their brands.
    "AVIF": ((), (".avif",), AvifImagePlugin.AvifImageFile),
    "HEIC": ((), (".heic", ".heif", ".hif"), Image.Image),
}
_HEIF_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
)
_NEEDS = {"AVIF": "avif", "JPEG 2000": "jpg_2000", "WebP": "webp"}  # libraries within Pillow

FORMATS = tuple(_READERS)
SUFFIXES = frozenset(suffix for _, suffixes, _ in _READERS.values() for suffix in suffixes)


@dataclass(frozen=True)
class Opened:
    """An opened image, not decoded yet if its reader decodes lazily.

    image: whose `load` may raise any exception of Pillow's parsers. bits: per sample in the file,
    which Pillow silently reduces to 8 in several formats. levels: samples (H, W) or (H, W, C) with
    this bit depth, None if they are not decoded yet. frames: a phrase that says which of several
    frames this is. colours: the colour space that the file declares by code points.
    """

    image: Image.Image
    bits: int
    levels: NDArray[Any] | None = None
    frames: str | None = None
    colours: str | None = None


def open_picture(path: Path, data: bytes) -> Opened:
    """Open the contents of an image file in the format that they have.

    path: for messages, and its suffix where the contents are ambiguous. Raises InputError for an
    unknown format and for too many pixels, and any exception of Pillow for damaged files.
    """
    name = _format(data, path)
    if name is None:
        raise InputError(
            f"{path}: is not a readable image; expected {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        )
    if name == "HEIC":
        return _heif(path, data)
    if not features.check(_NEEDS.get(name, "pil")):
        raise InputError(f"{path}: this Pillow cannot read {name}; pip install --upgrade pillow")
    read = _READERS[name][2]
    if name == "PNG":
        with read(BytesIO(data)) as image:
            image.verify()  # checksums and the end mark, which decoding alone does not look at
    image = read(BytesIO(data))
    check_size(path, image.size)
    _check_samples(path, image, data)
    if name == "JPEG 2000" and "icc_profile" not in image.info:
        image.info["icc_profile"] = jpeg2000_profile(data)
    number = getattr(image, "n_frames", 1)
    return Opened(
        image,
        _bits(image, data),
        frames=f"first of {number} frames used" if number > 1 else None,
        colours=coded_colours(data) if name == "AVIF" else None,
    )


def check_size(path: Path, size: tuple[int, int]) -> None:
    """Raise InputError for a picture without pixels, or with more than twice Pillow's limit."""
    if 0 in size:
        raise InputError(f"{path}: is {size[0]}×{size[1]} pixels, expected at least 1×1")
    if size[0] * size[1] > 2 * PIXELS:
        raise InputError(
            f"{path}: is too large ({size[0]}×{size[1]} pixels, at most {2 * PIXELS:,} in total); "
            "crop or shrink it"
        )


def _check_samples(path: Path, image: Image.Image, data: bytes) -> None:
    """Raise InputError for integers with a sign and the like, whose black is not known."""
    kind = None
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        formats = set(image.tag_v2.get(_SAMPLE_FORMAT, (1,))) - {1}
        kind = _SAMPLES.get(min(formats), "unknown") if formats else None
    elif image.format == "JPEG2000" and jpeg2000_signed(data):
        kind = "signed"
    if kind is not None:
        raise InputError(
            f"{path}: has {kind} samples, expected unsigned ones; save it as 8-bit RGB"
        )


def deep_levels(opened: Opened, data: bytes) -> NDArray[Any] | None:
    """The samples of an image of more than 8 bits, as stored in the file; None if not available.

    (H, W) or (H, W, C), alpha last; 8-bit samples where Pillow has already scaled and rounded them.
    """
    image = opened.image
    if opened.levels is not None:
        return opened.levels
    scaled = image.format == "AVIF" or (image.format == "PPM" and image.mode == "RGB")
    grey = image.mode.startswith("I;16") or (image.mode == "I" and image.format != "TIFF")
    if "transparency" in image.info or (image.format == "JPEG2000" and opened.bits != 16):
        return None  # a transparent level does not survive scaling; Pillow shifts JP2's grey levels
    if scaled or grey:
        if isinstance(image, TiffImagePlugin.TiffImageFile) and not image.tag_v2[_PHOTOMETRIC]:
            # 0 is white, which Pillow leaves so.
            return np.asarray(2**opened.bits - 1 - np.asarray(image))
        return np.asarray(image)
    if opened.bits == 16 and image.mode in ("RGB", "RGBA", "LA"):
        # Pillow drops the low byte of colours; OpenCV keeps it.
        levels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if levels is not None and levels.ndim == 3:
            order = cv2.COLOR_BGRA2RGBA if levels.shape[2] == 4 else cv2.COLOR_BGR2RGB
            levels = cv2.cvtColor(levels, order)
        if levels is not None and levels.shape[:2] == image.size[::-1]:
            return np.asarray(levels)
    return None


def _format(data: bytes, path: PurePath) -> str | None:
    """The name of a file's format, from its first bytes, or else from its suffix."""
    found = brands(data)
    if found:
        if found & {b"avif", b"avis"}:
            return "AVIF"
        return "HEIC" if found & _HEIF_BRANDS else None
    for name, (marks, suffixes, _) in _READERS.items():
        if any(map(data.startswith, marks)) and (name != "WebP" or data[8:12] == b"WEBP"):
            return name
        if name in ("DIB", "PCX", "TGA") and path.suffix.lower() in suffixes:
            return name
    return None


def _bits(image: Image.Image, data: bytes) -> int:
    """Bits per sample in the file."""
    bits = 8
    if image.mode == "F":
        bits = 32
    elif image.format == "PNG":
        bits = data[24]  # ISO/IEC 15948, sec. 11.2.2: IHDR is the first chunk
    elif image.format == "AVIF":
        bits = av1_bits(data)
    elif image.format == "JPEG2000":
        bits = jpeg2000_bits(data)
    elif image.format == "SGI":
        bits = 8 * data[3]
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = int(max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,))))
    elif isinstance(image, PpmImagePlugin.PpmImageFile):
        args = image.tile[0][3]
        deep = isinstance(args, tuple) and len(args) > 1 and int(args[1]) > 255
        bits = 16 if deep or image.mode == "I" else 8
    return bits


def _heif(path: Path, data: bytes) -> Opened:
    """The primary image of a HEIF file, cropped and turned upright by libheif."""
    try:
        pillow_heif = heif()
    except ImportError:
        raise InputError(
            f"{path}: reading HEIC and HEIF needs pillow-heif; pip install 'iqattack[heic]'"
        ) from None
    # Its own switches: as many bits as the file has, at the bottom of 16.
    file = pillow_heif.open_heif(BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
    primary = file[file.primary_index]
    check_size(path, primary.size)
    levels = np.asarray(primary)  # decodes
    mode, _, depth = primary.mode.partition(";")
    bits = int(depth or 8)
    image: Image.Image
    if bits > 8:
        if mode == "I":  # grey: "I;16" however many bits there are
            mode, bits = "L", int(str(primary.info.get("bit_depth", 16)))
        small = np.ascontiguousarray(levels >> (bits - 8)).astype(np.uint8)
    else:
        small = np.ascontiguousarray(levels)
    image = Image.frombytes(mode, (levels.shape[1], levels.shape[0]), small.tobytes())
    image.info["icc_profile"] = primary.info.get("icc_profile")
    number = len(file)
    return Opened(
        image,
        bits,
        levels=levels if bits > 8 else None,
        frames=f"primary image of {number} used" if number > 1 else None,
        colours=coded_colours(data),
    )

"""Reading and writing pictures."""

import errno
import importlib.util
import io
import os
import re
import struct
import subprocess
import warnings
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    ImageOps,
    PngImagePlugin,
    TiffImagePlugin,
)
from skimage.data import stereo_motorcycle

import iqattack
from iqattack import pillow
from iqattack.errors import InputError
from iqattack.images import containers, encode_png, formats, read_image, reading, write_png
from iqattack.images.formats import open_picture

RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (9, 13, 3), dtype=np.uint8)
SMOOTH = cv2.resize(RGB, (61, 47), interpolation=cv2.INTER_CUBIC)
RGB16 = RNG.integers(0, 65536, (9, 13, 3), dtype=np.uint16)


def tensor(array):
    return torch.from_numpy(np.array(array)).permute(2, 0, 1)


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, format=kind, **options)
    return out.getvalue()


def saved(path, image, **options):
    image.save(path, **options)
    return path


def refusal(path, **options):
    with pytest.raises(InputError) as caught:
        read_image(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def rounded(levels, top):
    """Independent of the code: nearest integer to 255·levels/top in exact integer arithmetic."""
    return ((levels.astype(np.int64) * 510 + top) // (2 * top)).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm", ".webp", ".PNG"])
def test_lossless_formats_are_read_exactly(tmp_path, suffix):
    options = {"lossless": True} if suffix == ".webp" else {}
    picture = read_image(saved(tmp_path / f"a{suffix}", Image.fromarray(RGB), **options))
    assert torch.equal(picture.pixels, tensor(RGB))
    assert picture.pixels.dtype == torch.uint8
    assert picture.pixels.is_contiguous()
    assert picture.notes == ()


def test_jpeg_is_what_pillow_decodes(tmp_path):
    path = saved(tmp_path / "a.jpg", Image.fromarray(SMOOTH), quality=90)
    assert torch.equal(read_image(path).pixels, tensor(Image.open(path)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_orientation_agrees_with_pillow(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / f"a{suffix}", Image.fromarray(SMOOTH), exif=exif)
    picture = read_image(path)
    with Image.open(path) as image:
        assert torch.equal(picture.pixels, tensor(ImageOps.exif_transpose(image)))
    assert [f"orientation {orientation}" in note for note in picture.notes] == [True] * (
        orientation > 1
    )


@pytest.mark.parametrize(
    ("mode", "note"), [("L", "grey"), ("1", "grey"), ("P", "palette")], ids=str
)
def test_grey_and_palette_are_converted_and_said(tmp_path, mode, note):
    image = Image.fromarray(RGB).convert(mode)
    picture = read_image(saved(tmp_path / "a.png", image))
    assert torch.equal(picture.pixels, tensor(image.convert("RGB")))
    assert picture.notes == (f"{note} converted to RGB",)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".ppm"])
@pytest.mark.parametrize("colour", [False, True])
def test_16_bit_is_refused_or_rounded(tmp_path, suffix, colour):
    levels = RGB16 if colour else RGB16[..., 0]
    path = tmp_path / f"a{suffix if colour else suffix.replace('ppm', 'pgm')}"
    assert cv2.imwrite(str(path), levels[..., ::-1] if colour else levels)
    assert "16-bit" in refusal(path)
    picture = read_image(path, convert=True)
    expected = rounded(levels, 65535)
    expected = expected if colour else np.repeat(expected[..., None], 3, axis=2)
    assert torch.equal(picture.pixels, tensor(expected))
    assert picture.notes[0] == "16-bit levels scaled to 8 bits"
    assert len(picture.notes) == 2 - colour


def tiff(levels, photometric=1, sample_format=1):
    """An uncompressed grey TIFF file (TIFF 6.0, sec. 2)."""
    data, bits = levels.tobytes(), 8 * levels.itemsize
    height, width = levels.shape
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 0, 277: 1}
    tags |= {278: height, 279: len(data), 339: sample_format}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


@pytest.mark.parametrize("dtype", ["uint8", "<u2"])
@pytest.mark.parametrize("white", [0, 1])
def test_a_tiff_in_which_0_is_white(tmp_path, dtype, white):
    grey = RGB[..., 0]
    stored = (grey if white else 255 - grey).astype(dtype) * (257 if dtype == "<u2" else 1)
    (tmp_path / "a.tif").write_bytes(tiff(stored, photometric=white))
    picture = read_image(tmp_path / "a.tif", convert=True)
    assert torch.equal(picture.pixels, tensor(np.dstack([grey] * 3)))


@pytest.mark.parametrize(
    ("dtype", "number", "kind"),
    [("int8", 2, "signed"), ("<i2", 2, "signed"), ("<i4", 2, "signed"), ("<f4", 3, "floating")],
)
@pytest.mark.parametrize("convert", [False, True])
def test_samples_whose_black_is_not_known(tmp_path, dtype, number, kind, convert):
    (tmp_path / "a.tif").write_bytes(tiff(RGB[..., 0].astype(dtype), sample_format=number))
    assert f"has {kind}" in refusal(tmp_path / "a.tif", convert=convert)


def test_a_jpeg_2000_with_signed_components(tmp_path):
    data = bytearray(encoded(Image.fromarray(RGB), "JPEG2000"))
    at = data.find(b"\xff\x4f\xff\x51") + 42
    assert data[at] == 7
    data[at] |= 0x80
    (tmp_path / "a.jp2").write_bytes(data)
    assert "has signed samples" in refusal(tmp_path / "a.jp2")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bit_colour_tiff_is_turned_once(tmp_path, orientation):
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "a.tif"
    tag = (0x0112, "H", 1, orientation, True)
    tifffile.imwrite(path, RGB16, photometric="rgb", extratags=[tag])
    exif = Image.Exif()
    exif[0x0112] = orientation
    small = Image.open(
        io.BytesIO(encoded(Image.fromarray(rounded(RGB16, 65535)), "PNG", exif=exif))
    )
    expected = tensor(ImageOps.exif_transpose(small))
    assert torch.equal(read_image(path, convert=True).pixels, expected)


def test_16_bit_with_alpha(tmp_path):
    levels = RNG.integers(0, 65536, (5, 6, 4), dtype=np.uint16)
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), levels[..., [2, 1, 0, 3]])
    assert "16-bit" in refusal(path)
    rgba = rounded(levels, 65535).astype(float)
    alpha = rgba[..., 3:] / 255
    picture = read_image(path, convert=True)
    composed = tensor(rgba[..., :3] * alpha + 255 * (1 - alpha))
    assert (picture.pixels - composed).abs().max() <= 1  # Pillow composites in integers
    assert len(picture.notes) == 2


def test_32_bits_have_no_known_white(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(RGB[..., 0].astype("<u4")))
    Image.fromarray(RGB).convert("F").save(tmp_path / "a.pfm", format="PPM")
    for name in ("a.tif", "a.pfm"):
        assert "32-bit" in refusal(tmp_path / name)
        assert "cannot be converted" in refusal(tmp_path / name, convert=True)


def test_cmyk(tmp_path):
    path = saved(tmp_path / "a.jpg", Image.fromarray(SMOOTH).convert("CMYK"))
    assert "CMYK" in refusal(path)
    picture = read_image(path, convert=True)
    assert picture.notes == ("CMYK converted to RGB",)
    assert torch.equal(picture.pixels, tensor(Image.open(path).convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_refused_or_composited_on_white(tmp_path, mode):
    colours = Image.fromarray(np.full((2, 2, 3), (200, 200, 200), np.uint8))
    path = tmp_path / "a.png"
    if mode == "P":
        palette = Image.new("P", (2, 2))
        palette.putpalette([200, 200, 200, 200, 200, 200, 200, 200, 200])
        palette.putdata([0, 1, 2, 2])
        palette.save(path, transparency=bytes([255, 0, 128]))
    else:
        image = colours.convert(mode)
        alpha = Image.new("L", (2, 2))
        alpha.putdata([255, 0, 128, 128])
        image.putalpha(alpha)
        image.save(path)
    assert "transparent" in refusal(path)
    picture = read_image(path, convert=True)
    half = round(200 * 128 / 255 + 255 * 127 / 255)
    expected = torch.tensor([[200, 255], [half, half]], dtype=torch.uint8).expand(3, 2, 2)
    assert torch.equal(picture.pixels, expected)
    assert picture.notes == ("transparency composited on white",)


@pytest.mark.parametrize(
    ("size", "resize", "expected"),
    [
        ((600, 400), 200, (200, 133)),
        ((400, 600), 200, (133, 200)),
        ((301, 301), 300, (300, 300)),
        ((8, 5), 4, (4, 3)),  # 2.5, a half, goes up
        ((500, 1), 100, (100, 1)),
        ((3, 400), 1, (1, 1)),
    ],
)
def test_resize_is_a_long_side_that_keeps_the_aspect_ratio(tmp_path, size, resize, expected):
    image = Image.fromarray(RNG.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    path = saved(tmp_path / "a.png", image)
    picture = read_image(path, resize=resize)
    assert picture.pixels.is_contiguous()
    assert torch.equal(picture.pixels, tensor(image.resize(expected, Image.Resampling.LANCZOS)))
    (note,) = picture.notes
    (width, height), (new_width, new_height) = size, expected
    assert note == f"resized from {width}×{height} to {new_width}×{new_height} (Lanczos)"
    assert torch.equal(read_image(path, resize=resize).pixels, picture.pixels)


@pytest.mark.parametrize("resize", [13, 14, 4000, None])
def test_resize_never_enlarges(tmp_path, resize):
    picture = read_image(saved(tmp_path / "a.png", Image.fromarray(RGB)), resize=resize)
    assert torch.equal(picture.pixels, tensor(RGB))
    assert picture.notes == ()


@pytest.mark.parametrize("orientation", range(2, 9))
def test_resize_comes_after_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.jpg", Image.fromarray(SMOOTH), exif=exif)
    picture = read_image(path, resize=20)
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
    size = (15, 20) if orientation > 4 else (20, 15)
    assert torch.equal(picture.pixels, tensor(upright.resize(size, Image.Resampling.LANCZOS)))
    assert ["orientation" in note for note in picture.notes] == [True, False]
    assert picture.notes[1].startswith(f"resized from {upright.width}×{upright.height} to")


def test_resize_comes_after_conversion(tmp_path):
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), RGB16[..., ::-1])
    assert "16-bit" in refusal(path, resize=6)
    picture = read_image(path, convert=True, resize=6)
    small = Image.fromarray(rounded(RGB16, 65535)).resize((6, 4), Image.Resampling.LANCZOS)
    assert torch.equal(picture.pixels, tensor(small))
    assert picture.notes == (
        "16-bit levels scaled to 8 bits",
        "resized from 13×9 to 6×4 (Lanczos)",
    )


@pytest.mark.parametrize("resize", [0, -5])
def test_resize_needs_a_pixel(tmp_path, resize):
    path = saved(tmp_path / "a.png", Image.fromarray(RGB))
    with pytest.raises(InputError, match=f"resize {resize}: expected .* at least 1 pixel"):
        read_image(path, resize=resize)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_first_of_several_frames(tmp_path, kind):
    frames = [Image.new("RGB", (16, 8), colour) for colour in ("red", "blue", "lime")]
    path = tmp_path / f"a.{'jpg' if kind == 'MPO' else kind.lower()}"
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(path, format=kind, save_all=True, append_images=frames[1:], **options)
    picture = read_image(path)
    assert "first of 3 frames used" in picture.notes
    assert (picture.pixels[0] >= 250).all()
    assert (picture.pixels[1:] <= 5).all()


def test_files_that_are_none(tmp_path):
    assert "no such image" in refusal(tmp_path / "missing.png")
    assert "cannot be read" in refusal(tmp_path)
    (tmp_path / "empty.png").touch()
    assert "empty" in refusal(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("hello")
    assert "expected PNG" in refusal(tmp_path / "text.png")
    (tmp_path / "zero.ppm").write_bytes(b"P6 0 4 255\n")
    refusal(tmp_path / "zero.ppm")


def test_decompression_bomb(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", Image.fromarray(RGB))
    monkeypatch.setattr(formats, "PIXELS", 58)  # of 117, which is more than twice as many
    assert "too large (13×9 pixels, at most 116 in total)" in refusal(path)
    monkeypatch.setattr(formats, "PIXELS", 59)
    assert torch.equal(read_image(path).pixels, tensor(RGB))


FILES = {
    "PNG": encoded(Image.fromarray(SMOOTH), "PNG"),
    "JPEG": encoded(Image.fromarray(SMOOTH), "JPEG"),
    "BMP": encoded(Image.fromarray(SMOOTH), "BMP"),
    "TIFF": encoded(Image.fromarray(SMOOTH), "TIFF"),
    "WEBP": encoded(Image.fromarray(SMOOTH), "WEBP"),
    "PPM": encoded(Image.fromarray(SMOOTH), "PPM"),
    "GIF": encoded(Image.fromarray(SMOOTH), "GIF"),
    "AVIF": encoded(Image.fromarray(SMOOTH), "AVIF"),
    "JPEG2000": encoded(Image.fromarray(SMOOTH), "JPEG2000"),
    "J2K": encoded(Image.fromarray(SMOOTH), "JPEG2000", no_jp2=True),
    "QOI": encoded(Image.fromarray(SMOOTH), "QOI"),
    "SGI": encoded(Image.fromarray(SMOOTH), "SGI"),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("share", [0.002, 0.05, 0.3, 0.6, 0.9, 0.99])
def test_truncated_files_are_refused(tmp_path, kind, share):
    data = FILES[kind]
    path = tmp_path / "a.img"
    path.write_bytes(data[: int(len(data) * share)])
    refusal(path)


@pytest.mark.parametrize("kind", FILES)
def test_missing_ends_never_change_pixels(tmp_path, kind):
    """The last bytes may hold no pixels; what is read without them must then be complete."""
    data = FILES[kind]
    path = tmp_path / "a.img"
    path.write_bytes(data)
    whole = read_image(path).pixels
    for cut in range(1, 24):
        path.write_bytes(data[:-cut])
        try:
            pixels = read_image(path).pixels
        except InputError:
            continue
        assert kind != "PNG" or cut <= 4  # the checksum of PNG's end mark
        assert torch.equal(pixels, whole)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(sorted(FILES)),
    at=st.floats(0, 1, exclude_max=True),
    flip=st.integers(1, 255),
    data=st.data(),
)
def test_damage_is_an_input_error_or_harmless(tmp_path_factory, kind, at, flip, data):
    damaged = bytearray(FILES[kind])
    # Headers matter most, so half of the damage goes there.
    reach = len(damaged) if data.draw(st.booleans()) else 200
    damaged[int(at * min(reach, len(damaged)))] ^= flip
    path = tmp_path_factory.getbasetemp() / "damaged.img"
    path.write_bytes(damaged)
    try:
        picture = read_image(path)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert picture.pixels.shape[0] == 3
        assert picture.pixels.numel() > 0
        if kind == "PNG":  # the one with checksums
            assert torch.equal(picture.pixels, tensor(SMOOTH))


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 9), flat=st.booleans()
)
def test_png_round_trip_is_exact_and_deterministic(tmp_path_factory, height, width, seed, flat):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
    if flat:
        pixels[:] = pixels[:, :1, :1]
    folder = tmp_path_factory.getbasetemp()
    write_png(folder / "one.png", pixels)
    write_png(str(folder / "two.png"), pixels.transpose(1, 2).contiguous().transpose(1, 2))
    picture = read_image(folder / "one.png")
    assert torch.equal(picture.pixels, pixels)
    assert picture.notes == ()
    assert (folder / "one.png").read_bytes() == (folder / "two.png").read_bytes()
    by_opencv = cv2.imread(str(folder / "one.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert torch.equal(tensor(by_opencv), pixels)


@pytest.mark.parametrize(
    "pixels",
    [
        torch.zeros(3, 4, 4),
        torch.zeros(1, 4, 4, dtype=torch.uint8),
        torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
        torch.zeros(3, 0, 4, dtype=torch.uint8),
    ],
)
def test_only_rgb_bytes_are_written(tmp_path, pixels):
    with pytest.raises(ValueError, match="expected uint8"):
        write_png(tmp_path / "a.png", pixels)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("call", "code", "remedy"),
    [
        ("replace", errno.EACCES, "writable"),
        ("fsync", errno.ENOSPC, "free some space"),
        ("fsync", errno.EIO, "another place"),
    ],
)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path, monkeypatch, call, code, remedy
):
    old = torch.zeros(3, 4, 4, dtype=torch.uint8)
    path = tmp_path / "a.png"
    write_png(path, old)

    def fail(*_args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(InputError, match=remedy) as caught:
        write_png(path, old + 1)
    assert str(path) in str(caught.value)
    monkeypatch.undo()
    assert torch.equal(read_image(path).pixels, old)
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_png(tmp_path / "a.png", torch.zeros(3, 4, 4, dtype=torch.uint8))
    assert list(tmp_path.iterdir()) == []


def test_writing_into_a_missing_folder(tmp_path):
    with pytest.raises(InputError, match="create its folder"):
        write_png(tmp_path / "no" / "a.png", torch.zeros(3, 4, 4, dtype=torch.uint8))


def test_long_names_are_written_up_to_the_limit(tmp_path):
    pixels = torch.zeros(3, 4, 4, dtype=torch.uint8)
    write_png(tmp_path / ("a" * 251 + ".png"), pixels)
    with pytest.raises(InputError, match="shorten its name"):
        write_png(tmp_path / ("a" * 252 + ".png"), pixels)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_disk_that_is_really_full(tmp_path):
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"mounting a small disk is not allowed: {done.stderr.decode().strip()}")
    try:
        small = torch.zeros(3, 8, 8, dtype=torch.uint8)
        noise = torch.randint(0, 256, (3, 256, 256), dtype=torch.uint8)
        write_png(tmp_path / "small.png", small)
        with pytest.raises(InputError, match="free some space"):
            write_png(tmp_path / "large.png", noise)
        with pytest.raises(InputError, match="free some space"):
            write_png(tmp_path / "small.png", noise)
        assert [path.name for path in tmp_path.iterdir()] == ["small.png"]
        assert torch.equal(read_image(tmp_path / "small.png").pixels, small)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_photographs_survive_the_round_trip(tmp_path):
    photo = stereo_motorcycle()[0]
    Image.fromarray(photo).save(tmp_path / "photo.png")
    picture = read_image(tmp_path / "photo.png")
    assert torch.equal(picture.pixels, tensor(photo))
    write_png(tmp_path / "a.png", picture.pixels)
    assert torch.equal(read_image(tmp_path / "a.png").pixels, picture.pixels)


SWITCHES = [
    (ImageFile, "LOAD_TRUNCATED_IMAGES", True),
    (ImageFile, "SAFEBLOCK", 16),
    (ImageFile, "MAXBLOCK", 16),
    (Image, "MAX_IMAGE_PIXELS", 1),
    (Image, "MAX_IMAGE_PIXELS", None),
    (GifImagePlugin, "LOADING_STRATEGY", GifImagePlugin.LoadingStrategy.RGB_ALWAYS),
    (TiffImagePlugin, "READ_LIBTIFF", True),
    (PngImagePlugin, "MAX_TEXT_CHUNK", 1),
    (PngImagePlugin, "MAX_TEXT_MEMORY", 1),
    (AvifImagePlugin, "DECODE_CODEC_CHOICE", "none such"),
    (BmpImagePlugin, "USE_RAW_ALPHA", True),
    (Image.Image, "load", None),
    (Image.Image, "convert", None),
    (ImageFile.ImageFile, "load", None),
]


def everything(folder):
    """A file of every format, one with text, one with a bad tag; and what reading them gives."""
    text = PngImagePlugin.PngInfo()
    text.add_text("a", "b" * 5000, zip=True)
    files = {kind: FILES[kind] for kind in FILES}
    files["text"] = encoded(Image.fromarray(SMOOTH), "PNG", pnginfo=text)
    files["lzw"] = encoded(Image.fromarray(SMOOTH), "TIFF", compression="tiff_lzw")
    files["cut"] = FILES["JPEG"][: len(FILES["JPEG"]) // 3]
    # A tag with more entries than it may have, at which Pillow warns: two values of orientation.
    files["alpha"] = encoded(Image.fromarray(np.dstack([RGB, RGB[..., :1]])), "BMP")
    found = bytearray(encoded(Image.fromarray(SMOOTH), "TIFF", tiffinfo={0x0112: 1}))
    tag = found.index(struct.pack("<HHI", 0x0112, 3, 1))
    found[tag : tag + 12] = struct.pack("<HHIHH", 0x0112, 3, 2, 1, 1)
    files["warns"] = bytes(found)
    results: dict[str, tuple[bytes, tuple[str, ...]] | str] = {}
    for name, data in files.items():
        (folder / name).write_bytes(data)
        try:
            picture = read_image(folder / name)
            results[name] = (picture.pixels.numpy().tobytes(), picture.notes)
        except InputError as error:
            results[name] = str(error)
    return results


def test_a_file_that_is_cut_is_damaged(tmp_path):
    results = everything(tmp_path)
    assert "is damaged or truncated" in results.pop("cut")
    assert all(isinstance(result, tuple) for result in results.values())


@pytest.mark.parametrize(("module", "name", "value"), SWITCHES, ids=lambda x: str(x)[-30:])
def test_switches_of_pillow_change_nothing(tmp_path, monkeypatch, module, name, value):
    """Nor do those that are set while a picture is being read, as by a model in another thread."""
    expected = everything(tmp_path)
    decode = open_picture

    def while_reading(*given):
        monkeypatch.setattr(module, name, value)
        return decode(*given)

    monkeypatch.setattr(reading, "open_picture", while_reading)
    assert everything(tmp_path) == expected
    assert getattr(module, name) == value  # it is the model's


def test_no_module_of_pillow_is_shared():
    """So whatever its next version lets one set is the model's alone."""
    for name in set(pillow.__all__) - {"heif"}:
        ours, theirs = getattr(pillow, name), importlib.import_module(f"PIL.{name}")
        assert ours is not theirs
        own = [value for value in vars(ours).values() if isinstance(value, ModuleType)]
        shared = {module.__name__ for module in own if module.__name__.startswith("PIL.")}
        assert all(not importlib.import_module(s).__file__.endswith(".py") for s in shared)


def test_nothing_of_ours_uses_the_other_pillow():
    """But for what models are given, and a page."""
    package = Path(iqattack.__file__).parent
    users = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if re.match(r"\s*(from|import) (PIL|pillow_heif)\b", line)
    }
    templates = {user for user in users if user.startswith("models/templates/")}
    assert users - templates == {"pillow.py", "models/inputs.py"}


@pytest.mark.parametrize("action", ["error", "ignore", "always", "once"])
def test_warning_filters_change_nothing(tmp_path, action):
    expected = everything(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        before = list(warnings.filters)
        assert everything(tmp_path) == expected
        assert list(warnings.filters) == before
        assert caught == []
        if action == "always":  # a warning of the model's is shown all the same
            warnings.warn("mine", stacklevel=1)
            assert len(caught) == 1


def test_a_large_picture_is_read_whatever_warnings_are(tmp_path, monkeypatch):
    monkeypatch.setattr(pillow.Image, "MAX_IMAGE_PIXELS", 100)
    path = saved(tmp_path / "a.png", Image.fromarray(RGB))  # 117 pixels: Pillow would warn
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(read_image(path).pixels, tensor(RGB))


def test_readers_that_a_model_registers_are_not_asked(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", Image.fromarray(RGB))

    def other(*_args):
        raise AssertionError

    monkeypatch.setitem(Image.OPEN, "PNG", (other, None))
    assert torch.equal(read_image(path).pixels, tensor(RGB))


@pytest.mark.parametrize("suffix", sorted(formats.SUFFIXES - {".heic", ".heif", ".hif"}))
def test_every_suffix_is_read(tmp_path, suffix):
    kinds = {".apng": "PNG", ".dib": "BMP", ".jpc": "JPEG2000", ".j2c": "JPEG2000"}
    kind = kinds.get(suffix) or Image.registered_extensions()[suffix]
    image = Image.fromarray(SMOOTH)
    if suffix in (".pgm", ".pbm"):
        image = image.convert("L" if suffix == ".pgm" else "1")
    path = tmp_path / f"a{suffix.upper()}"
    path.write_bytes(encoded(image, kind))
    with Image.open(io.BytesIO(path.read_bytes())) as opened:
        assert torch.equal(read_image(path).pixels, tensor(opened.convert("RGB")))


@pytest.mark.parametrize("kind", ["JPEG", "AVIF", "JPEG2000", "QOI", "SGI"])
def test_a_suffix_may_be_wrong(tmp_path, kind):
    (tmp_path / "a.png").write_bytes(FILES[kind])
    (tmp_path / "a.right").write_bytes(FILES[kind])
    right = read_image(tmp_path / "a.right").pixels
    assert torch.equal(read_image(tmp_path / "a.png").pixels, right)


def tga(levels, flags, spare=None):
    height, width = levels.shape[:2]
    channels = [levels[..., ::-1]] + ([] if spare is None else [spare[..., None]])
    header = struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, width, height, 24, flags)
    header = header[:16] + bytes([8 * (3 + len(channels) - 1), flags])
    return header + np.concatenate(channels, axis=-1).tobytes()


@pytest.mark.parametrize("flags", [0x00, 0x10, 0x20, 0x30])
def test_tga_is_upright(tmp_path, flags):
    """Truevision TGA 2.0, field 5.6: bit 5 from the top, bit 4 from the right."""
    (tmp_path / "a.tga").write_bytes(tga(RGB, flags))
    upright = RGB if flags & 0x20 else RGB[::-1]
    upright = upright[:, ::-1] if flags & 0x10 else upright
    assert torch.equal(read_image(tmp_path / "a.tga").pixels, tensor(upright))


@pytest.mark.parametrize(
    ("flags", "spare", "transparent"),
    [(0x20, 0, False), (0x28, 0, True), (0x20, 255, False), (0x28, 255, False), (0x20, 7, True)],
)
def test_tga_with_spare_bits(tmp_path, flags, spare, transparent):
    (tmp_path / "a.tga").write_bytes(tga(RGB, flags, np.full((9, 13), spare, np.uint8)))
    if transparent:
        assert "transparent" in refusal(tmp_path / "a.tga")
    else:
        assert torch.equal(read_image(tmp_path / "a.tga").pixels, tensor(RGB))


def test_text_is_no_tga(tmp_path):
    (tmp_path / "a.png").write_bytes(tga(RGB, 0))  # it begins like nothing else: by suffix alone
    assert "is not a readable image" in refusal(tmp_path / "a.png")


OPAQUE = {
    "RGBA": lambda rgb: rgb.convert("RGBA"),
    "LA": lambda rgb: rgb.convert("L").convert("LA"),
    "P": lambda rgb: rgb.quantize(16),
    "P, one level unused": lambda rgb: rgb.quantize(16),
    "RGB": lambda rgb: rgb,
    "L": lambda rgb: rgb.convert("L").point(lambda level: max(level, 1)),
}
TRANSPARENCY = {
    "P": bytes([255] * 16),
    "P, one level unused": bytes([255] * 16 + [0] * 4),
    "RGB": (1, 2, 3),
    "L": 0,
}


@pytest.mark.parametrize("mode", OPAQUE)
def test_alpha_that_is_opaque_everywhere_is_none(tmp_path, mode):
    image = OPAQUE[mode](Image.fromarray(np.bitwise_or(SMOOTH, 4)))
    options = {"transparency": TRANSPARENCY[mode]} if mode in TRANSPARENCY else {}
    if mode == "P, one level unused":
        image.putpalette((image.getpalette() + [0] * 60)[:60])
    picture = read_image(saved(tmp_path / "a.png", image, **options))
    assert torch.equal(picture.pixels, tensor(image.convert("RGB")))
    assert picture.notes[0] == "alpha channel dropped, which is opaque everywhere"
    converted = {"L": "grey converted to RGB", "P": "palette converted to RGB"}.get(mode[0])
    assert picture.notes[1:] == ((converted,) if converted else ())


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "AVIF", "JPEG2000", "QOI", "SGI"])
def test_opaque_alpha_of_other_formats(tmp_path, kind):
    options: dict[str, dict[str, Any]] = {
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    }
    image = Image.fromarray(SMOOTH).convert("RGBA")
    path = tmp_path / "a"
    path.write_bytes(encoded(image, kind, **options.get(kind, {})))
    picture = read_image(path)
    if kind not in ("WEBP", "AVIF"):  # which keep no alpha that is opaque
        assert picture.notes == ("alpha channel dropped, which is opaque everywhere",)
    assert (picture.pixels.int() - tensor(SMOOTH).int()).abs().max() <= (2 if kind == "AVIF" else 0)
    image.putpixel((0, 0), (1, 2, 3, 254))
    path.write_bytes(encoded(image, kind, **options.get(kind, {})))
    assert "transparent" in refusal(path)


def test_opaque_alpha_of_16_bits(tmp_path):
    levels = np.dstack([RGB16, np.full((9, 13), 65535, np.uint16)])
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), levels[..., [2, 1, 0, 3]])
    assert "16-bit" in refusal(path)
    picture = read_image(path, convert=True)
    assert torch.equal(picture.pixels, tensor(rounded(RGB16, 65535)))
    assert picture.notes == (
        "16-bit levels scaled to 8 bits",
        "alpha channel dropped, which is opaque everywhere",
    )


def test_the_opaque_picture_of_the_cases(cases):
    picture = read_image(cases / "opaque" / "a.png")
    assert torch.equal(
        picture.pixels, tensor(Image.open(cases / "opaque" / "a.png").convert("RGB"))
    )


@pytest.mark.parametrize("colour", [False, True])
def test_jpeg2000_of_16_bits(tmp_path, colour):
    levels = RNG.integers(0, 65536, (47, 61, 3), dtype=np.uint16)
    levels = levels if colour else levels[..., 0]
    lossless = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000]
    assert cv2.imwrite(str(tmp_path / "a.jp2"), levels[..., ::-1] if colour else levels, lossless)
    assert "16-bit" in refusal(tmp_path / "a.jp2")
    expected = rounded(levels, 65535)
    expected = expected if colour else np.repeat(expected[..., None], 3, axis=2)
    assert torch.equal(read_image(tmp_path / "a.jp2", convert=True).pixels, tensor(expected))


def test_jpeg2000_of_12_bits_has_no_known_scaling(tmp_path):
    """A code stream of 16 bits whose SIZ says 12 is refused before it is decoded otherwise."""
    data = bytearray(encoded(Image.fromarray(RGB16[..., 0]), "JPEG2000", no_jp2=True))
    data[data.index(b"\xff\x51") + 40] = 11
    (tmp_path / "a.j2k").write_bytes(data)
    assert "12-bit" in refusal(tmp_path / "a.j2k")
    refusal(tmp_path / "a.j2k", convert=True)


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_avif_of_more_than_8_bits(tmp_path, bits):
    if not cv2.haveImageWriter("a.avif"):
        pytest.skip("this OpenCV writes no AVIF")
    levels = SMOOTH.astype(np.uint16 if bits > 8 else np.uint8) << (bits - 8)
    path = tmp_path / "a.avif"
    options = [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 100]
    assert cv2.imwrite(str(path), levels[..., ::-1], options)
    if bits > 8:
        assert f"{bits}-bit" in refusal(path)
    picture = read_image(path, convert=True)
    assert (picture.pixels.int() - tensor(SMOOTH).int()).abs().float().mean() < 3
    assert picture.notes == ((f"{bits}-bit levels scaled to 8 bits",) if bits > 8 else ())


def test_sgi_of_16_bits_is_refused(tmp_path):
    (tmp_path / "a.sgi").write_bytes(encoded(Image.fromarray(SMOOTH), "SGI", bpc=2))
    assert "16-bit" in refusal(tmp_path / "a.sgi")
    assert "cannot be converted" in refusal(tmp_path / "a.sgi", convert=True)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_is_turned_as_it_says(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": "4:4:4", "exif": exif}
    path = saved(tmp_path / "a.avif", Image.fromarray(SMOOTH), **options)
    upright = tensor(ImageOps.exif_transpose(Image.open(path)))
    picture = read_image(path)
    assert torch.equal(picture.pixels, upright)
    assert picture.pixels.shape[1:] == ((61, 47) if orientation > 4 else (47, 61))


def heic(pixels, **options):
    pillow_heif = pytest.importorskip("pillow_heif")
    deep = pixels.dtype == np.uint16
    mode = {3: "RGB", 4: "RGBA"}[pixels.shape[2]] + (";16" if deep else "")
    file = pillow_heif.from_bytes(mode, pixels.shape[1::-1], pixels.tobytes())
    for more in options.pop("others", ()):
        file.add_frombytes("RGB", more.shape[1::-1], more.tobytes())
    out = io.BytesIO()
    file.save(out, quality=-1, chroma=444, **options)
    return out.getvalue()


def test_heic(tmp_path):
    path = tmp_path / "a.heic"
    path.write_bytes(heic(SMOOTH))
    picture = read_image(path)
    assert (picture.pixels.int() - tensor(SMOOTH).int()).abs().max() <= 2
    assert picture.notes == ()
    for share in (0.05, 0.3, 0.6, 0.9):
        path.write_bytes(heic(SMOOTH)[: int(len(heic(SMOOTH)) * share)])
        assert "damaged or truncated" in refusal(path)


def test_heic_of_10_bits(tmp_path):
    path = tmp_path / "a.heic"
    path.write_bytes(heic(SMOOTH.astype(np.uint16) * 257))
    assert "10-bit" in refusal(path)
    picture = read_image(path, convert=True)
    assert (picture.pixels.int() - tensor(SMOOTH).int()).abs().max() <= 2
    assert picture.notes == ("10-bit levels scaled to 8 bits",)


def test_heic_with_alpha_and_with_several_pictures(tmp_path):
    path = tmp_path / "a.heic"
    alpha = np.full((47, 61), 255, np.uint8)
    path.write_bytes(heic(np.dstack([SMOOTH, alpha])))
    assert "opaque everywhere" in read_image(path).notes[0]
    path.write_bytes(heic(np.dstack([SMOOTH, alpha // 2])))
    assert "transparent" in refusal(path)
    path.write_bytes(heic(SMOOTH, others=[255 - SMOOTH], primary_index=1))
    picture = read_image(path)
    assert picture.notes == ("primary image of 2 used",)
    assert (picture.pixels.int() - tensor(255 - SMOOTH).int()).abs().max() <= 2


def test_heic_is_turned_as_it_says(tmp_path):
    """A quarter turn in the file's own box irot (ISO/IEC 23008-12, 6.5.10), put in for clap."""
    pytest.importorskip("pillow_heif")
    path = tmp_path / "a.heic"
    wide = np.repeat(np.repeat(SMOOTH[:32, :48], 2, axis=0), 2, axis=1)  # (64, 96): no crop
    data = heic(wide)
    assert b"clap" not in data
    box = struct.pack(">I4s", 9, b"irot") + b"\x01"
    # A property more in ipco, and an index more in ipma; every box around them grows.
    ipco, ipma = data.index(b"ipco") - 4, data.index(b"ipma") - 4
    size = int.from_bytes(data[ipco : ipco + 4], "big")
    properties, at = 0, ipco + 8
    while at < ipco + size:
        at += int.from_bytes(data[at : at + 4], "big")
        properties += 1
    count = ipma + 4 + 4 + 4 + 4 + 2  # of associations of the first item
    made = bytearray(data)
    made[count] += 1
    end = ipma + int.from_bytes(data[ipma : ipma + 4], "big")
    made[end:end] = bytes([0x80 | (properties + 1)])
    made[ipco + size : ipco + size] = box
    for name, more in ((b"ipma", 1), (b"ipco", 9), (b"iprp", 10), (b"meta", 10)):
        start = made.index(name) - 4
        grown = int.from_bytes(made[start : start + 4], "big") + more
        made[start : start + 4] = struct.pack(">I", grown)
    place = data.index(b"mdat") + 4
    iloc = made.index(struct.pack(">I", place), made.index(b"iloc"))
    made[iloc : iloc + 4] = struct.pack(">I", place + 10)
    path.write_bytes(made)
    picture = read_image(path)
    upright = np.rot90(wide)  # anti-clockwise
    assert picture.pixels.shape == (3, 96, 64)
    assert (picture.pixels.int() - tensor(upright).int()).abs().max() <= 3


@pytest.mark.parametrize("coded", [b"\0\x09\0\x10", b"\0\x01\0\x0d", b"\0\x01\0\x08"])
@pytest.mark.parametrize("to_the_end", [False, True])
def test_boxes_of_any_length(coded, to_the_end):
    """ISO/IEC 14496-12, 4.2: a length of 64 bits, and 0 for a box that ends with the file."""
    words = {b"\0\x09\0\x10": "BT.2020, PQ", b"\0\x01\0\x0d": None, b"\0\x01\0\x08": "linear"}
    colr = struct.pack(">I4s4s", 19, b"colr", b"nclx") + coded + b"\0\x01\x80"
    long = struct.pack(">I4sQ", 1, b"free", 24) + b"colrnclx"
    meta = struct.pack(">I4s", 0 if to_the_end else 8 + len(colr), b"meta") + colr
    more = b"" if to_the_end else struct.pack(">I4s", 8, b"free")
    assert containers.coded_colours(long + meta + more) == words[coded]


def test_heic_without_its_extra(tmp_path, monkeypatch):
    pillow.heif.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    assert "pip install 'iqattack[heic]'" in refusal(tmp_path / "a.heic")


def srgb_profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
def test_srgb_is_silent_and_other_profiles_are_said(tmp_path, kind):
    srgb = srgb_profile()
    image = Image.fromarray(SMOOTH)
    (tmp_path / "a").write_bytes(encoded(image, kind, icc_profile=srgb))
    assert read_image(tmp_path / "a").notes == ()
    # Red and blue colorants exchanged: the tags' names in the table of the profile.
    other = srgb.replace(b"rXYZ", b"tXYZ").replace(b"bXYZ", b"rXYZ").replace(b"tXYZ", b"bXYZ")
    (tmp_path / "a").write_bytes(encoded(image, kind, icc_profile=other))
    with_profile = read_image(tmp_path / "a")
    assert with_profile.notes == ("colour profile not applied: sRGB built-in",)
    (tmp_path / "a").write_bytes(encoded(image, kind, icc_profile=b"no profile" * 20))
    assert read_image(tmp_path / "a").notes == ("colour profile not applied: damaged",)
    (tmp_path / "a").write_bytes(encoded(image, kind))
    assert torch.equal(read_image(tmp_path / "a").pixels, with_profile.pixels)


@pytest.mark.parametrize(
    ("chunk", "payload", "note"),
    [
        (b"gAMA", struct.pack(">I", 45455), None),
        (b"gAMA", struct.pack(">I", 100000), "PNG's gamma 1 (gAMA) not applied"),
        (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000), None),
        (
            b"cHRM",
            struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000),
            "PNG's primaries (cHRM) not applied",
        ),
    ],
)
def test_png_chunks_of_colour(tmp_path, chunk, payload, note):
    def box(name, content):
        return (
            struct.pack(">I", len(content)) + name + content
            + struct.pack(">I", zlib.crc32(name + content))
        )  # fmt: skip

    data = FILES["PNG"]
    (tmp_path / "a.png").write_bytes(data[:33] + box(chunk, payload) + data[33:])
    picture = read_image(tmp_path / "a.png")
    assert torch.equal(picture.pixels, tensor(SMOOTH))
    assert picture.notes == (() if note is None else (note,))
    srgb = box(b"sRGB", b"\0")
    (tmp_path / "a.png").write_bytes(data[:33] + srgb + box(chunk, payload) + data[33:])
    assert read_image(tmp_path / "a.png").notes == ()


def test_coded_colours_of_avif(tmp_path):
    data = FILES["AVIF"]
    at = data.index(b"colrnclx") + 8
    wide = data[:at] + struct.pack(">HH", 12, 16) + data[at + 4 :]
    (tmp_path / "a.avif").write_bytes(wide)
    assert read_image(tmp_path / "a.avif").notes == ("colour space not applied: Display P3, PQ",)


def test_first_frame_of_avif(tmp_path):
    frames = [Image.new("RGB", (16, 8), colour) for colour in ("red", "blue")]
    path = tmp_path / "a.avif"
    frames[0].save(path, save_all=True, append_images=frames[1:], quality=100)
    picture = read_image(path)
    assert picture.notes == ("first of 2 frames used",)
    assert (picture.pixels[0] >= 250).all()
    assert (picture.pixels[2] <= 5).all()


def test_the_profile_of_a_jp2_file(tmp_path):
    """Its colr box with an ICC profile, by method 2 (ISO/IEC 15444-1, I.5.3.3)."""
    data = FILES["JPEG2000"]
    old = struct.pack(">I4sBBBI", 15, b"colr", 1, 0, 0, 16)
    other = srgb_profile().replace(b"rXYZ", b"tXYZ").replace(b"bXYZ", b"rXYZ")
    other = other.replace(b"tXYZ", b"bXYZ")
    for profile, notes in (
        (srgb_profile(), ()),
        (other, ("colour profile not applied: sRGB built-in",)),
    ):
        new = struct.pack(">I4sBBB", 11 + len(profile), b"colr", 2, 0, 0) + profile
        at = data.index(b"jp2h") - 4
        size = int.from_bytes(data[at : at + 4], "big") + len(new) - len(old)
        made = data[:at] + struct.pack(">I", size) + data[at + 4 :].replace(old, new, 1)
        (tmp_path / "a.jp2").write_bytes(made)
        picture = read_image(tmp_path / "a.jp2")
        assert picture.notes == notes
        assert torch.equal(picture.pixels, tensor(SMOOTH))


def test_switches_of_pillow_do_not_change_what_is_written(monkeypatch):
    pixels = torch.from_numpy(RNG.integers(0, 256, (3, 300, 300), dtype=np.uint8))
    expected = encode_png(pixels)
    monkeypatch.setattr(ImageFile, "MAXBLOCK", 1 << 20)
    assert encode_png(pixels) == expected


def test_a_file_that_is_far_too_large_is_never_read(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(2**40)
    said = refusal(path)
    assert "is too large (1,099,511,627,776 bytes), expected an image of at most" in said
    path = saved(path, Image.fromarray(RGB))

    def full(_path):
        raise MemoryError

    monkeypatch.setattr(Path, "read_bytes", full)
    assert "is too large for the free memory" in refusal(path)


def test_a_file_of_size_0_is_never_opened(tmp_path, monkeypatch):
    """As those of /proc are, which may block."""
    (tmp_path / "a.png").touch()

    def opened(*_args, **_options):
        raise AssertionError

    monkeypatch.setattr(Path, "open", opened)
    assert "is an empty file" in refusal(tmp_path / "a.png")


def test_a_folder_is_no_image(tmp_path):
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.parametrize("bits", [1, 4, 8, 24])
def test_a_dib_without_a_file_header(tmp_path, bits):
    mode = {1: "1", 4: "P", 8: "L", 24: "RGB"}[bits]
    image = Image.fromarray(SMOOTH).convert(mode)
    if bits == 4:
        image = Image.fromarray(SMOOTH).quantize(16)
    data = encoded(image, "DIB")
    assert not data.startswith(b"BM")
    (tmp_path / "a.dib").write_bytes(data)
    assert torch.equal(read_image(tmp_path / "a.dib").pixels, tensor(image.convert("RGB")))
    (tmp_path / "a.dib").write_bytes(data[: len(data) // 2])
    assert "damaged or truncated" in refusal(tmp_path / "a.dib")


def jpeg(*, progressive, restart=0, mode="RGB", **options):
    image = Image.fromarray(SMOOTH).convert(mode)
    if mode == "CMYK":
        image = Image.merge("CMYK", [*Image.fromarray(SMOOTH).split(), image.getchannel(0)])
    options = options | {"progressive": progressive, "restart_marker_blocks": restart}
    return encoded(image, "JPEG", **options)


EARLY = "its data end before the picture does, and the rest is filled in"


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_jpeg_that_is_cut_before_its_end_mark_is_noted(tmp_path, progressive, mode, share):
    data = jpeg(progressive=progressive, mode=mode)
    header = data.rfind(b"\xff\xda") + 2
    start = header + int.from_bytes(data[header : header + 2], "big")  # of the last coded data
    cut = data[: start + int(share * (len(data) - 2 - start))].rstrip(b"\xff") + b"\xff\xd9"
    (tmp_path / "a.jpg").write_bytes(cut)
    read = read_image(tmp_path / "a.jpg", convert=True)
    assert EARLY in read.notes
    quick = read_image(tmp_path / "a.jpg", convert=True, endings=False)
    assert EARLY not in quick.notes and torch.equal(quick.pixels, read.pixels)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("restart", [0, 1, 3])
@pytest.mark.parametrize("quality", [1, 75, 100])
@pytest.mark.parametrize("more", [b"", b"\0" * 5000, b"\xff\xd8\xff\xd9"])
def test_a_whole_jpeg_is_never_noted(tmp_path, progressive, restart, quality, more):
    for mode in ("RGB", "L", "CMYK"):
        data = jpeg(progressive=progressive, restart=restart, quality=quality, mode=mode)
        (tmp_path / "a.jpg").write_bytes(data + more)
        assert EARLY not in read_image(tmp_path / "a.jpg", convert=True).notes
    first, second = Image.fromarray(SMOOTH), Image.fromarray(SMOOTH[::-1].copy())
    first.save(tmp_path / "a.mpo", save_all=True, append_images=[second])
    assert EARLY not in read_image(tmp_path / "a.mpo").notes


def test_an_orientation_that_is_a_fraction_is_shown_as_a_whole_number(tmp_path):
    rational = struct.pack(">HHHLLLLL", 1, 0x0112, 5, 1, 26, 0, 6, 1)
    block = b"Exif\0\0MM\0*" + struct.pack(">L", 8) + rational
    path = saved(tmp_path / "a.jpg", Image.fromarray(SMOOTH), exif=block)
    (note,) = read_image(path).notes
    assert note == "rotated upright from EXIF orientation 6"


@pytest.mark.parametrize("at", [0.02, 0.3, 0.6, 0.95])
def test_a_changed_byte_of_a_png_is_damage(tmp_path, at):
    data = bytearray(FILES["PNG"])
    data[int(at * len(data))] ^= 0x10
    (tmp_path / "a.png").write_bytes(data)
    assert "damaged or truncated" in refusal(tmp_path / "a.png")

"""Reading and writing pictures."""

import errno
import io
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from iqattack.errors import InputError
from iqattack.images import read_image, write_png

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


def test_float_and_32_bit_have_no_known_white(tmp_path):
    for mode, bits in (("F", 32), ("I", 32)):
        image = Image.fromarray(RGB).convert("L").convert(mode)
        path = saved(tmp_path / f"{mode}.tif", image)
        assert f"{bits}-bit" in refusal(path)
        assert "cannot be converted" in refusal(path, convert=True)


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
    assert torch.equal(picture.pixels, tensor(image.resize(expected, Image.LANCZOS)))
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
    assert torch.equal(picture.pixels, tensor(upright.resize(size, Image.LANCZOS)))
    assert ["orientation" in note for note in picture.notes] == [True, False]
    assert picture.notes[1].startswith(f"resized from {upright.width}×{upright.height} to")


def test_resize_comes_after_conversion(tmp_path):
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), RGB16[..., ::-1])
    assert "16-bit" in refusal(path, resize=6)
    picture = read_image(path, convert=True, resize=6)
    small = Image.fromarray(rounded(RGB16, 65535)).resize((6, 4), Image.LANCZOS)
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
    assert "first of 3 frames taken" in picture.notes
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
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    assert "too large" in refusal(path)


FILES = {
    "PNG": encoded(Image.fromarray(SMOOTH), "PNG"),
    "JPEG": encoded(Image.fromarray(SMOOTH), "JPEG"),
    "BMP": encoded(Image.fromarray(SMOOTH), "BMP"),
    "TIFF": encoded(Image.fromarray(SMOOTH), "TIFF"),
    "WEBP": encoded(Image.fromarray(SMOOTH), "WEBP"),
    "PPM": encoded(Image.fromarray(SMOOTH), "PPM"),
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


def test_photographs_survive_the_round_trip(tmp_path, shared):
    source = Path(shared) / "kodak" / "01.png"
    picture = read_image(source)
    assert picture.pixels.shape == (3, 512, 768)
    write_png(tmp_path / "a.png", picture.pixels)
    assert torch.equal(read_image(tmp_path / "a.png").pixels, picture.pixels)

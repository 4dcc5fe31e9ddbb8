"""Colour spaces declared in image files. Levels are always read as sRGB; other spaces are noted."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np

from iqattack.pillow import Image, ImageCms, features

_STEPS = 9  # levels of each channel at which a profile is compared with sRGB
_NEAR = 3  # levels by which curves stored as tables, and roundings, differ from sRGB's formula
# ITU-R BT.709: white, red, green, blue; of PNG's cHRM.
_SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)


def ignored_colours(image: Image.Image, coded: str | None = None) -> str | None:
    """A note on the declared colour space; None for sRGB, or if none is declared.

    coded: the colour space that an AVIF or HEIF file declares by code points.
    """
    profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and profile:
        name = _other_than_srgb(profile)
        return None if name is None else f"colour profile not applied: {name}"
    if coded is not None:
        return f"colour space not applied: {coded}"
    if image.format != "PNG" or "srgb" in image.info:
        return None
    odd = []
    gamma = image.info.get("gamma")
    if gamma is not None and abs(float(gamma) - 1 / 2.2) > 0.005:
        odd.append(f"gamma {float(gamma):.4g} (gAMA)")
    primaries = image.info.get("chromaticity")
    if primaries is not None and not np.allclose(primaries, _SRGB, rtol=0, atol=0.002):
        odd.append("primaries (cHRM)")
    return f"PNG's {' and '.join(odd)} not applied" if odd else None


@lru_cache(maxsize=64)
def _other_than_srgb(profile: bytes) -> str | None:
    """The name of an ICC profile; None if applying it would change no level by more than 3."""
    if not features.check("littlecms2"):
        return None if b"sRGB" in profile else "of unknown kind"
    try:
        opened = ImageCms.ImageCmsProfile(BytesIO(profile))
        name = " ".join((opened.profile.profile_description or "").split())[:60] or "without a name"
        space = opened.profile.xcolor_space.strip()
        mode = {"RGB": "RGB", "GRAY": "L"}.get(space)
        if mode is None:
            return f"{name} ({space})"
        levels = np.linspace(0, 255, _STEPS).astype(np.uint8)
        cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(_STEPS, -1, 3)
        colours = Image.fromarray(cube if mode == "RGB" else cube[..., 0].copy())
        applied = ImageCms.profileToProfile(
            colours,
            opened,
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return "damaged"
    if applied is None:
        return name
    difference = np.asarray(applied, np.int16) - np.asarray(colours.convert("RGB"), np.int16)
    return None if np.abs(difference).max() <= _NEAR else name

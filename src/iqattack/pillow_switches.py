"""Process-wide switches of Pillow, which models change, held at their defaults while we read."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from PIL import (
    AvifImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    _deprecate,
)

PIXELS = 1024 * 1024 * 1024 // 4 // 3  # Pillow's own limit, of which it allows the double


class _Quiet:
    """Stands for the module `warnings`: gives none, so that filters decide nothing.

    Changing the filters instead, also with `catch_warnings`, would change them for other threads.
    """

    def warn(self, *_args: object, **_options: object) -> None:
        """Nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)


_QUIET = _Quiet()
_WARNING = (
    Image,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    _deprecate,
)
Place = tuple[ModuleType, str, Any]  # module, name, and the value that we want

SWITCHES: tuple[Place, ...] = (
    (ImageFile, "LOAD_TRUNCATED_IMAGES", False),
    (ImageFile, "MAXBLOCK", 65536),
    (ImageFile, "SAFEBLOCK", 1024 * 1024),
    (Image, "MAX_IMAGE_PIXELS", PIXELS),
    (GifImagePlugin, "LOADING_STRATEGY", GifImagePlugin.LoadingStrategy.RGB_AFTER_FIRST),
    (TiffImagePlugin, "READ_LIBTIFF", False),
    (PngImagePlugin, "MAX_TEXT_CHUNK", 1024 * 1024),
    (PngImagePlugin, "MAX_TEXT_MEMORY", 64 * 1024 * 1024),
    (AvifImagePlugin, "DECODE_CODEC_CHOICE", "auto"),
)
_HELD: tuple[Place, ...] = (
    *SWITCHES,
    *((module, "warnings", _QUIET) for module in _WARNING if hasattr(module, "warnings")),
)

_lock = threading.Lock()
_readers = 0
_found: list[Any] = [None] * len(_HELD)


@contextmanager
def default_switches() -> Iterator[None]:
    """Within, in every thread, Pillow reads and writes as it does by default and gives no warnings.

    Readers may overlap: the last one puts back what the first one found, unless it was changed in
    the meantime.
    """
    global _readers  # noqa: PLW0603 - the switches are the process's, and so is their count
    with _lock:
        for index, (module, name, ours) in enumerate(_HELD):
            now = getattr(module, name)
            if _readers == 0 or now != ours:
                _found[index] = now
            setattr(module, name, ours)
        _readers += 1
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if _readers == 0:
                for (module, name, ours), found in zip(_HELD, _found, strict=True):
                    if getattr(module, name) == ours:
                        setattr(module, name, found)


def outside(index: int) -> Any:
    """What a switch of SWITCHES is where nothing is being read."""
    module, name, ours = SWITCHES[index]
    with _lock:
        now = getattr(module, name)
        return _found[index] if _readers and now == ours else now


def set_outside(index: int, value: Any) -> None:
    """Change it there; what is being read goes on as it was."""
    module, name, ours = SWITCHES[index]
    with _lock:
        if _readers:
            _found[index] = value
        setattr(module, name, ours if _readers else value)

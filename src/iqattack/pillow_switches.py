"""Process-wide switches of Pillow, which models change, held at their defaults while we read."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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


class _Items:
    """A table of Pillow's, whose entries are attributes here: None where there is none."""

    def __init__(self, table: dict[str, Any]) -> None:
        object.__setattr__(self, "table", table)

    def __getattr__(self, name: str) -> Any:
        return self.table.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if value is None:
            self.table.pop(name, None)
        else:
            self.table[name] = value


def _present(owner: Any, *names: str) -> Iterator[Place]:
    """Places that are to stay as they are when this is imported, before any model."""
    for name in names:
        yield owner, name, getattr(owner, name)


Image.preinit()
CODECS = ("zip", "jpeg", "raw")  # None, unless a package has put its own there
Place = tuple[Any, str, Any]  # owner, name, and the value that we want
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
    *_present(Image.Image, "save", "convert", "transpose", "resize"),
    *_present(Image, "open", "fromarray"),
    *_present(_Items(Image.SAVE), "PNG", "JPEG"),
    *_present(_Items(Image.OPEN), "PNG", "JPEG"),
    *_present(_Items(Image.ENCODERS), *CODECS),
    *_present(_Items(Image.DECODERS), *CODECS),
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


NAMES = tuple(name for _, name, _ in SWITCHES)
# Looked up for each call of a model, so directly.
_TABLES = tuple(
    (owner.table if isinstance(owner, _Items) else vars(owner)).get for owner, _, _ in SWITCHES
)


def outside() -> tuple[Any, ...]:
    """What the switches are where nothing is being read."""
    with _lock:
        found = [get(name) for get, name in zip(_TABLES, NAMES, strict=True)]
        if _readers:
            for index, (_, _, ours) in enumerate(SWITCHES):
                if found[index] == ours:
                    found[index] = _found[index]
        return tuple(found)


def set_outside(values: tuple[Any, ...]) -> None:
    """Change them there; what is being read goes on as it was."""
    with _lock:
        if _readers:
            _found[: len(values)] = values
        for (owner, name, ours), value in zip(SWITCHES, values, strict=True):
            setattr(owner, name, ours if _readers else value)

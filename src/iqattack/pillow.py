"""A private copy of Pillow: its modules loaded a second time, which no other code in the process
changes.

How Pillow decodes and encodes depends on attributes of its modules, on tables and on methods. A
model may set those of `PIL` for the whole process at any moment, such as while another thread is
decoding. Only compiled modules are shared with it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = [
    "AvifImagePlugin",
    "BmpImagePlugin",
    "GifImagePlugin",
    "Image",
    "ImageCms",
    "ImageFile",
    "Jpeg2KImagePlugin",
    "JpegImagePlugin",
    "MpoImagePlugin",
    "PcxImagePlugin",
    "PngImagePlugin",
    "PpmImagePlugin",
    "QoiImagePlugin",
    "SgiImagePlugin",
    "TgaImagePlugin",
    "TiffImagePlugin",
    "WebPImagePlugin",
    "features",
    "heif",
]

MODULES = tuple(name for name in __all__ if name[0].isupper())
_COMPILED = ("_avif", "_imaging", "_imagingcms", "_imagingmath", "_webp")


class _Quiet:
    """Replaces the module `warnings` and gives none, so that filters have no effect."""

    def warn(self, *_args: object, **_options: object) -> None:
        """Nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)


@cache
def heif() -> ModuleType:
    """A private copy of pillow_heif; ImportError if it is not installed."""
    return _copy("pillow_heif")


def _copy(name: str, compiled: Iterable[str] = ()) -> ModuleType:
    """Load a package under another name. compiled: modules shared with the original."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise ImportError(f"{name} is not installed")
    own = f"iqattack._{name}"
    spec = importlib.util.spec_from_file_location(
        own, found.origin, submodule_search_locations=found.submodule_search_locations
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{found.origin}: cannot be loaded")
    package = importlib.util.module_from_spec(spec)
    for shared in compiled:
        with suppress(ImportError):  # not every build of Pillow has all of them
            sys.modules[f"{own}.{shared}"] = importlib.import_module(f"{name}.{shared}")
    sys.modules[own] = package
    spec.loader.exec_module(package)
    return package


def _pillow() -> dict[str, ModuleType]:
    own = _copy("PIL", _COMPILED).__name__
    modules = {name: importlib.import_module(f"{own}.{name}") for name in (*MODULES, "features")}
    quiet = _Quiet()
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{own}.") and getattr(module, "warnings", None) is warnings:
            module.warnings = quiet  # type: ignore[attr-defined]
    return modules


if TYPE_CHECKING:
    from PIL import (
        AvifImagePlugin,
        BmpImagePlugin,
        GifImagePlugin,
        Image,
        ImageCms,
        ImageFile,
        Jpeg2KImagePlugin,
        JpegImagePlugin,
        MpoImagePlugin,
        PcxImagePlugin,
        PngImagePlugin,
        PpmImagePlugin,
        QoiImagePlugin,
        SgiImagePlugin,
        TgaImagePlugin,
        TiffImagePlugin,
        WebPImagePlugin,
        features,
    )
else:
    globals().update(_pillow())

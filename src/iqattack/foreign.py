"""What users name in specs of attacks and defences: something of a package, a file or a module."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from iqattack import plugins
from iqattack.errors import InputError, unknown
from iqattack.imports import file_of, import_named, looks_imported, split
from iqattack.isolation import guest
from iqattack.options import code_of


@dataclass(frozen=True)
class Named:
    """An imported object. name: as in a canonical spec, with an absolute path; given: the text of
    its options; file: of its code, if known; source: the file, module or entry point.
    """

    name: str
    value: Any
    given: str
    file: Path | None
    source: str


def find_named(
    kind: Literal["attack", "defence"], spec: str, known: Collection[str], expected: str
) -> Named:
    """Import what a spec names that is not built in.

    known: names of the built-in ones, for messages; expected: what a file should have, likewise.

    Raises InputError if it does not exist or cannot be imported.
    """
    group: plugins.Group = "iqattack.attacks" if kind == "attack" else "iqattack.defences"
    points = plugins.installed(group)
    installed, _, options = spec.partition(":")  # a package's own name may have dots
    name, given = split(spec)
    if installed in points:
        with guest():
            value = plugins.load(points[installed])
        file = file_of(code_of(value)) if callable(value) else None
        return Named(installed, value, options, file, points[installed].value)
    if looks_imported(name):
        source, _, wanted = name.partition(":")
        with guest():
            there = import_named(kind, source, wanted)
        return Named(there.spec, there.value, given, there.file, source)
    if spec.endswith(".py"):
        raise InputError(f"{kind} '{spec}': expected FILE.py:name, {expected}")
    raise unknown(kind, name, [*known, *points, "FILE.py:name", "package.module:name"])

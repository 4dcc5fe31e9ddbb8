"""Plugins of other installed packages: entry points in our groups.

A package declares, for example, `[project.entry-points."iqattack.models"]` with `mine =
"package:load"` in its pyproject.toml.
"""

from __future__ import annotations

from collections.abc import Container
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal

from iqattack.errors import InputError, one_line

Group = Literal["iqattack.attacks", "iqattack.models", "iqattack.defences"]


def installed(group: Group) -> dict[str, EntryPoint]:
    """The entry points of a group, by name."""
    return {point.name: point for point in entry_points(group=group)}


def trusted(point: EntryPoint) -> bool:
    """Whether its distribution was installed: one in or below the working folder, outside any
    package folder, may just have been unpacked there.
    """
    if point.dist is None:
        return False
    where = Path(str(point.dist.locate_file(""))).resolve()
    if {"site-packages", "dist-packages"} & set(where.parts):
        return True
    here = Path.cwd().resolve()
    return where != here and here not in where.parents


def hidden(group: Group, built_in: Container[str]) -> list[str]:
    """A phrase for each entry point that is hidden by a built-in one of the same name."""
    return [
        f"'{name}' of the package '{package(point)}' is hidden by the built-in one; use "
        f"{point.value}"
        for name, point in sorted(installed(group).items())
        if name in built_in
    ]


def package(point: EntryPoint) -> str:
    """The distribution of an entry point, or its value if that is unknown."""
    return point.value if point.dist is None else point.dist.name


def load(point: EntryPoint) -> Any:
    """Load an entry point; InputError if it cannot be imported."""
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        raise InputError(
            f"'{point.name}' of the package '{package(point)}' cannot be imported: "
            f"{one_line(error)}"
        ) from error

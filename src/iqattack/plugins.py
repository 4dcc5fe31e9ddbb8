"""What other installed packages add: entry points in groups of their own.

A package says, for example, `[project.entry-points."iqattack.models"]` and `mine = "package:load"`
in its pyproject.toml.
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
    """Whether somebody installed its distribution: one that lies in or below the working folder,
    and in no folder for packages, may just have been unpacked there.
    """
    if point.dist is None:
        return False
    where = Path(str(point.dist.locate_file(""))).resolve()
    if {"site-packages", "dist-packages"} & set(where.parts):
        return True
    here = Path.cwd().resolve()
    return where != here and here not in where.parents


def hidden(group: Group, built_in: Container[str]) -> list[str]:
    """A phrase for each entry point that cannot be reached, as what is built in has its name."""
    return [
        f"'{name}' of the package '{package(point)}' is hidden by the built-in one: "
        f"give {point.value}"
        for name, point in sorted(installed(group).items())
        if name in built_in
    ]


def package(point: EntryPoint) -> str:
    """The distribution that an entry point comes from, or its value where that is unknown."""
    return point.value if point.dist is None else point.dist.name


def load(point: EntryPoint) -> Any:
    """What an entry point names; InputError where it does not import."""
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        raise InputError(
            f"'{point.name}' of the package '{package(point)}' does not import: {one_line(error)}"
        ) from error

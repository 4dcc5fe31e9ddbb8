"""What other installed packages add: entry points in groups of their own.

A package says, for example, `[project.entry-points."iqattack.models"]` and `mine = "package:load"`
in its pyproject.toml.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from iqattack.errors import InputError, one_line

Group = Literal["iqattack.attacks", "iqattack.models", "iqattack.defences"]


def installed(group: Group) -> dict[str, EntryPoint]:
    """The entry points of a group, by name."""
    return {point.name: point for point in entry_points(group=group)}


def load(point: EntryPoint) -> Any:
    """What an entry point names; InputError where it does not import."""
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        package = point.dist.name if point.dist is not None else point.value
        raise InputError(
            f"'{point.name}' of the package '{package}' does not import: {one_line(error)}"
        ) from error

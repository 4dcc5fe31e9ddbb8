"""Dotted paths into JSON: `choices.0.message.content`, with a * for every element of a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

EACH = "*"


class PathError(LookupError):
    """A path does not exist; the message has the part that does, and what is there."""


def find(value: Any, path: str) -> Any:
    """The value at a path; a list for a path with a *. The empty path is the whole value."""
    return _find(value, path.split(".") if path else [], "")


def _find(value: Any, keys: Sequence[str], at: str) -> Any:
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    where = f"'{at}'" if at else "the answer"
    if isinstance(value, dict) and key in value:
        return _find(value[key], rest, f"{at}.{key}".lstrip("."))
    if isinstance(value, list) and key == EACH:
        return [_find(one, rest, f"{at}.{n}".lstrip(".")) for n, one in enumerate(value)]
    if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
        return _find(value[int(key)], rest, f"{at}.{key}".lstrip("."))
    if isinstance(value, dict):
        raise PathError(f"no '{key}' in {where}, which has {', '.join(map(str, value)) or 'none'}")
    if isinstance(value, list):
        raise PathError(f"no '{key}' in {where}, a list of {len(value)}")
    raise PathError(f"no '{key}' in {where}, {_kind(value)}")


def placed(template: Any, path: str, values: Sequence[Any]) -> Any:
    """A copy of a JSON template with the first of the values at a path, or one per element at a *.

    Missing parents are created: lists for numbers, objects for names. A * becomes a list with one
    element per value, each a copy of the template's first. Raises PathError for a path through
    anything else, and for a gap in a list.
    """
    return _placed(template, path.split("."), values)


def _placed(node: Any, keys: Sequence[str], values: Sequence[Any]) -> Any:
    if not keys:
        return values[0]
    key, rest = keys[0], keys[1:]
    if key == EACH and isinstance(node, list | None):
        model = node[0] if node else None
        return [_placed(model, rest, [value]) for value in values]
    if key.isdecimal() and isinstance(node, list | None):
        items, index = list(node or []), int(key)
        if index > len(items):
            raise PathError(f"no element {index} in a list of {len(items)}")
        items[index:] = [
            _placed(items[index] if index < len(items) else None, rest, values),
            *items[index + 1 :],
        ]
        return items
    if isinstance(node, dict | None):
        node = node or {}
        return node | {key: _placed(node.get(key), rest, values)}
    raise PathError(f"no '{key}' in {_kind(node)}")


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "a list"
    return "null" if value is None else "a string" if isinstance(value, str) else "a number"

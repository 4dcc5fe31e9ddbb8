"""Specs of defences as text alone: nothing that they name is imported."""

from __future__ import annotations

from pathlib import Path

from iqattack.catalogue.defences import DEFENCES
from iqattack.imports import option_texts, split


def parts_of(spec: str) -> list[str]:
    """The defences of `jpeg:75+mine.py:purify`, one each; a path's own + stays in it."""
    parts: list[str] = []
    for piece in spec.split("+"):
        if parts and _in_path(parts[-1]):
            parts[-1] += f"+{piece}"
        else:
            parts.append(piece)
    return parts


def _in_path(part: str) -> bool:
    """Whether a part is the beginning of a path that goes on after a +."""
    return "/" in part.partition(":")[0] and ".py:" not in part and not part.endswith(".py")


def is_built_in(part: str) -> bool:
    """Whether one defence ships with the package; all others are code that somebody names."""
    return part.partition(":")[0] in DEFENCES


def with_options(name: str, texts: dict[str, str]) -> str:
    """A name with its options, in their order."""
    return ":".join(filter(None, (name, ",".join(f"{k}={v}" for k, v in sorted(texts.items())))))


def label_of(part: str) -> str:
    """What a defence that is not built in is called in names of models: paths without folders, so
    that neither the name nor random choices depend on where its files lie.
    """
    name, given = split(part)
    source, colon, function = name.partition(":")
    if source.endswith(".py"):
        name = f"{Path(source).name}{colon}{function}"
    texts = {
        option: Path(value).name if value.startswith("/") else value
        for option, value in option_texts(given).items()
    }
    return with_options(name, texts)

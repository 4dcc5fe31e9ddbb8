"""An extension of griffe that makes lists of parameters of our docstrings.

They are prose. A parameter is explained as `name: what it is.` or `one, other: what they are.`, at
the start of a line or after a full stop or a semicolon; `Raises InputError for …` ends many. A
session of Python, from `>>>` on, is an example.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import griffe

import iqattack

START = re.compile(r"(?:^|(?<=[.;)])\s+)(\w+(?:, \w+)*):\s+", re.MULTILINE)
# Where an explanation ends and prose goes on: these sentences, or a new one at the start of a line.
END = re.compile(r"(?:^|(?<=\.)\s+)(?=The rest (?:is )?as in |Raises |Returns )|(?<=\.)\n(?=[A-Z])")
RAISES = re.compile(r"^Raises (?=[A-Z]\w*Error\b)")
ERRORS = re.compile(r"(?:[,;]\s+(?:and\s+)?|\s+and\s+)(?=[A-Z]\w*Error\b)")
ERROR = re.compile(r"^([A-Z]\w*Error),?\s+(.*)$", re.DOTALL)
NAME = re.compile(r"`(?:iqattack\.)?(\w+)(?:\(\))?`")
EXAMPLE = re.compile(r"^>>> ")
LINKED = frozenset(iqattack.__all__) - {"api", "__version__"}


class Prose(griffe.Extension):
    """Gives docstrings of functions and classes their sections."""

    def on_function(
        self,
        *,
        func: griffe.Function,
        loader: griffe.GriffeLoader,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Parse a function's docstring, and show the values of constants as its defaults."""
        for item in func.parameters:
            item.default = _value(item.default, loader)
        if func.docstring:
            known = {item.name.lstrip("*"): item for item in func.parameters}
            _give(func, known, griffe.DocstringSectionParameters)

    def on_class(self, *, cls: griffe.Class, **kwargs: Any) -> None:  # noqa: ARG002
        """Parse a class's docstring; it explains the parameters of `__init__`, or the fields."""
        if cls.docstring:
            known: dict[str, Any] = {
                name: item for name, item in cls.members.items() if item.is_attribute
            }
            kind: Any = griffe.DocstringSectionAttributes
            made = cls.members.get("__init__")
            if isinstance(made, griffe.Function):
                known |= {item.name.lstrip("*"): item for item in made.parameters}
                kind = griffe.DocstringSectionParameters
            _give(cls, known, kind)


def _value(default: Any, loader: griffe.GriffeLoader) -> Any:
    """What a constant stands for, where a default is the name of one."""
    if not isinstance(default, griffe.ExprName | griffe.ExprAttribute):
        return default
    try:
        constant = loader.modules_collection[default.canonical_path]
        constant = constant.final_target if isinstance(constant, griffe.Alias) else constant
    except (KeyError, griffe.AliasResolutionError, griffe.CyclicAliasError):
        return default
    return (isinstance(constant, griffe.Attribute) and constant.value) or default


def _give(
    thing: griffe.Object, known: dict[str, Any], kind: Callable[..., griffe.DocstringSection]
) -> None:
    docstring = thing.docstring
    assert docstring is not None
    docstring.parsed = sections(docstring.value, known, kind, own=thing.name)


def sections(
    text: str,
    known: dict[str, Any],
    kind: Callable[..., griffe.DocstringSection] = griffe.DocstringSectionParameters,
    *,
    own: str = "",
) -> list[griffe.DocstringSection]:
    """The sections of a docstring: prose, explanations, exceptions, examples, in the order of the
    text.

    known: what may be explained, by name: griffe's parameters or attributes. kind: of the section
    of explanations, which is one and stands where the first of them does. own: the name of what
    the docstring is of, which is not linked.
    """
    found: list[griffe.DocstringSection] = []
    explained: list[griffe.DocstringParameter] = []
    for paragraph in re.split(r"\n\s*\n", text):
        if EXAMPLE.match(paragraph):
            found.append(_example(paragraph))
            continue
        for names, part in _parts(paragraph, known):
            if names:
                if not explained:
                    found.append(kind(explained))
                explained.append(_explanation(names, linked(part, known, own), known))
            elif RAISES.match(part):
                found.append(_errors(linked(part, known, own)))
            else:
                found.append(griffe.DocstringSectionText(linked(part, known, own)))
    return found


def _example(session: str) -> griffe.DocstringSection:
    """A session of Python, shown as one."""
    return griffe.DocstringSectionExamples(
        [(griffe.DocstringSectionKind.examples, session.strip())]
    )


def linked(text: str, known: dict[str, Any], own: str) -> str:
    """Text in which names of the public interface lead to what they name."""

    def link(found: re.Match[str]) -> str:
        name = found[1]
        if name not in LINKED or name in known or name == own:
            return found[0]
        return f"[{found[0]}][iqattack.{name}]"

    return NAME.sub(link, text)


def _parts(paragraph: str, known: dict[str, Any]) -> list[tuple[list[str], str]]:
    """Pieces of a paragraph: the names that each explains, none for prose, and its text."""
    starts = [
        found for found in START.finditer(paragraph) if set(found[1].split(", ")) <= known.keys()
    ]
    if not starts:
        return [([], piece) for piece in _before_raises(paragraph)]
    parts: list[tuple[list[str], str]] = []
    if paragraph[: starts[0].start()].strip():
        parts.append(([], paragraph[: starts[0].start()].strip()))
    ends = [found.start() for found in starts[1:]] + [len(paragraph)]
    for found, end in zip(starts, ends, strict=True):
        description, *rest = _split_once(paragraph[found.end() : end], END)
        parts.append((found[1].split(", "), re.sub(r"\s+", " ", description).strip().rstrip(";")))
        parts += [([], piece) for text in rest for piece in _before_raises(text)]
    return parts


def _before_raises(text: str) -> list[str]:
    """Prose, and apart from it what it says of exceptions."""
    return [
        part.strip()
        for part in re.split(r"(?:^|(?<=\.)\s+)(?=Raises [A-Z]\w*Error\b)", text)
        if part.strip()
    ]


def _split_once(text: str, pattern: re.Pattern[str]) -> list[str]:
    found = pattern.search(text)
    return [text] if found is None else [text[: found.start()], text[found.end() :]]


def _explanation(names: list[str], text: str, known: dict[str, Any]) -> griffe.DocstringParameter:
    """One entry; type and default are shown where all its names share them."""
    kinds = [known[name].annotation for name in names]
    same = all(str(kind) == str(kinds[0]) for kind in kinds)
    return griffe.DocstringParameter(
        ", ".join(names), description=text, annotation=kinds[0] if same else None
    )


def _errors(text: str) -> griffe.DocstringSection:
    """What is raised and when; prose where it is not written as a list of errors."""
    parts = [ERROR.match(part) for part in ERRORS.split(RAISES.sub("", text))]
    if not all(parts):
        return griffe.DocstringSectionText(text)
    raised = [
        griffe.DocstringRaise(annotation=part[1], description=re.sub(r"\s+", " ", part[2]))
        for part in parts
        if part
    ]
    return griffe.DocstringSectionRaises(raised)

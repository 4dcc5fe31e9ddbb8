"""The table of built-in attacks, with their functions."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from iqattack.attacks.options import ATTACKED, Gradients
from iqattack.catalogue.attacks import ATTACKS as TEXTS
from iqattack.catalogue.attacks import AttackText
from iqattack.options import defaults


@dataclass(frozen=True)
class AttackKind:
    """An attack in the table: its name, description in one line, source and function.

    text: its entry in the catalogue; only for built-in attacks.
    """

    name: str
    summary: str
    paper: str
    function: Callable[..., Any]  # see `of_set`
    text: AttackText | None = None

    @property
    def options(self) -> dict[str, object]:
        """The names and defaults of its options."""
        return defaults(self.function)

    @property
    def of_set(self) -> bool:
        """Whether its function attacks a set, not one image."""
        return self.text is not None and self.text.of_set

    @property
    def white_box(self) -> bool:
        """Whether it uses gradients of the attacked model, so it is not a black-box attack."""
        return Gradients(ATTACKED) in self.options.values()


def _built_in(text: AttackText) -> AttackKind:
    file, _, name = text.code.partition(":")
    function = getattr(importlib.import_module(f"iqattack.attacks.{file}"), name)
    return AttackKind(text.name, text.summary, text.paper, function, text)


ATTACKS: dict[str, AttackKind] = {name: _built_in(text) for name, text in TEXTS.items()}

"""Defences: what stands between whoever asks and a model, so that how well it holds is measured."""

from iqattack.defences.base import (
    Answers,
    Ask,
    Behind,
    Chain,
    Defence,
    Purifier,
    Randomised,
    Reshaping,
)
from iqattack.defences.jpeg import coded
from iqattack.defences.naming import is_built_in, parts_of
from iqattack.defences.own import files_of
from iqattack.defences.parse import KINDS, checked_chain, label, parse_defence, read_label
from iqattack.defences.smoothing import certified_bounds

__all__ = [
    "KINDS",
    "Answers",
    "Ask",
    "Behind",
    "Chain",
    "Defence",
    "Purifier",
    "Randomised",
    "Reshaping",
    "certified_bounds",
    "checked_chain",
    "coded",
    "files_of",
    "is_built_in",
    "label",
    "parse_defence",
    "parts_of",
    "read_label",
]

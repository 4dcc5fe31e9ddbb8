"""Defences: what stands between whoever asks and a model, so that how well it holds is measured."""

from iqattack.defences.base import Answers, Ask, Behind, Chain, Defence
from iqattack.defences.jpeg import coded
from iqattack.defences.parse import KINDS, parse_defence
from iqattack.defences.smoothing import certified_bounds

__all__ = [
    "KINDS",
    "Answers",
    "Ask",
    "Behind",
    "Chain",
    "Defence",
    "certified_bounds",
    "coded",
    "parse_defence",
]

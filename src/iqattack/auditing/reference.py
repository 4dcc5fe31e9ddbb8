"""Cards of reference models that ship with the package, for comparison."""

from __future__ import annotations

from importlib.resources import files

from iqattack.auditing.card import Card, SuiteRecord

CARDS = files("iqattack") / "auditing" / "reference"


def reference_cards(suite: SuiteRecord) -> list[Card]:
    """The reference cards of a suite with this digest, in the order of their file names."""
    if not CARDS.is_dir():
        return []
    named = {file.name: file for file in CARDS.iterdir() if file.name.endswith(".json")}
    cards = [
        Card.model_validate_json(named[name].read_text(encoding="utf-8")) for name in sorted(named)
    ]
    return [card for card in cards if card.suite == suite]


def references_for(card: Card) -> list[Card]:
    """Reference cards of a card's suite, for other models than its own."""
    return [
        other
        for other in reference_cards(card.suite)
        if (other.model.name, other.model.files) != (card.model.name, card.model.files)
    ]

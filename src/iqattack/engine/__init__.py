"""Schedules searches, batches, rounds, counts and replays: the only part that asks the model."""

from iqattack.engine.engine import (
    Engine,
    Failure,
    Interrupted,
    Outcome,
    Progress,
    image_generator,
)
from iqattack.engine.log import QueryLog, image_hash

__all__ = [
    "Engine",
    "Failure",
    "Interrupted",
    "Outcome",
    "Progress",
    "QueryLog",
    "image_generator",
    "image_hash",
]

"""Planning, searching, counting and replaying: the only part that queries models."""

from iqattack.engine.account import allowed
from iqattack.engine.engine import Engine, Searching, check_set, plan_of
from iqattack.engine.events import Attacked, Event, Failure, Note, Outcome, Replies
from iqattack.engine.log import QueryLog, image_hash
from iqattack.engine.recorder import Progress
from iqattack.engine.schedule import Interrupted
from iqattack.engine.searcher import Limits, Plan, Searcher, image_generator
from iqattack.engine.workers import Workers

__all__ = [
    "Attacked",
    "Engine",
    "Event",
    "Failure",
    "Interrupted",
    "Limits",
    "Note",
    "Outcome",
    "Plan",
    "Progress",
    "QueryLog",
    "Replies",
    "Searcher",
    "Searching",
    "Workers",
    "allowed",
    "check_set",
    "image_generator",
    "image_hash",
    "plan_of",
]

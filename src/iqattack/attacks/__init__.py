"""The attacks, one file each, and their table."""

from __future__ import annotations

from iqattack.attacks.contract import (
    Answer,
    AnySearch,
    Attack,
    BudgetSpent,
    Chosen,
    Gradient,
    ImageFailed,
    NothingLeft,
    NothingNew,
    Proposal,
    Search,
    SearchEnded,
    SetAttack,
    SetSearch,
    SetTask,
    Task,
)
from iqattack.attacks.lifting import FREE_ANSWERS, guarded, name_of, single
from iqattack.attacks.options import ATTACKED
from iqattack.attacks.set_based.ranking import ranking
from iqattack.attacks.specs import (
    GIVEN,
    all_attacks,
    as_guest,
    canonical_attack,
    find,
    is_of_set,
    is_white_box,
    kind_of,
    labelled,
    load_attack,
    load_set_attack,
    taken_files,
)
from iqattack.attacks.table import ATTACKS, AttackKind

__all__ = [
    "ATTACKED",
    "ATTACKS",
    "FREE_ANSWERS",
    "GIVEN",
    "Answer",
    "AnySearch",
    "Attack",
    "AttackKind",
    "BudgetSpent",
    "Chosen",
    "Gradient",
    "ImageFailed",
    "NothingLeft",
    "NothingNew",
    "Proposal",
    "Search",
    "SearchEnded",
    "SetAttack",
    "SetSearch",
    "SetTask",
    "Task",
    "all_attacks",
    "as_guest",
    "canonical_attack",
    "find",
    "guarded",
    "is_of_set",
    "is_white_box",
    "kind_of",
    "labelled",
    "load_attack",
    "load_set_attack",
    "name_of",
    "ranking",
    "single",
    "taken_files",
]

"""Suites: fixed evaluations, so that figures of different people can be compared.

A suite is data, `suites/NAME-vVERSION.toml`: attacks, constraints, budgets, objective, seeds. A
published suite never changes; changes get a new version.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from iqattack.attacks import canonical_attack, is_of_set, taken_files
from iqattack.auditing.parsing import parsed
from iqattack.catalogue import defaults
from iqattack.constraints import parse_constraint
from iqattack.errors import InputError, unknown
from iqattack.objectives import SetObjective, WithBoundary, parse_objective
from iqattack.runs.numbers import without_folders

SUITES = files("iqattack") / "auditing" / "suites"
_BUNDLED = re.compile(r"([a-z0-9]+)-v(\d+)")
_NAME = re.compile(r"[a-z][a-z0-9]*")
# Measures in a card's lines.
Measure = Literal[
    "gain",
    "gain_sd",
    "gain_on_clean",
    "srocc",
    "plcc",
    "krocc",
    "r",
    "srocc_mos",
    "srocc_drop",
    "plcc_drop",
    "krocc_drop",
]


class Attempt(BaseModel):
    """One attack in one constraint, as canonical specs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attack: str
    constraint: str

    @field_validator("attack")
    @classmethod
    def _attack(cls, spec: str) -> str:
        if is_of_set(spec):
            raise InputError(
                f"attack {spec}: attacks all images together, so results at smaller budgets cannot "
                "be read from the log; give an attack on single images, such as "
                f"{defaults.ATTACK}, and use this one with 'iqattack attack'"
            )
        return canonical_attack(spec)

    @field_validator("constraint")
    @classmethod
    def _constraint(cls, spec: str) -> str:
        return parse_constraint(spec).spec

    @property
    def label(self) -> str:
        """The attack without the folders of its files."""
        return without_folders(self.attack)

    @property
    def content(self) -> dict[str, object]:
        """Everything that decides a result, independent of paths: files by SHA-256."""
        named = {
            n: path for n, path in taken_files(self.attack).items() if str(path) in self.attack
        }
        files = {name: _sha256(path) for name, path in named.items()}
        content: dict[str, object] = {"attack": self.label, "constraint": self.constraint}
        return content | {"files": files} if files else content


class Published(BaseModel):
    """A published figure for one of the suite's attempts.

    model: its name in the paper, or in pyiqa. measure: of a card's lines. source: paper and images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    attack: str
    constraint: str
    queries: int
    measure: Measure
    value: float
    source: str

    @field_validator("attack")
    @classmethod
    def _attack(cls, spec: str) -> str:
        return without_folders(canonical_attack(spec))

    @field_validator("constraint")
    @classmethod
    def _constraint(cls, spec: str) -> str:
        return parse_constraint(spec).spec


class Suite(BaseModel):
    """A fixed evaluation.

    name, version: form its ID. about: one sentence. objective: of every attack. budgets: queries
    per image, ascending; attacks are run with the largest, and results at the smaller ones are read
    from the log. seeds: each attack is run with every seed. limit: use only the first `limit`
    images. attempts: attacks, each in a constraint. published: figures of the paper that the suite
    follows; they do not affect results.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int = Field(ge=1)
    about: str
    objective: str = "rank"
    budgets: tuple[int, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    limit: int | None = Field(None, ge=1)
    attempts: tuple[Attempt, ...] = Field(min_length=1)
    published: tuple[Published, ...] = ()

    @field_validator("name")
    @classmethod
    def _name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise InputError(f"name '{name}': expected small letters and digits, such as mine")
        return name

    @field_validator("objective")
    @classmethod
    def _objective(cls, name: str) -> str:
        objective = parse_objective(name)
        if isinstance(objective, SetObjective | WithBoundary):
            raise InputError(
                f"objective '{name}': expected rank, up, down or farther, whose results at smaller "
                "budgets can be read from the log"
            )
        return objective.name

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if list(self.budgets) != sorted(set(self.budgets)) or self.budgets[0] < 1:
            raise InputError(f"budgets {list(self.budgets)}: expected ascending numbers of queries")
        if len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds {list(self.seeds)}: expected no duplicates")
        if len(set(self.attempts)) < len(self.attempts):
            raise InputError("attempts: an attack is given twice in the same constraint")
        attempted = {(attempt.label, attempt.constraint) for attempt in self.attempts}
        for figure in self.published:
            if (figure.attack, figure.constraint) not in attempted:
                raise InputError(
                    f"published: {figure.attack} in {figure.constraint} is not among the attempts"
                )
            if figure.queries not in self.budgets:
                raise InputError(f"published: {figure.queries} queries is not among the budgets")
        return self

    @property
    def id(self) -> str:
        """Its ID, such as `quick-v1`."""
        return f"{self.name}-v{self.version}"

    @property
    def constraints(self) -> tuple[str, ...]:
        """Without duplicates, in order."""
        return tuple(dict.fromkeys(attempt.constraint for attempt in self.attempts))

    @property
    def digest(self) -> str:
        """SHA-256 of its name and everything that decides a result."""
        content = self.model_dump(mode="json", exclude={"about", "attempts", "published"})
        return digest_of(content | {"attempts": [attempt.content for attempt in self.attempts]})


def digest_of(content: Mapping[str, object]) -> str:
    """SHA-256 of a suite's fields except `about`; attempts are represented by their content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def bundled() -> dict[str, list[int]]:
    """Names of the suites in the package, and their versions, ascending."""
    found: dict[str, list[int]] = {}
    for file in SUITES.iterdir():
        match = _BUNDLED.fullmatch(file.name.removesuffix(".toml"))
        if match is not None and file.name.endswith(".toml"):
            found.setdefault(match[1], []).append(int(match[2]))
    return {name: sorted(versions) for name, versions in sorted(found.items())}


def read_suite(spec: str) -> Suite:
    """Read a suite of the package, `quick` or `quick-v1`, or one in a file, `mine.toml`.

    A name alone means its newest version. InputError if it does not exist or cannot be read.

    >>> from iqattack.auditing import read_suite
    >>> suite = read_suite("quick-v1")
    >>> suite.budgets, [attempt.attack for attempt in suite.attempts]
    ((20, 100), ['portfolio-search', 'score-boundary', 'noise'])
    """
    known = bundled()
    if spec.endswith(".toml"):
        path = Path(spec)
        try:
            suite = parsed(Suite, path.read_bytes(), f"suite {spec}")
        except OSError as error:
            raise InputError(f"{spec}: cannot be read ({error.strerror}); check the path") from None
        if suite.name in known:
            raise InputError(
                f"suite {spec}: name '{suite.name}' belongs to a published suite; give it another "
                "name"
            )
        return suite
    name, _, version = spec.partition("-v")
    if name not in known:
        raise unknown("suite", spec, [*known, "FILE.toml"])
    if spec != name and version not in map(str, known[name]):
        raise unknown("suite", spec, [f"{name}-v{number}" for number in known[name]])
    number = int(version) if version else known[name][-1]
    return parsed(Suite, (SUITES / f"{name}-v{number}.toml").read_bytes(), f"suite {spec}")


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:  # a folder, or missing; reported where it is needed
        return ""

"""Labels of runs in a figure: what differs between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from iqattack.errors import InputError
from iqattack.runs import Run
from iqattack.runs.numbers import without_folders
from iqattack.specs import printable


def _budget(run: Run) -> str:
    total = run.settings.budget_total
    return f"{run.settings.queries:,} queries" if total is None else f"{total:,} queries in total"


def _floor(run: Run) -> str:
    return "no floor" if run.settings.floor is None else f"floor {run.settings.floor}"


# The parts of a label, in order; the budget comes last.
_PROPERTIES: tuple[Callable[[Run], str], ...] = (
    lambda run: run.settings.label,
    lambda run: run.model.name,
    lambda run: run.settings.constraint,
    _floor,
    lambda run: run.settings.objective,
    lambda run: f"seed {run.settings.seed}",
)


def labels_of(runs: Sequence[Run], given: Sequence[str] = (), *, ends: bool = False) -> list[str]:
    """A label for each run; InputError if the number of given labels is wrong.

    By default what differs: attack, model, constraint, floor, objective, seed and budget, in this
    order; for a single run its attack. ends: the end of a line shows the budget, which is then left
    out of labels that differ in anything else. Runs that agree in all of these are labelled with
    their folders.
    """
    if given:
        if len(given) != len(runs):
            raise InputError(
                f"{len(given)} labels for {len(runs)} runs: expected one for each, in their order"
            )
        return [printable(label) for label in given]
    if len(runs) == 1:
        return [_clean(runs[0].settings.label)]
    differing = [name for name in _PROPERTIES if len({name(run) for run in runs}) > 1]
    labels = [_joined(run, differing) for run in runs]
    if len({_budget(run) for run in runs}) > 1:
        times = Counter(labels)
        labels = [
            label if ends and times[label] == 1 else _with(label, _budget(run))
            for label, run in zip(labels, runs, strict=True)
        ]
    times = Counter(labels)
    return [
        label if times[label] == 1 else _with(label, printable(str(run.folder)))
        for label, run in zip(labels, runs, strict=True)
    ]


def _joined(run: Run, properties: Sequence[Callable[[Run], str]]) -> str:
    return ", ".join(_clean(of(run)) for of in properties)


def _clean(text: str) -> str:
    return printable(without_folders(text))


def _with(label: str, more: str) -> str:
    return f"{label}, {more}" if label else more

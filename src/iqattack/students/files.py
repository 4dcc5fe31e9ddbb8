"""Serialisation of students: safetensors, with tensors named by kind and parameter."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from iqattack.errors import InputError
from iqattack.specs import printable
from iqattack.students.learning import Student
from iqattack.students.networks import KINDS

Students = Mapping[str, Student]  # by kind


def new_students(seed: int) -> dict[str, Student]:
    """One untrained student of each kind; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {kind: Student(make()) for kind, make in KINDS.items()}


def written(students: Students) -> bytes:
    """Students as bytes, in the form stored in a profile."""
    return save(
        {
            f"{kind}/{name}": value.contiguous()
            for kind, student in students.items()
            for name, value in student.state_dict().items()
        }
    )


def read_students(content: bytes, where: str) -> dict[str, Student]:
    """Read students from bytes that `written` returned, by kind.

    where: their origin, for messages. Raises InputError for anything else.
    """
    expected = "expected what iqattack profile wrote"
    try:
        tensors = load(content)
    except (SafetensorError, KeyError) as error:  # KeyError: a type that torch lacks
        raise InputError(f"{where}: no safetensors ({printable(str(error))}); {expected}") from None
    states: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        kind, _, name = key.partition("/")
        states.setdefault(kind, {})[name] = value
    students = {}
    for kind, state in states.items():
        if kind not in KINDS:
            raise InputError(f"{where}: '{printable(kind)}' is no kind of student; {expected}")
        students[kind] = Student(KINDS[kind]())
        try:
            students[kind].load_state_dict(state)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise InputError(f"{where}: {kind}: {printable(reason)}; {expected}") from None
        if not all(bool(value.isfinite().all()) for value in state.values()):
            raise InputError(f"{where}: {kind}: holds numbers that are not finite; {expected}")
    if not students:
        raise InputError(f"{where}: holds no student; {expected}")
    return students

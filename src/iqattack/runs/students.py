"""Training of a profile's students: a set attack that collects scores and trains on them."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from iqattack.attacks import Answer, Proposal, SetAttack, SetSearch, SetTask, Task
from iqattack.attacks.shared.ascent import STEPS, ascent
from iqattack.directions import high_frequencies
from iqattack.errors import InputError
from iqattack.runs.files import read_text, write_text
from iqattack.students import (
    KINDS,
    LEAST_SIDE,
    Lesson,
    Probes,
    Student,
    fit_scale,
    kind_of,
    learn,
    new_students,
    read_students,
    written,
)

ROUNDS = 4
LEARNING = 600  # steps, each round
# How far along the ascent of the best student so far the pictures of a round lie: students should
# know the region that an attack passes through.
WAYS = (0.0, 0.25, 0.5, 1.0)
TOGETHER = 8  # changes of a picture that are scored in one turn
MOST_PIXELS = 512 * 512  # of an image: limit for a network's second derivatives in reasonable time
UNSCORED = -1.0  # gain without a finite score, see `Answer`
FEWEST = 32  # queries per image and round; fewer teach nothing


def fewest(images: int) -> int:
    """The fewest total queries to train students on `images` images."""
    return images * ROUNDS * (FEWEST + 1 + len(KINDS))


def studying(queries: int, folder: Path, note: Callable[[str, str], None]) -> SetAttack:
    """Train students of every kind on a number of scores, in rounds; returns them, by kind.

    folder: stores their state after each round, so that a resumed session does not train them
    again, and makes the same pictures on any machine.
    """

    def study(given: SetTask) -> SetSearch:
        tasks = list(given.tasks)
        _check(tasks)
        seed = int(torch.randint(2**31, (), generator=given.rng))
        students, lessons, best = new_students(seed), [], next(iter(KINDS))
        each = queries // (ROUNDS * len(tasks)) - 1 - len(KINDS)
        for number in range(ROUNDS):
            note("students", f"round {number + 1} of {ROUNDS}: querying")
            steps = round(WAYS[number] * STEPS)
            pictures = [_ascended(task, students[best], steps) for task in tasks]
            lessons += yield from _asked(tasks, pictures, each, seed + number)
            note(
                "students",
                f"round {number + 1} of {ROUNDS}: learning from {_count(lessons):,} scores",
            )
            _taught(students, lessons, seed + number, folder / f"students-{number + 1}.txt")
            best = yield from _best(tasks, students)
            note("students", f"round {number + 1} of {ROUNDS}: '{best}' leads")
        return students

    return study


def forget(folder: Path) -> None:
    """Remove the files of `studying`, once the profile has the last round."""
    for number in range(ROUNDS):
        (folder / f"students-{number + 1}.txt").unlink(missing_ok=True)


def _check(tasks: Iterable[Task]) -> None:
    for task in tasks:
        height, width = task.image8.shape[1:]
        if height * width > MOST_PIXELS or min(height, width) < LEAST_SIDE:
            raise InputError(
                f"an image of {width}×{height} pixels: students need at least "
                f"{LEAST_SIDE}×{LEAST_SIDE} and at most {MOST_PIXELS:,} pixels; leave out the "
                "image, or use --resize"
            )


def _ascended(task: Task, student: Student, steps: int) -> Tensor:
    """The picture on an attack's path, without noise."""
    gradient = student.smoothed(torch.Generator().manual_seed(0))
    return ascent(task, gradient, _sign(task), steps).round().to(torch.uint8)


def _sign(task: Task) -> float:
    return 1.0 if task.rising else -1.0


def _count(lessons: Iterable[Lesson]) -> int:
    return sum(len(lesson.moved) for lesson in lessons)


Asking = Generator[Sequence[Proposal], Sequence[Answer], list[Lesson]]


def _asked(tasks: Sequence[Task], pictures: Sequence[Tensor], each: int, seed: int) -> Asking:
    """Lessons: the effect of `each` changes of each task's picture on its score, if it has one."""
    answers = yield [(k, picture[None]) for k, picture in enumerate(pictures)]
    _check_ends(answers)
    # As scored: a constraint other than a box may have projected it.
    lessons = [Lesson(answer.pixels[0]) for answer in answers]
    at = [float(answer.gain[0]) for answer in answers]
    probes = [
        Probes(high_frequencies(lesson.picture), torch.Generator().manual_seed(seed * 4096 + k))
        for k, lesson in enumerate(lessons)
    ]
    for first in range(0, each, TOGETHER):
        numbers = range(first, min(first + TOGETHER, each))
        answers = yield [
            (k, torch.stack([lesson.picture + probe(number) for number in numbers]))
            for k, (lesson, probe) in enumerate(zip(lessons, probes, strict=True))
        ]
        _check_ends(answers)
        for k, answer in enumerate(answers):
            gains = answer.gain.tolist()
            for number, pixels, gain in zip(numbers, answer.pixels, gains, strict=True):
                if min(gain, at[k]) > UNSCORED:
                    # Upwards, whatever the objective's direction: all students learn the same
                    # score.
                    lessons[k].add(pixels, kind_of(number), _sign(tasks[k]) * (gain - at[k]))
    return [lesson for lesson in lessons if lesson.moved]


def _check_ends(answers: Iterable[Answer]) -> None:
    for answer in answers:
        if answer.end is not None:
            raise answer.end


def _taught(students: dict[str, Student], lessons: Sequence[Lesson], seed: int, kept: Path) -> None:
    """Train all students, or restore their state from an earlier session."""
    if kept.is_file():
        students |= read_students(b64decode(read_text(kept)), str(kept))
        return
    for student in students.values() if lessons else ():
        if float(student.scale) == 1.0:
            fit_scale(student, lessons)
        learn(student, lessons, LEARNING, torch.Generator().manual_seed(seed))
    write_text(kept, b64encode(written(students)).decode())


Choosing = Generator[Sequence[Proposal], Sequence[Answer], str]


def _best(tasks: Sequence[Task], students: dict[str, Student]) -> Choosing:
    """The kind whose ascents gain most."""
    gains: dict[str, float] = {}
    for kind, student in students.items():
        answers = yield [(k, _ascended(task, student, STEPS)[None]) for k, task in enumerate(tasks)]
        _check_ends(answers)
        pairs = zip(tasks, answers, strict=True)
        gains[kind] = sum(min(float(answer.gain[0]), task.reach) for task, answer in pairs)
    return max(gains, key=gains.__getitem__)

"""Students: small networks that learn from a model's scores which changes move them."""

from iqattack.students.files import (
    Students,
    new_students,
    read_students,
    written,
)
from iqattack.students.learning import Lesson, Student, fit_scale, learn
from iqattack.students.networks import KINDS, LEAST_SIDE
from iqattack.students.probes import Probes, kind_of

__all__ = [
    "KINDS",
    "LEAST_SIDE",
    "Lesson",
    "Probes",
    "Student",
    "Students",
    "fit_scale",
    "kind_of",
    "learn",
    "new_students",
    "read_students",
    "written",
]

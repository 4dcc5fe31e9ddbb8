import numpy as np
import pytest
import torch

from iqattack.directions import high_frequencies
from iqattack.errors import InputError
from iqattack.students import (
    KINDS,
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
from iqattack.students.networks import BlockExtremes, Tower
from iqattack.students.probes import AMPLITUDE


@pytest.fixture(scope="module")
def pictures():
    """Seven of 64×64 pixels, with edges and texture."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(7):
        small = torch.from_numpy(rng.integers(40, 215, (1, 3, 16, 16))).float()
        large = torch.nn.functional.interpolate(small, size=(64, 64), mode="bicubic")[0]
        noise = torch.from_numpy(rng.normal(0, 6, (3, 64, 64))).float()
        found.append((large + noise).clamp(8, 247).byte())
    return found


def lesson_of(picture, score, changes, seed):
    """What a score makes of so many changes of a picture."""
    lesson, clean = Lesson(picture), float(score(picture[None])[0])
    probes = Probes(high_frequencies(picture), torch.Generator().manual_seed(seed))
    for number in range(changes):
        pixels = (picture + probes(number)).clamp(0, 255).round().byte()
        lesson.add(pixels, kind_of(number), float(score(pixels[None])[0]) - clean)
    return lesson


def agreement(student, lesson):
    """Correlation of the effects that a student predicts with true ones, for textures only."""
    numbers = [k for k, kind in enumerate(lesson.kinds) if kind >= 2]
    said = student.slopes(lesson, numbers).detach().numpy()
    return float(np.corrcoef(said, [lesson.moved[k] for k in numbers])[0, 1])


@pytest.mark.parametrize(
    ("make", "least"),
    [
        (lambda: Tower((8,)), 0.8),
        (lambda: BlockExtremes(filters=4, block=16, hidden=8), 0.5),
    ],
)
def test_a_student_of_a_models_kind_learns_its_slopes(pictures, make, least):
    """Also on a picture that taught nothing, where a new one knows nothing."""

    def network(seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return make()

    model, student = network(11), Student(network(12))

    def score(images):
        with torch.no_grad():
            return model(images.float())

    *taught, unseen = [lesson_of(p, score, 80, k) for k, p in enumerate(pictures)]
    assert agreement(student, unseen) < 0.2
    fit_scale(student, taught)
    assert learn(student, taught, 400, torch.Generator().manual_seed(0)) < 0.6
    assert agreement(student, unseen) > least


def test_slopes_are_those_of_the_gradient(pictures):
    """What a student says of a change is its gradient's product with it."""
    student = new_students(0)["mean"]
    lesson = lesson_of(pictures[0], lambda images: images.double().mean((1, 2, 3)), 5, 0)
    gradient = student.gradient(lesson.picture[None].float())[0].flatten()
    assert torch.allclose(
        student.slopes(lesson, range(5)), lesson.changes(range(5)) @ gradient, rtol=1e-4
    )


def test_a_lesson_keeps_changes_as_they_were(pictures):
    lesson, picture = Lesson(pictures[0]), pictures[0].int()
    rng = torch.Generator().manual_seed(0)
    changes = [
        torch.randint(-most, most, (channels, 64, 64), generator=rng).expand(3, -1, -1)
        for channels, most in ((1, 9), (3, 9), (3, 250))  # a box may be as wide as the range
    ]
    for change in changes:
        lesson.add((picture + change).clamp(0, 255).byte(), 0, 1.0)
    wanted = torch.stack([(picture + c).clamp(0, 255) - picture for c in changes]).flatten(1)
    assert torch.equal(lesson.changes([0, 1, 2]), wanted.float())
    assert torch.equal(lesson.changes([1]), wanted[1:2].float())


def test_a_scale_is_half_of_the_models(pictures):
    lesson = lesson_of(pictures[0], lambda images: images.double()[:, :, ::2].mean((1, 2, 3)), 8, 0)
    student = new_students(0)["mean"]
    fit_scale(student, [lesson])
    said, moved = student.slopes(lesson, range(8)).detach(), torch.tensor(lesson.moved)
    ratio = float((said - said.mean()).norm() / (moved - moved.mean()).norm())
    assert ratio == pytest.approx(0.5, rel=1e-4)


def test_changes_take_turns(pictures):
    """Grey and coloured, noise and texture; the same ones for the same seed."""
    detail = high_frequencies(pictures[0])
    probes, again = (Probes(detail, torch.Generator().manual_seed(5)) for _ in range(2))
    for number in range(8):
        change = probes(number)
        assert torch.equal(change, again(number))
        assert set(change.unique().tolist()) <= {-AMPLITUDE, 0.0, AMPLITUDE}
        grey = torch.equal(change[0], change[1]) and torch.equal(change[0], change[2])
        assert grey is (number % 2 == 0)
    assert abs(float(probes(0).mean())) < 0.2


def test_students_come_back_from_their_bytes(pictures):
    students = new_students(4)
    state = torch.random.get_rng_state()
    assert written(new_students(4)) == written(students)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert set(students) == set(KINDS)
    again = read_students(written(students), "file")
    images = torch.stack(pictures[:2]).float()
    for kind, student in students.items():
        assert torch.equal(student(images), again[kind](images))
        assert student.gradient(images).shape == images.shape
    assert written(new_students(5)) != written(students)


HEADER = b'{"x":{"dtype":"F8_E8M0","shape":[0],"data_offsets":[0,0]}}'
UNKNOWN_TYPE = len(HEADER).to_bytes(8, "little") + HEADER  # of numbers, to torch


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        (lambda s: b"nothing", "no safetensors"),
        (lambda s: UNKNOWN_TYPE, "no safetensors .*F8_E8M0"),
        (lambda s: written({"a\x1bb": s["mean"]}), r"'a\\x1bb' is no kind"),
        (lambda s: written({}), "holds no student"),
        (lambda s: written({"mode": s["mean"]}), "'mode' is no kind of student"),
        (lambda s: written({"mean": s["maxima"]}), "mean: .*size mismatch|mean: .*Unexpected"),
    ],
)
def test_what_is_no_student_is_refused(spoilt, reason):
    with pytest.raises(InputError, match=f"here: .*({reason})"):
        read_students(spoilt(new_students(0)), "here")


def test_a_student_of_numbers_that_are_none_is_refused():
    students = new_students(0)
    students["mean"].scale.fill_(float("nan"))
    with pytest.raises(InputError, match="mean: holds numbers that are not finite"):
        read_students(written(students), "here")

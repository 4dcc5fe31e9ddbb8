"""The probe: all tests in order, the cheap ones first."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence

from torch import Tensor

from iqattack.errors import InputError
from iqattack.images import ImageSet
from iqattack.models.base import Loaded
from iqattack.models.suggesting import user_model
from iqattack.probing.changes import colours, small_changes
from iqattack.probing.conventions import given, working
from iqattack.probing.finding import Finding, Probe, Verdict
from iqattack.probing.pictures import pictures_of, samples, spread
from iqattack.probing.repeats import batches, noise
from iqattack.probing.scores import direction, failures, non_finite, range_filled, resolution
from iqattack.probing.session import Answer, OutOfQueries, Progress, Session, is_finite, reason
from iqattack.probing.sizes import sizes, taken_size
from iqattack.probing.speed import batch_speed, call_speed
from iqattack.probing.subject import Subject

QUERIES = 400
FEWEST = 10
PICTURES = 24
FIRST = "clean scores"
MEND = "fix what the failure names, in the model's options or description"
SHARE = 10  # queries per picture


def probe(
    model: Loaded,
    images: ImageSet | Sequence[Tensor] | None = None,
    *,
    queries: int = QUERIES,
    convert: bool = False,
    resize: int | None = None,
    progress: Progress = lambda _topic, _queries, _ceiling: None,
) -> Probe:
    """Find out how a model behaves: noise, batches, sizes, colours, range, direction, speed.

    model: a scorer; its range and direction may be None, and are then suggested. images: a set or
    (3, H, W) uint8 tensors, of which 24, spread evenly, are used; the sample set by default.
    Direction and colours are tested on labelled pictures: these if all have a MOS, else the sample
    set. queries: images that may be sent to the model, including failed ones; at least 10. convert,
    resize: as in `read_image`. progress: called with (topic, images sent, ceiling) at every call.

    A failure of the model is a finding. Raises InputError if no image can be read, and for too few
    queries.
    """
    if queries < FEWEST:
        raise InputError(f"--queries {queries}: expected at least {FEWEST}")
    n = max(2, min(PICTURES, queries // SHARE))
    built_in = spread(samples(), n)
    pictures, unread = built_in, list[str]()
    if images is not None:
        pictures, unread = pictures_of(images, n=n, convert=convert, resize=resize)
    labelled = pictures if all(picture.mos is not None for picture in pictures) else built_in
    subject = Subject(Session(model, queries, progress), pictures, labelled)
    findings, unasked = _asked(subject)
    if unread:
        said = f"{len(unread)} left out: {unread[0]}"
        findings.insert(0, Finding("images", said, Verdict.NOTE, "repair or convert them"))
    return Probe(model.name, tuple(findings), subject.session.queries, queries, unasked)


def _asked(subject: Subject) -> tuple[list[Finding], tuple[str, ...]]:
    """All findings, and the topics for which too few queries were left."""
    findings: list[Finding] = []
    unasked: list[str] = []
    for topic, question in QUESTIONS:
        if unasked[:1] == [FIRST]:  # every other test builds on it
            unasked.append(topic)
            continue
        subject.session.topic = topic
        try:
            for finding in question(subject):
                findings.append(finding)  # noqa: PERF402 - kept when queries run out
        except OutOfQueries:
            unasked.append(topic)
        if findings and not unasked and not subject.scores:  # nothing else can be tested
            break
    return findings, tuple(unasked)


def _start(subject: Subject) -> Iterator[Finding]:
    """Convert the pictures to a form and a size that the model accepts, and score each."""
    session = subject.session
    subject.long_side = max(subject.images[0].shape[-2:])
    with warnings.catch_warnings():  # the model's, about what it does not accept
        warnings.simplefilter("ignore")
        subject.size, answer = taken_size(session, subject.pictures)
        found = None
        if not is_finite(answer) and not getattr(answer, "transient", False):
            found = working(session, subject.images[0])
    if found is not None:
        yield _other_input(given(session.model).text, found.input, answer)
        session.use(found)
        subject.size, answer = taken_size(session, subject.pictures)
    if not is_finite(answer):
        topic = "failures" if isinstance(answer, Exception) else "non-finite scores"
        said = f"no finite score: {reason(answer)}"
        own = user_model(session.model) is not None
        remedy = "correct the model, or give its input convention (--input)" if own else MEND
        yield Finding(topic, said, Verdict.PROBLEM, remedy)
        return
    if subject.size is not None:
        same = subject.labelled is subject.pictures
        subject.pictures = [picture.fitted(subject.size) for picture in subject.pictures]
        fitted = [picture.fitted(subject.size) for picture in subject.labelled]
        subject.labelled = subject.pictures if same else fitted
    subject.answers = subject.session.alone(subject.images)
    if not subject.scores:
        yield from (failures(subject), non_finite(subject))
    else:
        yield from (non_finite(subject), range_filled(subject))


def _other_input(given: str | None, used: str | None, answer: Answer) -> Finding:
    said = f"no scores with images as {given or 'uint8 (N, 3, H, W)'}: {reason(answer)}; "
    said += f"probed with --input {used}"
    remedy = "check that the model was trained on such images, then use this option"
    return Finding("input", said, Verdict.PROBLEM, remedy, f"--input {used}")


# Topic, and the test; the last two use all earlier answers.
QUESTIONS: tuple[tuple[str, Callable[[Subject], Iterable[Finding]]], ...] = (
    (FIRST, _start),
    ("determinism", noise),
    ("batch", batches),
    ("small changes", small_changes),
    ("sizes", sizes),
    ("direction", direction),
    ("colours", colours),
    ("speed", batch_speed),
    ("concurrent calls", call_speed),
    ("resolution", lambda subject: [resolution(subject)]),
    ("failures", lambda subject: [failures(subject)]),
)

"""Speed and memory of a model: rough figures from a few calls."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress

from torch import Tensor

from iqattack.probing.finding import Finding, Verdict
from iqattack.probing.pictures import alike
from iqattack.probing.session import finite, is_finite, reason
from iqattack.probing.subject import Subject

with suppress(ImportError):  # Windows has no such module
    import resource

BATCHES = (1, 2, 4, 8, 16)
THREADS = (1, 2, 4, 8, 16, 32)


def batch_speed(subject: Subject) -> list[Finding]:
    """Images per second by batch size, and the rise of the process's peak memory."""
    limit = 1 if not subject.together else subject.session.traits.batch or BATCHES[-1]
    images = alike(subject.scored, BATCHES[-1])
    subject.session.reserve(sum(size for size in BATCHES if size <= limit))
    before, rates = peak_memory(), []
    for size in (size for size in BATCHES if size <= limit):
        found, seconds = subject.session.timed(images[:size])
        if not finite(found):
            if not _taken_alone(
                subject, images[:size]
            ):  # then the failure says nothing about batches
                return [Finding("speed (rough)", f"not measured: {reason(found[0])}")]
            said = f"{size} images fail: {reason(found[0])}"
            remedy, option = "use smaller batches", f"--batch {max(size // 2, 1)}"
            return [Finding("speed (rough)", said, Verdict.NOTE, remedy, option)]
        rates.append(f"{size}: {size / max(seconds, 1e-6):.3g}")
    after = peak_memory()
    said = "peak memory of the process is not known on this system"
    if before is not None and after is not None:
        said = f"peak memory of the process rose by {(after - before) / 2**20:.0f} MiB"
    return [
        Finding("speed (rough)", f"images a second by batch size: {', '.join(rates)}"),
        Finding("memory (rough)", said),
    ]


def _taken_alone(subject: Subject, images: Sequence[Tensor]) -> bool:
    """Whether several images that have no scores in one call have them one by one."""
    if len(images) == 1:
        return False
    return all(is_finite(answer) for answer in subject.session.alone(images))


def call_speed(subject: Subject) -> list[Finding]:
    """Images per second by concurrent calls, up to the number that the model declares."""
    most = subject.session.traits.concurrency or 1
    if most == 1:
        return []
    subject.session.reserve(sum(2 * n for n in THREADS if n <= most))
    rates = {}
    for threads in (n for n in THREADS if n <= most):
        images = alike(subject.scored, 2 * threads)
        rates[threads] = len(images) / max(subject.session.at_once(images, threads), 1e-6)
    best = max(rates, key=rates.__getitem__)
    said = ", ".join(f"{threads}: {rate:.3g}" for threads, rate in rates.items())
    option = f"--concurrency {best}" if best > 1 else ""
    return [Finding("concurrent calls (rough)", f"images a second: {said}", option=option)]


def peak_memory() -> float | None:
    """The peak memory of this process in bytes; None if the system does not report it."""
    if "resource" not in globals():
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)

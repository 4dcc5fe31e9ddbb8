"""Which images the page of a large run shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from iqattack.runs.columns import Results
from iqattack.runs.numbers import images

SHOWN = 5000  # images: more are too many for a browser
TELLING, FAILURES = 1000, 250  # of these, for each kind

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """The images that are shown. rows: their numbers, in the order of the run. note: which they
    are, in a sentence or two, None if all are shown.
    """

    numbers: Numbers
    note: str | None = None


def sample(results: Results, shown: int = SHOWN) -> Sample:
    """The most informative images of a run of more than `shown`, and some drawn at random.

    A fifth each has the largest gain, the largest change of rank, and the lowest SSIM; a twentieth
    is for images that failed.
    """
    if len(results) <= shown:
        return Sample(np.arange(len(results)))
    telling, failures = shown * TELLING // SHOWN, shown * FAILURES // SHOWN
    failed = np.flatnonzero(results.failed)
    done = np.flatnonzero(~results.failed)
    moved = _ranks(results, "score_adv")[done] - _ranks(results, "score_clean")[done]
    kinds = (-results.real("gain")[done], -np.abs(moved), results.real("ssim")[done])
    # NaN sorts last.
    most = [done[np.argsort(kind, kind="stable")[:telling]] for kind in kinds]
    first = np.unique(np.concatenate([failed[:failures], *most]))
    rest = np.setdiff1d(np.arange(len(results)), first, assume_unique=True)
    more = np.random.default_rng(0).choice(rest, shown - len(first), replace=False)
    most_of = f"{min(telling, len(done)):,}"
    note = (
        f"This page shows {shown:,} of {images(len(results))}: the {most_of} with the largest "
        f"gain, the {most_of} whose rank the attack changed most, the {most_of} with the lowest "
        f"SSIM, {_failed(len(failed), failures)}and others drawn at random. Measures and curves "
        "cover all of them; points in the charts are the images that are shown."
    )
    return Sample(np.sort(np.concatenate([first, more])), note)


def _ranks(results: Results, name: str) -> NDArray[np.float64]:
    return np.asarray(scipy.stats.rankdata(results.real(name), nan_policy="omit"), dtype=np.float64)


def _failed(there: int, most: int) -> str:
    if not there:
        return ""
    return f"{min(there, most):,} of {there:,} that could not be attacked, "

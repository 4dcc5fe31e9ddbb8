"""Which results this user's iqattack wrote, and what to trust of the others.

Scores are compared with the log. Visibility follows from the pictures alone, and takes time to
measure: it is trusted if the result has a valid code of this user, and measured again otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from iqattack.engine import QueryLog
from iqattack.errors import InputError, RunError
from iqattack.perception import linf, rms
from iqattack.runs.columns import Results
from iqattack.runs.numbers import images
from iqattack.runs.owner import owner, sign, signer
from iqattack.runs.pairs import Scored, read_pair
from iqattack.runs.results import Result, same, visibility

if TYPE_CHECKING:
    from iqattack.runs.run import Run
    from iqattack.runs.settings import Record

CODE = "code"  # followed by an image: the name in the log of the code of its result
MEASURED = ("linf", "rms", "psnr", "ssim", "ms_ssim", "jnd_violation")


def finish(log: QueryLog, record: Record, image: str, text: str) -> None:
    """Store the result of an image, with this user's code."""
    code = sign(signed_text(record, text))
    log.finish(image, text, {} if code is None else {f"{CODE} {image}": code})


def recoder(whole: Record) -> Callable[[Record, str, str | None], str | None]:
    """Return a function that makes codes for results taken over from another run, from its record,
    a result and its code there. None if that code is not this user's.
    """
    has_code, code_of = owner(), signer()

    def recoded(record: Record, text: str, code: str | None) -> str | None:
        return (
            code_of(signed_text(whole, text)) if has_code(signed_text(record, text), code) else None
        )

    return recoded


def believed(
    run: Run, log: QueryLog, results: Results, own: Sequence[bool]
) -> tuple[Results, tuple[str, ...]]:
    """Results with trusted or newly measured visibility, None if it cannot be measured; and notes
    on it, one phrase each.

    own: which results have a code of this user.
    """
    others = np.flatnonzero(~np.asarray(own, dtype=np.bool_) & ~results.failed).tolist()
    found, changed, gone, rated = dict[int, dict[str, float | None]](), list[str](), list[str](), 0
    for number in others:
        result = results[number]
        rated += result.mos is not None
        values: dict[str, float | None] = dict.fromkeys(MEASURED)
        try:
            values = _measured(run, log, result)
        except (InputError, RunError) as error:
            gone.append(str(error))
        else:
            changed += [
                f"{result.image}: {name} is {value!r}, reported {getattr(result, name)!r}"
                for name, value in values.items()
                if not same(getattr(result, name), value)
            ][:1]
        found[number] = values
    return results.with_reals(found), tuple(_notes(changed, gone, rated))


def _notes(changed: Sequence[str], gone: Sequence[str], rated: int) -> list[str]:
    said = []
    other = "by somebody else, or an earlier version"
    if changed:
        said.append(
            f"the visibility of {images(len(changed))} differs from what was written {other}, and "
            f"was measured again ({changed[0]})"
        )
    if gone:
        said.append(
            f"the visibility of {images(len(gone))} was written {other}, and is left out, since it "
            f"cannot be measured here ({gone[0]})"
        )
    if rated:
        said.append(
            f"the opinion scores of {images(rated)} were written {other}; 'iqattack verify' "
            "compares them with their table"
        )
    return said


def signed_text(record: Record, text: str) -> str:
    """The signed text of a result."""
    return f"{record.created}\n{text}"


def _measured(run: Run, log: QueryLog, result: Result) -> dict[str, float | None]:
    """The measures of visibility of a result's pictures; errors as in `read_pair`."""
    rows = log.rows(result.image)
    clean, attacked = read_pair(run, result, Scored.of(result, rows) if len(rows) else None)
    return {
        "linf": float(linf(clean, attacked)),
        "rms": float(rms(clean, attacked)),
        **visibility(clean, attacked),
    }

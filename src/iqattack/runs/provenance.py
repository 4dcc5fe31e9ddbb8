"""Which results this user's iqattack wrote, and what is believed of the others.

Scores are held against the log. How visible a change is follows from its pictures alone, and
measuring that takes time: it is believed where a code of this user's own fits the result, and
measured again where none does.
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

CODE = "code"  # and an image: the name in the log of the code of its result
MEASURED = ("linf", "rms", "psnr", "ssim", "ms_ssim", "jnd_violation")


def finish(log: QueryLog, record: Record, image: str, text: str) -> None:
    """Store the result of an image, with the code that makes it this user's."""
    code = sign(signed_text(record, text))
    log.finish(image, text, {} if code is None else {f"{CODE} {image}": code})


def recoder(whole: Record) -> Callable[[Record, str, str | None], str | None]:
    """Gives the codes of results in a run that takes them over: of the record of the other run, a
    result and its code there. None where that one is not this user's.
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
    """Results with measures of visibility that are measured: None where they cannot be; and what
    there is to say of that, a phrase each.

    own: which of them have a code of this user's.
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
            f"{images(len(changed))} changed more or less visibly than was written {other}: that "
            f"was measured again ({changed[0]})"
        )
    if gone:
        said.append(
            f"how visible the changes of {images(len(gone))} are was written {other}, and is left "
            f"out, as it cannot be measured here ({gone[0]})"
        )
    if rated:
        said.append(
            f"the opinion scores of {images(rated)} were written {other}: 'iqattack verify' holds "
            "them against their table"
        )
    return said


def signed_text(record: Record, text: str) -> str:
    """What of a result is signed."""
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

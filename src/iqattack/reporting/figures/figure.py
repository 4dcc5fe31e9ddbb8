"""One figure of several runs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from iqattack.errors import InputError, RunError, unknown
from iqattack.reporting.figures.labels import labels_of
from iqattack.reporting.figures.series import (
    Named,
    State,
    boundaries_of,
    crossing_curves,
    curve_table,
    gain_curve,
    scores_of,
    scores_table,
    seen_of,
    seen_table,
    state_of,
)
from iqattack.runs import Run
from iqattack.runs.compare import refuse_twice
from iqattack.runs.files import write_bytes
from iqattack.runs.numbers import images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["gain-queries", "scatter", "crossing", "ssim"]
KINDS: tuple[str, ...] = get_args(Kind)
FORMATS = ("pdf", "svg", "png", "pgf")
MEASURES = ("ssim", "jod")
OVER_QUERIES = ("gain-queries", "crossing")
TALLEST = 24.0  # inches: more is probably a typing error
# Warnings of matplotlib, and their remedies.
WARNED = {
    "missing from font": "some letters are missing from its fonts and drawn as boxes; name a font "
    "that has them in a --style file, as font.family: NAME",
    "collapsed to zero": "there is no room for the axes; give a larger --height, or shorter labels",
}


@dataclass(frozen=True)
class Request:
    """What to draw.

    kind: see `KINDS`. labels: one for each run; by default what differs between them. columns:
    width in columns of a page, 1 or 2. height: inches; None for one that fits. style: a matplotlib
    style file. boundaries: for `crossing`, as fractions of the way to the end of the score range;
    by default those of the objectives. visibility: for `ssim`: `ssim` or `jod`. out, data: files
    for the figure and for its numbers.

    Raises InputError for a request that cannot be drawn.
    """

    kind: str = "gain-queries"
    labels: tuple[str, ...] = ()
    columns: int = 1
    height: float | None = None
    style: Path | None = None
    boundaries: tuple[float, ...] = ()
    visibility: str = "ssim"
    out: Path | None = None
    data: Path | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("kind", self.kind, KINDS)
        if self.columns not in (1, 2):
            raise InputError(f"columns {self.columns}: expected 1 or 2")
        if self.height is not None and not 0.5 <= self.height <= TALLEST:
            raise InputError(f"height {self.height}: expected 0.5 to {TALLEST:g} inches")
        if self.visibility not in MEASURES:
            raise unknown("visibility", self.visibility, MEASURES)
        if self.visibility != "ssim" and self.kind != "ssim":
            raise InputError(
                f"visibility {self.visibility} applies to kind ssim; leave it out with {self.kind}"
            )
        if self.boundaries and self.kind != "crossing":
            raise InputError(f"boundary applies to kind crossing; leave it out with {self.kind}")
        for boundary in self.boundaries:
            if not (0.0 < boundary <= 1.0 and math.isfinite(boundary)):
                raise InputError(
                    f"boundary {boundary}: expected a fraction above 0 and up to 1, such as 0.2"
                )
        if self.out is not None:
            _ = self.form
        for path in (self.out, self.data):
            if path is not None and path.is_dir():
                raise InputError(f"{path}: is a folder, expected a file; give another name")
        if self.out is not None and self.out == self.data:
            raise InputError(f"{self.out}: is given for both figure and data; give two names")

    @property
    def form(self) -> str:
        """The format of `out`, by its suffix."""
        suffix = "" if self.out is None else self.out.suffix
        form = suffix.removeprefix(".").lower()
        if form not in FORMATS:
            what = f"has the suffix {suffix}" if suffix else "has no suffix"
            known = ", ".join(f".{name}" for name in FORMATS)
            raise InputError(f"{self.out}: {what}; expected one of {known}")
        return form


def plot(
    runs: Sequence[Run],
    request: Request,
    *,
    note: Callable[[str, str], None] = lambda *_: None,
    progress: Callable[[int, int], None] = lambda *_: None,
    measuring: Callable[[int, int], None] = lambda *_: None,
) -> Figure:
    """Draw runs in one figure, and save it and its numbers if requested.

    note: called with (run, phrase) about what the figure leaves out. progress: called with (runs
    read, runs); measuring: with (images done, images) while JOD is measured.

    Raises InputError without matplotlib, for a file that cannot be written and for an invalid
    style; RunError for a run that cannot be drawn.
    """
    drawing, look = _matplotlib()
    style: dict[str, Any] = {} if request.style is None else look.read_style(request.style)
    if not runs:
        raise InputError("no run to plot; give one or more")
    refuse_twice(runs)
    if request.kind in OVER_QUERIES:
        for run in runs:
            _refuse_shared(run, request.kind)
    labels = labels_of(runs, request.labels, ends=request.kind == "gain-queries")

    def read() -> Iterator[tuple[Named, State]]:
        for number, (run, label) in enumerate(zip(runs, labels, strict=True)):
            progress(number, len(runs))
            state = state_of(run, pictures=request.kind == "ssim")
            _note(run, state, note)
            if request.kind == "gain-queries" and run.settings.together:
                what = "images learnt from all queries about others: no run of a smaller budget"
                note(str(run.folder), what)
            yield Named(run, label), state
        progress(len(runs), len(runs))

    size = (request.columns, request.height, style)
    match request.kind:
        case "gain-queries":
            curves = [gain_curve(of, state) for of, state in read()]
            table = curve_table(curves)
            figure = drawing.gain_queries(curves, *size)
        case "crossing":
            at = tuple(dict.fromkeys(request.boundaries)) or boundaries_of(runs)
            crossed = [crossing_curves(of, state, at) for of, state in read()]
            table = curve_table(curve for each in crossed for curve in each)
            figure = drawing.crossing(crossed, *size)
        case "scatter":
            scores = [scores_of(of, state) for of, state in read()]
            table = scores_table(scores)
            figure = drawing.scatter(scores, *size)
        case _:
            measure = request.visibility
            seen = [seen_of(of, state, measure, measuring) for of, state in read()]
            for each in seen:
                if each.left_out:
                    what = f"{images(each.left_out)} without {measure.upper()} left out"
                    note(str(each.of.run.folder), what)
            table = seen_table(seen, measure)
            figure = drawing.visibility(seen, measure, *size)
    if request.out is not None:
        write_bytes(request.out, _encoded(figure, request.out, request.form, note))
    if request.data is not None:
        write_bytes(request.data, (line.encode() for line in table), "--data")
    found: Figure = figure
    return found


def _matplotlib() -> tuple[Any, Any]:
    """Import matplotlib; InputError if it is missing."""
    try:
        import_module("matplotlib")
    except ImportError:
        raise InputError(
            "plot: needs matplotlib; install it with: pip install 'iqattack[plot]'"
        ) from None
    here = __name__.rpartition(".")[0]
    return import_module(f"{here}.drawing"), import_module(f"{here}.look")


def _encoded(figure: Any, out: Path, form: str, note: Callable[[str, str], None]) -> bytes:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            data: bytes = figure.encoded(form)
        except (RuntimeError, FileNotFoundError) as error:
            if form != "pgf":
                raise
            reason = str(error).splitlines()[0]
            raise InputError(
                f"{out}: needs LaTeX to measure text ({reason}); install pdflatex, or use .pdf"
            ) from None
    said = {str(warning.message) for warning in heard}
    for part, what in WARNED.items():
        if any(part in message for message in said):
            note(str(out), what)
    return data


def _refuse_shared(run: Run, kind: str) -> None:
    """Raise RunError for a run whose images share a budget."""
    if run.settings.budget_total is not None:
        raise RunError(
            f"{run.folder}: its images share a budget of {run.settings.budget_total:,} queries, "
            f"but {kind} needs one budget per image; draw --kind scatter"
        )


def _note(run: Run, state: State, note: Callable[[str, str], None]) -> None:
    for number, what in ((state.pending, "pending"), (state.failed, "failed")):
        if number:
            note(str(run.folder), f"{images(number)} {what}, not in the figure")

"""Finished and unfinished runs: measures, pages, figures, comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from iqattack.api.common import closing, given_run, given_runs, model_of, path_of, viewing_of
from iqattack.attacks import Attack
from iqattack.auditing.audit import is_audit
from iqattack.defences import parse_defence
from iqattack.detection import DEFAULT as DEFAULT_DETECTOR
from iqattack.engine import Interrupted
from iqattack.errors import InputError
from iqattack.models import Scorer
from iqattack.reporting import write_card_page, write_report
from iqattack.reporting.figures import Request
from iqattack.reporting.figures import plot as plot_runs
from iqattack.runs import (
    Callbacks,
    Comparison,
    DefenceMeasures,
    Detection,
    Run,
    Summary,
    check_trusted,
    full_reference,
    measure_defence,
    measured,
    summary_at,
)
from iqattack.runs import compare as compare_runs
from iqattack.runs import detect as detect_run
from iqattack.runs.behind import KEYS
from iqattack.runs.export import SHARD
from iqattack.runs.export import export as export_run
from iqattack.scoring import DEFAULT_RETRY, Retry

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def open_run(folder: str | Path) -> Run:
    """Open a run on disk, finished or under way; RunError if the folder has none.

    >>> import iqattack
    >>> run = iqattack.open_run("runs/first")
    >>> best = max(run.results, key=lambda row: row.gain)
    >>> (best.score_adv > best.score_clean) == (best.direction == "up")
    True
    >>> iqattack.open_run("photos")
    Traceback (most recent call last):
    iqattack.errors.RunError: ...
    """
    return given_run(folder)


def evaluate(
    run: Run | str | Path,
    *,
    queries: int | None = None,
    metrics: Sequence[str] = (),
    display: str | None = None,
    distance: float | None = None,
    device: str = "cpu",
    callbacks: Callbacks | None = None,
) -> Summary:
    """Compute the measures of a run, finished or under way; RunError while no image is finished.

    queries: evaluate as if this had been the budget, from the log; InputError if it is larger than
        the run's.
    metrics: full-reference metrics of pyiqa, such as `lpips` and `dists`, computed on `device` from
        the saved images; not for a smaller budget.
    display, distance: viewing conditions of JOD and FLIP: a display from ColorVideoVDP's table,
        `standard_fhd` by default, and the viewing distance in metres, by default the display's own.
        Each image is measured once, and its values are kept in the run's visibility.json if that
        can be written.

    Without the packages of `iqattack[visibility]`, JOD and FLIP are None; InputError if display or
    distance are given.

    >>> import iqattack
    >>> summary = iqattack.evaluate("runs/first")
    >>> summary.mean_gain > iqattack.evaluate("runs/first", queries=5).mean_gain
    True
    >>> summary.verdict.kind  # three images support no statement about the ranking
    'few'
    """
    run = given_run(run)
    viewing = viewing_of(display, distance, queries)
    if queries is not None and metrics:
        raise InputError(
            f"metrics {', '.join(metrics)}: need the saved images, which belong to the full "
            "budget; leave out queries"
        )
    notify = callbacks or Callbacks()
    if queries is None:
        state = run.checked_state()
        results, seen = measured(run, state.results, viewing, progress=notify.measured)
        summary = run.summary_of(state._replace(results=results), seen)
    else:
        summary = summary_at(run, queries)
    if not metrics:
        return summary
    found = full_reference(run, metrics, device=device, progress=notify.checked)
    return summary.model_copy(update={"full_reference": found})


def export(
    run: Run | str | Path,
    webdataset: str | Path,
    *,
    shard_size: int = SHARD,
    callbacks: Callbacks | None = None,
) -> int:
    """Write the attacked images of a run as WebDataset shards, and return their number.

    webdataset: a new folder, for 000000.tar, 000001.tar, …; each has KEY.png and KEY.json of
        `shard_size` images. KEY is the image's number in the run; the JSON has its name, both
        scores, gain, queries, opinion score and the SHA-256 of the clean pixels.

    Raises InputError for a folder that is not empty; RunError if no image is finished or a saved
    image is not the one that was scored.

    >>> import iqattack
    >>> iqattack.export("runs/first", "shards", shard_size=2)
    3
    """
    notify = callbacks or Callbacks()
    folder = path_of("webdataset", webdataset)
    return export_run(given_run(run), folder, shard_size=shard_size, progress=notify.checked)


def report(
    run: Run | str | Path,
    out: str | Path | None = None,
    *,
    display: str | None = None,
    distance: float | None = None,
    callbacks: Callbacks | None = None,
) -> Path:
    """Write the page of a run, finished or under way, or of an audit, and return the path of its
    index.html.

    run: a run, or the folder of an audit. out: the folder of the page, RUN/report by default; an
    earlier page there is replaced. The page of an audit is in its own folder. display, distance:
    viewing conditions of JOD and FLIP, as in `evaluate`; an audit shows those of its runs.

    Raises RunError while no image is finished, or if an audit has no card yet; InputError for a
    folder that holds something else or cannot be written.

    >>> import iqattack
    >>> iqattack.report("runs/first", "page").as_posix()
    'page/index.html'
    """
    notify = callbacks or Callbacks()
    if not isinstance(run, Run) and is_audit(folder := path_of("run", run)):
        for option, value in (("out", out), ("display", display), ("distance", distance)):
            if value is not None:
                raise InputError(
                    f"{option} {value}: the page of an audit is in its own folder and shows what "
                    f"its runs measured; leave --{option} out"
                )
        return write_card_page(folder)
    return write_report(
        given_run(run),
        None if out is None else path_of("out", out),
        viewing=viewing_of(display, distance),
        progress=notify.pictured,
        measuring=notify.measured,
    )


def plot(
    runs: Run | str | Path | Sequence[Run | str | Path],
    kind: str = "gain-queries",
    *,
    out: str | Path | None = None,
    labels: Sequence[str] = (),
    columns: int = 1,
    height: float | None = None,
    boundaries: Sequence[float] = (),
    visibility: str = "ssim",
    style: str | Path | None = None,
    data: str | Path | None = None,
    callbacks: Callbacks | None = None,
) -> Figure:
    """Plot runs in one figure for a paper, as a matplotlib Figure, which notebooks show.

    runs: one or several, or the folder of an audit, for all its runs.
    kind: `gain-queries` (mean of the largest gain so far against queries), `scatter` (attacked
        against clean scores), `crossing` (share of images across a score boundary against queries)
        or `ssim` (gain against visibility).
    out: file of the figure, .pdf, .svg, .png or .pgf. data: CSV file of the plotted numbers.
    labels: of each run; by default what differs between them. columns: width in columns of a page,
        1 or 2, for 3.5 and 7.16 inches. height: inches, by default what fits. style: a matplotlib
        style file, which takes precedence over ours.
    boundaries: for `crossing`, as fractions of the way from the clean score to the end of the score
        range; by default those of the objectives, or else 0.1, 0.2 and 0.5 for one run and 0.2 for
        several. visibility: for `ssim`: `ssim`, or `jod`, which is measured as in `evaluate`.

    Changes neither matplotlib's settings nor its backend; the same runs give the same bytes. Raises
    InputError for arguments that cannot be used, and without matplotlib; RunError for a run that
    cannot be drawn.

    >>> import iqattack
    >>> figure = iqattack.plot(["runs/first", "runs/second"], out="gain.pdf", data="gain.csv")
    >>> figure.axes[0].get_xlabel()
    'queries per image'
    """
    request = Request(
        kind,
        tuple(labels),
        columns,
        height,
        None if style is None else path_of("style", style),
        tuple(boundaries),
        visibility,
        None if out is None else path_of("out", out),
        None if data is None else path_of("data", data),
    )
    notify = callbacks or Callbacks()
    notify.loading("reading runs")
    given = [runs] if isinstance(runs, Run | str | Path) else runs
    opened = [run for each in given for run in given_runs(each)]
    return plot_runs(
        opened,
        request,
        note=notify.note,
        progress=notify.compared,
        measuring=notify.measured,
    )


def compare(
    *runs: Run | str | Path,
    allow: Sequence[str] = (),
    queries: int | None = None,
    display: str | None = None,
    distance: float | None = None,
    callbacks: Callbacks | None = None,
) -> Comparison:
    """Compare runs side by side, with paired tests of each against the first.

    allow: settings that may differ: `images`, `mos`, `range`, `constraint`, `floor`, `objective`,
        `budget`, `seed`; a RunError names any other difference, which would make the comparison
        unfair.
    queries: compare as if this had been every budget, from the logs. display, distance: viewing
        conditions of JOD and FLIP, as in `evaluate`.

    >>> import iqattack
    >>> comparison = iqattack.compare("runs/first", "runs/second")
    >>> [(row.attack, row.gain.value > 0) for row in comparison.rows]
    [('portfolio-search', True), ('noise', True)]
    >>> print(comparison.sentence)
    Of 2 runs on 3 images, runs/first (portfolio-search) gained most: ... of the score range.
    """
    viewing = viewing_of(display, distance, queries)
    notify = callbacks or Callbacks()
    notify.loading("reading runs")
    opened = [given_run(run) for run in runs]
    return compare_runs(
        opened,
        allow=allow,
        queries=queries,
        viewing=viewing,
        progress=notify.compared,
        measuring=notify.measured,
    )


def defended(
    run: Run | str | Path,
    defence: str,
    model: Scorer | str | None = None,
    *,
    adaptive: Run | str | Path | None = None,
    keys: int = KEYS,
    trust: bool = False,
    timeout: float | None = None,
    retry: Retry = DEFAULT_RETRY,
    device: str = "cpu",
    out: str | Path | None = None,
    callbacks: Callbacks | None = None,
) -> DefenceMeasures:
    """Measure how much of a run's attack a defence leaves, and what the defence costs.

    The saved pictures of a run on the undefended model are scored behind the defence: two queries
    per image, which no run's log records. Gains are true gains: behind a random defence, the mean
    over `keys` draws that no attack saw; behind a defence that only changes the reported scores,
    those of the model itself.

    defence: such as `jpeg:75+median:3`. adaptive: a run with the same settings on the defended
        model, for comparison. model, trust, timeout, retry: as in `verify`. out: a CSV file with
        one row per image.

    Raises InputError for a defence that does not exist, or if the model fails; RunError for runs
    that do not fit.

    >>> import iqattack
    >>> measures = iqattack.defended("runs/first", "jpeg:75", out="defended.csv")
    >>> measures.gain_not_adaptive.value < measures.gain.value
    True
    >>> measures.queries
    6
    """
    notify = callbacks or Callbacks()
    run = given_run(run)
    parse_defence(defence)
    if model is None:
        check_trusted(run, trust=trust, accepting="")
    scorer = model_of(run, model, timeout=timeout, device=device, notify=notify)

    def progress(done: int, images: int) -> None:
        notify.checked(done, images)
        if notify.stop():
            raise Interrupted(f"stopped; {done} of {images} images scored")

    with closing(scorer, model if model is not None else run.record.model_spec):
        found = measure_defence(
            run,
            scorer,
            defence,
            adaptive=None if adaptive is None else given_run(adaptive),
            keys=keys,
            retry=retry,
            progress=progress,
        )
    if out is not None:
        found.write(path_of("out", out))
    return found


def detect(
    run: Run | str | Path,
    detector: str = DEFAULT_DETECTOR,
    *,
    accounts: int | Literal["image"] = 1,
    attack: Attack | None = None,
    trust: bool = False,
    out: str | Path | None = None,
    callbacks: Callbacks | None = None,
) -> Detection:
    """Find at which query a detector of similar queries would have blocked the attack of a run.

    Each search is replayed from the log without querying the model, and the detector sees the
    queries in their order.

    detector: such as `blacklight:window=20,matches=25`; see docs/defences.md. accounts: number of
        accounts between which the queries alternate, each with its own state, or `image` for one
        account per image.
    attack: the run's, if that was a Python function. trust: load an attack that is code from a run
        that this user did not begin, but has read. out: a CSV file with one row per image.

    Raises InputError for a detector that does not exist, RunError for a run that cannot be
    replayed.

    >>> import iqattack
    >>> found = iqattack.detect("runs/first", "blacklight:window=50")
    >>> all(row.gain_before <= row.gain for row in found.images), found.false_positives
    (True, 0.0)
    """
    notify = callbacks or Callbacks()

    def progress(done: int, images: int) -> None:
        notify.checked(done, images)
        if notify.stop():
            raise Interrupted(f"stopped; {done} of {images} images replayed")

    found = detect_run(
        given_run(run),
        detector,
        accounts=accounts,
        attack=attack,
        trust=trust,
        progress=progress,
    )
    if out is not None:
        found.write(path_of("out", out))
    return found

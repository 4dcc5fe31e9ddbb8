"""Contents of a run's page: sentences, tables and the series of its charts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iqattack.catalogue.defaults import OBJECTIVE
from iqattack.evaluation import best_at, boundary_crossing, gain_by_query, progress
from iqattack.models import Inference
from iqattack.probing.subject import TOLERANCE
from iqattack.reporting.common import LOOK, Headline, Table, flaw
from iqattack.runs import ModelRecord, Result, Summary, Trace
from iqattack.runs.columns import Results
from iqattack.runs.numbers import NONE, images, jod, number, percent, without_folders
from iqattack.runs.results import OK
from iqattack.runs.summary import JOD_SEEN
from iqattack.runs.verdict import statements_of
from iqattack.runs.visibility import MOST_MEASURED
from iqattack.specs import printable

POINTS, FEW_POINTS = 200, 50  # points on the curve of gain against queries
DRAWN = 2000  # queries drawn for one image


@dataclass(frozen=True)
class Chart:
    """A chart in words. text: what it shows. table: None if its values are elsewhere."""

    id: str
    title: str
    text: str
    table: Table | None = None


def title(summary: Summary) -> str:
    """The page's title: model and attack."""
    return f"{summary.model.name} under {without_folders(summary.attack)}"


def headline(summary: Summary) -> tuple[Headline, str | None]:
    """The effect on scores and their ranking, and how visible the changes are, if known."""
    said = statements_of(summary)
    if said.seen is None:
        return Headline(said.effect), None
    before, strong, after = f"{said.effect}.", None, ""
    if said.gain is not None:
        before, strong, after = before.partition(said.gain)
    return Headline(before, strong, after), _sentence(said.seen)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def facts(summary: Summary, match: tuple[int, int]) -> list[tuple[str, str]]:
    """The extent of the run and its evidence, as name and value. match: of how many pictures the
    pixels are the scored ones, and of how many there are.
    """
    asked, (good, shown) = summary.settings, match
    floor = "" if asked.floor is None else f", {asked.floor}"
    rows = [
        ("images", f"{summary.attacked:,} of {summary.images:,} attacked"),
        ("attack", without_folders(summary.attack)),
        ("constraint", f"{asked.constraint}{floor}"),
        ("objective", None if asked.objective == OBJECTIVE else asked.objective),
        ("queries", f"{summary.queries:,} in total"),
        ("pictures", f"{good:,} of {shown:,} match the log"),
        ("noise", _flaw(summary, "noise")),
        ("batch", _flaw(summary, "batch")),
    ]
    return [(name, value) for name, value in rows if value is not None]


def _flaw(summary: Summary, name: str) -> str:
    """What the check of the model found."""
    check, (low, high) = summary.check, summary.model.score_range
    measured = check is not None and check.queries > 0 and check.failed is None
    if name == "batch" and check is not None and check.unpaired:
        measured = False
    share = 0.0 if check is None else getattr(check, name) / (high - low)
    return flaw(share if share > TOLERANCE else 0.0, measured=measured)


def concerns(
    summary: Summary, failures: Sequence[Result], lost: Sequence[tuple[str, str]] = ()
) -> list[str]:
    """What a reader must know before the numbers. lost: name and reason of each image whose
    pictures could not be compared with the log.
    """
    said = []
    if lost:
        name, reason = lost[0]
        said.append(
            f"The pictures of {images(len(lost))} cannot be read or are not the scored ones, such "
            f"as those of {name} ({reason}). Measures are those of the log."
        )
    if summary.white_box:
        said.append(
            "This is a white-box attack: it uses the model's own gradients, which no outsider has. "
            "Its result is a ceiling for attacks by queries alone."
        )
    verdict = statements_of(summary)
    if verdict.seen is not None:  # the findings have the other doubts, but no effect of noise
        said += [_sentence(doubt.short) for doubt in verdict.doubts if doubt.about == "noise"]
    said += [_sentence(phrase) for phrase in summary.findings]
    if summary.pending:
        said.append(
            f"This run is not finished: {images(summary.pending)} of {summary.images:,} "
            f"pending. The page shows the others; write it again later."
        )
    ended = summary.scores.crossing.without_reach
    if ended:
        low, high = summary.model.score_range
        said.append(
            f"{images(ended)} had a clean score at or beyond the target end of the range {low:g} "
            f"to {high:g}: there was nothing to attack, and the gain is 0. If the model has "
            "another range, attack again with it."
        )
    if failures:
        first = failures[0]
        said.append(
            f"{images(len(failures))} could not be attacked, such as {first.image} "
            f"({without_folders(first.status)}). They are left out of all measures."
        )
    return said


def settings(summary: Summary) -> list[tuple[str, str]]:
    """The main settings, as name and value."""
    asked, model = summary.settings, summary.model
    low, high = model.score_range
    better = "lower" if model.lower_better else "higher"
    rows = [
        ("model", model.name),
        ("scores", f"{low:g} to {high:g}, {better} is better"),
        ("input", asked.input),
        ("torch", Inference(asked.compile, asked.autocast).options or None),
        ("attack", without_folders(summary.attack)),
        ("constraint", asked.constraint),
        ("floor", asked.floor),
        ("objective", asked.objective),
        (
            "queries for all images",
            None if asked.budget_total is None else f"at most {asked.budget_total:,}",
        ),
        (
            "queries per image",
            f"at most {asked.most(summary.images):,}, mean {number(summary.means.queries, 1)}",
        ),
        ("seed", str(asked.seed)),
        (
            "images",
            ", ".join(map(without_folders, asked.images[:3])) + _more(len(asked.images) - 3),
        ),
        ("JOD and FLIP", _viewed(summary)),
        ("opinion scores", None if asked.mos is None else without_folders(asked.mos)),
        ("model's files, SHA-256", _files(model)),
        ("started", summary.created),
    ]
    return [(name, value) for name, value in rows if value is not None]


def evidence(summary: Summary, match: tuple[int, int], digest: str | None) -> list[tuple[str, str]]:
    """What supports the numbers, and the versions that made them. match: see `facts`. digest:
    SHA-256 of results.csv; None if there is none yet.
    """
    good, shown = match
    check = summary.check
    asked = None if check is None else f"{check.queries:,} queries, which count towards no budget"
    rows = [
        ("pictures whose pixels match the log", f"{good:,} of {shown:,}"),
        ("check of the model around the search", asked),
        ("results.csv, SHA-256", None if digest is None else f"{digest[:16]}…"),
        ("versions", ", ".join(f"{name} {text}" for name, text in summary.versions.items())),
    ]
    return [(name, value) for name, value in rows if value is not None]


def _viewed(summary: Summary) -> str | None:
    seen = summary.visibility
    if seen is None:
        return None
    tools = ", ".join(f"{name} {text}" for name, text in seen.versions.items())
    known = summary.means.jod_images or 0
    few = f", of {known:,} images drawn at random" if summary.attacked > MOST_MEASURED else ""
    return (
        f"on {seen.display} from {seen.distance:g} m, {seen.pixels_per_degree:.1f} pixels per "
        f"degree ({tools}){few}"
    )


def _files(model: ModelRecord) -> str | None:
    files = model.files or {model.weights or "weights": model.sha256 or ""}
    parts = [f"{PurePath(path).name} {digest[:16]}…" for path, digest in files.items() if digest]
    return ", ".join(parts) or None


def _more(n: int) -> str:
    return f" and {n:,} more" if n > 0 else ""


def series(results: Sequence[Result], traces: Sequence[Trace]) -> dict[str, Any]:
    """The curves over finished images: `curve` against queries, `crossing` against boundaries.

    results, traces: of the same images, in the same order.
    """
    longest = max((len(trace.gains) for trace in traces), default=1)
    points = _points(longest, POINTS)
    curve = gain_by_query([trace.gains for trace in traces], points)
    gains = Results.of(results).real("gain")
    went = progress(gains, [trace.reach for trace in traces])
    return _drawn(points, (curve.q25, curve.median, curve.q75), went)


def series_of_many(done: Results, traces: Iterable[Trace]) -> dict[str, Any]:
    """The same curves with little memory, at fewer points. traces: read one by one."""
    points = _points(int(done.counts["queries"].max(initial=1)), FEW_POINTS)
    best = np.zeros((len(points), len(done)), dtype=np.float32)
    reaches = np.empty(len(done))
    for k, trace in enumerate(traces):
        best[:, k] = best_at([trace.gains], points)[0]
        reaches[k] = trace.reach
    quartiles = np.array([np.quantile(row, [0.25, 0.5, 0.75]) for row in best]).T
    return _drawn(points, quartiles, progress(done.real("gain"), reaches))


def _points(longest: int, most: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(1, longest, min(longest, most)).round().astype(np.int64))


def _drawn(
    points: NDArray[np.int64], quartiles: Iterable[ArrayLike], went: NDArray[np.float64]
) -> dict[str, Any]:
    b, share = boundary_crossing(went)
    curve = zip(("lower", "median", "upper"), map(_rounded, quartiles), strict=True)
    return {
        "curve": {"queries": points.tolist(), **dict(curve)},
        "crossing": {"b": _rounded(b), "share": _rounded(share)},
    }


def charts(summary: Summary, results: Sequence[Result], drawn: dict[str, Any]) -> list[Chart]:
    """The charts in words, the main one first: gain against queries; the ranking against queries if
    the images share a budget. drawn: the result of `series`.
    """
    found = (
        _queries_chart(summary, drawn["curve"]),
        _ranking_chart(summary),
        _scores_chart(summary, results),
        _opinion_chart(summary),
        _crossing_chart(summary, drawn["crossing"]),
        _jod_chart(summary),
        _ssim_chart(summary),
    )
    return [chart for chart in found if chart is not None]


def _queries_chart(summary: Summary, curve: dict[str, Any]) -> Chart | None:
    """None if searches differ in length by design."""
    if summary.settings.budget_total is not None:
        return None
    queries, median = curve["queries"], curve["median"]
    text = f"After {_queries(queries[-1])} at least half of the images had gained nothing."
    if median[-1] > 0.0:
        half = next(q for q, gain in zip(queries, median, strict=True) if gain >= median[-1] / 2)
        text = (
            f"After {_queries(queries[-1])} the median gain is {percent(median[-1])}; half of that "
            f"was reached by query {half:,}."
        )
    if summary.settings.together:
        text += (
            " Images also learnt from all queries about those before them, so runs with smaller "
            "budgets have other curves."
        )
    rows = tuple(
        (f"{queries[i]:,}", *(percent(curve[q][i]) for q in ("lower", "median", "upper")))
        for i in _spread(len(queries), 11)
    )
    columns = ("queries", "lower quartile", "median", "upper quartile")
    return Chart("queries", "Gain against queries", text, Table(columns, rows))


def _scores_chart(summary: Summary, results: Sequence[Result]) -> Chart:
    done = Results.of(results).done
    up, down = (int(np.count_nonzero(done.where("direction", way))) for way in ("up", "down"))
    better = "Lower" if summary.model.lower_better else "Higher"
    return Chart(
        "scores",
        "Attacked against clean scores",
        f"The attack tried to make {images(up)} look better to the model, and {down:,} worse. "
        f"{better} scores are better, and better is up and right: above the dashed line, an image "
        "looks better to the model than before.",
    )


def _opinion_chart(summary: Summary) -> Chart | None:
    """None without opinion scores."""
    clean, attacked = summary.scores.clean_mos, summary.scores.attacked_mos
    if clean is None or attacked is None:
        return None
    before, after = (number(pair.srocc, 2) for pair in (clean, attacked))
    return Chart(
        "mos",
        "Scores against opinion",
        f"SROCC with opinion scores is {before} before the attack and {after} after it.",
    )


def _crossing_chart(summary: Summary, crossing: dict[str, Any]) -> Chart:
    rows = tuple(
        (percent(crossing["b"][i], 0), percent(crossing["share"][i]))
        for i in _spread(len(crossing["b"]), 11)
    )
    return Chart(
        "crossing",
        "Boundary crossing",
        f"The area under the curve is {number(summary.scores.crossing.area)}: 0 if no score moved, "
        "1 if all reached the far end of the range.",
        Table(("share of the way", "images that crossed"), rows),
    )


def _ssim_chart(summary: Summary) -> Chart:
    return Chart(
        "ssim",
        "Gain against SSIM",
        f"Mean SSIM is {number(summary.means.ssim)}, mean gain {percent(summary.mean_gain)}. "
        "The higher and the further right, the worse for the model.",
    )


def _ranking_chart(summary: Summary) -> Chart | None:
    """None if the ranking was not the objective."""
    ranking = summary.ranking
    if ranking is None:
        return None
    last, k = ranking.last, ranking.places
    rows = tuple(
        (
            f"{point.queries:,}",
            number(point.srocc, 2),
            number(point.krocc, 2),
            number(point.ndcg, 2),
            percent(point.overlap, 0),
            f"{point.touched:,}",
        )
        for point in (ranking.curve[i] for i in _spread(len(ranking.curve), 11))
    )
    return Chart(
        "ranking",
        "The ranking against all queries",
        f"After {_queries(last.queries)} for all images, SROCC of clean and attacked scores is "
        f"{number(last.srocc, 2)}, and {percent(last.overlap, 0)} of the first {k} are still "
        f"among them; {images(last.touched)} {_were(last.touched)} changed, of "
        f"{summary.attacked:,}. Before that, each point is the best choice among the scores so "
        "far.",
        Table(("queries", "SROCC", "KROCC", f"NDCG@{k}", f"overlap of first {k}", "changed"), rows),
    )


def ranking_series(summary: Summary) -> dict[str, Any] | None:
    """The curve of the ranking against queries for all images; None if that was not the
    objective."""
    if summary.ranking is None:
        return None
    curve = summary.ranking.curve
    return {
        "queries": [point.queries for point in curve],
        "places": summary.ranking.places,
        **{
            name: _rounded([getattr(point, name) for point in curve])
            for name in ("srocc", "ndcg", "overlap")
        },
    }


def _jod_chart(summary: Summary) -> Chart | None:
    """None if JOD was not measured."""
    means = summary.means
    if means.jod is None:
        return None
    return Chart(
        "jod",
        "Gain against JOD",
        f"Mean JOD is {jod(means.jod)}, the least {jod(means.jod_least)}; "
        f"{percent(means.jod_below)} of the images are below {JOD_SEEN}. At 10 no difference "
        "is visible; at 9, 75 % of observers prefer the original. The higher and the further "
        "right, the worse for the model.",
    )


def values(results: Sequence[Result], *, has_jod: bool) -> Table:
    """The table of images. has_jod: with a column of JOD."""
    seen = ("JOD",) if has_jod else ()
    first = ("image", "made to look", "clean", "attacked", "MOS", "gain")
    rows = tuple(
        (
            result.image,
            LOOK[result.direction] if result.direction and result.status == OK else NONE,
            number(result.score_clean),
            number(result.score_adv),
            number(result.mos),
            percent(result.gain),
            *((jod(result.jod),) if has_jod else ()),
            number(result.ssim, 4),
            f"{result.queries:,}",
            without_folders(result.status),
        )
        for result in results
    )
    return Table((*first, *seen, "SSIM", "queries", "status"), rows)


def _were(n: int) -> str:
    return "was" if n == 1 else "were"


def _queries(n: int) -> str:
    return f"{n:,} quer{'y' if n == 1 else 'ies'}"


def _spread(n: int, most: int) -> list[int]:
    """At most `most` of the indices 0 to n − 1, evenly spaced, the ends included."""
    return sorted({round(i) for i in np.linspace(0, n - 1, min(n, most))})


def image_record(result: Result, number_: int) -> dict[str, Any]:
    """An image's record for the gallery; non-finite numbers are null."""
    return {
        "number": number_,
        "name": printable(result.image),
        "status": printable(without_folders(result.status)),
        "failed": result.failed,
        "direction": result.direction,
        "clean": _finite(result.score_clean),
        "attacked": _finite(result.score_adv),
        "mos": _finite(result.mos),
        "gain": _finite(result.gain),
        "queries": result.queries,
        "linf": _finite(result.linf),
        "rms": _finite(result.rms),
        "psnr": _finite(result.psnr),
        "ssim": _finite(result.ssim),
        "jod": _finite(result.jod),
        "flip": _finite(result.flip),
        "violation": _finite(result.jnd_violation),
        "width": result.width,
        "height": result.height,
    }


def scored(trace: Trace, stages: Sequence[tuple[int, str]] = ()) -> dict[str, Any]:
    """The scored queries of an image: gains query by query, the best so far, and the improvements.

    stages: of the search, first query and name; those without a query of their own are left out.

    Beyond 2,000 queries, only every n-th is included, and all improvements.
    """
    gains = np.where(np.isfinite(trace.gains), trace.gains, 0.0)
    best = np.maximum.accumulate(gains.clip(min=0.0))
    improved = np.flatnonzero(np.diff(best, prepend=0.0) > 0.0)
    every = -(-len(gains) // DRAWN)
    corners = np.unique([0, *improved, len(gains) - 1])
    return {
        "every": every,
        "queries": list(range(1, len(gains) + 1, every)),
        "gains": _rounded(trace.gains[::every]),
        "best_queries": (corners + 1).tolist(),
        "best_gains": _rounded(best[corners]),
        "improved_queries": (improved + 1).tolist(),
        "improved_gains": _rounded(best[improved]),
        "stages": [
            {"query": query, "name": printable(name)}
            for query, name in dict(stages).items()  # if several start at one query, the last
            if query <= len(gains)
        ],
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _rounded(values: Any) -> list[float | None]:
    """Values for JSON, to six digits, which is more than a screen shows."""
    return [round(v, 6) if math.isfinite(v) else None for v in np.asarray(values).tolist()]

"""Assemble the page of a run: a folder that can be opened, moved, zipped and sent."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np

from iqattack.perception import Viewing
from iqattack.reporting import content
from iqattack.reporting.folder import LITTER, PUBLISHING, PageFolder
from iqattack.reporting.measures import main_measures, measures
from iqattack.reporting.pictures import PIXELS, THUMBS, write_pictures
from iqattack.reporting.rendering import PLOTLY, asset, template
from iqattack.reporting.sample import sample
from iqattack.reporting.telling import SHOWN, has_jod, most_gained
from iqattack.runs import COLUMNS, Meter, Run, Summary, Trace, measured
from iqattack.runs.cells import csv_line, to_cell
from iqattack.runs.columns import Results
from iqattack.runs.numbers import number, without_folders
from iqattack.runs.pairs import scored_pairs
from iqattack.runs.results import TEXTS
from iqattack.runs.traces import each_trace
from iqattack.version import __version__

INDEX = "index.html"
DATA = "data.js"
OURS = (
    "numbers.js", "theme.js", "plots.js", "charts.js", "gallery.js", "slider.js", "viewer.js",
    "page.js",
)  # fmt: skip
SCRIPTS = (PLOTLY, *OURS[:1], DATA, *OURS[1:])  # in the order in which they run
ALL = "all.csv"  # beside a page that shows only some images
MARK = "iqattack.data = "  # the start of DATA
STYLES = ("page.css", "result.css")
FILES = {INDEX, ALL, *STYLES, *SCRIPTS}
MAIN = ("queries", "ranking")  # charts of which one comes first
RESULTS = "results.csv"
FOLDERS = {THUMBS: r"\d{6,}\.jpg", PIXELS: r"\d{6,}\.js"}
FACTORS = (4, 8, 16, 32, 64)  # by which the difference can be magnified
FACTOR = 16


def write_report(
    run: Run,
    out: Path | None = None,
    *,
    viewing: Viewing | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
    measuring: Callable[[int, int], None] = lambda *_: None,
) -> Path:
    """Write the page of a run, finished or under way, and return the path of its index.html.

    out: the folder, RUN/report by default; an earlier page in it is replaced, and the files that
    publish it (.gitignore, .nojekyll, CNAME) are kept. Of more than 5,000 images, it shows the most
    informative ones and some drawn at random; all.csv beside it has all. viewing: conditions for
    the measures of visibility; with the default, the page leaves these out if they cannot be
    measured. progress: called with (images done, images); measuring likewise, before.

    Raises RunError while no image is finished, InputError for a folder that holds anything else or
    cannot be written, and if `viewing` was chosen and JOD cannot be measured. Nothing half-written
    is left, and the earlier page stays until this one is complete.
    """
    state = run.checked_state()
    out = run.place / "report" if out is None else out
    out = out if out.name not in ("", "..") else out.resolve()
    FOLDER.refuse_other(out)
    results, seen = measured(run, state.results, viewing, progress=measuring)
    meter = None if seen is None else Meter(viewing or Viewing.of())
    report = _Report.of(run, results, run.summary_of(state._replace(results=results), seen), meter)
    FOLDER.write(out, lambda folder: _fill(folder, report, progress))
    return out / INDEX


@dataclass(frozen=True)
class _Report:
    """A run as its page shows it. results: of all its images; shown: of those with pictures; note:
    which these are, None for all. drawn: curves over all finished images; traces: of those that are
    shown, by name. meter: None for no map of visibility.
    """

    run: Run
    results: Results
    summary: Summary
    meter: Meter | None
    shown: Results
    note: str | None
    drawn: dict[str, Any]
    traces: dict[str, Trace]

    @classmethod
    def of(cls, run: Run, results: Results, summary: Summary, meter: Meter | None) -> Self:
        """Choose the images and read their queries from the log."""
        chosen = sample(results)
        shown = results.take(chosen.numbers)
        return cls(run, results, summary, meter, shown, chosen.note, *_curves(run, results, shown))


def _fill(folder: Path, report: _Report, progress: Callable[[int, int], None]) -> None:
    """Write everything that belongs to the page into an empty folder."""
    images = _pictures(folder, report, progress)
    data = json.dumps(_data(report, images), allow_nan=False)
    (folder / DATA).write_text(f"{MARK}{data};\n")
    if report.note is not None:
        _write_all(folder / ALL, report.results)
    _copy_assets(folder)
    (folder / INDEX).write_text(_page(report, images), encoding="utf-8")


def _pictures(
    folder: Path, report: _Report, progress: Callable[[int, int], None]
) -> list[dict[str, Any]]:
    """Write the pictures of all images that are shown, and return the records of these images."""
    (folder / THUMBS).mkdir()
    (folder / PIXELS).mkdir()
    pairs = scored_pairs(report.run, report.shown.done)

    def picture(numbered: tuple[int, Any]) -> dict[str, Any]:
        number, result = numbered
        trace = report.traces.get(result.image)
        scored = None if trace is None else content.scored(trace, result.stages)
        pair = pairs.get(result.image)
        files_ = write_pictures(report.run, result, scored, number, folder, report.meter, pair)
        return {**content.image_record(result, number), **files_}

    images = []
    # Decoding, filtering and encoding release the GIL.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for image in pool.map(picture, enumerate(report.shown)):
            images.append(image)
            progress(len(images), len(report.shown))
    return images


def _data(report: _Report, images: list[dict[str, Any]]) -> dict[str, Any]:
    """What the scripts of the page draw."""
    model = report.run.model
    return {
        "images": images,
        "scores": model.score_range,
        "lower_better": model.lower_better,
        "mos_lower_better": report.run.settings.mos_lower_better,
        "ranking": content.ranking_series(report.summary),
        **report.drawn,
    }


def _page(report: _Report, images: list[dict[str, Any]]) -> str:
    """The page as HTML. images: the records of those that are shown."""
    summary, results = report.summary, report.results
    finished = [image for image in images if not image["failed"]]
    lost = [(image["name"], image["missing"]) for image in finished if image["missing"] is not None]
    match = len(finished) - len(lost), len(finished)
    failures = results.take(np.flatnonzero(results.failed))
    pictures = most_gained(report.run, results, SHOWN)
    headline, seen = content.headline(summary)
    charts = content.charts(summary, results, report.drawn)
    main = charts.pop(0) if charts[0].id in MAIN else None
    draws = summary.scores.draw_size
    return template(INDEX).render(
        title=content.title(summary),
        summary=summary,
        attack=without_folders(summary.attack),
        headline=headline,
        seen=seen,
        concerns=content.concerns(summary, failures, lost),
        facts=content.facts(summary, match),
        note=report.note,
        pictures=pictures,
        has_jod=has_jod(pictures),
        main=main,
        charts=charts,
        main_measures=main_measures(summary),
        measures=measures(summary),
        number=number,
        values=content.values(report.shown, has_jod=summary.means.jod is not None),
        table=None if report.note is None else ALL,
        many=len(results),
        draws=draws if draws < summary.scores.n else None,
        settings=content.settings(summary),
        evidence=content.evidence(summary, match, _digest(report.run)),
        scripts=SCRIPTS,
        styles=STYLES,
        factors=FACTORS,
        factor=FACTOR,
        has_map=report.meter is not None and bool(report.meter.versions),
        version=__version__,
        written=datetime.now(UTC).date().isoformat(),
    )


def _digest(run: Run) -> str | None:
    """SHA-256 of results.csv; None if there is none yet."""
    path = run.home / RESULTS
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _curves(run: Run, results: Results, shown: Results) -> tuple[dict[str, Any], dict[str, Trace]]:
    """The curves over all finished images, and the traces of those that are shown."""
    traces: dict[str, Trace] = {}
    names, done = set(shown.images), results.done

    def finished() -> Iterator[Trace]:
        number = 0
        for trace in each_trace(run):
            if trace.image in names:
                traces[trace.image] = trace
            if number < len(done) and done.images[number] == trace.image:
                number += 1
                yield trace

    if len(shown) == len(results):
        return content.series(done, list(finished())), traces
    return content.series_of_many(done, finished()), traces


def _write_all(path: Path, results: Results) -> None:
    """Write all images of a run of which the page shows some: results.csv without the attack, which
    may contain folder names.
    """
    columns = [name for name in COLUMNS if name != "attack"]
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(csv_line(columns))
        for result in results:
            cells = result.cells() | {"status": without_folders(result.status)}
            file.write(
                csv_line(to_cell(cells[name]) if name in TEXTS else cells[name] for name in columns)
            )


def _copy_assets(folder: Path) -> None:
    for name in (*STYLES, PLOTLY, *OURS):
        (folder / name).write_bytes(asset(name))


def _other(folder: Path) -> str | None:
    """Something in a folder that does not belong to a page, if there is any."""
    there = sorted(path for path in folder.iterdir() if path.name not in LITTER)
    for path in there:
        if path.is_symlink():
            return path.name
        if path.name in FOLDERS and path.is_dir():
            of_page = re.compile(FOLDERS[path.name])
            for inner in path.iterdir():
                plain = inner.is_file() and not inner.is_symlink()
                if not (plain and (of_page.fullmatch(inner.name) or inner.name in LITTER)):
                    return f"{path.name}/{inner.name}"
        elif path.name not in FILES | PUBLISHING or not path.is_file():
            return path.name
    there = [path for path in there if path.name not in PUBLISHING]
    if not there:
        return None
    if not (folder / DATA).is_file():
        return there[0].name
    with (folder / DATA).open("rb") as file:
        return None if file.read(len(MARK)) == MARK.encode() else DATA


FOLDER = PageFolder("report", _other)

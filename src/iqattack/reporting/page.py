"""Puts the page together: a folder that can be opened, moved, zipped and sent."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from iqattack.errors import InputError
from iqattack.reporting import content
from iqattack.reporting.measures import measures
from iqattack.reporting.pictures import PIXELS, THUMBS, write_pictures
from iqattack.runs import Run, read_traces
from iqattack.runs.files import cannot_write
from iqattack.runs.numbers import number
from iqattack.version import __version__

INDEX = "index.html"
DATA = "data.js"
PLOTLY = "plotly-basic.min.js"  # a quarter of plotly.js, and all that the charts need
OURS = ("numbers.js", "theme.js", "charts.js", "gallery.js", "viewer.js", "page.js")
SCRIPTS = (PLOTLY, *OURS[:1], DATA, *OURS[1:])  # in the order in which they run
FACTORS = (4, 8, 16, 32, 64)  # by which the difference can be magnified
FACTOR = 16
_OPTION = re.compile(r"--[a-z][a-z-]*(?: [\d.,-]+\d)?")


def write_report(
    run: Run,
    out: Path | None = None,
    *,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Path:
    """Write the page of a run, finished or under way, and return the path of its index.html.

    out: the folder, RUN/report by default; an earlier page in it is replaced.
    progress: is told (images done, images).

    Raises RunError while no image is finished, InputError for a folder that holds something else
    or cannot be written. Nothing half-written is left.
    """
    summary = run.summary()
    results = run.results
    traces = {trace.image: trace for trace in read_traces(run)}
    out = run.folder / "report" if out is None else out
    _refuse_other(out)
    done = [result for result in results if not result.failed]
    drawn = content.series(done, [traces[result.image] for result in done])
    charts, values = content.charts(summary, results, drawn)
    page = _template().render(
        title=content.title(summary),
        verdict=summary.verdict.text,
        silent=summary.verdict.silent,
        notices=content.notices(summary, [result for result in results if result.failed]),
        settings=content.settings(summary),
        measures=measures(summary),
        number=number,
        charts=charts,
        values=values,
        scripts=SCRIPTS,
        factors=FACTORS,
        factor=FACTOR,
        version=__version__,
        written=datetime.now(UTC).date().isoformat(),
    )

    def picture(numbered: tuple[int, Any], folder: Path) -> dict[str, Any]:
        number, result = numbered
        trace = traces.get(result.image)
        scored = None if trace is None else content.scored(trace, result.stages)
        files_ = write_pictures(run, result, scored, number, folder)
        return {**content.image_record(result, number), **files_}

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".report-", dir=out.parent))
        try:
            (folder / THUMBS).mkdir()
            (folder / PIXELS).mkdir()
            images = []
            # Decoding, filtering and encoding let other threads run.
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                todo = pool.map(partial(picture, folder=folder), enumerate(results))
                for image in todo:
                    images.append(image)
                    progress(len(images), len(results))
            data = {
                "images": images,
                "scores": run.model.score_range,
                "lower_better": run.model.lower_better,
                "mos_lower_better": run.settings.mos_lower_better,
                **drawn,
            }
            (folder / DATA).write_text(f"iqattack.data = {json.dumps(data, allow_nan=False)};\n")
            _copy_assets(folder)
            (folder / INDEX).write_text(page, encoding="utf-8")
            folder.chmod(0o755)  # as any folder, not for one person alone
            if out.exists():
                shutil.rmtree(out)
            folder.rename(out)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise cannot_write(out, error) from None
    return out / INDEX


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("iqattack.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["options"] = _options
    return environment.get_template(INDEX)


def _options(text: str) -> Markup:
    """A text whose options, such as --score-range 0,1, are not broken into two lines."""
    # A plain string: what is put into a Markup would be escaped a second time.
    return Markup(_OPTION.sub(r'<span class="option">\g<0></span>', str(escape(text))))


def _copy_assets(folder: Path) -> None:
    ours = files("iqattack.reporting") / "assets"
    for name in ("page.css", PLOTLY, *OURS):
        (folder / name).write_bytes((ours / name).read_bytes())


def _refuse_other(out: Path) -> None:
    """Only a page may be replaced by one."""
    if out.is_dir() and not (out / DATA).is_file() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty and no report; give another --out")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, expected a folder; give another --out")

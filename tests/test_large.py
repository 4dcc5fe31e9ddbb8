"""Large sets: rows in columns, logs held against results at once, bootstrap draws of a part, the
page of a sample.
"""

import pickle
import runpy
import sys
import tracemalloc
from dataclasses import FrozenInstanceError, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import iqattack
from iqattack.engine import QueryLog
from iqattack.evaluation import bootstrap, correlation, evaluate_scores
from iqattack.images import ImageEntry, ImageSet
from iqattack.reporting.sample import sample
from iqattack.runs import Run
from iqattack.runs.best import doubtful, miscounted, misreported
from iqattack.runs.columns import Results
from iqattack.runs.results import Result, csv_lines, each_csv_row
from iqattack.runs.summary import summarise
from iqattack.runs.visibility import MOST_MEASURED, _wanted

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import scale

MANY = 20_000


def row(k: int, **changes: object) -> Result:
    values = {
        "image": f"photo_{k:06}.jpg",
        "width": 1024,
        "height": 768,
        "mos": k % 97 / 20,
        "direction": "up" if k % 2 else "down",
        "score_clean": k % 89 / 89,
        "score_adv": k % 61 / 61,
        "gain": k % 7 / 70,
        "queries": 100,
        "linf": 3.0,
        "rms": 1.5 + k % 5,
        "psnr": 40.0,
        "ssim": 0.9 + k % 11 / 200,
        "jnd_violation": 0.0,
        "attack": "square",
        "status": "ok",
        "path": f"/data/photos/photo_{k:06}.jpg",
        "sha256": f"{k:064x}",
        "stages": ((1, "stripes"), (40, "squares")),
    }
    return Result.model_validate({**values, **changes})


ODD = (
    row(0, mos=None, ssim=None, ms_ssim=0.5, psnr=float("inf"), jod=9.5, flip=0.0),
    row(1, path="elsewhere.png", scale=2.0, stages=(), status="unchanged", gain=0.0, attempts=3),
    Result(image="2", queries=0, attack="square", status="failed: no such file", path=""),
    row(3, path="//server/photo_000003.jpg", sha256=None, score_adv=-0.0),
)


def test_columns_give_back_the_rows():
    rows = Results.of(iter(ODD))
    assert list(rows) == list(ODD) == [rows[k] for k in range(len(ODD))]
    assert rows == list(ODD) and list(ODD) == rows and rows != list(ODD[:3])
    assert [r.model_dump() for r in rows] == [r.model_dump() for r in ODD]
    assert list(rows[1:]) == list(ODD[1:]) and rows[-1] == ODD[-1]
    assert list(rows.take([3, 0])) == [ODD[3], ODD[0]]
    assert list(rows.done) == [r for r in ODD if not r.failed]
    seen = rows.with_reals({1: {"jod": 9.0, "flip": None}, 0: {"jod": None}})
    assert [r.jod for r in seen] == [None, 9.0, None, None]
    assert [r.jod for r in rows] == [9.5, None, None, None]
    assert len(Results.of([])) == len(Results.of([]).done) == 0


def test_columns_take_a_fifth_of_the_memory_of_rows():
    def bytes_of(make):
        tracemalloc.start()
        made = make(map(row, range(2000)))
        used, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(made) == 2000
        return used / 2000, peak / 2000

    (rows, _), (columns, peak) = bytes_of(list), bytes_of(Results.of)
    assert columns < rows / 5 and columns < 500
    assert peak < 2 * rows


def test_an_entry_is_as_small_as_its_names():
    entries = ImageSet(
        tuple(ImageEntry(f"{k}.png", Path("a/photos") / f"{k}.png") for k in range(100))
    )
    one = entries[7]
    assert one == pickle.loads(pickle.dumps(one)) == replace(one)
    assert (one.path, one.shown) == (Path("a/photos/7.png"), "a/photos/7.png")
    assert one.png_name == "7.png"
    assert replace(one, mos=2.5).mos == one.rated(2.5).mos == 2.5
    assert one != one.rated(2.5) and hash(one) == hash(replace(one))
    assert one.anchored().path == Path("a/photos/7.png").absolute()
    assert one.anchored().shown == one.shown  # as it was given
    with pytest.raises(FrozenInstanceError):
        one.mos = 1.0  # type: ignore[misc]
    # No dictionary, no path, and no text but the name: of those there are a million.
    assert not hasattr(one, "__dict__") and sys.getsizeof(one) < 100
    assert one.file_name is one.name


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """300 images with logs and results that fit, and no pictures to read."""
    folder = tmp_path_factory.mktemp("large") / "run"
    scale.made_up(folder, scale.names(300), 5)
    return iqattack.open_run(folder)


CHANGES = {
    "gain": lambda r: r.gain / 2 + 0.001,
    "score_adv": lambda r: r.score_adv + 1.0,
    "score_clean": lambda r: r.score_clean + 1.0,
    "direction": lambda r: "down",
    "status": lambda r: "unchanged" if r.status == "ok" else "ok",
    "queries": lambda r: r.queries - 1,
}


@pytest.mark.parametrize("name", CHANGES)
def test_at_once_the_same_results_are_doubted_as_one_by_one(run, name, monkeypatch):
    monkeypatch.setattr("iqattack.runs.best.AT_ONCE", 64)
    rows = run.results
    wrong = {7, 120, 299}
    for k in wrong:
        rows[k] = rows[k].model_copy(update={name: CHANGES[name](rows[k])})
    with run.open_log() as log:
        assert list(doubtful(log, Results.of(run.results), run.record)) == []
        found = list(doubtful(log, Results.of(rows), run.record))
        assert {item.number for item in found} == wrong
        for item in found:
            result = rows[item.number]
            alike = misreported(result, item.rows, run.record) is None
            alike &= not list(miscounted(result, item.rows, run.record))
            assert not alike or result.direction != item.direction


def test_the_log_gives_all_rows_in_one_pass(run):
    with run.open_log() as log:
        for image, direction, rows in log.each_rows(digests=True):
            assert np.array_equal(rows, log.rows(image)) and direction == "up"
        assert [name for _, name, *_ in log.each_result()] == log.images()
        assert {n: text for _, n, text, *_ in log.each_result()} == log.results()
        assert log.finished() == set(log.images())


def scores(n: int) -> tuple[tuple[np.ndarray, ...], dict[str, Any]]:
    rng = np.random.default_rng(0)
    # A range whose ends many images reach: the scale of minmax_on_clean is that of any draw.
    clean = rng.normal(50, 25, n).clip(0, 100)
    attacked = (clean + rng.normal(5, 20, n)).clip(0, 100)
    mos = clean + rng.normal(0, 20, n)
    gain = np.maximum(attacked - clean, 0.0) / 100
    reach = (100 - clean) / 100
    options: dict[str, Any] = {"score_range": (0, 100), "lower_better": False}
    return (clean, attacked, gain, reach, mos), options


def test_draws_of_a_part_give_intervals_as_wide(monkeypatch):
    arrays, options = scores(1600)
    whole = evaluate_scores(*arrays, **options)
    monkeypatch.setattr(bootstrap, "LARGE", 1000)
    monkeypatch.setattr(bootstrap, "PART", 500)
    part = evaluate_scores(*arrays, **options)
    assert (whole.draw_size, part.draw_size) == (1600, 500)
    assert whole.intervals.keys() == part.intervals.keys()
    widths = {
        name: (part.intervals[name][1] - part.intervals[name][0]) / (high - low)
        for name, (low, high) in whole.intervals.items()
        if high > low
    }
    assert len(widths) > 25
    assert max(abs(np.log(width)) for width in widths.values()) < np.log(1.2), widths
    assert abs(np.mean([np.log(width) for width in widths.values()])) < np.log(1.1)
    for name, (low, high) in part.intervals.items():
        middle = sum(whole.intervals[name]) / 2
        assert low <= middle <= high


def test_the_logistic_of_neighbours_is_that_of_all(monkeypatch):
    (clean, _, _, _, mos), _ = scores(6000)
    whole = correlation.plcc_logistic(clean, mos)
    monkeypatch.setattr(correlation, "LARGE", 1500)
    assert correlation.plcc_logistic(clean, mos) == pytest.approx(whole, abs=1e-4)


def test_a_summary_of_many_images_has_no_hashes(run, monkeypatch):
    small = summarise(run.record, run.results, 0, intervals=False)
    monkeypatch.setattr("iqattack.runs.summary.LARGE", 299)
    large = summarise(run.record, run.results, 0, intervals=False)
    assert len(small.hashes) == 300 and not large.hashes
    assert large.model_dump_json(exclude={"hashes"}) == small.model_dump_json(exclude={"hashes"})


def test_a_table_is_written_and_read_row_by_row(tmp_path):
    path = tmp_path / "results.csv"
    rows = Results.of(map(row, range(MANY)))
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(csv_lines(rows))
    tracemalloc.start()
    read = 0
    for k, cells in enumerate(each_csv_row(path)):
        read += cells["image"] == rows.images[k]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read == MANY and peak < 2**20


def test_a_sample_has_what_tells_most():
    rng = np.random.default_rng(1)
    rows = [
        row(k, gain=float(rng.random()), ssim=float(rng.random()), score_adv=float(rng.random()))
        for k in range(2000)
    ]
    for k in range(0, 2000, 50):
        rows[k] = Result(image=f"{k}", queries=1, attack="square", status="failed: gone", path="")
    results = Results.of(rows)
    chosen = sample(results, 100)
    numbers = chosen.numbers.tolist()
    assert len(set(numbers)) == 100 and numbers == sorted(numbers)
    assert numbers == sample(results, 100).numbers.tolist()
    done = [k for k, r in enumerate(rows) if not r.failed]
    assert set(sorted(done, key=lambda k: -rows[k].gain)[:20]) <= set(numbers)
    assert set(sorted(done, key=lambda k: rows[k].ssim)[:20]) <= set(numbers)
    assert set(range(0, 250, 50)) <= set(numbers)
    assert chosen.note.startswith("This page shows 100 of 2,000 images: the 20 with the largest")
    every = sample(results, 2000)
    assert every.note is None and every.numbers.tolist() == list(range(2000))


def test_a_sample_of_which_most_failed_says_how_many_there_are():
    rows = [row(k) for k in range(7)]
    gone: dict[str, Any] = {"queries": 1, "attack": "square", "status": "failed: gone", "path": ""}
    rows += [Result(image=f"{k}", **gone) for k in range(7, 200)]
    note = sample(Results.of(rows), 100).note
    assert "the 7 with the largest gain, the 7 whose rank" in note
    assert "the 7 with the lowest SSIM, 5 of 193 that could not be attacked" in note


def test_visibility_of_many_images_is_measured_on_some(run, monkeypatch):
    assert MOST_MEASURED == 5000
    monkeypatch.setattr("iqattack.runs.visibility.MOST_MEASURED", 40)
    results, _ = run.state()
    wanted = _wanted(results)
    assert len(wanted) == 40 and wanted == sorted(set(wanted)) == _wanted(results)
    monkeypatch.setattr("iqattack.runs.visibility.MOST_MEASURED", 300)
    assert _wanted(results) == list(range(300))


def test_the_page_shows_a_sample_and_has_a_table_of_all(run, tmp_path, monkeypatch):
    few = partial(evaluate_scores, resamples=20)
    monkeypatch.setattr("iqattack.runs.summary.evaluate_scores", few)
    whole = iqattack.report(run, tmp_path / "whole")
    monkeypatch.setattr("iqattack.reporting.page.sample", partial(sample, shown=50))
    page = iqattack.report(run, tmp_path / "page")
    assert not (whole.parent / "all.csv").exists()
    text = page.read_text(encoding="utf-8")
    assert "This page shows 50 of 300 images" in text
    assert 'href="all.csv"' in text and "All 300 images as a table" in text
    assert "results.csv" not in text
    rows = (page.parent / "all.csv").read_text(encoding="utf-8").splitlines()
    assert [line.partition(",")[0] for line in rows[1:]] == [r.image for r in run.results]
    assert len(list((page.parent / "images").iterdir())) == 50
    assert iqattack.report(run, tmp_path / "page") == page  # an earlier one is replaced


def test_a_page_of_a_sample_opens_in_a_browser(run, tmp_path, monkeypatch):
    helpers = runpy.run_path(str(Path(__file__).with_name("chromium.py")))
    if not helpers["chromium_is_here"]():
        pytest.skip("no browser: expected Debian's chromium and chromium-driver")
    few = partial(evaluate_scores, resamples=20)
    monkeypatch.setattr("iqattack.runs.summary.evaluate_scores", few)
    monkeypatch.setattr("iqattack.reporting.page.sample", partial(sample, shown=50))
    page = iqattack.report(run, tmp_path / "page")
    browser = helpers["Browser"]()
    try:
        browser.open(page)
        assert browser.js("return document.getElementById('count').textContent") == (
            "50 of 50 images"
        )
        assert browser.js("return document.querySelectorAll('.card').length") == 50
        assert browser.complaints() == []
    finally:
        browser.close()


def test_a_log_of_before_is_read_in_one_pass(tmp_path):
    with QueryLog(tmp_path / "log.sqlite") as log:
        log.open_tasks(["a.png", "b.png"])
        log.append({"a.png": (0, [(1, 0.5), (2, 0.75)])})
        log.append({"a.png": (2, [(3, 0.25)])})
        found = {name: rows["score"].tolist() for name, _, rows in log.each_rows()}
        assert found == {"a.png": [0.5, 0.75, 0.25], "b.png": []}
        assert log.end().queries == 3

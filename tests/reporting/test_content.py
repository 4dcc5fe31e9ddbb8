import json
import math
from dataclasses import replace

import numpy as np
import pytest

from iqattack.probing import Check
from iqattack.reporting import content
from iqattack.reporting.common import Headline
from iqattack.reporting.measures import UNKNOWN, measures
from iqattack.runs import Trace, read_traces
from iqattack.runs.numbers import number, percent, without_folders


@pytest.fixture(scope="module")
def summary(run):
    return run.summary()


def changed(summary, *, means=None, srocc=None, mean_gain=None, **fields):
    scores = summary.scores
    if srocc is not None:
        scores = replace(scores, clean_attacked=replace(scores.clean_attacked, srocc=srocc))
    if mean_gain is not None:
        scores = replace(scores, mean_gain=mean_gain)
    fields |= {"scores": scores, "means": summary.means.model_copy(update=means or {})}
    return summary.model_copy(update=fields)


def asked(summary, **fields):
    return summary.model_copy(update={"settings": summary.settings.model_copy(update=fields)})


def test_concerns(summary, run):
    failures = [result for result in run.results if result.failed]
    assert content.concerns(summary, []) == [
        "Noise and dependence on the batch were not measured in this run, or not completely; run "
        "iqattack probe."
    ]
    summary = changed(summary, findings=())
    (failed,) = content.concerns(summary, failures)
    assert "1 image could not be attacked, such as 5.png (failed: 5.png: is damaged" in failed
    white, pending = content.concerns(changed(summary, white_box=True, pending=3, images=10), [])
    assert "white-box" in white
    assert "not finished: 3 images of 10 pending" in pending
    crossing = replace(summary.scores.crossing, without_reach=2)
    scores = replace(summary.scores, crossing=crossing)
    (ended,) = content.concerns(summary.model_copy(update={"scores": scores}), [])
    assert ended.startswith("2 images had a clean score at or beyond the target end of the range 0")
    noisy = changed(summary, mean_gain=0.5, check=Check(queries=4, noise=0.255))
    (noise,) = content.concerns(noisy, [])
    assert noise.startswith("Noise alone gains up to ") and noise.endswith(
        "% of the range on average."
    )
    (lost,) = content.concerns(summary, [], [("a.png", "a.png: no such image"), ("b.png", "")])
    assert lost.startswith("The pictures of 2 images cannot be read or are not the scored ones")
    assert "a.png (a.png: no such image)" in lost


def test_the_headline_is_the_verdict_without_its_doubts(summary):
    headline, seen = content.headline(summary)
    text = summary.verdict.text
    assert headline.strong == percent(summary.mean_gain)
    assert text.startswith(f"{headline.text.removesuffix('.')}, and {seen[0].lower()}"[:-1])
    assert "Read this with care" in text and "Read this with care" not in headline.text + seen
    silent = changed(summary, constant=True)
    assert content.headline(silent) == (Headline(silent.verdict.text), None)
    still = summary.model_copy(update={"unchanged": summary.attacked})
    headline, seen = content.headline(still)
    assert (headline.strong, seen) == (None, "No image was changed.")


def test_facts_give_the_extent_and_the_evidence(summary):
    facts = dict(content.facts(summary, (6, 7)))
    assert facts == {
        "images": "7 of 8 attacked",
        "attack": "noise",
        "constraint": "linf:3",
        "queries": f"{summary.queries:,} in total",
        "pictures": "6 of 7 match the log",
        "noise": "not measured",
        "batch": "not measured",
    }
    check = Check(images=("a.png",), queries=4, noise=2.55)
    summary = changed(asked(summary, floor="ssim:0.9", objective="up"), check=check)
    facts = dict(content.facts(summary, (7, 7)))
    assert (facts["constraint"], facts["objective"]) == ("linf:3, ssim:0.9", "up")
    assert facts["noise"] == "1.00\N{NO-BREAK SPACE}% of the range"
    assert facts["batch"] == "none found"
    unpaired = changed(summary, check=check.model_copy(update={"unpaired": True}))
    assert dict(content.facts(unpaired, (7, 7)))["batch"] == "not measured"


def test_evidence(summary):
    rows = dict(content.evidence(summary, (6, 7), "ab" * 32))
    assert rows["pictures whose pixels match the log"] == "6 of 7"
    assert rows["results.csv, SHA-256"] == f"{'ab' * 8}…"
    assert "numpy " in rows["versions"]
    assert "results.csv, SHA-256" not in dict(content.evidence(summary, (6, 7), None))


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("/home/me/photos", "photos"),
        ("cnniqa:/home/me/a b/w.pth", "cnniqa:w.pth"),
        ("filter-search:profile=/a/p.json,k=3", "filter-search:profile=p.json,k=3"),
        ("failed: /a/b c/x.png: is damaged (see /tmp/y)", "failed: x.png: is damaged (see y)"),
        ("/a/b.png and /c/d.png", "b.png and d.png"),
        ("photos/x.png, 3/4 and PNG / JPEG", "photos/x.png, 3/4 and PNG / JPEG"),
    ],
)
def test_folders_are_left_out(text, short):
    assert without_folders(text) == short


def test_settings_that_matter(summary):
    rows = dict(content.settings(asked(summary, seed=7, floor="ssim:0.9", mos="/x/mos.csv")))
    assert rows["model"] == '<b>bright</b> & "co"'
    assert rows["scores"] == "0 to 255, higher is better"
    assert (rows["attack"], rows["constraint"], rows["seed"]) == ("noise", "linf:3", "7")
    assert (rows["floor"], rows["opinion scores"]) == ("ssim:0.9", "mos.csv")
    assert rows["images"] == "0.png, 1.png, 2.png and 5 more"
    assert "model's files, SHA-256" not in rows and "input" not in rows
    model = summary.model.model_copy(update={"files": {"/x/w.pth": "ab" * 32, "/x/m.py": "c" * 64}})
    rows = dict(content.settings(asked(summary.model_copy(update={"model": model}), input="bgr")))
    assert rows["model's files, SHA-256"] == f"w.pth {'ab' * 8}…, m.py {'c' * 16}…"
    assert rows["input"] == "bgr"


def test_measures_hold_every_interval(summary):
    groups = measures(summary)
    rows = [row for group in groups for row in group.rows]
    known = [row.interval for row in rows if row.interval is not UNKNOWN]
    np.testing.assert_equal(sorted(known), sorted(summary.scores.intervals.values()))
    assert (rows[0].value, rows[0].interval) == (
        summary.mean_gain,
        summary.scores.intervals["mean_gain"],
    )
    titles = [group.title for group in groups]
    assert "Clean scores and opinion" in titles
    assert "R, ε = 1e-06 added" in [row.label for row in rows]


def test_curves_agree_with_numpy(run):
    done = [result for result in run.results if not result.failed]
    traces = {trace.image: trace for trace in read_traces(run)}
    traces = [traces[result.image] for result in done]
    drawn = content.series(done, traces)
    gains = np.array([np.pad(t.gains, (0, 12 - len(t.gains)), mode="edge") for t in traces])
    best = np.maximum.accumulate(np.maximum(gains, 0.0), axis=1)
    assert drawn["curve"]["queries"] == list(range(1, 13))
    for name, share in (("lower", 25), ("median", 50), ("upper", 75)):
        expected = np.percentile(best, share, axis=0)
        np.testing.assert_allclose(drawn["curve"][name], expected, atol=1e-6)
    reach = [(255 - r.score_clean if r.direction == "up" else r.score_clean) / 255 for r in done]
    went = np.array([r.gain for r in done]) / reach
    expected = [(went >= b).mean() for b in drawn["crossing"]["b"]]
    np.testing.assert_allclose(drawn["crossing"]["share"], expected, atol=1e-6)


def test_charts_in_words(summary, run):
    done = [result for result in run.results if not result.failed]
    traces = {trace.image: trace for trace in read_traces(run)}
    drawn = content.series(done, [traces[result.image] for result in done])
    charts = {chart.id: chart for chart in content.charts(summary, run.results, drawn)}
    assert list(charts) == [
        *("queries", "scores", "mos", "crossing"),
        *(("ssim",) if summary.means.jod is None else ("jod", "ssim")),
    ]
    without = changed(summary, means={"jod": None})
    said = content.charts(without, run.results, drawn)
    assert "JOD" not in "".join(chart.title for chart in said)
    ups = sum(result.direction == "up" for result in done)
    assert charts["scores"].text.startswith(
        f"The attack tried to make {ups} images look better to the model, and {7 - ups} worse."
    )
    assert number(summary.scores.clean_mos.srocc, 2) in charts["mos"].text
    assert charts["queries"].table.rows[-1] == (
        "12",
        *(percent(drawn["curve"][name][-1]) for name in ("lower", "median", "upper")),
    )
    assert [row[0] for row in charts["crossing"].table.rows] == [
        f"{b} %" for b in range(0, 101, 10)
    ]
    pooled = content.charts(asked(summary, budget_total=96), run.results, drawn)
    assert "queries" not in [chart.id for chart in pooled]


@pytest.mark.parametrize("has_jod", [False, True])
def test_the_table_has_a_row_for_each_image(run, has_jod):
    values = content.values(run.results, has_jod=has_jod)
    assert [row[0] for row in values.rows] == [result.image for result in run.results]
    assert all(len(row) == len(values.columns) for row in values.rows)
    assert ("JOD" in values.columns) == has_jod


def test_scored_keeps_every_improvement_of_a_long_search():
    rng = np.random.default_rng(0)
    gains = np.cumsum(rng.normal(size=9000)) / 1e3
    gains[[0, 17]] = 0.0, np.nan
    trace = Trace("a.png", "up", 1.0, gains, gains)
    scored = content.scored(trace)
    assert scored["every"] == 5
    assert scored["queries"] == list(range(1, 9001, 5))
    np.testing.assert_allclose(scored["gains"], gains[::5], atol=1e-6)
    best, expected = 0.0, []
    for query, gain in enumerate(gains, start=1):
        if gain > best:
            best = gain
            expected.append((query, best))
    assert scored["improved_queries"] == [query for query, _ in expected]
    np.testing.assert_allclose(scored["improved_gains"], [gain for _, gain in expected], atol=1e-6)
    assert (scored["best_queries"][0], scored["best_queries"][-1]) == (1, 9000)
    assert scored["best_gains"][-1] == pytest.approx(best, abs=1e-6)


def test_a_stage_without_a_query_of_its_own_is_not_told():
    gains = np.zeros(10)
    stages = [(2, "bank"), (5, "filter"), (5, "regions"), (11, "way back")]
    reported = content.scored(Trace("a.png", "up", 1.0, gains, gains), stages)["stages"]
    assert reported == [{"query": 2, "name": "bank"}, {"query": 5, "name": "regions"}]


def test_records_are_strict_json(run):
    for k, result in enumerate(run.results):
        record = content.image_record(result, k)
        assert json.loads(json.dumps(record, allow_nan=False)) == record
    unchanged = next(result for result in run.results if result.status == "unchanged")
    assert math.isinf(unchanged.psnr)
    assert content.image_record(unchanged, 0)["psnr"] is None


def test_numbers_as_people_read_them():
    values = (None, math.nan, math.inf, -0.12345, 2.0)
    assert [number(v) for v in values] == ["–", "–", "∞", "−0.123", "2.000"]
    assert (percent(0.1234), percent(None)) == ("12.3 %", "–")

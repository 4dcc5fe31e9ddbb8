"""An audit: runs, the worst case over them, going on, the card, and what the command says."""

import csv
import hashlib
import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import iqattack
from iqattack.auditing import (
    WORST,
    Card,
    Policy,
    Rule,
    Suite,
    beside,
    judged,
    read_card,
    read_suite,
    reference_cards,
    references_for,
)
from iqattack.auditing.card import SuiteRecord
from iqattack.cli import main
from iqattack.errors import InputError, RunError
from iqattack.evaluation import bootstrap_interval, evaluate_scores, mean_gain, srocc
from iqattack.reporting.card_content import published
from iqattack.runs import read_traces

MODEL = """
import pathlib

ASKED = pathlib.Path(__file__).with_name("asked")

def load():
    def score(images):
        with ASKED.open("a") as file:
            file.write("x" * len(images))
        exact = images.long().flatten(1)
        return (exact * exact).sum(1).double() / exact.shape[1] / 255.0

    score.score_range, score.lower_better = (0.0, 255.0), False
    return score
"""
SUITE: dict[str, Any] = {
    "name": "mine",
    "version": 1,
    "about": "Mine.",
    "budgets": [20, 30],
    "seeds": [0, 1],
    "attempts": [
        {"attack": "noise", "constraint": "linf:3"},
        {"attack": "square", "constraint": "linf:3"},
        {"attack": "noise", "constraint": "linf:8"},
    ],
}
TOML = """
name = "mine"
version = 1
about = "Mine."
budgets = [6, 20]
attempts = [{attack = "noise", constraint = "linf:8"}, {attack = "square", constraint = "linf:8"}]
"""


@pytest.fixture(autouse=True, scope="module")
def _few_resamples():
    """Intervals take longer than everything else here, and have tests of their own."""
    few = partial(evaluate_scores, resamples=20)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("runs.summary", "auditing.from_runs"):
            patch.setattr(f"iqattack.{module}.evaluate_scores", few)
        patch.setattr("iqattack.auditing.from_runs.RESAMPLES", 20)
        yield


def _prepare(folder: Path) -> None:
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for k in range(6):
        pixels = rng.integers(20 + 20 * k, 60 + 20 * k, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{k:02d}.png")
    (folder / "model.py").write_text(MODEL)
    (folder / "mine.toml").write_text(TOML)


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    """A working folder with photos/, six images of 24×20 pixels, model.py and mine.toml."""
    monkeypatch.chdir(tmp_path)
    _prepare(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A folder like `work` with audit/, that of SUITE, for tests that only read it."""
    folder = tmp_path_factory.mktemp("whole")
    _prepare(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        suite = Suite.model_validate(SUITE)
        iqattack.audit("model.py:load", "photos", out="audit", suite=suite)
    return folder


@pytest.fixture
def audited(work):
    def run(out="audit", **options):
        suite = options.pop("suite", Suite.model_validate(SUITE))
        return iqattack.audit("model.py:load", "photos", out=out, suite=suite, **options)

    return run


def rows_of(folder):
    with (folder / "results.csv").open(newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def test_the_worst_case_is_the_best_attack_on_each_image(whole) -> None:
    """Computed again from results.csv of all attacks and seeds."""
    card = read_card(whole / "audit")
    assert len(card.runs) == 6
    runs = [(run, rows_of(whole / "audit" / run.folder)) for run in card.runs]
    for constraint in ("linf:3", "linf:8"):
        inside = [(run, rows) for run, rows in runs if run.constraint == constraint]
        names = sorted(inside[0][1])
        gains = np.array([[float(rows[name]["gain"]) for name in names] for _, rows in inside])
        scores = np.array(
            [[float(rows[name]["score_adv"]) for name in names] for _, rows in inside]
        )
        clean = [float(inside[0][1][name]["score_clean"]) for name in names]
        best, images = gains.argmax(0), np.arange(len(names))
        worst = card.line(WORST, constraint, 30)
        assert worst.images == 6
        assert worst.measures["gain"].value == pytest.approx(gains.max(0).mean())
        ends = worst.measures["gain"].low, worst.measures["gain"].high
        assert ends == pytest.approx(bootstrap_interval(mean_gain, gains.max(0), n=20))
        assert worst.measures["srocc"].value == pytest.approx(srocc(clean, scores[best, images]))
        assert sum(worst.best.values()) == pytest.approx(1.0)
        for attack in worst.best:
            mine = [k for k, (run, _) in enumerate(inside) if run.attack == attack]
            line = card.line(attack, constraint, 30)
            assert line.measures["gain"].value == pytest.approx(gains[mine].mean())
            assert line.measures["srocc"].value == pytest.approx(srocc(clean, scores[mine[0]]))
            share = np.mean([k in mine for k in best])
            assert worst.best[attack] == pytest.approx(share)


def test_curves_are_of_the_best_so_far_and_agree_with_the_lines(whole) -> None:
    """Computed again from every score in the logs; at the suite's budgets exactly as the lines."""
    folder = whole / "audit"
    card = read_card(folder)
    traces = {run.folder: read_traces(iqattack.open_run(folder / run.folder)) for run in card.runs}
    assert len(card.curves) == 5
    for curve in card.curves:
        assert {1, 20, 30} <= set(curve.queries)
        assert list(curve.queries) == sorted(set(curve.queries))
        assert max(curve.queries) == 30
        runs = [run for run in card.runs if run.constraint == curve.constraint]
        mine = [run for run in runs if curve.attack in (WORST, run.attack)]
        for k, queries in enumerate(curve.queries):
            gains = [[max(t.gains[:queries]) for t in traces[run.folder]] for run in mine]
            each = np.max(gains, axis=0) if curve.attack == WORST else np.mean(gains, axis=0)
            assert curve.gain[k] == pytest.approx(each.mean())
            ends = bootstrap_interval(mean_gain, each, n=20)
            assert (curve.low[k], curve.high[k]) == pytest.approx(ends)
        for queries in (20, 30):
            k = curve.queries.index(queries)
            gain = card.line(curve.attack, curve.constraint, queries).measures["gain"]
            assert (curve.gain[k], curve.low[k], curve.high[k]) == (gain.value, gain.low, gain.high)


def test_curves_of_two_images_have_no_interval(audited) -> None:
    for curve in audited(suite="mine.toml", limit=2).curves:
        assert None not in curve.gain
        assert set(curve.low) == set(curve.high) == {None}


@pytest.fixture
def references(work, monkeypatch):
    """The folder of reference cards, empty."""
    folder = work / "references"
    monkeypatch.setattr("iqattack.auditing.reference.CARDS", folder)
    return folder


def test_reference_cards_are_of_the_same_suite_and_of_other_models(audited, references) -> None:
    card = audited(suite="mine.toml", limit=3)
    assert reference_cards(card.suite) == []
    references.mkdir()
    model, suite = card.model, card.suite
    own = card
    other = card.model_copy(update={"model": model.model_copy(update={"name": "other"})})
    changed = card.model_copy(update={"model": model.model_copy(update={"files": {"w": "1"}})})
    strange = card.model_copy(update={"suite": suite.model_copy(update={"digest": "0"})})
    for name, one in (("a", own), ("b", other), ("c", changed), ("d", strange)):
        (references / f"{name}.json").write_text(one.model_dump_json())
    (references / "README.md").write_text("no card")
    assert reference_cards(card.suite) == [own, other, changed]
    assert references_for(card) == [other, changed]


def test_cards_in_the_package_can_be_read() -> None:
    for name in ("quick", "standard"):
        suite = read_suite(name)
        for card in reference_cards(SuiteRecord(id=suite.id, digest=suite.digest)):
            assert card.curves


def test_more_queries_and_more_attacks_are_no_better_for_the_model(whole) -> None:
    card = read_card(whole / "audit")
    for constraint in card.constraints:
        few, many = (card.line(WORST, constraint, q).measures["gain"].value for q in (20, 30))
        assert 0.0 < few <= many
        alone = [
            line for line in card.lines if line.constraint == constraint and line.queries == 30
        ]
        assert many == max(line.measures["gain"].value for line in alone)


def test_smaller_budgets_are_read_from_the_log(audited, whole) -> None:
    """Of an attack that does not plan its budget, they are what a run with that budget gains."""
    card = read_card(whole / "audit")
    alone = {"budgets": [20], "attempts": SUITE["attempts"][-1:]}
    small = audited("small", suite=Suite.model_validate(SUITE | alone))
    of = "noise", "linf:8", 20
    assert card.line(*of).measures == small.line(*of).measures


def test_the_same_bytes_twice_and_with_workers(audited, work, forked_workers) -> None:
    audited("one", suite="mine.toml")
    first = (work / "one" / "card.json").read_bytes()
    audited("two", suite="mine.toml", workers=2)
    assert (work / "two" / "card.json").read_bytes() == first
    audited("one", suite="mine.toml", resume=True)
    assert (work / "one" / "card.json").read_bytes() == first


def test_what_was_stopped_goes_on_and_asks_nothing_twice(audited, work) -> None:
    """In the second of three runs."""
    audited = partial(audited, suite=Suite.model_validate(SUITE | {"seeds": [0]}))
    audited("whole", verified=False)
    asked = work / "asked"
    once = len(asked.read_text())
    asked.unlink()

    def stop():
        return asked.exists() and len(asked.read_text()) > once // 2

    with pytest.raises(iqattack.api.Interrupted):
        audited("audit", verified=False, callbacks=iqattack.Callbacks(stop=stop))
    assert len(list((work / "audit" / "runs").iterdir())) == 2
    assert not (work / "audit" / "card.json").exists()
    audited("audit", verified=False, resume=True)
    assert len(asked.read_text()) <= once + 16  # clean images at the start of a session, a batch
    assert (work / "audit" / "card.json").read_bytes() == (
        work / "whole" / "card.json"
    ).read_bytes()


def test_another_audit_is_not_gone_on_with(audited, work) -> None:
    audited(suite="mine.toml", limit=2)
    with pytest.raises(RunError, match="continue it with --resume"):
        audited(suite="mine.toml", limit=2)
    with pytest.raises(RunError, match="limit is 2 there, 3 here"):
        audited(suite="mine.toml", limit=3, resume=True)
    with pytest.raises(RunError, match="suite is mine-v1 there, quick-v1 here"):
        audited(suite="quick", limit=2, resume=True)
    (work / "mine.toml").write_text(TOML.replace("20", "21"))
    with pytest.raises(RunError, match="digest is"):
        audited(suite="mine.toml", limit=2, resume=True)
    (work / "full").mkdir()
    (work / "full" / "note").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        audited("full")
    assert [path.name for path in (work / "full").iterdir()] == ["note"]


def test_a_card_has_no_folder_of_whoever_made_it(audited, work) -> None:
    card = audited(suite="mine.toml", limit=3)
    text = (work / "audit" / "card.json").read_text()
    assert str(work) not in text
    assert card.model.files == {
        "model.py": hashlib.sha256((work / "model.py").read_bytes()).hexdigest()
    }
    assert read_card("audit") == read_card("audit/card.json") == card
    Card.model_validate(json.loads(text))


def test_the_digest_of_images_is_of_names_and_pixels(audited, work) -> None:
    digests = {audited("one", suite="mine.toml", limit=2).images.digest}
    shutil.copytree("photos", "same")
    (work / "photos" / "00.png").rename(work / "photos" / "000.png")
    digests.add(audited("two", suite="mine.toml", limit=2).images.digest)
    assert len(digests) == 2
    again = iqattack.audit("model.py:load", "same", out="three", suite="mine.toml", limit=2)
    assert again.images.digest in digests


def test_a_defence_is_audited_in_place_of_the_model(audited) -> None:
    card = audited(suite="mine.toml", limit=2, defence="round:20")
    assert card.model.name == "model.py:load, defended by round:20"


def test_opinion_scores_give_drops(audited, work, whole) -> None:
    lines = "".join(f"{k:02d}.png,{k}\n" for k in range(6))
    (work / "mos.csv").write_text("image,mos\n" + lines)
    card = audited(suite="mine.toml", mos="mos.csv")
    worst = card.line(WORST, "linf:8", 20)
    assert worst.measures["srocc_drop"].value is not None
    assert "srocc_drop" not in read_card(whole / "audit").lines[0].measures


def test_a_gain_on_the_scale_of_the_clean_scores(audited, work) -> None:
    """Computed again from results.csv: the mean change over the range of the clean scores."""
    one = {"seeds": [0], "objective": "up", "attempts": SUITE["attempts"][:1]}
    card = audited(suite=Suite.model_validate(SUITE | one))
    rows = rows_of(work / "audit" / card.runs[0].folder).values()
    clean, attacked = (
        np.array([float(row[name]) for row in rows]) for name in ("score_clean", "score_adv")
    )
    line = card.line("noise", "linf:3", 30)
    expected = (attacked - clean).mean() / np.ptp(clean)
    assert line.measures["gain_on_clean"].value == pytest.approx(expected)


def test_published_figures_stand_beside_measured_ones(work, capsys) -> None:
    figure = (
        '{attack = "noise", constraint = "linf:8", queries = 20, model = "%s", measure = "%s", '
        'value = 0.25, source = "A. Nonymous, 2024"}'
    )
    figures = ", ".join(figure % pair for pair in [("ours", "gain"), ("TOPIQ-NR", "krocc_drop")])
    (work / "mine.toml").write_text(TOML + f"published = [{figures}]\n")
    args = ["audit", "model.py:load", "photos", "--suite", "mine.toml", "--out", "audit"]
    assert main(args) == 0
    out = capsys.readouterr().out
    assert "A. Nonymous, 2024" in out
    card = read_card("audit")
    first, second = beside(read_suite("mine.toml"), card)
    assert first.measured == card.line("noise", "linf:8", 20).measures["gain"]
    assert second.measured is None  # no opinion scores
    assert not first.same
    names = {
        "pyiqa:topiq_nr": [False, True],
        "TOPIQ-NR": [False, True],
        "ours": [True, False],
        "topiq_nr": [False, False],
        "evil.py:topiq_nr": [False, False],
        "evil.py:ours": [False, False],
    }
    for name, same in names.items():
        named = card.model_copy(update={"model": card.model.model_copy(update={"name": name})})
        figures = beside(read_suite("mine.toml"), named)
        assert [each.same for each in figures] == same, name
        shown = [row[0].endswith(" (this model)") for row in published(figures, named).rows]
        assert shown == same, name


def test_a_run_that_was_touched_fails_its_verification(audited, work, capsys) -> None:
    card = audited(suite="mine.toml", limit=2, verified=False)
    assert all(run.verified is None for run in card.runs)
    picture = next((work / "audit" / card.runs[0].folder / "adversarial").glob("*.png"))
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(picture)
    args = ["audit", "model.py:load", "photos", "--suite", "mine.toml", "--limit", "2"]
    assert main([*args, "--out", "audit", "--resume"]) == 1
    assert "not as reported" in capsys.readouterr().err


@pytest.mark.parametrize(("at_most", "queries", "status"), [(1.0, 20, 0), (0.0001, 20, 1)])
def test_a_policy_gives_the_exit_status(work, capsys, at_most, queries, status) -> None:
    rule = f'[[rules]]\nmeasure = "gain"\nat_most = {at_most}\nqueries = {queries}\n'
    (work / "policy.toml").write_text(rule)
    args = ["audit", "model.py:load", "photos", "--suite", "mine.toml", "--limit", "4"]
    assert main([*args, "--out", "audit", "--policy", "policy.toml"]) == status
    output = capsys.readouterr().out
    assert {0: "holds:", 1: "FAILS:"}[status] in output
    assert "<testsuite" in (work / "audit" / "junit.xml").read_text()
    words = ("holds", "does not hold", "could not be measured")
    assert words[status] in (work / "audit" / "summary.md").read_text()
    assert f"The policy {words[status]}." in (work / "audit" / "index.html").read_text()
    assert (work / "audit" / "policy.toml").read_text() == rule


def test_a_wrong_policy_or_suite_is_found_before_anything_is_asked(work, capsys) -> None:
    (work / "policy.toml").write_text("[[rules")
    args = ["audit", "model.py:load", "photos", "--out", "audit"]
    assert main([*args, "--policy", "policy.toml"]) == 2
    assert main([*args, "--suite", "quik"]) == 2
    assert main([*args, "--suite", "mine.toml", "--defence", "jpeg:0"]) == 2
    assert not (work / "audit").exists()
    assert not (work / "asked").exists()
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 3


def test_the_command_shows_every_line(work, capsys) -> None:
    args = ["audit", "model.py:load", "photos", "--suite", "mine.toml", "--limit", "4"]
    assert main([*args, "--out", "audit"]) == 0
    out = capsys.readouterr().out
    for word in (
        "worst case",
        "noise",
        "square",
        "mine-v1",
        "card  audit/card.json",
        "page  audit/index.html",
    ):
        assert word in out
    with pytest.raises(InputError, match="is not a card"):
        (work / "none.json").write_text("{}")
        read_card("none.json")


def test_fresh_scores_of_a_run_change_no_card(audited, work) -> None:
    card = audited(suite="mine.toml", limit=3)
    iqattack.rescore(work / "audit" / card.runs[0].folder, times=2)
    before = (work / "audit" / "card.json").read_bytes()
    summary = iqattack.evaluate(work / "audit" / card.runs[0].folder)
    assert summary.rescored is not None
    assert summary.rescored.text in summary.findings
    assert audited(suite="mine.toml", limit=3, resume=True) == card
    assert (work / "audit" / "card.json").read_bytes() == before


def test_an_audit_may_ask_for_fresh_scores(work, capsys) -> None:
    """Each run has as many as are wanted; the card reports their gain, and is checked with it."""
    options = ["photos", "--suite", "mine.toml", "--limit", "3", "--defence", "noise:3"]
    asked = ["audit", "model.py:load", *options, "--out", "audit", "--rescore", "3"]
    assert main(asked) == 0
    output = " ".join(capsys.readouterr().out.split())
    card = read_card("audit")
    for run in card.runs:
        found = iqattack.evaluate(work / "audit" / run.folder).rescored
        assert run.fresh is not None
        assert found is not None
        assert (run.fresh.times, run.fresh.gain, run.fresh.bias) == (
            3,
            found.gain_fresh,
            found.bias,
        )
        gain, reported = 100 * found.gain_fresh, 100 * found.gain
        assert f"3 fresh scores of each picture put the mean gain at {gain:.1f} %" in output
        assert f"instead of the reported {reported:.1f} %" in run.without_bias
        assert run.without_bias in output
    page = (work / "audit" / "index.html").read_text().replace("&#39;", "'")
    assert card.runs[0].without_bias in page
    before = (work / "asked").stat().st_size
    assert main([*asked, "--resume"]) == 0
    assert (work / "asked").stat().st_size == before
    assert main([*asked[:-1], "4", "--resume"]) == 2  # another audit
    assert "rescore is 3 there, 4 here" in capsys.readouterr().err
    checked = iqattack.check_card("audit", suite="mine.toml")
    assert checked.outcome == "holds", checked.of("not verified")
    data = json.loads((work / "audit" / "card.json").read_text())
    data["runs"][0]["fresh"]["gain"] += 0.1
    (work / "audit" / "card.json").write_text(json.dumps(data))
    checked = iqattack.check_card("audit", suite="mine.toml")
    assert checked.outcome == "refuted"
    assert "runs.0.fresh" in "\n".join(map(str, checked.of("refuted")))


def test_too_few_fresh_scores_are_refused_before_any_query(audited, work) -> None:
    with pytest.raises(InputError, match="times 1: expected 2 to"):
        audited(rescore=1)
    assert not (work / "asked").exists()


def test_how_images_are_prepared_is_on_the_card(audited, work) -> None:
    plain = audited(suite="mine.toml", limit=3)
    prepared = audited("other", suite="mine.toml", limit=3, input="size=8x6")
    assert plain.model.input is None
    assert prepared.model.input == "size=8x6"
    model = json.loads((work / "audit" / "card.json").read_text())["model"]
    assert not {"input", "compile", "autocast"} & model.keys()
    assert json.loads((work / "other" / "card.json").read_text())["model"]["input"] == "size=8x6"
    assert read_card("other") == prepared
    assert "size=8x6" in (work / "other" / "index.html").read_text()
    assert "size=8x6" not in (work / "audit" / "index.html").read_text()


INFINITE = float("inf")
FAULTS = {
    "curve_inf": (lambda c: c["curves"][0]["gain"].__setitem__(0, INFINITE), "curves.0.gain inf"),
    "curve_short": (lambda c: c["curves"][0].update(gain=[0.1]), "curves.0: queries, gain"),
    "nan": (lambda c: gain(c).update(value=float("nan")), "lines.0.measures.gain.value nan"),
    "low_nan": (lambda c: gain(c).update(low=float("nan")), "lines.0.measures.gain.low nan"),
    "outside": (lambda c: gain(c).update(value=0.1, low=0.2, high=0.3), "low ≤ value ≤ high"),
    "turned": (lambda c: gain(c).update(value=None, low=0.2, high=0.1), "low ≤ value ≤ high"),
    "no_gain": (lambda c: c["lines"][0]["measures"].pop("gain"), "lines.0.measures: gain"),
    "no_srocc": (lambda c: c["lines"][1]["measures"].pop("srocc"), "lines.1.measures: srocc"),
    "srocc": (lambda c: c["lines"][0]["measures"]["srocc"].update(value=1.5), "srocc.value 1.5"),
    "twice": (
        lambda c: c.update(lines=c["lines"] * 2),
        "lines: worst case, linf:8, 6 is given twice",
    ),
    "share": (lambda c: c["lines"][0].update(best={"x": INFINITE}), "lines.0.best.x inf"),
    "queries": (lambda c: c["lines"][0].update(queries=10**400), "lines.0.queries with too many"),
    "range": (lambda c: c["model"].update(score_range=[1, 0]), "model.score_range 1,0"),
    "count": (lambda c: c["images"].update(count=-5), "images: partly"),
    "noise": (lambda c: c["runs"][0].update(noise=INFINITE), "runs.0.noise inf"),
    "fresh_nan": (lambda c: fresh(c, gain=float("nan")), "runs.0.fresh.value nan"),
    "fresh_outside": (lambda c: fresh(c, low=0.2, high=0.3), "low ≤ value ≤ high"),
    "fresh_bias": (lambda c: fresh(c, bias=-INFINITE), "runs.0.fresh.bias -inf"),
    "fresh_error": (lambda c: fresh(c, error=-1.0), "runs.0.fresh.error -1"),
    "fresh_times": (lambda c: fresh(c, times=0), "runs.0.fresh.times 0"),
    "suite": (lambda c: c["suite"].update(id="quick-v1 "), "suite.id: String should match pattern"),
    "name": (lambda c: c["model"].update(name="A" * 10**6), "model.name 'AAAA"),
    "extra": (lambda c: c["model"].update(odd=1), "model.odd"),
}


def gain(card):
    return card["lines"][0]["measures"]["gain"]


def fresh(card, **changes):
    """Give the first run fresh scores, with changes that make them impossible."""
    sound = {"times": 2, "gain": 0.1, "low": 0.0, "high": 0.2, "bias": 0.1, "error": 0.01}
    card["runs"][0]["fresh"] = sound | changes


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A card as JSON."""
    folder = tmp_path_factory.mktemp("written")
    for k in range(3):
        pixels = np.random.default_rng(k).integers(20, 60, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
    (folder / "model.py").write_text(MODEL)
    (folder / "mine.toml").write_text(TOML)
    card = iqattack.audit(f"{folder}/model.py:load", folder, out=folder / "audit",
                          suite=str(folder / "mine.toml"))  # fmt: skip
    return card.model_dump_json()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_card_from_elsewhere_is_refused_for_what_cannot_be(written, tmp_path, capsys, fault):
    change, reason = FAULTS[fault]
    card = json.loads(written)
    (tmp_path / "card.json").write_text(json.dumps(card))
    read_card(tmp_path)
    change(card)
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(InputError) as raised:
        read_card(tmp_path)
    assert f"{tmp_path / 'card.json'}: is not a card (" in str(raised.value)
    assert reason in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) < 400 + len(str(tmp_path))
    capsys.readouterr()
    assert main(["report", str(tmp_path)]) == 2
    assert reason in capsys.readouterr().err


def test_a_card_is_a_plain_file_of_some_size(tmp_path, monkeypatch) -> None:
    with pytest.raises(InputError, match="no such file; check the path"):
        read_card(tmp_path / "card.json")
    (tmp_path / "card.json").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        read_card(tmp_path)
    (tmp_path / "large.json").write_text("[" * 200_000)
    with pytest.raises(InputError, match="is not a card"):
        read_card(tmp_path / "large.json")
    monkeypatch.setattr("iqattack.runs.files.MOST_BYTES", 1000)
    with pytest.raises(InputError, match="expected at most 1,000"):
        read_card(tmp_path / "large.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_card_that_is_a_pipe_is_not_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "card.json")
    with pytest.raises(InputError, match="is not a regular file"):
        read_card(tmp_path)


@pytest.mark.parametrize("text", ["[" * 200_000, "[]", '{"a": 1}', "nothing"])
def test_what_was_verified_and_cannot_be_read_is_said_and_asked_again(
    audited, work, capsys, text
) -> None:
    card = audited(suite="mine.toml", limit=3)
    (work / "audit" / "verified.json").write_text(text)
    args = ["audit", "model.py:load", "photos", "--suite", "mine.toml", "--limit", "3"]
    assert main([*args, "--out", "audit", "--resume", "--no-verify"]) == 0
    output = capsys.readouterr().err
    assert "verified.json: cannot be read (" in output
    assert "with --no-verify" in output
    asked = len((work / "asked").read_text())
    assert main([*args, "--out", "audit", "--resume"]) == 0
    assert "verified.json: cannot be read (" in capsys.readouterr().err
    assert len((work / "asked").read_text()) > asked
    assert read_card("audit") == card
    assert main([*args, "--out", "audit", "--resume"]) == 0
    assert "cannot be read" not in capsys.readouterr().err


def test_what_could_not_be_measured_is_no_pass(work, capsys) -> None:
    """Two images have no order."""
    (work / "policy.toml").write_text('[[rules]]\nmeasure = "srocc"\nat_least = -1.0\n')
    args = ["audit", "model.py:load", "photos", "--suite", "mine.toml", "--limit", "2"]
    assert main([*args, "--out", "audit", "--policy", "policy.toml"]) == 2
    assert "not measured:" in capsys.readouterr().out
    assert "could not be measured" in (work / "audit" / "summary.md").read_text()


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("queries = 7", "available: 6, 20"),
        ('constraint = "linf:3"', "available: linf:8"),
        ('attack = "nes"', "noise, square, worst case"),
        ('measure = "srocc_drop"', "add --mos"),
    ],
)
def test_a_rule_that_no_card_has_a_line_for_is_refused_first(work, capsys, rule, reason) -> None:
    measure = "" if "measure" in rule else 'measure = "gain"'
    (work / "policy.toml").write_text(f"[[rules]]\n{measure}\nat_most = 1.0\n{rule}\n")
    args = ["audit", "model.py:load", "photos", "--suite", "mine.toml", "--out", "audit"]
    assert main([*args, "--policy", "policy.toml"]) == 2
    assert reason in capsys.readouterr().err
    assert not (work / "audit").exists()


def test_specs_of_a_policy_are_those_of_the_suite_however_they_are_written(work) -> None:
    rule = '[[rules]]\nmeasure = "gain"\nat_most = 1.0\nconstraint = "linf:8.0"\n'
    (work / "policy.toml").write_text(rule)
    args = ["audit", "model.py:load", "photos", "--suite", "mine.toml", "--limit", "3"]
    assert main([*args, "--out", "audit", "--policy", "policy.toml"]) == 0


def test_a_finished_audit_is_judged_again_at_no_query(audited, work) -> None:
    audited(suite="mine.toml", limit=3)
    asked = len((work / "asked").read_text())
    (work / "policy.toml").write_text('[[rules]]\nmeasure = "gain"\nat_most = 1.0\n')
    args = ["audit", "model.py:load", "photos", "--suite", "mine.toml", "--limit", "3"]
    assert main([*args, "--out", "audit", "--resume", "--policy", "policy.toml"]) == 0
    assert len((work / "asked").read_text()) == asked
    card = audited(suite="mine.toml", limit=3, resume=True, verified=False)
    assert all(run.verified for run in card.runs)


ODD = """
from iqattack.attacks import load_attack

def search(task):
    if task.image.shape[1] == 22:
        raise RuntimeError("not this one")
    yield from load_attack("square")(task)
"""


def test_an_image_that_one_attack_fails_on_is_in_the_worst_case_of_the_others(work, capsys) -> None:
    (work / "odd.py").write_text(ODD)
    pixels = np.random.default_rng(1).integers(90, 160, (22, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(work / "photos" / "odd.png")
    (work / "photos" / "junk.png").write_bytes(b"junk")
    (work / "mine.toml").write_text(TOML.replace('"square"', '"odd.py:search"'))
    args = ["audit", "model.py:load", "photos", "--suite", "mine.toml", "--out", "audit"]
    assert main(args) == 1
    output = capsys.readouterr()
    assert "1 of 8 images could not be attacked" in output.err
    assert "1 of 8 images failed with some" in output.err
    card = read_card("audit")
    images = {line.attack: line.images for line in card.lines if line.queries == 20}
    assert images == {WORST: 7, "noise": 7, "odd.py:search": 6}
    assert (card.images.count, card.images.attacked, card.images.partly) == (8, 7, 1)
    assert "1 of 8 images could not be attacked" in card.verdict


def test_attacks_in_files_are_on_the_card_by_name_and_content(work) -> None:
    (work / "odd.py").write_text(ODD)
    (work / "mine.toml").write_text(TOML.replace('"square"', '"odd.py:search"'))
    card = iqattack.audit("model.py:load", "photos", out="audit", suite="mine.toml", limit=2)
    rule = Rule(measure="gain", at_most=1.0, attack="odd.py:search")
    assert [outcome.state for outcome in judged(Policy(rules=(rule,)), card)] == ["passed"]
    assert str(work) not in (work / "audit" / "card.json").read_text()
    assert card.runs[1].folder == "runs/02-odd.py-search-linf-8"
    there = read_suite("mine.toml").digest
    (work / "elsewhere").mkdir()
    (work / "elsewhere" / "odd.py").write_text(ODD)
    text = TOML.replace('"square"', f'"{work}/elsewhere/odd.py:search"')
    (work / "mine.toml").write_text(text)
    assert read_suite("mine.toml").digest == there
    (work / "elsewhere" / "odd.py").write_text(ODD + "# more\n")
    assert read_suite("mine.toml").digest != there


def test_runs_of_other_pixels_make_no_card(audited, work) -> None:
    audited(suite="mine.toml", verified=False)
    shutil.rmtree(next((work / "audit" / "runs").glob("02*")))
    Image.fromarray(np.full((20, 24, 3), 99, np.uint8)).save(work / "photos" / "00.png")
    with pytest.raises(RunError, match=r"had other pixels of 00\.png"):
        audited(suite="mine.toml", verified=False, resume=True)


def test_another_model_file_is_another_audit(audited, work) -> None:
    audited(suite="mine.toml", limit=2)
    (work / "model.py").write_text(MODEL + "# more\n")
    with pytest.raises(RunError, match="model_files is"):
        audited(suite="mine.toml", limit=2, resume=True)


@pytest.mark.parametrize(
    "wrong",
    [
        ["nosuch.py:load", "photos"],
        ["model.py:load", "nowhere"],
        ["model.py:load", "photos", "--limit", "0"],
        ["model.py:load", "--mos", "mos.csv"],
        ["model.py:load", "photos", "--mos", "absent.csv"],
        ["model.py:load", "photos", "--suite", "white.toml"],
        ["model.py:load", "photos", "--suite", "named.toml"],
        ["model.py:load", "photos", "--suite", "quick-v"],
    ],
)
def test_what_is_refused_writes_and_asks_nothing(work, capsys, wrong) -> None:
    (work / "white.toml").write_text(TOML.replace('"square"', '"pgd"'))
    (work / "named.toml").write_text(TOML.replace('"mine"', '"quick"'))
    suite = [] if "--suite" in wrong else ["--suite", "mine.toml"]
    assert main(["audit", *wrong, *suite, "--out", "audit"]) == 2
    assert not (work / "audit").exists()
    assert not (work / "asked").exists()
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize("wrong", [42, None, lambda images: images])
def test_what_is_no_model_is_an_error_of_one_line(work, wrong) -> None:
    with pytest.raises(InputError):
        iqattack.audit(wrong, "photos", out="audit", suite="mine.toml")
    with pytest.raises(InputError):
        iqattack.audit(wrong, "photos", out="audit", suite="mine.toml", defence="jpeg:75")
    with pytest.raises(InputError):
        iqattack.audit("model.py:load", "photos", out="audit", suite=5)  # type: ignore[arg-type]


# -- what no figure of a card may hide ----------------------------------------------------------

TINY = Suite.model_validate(SUITE | {"budgets": [12], "seeds": [0]})


def declared(low, high, function=lambda images: images.double().mean((1, 2, 3)), **options):
    return iqattack.wrap(
        function, name="mine", score_range=(low, high), lower_better=False, **options
    )


def test_a_wide_range_makes_no_model_more_robust(work) -> None:
    """The gain in standard deviations is the same; that of the range is a tenth."""
    narrow, wide = (
        iqattack.audit(declared(*ends), "photos", out=out, suite=TINY).line(WORST, "linf:8", 12)
        for out, ends in (("a", (0.0, 255.0)), ("b", (-1000.0, 1550.0)))
    )
    gains = [line.measures["gain"].value for line in (narrow, wide)]
    assert gains[0] == pytest.approx(10.0 * gains[1], rel=1e-6)
    assert narrow.measures["gain_sd"].value == pytest.approx(
        wide.measures["gain_sd"].value, rel=1e-6
    )
    clean = [np.asarray(Image.open(path)).mean() for path in sorted(Path("photos").iterdir())]
    assert narrow.measures["gain_sd"].value == pytest.approx(gains[0] * 255.0 / np.std(clean))


def test_of_a_constant_model_nothing_is_said(work, capsys) -> None:
    def same(images):
        return [50.0] * len(images)

    card = iqattack.audit(declared(0.0, 100.0, same), "photos", out="audit", suite=TINY)
    assert {run.silent for run in card.runs} == {"constant"}
    assert card.verdict == (
        "mine: nothing can be said about its robustness: it gives the same score to all clean "
        "images."
    )
    assert card.line(WORST, "linf:3", 12).measures["gain_sd"].value is None
    assert (
        "Nothing can be said about the robustness of mine" in Path("audit/index.html").read_text()
    )
    found = iqattack.check_card("audit", suite=TINY, images="photos")
    assert (found.outcome, [f.unranked for f in found.of("note")]) == ("holds", [True])
    row = iqattack.leaderboard(["audit"], "site", suite=TINY, images="photos")
    (only,) = row.sections[0].rankings[0].rows
    assert only.rank is None
    assert "same score to all clean images" in only.unranked[0]


def test_clean_scores_that_differ_by_rounding_have_no_deviation(work) -> None:
    """Twelve times 0.1 has a standard deviation of 1.4e-17 in floating point."""

    def jump(images):
        clean = [np.asarray(Image.open(path)).sum() for path in sorted(Path("photos").iterdir())]
        return [0.1 if int(image.long().sum()) in clean else 0.9 for image in images]

    for k in range(6):
        shutil.copyfile(f"photos/0{k}.png", f"photos/1{k}.png")
    card = iqattack.audit(declared(0.0, 1.0, jump), "photos", out="audit", suite=TINY)
    line = card.line(WORST, "linf:3", 12)
    assert line.measures["gain"].value == pytest.approx(0.8)
    assert line.measures["gain_sd"].value is None
    assert iqattack.check_card("audit", suite=TINY, images="photos").outcome == "holds"


def test_equal_gains_are_credited_to_every_attack(work) -> None:
    """Every search finds one of the many changes that move the score to the end of the range."""

    def jump(images):
        pixels = images.long().flatten(1)
        drawn = (pixels * torch.arange(pixels.shape[1])).sum(1) % 97 > 48
        return (100.0 * drawn).tolist()

    card = iqattack.audit(declared(0.0, 100.0, jump), "photos", out="audit", suite=TINY)
    line = card.line(WORST, "linf:3", 12)
    assert line.best == {"noise": 1.0, "square": 1.0}


def test_a_random_defence_is_said_and_bars_a_rank(work) -> None:
    model = declared(0.0, 255.0)
    card = iqattack.audit(model, "photos", out="audit", suite=TINY, defence="score-noise:5")
    assert card.model.drawn
    assert "Its defence is random" in Path("audit/index.html").read_text()
    found = iqattack.check_card("audit", suite=TINY, images="photos")
    assert found.outcome == "holds", found.findings
    (note,) = [f for f in found.of("note") if f.unranked]
    assert "partly luck" in note.what
    for path in [
        *Path("audit").glob("runs/*/run.toml"),
        *Path("audit").glob("runs/*/summary.json"),
    ]:
        path.write_text(
            path.read_text()
            .replace("drawn = true\n", "")
            .replace('"drawn": true', '"drawn": false')
        )
    data = json.loads(Path("audit/card.json").read_text())
    del data["model"]["drawn"]
    Path("audit/card.json").write_text(json.dumps(data))
    found = iqattack.check_card("audit", suite=TINY, images="photos")
    assert "is not said to be random" in "\n".join(map(str, found.of("refuted")))
    again = iqattack.audit(
        model, "photos", out="again", suite=TINY, defence="score-noise:5", rescore=4
    )
    assert "Its defence is random" not in Path("again/index.html").read_text()
    gains = {run.fresh.gain < 0.5 * (run.fresh.gain + run.fresh.bias) for run in again.runs}
    assert gains == {True}  # what was reported is mostly luck
    assert not iqattack.audit(model, "photos", out="plain", suite=TINY).model.drawn


def test_images_that_are_there_twice_are_said(work) -> None:
    shutil.copyfile("photos/00.png", "photos/copy.png")
    card = iqattack.audit(declared(0.0, 255.0), "photos", out="audit", suite=TINY)
    assert card.images.twice == 1
    assert "1 of 7 images repeat the pixels of others" in Path("audit/index.html").read_text()


def test_a_name_that_a_check_would_refute_is_refused(work) -> None:
    shutil.copyfile("photos/00.png", "photos/a\u202egnp.png")
    with pytest.raises(InputError, match="reads in one direction; rename it"):
        iqattack.audit(declared(0.0, 255.0), "photos", out="audit", suite=TINY)
    assert not Path("audit").exists()

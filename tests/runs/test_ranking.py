"""Runs whose objective is the ranking: one budget, a result that verifies, a curve."""

import json
import signal
import time
from collections import Counter
from contextlib import closing
from functools import partial
from typing import Any

import pytest

import iqattack
from iqattack.engine import Interrupted, QueryLog
from iqattack.errors import InputError, RunError
from iqattack.evaluation import krocc, ndcg, srocc, top_overlap
from iqattack.models import wrap
from iqattack.reporting import write_report
from iqattack.runs import Callbacks, Run, execute, verify
from iqattack.runs.how import How
from iqattack.runs.ranking import ORDER, read_order
from iqattack.runs.run import LOG

TOTAL = 120


@pytest.fixture
def counted():
    """Mean brightness, narrowly ranged, and how many images it was asked for."""
    asked = []

    def score(batch):
        asked.append(len(batch))
        return batch.double().mean((1, 2, 3))

    return wrap(score, name="brightness", score_range=(0.0, 255.0), lower_better=False), asked


@pytest.fixture
def ranked(tmp_path, settings, images, counted):
    """Make a run, or go on with it."""

    def run(folder="run", resume=False, callbacks=None, how=None, scorer=None, **changes):
        given = {
            "attack": "filter-search",
            "constraint": "linf:40",
            "objective": "srocc",
            "budget_total": TOTAL,
            "queries": 2000,
        } | changes
        start = Run.resume if resume else Run.create
        model = counted[0] if scorer is None else scorer
        with start(tmp_path / folder, settings(**given), model) as begun:
            execute(begun, images, model, how=how or How(batch=2), callbacks=callbacks)
        return Run.open(tmp_path / folder)

    return run


def written(run):
    pictures = {path.name: path.read_bytes() for path in run.images.iterdir()}
    return pictures, (run.folder / "results.csv").read_bytes()


@pytest.mark.parametrize("objective", ["srocc", "top:2", "top:1,into=0.png", "top:2,out=4.png"])
@pytest.mark.parametrize("total", [6, 17, TOTAL])
def test_a_run_stays_within_its_budget_and_verifies(ranked, counted, objective, total):
    run = ranked(objective=objective, budget_total=total)
    assert sum(counted[1]) <= total
    with closing(run.open_log()) as log:
        assert sum(map(log.queries, log.images())) == sum(counted[1])
        assert 5 + sum(queries for _, queries in read_order(log)) == sum(counted[1])
    summary, asked = run.summary(), sum(counted[1])
    found = verify(run, counted[0])
    assert found.ok, found.differences
    assert summary.ranking.budget == total
    assert summary.ranking.last.queries == asked
    assert summary.ranking == Run.open(run.folder).summary().ranking
    assert "for all images" in summary.verdict.text
    assert {result.attack for result in run.results} == {"filter-search, pooled"}


def test_the_ranking_is_turned_round_and_reported(ranked):
    run = ranked(constraint="linf:90")
    ranking = run.summary().ranking
    clean = [result.score_clean for result in run.results]
    attacked = [result.score_adv for result in run.results]
    assert ranking.last.srocc == srocc(clean, attacked) < 0.0
    assert ranking.last.value == ranking.last.srocc
    assert ranking.last.krocc == krocc(clean, attacked)
    assert ranking.last.ndcg == pytest.approx(ndcg(clean, attacked, ranking.places), abs=1e-9)
    assert ranking.last.overlap == top_overlap(clean, attacked, ranking.places)
    assert ranking.touched == sum(result.gain > 0 for result in run.results)
    queries = [point.queries for point in ranking.curve]
    assert queries[0] == 5
    assert ranking.curve[0].srocc == 1.0
    assert queries == sorted(set(queries))
    values = [point.value for point in ranking.curve]
    assert values == sorted(values, reverse=True)
    page = write_report(run).read_text()
    assert "The ranking against all queries" in page
    assert "queries for all images" in page


def test_only_the_chosen_image_is_touched(ranked):
    run = ranked(objective="top:1,into=3.png", budget_total=200)
    touched = [result.image for result in run.results if result.gain > 0]
    assert touched == ["3.png"]
    assert run.summary().ranking.last.value == 0.0
    assert run.summary().queries < 200  # there it stops
    assert "1 of 1 chosen is in the intended place" in run.summary().verdict.text
    for result in run.results:
        assert (result.queries == 1) == (result.image != "3.png")


def test_an_interrupted_run_goes_on_at_no_query_twice(ranked, counted):
    def asked(times):
        return sum(counted[1]) >= times

    whole = written(ranked("whole"))
    once = sum(counted[1])
    for after in (3, 8, 40, TOTAL - 1):
        counted[1].clear()
        folder = f"after-{after}"
        stop = Callbacks(stop=partial(asked, after))
        with pytest.raises(Interrupted):
            ranked(folder, callbacks=stop)
        run = ranked(folder, resume=True)
        assert sum(counted[1]) == once, after
        assert written(run) == whole, after
        ranked(folder, resume=True)  # nothing is left to do
        assert sum(counted[1]) == once, after
        assert verify(run, counted[0]).ok, after


def test_a_lost_picture_is_made_again_from_the_log(ranked, counted):
    run = ranked()
    before, once = written(run), sum(counted[1])
    (run.images / "4.png").unlink()
    assert written(ranked(resume=True)) == before
    assert sum(counted[1]) == once


def test_neither_batches_nor_threads_change_a_byte(ranked):
    whole = written(ranked("whole", how=How(batch=2)))
    for folder, how in {
        "1": How(batch=1),
        "3": How(batch=3),
        "16": How(batch=16),
        "threads": How(concurrency=4),
    }.items():
        assert written(ranked(folder, how=how)) == whole, folder


def test_a_model_that_fails_on_an_image_leaves_the_others(ranked):
    asked = Counter()

    def score(batch):
        means = batch.double().mean((1, 2, 3))
        if any(30 < mean < 60 for mean in means.tolist()):  # the darkest
            asked["dark"] += 1
            if asked["dark"] > 2:
                raise ValueError("no score for the dark")
        return means

    model = wrap(score, name="brightness", score_range=(0.0, 255.0), lower_better=False)
    run = ranked(scorer=model, how=How(batch=1))
    summary = run.summary()
    assert (summary.attacked, summary.failed) == (5, 0)
    assert summary.nonfinite > 0.0  # candidates without a score, of which the log knows
    assert summary.queries <= TOTAL
    assert verify(run, None).ok


def test_a_model_that_is_repaired_between_sessions_changes_nothing(ranked):
    asked = []

    def model(broken):
        def score(batch):
            asked.append(len(batch))
            means = batch.double().mean((1, 2, 3))
            if broken and any(72 < mean < 80 for mean in means.tolist()):  # of the second image
                raise ValueError("out of order")
            return means

        return wrap(score, name="brightness", score_range=(0.0, 255.0), lower_better=False)

    stop = Callbacks(stop=lambda: sum(asked) >= 100)
    with pytest.raises(Interrupted):
        ranked(scorer=model(True), callbacks=stop, how=How(batch=1))
    run = ranked(scorer=model(False), resume=True, how=How(batch=1))
    assert run.summary().queries <= TOTAL
    assert verify(run, None).ok


def test_an_attack_that_raises_fails_its_image_alone(tmp_path, images, photos, counted):
    def some(task):
        if float(task.image.mean()) > 140:
            raise ValueError("too bright for me")
        for step in range(1, 40):
            yield (task.image + (step if task.rising else -step))[None]

    run = iqattack.attack(
        photos, counted[0], out=tmp_path / "run", attack=some, **{**GIVEN, "constraint": "linf:60"}
    )
    failed = {result.image: result.status for result in run.results if result.failed}
    assert list(failed) == ["4.png"]
    assert "too bright for me" in failed["4.png"]
    assert run.summary().ranking.last.srocc < 1.0
    assert verify(Run.open(run.folder), None).ok


def test_a_worse_choice_than_was_within_reach_is_found(ranked):
    run = ranked(constraint="linf:90")
    with closing(QueryLog(run.folder / LOG)) as log:
        for image, text in [(r.image, r.model_dump_json()) for r in run.results]:
            result = json.loads(text)
            result |= {"score_adv": result["score_clean"], "gain": 0.0, "status": "unchanged"}
            log.finish(image, json.dumps(result))
    found = [str(difference) for difference in verify(run, None).differences]
    assert any("was possible" in line for line in found)


def test_a_chosen_image_without_a_score_is_named(ranked):
    def score(batch):
        means = batch.double().mean((1, 2, 3))
        return means.where(means < 145, float("nan"))

    model = wrap(score, name="brightness", score_range=(0.0, 255.0), lower_better=False)
    with pytest.raises(InputError, match=r"4\.png: .* expected a finite number"):
        ranked(scorer=model, objective="top:1,out=4.png")


def test_scores_that_are_rounded_tie(ranked, photos):
    """Positions are fractions of the range: that they are rounded must not decide a place."""

    def score(batch):
        return (batch.double().mean((1, 2, 3)) / 2.55).round()

    model = wrap(score, name="brightness", score_range=(0.0, 100.0), lower_better=False)
    run = ranked(scorer=model, objective="top:1,into=3.png", budget_total=150, constraint="linf:60")
    by = {result.image: result.score_adv for result in run.results}
    there = by["3.png"] > max(score for image, score in by.items() if image != "3.png")
    assert (run.summary().ranking.last.value == 0.0) == there


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("DELETE FROM kept WHERE name = 'order of the queries'", "ranking"),
        ("UPDATE kept SET json = '[[0, 1]]' WHERE name = 'order of the queries'", "order"),
        ("UPDATE kept SET json = '[[99, 1]]' WHERE name = 'order of the queries'", "order"),
        ("UPDATE kept SET json = '7' WHERE name = 'order of the queries'", "order"),
    ],
)
def test_a_changed_order_is_found(ranked, change, what):
    run = ranked()
    with closing(QueryLog(run.folder / LOG)) as log:
        assert log.kept(ORDER)
        log._db.execute(change)
    found = [str(difference) for difference in verify(run, None).differences]
    assert len(found) >= 1
    assert all(what in line for line in found)


def test_another_choice_than_was_saved_is_found(ranked):
    run = ranked()
    text = json.loads((run.folder / "summary.json").read_text())
    text["ranking"]["curve"][-1]["srocc"] = -1.0
    (run.folder / "summary.json").write_text(json.dumps(text))
    (found,) = verify(run, None).differences
    assert "ranking" in str(found)


def test_more_queries_than_the_budget_are_found(ranked):
    run = ranked()
    toml = run.folder / "run.toml"
    toml.write_text(toml.read_text().replace(f"budget_total = {TOTAL}", "budget_total = 50"))
    found = [str(difference) for difference in verify(Run.open(run.folder), None).differences]
    assert any("beyond the budget of 50 for all" in line for line in found)


def test_a_smaller_budget_is_not_made_up(ranked):
    with pytest.raises(RunError, match="share a budget of 120 queries"):
        iqattack.evaluate(ranked(), queries=10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget_total": None}, "--budget-total 5000"),
        ({"objective": "rank"}, "with rank, give --queries"),
        ({"budget_total": 0}, "at least 1"),
        ({"shard": "1/2"}, "leave out the shard"),
        ({"floor": "jod:9.5"}, "ssim:0.95"),
        ({"objective": "srocc:0.2"}, "no score boundary"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, changes, message):
    with pytest.raises(InputError, match=message):
        settings(**{"objective": "srocc", "budget_total": 100, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget_total": 5}, "the clean images take 5"),
        ({"objective": "top:1,into=none.png"}, "no image is called none.png"),
        ({"objective": "top:5"}, "fewer places or more images"),
    ],
)
def test_what_does_not_fit_the_images_costs_no_query(ranked, counted, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        ranked(**changes)
    assert not counted[1]
    assert not (tmp_path / "run").exists()


def test_a_cluster_is_refused(ranked, counted):
    with pytest.raises(InputError, match="shares a budget"):
        ranked(how=How(engine="ray"))
    assert not counted[1]


def test_settings_read_back(ranked):
    run = ranked(objective="top:2,into=0.png,out=4.png")
    assert Run.open(run.folder).settings == run.settings
    assert run.settings.budget_total == TOTAL


MODEL = """
import os, pathlib, time
from iqattack.engine import image_hash

SLOW = pathlib.Path(__file__).with_name("slow")
ASKED = pathlib.Path(__file__).with_name("asked")

def load():
    def score(images):
        scores = []
        for image in images:
            scores.append(float(image.double().mean()))
            if SLOW.exists():
                time.sleep(0.02)
            with ASKED.open("a") as file:
                file.write(f"{image_hash(image)}\\n")
        return scores

    score.score_range, score.lower_better = (0.0, 255.0), False
    return score
"""
GIVEN: dict[str, Any] = {
    "constraint": "linf:40",
    "objective": "srocc",
    "budget_total": TOTAL,
    "batch": 2,
}


@pytest.fixture
def from_spec(tmp_path, photos):
    path = tmp_path / "model.py"
    path.write_text(MODEL)

    def run(out, **options):
        return iqattack.attack(photos, f"{path}:load", out=tmp_path / out, **GIVEN, **options)

    return run


def test_a_kill_loses_what_is_in_flight_and_no_more(from_spec, tmp_path, photos, forked_program):
    whole = from_spec("whole")
    asked, slow = tmp_path / "asked", tmp_path / "slow"
    once = Counter(asked.read_text().split())
    asked.unlink()
    slow.touch()
    program = (
        "import sys, iqattack; photos, model, out = sys.argv[1:]; "
        f"iqattack.attack(photos, model, out=out, **{GIVEN!r})"
    )
    killed = forked_program(program, photos, f"{tmp_path / 'model.py'}:load", tmp_path / "run")
    while not asked.exists() or len(asked.read_bytes().split()) < TOTAL // 2:
        assert killed.poll() is None
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    slow.unlink()
    run = from_spec("run", resume=True)
    twice = Counter(asked.read_text().split()) - once
    assert twice.total() <= 2  # a batch
    assert written(run) == written(whole)


@pytest.mark.usefixtures("forked_workers")
def test_workers_do_not_change_a_byte(from_spec):
    assert written(from_spec("two", workers=2)) == written(from_spec("one"))

"""Runs of an attack on a set whose images learn from each other, each with its own budget."""

import math
import signal
import time
from contextlib import closing
from typing import Any

import pytest

import iqattack
from iqattack.attacks.set_based.pooled_search import TOGETHER
from iqattack.auditing.replayed import replayed
from iqattack.auditing.suite import Attempt
from iqattack.errors import InputError, RunError
from iqattack.models import wrap
from iqattack.reporting import write_report
from iqattack.reporting.figures import Request, plot
from iqattack.runs import Callbacks, Run, execute, verify
from iqattack.runs.detect import detect
from iqattack.runs.how import How
from iqattack.runs.traces import reached, results_at
from iqattack.scoring import Retry

QUERIES = 30
ATTACK = "pooled-search"


def luma(batch):
    """Mean of the upper half, less the detail of the lower one."""
    upper, lower = batch.double().chunk(2, 2)
    return upper.mean((1, 2, 3)) - lower.diff(dim=3).abs().mean((1, 2, 3))


@pytest.fixture
def model():
    return wrap(luma, name="luma", score_range=(-255.0, 255.0), lower_better=False)


@pytest.fixture
def pooled(tmp_path, settings, images, model):
    """Make a run."""

    def run(folder="run", how=None, scorer=None, callbacks=None, **changes):
        given = {"attack": ATTACK, "constraint": "linf:8", "queries": QUERIES} | changes
        scorer = scorer or model
        with Run.create(tmp_path / folder, settings(**given), scorer) as begun:
            execute(begun, images, scorer, how=how or How(), callbacks=callbacks)
        return Run.open(tmp_path / folder)

    return run


def written(run):
    pictures = {path.name: path.read_bytes() for path in run.images.iterdir()}
    return pictures, (run.folder / "results.csv").read_bytes()


@pytest.mark.parametrize("how", [How(batch=1), How(batch=2), How(concurrency=3)])
def test_how_it_runs_changes_nothing(pooled, how):
    assert written(pooled("one")) == written(pooled("other", how=how))


def test_each_image_has_its_budget_and_all_of_it_verifies(pooled, model):
    run = pooled()
    with closing(run.open_log()) as log:
        assert {log.queries(name) for name in log.images()} == {QUERIES}
    found = verify(run, model)
    assert found.ok, found.differences
    assert {result.attack for result in run.results} == {ATTACK}
    page = write_report(run).read_text()
    assert ATTACK in page
    assert "so runs with smaller budgets have other curves" in page


def test_no_smaller_budget_is_read_from_the_log(pooled):
    """With a larger budget, the first queries about an image rest on more about the others."""
    run = pooled()
    assert list(results_at(run, QUERIES)[0].done) == list(run.results)
    with pytest.raises(RunError, match=r"learnt from all 30 queries about those before it"):
        results_at(run, 10)
    with pytest.raises(RunError, match="attack again with that budget"):
        reached(run, [10, QUERIES])
    with pytest.raises(InputError, match="attacks all images together, so results at smaller"):
        Attempt(attack=ATTACK, constraint="linf:3")


def test_a_figure_over_queries_says_what_it_is_not(pooled, tmp_path):
    heard = []
    plot([pooled()], Request(out=tmp_path / "p.svg"), note=lambda *what: heard.append(what))
    assert any("no run of a smaller budget" in what for _, what in heard)


def test_the_state_of_a_run_counts_queries(pooled):
    """All results come at the end."""
    states = []
    pooled(callbacks=Callbacks(progress=states.append))
    assert states[-1].pooled
    assert states[-1].spent == states[-1].budget == 5 * QUERIES


def test_a_failure_that_may_pass_is_named_and_the_run_goes_on_with_resume(pooled, images):
    """A service that does not answer for a while."""
    whole, asked = pooled("whole"), []

    def busy(batch):
        asked.append(len(batch))
        if sum(asked) > 40:
            raise TimeoutError("busy")
        return luma(batch)

    given: dict[str, Any] = {"score_range": (-255.0, 255.0), "lower_better": False}
    scorer = wrap(busy, name="luma", **given)
    with pytest.raises(
        InputError, match=r"busy; all images are attacked in one search, .*--resume"
    ):
        pooled("run", how=How(batch=1, retry=Retry(0)), scorer=scorer)
    folder = whole.folder.parent / "run"
    scorer = wrap(luma, name="luma", **given)
    with Run.resume(folder, whole.settings, scorer) as run:
        execute(run, images, scorer)
    again = Run.open(folder)
    assert written(again)[0] == written(whole)[0]
    assert [r.queries for r in again.results] == [r.queries for r in whole.results]


def test_a_check_of_the_model_fits_into_the_budgets(pooled, model):
    run = pooled(check=True)
    assert run.check is not None
    with closing(run.open_log()) as log:
        assert max(log.queries(name) for name in log.images()) <= QUERIES
    assert verify(run, model).ok


def test_candidates_without_a_score_leave_the_others_what_they_learnt(tmp_path, pooled):
    """A model that has no score for some pictures, and fails on others for good."""

    def picky(batch):
        scores = luma(batch)
        odd = batch.long().sum((1, 2, 3)) % 7
        if (odd == 3).any() and len(batch) == 1:
            raise ValueError("cannot score this")
        return scores.where(odd != 5, math.nan)

    scorer = wrap(picky, name="picky", score_range=(-255.0, 255.0), lower_better=False)
    run = pooled(scorer=scorer, how=How(batch=1))
    assert any(result.gain > 0 for result in run.results)
    again = pooled("again", scorer=scorer, how=How(batch=1))
    assert written(run) == written(again)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shard": "1/2"}, "attack pooled-search applies to all images together; leave out the"),
        ({"floor": "jod:9.5"}, "takes a query for the result of each image; with attack pooled-"),
        (
            {"objective": "srocc", "budget_total": 100},
            "attack pooled-search: attacks all images together, and so does objective srocc",
        ),
        ({"budget_total": 100}, "applies to the objectives srocc and top:3"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, changes, message):
    with pytest.raises(InputError, match=message):
        settings(**{"attack": ATTACK, "queries": QUERIES, **changes})


def test_a_shard_is_refused_before_a_survey_is_asked_for(photos, tmp_path):
    with pytest.raises(InputError, match="leave out the shard, or use portfolio-search"):
        iqattack.attack(photos, "builtin", attack=ATTACK, shard="1/2", out=tmp_path / "run")


def test_a_cluster_is_refused(pooled):
    with pytest.raises(InputError, match="pooled-search learns from one for the others"):
        pooled(how=How(engine="ray"))


def test_single_searches_are_not_replayed(pooled):
    run = pooled()
    with pytest.raises(RunError, match="were attacked together"):
        detect(run)
    (finding,) = replayed(run, lambda _: None, None)
    assert finding[0] == "not verified"
    assert "attacks all images together" in finding[1]


MODEL = """
import pathlib, time

SLOW, ASKED = (pathlib.Path(__file__).with_name(name) for name in ("slow", "asked"))

def load():
    def score(images):
        scores = images.double().mean((1, 2, 3)) - images.double().diff(dim=3).abs().mean((1, 2, 3))
        with ASKED.open("a") as file:
            file.write("x" * len(images))
        if SLOW.exists():
            time.sleep(0.02)
        return scores
    score.score_range, score.lower_better = (-255.0, 255.0), False
    return score
"""


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, photos, forked_program):
    path, asked, slow = (tmp_path / name for name in ("m.py", "asked", "slow"))
    path.write_text(MODEL)
    given: dict[str, Any] = {"attack": ATTACK, "queries": QUERIES, "constraint": "linf:8"}
    whole = iqattack.attack(photos, f"{path}:load", out=tmp_path / "whole", **given)
    once = len(asked.read_bytes())
    asked.unlink()
    slow.touch()
    program = (
        "import sys, iqattack; photos, model, out = sys.argv[1:]; "
        f"iqattack.attack(photos, model, out=out, **{given!r})"
    )
    killed = forked_program(program, photos, f"{path}:load", tmp_path / "run")
    while not asked.exists() or len(asked.read_bytes()) < 5 * QUERIES // 2:
        assert killed.poll() is None
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert len(asked.read_bytes()) < once
    slow.unlink()
    run = iqattack.attack(photos, f"{path}:load", out=tmp_path / "run", resume=True, **given)
    assert written(run) == written(whole)
    # What was in flight, and no more: one round that is logged, and one that is scored meanwhile.
    assert len(asked.read_bytes()) <= once + 2 * TOGETHER


@pytest.mark.usefixtures("forked_workers")
def test_workers_do_not_change_a_byte(tmp_path, photos):
    path = tmp_path / "m.py"
    path.write_text(MODEL)
    given: dict[str, Any] = {"attack": ATTACK, "queries": QUERIES}
    one, two = (
        iqattack.attack(photos, f"{path}:load", out=tmp_path / str(n), workers=n, **given)
        for n in (None, 2)
    )
    assert written(one) == written(two)

"""`--max-requests` and `--max-cost` of an audit: hard, over all its runs and sessions."""

import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import iqattack
from iqattack.auditing import Suite
from iqattack.cli import main
from iqattack.engine import Interrupted
from iqattack.errors import InputError, RunError, TransientError
from iqattack.evaluation import evaluate_scores
from iqattack.models import Traits, wrap
from iqattack.scoring import CeilingReached

MODEL = """
import pathlib, time

ASKED = pathlib.Path(__file__).with_name("asked")

def load():
    def score(images):
        with ASKED.open("a") as file:
            file.write("x" * len(images))
        time.sleep(PAUSE)
        exact = images.long().flatten(1)
        return (exact * exact).sum(1).double() / exact.shape[1] / 255.0

    score.score_range, score.lower_better = (0.0, 255.0), False
    return score
"""
TOML = """
name = "mine"
version = 1
about = "Mine."
budgets = [6]
attempts = [{attack = "noise", constraint = "linf:8"}, {attack = "square", constraint = "linf:8"}]
"""
IMAGES, RUNS, QUERIES = 3, 2, 6
ATTACKS = IMAGES * RUNS * QUERIES
VERIFYING = 2 * IMAGES * RUNS  # clean and attacked


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    few = partial(evaluate_scores, resamples=20)
    for module in ("runs.summary", "auditing.from_runs"):
        monkeypatch.setattr(f"iqattack.{module}.evaluate_scores", few)
    monkeypatch.setattr("iqattack.auditing.from_runs.RESAMPLES", 20)


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working folder with photos/, three images of 24×20 pixels, model.py and mine.toml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for k in range(IMAGES):
        pixels = rng.integers(20 + 20 * k, 60 + 20 * k, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{k:02d}.png")
    (tmp_path / "model.py").write_text(MODEL.replace("PAUSE", "0.0"))
    (tmp_path / "mine.toml").write_text(TOML)
    return tmp_path


class Paid:
    """A model that counts what it is sent, and fails now and then."""

    def __init__(self, every=0):
        self.sent, self.every = 0, every

    def __call__(self, images):
        found = []
        for image in images:
            self.sent += 1
            fails = self.every and self.sent % self.every == 0
            exact = image.long().flatten()
            score = float((exact * exact).sum()) / len(exact) / 255.0
            found.append(TransientError("busy") if fails else score)
        return found


def model(paid, **traits):
    made = wrap(paid, name="paid", score_range=(0, 255), lower_better=False)
    made.traits = Traits(**traits)
    return made


def audit(scorer, out="audit", **options):
    return iqattack.audit(
        scorer, "photos", out=out, suite="mine.toml",
        retry=iqattack.Retry(5, first_s=0.001), **options,
    )  # fmt: skip


def asked(work):
    return (work / "asked").stat().st_size


@pytest.mark.parametrize("concurrency", [None, 3])
@pytest.mark.parametrize("every", [0, 7])
def test_no_more_is_sent_by_all_runs_and_sessions_together(work, concurrency, every):
    paid = Paid(every)
    scorer = model(paid, concurrency=concurrency)
    for most in (1, 10, 19, 23, 30, 45):
        with pytest.raises(CeilingReached, match=f"stopped before the ceiling of {most} requests"):
            audit(scorer, max_requests=most, resume=most > 1)
        # A verification that the ceiling has no room for is not begun.
        assert most - 2 * IMAGES < paid.sent <= most
    card = audit(scorer, max_requests=1000, resume=True)
    whole = audit(model(Paid(every)), out="whole")
    assert card.lines == whole.lines
    if not every:  # else a failure may have ended the check of the model
        assert paid.sent == ATTACKS + VERIFYING
        assert Path("audit/card.json").read_bytes() == Path("whole/card.json").read_bytes()
    before = paid.sent
    assert audit(scorer, max_requests=1000, resume=True) == card
    assert paid.sent == before


def test_what_verified_the_runs_counts_in_later_sessions(work):
    paid = Paid()
    scorer = model(paid)
    audit(scorer)  # without a ceiling
    assert paid.sent == ATTACKS + VERIFYING
    assert json.loads(Path("audit/requests.json").read_text()) == {"verifying": VERIFYING}
    Path("audit/verified.json").unlink()
    with pytest.raises(CeilingReached, match=f": {paid.sent} images were sent; the audit is kept"):
        audit(scorer, resume=True, max_requests=ATTACKS + VERIFYING + 2 * IMAGES - 1)
    assert paid.sent == ATTACKS + VERIFYING
    audit(scorer, resume=True, max_requests=ATTACKS + 2 * VERIFYING)
    assert paid.sent == ATTACKS + 2 * VERIFYING


def test_one_that_verifies_nothing_needs_less(work):
    paid = Paid()
    audit(model(paid), verified=False, max_requests=ATTACKS)
    assert paid.sent == ATTACKS
    assert not Path("audit/requests.json").exists()


def test_a_ceiling_of_money(work):
    paid = Paid()
    scorer = model(paid, price=0.1)
    with pytest.raises(CeilingReached, match=r"before the ceiling of 2 at 0\.1 per image") as ended:
        audit(scorer, max_cost=2)
    assert paid.sent == 18  # of the 20 that it has for, the next two would verify no run
    assert str(ended.value).endswith(
        "18 images were sent; the audit is kept, continue with --resume and a higher --max-cost"
    )
    audit(scorer, max_cost=0.1 * (ATTACKS + VERIFYING), resume=True)
    assert paid.sent == ATTACKS + VERIFYING


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_cost": 5.0}, "--max-cost 5: the price of model 'paid' is not known"),
        ({"max_requests": 0}, "--max-requests 0: expected more than 0"),
        ({"max_cost": float("nan")}, "--max-cost nan: expected more than 0"),
        (
            {"max_requests": 9, "workers": 2},
            "needs a single process that counts all requests",
        ),
    ],
)
def test_ceilings_that_cannot_be_held(work, options, message):
    with pytest.raises(InputError, match=message):
        audit(model(Paid()), **options)
    assert not (work / "audit").exists()


def test_the_command_ends_with_1_and_goes_on(work, capsys):
    command = ["audit", "model.py:load", "photos", "--suite", "mine.toml", "--out", "audit"]
    assert main([*command, "--max-requests", "30"]) == 1
    assert asked(work) == 30
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: stopped before the ceiling of 30 requests: 30 images were sent; the audit is kept, "
        "continue with --resume and a higher --max-requests"
    )
    assert not (work / "audit" / "card.json").exists()
    assert main([*command, "--max-requests", "31", "--resume"]) == 1
    assert asked(work) == 31
    assert main([*command, "--resume"]) == 0
    assert asked(work) == ATTACKS + VERIFYING


def test_a_check_neither_needs_nor_trusts_the_count(work):
    audit("model.py:load")
    for text in (None, "x", '{"verifying": -3}', '{"verifying": 1e300}', "[" * 9999):
        Path("audit/requests.json").unlink(missing_ok=True)
        if text is not None:
            Path("audit/requests.json").write_text(text)
        found = iqattack.check_card("audit", suite="mine.toml")
        assert (found.outcome, found.level, found.findings) == ("holds", "files", ())
    for text in ("x", '{"verifying": -3}', '{"verifying": true}', "[]", "{}"):
        Path("audit/requests.json").write_text(text)
        with pytest.raises(RunError, match=r"requests.json: cannot be read .*, or remove it"):
            audit("model.py:load", resume=True)


def test_one_that_was_stopped_counts_what_it_sent(work):
    paid = Paid()
    scorer = model(paid)
    for stop in (5, 20, 22, 50):
        callbacks = iqattack.Callbacks(stop=partial(lambda stop: paid.sent >= stop, stop))
        with pytest.raises(Interrupted):
            audit(scorer, max_requests=1000, resume=stop > 5, callbacks=callbacks)
    before = paid.sent
    with pytest.raises(CeilingReached, match=f": {before} images were sent"):
        audit(scorer, resume=True, max_requests=before)
    assert paid.sent == before


@pytest.mark.slow
def test_what_a_killed_audit_had_in_flight_counts(work, capsys):
    """kill -9: nothing is sent above the ceiling."""
    (work / "model.py").write_text(MODEL.replace("PAUSE", "0.05"))
    ceiling = 40
    command = [sys.executable, "-m", "iqattack", "audit", "model.py:load", "photos"]
    command += ["--suite", "mine.toml", "--out", "audit", "--max-requests", str(ceiling)]
    (work / "asked").touch()
    for session in range(3):
        before = asked(work)
        resume = ["--resume"] if session else []
        process = subprocess.Popen([*command, *resume], stderr=subprocess.PIPE)
        while process.poll() is None and asked(work) < before + 10:
            time.sleep(0.01)
        process.kill()
        process.communicate()
    assert main([*command[3:], "--resume"]) == 1
    assert f"stopped before the ceiling of {ceiling} requests" in capsys.readouterr().err
    assert asked(work) <= ceiling


def test_a_suite_given_as_an_object_is_counted_alike(work):
    suite = Suite.model_validate(
        {"name": "mine", "version": 1, "about": "Mine.", "budgets": [4], "seeds": [0, 1],
         "attempts": [{"attack": "noise", "constraint": "linf:8"}]}
    )  # fmt: skip
    paid = Paid()
    with pytest.raises(CeilingReached):
        iqattack.audit(model(paid), "photos", out="audit", suite=suite, max_requests=20)
    assert paid.sent == 20

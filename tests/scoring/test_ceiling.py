"""`--max-requests` and `--max-cost`: hard, over all sessions of a run."""

import itertools
import subprocess
import sys
import threading
import time

import pytest
import torch

import iqattack
from iqattack.cli import main
from iqattack.engine import Interrupted
from iqattack.errors import InputError, NotSentError, TransientError
from iqattack.images import ImageSet, write_png
from iqattack.models import Traits, wrap
from iqattack.scoring import CeilingReached

pytestmark = pytest.mark.usefixtures("few_resamples")


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    chance = torch.Generator().manual_seed(0)
    for number in range(5):
        pixels = torch.randint(60, 200, (3, 20, 24), generator=chance).byte()
        write_png(tmp_path / "photos" / f"{number}.png", pixels)
    return ImageSet.from_folder(tmp_path / "photos")


class Paid:
    """A model that counts what it is sent, and fails now and then."""

    def __init__(self, every=0):
        self.sent, self.every = 0, every

    def __call__(self, images):
        found = []
        for image in images:
            self.sent += 1
            fails = self.every and self.sent % self.every == 0
            found.append(TransientError("busy") if fails else float(image.double().mean()))
        return found


def model(paid, **traits):
    made = wrap(paid, name="paid", score_range=(0, 255), lower_better=False)
    made.traits = Traits(**traits)
    return made


def attack(photos, scorer, out, **options):
    return iqattack.attack(
        photos,
        scorer,
        attack="noise",
        constraint="linf:3",
        queries=20,
        out=out,
        retry=iqattack.Retry(5, first_s=0.001),
        **options,
    )


@pytest.mark.parametrize("concurrency", [None, 3])
@pytest.mark.parametrize("every", [0, 7])
def test_no_more_is_sent_in_all_sessions_together(tmp_path, photos, concurrency, every):
    paid = Paid(every)
    scorer = model(paid, concurrency=concurrency)
    for most in (1, 7, 40, 41, 90):
        with pytest.raises(CeilingReached, match=f"stopped before the ceiling of {most} requests"):
            attack(photos, scorer, tmp_path / "run", max_requests=most, resume=most > 1)
        assert paid.sent == most
        with iqattack.open_run(tmp_path / "run").open_log() as log:
            assert log.sent() == paid.sent
    run = attack(photos, scorer, tmp_path / "run", max_requests=1000, resume=True)
    queries = sum(row.queries for row in run.results)
    assert queries == 100 if not every else 92 <= queries <= 100  # a failure ends the check
    # Each session that goes on asks about the clean image of the check once more, beside these.
    beside = paid.sent - queries - sum(row.attempts for row in run.results)
    assert 0 < beside <= 5
    with run.open_log() as log:
        assert log.sent() == paid.sent


def test_a_ceiling_of_money(tmp_path, photos):
    paid = Paid()
    scorer = model(paid, price=0.1)
    notes = []
    callbacks = iqattack.Callbacks(note=lambda image, text: notes.append((image, text)))
    with pytest.raises(CeilingReached, match=r"before the ceiling of 3 at 0\.1 per image: "):
        attack(photos, scorer, tmp_path / "run", max_cost=3, callbacks=callbacks)
    assert paid.sent == 30  # 30 × 0.1 is not above 3, whatever floats say
    expected = "will score up to 100 images, 10.00 at 0.1 each, without retries; stops before the"
    assert any(image == "model" and text.startswith(expected) for image, text in notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_cost": 5.0}, "the price of model 'paid' is not known"),
        ({"max_requests": 0}, "--max-requests 0: expected more than 0"),
        ({"max_cost": float("nan")}, "--max-cost nan: expected more than 0"),
        (
            {"max_requests": 9, "workers": 2},
            "needs a single process that counts all requests; leave out w",
        ),
    ],
)
def test_ceilings_that_cannot_be_held(tmp_path, photos, options, message):
    with pytest.raises(InputError, match=message):
        attack(photos, model(Paid()), tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_workers_are_not_for_what_works_elsewhere(tmp_path, photos):
    with pytest.raises(InputError, match="workers 2: model 'paid' is remote; use"):
        attack(photos, model(Paid(), concurrency=4), tmp_path / "run", workers=2)


def test_the_command_ends_with_1_and_keeps_what_it_has(tmp_path, photos, capsys):
    folder = str(photos.entries[0].path.parent)
    (tmp_path / "m.py").write_text(
        "def load():\n    f = lambda x: x.double().mean((1, 2, 3))\n"
        "    f.score_range, f.lower_better = (0, 255), False\n    return f\n"
    )
    command = ["attack", folder, "--model", f"{tmp_path / 'm.py'}:load", "--attack", "noise"]
    command += ["--queries", "20", "--out", str(tmp_path / "run")]
    assert main([*command, "--max-requests", "30"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: stopped before the ceiling of 30 requests: 30 images were sent")
    assert main([*command, "--resume"]) == 0


COUNTING = """
import os, sys, time, pathlib

def load():
    def score(images):
        with open({calls!r}, "a") as file:
            file.write("x" * len(images))
        time.sleep(0.05)
        return images.double().mean((1, 2, 3))
    score.score_range, score.lower_better, score.concurrency = (0, 255), False, 4
    return score
"""


@pytest.mark.slow
def test_what_a_killed_run_had_in_flight_counts(tmp_path, photos, capsys):
    """kill -9: what had no answer yet is in no log, but nothing is sent above the ceiling."""
    calls, ceiling = tmp_path / "calls", 70
    (tmp_path / "m.py").write_text(COUNTING.format(calls=str(calls)))
    command = [sys.executable, "-m", "iqattack", "attack", str(tmp_path / "photos")]
    command += ["--model", f"{tmp_path / 'm.py'}:load", "--attack", "noise", "--queries", "20"]
    command += ["--out", str(tmp_path / "run"), "--max-requests", str(ceiling)]
    for session in range(3):
        before = calls.stat().st_size if calls.exists() else 0
        resume = ["--resume"] if session else []
        process = subprocess.Popen([*command, *resume], stderr=subprocess.PIPE)
        while process.poll() is None and (not calls.exists() or calls.stat().st_size < before + 9):
            time.sleep(0.01)
        process.kill()
        process.communicate()
    assert main([*command[3:], "--resume"]) == 1
    assert f"stopped before the ceiling of {ceiling} requests" in capsys.readouterr().err
    assert 27 <= calls.stat().st_size <= ceiling


def test_a_run_that_was_stopped_gives_back_what_it_had_reserved(tmp_path, photos):
    paid = Paid()
    scorer = model(paid)
    with pytest.raises(Interrupted):
        callbacks = iqattack.Callbacks(stop=lambda: paid.sent >= 12)
        attack(photos, scorer, tmp_path / "run", max_requests=1000, callbacks=callbacks)
    with iqattack.open_run(tmp_path / "run").open_log() as log:
        assert log.sent() == paid.sent


class Held:
    """A service that scores a few images; later ones wait for their turn until held back."""

    name, score_range, lower_better, min_size, concurrency = "paid", (0.0, 255.0), False, 1, 4

    def __init__(self):
        self.asked, self.sent, self.held = itertools.count(), 0, threading.Event()

    def hold(self):
        self.held.set()

    def __call__(self, images):
        if next(self.asked) < 3:
            self.sent += 1
            return images.double().mean((1, 2, 3))
        assert self.held.wait(60)
        return [NotSentError("held back")] * len(images)


def test_what_was_held_back_when_rescoring_stopped_is_given_back(tmp_path, photos):
    attack(photos, model(Paid()), tmp_path / "run")
    with iqattack.open_run(tmp_path / "run").open_log() as log:
        before = log.sent()
    service = Held()
    callbacks = iqattack.Callbacks(stop=lambda: service.sent > 2)
    with pytest.raises(Interrupted):
        iqattack.rescore(
            tmp_path / "run", service, times=9, concurrency=4, max_requests=999, callbacks=callbacks
        )
    with iqattack.open_run(tmp_path / "run").open_log() as log:
        assert log.sent() == before + service.sent

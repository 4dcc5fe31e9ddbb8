"""What is said while something is loaded, and while runs are compared."""

import dataclasses
import json
import shutil
import sys
import time
from contextlib import suppress
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

import pytest
from rich.console import Console

import iqattack as package
from iqattack.cli import progress
from iqattack.cli.progress import LOADING, Display, seconds_left
from iqattack.engine import Progress
from iqattack.errors import InputError


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def wait_for(done):
    end = time.monotonic() + 30
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_log_says_once_what_takes_long_to_load(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LONG_S", 0.05)
    shown = Display(console=Console(force_terminal=False))
    said = []
    monkeypatch.setattr(shown, "_print", said.append)
    shown.start()
    shown.loading("looking for images")
    shown.loading("loading the model builtin")
    wait_for(lambda: said)
    shown.loading("reading runs")
    shown.end()
    assert said == [{"event": "loading", "text": "loading the model builtin"}]


@pytest.mark.parametrize("ended_by", ["progress", "the end"])
def test_a_log_says_nothing_of_what_loads_quickly(capsys, monkeypatch, ended_by):
    monkeypatch.setattr(progress, "LONG_S", 0.2)
    shown = Display(console=Console(force_terminal=False))
    shown.start()
    shown.loading("looking for images")
    if ended_by == "progress":
        shown.counted("verify", 1, 2)
    else:
        shown.end()
    time.sleep(0.4)
    shown.end()
    assert all(line["event"] == "progress" for line in lines(capsys))


def test_a_terminal_shows_what_is_loading():
    console = Console(force_terminal=True, width=120)
    with console.capture() as captured:
        shown = Display(console=console)
        shown.start()
        shown.loading("reading the table mos.csv")
        shown.end()
    assert LOADING in captured.get()
    assert "reading the table mos.csv" in captured.get()


@pytest.fixture
def heard():
    said = []
    return said, package.Callbacks(loading=said.append)


def test_each_command_says_what_it_loads(attack, heard):
    said, callbacks = heard
    table = "".join(f"{k}.png,{k}\n" for k in range(4))
    Path("mos.csv").write_text("image,mos\n" + table)
    options = {"attack": "noise", "constraint": "linf:3", "queries": 3, "callbacks": callbacks}
    run = package.attack("photos", "model.py:load", out="run", mos="mos.csv", **options)
    model = "loading the model model.py:load"
    assert said == ["looking for images", "reading the table mos.csv", model]
    said.clear()
    package.verify("run", "model.py:load", callbacks=callbacks)
    assert said == [model]
    said.clear()
    package.probe("model.py:load", "photos", queries=10, callbacks=callbacks)
    assert said == [model, "looking for images"]
    said.clear()
    package.attack("photos", package.load_model("model.py:load"), out="other", **options)
    assert said == ["looking for images"]  # a model that is loaded already
    said.clear()
    package.compare(run, shutil.copytree("run", "copy"), callbacks=callbacks)
    assert said == ["reading runs"]


def test_what_may_hold_a_secret_is_not_shown(heard):
    said, callbacks = heard
    for spec in ("http://user:secret@127.0.0.1:1/score", "command:false --key=secret"):
        with suppress(InputError):
            package.probe(spec, queries=10, callbacks=callbacks)
    assert said == ["loading the model"] * 2


def test_compare_counts_the_runs(attack, iqattack):
    for out in ("run", "other"):
        attack("--out", out)
    shutil.copytree("run", "copy")
    said = iqattack("compare", "run", "other", "copy")
    assert said.status == 0
    counted = [json.loads(line) for line in said.err.splitlines()]
    assert counted[0] == {"event": "progress", "stage": "compare", "done": 0, "runs": 3}
    assert counted[-1]["done"] == 3
    assert "runs" not in said.out.splitlines()[0]
    done = []
    callbacks = package.Callbacks(compared=lambda *counts: done.append(counts))
    package.compare("run", "other", callbacks=callbacks)
    assert done == [(0, 2), (1, 2), (2, 2)]


def test_event_lines_are_json_whatever_the_encoding_of_standard_error(monkeypatch):
    raw = BytesIO()
    stream = TextIOWrapper(raw, encoding="ascii", errors="backslashreplace")
    monkeypatch.setattr(sys, "stderr", stream)
    Display(console=Console(file=StringIO())).note("zü 😀.png", "größer")
    lines = raw.getvalue().decode("ascii").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"event": "note", "image": "zü 😀.png", "text": "größer"}
    ]


SHARED = Progress("attack", 0, 12, 900, 0, 1000, 5000, 0.1, 4, 9.0, pooled=True)


def test_images_that_share_a_budget_are_counted_by_queries(capsys):
    console = Console(force_terminal=True, width=120)
    with console.capture() as captured:
        shown = Display(console=console)
        shown.start()
        shown.progress(SHARED)
        shown.end()
    assert "1000/5000 queries" in captured.get()
    assert "at most 0:40 left" in captured.get()
    Display(console=Console(force_terminal=False)).progress(SHARED)
    (line,) = lines(capsys)
    assert (line["spent"], line["budget"], line["seconds_left"]) == (1000, 5000, 40)
    assert (line["done"], line["images"]) == (0, 12)


def test_what_is_left_of_a_shared_budget_hangs_on_no_image():
    """In the end images are done one after the other, and none of them has queries of its own."""
    late = dataclasses.replace(SHARED, done=11)
    assert seconds_left(late) == seconds_left(SHARED) == pytest.approx(40.0)
    assert seconds_left(dataclasses.replace(late, pooled=False)) == pytest.approx(5000 / 12 / 100)

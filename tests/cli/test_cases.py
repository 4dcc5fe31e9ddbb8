"""Inputs from outside that failed once, as ../shared/cases makes them, and their kinds."""

import csv
import json
import runpy
import shutil
from pathlib import Path

import pytest

from iqattack.engine import QueryLog
from iqattack.scoring import Retry

MAKE = Path(__file__).resolve().parents[3] / "shared" / "cases" / "make_cases.py"
OPTIONS = ("--constraint", "linf:3", "--queries", "30")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    if not MAKE.is_file():
        pytest.skip("cases absent: expected shared/cases/make_cases.py beside the repository")
    out = tmp_path_factory.mktemp("cases")
    runpy.run_path(str(MAKE))["main"](out)
    return out


@pytest.fixture
def cases(made, tmp_path, monkeypatch):
    """The inputs, to be written to; pauses between tries are short."""
    monkeypatch.setattr(Retry, "pause", lambda self, tries, least=None: 0.0)
    for name in ("six", "large", "fade", "models"):
        shutil.copytree(made / name, tmp_path / name, dirs_exist_ok=True)
    return tmp_path


class Ended:
    """A run's folder after the command, and what it said."""

    def __init__(self, result, out):
        self.status, self.err, self.out = result.status, result.err, out
        with (out / "results.csv").open(newline="") as file:
            self.rows = {row["image"]: row for row in csv.DictReader(file)}
        with QueryLog(out / "log.sqlite", read_only=True) as log:
            self.log = {name: log.rows(name).tolist() for name in log.images()}
            self.queries = sum(map(log.queries, self.log))
            self.attempts = log.attempts()
        lines = [line for line in result.err.splitlines() if line.startswith("{")]
        self.events = [json.loads(line) for line in lines]

    @property
    def failed(self):
        return {
            name: row["status"] for name, row in self.rows.items() if row["status"][:4] == "fail"
        }

    @property
    def notes(self):
        return [event["text"] for event in self.events if event["event"] == "note"]

    def same(self, other):
        """Whether it came to what another run came to, however often it had to ask."""
        columns = [name for name in next(iter(self.rows.values())) if name != "attempts"]
        for name in columns:
            there = [row[name] for row in other.rows.values()]
            assert [row[name] for row in self.rows.values()] == there, name
        assert self.log == other.log
        for path in (other.out / "adversarial").iterdir():
            assert (self.out / "adversarial" / path.name).read_bytes() == path.read_bytes()


def with_defaults(options):
    """Options, and those of OPTIONS that are not among them."""
    pairs = zip(OPTIONS[::2], OPTIONS[1::2], strict=True)
    return [part for pair in pairs if pair[0] not in options for part in pair] + list(options)


@pytest.fixture
def attacked(cases, iqattack):
    def run(model, images, *options, out="run"):
        result = iqattack(
            "attack",
            images,
            *("--model", f"models/{model}.py:load"),
            *("--out", out, *with_defaults(options)),
        )
        return Ended(result, cases / out)

    return run


@pytest.mark.parametrize("batch", ["1", "8", "auto"])
def test_a_service_that_answers_503_now_and_then(cases, attacked, batch):
    run = attacked("flaky", "six", "--batch", batch)
    calls = len((cases / "models" / "calls.txt").read_text().splitlines())
    assert run.status == 0, run.err
    assert not run.failed
    assert run.queries == sum(int(row["queries"]) for row in run.rows.values()) == 180
    assert {n: int(row["attempts"]) for n, row in run.rows.items() if int(row["attempts"])} == (
        run.attempts
    )
    attempts = sum(run.attempts.values())
    assert attempts >= calls // 25 > 0
    assert calls <= run.queries + attempts
    assert batch != "1" or calls == run.queries + attempts
    summary = json.loads((run.out / "summary.json").read_text())
    assert (summary["queries"], summary["attempts"]) == (180, attempts)
    run.same(attacked("plain", "six", out="plain"))


def test_one_timeout_is_tried_again(attacked):
    run = attacked("once", "six/a.png", "--queries", "60")
    assert run.status == 0, run.err
    assert run.rows["a.png"]["queries"] == "60"
    assert run.attempts == {"a.png": 1}
    run.same(attacked("plain", "six/a.png", "--queries", "60", out="plain"))


def test_after_one_timeout_without_retries_the_scores_are_used_again(cases, attacked, iqattack):
    options = ("--queries", "60", "--retries", "0")
    command = ("attack", "six/a.png", "--model", "models/once.py:load", "--out", "run")
    result = iqattack(*command, *with_defaults(options))
    assert result.status == 2
    assert "a.png: model 'once.py:load' failed to score images: TimeoutError: read timed out" in (
        result.err
    )
    assert "Traceback" not in result.err
    with QueryLog(cases / "run" / "log.sqlite", read_only=True) as log:
        before = log.rows("a.png").tolist()
        assert log.queries("a.png") == 49
        assert log.attempts() == {"a.png": 1}
        assert set(log.failures()) == {"a.png"}
    run = attacked("once", "six/a.png", *options, "--resume")
    assert run.status == 0, run.err
    assert run.log["a.png"][: len(before)] == before
    assert run.rows["a.png"]["queries"] == "60"
    assert run.rows["a.png"]["attempts"] == "1"
    # The 11 that were left, and one to see whether the model is the same.
    assert [event["queries"] for event in run.events if "queries" in event][-1] == 12
    run.same(attacked("plain", "six/a.png", "--queries", "60", out="plain"))


@pytest.mark.parametrize("batch", ["1", "16", "auto"])
def test_one_picture_that_is_too_large_for_the_memory(attacked, batch):
    run = attacked("memory", "large", "--batch", batch)
    assert run.status == 1
    assert set(run.failed) == {"3.png"}
    assert (
        "out of memory on one image of 400×300 pixels; use smaller images (--resize)"
        in (run.failed["3.png"])
    )
    assert len(run.rows) == 5
    assert "1 image failed; see status in results.csv" in run.err


@pytest.mark.parametrize("order", ["first", "last", "middle", "scattered"])
@pytest.mark.parametrize("batch", ["1", "auto", "12"])
def test_black_frames_that_a_model_refuses(cases, attacked, order, batch):
    """Whatever the order of the names: the first failures do not end the run."""
    frames = sorted((cases / "fade").iterdir())
    black, others = frames[:3], frames[3:]
    ordered = {
        "first": frames,
        "last": [*others, *black],
        "middle": [*others[:5], *black, *others[5:]],
        "scattered": [black[0], *others[:4], black[1], *others[4:], black[2]],
    }[order]
    (cases / "clip").mkdir()
    refused = set()
    for number, path in enumerate(ordered):
        shutil.copy(path, cases / "clip" / f"{number:03}.png")
        if path in black:
            refused.add(f"{number:03}.png")
    run = attacked("variance", "clip", "--batch", batch)
    assert run.status == 1
    assert set(run.failed) == refused
    assert all("expected pictures with variance" in reason for reason in run.failed.values())
    assert [len(run.log[name]) for name in sorted(run.log)] == [
        0 if name in refused else 30 for name in sorted(run.log)
    ]


@pytest.mark.parametrize("batch", ["auto", "2", "8"])
def test_a_model_that_reduces_over_the_batch_is_asked_one_at_a_time(attacked, batch):
    run = attacked("reduced", "six", "--batch", batch, "--queries", "6")
    assert run.status == 0, run.err
    assert not run.failed
    first = 2 if batch == "auto" else min(6, int(batch))
    assert run.notes == [
        f"model 'reduced.py:load' returned shape () for {first} images; expected {first} scores; "
        "if it takes one image, use --input single, or numpy,nhwc,single for an array (H, W, 3); "
        "so it is queried one image at a time"
    ]
    assert sum(run.attempts.values()) == first  # the first call, no other
    run.same(attacked("plain", "six", "--queries", "6", out="plain"))

"""The check of images that failed: their searches are replayed up to what the model failed on."""

import hashlib
import shutil
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import iqattack
from iqattack.auditing.replayed import replayed
from iqattack.engine import image_hash
from iqattack.evaluation import evaluate_scores
from iqattack.images import read_image

# It fails on one in 17 pictures, or on none while the flag is not there.
MODEL = """
import pathlib

FLAG = pathlib.Path(__file__).with_name("flag")

def load():
    def score(images):
        found = []
        for image in images:
            total = int(image.long().sum())
            fails = FLAG.exists() and total % 17 == 0
            found.append(ValueError("no answer") if fails else total / image.numel())
        return found

    score.score_range, score.lower_better = (0.0, 255.0), False
    return score
"""
TOML = """
name = "mine"
version = 1
about = "Mine."
budgets = [3, 12]
attempts = [{attack = "nes", constraint = "linf:8"}, {attack = "square", constraint = "linf:8"}]
"""
NES, SQUARE = "runs/01-nes-linf-8", "runs/02-square-linf-8"
ROW = np.dtype([("hash", "<u8"), ("score", "<f8")])


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    few = partial(evaluate_scores, resamples=20)
    for module in ("runs.summary", "auditing.from_runs"):
        monkeypatch.setattr(f"iqattack.{module}.evaluate_scores", few)


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working folder with five photos, whose clean scores there are, model.py and mine.toml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for k in range(5):
        pixels = rng.integers(20 + 20 * k, 60 + 20 * k, (20, 24, 3), dtype=np.uint8)
        pixels[0, 0, 0] += (1 - int(pixels.sum())) % 17
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{k:02d}.png")
    (tmp_path / "mine.toml").write_text(TOML)
    (tmp_path / "flag").touch()
    return tmp_path


def audit(**options):
    Path("model.py").write_text(MODEL)
    return iqattack.audit("model.py:load", "photos", out="audit", suite="mine.toml", **options)


def check(model=None, **options):
    return iqattack.check_card("audit", model, suite="mine.toml", **options)


def failed(folder):
    return [row for row in iqattack.open_run(Path("audit") / folder).results if row.failed]


def texts(found, state):
    return [finding.what for finding in found.of(state)]


@pytest.mark.parametrize("how", [{}, {"batch": 3}, {"concurrency": 3}, {"workers": 2}])
def test_honest_failures_replay_and_the_model_fails_again(work, forked_workers, how):
    card = audit(**how)
    rows = [*failed(NES), *failed(SQUARE)]
    assert any(row.queries > 1 for row in rows)
    assert card.images.count - card.images.attacked + card.images.partly
    found = check()
    assert (found.outcome, found.level) == ("holds", "files")
    found = check("model.py:load")
    assert (found.outcome, found.level) == ("holds", "model")
    assert any(finding.unranked for finding in found.of("note"))


def test_what_it_failed_on_is_the_picture_that_the_log_lacks(work):
    """Computed by hand: the model fails on it, and it is none of those that have a score."""
    audit(batch=3)
    run = iqattack.open_run(f"audit/{NES}")
    stopped = []
    found = replayed(run, lambda name: work / "photos" / name, None, failed=stopped.append)
    assert found == []
    assert [one.image for one in stopped] == [row.image for row in failed(NES)]
    assert stopped
    for one in stopped:
        assert int(one.picture.long().sum()) % 17 == 0
        with run.open_log() as log:
            rows = log.rows(one.image)
        assert one.query == len(rows)
        assert image_hash(one.picture) not in rows["hash"]
        clean = read_image(work / "photos" / one.image).pixels
        assert int((one.picture.int() - clean.int()).abs().max()) <= 8


def test_a_clean_image_that_failed(work):
    picture = np.array(Image.open("photos/02.png"))
    picture[0, 0, 0] += 16  # its sum is a multiple of 17
    Image.fromarray(picture).save("photos/02.png")
    audit()
    assert {row.image: row.queries for row in failed(NES)}["02.png"] == 0
    assert check("model.py:load").outcome == "holds"
    Path("flag").unlink()
    found = check("model.py:load")
    assert (found.outcome, found.level) == ("not verified", "files")
    assert len(texts(found, "not verified")) == 2  # of two runs


def test_a_failure_that_the_model_does_not_repeat_is_not_verified(work):
    """As if an inconvenient search had been truncated and marked as failed."""
    audit()
    Path("flag").unlink()
    assert check().outcome == "holds"
    found = check("model.py:load")
    assert (found.outcome, found.level) == ("not verified", "files")
    said = texts(found, "not verified")
    count = len(failed(NES))
    assert said[0].startswith(f"the model is said to have failed on {count} images, and answers")
    assert f"of {failed(NES)[0].image}; resume the audit" in said[0]
    iqattack.audit("model.py:load", "photos", out="audit", suite="mine.toml", resume=True)
    found = check("model.py:load")
    assert (found.outcome, found.level, failed(NES)) == ("holds", "model", [])
    assert not any(finding.unranked for finding in found.of("note"))


def rewritten(folder, change, *, fail=None):
    """A log whose rows of an image are others, with digests that fit; fail: its failure."""
    queries = total = 0
    with closing(sqlite3.connect(Path("audit", folder, "log.sqlite"))) as log:
        for task, name in log.execute("SELECT id, image FROM task").fetchall():
            chunks = log.execute("SELECT rows FROM chunk WHERE task = ? ORDER BY first", (task,))
            rows = np.frombuffer(b"".join(chunk for (chunk,) in chunks), ROW)
            rows = change(name, rows.copy())
            digest = hashlib.blake2b(name.encode() + rows.tobytes(), digest_size=16).digest()
            log.execute("DELETE FROM chunk WHERE task = ?", (task,))
            if len(rows):
                log.execute("INSERT INTO chunk VALUES (?, 0, ?, ?)", (task, digest, rows.tobytes()))
                queries, total = queries + len(rows), total + int.from_bytes(digest, "big")
            if name == fail:
                log.execute("DELETE FROM result WHERE task = ?", (task,))
                log.execute("INSERT INTO failure VALUES (?, 'photos/x: no answer')", (task,))
        log.commit()
    Path("audit", folder, "log.end").write_text(f"{queries:020d} {total % 2**128:032x}\n")


def test_other_queries_of_a_failed_image_are_refuted(work):
    """Rows of one that failed are not those of its attack: a result that was not wanted."""
    audit(batch=1)
    name = next(row.image for row in failed(NES) if row.queries > 3)

    def change(image, rows):
        if image == name:
            rows["hash"][-1] ^= 1
        return rows

    rewritten(NES, change)
    found = check()
    assert (found.outcome, found.level) == ("refuted", "card")
    (said,) = texts(found, "refuted")
    assert said.startswith(f"its search does not follow nes: {name}: query ")


def replay_of(folder):
    run = iqattack.open_run(f"audit/{folder}")
    return replayed(run, lambda name: Path("photos", name).absolute(), None)


def test_more_queries_than_the_search_asks_for_are_refuted(work):
    Path("flag").unlink()
    audit(verified=False)

    def again(image, rows):
        return np.concatenate([rows[:6], rows[:1], rows[5:6]]) if image == "01.png" else rows

    rewritten(SQUARE, again, fail="01.png")
    ((state, said),) = replay_of(SQUARE)
    assert state == "refuted"
    assert "does not follow square: 01.png: query 7 is another image" in said


def test_a_search_that_ended_did_not_fail(work):
    Path("flag").unlink()
    audit(verified=False)
    rewritten(SQUARE, lambda image, rows: rows, fail="01.png")
    ((state, said),) = replay_of(SQUARE)
    assert state == "refuted"
    assert said.endswith("its search ends after 12 queries, of which the log has every score")


def test_a_search_that_was_cut_short_replays(work):
    """That it is said to have failed there shows in no file, see `docs/leaderboard.md`."""
    Path("flag").unlink()
    audit(verified=False)
    rewritten(SQUARE, lambda image, rows: rows[:7] if image == "01.png" else rows, fail="01.png")
    assert replay_of(SQUARE) == []


def test_another_picture_of_a_failed_image_is_refuted(work):
    audit(batch=1)
    name = next(row.image for row in failed(NES) if row.queries > 1)
    shutil.copytree("photos", "others")
    Image.fromarray(np.full((20, 24, 3), 77, np.uint8)).save(f"others/{name}")
    run = iqattack.open_run(f"audit/{NES}")
    ((state, said),) = replayed(run, lambda image: work / "others" / image, None)
    assert state == "refuted"
    assert f"{name}: failed, and the first query of the log is not the clean image" in said
    Path(f"others/{name}").write_bytes(b"no image")
    ((state, said),) = replayed(run, lambda image: work / "others" / image, None)
    assert state == "refuted"
    assert "the log has scores of an image that cannot be read" in said


def test_failed_images_that_are_not_here_are_not_verified(work):
    audit()
    rows = failed(NES)
    run = iqattack.open_run(f"audit/{NES}")
    lost = {row.image for row in rows}
    found = replayed(run, lambda name: None if name in lost else work / "photos" / name, None)
    assert found == [
        (
            "not verified",
            f"{len(rows)} failed images are not here, such as {min(lost)}, and their searches are "
            "not replayed",
        )
    ]

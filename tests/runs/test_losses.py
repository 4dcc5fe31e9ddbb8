"""What was lost of a log, or planted in it, is said: before anything is paid, and by `verify`."""

import hashlib
import json
import re
import shutil
import sqlite3
from contextlib import closing
from typing import Any

import pytest

import iqattack
from iqattack.engine import QueryLog
from iqattack.engine.log import PAIR, End
from iqattack.errors import InputError, RunError
from iqattack.models import wrap
from iqattack.runs import Run, execute, verify
from iqattack.runs.how import How
from iqattack.runs.losses import find_losses

QUERIES, IMAGES = 12, 5


@pytest.fixture
def run(tmp_path, settings, brightness, images):
    with Run.create(tmp_path / "run", settings(), brightness) as made:
        execute(made, images, brightness)
    return made


@pytest.fixture
def half(tmp_path, settings, brightness, images):
    """A run that was stopped: no result, and no results.csv."""
    asked = []

    def score(batch):
        asked.append(len(batch))
        if sum(asked) > 30:
            raise KeyboardInterrupt
        return brightness(batch)

    with (
        Run.create(tmp_path / "run", settings(), brightness) as made,
        pytest.raises(KeyboardInterrupt),
    ):
        execute(made, images, like(score), how=How(batch=1))
    assert End.read(made.folder / "log.sqlite").queries > 0
    return made


def like(score, **traits):
    model = wrap(score, name="brightness", score_range=(0.0, 255.0), lower_better=False)
    for name, value in traits.items():
        object.__setattr__(model.traits, name, value)
    return model


class Counted:
    def __init__(self, brightness):
        self.images, self._brightness = 0, brightness

    def __call__(self, batch):
        self.images += len(batch)
        return self._brightness(batch)


def sql(run, *statements):
    with closing(sqlite3.connect(run.folder / "log.sqlite")) as log:
        for statement in statements:
            log.execute(*([statement] if isinstance(statement, str) else statement))
        log.commit()


def differences(run, brightness):
    return [str(d) for d in verify(Run.open(run.folder), brightness).differences]


def planted(run, score, *, task=2, number=5):
    """Rows of an image with another score in them."""
    with closing(sqlite3.connect(run.folder / "log.sqlite")) as log:
        (blob,) = log.execute("SELECT rows FROM chunk WHERE task = ?", (task,)).fetchone()
    digest, _ = PAIR.unpack_from(blob, PAIR.size * number)
    there = bytearray(blob)
    PAIR.pack_into(there, PAIR.size * number, digest, score)
    return bytes(there)


def digest(task, rows):
    return hashlib.blake2b(f"{task - 1}.png".encode() + rows, digest_size=16).digest()


# -- planted --------------------------------------------------------------------------------------


def test_a_better_score_in_the_log_is_found(run, settings, brightness):
    result = run.results[1]
    better = 255.0 if result.direction == "up" else 0.0
    sql(run, ("UPDATE chunk SET rows = ? WHERE task = 2", (planted(run, better),)))
    assert any(line.startswith("1.png: queries 1 to 12 of the log were changed afterwards")
               for line in differences(run, brightness))  # fmt: skip
    with pytest.raises(RunError, match=r"1\.png: queries 1 to 12 of the log were changed"):
        iqattack.evaluate(run.folder, queries=6)
    with pytest.raises(RunError, match="12 of 60 queries have to be repeated"):
        Run.resume(run.folder, settings(), brightness)


@pytest.mark.parametrize("old", [False, True])
def test_a_better_score_whose_digest_fits_is_found(run, brightness, old):
    """The results do not have it; and the end of the log, where that is known, does not either."""
    result = run.results[1]
    better = 255.0 if result.direction == "up" else 0.0
    blob = planted(run, better)
    with QueryLog() as other:
        other.open_tasks([result.image])
        pairs = [PAIR.unpack_from(blob, k) for k in range(0, len(blob), PAIR.size)]
        other.append({result.image: (0, pairs)})
        ((digest,),) = other._all("SELECT digest FROM chunk")
    if old:  # begun by a version that logged none
        path = run.folder / "run.toml"
        path.write_text(re.sub('iqattack = ".*"', 'iqattack = "0.1.0"', path.read_text()))
        run = Run.open(run.folder)
    sql(run, ("UPDATE chunk SET rows = ?, digest = ? WHERE task = 2",
              (blob, None if old else digest)))  # fmt: skip
    found = differences(run, brightness)
    assert f"1.png: query 6 of the log has the better score {better!r}" in found[0]
    assert (
        "log.sqlite: was changed after it was written: it does not match log.end" in found
    ) != old
    with pytest.raises(RunError, match="the best score of the log gains"):
        iqattack.evaluate(run.folder, queries=6)


def test_other_scores_of_the_clean_image_are_no_better_ones(tmp_path, settings, images):
    """Those of the check of a stochastic model: the first counts."""
    scores = iter(range(10_000))

    def noisy(batch):
        return batch.double().mean((1, 2, 3)) + next(scores) % 7

    with Run.create(tmp_path / "run", settings(check=True, queries=24), like(noisy)) as run:
        execute(run, images, like(noisy))
    found = [str(d) for d in verify(run, None).differences]
    assert found == []
    iqattack.evaluate(run, queries=5)


# -- lost -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["deleted", "empty"])
def test_a_log_that_is_gone_is_said_before_anything_is_asked(
    run, settings, brightness, images, how
):
    before = {row.image: row for row in run.results}
    path = run.folder / "log.sqlite"
    path.unlink()
    if how == "empty":
        path.touch()
    table = (run.folder / "results.csv").read_bytes()
    scorer = Counted(brightness)
    with pytest.raises(RunError, match=(
        r"log\.sqlite is missing or empty; 60 of 60 queries have to be repeated, for 120\.00; "
        r"restore a copy of the log, or continue with --accept-lost-log"
    )):  # fmt: skip
        Run.resume(run.folder, settings(), like(scorer, price=2.0))
    assert (run.folder / "results.csv").read_bytes() == table
    assert scorer.images == 0
    with pytest.raises(
        RunError, match=r"its log\.sqlite, which had 60 queries, is missing or empty"
    ):
        verify(Run.open(run.folder), brightness)
    with Run.resume(run.folder, settings(), like(scorer), accept_lost_log=True) as again:
        execute(again, images, like(scorer))
    assert scorer.images == 60
    assert {row.image: row for row in again.results} == before
    assert verify(Run.open(run.folder), brightness).ok


def test_without_its_end_the_table_tells_what_there_was(run, settings, brightness):
    (run.folder / "log.sqlite").unlink()
    (run.folder / "log.end").unlink()
    with pytest.raises(RunError, match="60 of 60 queries"):
        Run.resume(run.folder, settings(), brightness)


def test_a_killed_run_whose_log_is_gone(half, settings, brightness):
    queries = End.read(half.folder / "log.sqlite").queries
    for path in half.folder.glob("log.sqlite*"):
        path.unlink()
    with pytest.raises(RunError, match=f"{queries} of {queries} queries have to be repeated"):
        Run.resume(half.folder, settings(), brightness)


def test_a_log_with_fewer_queries_than_it_had(half, settings, brightness, images):
    with QueryLog(half.folder / "log.sqlite") as log:
        begun = {n: log.queries(n) for n in log.images() if n not in log.results()}
    name, count = max(begun.items(), key=lambda pair: pair[1])
    assert count > 1
    assert find_losses(half.folder / "log.sqlite") is None
    sql(half, (
        "DELETE FROM chunk WHERE task = (SELECT id FROM task WHERE image = ?) AND first = "
        "(SELECT MAX(first) FROM chunk WHERE task = (SELECT id FROM task WHERE image = ?))",
        (name, name),
    ))  # fmt: skip
    expected = "log.sqlite has 29 queries, but had 30; 1 of 30 queries"
    with pytest.raises(RunError, match=expected):
        Run.resume(half.folder, settings(), brightness)
    scorer = Counted(brightness)
    with Run.resume(half.folder, settings(), like(scorer), accept_lost_log=True) as again:
        execute(again, images, like(scorer))
    assert scorer.images == QUERIES * IMAGES - 29
    assert verify(Run.open(half.folder), brightness).ok


def test_a_missing_chunk_is_one_line_and_only_what_follows_is_asked_again(
    run, tmp_path, settings, brightness, images
):
    """In the middle of an image whose result is gone, too; and of one that has its result."""
    whole = tmp_path / "whole"
    shutil.copytree(run.folder, whole)
    with closing(sqlite3.connect(run.folder / "log.sqlite")) as log:
        chunks = dict(log.execute("SELECT task, rows FROM chunk").fetchall())
    for task, blob in ((2, chunks[2]), (3, chunks[3])):
        parts = [(0, blob[: 16 * 4], blob[: 16 * 4]), (8, blob, blob[16 * 8 :])]
        sql(run, ("DELETE FROM chunk WHERE task = ?", (task,)), *(
            ("INSERT INTO chunk VALUES (?, ?, ?, ?)", (task, first, digest(task, sofar), rows))
            for first, sofar, rows in parts
        ))  # fmt: skip
    sql(run, "DELETE FROM result WHERE task = 3")
    gap = "queries 5 to 8 are missing from the log"
    found = differences(run, brightness)
    assert f"1.png: {gap}" in found
    assert f"2.png: {gap}" in found
    for queries in (None, 6):
        if queries is not None:
            with pytest.raises(RunError, match=gap):
                iqattack.evaluate(run.folder, queries=queries)
    with pytest.raises(RunError, match=rf"1\.png: {gap}, and 1 more images; 16 of 60 queries"):
        Run.resume(run.folder, settings(), brightness)
    scorer = Counted(brightness)
    with Run.resume(run.folder, settings(), like(scorer), accept_lost_log=True) as again:
        execute(again, images, like(scorer))
    assert scorer.images == 16
    assert (run.folder / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    for path in (whole / "adversarial").iterdir():
        assert (run.folder / "adversarial" / path.name).read_bytes() == path.read_bytes()
    assert verify(Run.open(run.folder), brightness).ok
    assert (run.folder / "log.end").read_bytes() == (whole / "log.end").read_bytes()


def test_an_image_whose_rows_are_all_gone(run, settings, brightness):
    sql(run, "DELETE FROM chunk WHERE task = 4")
    assert any("0 queries in the log, reported 12" in line for line in differences(run, brightness))
    with pytest.raises(RunError, match=r"3.png: has no query in the log"):
        iqattack.evaluate(run.folder, queries=6)
    with pytest.raises(RunError, match=r"3\.png: reports 12 queries, but the log has 0; 12"):
        Run.resume(run.folder, settings(), brightness)


def test_a_log_that_is_ahead_of_its_end_was_killed_and_is_none_the_worse(
    half, settings, brightness, images
):
    path = half.folder / "log.end"
    end = End.read(half.folder / "log.sqlite")
    for text in (End(end.queries - 3, 77).text(), b"", b"\0" * 54):
        path.write_bytes(text)
        assert find_losses(half.folder / "log.sqlite") is None
        assert find_losses(half.folder / "log.sqlite", digests=True) is None
    with Run.resume(half.folder, settings(), brightness) as again:
        execute(again, images, brightness)
    assert verify(Run.open(half.folder), brightness).ok
    assert End.read(half.folder / "log.sqlite").queries == QUERIES * IMAGES


def test_a_run_whose_end_is_not_there_goes_on_once_that_is_accepted(
    half, settings, brightness, images
):
    (half.folder / "log.end").unlink()
    lacking = "has no log.end beside it: queries may have been removed from its end"
    with pytest.raises(RunError, match=f"log.sqlite {lacking}; 0 of .* restore a copy of the log"):
        Run.resume(half.folder, settings(), brightness)
    with Run.resume(half.folder, settings(), brightness, accept_lost_log=True) as again:
        summary = execute(again, images, brightness)
    assert any(lacking in found for found in summary.findings)
    assert verify(Run.open(half.folder), brightness).ok


def test_an_end_that_is_not_there_is_said(run, brightness):
    (run.folder / "log.end").unlink()
    assert any("no log.end beside it" in line for line in iqattack.evaluate(run.folder).findings)
    found = verify(Run.open(run.folder), brightness)
    assert found.ok
    assert found.notes == ("log.end is missing: queries may have been removed from the log's end",)


def test_accepting_is_for_a_run_that_is_gone_on_with(tmp_path, photos, brightness):
    accepted: list[dict[str, Any]] = [{"accept_lost_log": True}, {"accept_changed_model": True}]
    for options in accepted:
        (name,) = options
        with pytest.raises(InputError, match=f"{name} applies to a run that is resumed"):
            iqattack.attack(photos, brightness, out=tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


# -- another model in mid-run ---------------------------------------------------------------------

MODEL = """
def load():
    f = lambda images: images.double().mean((1, 2, 3)) {more}
    f.name, f.score_range, f.lower_better = "mine", (0.0, 255.0), False
    return f
"""


def test_a_model_that_was_mended_goes_on_and_the_run_says_so(tmp_path, photos):
    path = tmp_path / "m.py"
    path.write_text(MODEL.format(more=""))
    options = {"attack": "noise", "queries": 12, "out": tmp_path / "run", "check": False}
    spec = f"{path}:load"
    with pytest.raises(iqattack.api.CeilingReached):
        iqattack.attack(photos, spec, max_requests=31, batch=1, **options)
    old = dict(iqattack.open_run(options["out"]).model.files)
    path.write_text(MODEL.format(more="+ 1"))
    with pytest.raises(
        RunError, match=r"has other contents .* or continue with --accept-changed-mod"
    ):
        iqattack.attack(photos, spec, resume=True, **options)
    notes = []
    run = iqattack.attack(
        photos,
        spec,
        resume=True,
        accept_changed_model=True,
        callbacks=iqattack.Callbacks(note=lambda image, text: notes.append(text)),
        **options,
    )
    new = iqattack.open_run(run.folder).model.files
    (change,) = iqattack.open_run(run.folder).record.changes
    assert (change.queries, change.old, change.new) == (31, old, new)
    assert old != new
    expected = (
        f"the model was changed after 31 queries: m.py (SHA-256 {old[str(path)][:12]} → "
        f"{new[str(path)][:12]}); scores before and after come from two models"
    )
    assert expected in notes
    assert expected in run.summary().findings
    assert json.loads((run.folder / "summary.json").read_text())["changes"][0]["queries"] == 31
    found = iqattack.verify(run.folder)
    assert found.differences == ()
    assert expected in found.notes
    assert any("scores of 5 images come" in note for note in found.notes)
    # And on it goes, without another word.
    iqattack.attack(photos, spec, resume=True, **options)
    assert len(iqattack.open_run(run.folder).record.changes) == 1
    path.write_text(MODEL.format(more="+ 2"))
    iqattack.attack(photos, spec, resume=True, accept_changed_model=True, **options)
    first, second = iqattack.open_run(run.folder).record.changes
    assert (first, second.old, second.queries) == (change, new, 60)


def test_another_setting_is_refused_whatever_is_accepted(run, settings, brightness):
    with pytest.raises(RunError, match=r"queries is 12 there, 13 here; use another --out$"):
        Run.resume(run.folder, settings(queries=13), brightness, accept_changed_model=True)

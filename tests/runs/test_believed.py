"""What is believed of a run that may be anybody's, by whoever shows its results."""

import json
import shutil
import sqlite3
import unicodedata
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import iqattack
from iqattack.cli import main
from iqattack.cli.verify import show_verified
from iqattack.engine import Interrupted
from iqattack.engine.log import PAIR, _hasher_of
from iqattack.errors import InputError, RunError
from iqattack.images import ImageSet
from iqattack.models import wrap
from iqattack.runs import Run, Settings, execute, verify
from iqattack.runs.results import Result
from iqattack.specs import TURNING, is_line, printable

BUDGET = 12
SHOWN = ("linf", "rms", "psnr", "ssim", "ms_ssim", "jnd_violation")


def brightness(batch):
    return batch.double().mean((1, 2, 3))


def like(score):
    return wrap(score, name="brightness", score_range=(0.0, 255.0), lower_better=False)


MODEL = like(brightness)
SETTINGS: dict[str, Any] = {
    "model": "brightness",
    "attack": "noise",
    "constraint": "linf:3",
    "queries": BUDGET,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run, with its photos beside it."""
    home = tmp_path_factory.mktemp("whole")
    (home / "photos").mkdir()
    rng = np.random.default_rng(0)
    for k in range(5):
        pixels = rng.integers(20 + 30 * k, 60 + 30 * k, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(home / "photos" / f"{k}.png")
    settings = Settings(images=(str(home / "photos"),), **SETTINGS)
    with Run.create(home / "run", settings, MODEL) as made:
        execute(made, ImageSet.from_folder(home / "photos"), MODEL)
    return made


@pytest.fixture
def run(whole, tmp_path):
    """The same in a folder of its own, to be changed; its photos are those of all tests."""
    shutil.copytree(whole.folder, tmp_path / "run")
    return Run.open(tmp_path / "run")


@pytest.fixture
def fresh(tmp_path, settings, images):
    """One whose photos may be taken away."""
    with Run.create(tmp_path / "fresh", settings(), MODEL) as made:
        execute(made, images, MODEL)
    return made


@pytest.fixture
def other(run, tmp_path):
    """Another run, to compare with."""
    shutil.copytree(run.folder, tmp_path / "other")
    return tmp_path / "other"


def changed(folder, *statements):
    with closing(sqlite3.connect(folder / "log.sqlite")) as log:
        for statement in statements:
            log.execute(*([statement] if isinstance(statement, str) else statement))
        log.commit()


def edited(folder, task=2, **values):
    """A result with other values in it."""
    change = ("UPDATE result SET json = json_patch(json, ?) WHERE task = ?",
              (json.dumps(values), task))  # fmt: skip
    changed(folder, change)


def cut(folder, task=2, rows=5):
    """Only the first rows of an image are left, in the log and of its result."""
    with closing(sqlite3.connect(folder / "log.sqlite")) as log:
        ((image,),) = log.execute("SELECT image FROM task WHERE id = ?", (task,))
        ((blob,),) = log.execute("SELECT rows FROM chunk WHERE task = ?", (task,))
    blob = blob[: PAIR.size * rows]
    scores = [score for _, score in PAIR.iter_unpack(blob)]
    gains = [abs(score - scores[0]) / 255.0 for score in scores]
    k = max(range(rows), key=gains.__getitem__)
    changed(folder, ("UPDATE chunk SET rows = ?, digest = ? WHERE task = ?",
                     (blob, _hasher_of(image, blob).digest(), task)))  # fmt: skip
    edited(folder, task, queries=rows, score_adv=scores[k], gain=gains[k])


def drop(folder, task=4):
    """An image that never was."""
    tables = ("result", "chunk", "task")
    changed(folder, *(f"DELETE FROM {t} WHERE {'id' if t == 'task' else 'task'} = {task}"
                      for t in tables))  # fmt: skip


def drop_all(folder):
    drop(folder)
    (folder / "log.end").unlink()


LOST = {
    "an image without its result and rows": lambda folder: changed(
        folder, "DELETE FROM result WHERE task = 4", "DELETE FROM chunk WHERE task = 4"
    ),
    "an image that is not there": drop,
    "and no end": drop_all,
    "a gap in an image without result": lambda folder: changed(
        folder, "DELETE FROM result WHERE task = 4", "UPDATE chunk SET first = 3 WHERE task = 4"
    ),
    "a changed row of an image without result": lambda folder: changed(
        folder,
        "DELETE FROM result WHERE task = 4",
        "UPDATE chunk SET rows = CAST(zeroblob(16) || substr(rows, 17) AS BLOB) WHERE task = 4",
    ),
    "an end that says less": lambda folder: (folder / "log.end").write_bytes(
        b"%020d %032x\n" % (20, 5)
    ),
}


@pytest.mark.parametrize("how", LOST)
def test_no_command_shows_the_results_of_a_log_that_lost_something(run, other, how):
    LOST[how](run.folder)
    for look in (
        lambda: iqattack.evaluate(run.folder),
        lambda: iqattack.evaluate(run.folder, queries=BUDGET),
        lambda: iqattack.evaluate(run.folder, queries=5),
        lambda: iqattack.compare(other, run.folder, allow=["images"]),
        lambda: iqattack.report(run.folder),
        lambda: Run.resume(run.folder, run.settings, MODEL),
    ):
        with pytest.raises(RunError, match="restore a copy of the log"):
            look()
    assert not verify(Run.open(run.folder), MODEL).ok
    assert not (run.folder / "report").exists()


def test_rows_that_were_taken_off_the_end_are_missed(run):
    cut(run.folder)
    with pytest.raises(RunError, match=r"log\.sqlite has 53 queries, but had 60; restore a copy"):
        iqattack.evaluate(run.folder)


def test_a_run_under_way_is_shown(tmp_path, settings, images):
    """While its process has the log open."""
    seen = []

    def look(_):
        if not seen and len(list(tmp_path.glob("run/adversarial/*.png"))) > 1:
            seen.append(iqattack.evaluate(tmp_path / "run").pending)

    with Run.create(tmp_path / "run", settings(), MODEL) as made:
        execute(made, images, MODEL, callbacks=iqattack.Callbacks(progress=look))
    assert seen[0] > 0


# -- measures of a result -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"queries": 2}, "12 queries in the log, reported 2"),
        ({"status": "unchanged"}, "status is ok, reported unchanged"),
    ],
)
def test_a_result_is_what_its_rows_say(run, values, message):
    edited(run.folder, task=1, **values)
    with pytest.raises(
        RunError, match=f"0.png: {message}.*; for details, run 'iqattack verify .*'"
    ):
        iqattack.evaluate(run.folder)


def test_a_direction_is_that_of_the_log(run):
    """Of an image that nothing moved, either would fit its rows."""
    result = run.results[0]
    other = {"up": "down", "down": "up"}[result.direction]
    with closing(sqlite3.connect(run.folder / "log.sqlite")) as log:
        ((blob,),) = log.execute("SELECT rows FROM chunk WHERE task = 1")
    blob = b"".join(PAIR.pack(key, result.score_clean) for key, _ in PAIR.iter_unpack(blob))
    digest = _hasher_of("0.png", blob).digest()
    changed(run.folder, ("UPDATE chunk SET rows = ?, digest = ? WHERE task = 1", (blob, digest)))
    edited(run.folder, task=1, direction=other, score_adv=result.score_clean, gain=0.0,
           status="unchanged")  # fmt: skip
    message = f"0.png: direction {other} reported, {result.direction} in the log"
    with pytest.raises(RunError, match=message):
        iqattack.evaluate(run.folder)


@pytest.mark.parametrize("name", SHOWN)
def test_how_visible_a_change_is_is_measured_where_somebody_else_wrote_it(run, other, name):
    true = {result.image: result for result in run.results}
    edited(run.folder, **{name: 0.25})
    summary = iqattack.evaluate(run.folder)
    expected = [getattr(result, name) for result in true.values()]
    if None not in expected:
        assert getattr(summary.means, name) == pytest.approx(sum(expected) / len(expected))
    (said,) = (phrase for phrase in summary.findings if "was measured again" in phrase)
    assert said.startswith("the visibility of 1 image differs from what was written by somebody")
    assert f"(1.png: {name} is" in said
    row = iqattack.compare(other, run.folder).rows[1]
    assert said in row.notes
    assert iqattack.compare(run.folder, other).rows[1].notes == ()


def test_without_its_pictures_it_is_left_out(fresh, photos, capsys):
    run = fresh
    edited(run.folder, ssim=1.0, jnd_violation=0.0)
    (photos / "1.png").unlink()
    true = [result for result in run.results if result.image != "1.png"]
    summary = iqattack.evaluate(run.folder)
    assert summary.means.ssim == pytest.approx(sum(r.ssim for r in true) / len(true))
    assert any("of 1 image " in phrase and "1.png: no such image" in phrase
               for phrase in summary.findings)  # fmt: skip
    for path in run.images.iterdir():
        path.unlink()
    changed(run.folder, "DELETE FROM kept WHERE name LIKE 'code %'")
    assert main(("evaluate", str(run.folder))) == 0
    assert "visibility cannot be measured here" in " ".join(capsys.readouterr().out.split())


def test_own_results_are_believed_without_a_look_at_pictures(run):
    for path in run.images.iterdir():
        path.unlink()
    summary = iqattack.evaluate(run.folder)
    assert summary.means.ssim is not None
    assert not any("written by somebody else" in phrase for phrase in summary.findings)


def test_the_code_of_another_user_or_run_is_none(run, tmp_path, monkeypatch):
    def noted():
        findings = iqattack.evaluate(run.folder).findings
        return any("was measured again" in phrase for phrase in findings)

    edited(run.folder, ssim=0.25)
    changed(run.folder, "UPDATE kept SET json = (SELECT json FROM kept WHERE name = 'code 0.png') "
                        "WHERE name = 'code 1.png'")  # fmt: skip
    assert noted()
    edited(run.folder, ssim=run.results[0].ssim)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "nobody"))
    edited(run.folder, task=3, ssim=0.25)
    assert noted()


def test_opinion_that_somebody_else_wrote_is_said_to_be_unchecked(run):
    edited(run.folder, mos=3.0)
    assert any("'iqattack verify' compares them with their table" in phrase
               for phrase in iqattack.evaluate(run.folder).findings)  # fmt: skip


# -- values beyond all counts, and of another kind -------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"queries": 10**400},
        {"queries": 0},
        {"queries": True},
        {"queries": 12.0},
        {"attempts": -1},
        {"attempts": True},
        {"attempts": 10**19},
        {"width": 2**31 + 1},
        {"height": 0},
        {"stages": [[10**30, "x"]]},
        {"stages": [[-5, "x"]]},
        {"mos": "3"},
        {"sha256": None},
    ],
)
def test_a_result_of_other_numbers_is_none(run, values):
    with closing(sqlite3.connect(run.folder / "log.sqlite")) as log:
        ((text,),) = log.execute("SELECT json FROM result WHERE task = 2")
    text = json.dumps({**json.loads(text), **values})
    changed(run.folder, ("UPDATE result SET json = ? WHERE task = 2", (text,)))
    for look in (iqattack.evaluate, iqattack.report, lambda folder: verify(Run.open(folder), None)):
        with pytest.raises(RunError, match=r"1\.png: the log has an invalid result"):
            look(run.folder)


def test_a_result_is_read_as_it_was_written(run):
    for result in run.results:
        assert Result.read(result.image, result.model_dump_json(), hashed=True) == result


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format = 1", "format = true", "run format True, expected 1"),
        ("format = 1", "format = 1.0", "run format 1.0, expected 1"),
        ("queries = 12", "queries = true", "valid integer"),
        ("seed = 0", "seed = 0.0", "valid integer"),
        ("convert = false", "convert = 0", "valid boolean"),
        ("seed = 0", 'seed = "0"', "valid integer"),
        ("seed = 0", "seed = 2026-01-01", "valid integer"),
        ('name = "brightness"', 'name = "a\\u2028b"', "expected printable text"),
        ('name = "brightness"', 'name = "a\\u202eb"', "expected printable text"),
    ],
)
def test_a_run_toml_has_values_of_the_right_kind(run, old, new, message):
    path = run.folder / "run.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(RunError, match=message):
        Run.open(run.folder)


@pytest.mark.parametrize(
    "table",
    [
        '[[losses]]\ncreated = ""\nlost = -1\nof = 2\nwhat = ""\n',
        f'[[losses]]\ncreated = ""\nlost = {10**40}\nof = 2\nwhat = ""\n',
        '[[changes]]\ncreated = ""\nqueries = -5\nold = {}\nnew = {}\n',
    ],
)
def test_what_was_accepted_has_numbers_of_queries(run, table):
    path = run.folder / "run.toml"
    path.write_text(path.read_text().partition("\n# Begun")[0] + "\n" + table)
    with pytest.raises(RunError, match="cannot be read as a run's settings"):
        Run.open(run.folder)


# -- texts on a terminal and on a page -------------------------------------------------------------


ODD = "a\ufeffb\u200fc\u00add"


def test_no_text_of_a_run_turns_a_line_around(run, other, capsys):
    for folder in (run.folder, other):
        path = folder / "run.toml"
        text = path.read_text().replace('name = "brightness"', f'name = "{ODD}"')
        loss = f'[[losses]]\ncreated = ""\nlost = 1\nof = 2\nwhat = "{ODD}"\n'
        path.write_text(text.partition("\n# Begun")[0] + "\n" + loss)
    ours = str(run.folder)
    commands = [("evaluate", ours), ("evaluate", ours, "--all"), ("report", ours)]
    commands += [("compare", ours, str(other), "--all", "--format", form)
                 for form in ("table", "markdown", "latex")]  # fmt: skip
    for command in commands:
        assert main(command) == 0
    said = capsys.readouterr()
    assert r"a\ufeffb\u200fc\xadd" in said.out
    page = (run.folder / "report" / "index.html").read_text(encoding="utf-8")
    for place in (r"<title>a\ufeffb\u200fc\xadd under ", r"<h1>a\ufeffb\u200fc\xadd</h1>"):
        assert page.count(place) == 1
    for text in (said.out, said.err, page):
        assert not [mark for mark in text if unicodedata.category(mark) in ("Cf", "Zl", "Zp")]


def test_a_loss_of_an_image_with_an_odd_name_can_be_read_again(tmp_path, settings, photos):
    """File systems allow for any name, run.toml does not."""
    (photos / "0.png").rename(photos / "a\u2028b.png")
    images = ImageSet.from_folder(photos)
    with Run.create(tmp_path / "run", settings(), MODEL) as run:
        execute(run, images, MODEL)
    changed(run.folder, "DELETE FROM chunk WHERE task = 5")
    Run.resume(run.folder, settings(), MODEL, accept_lost_log=True).close()
    assert r"a\u2028b.png: reports 12 queries" in Run.open(run.folder).record.losses[0].what


@given(st.text())
def test_a_text_of_one_line_is_printed_in_its_order(text):
    if is_line(text):
        assert len(text.splitlines()) <= 1
        assert not set(text) & set(TURNING)
    assert is_line(printable(text))


# -- verify ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("tolerance", [float("inf"), float("nan"), -1.0, 0.11])
def test_a_tolerance_that_lets_all_pass_is_refused(run, tolerance):
    with pytest.raises(InputError, match=r"tolerance .*: expected 0 to 0\.1, as a fraction"):
        verify(run, MODEL, tolerance=tolerance)


def test_the_last_line_says_how_far_scores_may_be_off(run, capsys):
    off = like(lambda batch: brightness(batch) + 5)
    for model, tolerance, line in (
        (off, 0.05, "5 images checked: all as reported, scores within 0.05 of the range"),
        (MODEL, 1e-6, "5 images checked: all as reported"),
        (None, 0.05, "5 images checked: all as reported"),
    ):
        show_verified(verify(Run.open(run.folder), model, tolerance=tolerance))
        assert capsys.readouterr().out.splitlines()[-1] == line


def test_a_device_that_is_not_there_is_no_reason_for_another_model(run):
    path = run.folder / "run.toml"
    path.write_text(path.read_text().replace('model = "brightness"', 'model = "builtin"'))
    with pytest.raises(InputError, match=r"^device 'nowhere' cannot be used"):
        iqattack.verify(run.folder, device="nowhere")
    with pytest.raises(InputError, match=r"^timeout -1"):
        iqattack.verify(run.folder, timeout=-1)


# -- beside each other ----------------------------------------------------------------------------


def test_a_run_is_not_compared_with_itself(run, other):
    link = run.folder.with_name("link")
    link.symlink_to(run.folder)
    for runs in ((run, other, run), (run.folder, link)):
        with pytest.raises(InputError, match=r"is the same run as .*run; give each run once"):
            iqattack.compare(*runs)
    with pytest.raises(InputError, match="allow: seed is given 2 times; give it once"):
        iqattack.compare(run, other, allow=["seed", "seed"])


# -- what may be paid again ------------------------------------------------------------------------


def test_who_goes_on_is_told_what_may_be_paid_again(tmp_path, settings, images):
    priced, notes = like(brightness), []
    object.__setattr__(priced.traits, "price", 0.01)

    def problems(run, **more):
        notes.clear()
        note = iqattack.Callbacks(note=lambda _, text: notes.append(text), **more)
        with run:
            execute(run, images, priced, callbacks=note)
        return [text for text in notes if "are repeated and paid again" in text]

    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        problems(Run.create(folder, settings(), priced),
             stop=lambda: len(list(folder.glob("adversarial/*"))) > 1)  # fmt: skip
    assert notes == []
    assert len(problems(Run.resume(folder, settings(), priced))) == 1
    assert problems(Run.resume(folder, settings(), priced)) == []  # nothing is left to do

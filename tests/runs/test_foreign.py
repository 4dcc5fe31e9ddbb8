"""Runs that were edited, damaged or made up: all of it is said, nothing hangs, nothing crashes."""

import json
import os
import shutil
import sqlite3
import tomllib
from contextlib import closing

import pytest
import tomli_w

import iqattack
from iqattack.cli import main
from iqattack.engine import QueryLog
from iqattack.engine.log import End
from iqattack.errors import InputError, IqattackError, RunError
from iqattack.images import ImageSet, match_mos, read_mos
from iqattack.models import wrap
from iqattack.runs import Run, execute, verify
from iqattack.runs.cells import from_cell, to_cell
from iqattack.runs.losses import find_losses
from iqattack.runs.owner import signed
from iqattack.runs.settings import Record
from iqattack.runs.trust import LARGEST
from iqattack.specs import printable

BUDGET = 12


@pytest.fixture
def run(tmp_path, settings, brightness, images):
    with Run.create(tmp_path / "run", settings(), brightness) as made:
        execute(made, images, brightness)
    return made


def sql(run, *statements):
    with closing(sqlite3.connect(run.folder / "log.sqlite")) as log:
        for statement in statements:
            log.execute(*([statement] if isinstance(statement, str) else statement))
        log.commit()


def edit_toml(run, change, *, own=False):
    path = run.folder / "run.toml"
    record = tomllib.loads(path.read_text())
    change(record)
    text = tomli_w.dumps(record)
    path.write_text(signed(text) if own else text)
    return Run.open(run.folder)


def edit_result(run, task=2, **values):
    """Change a result, and let all that follows from it say the same."""
    with closing(sqlite3.connect(run.folder / "log.sqlite")) as log:
        (text,) = log.execute("SELECT json FROM result WHERE task = ?", (task,)).fetchone()
        changed = json.dumps({**json.loads(text), **values})
        log.execute("UPDATE result SET json = ? WHERE task = ?", (changed, task))
        log.commit()
    agree(run)


def agree(run):
    run = Run.open(run.folder)
    run.write_results(run.results)
    (run.folder / "summary.json").unlink()


def problems(run, brightness):
    return [str(difference) for difference in verify(Run.open(run.folder), brightness).differences]


# -- a model that was changed, made up ------------------------------------------------------------


CHANGE = {"created": "2026-01-01T00:00:00+00:00", "queries": 60, "old": {"m.py": "0" * 64}}


def invent(run, brightness, *, files, queries=60, kept=BUDGET, new=None):
    """All scores invented, and said to be of a model of before."""

    def change(record):
        record["model"]["files"] = files
        record["changes"] = [{**CHANGE, "queries": queries, "new": files if new is None else new}]

    edit_toml(run, change)
    names = [f"{k}.png" for k in range(5)]
    sql(run, ("INSERT INTO kept VALUES ('model change 0', ?)",
              (json.dumps(dict.fromkeys(names, kept)),)))  # fmt: skip
    (run.folder / "summary.json").unlink()
    other = wrap(lambda b: brightness(b) + 9, name="brightness", score_range=(0.0, 255.0),
                 lower_better=False)  # fmt: skip
    return verify(Run.open(run.folder), other)


@pytest.mark.parametrize(
    "made_up",
    [
        {"files": {}},
        {"files": {"m.py": "1" * 64}, "new": {"m.py": "2" * 64}},
        {"files": {"m.py": "1" * 64}, "queries": 59},
        {"files": {"m.py": "1" * 64}, "queries": 65, "kept": BUDGET + 1},
    ],
)
def test_a_change_of_the_model_that_does_not_fit_is_refused_and_all_is_asked(
    run, brightness, made_up
):
    found = invent(run, brightness, **made_up)
    assert any(d.image == "run.toml" for d in found.differences)
    assert found.scored == 10
    assert sum("score is" in d.what for d in found.differences) == 10


def test_what_was_not_asked_again_is_on_the_last_line(run, brightness, capsys):
    from iqattack.cli.verify import show_verified  # noqa: PLC0415

    found = invent(run, brightness, files={"m.py": "1" * 64})
    assert found.scored == 0
    show_verified(found)
    last = capsys.readouterr().out.splitlines()[-1]
    assert "0 of 10 scores were queried again" in last
    assert "all as reported" not in last


@pytest.mark.parametrize("text", ["[" * 10_000, "[]", '{"0.png": 1e999}', '{"0.png": "x"}'])
def test_what_is_kept_of_a_change_may_be_anything(run, brightness, text):
    files = {"m.py": "1" * 64}
    edit_toml(run, lambda r: (r["model"].update(files=files),
                              r.update(changes=[{**CHANGE, "new": files}])))  # fmt: skip
    sql(run, ("INSERT INTO kept VALUES ('model change 0', ?)", (text,)))
    assert any(
        line.startswith("run.toml: the log and run.toml disagree")
        for line in problems(run, brightness)
    )


# -- text that would forge what a terminal shows -------------------------------------------------


ESCAPE = "\x1b[2K\rall as reported\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["model"].update(name=ESCAPE),
        lambda record: record["model"].update(files={ESCAPE: "0"}),
        lambda record: record["versions"].update(iqattack=ESCAPE),
        lambda record: record.update(created=ESCAPE),
    ],
)
def test_a_run_toml_with_control_characters_is_refused(run, change, capsys):
    path = run.folder
    with pytest.raises(RunError, match="expected printable text"):
        edit_toml(run, change)
    for command in ("verify", "evaluate", "report"):
        assert main((command, str(path))) == 2
    out = capsys.readouterr()
    assert "\x1b" not in out.out + out.err


def test_errors_and_notes_of_a_run_are_escaped(run, capsys, brightness):
    sql(run, ("UPDATE task SET image = ? WHERE id = 1", (ESCAPE,)))
    assert main(("evaluate", str(run.folder))) == 2
    sql(run, "UPDATE task SET image = '0.png' WHERE id = 1",
        "DELETE FROM result WHERE task = 1",
        ("INSERT INTO failure VALUES (1, ?)", (ESCAPE,)))  # fmt: skip
    agree(run)
    table = run.folder / "results.csv"
    table.write_text(table.read_text() + f'"{ESCAPE}"' + ",1" * 16 + "\n")
    main(("verify", str(run.folder), "--model", "builtin"))
    for command in ("evaluate", "report"):
        assert main((command, str(run.folder))) == 0
    out = capsys.readouterr()
    assert "\x1b" not in out.out + out.err
    assert any("\\x1b[2K" in row.status for row in Run.open(run.folder).results)


def test_what_is_kept_of_a_check_names_images_of_the_run(run):
    kept = {"images": [ESCAPE], "batch": True, "failed": ESCAPE}
    sql(run, ("INSERT OR REPLACE INTO kept VALUES ('check', ?)", (json.dumps(kept),)))
    assert Run.open(run.folder).check is None
    kept["images"] = ["0.png"]
    sql(run, ("INSERT OR REPLACE INTO kept VALUES ('check', ?)", (json.dumps(kept),)))
    assert all("\x1b" not in phrase for phrase in Run.open(run.folder).summary().findings)


def test_what_is_printable():
    assert printable("a\x1b[0m\r\n\u202eb\u2028\x9b") == r"a\x1b[0m\r\n\u202eb\u2028\x9b"
    assert printable("Fotoš 写真 👩\u200d🎨 \\") == "Fotoš 写真 👩\u200d🎨 \\"


# -- links, pipes and files that are not ours ------------------------------------------------------


@pytest.mark.parametrize("name", ["log.end", "log.sqlite", "log.sqlite-wal", "adversarial",
                                  "run.toml", ".lock"])  # fmt: skip
def test_nothing_is_written_through_a_link(run, tmp_path, settings, brightness, name):
    path, elsewhere = run.folder / name, tmp_path / "elsewhere"
    if path.exists():
        path.rename(elsewhere)
    else:
        elsewhere.write_bytes(b"precious")
    path.symlink_to(elsewhere)
    before = None if elsewhere.is_dir() else elsewhere.read_bytes()
    for accept in (False, True):
        with pytest.raises(RunError, match=f"{name}: is a link"):
            Run.resume(run.folder, settings(), brightness, accept_lost_log=accept)
    if before is not None:
        assert elsewhere.read_bytes() == before


@pytest.mark.parametrize("name", ["log.end", "log.sqlite"])
def test_a_pipe_does_not_hang(run, settings, brightness, name):
    (run.folder / name).unlink()
    os.mkfifo(run.folder / name)
    for look in (
        lambda: verify(Run.open(run.folder), brightness),
        lambda: iqattack.evaluate(run.folder),
        lambda: Run.resume(run.folder, settings(), brightness),
    ):
        with pytest.raises(RunError, match=rf"{name}: is not a regular file|{name}, .* is missing"):
            look()


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "


@pytest.mark.parametrize(
    "statements",
    [
        ("ALTER TABLE chunk RENAME TO real",
         f"CREATE VIEW chunk AS {ENDLESS} SELECT 1 AS task, i AS first, NULL AS digest, x'' AS rows"
         " FROM n"),
        ("CREATE TRIGGER t AFTER INSERT ON chunk BEGIN DELETE FROM chunk; END",),
        ("CREATE TABLE other (a)",),
    ],
)  # fmt: skip
def test_schemas_that_are_not_ours_are_refused(run, settings, brightness, statements):
    sql(run, *statements)
    for look in (
        lambda: verify(Run.open(run.folder), brightness),
        lambda: iqattack.evaluate(run.folder),
        lambda: Run.resume(run.folder, settings(), brightness),
    ):
        with pytest.raises(RunError, match="which iqattack does not write"):
            look()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE chunk SET digest = 'text' WHERE task = 1",
        "UPDATE chunk SET rows = 'text' WHERE task = 1",
        "UPDATE chunk SET first = 'x' WHERE task = 1",
        "UPDATE task SET image = x'ff00' WHERE id = 1",
        "UPDATE task SET image = 'a' || char(27) WHERE id = 1",
        "UPDATE task SET attempts = 'many' WHERE id = 1",
        "UPDATE task SET attempts = -5 WHERE id = 1",
        "UPDATE task SET direction = 'sideways' WHERE id = 1",
        "INSERT INTO early VALUES (1, 3, 'text')",
        "INSERT INTO early VALUES (1, -3, zeroblob(16))",
        "DELETE FROM task WHERE id = 5",  # whose rows belong to no image then
        "PRAGMA user_version=2",
        "PRAGMA user_version=3",
        "PRAGMA user_version=0",
        "UPDATE result SET json = x'00' WHERE task = 1",
    ],
)
def test_values_of_another_kind_are_one_line(run, settings, brightness, statement, capsys):
    sql(run, statement)
    before = (run.folder / "log.end").read_bytes()
    for look in (
        lambda: verify(Run.open(run.folder), brightness),
        lambda: iqattack.evaluate(run.folder),
        lambda: Run.resume(run.folder, settings(), brightness),
        lambda: Run.resume(run.folder, settings(), brightness, accept_lost_log=True),
    ):
        with pytest.raises(RunError, match="restore a copy of it"):
            look()
    assert (run.folder / "log.end").read_bytes() == before
    assert main(("report", str(run.folder))) == 2
    assert "free some space" not in capsys.readouterr().err


def test_what_is_reserved_is_a_number(run, tmp_path):
    sql(run, "INSERT INTO kept VALUES ('reserved', 'abc')")
    with (
        QueryLog(run.folder / "log.sqlite") as log,
        pytest.raises(RunError, match="reserved that is not a number"),
    ):
        log.sent()


@pytest.mark.parametrize(
    "text", ['{"queries": 1e999}', "[" * 100_000, "{}", '"', '{"image": "4.png"}']
)
def test_a_result_that_is_none_names_its_image_and_a_remedy(
    run, settings, brightness, images, text
):
    whole = [row.model_dump() for row in run.results]
    sql(run, ("UPDATE result SET json = ? WHERE task = 2", (text,)))
    with pytest.raises(RunError, match=r"1\.png: the log has an invalid result .*--accept-lo"):
        iqattack.evaluate(run.folder)
    with pytest.raises(RunError, match=r"1\.png: the log has an invalid result; 0 of 60"):
        Run.resume(run.folder, settings(), brightness)
    with Run.resume(run.folder, settings(), brightness, accept_lost_log=True) as again:
        execute(again, images, brightness)
    assert [row.model_dump() for row in again.results] == whole


@pytest.mark.parametrize("nested", ["a = " + "[" * 100_000, "a = " + '"x"' * 2, "\udcff"])
def test_a_run_toml_that_is_none(run, nested):
    (run.folder / "run.toml").write_text(nested, errors="surrogateescape")
    with pytest.raises(RunError, match="cannot be read as a run's settings"):
        Run.open(run.folder)


def test_a_nested_summary_is_a_difference(run, brightness):
    for text in ("[" * 100_000, '{"a":' * 900 + "1" + "}" * 900, '{"queries": ' + "9" * 400 + "}"):
        (run.folder / "summary.json").write_text(text)
        assert any(line.startswith("summary.json: ") for line in problems(run, brightness))
        run.last_session()


def test_a_sparse_file_is_not_read(run, tmp_path):
    path = tmp_path / "m.py"
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)
    edit_toml(run, lambda record: (record["model"].update(files={str(path): "0" * 64}),
                                   record["settings"].update(model=f"{path}:load")))  # fmt: skip
    with pytest.raises(RunError, match=r"m\.py: has 17,179,869,185 bytes"):
        iqattack.verify(run.folder)


# -- results that were made up ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ssim": 0.99999}, "ssim is"),
        ({"psnr": 99.0}, "psnr is"),
        ({"ms_ssim": 0.5}, "ms_ssim is"),
        ({"jnd_violation": 0.75}, "jnd_violation is"),
        ({"mos": 4.5}, "mos is 1.0 in"),
        ({"attack": "square"}, "attack is noise, reported square"),
        ({"status": "unchanged"}, "status is ok, reported unchanged"),
        ({"stages": [[500, "x"]]}, "stage x begins at query 500"),
    ],
)
def test_measures_of_a_result_are_computed_again(
    tmp_path, photos, settings, brightness, values, message
):
    table = tmp_path / "mos.csv"
    table.write_text("image,mos\n" + "".join(f"{k}.png,{k}\n" for k in range(5)))
    images = match_mos(ImageSet.from_folder(photos), read_mos(table))
    with Run.create(tmp_path / "run", settings(mos=str(table)), brightness) as run:
        execute(run, images, brightness)
    assert problems(run, brightness) == []
    edit_result(run, **values)
    found = problems(run, brightness)
    assert any(line.startswith("1.png: ") and message in line for line in found)
    if "mos" in values:
        table.unlink()
        found = verify(Run.open(run.folder), brightness)
        assert found.ok
        assert any("opinion scores were not checked" in note for note in found.notes)


@pytest.mark.parametrize("objective", ["up", "down", "farther", "rank"])
def test_directions_are_held_against_the_clean_scores(
    tmp_path, settings, brightness, images, objective
):
    with Run.create(tmp_path / "run", settings(objective=objective), brightness) as run:
        execute(run, images, brightness)
    assert problems(run, brightness) == []
    way = run.results[0].direction
    other = "down" if way == "up" else "up"
    sql(run, f"UPDATE task SET direction = '{other}' WHERE id = 1")
    found = problems(run, brightness)
    assert f"0.png: direction is {way}, reported {other}" in found
    assert f"0.png: direction {way} reported, {other} in the log" in found


def test_images_that_failed_and_were_repaired_may_have_another_direction(
    tmp_path, photos, settings, brightness
):
    """The two brightest images are repaired in between: the median is another one then."""
    good = {k: (photos / f"{k}.png").read_bytes() for k in (3, 4)}
    for k in good:
        (photos / f"{k}.png").write_bytes(b"broken")
    images = ImageSet.from_folder(photos)
    with Run.create(tmp_path / "run", settings(), brightness) as run:
        execute(run, images, brightness)
    for k, data in good.items():
        (photos / f"{k}.png").write_bytes(data)
    with Run.resume(run.folder, settings(), brightness) as again:
        execute(again, images, brightness)
    found = verify(Run.open(run.folder), brightness)
    assert found.differences == ()
    assert any("perhaps because images failed at first" in note for note in found.notes)


def test_a_result_that_was_made_a_failure_is_found(run, brightness):
    sql(run, "DELETE FROM result WHERE task = 1", "INSERT INTO failure VALUES (1, 'it crashed')")
    agree(run)
    assert f"0.png: failed, but the log has all its {BUDGET} queries" in problems(run, brightness)


def test_early_replies_beyond_the_budget_are_found(run, brightness):
    sql(run, "INSERT INTO early VALUES (1, 40, zeroblob(16))")
    assert f"0.png: has query 41 in the log, beyond the budget of {BUDGET}" in problems(
        run, brightness
    )


@pytest.mark.parametrize(
    "values", [{"gain": 0.9, "score_adv": 254.0}, {"gain": 0.9}, {"score_clean": 1.0}]
)
@pytest.mark.parametrize("objective", ["rank", "rank:0.01"])
def test_a_planted_result_is_said_by_whoever_shows_it(
    tmp_path, settings, brightness, images, values, objective, capsys
):
    with Run.create(tmp_path / "run", settings(objective=objective), brightness) as run:
        execute(run, images, brightness)
    folder = str(run.folder)
    edit_result(run, **values)
    other = shutil.copytree(folder, tmp_path / "other")
    commands = [("evaluate", folder), ("report", folder), ("compare", folder, str(other))]
    if objective == "rank":
        commands.append(("evaluate", folder, "--queries", str(BUDGET)))
    for command in commands:
        assert main(command) == 2
        assert f"for details, run 'iqattack verify {folder}'" in capsys.readouterr().err


# -- what was lost -------------------------------------------------------------------------------


def test_an_end_that_says_far_less_is_said_and_kept(run, settings, brightness, images):
    path = run.folder / "log.end"
    path.write_bytes(End(30, 5).text())
    for _ in range(2):
        with pytest.raises(RunError, match=r"log\.sqlite has 60 queries, but log\.end says 30"):
            Run.resume(run.folder, settings(), brightness)
        assert path.read_bytes() == End(30, 5).text()
    assert any("log.end says 30" in line for line in problems(run, brightness))
    with Run.resume(run.folder, settings(), brightness, accept_lost_log=True) as again:
        execute(again, images, brightness)
    assert problems(run, brightness) == []


@pytest.mark.parametrize("statements", [("UPDATE chunk SET digest = NULL WHERE task = 2",)])
def test_a_row_without_its_digest_is_one_that_was_changed(run, settings, brightness, statements):
    sql(run, *statements)
    lacking = f"1.png: queries 1 to {BUDGET} of the log have no digest"
    assert any(line.startswith(lacking) for line in problems(run, brightness))
    with pytest.raises(RunError, match=lacking):
        Run.resume(run.folder, settings(), brightness)
    with pytest.raises(RunError, match=lacking):
        iqattack.evaluate(run.folder)
    edit_toml(run, lambda record: record["versions"].update(iqattack="0.1.0"))
    (run.folder / "summary.json").unlink()
    assert problems(run, brightness) == []  # which logged none


def test_a_loss_that_was_accepted_is_kept_and_told(run, settings, brightness, images):
    (run.folder / "log.sqlite").unlink()
    notes = []
    with Run.resume(run.folder, settings(), brightness, accept_lost_log=True) as again:
        execute(again, images, brightness,
                callbacks=iqattack.Callbacks(note=lambda _, text: notes.append(text)))  # fmt: skip
    said = (
        "the log had lost 60 of 60 queries (log.sqlite is missing or empty), which was accepted: "
        "they were repeated, or still have to be"
    )
    assert said in notes
    assert said in Run.open(run.folder).summary().findings
    assert said in json.loads((run.folder / "summary.json").read_text())["findings"]
    found = verify(Run.open(run.folder), brightness)
    assert found.ok
    assert said in found.notes
    assert [loss.lost for loss in Record.read(run.folder / "run.toml").losses] == [60]


@pytest.mark.parametrize("empty", [False, True])
def test_a_log_that_is_gone_is_what_every_command_says(run, tmp_path, capsys, empty):
    other = shutil.copytree(run.folder, tmp_path / "other")
    path = run.folder / "log.sqlite"
    path.unlink()
    if empty:
        path.touch()
    folder = str(run.folder)
    for command in (("evaluate", folder), ("report", folder), ("compare", str(other), folder),
                    ("evaluate", folder, "--queries", "5")):  # fmt: skip
        assert main(command) == 2
        said = capsys.readouterr().err
        assert "its log.sqlite, which had 60 queries, is missing or empty" in said
    with pytest.raises(
        RunError, match=r"its log\.sqlite, which had 60 queries, is missing or empty"
    ):
        verify(run, None)
    (run.folder / "log.end").unlink()
    with pytest.raises(RunError, match=r"its log\.sqlite is missing or empty"):
        iqattack.evaluate(folder)


def test_a_damaged_log_says_what_it_had_and_what_to_do(run, settings, brightness):
    path = run.folder / "log.sqlite"
    data = path.read_bytes()
    for text in (data[:4096] + b"\xa5" * (len(data) - 4096), b"no log at all, " * 1000):
        path.write_bytes(text)
        for accept in (False, True):
            with pytest.raises(IqattackError) as caught:
                Run.resume(run.folder, settings(), brightness, accept_lost_log=accept)
            assert isinstance(caught.value, InputError)
            assert "it had 60 queries: restore a copy of it, or move it away" in str(caught.value)
            assert "space" not in str(caught.value)


def test_a_gap_does_not_hide_other_differences(tmp_path, settings, brightness, images):
    with Run.create(tmp_path / "run", settings(check=True, queries=24), brightness) as run:
        execute(run, images, brightness)
    edit_result(run, task=4, rms=0.5)
    run.write_summary(run.summary())
    with closing(sqlite3.connect(run.folder / "log.sqlite")) as log:
        log.execute("UPDATE chunk SET first = 3 WHERE task = 1")
        log.commit()
    found = problems(run, brightness)
    assert any(line.startswith("3.png: rms is") for line in found)
    assert any(line == "0.png: queries 1 to 3 are missing from the log" for line in found)


def test_a_damaged_table_keeps_nobody_from_the_measures(run, capsys):
    for text in ("a;b\n", "\0" * 50):
        (run.folder / "results.csv").write_text(text)
        for command in ("evaluate", "report"):
            assert main((command, str(run.folder))) == 0
    path = run.folder / "results.csv"
    run.write_results(run.results)
    header, *rows = path.read_text().splitlines()
    backwards = ",".join(reversed(header.split(",")))
    path.write_text("\n".join([backwards, ",".join(rows[0].split(",")[:3])]) + "\n")
    with pytest.raises(RunError, match="rows that are too short"):
        iqattack.runs.results.read_csv(path)


def test_differences_that_are_of_no_image_are_not_counted_as_one(run, capsys):
    (run.folder / "log.end").write_bytes(End(70, 5).text())
    from iqattack.cli.verify import show_verified  # noqa: PLC0415

    show_verified(verify(Run.open(run.folder), None))
    assert capsys.readouterr().out.splitlines()[-1] == "5 images checked: log.sqlite differs"


def test_a_result_that_does_not_tell_where_its_image_was(run, brightness):
    edit_result(run, path="")
    assert "1.png: the run does not record the path of its clean image" in problems(run, brightness)


@pytest.mark.parametrize("start", [" ", "\ufeff", "\u200b", "\x0b", "\xa0", " ' ", "'"])
def test_what_a_spreadsheet_skips_does_not_hide_a_formula(start):
    for text in (f"{start}=1", f"'{start}=1", f"{start}＝1"):
        assert to_cell(text) == f"'{text}"
        assert from_cell(to_cell(text)) == text
    assert to_cell(f"{start}a=1") == f"{start}a=1"
    assert from_cell(f"{start}a=1") == f"{start}a=1"


def test_the_losses_of_a_profile_are_told_by_its_file(tmp_path):
    (tmp_path / "profile.json").write_text('{"queries": 252}')
    losses = find_losses(tmp_path / "queries.sqlite")
    assert (losses.lost, losses.of) == (252, 252)
    assert "queries.sqlite is missing or empty" in losses.text()
    with QueryLog(tmp_path / "queries.sqlite"):
        pass
    (tmp_path / "queries.end").unlink()
    assert "lacks queries of profile.json" in find_losses(tmp_path / "queries.sqlite").text()


@pytest.mark.parametrize(
    ("model", "what", "named"),
    [
        ("http://127.0.0.1:9/score", "a connection to a service", "no file of it is known"),
        ("command:touch x", "a program", "no file of it is known"),
        ("pyiqa:nima,pretrained_model_path={}/p.pth", "a metric of pyiqa", "{}/p.pth, SHA-256"),
        ("x.onnx", "of an unknown kind", ""),
    ],
)
def test_the_question_says_what_the_model_is_and_which_file(run, tmp_path, model, what, named):
    (tmp_path / "p.pth").write_bytes(b"pickled")
    edit_toml(run, lambda r: r["settings"].update(model=model.format(tmp_path)))
    with pytest.raises(iqattack.api.UntrustedError, match=f"its model is {what}") as caught:
        iqattack.verify(run.folder)
    assert named.format(tmp_path) in caught.value.question
    assert "site-packages" not in caught.value.question

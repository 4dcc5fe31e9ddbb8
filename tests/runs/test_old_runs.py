"""Runs of before attempts, failures and early replies were in the log can be read and go on."""

import csv
import json
import sqlite3
import tomllib
from contextlib import closing

import pytest
import tomli_w

import iqattack
from iqattack.engine import QueryLog
from iqattack.engine.log import End
from iqattack.errors import RunError
from iqattack.models import wrap
from iqattack.reporting import write_report
from iqattack.runs import Run, execute, verify
from iqattack.runs.results import read_csv

SCHEMA = """
CREATE TABLE task (
    id INTEGER PRIMARY KEY, image TEXT NOT NULL UNIQUE, direction TEXT);
CREATE TABLE chunk (
    task INTEGER NOT NULL REFERENCES task, first INTEGER NOT NULL, rows BLOB NOT NULL,
    PRIMARY KEY (task, first)
) WITHOUT ROWID;
CREATE TABLE result (task INTEGER PRIMARY KEY REFERENCES task, json TEXT NOT NULL);
"""


def age(folder):
    """Make a run what the version of before would have left."""
    path = folder / "log.sqlite"
    with closing(sqlite3.connect(path)) as log:
        assert log.execute("PRAGMA user_version").fetchone() == (4,)
        tasks = log.execute("SELECT id, image, direction FROM task").fetchall()
        chunks = log.execute("SELECT task, first, rows FROM chunk").fetchall()
        results = log.execute("SELECT task, json FROM result").fetchall()
    path.unlink()
    End.path_of(path).unlink()
    with closing(sqlite3.connect(path)) as log:
        log.executescript(SCHEMA)
        log.executemany("INSERT INTO task VALUES (?, ?, ?)", tasks)
        log.executemany("INSERT INTO chunk VALUES (?, ?, ?)", chunks)
        for task, text in results:
            row = json.loads(text)
            row.pop("attempts")
            log.execute("INSERT INTO result VALUES (?, ?)", (task, json.dumps(row)))
        log.execute("PRAGMA user_version=2")
        log.commit()
    table = folder / "results.csv"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with table.open("w", newline="") as file:
        columns = [name for name in rows[0] if name != "attempts"]
        writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    summary = folder / "summary.json"
    values = json.loads(summary.read_text())
    for part, name in ((values, "attempts"), (values, "queries"), (values["settings"], "resize")):
        part.pop(name)
    values["versions"]["iqattack"] = "0.1.0"
    summary.write_text(json.dumps(values, indent=2) + "\n")
    record = tomllib.loads((folder / "run.toml").read_text())
    record.pop("retry")
    record["versions"]["iqattack"] = "0.1.0"
    (folder / "run.toml").write_text(tomli_w.dumps(record))


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def format_of(folder):
    with closing(sqlite3.connect(folder / "log.sqlite")) as log:
        return log.execute("PRAGMA user_version").fetchone()[0]


@pytest.fixture
def old(tmp_path, settings, brightness, images):
    """A finished run of before."""
    with Run.create(tmp_path / "old", settings(), brightness) as run:
        execute(run, images, brightness)
    fresh = run.results
    age(run.folder)
    return run.folder, fresh


def test_it_is_read_and_left_as_it_is(old, brightness):
    folder, fresh = old
    before = contents(folder)
    run = iqattack.open_run(folder)
    assert run.results == fresh
    assert run.image_names() == [result.image for result in fresh]
    summary = iqattack.evaluate(folder)
    assert (summary.images, summary.attacked, summary.attempts) == (5, 5, 0)
    assert summary.queries == sum(result.queries for result in fresh)
    assert iqattack.evaluate(folder, queries=5).budget == 5
    assert [float(row["gain"]) for row in read_csv(folder / "results.csv")] == [
        result.gain for result in fresh
    ]
    with run.open_log() as log:
        assert log.attempts() == {}
        assert log.failures() == {}
        assert log.early(fresh[0].image) == {}
        assert log.queries(fresh[0].image) == fresh[0].queries
    found = verify(run, brightness)
    assert found.differences == ()
    assert found.checked == 5
    after = contents(folder)
    for files in (before, after):
        for name in list(files):
            if name.name.startswith("log.sqlite-") or name.name == "summary.json":
                files.pop(name)
    assert after == before
    assert write_report(run).is_file()


def test_verify_still_finds_what_is_wrong(old, brightness):
    folder, fresh = old
    table = folder / "results.csv"
    table.write_text(table.read_text().replace(repr(fresh[0].gain), "0.5", 1))
    values = json.loads((folder / "summary.json").read_text())
    values["attacked"] = 4
    (folder / "summary.json").write_text(json.dumps(values))
    found = [str(difference) for difference in verify(Run.open(folder), brightness).differences]
    assert found == [
        f"{fresh[0].image}: gain is 0.5 in results.csv, {fresh[0].gain!r} in the log",
        "summary.json: attacked is 4, computed 5",
    ]


def test_a_finished_one_is_resumed_at_no_query(old, settings, brightness, images):
    folder, fresh = old
    with Run.resume(folder, settings(), brightness) as run:
        summary = execute(run, images, never("brightness"))
    assert run.results == fresh
    assert (summary.attempts, summary.queries) == (0, 60)
    assert format_of(folder) == 4
    assert read_csv(folder / "results.csv")[0]["attempts"] == "0"
    assert verify(Run.open(folder), brightness).ok


def never(name):
    def score(batch):
        raise AssertionError("asked again")

    return wrap(score, name=name, score_range=(0.0, 255.0), lower_better=False)


def test_one_that_ended_early_goes_on_as_if_nothing_had_happened(
    tmp_path, settings, brightness, images
):
    """With one image that failed, in the table alone, and has been repaired."""
    whole = tmp_path / "whole"
    with Run.create(whole, settings(objective="up"), brightness) as run:
        execute(run, images, brightness)
    fresh = run.results

    folder, first = tmp_path / "old", images[0]
    good = first.path.read_bytes()
    first.path.write_bytes(b"broken")
    with Run.create(folder, settings(objective="up"), brightness) as run:
        execute(run, images, brightness)
    first.path.write_bytes(good)
    age(folder)
    second, third = images[1].name, images[2].name
    with closing(sqlite3.connect(folder / "log.sqlite")) as log:
        ids = dict(log.execute("SELECT image, id FROM task"))
        # The second is cut within its search, of the third only the result is missing.
        log.execute("DELETE FROM result WHERE task IN (?, ?)", (ids[second], ids[third]))
        (rows,) = log.execute("SELECT rows FROM chunk WHERE task = ?", (ids[second],)).fetchone()
        log.execute("UPDATE chunk SET rows = ? WHERE task = ?", (rows[: 16 * 7], ids[second]))
        log.commit()
    lines = (folder / "results.csv").read_text().splitlines(keepends=True)
    there = [line for line in lines if line.split(",")[0] not in (second, third)]
    (folder / "results.csv").write_text("".join(there))
    assert format_of(folder) == 2

    run = Run.open(folder)
    rows = {result.image: result for result in run.results}
    assert set(rows) == {entry.name for entry in images} - {second, third}
    assert rows[first.name].failed
    assert "is not a readable image" in rows[first.name].status
    assert (run.summary().pending, run.summary().failed) == (2, 1)
    found = verify(run, brightness)
    assert (found.checked, found.failed, found.pending) == (2, 1, 2)

    asked = []

    def counted(batch):
        asked.append(len(batch))
        return brightness(batch)

    scorer = wrap(counted, name="brightness", score_range=(0.0, 255.0), lower_better=False)
    with Run.resume(folder, settings(objective="up"), scorer) as run:
        execute(run, images, scorer)
    assert sum(asked) == 12 + 5  # all of the first, what was cut of the second
    assert run.results == fresh
    assert (folder / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    for path in (whole / "adversarial").iterdir():
        assert (folder / "adversarial" / path.name).read_bytes() == path.read_bytes()
    assert verify(Run.open(folder), brightness).ok


def test_reading_an_old_log_does_not_change_its_format(old):
    folder, fresh = old
    with QueryLog(folder / "log.sqlite", read_only=True) as log:
        assert not log.has_failures
        assert log.results().keys() == {result.image for result in fresh}
    assert format_of(folder) == 2
    with QueryLog(folder / "log.sqlite") as log:
        assert log.has_failures
        log.append({}, {fresh[0].image: {20: (1, 2.0)}}, {fresh[0].image: 3})
    assert format_of(folder) == 4
    with QueryLog(folder / "log.sqlite", read_only=True) as log:
        assert log.attempts() == {fresh[0].image: 3}
        assert log.early(fresh[0].image) == {20: (1, 2.0)}


@pytest.mark.parametrize("version", [1, 5])
def test_other_formats_are_refused_and_left_alone(old, settings, brightness, version):
    folder, _ = old
    with closing(sqlite3.connect(folder / "log.sqlite")) as log:
        log.execute(f"PRAGMA user_version={version}")
    before = contents(folder)
    with pytest.raises(RunError, match=rf"log.sqlite: log format {version}, expected 4"):
        iqattack.open_run(folder).results  # noqa: B018
    with pytest.raises(RunError, match=f"log format {version}"):
        Run.resume(folder, settings(), brightness)
    assert {k: v for k, v in contents(folder).items() if k in before} == before

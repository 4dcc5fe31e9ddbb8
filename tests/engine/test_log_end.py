"""Digests of chunks, and where a log ends."""

import hashlib
import signal
import sqlite3
import time
from contextlib import closing

import pytest

from iqattack.engine import QueryLog
from iqattack.engine.log import HASHERS, End

SCHEMA_3 = """
CREATE TABLE task (
    id INTEGER PRIMARY KEY, image TEXT NOT NULL UNIQUE, direction TEXT,
    attempts INTEGER NOT NULL DEFAULT 0);
CREATE TABLE chunk (
    task INTEGER NOT NULL REFERENCES task, first INTEGER NOT NULL, rows BLOB NOT NULL,
    PRIMARY KEY (task, first)
) WITHOUT ROWID;
CREATE TABLE early (
    task INTEGER NOT NULL REFERENCES task, number INTEGER NOT NULL, row BLOB NOT NULL,
    PRIMARY KEY (task, number)
) WITHOUT ROWID;
CREATE TABLE result (task INTEGER PRIMARY KEY REFERENCES task, json TEXT NOT NULL);
CREATE TABLE failure (task INTEGER PRIMARY KEY REFERENCES task, reason TEXT NOT NULL);
CREATE TABLE kept (name TEXT PRIMARY KEY, json TEXT NOT NULL);
PRAGMA user_version=3;
"""


def pairs(first, count):
    return [(2**63 + n, n / 7) for n in range(first, first + count)]


def blob(count):
    import struct  # noqa: PLC0415

    return b"".join(struct.pack("<Qd", *pair) for pair in pairs(0, count))


def digest(name, count):
    """As the format says: of the name and all rows up to there, however they came."""
    return hashlib.blake2b(name.encode() + blob(count), digest_size=16).digest()


def test_digests_cover_all_rows_before_and_the_end_is_their_sum(tmp_path):
    path = tmp_path / "log.sqlite"
    with QueryLog(path) as log:
        assert End.read(path) == End(0, 0)
        log.open_tasks(["a", "b"])
        log.append({"a": (0, pairs(0, 1)), "b": (0, pairs(0, 2))})
        log.append({"a": (1, pairs(1, 3))})
        with closing(sqlite3.connect(path)) as db:
            found = db.execute("SELECT digest FROM chunk ORDER BY task, first").fetchall()
        assert found == [(digest("a", 1),), (digest("a", 4),), (digest("b", 2),)]
        total = int.from_bytes(digest("a", 4)) + int.from_bytes(digest("b", 2))
        expected = End(6, total % 2**128)
        assert End.read(path) == log.end() == expected
        log.finish("a", "{}")  # one chunk now, and the same end
        assert End.read(path) == log.end() == expected
        assert log.has_digests
        assert log.fault("a") is None
    with QueryLog(path) as log:  # goes on in another session
        log.append({"b": (2, pairs(2, 1))})
        assert log.fault("b") is None
    total = int.from_bytes(digest("a", 4)) + int.from_bytes(digest("b", 3))
    assert End.read(path) == End(7, total % 2**128)


def test_early_replies_count_once_their_turn_has_come(tmp_path):
    path = tmp_path / "log.sqlite"
    with QueryLog(path) as log:
        log.open_tasks(["a"])
        log.append({}, {"a": {1: pairs(1, 1)[0]}}, {"a": 2})
        assert End.read(path) == End(0, 0)
        log.append({"a": (0, pairs(0, 2))})
        assert End.read(path) == End(2, int.from_bytes(digest("a", 2)))


def test_no_more_is_kept_in_memory_however_many_images(tmp_path):
    path = tmp_path / "log.sqlite"
    names = [f"{n}" for n in range(HASHERS + 100)]
    with QueryLog(path) as log:
        log.open_tasks(names)
        log.append(dict.fromkeys(names, (0, pairs(0, 1))))
        assert len(log._hashers) <= HASHERS
        log.append({"0": (1, pairs(1, 1))})  # was dropped, and is computed again
        assert log.fault("0") is None
        assert End.read(path) == log.end()


@pytest.mark.parametrize(
    ("statement", "sound", "what"),
    [
        ("UPDATE chunk SET rows = zeroblob(32) WHERE first = 2", 2,
         "queries 3 to 4 of the log were changed afterwards"),
        ("DELETE FROM chunk WHERE first = 2", 2, "queries 3 to 4 are missing from the log"),
        ("UPDATE chunk SET rows = zeroblob(31) WHERE first = 2", 2, "query 3 of the log is cut"),
        ("DELETE FROM chunk WHERE first = 0", 0, "queries 1 to 2 are missing from the log"),
        ("UPDATE chunk SET digest = zeroblob(16) WHERE first = 4", 4,
         "queries 5 to 6 of the log were changed afterwards"),
    ],
)  # fmt: skip
def test_faults_and_what_is_sound(tmp_path, statement, sound, what):
    path = tmp_path / "log.sqlite"
    with QueryLog(path) as log:
        log.open_tasks(["a", "b"])
        for first in (0, 2, 4):
            log.append({"a": (first, pairs(first, 2)), "b": (first, pairs(first, 2))})
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement + " AND task = 1")
        db.commit()
    with QueryLog(path) as log:
        fault = log.fault("a")
        assert (fault.image, fault.sound, fault.what) == ("a", sound, what)
        assert log.fault("b") is None
        log.cut([fault])
        assert log.fault("a") is None
        assert log.rows("a").tolist() == pairs(0, sound)
        assert log.rows("b").tolist() == pairs(0, 6)
        assert End.read(path) == log.end()
        assert log.end().queries == sound + 6


def test_a_log_of_before_is_read_and_goes_on(tmp_path):
    """Its rows have no digest; those that follow cover them."""
    path = tmp_path / "log.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(SCHEMA_3)
        db.execute("INSERT INTO task (image) VALUES ('a')")
        db.execute("INSERT INTO chunk VALUES (1, 0, ?)", (blob(2),))
        db.commit()
    with QueryLog(path, read_only=True) as log:
        assert log.fault("a") is None
        assert not log.has_digests
        assert log.has_failures
        assert log.end().queries == 2
    with QueryLog(path) as log:
        log.append({"a": (2, pairs(2, 1))})
        assert log.fault("a") is None
        assert not log.has_digests
        assert End.read(path) == log.end() == End(3, int.from_bytes(digest("a", 3)))
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE chunk SET rows = zeroblob(32) WHERE first = 0")
        db.commit()
    with QueryLog(path) as log:
        assert log.fault("a").what == "queries 3 to 3 of the log were changed afterwards"


def test_an_end_that_has_more_is_left_as_evidence(tmp_path):
    path = tmp_path / "log.sqlite"
    with QueryLog(path) as log:
        log.open_tasks(["a"])
        log.append({"a": (0, pairs(0, 3))})
    for text in (End(5, 1).text(), End(3, 1).text()):
        End.path_of(path).write_bytes(text)
        QueryLog(path).close()
        assert End.path_of(path).read_bytes() == text
    End.path_of(path).write_bytes(End(2, 1).text())
    QueryLog(path).close()
    assert End.read(path) == End(3, int.from_bytes(digest("a", 3)))


WRITER = """
import sys
from pathlib import Path
from iqattack.engine import QueryLog

log = QueryLog(Path(sys.argv[1]))
names = [str(n) for n in range(5)]
log.open_tasks(names)
first = {name: log.queries(name) for name in names}
Path(sys.argv[2]).touch()
while True:
    for name in names:
        log.append({name: (first[name], [(first[name] + k, 0.5) for k in range(3)])})
        first[name] += 3
        if first[name] % 60 == 0:
            log.finish(name, "{}")
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_an_end_that_fits(tmp_path, forked_program):
    """The log has as much as its end says, or the one chunk more that was just appended."""
    path, begun = tmp_path / "log.sqlite", tmp_path / "begun"
    for kill in range(5):
        writer = forked_program(WRITER, path, begun)
        while not begun.exists():
            assert writer.poll() is None
            time.sleep(0.001)
        begun.unlink()
        time.sleep(0.02 + 0.03 * kill)
        writer.send_signal(signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
        there = End.read(path)
        with QueryLog(path) as log:
            here = log.end()
            assert there.queries <= here.queries <= there.queries + 3
            assert there == here or there.queries < here.queries
            assert all(log.fault(name) is None for name in log.images())
            assert End.read(path) == here

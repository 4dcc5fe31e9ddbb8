import os
import shutil
import sqlite3
import struct
import subprocess
import sys
from contextlib import closing

import pytest
import torch
import xxhash

from iqattack.engine import QueryLog, image_hash
from iqattack.errors import InputError, RunError


def pairs(first, count):
    return [(2**63 + n, n / 7) for n in range(first, first + count)]


def fill(log, chunks, image="a.png"):
    """Append chunks of the given sizes to one image; the rows that it then has."""
    log.open_tasks([image])
    first = 0
    for size in chunks:
        log.append({image: (first, pairs(first, size))})
        first += size
    return pairs(0, first)


# -- hashes ---------------------------------------------------------------------------------------


def test_image_hash_is_xxh3_of_the_bytes_and_the_shape():
    image = torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8)
    expected = xxhash.xxh3_64_intdigest(
        bytes(image.flatten().tolist()) + struct.pack("<3q", 3, 5, 7)
    )
    assert image_hash(image) == expected


def test_image_hash_sees_the_shape_and_not_the_memory_layout():
    image = torch.arange(3 * 4 * 6, dtype=torch.uint8).reshape(3, 4, 6)
    assert image_hash(image) != image_hash(image.reshape(3, 6, 4))
    assert image_hash(image.permute(2, 0, 1).contiguous().permute(1, 2, 0)) == image_hash(image)


# -- rows and results -----------------------------------------------------------------------------


@pytest.mark.parametrize("finished", [False, True])
def test_rows_come_back_in_order(tmp_path, finished):
    path = tmp_path / "log.sqlite"
    with QueryLog(path) as log:
        expected = fill(log, [1, 3, 7, 1])
        if finished:
            log.finish("a.png", '{"gain": 0.5}')
        assert log.rows("a.png").tolist() == expected
    with QueryLog(path) as log:
        assert log.rows("a.png").tolist() == expected
        assert log.results() == ({"a.png": '{"gain": 0.5}'} if finished else {})
        assert log.rows("none.png").tolist() == []


def test_images_and_results_keep_the_order_of_the_run():
    with QueryLog() as log:
        log.open_tasks(["b", "a", "c"])
        log.open_tasks(["b", "a", "c"])
        log.finish("c", "3")
        log.finish("b", "2")
        assert log.images() == ["b", "a", "c"]
        assert list(log.results().items()) == [("b", "2"), ("c", "3")]


def test_an_image_that_is_finished_has_one_chunk(tmp_path):
    path = tmp_path / "log.sqlite"
    with QueryLog(path) as log:
        fill(log, [2, 2, 2])
        log.finish("a.png", "{}")
    with closing(sqlite3.connect(path)) as db:
        chunks = db.execute("SELECT first, length(rows) FROM chunk").fetchall()
    assert chunks == [(0, 6 * 16)]


@pytest.mark.parametrize("bad", ["a.png", "unknown.png"])
def test_a_batch_is_logged_as_a_whole_or_not_at_all(bad):
    with QueryLog() as log:
        before = fill(log, [4])
        log.open_tasks(["a.png", "b.png"])
        with pytest.raises((InputError, KeyError)):
            log.append({"b.png": (0, pairs(0, 2)), bad: (0, pairs(0, 1))})
        assert log.rows("b.png").tolist() == []
        assert log.rows("a.png").tolist() == before
        log.append({"b.png": (0, pairs(0, 2))})


def test_wal_mode_is_on_while_one_writes(tmp_path):
    path = tmp_path / "log.sqlite"
    with QueryLog(path) as log:
        fill(log, [1])
        assert (tmp_path / "log.sqlite-wal").stat().st_size > 0
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert not (tmp_path / "log.sqlite-wal").exists()


def test_size_on_disk_per_query(tmp_path):
    path, per_image, images, chunk = tmp_path / "log.sqlite", 2000, 50, 4
    names = [f"{n:04}.png" for n in range(images)]
    with QueryLog(path) as log:
        log.open_tasks(names)
        for first in range(0, per_image, chunk):
            rows = pairs(first, chunk)
            log.append(dict.fromkeys(names, (first, rows)))
        for name in names:
            log.finish(name, "{}")
    assert path.stat().st_size / (images * per_image) < 40


# -- faults ---------------------------------------------------------------------------------------


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "log.sqlite"
    path.write_text("not a log, " * 1000)
    with pytest.raises(InputError, match=r"log\.sqlite: the log cannot be read .*not a database"):
        QueryLog(path)


def test_a_log_of_another_version(tmp_path):
    path = tmp_path / "log.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(RunError, match=r"log\.sqlite: log format 99, expected 4"):
        QueryLog(path)


def test_a_damaged_log(tmp_path):
    path = tmp_path / "log.sqlite"
    with QueryLog(path) as log:
        fill(log, [4000])
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xa5" * (len(data) - 4096))

    def read():
        with QueryLog(path) as log:
            log.rows("a.png")

    with pytest.raises(InputError, match=r"log\.sqlite: the log cannot be read or written"):
        read()


def test_no_log_to_read(tmp_path):
    with pytest.raises(InputError, match=r"none\.sqlite: the log cannot be read"):
        QueryLog(tmp_path / "none.sqlite", read_only=True)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path):
    size_kib = 128
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(tmp_path)]
    if os.name != "posix" or os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs root, to mount a small disk")
    try:
        path = tmp_path / "log.sqlite"
        log = QueryLog(path)
        log.open_tasks(["a.png"])
        written = 0

        def append_until_full():
            nonlocal written
            for _ in range(size_kib * 1024):
                log.append({"a.png": (written, pairs(written, 1))})
                written += 1

        with pytest.raises(InputError, match=r"log\.sqlite: .* full.*free some space"):
            append_until_full()
        assert written > 0
        assert log.rows("a.png").tolist() == pairs(0, written)
        log.close()
        with QueryLog(path, read_only=True) as log:
            assert log.rows("a.png").tolist() == pairs(0, written)
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


# -- reading --------------------------------------------------------------------------------------


def test_what_was_found_first_is_kept(tmp_path):
    with QueryLog(tmp_path / "log.sqlite") as log:
        for value in (2.5, 2.51):
            log.keep_found("a.png", value)
        assert log.found("a.png") == 2.5


@pytest.mark.parametrize("folder", ["plain", "a?mode=rw&b#c%20 d"])
def test_read_only_opens_any_path_and_cannot_write(tmp_path, folder):
    path = tmp_path / folder / "log.sqlite"
    path.parent.mkdir()
    with QueryLog(path) as log:
        expected = fill(log, [3])
    with QueryLog(path, read_only=True) as log:
        assert log.rows("a.png").tolist() == expected
        with pytest.raises(InputError, match="readonly"):
            log.append({"a.png": (3, pairs(3, 1))})


WRITER = """
import sys
from pathlib import Path
from iqattack.engine import QueryLog

with QueryLog(Path(sys.argv[1])) as log:
    log.open_tasks(["a.png"])
    n = 0
    while n < 3000:
        log.append({"a.png": (n, [(2**63 + n, n / 7), (2**63 + n + 1, (n + 1) / 7)])})
        n += 2
        if n % 300 == 0:
            print(n, flush=True)
            sys.stdin.readline()
    log.finish("a.png", "{}")
"""


@pytest.mark.slow
def test_another_process_may_read_while_one_writes(tmp_path):
    path = tmp_path / "log.sqlite"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        for line in writer.stdout:
            writer.stdin.write("\n")
            writer.stdin.flush()
            with QueryLog(path, read_only=True) as log:  # the writer goes on meanwhile
                rows = log.rows("a.png").tolist()
            assert len(rows) >= int(line)
            assert rows == pairs(0, len(rows))
        assert writer.wait() == 0
    with QueryLog(path, read_only=True) as log:
        assert log.rows("a.png").tolist() == pairs(0, 3000)
        assert log.results() == {"a.png": "{}"}


def test_a_log_without_what_is_kept_by_name_can_be_read(tmp_path):
    """Logs of this format once had no such table."""
    path = tmp_path / "log.sqlite"
    with QueryLog(path) as log:
        log.open_tasks(["a"])
        log.keep("check", "{}")
        assert log.kept("check") == "{}"
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE kept")
        db.commit()
    with QueryLog(path, read_only=True) as log:
        assert log.kept("check") is None
        assert log.images() == ["a"]


def test_a_log_whose_writer_was_killed_while_it_changed_the_journal_can_be_read(tmp_path):
    """What it left has to be rolled back first, which a connection that only reads cannot do."""
    with QueryLog(tmp_path / "log.sqlite") as log:
        log.open_tasks(["a.png"])
    writer = sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None)
    writer.execute("PRAGMA cache_size=1")  # pages go to the file before the end
    writer.execute("BEGIN")
    for number in range(2000):
        writer.execute("INSERT INTO kept VALUES (?, ?)", (f"{number}", "x" * 500))
    (tmp_path / "killed").mkdir()
    for file in tmp_path.glob("log.*"):
        shutil.copy(file, tmp_path / "killed" / file.name)
    writer.rollback()
    writer.close()
    assert (tmp_path / "killed" / "log.sqlite-journal").stat().st_size
    with QueryLog(tmp_path / "killed" / "log.sqlite", read_only=True) as log:
        assert log.images() == ["a.png"]
        assert log.kept("1") is None

"""The log of a run: every score that the model returned, in the order of the queries.

One SQLite file in WAL mode with one writer. A row has 16 bytes: the hash of the 8-bit image and the
raw score as float64. Rows are appended in chunks, one per image and batch, and the chunks of an
image are merged when its search ends, so that 10^8 queries take less than 2 GB. A score that
arrives out of order waits in a separate table until all earlier ones have arrived. For each image,
the log also has the number of images sent without an answer, its result or its failure; and for the
whole run, named values.

Each chunk has a digest of all rows of the image so far. A file next to the log, its *end*
(log.end), holds the number of queries in the log and the sum of the latest digests of all images;
it is written after every chunk. If the process is killed, the end is never ahead of the log.
Therefore a log with fewer queries than its end has lost some, and one with as many queries but
another sum was changed.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import math
import re
import sqlite3
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Self

import numpy as np
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from iqattack.errors import InputError, RunError
from iqattack.objectives import Direction
from iqattack.specs import is_text, printable

FORMAT = 4  # 3 had no digests, 2 neither attempts nor failures, nor early replies
READABLE = (2, 3, FORMAT)
FAILURES, DIGESTS = 3, 4  # the formats that these came with
DIGEST_BYTES = 16
HASHERS = 4096  # that are kept in memory
MODULUS = 2 ** (8 * DIGEST_BYTES)
RESTORE = "restore a copy of the log, or continue with 'iqattack attack --resume --accept-lost-log'"
Hasher = hashlib.blake2b
ROW = np.dtype([("hash", "<u8"), ("score", "<f8")])
PAIR = struct.Struct("<Qd")  # the same, one at a time
Rows = NDArray[np.void]
Row = tuple[int, float]

SCHEMA = """
CREATE TABLE IF NOT EXISTS task (
    id INTEGER PRIMARY KEY, image TEXT NOT NULL UNIQUE, direction TEXT,
    attempts INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS chunk (
    task INTEGER NOT NULL REFERENCES task, first INTEGER NOT NULL, digest BLOB,
    rows BLOB NOT NULL, PRIMARY KEY (task, first)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS early (
    task INTEGER NOT NULL REFERENCES task, number INTEGER NOT NULL, row BLOB NOT NULL,
    PRIMARY KEY (task, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS result (task INTEGER PRIMARY KEY REFERENCES task, json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS failure (
    task INTEGER PRIMARY KEY REFERENCES task, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS kept (name TEXT PRIMARY KEY, json TEXT NOT NULL);
"""
# By the format that a log has: what makes it one of this format.
UPGRADES = {
    2: "ALTER TABLE task ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0; "
    "ALTER TABLE chunk ADD COLUMN digest BLOB;",
    3: "ALTER TABLE chunk ADD COLUMN digest BLOB;",
}
# The columns of each table, with what a value of theirs must be. A log may come from anywhere, and
# SQLite keeps any type in any column.
SOUND = {
    "task": {
        "id": "typeof(id) = 'integer'",
        "image": "typeof(image) = 'text'",
        "direction": "direction IS NULL OR direction IN ('up', 'down')",
        "attempts": "typeof(attempts) = 'integer' AND attempts BETWEEN 0 AND 1 << 60",
    },
    "chunk": {
        "task": "task IN (SELECT id FROM task)",
        "first": "typeof(first) = 'integer'",
        "digest": f"digest IS NULL OR typeof(digest) = 'blob' AND LENGTH(digest) = {DIGEST_BYTES}",
        "rows": "typeof(rows) = 'blob'",
    },
    "early": {
        "task": "task IN (SELECT id FROM task)",
        "number": "typeof(number) = 'integer' AND number BETWEEN 0 AND 1 << 60",
        "row": f"typeof(row) = 'blob' AND LENGTH(row) = {PAIR.size}",
    },
    "result": {"task": "task IN (SELECT id FROM task)", "json": "typeof(json) = 'text'"},
    "failure": {"task": "task IN (SELECT id FROM task)", "reason": "typeof(reason) = 'text'"},
    "kept": {"name": "typeof(name) = 'text'", "json": "typeof(json) = 'text'"},
}
MISSING = {  # columns and tables that logs of a format do not have
    2: {"task.attempts", "chunk.digest", "early", "failure", "kept"},
    3: {"chunk.digest", "kept"},
    FORMAT: {"kept"},  # of which some of before had none
}
BESIDE = ("", "-wal", "-shm", "-journal")  # files of SQLite's, by what follows the log's name
NO_SPACE = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
RESERVED = "reserved"
BESIDES = "scored beside the queries"
TAKEN = "taken from a survey"  # queries and attempts that the run did not send
FOUND = "found for "  # before the name of an image
UNTRUSTED = "PRAGMA trusted_schema=OFF"  # a log that somebody sent runs nothing of its schema
APPEND = "INSERT INTO chunk (task, first, digest, rows) VALUES (?, ?, ?, ?)"


@dataclass(frozen=True)
class End:
    """The contents of log.end: the number of queries, and the sum of the digests."""

    queries: int
    digest: int

    @classmethod
    def path_of(cls, log: Path) -> Path:
        """The path of the end of a log: log.end for log.sqlite."""
        return log.with_suffix(".end")

    @classmethod
    def read(cls, log: Path) -> Self | None:
        """Read the end of a log; None if there is none, or if it is invalid, which a system crash
        may cause.
        """
        path = cls.path_of(log)
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                return None
            with path.open("rb") as file:
                text = file.read(len(cls(0, 0).text()) + 1).decode("ascii")
        except (OSError, UnicodeDecodeError):
            return None
        found = re.fullmatch(r"([0-9]{20}) ([0-9a-f]{32})\n", text)
        return None if found is None else cls(int(found[1]), int(found[2], 16))

    def text(self) -> bytes:
        """The contents of the file, always of the same length."""
        return f"{self.queries:020d} {self.digest:032x}\n".encode()


@dataclass(frozen=True)
class Fault:
    """A fault in the rows of an image. sound: number of leading rows that are unchanged."""

    image: str
    sound: int
    what: str

    def __str__(self) -> str:
        return f"{self.image}: {self.what}"


@dataclass(frozen=True)
class Page:
    """All data of one image in a log.

    rows: in order, 16 bytes each. early: out-of-order replies, by number of the query. result,
    failure: as stored. found: a value that a constraint determined for the image.
    """

    image: str
    direction: Direction | None
    attempts: int
    rows: bytes
    early: Mapping[int, Row]
    result: str | None
    failure: str | None
    found: str | None

    @property
    def queries(self) -> int:
        """The number of rows, without out-of-order replies."""
        return len(self.rows) // PAIR.size


def refuse_links(*paths: Path) -> None:
    """Raise RunError for links and special files.

    In a run from somebody else, writing to them would write elsewhere.
    """
    for path in paths:
        try:
            mode = path.lstat().st_mode
        except OSError:
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            what = "a link" if stat.S_ISLNK(mode) else "not a regular file"
            raise RunError(
                f"{path}: is {what}, which a run must not contain; put the file itself there if "
                "you trust it"
            )


def image_hash(image: Tensor) -> int:
    """The 64-bit XXH3 hash of an image (3, H, W) uint8, with its height and width."""
    digest = xxhash.xxh3_64(image.contiguous().numpy().data)
    digest.update(np.asarray(image.shape, dtype="<i8").tobytes())
    return digest.intdigest()


def _hasher_of(image: str, rows: bytes = b"") -> Hasher:
    """A hasher of the name and rows of an image."""
    hasher = hashlib.blake2b(image.encode(), digest_size=DIGEST_BYTES)
    hasher.update(rows)
    return hasher


def _reader(path: Path | None) -> sqlite3.Connection:
    """A read-only connection, after rolling back the journal of a killed writer.

    SQLite cannot roll back in a read-only connection, and then raises an error.
    """
    if path is None:
        return sqlite3.connect(":memory:")
    uri = f"{Path(path).absolute().as_uri()}?mode=ro"
    found = sqlite3.connect(uri, uri=True)
    try:
        found.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError as error:
        found.close()
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_READONLY:
            raise
        with closing(sqlite3.connect(path)) as writer:
            writer.execute("PRAGMA user_version").fetchone()
        found = sqlite3.connect(uri, uri=True)
    return found


class QueryLog:
    """The scores and results of one run, on disk or in memory.

    path: of the file; None for a log in memory. read_only: open for reading. digests: whether rows
    without a digest are a fault, as in runs that began with digests.

    Methods raise InputError if the disk is full or the file is damaged, and RunError for a file
    that is not a log or holds content that no version of iqattack writes.
    """

    def __init__(
        self, path: Path | None = None, *, read_only: bool = False, digests: bool = False
    ) -> None:
        self.path = path
        self._needs_digests = digests
        self._read_only = read_only
        self._early = True  # there may be early replies
        self._keeps = False  # there is the table of what is kept by name, as far as is known
        self._hashers: dict[int, Hasher] = {}  # by task: what its rows so far come to
        self._end = End(0, 0)
        self._beside: FileIO | None = None  # the file that says where the log ends
        if path is not None:
            named = (path.with_name(f"{path.name}{end}") for end in BESIDE)
            refuse_links(*named, End.path_of(path))
        try:
            self._open()
        except BaseException:
            if hasattr(self, "_db"):
                self._db.close()
            raise

    def _open(self) -> None:
        path = self.path
        with self._faults():
            if self._read_only:
                self._db = _reader(path)
                self._db.execute(UNTRUSTED)
                self._format = self._checked_format()
                if self._format == 0:  # nothing in it yet
                    self._db.close()
                    self._db = sqlite3.connect(":memory:")
                    self._db.executescript(SCHEMA)
                    self._format = FORMAT
                self._ids = dict(self._db.execute("SELECT image, id FROM task"))
                return
            self._db = sqlite3.connect(path if path else ":memory:", isolation_level=None)
            self._db.execute(UNTRUSTED)
            upgrade = UPGRADES.get(self._checked_format(), "")
            self._db.execute("PRAGMA journal_mode=WAL")
            # A killed process loses nothing; a power cut may lose the last batches.
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(
                f"BEGIN IMMEDIATE; {upgrade} {SCHEMA} PRAGMA user_version={FORMAT}; COMMIT;"
            )
            self._format = FORMAT
            self._ids = dict(self._db.execute("SELECT image, id FROM task"))
            # As good as never with a model in this process.
            self._early = self._db.execute("SELECT 1 FROM early LIMIT 1").fetchone() is not None
            self._open_end()

    def _checked_format(self) -> int:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version not in (0, *READABLE):
            raise RunError(
                f"{self.path}: log format {version}, expected {FORMAT}: written by another version "
                "of iqattack; read it with that one, or use a new folder"
            )
        self._check_sound(int(version))
        return int(version)

    def _check_sound(self, version: int) -> None:
        """Raise RunError for a schema or values that no version of iqattack writes: a view could
        run forever, and SQLite stores any type in any column.
        """
        there: dict[str, set[str]] = {}
        for kind, name, sql in self._db.execute("SELECT type, name, sql FROM sqlite_master"):
            if kind == "table" and name in SOUND and "VIRTUAL" not in str(sql).upper().split():
                found = self._db.execute(f"PRAGMA table_xinfo({name})")
                there[name] = {str(column[1]) for column in found}
            elif not name.startswith("sqlite_"):  # SQLite's own
                raise self._odd(f"the {kind} {printable(str(name))!r}")
        for name, columns in SOUND.items() if version else ():
            missing = MISSING[version]
            expected = {column for column in columns if f"{name}.{column}" not in missing}
            if there.get(name, expected if name in missing else set()) != expected:
                raise self._odd(f"other columns of {name} than its format {version}")
            if name not in there:
                continue
            test = " AND ".join(f"({columns[column]})" for column in sorted(expected))
            if self._db.execute(f"SELECT 1 FROM {name} WHERE NOT ({test}) LIMIT 1").fetchone():
                raise self._odd(f"rows of {name} with values of another kind, or of no image")
        if there and not version:
            raise self._odd("no format")
        names = self._db.execute("SELECT image FROM task") if there else ()
        if not all(is_text(name) for (name,) in names):
            raise self._odd("unprintable names of images")

    def _odd(self, what: str) -> RunError:
        return RunError(
            f"{self.path}: has {what}, which iqattack does not write: it was changed by something "
            "else; restore a copy of it"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; all appended rows are on disk already.

        The writer leaves a single file, so that later readers create no files next to it.
        """
        if not self._read_only:
            with suppress(sqlite3.DatabaseError):  # somebody is looking at it just now
                self._db.execute("PRAGMA journal_mode=DELETE")
        self._db.close()
        if self._beside is not None:
            self._beside.close()

    def open_tasks(self, images: Sequence[str]) -> None:
        """Number the images of the run, in order."""
        with self._transaction():
            for image in images:
                self._db.execute("INSERT OR IGNORE INTO task (image) VALUES (?)", (image,))
        self._ids = dict(self._db.execute("SELECT image, id FROM task"))

    def directions(self) -> dict[str, Direction]:
        """The directions of images, by name; without images that have none yet."""
        return dict(self._all("SELECT image, direction FROM task WHERE direction IS NOT NULL"))

    def keep_directions(self, directions: Mapping[str, Direction]) -> None:
        """Store directions of images; an image that has one keeps it."""
        with self._transaction():
            for image, direction in directions.items():
                self._db.execute(
                    "UPDATE task SET direction = ? WHERE id = ? AND direction IS NULL",
                    (direction, self._ids[image]),
                )

    def append(
        self,
        rows: Mapping[str, tuple[int, Sequence[Row]]],
        early: Mapping[str, Mapping[int, Row]] | None = None,
        attempts: Mapping[str, int] | None = None,
    ) -> None:
        """Append replies in one transaction.

        rows: for each image, the number of its first new query and (hash, score) pairs. early:
        out-of-order replies, by number of the query. attempts: number of images sent without an
        answer.
        """
        chunks, hashers = [], dict[int, Hasher]()
        for image, (first, pairs) in rows.items():
            blob = b"".join(PAIR.pack(*pair) for pair in pairs)
            task = self._ids[image]
            hasher = self._hasher(task, image).copy()
            hasher.update(blob)
            hashers[task] = hasher
            chunks.append((task, first, hasher.digest(), blob))
        if len(chunks) == 1 and not (early or attempts or self._early):
            with self._faults():  # one statement is a transaction: most calls are this one
                self._db.execute(APPEND, chunks[0])
            self._extend(chunks, hashers)
            return
        with self._transaction():
            self._db.executemany(APPEND, chunks)
            if self._early:  # the turn of some has come
                ends = [(task, first + len(blob) // PAIR.size) for task, first, _, blob in chunks]
                self._db.executemany("DELETE FROM early WHERE task = ? AND number < ?", ends)
            self._early = self._early or bool(early)
            for image, replies in (early or {}).items():
                for number, pair in replies.items():
                    self._db.execute(
                        "INSERT INTO early VALUES (?, ?, ?)",
                        (self._ids[image], number, PAIR.pack(*pair)),
                    )
            for image, count in (attempts or {}).items():
                self._db.execute(
                    "UPDATE task SET attempts = attempts + ? WHERE id = ?",
                    (count, self._ids[image]),
                )
        self._extend(chunks, hashers)

    def rows(self, image: str) -> Rows:
        """All queries of an image, in order: a structured array (Q,) with `hash` and `score`.

        Raises RunError for a gap.
        """
        blobs, fault = self._sound(image, digests=False)
        if fault is not None:
            raise RunError(f"{self.path}: {fault}; {RESTORE}")
        return np.frombuffer(b"".join(blobs), dtype=ROW)

    def each_rows(self, *, digests: bool = False) -> Iterator[tuple[str, Direction | None, Rows]]:
        """Name, direction and rows of all images, in order, in one pass.

        digests: whether to compare the rows with their digests. Raises RunError for a gap, and for
        rows that do not match.
        """
        column = "digest" if self._format >= DIGESTS else "NULL"
        found = self._each(
            f"SELECT id, image, direction, first, {column}, rows FROM task "
            "LEFT JOIN chunk ON task = id ORDER BY id, first"
        )
        for (_, image, direction), chunks in itertools.groupby(found, key=lambda row: row[:3]):
            there = (chunk[3:] for chunk in chunks if chunk[3] is not None)
            blobs, fault = self._sound_of(image, there, digests=digests)
            if fault is not None:
                raise RunError(f"{self.path}: {fault}; {RESTORE}")
            yield image, direction, np.frombuffer(b"".join(blobs), dtype=ROW)

    def each_result(
        self, beside: str | None = None
    ) -> Iterator[tuple[int, str, str, int, str | None]]:
        """Number, name, result, attempts and a named value of the finished images, in order.

        beside: the value is the one kept under this name, a space and the name of the image; None
        for no value.
        """
        attempts, kept = "0", "NULL"
        if self._format >= FAILURES:
            attempts = "attempts"
            if self._newer("SELECT 1 FROM sqlite_master WHERE name = 'kept'"):
                kept = "(SELECT kept.json FROM kept WHERE kept.name = ? || ' ' || image)"
        values = () if beside is None or kept == "NULL" else (beside,)
        yield from self._each(
            f"SELECT id, image, result.json, {attempts}, {kept if values else 'NULL'} FROM result "
            "JOIN task ON result.task = id ORDER BY id",
            *values,
        )

    def finished(self) -> set[str]:
        """The names of the images with a result."""
        return {name for (name,) in self._each("SELECT image FROM result JOIN task ON task = id")}

    def count(self) -> int:
        """The number of images of the run."""
        return len(self._ids)

    def number(self, image: str) -> int | None:
        """The number of an image, ascending in the order of the run; None if unknown."""
        return self._ids.get(image)

    def fault(self, image: str) -> Fault | None:
        """The fault in the rows of an image, a gap or a wrong digest; None if they are sound."""
        return self._sound(image)[1]

    @property
    def has_digests(self) -> bool:
        """Whether all chunks have a digest, which logs of earlier formats lack."""
        if self._format < DIGESTS:
            return not self._all("SELECT 1 FROM chunk LIMIT 1")
        return not self._all("SELECT 1 FROM chunk WHERE digest IS NULL LIMIT 1")

    def end(self) -> End:
        """The end of the log, computed from its chunks: what log.end should contain."""
        column = "digest" if self._format >= DIGESTS else "NULL"
        queries = total = 0
        found = self._each(
            f"SELECT task, LENGTH(rows), {column}, image FROM chunk JOIN task ON task = id "
            "ORDER BY task, first"
        )
        for _, chunks in itertools.groupby(found, key=lambda row: row[0]):
            of_task = list(chunks)
            queries += sum(size for _, size, _, _ in of_task) // PAIR.size
            task, _, digest, image = of_task[-1]
            tail = self._computed(task, image).digest() if digest is None else digest
            total += int.from_bytes(tail)
        return End(queries, total % MODULUS)

    def last(self) -> int:
        """The number of queries in the last chunks of all images without a result: the most by
        which a killed process can have left the log ahead of its end.
        """
        ((queries,),) = self._all(
            "SELECT COALESCE(SUM(size), 0) FROM (SELECT LENGTH(rows) AS size, MAX(first) "
            "FROM chunk WHERE task NOT IN (SELECT task FROM result) GROUP BY task)"
        )
        return int(queries) // PAIR.size

    def cut(self, faults: Sequence[Fault]) -> None:
        """Drop the unsound rows of images, and their results, and rewrite the end."""
        for fault in faults:
            task = self._ids[fault.image]
            blobs, _ = self._sound(fault.image)
            blob = b"".join(blobs)
            with self._transaction():
                for table in ("chunk", "early", "result", "failure"):
                    self._db.execute(f"DELETE FROM {table} WHERE task = ?", (task,))
                if blob:
                    digest = _hasher_of(fault.image, blob).digest()
                    self._db.execute(APPEND, (task, 0, digest, blob))
        self._hashers.clear()
        self._end = self.end()
        self._write_end()

    def _sound(self, image: str, *, digests: bool = True) -> tuple[list[bytes], Fault | None]:
        """The chunks before the first changed one, and the fault of that one."""
        column = "digest" if self._format >= DIGESTS else "NULL"
        chunks = self._all(
            f"SELECT first, {column}, rows FROM chunk WHERE task = ? ORDER BY first",
            self._ids.get(image, -1),
        )
        return self._sound_of(image, chunks, digests=digests)

    def _sound_of(
        self,
        image: str,
        chunks: Iterable[tuple[int, bytes | None, bytes]],
        *,
        digests: bool,
    ) -> tuple[list[bytes], Fault | None]:
        blobs: list[bytes] = []
        number, hasher = 0, _hasher_of(image)
        for first, digest, blob in chunks:
            if first != number:
                gap = f"queries {number + 1} to {first} are missing from the log"
                return blobs, Fault(image, number, gap)
            if len(blob) % PAIR.size:
                return blobs, Fault(image, number, f"query {number + 1} of the log is cut")
            if digests:
                hasher.update(blob)
                last = number + len(blob) // PAIR.size
                if digest is None and self._needs_digests:
                    lacking = f"queries {number + 1} to {last} of the log have no digest: changed"
                    return blobs, Fault(image, number, f"{lacking} afterwards")
                if digest not in (None, hasher.digest()):
                    changed = f"queries {number + 1} to {last} of the log were changed afterwards"
                    return blobs, Fault(image, number, changed)
            blobs.append(blob)
            number += len(blob) // PAIR.size
        return blobs, None

    # -- where it ends --------------------------------------------------------------------------

    def _hasher(self, task: int, image: str) -> Hasher:
        """A hasher of the rows of an image so far."""
        if task not in self._hashers:
            self._hashers[task] = self._computed(task, image)
        return self._hashers[task]

    def _computed(self, task: int, image: str) -> Hasher:
        hasher = _hasher_of(image)
        for (blob,) in self._all("SELECT rows FROM chunk WHERE task = ? ORDER BY first", task):
            hasher.update(blob)
        return hasher

    def _extend(
        self, chunks: Sequence[tuple[int, int, bytes, bytes]], hashers: Mapping[int, Hasher]
    ) -> None:
        """Update the end, after chunks were written to the log."""
        if not chunks:
            return
        queries, total = self._end.queries, self._end.digest
        for task, first, digest, blob in chunks:
            queries += len(blob) // PAIR.size
            before = self._hashers[task].digest() if first else b""
            total += int.from_bytes(digest) - int.from_bytes(before)
        for task, hasher in hashers.items():
            self._hashers.pop(task, None)
            self._hashers[task] = hasher  # the last
        while len(self._hashers) > HASHERS:
            del self._hashers[next(iter(self._hashers))]  # computed again if it is needed
        self._end = End(queries, total % MODULUS)
        self._write_end()

    def _open_end(self) -> None:
        self._end = self.end()
        if self.path is not None:
            try:
                path = End.path_of(self.path)
                path.touch()
                self._beside = FileIO(path, "r+")
            except OSError as error:
                raise self._cannot(error) from None
            there = End.read(self.path)
            # One that says more, or otherwise, is evidence: who goes on regardless has the log cut.
            if there is None or there.queries < self._end.queries:
                self._write_end()

    def _write_end(self) -> None:
        if self._beside is None:
            return
        try:
            self._beside.seek(0)
            self._beside.write(self._end.text())
        except OSError as error:
            raise self._cannot(error) from None

    def again(self, image: str) -> list[float]:
        """The further scores of the clean image before its search, from the check of the model."""
        rows = self.rows(image)
        of_clean = np.logical_and.accumulate(rows["hash"] == rows["hash"][:1])
        return [float(score) for score in rows["score"][of_clean][1:]]

    def late(self, image: str) -> float | None:
        """The score of the clean image after its search; None if it was not queried."""
        rows = self.rows(image)
        of_clean = rows["hash"] == rows["hash"][:1]
        last = rows["score"][of_clean & ~np.logical_and.accumulate(of_clean)]
        return float(last[-1]) if len(last) else None

    def pages(self) -> Iterator[Page]:
        """All images in order, read one by one; RunError for rows that were changed."""
        with self._faults():
            tasks = self._db.execute("SELECT id, image, direction, attempts FROM task ORDER BY id")
            for task, image, direction, attempts in tasks:
                blobs, fault = self._sound(image)
                if fault is not None:
                    raise RunError(f"{self.path}: {fault}; {RESTORE}")
                result = self._all("SELECT json FROM result WHERE task = ?", task)
                failure = self._all("SELECT reason FROM failure WHERE task = ?", task)
                yield Page(
                    image,
                    direction,
                    attempts,
                    b"".join(blobs),
                    self.early(image),
                    result[0][0] if result else None,
                    failure[0][0] if failure else None,
                    self.kept(f"{FOUND}{image}"),
                )

    def adopt(self, pages: Sequence[Page], kept: Mapping[str, str]) -> None:
        """Append images of other logs in one transaction.

        kept: named values to store with them. Raises RunError for an image that the log already
        has.
        """
        twice = next((page.image for page in pages if page.image in self._ids), None)
        if twice is not None:
            raise RunError(f"{self.path}: {twice} is given twice; give each image once")
        ((last,),) = self._all("SELECT COALESCE(MAX(id), 0) FROM task")
        first = int(last) + 1
        tasks = dict(zip(range(first, first + len(pages)), pages, strict=True))
        chunks = [
            (task, 0, _hasher_of(page.image, page.rows).digest(), page.rows)
            for task, page in tasks.items()
            if page.rows
        ]
        with self._transaction():
            self._db.executemany(
                "INSERT INTO task (id, image, direction, attempts) VALUES (?, ?, ?, ?)",
                [(task, p.image, p.direction, p.attempts) for task, p in tasks.items()],
            )
            self._db.executemany(APPEND, chunks)
            self._db.executemany(
                "INSERT INTO early VALUES (?, ?, ?)",
                [
                    (task, number, PAIR.pack(*pair))
                    for task, page in tasks.items()
                    for number, pair in page.early.items()
                ],
            )
            for table, column in (("result", "result"), ("failure", "failure")):
                values = [(task, getattr(page, column)) for task, page in tasks.items()]
                self._db.executemany(
                    f"INSERT INTO {table} VALUES (?, ?)", [v for v in values if v[1] is not None]
                )
            found = {f"{FOUND}{p.image}": p.found for p in pages if p.found is not None}
            self._db.executemany(
                "INSERT OR REPLACE INTO kept VALUES (?, ?)", [*found.items(), *kept.items()]
            )
        self._early = self._early or any(page.early for page in pages)
        self._ids |= {page.image: task for task, page in tasks.items()}
        total = self._end.digest + sum(int.from_bytes(digest) for _, _, digest, _ in chunks)
        queries = self._end.queries + sum(page.queries for page in pages)
        self._end = End(queries, total % MODULUS)
        self._write_end()

    def early(self, image: str) -> dict[int, Row]:
        """Out-of-order replies, by number of the query."""
        rows = self._newer("SELECT number, row FROM early WHERE task = ?", self._ids.get(image, -1))
        return {number: PAIR.unpack(blob) for number, blob in rows}

    def queries(self, image: str) -> int:
        """The number of queries of an image, read without its rows."""
        ((size,),) = self._all(
            "SELECT COALESCE(SUM(LENGTH(rows)), 0) FROM chunk WHERE task = ?",
            self._ids.get(image, -1),
        )
        return int(size) // PAIR.size + len(self.early(image))

    def clean_score(self, image: str) -> float | None:
        """The score of the clean image, read without the rows; None if there is none yet."""
        found = self._all(
            "SELECT SUBSTR(rows, 1, ?) FROM chunk WHERE task = ? AND first = 0",
            PAIR.size,
            self._ids.get(image, -1),
        )
        return PAIR.unpack(found[0][0])[1] if found and found[0][0] else None

    def attempts(self) -> dict[str, int]:
        """The number of images sent without an answer, by image, where there are any."""
        return dict(self._newer("SELECT image, attempts FROM task WHERE attempts > 0"))

    def sent(self) -> int:
        """The number of images that this run sent to the model, as far as is known: queries,
        answers that count as no query, attempts and reservations, without those of a survey.
        """
        known = sum(map(self.queries, self._ids)) + sum(self.attempts().values())
        known += self.kept_number(BESIDES) - self.kept_number(TAKEN)
        return max(known, self.kept_number(RESERVED), 0)

    def count_beside(self, images: int) -> None:
        """Record images that the model scored outside of any image's queries."""
        self.keep(BESIDES, str(self.kept_number(BESIDES) + images))

    def kept_number(self, name: str) -> int:
        """The number kept under a name, 0 if there is none; RunError if it is not a number."""
        try:
            return int(self.kept(name) or 0)
        except ValueError:
            raise self._odd(f"{name} that is not a number") from None

    def reserve(self, images: int) -> None:
        """Store the largest number of images that may have been sent by the next update."""
        self.keep(RESERVED, str(images))

    def keep(self, name: str, json: str) -> None:
        """Store a value of the whole run under a name."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (name, json))

    def keeps_any(self, prefix: str) -> bool:
        """Whether a value is kept under a name with this prefix."""
        if not self._newer("SELECT 1 FROM sqlite_master WHERE name = 'kept'"):
            return False
        query = "SELECT 1 FROM kept WHERE SUBSTR(name, 1, ?) = ? LIMIT 1"
        return bool(self._newer(query, len(prefix), prefix))

    def kept(self, name: str) -> str | None:
        """The value kept under a name; None without one."""
        if not self._keeps:  # as some logs of before do not
            self._keeps = bool(self._newer("SELECT 1 FROM sqlite_master WHERE name = 'kept'"))
        found = self._newer("SELECT json FROM kept WHERE name = ?", name) if self._keeps else []
        return found[0][0] if found else None

    def keep_found(self, image: str, value: float) -> None:
        """Keep the value that a constraint determined for an image; an earlier one stays."""
        if self.found(image) is None:
            self.keep(f"{FOUND}{image}", repr(value))

    def found(self, image: str) -> float | None:
        """The value that a constraint determined for an image; RunError if it is not a number."""
        text = self.kept(f"{FOUND}{image}")
        try:
            value = None if text is None else float(text)
        except ValueError:
            value = math.nan
        if value is not None and not math.isfinite(value):
            raise self._odd(f"{FOUND}{image} that is not a number")
        return value

    def finish(self, image: str, result: str, kept: Mapping[str, str] | None = None) -> None:
        """Store the result of an image and merge its chunks, in one transaction.

        kept: named values to store with it.
        """
        blob = self.rows(image).tobytes()
        task = self._ids[image]
        digest = _hasher_of(image, blob).digest()  # that of the last chunk before
        with self._transaction():
            self._db.execute("DELETE FROM chunk WHERE task = ?", (task,))
            if blob:
                self._db.execute(APPEND, (task, 0, digest, blob))
            self._db.execute("INSERT OR REPLACE INTO result VALUES (?, ?)", (task, result))
            for pair in (kept or {}).items():
                self._db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", pair)
            self._db.execute("DELETE FROM failure WHERE task = ?", (task,))
        self._hashers.pop(task, None)

    def fail(self, image: str, reason: str) -> None:
        """Store why an image failed; its queries are kept."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO failure VALUES (?, ?)", (self._ids[image], reason)
            )

    def failures(self) -> dict[str, str]:
        """The reasons why images without a result failed, in the order of the run."""
        return dict(
            self._newer(
                "SELECT image, reason FROM failure JOIN task ON task = id "
                "WHERE task NOT IN (SELECT task FROM result) ORDER BY id"
            )
        )

    def forget(self, image: str) -> None:
        """Drop the result of an image; its queries are kept."""
        with self._transaction():
            self._db.execute("DELETE FROM result WHERE task = ?", (self._ids.get(image, -1),))

    def forget_failures(self) -> None:
        """Drop all failures, so that these images are tried again."""
        with self._transaction():
            self._db.execute("DELETE FROM failure")

    def results(self) -> dict[str, str]:
        """The results of the finished images, in the order of the run."""
        return dict(self._all("SELECT image, json FROM result JOIN task ON task = id ORDER BY id"))

    def images(self) -> list[str]:
        """The names of all images of the run, in order."""
        return [name for (name,) in self._all("SELECT image FROM task ORDER BY id")]

    @property
    def has_failures(self) -> bool:
        """Whether the format of this log includes failures."""
        return self._format >= FAILURES

    def _newer(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Like `_all`, for data that earlier formats lack."""
        return self._all(query, *values) if self._format >= FAILURES else []

    def _all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._faults():
            return self._db.execute(query, values).fetchall()

    def _each(self, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """Like `_all`, row by row."""
        with self._faults():
            cursor = self._db.execute(query, values)
            while rows := cursor.fetchmany(64):
                yield from rows

    def _cannot(self, error: Exception) -> InputError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest is of no interest
        remedy = "check the file, then try again"
        if code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in NO_SPACE:
            remedy = "free some space, then try again"
        elif code in DAMAGED:
            end = None if self.path is None else End.read(self.path)
            had = "" if end is None else f"it had {end.queries:,} queries: "
            remedy = f"{had}restore a copy of it, or move it away to repeat all queries"
        return InputError(f"{self.path}: the log cannot be read or written ({error}); {remedy}")

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise self._cannot(error) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._faults():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk may have ended it already
                    self._db.execute("ROLLBACK")
                raise

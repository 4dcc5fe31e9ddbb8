"""The log of a run: every score that was paid for, in the order in which it was asked.

One SQLite file in WAL mode with one writer. A score is 16 bytes: the hash of the 8-bit image and
the raw score as float64. Scores are appended in chunks, one per image and batch, and an image's
chunks become one when its search ends, so that 10^8 queries stay below 2 GB. A score that came
before its turn waits in a table of its own until those before it are there. Beside them stand, for
each image, the images that were sent to the model and not answered, its result, or its failure, and
for the whole run what is kept by a name of its own.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from iqattack.errors import InputError, RunError
from iqattack.objectives import Direction

FORMAT = 3  # 2 had neither attempts nor failures, nor early replies
READABLE = (2, FORMAT)
ROW = np.dtype([("hash", "<u8"), ("score", "<f8")])
PAIR = struct.Struct("<Qd")  # the same, one at a time
Rows = NDArray[np.void]
Row = tuple[int, float]

SCHEMA = """
CREATE TABLE IF NOT EXISTS task (
    id INTEGER PRIMARY KEY, image TEXT NOT NULL UNIQUE, direction TEXT,
    attempts INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS chunk (
    task INTEGER NOT NULL REFERENCES task, first INTEGER NOT NULL, rows BLOB NOT NULL,
    PRIMARY KEY (task, first)
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
UPGRADE = "ALTER TABLE task ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;"


def image_hash(image: Tensor) -> int:
    """64-bit XXH3 of an 8-bit image (3, H, W), its height and width included."""
    digest = xxhash.xxh3_64(image.contiguous().numpy().data)
    digest.update(np.asarray(image.shape, dtype="<i8").tobytes())
    return digest.intdigest()


class QueryLog:
    """Scores and results of one run on disk, or in memory without a path.

    Raises InputError when the disk is full or the file is not such a log.
    """

    def __init__(self, path: Path | None = None, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self._early = True  # there may be early replies
        with self._faults():
            if read_only:
                uri = f"{Path(path).absolute().as_uri()}?mode=ro" if path else ":memory:"
                self._db = sqlite3.connect(uri, uri=True)
                self._format = self._checked_format()
                self._ids = dict(self._db.execute("SELECT image, id FROM task"))
                return
            self._db = sqlite3.connect(path if path else ":memory:", isolation_level=None)
            upgrade = UPGRADE if self._checked_format() not in (0, FORMAT) else ""
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

    def _checked_format(self) -> int:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version not in (0, *READABLE):
            raise RunError(
                f"{self.path}: log format {version}, expected {FORMAT}: written by another version "
                "of iqattack; read it with that one, or use a new folder"
            )
        return int(version)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was appended is on disk already.

        The writer leaves one plain file behind, so that looking at it later leaves none beside it.
        """
        if not self._read_only:
            with suppress(sqlite3.DatabaseError):  # somebody is looking at it just now
                self._db.execute("PRAGMA journal_mode=DELETE")
        self._db.close()

    def open_tasks(self, images: Sequence[str]) -> None:
        """Give every image of the run its number, in order."""
        with self._transaction():
            for image in images:
                self._db.execute("INSERT OR IGNORE INTO task (image) VALUES (?)", (image,))
        self._ids = dict(self._db.execute("SELECT image, id FROM task"))

    def directions(self) -> dict[str, Direction]:
        """Directions of the images that have one."""
        return dict(self._all("SELECT image, direction FROM task WHERE direction IS NOT NULL"))

    def keep_directions(self, directions: Mapping[str, Direction]) -> None:
        """Store the direction of images; one that has a direction keeps it."""
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
        """Append what came back at once, all of it or nothing.

        rows: per image, the number of its first new query and (hash, score)s; early: replies that
        came before their turn, by number; attempts: images that were sent and not answered.
        """
        chunks = [
            (self._ids[image], first, b"".join(PAIR.pack(*pair) for pair in pairs))
            for image, (first, pairs) in rows.items()
        ]
        if len(chunks) == 1 and not (early or attempts or self._early):
            with self._faults():  # one statement is a transaction: most calls are this one
                self._db.execute("INSERT INTO chunk VALUES (?, ?, ?)", chunks[0])
            return
        with self._transaction():
            self._db.executemany("INSERT INTO chunk VALUES (?, ?, ?)", chunks)
            if self._early:  # the turn of some has come
                ends = [(task, first + len(blob) // PAIR.size) for task, first, blob in chunks]
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

    def rows(self, image: str) -> Rows:
        """All queries of an image, in order: a structured array with `hash` and `score`."""
        chunks = self._all(
            "SELECT rows FROM chunk WHERE task = ? ORDER BY first", self._ids.get(image, -1)
        )
        return np.frombuffer(b"".join(blob for (blob,) in chunks), dtype=ROW)

    def again(self, image: str) -> list[float]:
        """Scores of the clean image beside the first one: those of a check of the model."""
        rows = self.rows(image)
        return [float(score) for score in rows["score"][rows["hash"] == rows["hash"][:1]][1:]]

    def early(self, image: str) -> dict[int, Row]:
        """Replies that came before their turn, by the number of the query."""
        rows = self._newer("SELECT number, row FROM early WHERE task = ?", self._ids.get(image, -1))
        return {number: PAIR.unpack(blob) for number, blob in rows}

    def queries(self, image: str) -> int:
        """How many images the model scored for this one; read without its rows."""
        ((size,),) = self._all(
            "SELECT COALESCE(SUM(LENGTH(rows)), 0) FROM chunk WHERE task = ?",
            self._ids.get(image, -1),
        )
        return int(size) // PAIR.size + len(self.early(image))

    def clean_score(self, image: str) -> float | None:
        """The score of the first query, the clean image, if there was one; likewise."""
        found = self._all(
            "SELECT SUBSTR(rows, 1, ?) FROM chunk WHERE task = ? AND first = 0",
            PAIR.size,
            self._ids.get(image, -1),
        )
        return PAIR.unpack(found[0][0])[1] if found and found[0][0] else None

    def attempts(self) -> dict[str, int]:
        """Images that were sent to the model and not answered, of each image that has some."""
        return dict(self._newer("SELECT image, attempts FROM task WHERE attempts > 0"))

    def sent(self) -> int:
        """Images that were sent to the model, answered or not."""
        return sum(map(self.queries, self._ids)) + sum(self.attempts().values())

    def keep(self, name: str, json: str) -> None:
        """Store something of the whole run."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (name, json))

    def kept(self, name: str) -> str | None:
        """What was stored of that name."""
        tables = self._newer("SELECT 1 FROM sqlite_master WHERE name = 'kept'")
        found = self._newer("SELECT json FROM kept WHERE name = ?", name) if tables else []
        return found[0][0] if found else None

    def finish(self, image: str, result: str) -> None:
        """Store the result of an image and merge its chunks, both or neither."""
        rows = self.rows(image)
        task = self._ids[image]
        with self._transaction():
            self._db.execute("DELETE FROM chunk WHERE task = ?", (task,))
            if len(rows):
                self._db.execute("INSERT INTO chunk VALUES (?, 0, ?)", (task, rows.tobytes()))
            self._db.execute("INSERT OR REPLACE INTO result VALUES (?, ?)", (task, result))
            self._db.execute("DELETE FROM failure WHERE task = ?", (task,))

    def fail(self, image: str, reason: str) -> None:
        """Store why an image failed; its queries stay."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO failure VALUES (?, ?)", (self._ids[image], reason)
            )

    def failures(self) -> dict[str, str]:
        """Why images failed, those that have no result, in the order of the run."""
        return dict(
            self._newer(
                "SELECT image, reason FROM failure JOIN task ON task = id "
                "WHERE task NOT IN (SELECT task FROM result) ORDER BY id"
            )
        )

    def forget(self, image: str) -> None:
        """Drop the result of an image; its queries stay."""
        with self._transaction():
            self._db.execute("DELETE FROM result WHERE task = ?", (self._ids.get(image, -1),))

    def forget_failures(self) -> None:
        """Drop all failures: those images are to be tried again."""
        with self._transaction():
            self._db.execute("DELETE FROM failure")

    def results(self) -> dict[str, str]:
        """Results of the images that are finished, in the order of the run."""
        return dict(self._all("SELECT image, json FROM result JOIN task ON task = id ORDER BY id"))

    def images(self) -> list[str]:
        """Names of all images of the run, in order."""
        return [name for (name,) in self._all("SELECT image FROM task ORDER BY id")]

    @property
    def has_failures(self) -> bool:
        """Whether a log of this format holds failures at all."""
        return self._format == FORMAT

    def _newer(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Like `_all`, of what logs of before do not hold."""
        return self._all(query, *values) if self._format == FORMAT else []

    def _all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._faults():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"{self.path}: the log cannot be read or written ({error}); "
                "free some space or check the file, then go on with --resume"
            ) from error

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

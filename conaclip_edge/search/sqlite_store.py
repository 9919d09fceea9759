"""The index's truth in SQLite: which pictures, their vectors, and which HNSW graph belongs to them.

A batch is one transaction of a write-ahead log, so a killed run loses the batch that it was at and nothing else.
A key is never used twice and its vector never changes: a picture whose bytes change gets a new key.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conaclip_edge.errors import UserError
from conaclip_edge.search import sqlite_looks as looks
from conaclip_edge.search.sqlite_checks import FILE as FILE
from conaclip_edge.search.sqlite_checks import check_meta, inside, sqlite_errors

SCHEMA = "conaclip-edge/index/1"
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE pictures (
    key INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB NOT NULL UNIQUE, mtime_ns INTEGER NOT NULL, size INTEGER NOT NULL,
    sha256 BLOB NOT NULL);
CREATE INDEX pictures_sha256 ON pictures (sha256);
CREATE TABLE vectors (key INTEGER PRIMARY KEY REFERENCES pictures ON DELETE CASCADE, vector BLOB NOT NULL);
CREATE TABLE broken (path BLOB PRIMARY KEY, mtime_ns INTEGER NOT NULL, size INTEGER NOT NULL, reason TEXT NOT NULL)
    WITHOUT ROWID;
"""
_CHUNK = 10_000  # vectors that are in memory at a time
_MANY = 500  # values in one IN (...)


@dataclass(frozen=True)
class Seen:
    """A picture file as the sidecar knows it; `key` is None for a broken one."""

    key: int | None
    mtime_ns: int
    size: int


@dataclass(frozen=True)
class Entry:
    """What a batch records of one file: a new vector, the stamps alone of an unchanged one, or why it is broken.

    Attributes:
        path: relative to the picture folder.
        vector: float32 [d], unit length; None if the file's bytes are those that are indexed, or if it is broken.
        reason: why the file is broken, "" if it is not.
        look: what `look_of` makes of the picture; b"" if that is not known.
    """

    path: str
    mtime_ns: int
    size: int
    sha256: bytes = b""
    vector: np.ndarray | None = None
    reason: str = ""
    look: bytes = b""


class Sidecar:
    """An open sidecar; every failure of SQLite, and every value that no index has, is a UserError that names it."""

    def __init__(self, folder: Path, connection: sqlite3.Connection):
        self.folder = folder
        self._connection = connection
        with sqlite_errors(folder):
            self._width = 4 * int(self.meta().get("dim", 0))  # bytes of a vector

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def meta(self) -> dict[str, str]:
        """Return what is recorded of the whole index."""
        with sqlite_errors(self.folder):
            return dict(self._rows("SELECT name, value FROM meta"))

    def set_meta(self, **values: str | int) -> None:
        """Record values of the whole index, in one transaction."""
        with self._transaction() as cursor:
            cursor.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", [(k, str(v)) for k, v in values.items()])

    def unset_meta(self, *names: str) -> None:
        """Forget values of the whole index, in one transaction."""
        with self._transaction() as cursor:
            cursor.executemany("DELETE FROM meta WHERE name = ?", [(name,) for name in names])

    def version(self) -> int:
        """Return a number that changes when another process has written."""
        return int(self._rows("PRAGMA data_version")[0][0])

    def __len__(self) -> int:
        return int(self._rows("SELECT count(*) FROM pictures")[0][0])

    def files(self) -> dict[str, Seen]:
        """Return every file that is known, broken ones included, by its relative path."""
        rows = self._rows("SELECT path, key, mtime_ns, size FROM pictures")
        rows += self._rows("SELECT path, NULL, mtime_ns, size FROM broken")
        with sqlite_errors(self.folder):
            return {os.fsdecode(path): Seen(key, mtime, size) for path, key, mtime, size in rows}

    def broken(self) -> dict[str, str]:
        """Return the broken files, by relative path in order, with the reason of each."""
        rows = self._rows("SELECT path, reason FROM broken ORDER BY 1")
        with sqlite_errors(self.folder):
            return {os.fsdecode(path): str(reason) for path, reason in rows}

    def path(self, key: int) -> str | None:
        """Return the relative path of a picture, None if there is none of that key."""
        rows = self._rows("SELECT path FROM pictures WHERE key = ?", (key,))
        with sqlite_errors(self.folder):
            return inside(rows[0][0]) if rows else None

    def looks(self, keys: Sequence[int]) -> dict[int, bytes]:
        """Return what pictures look like, of those of which it is recorded."""
        with sqlite_errors(self.folder):
            return looks.of_keys(self._connection, keys)

    def look_of(self, sha256: bytes) -> bytes:
        """Return what a picture of these bytes looks like, b"" if that is not recorded."""
        with sqlite_errors(self.folder):
            return looks.of_bytes(self._connection, sha256)

    def keep_looks(self) -> None:
        """Make room for what pictures look like, in an index of before as well."""
        with self._transaction() as cursor:
            cursor.execute(looks.TABLE)

    def stamps(self) -> Iterator[tuple[int, str, int]]:
        """Yield (key, relative path, time of change in ns) of every picture, by rising key."""
        for key, path, mtime in self._rows("SELECT key, path, mtime_ns FROM pictures ORDER BY key"):
            with sqlite_errors(self.folder):
                yield int(key), inside(path), int(mtime)

    def vector_of(self, sha256: bytes) -> np.ndarray | None:
        """Return the vector float32 [d] of any picture of these bytes."""
        rows = self._rows("SELECT vector FROM vectors JOIN pictures USING (key) WHERE sha256 = ? LIMIT 1", (sha256,))
        return self._vector(rows[0][0]) if rows else None

    def sha256_of(self, key: int) -> bytes:
        """Return the hash of a picture's bytes when it was indexed."""
        rows = self._rows("SELECT sha256 FROM pictures WHERE key = ?", (key,))
        with sqlite_errors(self.folder):
            return bytes(rows[0][0])

    def pictures(self, keys: Sequence[int]) -> list[tuple[int, str, np.ndarray]]:
        """Return (key, relative path, vector float32 [d]) of those of the keys that are still there, by rising key."""
        found = []
        for start in range(0, len(keys), _MANY):
            some = keys[start : start + _MANY]
            query = "SELECT key, path, vector FROM pictures JOIN vectors USING (key) WHERE key IN ({}) ORDER BY key"
            rows = self._rows(query.format(",".join("?" * len(some))), some)
            with sqlite_errors(self.folder):
                found += [(int(key), inside(path), self._vector(vector)) for key, path, vector in rows]
        return found

    def vectors(self, after: int = 0, limit: int = -1) -> tuple[np.ndarray, np.ndarray]:
        """Return keys int64 [n] above `after`, rising, and their vectors float32 [n, d]; a limit of -1 is none."""
        rows = self._rows("SELECT key, vector FROM vectors WHERE key > ? ORDER BY key LIMIT ?", (after, limit))
        if not rows:
            return np.empty(0, np.int64), np.empty((0, 0), np.float32)
        with sqlite_errors(self.folder):
            keys = np.asarray([key for key, _ in rows], dtype=np.int64)
            vectors = np.frombuffer(b"".join(vector for _, vector in rows), "<f4")
            return keys, vectors.reshape(len(keys), self._width // 4)

    def chunks(self, last: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield keys above `last` and their vectors, as `vectors` gives them, some thousands at a time."""
        while True:
            keys, vectors = self.vectors(last, _CHUNK)
            if not len(keys):
                return
            yield keys, vectors
            last = int(keys[-1])

    def count_up_to(self, key: int) -> int:
        """Return how many pictures have a key of at most that."""
        return int(self._rows("SELECT count(*) FROM pictures WHERE key <= ?", (key,))[0][0])

    def newest(self) -> int:
        """Return the largest key, 0 if there is none."""
        with sqlite_errors(self.folder):
            return int(self._rows("SELECT coalesce(max(key), 0) FROM pictures")[0][0])

    def write(self, batch: Iterable[Entry]) -> None:
        """Record a batch, in one transaction."""
        with self._transaction() as cursor:
            for entry in batch:
                path = os.fsencode(entry.path)
                if entry.vector is None and not entry.reason:
                    cursor.execute(
                        "UPDATE pictures SET mtime_ns = ?, size = ? WHERE path = ?", (entry.mtime_ns, entry.size, path)
                    )
                    continue
                _forget(cursor, path)
                if entry.vector is None:
                    row = (path, entry.mtime_ns, entry.size, entry.reason)
                    cursor.execute("INSERT INTO broken VALUES (?, ?, ?, ?)", row)
                    continue
                stamps = (path, entry.mtime_ns, entry.size, entry.sha256)
                cursor.execute("INSERT INTO pictures (path, mtime_ns, size, sha256) VALUES (?, ?, ?, ?)", stamps)
                vector = np.ascontiguousarray(entry.vector, "<f4").tobytes()
                key = cursor.lastrowid
                cursor.execute("INSERT INTO vectors VALUES (?, ?)", (key, vector))
                if entry.look:
                    looks.put(cursor, key, entry.look)

    def drop(self, paths: Iterable[str]) -> None:
        """Forget files, in one transaction."""
        with self._transaction() as cursor:
            for path in paths:
                _forget(cursor, os.fsencode(path))

    def _vector(self, blob: bytes) -> np.ndarray:
        with sqlite_errors(self.folder):
            return np.frombuffer(blob, "<f4", count=self._width // 4)

    def _rows(self, query: str, values: Sequence[object] = ()) -> list[tuple]:  # type: ignore[type-arg]  # as SQL says
        with sqlite_errors(self.folder):
            return self._connection.execute(query, tuple(values)).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        with sqlite_errors(self.folder):
            cursor = self._connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    cursor.execute("ROLLBACK")
                raise


def _forget(cursor: sqlite3.Cursor, path: bytes) -> None:
    cursor.execute("DELETE FROM pictures WHERE path = ?", (path,))
    cursor.execute("DELETE FROM broken WHERE path = ?", (path,))


def open_sidecar(folder: Path) -> Sidecar:
    """Open the sidecar of an index.

    Raises:
        UserError: no index, a damaged one, or one of another schema.
    """
    if not (folder / FILE).is_file():
        raise UserError(f"no index at {folder}: it has no {FILE}. Make one: conaclip-edge index BUNDLE PICTURES")
    connection = _connect(folder)
    with sqlite_errors(folder):
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchall():
            raise UserError(f"{folder / FILE} holds no index. Remove {folder} and index the pictures again.")
    sidecar = Sidecar(folder, connection)
    schema = sidecar.meta().get("schema")
    if schema != SCHEMA:
        raise UserError(
            f"index {folder} has schema '{schema}'; this version reads {SCHEMA}. "
            "Index the pictures again into another --out."
        )
    check_meta(folder, sidecar.meta())
    return sidecar


def make_sidecar(folder: Path, **meta: str | int) -> Sidecar:
    """Make the sidecar of a new, empty index; one transaction, so there is a whole one or none."""
    connection = _connect(folder)
    with sqlite_errors(folder):
        connection.executescript(f"BEGIN IMMEDIATE; {_TABLES}")
        rows = [(name, str(value)) for name, value in {"schema": SCHEMA, **meta}.items()]
        connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
        connection.execute("COMMIT")
    return Sidecar(folder, connection)


def unmade(folder: Path) -> bool:
    """Say whether nothing was recorded yet: no sidecar, or one whose making was interrupted."""
    if not (folder / FILE).exists():
        return True
    connection = _connect(folder)
    with sqlite_errors(folder):
        empty = not connection.execute("SELECT 1 FROM sqlite_master").fetchall()
    connection.close()
    return empty


def _connect(folder: Path) -> sqlite3.Connection:
    with sqlite_errors(folder):
        # sqlite3 is built to be shared by threads; a page and its workers use one connection
        connection = sqlite3.connect(folder / FILE, timeout=30, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    return connection

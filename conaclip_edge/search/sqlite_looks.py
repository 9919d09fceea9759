"""What the pictures of an index look like, small: a table that an index of before does not have."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

TABLE = """
CREATE TABLE IF NOT EXISTS looks (key INTEGER PRIMARY KEY REFERENCES pictures ON DELETE CASCADE, look BLOB NOT NULL)
"""
_MANY = 500  # values in one IN (...)


def put(cursor: sqlite3.Cursor, key: int | None, look: bytes) -> None:
    """Record what a picture looks like."""
    cursor.execute("INSERT INTO looks VALUES (?, ?)", (key, look))


def of_keys(connection: sqlite3.Connection, keys: Sequence[int]) -> dict[int, bytes]:
    """Return key -> look, of those of which it is recorded."""
    if not _there(connection):
        return {}
    found: dict[int, bytes] = {}
    for start in range(0, len(keys), _MANY):
        some = keys[start : start + _MANY]
        query = f"SELECT key, look FROM looks WHERE key IN ({','.join('?' * len(some))})"
        found |= {int(key): bytes(look) for key, look in connection.execute(query, some).fetchall()}
    return found


def of_bytes(connection: sqlite3.Connection, sha256: bytes) -> bytes:
    """Return the look of any picture of these bytes, b"" if it is not recorded."""
    query = "SELECT look FROM looks JOIN pictures USING (key) WHERE sha256 = ? LIMIT 1"
    row = connection.execute(query, (sha256,)).fetchone() if _there(connection) else None
    return bytes(row[0]) if row else b""


def _there(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'looks'").fetchall())

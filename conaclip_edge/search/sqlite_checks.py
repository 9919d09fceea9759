"""What can be wrong with the sidecar of an index, which may come from somebody else, or be written by somebody."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from conaclip_edge.errors import UserError

FILE = "pictures.sqlite"
LOCK = "writer.lock"
# what is recorded of a whole index
_TEXTS = ("space_id", "bundle", "target", "vectors", "graph_vectors", "pictures")
_NUMBERS = ("dim", "generation", "graph_size", "graph_nodes", "graph_last")
_NEWER = ("max_pixels",)  # numbers that an older index lacks
_WIDEST = 65_536  # numbers of a vector


@contextmanager
def sqlite_errors(folder: Path) -> Iterator[None]:
    """Turn SQLite's errors, and values that no sidecar holds, into a UserError that names the index."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise UserError(f"cannot use index {folder}: {error}. Free some space, or look at its permissions.") from error
    except (sqlite3.DatabaseError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise UserError(
            f"index {folder} is damaged ({FILE}: {error}). Remove the folder and index the pictures again."
        ) from error


def inside(path: bytes) -> str:
    """Decode a relative path; ValueError for one that leaves its folder."""
    name = os.fsdecode(path)
    if "\0" in name or name.startswith("/") or ".." in name.split("/"):
        raise ValueError(f"the path {name[:100]!r} leaves the pictures' folder")
    return name


def check_meta(folder: Path, meta: Mapping[str, object]) -> None:
    """Refuse an index that lacks something that is recorded of every one, or has it odd."""
    missing = [name for name in (*_TEXTS, *_NUMBERS) if name not in meta]
    if missing:
        raise UserError(f"index {folder} lacks '{missing[0]}'. Index the pictures again.")
    with sqlite_errors(folder):
        for name in _TEXTS:
            value = meta[name]
            if not isinstance(value, str) or "\0" in value:
                raise ValueError(f"'{name}' is no text without a NUL")
        for name in (*_NUMBERS, *(name for name in _NEWER if name in meta)):
            if not 0 <= int(str(meta[name])) < (_WIDEST if name == "dim" else 2**63):
                raise ValueError(f"'{name}' is {meta[name]}")


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the right to write to an index; the system takes it back from a process that was killed.

    Raises:
        UserError: another process writes to it.
    """
    with sqlite_errors(folder):
        lock = sqlite3.connect(folder / LOCK, timeout=0, isolation_level=None)
    try:
        lock.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        lock.close()
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise UserError(f"cannot write index {folder}: {error}. Choose another --out.") from error
        raise UserError(
            f"index {folder} is being written by another process. Wait until it ends, or choose another --out."
        ) from None
    try:
        yield
    finally:
        lock.close()

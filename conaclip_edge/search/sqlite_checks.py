"""What can be wrong with the sidecar of an index, which may come from somebody else."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from conaclip_edge.errors import UserError

FILE = "pictures.sqlite"
# what is recorded of a whole index
_TEXTS = ("space_id", "bundle", "target", "vectors", "graph_vectors", "pictures")
_NUMBERS = ("dim", "generation", "graph_size", "graph_nodes", "graph_last")
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
        for name in _NUMBERS:
            if not 0 <= int(str(meta[name])) < (_WIDEST if name == "dim" else 2**63):
                raise ValueError(f"'{name}' is {meta[name]}")

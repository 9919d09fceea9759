"""Pictures that are files of their own, named by a table beside them."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.formats.source_table import Index, Place, to_pairs
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import BadPicture
from conaclip_edge.errors import UserError


def inside(name: object, where: str) -> str:
    """Return a file name as a relative path; one that could leave the picture folder is a UserError naming `where`."""
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"{where} names no picture file.")
    path = PurePosixPath(name)
    if not path.parts or any(kind.anchor or ".." in kind.parts for kind in (path, PureWindowsPath(name))):
        raise UserError(
            f"{where}: file name {name[:200]!r} could leave the picture folder. "
            "Give a path relative to that folder, without '..'."
        )
    return path.as_posix()


def file_pairs(index: Index, config: DataConfig, source: Path, folder: Path) -> Pairs:
    """Make a data set of pictures in `folder`; those that are missing are skipped.

    The stamp covers sizes and modification times, not the bytes: a picture is not opened before it is needed.
    """
    names = index.column("file")
    absent, stamp = _stat(folder, names)
    missing = [f"{names[int(i)]}: no such file in {folder}" for i in np.flatnonzero(absent)]
    return to_pairs(index.without(absent), config, source, lambda place: read_bytes(folder, place), stamp, missing)


def read_bytes(folder: Path, place: Place) -> bytes:
    """Read the bytes at a place in a file of `folder`; BadPicture if the file cannot be read."""
    try:
        with open(folder / place.file, "rb") as handle:
            handle.seek(place.start)
            return handle.read(place.length)
    except OSError as error:
        raise BadPicture(f"{folder / place.file} cannot be read ({error.strerror})") from error


def _stat(folder: Path, names: Iterable[str]) -> tuple[np.ndarray, str]:
    """Return which names are no files [n], and a hash of the sizes and times (ns) of the others."""
    absent, digest = [], hashlib.sha256()
    for name in names:
        try:
            status = os.stat(folder / name)
        except (OSError, ValueError):  # ValueError: a NUL in the name
            absent.append(True)
            continue
        absent.append(not stat.S_ISREG(status.st_mode))
        digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
    return np.array(absent, dtype=bool), digest.hexdigest()

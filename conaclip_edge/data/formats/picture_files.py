"""Pictures that are files of their own, named by a table beside them."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.data_formats import PICTURE_SUFFIXES
from conaclip_edge.data.formats.source_table import Index, Place, to_pairs
from conaclip_edge.data.formats.splits import split_of_table
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import BadPicture
from conaclip_edge.data.rows.source_row import Row, file_row
from conaclip_edge.errors import UserError
from conaclip_edge.system.folders import files_below
from conaclip_edge.system.progress import say


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


def train_pictures(folder: Path) -> list[str]:
    """Return the pictures below a folder that may be unpaired data where no table names them, in order.

    Those in a folder of val or test (`val2017`) are left out: nobody can tell whether they are held out.
    """
    names = [name for name in files_below(folder) if PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES]
    return [name for name in names if all(split_of_table(above) == "train" for above in PurePosixPath(name).parents)]


def unnamed_rows(folder: Path, others: Iterable[str], named: set[str]) -> Iterator[Row]:
    """Yield rows without captions of the pictures that a table does not name.

    Where none of those that it names is there, the folder is another one, and its pictures are none of this data set.

    Args:
        folder: of the pictures.
        others: what `train_pictures` found in it.
        named: pictures that the table names.
    """
    if any(os.path.lexists(folder / name) for name in named if "\0" not in name):
        yield from (file_row(name, [], "train") for name in others if name not in named)


def say_unpaired(pairs: Pairs, folder: Path, where: str) -> None:
    """Say on stderr how many pictures have no caption."""
    unpaired = sum(not captions for captions in pairs.captions)
    if unpaired:
        say(f"data: {unpaired:,} of {len(pairs):,} pictures in {folder} have no caption ({where}): unpaired data.")


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

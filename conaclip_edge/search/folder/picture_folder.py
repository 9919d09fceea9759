"""The picture files of a folder, and reading one of them."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import numpy as np

from conaclip_edge.data.preprocess import MAX_PIXELS, Preprocess, pixel_values
from conaclip_edge.errors import UserError
from conaclip_edge.search.folder.raw import RAW_SUFFIXES, check_raw, developed
from conaclip_edge.system.files import require_file

_FORMATS = (
    "apng avif bmp dib gif heic heics heif hif jfif jp2 jpe jpeg jpf jpg jpx jxl mpo pbm pcx pgm png pnm ppm qoi tga "
    "tif tiff webp"
)
SUFFIXES = frozenset(f".{name}" for name in _FORMATS.split()) | RAW_SUFFIXES


@dataclass(frozen=True)
class PictureFile:
    """A file that is named like a picture; `path` is relative to the folder, with "/"."""

    path: str
    mtime_ns: int
    size: int


@dataclass(frozen=True)
class Walk:
    """What a folder holds.

    Attributes:
        files: in the order of their paths.
        unreadable: folders and files (relative, folders ending in "/") that could not be looked into -> reason.
        away: folders (relative, ending in "/") that hold nothing at all, as those of a drive that is not there, and
            links that lead nowhere.
        passed_over: what kind of thing was not looked at -> how many of it.
    """

    files: list[PictureFile] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    away: list[str] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be looked into."""
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise _not_read(folder, error) from error


def walk(folder: Path) -> Walk:
    """List the pictures of a folder and the folders in it, linked ones, too; each folder once, hidden things never.

    Raises:
        UserError: the folder itself cannot be looked into.
    """
    found = Walk()
    walked: set[tuple[int, int]] = set()  # device and number of each folder: links may lead in circles
    waiting, links = [""], list[str]()
    while waiting or links:
        # what is really there goes before links to it, so that its paths do not hang on the order of names
        inside = waiting.pop() if waiting else links.pop()
        try:
            status = (folder / inside).stat()
            if (status.st_dev, status.st_ino) in walked:
                found.passed_over["links to folders that are looked at already"] += 1
                continue
            walked.add((status.st_dev, status.st_ino))
            with os.scandir(folder / inside) as entries:
                listed = list(entries)
        except OSError as error:
            if not inside:
                raise _not_read(folder, error) from error
            if not isinstance(error, FileNotFoundError):
                found.unreadable[inside] = error.strerror or str(error)
            continue
        if not listed and inside:
            found.away.append(inside)
        for entry in listed:
            _look(entry, inside, found, waiting, links)
        links.sort(reverse=True)
    found.files.sort(key=lambda file: file.path)
    return found


def _look(entry: os.DirEntry[str], inside: str, found: Walk, waiting: list[str], links: list[str]) -> None:
    """Sort one thing in a folder: a picture, another folder, or nothing for us."""
    path = f"{inside}{entry.name}"
    if entry.name.startswith("."):
        found.passed_over["hidden"] += 1
        return
    try:
        if entry.is_dir():
            (links if entry.is_symlink() else waiting).append(f"{path}/")
            return
        suffix = PurePath(entry.name).suffix.lower()
        if suffix not in SUFFIXES:
            if entry.is_symlink() and not os.path.exists(entry.path):
                found.away.append(f"{path}/")
            found.passed_over[suffix or "files without a suffix"] += 1
            return
        status = entry.stat()
    except FileNotFoundError:  # gone since, or a link to nothing
        if entry.is_symlink():
            found.away.append(path)
            found.passed_over["links to nothing"] += 1
        return
    except OSError as error:
        found.unreadable[path] = error.strerror or str(error)
        return
    if stat.S_ISREG(status.st_mode):
        found.files.append(PictureFile(path, status.st_mtime_ns, status.st_size))
    else:
        found.passed_over["no files"] += 1


def read(path: Path) -> tuple[bytes, bytes]:
    """Return the bytes of a file, those of a RAW picture developed, and the sha256 of the file.

    Raises:
        OSError: it cannot be read.
        BadPicture: it is a RAW picture and cannot be developed.
    """
    check_raw(path.name)
    data = file_bytes(path)
    return developed(data, path.name), hashlib.sha256(data).digest()


def file_bytes(path: Path) -> bytes:
    """Return the bytes of a file."""
    return path.read_bytes()


def picture_bytes(path: Path) -> bytes:
    """Return bytes that `decode` reads, of any file that is indexed.

    Raises:
        OSError: it cannot be read.
        BadPicture: it is a RAW picture and cannot be developed.
    """
    check_raw(path.name)
    require_file(path)
    return developed(path.read_bytes(), path.name)


def pixels(data: bytes, preprocess: Preprocess | int, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Turn encoded bytes into a tower's input float32 [1, 3, size, size]; BadPicture where they are none."""
    return pixel_values(data, preprocess, max_pixels)[None]


def _not_read(folder: Path, error: OSError) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"no folder {folder}. Give the folder that holds the pictures.")
    if isinstance(error, NotADirectoryError):
        return UserError(f"{folder} is a file. Give the folder that holds the pictures.")
    return UserError(f"cannot read folder {folder}: {error.strerror}. Look at its permissions.")

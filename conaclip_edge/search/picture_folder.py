"""The picture files of a folder, and reading one of them."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conaclip_edge.data.preprocess import pixel_values
from conaclip_edge.errors import UserError

_FORMATS = "avif bmp gif heic heif jfif jp2 jpe jpeg jpg pbm pgm png pnm ppm qoi tga tif tiff webp"
SUFFIXES = frozenset(f".{name}" for name in _FORMATS.split())


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
        unreadable: folders (relative, ending in "/") that could not be looked into -> reason.
    """

    files: list[PictureFile]
    unreadable: dict[str, str]


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be looked into."""
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise _not_read(folder, error) from error


def walk(folder: Path) -> Walk:
    """List the pictures of a folder and the folders in it; hidden ones and links to folders are left out.

    Raises:
        UserError: the folder itself cannot be looked into.
    """
    files: list[PictureFile] = []
    unreadable: dict[str, str] = {}
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        try:
            with os.scandir(folder / inside) as entries:
                listed = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            if not inside:
                raise _not_read(folder, error) from error
            if not isinstance(error, FileNotFoundError):
                unreadable[inside] = error.strerror or str(error)
            continue
        for entry in listed:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(f"{inside}{entry.name}/")
            elif Path(entry.name).suffix.lower() in SUFFIXES:
                with suppress(FileNotFoundError):  # gone since, or a link to nothing
                    status = entry.stat()
                    if stat.S_ISREG(status.st_mode):
                        files.append(PictureFile(f"{inside}{entry.name}", status.st_mtime_ns, status.st_size))
    return Walk(sorted(files, key=lambda file: file.path), unreadable)


def read(path: Path) -> tuple[bytes, bytes]:
    """Return the bytes of a file and their sha256."""
    data = path.read_bytes()
    return data, hashlib.sha256(data).digest()


def pixels(data: bytes, size: int) -> np.ndarray:
    """Turn encoded bytes into a tower's input float32 [1, 3, size, size]; BadPicture where they are none."""
    return pixel_values(data, size)[None]


def _not_read(folder: Path, error: OSError) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"no folder {folder}. Give the folder that holds the pictures.")
    if isinstance(error, NotADirectoryError):
        return UserError(f"{folder} is a file. Give the folder that holds the pictures.")
    return UserError(f"cannot read folder {folder}: {error.strerror}. Look at its permissions.")

"""The files of a source: where they are, what is wrong with them, and where to keep what is derived from them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.data_formats import check_path
from conaclip_edge.errors import ConaclipError, UserError
from conaclip_edge.system.files import sha256_text

READERS = "2"  # what readers make of the same files; a higher number lets them be read again


def data_path(config: DataConfig) -> Path:
    """Return the absolute path of the data; a missing one is a UserError."""
    if config.path is None:
        raise UserError(f"data.path is not set: format '{config.format}' reads a file or folder.")
    return check_path(config.path)


def picture_folder(config: DataConfig, otherwise: Path) -> Path:
    """Return the absolute path of `data.images`, or `otherwise` where it is not set; a missing one is a UserError."""
    folder = config.images.expanduser().absolute() if config.images else otherwise
    if not os.path.isdir(folder):
        raise UserError(f"no picture folder {folder}. Correct data.images, or give an absolute path.")
    return folder


def data_files(path: Path, *patterns: str) -> tuple[Path, list[Path]]:
    """Return (folder, files): the file itself, or the files below a folder that match, sorted by relative path."""
    if path.is_file():
        return path.parent, [path]
    found = (file for pattern in patterns for file in path.rglob(pattern))
    files = [file for file in found if file.is_file() and not file.name.startswith(".")]
    if not files:
        raise UserError(f"no {' or '.join(patterns)} in {path}. Correct data.path or data.format.")
    return path, sorted(files, key=lambda file: file.relative_to(path).as_posix())


def cache_root() -> Path:
    """Return where all that is derived from sources lies: HF_DATASETS_CACHE, or runs/cache/datasets."""
    return Path(os.environ.get("HF_DATASETS_CACHE") or "runs/cache/datasets")


def cache_folder(config: DataConfig, folder: Path, files: Sequence[Path], *more: str) -> Path:
    """Return the folder for what is derived from `files` in `folder`; it is another one for other sizes or times.

    What else it depends on is in `more`.
    """
    parts = [READERS, str(config.format), str(folder), *more]
    for file in files:
        status = file.stat()
        parts += [str(file.relative_to(folder)), str(status.st_size), str(status.st_mtime_ns)]
    return cache_root() / f"{config.format}-{sha256_text(*parts)[:16]}"


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Tell in one line what the parser of a malformed file raised."""
    try:
        yield
    except ConaclipError:
        raise
    except Exception as error:  # parsers raise almost anything on malformed files
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split())[:300]
        raise UserError(f"cannot read {path}: {type(cause).__name__}: {reason}. Repair or remove the file.") from error

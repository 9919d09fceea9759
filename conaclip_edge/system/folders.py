"""Folders: the files of one and of all folders in it; the user's cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(folder: Path) -> Iterator[str]:
    """Yield the paths of the files of a folder and the folders in it, relative to it with "/", in a stable order.

    Hidden files and folders are left out. Links to folders are followed, but never in a circle: a folder is entered
    only if it is none of those that it lies in.

    Args:
        folder: where to look; what cannot be looked into is passed over.
    """
    yield from _below(folder, "", frozenset())


def _below(folder: Path, inside: str, entered: frozenset[tuple[int, int]]) -> Iterator[str]:
    try:
        status = os.stat(folder / inside)
        with os.scandir(folder / inside) as found:
            entries = sorted((each for each in found if not each.name.startswith(".")), key=lambda each: each.name)
    except OSError:
        return
    here = (status.st_dev, status.st_ino)
    if here in entered:
        return
    folders = []
    for entry in entries:
        try:
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.is_file():
                yield f"{inside}{entry.name}"
        except OSError:  # a link to itself
            continue
    for name in folders:
        yield from _below(folder, f"{inside}{name}/", entered | {here})


def user_cache() -> Path:
    """Return the folder in the user's cache for what can be fetched or made again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "conaclip-edge"

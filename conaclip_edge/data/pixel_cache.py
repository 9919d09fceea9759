"""A student's input pixels: resized once into a memory-mapped file where that is small enough, else on the fly."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import (
    AUGMENTATION,
    BadPicture,
    Preprocess,
    augment,
    decode,
    decode_reduced,
    to_pixels,
)
from conaclip_edge.errors import UserError
from conaclip_edge.system.files import atomic_file, sha256_text
from conaclip_edge.system.processes import available_cores
from conaclip_edge.system.progress import track

LIMIT_BYTES = 8 * 1024**3


class Reader(Protocol):
    """Gives a student's input pixels by row and view."""

    @property
    def kept(self) -> bool:
        """Whether they lie ready in a file, so that no picture is decoded for them."""

    def __call__(self, rows: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Return uint8 pixels [n, 3, size, size] of rows [n] in views [n]."""


@dataclass(frozen=True)
class KeptPixels:
    """Pixels in a memory-mapped table [views, pictures, 3, size, size]; `position` [data set] says where in it."""

    table: np.ndarray
    position: np.ndarray
    kept: bool = True

    def __call__(self, rows: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Look them up."""
        found: np.ndarray = self.table[views, self.position[rows]]
        return found


@dataclass(frozen=True)
class DecodedPixels:
    """Pixels that are made whenever they are asked for: by threads, or in a worker process by that process alone."""

    load: Callable[[int, int], np.ndarray]
    kept: bool = False
    home: int = field(default_factory=os.getpid)

    def __call__(self, rows: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Decode the pictures, augment and resize them."""
        if os.getpid() != self.home:  # a worker, which is one of many
            return np.stack([self.load(row, view) for row, view in zip(rows.tolist(), views.tolist(), strict=True)])
        with ThreadPoolExecutor(available_cores()) as pool:
            return np.stack(list(pool.map(self.load, rows.tolist(), views.tolist())))


def pixel_reader(
    pairs: Pairs,
    rows: np.ndarray,
    preprocess: Preprocess,
    views: int,
    folder: Path,
    max_pixels: int = 64_000_000,
    limit_bytes: int | None = None,
) -> Reader:
    """Return what gives the pixels of pictures; where they are not kept, plain train pictures are decoded smaller.

    Args:
        pairs: the data set.
        rows: the pictures that will ever be asked for; all of them decode.
        preprocess: what the student's image tower wants done to a picture.
        views: augmentations per picture, the same seeds as the teacher cache's.
        folder: where the resized pictures are kept, if they are.
        max_pixels: a larger picture is refused before decoding.
        limit_bytes: they are kept if they take no more; else each is resized whenever it is asked for. None: the limit
            of all recipes.
    """
    kept = len(rows) * views * 3 * preprocess.size**2 <= (LIMIT_BYTES if limit_bytes is None else limit_bytes)
    # val and test are decoded whole: what is measured on them does not depend on the size of the data
    reduced = np.zeros(len(pairs), bool) if kept else np.asarray(pairs.splits) == "train"

    def load(row: int, view: int) -> np.ndarray:
        try:
            encoded = pairs.read(row)
            smaller = reduced[row] and not view
            picture = decode_reduced(encoded, max_pixels, preprocess.size) if smaller else decode(encoded, max_pixels)
        except (BadPicture, OSError) as error:
            raise UserError(
                f"picture {pairs.keys[row]} changed since the teacher saw it: {error}. Restore it."
            ) from error
        return to_pixels(augment(picture, (view, row)) if view else picture, preprocess)

    if not kept:
        return DecodedPixels(load)
    position = np.full(len(pairs), -1)
    position[rows] = np.arange(len(rows))
    return KeptPixels(_table(pairs, rows, preprocess, views, folder, load), position)


def _table(
    pairs: Pairs,
    rows: np.ndarray,
    preprocess: Preprocess,
    views: int,
    folder: Path,
    load: Callable[[int, int], np.ndarray],
) -> np.ndarray:
    size = preprocess.size
    steps = str(size) if preprocess == Preprocess(size) else repr(preprocess)
    key = sha256_text(pairs.fingerprint, steps, str(views), AUGMENTATION, rows.astype(np.int64).tobytes().hex())
    path = folder / f"pixels-{key[:24]}.npy"
    if not path.exists():
        with atomic_file(path) as temporary:
            shape = (views, len(rows), 3, size, size)
            table = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            for place, row in enumerate(track(rows.tolist(), "resizing pictures")):
                for view in range(views):
                    table[view, place] = load(row, view)
            table.flush()
    return np.lib.format.open_memmap(path, mode="r")

"""A student's input pixels: resized once into a memory-mapped file where that is small enough, else on the fly."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import AUGMENTATION, BadPicture, Preprocess, augment, decode, to_pixels
from conaclip_edge.errors import UserError
from conaclip_edge.system.files import atomic_file, sha256_text
from conaclip_edge.system.processes import available_cores
from conaclip_edge.system.progress import track

LIMIT_BYTES = 8 * 1024**3

Reader = Callable[[np.ndarray, np.ndarray], np.ndarray]


def pixel_reader(
    pairs: Pairs,
    rows: np.ndarray,
    preprocess: Preprocess,
    views: int,
    folder: Path,
    max_pixels: int = 64_000_000,
    limit_bytes: int = LIMIT_BYTES,
) -> Reader:
    """Return a function (rows [n], views [n]) -> uint8 pixels [n, 3, size, size].

    Args:
        pairs: the data set.
        rows: the pictures that will ever be asked for; all of them decode.
        preprocess: what the student's image tower wants done to a picture.
        views: augmentations per picture, the same seeds as the teacher cache's.
        folder: where the resized pictures are kept, if they are.
        max_pixels: a larger picture is refused before decoding.
        limit_bytes: they are kept if they take no more; else each is resized whenever it is asked for.
    """

    def load(row: int, view: int) -> np.ndarray:
        try:
            picture = decode(pairs.read(row), max_pixels)
        except (BadPicture, OSError) as error:
            raise UserError(
                f"picture {pairs.keys[row]} changed since the teacher saw it: {error}. Restore it."
            ) from error
        return to_pixels(augment(picture, (view, row)) if view else picture, preprocess)

    if len(rows) * views * 3 * preprocess.size**2 > limit_bytes:
        pool = ThreadPoolExecutor(available_cores())
        return lambda some, of: np.stack(list(pool.map(load, some.tolist(), of.tolist())))
    position = np.full(len(pairs), -1)
    position[rows] = np.arange(len(rows))
    table = _table(pairs, rows, preprocess, views, folder, load)
    return lambda some, of: table[of, position[some]]


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

"""An index of pictures, opened for searching.

What the HNSW graph finds is ranked by exact cosines with the vectors of the sidecar; pictures that are not in it yet
are compared one by one. A search sees what another process has written since the last one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conaclip_edge.data.preprocess import MAX_PIXELS
from conaclip_edge.errors import UserError
from conaclip_edge.search.hits.cut_off import CutOff, recorded
from conaclip_edge.search.hits.filters import PictureFilter
from conaclip_edge.search.hits.hit import Hit as Hit
from conaclip_edge.search.hnsw_graph import HnswFile, nearest, open_hnsw
from conaclip_edge.search.sqlite_store import Sidecar, open_sidecar

_PART = 10_000  # pictures whose vectors are in memory at a time


class PictureIndex:
    """An open index; may be shared by threads.

    Attributes:
        folder: of the index.
        space_id: embedding space of its vectors.
        dim: numbers of a vector.
        bundle: folder of the bundle that encoded it.
        target: of the bundle's files that encoded it.
        precision: how the HNSW graph stores vectors: f32, f16 or i8.
        pictures: folder of the pictures.
        max_pixels: of a picture that is read.
    """

    def __init__(self, sidecar: Sidecar):
        meta = sidecar.meta()
        try:
            self.folder = sidecar.folder
            self.space_id, self.dim = meta["space_id"], int(meta["dim"])
            self.bundle, self.target, self.precision = Path(meta["bundle"]), meta["target"], meta["vectors"]
            self.pictures = Path(meta["pictures"])
            self.max_pixels = int(meta.get("max_pixels", MAX_PIXELS))
            self._sidecar = sidecar
            self._lock = threading.Lock()
            self._version = -1
            self._generation, self._hnsw_precision = 0, ""
            self._hnsw: Any = None
            self._refresh()
        except (KeyError, ValueError) as error:
            raise UserError(f"index {sidecar.folder} lacks {error}. Index the pictures again.") from error

    def cut_off(self) -> CutOff | None:
        """Return what separates hits from what any words find; None where it was not measured."""
        return recorded(self._sidecar.meta(), self.dim)

    def __len__(self) -> int:
        return len(self._sidecar)

    def close(self) -> None:
        """Close the index's files."""
        self._hnsw = None
        self._sidecar.close()

    def path(self, key: int) -> Path | None:
        """Return the absolute path of an indexed picture, None for any other key."""
        found = self._sidecar.path(key) if 0 <= key < 2**63 else None
        return None if found is None else self.pictures / found

    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """Return keys int64 [n], rising, and vectors float32 [n, d] of all pictures."""
        return self._sidecar.vectors()

    def looks(self, keys: Sequence[int]) -> dict[int, bytes]:
        """Return what pictures look like, as `folding.look_of` says it, of those of which it is recorded."""
        return self._sidecar.looks(keys)

    def names(self) -> Iterator[str]:
        """Yield the path of every picture, relative to their folder."""
        return (path for _, path, _ in self.stamps())

    def stamps(self) -> Iterator[tuple[int, str, int]]:
        """Yield (key, path relative to their folder, time of the file's last change in ns) by rising key."""
        return self._sidecar.stamps()

    def search(self, vector: np.ndarray, k: int, only: PictureFilter | None = None) -> list[Hit]:
        """Return the k nearest pictures, best first; ties by key.

        Args:
            vector: float32 [d], unit length.
            k: how many; fewer come back from a smaller index.
            only: pictures that are looked at; all, if it is left out.

        Raises:
            UserError: the vector is of another width, or the index was damaged meanwhile.
        """
        if vector.shape != (self.dim,):
            raise UserError(f"index {self.folder} holds vectors of {self.dim} numbers, not of {vector.shape}.")
        if only:
            return self._search_some(vector, k, only)
        with self._lock:
            self._refresh()
            tail = self._tail_best(vector, k)
            nodes = 0 if self._hnsw is None else len(self._hnsw)
            wanted = min(nodes, candidates(k))
            while True:
                near = nearest(self._hnsw, self._hnsw_precision, vector, wanted).tolist() if wanted else []
                alive = self._sidecar.pictures(list(dict.fromkeys([*near, *tail])))
                if len(alive) >= min(k, len(tail) + wanted) or wanted == nodes:
                    break
                wanted = min(nodes, 4 * wanted)  # removed pictures were in the way
        hits = [Hit(key, self.pictures / path, float(row @ vector)) for key, path, row in alive]
        return sorted(hits, key=lambda hit: (-hit.score, hit.key))[:k]

    def _search_some(self, vector: np.ndarray, k: int, only: PictureFilter) -> list[Hit]:
        """Compare with every picture that a filter takes, a part of them at a time."""
        keys = [key for key, path, mtime in self.stamps() if only.takes(path, mtime)]
        best: list[Hit] = []
        for start in range(0, len(keys), _PART):
            rows = self._sidecar.pictures(keys[start : start + _PART])
            best += [Hit(key, self.pictures / path, float(row @ vector)) for key, path, row in rows]
            best = sorted(best, key=lambda hit: (-hit.score, hit.key))[:k]
        return best

    def _tail_best(self, vector: np.ndarray, k: int) -> list[int]:
        if not len(self._tail[0]):
            return []
        scores = self._tail[1] @ vector
        best: list[int] = self._tail[0][np.argsort(-scores, kind="stable")[:k]].tolist()
        return best

    def _refresh(self) -> None:
        """Take in what was written since: another graph file, pictures that are not in one yet."""
        for _ in range(5):
            version = self._sidecar.version()
            if version == self._version:
                return
            meta = self._sidecar.meta()
            generation = int(meta["generation"])
            if generation != self._generation:
                try:
                    self._hnsw = open_hnsw(hnsw_file(self.folder, generation), written_file(meta), view=True)
                except FileNotFoundError:
                    continue  # a writer has replaced it between the two lines, or somebody has removed it
                self._generation, self._hnsw_precision = generation, meta["graph_vectors"]
            self._tail = self._sidecar.vectors(after=int(meta["graph_last"]))
            self._version = version
            return
        raise UserError(
            f"index {self.folder} lacks its graph file {hnsw_file(self.folder, generation).name}. "
            "Make it again: conaclip-edge index with the same BUNDLE, PICTURES and --out."
        )


def candidates(k: int) -> int:
    """Return how many pictures the HNSW graph gives for k that are wanted: its ranking is as coarse as its numbers."""
    return 2 * k + 16


def hnsw_file(folder: Path, generation: int) -> Path:
    """Return the path of a generation's HNSW graph; generation 0 has none."""
    return folder / f"graph-{generation}.usearch"


def written_file(meta: Mapping[str, str]) -> HnswFile:
    """Return what is recorded of the HNSW graph's file; an index of before hashes were kept fits no file."""
    return HnswFile(int(meta["graph_size"]), str(meta.get("graph_sha256", "")))


def open_index(folder: Path) -> PictureIndex:
    """Open an index.

    Raises:
        UserError: no index, a damaged or cut-off one, or one of another schema.
    """
    return PictureIndex(open_sidecar(folder))

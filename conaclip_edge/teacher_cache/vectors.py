"""Reading the vectors of a cache by row: those of one teacher from its shards, those of several side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Vectors(Protocol):
    """Unit vectors of pictures and texts, by row."""

    def pictures(self, rows: np.ndarray, views: np.ndarray | int = 0) -> np.ndarray:
        """Return the unit vectors [len(rows), d] of pictures, each of its view."""

    def texts(self, rows: np.ndarray) -> np.ndarray:
        """Return the unit vectors [len(rows), d] of texts, counted over all captions in order."""


@dataclass(frozen=True)
class ShardVectors:
    """The vectors of one teacher.

    Attributes:
        of_pictures: shards of each view.
        of_texts: shards.
    """

    of_pictures: Sequence[Sequence[np.ndarray]]
    of_texts: Sequence[np.ndarray]

    def pictures(self, rows: np.ndarray, views: np.ndarray | int = 0) -> np.ndarray:
        """Return the teacher's unit vectors [len(rows), d] of pictures, each of its view."""
        chosen = np.broadcast_to(np.asarray(views), rows.shape).tolist()
        return np.stack([_row(self.of_pictures[view], row) for row, view in zip(rows.tolist(), chosen, strict=True)])

    def texts(self, rows: np.ndarray) -> np.ndarray:
        """Return the teacher's unit vectors [len(rows), d] of texts, counted over all captions in order."""
        return np.stack([_row(self.of_texts, row) for row in rows.tolist()])


@dataclass(frozen=True)
class SideBySide:
    """The vectors of an ensemble: those of its members beside each other, of unit length together.

    Attributes:
        members: in the ensemble's order.
    """

    members: Sequence[Vectors]

    def pictures(self, rows: np.ndarray, views: np.ndarray | int = 0) -> np.ndarray:
        """Return the ensemble's unit vectors [len(rows), d] of pictures, each of its view."""
        return self._joined([one.pictures(rows, views) for one in self.members])

    def texts(self, rows: np.ndarray) -> np.ndarray:
        """Return the ensemble's unit vectors [len(rows), d] of texts, counted over all captions in order."""
        return self._joined([one.texts(rows) for one in self.members])

    def _joined(self, parts: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(parts, axis=1) / np.float32(math.sqrt(len(parts)))


def _row(shards: Sequence[np.ndarray], row: int) -> np.ndarray:
    """Return a row of a table whose shards are as long as the first, but the last."""
    shard, place = divmod(row, len(shards[0]))
    found: np.ndarray = shards[shard][place]
    return found

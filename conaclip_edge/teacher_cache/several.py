"""The caches of several teachers read as one; each is the cache that its teacher has alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conaclip_edge.data.pairs import Pairs
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.models.teacher.ensemble import EnsembleTeacher
from conaclip_edge.teacher_cache.store import MAX_PIXELS, TeacherCache, teacher_cache


@dataclass(frozen=True)
class SeveralCaches(TeacherCache):
    """The caches of an ensemble's members over one data set.

    Attributes:
        members: in the ensemble's order.
    """

    members: tuple[TeacherCache, ...] = ()

    def pictures(self, rows: np.ndarray, views: np.ndarray | int = 0) -> np.ndarray:
        """Return the ensemble's unit vectors [len(rows), d] of pictures, each of its view."""
        return _side_by_side([one.pictures(rows, views) for one in self.members])

    def texts(self, rows: np.ndarray) -> np.ndarray:
        """Return the ensemble's unit vectors [len(rows), d] of texts, counted over all captions in order."""
        return _side_by_side([one.texts(rows) for one in self.members])


def cache_of(
    pairs: Pairs,
    teacher: Teacher,
    folder: Path,
    views: int = 1,
    max_bad: float = 0.01,
    max_pixels: int = MAX_PIXELS,
    workers: int = 0,
) -> TeacherCache:
    """Open the cache of a teacher, or those of an ensemble's members; arguments and errors as of `teacher_cache`."""
    if not isinstance(teacher, EnsembleTeacher):
        return teacher_cache(pairs, teacher, folder, views, max_bad, max_pixels, workers)
    found = [teacher_cache(pairs, one, folder, views, max_bad, max_pixels, workers) for one in teacher.members]
    first = found[0]
    return SeveralCaches(
        folder, views, first.usable, first.first_text, first.bad, first._pictures, first._texts, tuple(found)
    )


def _side_by_side(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts, axis=1) / np.float32(math.sqrt(len(parts)))

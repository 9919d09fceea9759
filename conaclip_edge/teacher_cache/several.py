"""The caches of several teachers read as one; each is the cache that its teacher has alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from conaclip_edge.data.pairs import Pairs
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.models.teacher.ensemble import EnsembleTeacher
from conaclip_edge.teacher_cache.store import MAX_PIXELS, TeacherCache, teacher_cache
from conaclip_edge.teacher_cache.vectors import SideBySide


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
    # which pictures can be decoded does not depend on the teacher
    return replace(found[0], folder=folder, vectors=SideBySide([one.vectors for one in found]))

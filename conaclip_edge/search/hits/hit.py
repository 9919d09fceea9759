"""A picture that a search found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Hit:
    """A picture that was found.

    Attributes:
        key: of the picture in the index.
        path: of its file, absolute.
        score: exact cosine.
    """

    key: int
    path: Path
    score: float

"""What the training functions of `import conaclip_edge` return."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

R = TypeVar("R")


@dataclass(frozen=True)
class Trained(Generic[R]):
    """A student or a teacher that was trained.

    Attributes:
        folder: the checkpoint, or the teacher.
        record: content of its training.json: the recipe, the data, recall on val.
    """

    folder: Path
    record: R

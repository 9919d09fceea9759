"""The gallery of a report: texts, and the pictures that teacher and student find for them."""

from __future__ import annotations

from typing import Literal

from conaclip_edge.system.result import Result


class FoundPicture(Result):
    """A picture in a list of results."""

    key: str
    caption: str
    score: float
    right: bool


class GalleryQuery(Result):
    """A text and what teacher and student found for it.

    Attributes:
        kind: "example" and "failure" are captions of the split, "typed" has no right picture.
        key: the right picture.
        rank: "teacher" or "student" -> rank of the right picture, from 1.
        top: the same -> the first five.
    """

    text: str
    kind: Literal["example", "failure", "typed"]
    key: str | None
    rank: dict[Literal["teacher", "student"], int]
    top: dict[Literal["teacher", "student"], tuple[FoundPicture, ...]]

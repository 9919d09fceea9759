"""What the page asks for: the parameters of its requests, read and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.datastructures import QueryParams

from conaclip_edge.errors import UserError
from conaclip_edge.search.hits.filters import PictureFilter, picture_filter

MOST_HITS = 200
_NUMBER = re.compile(r"[+-]?(?:[0-9]+[.]?[0-9]*|[.][0-9]+)")
_DATES = ("“Changed since”", "“Changed before”")


@dataclass(frozen=True)
class Asked:
    """What a search of the page asks for.

    Attributes:
        text: words as they were typed.
        like: key of a picture of the index; None for none.
        k: how many pictures.
        exact: take misspelt words as they are.
        all: show every near-duplicate.
        name: of the picture that is sent.
        only: pictures that are looked at.
        min_score: cosine that a picture has to have at least; None for any.
    """

    text: str
    like: int | None
    k: int
    exact: bool
    all: bool
    name: str
    only: PictureFilter
    min_score: float | None


def read_search(given: QueryParams) -> Asked:
    """Read the parameters of a search.

    Raises:
        UserError: one that is no number or no date.
    """
    try:
        like = int(given["like"]) if "like" in given else None
        k = max(1, min(MOST_HITS, int(given.get("k", "48"))))
    except ValueError:
        raise UserError("'like' and 'k' have to be numbers.") from None
    return Asked(
        text=given.get("text", ""),
        like=like,
        k=k,
        exact=given.get("exact") == "1",
        all=given.get("all") == "1",
        name=given.get("name", ""),
        only=read_filter(given),
        min_score=_score(given.get("min_score", "")),
    )


def read_filter(given: QueryParams) -> PictureFilter:
    """Read which pictures are looked at; `file` is a file's name, since `name` is that of the picture that is sent.

    Raises:
        UserError: a date that is none.
    """
    return picture_filter(*(given.get(key, "") for key in ("folder", "file", "after", "before")), dates=_DATES)


def _score(text: str) -> float | None:
    if not text:
        return None
    if not _NUMBER.fullmatch(number := text.replace(",", ".")):
        raise UserError(f"'{text}' in “Least score” is no number. Write it like 0.25.")
    return float(number)

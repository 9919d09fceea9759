"""What the server answers to the page, as backend.js reads it."""

from __future__ import annotations

from conaclip_edge.system.result import Result


class ShownPicture(Result):
    """A picture on the page.

    Attributes:
        key: of the picture in the index.
        name: path below the folder of pictures.
        score: cosine with the query; None where nothing was asked.
        thumb: address of its thumbnail.
        full: address of the picture itself.
    """

    key: int
    name: str
    score: float | None
    thumb: str
    full: str


class SearchAnswer(Result):
    """What a search found: pictures, best first, milliseconds of the towers and of the index, notes for the user."""

    hits: tuple[ShownPicture, ...]
    encode_ms: float
    search_ms: float
    notes: tuple[str, ...]


class About(Result):
    """What the page shows before a search.

    Attributes:
        name: of the folder of pictures.
        count: of pictures.
        credit: of the pictures; none here.
        words: whole words of the vocabulary, for the spelling.
        sample: some pictures.
    """

    name: str
    count: int
    credit: str = ""
    words: tuple[str, ...]
    sample: tuple[ShownPicture, ...]

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


class FoundPicture(ShownPicture):
    """A picture that a search found.

    Attributes:
        alike: near-duplicates of it that are not shown.
        low: whether it is no nearer than what random words find.
    """

    alike: int
    low: bool


class SearchAnswer(Result):
    """What a search found.

    Attributes:
        searched: the words with their spelling corrected.
        hits: best first.
        cut_off: cosine below which a hit is no nearer than what random words find; None where it is not known.
        encode_ms: time of the towers.
        search_ms: time of the index.
        notes: what the user should know.
    """

    searched: str
    hits: tuple[FoundPicture, ...]
    cut_off: float | None
    encode_ms: float
    search_ms: float
    notes: tuple[str, ...]


class About(Result):
    """What the page shows before a search.

    Attributes:
        name: of the folder of pictures.
        count: of pictures.
        credit: of the pictures; none here.
        largest: bytes of a picture that may be sent.
        sample: some pictures.
    """

    name: str
    count: int
    credit: str = ""
    largest: int
    sample: tuple[ShownPicture, ...]

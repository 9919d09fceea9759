"""What the page of a site finds in a browser, as model/check.js sends it."""

from __future__ import annotations

from typing import Literal

from conaclip_edge.system.result import Result


class TextFinding(Result):
    """A golden text in the browser: whether its ids are the golden ones, and the cosine with its golden embedding."""

    text: str
    same: bool
    cosine: float


class PictureFinding(Result):
    """A golden picture in the browser: the largest difference of a pixel in levels of 255, and the cosine."""

    name: str
    levels: int
    cosine: float


class EncodeTimes(Result):
    """Timed calls: how many inputs took turns, calls before the first timed one, milliseconds of each call."""

    inputs: int
    warmup: int
    ms: tuple[float, ...]


class PageFindings(Result):
    """What a browser makes of a bundle.

    Attributes:
        bundle: its digest.
        agent: the browser's own name.
        isolated: whether the page is isolated from others, which threads need.
        threads: of the runtime.
        texts: golden texts.
        pictures: golden pictures.
        min_cosine: that the bundle asks of texts.
        picture_min_cosine: that it asks of pictures.
        pixel_levels: that the bundle allows.
        passed: whether all golden values are within these three.
        times: of the text tower, the image tower, and a picture with its preprocessing.
    """

    bundle: str
    agent: str
    isolated: bool
    threads: int
    texts: tuple[TextFinding, ...]
    pictures: tuple[PictureFinding, ...]
    min_cosine: float
    picture_min_cosine: float
    pixel_levels: int
    passed: bool
    times: dict[Literal["text", "image", "picture"], EncodeTimes]

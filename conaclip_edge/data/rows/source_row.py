"""A row of a source: one mention of a picture, with the captions it brings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple


class BadRow(Exception):
    """A row that cannot be used: it is counted as a broken picture. The message says why."""


class Row(NamedTuple):
    """One mention of a picture.

    Attributes:
        picture: identifies the picture: equal values are one (a relative path, or a hash of its bytes).
        key: the picture's name; that of its first row counts.
        captions: those of this row; a picture without any is kept, unpaired.
        split: "train", "val" or "test".
        file: the file or table that holds the picture's bytes.
        start: their first byte, or the row of the table.
        length: how many bytes to read from `start`; -1 for all.
        problem: why the row has no picture; "" if it has one.
    """

    picture: str
    key: str
    captions: list[str]
    split: str
    file: str = ""
    start: int = 0
    length: int = -1
    problem: str = ""


def file_row(name: str, captions: list[str], split: str) -> Row:
    """Make the row of a picture that is a file, named by its path below the picture folder."""
    return Row(name, name, captions, split, file=name)


def content_row(data: Any, name: str, captions: list[str], split: str, file: str, start: int, length: int = -1) -> Row:
    """Make the row of a picture that is known by its bytes (a buffer); its key is `name#hash`, or the hash alone."""
    picture = hashlib.blake2b(data, digest_size=16).hexdigest()
    return Row(picture, f"{name}#{picture[:16]}" if name else picture, captions, split, file, start, length)


def bad_row(name: str, problem: str, split: str) -> Row:
    """Make the row of a picture that cannot be had."""
    return Row("", name, [], split, problem=problem)


def clean(texts: Iterable[str]) -> list[str]:
    """Strip captions and drop empty ones; a broken surrogate, which UTF-8 cannot hold, becomes U+FFFD."""
    whole = (text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").strip() for text in texts)
    return [text for text in whole if text]


def utf8(data: bytes) -> str:
    """Decode text; anything but UTF-8 is a BadRow that shows the first wrong byte."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = data[error.start]
        raise BadRow(f"is not UTF-8 (byte 0x{byte:02x} at {error.start}). Save it as UTF-8") from error

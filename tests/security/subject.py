"""A parser with a file to read, and what counts as a good answer to any bytes in it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from conaclip_edge.errors import ConaclipError

LONGEST = 2000  # characters of an error


class Subject(NamedTuple):
    """A parser in a folder that was prepared for it.

    Attributes:
        file: where its bytes go, relative to the folder.
        seeds: valid bytes.
        read: reads what lies there, with the folder as the current one.
    """

    file: str
    seeds: list[bytes]
    read: Callable[[], object]


def outcome(subject: Subject, data: bytes) -> str:
    """Read some bytes in the current folder; return the error's text, "" where there is none.

    Raises:
        AssertionError: the text is not one printable line.
        BaseException: what the parser raises and should not.
    """
    file = Path(subject.file)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    try:
        subject.read()
    except ConaclipError as error:
        text = re.sub("[0-9a-f]{32,}", "HASH", str(error).replace(os.getcwd(), "HERE"))
        assert text, "the error has no text"
        assert text.isprintable(), f"the error is not one printable line: {text!r}"
        assert len(text) < LONGEST, f"the error has {len(text)} characters"
        return text
    return ""


def all_of(*calls: Callable[[], object], enough: int | None = None) -> None:
    """Make all calls, each of which may end in an error; raise the first one if under `enough` (all) gave a result."""
    errors: list[ConaclipError] = []
    for call in calls:
        try:
            call()
        except ConaclipError as error:
            errors.append(error)
    if len(calls) - len(errors) < (enough or len(calls)):
        raise errors[0]

"""What Python code and the command line give: paths, texts and counts as they have to be, or an error of one line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import TypeVar

from conaclip_edge.errors import UserError
from conaclip_edge.system.extras import extras_needed

T = TypeVar("T")


@contextmanager
def expected_errors() -> Iterator[None]:
    """Turn a missing extra, and a path that the system refuses, into errors of one line; also a decorator.

    Most paths are checked where they are used, and the error says more there. This is for what no check looks for: a
    name that is too long, a link in a circle, a disk that fails.

    Raises:
        NotInstalled: the block imported something of an extra that is not installed, or is broken.
        UserError: the system refused a path; which one, and why.
    """
    try:
        with extras_needed():
            yield
    except OSError as error:
        if not isinstance(error.filename, str | bytes) or not error.strerror:
            raise
        raise UserError(
            f"cannot use {os.fsdecode(error.filename)}: {error.strerror}. Correct the path, or what is there."
        ) from error


def to_path(given: str | PathLike[str], name: str) -> Path:
    """Return a path that was given as one or as a text.

    Args:
        given: the argument.
        name: of the argument, for the error.

    Raises:
        UserError: anything else, an empty text, or one with a byte that no path has.
    """
    if not isinstance(given, str | PathLike) or not isinstance(os.fspath(given), str):
        raise UserError(f"{name} has to be a path (a text or a Path), not {_shown(given)}.")
    if not os.fspath(given):
        raise UserError(f"{name} is an empty path. Give a file or folder.")
    if "\0" in os.fspath(given):
        raise UserError(f"{name} {os.fspath(given)!r} holds a zero byte, which no path has. Correct it.")
    return Path(given)


def path_or_none(given: str | PathLike[str] | None, name: str) -> Path | None:
    """Return a path as `to_path` does; None stays None."""
    return None if given is None else to_path(given, name)


def to_paths(given: Iterable[str | PathLike[str]], name: str) -> list[Path]:
    """Return paths that were given as a list; one alone is a UserError, as anything else is."""
    if isinstance(given, str | PathLike) or not isinstance(given, Iterable):
        raise UserError(f"{name} has to be a list of paths, not {_shown(given)}.")
    return [to_path(one, f"each of {name}") for one in given]


def to_texts(given: Iterable[str], name: str) -> list[str]:
    """Return `key=value` texts that were given as a list; one alone is a UserError, as anything else is."""
    listed: list[object] = list(given) if isinstance(given, Iterable) and not isinstance(given, str | bytes) else [None]
    if not all(isinstance(one, str) for one in listed):
        raise UserError(f"{name} has to be a list of texts such as ['KEY=VALUE'], not {_shown(given)}.")
    return [one for one in listed if isinstance(one, str)]


def to_text(given: str, name: str) -> str:
    """Return a text; anything else, and an empty one, is a UserError."""
    if not isinstance(given, str) or not given:
        raise UserError(f"{name} has to be a text, not {_shown(given)}.")
    return given


def to_count(given: int, name: str, least: int = 1) -> int:
    """Return a whole number; anything else, and one below `least`, is a UserError."""
    if not isinstance(given, Integral) or given < least:
        raise UserError(f"{name} has to be a whole number from {least} on, not {_shown(given)}.")
    return int(given)


def worker_part(worker: str | None) -> tuple[int, int]:
    """Return (I, N) of "I/N"; None is the only worker, (1, 1).

    Raises:
        UserError: anything else.
    """
    part, slash, parts = (worker or "1/1").partition("/")
    if slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts):
        return int(part), int(parts)
    raise UserError(f"--worker '{worker}' is none of I/N. Example: --worker 2/4 for the second of four.")


def as_list(given: Iterable[T], name: str) -> Iterable[T]:
    """Return what was given as a list; one thing alone, or nothing, is a UserError.

    Args:
        given: the argument; what is in it is not looked at.
        name: of the argument, for the error.
    """
    if isinstance(given, str | bytes | PathLike) or not isinstance(given, Iterable):
        raise UserError(
            f"{name} has to be a list, not {_shown(given)}. Give [{name.removesuffix('s')}] for a single one."
        )
    return given


def _shown(given: object) -> str:
    return "None" if given is None else f"{type(given).__name__} {str(given)[:80]!r}"

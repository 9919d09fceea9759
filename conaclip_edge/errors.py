"""The few errors a user can meet, each with its exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST = 1500  # characters of a message


def one_line(message: str) -> str:
    """Write a message so that it fits a line.

    Parts of it come from files of others: a line break or a terminal's code is shown, not obeyed, and of what is very
    long the middle is left out.
    """
    half = _LONGEST // 2
    if len(message) > _LONGEST:
        message = f"{message[:half]} ... {message[-half:]}"
    message = "".join(one if one.isprintable() else repr(one)[1:-1] for one in message)
    return message if len(message) <= _LONGEST + 5 else f"{message[:half]} ... {message[-half:]}"


class ConaclipError(Exception):
    """Base of all errors that are shown as one line instead of a traceback."""

    exit_code = 2

    def __init__(self, message: str):
        super().__init__(one_line(message))


class UserError(ConaclipError):
    """Wrong use or bad input: the message says what, where, what is known and how to mend it (exit code 2)."""


class NotInstalled(UserError):
    """Something of an extra is needed that is not installed; the message names the extra (exit code 2)."""


class GateFailed(ConaclipError):
    """A measured figure missed its bar (exit code 1)."""

    exit_code = 1


class Interrupted(ConaclipError):
    """Ctrl-C or SIGTERM: the message says what is kept (exit code 130 or 143)."""


def unknown(kind: str, name: str, known: Iterable[str], where: str = "") -> UserError:
    """Make the error for a name that is not known, with the nearest known one and the whole list.

    Args:
        kind: what the name stands for, e.g. "preset" or "recipe key".
        name: the name that was given.
        known: every name that would have been accepted.
        where: the file or option in which it was found.
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    place = f" in {where}" if where else ""
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return UserError(f"unknown {kind} '{name}'{place}.{hint} Known: {', '.join(names)}.")

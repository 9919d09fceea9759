"""What `info` gives: the kind of a thing, its key figures, and the command that comes next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

from conaclip_edge.system.result import Result

Kind = Literal[
    "distillation recipe",
    "teacher recipe",
    "study",
    "benchmark suite",
    "speed suite",
    "export target",
    "data",
    "teacher",
    "student",
    "bundle",
    "index",
    "report",
    "interrupted run",
    "folder of runs",
]
_WIDTH = 100  # of a fact on one line
Fact = str | int | float | bool | None | tuple[str, ...] | dict[str, int] | dict[str, float]


class Description(Result):
    """What lies at a path.

    Attributes:
        path: as it was given.
        kind: what it is.
        facts: name -> figure.
        next_command: what one does with it.
        inside: of a folder of runs: what lies in it.
    """

    path: str
    kind: Kind
    facts: dict[str, Fact]
    next_command: str
    inside: tuple[Description, ...] = ()


def description_text(found: Description) -> str:
    """Write a description for a terminal."""
    lines = [f"{found.path}: {found.kind}"]
    for name, value in found.facts.items():
        if value not in (None, "", (), {}):
            lines += _fact_lines(name, value)
    lines += [f"  {one.path}: {one.kind}" for one in found.inside]
    return "\n".join([*lines, f"Next: {found.next_command}"])


def _fact_lines(name: str, value: Fact) -> list[str]:
    """Write a fact on its line, and texts that are too long for one below it."""
    if not isinstance(value, tuple):
        return [f"  {name}: {_shown(value)}"]
    joined = "; ".join(value)
    return [f"  {name}: {joined}"] if len(joined) <= _WIDTH else [f"  {name}:", *(f"    {line}" for line in value)]


def quoted(path: Path) -> str:
    """Write a path for a shell."""
    return shlex.quote(str(path))


def megabytes(count: int) -> str:
    """Write a number of bytes."""
    return f"{count / 1e6:.2f} MB" if count < 1e7 else f"{count / 1e6:,.0f} MB"


def _shown(value: Fact) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items())
    return str(value)

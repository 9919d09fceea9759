"""The command line, run in the test's own process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conaclip_edge.cli import main as cli

Run = Callable[..., tuple[int, str, str]]


def command(
    patch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: str | Path
) -> tuple[int, str, str]:
    """Run one command; returns (exit code, stdout, stderr)."""
    patch.setattr(sys, "argv", ["conaclip-edge", *map(str, arguments)])
    return ended(capfd, cli.app)


def ended(capfd: pytest.CaptureFixture[str], program: Callable[[], object]) -> tuple[int, str, str]:
    """Run a program as the command line does; returns (exit code, stdout, stderr)."""
    capfd.readouterr()
    code = 0
    try:
        cli.main(program)
    except SystemExit as end:
        code = int(end.code or 0)
    return code, *capfd.readouterr()

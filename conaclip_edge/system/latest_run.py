"""`runs/latest`: the newest distilled run."""

from __future__ import annotations

import os
from pathlib import Path

from conaclip_edge.errors import UserError
from conaclip_edge.system.progress import say

LATEST = Path("runs/latest")


def point_latest(run: Path) -> None:
    """Let `runs/latest` point to a finished run, for commands that are given none."""
    LATEST.parent.mkdir(exist_ok=True)
    if LATEST.is_dir() and not LATEST.is_symlink():
        raise UserError(f"{LATEST} is a folder; it is reserved for the newest run. Move it away.")
    temporary = LATEST.with_name(f".latest.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(run, LATEST.parent))
    os.replace(temporary, LATEST)


def latest_run() -> Path:
    """Return the newest distilled checkpoint, and name it on stderr."""
    if not (LATEST / "config.json").exists():
        raise UserError("no checkpoint was given and runs/latest does not exist. Make one: conaclip-edge demo")
    found = LATEST.resolve()
    say(f"no run was named: the newest is taken, {found}")
    return found

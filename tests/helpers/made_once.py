"""Folders that are made once for all processes of a test run: the first that asks makes one, the others wait for it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class MadeOnce:
    """The folders of one run; what is in them is read by tests that run at the same time, so that none may change it.

    Attributes:
        home: folder of the whole run.
    """

    home: Path

    def __call__(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return the folder of a name; `make` fills it where no process has done so yet.

        Args:
            name: of the folder, one per use.
            make: fills the empty folder that it is given.
        """
        folder, made = self.home / name, self.home / f"{name}.made"
        with (self.home / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
                folder.mkdir()
                make(folder)
                made.touch()
        return folder


def of_this_run(own: Path) -> MadeOnce:
    """Return the folders of the run that a process belongs to.

    Args:
        own: temporary folder of the process; where several processes run tests, theirs lie in one folder.
    """
    return MadeOnce(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)

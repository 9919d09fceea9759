"""The largest resident memory of this process alone: what it was before, or its parent's, does not count."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def peak_memory() -> int:
    """Return this process's largest resident memory in bytes, since it began or `forget_peak_memory` was called.

    Linux hands `ru_maxrss` on to a program that is started, so it can be the parent's peak; VmHWM is the process's own.
    """
    try:
        status = Path("/proc/self/status").read_text("utf-8")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.M)
    return 1024 * int(found[1]) if found else 0


def forget_peak_memory() -> bool:
    """Let the peak start from what is resident now; returns whether the system can (Linux, where it is allowed)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", "ascii")
    except OSError:
        return False
    return True

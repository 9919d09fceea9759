"""What the processor can do, as the kernel names it."""

from __future__ import annotations

from pathlib import Path


def instruction_sets() -> frozenset[str]:
    """Return the words of /proc/cpuinfo, among them the instruction sets; none where there is no such file."""
    try:
        return frozenset(Path("/proc/cpuinfo").read_text("utf-8").split())
    except OSError:
        return frozenset()

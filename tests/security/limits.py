"""What reading one file may take: 10 s, and 2 GB more than the process has."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS, BYTES = 10, 2 * 1024**3


@contextmanager
def limited_memory() -> Iterator[None]:
    """Refuse the process more than 2 GB over what it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def limited() -> Iterator[None]:
    """Fail where the block runs for over 10 s, or takes over 2 GB more than the process has at its start."""

    def late(*_: object) -> None:
        raise AssertionError(f"took over {SECONDS} s")

    handler = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        with limited_memory():
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)

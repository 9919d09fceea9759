"""A place of its own for each test, limits of memory and time, and a small student, bundle and package to damage."""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
for _folder in ("export", "runtime", "retrieval", "benchmarks"):
    if str(TESTS / _folder) not in sys.path:
        sys.path.append(str(TESTS / _folder))

SECONDS, BYTES = 10, 2 * 1024**3


@pytest.fixture
def bounded() -> Iterator[None]:
    """Fail where a test runs for over 10 s, or takes over 2 GB more than the process has at its start."""
    status = Path("/proc/self/statm").read_text()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (int(status.split()[0]) * resource.getpagesize() + BYTES, before[1]))

    def late(*_: object) -> None:
        raise AssertionError(f"took over {SECONDS} s")

    handler = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)

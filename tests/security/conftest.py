"""A place of its own for each test, limits of memory and time, and a small student, bundle and package to damage."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
for _folder in ("export", "runtime", "retrieval", "benchmarks"):
    if str(TESTS / _folder) not in sys.path:
        sys.path.append(str(TESTS / _folder))

from limits import limited  # noqa: E402 - a neighbour of this file, as all helpers


@pytest.fixture
def bounded() -> Iterator[None]:
    """Fail where a test runs for over 10 s, or takes over 2 GB more than the process has at its start."""
    with limited():
        yield

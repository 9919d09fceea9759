"""A place of its own for each test, limits of memory and time, and a small student, bundle and package to damage."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.security.limits import limited


@pytest.fixture
def bounded() -> Iterator[None]:
    """Fail where a test runs for over 10 s, or takes over 2 GB more than the process has at its start."""
    with limited():
        yield

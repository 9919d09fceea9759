"""Places and precision for tests of distillation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState


@pytest.fixture(autouse=True)
def _fresh_accelerator() -> Iterator[None]:
    """Let each test choose its own precision: accelerate keeps the first choice of a process."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in the test's own folder: what is kept in runs/ stays there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(world / "datasets"))

"""One small bundle for all tests of the index, and the command line without a recipe's world."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.command_line import Run, command
from tests.helpers.search.small_index import write_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the target onnx; tests do not change it."""
    return write_bundle(tmp_path_factory.mktemp("indexed") / "bundle")


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """A function that runs the command line in the test's own folder; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: command(monkeypatch, capfd, *arguments)

"""Twenty accidents of `accidents.py`; `make crash` has two hundred, with the other targets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUNS = 5


@pytest.mark.parametrize("job", ["distill", "export-onnx", "index", "report"])
def test_a_command_that_met_accidents_ends_as_an_undisturbed_one(job: str, tmp_path: Path) -> None:
    script = Path(__file__).with_name("accidents.py")
    # SIGTERM has tests of its own, at chosen places: test_resume.py, test_cli.py, test_side_by_side.py
    command = [sys.executable, str(script), "--runs", str(RUNS), "--jobs", job, "--kinds", "kill,kill,disk"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{RUNS} accidents in" in done.stdout
    assert list(tmp_path.iterdir()) == []

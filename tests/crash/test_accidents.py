"""Twenty accidents of `accidents.py`; `make crash` has two hundred, with the other targets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
RUNS = 5


@pytest.mark.parametrize("job", ["distill", "export-onnx", "index", "report"])
def test_a_command_that_met_accidents_ends_as_an_undisturbed_one(
    job: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # SIGTERM has tests of its own, at chosen places: test_resume.py, test_main.py, test_processes.py
    program = [sys.executable, "-m", "tests.crash.accidents"]
    command = [*program, "--runs", str(RUNS), "--jobs", job, "--kinds", "kill,kill,disk"]
    kept = str(tmp_path_factory.mktemp("inductor"))  # torch keeps a folder between processes, by design
    own = {"TMPDIR": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": kept}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | own)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{RUNS} accidents in" in done.stdout
    # onnxruntime keeps a number of its own there
    assert [path.name for path in tmp_path.iterdir() if path.name != ".ses"] == []

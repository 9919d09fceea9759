"""The peak of a process is its own: not what it held before the count began, and not its parent's."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from conaclip_edge.system.peak_memory import forget_peak_memory, peak_memory

LARGE = 300_000_000


def test_what_was_held_before_is_forgotten() -> None:
    held = np.ones(LARGE, np.uint8)
    assert peak_memory() > LARGE
    del held
    before = peak_memory()
    if forget_peak_memory():
        assert peak_memory() < before - LARGE // 2


def test_a_child_does_not_count_its_parent_s_memory() -> None:
    held = np.ones(LARGE, np.uint8)
    code = "from conaclip_edge.system.peak_memory import peak_memory; print(peak_memory())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert int(found.stdout) < LARGE
    assert held[-1] == 1

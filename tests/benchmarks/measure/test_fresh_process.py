from __future__ import annotations

import os

import numpy as np
import pytest

from conaclip_edge.benchmarks.measure.fresh_process import in_fresh_process, resident
from conaclip_edge.errors import UserError


def test_a_child_reports_its_own_memory_and_not_its_parents():
    ballast = np.ones(75_000_000)  # 600 MB
    own = resident()[1]
    assert own > ballast.nbytes
    now, peak = in_fresh_process(resident)
    assert 1_000_000 < now <= peak < ballast.nbytes


def test_thread_settings_are_there_before_the_child_imports_anything_and_gone_afterwards():
    before = os.environ.get("OMP_NUM_THREADS")
    assert in_fresh_process(os.getenv, "OMP_NUM_THREADS", threads=3) == "3"
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_a_process_that_dies_is_one_line_with_a_way_out():
    with pytest.raises(UserError, match=r"a process died in _exit, most likely for want of memory\. .*fewer rows"):
        in_fresh_process(os._exit, 9)

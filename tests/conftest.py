"""What all tests share: one core a process, no network, helpers of this folder importable."""

from __future__ import annotations

import os

# libraries read these when they are imported
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

"""Devices for tests: this machine's own Python in the place of one, and the emulated ones."""

from __future__ import annotations

import fcntl
import sys
import tempfile
from pathlib import Path

from conaclip_edge.runtime.emulated.arm64.prepare import prepare_arm64
from conaclip_edge.runtime.emulated.arm64.system import PREPARE, arm64_folder, prepared_arm64
from conaclip_edge.runtime.emulated.device import PACKAGES, Device

# counts 1000 instructions per call of a session, 7 per mark, and 5000 to load
COUNTING = """
import os, runpy, sys
import onnxruntime
counts, total = open(sys.argv[1], "w"), 0

def mark(_):
    global total
    print(total, file=counts, flush=True)
    total += 7

class Session(onnxruntime.InferenceSession):
    def __init__(self, *given, **keys):
        global total
        total += 5000
        super().__init__(*given, **keys)

    def run(self, *given):
        global total
        total += 1000
        return super().run(*given)

os.sched_rr_get_interval, onnxruntime.InferenceSession = mark, Session
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
LABEL = "arm64 (emulated for a test)"


def stand_in(folder: Path | None = None) -> Device:
    """Return a system that is this machine's own Python.

    Args:
        folder: gets the script that counts; None counts nothing.
    """
    command: tuple[str, ...] = (sys.executable,)
    if folder:
        (folder / "counting.py").write_text(COUNTING, "utf-8")
        command = (sys.executable, str(folder / "counting.py"), "{counts}")
    versions = {"onnxruntime": "as here"}
    return Device("arm64", LABEL, True, command, {"onnx": (), "executorch": ()}, versions, PREPARE)


def emulated_arm64() -> Device:
    """Return the emulated arm64 system; it is made in the user's cache if it is not there."""
    with (Path(tempfile.gettempdir()) / "conaclip-edge-arm64-test.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several processes with tests one makes it
        prepare_arm64(arm64_folder(), tuple(PACKAGES))
    return prepared_arm64(arm64_folder())

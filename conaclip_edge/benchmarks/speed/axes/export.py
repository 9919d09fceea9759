"""Axis export: all three targets in int8 by the real command, its time and the memory of all its processes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from conaclip_edge.benchmarks.schema.speed import Finding, exactly
from conaclip_edge.config.benchmark import SpeedConfig
from conaclip_edge.errors import UserError

PAUSE = 0.1  # seconds between two looks at the memory


def command_costs(command: Sequence[str]) -> tuple[float, int]:
    """Run a command to its end.

    Returns:
        Seconds of wall time, and the largest sum of the resident bytes of it and all that it started.

    Raises:
        UserError: it failed; the message ends as its own did.
    """
    began, most, done = time.perf_counter(), 0, threading.Event()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:

        def look() -> None:
            nonlocal most
            while True:
                most = max(most, _resident_tree(process.pid))
                if done.wait(PAUSE):
                    return

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            _, errors = process.communicate()
        finally:
            done.set()
            watcher.join()
    if process.returncode:
        raise UserError(f"the export that was to be timed failed: {' '.join(errors.split())[-300:]}")
    return time.perf_counter() - began, most


def measure(
    config: SpeedConfig, checkpoint: Path, run: Callable[[Sequence[str]], tuple[float, int]] = command_costs
) -> list[Finding]:
    """Export a checkpoint once, in a process of its own.

    Args:
        config: the suite.
        checkpoint: folder of the student.
        run: runs a command and gives its seconds and peak memory.

    Raises:
        UserError: the export failed.
    """
    with tempfile.TemporaryDirectory(prefix="conaclip-edge-") as scratch:
        arguments = ["export", str(checkpoint), "--target", "all", "--precision", "int8", "--out", f"{scratch}/bundle"]
        command = [sys.executable, "-c", "from conaclip_edge.cli.main import main; main()", *arguments]
        seconds, peak = run(command)
    note = (
        f"{checkpoint.name}: Core ML, ExecuTorch and ONNX, calibration and checks included; {psutil.cpu_count()} cores"
    )
    return [
        Finding(axis="export", what="all three int8", unit="s", value=exactly(seconds), n=1, bar=240, note=note),
        Finding(
            axis="export",
            what="peak memory of its processes",
            unit="GB",
            value=exactly(peak / 1e9),
            n=1,
            bar=6,
            note="resident; pages that processes share count in each",
        ),
    ]


def _resident_tree(pid: int) -> int:
    total = 0
    with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
        top = psutil.Process(pid)
        for one in (top, *top.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += one.memory_info().rss
    return total

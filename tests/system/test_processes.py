"""Processes beside each other: none outlives the one that started it, whatever ends that one."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conaclip_edge.system.processes import processes

STARTS = """
import signal, sys
import os, time
from conaclip_edge.system.signals import end_on_signals
from conaclip_edge.system.processes import processes

def sleeps(home):
    open(f"{home}/{os.getpid()}", "w").close()
    time.sleep(600)

if __name__ == "__main__":
    # where the tests run in the background, the shell lets them ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end_on_signals()
    with processes(2) as pool:
        calls = [pool.submit(sleeps, sys.argv[1]) for _ in range(2)]
        [call.result() for call in calls]
"""


# the child that runs it leaves its number behind
SLEEPS = 'touch "$0/$PPID"; exec sleep 30'


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until(ready: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("asked", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_the_one_that_started_it(tmp_path: Path, asked: signal.Signals) -> None:
    home = tmp_path / "started"
    home.mkdir()
    (tmp_path / "starts.py").write_text(STARTS, "utf-8")
    command = [sys.executable, str(tmp_path / "starts.py"), str(home)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_until(lambda: process.poll() is not None or len(list(home.iterdir())) == 2)
    children = [int(path.name) for path in home.iterdir()]
    assert len(children) == 2
    process.send_signal(asked)
    assert process.wait(30) != 0
    wait_until(lambda: all(gone(child) for child in children))


def test_an_error_in_the_block_stops_the_processes_and_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="in the block"), processes(1) as pool:  # noqa: PT012  # the block fails
        pool.submit(subprocess.call, ["sh", "-c", SLEEPS, str(tmp_path)])
        wait_until(lambda: any(tmp_path.iterdir()))
        raise RuntimeError("in the block")
    child = int(next(tmp_path.iterdir()).name)
    wait_until(lambda: gone(child))

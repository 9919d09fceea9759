"""Batches made ahead by worker processes: the same ones, in order, and what goes wrong is one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from conaclip_edge.data import prefetch
from conaclip_edge.data.prefetch import default_workers, prefetched
from conaclip_edge.errors import UserError
from conaclip_edge.system.locks import locked


@pytest.mark.parametrize("workers", [0, 2])
def test_they_come_in_order_whoever_makes_them(workers: int) -> None:
    found = list(prefetched(lambda item: (torch.full((2,), item), item), range(3, 20), workers))
    assert [value.tolist() for value, _ in found] == [[item, item] for item in range(3, 20)]
    assert [item for _, item in found] == list(range(3, 20))


def test_workers_are_other_processes() -> None:
    assert os.getpid() not in set(prefetched(lambda _: os.getpid(), range(4), 2))
    assert set(prefetched(lambda _: os.getpid(), range(4), 0)) == {os.getpid()}


def test_torch_s_random_numbers_are_left_alone() -> None:
    torch.manual_seed(3)
    list(prefetched(lambda item: item, range(4), 1))
    drawn = torch.rand(2)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(2))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_the_user_s_comes_through_in_its_own_words(workers: int) -> None:
    def broken(item: int) -> int:
        if item == 2:
            raise UserError("picture 2 changed. Restore it.")
        return item

    made = prefetched(broken, range(4), workers)
    assert [next(made), next(made)] == [0, 1]
    with pytest.raises(UserError, match=r"^picture 2 changed\. Restore it\.$"):
        next(made)


def test_a_worker_that_dies_is_named_in_a_line() -> None:
    made = prefetched(lambda item: os.kill(os.getpid(), signal.SIGKILL), range(2), 1)
    with pytest.raises(UserError, match=r"^a process that prepares pictures ended: .*Lower train\.workers; 0 starts"):
        list(made)


def test_ctrl_c_is_left_to_the_process_that_trains() -> None:
    made = prefetched(lambda item: (os.getpid(), item), range(60), 1)
    worker, _ = next(made)
    os.kill(worker, signal.SIGINT)
    assert [item for _, item in made] == list(range(1, 60))


KILLED = """
import os, signal, sys
from pathlib import Path
from conaclip_edge.data.prefetch import prefetched
from conaclip_edge.system.locks import locked

with locked(Path("out")):
    for worker in prefetched(lambda _: os.getpid(), range(9), 1):
        print(worker, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_no_worker_and_no_lock(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with locked(tmp_path / "out"):
        pass
    worker = int(done.stdout)
    if psutil.pid_exists(worker):
        psutil.wait_procs([psutil.Process(worker)], timeout=60)
    assert not psutil.pid_exists(worker)


@pytest.mark.parametrize(("cores", "processes", "workers"), [(1, 1, 0), (2, 1, 1), (2, 2, 0), (64, 1, 8), (64, 8, 7)])
def test_one_worker_per_core_that_does_not_train(
    monkeypatch: pytest.MonkeyPatch, cores: int, processes: int, workers: int
) -> None:
    monkeypatch.setattr(prefetch, "available_cores", lambda: cores)
    assert default_workers(processes) == workers


def test_without_fork_the_process_makes_them_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "forks", lambda: False)
    assert default_workers() == 0
    assert set(prefetched(lambda _: os.getpid(), range(2), 2)) == {os.getpid()}

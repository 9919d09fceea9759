"""Which part of the teacher's work a process does, and where."""

from __future__ import annotations

import pytest
import torch

from conaclip_edge.errors import UserError
from conaclip_edge.teacher_cache import share
from conaclip_edge.teacher_cache.share import gpu_of, own_share


def test_a_worker_by_hand_takes_its_part() -> None:
    assert own_share("2/5") == (2, 5, torch.device("cpu"), False)
    assert own_share() == (1, 1, torch.device("cpu"), True)


@pytest.mark.parametrize(("part", "gpu"), [(1, 0), (2, 1), (4, 3), (5, 0), (8, 3)])
def test_workers_go_round_a_host_s_gpus(part: int, gpu: int) -> None:
    assert gpu_of(part, torch.device("cuda", 0), 4) == torch.device("cuda", gpu)


@pytest.mark.parametrize("kind", ["cpu", "mps"])
def test_other_devices_are_what_accelerate_says(kind: str) -> None:
    assert gpu_of(3, torch.device(kind), 0) == torch.device(kind)


def test_work_is_not_divided_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    class Launched:
        num_processes = 2

    monkeypatch.setattr("accelerate.PartialState", lambda **_: Launched())
    with pytest.raises(UserError, match=r"^accelerate launch divides the work already\. Leave --worker out\.$"):
        share.own_share("1/2")


def test_processes_that_do_not_know_of_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"^2 processes were launched, and each would do all of the work\."):
        own_share()

"""Which part of the teacher's work is this process's, and on which device it does it: what accelerate says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import torch

from conaclip_edge.errors import UserError
from conaclip_edge.system.arguments import worker_part

if TYPE_CHECKING:
    from accelerate import PartialState


class Share(NamedTuple):
    """Part `part` of `parts` (from 1) of the work, done on a device; `together`: with processes that are waited for."""

    part: int
    parts: int
    device: torch.device
    together: bool


def own_share(worker: str | None = None) -> Share:
    """Return this process's share of the work.

    Args:
        worker: "I/N" by hand: it computes on GPU (I - 1) mod their number. None: the share that `accelerate launch`
            gives, all of it without one.

    Raises:
        UserError: divided twice, or no such part.
    """
    state = _state()
    if worker is None:
        return Share(state.process_index + 1, state.num_processes, state.device, True)
    if state.num_processes > 1:
        raise UserError("accelerate launch divides the work already. Leave --worker out.")
    part, parts = worker_part(worker)
    return Share(part, parts, gpu_of(part, state.device, torch.cuda.device_count()), False)


def gpu_of(part: int, device: torch.device, count: int) -> torch.device:
    """Return the GPU of a part, or the device itself where that is no GPU of several."""
    return torch.device("cuda", (part - 1) % count) if device.type == "cuda" and count else device


def wait_for_all() -> None:
    """Wait until every process of an `accelerate launch` is here."""
    _state().wait_for_everyone()


def _state() -> PartialState:
    """Return what accelerate knows of the processes; a UserError where several do not know of each other."""
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))  # as Accelerator, which comes later
    launched = os.environ.get("WORLD_SIZE", "1")
    if launched not in ("1", str(state.num_processes)):
        raise UserError(
            f"{launched} processes were launched, and each would do all of the work. Launch one per GPU, or on the "
            "processor set ACCELERATE_USE_CPU=1."
        )
    return state

"""What a step needs, made ahead of it by processes of its own, in order: torch's DataLoader."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from conaclip_edge.errors import ConaclipError, UserError, one_line
from conaclip_edge.system.processes import available_cores, end_with_parent
from conaclip_edge.system.signals import signalled

S = TypeVar("S")
T = TypeVar("T")

MOST_WORKERS = 8  # by default; each holds a copy of what it changes, and two batches


def forks() -> bool:
    """Tell whether this system starts workers that share what is in memory; elsewhere a data set cannot be sent."""
    return sys.platform == "linux" and "fork" in multiprocessing.get_all_start_methods()


def default_workers(processes: int = 1) -> int:
    """Return how many workers a process starts where the recipe says nothing: its share of the cores, less its own.

    Args:
        processes: that train on this machine.
    """
    return max(0, min(MOST_WORKERS, available_cores() // processes - 1)) if forks() else 0


def prefetched(make: Callable[[S], T], items: Sequence[S], workers: int, pin: bool = False) -> Iterator[T]:
    """Yield `make(item)` of every item, in order; errors a user can meet come through as they are.

    Args:
        make: the same result wherever it runs: of tensors, arrays, and tuples and dicts of them.
        items: what to make.
        workers: processes that make them ahead of time, two results each; 0 makes each when it is asked for.
        pin: whether tensors come in page-locked memory, from which a GPU copies them while it computes.

    Raises:
        UserError: a worker ended, mostly for want of memory.
    """
    import torch
    from torch.utils.data import DataLoader

    # None of torch's random numbers are drawn for it. A fork has none of torch's threads; a worker uses one anyway.
    loader: DataLoader[Any] = DataLoader(
        _Made(make, items),  # type: ignore[arg-type]  # torch is not imported for a base class
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers if forks() else 0,
        pin_memory=pin,
        worker_init_fn=_begin,
        multiprocessing_context="fork" if workers and forks() else None,
        generator=torch.Generator(),
    )
    made = iter(loader)
    while True:
        try:
            found = next(made)
        except StopIteration:
            return
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            if signalled():
                raise KeyboardInterrupt from None
            raise UserError(
                f"a process that prepares pictures ended: {one_line(str(error))[:200]} It may lack memory, or shared "
                "memory (docker run --shm-size). Lower train.workers; 0 starts none."
            ) from None
        if isinstance(found, ConaclipError):
            raise found
        yield found


class _Made(Generic[S, T]):
    """A data set for torch: its items are made when they are asked for."""

    def __init__(self, make: Callable[[S], T], items: Sequence[S]):
        self.make, self.items = make, items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> T | ConaclipError:
        try:
            return self.make(self.items[place])
        except ConaclipError as error:  # raised here, torch would write the worker's traceback into its message
            return error


def _as_it_is(found: T) -> T:
    return found


def _begin(_number: int) -> None:
    """Leave Ctrl-C to the process that trains; end with it, also where it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()

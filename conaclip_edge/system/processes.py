"""Processes of their own, as many side by side as are asked for; none outlives the one that started it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any, TypeVar

from conaclip_edge.errors import UserError
from conaclip_edge.system.progress import quiet_libraries

START = "spawn"  # a forked child would inherit torch's thread pool in an unknown state (data/prefetch.py uses none)
T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
Runner = Callable[[Callable[..., Any], Mapping[K, tuple[Any, ...]]], Iterator[tuple[K, Any]]]


def available_cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def own_process() -> bool:
    """Return whether this process was started for one call of a pool, and is not the command's."""
    return multiprocessing.parent_process() is not None


def default_jobs(runs: int) -> int:
    """Return one process per core, but no more than there are runs."""
    return max(1, min(runs, available_cores()))


@contextmanager
def processes(
    jobs: int, begin: Callable[[], None] | None = None, calls: int | None = None
) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of fresh processes; an error, Ctrl-C or SIGTERM in the block stops them at once.

    Args:
        jobs: processes.
        begin: called first in each.
        calls: that one process does before another takes its place; None means all.
    """
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context(START), _begin, (begin,), max_tasks_per_child=calls)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.kill()
        raise
    pool.shutdown()


@contextmanager
def side_by_side(jobs: int) -> Iterator[Runner[Any]]:
    """Yield a function (function, {key: its arguments}) that gives (key, result) in the order in which the calls end.

    Args:
        jobs: processes; they live until the block ends, so what they import is imported once.
    """
    with processes(jobs) as pool:

        def run(function: Callable[..., Any], tasks: Mapping[Any, tuple[Any, ...]]) -> Iterator[tuple[Any, Any]]:
            waiting = {pool.submit(function, *arguments): key for key, arguments in tasks.items()}
            for future in as_completed(waiting):
                yield waiting[future], future.result()

        yield run


def apart(died: str, function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a process of its own, for native code that may end it; its errors come through.

    Args:
        died: the error's text if the process dies, with "{}" where its end is named, e.g. SIGSEGV.
        function: importable by name.
        arguments: can be pickled, as can the result.

    Raises:
        UserError: the process died.
    """
    before = set(multiprocessing.active_children())
    with processes(1, _silent) as pool:
        call = pool.submit(function, *arguments)
        children = set(multiprocessing.active_children()) - before
        try:
            return call.result()
        except BrokenProcessPool:
            pool.shutdown()  # afterwards it is known how the child ended
            code = next((child.exitcode or 0 for child in children), 0)
            end = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise UserError(died.replace("{}", end)) from None


def _silent() -> None:
    """Keep to itself what libraries and a dying runtime print."""
    quiet_libraries()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def end_with_parent() -> None:
    """Let this process end as soon as the one that started it does; killed, that one could not stop it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _begin(begin: Callable[[], None] | None) -> None:
    end_with_parent()  # it would go on to write beside the next run
    if begin:
        begin()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)

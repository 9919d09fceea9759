"""Runs in processes of their own, as many side by side as are asked for; a process does one run after another."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any, TypeVar

K = TypeVar("K", bound=Hashable)
Runner = Callable[[Callable[..., Any], Mapping[K, tuple[Any, ...]]], Iterator[tuple[K, Any]]]


def default_jobs(runs: int) -> int:
    """Return one process a core, but no more than there are runs."""
    return max(1, min(runs, os.cpu_count() or 1))


@contextmanager
def side_by_side(jobs: int) -> Iterator[Runner[Any]]:
    """Yield a function (function, {key: its arguments}) that gives (key, result) in the order in which the calls end.

    An error or Ctrl-C in this block stops the processes at once.

    Args:
        jobs: processes; they live until the block ends, so what they import is imported once.
    """
    # spawn: a forked child would inherit torch's thread pool in an unknown state
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))

    def run(function: Callable[..., Any], tasks: Mapping[Any, tuple[Any, ...]]) -> Iterator[tuple[Any, Any]]:
        waiting = {pool.submit(function, *arguments): key for key, arguments in tasks.items()}
        for future in as_completed(waiting):
            yield waiting[future], future.result()

    try:
        yield run
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    pool.shutdown()

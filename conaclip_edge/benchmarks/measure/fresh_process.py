"""Fresh processes: their memory is their own, and thread settings are there before any library reads them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

import psutil

from conaclip_edge.errors import UserError
from conaclip_edge.system.peak_memory import peak_memory
from conaclip_edge.system.processes import processes
from conaclip_edge.system.progress import quiet_libraries

T = TypeVar("T")

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def in_fresh_process(function: Callable[..., T], *arguments: Any, threads: int = 1) -> T:
    """Call a function of a module in a process of its own, which ends afterwards.

    Args:
        function: importable by name.
        arguments: can be pickled, as can the result.
        threads: CPU threads that numeric libraries use.

    Raises:
        UserError: the process died, most likely for want of memory.
    """
    # a runtime whose threads spin while they wait would take the processor from the row that is timed next
    variables = dict.fromkeys(_THREAD_VARIABLES, str(threads)) | {"OMP_WAIT_POLICY": "passive"}
    with _variables(variables), processes(1, _quiet) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool:
            raise UserError(
                f"a process died in {function.__name__}, most likely for want of memory. Close other programs, or "
                "measure fewer rows (targets, comparison)."
            ) from None


def _quiet() -> None:
    """Keep what libraries print from C++ off the terminal; Python's own stderr goes on to it."""
    quiet_libraries()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for printed in (1, 2):
        os.dup2(nowhere, printed)
    os.close(nowhere)


def resident() -> tuple[int, int]:
    """Return this process's resident memory in bytes: now, and at its peak."""
    now = int(psutil.Process().memory_info().rss)
    return now, max(now, peak_memory())


@contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

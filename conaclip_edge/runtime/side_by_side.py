"""Calls side by side, for a runtime that computes on one core and lets go of Python meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, TypeVar

from conaclip_edge.system.processes import available_cores

T = TypeVar("T")
_AHEAD = 2  # calls per core that may wait, each with its input in memory


class SideBySide(AbstractContextManager["SideBySide"]):
    """Makes calls on threads, one per core; leaving waits for all of them."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(available_cores())
        self._waiting: deque[Future[Any]] = deque()

    def add(self, call: Callable[[], T]) -> Future[T]:
        """Make a call as soon as a core is free; waits while many others do."""
        if len(self._waiting) > _AHEAD * available_cores():
            self._waiting.popleft().exception()
        made = self._threads.submit(call)
        self._waiting.append(made)
        return made

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(cancel_futures=error is not None)

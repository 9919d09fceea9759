"""Ctrl-C and SIGTERM end a command in an orderly way; a training holds the first one back until its step is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_came: list[int] = []  # the signals that came so far


def end_on_signals() -> None:
    """Let SIGTERM end this process as Ctrl-C does: blocks are left, temporaries removed, children stopped."""
    _came.clear()
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as a shell's background jobs ignore Ctrl-C
            signal.signal(number, _end)


def signalled() -> bool:
    """Say whether a signal came: whatever goes wrong then is its doing, also where a library took it for an error."""
    return bool(_came)


def exit_code() -> int:
    """Return the exit code of a command that a signal ended: 143 after SIGTERM, 130 after Ctrl-C."""
    return 128 + (_came[-1] if _came else signal.SIGINT)


@contextmanager
def held_interrupt() -> Iterator[Callable[[], bool]]:
    """Hold back the first signal; yields a function that tells whether there was one. A second one stops at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread gets signals
        yield asked.is_set
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, _frame: FrameType | None) -> None:
        asked.set()
        _came.append(number)
        put_back()

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield asked.is_set
    finally:
        put_back()


def _end(number: int, _frame: FrameType | None) -> None:
    _came.append(number)
    raise KeyboardInterrupt

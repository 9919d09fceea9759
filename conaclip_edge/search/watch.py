"""Keeping an index current while pictures come and go."""

from __future__ import annotations

import threading

from watchfiles import watch

from conaclip_edge.errors import UserError
from conaclip_edge.search.report import IndexReport
from conaclip_edge.search.update import Writer
from conaclip_edge.system.progress import say

_QUIET_MS = 500  # without a change before the folder is looked at: a copy of many files is one update
_LONGEST_MS = 5000  # of changes without a pause


def keep_current(writer: Writer, report: IndexReport, stop: threading.Event | None = None) -> IndexReport:
    """Update an index whenever its folder changes.

    Args:
        writer: of the index, brought up to date before.
        report: of that update.
        stop: ends the watch when it is set; Ctrl-C does, too.

    Returns:
        The report of the last update that changed anything.
    """
    say(f"watching {writer.pictures}; Ctrl-C ends it")
    changes = watch(
        writer.pictures,
        debounce=_LONGEST_MS,
        step=_QUIET_MS,
        stop_event=stop,
        raise_interrupt=False,
        rust_timeout=_QUIET_MS,
        yield_on_timeout=True,
    )
    first = True
    for changed in changes:
        # what changed between the update and the first look is not reported
        if changed or first:
            first = False
            try:
                new = writer.update(again=False)
            except UserError as error:
                say(f"waiting: {error}")
                continue
            if new.encoded or new.reused or new.dropped:
                report = new
                say(f"{new.encoded} encoded, {new.reused} reused, {new.dropped} dropped: {new.pictures} now")
    return report

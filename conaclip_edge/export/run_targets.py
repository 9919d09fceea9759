"""Exporting several targets at a time, each in a process of its own: the targets' libraries do not share one well."""

from __future__ import annotations

import os
from concurrent.futures.process import BrokenProcessPool

import psutil

from conaclip_edge.errors import ConaclipError, UserError
from conaclip_edge.export.export_target import TargetExport, TargetResult, export_target
from conaclip_edge.system.processes import available_cores, processes
from conaclip_edge.system.progress import quiet_libraries, say

# Measured peaks: libraries and their graphs take about so much, a tower's weights exist so many times at once.
BASE_BYTES = 1_500_000_000
_COPIES = 12


def targets_at_a_time(count: int, parameters: int, cores: int | None = None, free_bytes: int | None = None) -> int:
    """Return how many targets fit beside each other: one per processor, and no more than memory holds.

    Args:
        count: targets that are to be exported.
        parameters: of the student.
        cores: processors; None asks the system.
        free_bytes: memory that is free or can be freed; None asks the system.
    """
    cores = available_cores() if cores is None else cores
    free_bytes = int(psutil.virtual_memory().available) if free_bytes is None else free_bytes
    return max(1, min(count, cores, free_bytes // (BASE_BYTES + _COPIES * 4 * parameters)))


def run_targets(exports: list[TargetExport], workers: int) -> list[TargetResult]:
    """Export targets; one alone in this process, several in fresh ones.

    Args:
        exports: what to export.
        workers: targets at a time; 0 exports them one after another in this process.

    Raises:
        UserError: a process died, or the first error of a target.
    """
    if workers == 0 or len(exports) == 1:
        return [export_target(export) for export in exports]
    say(f"exporting {len(exports)} targets, {min(workers, len(exports))} at a time")
    with processes(workers, _begin_process, calls=1) as pool:
        futures = [pool.submit(export_target, export) for export in exports]
        results: list[TargetResult] = []
        errors: list[ConaclipError] = []
        for future, export in zip(futures, exports, strict=True):
            try:
                results.append(future.result())
            except BrokenProcessPool:
                for other in futures:
                    other.cancel()
                raise UserError(
                    f"a process died while {export.title} was exported, most likely for want of memory. "
                    "Export one target at a time."
                ) from None
            except ConaclipError as error:
                errors.append(error)
    if errors:
        raise errors[0]
    return results


def _begin_process() -> None:
    """Keep libraries quiet in a process that runs beside others, and turn bars off: they would overwrite each other."""
    quiet_libraries()
    os.environ["TERM"] = "dumb"

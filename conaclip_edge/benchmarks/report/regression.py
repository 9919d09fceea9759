"""A report compared with an earlier one."""

from __future__ import annotations

import numpy as np

from conaclip_edge.benchmarks.answer.merge import check_same_data
from conaclip_edge.benchmarks.schema.environment import Environment
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import ReportRow
from conaclip_edge.runtime.emulated.device import PACKAGES

OTHER_HOST = 0.5  # points of recall that int8 kernels of another instruction set may cost
SLOWER = 0.1  # share by which a ratio may grow before it counts
MORE_INSTRUCTIONS = 0.01  # share by which a count may grow; it does not depend on what else the machine does
SLOWER_NOISY = 0.5  # the same where one of the timings is marked as noisy


def check_regression(new: BenchmarkReport, old: BenchmarkReport) -> list[str]:
    """Return what got worse: recall of a row, or its time relative to a reference row's in the same rounds.

    On the same instruction sets recall has to be as high as it was, on others within half a point. A ratio counts as
    worse if its median grew by more than a tenth (by half if a timing is marked as noisy) and the two runs' quartiles
    do not overlap; it is compared only between machines of the same instruction sets and cores. Instructions on a
    device count as worse if they grew by more than a hundredth, whatever the host; counts of another version of the
    runtime are not compared, and that is said.

    Args:
        new: the report.
        old: the baseline.

    Returns:
        A sentence per row and number that got worse.

    Raises:
        UserError: they are not of the same data.
    """
    check_same_data(new, old, "the report", "the baseline")
    rows = {row.id: row for row in new.rows}
    worse = []
    for before in old.rows:
        if before.group != "files":
            continue
        after = rows.get(before.id)
        if after is None:
            worse.append(f"{before.label}: the row is gone")
            continue
        machines = [_machine(report, row) for report, row in ((new, after), (old, before))]
        worse += _more_instructions(after, before, *machines)
        worse += _recall_losses(after, before, 0.0 if machines[0].isa == machines[1].isa else OTHER_HOST)
        if (machines[0].isa, machines[0].cores) == (machines[1].isa, machines[1].cores):
            worse += _slower(after, before)
    return worse


def _machine(report: BenchmarkReport, row: ReportRow) -> Environment:
    return next(one for one in (report.environment, *report.other_environments) if one.label == row.host)


def _recall_losses(after: ReportRow, before: ReportRow, allowed: float) -> list[str]:
    if not before.recall:
        return []
    if not after.recall:
        return [f"{before.label}: recall is gone"]
    losses = []
    for way, values in before.recall.items():
        was, now = (float(np.mean(list(one.values()))) for one in (values, after.recall[way]))
        if now < was - allowed - 1e-9:
            losses.append(f"{before.label}: {way} recall fell from {was:.2f} to {now:.2f} % (mean of R@1, R@5, R@10)")
    return losses


def _more_instructions(after: ReportRow, before: ReportRow, now_on: Environment, was_on: Environment) -> list[str]:
    if after.device and after.device == before.device:
        for key in _counted_by(before):
            versions = now_on.versions.get(key), was_on.versions.get(key)
            if all(versions) and versions[0] != versions[1]:
                return [
                    f"{before.label}: counts compare within one version alone, and {key} is {versions[0]}, it was "
                    f"{versions[1]}. Make the baseline again"
                ]
    found = []
    for tower, was in before.on_device.items():
        now = after.on_device.get(tower)
        if now is None or not now.instructions or not was.instructions or after.device != before.device:
            continue
        if now.instructions.median > (1 + MORE_INSTRUCTIONS) * was.instructions.median:
            counts = [f"{one.instructions.median / 1e6:.2f}" for one in (now, was) if one.instructions]
            found.append(
                f"{before.label} on {before.device}: {tower} tower takes {counts[0]} million instructions per call, "
                f"it was {counts[1]}"
            )
    return found


def _counted_by(row: ReportRow) -> list[str]:
    """Return what a device's counts depend on, as the versions of its environment name it."""
    name = str(row.device).split(" ", 1)[0]
    return [f"{package} on {name}" for package in ("python", PACKAGES.get(row.target)) if package]


def _slower(after: ReportRow, before: ReportRow) -> list[str]:
    found = []
    for tower, was in before.latency_ms.items():
        now = after.latency_ms.get(tower)
        allowed = SLOWER_NOISY if was.noisy or (now and now.noisy) else SLOWER
        for name, old in was.ratio_to.items():
            new = now.ratio_to.get(name) if now else None
            if new and new.median > (1 + allowed) * old.median and new.q25 > old.q75:
                found.append(
                    f"{before.label}: {tower} tower takes {new.median:.3f} of {name}'s time, it was {old.median:.3f}"
                )
    return found

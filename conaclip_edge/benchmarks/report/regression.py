"""Several reports: merged into one, or held against a baseline."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conaclip_edge.benchmarks.schema.report import Environment, Latency, Report, Row, parse_report, plain, read_report
from conaclip_edge.errors import UserError

OTHER_HOST = 0.5  # points of recall that int8 kernels of another instruction set may cost
SLOWER = 0.1  # share by which a ratio may grow before it counts
SLOWER_NOISY = 0.5  # the same where one of the timings is marked as noisy


def merge_reports(paths: Sequence[Path]) -> dict[str, Any]:
    """Merge reports of the same student into the first one: rows of the others are named by their machine.

    Args:
        paths: files report.json; the first gives the answer, the gallery and the data.

    Raises:
        UserError: no report, another schema, another student, or other data.
    """
    if not paths:
        raise UserError("no report was given. Example: conaclip-edge report host.json phone.json")
    reports = [read_report(path) for path in paths]
    first = reports[0]
    rows = list(first.rows)
    environments = [first.environment, *first.other_environments]
    for path, report in zip(paths[1:], reports[1:], strict=True):
        _check_same(first, report, paths[0], path)
        names = {}
        for one in (report.environment, *report.other_environments):
            names[one.label] = _unused(one.label, environments)
            environments.append(one.model_copy(update={"label": names[one.label]}))
        have_training = any(row.group == "training" for row in rows)
        rows += [_renamed(row, names[row.host]) for row in report.rows if row.group != "training" or not have_training]
    return plain(
        parse_report(
            plain(first)
            | {
                "rows": [row.model_dump(mode="json") for row in rows],
                "other_environments": [one.model_dump(mode="json") for one in environments[1:]],
                "ann": next((report.ann.model_dump(mode="json") for report in reports if report.ann), None),
            },
            "the merged report",
        )
    )


def check_regression(current: dict[str, Any], baseline: dict[str, Any]) -> list[str]:
    """Say what got worse: recall of a row, or its time over a reference row's in the same rounds.

    On the same instruction sets recall has to be as high as it was, on others within half a point. A ratio counts as
    worse if its median grew by more than a tenth (by half if a timing is marked as noisy) and the two runs' quartiles
    do not overlap; it is compared only between machines of the same instruction sets and cores.

    Args:
        current: plain values of a report.json.
        baseline: of an earlier one.

    Raises:
        UserError: they are not of the same data.
    """
    new, old = parse_report(current, "the report"), parse_report(baseline, "the baseline")
    _check_data(new, old, "the report", "the baseline")
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
        worse += _recall_losses(after, before, 0.0 if machines[0].isa == machines[1].isa else OTHER_HOST)
        if (machines[0].isa, machines[0].cores) == (machines[1].isa, machines[1].cores):
            worse += _slower(after, before)
    return worse


def _check_same(first: Report, other: Report, where: Path, place: Path) -> None:
    if first.model.embedding_space != other.model.embedding_space:
        raise UserError(
            f"{place} is of another student than {where} (embedding space {other.model.embedding_space[:12]}.., not "
            f"{first.model.embedding_space[:12]}..); their rows do not belong in one table."
        )
    _check_data(other, first, str(place), str(where))


def _check_data(new: Report, old: Report, what: str, than: str) -> None:
    if not new.dataset or not old.dataset:
        return
    seen = [(one.dataset.fingerprint, one.dataset.split, one.dataset.pictures) for one in (new, old) if one.dataset]
    if seen[0] != seen[1]:
        names = [f"{name} ({name_of})" for name, name_of in ((what, _data(new)), (than, _data(old)))]
        raise UserError(f"{names[0]} and {names[1]} were measured on other data; their recall does not compare.")


def _data(report: Report) -> str:
    data = report.dataset
    return f"{data.name}/{data.split}, {data.pictures} pictures, {data.fingerprint[:12]}.." if data else ""


def _unused(label: str, environments: list[Environment]) -> str:
    taken = {one.label for one in environments}
    number = 2
    name = label
    while name in taken:
        name, number = f"{label} ({number})", number + 1
    return name


def _renamed(row: Row, host: str) -> Row:
    """Name a row by its machine, and the rows that its ratios are taken to."""
    mark = "@" + re.sub(r"[^a-z0-9]+", "-", host.lower()).strip("-")

    def moved(found: Latency) -> Latency:
        return found.model_copy(update={"ratio_to": {name + mark: one for name, one in found.ratio_to.items()}})

    return row.model_copy(
        update={
            "id": row.id + mark,
            "host": host,
            "latency_ms": {tower: moved(found) for tower, found in row.latency_ms.items()},
            "more_latency": tuple(moved(found) for found in row.more_latency),
        }
    )


def _machine(report: Report, row: Row) -> Environment:
    return next(one for one in (report.environment, *report.other_environments) if one.label == row.host)


def _recall_losses(after: Row, before: Row, allowed: float) -> list[str]:
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


def _slower(after: Row, before: Row) -> list[str]:
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

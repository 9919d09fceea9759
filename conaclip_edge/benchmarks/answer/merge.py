"""Several reports in one, and what that says of each platform."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conaclip_edge.benchmarks.answer.platforms import decided
from conaclip_edge.benchmarks.schema.environment import Environment
from conaclip_edge.benchmarks.schema.report import BenchmarkReport, checked, read_report
from conaclip_edge.benchmarks.schema.row import Latency, ReportRow
from conaclip_edge.errors import UserError


def merge_reports(paths: Sequence[Path]) -> BenchmarkReport:
    """Merge reports of the same student into the first one: rows of other machines are named by their machine.

    Args:
        paths: files report.json; the first gives the gallery, the data and the server's machine.

    Raises:
        UserError: no report, another schema, another student, or other data.
    """
    if not paths:
        raise UserError("no report was given. Example: conaclip-edge report host.json phone.json")
    merged = read_report(paths[0])
    for path in paths[1:]:
        merged = _merged(merged, str(paths[0]), read_report(path), str(path))
    return decided(merged)


def with_device(base: BenchmarkReport, where: str, found: BenchmarkReport) -> BenchmarkReport:
    """Return a report with the rows that a device or a phone gave; older ones of the same device or phone are gone.

    Args:
        base: of the same bundle.
        where: names its file in errors.
        found: what was measured.

    Raises:
        UserError: another bundle, or other data.
    """
    check_same_bundle(base, where, found.model.digest)
    devices = {row.device for row in found.rows if row.device}
    timed = {row.host for row in found.rows if not row.device} - {base.environment.label}
    kept = tuple(row for row in base.rows if row.device not in devices and row.host not in timed)
    others = tuple(one for one in base.other_environments if one.label not in timed)
    base = base.model_copy(update={"rows": kept, "other_environments": others, "platforms": ()})
    return decided(_merged(base, where, found, "what was measured"))


def check_same_bundle(report: BenchmarkReport, where: str, digest: str) -> None:
    """Check that a report is of a bundle.

    Raises:
        UserError: it is of another one.
    """
    if report.model.digest != digest:
        raise UserError(
            f"{where} is of another bundle ({report.model.digest[:12]}.., not {digest[:12]}..). Make it for this one: "
            "conaclip-edge benchmark"
        )


def _merged(first: BenchmarkReport, first_name: str, other: BenchmarkReport, name: str) -> BenchmarkReport:
    """Add the rows of another report."""
    _check_same(first, other, first_name, name)
    rows = list(first.rows)
    environments = [first.environment, *first.other_environments]
    have_training = any(row.group == "training" for row in rows)
    new = [row for row in other.rows if row.group != "training" or not have_training]
    for machine in (other.environment, *other.other_environments):
        own = [row for row in new if row.host == machine.label]
        taken = {row.id for row in rows}
        place = next((place for place, one in enumerate(environments) if _same_machine(one, machine)), None)
        if place is not None and not taken & {row.id for row in own}:
            known = environments[place]
            environments[place] = known.model_copy(update={"versions": known.versions | machine.versions})
            rows += own
            continue
        label = _unused(machine.label, environments)
        environments.append(machine.model_copy(update={"label": label}))
        rows += [_renamed(row, label) for row in own]
    changes = {
        "rows": tuple(rows),
        "environment": environments[0],
        "other_environments": tuple(environments[1:]),
        "dataset": first.dataset or other.dataset,
        "ann": first.ann or other.ann,
    }
    return checked(first.model_copy(update=changes), "the merged report")


def _same_machine(one: Environment, other: Environment) -> bool:
    """Return whether two environments are one machine with the same versions; the second may have more of them."""
    alike: dict[str, Any] = {"load": None, "versions": {}}
    shared = one.versions.keys() & other.versions.keys()
    return one.model_copy(update=alike) == other.model_copy(update=alike) and all(
        one.versions[name] == other.versions[name] for name in shared
    )


def _check_same(first: BenchmarkReport, other: BenchmarkReport, first_name: str, name: str) -> None:
    if first.model.embedding_space != other.model.embedding_space:
        raise UserError(
            f"{name} is of another student than {first_name} (embedding space {other.model.embedding_space[:12]}.., "
            f"not {first.model.embedding_space[:12]}..); their rows do not belong in one table."
        )
    check_same_data(other, first, name, first_name)


def check_same_data(new: BenchmarkReport, old: BenchmarkReport, new_name: str, old_name: str) -> None:
    if not new.dataset or not old.dataset:
        return
    seen = [(one.dataset.fingerprint, one.dataset.split, one.dataset.pictures) for one in (new, old) if one.dataset]
    if seen[0] != seen[1]:
        names = [f"{name} ({_data(report)})" for name, report in ((new_name, new), (old_name, old))]
        raise UserError(f"{names[0]} and {names[1]} were measured on other data; their recall does not compare.")


def _data(report: BenchmarkReport) -> str:
    data = report.dataset
    return f"{data.name}/{data.split}, {data.pictures} pictures, {data.fingerprint[:12]}.." if data else ""


def _unused(label: str, environments: list[Environment]) -> str:
    taken = {one.label for one in environments}
    number = 2
    name = label
    while name in taken:
        name, number = f"{label} ({number})", number + 1
    return name


def _renamed(row: ReportRow, host: str) -> ReportRow:
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

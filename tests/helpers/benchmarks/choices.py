"""Reports made by hand, each with what one test is about."""

from __future__ import annotations

from typing import Any

from conaclip_edge.benchmarks.answer.platforms import decide
from conaclip_edge.benchmarks.schema.choice import Choice, Platform
from conaclip_edge.benchmarks.schema.report import BenchmarkReport, parse_report
from tests.helpers.benchmarks.sample import device_row, latency, relative, row, sample_values

LOSSY = {way: {"value": 0.9, "low": 0.86, "high": 0.95} for way in ("t2i", "i2t")}
LABELS = {
    "plain-onnx-fp32": "Plain ONNX float32",
    "plain-onnx-static": "Plain ONNX int8 (static)",
    "plain-executorch": "Plain ExecuTorch float32",
}
Values = dict[str, Any]


def host() -> Values:
    """ONNX, ExecuTorch and, by reference, Core ML; timed on a host, with 178 pictures."""
    values = sample_values()
    values["ship"] = None
    values["dataset"]["chance"] = 3.0
    for one in values["rows"]:
        if one["recall"] and one["group"] != "training":
            one["mean_interval"] = (60.0, 68.0)
    return values


def rows_of(values: Values) -> dict[str, Values]:
    return {one["id"]: one for one in values["rows"]}


def without(values: Values, *ids: str) -> Values:
    return values | {"rows": [one for one in values["rows"] if one["id"] not in ids]}


def counted(
    values: Values, counts: dict[str, tuple[float, float]], device: str = "arm64 (emulated Cortex-A76)"
) -> Values:
    """Add rows of a device.

    Args:
        values: of a report.
        counts: row -> millions of instructions per picture and per query.
        device: whose kernels ran the files.
    """
    labels = {one["id"]: one["label"] for one in values["rows"]}
    added = []
    for name, (picture, query) in counts.items():
        one = device_row(name, labels[name], 1e6 * picture)
        one["id"] = f"{name}-{device.split()[0]}"
        one["device"] = device
        one["group"] = "comparison" if name.startswith("plain") else "files"
        one["on_device"]["text"]["instructions"] = one["on_device"]["image"]["instructions"] | {"median": 1e6 * query}
        added.append(one)
    return values | {"rows": [*values["rows"], *added]}


def on_a_phone(values: Values, label: str, system: str, times: dict[str, tuple[float, float]]) -> Values:
    """Add rows of a phone: row -> milliseconds per picture and per query."""
    phone = values["environment"] | {"label": label, "kind": "phone", "os": system}
    added = []
    for name, (picture, query) in times.items():
        timed = {"image": latency(picture, "image", False), "text": latency(query, "text", False)}
        own = {"id": f"{name}@phone", "host": label, "executed": "native", "latency_ms": timed, "recall": None}
        added.append(rows_of(values)[name] | own | {"mean_recall": None, "relative_recall": {}, "more_latency": []})
    others = [*values.get("other_environments", []), phone]
    return values | {"other_environments": others, "rows": [*values["rows"], *added]}


def with_plain(values: Values, plain: dict[str, tuple[float, float]], lossy: tuple[str, ...] = ()) -> Values:
    """Put plain exports in place of the sample's.

    Args:
        values: of a report.
        plain: row -> time of ExecuTorch's row over its, for a picture and for a query.
        lossy: rows with a relative recall of 90 %.
    """
    values = without(values, "plain-onnx")
    for name in plain:
        kept = {"student": LOSSY if name in lossy else relative(0.999)}
        values["rows"].append(row(name, LABELS[name], "comparison", 3.0, 0.5, relative_recall=kept))
    for number, tower in enumerate(("image", "text")):
        rows_of(values)["executorch-int8"]["latency_ms"][tower]["ratio_to"] |= {
            name: {"median": both[number], "q25": 0.9 * both[number], "q75": 1.1 * both[number]}
            for name, both in plain.items()
        }
    return values


def parsed(values: Values) -> BenchmarkReport:
    return parse_report(values, "x")


def choice(values: Values, platform: Platform) -> Choice:
    return next(one for one in decide(parsed(values)) if one.platform == platform)

"""The answer names the fastest plain export that keeps the recall, and says so where it is faster than the bundle."""

from __future__ import annotations

from typing import Any

import pytest

from conaclip_edge.benchmarks.report.advice import advice
from conaclip_edge.benchmarks.report.baselines import baselines
from conaclip_edge.benchmarks.report.html import render_html
from conaclip_edge.benchmarks.report.markdown import answer, render_markdown, summary_table
from conaclip_edge.benchmarks.report.numbers import BY, TO
from conaclip_edge.benchmarks.schema.report import BenchmarkReport, parse_report
from tests.helpers.benchmarks.pages import read_page
from tests.helpers.benchmarks.sample import relative, row, sample_values

LABELS = {
    "plain-onnx-fp32": "Plain ONNX float32",
    "plain-onnx-static": "Plain ONNX int8 (static)",
    "plain-onnx": "Plain ONNX int8 (dynamic)",
    "plain-executorch": "Plain ExecuTorch float32",
}
LOSSY = {way: {"value": 0.9, "low": 0.86, "high": 0.95} for way in ("t2i", "i2t")}


def report(plain: dict[str, tuple[float, float]], lossy: tuple[str, ...] = (), **changes: Any) -> BenchmarkReport:
    """The sample with other plain exports.

    Args:
        plain: row -> time of the bundle's row over its, for a picture and for a query.
        lossy: rows with a relative recall of 90 %.
        changes: of the report.
    """
    values = sample_values()
    values["rows"] = [one for one in values["rows"] if one["id"] != "plain-onnx"]
    for name in plain:
        kept = {"student": LOSSY if name in lossy else relative(0.999)}
        values["rows"].append(row(name, LABELS[name], "comparison", 3.0, 0.5, relative_recall=kept))
    shipped = next(one for one in values["rows"] if one["id"] == values["ship"])
    for number, tower in enumerate(("image", "text")):
        shipped["latency_ms"][tower]["ratio_to"] |= {
            name: {"median": both[number], "q25": 0.9 * both[number], "q75": 1.1 * both[number]}
            for name, both in plain.items()
        }
    return parse_report(values | changes, "x")


def page_text(found: BenchmarkReport) -> str:
    return " ".join(read_page(render_html(found)).all("section")[0].text.split())


def texts(found: BenchmarkReport) -> list[str]:
    """What Markdown, page and terminal say, without marks."""
    return [render_markdown(found).replace("**", ""), page_text(found), summary_table(found)]


def test_a_plain_export_that_is_faster_is_named_and_called_faster() -> None:
    found = report({"plain-onnx-fp32": (1.25, 1.5), "plain-executorch": (0.8, 0.6)})
    assert advice(found).headline == "Not the fastest here:"
    assert answer(found).startswith("Not the fastest here: **ExecuTorch int8**")
    for text in texts(found):
        assert "Not the fastest here: ExecuTorch int8" in text
        assert "reaches 99.0 % is, for a picture, Plain ONNX float32 (0.90 MB), which is faster: " in text
        assert f"ExecuTorch int8 takes 1.25{BY} [1.12{TO}1.38] its time" in text
        assert "Fastest here" not in text


def test_each_tower_has_the_baseline_that_is_the_fastest_for_it() -> None:
    found = report({"plain-onnx-fp32": (1.2, 0.3), "plain-executorch": (0.8, 0.6)})
    chosen = {one.input: (one.plain.id, one.verdict) for one in baselines(found, found.row("executorch-int8"))}
    assert chosen == {"picture": ("plain-onnx-fp32", "faster"), "query": ("plain-executorch", "slower")}
    for text in texts(found):
        assert "Fastest here for a query, not for a picture: ExecuTorch int8" in text
    assert advice(report({"plain-onnx-fp32": (0.9, 1.3)})).headline == "Fastest here for a picture, not for a query:"


def test_where_every_plain_export_is_slower_the_bundle_is_the_fastest() -> None:
    found = report({"plain-onnx-fp32": (0.7, 0.3)})
    assert advice(found).headline == "Fastest here:"
    assert all(
        "for a query (padded to 32 ids for plain exports), Plain ONNX float32 (2.10 MB), which is slower: " in text
        for text in texts(found)
    )


def test_a_difference_below_what_the_suite_can_measure_is_none() -> None:
    found = report({"plain-onnx-fp32": (1.004, 0.996)})
    assert advice(found).headline == "Fastest here:"
    assert "which is as fast: " in answer(found)


@pytest.mark.parametrize("name", ["plain-onnx-static", "plain-onnx"])
def test_a_fast_plain_export_that_loses_recall_is_shown_with_it_and_is_no_baseline(name: str) -> None:
    found = report({name: (3.0, 3.0), "plain-onnx-fp32": (0.7, 0.3)}, lossy=(name,))
    assert advice(found).headline == "Fastest here:"
    assert {one.plain.id for one in baselines(found, found.row("executorch-int8"))} == {"plain-onnx-fp32"}
    for text in texts(found):
        assert f"Left out for their relative recall: {LABELS[name]}, 90.0 % and 90.0 %" in text


def test_where_no_plain_export_keeps_the_recall_the_answer_says_so() -> None:
    found = report({"plain-onnx-static": (3.0, 3.0)}, lossy=("plain-onnx-static",))
    assert baselines(found, found.row("executorch-int8")) == []
    assert all("No plain export reaches a relative recall of 99.0 %" in text for text in texts(found))


def test_without_plain_exports_nothing_is_said_of_them() -> None:
    assert all("lain export" not in text for text in texts(report({})))


def test_where_no_file_of_the_bundle_keeps_the_recall_a_plain_export_that_does_is_named() -> None:
    found = report({"plain-onnx-fp32": (1.0, 1.0)}, ship=None)
    assert "A plain export does: Plain ONNX float32, 3.0" in advice(found).known


def test_too_few_pictures_compare_with_no_plain_export() -> None:
    values = report({"plain-onnx-fp32": (1.2, 1.2)}, ship=None).model_dump(mode="json", by_alias=True)
    values["dataset"]["pictures"] = 10
    found = parse_report(values, "x")
    assert advice(found).headline == "Too few pictures to tell"
    assert all("lain export" not in text.split("Recall over")[0] for text in (answer(found), page_text(found)))

"""The benchmark of the index's graph: what an interruption leaves, what is chosen and shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conaclip_edge.benchmarks.answer.merge import merge_reports
from conaclip_edge.benchmarks.report.html import render_html
from conaclip_edge.benchmarks.report.markdown import render_markdown
from conaclip_edge.benchmarks.report.tables.ann_tables import ann_table
from conaclip_edge.benchmarks.report.write import json_text
from conaclip_edge.benchmarks.schema.ann import AnnRow
from conaclip_edge.benchmarks.schema.report import BenchmarkReport, parse_report, read_report
from conaclip_edge.benchmarks.suite.ann import choose_storage, run_ann
from conaclip_edge.config.benchmark import AnnConfig, BenchmarkConfig
from conaclip_edge.search.hnsw_graph import DEFAULT
from tests.helpers.benchmarks.sample import sample_values
from tests.helpers.benchmarks.small_towers import small_bundle

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results" / "ann.json"
CONFIG = AnnConfig(sizes=(200, 400, 500), others_up_to=400, queries=20, added=30, clusters=5, latent=3)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[BenchmarkReport, list[str]]:
    """A report of small graphs, and what was measured in the run that was interrupted and in that which went on."""
    home = tmp_path_factory.mktemp("ann")
    bundle = small_bundle(home / "bundle", {"onnx/image.int8.onnx": "onnx"})
    calls: list[str] = []
    left = 5  # the second measurement of the third graph does not come to its end

    def here(function: Callable[..., Any], *values: Any) -> Any:
        calls.append(function.__name__)
        if len(calls) == left + 1:
            raise KeyboardInterrupt
        return function(*values)

    suite = BenchmarkConfig(name="ann", ann=CONFIG)
    with pytest.raises(KeyboardInterrupt):
        run_ann(bundle, suite, home / "report", here)
    assert not (home / "report").exists()
    run_ann(bundle, suite, home / "report", here)
    assert sorted(path.name for path in home.iterdir()) == ["bundle", "report"]
    return read_report(home / "report/report.json"), calls


def test_an_interrupted_measurement_goes_on_where_it_was(measured: tuple[BenchmarkReport, list[str]]) -> None:
    report, calls = measured
    # three storages of two sizes, one of the largest; the third pair is done again
    assert calls == ["build_hnsw", "query_hnsw"] * 3 + ["build_hnsw", "query_hnsw"] * 5
    assert report.ann is not None
    small = [f"{p}-{n}" for n in (200, 400) for p in ("i8", "f16", "f32")]
    assert [row.id for row in report.ann.rows] == [*small, "i8-500"]


def test_small_graphs_find_everything_and_their_files_hold_their_vectors(
    measured: tuple[BenchmarkReport, list[str]],
) -> None:
    assert measured[0].ann is not None
    rows = {row.id: row for row in measured[0].ann.rows}
    for row in rows.values():
        assert row.recall > 0.99
        assert row.graph_recall <= row.recall + 1e-9
        assert row.raw_bytes == row.vectors * 3 * {"i8": 1, "f16": 2, "f32": 4}[row.precision]
        assert row.file_bytes > row.raw_bytes
        assert 0 < row.p50 <= row.p95
    assert rows["f32-400"].file_bytes - rows["i8-400"].file_bytes == 400 * 3 * 3
    assert measured[0].ann.choice == "i8"


def row(precision: str, size: int, recall: float) -> AnnRow:
    times = dict.fromkeys(("build_s", "load_s", "add_s", "write_s", "p50", "p95"), 1.0)
    times |= dict.fromkeys(("build_cpu_s", "add_cpu_s", "p50_cpu", "p95_cpu"), 1.0)
    sizes = dict.fromkeys(("raw_bytes", "file_bytes", "resident_bytes", "loaded_bytes"), 1)
    values = {"id": f"{precision}-{size}", "vectors": size, "precision": precision, "recall": recall}
    return AnnRow.model_validate({**values, "graph_recall": recall, **times, **sizes})


def test_the_smallest_storage_that_finds_enough_at_every_size_is_chosen() -> None:
    good = [row(name, size, 0.99) for name in ("f32", "f16", "i8") for size in (10, 100)]
    assert choose_storage(good) == "i8"
    assert choose_storage([*good, row("i8", 1000, 0.949)]) == "f16"
    assert choose_storage([*good, row("i8", 1000, 0.95)]) == "i8"
    assert choose_storage([row("i8", 10, 0.5)]) is None


def test_the_report_shows_every_graph_and_says_that_its_vectors_are_synthetic(
    measured: tuple[BenchmarkReport, list[str]],
) -> None:
    report = measured[0]
    page, text = render_html(report), render_markdown(report)
    assert report.ann is not None
    for shown in (page, text):
        assert "synthetic" in shown
    for one in report.ann.rows:
        assert f'data-from="ann/rows/{one.id}/recall"' in page
        assert f'data-row="{one.id}"' in page
    assert len(re.findall(r"^\| (?:200|400) \|", text, re.M)) == 6
    assert "<b>i8</b>" in page
    assert "Every row" not in page


def test_a_report_with_rows_and_a_graph_shows_both(measured: tuple[BenchmarkReport, list[str]], tmp_path: Path) -> None:
    values = sample_values()
    graph = measured[0].model_copy(
        update={"model": parse_report(values, "x").model, "environment": parse_report(values, "x").environment}
    )
    for name, report in (("sample", parse_report(values, "x")), ("graph", graph)):
        (tmp_path / f"{name}.json").write_text(json_text(report), "utf-8")
    merged = merge_reports([tmp_path / "sample.json", tmp_path / "graph.json"])
    assert merged.ann == graph.ann
    page = render_html(merged)
    assert "Every row" in page
    assert "The index" in page


def test_the_storage_that_an_index_takes_is_the_one_that_was_chosen() -> None:
    report = read_report(RESULTS)
    assert report.ann is not None
    assert report.ann.choice == DEFAULT
    assert ann_table(report.ann) in (RESULTS.parents[2] / "docs/results/benchmarks.md").read_text("utf-8")

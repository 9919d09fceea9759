from __future__ import annotations

import re
from pathlib import Path

from conaclip_edge.benchmarks.report.answer_text import answer, answer_lines
from conaclip_edge.benchmarks.report.markdown import render_markdown, rows_table, summary
from conaclip_edge.benchmarks.report.numbers import ABSENT
from conaclip_edge.benchmarks.report.results_page import render_results, results_page
from conaclip_edge.benchmarks.schema.report import parse_report
from tests.helpers.benchmarks.sample import sample_report, sample_values

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
REPORT = sample_report()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_every_benchmarked_row_is_in_the_table_with_its_numbers():
    lines = rows_table(REPORT).splitlines()
    found = {cells(line)[0].strip("*"): cells(line) for line in lines if line.startswith("| ")}
    for row in REPORT.rows:
        if row.group == "training":
            assert row.label not in found
            continue
        shown = found[row.label]
        assert shown[1] == row.executed
        if row.latency_ms:
            assert float(shown[5].split()[0]) == float(f"{row.latency_ms['image'].p50:.3g}")
        else:
            assert shown[5:] == [ABSENT] * 3
        if row.recall:
            assert [float(value) for value in shown[3].split(" / ")] == [
                float(f"{value:.1f}") for value in row.recall["t2i"].values()
            ]


def test_tables_have_as_many_cells_in_every_line():
    for block in re.findall(r"(?:^\|.*\n)+", render_markdown(REPORT), re.M):
        assert len({len(cells(line)) for line in block.splitlines()}) == 1


def test_a_bar_in_a_name_does_not_break_the_table():
    values = sample_values()
    values["rows"][0]["label"] = "a | b"
    assert "a \\| b" in rows_table(parse_report(values, "x"))


def test_the_rows_come_after_the_answer():
    text = render_markdown(REPORT)
    assert text.index("| iPhone |") < text.index("## Rows")


def test_rows_that_say_the_same_of_themselves_share_a_line():
    values = sample_values()
    for row in values["rows"][:2]:
        row["notes"] = ["not timed in batches"]
    assert "- not timed in batches: ONNX int8, ExecuTorch int8" in rows_table(parse_report(values, "x"))


def test_the_terminal_table_marks_what_is_chosen_and_ends_with_the_answer():
    lines = summary(REPORT).splitlines()
    assert {line[2:].rpartition(" int8")[0] for line in lines if line.startswith("> ")} == {
        "ONNX",
        "Core ML",
        "ExecuTorch",
    }
    table = lines[1 : next(place for place, line in enumerate(lines) if line.startswith("iPhone"))]
    assert len({len(line) for line in table}) == 1
    assert lines[1 + len(table) :] == answer_lines(REPORT)


def test_the_page_of_results_holds_every_report():
    text = render_results({"b": REPORT, "a": REPORT})
    assert text.index("## a") < text.index("## b")
    assert text.count(answer(REPORT)) == 2


def test_the_page_of_results_is_rendered_from_the_committed_ones():
    assert (BENCHMARKS.parent / "docs/results/benchmarks.md").read_text("utf-8") == results_page(BENCHMARKS)


def test_what_accelerators_take_is_a_table_with_its_sources():
    page = render_markdown(sample_report())
    section = page.partition("## Accelerators of phones")[2].partition("\n## ")[0]
    assert "| file | NNAPI | QNN |" in section
    assert "| ONNX int8, image tower | 67 of 68 (2) | not checked |" in section
    assert "NNAPI does not know ReduceSumSquare. QNN not checked: its partitioner does not open here: no SDK" in section
    assert "Read from: NNAPI: checker 1.2; QNN: partitioner 3.4." in section

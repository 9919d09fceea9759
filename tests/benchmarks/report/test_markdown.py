from __future__ import annotations

import re
from pathlib import Path

from conaclip_edge.benchmarks.report.markdown import answer, render_markdown, rows_table, summary_table
from conaclip_edge.benchmarks.report.numbers import ABSENT, BY, TO
from conaclip_edge.benchmarks.report.readme import readme, render_readme
from conaclip_edge.benchmarks.report.write import json_text, publish
from conaclip_edge.benchmarks.schema.report import parse_report, read_report
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


def test_the_text_opens_with_what_to_ship():
    text = render_markdown(REPORT)
    assert text.split("\n\n")[1].startswith(
        "Fastest here: **ExecuTorch int8**: the right picture is among the first ten for 61.0 %"
    )
    shown = f"99.7 % [98.5{TO}100.8] from text to picture"
    assert f"relative recall (the share of the float32 student's recall that is left) is {shown}" in text
    assert text.count("ExecuTorch int8") > 3


def test_a_direction_whose_relative_recall_is_below_the_limit_is_named():
    values = sample_values()
    shipped = next(row for row in values["rows"] if row["id"] == values["ship"])
    shipped["relative_recall"]["student"] = {
        "t2i": {"value": 1.006, "low": 0.98, "high": 1.033},
        "i2t": {"value": 0.988, "low": 0.966, "high": 1.0},
    }
    text = answer(parse_report(values, "x"))
    assert "from text to picture and 98.8 %" in text
    assert "from picture to text (below 99.0 %, which the interval reaches)" in text


def test_the_teacher_is_compared_by_the_ratio_of_the_same_rounds():
    row = REPORT.row("executorch-int8")
    image = 1 / row.latency_ms["image"].ratio_to["teacher-fp32"].median
    assert f"The teacher takes {image:.1f}{BY} as long for a picture" in render_markdown(REPORT)


def test_the_terminal_table_marks_what_to_ship():
    lines = summary_table(REPORT).splitlines()
    assert next(line for line in lines if line.startswith("> ")).startswith("> ExecuTorch int8")
    table = lines[1 : next(place for place, line in enumerate(lines) if line.startswith("> is the fastest"))]
    assert len({len(line) for line in table}) == 1
    assert lines[-1].startswith("Fastest here: ExecuTorch int8")


def test_a_readme_holds_every_report():
    text = render_readme({"b": REPORT, "a": REPORT})
    assert text.index("## a") < text.index("## b")
    assert text.count("Fastest here: **ExecuTorch int8**") == 2


def test_a_published_report_leaves_its_rows_and_the_page_that_is_rendered_from_them(tmp_path):
    (tmp_path / "report.json").write_text(json_text(REPORT), "utf-8")
    publish(tmp_path / "report.json", tmp_path / "benchmarks", "demo")
    kept = read_report(tmp_path / "benchmarks/results/demo.json")
    assert kept.rows == REPORT.rows
    assert not kept.pictures
    text = (tmp_path / "benchmarks/README.md").read_text("utf-8")
    assert text == render_readme({"demo": kept})
    assert "`results/demo.json`" in text


def test_the_readme_in_the_repository_is_rendered_from_its_results():
    assert (BENCHMARKS / "README.md").read_text("utf-8") == readme(BENCHMARKS)


def test_what_accelerators_take_is_a_table_with_its_sources():
    page = render_markdown(sample_report())
    section = page.partition("## Accelerators of phones")[2].partition("\n## ")[0]
    assert "| file | NNAPI | QNN |" in section
    assert "| ONNX int8, image tower | 67 of 68 (2) | not checked |" in section
    assert "NNAPI does not know ReduceSumSquare. QNN not checked: its partitioner does not open here: no SDK" in section
    assert "Read from: NNAPI: checker 1.2; QNN: partitioner 3.4." in section

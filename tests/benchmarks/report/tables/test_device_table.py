"""Files that were run on a device's kernels have a table of their own, and no time."""

from __future__ import annotations

import json
import re

import pytest

from conaclip_edge.benchmarks.report.html import render_html
from conaclip_edge.benchmarks.report.markdown import render_markdown, summary
from conaclip_edge.benchmarks.report.numbers import ABSENT, FORMATS, TO, value_at
from conaclip_edge.benchmarks.report.regression import check_regression
from conaclip_edge.benchmarks.report.tables.device_table import device_answer, device_table
from conaclip_edge.benchmarks.report.write import json_text
from conaclip_edge.benchmarks.schema.report import BenchmarkReport, parse_report
from conaclip_edge.errors import UserError
from tests.helpers.benchmarks.pages import read_page
from tests.helpers.benchmarks.sample import device_row, sample_values

ROWS = [
    device_row("onnx-int8", "ONNX int8", 56_012_345.0),
    device_row("executorch-int8", "ExecuTorch int8", 26_400_000.0),
]


def both() -> BenchmarkReport:
    values = sample_values()
    return parse_report(values | {"rows": [*values["rows"], *ROWS]}, "x")


def alone() -> BenchmarkReport:
    changes = {"rows": ROWS, "ship": None, "gallery": [], "pictures": {}, "gallery_row": None}
    return parse_report(sample_values() | changes, "x")


def test_the_text_has_a_line_per_tower_with_counts_in_millions_and_no_millisecond():
    text = render_markdown(alone())
    lines = [line for line in text.splitlines() if line.startswith(("| ONNX", "| Exec"))]
    assert len(lines) == 4
    assert f"56.01 [55.96{TO}56.12, n = 5]" in lines[0]
    assert "64 (130 captions)" in lines[0]
    assert f"| {ABSENT} |" in lines[1]
    assert not re.search(r"\d ms", text)
    assert len({line.count("|") for line in text.partition("## Instructions")[2].splitlines() if "|" in line}) == 1


def test_what_was_measured_of_no_file_has_no_column_and_a_plain_export_misses_no_bar():
    values = json.loads(json_text(alone()))
    for row in values["rows"]:
        row["size_bytes"]["deflated"] = {"image": 700_000, "text": 2_000_000}
        for tower in row["on_device"].values():
            nothing = ("to_student", "to_host", "to_host_least", "recall", "mean_recall", "host_mean_recall")
            tower |= dict.fromkeys(nothing) | {"pictures": 0, "captions": 0}
    for tower in values["rows"][1]["on_device"].values():
        tower |= {"golden": None, "golden_passed": None}
    report = parse_report(values, "x")
    table = device_table(report).splitlines()
    assert (
        table[2] == "| row | tower | size | zipped | instructions of a call | load and first call | memory | golden |"
    )
    assert "0.70 MB" in table[4]
    assert table[6].endswith(f"| {ABSENT} |")
    assert "all 2 files reach the bar on the golden vectors" in device_answer(report)
    assert "missed" not in render_html(report)


def test_a_report_of_a_device_alone_says_whether_the_files_passed_there():
    report = alone()
    said = "Run on arm64 (emulated Cortex-A76): all 4 files reach the bar on the golden vectors."
    assert said in render_markdown(report)
    page = read_page(render_html(report))
    (section,) = (one for one in page.all("section") if one.attributes["id"] == "device")
    assert said in section.text
    assert "Instructions are counted there, and are no time" in section.text
    assert "--device arm64" in page.all("pre")[0].text


def test_a_file_that_misses_the_bar_is_said():
    values = json.loads(json_text(alone()))
    values["rows"][0]["on_device"]["image"]["golden_passed"] = False
    report = parse_report(values, "x")
    assert "1 of 4 files miss the bar" in device_answer(report)
    assert "0.99810 **missed**" in render_markdown(report)
    assert "missed" in render_html(report)


def test_its_rows_are_in_no_table_of_times():
    report = both()
    before, text = (
        render_markdown(one).partition("## Rows")[2] for one in (parse_report(sample_values(), "x"), report)
    )
    assert text.partition("##")[0].replace("**", "") == before.partition("##")[0].replace("**", "")
    tables = [table for table in read_page(render_html(report)).all("table") if "Cortex-A76" in table.text]
    assert len(tables) == 1
    lines = summary(report).splitlines()
    (head,) = (number for number, line in enumerate(lines) if line.startswith("arm64 (emulated"))
    assert [line.split()[0] for line in lines[head + 1 : head + 5]] == ["ONNX", "ONNX", "ExecuTorch", "ExecuTorch"]


def test_every_number_of_the_page_s_table_is_the_value_in_report_json():
    report = both()
    values = json.loads(json_text(report))
    (section,) = (one for one in read_page(render_html(report)).all("section") if one.attributes["id"] == "device")
    numbers = section.all("data")
    assert len(numbers) > 40
    for number in numbers:
        path, kind = number.attributes["data-from"], number.attributes["data-as"]
        assert number.text == FORMATS[kind](value_at(values, path)), path


def test_an_emulated_row_with_a_time_is_no_report():
    values = sample_values()
    values["rows"] = [values["rows"][0] | {"executed": "emulated"}]
    with pytest.raises(UserError, match="was not run by its platform, so it has no latency"):
        parse_report(values, "x")


@pytest.mark.parametrize(("times", "worse"), [(1.009, []), (0.5, []), (1.02, ["57.13 million instructions"])])
def test_more_instructions_than_before_are_a_regression(times, worse):
    values = json.loads(json_text(alone()))
    values["rows"][0]["on_device"]["image"]["instructions"]["median"] *= times
    found = check_regression(parse_report(values, "x"), alone())
    assert len(found) == len(worse)
    assert all(text in line and "it was 56.01" in line for text, line in zip(worse, found, strict=True))


def test_a_report_of_before_names_the_time_of_emulated_devices_by_arm64():
    values = sample_values()
    values["suite"] = {key: one for key, one in values["suite"].items() if key != "emulated"} | {
        "arm64": {"seconds": 7}
    }
    assert parse_report(values, "x").suite.emulated.seconds == 7

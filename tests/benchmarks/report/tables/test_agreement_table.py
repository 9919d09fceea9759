"""A report says how alike the same student's files embed, in a table for each tower."""

from __future__ import annotations

import pytest

from conaclip_edge.benchmarks.report.html import render_html
from conaclip_edge.benchmarks.report.markdown import render_markdown
from conaclip_edge.benchmarks.report.tables.agreement_table import TITLE
from conaclip_edge.benchmarks.schema.report import BenchmarkReport, parse_report
from conaclip_edge.errors import UserError
from tests.helpers.benchmarks.pages import read_page
from tests.helpers.benchmarks.sample import sample_values

ROWS = [row["id"] for row in sample_values()["rows"]][:3]


def report(rows: list[str]) -> BenchmarkReport:
    pairs = [(0, 1), (0, 2), (1, 2)]
    found = [
        {"tower": "image", "rows": [rows[one], rows[other]], "mean": 0.9 + 0.01 * place, "least": 0.5, "n": 7}
        for place, (one, other) in enumerate(pairs)
    ]
    return parse_report(sample_values() | {"agreement": found}, "x")


def test_each_cosine_stands_once_below_the_diagonal():
    text = render_markdown(report(ROWS))
    assert f"## {TITLE}" in text
    lines = [line for line in text.splitlines() if "0.9" in line and line.count("|") == 4]
    assert [line.split("|")[2].strip() for line in lines] == ["0.90000", "0.91000"]
    assert lines[1].split("|")[3].strip() == "0.92000"
    assert "Pictures, 7" in text


def test_the_page_takes_each_cosine_from_report_json():
    page = read_page(render_html(report(ROWS)))
    shown = [number for number in page.all("data") if number.attributes["data-from"].startswith("agreement/")]
    assert [number.text for number in shown] == ["0.90000", "0.91000", "0.92000"]


def test_a_row_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="agreement names no row: nothing"):
        report([*ROWS[:2], "nothing"])


def test_a_report_without_it_has_no_table():
    plain = parse_report(sample_values(), "x")
    assert TITLE not in render_markdown(plain) + render_html(plain)

from __future__ import annotations

import pytest

from conaclip_edge.benchmarks.report.numbers import ABSENT, BY, FORMATS, ReportValues, value_at
from tests.helpers.benchmarks.sample import sample_report

REPORT = {"rows": [{"id": "a", "more": [1.0, {"x": 4.0}]}, {"id": "b", "name": "<i>"}], "empty": []}


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("ms", 0.0456, "0.0456 ms"),
        ("ms", 2.1249, "2.12 ms"),
        ("ms", 123.6, "124 ms"),
        ("mb", 2_262_767, "2.26 MB"),
        ("mb", 11_600_000, "11.6 MB"),
        ("mb", 605_100_000, "605 MB"),
        ("pct", 61.25, "61.2 %"),
        ("share", 0.9973, "99.7 %"),
        ("times", 0.0712, "0.071" + BY),
        ("times", 1.994, "1.99" + BY),
        ("times", 36.14, "36.1" + BY),
        ("times", 604.9, "605" + BY),
        ("count", 1234567, "1,234,567"),
        ("rate", 3.456, "3.5 / s"),
        ("rate", 2345.6, "2,346 / s"),
    ],
)
def test_a_number_is_shown_with_about_three_digits(kind, value, shown):
    assert FORMATS[kind](value) == shown


def test_paths_name_rows_by_id_and_other_entries_by_number():
    assert value_at(REPORT, "rows/a/more/1/x") == 4.0
    assert value_at(REPORT, "rows/b/name") == "<i>"
    assert [value_at(REPORT, path) for path in ("rows/c/more", "rows/a/more/2", "empty/0", "rows/b/name/x")] == [
        None
    ] * 4


def test_what_is_absent_is_a_dash_and_never_a_zero():
    values = ReportValues(sample_report())
    there, absent = "rows/onnx-int8/size_bytes/total", "rows/gone/size_bytes/total"
    shown = [
        values.show(absent, "mb"),
        values.quotient(absent, there),
        values.interval("rows/clip-vit-b32/relative_recall/student/t2i"),
    ]
    for number in shown:
        assert ABSENT in number
        assert "data-from" not in number
    assert "data-from" not in values.quotient(there, absent)
    assert "data-from" in values.show(there, "mb")

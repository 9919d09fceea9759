from __future__ import annotations

import json

import pytest

from conaclip_edge.benchmarks.report.write import json_text
from conaclip_edge.benchmarks.schema.report import checked, parse_report, read_report
from conaclip_edge.errors import UserError
from tests.helpers.benchmarks.sample import sample_values


def changed(**top):
    return sample_values() | top


def test_a_report_survives_being_written_and_read(tmp_path):
    report = parse_report(sample_values(), "x")
    (tmp_path / "report.json").write_text(json_text(report), "utf-8")
    assert read_report(tmp_path / "report.json") == report
    assert json.loads(json_text(report))["schema"] == "conaclip-edge/report/2"


@pytest.mark.parametrize("key", ["latency_ms", "more_latency", "peak_rss_bytes", "stages"])
def test_a_row_of_the_reference_interpreter_cannot_hold_a_speed(key):
    values = sample_values()
    native, reference = values["rows"][0], values["rows"][2]
    assert reference["executed"] == "reference"
    reference[key] = native[key]
    with pytest.raises(UserError, match=r"row coreml-int8 was not run by its platform"):
        parse_report(values, "x")


def test_two_rows_of_one_id_are_refused():
    values = sample_values()
    with pytest.raises(UserError, match=r"x: .*row ids are not unique: onnx-int8"):
        parse_report(values | {"rows": [*values["rows"], values["rows"][0]]}, "x")


def test_a_row_of_an_unknown_machine_is_refused():
    values = sample_values()
    values["rows"][1]["host"] = "a phone"
    with pytest.raises(UserError, match="rows of an unknown environment: a phone"):
        parse_report(values, "x")


def test_shipping_a_row_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="ship names no row: other"):
        parse_report(changed(ship="other"), "x")


def test_an_unknown_key_is_refused_with_its_path():
    values = sample_values()
    values["rows"][0]["latency_ms"]["image"]["p51"] = 1.0
    with pytest.raises(UserError, match=r"a\.json: 'rows\.0\.latency_ms\.image\.p51': Extra inputs are not permitted"):
        parse_report(values, "a.json")


def test_nan_is_no_number():
    values = sample_values()
    values["rows"][0]["mean_recall"] = float("nan")
    with pytest.raises(UserError, match=r"rows\.0\.mean_recall"):
        parse_report(values, "x")


def test_a_report_that_is_put_together_from_others_is_checked_too():
    report = parse_report(sample_values(), "x")
    assert checked(report, "y") == report
    with pytest.raises(UserError, match=r"y: .*ship names no row: other"):
        checked(report.model_copy(update={"ship": "other"}), "y")


def test_an_older_report_names_the_schema_that_is_needed(tmp_path):
    values = sample_values() | {"schema": "conaclip-edge/report/1"}
    for row in values["rows"]:
        if "relative_recall" in row:
            row["retention"] = row.pop("relative_recall")  # as schema 1 called it
    (tmp_path / "old.json").write_text(json.dumps(values), "utf-8")
    with pytest.raises(
        UserError,
        match=r"^.*old\.json: 'schema': Input should be '.*/report/2'\. A report of schema .*/report/2 is needed\.$",
    ):
        read_report(tmp_path / "old.json")

"""What of a report is worse than in an earlier one."""

from __future__ import annotations

from typing import Any

import pytest

from conaclip_edge.benchmarks.report.regression import check_regression
from conaclip_edge.benchmarks.schema.report import parse_report
from conaclip_edge.errors import UserError
from tests.helpers.benchmarks.sample import sample_values


def regressions(current: dict[str, Any], baseline: dict[str, Any]) -> list[str]:
    return check_regression(parse_report(current, "the report"), parse_report(baseline, "the baseline"))


def row_of(values: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in values["rows"] if row["id"] == name)


def test_the_same_report_is_no_regression():
    assert regressions(sample_values(), sample_values()) == []


def test_any_loss_of_recall_on_the_same_machine_counts():
    values = sample_values()
    row_of(values, "onnx-int8")["recall"]["i2t"]["5"] -= 0.6
    found = regressions(values, sample_values())
    assert len(found) == 1
    assert found[0].startswith("ONNX int8: i2t recall fell from ")
    assert regressions(sample_values(), values) == []


def test_other_instruction_sets_may_cost_half_a_point_of_recall():
    values = sample_values()
    values["environment"]["isa"] = ["asimddp"]
    row_of(values, "onnx-int8")["recall"]["i2t"]["5"] -= 1.2  # 0.4 of the mean
    assert regressions(values, sample_values()) == []
    row_of(values, "onnx-int8")["recall"]["i2t"]["5"] -= 1.2
    assert len(regressions(values, sample_values())) == 1


def slower(factor: float, width: float = 0.01) -> dict[str, Any]:
    values = sample_values()
    found = row_of(values, "executorch-int8")["latency_ms"]["image"]["ratio_to"]["teacher-fp32"]
    median = factor * found["median"]
    found |= {"median": median, "q25": (1 - width) * median, "q75": (1 + width) * median}
    return values


def test_a_ratio_that_grew_beyond_the_noise_counts():
    found = regressions(slower(1.3), sample_values())
    assert len(found) == 1
    assert found[0].startswith("ExecuTorch int8: image tower takes 0.0")
    assert "teacher-fp32's time" in found[0]


def test_a_ratio_within_the_noise_or_a_tenth_does_not_count():
    assert regressions(slower(1.3, width=0.5), sample_values()) == []
    assert regressions(slower(1.09, width=0.0001), slower(1, width=0.0001)) == []
    assert len(regressions(slower(1.11, width=0.0001), slower(1, width=0.0001))) == 1


@pytest.mark.parametrize("side", [0, 1])
def test_a_timing_that_was_marked_as_noisy_has_to_be_slower_by_half(side):
    for factor, count in ((1.3, 0), (1.6, 1)):
        pair = slower(factor, width=0.0001), slower(1, width=0.0001)
        row_of(pair[side], "executorch-int8")["latency_ms"]["image"]["noisy"] = True
        assert len(regressions(*pair)) == count


def test_absolute_times_and_other_machines_say_nothing_about_speed():
    values = sample_values()
    row_of(values, "executorch-int8")["latency_ms"]["image"]["p50"] *= 3
    assert regressions(values, sample_values()) == []
    other = slower(1.3)
    other["environment"]["cores"] = 64
    assert regressions(other, sample_values()) == []


def test_a_row_or_recall_that_is_gone_counts():
    values = sample_values()
    values["rows"] = [row for row in values["rows"] if row["id"] != "onnx-int8"]
    row_of(values, "executorch-int8")["recall"] = None
    assert regressions(values, sample_values()) == [
        "ONNX int8: the row is gone",
        "ExecuTorch int8: recall is gone",
    ]


def test_a_baseline_on_other_data_is_refused():
    values = sample_values()
    values["dataset"]["split"] = "val"
    with pytest.raises(UserError, match="measured on other data; their recall does not compare"):
        regressions(values, sample_values())

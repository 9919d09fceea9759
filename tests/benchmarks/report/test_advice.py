"""A report says "Ship" only where it can know: enough pictures, a model above chance, and a phone's own timings."""

from __future__ import annotations

from typing import Any

import pytest

from conaclip_edge.benchmarks.report.advice import advice
from conaclip_edge.benchmarks.report.html import render_html
from conaclip_edge.benchmarks.report.markdown import answer, render_markdown
from conaclip_edge.benchmarks.schema.report import BenchmarkReport, parse_report
from conaclip_edge.benchmarks.schema.row_ids import STUDENT, TEACHER
from tests.helpers.benchmarks.sample import sample_values


def report(chance: float = 3.0, interval: tuple[float, float] | None = (60.0, 68.0), **changes: Any) -> BenchmarkReport:
    values = sample_values()
    values["dataset"] |= {"chance": chance} | changes.pop("dataset", {})
    for row in values["rows"]:
        if row["recall"] and row["group"] != "training":
            row["mean_interval"] = interval
    return parse_report(values | changes, "x")


def with_a_phone() -> BenchmarkReport:
    values = report().model_dump(mode="json", by_alias=True)
    phone = values["environment"] | {"label": "Pixel 8", "kind": "phone"}
    shipped = next(row for row in values["rows"] if row["id"] == values["ship"])
    row = shipped | {"id": "on-a-phone", "host": "Pixel 8"}
    return parse_report(values | {"other_environments": [phone], "rows": [*values["rows"], row]}, "x")


def test_timings_of_a_host_alone_recommend_nothing_for_a_phone() -> None:
    found = report()
    assert advice(found).headline == "Fastest here:"
    assert answer(found).startswith("Fastest here: **ExecuTorch int8**")
    assert "No phone was timed" in answer(found)
    assert "--device android" in answer(found)
    assert "Ship" not in render_html(found)


def test_with_a_phone_s_timings_the_row_is_to_ship() -> None:
    found = with_a_phone()
    assert advice(found).headline == "Ship"
    assert "No phone was timed" not in answer(found)


@pytest.mark.parametrize("changes", [{"dataset": {"pictures": 10}}, {"interval": (40.0, 75.0)}])
def test_too_few_pictures_are_called_that_with_what_to_do(changes: dict[str, Any]) -> None:
    found = report(ship=None, **changes)
    for text in (answer(found), render_html(found), render_markdown(found)):
        assert "Too few pictures to tell" in text
        assert "too few to tell what recall is left" in text
        assert "Ship" not in text
    assert "--data FOLDER" in advice(found).next


def test_a_model_at_chance_is_called_that() -> None:
    found = report(chance=62.0, ship=None)
    assert advice(found).headline == "The model is at chance"
    assert "a random order gives 62.0 %" in answer(found)
    assert "The model is at chance" in render_html(found)


def without_rows(found: BenchmarkReport, *ids: str) -> BenchmarkReport:
    values = found.model_dump(mode="json", by_alias=True)
    return parse_report(values | {"rows": [row for row in values["rows"] if row["id"] not in ids]}, "x")


def test_without_the_float_model_nothing_is_said_of_the_recall_that_is_left() -> None:
    found = advice(without_rows(report(ship=None), STUDENT))
    assert found.headline == "Nothing to ship yet"
    assert "no relative recall was measured" in found.known
    assert "--set student=FOLDER" in found.next


def test_a_model_at_chance_that_had_no_teacher_is_sent_to_none() -> None:
    found = advice(without_rows(report(chance=62.0, ship=None), TEACHER))
    assert "teacher" not in found.next.lower()
    assert "captions" in found.next


def test_recall_is_shown_with_pictures_chance_and_intervals() -> None:
    text = render_markdown(report())
    assert "Recall over 178 pictures and 512 captions; chance: 3.0 % in the mean of the six" in text
    assert "[60.0 to 68.0]" in text

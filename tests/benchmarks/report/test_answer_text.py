"""What a report says first, as Markdown and on a terminal."""

from __future__ import annotations

import re
from typing import Any

import pytest

from conaclip_edge.benchmarks.report.answer_text import answer, answer_lines, opening
from conaclip_edge.benchmarks.report.html import render_html
from conaclip_edge.benchmarks.report.markdown import render_markdown
from conaclip_edge.benchmarks.report.numbers import TO
from conaclip_edge.benchmarks.schema.row_ids import TEACHER
from tests.helpers.benchmarks.choices import Values, counted, host, on_a_phone, parsed, rows_of, without

PLATFORMS = ["iPhone", "Android", "Browser", "Server"]
ARM64 = {"onnx-int8": (56.0, 0.8), "executorch-int8": (26.57, 0.69)}


def table(text: str) -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in re.findall(r"^\|.*", text, re.M)[2:6]]
    return {line[0]: line[1:] for line in lines}


def test_each_platform_has_a_line_with_files_recall_size_and_cost() -> None:
    found = table(answer(parsed(counted(host(), ARM64))))
    assert list(found) == PLATFORMS
    assert found["Android"] == [
        "**ExecuTorch int8**", f"41.1 % [60.0{TO}68.0]", "3.00 MB", "26.57 M instructions", "0.690 M instructions",
        "+32.0 MB on this machine",
    ]  # fmt: skip
    assert found["iPhone"][3:] == ["not measured"] * 3


def test_instructions_are_never_called_a_time_and_the_lead_says_what_decided() -> None:
    text = answer(parsed(counted(host(), ARM64)))
    assert "No phone was timed. Android is decided by instructions counted on arm64, which are no time." in text
    (android,) = re.findall(r"^- \*\*Android\*\*.*", text, re.M)
    assert " ms" not in android


def test_without_counts_or_a_phone_the_lead_says_that_neither_is_there() -> None:
    assert opening(parsed(host())).lead.startswith("No phone was timed, and no instructions were counted on arm64")


def test_a_phone_that_was_timed_is_named() -> None:
    values = on_a_phone(host(), "Pixel 9", "Android 16", {"executorch-int8": (4.0, 1.0)})
    assert opening(parsed(values)).lead == "Timed on Pixel 9; no iPhone was timed."


def test_recall_stands_with_pictures_chance_the_teacher_s_and_what_is_left() -> None:
    text = answer(parsed(host()))
    assert "over 178 held-out pictures with 512 captions" in text
    assert re.search(r"chance gives 3\.0 %, the teacher \d\d\.\d %, the float32 student \d\d\.\d %", text)
    assert (
        f"It keeps 99.7 % [98.5{TO}100.8] from text to picture and 99.5 % [98.3{TO}100.6] from picture to text" in text
    )
    assert "of the float32 student's recall" in text


def test_a_model_that_was_not_distilled_is_called_no_student() -> None:
    values = host()
    rows_of(values)["student-fp32"]["label"] = "Float32 model"
    for text in (render_markdown(parsed(values)), render_html(parsed(values))):
        assert "float32 model" in text
        assert "float32 student" not in text


def test_the_terminal_has_a_line_per_platform_and_the_next_commands() -> None:
    lines = answer_lines(parsed(counted(host(), ARM64)))
    assert [line.split()[0] for line in lines[:4]] == PLATFORMS
    assert "per picture 26.57 M instructions" in lines[1]
    assert "not measured" not in "\n".join(lines)
    assert "Next for iPhone: conaclip-edge benchmark runs/demo/bundle --device ios" in lines


def few(values: Values) -> None:
    values["dataset"]["pictures"] = 10


def wide(values: Values) -> None:
    for row in values["rows"]:
        if row.get("mean_interval"):
            row["mean_interval"] = (40.0, 75.0)


@pytest.mark.parametrize("change", [few, wide])
def test_too_few_pictures_are_called_that_with_what_to_do(change: Any) -> None:
    values = host()
    change(values)
    report = parsed(values)
    assert opening(report).choices == ()
    for text in (answer(report), render_html(report), render_markdown(report), "\n".join(answer_lines(report))):
        assert "Too few pictures to tell" in text
        assert "too few to tell what recall is left" in text
        assert "So no file is named for iPhone, Android, browser or server" in text
        assert "--data FOLDER" in text


def test_a_model_at_chance_is_called_that() -> None:
    values = host()
    values["dataset"]["chance"] = 62.0
    assert "a random order gives 62.0 %" in answer(parsed(values))
    assert "The model is at chance" in render_html(parsed(values))
    assert "conaclip-edge evaluate TEACHER" in answer(parsed(values))


def test_a_model_at_chance_that_had_no_teacher_is_sent_to_none() -> None:
    values = without(host(), TEACHER)
    values["dataset"]["chance"] = 62.0
    said = answer(parsed(values)).lower()
    assert "teacher" not in said
    assert "captions" in said


def test_where_nothing_can_be_chosen_the_title_says_so() -> None:
    values = host()
    for name in ("onnx-int8", "executorch-int8", "coreml-int8"):
        for way in rows_of(values)[name]["relative_recall"]["student"].values():
            way |= {"value": 0.9, "low": 0.86, "high": 0.95}
    found = opening(parsed(values))
    assert found.title == "Nothing to ship yet"
    assert [one.platform for one in found.choices] == PLATFORMS

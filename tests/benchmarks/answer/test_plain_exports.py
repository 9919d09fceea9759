"""A choice is compared with the plain exports that keep the recall, and says so where one of them takes less."""

from __future__ import annotations

import pytest

from conaclip_edge.benchmarks.report.answer_text import answer, answer_lines
from conaclip_edge.benchmarks.report.html import render_html
from conaclip_edge.benchmarks.report.markdown import render_markdown
from conaclip_edge.benchmarks.report.numbers import BY, TO
from tests.helpers.benchmarks.choices import LABELS, Values, choice, counted, host, parsed, with_plain
from tests.helpers.benchmarks.pages import read_page


def texts(values: Values) -> list[str]:
    """What Markdown, page and terminal say first, without marks."""
    report = parsed(values)
    page = " ".join(read_page(render_html(report)).all("section")[0].text.split())
    return [answer(report).replace("**", ""), page, "\n".join(answer_lines(report))]


def compared(values: Values) -> dict[str, tuple[str, str]]:
    return {one.tower: (one.row, one.takes) for one in choice(values, "Server").plain}


def test_a_plain_export_that_is_faster_is_named_and_called_faster() -> None:
    values = with_plain(host(), {"plain-onnx-fp32": (1.25, 1.5), "plain-executorch": (0.8, 0.6)})
    assert compared(values) == {"image": ("plain-onnx-fp32", "more"), "text": ("plain-onnx-fp32", "more")}
    for text in texts(values):
        assert "Plain ONNX float32 is faster for a picture: ExecuTorch int8 takes " in text
        assert f"1.25{BY} [1.12{TO}1.38] its time, at 1.00{BY} its size" in text


def test_each_tower_is_compared_with_the_plain_export_that_is_the_fastest_for_it() -> None:
    values = with_plain(host(), {"plain-onnx-fp32": (1.2, 0.3), "plain-executorch": (0.8, 0.6)})
    assert compared(values) == {"image": ("plain-onnx-fp32", "more"), "text": ("plain-executorch", "less")}
    assert "For a query it takes 0.600" in answer(parsed(values))


def test_a_difference_below_what_the_rounds_can_tell_is_none() -> None:
    for ratio in (1.004, 0.996, 1.03, 0.97):  # over 64 rounds whose quartiles are 20 % apart
        values = with_plain(host(), {"plain-onnx-fp32": (ratio, ratio)})
        assert {takes for _, takes in compared(values).values()} == {"as much"}
    assert all("is faster" not in text for text in texts(values))


def test_a_plain_export_that_does_less_work_on_arm64_is_named_with_its_size() -> None:
    values = with_plain(host(), {"plain-executorch": (0.8, 0.6)})
    plain = next(one for one in values["rows"] if one["id"] == "plain-executorch")
    plain["size_bytes"] = {"image": 3_600_000, "text": 8_400_000, "total": 12_000_000}
    counts = {"onnx-int8": (56.0, 0.8), "executorch-int8": (26.4, 0.7), "plain-executorch": (19.8, 7.7)}
    values = counted(values, counts)
    next(one for one in values["rows"] if one["id"] == "plain-executorch-arm64")["size_bytes"] = plain["size_bytes"]
    assert choice(values, "Android").row == "executorch-int8"
    for text in texts(values):
        assert "Plain ExecuTorch float32 does less work for a picture: ExecuTorch int8 takes " in text
        assert f"1.33{BY} its instructions, at 0.250{BY} its size" in text
    assert f"For a query it takes 0.091{BY} the instructions of Plain ExecuTorch float32" in texts(values)[0]


@pytest.mark.parametrize("name", ["plain-onnx-static", "plain-executorch"])
def test_a_fast_plain_export_that_loses_recall_is_shown_with_it_and_is_compared_with_nothing(name: str) -> None:
    values = with_plain(host(), {name: (3.0, 3.0), "plain-onnx-fp32": (0.7, 0.3)}, lossy=(name,))
    assert {row for row, _ in compared(values).values()} == {"plain-onnx-fp32"}
    lost = f"Never chosen, as their relative recall is below 99.0 %: {LABELS[name]}, 90.0 % and 90.0 %."
    assert lost in render_markdown(parsed(values))
    assert lost in render_html(parsed(values))


def test_without_plain_exports_nothing_is_said_of_them() -> None:
    assert all("lain" not in text for text in texts(with_plain(host(), {})))

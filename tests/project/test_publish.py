"""`python -m tests.tools.publish` leaves the result, and the pages that are rendered from it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from conaclip_edge.benchmarks.answer.platforms import decided
from conaclip_edge.benchmarks.report.results_page import results_page
from conaclip_edge.benchmarks.report.write import json_text
from conaclip_edge.benchmarks.schema.report import read_report
from tests.helpers.benchmarks.choices import counted, host, parsed, with_plain
from tests.helpers.benchmarks.sample import sample_report
from tests.tools.first_table import first_table
from tests.tools.publish import BEGIN, END, HEIGHT, WIDTH, publish


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository of two pages, and a report beside it."""
    for folder in ("benchmarks/results", "docs/results", "docs/images"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    (tmp_path / "root/README.md").write_text(f"before\n{BEGIN}old\n{END}\nafter\n", "utf-8")
    (tmp_path / "report.json").write_text(json_text(sample_report()), "utf-8")
    return tmp_path / "root"


def test_a_result_is_kept_without_pictures_and_shown_on_the_page_of_results(root: Path) -> None:
    publish(root.parent / "report.json", "other", root)
    kept = read_report(root / "benchmarks/results/other.json")
    assert kept.rows == sample_report().rows
    assert [one.platform for one in kept.platforms] == ["iPhone", "Android", "Browser", "Server"]
    assert not kept.pictures
    assert (root / "docs/results/benchmarks.md").read_text("utf-8") == results_page(root / "benchmarks")
    assert "`results/other.json`" in results_page(root / "benchmarks")
    assert "old" in (root / "README.md").read_text("utf-8")


def test_the_demo_s_table_and_its_picture_are_renewed(root: Path) -> None:
    plain = with_plain(host(), {"plain-onnx-fp32": (1.0, 0.5)})
    report = decided(parsed(counted(plain, {"executorch-int8": (9, 1), "plain-onnx-fp32": (56, 6)})))
    (root.parent / "report.json").write_text(json_text(report), "utf-8")
    for _ in range(2):  # again: nothing is added twice
        publish(root.parent / "report.json", "demo", root)
    text = (root / "README.md").read_text("utf-8")
    assert text == f"before\n{BEGIN}\n{first_table(report)}\n\n{END}\nafter\n"
    with Image.open(root / "docs/images/report.png") as picture:
        assert picture.size == (WIDTH, HEIGHT)


def test_a_readme_without_the_marks_is_left_as_it_is(root: Path) -> None:
    (root / "README.md").write_text("nothing", "utf-8")
    with pytest.raises(AssertionError, match=r"README\.md has no line"):
        publish(root.parent / "report.json", "demo", root)
    assert (root / "README.md").read_text("utf-8") == "nothing"

"""README's first screen shows what the committed results say, and names commands that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from conaclip_edge.benchmarks.markdown import answer, rows_table
from conaclip_edge.benchmarks.schema import read_report
from conaclip_edge.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["openmoji", "openmoji-seed0", "demo", "demo-same-pairs"])
def test_the_recall_table_is_that_of_the_committed_results(name: str) -> None:
    results = json.loads((ROOT / "distill" / "results" / f"{name}.json").read_text("utf-8"))
    for graph, row in results["rows"].items():
        cells = [" / ".join(f"{value:.1f}" for value in row["recall"][way].values()) for way in ("t2i", "i2t")]
        mean = f"{row['mean']:.1f}" + (f" ± {row['spread']:.1f}" if row["spread"] is not None else "")
        line = f"| student, `{graph}` | {cells[0]} | {cells[1]} | {mean} |"
        assert line in README


def test_the_first_screen_shows_the_committed_report() -> None:
    report = read_report(ROOT / "benchmarks" / "results" / "demo.json")
    first = README[: README.index("## What it does")]
    assert answer(report) in first
    assert rows_table(report) in first
    assert "(benchmarks/report.png)" in first
    assert (ROOT / "benchmarks" / "report.png").read_bytes().startswith(b"\x89PNG")


def test_every_command_of_the_readme_exists() -> None:
    known = {info.name or info.callback.__name__ for info in app.registered_commands if info.callback}
    named = set(re.findall(r"^conaclip-edge ([a-z-]+)", README, flags=re.MULTILINE))
    assert named
    assert named <= known

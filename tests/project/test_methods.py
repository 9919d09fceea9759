"""The page of the methods shows the committed comparisons, and their verdicts are those of the figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conaclip_edge.config.graph import PRESETS
from conaclip_edge.study.report import ComparisonReport, SeedsRecall

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "results" / "methods.md").read_text("utf-8")
METHODS = ("conaclip", "clip-kd", "tinyclip", "open-clip", "mobileclip", "dime-fm", "conaclip-tbps", "motis")


def comparison(data: str, split: str) -> ComparisonReport:
    values = json.loads((ROOT / "distill" / "results" / f"methods-{data}-{split}.json").read_text("utf-8"))
    report = ComparisonReport.model_validate(values)
    assert report.model_dump(mode="json") == values
    return report


def cells(row: object) -> str:
    assert isinstance(row, SeedsRecall)
    mean = f"{row.mean:.1f} ± {row.spread:.1f}"
    if row.difference is None or row.interval_95 is None:
        return f"{mean} |"
    low, high = row.interval_95
    return f"{mean} | {row.difference:+.1f} [{low:+.1f}, {high:+.1f}]"


@pytest.mark.parametrize("data", ["openmoji", "game-icons"])
def test_the_table_of_a_data_set_is_that_of_its_two_comparisons(data: str) -> None:
    val, test = comparison(data, "val"), comparison(data, "test")
    assert val.recipe == test.recipe
    assert tuple(val.rows) == tuple(test.rows) == METHODS
    for name in METHODS:
        assert f"| `{name}` | {cells(val.rows[name])} | {cells(test.rows[name])} |" in PAGE, name


def test_the_table_of_formulas_has_every_preset_but_the_one_of_all_learning_types() -> None:
    for name in PRESETS.keys() - {"all-types"}:
        assert f"| `{name}` | " in PAGE

"""The page of exports shows the committed results of int8 students."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "results" / "export.md").read_text("utf-8")


def committed(name: str) -> Any:
    return json.loads((ROOT / "distill" / "results" / name).read_text("utf-8"))


def test_the_recall_of_int8_students_is_that_of_the_committed_result() -> None:
    rows = committed("int8-recall.json")["rows"]
    assert {"demo, float", "demo, prune=0", "demo, prune=0.1", "mobile-int8-s, prune=0.1"} <= set(rows)
    for name, row in rows.items():
        if name.startswith("mobile") and name.endswith("float"):
            continue
        shown = []
        for found in (row["val"], row["test"]):
            cell = f"{found['mean']:.1f} ± {found['spread']:.1f}"
            if "more_than_float" in found:
                low, high = found["more_than_float_95"]
                cell += f" ({found['more_than_float']:+.1f} [{low:+.1f}, {high:+.1f}])"
            shown.append(cell)
        assert f"| {' | '.join(shown)} |" in PAGE, name


def test_the_files_of_int8_students_are_those_of_the_committed_result() -> None:
    students = committed("int8-towers.json")["students"]
    assert {student["preset"] for student in students} == {"demo", "mobile-int8-s", "mobile-int8-m"}
    for student in students:
        files = student["files"]
        counts = [f"{files[kind]['instructions'] / 1e6:.2f}" for kind in (".onnx", ".pte")]
        sizes = " / ".join(f"{files[kind]['of_float32']:.3f}" for kind in (".onnx", ".ort", ".pte"))
        if student["preset"] == "demo":
            assert f"| {' / '.join(counts)} | {sizes} |" in PAGE
        if student["prune"] == 0.1:
            row = (student["layers"], f"{student['parameters'] / 1e6:.2f}", *counts, sizes)
            assert f"| `{student['preset']}` | {' | '.join(map(str, row))} |" in PAGE

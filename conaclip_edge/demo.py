"""The whole job on the embedded default: teacher, students at equal budget, bundle, benchmark, report."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from conaclip_edge.config import DistillConfig, TeacherConfig
from conaclip_edge.distill.compare import compare, recall_table
from conaclip_edge.distill.join import train_teacher
from conaclip_edge.files import atomic_folder, read_json, write_json
from conaclip_edge.progress import say
from conaclip_edge.recipes import point_latest

GRAPHS = ["infonce", "motis", "conaclip"]


def demo(home: Path) -> dict[str, Any]:
    """Run everything; parts that are finished in `home` are kept.

    Args:
        home: gets teacher/, student/, baselines/, comparison.json.

    Returns:
        {"n": .., "split": "test", "rows": {"teacher": .., "infonce": .., "motis": .., "conaclip": ..}}.
    """
    teacher = home / "teacher"
    if not (teacher / "training.json").exists():
        say("1/3 teacher: EfficientNet-Lite0 and MiniLM joined by a head")
        train_teacher(TeacherConfig(name="demo-teacher"), teacher)
    say("2/3 students: the same recipe with three graphs")
    config = DistillConfig(name="demo", teacher=str(teacher))
    comparison = compare(config, GRAPHS, [config.seed], home / "baselines")
    student = home / "student"
    with atomic_folder(student) as target:
        shutil.copytree(home / "baselines" / f"conaclip-s{config.seed}", target, dirs_exist_ok=True)
    point_latest(student)
    measured = read_json(teacher / "training.json", "teacher record")["test"]
    rows = {"teacher": {"recall": measured["recall"], "mean": measured["mean_recall"]}, **comparison["rows"]}
    comparison = comparison | {"rows": rows}
    write_json(home / "comparison.json", comparison)
    return comparison


def demo_table(comparison: dict[str, Any]) -> str:
    """Format the comparison for a terminal."""
    return recall_table(comparison["rows"], comparison["n"], comparison["split"])

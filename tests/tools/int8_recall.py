"""Recall of students that were trained to be int8, by preset: the curve of docs/results/export.md.

    python -m tests.tools.int8_recall runs/int8/*-s? --out distill/results/int8-recall.json

Each student has `quantization.json`. Its pictures go through the int8 tower, whose whole numbers are those of an
exported file; students of one preset differ in their seed alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from conaclip_edge.benchmarks.measure.machine import environment
from conaclip_edge.data.load import read_pairs
from conaclip_edge.evaluation.evaluate import rank_split, recorded_data
from conaclip_edge.evaluation.mean_interval import certainty_of
from conaclip_edge.evaluation.recall import Ranks
from conaclip_edge.evaluation.torch_encoders import student_encoder
from conaclip_edge.models.certainty import mean_certainty
from conaclip_edge.models.student.checkpoint import load_student
from conaclip_edge.models.student.folder import read_training
from conaclip_edge.models.student.int8_student import int8_student
from conaclip_edge.study.statistics import mean_and_spread
from conaclip_edge.system.files import write_json
from conaclip_edge.system.progress import quiet

SPLITS = ("val", "test")


def ranks_of(folder: Path) -> dict[str, Ranks]:
    """Return the ranks of a student's int8 tower by split."""
    student, data = load_student(folder), recorded_data(folder)
    if student.quantization is None:
        raise SystemExit(f"{folder} was not trained to be int8")
    encoder = student_encoder(replace(student, model=int8_student(student.model, student.quantization.image)))
    pairs = read_pairs(data)
    return {split: rank_split(encoder, pairs, split, data)[0] for split in SPLITS}


def row(folders: Sequence[Path]) -> dict[str, Any]:
    """Return what the students of one preset find, by split."""
    found = [ranks_of(folder) for folder in folders]
    content: dict[str, Any] = {"seeds": [read_training(folder)["recipe"]["seed"] for folder in folders]}
    for split in SPLITS:
        ranks = [one[split] for one in found]
        means = [one.mean_recall() for one in ranks]
        mean, spread = mean_and_spread(means)
        certainty = mean_certainty([certainty_of(one) for one in ranks])
        interval = certainty.interval_95 if certainty else None
        content[split] = {"n": len(ranks[0].i2t), "mean": mean, "spread": spread, "mean_recall": means}
        content[split]["interval_95"] = interval
    return content


def main() -> None:
    """Measure the students of every preset."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("students", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    presets: dict[str, list[Path]] = {}
    for folder in sorted(arguments.students):
        presets.setdefault(read_training(folder)["recipe"]["student"]["preset"], []).append(folder)
    recipes = {
        name: {
            key: value
            for key, value in read_training(folders[0])["recipe"].items()
            if key not in ("name", "seed", "student")
        }
        for name, folders in presets.items()
    }
    first = next(iter(recipes.values()))
    if any(recipe != first for recipe in recipes.values()):
        raise SystemExit("the students' recipes differ in more than the student")
    with quiet():
        rows = {name: row(folders) for name, folders in presets.items()}
    content = {"recipe": first, "environment": json.loads(environment().model_dump_json()), "rows": rows}
    write_json(arguments.out, content)


if __name__ == "__main__":
    main()

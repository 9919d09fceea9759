"""Recall of students that were trained to be int8, beside their float students: the tables of docs/results/export.md.

    python -m tests.tools.int8_recall runs/int8/* --out distill/results/int8-recall.json

Pictures of a student with `quantization.json` go through its int8 tower, whose whole numbers are those of an exported
file. A row is a preset and the share of weights that was left out; its students differ in their seed alone, and are
compared with float students of the same preset and seeds where they are given.
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
from conaclip_edge.evaluation.paired_bootstrap import paired_bootstrap
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
FLOAT = "float"
Found = list[dict[str, Ranks]]


def recipe_of(folder: Path) -> dict[str, Any]:
    """Return the recipe that a student was trained by."""
    recipe: dict[str, Any] = read_training(folder)["recipe"]
    return recipe


def row_of(folder: Path) -> tuple[str, str]:
    """Return a student's preset, and "float" or the share of weights that was left out."""
    recipe = recipe_of(folder)
    qat = recipe["train"].get("qat")
    return recipe["student"]["preset"], f"prune={qat['prune']:g}" if qat else FLOAT


def ranks_of(folder: Path) -> dict[str, Ranks]:
    """Return the ranks of a student by split; those of its int8 tower where it has one."""
    student, data = load_student(folder), recorded_data(folder)
    if student.quantization is not None:
        student = replace(student, model=int8_student(student.model, student.quantization.image))
    encoder, pairs = student_encoder(student), read_pairs(data)
    return {split: rank_split(encoder, pairs, split, data)[0] for split in SPLITS}


def row(found: Found, base: Found | None) -> dict[str, Any]:
    """Return what the students of one row find, by split, and how much more than the float ones, with intervals."""
    content: dict[str, Any] = {}
    for split in SPLITS:
        ranks = [one[split] for one in found]
        means = [one.mean_recall() for one in ranks]
        mean, spread = mean_and_spread(means)
        certainty = mean_certainty([certainty_of(one) for one in ranks])
        interval = certainty.interval_95 if certainty else None
        content[split] = {"n": len(ranks[0].i2t), "mean": mean, "spread": spread, "mean_recall": means}
        content[split]["interval_95"] = interval
        if base is not None:
            more, interval = paired_bootstrap(ranks, [one[split] for one in base])
            content[split] |= {"more_than_float": more, "more_than_float_95": interval}
    return content


def same_recipe(folders: Sequence[Path]) -> dict[str, Any]:
    """Return what the students' recipes share; ends where they differ in more than a row or a seed.

    Raises:
        SystemExit: they do.
    """
    recipes = []
    for folder in folders:
        recipe = {key: value for key, value in recipe_of(folder).items() if key not in ("name", "seed", "student")}
        recipe["train"] = {key: value for key, value in recipe["train"].items() if key != "qat"}
        recipes.append(recipe)
    if any(recipe != recipes[0] for recipe in recipes):
        raise SystemExit("the students' recipes differ in more than the student and its int8 steps")
    return recipes[0]


def main() -> None:
    """Measure the students of every row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("students", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipe = same_recipe(arguments.students)
    rows: dict[tuple[str, str], dict[int, Path]] = {}
    for folder in arguments.students:
        rows.setdefault(row_of(folder), {})[recipe_of(folder)["seed"]] = folder
    found: dict[tuple[str, str], dict[int, dict[str, Ranks]]] = {}
    with quiet():
        for key, students in rows.items():
            found[key] = {seed: ranks_of(students[seed]) for seed in sorted(students)}
    content: dict[str, Any] = {"recipe": recipe, "environment": json.loads(environment().model_dump_json()), "rows": {}}
    for (preset, kind), ranks in sorted(found.items()):
        floats = found.get((preset, FLOAT), {})
        base = [floats[seed] for seed in ranks] if kind != FLOAT and set(ranks) <= set(floats) else None
        content["rows"][f"{preset}, {kind}"] = {"seeds": list(ranks)} | row(list(ranks.values()), base)
    write_json(arguments.out, content)


if __name__ == "__main__":
    main()

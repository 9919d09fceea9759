"""Which part of the int8 steps gains what, on val: the ablation of distill/README.md.

    python -m tests.tools.int8_ablation runs/float-s0 runs/float-s1 runs/float-s2 --out distill/results/int8-steps.json

Each student is a finished float one of a recipe without `train.qat`, of another seed. It is trained on as `train.qat`
does, with the rounding of activations, of weights, of both or of neither, and once with both and no term that looks at
the teacher. All are then measured in int8: what was trained without the rounding of weights is fitted as it is before
any int8 step.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor

from conaclip_edge.benchmarks.measure.machine import environment
from conaclip_edge.config.distill import QatConfig
from conaclip_edge.config.graph import GraphConfig
from conaclip_edge.config.parse import parse
from conaclip_edge.distill import graph
from conaclip_edge.distill.examples import student_pictures
from conaclip_edge.distill.int8_start import start_int8
from conaclip_edge.distill.steps.negative_queue import TeacherQueue
from conaclip_edge.distill.steps.optimizer import lr_factor, make_qat_optimizer
from conaclip_edge.distill.trainer import Trainer
from conaclip_edge.evaluation.paired_bootstrap import paired_bootstrap
from conaclip_edge.evaluation.recall import Ranks
from conaclip_edge.models.quantization import mobile
from conaclip_edge.models.quantization.fake_quantize import FakeQuantize
from conaclip_edge.models.quantization.int8_weights import weight_scale
from conaclip_edge.models.quantization.sites import image_sites
from conaclip_edge.models.student.checkpoint import load_student
from conaclip_edge.models.student.folder import read_training
from conaclip_edge.models.student.int8_student import Int8Student, int8_student
from conaclip_edge.models.student.record import TrainingRecord
from conaclip_edge.study.statistics import mean_and_spread
from conaclip_edge.system.files import write_json


class Cell(NamedTuple):
    """What is rounded while it trains, and the graph; None is the recipe's."""

    activations: bool
    weights: bool
    graph: str | None = None


WHOLE = "both"
CELLS = {
    "neither": Cell(False, False),
    "activations": Cell(True, False),
    "weights": Cell(False, True),
    WHOLE: Cell(True, True),
    "both, no teacher": Cell(True, True, "infonce"),
}


class _Exact(FakeQuantize):
    """Counts in steps of a grid and rounds nothing."""

    def forward(self, sums: Tensor, factor: Tensor) -> Tensor:
        return sums * factor


class _ExactRelu6(FakeQuantize):
    """The same with ReLU6, which is the end of such a grid."""

    def forward(self, sums: Tensor, factor: Tensor) -> Tensor:
        return (sums * factor).clamp(0, 6 / float(self.scale))


def exact_activations(tower: mobile.Int8MobileTower) -> None:
    """Let a tower round no activation."""
    for name, kind in image_sites(tower.config).items():
        tower.site(name).__class__ = _ExactRelu6 if kind == "relu6" else _Exact


@contextmanager
def exact_weights() -> Iterator[None]:
    """Let no tower round weights or biases."""

    def scaled(weight: Tensor) -> tuple[Tensor, Tensor]:
        scale = weight_scale(weight)
        return weight / scale, scale.flatten()

    with (
        patch.object(mobile, "whole_weight", scaled),
        patch.object(mobile, "whole", lambda x, scale: x / scale),
        patch.object(mobile, "to_half", lambda bias: bias),
        patch.object(mobile, "round_weight", lambda weight: weight),
    ):
        yield


def ranks_of(folder: Path, qat: QatConfig, scratch: Path) -> dict[str, Ranks]:
    """Return the ranks on val of one student: float, fitted to int8, and of every cell."""
    recipe = parse(TrainingRecord, read_training(folder), str(folder)).recipe
    trainers = {
        name: Trainer.prepare(recipe.model_copy(update={"graph": chosen}), scratch / (name or "recipe"))
        for name, chosen in ((None, recipe.graph), ("infonce", GraphConfig(preset="infonce")))
    }
    trainer = trainers[None]
    finished = trainer.student
    finished.load_state_dict(load_student(folder).model.state_dict())
    fitted = start_int8(replace(trainer.data, student=copy.deepcopy(finished)), qat.prune)
    found = {name: trainer.evaluate("val", student) for name, student in (("float", finished), ("fitted", fitted))}
    for name, cell in CELLS.items():
        student = copy.deepcopy(finished)
        tower = copy.deepcopy(fitted.int8_image)
        if not cell.weights:  # those of the float student; the grids are the same for all
            tower = mobile.Int8MobileTower(student.image)
            tower.grids = fitted.int8_image.grids
        if not cell.activations:
            exact_activations(tower)
        int8 = Int8Student(student, tower)
        with nullcontext() if cell.weights else exact_weights():
            train(with_pictures_of(trainers[cell.graph], int8), int8, qat)
            int8.write_back()
        if cell.weights:
            int8 = int8_student(student, tower.grids)
        else:
            int8 = start_int8(replace(trainer.data, student=student), qat.prune)
        found[name] = trainer.evaluate("val", int8)
        print(f"{folder.name} {name}: {found[name].mean_recall():.2f}", file=sys.stderr, flush=True)
    return found


def with_pictures_of(trainer: Trainer, int8: Int8Student) -> Trainer:
    """Return a trainer whose pictures went through an int8 tower's frozen blocks."""
    views, folder = trainer.config.train.teacher_views, trainer.folder.path
    pictures = student_pictures(trainer.data, int8.int8_image, views, folder)
    return replace(trainer, examples=replace(trainer.examples, pictures=pictures))


def train(trainer: Trainer, int8: Int8Student, qat: QatConfig) -> None:
    """Do the steps that `train.qat` would do after the recipe's own."""
    settings, first = trainer.config.train, trainer.config.train.steps
    queue = TeacherQueue(trainer.config.graph.queue, int8.config.embed_dim)
    optimizer = make_qat_optimizer(int8, qat.lr)
    int8.train()
    for step in range(qat.steps):
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * lr_factor(step, qat.steps, settings.warmup)
        batch, scale = trainer.embed(int8, trainer.inputs(first + step), queue)
        values = graph.compute(trainer.terms, batch, scale)
        torch.stack([term.weight * values[f"{term.edge}/{term.loss}"] for term in trainer.terms]).sum().backward()
        torch.nn.utils.clip_grad_norm_(int8.parameters(), settings.clip)
        optimizer.step()
        optimizer.zero_grad()
        int8.clamp_logit_scale()


def row(found: list[dict[str, Ranks]], name: str) -> dict[str, Any]:
    """Return a row's recall over the seeds, and how much more `both` finds, with its 95 % interval."""
    ranks = [one[name] for one in found]
    means = [one.mean_recall() for one in ranks]
    mean, spread = mean_and_spread(means)
    more, interval = paired_bootstrap([one[WHOLE] for one in found], ranks)
    return {"mean": mean, "spread": spread, "mean_recall": means, "both_finds_more": more, "interval_95": interval}


def main() -> None:
    """Train and measure every cell of every student, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("students", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    qat = QatConfig(prune=0)  # what steps gain is asked here, not what channels cost
    found = []
    for folder in arguments.students:
        with tempfile.TemporaryDirectory() as scratch:
            found.append(ranks_of(folder, qat, Path(scratch)))
    record = parse(TrainingRecord, read_training(arguments.students[0]), str(arguments.students[0]))
    content = {
        "split": "val",
        "n": len(found[0]["float"].i2t),
        "seeds": [read_training(folder)["recipe"]["seed"] for folder in arguments.students],
        "qat": qat.model_dump(mode="json"),
        "recipe": record.recipe.model_dump(mode="json", exclude={"seed", "name"}),
        "environment": json.loads(environment().model_dump_json()),
        "rows": {name: row(found, name) for name in found[0]},
    }
    write_json(arguments.out, content)


if __name__ == "__main__":
    main()

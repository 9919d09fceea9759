"""Which supervision helps: a table of single additions, a greedy path to a graph, sweeps of it, one look at test."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from conaclip_edge.benchmarks.measure.machine import environment
from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.config.model import StudentConfig
from conaclip_edge.config.parse import parse
from conaclip_edge.config.study import SizeConfig, StudyConfig
from conaclip_edge.data.load import read_pairs
from conaclip_edge.distill.supervisions import SUPERVISIONS
from conaclip_edge.distill.teacher.split_ranks import teacher_ranks
from conaclip_edge.distill.training_data import TrainingData, training_data
from conaclip_edge.errors import Interrupted, UserError
from conaclip_edge.evaluation.evaluate import require_captions
from conaclip_edge.models.student.presets import student_shape
from conaclip_edge.study.cells import chosen_cells, graph_of
from conaclip_edge.study.report import (
    AddedWith,
    FinalGraph,
    RunCounts,
    SplitSize,
    StudyData,
    StudyMachine,
    StudyReport,
    StudyTeacher,
    Sweeps,
)
from conaclip_edge.study.scheduler import StudyRuns
from conaclip_edge.study.stages import Stages
from conaclip_edge.study.statistics import candidates
from conaclip_edge.system.locks import only_run
from conaclip_edge.system.processes import Runner, default_jobs, side_by_side

RULE = (
    "Cells whose 95 % interval over the baseline lies above 0 are tried in the order of their mean recall on val. Each "
    "is added to the graph so far and trained with all seeds; it stays if the mean recall on val rises. Test is looked "
    "at once, at the end, by the graphs of the last table alone."
)


@only_run
def study(
    config: StudyConfig,
    out: Path,
    jobs: int | None = None,
    workers: Callable[[int], AbstractContextManager[Runner[Any]]] = side_by_side,
) -> StudyReport:
    """Run a study; finished runs of the same recipe are taken from `out` and not done again.

    Args:
        config: the study.
        out: gets cells/NAME-sSEED.json, the ranks of every run; no student is kept.
        jobs: processes; None means one per core. Each run has one thread.
        workers: opens that many processes for the runs.

    Raises:
        UserError: an unknown cell, a wrong size, or whatever a run refuses.
        Interrupted: Ctrl-C; the same call goes on.
    """
    started = time.monotonic()
    cells = chosen_cells(config)
    students = _students(config)
    pairs = read_pairs(config.recipe.data, captions_needed=False)
    for split in ("val", "test"):
        require_captions(pairs, split)
    # one cache, whatever the graph
    data = training_data(config.recipe.model_copy(update={"graph": graph_of(cells)}))
    for student in students.values():
        training_data(config.recipe.model_copy(update={"student": student}))
    with workers(jobs or default_jobs(config.seeds * (1 + len(cells)))) as run_all:
        runs = StudyRuns(config, out, data, run_all)
        try:
            stages = Stages(config, runs)
            most = len(cells) if config.most is None else min(config.most, len(cells))
            swept = len(config.temperatures) + len(config.weights) + len(students) + 4
            runs.planned = config.seeds * (1 + len(cells) + most + swept)
            baseline, table = stages.table(cells)
            helping = candidates(table)
            runs.planned -= config.seeds * (most - min(most, len(helping)))
            path, kept, final = stages.path(helping[:most], baseline)
            sweeps = Sweeps(
                temperature=stages.sweep("temperature", config.temperatures, kept, final),
                weight=stages.sweep("weight", config.weights, kept, final),
            )
            sizes = stages.sizes(students, kept, final)
            test = stages.test(kept)
        except (KeyboardInterrupt, Interrupted):
            raise Interrupted(
                f"interrupted; {runs.finished} finished runs are kept in {out / 'cells'}. The same command goes on."
            ) from None
    return StudyReport(
        name=config.name,
        rule=RULE,
        seconds=round(time.monotonic() - started, 1),
        run_seconds=round(runs.seconds, 1),
        runs=RunCounts(all=runs.finished, done_now=runs.done_now),
        dataset=_study_data(data),
        teacher=_study_teacher(data),
        added_with={
            name: AddedWith(weight=one.weight, temperature=one.temperature) for name, one in SUPERVISIONS.items()
        },
        config=config,
        baseline=baseline,
        cells=table,
        candidates=tuple(helping),
        path=tuple(path),
        final=FinalGraph(cells=tuple(kept), graph=stages.recipe(graph_of(kept)).graph, row=final),
        sweeps=sweeps,
        sizes=sizes,
        test=test,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=StudyMachine(**environment().model_dump()),
    )


def _students(config: StudyConfig) -> dict[str, StudentConfig]:
    """Return the student of each size, checked before anything trains."""
    students = {size.name: _resized(config.recipe, size) for size in config.sizes}
    if len(students) < len(config.sizes):
        raise UserError("the study (sizes) has a name twice. Give each size a name of its own.")
    for student in students.values():
        student_shape(student)
    return students


def _resized(recipe: DistillConfig, size: SizeConfig) -> StudentConfig:
    """Return the recipe's student with a size's changes, group by group."""
    values = recipe.student.model_dump()
    for key, change in size.student.items():
        values[key] = values[key] | change if isinstance(change, dict) and isinstance(values.get(key), dict) else change
    return parse(StudentConfig, values, f"the study (sizes, {size.name})")


def _study_teacher(data: TrainingData) -> StudyTeacher:
    found = teacher_ranks(data.pairs, data.cache)
    recall = {split: ranks.mean_recall() for split, ranks in found.items()}
    return StudyTeacher(name=data.teacher.name, fingerprint=data.teacher.fingerprint, mean_recall=recall)


def _study_data(data: TrainingData) -> StudyData:
    def size(split: str) -> SplitSize:
        rows = data.pairs.rows(split)
        rows = rows[data.cache.usable[rows]]
        return SplitSize(pictures=len(rows), captions=int(np.diff(data.cache.first_text)[rows].sum()))

    name, fingerprint = data.pairs.name, data.pairs.fingerprint
    return StudyData(name=name, fingerprint=fingerprint, train=size("train"), val=size("val"), test=size("test"))

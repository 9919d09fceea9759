"""Which supervision helps: a table of single additions, a greedy path to a graph, sweeps of it, one look at test."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.config.graph import GraphConfig
from conaclip_edge.config.model import StudentConfig
from conaclip_edge.config.parse import parse
from conaclip_edge.config.study import SizeConfig, StudyConfig
from conaclip_edge.distill.graph import expand
from conaclip_edge.distill.supervisions import SUPERVISIONS
from conaclip_edge.distill.training_data import Ready, prepare
from conaclip_edge.errors import Interrupted, UserError
from conaclip_edge.models.student.presets import student_shape
from conaclip_edge.study.cells import BASELINE, chosen_cells, graph_of
from conaclip_edge.study.scheduler import Bench
from conaclip_edge.study.statistics import candidates, summary
from conaclip_edge.system.locks import only_run
from conaclip_edge.system.processes import default_jobs, side_by_side
from conaclip_edge.system.progress import say

SCHEMA = "conaclip-edge/study/1"
RULE = (
    "Cells whose 95 % interval over the baseline lies above 0 are tried in the order of their mean recall on val. Each "
    "is added to the graph so far and trained with all seeds; it stays if the mean recall on val rises. Test is looked "
    "at once, at the end, by the graphs of the last table alone."
)


@only_run
def study(config: StudyConfig, out: Path, jobs: int | None = None) -> dict[str, Any]:
    """Run a study; finished runs of the same recipe are taken from `out` and not done again.

    Args:
        config: the study.
        out: gets cells/NAME-sSEED.json, the ranks of every run; no student is kept.
        jobs: processes; None means one a core. Each run has one thread.

    Returns:
        What study.json holds, but for environment and time of day.
    """
    started = time.monotonic()
    cells = chosen_cells(config)
    sizes = {size.name: _resized(config.recipe, size) for size in config.sizes}
    if len(sizes) < len(config.sizes):
        raise UserError("the study (sizes) has a name twice. Give each size a name of its own.")
    for student in sizes.values():
        student_shape(student)
    ready = prepare(_run_config(config.recipe, graph_of(cells), 0))  # one cache, whatever the graph
    for student in sizes.values():
        prepare(config.recipe.model_copy(update={"student": student}))
    with side_by_side(jobs or default_jobs(config.seeds * (1 + len(cells)))) as run_all:
        bench = Bench(config, out, ready, run_all)
        try:
            found = _stages(config, cells, sizes, bench)
        except (KeyboardInterrupt, Interrupted):
            raise Interrupted(
                f"interrupted; {bench.finished} finished runs are kept in {out / 'cells'}. The same command goes on."
            ) from None
    counts = {split: _counts(ready, split) for split in ("train", "val", "test")}
    return {
        "schema": SCHEMA,
        "name": config.name,
        "rule": RULE,
        "seconds": round(time.monotonic() - started, 1),
        "run_seconds": round(bench.seconds, 1),
        "runs": {"all": bench.finished, "done_now": bench.done_now},
        "dataset": {"name": ready.pairs.name, "fingerprint": ready.pairs.fingerprint, **counts},
        "teacher": {"name": ready.teacher.name, "fingerprint": ready.teacher.fingerprint},
        "added_with": {
            name: {"weight": one.weight, "temperature": one.temperature} for name, one in SUPERVISIONS.items()
        },
        "config": config.model_dump(mode="json"),
        **found,
    }


def _stages(
    config: StudyConfig, cells: tuple[str, ...], sizes: Mapping[str, StudentConfig], bench: Bench
) -> dict[str, Any]:
    recipe = config.recipe
    swept = len(config.temperatures) + len(config.weights) + len(sizes) + 4
    most = len(cells) if config.most is None else min(config.most, len(cells))
    bench.planned = config.seeds * (1 + len(cells) + most + swept)
    graphs = {BASELINE: _run_config(recipe, graph_of(()), 0)}
    graphs |= {cell: _run_config(recipe, graph_of((cell,)), 0) for cell in cells}
    outcomes = bench.outcomes(graphs)
    base = outcomes[BASELINE]
    rows = {name: summary(outcomes[name], base, "val", config.bootstrap) for name in graphs}
    order = candidates({cell: rows[cell] for cell in cells})
    bench.planned -= config.seeds * (most - min(most, len(order)))
    path, kept, row = _path(config, order[:most], bench, base, rows)
    final = _run_config(recipe, graph_of(kept), 0)
    own = base[0]["parameters"]
    found: dict[str, Any] = {
        "baseline": rows[BASELINE],
        "cells": {cell: rows[cell] for cell in cells},
        "candidates": order,
        "path": path,
        "final": {"cells": kept, "graph": final.graph.model_dump(mode="json"), "row": row},
        "sweeps": {
            "temperature": _sweep(config, "temperature", config.temperatures, kept, bench, base, row),
            "weight": _sweep(config, "weight", config.weights, kept, bench, base, row),
        },
    }
    resized = {name: final.model_copy(update={"student": student}) for name, student in sizes.items()}
    trained = bench.outcomes({f"size {name}": made for name, made in resized.items()})
    found["sizes"] = [{"name": "recipe", "parameters": own, "row": row}] if sizes else []
    found["sizes"] += [
        {
            "name": name,
            "parameters": trained[f"size {name}"][0]["parameters"],
            "row": summary(trained[f"size {name}"], base, "val", config.bootstrap),
        }
        for name in sizes
    ]
    last = {"baseline": graphs[BASELINE], "final": final}
    last |= {name: _run_config(recipe, GraphConfig(preset=name), 0) for name in ("motis", "conaclip")}
    tested = bench.outcomes(last, ("val", "test"), "test")
    found["test"] = {
        name: {split: summary(tested[name], tested["baseline"], split, config.bootstrap) for split in ("val", "test")}
        for name in last
    }
    return found


def _path(
    config: StudyConfig,
    order: Sequence[str],
    bench: Bench,
    base: list[dict[str, Any]],
    rows: Mapping[str, dict[str, Any]],
) -> tuple[list[dict[str, Any]], list[str], dict[str, Any]]:
    """Add one candidate after the other, keeping those that raise the mean; returns steps, kept cells and their row."""
    kept: list[str] = []
    best = rows[BASELINE]
    path: list[dict[str, Any]] = []
    for cell in order:
        graph = [*kept, cell]
        # the first step is a cell of the table, so its runs are at hand
        name = cell if len(graph) == 1 else "path " + " + ".join(sorted(graph))
        made = bench.outcomes({name: _run_config(config.recipe, graph_of(graph), 0)})
        row = summary(made[name], base, "val", config.bootstrap)
        stays = row["mean"] > best["mean"]
        path.append({"cell": cell, "kept": stays, "gain": row["mean"] - best["mean"], "graph": graph, "row": row})
        say(f"path: + {cell}: {row['mean']:.1f} on val, {'kept' if stays else 'left out'} (best {best['mean']:.1f})")
        if stays:
            kept, best = graph, row
    return path, kept, best


def _sweep(
    config: StudyConfig,
    axis: str,
    factors: Iterable[float],
    kept: Sequence[str],
    bench: Bench,
    base: list[dict[str, Any]],
    own: dict[str, Any],
) -> list[dict[str, Any]]:
    """Train the final graph with all its temperatures or added weights times each factor; 1 is the graph itself."""
    factors = sorted({*factors} - {1.0})
    if not factors or not kept:  # the baseline alone has neither
        return []
    graphs = {f"{axis} x{factor:g}": graph_of(kept, **{axis: factor}) for factor in factors}
    made = bench.outcomes({name: _run_config(config.recipe, graph, 0) for name, graph in graphs.items()})
    rows = [
        {"factor": factor, "row": summary(outcomes, base, "val", config.bootstrap)}
        for factor, outcomes in zip(factors, made.values(), strict=True)
    ]
    return sorted([*rows, {"factor": 1.0, "row": own}], key=lambda one: float(one["factor"]))


def _run_config(recipe: DistillConfig, graph: GraphConfig, seed: int) -> DistillConfig:
    """Return the recipe of a run: one thread, and no look at val before the last step."""
    expand(graph)
    train = recipe.train.model_copy(update={"threads": 1, "eval_every": recipe.train.steps})
    graph = graph.model_copy(update={"queue": recipe.graph.queue})
    return recipe.model_copy(update={"seed": seed, "graph": graph, "train": train})


def _resized(recipe: DistillConfig, size: SizeConfig) -> StudentConfig:
    """Return the recipe's student with a size's changes, group by group."""
    values = recipe.student.model_dump()
    for key, change in size.student.items():
        values[key] = values[key] | change if isinstance(change, dict) and isinstance(values.get(key), dict) else change
    return parse(StudentConfig, values, f"the study (sizes, {size.name})")


def _counts(ready: Ready, split: str) -> dict[str, int]:
    rows = ready.pairs.rows(split)
    rows = rows[ready.cache.usable[rows]]
    return {"pictures": len(rows), "captions": int(np.diff(ready.cache.first_text)[rows].sum())}

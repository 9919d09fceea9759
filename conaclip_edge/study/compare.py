"""The same recipe with several graphs and seeds at equal budget: who finds more held-out pairs?"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.config.graph import GraphConfig
from conaclip_edge.distill.graph import PRESETS
from conaclip_edge.distill.training_data import prepare
from conaclip_edge.errors import unknown
from conaclip_edge.evaluation.recall import mean_recall
from conaclip_edge.system.files import read_json
from conaclip_edge.system.locks import only_run
from conaclip_edge.system.processes import default_jobs, side_by_side
from conaclip_edge.system.progress import quiet_libraries, say


@only_run
def compare(
    config: DistillConfig, graphs: list[str], seeds: list[int], out: Path, split: str = "test", jobs: int | None = None
) -> dict[str, Any]:
    """Train one student a graph and seed, single-threaded, as many side by side as there are cores.

    Args:
        config: the recipe all share; its own graph and seed do not count.
        graphs: names of graph presets.
        seeds: of initial weights and batches; data and split stay the same.
        out: folder of the runs; finished ones are kept and not done again.
        split: on which the table is reported.
        jobs: processes; None means one a core.

    Returns:
        {"n": pictures, "split": ..., "rows": {graph: {"mean_recall": [..a seed], "mean": .., "spread": .., ...}}}.
    """
    for graph in graphs:
        if graph not in PRESETS:
            raise unknown("graph preset", graph, PRESETS, where="--graphs")
    runs = {
        (graph, seed): config.model_copy(
            update={
                "name": f"{graph}-s{seed}",
                "seed": seed,
                "graph": GraphConfig(preset=graph, queue=config.graph.queue),
                "train": config.train.model_copy(update={"threads": 1}),
            }
        )
        for seed in seeds
        for graph in graphs
    }
    prepare(config)  # once, so that runs side by side find their caches filled
    with side_by_side(jobs or default_jobs(len(runs))) as run_all:
        results = dict(run_all(_run, {key: (run, out / run.name, split) for key, run in runs.items()}))
    rows = {graph: _row([results[graph, seed] for seed in seeds]) for graph in graphs}
    first = results[graphs[0], seeds[0]]
    return {
        "split": split,
        "n": first["dataset"]["pictures"],
        "seeds": seeds,
        "dataset": first["dataset"],
        "recipe": config.model_dump(mode="json", exclude={"seed", "graph"}),
        "environment": {
            "system": platform.system(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "threads_a_run": 1,
            "versions": first["training"]["versions"],
        },
        "rows": rows,
    }


def _run(config: DistillConfig, folder: Path, split: str) -> dict[str, Any]:
    """Train (unless that very recipe is finished in the folder) and evaluate; runs in a process of its own."""
    quiet_libraries()
    from conaclip_edge.distill.trainer import distill
    from conaclip_edge.evaluation.evaluate import evaluate

    record = folder / "training.json"
    recipe = config.model_dump(mode="json")
    if not (record.exists() and read_json(record, "training record").get("recipe") == recipe):
        say(f"{config.name}: {config.train.steps} steps of {config.train.batch_size}")
        distill(config, folder)
    report = evaluate(folder, None, split, "onnx").model_dump(mode="json")
    return report | {"training": read_json(record, "training record")}


def _row(outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    means = [mean_recall(outcome["recall"]) for outcome in outcomes]
    return {
        "mean_recall": means,
        "mean": float(np.mean(means)),
        "spread": float(np.std(means, ddof=1)) if len(means) > 1 else None,
        "val_mean_recall": [outcome["training"]["val"]["mean_recall"] for outcome in outcomes],
        "recall": {
            direction: {
                k: float(np.mean([outcome["recall"][direction][k] for outcome in outcomes]))
                for k in outcomes[0]["recall"][direction]
            }
            for direction in ("t2i", "i2t")
        },
        "seconds": [outcome["training"]["seconds"] for outcome in outcomes],
        "parameters": outcomes[0]["training"]["parameters"],
    }


def recall_table(rows: dict[str, dict[str, Any]], n: int, split: str) -> str:
    """Format rows (name -> row with recall, mean, spread) as a table for a terminal."""
    lines = [f"{'':12}{'text->picture R@1/5/10':>26}{'picture->text R@1/5/10':>26}{'mean':>14}   n = {n} ({split})"]
    for name, row in rows.items():
        cells = [" / ".join(f"{value:.1f}" for value in row["recall"][way].values()) for way in ("t2i", "i2t")]
        spread = f" +- {row['spread']:.1f}" if row.get("spread") is not None else ""
        mean = f"{row['mean']:.1f}{spread}"
        lines.append(f"{name:12}{cells[0]:>26}{cells[1]:>26}{mean:>14}")
    return "\n".join(lines)

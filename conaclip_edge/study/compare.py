"""The same recipe with several graphs and seeds at equal budget: who finds more held-out pairs?"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.config.graph import OWN_GRAPH, named_graphs
from conaclip_edge.config.parse import parse
from conaclip_edge.data.load import read_pairs
from conaclip_edge.distill.training_data import training_data
from conaclip_edge.evaluation.evaluate import EvaluationReport, require_captions
from conaclip_edge.evaluation.paired_bootstrap import paired_bootstrap
from conaclip_edge.evaluation.recall import Ranks
from conaclip_edge.models.certainty import Certainty, mean_certainty
from conaclip_edge.models.student.record import TrainingRecord
from conaclip_edge.study.report import ComparisonMachine, ComparisonReport, ModelRecall, SeedsRecall
from conaclip_edge.study.statistics import mean_and_spread, mean_table
from conaclip_edge.system.files import read_json
from conaclip_edge.system.locks import only_run
from conaclip_edge.system.processes import default_jobs, side_by_side
from conaclip_edge.system.progress import quiet_libraries, say


@dataclass(frozen=True)
class ComparedRun:
    """One student: how it was trained, its recall on the split that is asked for, and the rank of every query."""

    training: TrainingRecord
    evaluation: EvaluationReport
    ranks: Ranks


@only_run
def compare(
    config: DistillConfig, graphs: list[str], seeds: list[int], out: Path, split: str = "test", jobs: int | None = None
) -> ComparisonReport:
    """Train one student per graph and seed, single-threaded, as many side by side as there are cores.

    Args:
        config: the recipe that all share; its seed does not count.
        graphs: names of graph presets, or "recipe" for the recipe's own graph; the others are compared with the first.
        seeds: of initial weights and batches; data and split stay the same.
        out: folder of the runs; finished ones are kept and not done again.
        split: that recall is of.
        jobs: processes; None means one per core.

    Raises:
        UserError: an unknown graph, no caption in the split, or whatever a training or an evaluation refuses.
    """
    found = named_graphs(graphs, config.graph, "--graphs")
    require_captions(read_pairs(config.data, captions_needed=False), split)
    recipes = {
        (graph, seed): config.model_copy(
            update={
                "name": f"{graph}-s{seed}",
                "seed": seed,
                "graph": terms,
                "train": config.train.model_copy(update={"threads": 1}),
            }
        )
        for seed in seeds
        for graph, terms in found.items()
    }
    training_data(config)  # once, so that runs side by side find their caches filled
    with side_by_side(jobs or default_jobs(len(recipes))) as run_all:
        tasks = {key: (recipe, out / recipe.name, split) for key, recipe in recipes.items()}
        runs: dict[tuple[str, int], ComparedRun] = dict(run_all(train_and_evaluate, tasks))
    first = runs[graphs[0], seeds[0]]
    return ComparisonReport(
        split=split,
        n=first.evaluation.dataset.pictures,
        seeds=tuple(seeds),
        dataset=first.evaluation.dataset,
        recipe=config.model_dump(mode="json", exclude={"seed"} if OWN_GRAPH in found else {"seed", "graph"}),
        environment=ComparisonMachine(
            system=platform.system(),
            machine=platform.machine(),
            cores=os.cpu_count(),
            threads_a_run=1,
            versions=first.training.versions,
        ),
        rows=_rows({graph: [runs[graph, seed] for seed in seeds] for graph in found}),
    )


def train_and_evaluate(config: DistillConfig, folder: Path, split: str) -> ComparedRun:
    """Train (unless that very recipe is finished in the folder) and evaluate; runs in a process of its own.

    Args:
        config: the recipe.
        folder: of the student.
        split: that it is evaluated on.
    """
    quiet_libraries()
    from conaclip_edge.distill.trainer import distill
    from conaclip_edge.evaluation.evaluate import evaluate_with_ranks

    file = folder / "training.json"
    values = read_json(file, "training record") if file.exists() else {}
    if values.get("recipe") == config.model_dump(mode="json"):
        training = parse(TrainingRecord, values, str(file))
    else:
        say(f"{config.name}: {config.train.all_steps} steps of {config.train.batch_size}")
        training = distill(config, folder)
    return ComparedRun(training, *evaluate_with_ranks(folder, None, split, "onnx"))


def _rows(runs: Mapping[str, Sequence[ComparedRun]]) -> dict[str, SeedsRecall]:
    first, *rest = runs
    rows = {first: _seeds_recall(runs[first])}
    for graph in rest:
        ranks, others = ([run.ranks for run in runs[name]] for name in (graph, first))
        difference, interval = paired_bootstrap(ranks, others)
        update = {"difference": difference, "interval_95": interval}
        rows[graph] = _seeds_recall(runs[graph]).model_copy(update=update)
    return rows


def _seeds_recall(runs: Sequence[ComparedRun]) -> SeedsRecall:
    means = tuple(run.evaluation.mean_recall for run in runs)
    mean, spread = mean_and_spread(means)
    return SeedsRecall(
        mean=mean,
        spread=spread,
        recall=mean_table([run.evaluation.recall for run in runs]),
        certainty=mean_certainty([run.evaluation.certainty for run in runs]),
        mean_recall=means,
        val_mean_recall=tuple(run.training.val.mean_recall for run in runs),
        seconds=tuple(run.training.seconds for run in runs),
        parameters=runs[0].training.parameters,
    )


def recall_table(rows: Mapping[str, ModelRecall], pictures: int, split: str) -> str:
    """Format the recall of models as a table for a terminal.

    Args:
        rows: name -> recall.
        pictures: of the split.
        split: that recall is of.
    """
    title = f"{'':14}{'text->picture R@1/5/10':>26}{'picture->text R@1/5/10':>26}{'mean':>14}"
    lines = [f"{title}   n = {pictures} ({split})"]
    for name, row in rows.items():
        t2i, i2t = (" / ".join(f"{value:.1f}" for value in row.recall[way].values()) for way in ("t2i", "i2t"))
        spread = "" if row.spread is None else f" +- {row.spread:.1f}"
        mean = f"{row.mean:.1f}{spread}"
        found = row.certainty
        interval = f"   [{found.interval_95[0]:.1f} to {found.interval_95[1]:.1f}]" if found else ""
        verdict = f" {found.verdict()}" if found and found.verdict() else ""
        lines.append(f"{name:14}{t2i:>26}{i2t:>26}{mean:>14}{interval}{_to_first(row)}{verdict}")
    graphs = [name for name, row in rows.items() if isinstance(row, SeedsRecall)]
    if len(graphs) > 1:
        lines.append(f"last: the difference to {graphs[0]} and its 95 % interval, pictures and seeds resampled")
    lines += _beside(next((row.certainty for row in rows.values() if row.certainty), None))
    return "\n".join(lines)


def _to_first(row: ModelRecall) -> str:
    """Say how far a row is from the first graph's, where that is known."""
    if not isinstance(row, SeedsRecall) or row.difference is None or row.interval_95 is None:
        return ""
    return f"   {row.difference:+.1f} [{row.interval_95[0]:+.1f} to {row.interval_95[1]:+.1f}]"


def _beside(found: Certainty | None) -> list[str]:
    """Say what all rows of a table are seen beside."""
    if found is None:
        return []
    teacher = "" if found.teacher_mean_recall is None else f"; the teacher's mean: {found.teacher_mean_recall:.1f} %"
    return [f"chance: {found.chance:.1f} %{teacher}; in brackets: 95 % intervals, pictures resampled"]

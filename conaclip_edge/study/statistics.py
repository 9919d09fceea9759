"""From the runs of a graph, one per seed, to its statistics in the tables of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from conaclip_edge.evaluation.mean_interval import certainty_of
from conaclip_edge.evaluation.paired_bootstrap import paired_bootstrap
from conaclip_edge.evaluation.recall import mean_recall
from conaclip_edge.models.certainty import mean_certainty
from conaclip_edge.study.one_run import RunOutcome
from conaclip_edge.study.report import GraphStatistics


def candidates(cells: Mapping[str, GraphStatistics]) -> list[str]:
    """Return the cells whose interval over the baseline lies above 0, the best mean first."""
    helping = [cell for cell, statistics in cells.items() if statistics.interval_95[0] > 0]
    return sorted(helping, key=lambda cell: -cells[cell].mean)


def graph_statistics(
    runs: Sequence[RunOutcome], baseline: Sequence[RunOutcome], split: str, samples: int
) -> GraphStatistics:
    """Compute recall over the seeds of a graph, and its difference to the baseline on the same queries.

    Args:
        runs: outcomes of the graph's runs, one per seed.
        baseline: outcomes of the baseline's runs, the same seeds.
        split: that recall is of.
        samples: of the bootstrap.
    """
    ranks = [run.ranks(split) for run in runs]
    recalls = [one.recall() for one in ranks]
    means = tuple(mean_recall(recall) for recall in recalls)
    mean, spread = mean_and_spread(means)
    difference, interval = paired_bootstrap(ranks, [run.ranks(split) for run in baseline], samples)
    return GraphStatistics(
        mean=mean,
        spread=spread,
        recall=mean_table(recalls),
        certainty=mean_certainty([certainty_of(one) for one in ranks]),
        mean_recall=means,
        difference=difference,
        interval_95=interval,
        seconds=tuple(run.seconds for run in runs),
    )


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean of values and their sample standard deviation, None for a single value."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def mean_table(recalls: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Average tables of recall (direction -> k -> percent) cell by cell."""
    first = recalls[0]
    return {way: {k: float(np.mean([recall[way][k] for recall in recalls])) for k in first[way]} for way in first}

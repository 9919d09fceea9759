"""From the outcomes of a graph's runs to its row in the tables of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from conaclip_edge.evaluation.paired_bootstrap import paired_bootstrap
from conaclip_edge.evaluation.recall import mean_recall
from conaclip_edge.study.one_run import ranks_of


def candidates(rows: Mapping[str, dict[str, Any]]) -> list[str]:
    """Return the cells whose interval over the baseline lies above 0, the best mean first."""
    helping = [cell for cell, row in rows.items() if row["interval_95"][0] > 0]
    return sorted(helping, key=lambda cell: -rows[cell]["mean"])


def summary(
    outcomes: Sequence[dict[str, Any]], base: Sequence[dict[str, Any]], split: str, samples: int
) -> dict[str, Any]:
    """Make the row of one graph: recall over its seeds, and its difference to the baseline on the same queries.

    Args:
        outcomes: of the graph, one a seed.
        base: of the baseline, the same seeds.
        split: of which.
        samples: of the bootstrap.
    """
    found = [ranks_of(outcome, split) for outcome in outcomes]
    recalls = [ranks.recall() for ranks in found]
    means = [mean_recall(recall) for recall in recalls]
    difference, interval = paired_bootstrap(found, [ranks_of(outcome, split) for outcome in base], samples)
    return {
        "mean_recall": means,
        "mean": float(np.mean(means)),
        "spread": float(np.std(means, ddof=1)) if len(means) > 1 else None,
        "recall": {
            way: {k: float(np.mean([recall[way][k] for recall in recalls])) for k in recalls[0][way]}
            for way in recalls[0]
        },
        "difference": difference,
        "interval_95": list(interval),
        "seconds": [outcome["seconds"] for outcome in outcomes],
    }

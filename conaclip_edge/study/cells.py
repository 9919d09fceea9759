"""The table of a study: every learning type with every supervision that makes sense on it, and graphs of them."""

from __future__ import annotations

from collections.abc import Sequence

from conaclip_edge.config.graph import PRESETS, GraphConfig, Term
from conaclip_edge.config.study import StudyConfig
from conaclip_edge.distill.embeddings import LEARNING_TYPES
from conaclip_edge.distill.supervisions import SUPERVISIONS, losses_for
from conaclip_edge.errors import unknown

BASELINE = "inter-ss/infonce"


def all_cells() -> tuple[str, ...]:
    """Return "learning type/loss" of everything that can be added to the baseline."""
    names = [f"{kind}/{loss}" for kind in LEARNING_TYPES for loss in losses_for(kind)]
    return tuple(name for name in names if name != BASELINE)


def chosen_cells(config: StudyConfig) -> tuple[str, ...]:
    """Return the cells that a study asks for, in the table's order."""
    for name in config.cells:
        if name not in all_cells():
            raise unknown("cell", name, all_cells(), where="the study (cells)")
    return tuple(name for name in all_cells() if not config.cells or name in config.cells)


def graph_of(cells: Sequence[str], temperature: float = 1.0, weight: float = 1.0) -> GraphConfig:
    """Return the baseline with cells added to it.

    Args:
        cells: in any order; equal sets give equal graphs.
        temperature: factor on the added fixed temperatures.
        weight: factor on the added weights.
    """
    terms = list(PRESETS["infonce"])
    for name in sorted(cells, key=all_cells().index):
        edge, loss = name.split("/")
        own, fixed = SUPERVISIONS[loss].weight, SUPERVISIONS[loss].temperature
        terms.append(
            Term(edge=edge, loss=loss, weight=own * weight, temperature=None if fixed is None else fixed * temperature)
        )
    return GraphConfig(preset=None, terms=tuple(terms))

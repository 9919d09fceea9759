"""Axis graph: what the whole interaction graph costs over InfoNCE between the student's towers alone.

Both graphs take turns on the same student, batch and cached teacher; everything but the terms is the same.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from conaclip_edge.benchmarks.measure.fresh_process import in_fresh_process
from conaclip_edge.benchmarks.schema.speed import Finding
from conaclip_edge.benchmarks.speed.two_clocks import Times, over, rounds
from conaclip_edge.config.benchmark import SpeedConfig
from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.config.graph import PRESETS, GraphConfig, Term
from conaclip_edge.config.load import distill_recipe
from conaclip_edge.distill import graph
from conaclip_edge.distill.embeddings import LEARNING_TYPES
from conaclip_edge.distill.steps.negative_queue import TeacherQueue
from conaclip_edge.distill.steps.optimizer import make_optimizer
from conaclip_edge.distill.supervisions import losses_for
from conaclip_edge.distill.trainer import Trainer


def every_term() -> tuple[Term, ...]:
    """Return a graph of all learning types with all supervisions that make sense on each."""
    return graph.expand(
        GraphConfig(
            preset=None,
            terms=tuple(
                Term(edge=edge, loss=loss, temperature=None if (edge, loss) == ("inter-ss", "infonce") else 0.05)
                for edge in LEARNING_TYPES
                for loss in losses_for(edge)
            ),
        )
    )


def measure(config: SpeedConfig) -> list[Finding]:
    """Time steps of a recipe with every term, with those of `conaclip`, and with InfoNCE alone, in a fresh process."""
    recipe = distill_recipe(config.recipe, [])
    times = in_fresh_process(run_graphs, recipe, config.rounds, config.seed)
    found = []
    for name, bar in (("all edges and supervisions", 1.15), ("conaclip", None)):
        cpu, wall = over(times[name], times["infonce"])
        note = f"recipe {recipe.name}, cache on, {1000 * np.median(times[name].cpu):.0f} ms per step"
        what = f"step with {name} / InfoNCE alone"
        found.append(Finding(axis="graph", what=what, value=cpu, wall=wall, n=config.rounds, bar=bar, note=note))
    return found


def run_graphs(recipe: DistillConfig, count: int, seed: int) -> dict[str, Times]:
    """Time `count` steps of each graph: rows, towers, terms, backward, clipping, optimiser."""
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(1)
    graphs = {
        "all edges and supervisions": every_term(),
        **{name: PRESETS[name] for name in ("conaclip", "infonce")},
    }
    with tempfile.TemporaryDirectory(prefix="conaclip-edge-") as scratch:
        # the rows of a step depend on whether a graph looks at the teacher: all take those of the recipe's
        trainer = Trainer.prepare(recipe, Path(scratch) / "student")
        student = trainer.student.train()
        optimizer, queue = make_optimizer(student, recipe), TeacherQueue(0, student.config.embed_dim)

        def step(terms: tuple[Term, ...], number: int) -> None:
            batch, scale = trainer.embed(student, trainer.inputs(number), queue)
            values = graph.compute(terms, batch, scale)
            torch.stack([term.weight * values[f"{term.edge}/{term.loss}"] for term in terms]).sum().backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), recipe.train.clip)
            optimizer.step()
            optimizer.zero_grad()

        expanded = {name: graph.expand(GraphConfig(preset=None, terms=terms)) for name, terms in graphs.items()}
        calls = {name: lambda number, terms=terms: step(terms, number) for name, terms in expanded.items()}
        return rounds(calls, count, seed)

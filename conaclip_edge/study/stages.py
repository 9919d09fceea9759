"""The stages of a study: a table of single additions, a greedy path, sweeps and sizes of its end, one look at test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol

from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.config.graph import GraphConfig
from conaclip_edge.config.model import StudentConfig
from conaclip_edge.config.study import StudyConfig
from conaclip_edge.distill.graph import expand
from conaclip_edge.study.cells import BASELINE, graph_of
from conaclip_edge.study.one_run import RunOutcome
from conaclip_edge.study.report import GraphOnTest, GraphStatistics, PathStep, StudentSize, SweepStep
from conaclip_edge.study.scheduler import RunOutcomes
from conaclip_edge.study.statistics import graph_statistics
from conaclip_edge.system.progress import say


class Runs(Protocol):
    """What trains recipes; `conaclip_edge.study.scheduler.StudyRuns` does."""

    def train(
        self, recipes: Mapping[str, DistillConfig], splits: tuple[str, ...] = ..., kind: str = ...
    ) -> RunOutcomes:
        """Return the outcomes of recipes, one per seed."""


class Stages:
    """The stages of one study; the table comes first, for it trains the baseline."""

    def __init__(self, config: StudyConfig, runs: Runs):
        self.config, self.runs = config, runs
        self.baseline: list[RunOutcome] = []  # outcomes of its runs

    def table(self, cells: Iterable[str]) -> tuple[GraphStatistics, dict[str, GraphStatistics]]:
        """Train the baseline, and it with each cell; returns the baseline's statistics and the cells'."""
        graphs = {BASELINE: graph_of(()), **{cell: graph_of((cell,)) for cell in cells}}
        outcomes = self.runs.train(self._recipes(graphs))
        self.baseline = outcomes[BASELINE]
        statistics = {name: self._on_val(runs) for name, runs in outcomes.items()}
        return statistics.pop(BASELINE), statistics

    def path(
        self, candidates: Iterable[str], baseline: GraphStatistics
    ) -> tuple[list[PathStep], list[str], GraphStatistics]:
        """Add one candidate after the other and keep those that raise the mean.

        Args:
            candidates: cells, in the order in which they are tried.
            baseline: its statistics.

        Returns:
            The steps, the cells that stay, and the statistics of the graph that they make.
        """
        kept: list[str] = []
        best = baseline
        steps: list[PathStep] = []
        for cell in candidates:
            cells = [*kept, cell]
            # the first step is a cell of the table, so its runs are at hand
            name = cell if len(cells) == 1 else "path " + " + ".join(sorted(cells))
            outcomes = self.runs.train(self._recipes({name: graph_of(cells)}))
            found = self._on_val(outcomes[name])
            stays, gain = found.mean > best.mean, found.mean - best.mean
            steps.append(PathStep(cell=cell, kept=stays, gain=gain, graph=tuple(cells), row=found))
            say(f"path: + {cell}: {found.mean:.1f} on val, {'kept' if stays else 'left out'} (best {best.mean:.1f})")
            if stays:
                kept, best = cells, found
        return steps, kept, best

    def sweep(
        self,
        axis: Literal["temperature", "weight"],
        factors: Iterable[float],
        kept: Sequence[str],
        final: GraphStatistics,
    ) -> tuple[SweepStep, ...]:
        """Train the final graph with all its temperatures or added weights times each factor; 1 is the graph itself.

        Args:
            axis: what is multiplied.
            factors: that are tried.
            kept: cells of the final graph.
            final: its statistics.
        """
        others = sorted({*factors} - {1.0})
        if not others or not kept:  # the baseline alone has neither
            return ()
        graphs = {f"{axis} x{factor:g}": graph_of(kept, **{axis: factor}) for factor in others}
        outcomes = self.runs.train(self._recipes(graphs))
        steps = [
            SweepStep(factor=factor, row=self._on_val(runs))
            for factor, runs in zip(others, outcomes.values(), strict=True)
        ]
        return tuple(sorted([*steps, SweepStep(factor=1.0, row=final)], key=lambda step: step.factor))

    def sizes(
        self, students: Mapping[str, StudentConfig], kept: Sequence[str], final: GraphStatistics
    ) -> tuple[StudentSize, ...]:
        """Train students of other sizes by the final graph.

        Args:
            students: by the name of their size.
            kept: cells of the final graph.
            final: its statistics with the recipe's own student.
        """
        if not students:
            return ()
        recipe = self.recipe(graph_of(kept))
        outcomes = self.runs.train(
            {f"size {name}": recipe.model_copy(update={"student": student}) for name, student in students.items()}
        )
        own = StudentSize(name="recipe", parameters=self.baseline[0].parameters, row=final)
        others = [
            StudentSize(name=name, parameters=runs[0].parameters, row=self._on_val(runs))
            for name, runs in zip(students, outcomes.values(), strict=True)
        ]
        return (own, *others)

    def test(self, kept: Sequence[str]) -> dict[str, GraphOnTest]:
        """Train the baseline, the final graph and two presets once more, and look at test."""
        presets = {name: GraphConfig(preset=name) for name in ("motis", "conaclip")}
        graphs = {"baseline": graph_of(()), "final": graph_of(kept), **presets}
        outcomes = self.runs.train(self._recipes(graphs), ("val", "test"), "test")

        def on(split: str, runs: list[RunOutcome]) -> GraphStatistics:
            return graph_statistics(runs, outcomes["baseline"], split, self.config.bootstrap)

        return {name: GraphOnTest(val=on("val", runs), test=on("test", runs)) for name, runs in outcomes.items()}

    def recipe(self, graph: GraphConfig) -> DistillConfig:
        """Return the recipe of a graph's runs: one thread, and no look at val before the last step."""
        expand(graph)
        recipe = self.config.recipe
        train = recipe.train.model_copy(update={"threads": 1, "eval_every": recipe.train.steps})
        graph = graph.model_copy(update={"queue": recipe.graph.queue})
        return recipe.model_copy(update={"seed": 0, "graph": graph, "train": train})

    def _recipes(self, graphs: Mapping[str, GraphConfig]) -> dict[str, DistillConfig]:
        return {name: self.recipe(graph) for name, graph in graphs.items()}

    def _on_val(self, runs: list[RunOutcome]) -> GraphStatistics:
        return graph_statistics(runs, self.baseline, "val", self.config.bootstrap)

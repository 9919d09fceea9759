"""The runs of a study: what is finished is taken from its folder, the rest is trained side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.config.study import StudyConfig
from conaclip_edge.distill.training_data import TrainingData
from conaclip_edge.study.one_run import RunOutcome, do_run, kept_run, run_key
from conaclip_edge.system.files import sha256_text
from conaclip_edge.system.processes import Runner
from conaclip_edge.system.progress import say

RunOutcomes = dict[str, list[RunOutcome]]  # name -> the outcomes of its runs, one per seed


class StudyRuns:
    """Trains recipes with all seeds of a study and reports how far it is.

    Attributes:
        finished: runs whose outcome is there.
        done_now: of these, the ones that were not there before.
        seconds: of training, all runs together.
        planned: runs of the whole study, as far as is known.
    """

    def __init__(self, config: StudyConfig, out: Path, data: TrainingData, run_all: Runner[tuple[str, int]]):
        self.config, self.folder, self.run_all = config, out / "cells", run_all
        self.sources = {"data": data.pairs.fingerprint, "teacher": data.teacher.fingerprint}
        self.started = time.monotonic()
        self.finished, self.done_now, self.seconds, self.planned = 0, 0, 0.0, 0

    def train(
        self, recipes: Mapping[str, DistillConfig], splits: tuple[str, ...] = ("val",), kind: str = "val"
    ) -> RunOutcomes:
        """Return the outcomes of recipes, training what is missing.

        Args:
            recipes: by the name of their graph; their own seed does not count.
            splits: that the students are ranked on.
            kind: begins the names of the files; runs of another kind are never taken for these.
        """
        outcomes: dict[tuple[str, int], RunOutcome] = {}
        missing = {}
        for name, recipe in recipes.items():
            for seed in range(self.config.seeds):
                config = recipe.model_copy(update={"seed": seed})
                key = run_key(config, splits, self.sources)
                file = self.folder / f"{file_name(kind, name)}-s{seed}.json"
                if (outcome := kept_run(file, key)) is not None:
                    outcomes[name, seed] = outcome
                    self._count(outcome)
                else:
                    missing[name, seed] = (config, splits, key, file)
        for (name, seed), outcome in self.run_all(do_run, missing):
            outcomes[name, seed] = outcome
            self._count(outcome)
            self.done_now += 1
            self._report(f"{name} seed {seed}", outcome, splits[-1])
        return {name: [outcomes[name, seed] for seed in range(self.config.seeds)] for name in recipes}

    def _count(self, outcome: RunOutcome) -> None:
        self.finished += 1
        self.seconds += outcome.seconds

    def _report(self, run: str, outcome: RunOutcome, split: str) -> None:
        pace = (time.monotonic() - self.started) / self.done_now
        left = max(0, self.planned - self.finished) * pace / 60
        recall = outcome.ranks(split).mean_recall()
        done = f"study {self.finished}/{self.planned}: {run}: {recall:.1f} on {split}"
        say(f"{done}, {outcome.seconds:.0f} s, at most {left:.0f} min left")


def file_name(kind: str, name: str) -> str:
    """Return a file name for a graph's name; a long one is cut short and gets its hash."""
    plain = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "-.+") else "_" for letter in f"{kind}-{name}"
    )
    # a name in which only one slash was changed collides with no other
    whole = len(plain) < 60 and "_" not in name and plain == f"{kind}-{name}".replace("/", "_", 1)
    return plain if whole else f"{plain[:48]}-{sha256_text(name)[:8]}"

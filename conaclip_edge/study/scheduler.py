"""The runs of a study: what is finished is taken from its folder, the rest is trained side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.config.study import StudyConfig
from conaclip_edge.distill.training_data import TrainingData
from conaclip_edge.study.one_run import do_run, kept_run, ranks_of, run_key
from conaclip_edge.system.files import sha256_text
from conaclip_edge.system.processes import Runner
from conaclip_edge.system.progress import say

Outcomes = dict[str, list[dict[str, Any]]]


class Bench:
    """Trains graphs with all seeds and says how far it is.

    Attributes:
        finished: runs whose outcome is there.
        done_now: of these, the ones that were not there before.
        seconds: of training, of all runs together.
        planned: runs of the whole study, as far as is known.
    """

    def __init__(self, config: StudyConfig, out: Path, data: TrainingData, run_all: Runner[tuple[str, int]]):
        self.config, self.folder, self.run_all = config, out / "cells", run_all
        self.sources = {"data": data.pairs.fingerprint, "teacher": data.teacher.fingerprint}
        self.started = time.monotonic()
        self.finished, self.done_now, self.seconds, self.planned = 0, 0, 0.0, 0

    def outcomes(
        self, graphs: Mapping[str, DistillConfig], splits: tuple[str, ...] = ("val",), kind: str = "val"
    ) -> Outcomes:
        """Return the outcome of every graph, one a seed, training what is missing."""
        kept: dict[tuple[str, int], dict[str, Any]] = {}
        tasks = {}
        for name, base in graphs.items():
            for seed in range(self.config.seeds):
                config = base.model_copy(update={"seed": seed})
                key = run_key(config, splits, self.sources)
                file = self.folder / f"{file_name(kind, name)}-s{seed}.json"
                if (found := kept_run(file, key)) is not None:
                    kept[name, seed] = found
                    self._count(found)
                else:
                    tasks[name, seed] = (config, splits, key, file)
        for (name, seed), found in self.run_all(do_run, tasks):
            kept[name, seed] = found
            self._count(found)
            self.done_now += 1
            self._tell(f"{name} seed {seed}", found, splits[-1])
        return {name: [kept[name, seed] for seed in range(self.config.seeds)] for name in graphs}

    def _count(self, outcome: dict[str, Any]) -> None:
        self.finished += 1
        self.seconds += outcome["seconds"]

    def _tell(self, what: str, outcome: dict[str, Any], split: str) -> None:
        pace = (time.monotonic() - self.started) / self.done_now
        left = max(0, self.planned - self.finished) * pace / 60
        recall = ranks_of(outcome, split).mean_recall()
        done = f"study {self.finished}/{self.planned}: {what}: {recall:.1f} on {split}"
        say(f"{done}, {outcome['seconds']:.0f} s, at most {left:.0f} min left")


def file_name(kind: str, name: str) -> str:
    """Return a file name for a graph's name; a long one is cut short and told apart by its hash."""
    plain = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "-.+") else "_" for letter in f"{kind}-{name}"
    )
    # what has no other letter changed than one slash is told apart as it is
    whole = len(plain) < 60 and "_" not in name and plain == f"{kind}-{name}".replace("/", "_", 1)
    return plain if whole else f"{plain[:48]}-{sha256_text(name)[:8]}"

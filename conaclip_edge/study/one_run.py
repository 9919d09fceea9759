"""One run of a study: train, rank, keep the ranks and not the student."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from pydantic import JsonValue, ValidationError

from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.errors import ConaclipError, Interrupted, UserError
from conaclip_edge.evaluation.recall import Ranks
from conaclip_edge.system.files import read_json, write_json
from conaclip_edge.system.progress import quiet, quiet_libraries
from conaclip_edge.system.result import Result


class SplitRanks(Result):
    """The ranks of a split, as in `conaclip_edge.evaluation.recall.Ranks`."""

    t2i: tuple[int, ...]
    i2t: tuple[int, ...]
    caption_to_image: tuple[int, ...]


class RunOutcome(Result):
    """What is kept of a run.

    Attributes:
        key: everything that the outcome depends on, from `run_key`.
        seconds: of the training.
        parameters: of the student.
        splits: name of the split -> its ranks.
    """

    key: dict[str, JsonValue]
    seconds: float
    parameters: int
    splits: dict[str, SplitRanks]

    def ranks(self, split: str) -> Ranks:
        """Return the ranks of a split as arrays."""
        kept = self.splits[split]
        return Ranks(np.asarray(kept.t2i), np.asarray(kept.i2t), np.asarray(kept.caption_to_image))


def run_key(config: DistillConfig, splits: tuple[str, ...], sources: dict[str, str]) -> dict[str, JsonValue]:
    """Return everything a run's outcome depends on; a kept outcome with another key is not used.

    Args:
        config: recipe of the run.
        splits: that it is ranked on.
        sources: fingerprints of data and teacher.
    """
    # a name changes no figure
    return {"recipe": config.model_dump(mode="json", exclude={"name"}), "splits": list(splits), **sources}


def kept_run(file: Path, key: dict[str, JsonValue]) -> RunOutcome | None:
    """Return the outcome that an earlier study left, if it is of this very run."""
    try:
        outcome = RunOutcome.model_validate(read_json(file, "outcome of a run"))
    except (UserError, ValidationError):  # none yet, or not readable: the run is done again
        return None
    return outcome if outcome.key == key else None


def do_run(config: DistillConfig, splits: tuple[str, ...], key: dict[str, JsonValue], file: Path) -> RunOutcome:
    """Train a student, rank the splits and write the outcome; runs in a process of its own.

    Args:
        config: recipe of the run.
        splits: that it is ranked on.
        key: from `run_key`, kept in the outcome.
        file: of the outcome; what the run needs while it trains lies beside it and is deleted.
    """
    quiet_libraries()
    from conaclip_edge.distill.trainer import Trainer
    from conaclip_edge.models.student.checkpoint import parameter_counts

    out = file.with_suffix("")
    try:
        with quiet():
            trainer = Trainer.prepare(config, out)
            seconds = trainer.train()
            ranked = {split: trainer.evaluate(split) for split in splits}
            trainer.folder.remove()
    except Interrupted:
        raise
    except ConaclipError as error:
        raise UserError(f"run {file.stem}: {error}") from None
    finally:
        shutil.rmtree(out.with_name(out.name + ".run"), ignore_errors=True)
    outcome = RunOutcome(
        key=key,
        seconds=round(seconds, 1),
        parameters=parameter_counts(trainer.student)["all"],
        splits={
            split: SplitRanks(
                t2i=ranks.t2i.tolist(), i2t=ranks.i2t.tolist(), caption_to_image=list(map(int, ranks.caption_to_image))
            )
            for split, ranks in ranked.items()
        },
    )
    write_json(file, outcome.model_dump(mode="json"))
    return outcome

"""One run of a study: train, rank, keep the ranks and not the student."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.errors import ConaclipError, Interrupted, UserError
from conaclip_edge.evaluation.recall import Ranks
from conaclip_edge.system.files import read_json, write_json
from conaclip_edge.system.progress import quiet, quiet_libraries


def run_key(config: DistillConfig, splits: tuple[str, ...], sources: dict[str, str]) -> dict[str, Any]:
    """Return everything a run's outcome depends on; a kept outcome with another key is not used.

    Args:
        config: recipe of the run.
        splits: that it is ranked on.
        sources: fingerprints of data and teacher.
    """
    # a name changes no figure
    return {"recipe": config.model_dump(mode="json", exclude={"name"}), "splits": list(splits), **sources}


def kept_run(file: Path, key: dict[str, Any]) -> dict[str, Any] | None:
    """Return the outcome that an earlier study left, if it is of this very run."""
    try:
        found: dict[str, Any] = read_json(file, "outcome of a run")
    except UserError:  # none yet, or not readable: the run is done again
        return None
    return found if isinstance(found, dict) and found.get("key") == key else None


def do_run(config: DistillConfig, splits: tuple[str, ...], key: dict[str, Any], file: Path) -> dict[str, Any]:
    """Train a student, rank the splits and write the outcome; runs in a process of its own.

    Args:
        config: recipe of the run.
        splits: that it is ranked on.
        key: from `run_key`, kept in the outcome.
        file: of the outcome; what the run needs while it trains lies beside it and is deleted.

    Returns:
        {"key", "seconds", "parameters", "splits": {split: {"t2i", "i2t", "caption_to_image"}}}, ranks as in `Ranks`.
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
    outcome = {
        "key": key,
        "seconds": round(seconds, 1),
        "parameters": parameter_counts(trainer.student)["all"],
        "splits": {
            split: {
                "t2i": ranks.t2i.tolist(),
                "i2t": ranks.i2t.tolist(),
                "caption_to_image": np.asarray(ranks.caption_to_image).tolist(),
            }
            for split, ranks in ranked.items()
        },
    }
    write_json(file, outcome)
    return outcome


def ranks_of(outcome: dict[str, Any], split: str) -> Ranks:
    """Return the ranks that an outcome keeps of a split."""
    kept = outcome["splits"][split]
    return Ranks(*(np.asarray(kept[name]) for name in ("t2i", "i2t", "caption_to_image")))

"""A finished float student goes on to int8: what `train.qat` in its recipe would have made of it."""

from __future__ import annotations

import json
from pathlib import Path

from conaclip_edge.config.distill import DistillConfig, QatConfig
from conaclip_edge.config.parse import parse
from conaclip_edge.distill.trainer import Trainer
from conaclip_edge.errors import Interrupted, UserError
from conaclip_edge.models.quantization.record import QUANTIZATION
from conaclip_edge.models.student.checkpoint import load_student
from conaclip_edge.models.student.folder import RECORD, check_checkpoint, read_training
from conaclip_edge.models.student.presets import student_shape
from conaclip_edge.models.student.record import TrainingRecord
from conaclip_edge.system.files import read_json
from conaclip_edge.system.locks import only_run
from conaclip_edge.system.products import RUN, check_out
from conaclip_edge.system.progress import say


@only_run
def train_int8(folder: Path, out: Path) -> Path:
    """Do the int8 steps that a finished student's recipe lacks, with its own data, teacher and graph.

    The result is the student that the recipe with `train.qat` gives in one run; only a graph's queue of past
    embeddings, which no student keeps, begins empty. A killed run goes on, and a finished one is not done again.

    Args:
        folder: of the float student; it stays as it is.
        out: folder of the int8 one; nothing that is there is replaced.

    Returns:
        `out`.

    Raises:
        UserError: no record of a distillation, int8 already, an image tower without an int8 form, data or teacher that
            are not there or not the ones of the record, or something else at `out`.
        Interrupted: Ctrl-C or SIGTERM; the same call goes on.
    """
    record = _float_record(folder)
    settings = record.recipe.train.model_copy(update={"qat": QatConfig()})
    config = record.recipe.model_copy(update={"train": settings})
    if out.exists():
        if read_training(out).get("recipe") != config.model_dump(mode="json"):
            raise UserError(f"{out} is there and is not what --qat makes of {folder}. It is kept: move it away.")
        say(f"{out} is there already: its files are exported")
        return out
    _train(folder, record, config, out)
    return out


def _float_record(folder: Path) -> TrainingRecord:
    """Return how a student was trained that int8 steps can follow."""
    check_checkpoint(folder)
    if not (folder / RECORD).is_file():
        raise UserError(
            f"{folder} has no record of a distillation ({RECORD}), so --qat knows neither its teacher nor its data. "
            "Leave --qat out, or distil a student."
        )
    if (folder / QUANTIZATION).exists():
        raise UserError(f"{folder} was trained to be int8 already ({QUANTIZATION}). Export it without --qat.")
    record = parse(TrainingRecord, read_training(folder), str(folder / RECORD))
    if (kind := student_shape(record.recipe.student).image.kind) != "mobile":
        raise UserError(
            f"--qat trains mobile image towers, and that of {folder} is of the kind '{kind}'. Leave --qat out."
        )
    return record


def _train(folder: Path, record: TrainingRecord, config: DistillConfig, out: Path) -> None:
    """Train a student on as `train_int8` says, and write its folder."""
    run = out.with_name(f"{out.name}.run")
    check_out(run, RUN)
    interrupted = (run / "state.safetensors").is_file()
    resume = interrupted and read_json(run / "recipe.json", "recipe of a run") == config.model_dump(mode="json")
    try:
        trainer = Trainer.prepare(config, out, resume)
    except UserError as error:
        raise UserError(f"--qat trains {folder} on, with the data and teacher of its record: {error}") from error
    if not resume:
        _check_same(trainer, record, folder)
        trainer.begin_after_float_steps(load_student(folder).model)
        log = folder / "training.jsonl"
        (trainer.folder.path / log.name).write_bytes(log.read_bytes() if log.is_file() else b"")
    try:
        seconds = trainer.train()
    except Interrupted:
        raise Interrupted(f"interrupted; what was trained is kept in {run}. The same command goes on.") from None
    trainer.write(trainer.record(record.seconds + seconds), out)


def _check_same(trainer: Trainer, record: TrainingRecord, folder: Path) -> None:
    """Refuse other data or another teacher than a student's own: its vocabulary and what it knows are of those."""
    known = {"data": record.data.fingerprint, "teacher weights": record.teacher.fingerprint}
    changed = [what for what, fingerprint in trainer.data.sources().items() if known[what] != fingerprint]
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    if not changed and tokenizer["model"] != trainer.data.tokenizer_json["model"]:
        changed = ["vocabulary"]
    if changed:
        raise UserError(
            f"--qat needs the {changed[0]} that {folder} was distilled with, and what its record names has changed "
            f"since. Restore it, or leave --qat out."
        )

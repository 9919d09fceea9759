"""Distillation, from a recipe to a checkpoint folder."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor

from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.config.graph import Term
from conaclip_edge.distill import graph as interaction
from conaclip_edge.distill.all_gather import gather
from conaclip_edge.distill.embeddings import Embeddings
from conaclip_edge.distill.loss_curves import draw_curves
from conaclip_edge.distill.negative_queue import TeacherQueue
from conaclip_edge.distill.optimizer import make_optimizer
from conaclip_edge.distill.run_folder import RunFolder
from conaclip_edge.distill.sampler import BatchRows, Sampler
from conaclip_edge.distill.schedule import lr_factor
from conaclip_edge.distill.training_data import Inputs, Ready, captioned_rows, labelled_rows, prepare, training_inputs
from conaclip_edge.errors import Interrupted, UserError
from conaclip_edge.evaluation.recall import Ranks, ranks
from conaclip_edge.evaluation.torch_encoders import embed_ids, embed_pixels
from conaclip_edge.models.student.checkpoint import parameter_counts, write_student
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.models.tokenizer import TextTokenizer
from conaclip_edge.system.files import atomic_folder
from conaclip_edge.system.locks import only_run
from conaclip_edge.system.progress import Meter
from conaclip_edge.system.signals import held_interrupt
from conaclip_edge.system.version import __version__


@dataclass
class Run:
    """Everything that stands still while the student trains."""

    config: DistillConfig
    terms: tuple[Term, ...]
    ready: Ready
    inputs: Inputs
    pad_id: int
    sampler: Sampler


@only_run
def distill(config: DistillConfig, out: Path, resume: bool = False) -> dict[str, Any]:
    """Distil a student by a recipe and write its checkpoint folder.

    Args:
        config: the recipe.
        out: the checkpoint folder; until it is finished, everything is kept in `<out>.run` beside it.
        resume: go on from the last saved step of `<out>.run`; the result equals an uninterrupted run's.

    Returns:
        What `training.json` holds.
    """
    run, accelerator, folder, labelled = begin(config, out, resume)
    ready = run.ready
    seconds = train(run, ready.student, accelerator, folder)
    record = training_record(run, labelled, seconds)
    if accelerator.is_main_process:
        with atomic_folder(out) as target:
            write_student(ready.student, ready.tokenizer_json, record, target)
            folder.move_logs(target)
            draw_curves(target / "training.jsonl", target / "curves.svg")
        folder.remove()
    accelerator.wait_for_everyone()
    return record


def begin(config: DistillConfig, out: Path, resume: bool = False) -> tuple[Run, Accelerator, RunFolder, np.ndarray]:
    """Prepare everything up to the first step; arguments as of `distill`. Also returns the labelled rows."""
    torch.manual_seed(config.seed)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    interaction.expand(config.graph)  # a senseless graph is told before the teacher has worked for long
    ready = prepare(config)
    rows = labelled_rows(config, ready.pairs, ready.cache)
    accelerator = Accelerator(
        mixed_precision="bf16" if config.train.bf16 else "no",
        # a graph of fixed temperatures leaves the logit scale without a gradient
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    sources = {"data": ready.pairs.fingerprint, "teacher weights": ready.teacher.fingerprint}
    folder = RunFolder(out, config, resume, sources, accelerator.is_main_process)
    folder.write_json("tokenizer.json", ready.tokenizer_json)
    accelerator.wait_for_everyone()
    return make_run(config, ready, rows, folder.path, accelerator.num_processes), accelerator, folder, rows[0]


def make_run(
    config: DistillConfig, ready: Ready, rows: tuple[np.ndarray, np.ndarray], folder: Path, processes: int
) -> Run:
    """Put together what stands still while the student trains.

    Args:
        config: the recipe.
        ready: from `prepare`.
        rows: labelled and unlabelled train pictures, from `labelled_rows`.
        folder: of the run; has tokenizer.json.
        processes: that share every batch.
    """
    terms = interaction.expand(config.graph)
    tokenizer = TextTokenizer(folder / "tokenizer.json", ready.student.config.text.context)
    inputs = training_inputs(ready, tokenizer, config.train.teacher_views, folder)
    labelled, unlabelled = rows
    sampler = Sampler(
        labelled,
        unlabelled if interaction.uses_teacher(terms) else unlabelled[:0],
        ready.cache.first_text,
        config.train.batch_size,
        config.train.unpaired,
        config.train.teacher_views,
        config.seed,
        processes,
        inputs.loose_pictures,
        inputs.loose_texts,
        config.train.unpaired_texts,
    )
    return Run(config, terms, ready, inputs, tokenizer.pad_id, sampler)


def train(run: Run, student: DualEncoder, accelerator: Accelerator, folder: RunFolder) -> float:
    """Train in place from the last saved step; returns the seconds of this process's training."""
    settings = run.config.train
    model, optimizer = accelerator.prepare(student, make_optimizer(student, run.config))
    average = (
        torch.optim.swa_utils.AveragedModel(
            student, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(settings.ema), use_buffers=True
        )
        if settings.ema
        else None
    )
    queue = TeacherQueue(run.config.graph.queue, student.config.embed_dim)
    first = folder.load_state(student, optimizer, queue, average)
    started = time.monotonic()
    with Meter("distil", settings.steps, first) as meter, held_interrupt() as interrupted:
        for step in range(first, settings.steps):
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * lr_factor(step, settings.steps, settings.warmup)
            model.train()
            losses: dict[str, float] = {}
            for part in range(settings.accumulate):
                rows = run.sampler.rows(step * settings.accumulate + part)
                batch, scale = embed(run, model, rows, accelerator, queue)
                terms = interaction.compute(run.terms, batch, scale)
                loss = torch.stack([term.weight * terms[f"{term.edge}/{term.loss}"] for term in run.terms]).sum()
                losses = {name: float(value.detach()) for name, value in terms.items()}
                check_finite(losses, step)
                if step % settings.eval_every == 0 and part == 0:
                    folder.log({"step": step, "gradient_norms": gradient_norms(run.terms, terms, batch)})
                accelerator.backward(loss / settings.accumulate)
                queue.push(batch)
            norm = accelerator.clip_grad_norm_(model.parameters(), settings.clip)
            optimizer.step()
            optimizer.zero_grad()
            student.clamp_logit_scale()
            if average is not None:
                average.update_parameters(student)
            folder.log(
                {
                    "step": step,
                    "loss": float(loss.detach()),
                    "lr": optimizer.param_groups[0]["lr"],
                    "gradient_norm": float(norm),
                    "logit_scale": float(scale.detach()),
                    "terms": losses,
                }
            )
            done = step + 1
            if accelerator.is_main_process and (done % settings.eval_every == 0 or done == settings.steps):
                shown = student if average is None else cast(DualEncoder, average.module)
                recall = evaluate(run, shown, "val").mean_recall()
                folder.log({"step": step, "val_mean_recall": recall})
                meter.note(val=recall)
                folder.save_state(student, optimizer, queue, average, done)
            if interrupted() and done < settings.steps:
                folder.save_state(student, optimizer, queue, average, done)
                raise Interrupted(f"interrupted after step {done}, which is saved. Go on with --resume.")
            meter.advance(loss=float(loss.detach()), pictures=len(rows.pictures))
    if average is not None:
        student.load_state_dict(average.module.state_dict())
    return time.monotonic() - started


def embed(
    run: Run, model: torch.nn.Module, rows: BatchRows, accelerator: Accelerator, queue: TeacherQueue
) -> tuple[Embeddings, Tensor]:
    """Encode this process's share of a batch and gather all of it, gradients included."""
    device = accelerator.device
    mine = slice(accelerator.process_index, None, accelerator.num_processes)
    pictures = run.inputs.pictures(rows.pictures[mine], rows.views[mine]).to(device)
    si, st, scale = model(pictures, pad([run.inputs.ids[text] for text in rows.texts[mine]], run.pad_id).to(device))
    batch = Embeddings(
        si=gather(si.float(), accelerator.num_processes),
        ti=run.inputs.teacher_pictures(rows.pictures, rows.views).to(device),
        st=gather(st.float(), accelerator.num_processes),
        tt=run.inputs.teacher_texts(rows.texts).to(device),
        picture_ids=torch.from_numpy(rows.pictures).to(device),
        text_ids=torch.from_numpy(run.inputs.numbers[rows.texts]).to(device),
        caption_to_image=torch.from_numpy(rows.caption_to_image).to(device),
        pairs=rows.pairs,
        queue=queue.content(device),
    )
    return batch, scale


def pad(rows: Sequence[list[int]], pad_id: int) -> Tensor:
    """Stack id lists to [n, longest]; what stands after EOS cannot change a causal tower's embedding."""
    longest = max(len(row) for row in rows)
    return torch.tensor([row + [pad_id] * (longest - len(row)) for row in rows], dtype=torch.int32)


def gradient_norms(terms: Sequence[Term], values: dict[str, Tensor], batch: Embeddings) -> dict[str, float]:
    """Norm of each weighted term's gradient at the student's embeddings: who pulls how hard."""
    norms = {}
    for term in terms:
        name = f"{term.edge}/{term.loss}"
        gradients = torch.autograd.grad(
            term.weight * values[name], [batch.si, batch.st], retain_graph=True, allow_unused=True
        )
        norms[name] = math.sqrt(sum(float(part.square().sum()) for part in gradients if part is not None))
    return norms


def check_finite(losses: dict[str, float], step: int) -> None:
    """Stop at the first loss that is no number, naming step and term."""
    for name, value in losses.items():
        if not math.isfinite(value):
            raise UserError(
                f"loss {name} became {value} at step {step}. Lower train.lr or raise that term's temperature; the last "
                "saved step is kept, go on with --resume."
            )


def evaluate(run: Run, student: DualEncoder, split: str) -> Ranks:
    """Rank all usable pictures and captions of a split by the student's embeddings."""
    pixels, first_text = run.ready.pixels, run.ready.cache.first_text
    rows = captioned_rows(run.ready.pairs, run.ready.cache, split)
    parts = np.array_split(rows, math.ceil(len(rows) / 64))
    pictures = embed_pixels(student, (pixels(part, np.zeros_like(part)) for part in parts))
    texts = np.concatenate([np.arange(first_text[row], first_text[row + 1]) for row in rows])
    caption_to_image = np.repeat(np.arange(len(rows)), np.diff(first_text)[rows])
    parts = np.array_split(texts, math.ceil(len(texts) / 256))
    encoded = embed_ids(student, (pad([run.inputs.ids[text] for text in part], run.pad_id).numpy() for part in parts))
    return ranks(pictures, encoded, caption_to_image)


def training_record(run: Run, labelled: np.ndarray, seconds: float) -> dict[str, Any]:
    """Make the content of `training.json`: what was trained on what, and how well it does on val."""
    ready = run.ready
    result = evaluate(run, ready.student, "val")
    teacher_size = sum(parameter.numel() for parameter in ready.teacher.parameters())
    table_size = ready.teacher.token_table().numel()
    return {
        "recipe": run.config.model_dump(mode="json"),
        "graph": [term.model_dump() for term in run.terms],
        "data": {
            "name": ready.pairs.name,
            "fingerprint": ready.pairs.fingerprint,
            "licence": ready.pairs.licence,
            "train_pictures": len(ready.pairs.rows("train")),
            "labelled_pictures": len(labelled),
            "left_out": ready.cache.bad,
        },
        "teacher": {
            "name": ready.teacher.name,
            "fingerprint": ready.teacher.fingerprint,
            "parameters": {"all": teacher_size, "token_table": table_size},
        },
        "parameters": parameter_counts(ready.student) | {"started_from_pretrained": ready.pretrained},
        "seconds": round(seconds, 1),
        "versions": {name: version(name) for name in ("torch", "transformers", "accelerate")}
        | {"conaclip-edge": __version__},
        "val": {"recall": result.recall(), "median_rank": result.median_rank(), "mean_recall": result.mean_recall()},
    }

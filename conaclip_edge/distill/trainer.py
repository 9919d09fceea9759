"""Distillation, from a recipe to a checkpoint folder."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import cast

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.config.graph import Term
from conaclip_edge.distill import graph
from conaclip_edge.distill.all_gather import gather
from conaclip_edge.distill.embeddings import Embeddings
from conaclip_edge.distill.examples import Examples, examples_of
from conaclip_edge.distill.loss_curves import draw_curves
from conaclip_edge.distill.negative_queue import TeacherQueue
from conaclip_edge.distill.optimizer import lr_factor, make_optimizer
from conaclip_edge.distill.run_folder import RunFolder
from conaclip_edge.distill.sampler import BatchRows, Sampler
from conaclip_edge.distill.teacher.split_ranks import teacher_ranks, teacher_record
from conaclip_edge.distill.training_data import TrainingData, training_data, usable_rows
from conaclip_edge.errors import Interrupted
from conaclip_edge.evaluation.mean_interval import certainty_of
from conaclip_edge.evaluation.recall import Ranks, ranks
from conaclip_edge.evaluation.torch_encoders import embed_ids, embed_pixels
from conaclip_edge.models.student.checkpoint import parameter_counts, write_student
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.models.student.record import TrainedOn, TrainingRecord, ValRecall
from conaclip_edge.models.tokenizer import TextTokenizer
from conaclip_edge.system.files import atomic_folder
from conaclip_edge.system.locks import only_run
from conaclip_edge.system.products import STUDENT
from conaclip_edge.system.progress import Meter
from conaclip_edge.system.signals import held_interrupt
from conaclip_edge.system.version import __version__


@only_run
def distill(config: DistillConfig, out: Path, resume: bool = False) -> TrainingRecord:
    """Distil a student by a recipe and write its checkpoint folder.

    Args:
        config: the recipe.
        out: the checkpoint folder; until it is finished, everything is kept in `<out>.run` beside it.
        resume: go on from the last saved step of `<out>.run`; the result equals an uninterrupted run's.

    Returns:
        What `training.json` holds.
    """
    trainer = Trainer.prepare(config, out, resume)
    record = trainer.record(trainer.train())
    trainer.write(record, out)
    return record


@dataclass(frozen=True)
class StepValues:
    """Figures of a step's last batch.

    Attributes:
        loss: weighted sum of the terms.
        terms: "edge/loss" -> its loss, unweighted.
        logit_scale: the student's.
        pictures: of the batch.
    """

    loss: float
    terms: dict[str, float]
    logit_scale: float
    pictures: int


@dataclass
class Trainer:
    """One distillation: everything that stands still while the student trains, and the student.

    Attributes:
        config: the recipe.
        terms: of its interaction graph, edge by edge.
        data: pairs, teacher and student.
        examples: what both models see of every row.
        sampler: the rows of every batch.
        pad_id: that stands behind short texts.
        accelerator: device, precision and the other processes.
        folder: what is saved on the way.
    """

    config: DistillConfig
    terms: tuple[Term, ...]
    data: TrainingData
    examples: Examples
    sampler: Sampler
    pad_id: int
    accelerator: Accelerator
    folder: RunFolder

    @classmethod
    def prepare(cls, config: DistillConfig, out: Path, resume: bool = False) -> Trainer:
        """Make everything ready up to the first step; arguments as of `distill`."""
        torch.manual_seed(config.seed)
        if config.train.threads:
            torch.set_num_threads(config.train.threads)
        data = training_data(config)
        terms = data.terms
        accelerator = Accelerator(
            mixed_precision="bf16" if config.train.bf16 else "no",
            # a graph of fixed temperatures leaves the logit scale without a gradient
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        folder = RunFolder(out, config, resume, data.sources(), accelerator.is_main_process)
        folder.write_json("tokenizer.json", data.tokenizer_json)
        accelerator.wait_for_everyone()
        tokenizer = TextTokenizer(folder.path / "tokenizer.json", data.student.config.text.context, ignore_padding=True)
        examples = examples_of(data, tokenizer, config.train.teacher_views, folder.path)
        learns_unpaired = graph.uses_teacher(terms)
        sampler = Sampler(
            data.captioned,
            data.unpaired if learns_unpaired else data.unpaired[:0],
            data.cache.first_text,
            config.train.batch_size,
            config.train.unpaired,
            config.train.teacher_views,
            config.seed,
            accelerator.num_processes,
            examples.synthetic_pictures,
            examples.synthetic_texts,
            config.train.unpaired_texts,
        )
        return cls(config, terms, data, examples, sampler, tokenizer.pad_id, accelerator, folder)

    @property
    def student(self) -> DualEncoder:
        """The student; `train` changes it in place."""
        return self.data.student

    def train(self) -> float:
        """Train from the last saved step; returns the seconds of this process's training."""
        settings, student, folder = self.config.train, self.student, self.folder
        model, optimizer = self.accelerator.prepare(student, make_optimizer(student, self.config))
        average = (
            AveragedModel(student, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)
            if settings.ema
            else None
        )
        queue = TeacherQueue(self.config.graph.queue, student.config.embed_dim)
        first = folder.load_state(student, optimizer, queue, average)
        started = time.monotonic()
        with Meter("distil", settings.steps, first) as meter, held_interrupt() as interrupted:
            for step in range(first, settings.steps):
                for group in optimizer.param_groups:
                    group["lr"] = group["peak_lr"] * lr_factor(step, settings.steps, settings.warmup)
                model.train()
                found = self._accumulate_gradients(step, model, queue)
                norm = self.accelerator.clip_grad_norm_(model.parameters(), settings.clip)
                optimizer.step()
                optimizer.zero_grad()
                student.clamp_logit_scale()
                if average is not None:
                    average.update_parameters(student)
                folder.log(
                    {
                        "step": step,
                        "loss": found.loss,
                        "lr": optimizer.param_groups[0]["lr"],
                        "gradient_norm": float(norm),
                        "logit_scale": found.logit_scale,
                        "terms": found.terms,
                    }
                )
                done = step + 1
                if self.accelerator.is_main_process and (done % settings.eval_every == 0 or done == settings.steps):
                    measured = student if average is None else cast(DualEncoder, average.module)
                    recall = self.evaluate("val", measured).mean_recall()
                    folder.log({"step": step, "val_mean_recall": recall})
                    meter.note(val=recall)
                    folder.save_state(student, optimizer, queue, average, done)
                if interrupted() and done < settings.steps:
                    folder.save_state(student, optimizer, queue, average, done)
                    raise Interrupted(f"interrupted after step {done}, which is saved. Go on with --resume.")
                meter.advance(loss=found.loss, pictures=found.pictures)
        if average is not None:
            student.load_state_dict(average.module.state_dict())
        return time.monotonic() - started

    def _accumulate_gradients(self, step: int, model: nn.Module, queue: TeacherQueue) -> StepValues:
        """Add up a step's gradients over its batches."""
        settings = self.config.train
        for number in range(settings.accumulate):
            rows = self.sampler.rows(step * settings.accumulate + number)
            batch, scale = self.embed(model, rows, queue)
            values = graph.compute(self.terms, batch, scale)
            loss = torch.stack([term.weight * values[f"{term.edge}/{term.loss}"] for term in self.terms]).sum()
            losses = {name: float(value.detach()) for name, value in values.items()}
            graph.check_finite(losses, step)
            if step % settings.eval_every == 0 and number == 0:
                self.folder.log({"step": step, "gradient_norms": graph.gradient_norms(self.terms, values, batch)})
            self.accelerator.backward(loss / settings.accumulate)
            queue.push(batch)
        return StepValues(float(loss.detach()), losses, float(scale.detach()), len(rows.pictures))

    def embed(self, model: nn.Module, rows: BatchRows, queue: TeacherQueue) -> tuple[Embeddings, Tensor]:
        """Encode this process's share of a batch and gather all of it, gradients included.

        Returns:
            The embeddings, and the student's logit scale.
        """
        device, processes = self.accelerator.device, self.accelerator.num_processes
        mine = slice(self.accelerator.process_index, None, processes)
        pictures = self.examples.pictures(rows.pictures[mine], rows.views[mine]).to(device)
        ids = pad([self.examples.ids[text] for text in rows.texts[mine]], self.pad_id).to(device)
        si, st, scale = model(pictures, ids)
        batch = Embeddings(
            si=gather(si.float(), processes),
            ti=self.examples.teacher_pictures(rows.pictures, rows.views).to(device),
            st=gather(st.float(), processes),
            tt=self.examples.teacher_texts(rows.texts).to(device),
            picture_ids=torch.from_numpy(rows.pictures).to(device),
            text_ids=torch.from_numpy(self.examples.text_numbers[rows.texts]).to(device),
            caption_to_image=torch.from_numpy(rows.caption_to_image).to(device),
            pairs=rows.pairs,
            queue=queue.content(device),
        )
        return batch, scale

    def evaluate(self, split: str, student: DualEncoder | None = None) -> Ranks:
        """Rank all usable pictures and captions of a split by the student's embeddings.

        Of data without captions, the teacher's embeddings of the same pictures stand for them.

        Args:
            split: of the data set.
            student: another state of the student, such as its moving average.
        """
        student, first_text = student or self.student, self.data.cache.first_text
        rows = usable_rows(self.data.pairs, self.data.cache, split)
        batches = np.array_split(rows, math.ceil(len(rows) / 64))
        pictures = embed_pixels(student, (self.data.pixels(some, np.zeros_like(some)) for some in batches))
        if not self.data.has_captions:
            teacher = self.data.cache.pictures(rows, np.zeros_like(rows))
            return ranks(pictures, teacher, np.arange(len(rows)))
        texts = np.concatenate([np.arange(first_text[row], first_text[row + 1]) for row in rows])
        caption_to_image = np.repeat(np.arange(len(rows)), np.diff(first_text)[rows])
        batches = np.array_split(texts, math.ceil(len(texts) / 256))
        padded = (pad([self.examples.ids[text] for text in some], self.pad_id).numpy() for some in batches)
        return ranks(pictures, embed_ids(student, padded), caption_to_image)

    def record(self, seconds: float) -> TrainingRecord:
        """Say what was trained on what, and how well it does on val."""
        data, found = self.data, self.evaluate("val")
        of_teacher = teacher_ranks(data.pairs, data.cache)
        return TrainingRecord(
            recipe=self.config,
            graph=self.terms,
            data=TrainedOn(
                name=data.pairs.name,
                fingerprint=data.pairs.fingerprint,
                licence=data.pairs.licence,
                train_pictures=len(data.pairs.rows("train")),
                labelled_pictures=len(data.captioned),
                left_out=tuple(data.cache.bad),
            ),
            teacher=teacher_record(data.teacher, of_teacher),
            parameters=parameter_counts(data.student) | {"started_from_pretrained": data.pretrained},
            seconds=round(seconds, 1),
            versions={name: version(name) for name in ("torch", "transformers", "accelerate")}
            | {"conaclip-edge": __version__},
            val=ValRecall(
                of="captions" if data.has_captions else "teacher pictures",
                recall=found.recall(),
                median_rank=found.median_rank(),
                mean_recall=found.mean_recall(),
                certainty=certainty_of(found, of_teacher.get("val")),
            ),
        )

    def write(self, record: TrainingRecord, out: Path) -> None:
        """Write the checkpoint folder and forget the run folder; of several processes the main one does."""
        if self.accelerator.is_main_process:
            with atomic_folder(out, STUDENT) as target:
                write_student(self.student, self.data.tokenizer_json, record.model_dump(mode="json"), target)
                self.folder.move_logs(target)
                draw_curves(target / "training.jsonl", target / "curves.svg")
            self.folder.remove()
        self.accelerator.wait_for_everyone()


def pad(rows: Sequence[list[int]], pad_id: int) -> Tensor:
    """Stack id lists to [n, longest]; what stands after EOS cannot change a causal tower's embedding."""
    longest = max(len(row) for row in rows)
    return torch.tensor([row + [pad_id] * (longest - len(row)) for row in rows], dtype=torch.int32)

"""Distillation, from a recipe to a checkpoint folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from conaclip_edge.config.distill import DistillConfig, QatConfig
from conaclip_edge.config.graph import Term
from conaclip_edge.data.prefetch import default_workers, prefetched
from conaclip_edge.distill import graph
from conaclip_edge.distill.embeddings import Embeddings
from conaclip_edge.distill.examples import Examples, examples_of, student_pictures
from conaclip_edge.distill.int8_start import start_int8
from conaclip_edge.distill.loss_curves import draw_curves
from conaclip_edge.distill.run_folder import RunFolder
from conaclip_edge.distill.sampler import Sampler
from conaclip_edge.distill.steps.all_gather import mean_over
from conaclip_edge.distill.steps.inputs import Inputs, encode, inputs_of
from conaclip_edge.distill.steps.negative_queue import TeacherQueue
from conaclip_edge.distill.steps.optimizer import lr_factor, make_optimizer, make_qat_optimizer
from conaclip_edge.distill.steps.phase import Phase, StepValues
from conaclip_edge.distill.teacher.split_ranks import teacher_ranks, teacher_record
from conaclip_edge.distill.training_data import TrainingData, training_data
from conaclip_edge.distill.validation import student_ranks, val_recall
from conaclip_edge.errors import Interrupted
from conaclip_edge.evaluation.recall import Ranks
from conaclip_edge.models.quantization.record import write_quantization
from conaclip_edge.models.student.checkpoint import parameter_counts, write_student
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.models.student.int8_student import Int8Student, int8_student
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
        int8: the student with its int8 image tower, once it was trained to be int8.
    """

    config: DistillConfig
    terms: tuple[Term, ...]
    data: TrainingData
    examples: Examples
    sampler: Sampler
    pad_id: int
    accelerator: Accelerator
    folder: RunFolder
    int8: Int8Student | None = None

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
            examples.other_texts,
            config.train.unpaired_texts,
        )
        return cls(config, terms, data, examples, sampler, tokenizer.pad_id, accelerator, folder)

    @property
    def student(self) -> DualEncoder:
        """The student; `train` changes it in place."""
        return self.data.student

    def train(self) -> float:
        """Train from the last saved step; returns the seconds of this process's training."""
        settings, done = self.config.train, self.folder.steps_done()
        queue = TeacherQueue(self.config.graph.queue, self.student.config.embed_dim)
        started = time.monotonic()
        if done <= settings.steps:
            self._run(self._float_phase(), queue, done)
        if settings.qat is not None:
            int8 = start_int8(self.data, settings.qat.prune, self.folder if done > settings.steps else None)
            self._run(self._int8_phase(int8, settings.qat), queue, done)
            int8.write_back()
            self.int8 = int8_student(self.student, int8.quantization.image)  # as whoever loads it will have it
        return time.monotonic() - started

    def begin_after_float_steps(self, finished: DualEncoder) -> None:
        """Let `train` begin with the int8 steps, with the weights of a student whose float steps are done."""
        self.student.load_state_dict(finished.state_dict())
        phase, queue = self._float_phase(), TeacherQueue(self.config.graph.queue, self.student.config.embed_dim)
        self.folder.save_state(self.student, phase.optimizer, queue, phase.average, phase.last)

    def _float_phase(self) -> Phase:
        settings, student = self.config.train, self.student
        average = None
        if settings.ema:
            blend = get_ema_multi_avg_fn(settings.ema)
            average = AveragedModel(student, self.accelerator.device, multi_avg_fn=blend, use_buffers=True)
        return Phase("distil", student, make_optimizer(student, self.config), 0, settings.steps, average)

    def _int8_phase(self, int8: Int8Student, qat: QatConfig) -> Phase:
        views, tower = self.config.train.teacher_views, int8.int8_image
        self.examples = replace(self.examples, pictures=student_pictures(self.data, tower, views, self.folder.path))
        first = self.config.train.steps
        return Phase("int8", int8, make_qat_optimizer(int8, qat.lr), first, first + qat.steps)

    def _run(self, phase: Phase, queue: TeacherQueue, done_before: int) -> None:
        """Do the steps of a phase; if some of them were done before, from the saved state on."""
        settings, folder, average = self.config.train, self.folder, phase.average
        model, optimizer = self.accelerator.prepare(phase.model, phase.optimizer)
        first = phase.first
        if done_before > first:
            first = folder.load_state(phase.model, optimizer, queue, average)
        batches = self._batches(range(first * settings.accumulate, phase.last * settings.accumulate))
        with Meter(phase.name, phase.last, first) as meter, held_interrupt() as interrupted:
            for step in range(first, phase.last):
                for group in optimizer.param_groups:
                    factor = lr_factor(step - phase.first, phase.last - phase.first, settings.warmup)
                    group["lr"] = group["peak_lr"] * factor
                model.train()
                found = self._accumulate_gradients(step, model, queue, batches)
                norm = self.accelerator.clip_grad_norm_(model.parameters(), settings.clip)
                optimizer.step()
                optimizer.zero_grad()
                phase.model.clamp_logit_scale()
                if average is not None:
                    average.update_parameters(phase.model)
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
                if self.accelerator.is_main_process and (done % settings.eval_every == 0 or done == phase.last):
                    recall = self.evaluate("val", phase.measured).mean_recall()
                    folder.log({"step": step, "val_mean_recall": recall})
                    meter.note(val=recall)
                    folder.save_state(phase.model, optimizer, queue, average, done)
                if interrupted() and done < settings.all_steps:
                    folder.save_state(phase.model, optimizer, queue, average, done)
                    raise Interrupted(f"interrupted after step {done}, which is saved. Go on with --resume.")
                meter.advance(loss=found.loss, pictures=found.pictures)
        if average is not None:
            phase.model.load_state_dict(phase.measured.state_dict())

    def _batches(self, numbers: range) -> Iterator[Inputs]:
        accelerator, workers = self.accelerator, self.config.train.workers
        if workers is None:
            workers = default_workers(accelerator.num_processes) if self.data.decodes else 0
        return prefetched(self.inputs, numbers, workers, pin=accelerator.device.type == "cuda")

    def inputs(self, number: int) -> Inputs:
        """Return what a batch brings to this process; a function of its number alone."""
        rows, of = self.sampler.rows(number), self.accelerator
        return inputs_of(rows, self.examples, self.pad_id, of.process_index, of.num_processes)

    def _accumulate_gradients(
        self, step: int, model: nn.Module, queue: TeacherQueue, batches: Iterator[Inputs]
    ) -> StepValues:
        """Add up a step's gradients over its batches."""
        settings = self.config.train
        terms = graph.at_step(self.terms, step, settings.steps)
        for number in range(settings.accumulate):
            batch, scale = self.embed(model, next(batches), queue)
            values = graph.compute(terms, batch, scale)
            loss = torch.stack([term.weight * values[f"{term.edge}/{term.loss}"] for term in terms]).sum()
            # one copy from the device for all figures, which are the whole batch's
            mean = partial(mean_over, processes=batch.processes)
            figures = mean(torch.stack([loss, *values.values()])).tolist()
            losses = dict(zip(values, figures[1:], strict=True))
            graph.check_finite(losses, step)
            if step % settings.eval_every == 0 and number == 0:
                norms = graph.gradient_norms(terms, values, batch, mean)
                self.folder.log({"step": step, "gradient_norms": norms})
            self.accelerator.backward(loss / settings.accumulate)
            queue.push(batch)
        return StepValues(figures[0], losses, float(scale.detach()), len(batch.ti))

    def embed(self, model: nn.Module, inputs: Inputs, queue: TeacherQueue) -> tuple[Embeddings, Tensor]:
        """Encode this process's share of a batch; see `encode`."""
        of = self.accelerator
        batch, scale = encode(model, inputs.to(of.device), queue, of.process_index, of.num_processes)
        temperature, teachers = self.data.teacher.temperature, self.data.teacher_parts
        return replace(batch, teacher_temperature=temperature, teachers=teachers), scale

    def evaluate(self, split: str, student: DualEncoder | None = None) -> Ranks:
        """Rank all usable pictures and captions of a split by the student's embeddings; see `student_ranks`.

        Args:
            split: of the data set.
            student: another state than the one that was trained last, such as its moving average.
        """
        return student_ranks(self.data, self.examples.ids, self.pad_id, split, student or self.int8 or self.student)

    def record(self, seconds: float) -> TrainingRecord:
        """Say what was trained on what, and how well it does on val."""
        data = self.data
        of_teacher = teacher_ranks(data.pairs, data.cache)

        def val(student: DualEncoder) -> ValRecall:
            return val_recall(self.evaluate("val", student), of_teacher.get("val"), data.has_captions)

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
            val=val(self.student),
            val_int8=val(self.int8) if self.int8 else None,
        )

    def write(self, record: TrainingRecord, out: Path) -> None:
        """Write the checkpoint folder and forget the run folder; of several processes the main one does."""
        if self.accelerator.is_main_process:
            with atomic_folder(out, STUDENT) as target:
                write_student(self.student, self.data.tokenizer_json, record.model_dump(mode="json"), target)
                if self.int8:
                    write_quantization(self.int8.quantization, target)
                self.folder.move_logs(target)
                draw_curves(target / "training.jsonl", target / "curves.svg")
            self.folder.remove()
        self.accelerator.wait_for_everyone()

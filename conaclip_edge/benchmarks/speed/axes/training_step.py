"""Axis step: where a distillation step's time goes, and what asking the teacher in every step would cost.

The trainer's own loop runs; hooks take the time. Cached and online steps alternate within the one run, so that a busy
minute of the machine meets both.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from conaclip_edge.benchmarks.measure.fresh_process import in_fresh_process
from conaclip_edge.benchmarks.schema.speed import Finding
from conaclip_edge.benchmarks.speed.two_clocks import Times, over
from conaclip_edge.config.benchmark import SpeedConfig
from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.config.load import distill_recipe
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import decode
from conaclip_edge.distill.sampler import BatchRows, Sampler
from conaclip_edge.distill.trainer import Trainer
from conaclip_edge.errors import UserError
from conaclip_edge.models.student.dual_encoder import DualEncoder

T = TypeVar("T")

WARMUP = 2  # steps of either kind; the first one also logs gradient norms
PARTS = ("forward", "backward", "optimizer", "loader")


@dataclass
class Clock:
    """Seconds by part of every step, [processor, wall].

    Attributes:
        online: for each step whether the teacher is asked in it.
        steps: part -> seconds, one dict per step; "whole" is the step from its rows to the next step's.
    """

    online: Sequence[bool]
    steps: list[dict[str, np.ndarray]] = field(default_factory=list)
    began: np.ndarray = field(default_factory=lambda: now())

    def next(self) -> None:
        """Begin a step."""
        if self.steps:
            self.steps[-1]["whole"] = now() - self.began
        self.steps.append({part: np.zeros(2) for part in PARTS})
        self.began = now()

    @property
    def asks(self) -> bool:
        """Whether the step that runs asks the teacher."""
        return self.online[len(self.steps) - 1]

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens inside for a part of the step."""
        before = now()
        yield
        if self.steps:
            self.steps[-1][name] += now() - before

    def timed(self, name: str, function: Callable[..., T]) -> Callable[..., T]:
        """Return a function whose time counts for a part."""

        def wrapped(*arguments: Any) -> T:
            with self.part(name):
                return function(*arguments)

        return wrapped


def now() -> np.ndarray:
    """Return both clocks in seconds: of this process's processor time, and of the wall."""
    return np.asarray([time.process_time(), time.perf_counter()])


def measure(config: SpeedConfig) -> list[Finding]:
    """Run the recipe's steps in a fresh process of one thread and say how their time divides.

    Raises:
        UserError: the recipe's teacher never works in its steps, or its data or teacher are not there.
    """
    recipe = distill_recipe(config.recipe, [])
    steps = in_fresh_process(run_steps, recipe, config.rounds, config.seed)
    return findings(*steps, recipe.name)


def findings(cached: list[dict[str, np.ndarray]], online: list[dict[str, np.ndarray]], name: str) -> list[Finding]:
    """Make findings of the parts of cached and online steps that belong together round by round."""
    of = {part: _times(cached, part) for part in (*PARTS, "whole")}
    student = _sum(of["forward"], of["backward"])
    counted = _sum(student, of["optimizer"], of["loader"])
    rest = Times(of["whole"].cpu - counted.cpu, of["whole"].wall - counted.wall)
    online_step = _times(online, "whole")
    rows: list[tuple[str, Times, Times, float | None, bool, str]] = [
        (
            "student's forward and backward / step, cache on",
            student,
            of["whole"],
            0.85,
            False,
            f"recipe {name}, {1000 * np.median(of['whole'].cpu):.0f} ms per step; the losses count in backward alone",
        ),
        ("forward / step", of["forward"], of["whole"], None, True, ""),
        ("backward / step", of["backward"], of["whole"], None, True, ""),
        ("optimizer / step", of["optimizer"], of["whole"], None, True, "AdamW alone"),
        ("loader / step", of["loader"], of["whole"], None, True, "sampling, pictures, cached embeddings"),
        ("rest / step", rest, of["whole"], None, True, "losses' forward, padding, gradient clipping, log"),
        ("loader / student's forward and backward", of["loader"], student, 1.0, True, ""),
        ("step that asks the teacher / step, cache on", online_step, of["whole"], 3.0, False, "alternating steps"),
    ]
    found = []
    for what, one, other, bar, most, note in rows:
        cpu, wall = over(one, other)
        found.append(
            Finding(axis="step", what=what, value=cpu, wall=wall, n=len(cached), bar=bar, most=most, note=note)
        )
    return found


def run_steps(
    recipe: DistillConfig, count: int, seed: int
) -> tuple[list[dict[str, np.ndarray]], list[dict[str, np.ndarray]]]:
    """Train by a recipe in a folder that is thrown away.

    Args:
        recipe: its steps, threads and evaluations are replaced.
        count: rounds; each is a cached and an online step, in random order.
        seed: of the order.

    Returns:
        Parts of the cached and of the online steps.
    """
    order = np.random.default_rng(seed)
    online = [bool(kind) for _ in range(WARMUP + count) for kind in order.permutation(2)]
    # the step after the last only ends the last one's time
    online.append(False)
    settings = recipe.train.model_copy(
        update={
            "steps": len(online),
            "threads": 1,
            "eval_every": len(online),
            "teacher_views": 1,
            "accumulate": 1,
            "workers": 0,
            "qat": None,
        }
    )
    config = recipe.model_copy(update={"train": settings})
    torch.manual_seed(config.seed)
    torch.set_num_threads(1)
    clock = Clock(online)
    with tempfile.TemporaryDirectory(prefix="conaclip-edge-") as scratch, ExitStack() as hooks:
        trainer = watched(Trainer.prepare(config, Path(scratch) / "student"), clock)
        trainer.accelerator.backward = clock.timed("backward", trainer.accelerator.backward)
        _hook_student(trainer.student, clock, hooks)
        trainer.train()
    finished = list(zip(clock.steps, online, strict=True))[2 * WARMUP : -1]
    return [parts for parts, asks in finished if not asks], [parts for parts, asks in finished if asks]


def watched(trainer: Trainer, clock: Clock) -> Trainer:
    """Return a trainer whose inputs are timed; in online steps the teacher looks at the batch's pictures and texts."""
    data, examples = trainer.data, trainer.examples
    captions = [text for texts in data.pairs.captions for text in texts]
    captions += data.other_texts.texts if data.other_texts else []

    def teacher_pictures(rows: np.ndarray, views: np.ndarray) -> Tensor:
        if not clock.asks:
            return examples.teacher_pictures(rows, views)
        return data.teacher.embed_pictures([_picture(data.pairs, int(row)) for row in rows])

    def teacher_texts(rows: np.ndarray) -> Tensor:
        if not clock.asks:
            return examples.teacher_texts(rows)
        return data.teacher.embed_texts([captions[row] for row in rows])

    timed = replace(
        examples,
        pictures=clock.timed("loader", examples.pictures),
        teacher_pictures=clock.timed("loader", teacher_pictures),
        teacher_texts=clock.timed("loader", teacher_texts),
    )
    return replace(trainer, examples=timed, sampler=_Beginning(trainer.sampler, clock))


class _Beginning(Sampler):
    """A sampler that begins the clock's step when it is asked for the rows."""

    def __init__(self, sampler: Sampler, clock: Clock):
        self.__dict__.update(sampler.__dict__)
        self.clock = clock

    def rows(self, step: int) -> BatchRows:
        self.clock.next()
        with self.clock.part("loader"):
            return super().rows(step)


def _picture(pairs: Pairs, row: int) -> Any:
    if row >= len(pairs):
        raise UserError("the axis step takes no recipe with synthetic pictures: their bytes are not kept.")
    return decode(pairs.read(row))


def _hook_student(student: DualEncoder, clock: Clock, hooks: ExitStack) -> None:
    """Take the time of the student's forward and of the optimizer's step."""
    begun: dict[str, np.ndarray] = {}

    def begin(name: str) -> Callable[..., None]:
        return lambda *_: begun.update({name: now()})

    def end(name: str) -> Callable[..., None]:
        def finish(*_: Any) -> None:
            clock.steps[-1][name] += now() - begun[name]

        return finish

    for handle in (
        student.register_forward_pre_hook(begin("forward")),
        student.register_forward_hook(end("forward")),
        register_optimizer_step_pre_hook(begin("optimizer")),
        register_optimizer_step_post_hook(end("optimizer")),
    ):
        hooks.callback(handle.remove)


def _times(steps: list[dict[str, np.ndarray]], part: str) -> Times:
    cpu, wall = np.asarray([parts[part] for parts in steps]).T
    return Times(cpu, wall)


def _sum(*parts: Times) -> Times:
    return Times(np.sum([part.cpu for part in parts], axis=0), np.sum([part.wall for part in parts], axis=0))

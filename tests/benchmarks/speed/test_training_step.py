"""The axis step: the trainer's own loop is timed, each part is counted once, and online steps do ask the teacher."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from accelerate.state import AcceleratorState

from conaclip_edge.benchmarks.speed.axes import training_step as step
from conaclip_edge.distill.trainer import Trainer
from conaclip_edge.models.teacher.huggingface import TransformersTeacher
from conaclip_edge.models.teacher.joined import JoinedTeacher

BATCH = 6


@pytest.fixture(autouse=True)
def _own_accelerator() -> Iterator[None]:
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def parts(**seconds: float) -> dict[str, np.ndarray]:
    """A step; the wall clock goes twice as fast."""
    return {name: np.array([value, 2 * value]) for name, value in seconds.items()}


def test_shares_are_of_the_whole_step_and_what_no_part_counts_is_the_rest():
    cached = [parts(forward=3, backward=5, optimizer=0.5, loader=0.25, whole=10)] * 30
    online = [parts(forward=3, backward=5, optimizer=0.5, loader=30, whole=40)] * 30
    found = {one.what: one for one in step.findings(cached, online, "demo")}
    values = {what: one.value.median for what, one in found.items()}
    assert values == pytest.approx(
        {
            "student's forward and backward / step, cache on": 0.8,
            "forward / step": 0.3,
            "backward / step": 0.5,
            "optimizer / step": 0.05,
            "loader / step": 0.025,
            "rest / step": 0.125,
            "loader / student's forward and backward": 0.25 / 8,
            "step that asks the teacher / step, cache on": 4,
        }
    )
    assert all(one.wall.median == pytest.approx(one.value.median) for one in found.values())
    assert found["student's forward and backward / step, cache on"].met is False
    assert found["step that asks the teacher / step, cache on"].met is True


def test_a_part_counts_for_the_step_in_which_it_ran(monkeypatch):
    at = iter(range(100))
    monkeypatch.setattr(step, "now", lambda: np.full(2, float(next(at))))
    clock = step.Clock([False, True])
    clock.timed("loader", lambda: None)()  # before the first step: nobody's
    clock.next()
    assert not clock.asks
    with clock.part("loader"):
        pass
    clock.next()
    assert clock.asks
    clock.timed("backward", lambda value: value)(None)
    assert clock.steps[0]["loader"].tolist() == [1, 1]
    assert clock.steps[0]["whole"][0] == 3
    assert clock.steps[1]["loader"].tolist() == [0, 0]
    assert clock.steps[1]["backward"].tolist() == [1, 1]


def test_the_trainer_s_loop_is_timed_and_only_online_steps_ask_the_teacher(settings, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = settings(batch_size=BATCH)
    step.run_steps(config, 1, 0)  # fills the cache
    asked: list[int] = []
    trained: list[Any] = []
    for kind in (JoinedTeacher, TransformersTeacher):
        embed = kind.embed_pictures
        monkeypatch.setattr(
            kind,
            "embed_pictures",
            lambda self, pictures, embed=embed: asked.append(len(pictures)) or embed(self, pictures),
        )
    train = Trainer.train
    monkeypatch.setattr(Trainer, "train", lambda self: trained.append(self) or train(self))
    cached, online = step.run_steps(config, 3, 0)
    assert len(cached) == len(online) == 3
    assert [count for count in asked if count > 1] == [BATCH] * (3 + step.WARMUP)  # one finds the width when loaded
    for one in (*cached, *online):
        assert all(one[part][1] > 0 for part in step.PARTS)
        assert sum(one[part][1] for part in step.PARTS) < one["whole"][1]
    assert list(tmp_path.rglob("training.jsonl")) == []
    # both kinds of steps learn from the same answers
    clock = step.Clock([False, True])
    watched = step.watched(trained[0], clock)
    rows = trained[0].sampler.captioned[:4]
    texts = np.arange(4)
    answers = []
    for number in range(2):
        watched.sampler.rows(number)
        answers.append(
            (watched.examples.teacher_pictures(rows, np.zeros(4, int)), watched.examples.teacher_texts(texts))
        )
    for one, other in zip(*answers, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5)

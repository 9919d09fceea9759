"""The queue of past teacher embeddings: what it keeps, and for how long."""

from __future__ import annotations

import torch

from conaclip_edge.distill.steps.negative_queue import TeacherQueue
from tests.helpers.graph.batches import batch


def test_the_oldest_leave_and_the_newest_stay() -> None:
    queue = TeacherQueue(5, dim=6)
    made = [batch(3, unpaired_texts=1, seed=seed, picture_ids=torch.arange(3) + 10 * seed) for seed in range(3)]
    for each in made:
        queue.push(each)
    rows, ids, pictures = queue.content(torch.device("cpu"))["TI"]
    assert ids.tolist() == pictures.tolist() == [11, 12, 20, 21, 22]
    assert torch.equal(rows, torch.cat([made[1].ti[1:], made[2].ti]))
    rows, ids, pictures = queue.content(torch.device("cpu"))["TT"]
    assert ids.tolist() == [1003, 1000, 1001, 1002, 1003]
    assert pictures.tolist() == [-1, 100, 101, 102, -1]
    assert torch.equal(rows, torch.cat([made[1].tt[3:], made[2].tt]))


def test_a_batch_larger_than_the_queue_leaves_its_end() -> None:
    queue = TeacherQueue(2, dim=6)
    queue.push(batch(4))
    assert queue.content(torch.device("cpu"))["TI"][1].tolist() == [102, 103]


def test_nothing_is_kept_without_a_size_or_before_the_first_push() -> None:
    queue = TeacherQueue(0, dim=6)
    queue.push(batch(4))
    assert queue.content(torch.device("cpu")) == {}
    assert TeacherQueue(8, dim=6).content(torch.device("cpu")) == {}


def test_the_teacher_s_graph_is_not_kept() -> None:
    queue = TeacherQueue(8, dim=6)
    queue.push(batch(4))
    assert not any(part.requires_grad for parts in queue.rows.values() for part in parts)


def test_the_state_gives_the_same_queue_back() -> None:
    queue, other = TeacherQueue(5, dim=6), TeacherQueue(5, dim=6)
    queue.push(batch(4))
    other.load(queue.state())
    for role, parts in queue.rows.items():
        assert all(torch.equal(a, b) for a, b in zip(parts, other.rows[role], strict=True))

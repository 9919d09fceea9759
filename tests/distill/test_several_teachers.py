"""Several teachers at once: KL takes the mean of their distributions, each at its own scale (MobileCLIP's ensemble)."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conaclip_edge.config.distill import FurtherTeacher
from conaclip_edge.config.graph import GraphConfig, Term
from conaclip_edge.data.load import read_pairs
from conaclip_edge.distill.embeddings import Embeddings, TeacherPart
from conaclip_edge.distill.graph import compute, expand
from conaclip_edge.distill.trainer import distill
from conaclip_edge.models.teacher.load import load_teacher, load_teachers
from conaclip_edge.teacher_cache.several import cache_of
from conaclip_edge.teacher_cache.store import cache_key, teacher_cache
from tests.helpers import tiny
from tests.helpers.graph.batches import as_arrays, batch
from tests.oracles.losses import Matrix, cosines, log_softmax, transposed
from tests.oracles.peers import times

SCALE = 14.0
Pair = tuple[np.ndarray, np.ndarray]


def teachers_of(made: Embeddings, *others: Embeddings) -> tuple[torch.Tensor, torch.Tensor]:
    """Put the teachers of several batches side by side."""
    batches = [made, *others]
    ti, tt = (torch.cat([role(one) for one in batches], dim=1) for role in (lambda b: b.ti, lambda b: b.tt))
    return ti / math.sqrt(len(batches)), tt / math.sqrt(len(batches))


def to_mean_of_teachers(student: Matrix, teachers: list[Matrix]) -> float:
    """KL(mean over teachers of softmax(teacher) || softmax(student)), mean over rows, in loops."""
    total = 0.0
    for number, row in enumerate(student):
        each = [[math.exp(value) for value in log_softmax(teacher[number])] for teacher in teachers]
        for place, log_q in enumerate(log_softmax(row)):
            p = sum(one[place] for one in each) / len(each)
            total += p * (math.log(p) - log_q)
    return total / len(student)


def test_kl_is_to_the_mean_of_the_distributions_each_at_its_own_scale() -> None:
    made, second, third = batch(5, seed=1), batch(5, seed=2, dim=4), batch(5, seed=3, dim=9)
    ti, tt = teachers_of(made, second, third)
    parts = (TeacherPart(6, 1 / 50), TeacherPart(4, 1 / 60), TeacherPart(9, 1 / 20))
    together = replace(made, ti=ti, tt=tt, teachers=parts)
    term = Term(edge="inter-ss", loss="kl", teacher_temperature="own")
    (found,) = compute(expand(GraphConfig(terms=(term,))), together, torch.tensor(SCALE, dtype=torch.float64)).values()

    student = times(cosines(as_arrays(made).si, as_arrays(made).st), SCALE)
    matrices = [
        times(cosines(arrays.ti, arrays.tt), scale)
        for arrays, scale in zip(map(as_arrays, (made, second, third)), (50, 60, 20), strict=True)
    ]
    along_rows = to_mean_of_teachers(student, matrices)
    along_columns = to_mean_of_teachers(transposed(student), [transposed(one) for one in matrices])
    assert found.item() == pytest.approx((along_rows + along_columns) / 2, rel=1e-9)


def test_twice_the_same_teacher_is_that_teacher() -> None:
    made = batch(5, seed=1)
    ti, tt = teachers_of(made, made)
    together = replace(made, ti=ti, tt=tt, teachers=(TeacherPart(6, 0.01), TeacherPart(6, 0.02)))
    kinds = {"kl": 0.05, "sd": None}
    terms = expand(
        GraphConfig(terms=tuple(Term(edge="inter-ss", loss=loss, temperature=one) for loss, one in kinds.items()))
    )
    scale = torch.tensor(SCALE, dtype=torch.float64)
    alone, both = compute(terms, made, scale), compute(terms, together, scale)
    assert {name: value.item() for name, value in both.items()} == pytest.approx(
        {name: value.item() for name, value in alone.items()}, rel=1e-12
    )


@pytest.fixture(name="two")
def _two(world: Path, tmp_path: Path) -> tuple[str, str]:
    """The world's teacher and one with another space."""
    return str(world / "teacher"), str(tiny.teacher_folder(tmp_path / "wide", dim=24, seed=1))


def test_a_cosine_is_the_mean_of_the_teachers_cosines(two: tuple[str, str]) -> None:
    texts, pictures = ["red disc", "a blue box"], [tiny.drawing("red", "disc", "left")]
    together = load_teachers(two)
    expected = np.mean(
        [(one.embed_pictures(pictures) @ one.embed_texts(texts).T).numpy() for one in map(load_teacher, two)], axis=0
    )
    found = together.embed_pictures(pictures) @ together.embed_texts(texts).T
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_a_student_of_two_teachers(settings: Any, two: tuple[str, str]) -> None:
    terms = [{"edge": "inter-ss", "loss": "kl", "teacher_temperature": "own"}, {"edge": "intra-ts", "loss": "fd"}]
    second = FurtherTeacher(teacher=two[1], temperature=0.02)
    config = settings(steps=2, graph={"terms": terms}).model_copy(update={"teachers": (second,)})
    record = distill(config, Path("out"))
    assert record.teacher.name == "teacher + wide"
    assert record.recipe.all_teachers == two
    pairs, loaded = read_pairs(config.data), [load_teacher(source) for source in two]
    # each has the cache that it has alone
    assert all((config.cache / cache_key(pairs, one, 1)).is_dir() for one in loaded)
    caches = [teacher_cache(pairs, one, config.cache) for one in loaded]
    rows = np.array([3, 1])
    expected = np.concatenate([one.texts(rows) for one in caches], axis=1) / math.sqrt(2)
    np.testing.assert_allclose(cache_of(pairs, load_teachers(two), config.cache).texts(rows), expected, atol=1e-6)

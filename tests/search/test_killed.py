"""A killed index run loses a batch at most, and ends as if it had never been killed."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from conaclip_edge.search.index import open_index
from conaclip_edge.search.sqlite_store import open_sidecar, unmade
from tests.helpers.search.killed import run_to_call
from tests.helpers.search.small_index import DIM, contents, write_pictures

PICTURES, BATCH, NEVER = 70, 16, -1


def directions(count: int) -> list[np.ndarray]:
    vectors = np.random.default_rng(1).standard_normal((count, DIM)).astype(np.float32)
    return list(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_a_run_that_was_killed_anywhere_ends_as_one_that_was_not(bundle: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", PICTURES)
    calls = run_to_call(bundle, pictures, tmp_path / "alone", NEVER)
    wanted = contents(tmp_path / "alone", directions(5))
    # ends of a run are where graph and sidecar change together, so one kill is always there
    points = [random.Random(0).randrange(1, calls // 3), random.Random(1).randrange(calls // 3, calls // 2), calls - 60]
    torn, before = tmp_path / "torn", 0
    for point in points:
        assert run_to_call(bundle, pictures, torn, point) == -1
        there = 0 if unmade(torn) else len(open_sidecar(torn))
        assert there >= before
        before = there
    assert before >= PICTURES - BATCH
    assert run_to_call(bundle, pictures, torn, NEVER) > 0
    assert contents(torn, directions(5)) == wanted


@pytest.mark.parametrize("left", [30, 4])
def test_every_step_of_the_change_of_graphs_can_be_the_last(bundle: Path, tmp_path: Path, left: int) -> None:
    pictures = write_pictures(tmp_path / "pictures", 40)
    calls = run_to_call(bundle, pictures, tmp_path / "index", NEVER)
    assert run_to_call(bundle, pictures, tmp_path / "torn", calls - left) == -1
    opened = open_index(tmp_path / "torn")
    assert len(opened) == 40
    assert len(opened.search(directions(1)[0], 50)) == 40


def test_a_comparison_that_saw_nothing_would_fail(bundle: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 5)
    run_to_call(bundle, pictures, tmp_path / "one", NEVER)
    (pictures / "red-0.png").unlink()
    run_to_call(bundle, pictures, tmp_path / "two", NEVER)
    assert contents(tmp_path / "one") != contents(tmp_path / "two")

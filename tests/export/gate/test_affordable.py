"""A slow runtime is given fewer pictures of a larger tower, with their own captions, and always the same ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from conaclip_edge.evaluation.recall import ranks
from conaclip_edge.export.gate import affordable as module
from conaclip_edge.export.gate.affordable import affordable
from conaclip_edge.export.gate.held_out import HeldOut, Targets

WORK = 3 * 8 * 8 * 5  # multiply-adds of a picture
TOWER = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
PICTURES = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
OF = np.asarray([0, 0, 1, 2, 2, 3, 4, 5])


def held() -> HeldOut:
    ids, texts = tuple(np.asarray([row, 9], np.int32) for row in range(8)), PICTURES[OF]
    pixels = np.zeros((6, 3, 8, 8), np.uint8)
    return HeldOut("d", "f", pixels, ids, OF, PICTURES, texts, ranks(PICTURES, texts, OF), ())


def test_a_tower_of_little_work_gets_all_pictures() -> None:
    everything = held()
    assert affordable(everything, TOWER, 8) is everything


def test_the_first_pictures_come_with_their_captions_and_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MULTIPLY_ADDS", 4.5 * WORK)
    found = affordable(held(), TOWER, 8)
    assert (len(found.pixels), len(found.pictures)) == (4, 4)
    assert found.caption_to_image.tolist() == [0, 0, 1, 2, 2, 3]
    assert [ids[0] for ids in found.ids] == [0, 1, 2, 3, 4, 5]
    assert len(found.ranks.t2i) == 6
    assert len(found.ranks.i2t) == 4


def test_without_captions_phrases_and_targets_are_fewer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MULTIPLY_ADDS", 1.0)
    nothing = replace(held(), caption_to_image=np.zeros(0, np.int64), targets=Targets(PICTURES, "student pictures"))
    found = affordable(nothing, TOWER, 8)
    assert found.targets is not None
    assert (len(found.pictures), len(found.targets.embeddings), len(found.texts), len(found.ids)) == (3, 3, 3, 3)

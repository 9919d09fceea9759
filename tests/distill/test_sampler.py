"""Which rows a batch has: unique pictures, whole epochs, equal shares, the same every time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conaclip_edge.distill.sampler import Sampler
from conaclip_edge.errors import UserError

FIRST_TEXT = np.cumsum([0, *([3, 1, 2] * 20)])  # 60 pictures with 1 to 3 captions


def sampler(**changes: Any) -> Sampler:
    settings: dict[str, Any] = {
        "captioned": np.arange(0, 40),
        "unpaired_pictures": np.arange(40, 60),
        "first_text": FIRST_TEXT,
        "batch_size": 10,
        "unpaired": 0.4,
        "views": 3,
        "seed": 0,
    }
    return Sampler(**(settings | changes))


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 1000),
    batch_size=st.integers(2, 70),
    unpaired=st.floats(0, 0.9),
    processes=st.integers(1, 3),
    step=st.integers(0, 500),
)
def test_a_batch_keeps_its_promises(seed: int, batch_size: int, unpaired: float, processes: int, step: int) -> None:
    try:
        drawn = sampler(seed=seed, batch_size=batch_size, unpaired=unpaired, processes=processes)
    except UserError:
        assert round(batch_size * (1 - unpaired)) <= processes
        return
    rows = drawn.rows(step)
    assert len(set(rows.pictures.tolist())) == len(rows.pictures) <= batch_size
    assert len(set(rows.texts.tolist())) == len(rows.texts) == len(rows.caption_to_image)
    assert rows.pairs % processes == 0
    assert (len(rows.pictures) - rows.pairs) % processes == 0
    paired, unpaired_rows = rows.pictures[: rows.pairs], rows.pictures[rows.pairs :]
    assert set(paired) <= set(range(40))
    assert set(unpaired_rows) <= set(range(40, 60))
    # a pair's text is one of its picture's, and an unpaired one is some unpaired picture's
    assert np.array_equal(rows.caption_to_image[: rows.pairs], paired)
    assert np.all(FIRST_TEXT[paired] <= rows.texts[: rows.pairs])
    assert np.all(rows.texts[: rows.pairs] < FIRST_TEXT[paired + 1])
    assert np.all(rows.caption_to_image[rows.pairs :] == -1)
    assert np.all(rows.texts[rows.pairs :] >= FIRST_TEXT[40])
    assert rows.views.shape == rows.pictures.shape
    assert set(rows.views.tolist()) <= {0, 1, 2}


def test_a_step_is_the_same_whatever_was_drawn_before() -> None:
    straight, resumed = sampler(), sampler()
    for step in range(30):
        straight.rows(step)
    for step in (30, 7, 31, 0):
        one, other = straight.rows(step), resumed.rows(step)
        for name in ("pictures", "views", "texts", "caption_to_image"):
            assert np.array_equal(getattr(one, name), getattr(other, name))


def test_other_seeds_and_steps_deal_other_rows() -> None:
    rows = [sampler(seed=seed).rows(step) for seed, step in ((0, 0), (1, 0), (0, 1), (0, 7))]
    assert len({tuple(each.pictures) for each in rows}) == 4
    assert len({tuple(each.texts) for each in rows}) == 4


def test_an_epoch_shows_every_picture_once() -> None:
    drawn = sampler(batch_size=10, unpaired=0.5)  # 5 of 40 pairs and 5 of 20 loose pictures a step
    for first in (0, 8, 16):
        steps = [drawn.rows(step) for step in range(first, first + 8)]
        assert sorted(row for each in steps for row in each.pictures[: each.pairs]) == list(range(40))
    for first in (0, 4):
        steps = [drawn.rows(step) for step in range(first, first + 4)]
        assert sorted(row for each in steps for row in each.pictures[each.pairs :]) == list(range(40, 60))


def test_all_captions_and_views_get_their_turn() -> None:
    steps = [sampler().rows(step) for step in range(200)]
    texts = {text for each in steps for text in each.texts}
    assert texts == set(range(FIRST_TEXT[-1]))
    assert {view for each in steps for view in each.views} == {0, 1, 2}


def test_loose_texts_are_drawn_apart_from_their_pictures() -> None:
    rows = sampler().rows(0)
    pictures = np.searchsorted(FIRST_TEXT, rows.texts[rows.pairs :], side="right") - 1
    assert sorted(pictures) != sorted(rows.pictures[rows.pairs :])


def test_without_unpaired_data_the_whole_batch_is_pairs() -> None:
    rows = sampler(unpaired_pictures=np.arange(0)).rows(0)
    assert rows.pairs == len(rows.pictures) == 10


def test_a_batch_is_at_most_the_data_set() -> None:
    rows = sampler(captioned=np.arange(7), unpaired_pictures=np.arange(50, 53), batch_size=64, unpaired=0.5).rows(5)
    assert sorted(rows.pictures) == [*range(7), 50, 51, 52]


@pytest.mark.parametrize("changes", [{"batch_size": 2, "unpaired": 0.9}, {"captioned": np.arange(1), "processes": 2}])
def test_a_batch_without_a_pair_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"holds no pair .* Raise train\.batch_size, or lower train\.unpaired"):
        sampler(**changes)


@pytest.mark.parametrize(("unpaired_texts", "count"), [(None, 4), (0, 0), (9, 9), (500, 41)])
def test_the_number_of_unpaired_texts_can_be_set_apart(unpaired_texts: int | None, count: int) -> None:
    rows = sampler(unpaired_texts=unpaired_texts, other_texts=np.arange(300, 302)).rows(3)
    assert len(rows.pictures) == 10
    assert (len(rows.texts) - rows.pairs, rows.pairs) == (count, 6)  # 39 captions of unpaired pictures and 2 more


def test_more_rows_are_drawn_like_unpaired_ones() -> None:
    drawn = sampler(unpaired=0.5, synthetic_pictures=np.arange(200, 205), other_texts=np.arange(300, 310))
    steps = [drawn.rows(step) for step in range(5)]
    assert sorted(row for each in steps for row in each.pictures[each.pairs :]) == [*range(40, 60), *range(200, 205)]
    texts = {text for step in range(60) for text in drawn.rows(step).texts[5:]}
    assert texts == {*range(FIRST_TEXT[40], FIRST_TEXT[60]), *range(300, 310)}
    assert all(np.all(each.caption_to_image[each.pairs :] == -1) for each in steps)

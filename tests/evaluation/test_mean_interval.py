"""What stands beside a mean recall: chance, an interval, and a verdict in plain words."""

from __future__ import annotations

import numpy as np
import pytest

from conaclip_edge.evaluation.mean_interval import certainty_of, chance
from conaclip_edge.evaluation.recall import Ranks, ranks
from conaclip_edge.models.certainty import mean_certainty, recall_text, teacher_mean_recall


def random_ranks(pictures: int, captions: int, seed: int) -> Ranks:
    """Ranks of embeddings that say nothing."""
    random = np.random.default_rng(seed)
    found = random.normal(size=(pictures, 8)), random.normal(size=(pictures * captions, 8))
    return ranks(*found, np.repeat(np.arange(pictures), captions))


def all_first(pictures: int) -> Ranks:
    return ranks(np.eye(pictures), np.eye(pictures), np.arange(pictures))


@pytest.mark.parametrize(("pictures", "captions"), [(9, 1), (40, 1), (40, 3)])
def test_chance_is_what_random_embeddings_find(pictures: int, captions: int) -> None:
    found = [random_ranks(pictures, captions, seed).mean_recall() for seed in range(300)]
    assert chance(random_ranks(pictures, captions, 0)) == pytest.approx(float(np.mean(found)), abs=1.0)


def test_chance_of_one_caption_per_picture_is_k_of_n() -> None:
    assert chance(all_first(100)) == pytest.approx((1 + 5 + 10) / 3)


def test_a_model_that_finds_nothing_is_at_chance_in_plain_words() -> None:
    found = random_ranks(400, 1, 1)
    beside = certainty_of(found)
    assert beside.at_chance
    assert not beside.too_few
    assert "at chance" in recall_text(found.mean_recall(), beside)


def test_a_model_that_finds_everything_among_many_has_no_verdict() -> None:
    beside = certainty_of(all_first(60))
    assert beside.verdict() == ""
    assert beside.interval_95 == (100.0, 100.0)


def test_few_pictures_are_too_few_even_where_all_is_found() -> None:
    assert "too few to tell" in certainty_of(all_first(10)).verdict()


def test_a_wide_interval_is_too_few_to_tell_and_may_be_at_chance_too() -> None:
    found = random_ranks(9, 1, 3)
    text = recall_text(found.mean_recall(), certainty_of(found, all_first(9)))
    assert "9 pictures" in text
    assert "chance 55.6 %" in text
    assert "teacher 100.0 %" in text
    assert "at chance" in text
    assert "too few to tell" in text


def test_the_mean_over_seeds_has_the_mean_interval() -> None:
    ones = [certainty_of(random_ranks(50, 1, seed)) for seed in range(3)]
    both = mean_certainty(ones)
    assert both.interval_95[0] == pytest.approx(np.mean([one.interval_95[0] for one in ones]))
    assert both.pictures == 50


def test_the_teacher_s_figure_counts_for_the_very_same_pictures_only() -> None:
    record = {
        "data": {"fingerprint": "a"},
        "teacher": {"recall": {"val": {"n": 10, "mean_recall": 70.0}}},
    }
    assert teacher_mean_recall(record, "a", "val", 10) == 70.0
    assert teacher_mean_recall(record, "b", "val", 10) is None
    assert teacher_mean_recall(record, "a", "test", 10) is None
    assert teacher_mean_recall(record, "a", "val", 9) is None
    assert teacher_mean_recall({}, "a", "val", 10) is None

from __future__ import annotations

import io
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from conaclip_edge.benchmarks.measure.recall import Embedded, embed_split, rank, relative_recall, typical
from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.errors import UserError
from conaclip_edge.evaluation.encoder import Encoder
from conaclip_edge.evaluation.recall import Ranks


def mean_recall_of(t2i: list[int], i2t: list[int]) -> tuple[float, float]:
    """The mean of R@1, R@5 and R@10 of either direction, counted one query at a time."""
    means = []
    for ranks in (t2i, i2t):
        recalls = [sum(1 for rank in ranks if rank <= k) / len(ranks) for k in (1, 5, 10)]
        means.append(sum(recalls) / 3)
    return means[0], means[1]


def random_ranks(pictures: int, seed: int, caption_to_image: np.ndarray) -> Ranks:
    random = np.random.default_rng(seed)
    return Ranks(random.integers(1, 15, len(caption_to_image)), random.integers(1, 15, pictures), caption_to_image)


@settings(deadline=None, max_examples=20)
@given(pictures=st.integers(2, 12), seed=st.integers(0, 999))
def test_relative_recall_is_that_of_resampled_query_lists(pictures, seed):
    random = np.random.default_rng(seed)
    caption_to_image = np.sort(np.concatenate([np.arange(pictures), random.integers(0, pictures, 5)]))
    found, base = random_ranks(pictures, seed + 1, caption_to_image), random_ranks(pictures, seed + 2, caption_to_image)
    relative = relative_recall(found, base, samples=40, seed=seed)
    draws = np.random.default_rng(seed).multinomial(pictures, np.full(pictures, 1 / pictures), size=40)
    shares: list[list[float]] = [[], []]
    for draw in draws:
        drawn = [picture for picture, times in enumerate(draw) for _ in range(times)]
        lists = [
            (
                [int(one.t2i[text]) for picture in drawn for text in np.flatnonzero(caption_to_image == picture)],
                [int(one.i2t[p]) for p in drawn],
            )
            for one in (found, base)
        ]
        left, whole = (mean_recall_of(*pair) for pair in lists)
        for way in (0, 1):
            shares[way].append(left[way] / whole[way] if whole[way] else 1.0)
    whole_lists = [mean_recall_of(one.t2i.tolist(), one.i2t.tolist()) for one in (found, base)]
    for way, name in enumerate(("t2i", "i2t")):
        expected = whole_lists[0][way] / whole_lists[1][way] if whole_lists[1][way] else 1.0
        assert relative[name].value == pytest.approx(expected)
        low, high = np.percentile(shares[way], [2.5, 97.5])
        assert (relative[name].low, relative[name].high) == pytest.approx((low, high))


def test_a_file_that_ranks_as_the_student_does_has_a_relative_recall_of_1_without_doubt():
    ranks = random_ranks(30, 3, np.repeat(np.arange(30), 2))
    for interval in relative_recall(ranks, ranks, 200).values():
        assert interval.model_dump() == {"value": 1, "low": 1, "high": 1}


def test_what_is_hard_for_both_sides_does_not_widen_the_interval():
    caption_to_image = np.arange(200)
    hits = np.where(np.arange(200) % 2, 1, 99)
    worse = hits.copy()
    worse[:4] = 99
    paired = relative_recall(Ranks(worse, worse, caption_to_image), Ranks(hits, hits, caption_to_image), 500)["t2i"]
    assert paired.value == pytest.approx(0.98)
    assert paired.high - paired.low < 0.06  # unpaired, each side alone is uncertain by +- 0.07


def test_a_student_that_finds_nothing_has_nothing_to_lose():
    nothing = Ranks(np.full(4, 99), np.full(4, 99), np.arange(4))
    assert relative_recall(nothing, nothing, 10)["t2i"].value == 1


def test_typical_captions_are_as_long_as_those_of_the_corpus():
    lengths = [3] * 50 + [4] * 25 + [9] * 25
    captions = [f"caption {number:03}" for number in range(100)]
    chosen = typical(captions, lengths, 8)
    assert [lengths[captions.index(text)] for text in chosen] == [3, 3, 3, 3, 4, 4, 9, 9]
    assert chosen == typical(captions, lengths, 8)


def pairs_of(pictures: list[bytes]) -> Pairs:
    count = len(pictures)
    captions = [[f"{number} a", f"{number} b"][: 1 + number % 2] for number in range(count)]
    return Pairs(
        "drawn", [f"p{number}" for number in range(count)], captions, ["test"] * count, pictures.__getitem__, ""
    )


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


class Spy:
    """A model that tells pictures by their red and texts by their first letter, and notes how it was called."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def unit(self, angles: list[float]) -> np.ndarray:
        self.batches.append(len(angles))
        return np.asarray([[np.cos(angle), np.sin(angle)] for angle in angles])

    def encoder(self, with_text: bool = True) -> Encoder:
        return Encoder(
            "spy",
            "native",
            lambda pictures: [picture.getpixel((0, 0))[0] / 100 for picture in pictures],
            lambda texts, full: [int(text.split()[0]) / 10 for text in texts],
            self.unit,
            self.unit if with_text else None,
        )


def test_pictures_and_texts_are_embedded_one_per_call():
    spy = Spy()
    pairs = pairs_of([png(10 * number) for number in range(6)])
    split, found = embed_split({"row": spy.encoder()}, pairs, "test", 99, DataConfig(format="imagefolder"))
    assert set(spy.batches) == {1}
    ranks = rank(found["row"], split.caption_to_image)
    assert ranks is not None
    assert ranks.recall()["t2i"]["1"] == 100
    assert split.captions == ("0 a", "1 a", "1 b", "2 a", "3 a", "3 b", "4 a", "5 a", "5 b")
    assert split.caption_to_image.tolist() == [0, 1, 1, 2, 3, 3, 4, 5, 5]


def test_a_broken_picture_is_left_out_for_all_rows_and_named():
    pictures = [png(10 * number) for number in range(6)]
    pictures[2] = b"no picture"
    split, found = embed_split(
        {"row": Spy().encoder()}, pairs_of(pictures), "test", 99, DataConfig(format="imagefolder", max_bad=0.5)
    )
    assert split.rows == (0, 1, 3, 4, 5)
    assert split.left_out[0].startswith("p2: cannot be decoded")
    assert found["row"].pictures is not None
    assert len(found["row"].pictures) == 5
    assert "2 a" not in split.captions


def test_too_many_broken_pictures_are_an_error():
    with pytest.raises(UserError, match="drawn"):
        embed_split(
            {"row": Spy().encoder()},
            pairs_of([png(0), b"", b""]),
            "test",
            99,
            DataConfig(format="imagefolder", max_bad=0.5),
        )


def test_a_limited_number_of_pictures_is_the_same_every_time():
    pairs = pairs_of([png(10 * number) for number in range(20)])
    once, again = (
        embed_split({"row": Spy().encoder()}, pairs, "test", 7, DataConfig(format="imagefolder"))[0].rows
        for _ in range(2)
    )
    assert once == again
    assert len(once) == 7
    assert once != tuple(range(7))


def test_a_row_without_a_text_tower_has_no_recall():
    pairs = pairs_of([png(10 * number) for number in range(3)])
    split, found = embed_split(
        {"row": Spy().encoder(with_text=False)}, pairs, "test", 9, DataConfig(format="imagefolder")
    )
    assert found["row"].texts is None
    assert rank(found["row"], split.caption_to_image) is None
    assert rank(Embedded(None, None), split.caption_to_image) is None


def test_an_executor_s_embeddings_stand_in_the_order_of_the_inputs_beside_the_others():
    pairs = pairs_of([png(10 * number) for number in range(9)])
    slow = replace(Spy().encoder(), executed="executor")
    waits = iter([0.05, *[0.0] * 100])

    def image(angles):
        time.sleep(next(waits))  # the first is done last
        return Spy().unit(angles)

    _, found = embed_split(
        {"fast": Spy().encoder(), "slow": replace(slow, image=image)},
        pairs,
        "test",
        99,
        DataConfig(format="imagefolder"),
    )
    assert np.array_equal(found["slow"].pictures, found["fast"].pictures)
    assert np.array_equal(found["slow"].texts, found["fast"].texts)

"""Synthetic inputs: the same in every run, made of what they are given and of nothing else."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from conaclip_edge.data import synthetic as synthetic
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import decode
from conaclip_edge.data.synthetic import SIDE, compose, synthetic_pictures, synthetic_texts

CAPTIONS = ["red disc", "a box, blue", "red bar 2"]
VOCABULARY = [f"word{letter}" for letter in "abcdefghij"]


def plain(colour: tuple[int, int, int], size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    return Image.new("RGB", size, colour)


def drawn(stamp: str = "1") -> tuple[Pairs, list[int]]:
    """Ten pictures of one grey each, and a list of the rows that were read."""
    seen: list[int] = []

    def read(row: int) -> bytes:
        seen.append(row)
        buffer = io.BytesIO()
        plain((20 * row, 20 * row, 20 * row), (40, 30)).save(buffer, "PNG")
        return buffer.getvalue()

    splits = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    return Pairs("drawn", [str(row) for row in range(10)], [("grey",)] * 10, splits, read, stamp, "free"), seen


def test_pictures_are_composed_of_the_given_rows_alone() -> None:
    pairs, seen = drawn()
    made = synthetic_pictures(pairs, pairs.rows("train"), 60)
    assert not seen  # nothing is composed before it is asked for
    for place in range(60):
        made.read(place)
    assert set(seen) == set(range(6))


def test_pictures_are_the_same_in_every_run_and_differ_from_each_other() -> None:
    first, second = (synthetic_pictures(drawn()[0], np.arange(6), count) for count in (8, 30))
    read = [first.read(place) for place in range(8)]
    assert read == [second.read(place) for place in reversed(range(8))][::-1]
    assert len(set(read)) == 8


def test_they_are_train_pictures_without_captions_under_the_licence_of_their_parts() -> None:
    made = synthetic_pictures(drawn()[0], np.arange(6), 5)
    assert len(made) == len(set(made.keys)) == 5
    assert made.rows("train").tolist() == list(range(5))
    assert not any(made.captions)
    assert made.licence == "free"
    assert {decode(made.read(place)).size for place in range(5)} == {(SIDE, SIDE)}


def test_what_embeddings_depend_on_is_in_the_content(monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [
        synthetic_pictures(drawn(stamp)[0], np.array(rows), count).content
        for stamp, rows, count in (("1", [1, 2], 4), ("2", [1, 2], 4), ("1", [1, 3], 4), ("1", [1, 2], 5))
    ]
    monkeypatch.setattr(synthetic, "COMPOSITION", "another/1")
    contents.append(synthetic_pictures(drawn()[0], np.array([1, 2]), 4).content)
    assert len(set(contents)) == len(contents)


def test_a_picture_that_broke_meanwhile_is_an_error_that_the_cache_counts() -> None:
    pairs = Pairs("broken", ["0"], [()], ["train"], lambda _: b"no picture", "1")
    with pytest.raises(OSError, match="cannot be decoded"):
        synthetic_pictures(pairs, np.array([0]), 1).read(0)


def test_both_parts_are_seen_in_most_compositions() -> None:
    random = np.random.default_rng(0)
    seen = Counter[int]()
    for _ in range(100):
        # black on white and white on black, of different areas: each leaves its own share of dark pixels
        whole = np.asarray(compose([plain((0, 0, 0)), plain((200, 200, 200))], random)).astype(int)
        brightest = whole.max()
        share = [(whole < 0.1 * brightest).mean(), ((whole > 0.2 * brightest) & (whole < 0.9 * brightest)).mean()]
        seen[sum(part > 0.02 for part in share)] += 1
    assert seen[2] > 30
    assert seen[0] < 10


def test_phrases_are_made_of_the_words_that_are_given() -> None:
    phrases = synthetic_texts(CAPTIONS, VOCABULARY, 2000)
    assert phrases == synthetic_texts(CAPTIONS, VOCABULARY, 2000)
    assert len(phrases) == 2000
    words = Counter(word for phrase in phrases for word in phrase.split())
    known = {"red", "disc", "a", "blue", "bar"}  # "box," and "2" are no plain words
    assert set(words) == known | set(VOCABULARY)
    assert {len(phrase.split()) for phrase in phrases} == {1, 2, 3, 4}
    assert sum(words[word] for word in known) / words.total() == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize(("captions", "vocabulary"), [(CAPTIONS, []), ([], VOCABULARY)])
def test_one_source_of_words_is_enough(captions: list[str], vocabulary: list[str]) -> None:
    phrases = synthetic_texts(captions, vocabulary, 10)
    assert len(phrases) == 10
    assert all(phrases)

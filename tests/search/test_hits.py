"""Which hits are shown: filters, near-duplicates, and what is no nearer than what random words find."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conaclip_edge.bundle.held_out_pairs import HeldOutPairs
from conaclip_edge.search.hits.cut_off import LEAST_PICTURES, CutOff, calibrated, outdated, random_queries, recorded
from conaclip_edge.search.hits.folding import folded, look_of
from conaclip_edge.search.hits.hit import Hit
from conaclip_edge.search.index import open_index
from tests.helpers.command_line import Run
from tests.helpers.search.small_index import DIM, write_pictures

DAY = 86_400 * 10**9


@pytest.fixture
def shown(bundle: Path, cli: Run, tmp_path: Path) -> Any:
    """A function that searches an index of nine pictures and returns the names that it finds."""
    pictures = write_pictures(tmp_path / "pictures", 9)
    os.utime(pictures / "red-3.png", ns=(DAY, 19_000 * DAY))  # 2022-01-08
    assert cli("index", bundle, pictures, "--out", "index")[0] == 0

    def names(*arguments: str) -> list[str]:
        code, out, err = cli("search", "index", *arguments, "--json")
        assert code == 0, err
        return [Path(hit["path"]).name for hit in json.loads(out)["hits"]]

    return names


def test_pictures_are_filtered_by_folder_name_and_date(shown: Any) -> None:
    assert sorted(shown("red", "--folder", "sub/deep")) == ["blue-2.png", "blue-5.png", "blue-8.png"]
    assert len(shown("red", "--folder", "./sub/")) == 6
    assert shown("red", "--name", "GREEN", "-k", "9") == shown("red", "--folder", "sub", "--name", "green-*")
    assert shown("red", "--before", "2022-02") == ["red-3.png"]
    assert shown("red", "--after", "2022-01-01", "--before", "2022") == []
    assert len(shown("red", "--after", "2023")) == 8
    assert shown("red", "--folder", "nowhere") == []


def test_a_date_that_is_none_is_named(shown: Any, cli: Run) -> None:
    code, _, err = cli("search", "index", "red", "--after", "yesterday")
    assert code == 2
    assert err.splitlines()[-1] == (
        "conaclip-edge: 'yesterday' in --after is no date. Write 2024-07-01, 2024-07 or 2024."
    )


def test_a_least_score_leaves_out_what_is_below(shown: Any) -> None:
    assert {name.split("-")[0] for name in shown("red", "--min-score", "0.5")} == {"red"}
    assert shown("red", "--min-score", "1.1") == []


@pytest.mark.parametrize("query", ["-blue red", '-"blue" red', "-kite red"])
def test_a_query_may_begin_with_minus(shown: Any, query: str) -> None:
    assert shown(query, "-k", "3")[0].startswith("red")
    assert shown("-k3", "--exact", query)[0].startswith("red")


def test_words_may_stand_behind_two_dashes(shown: Any, cli: Run) -> None:
    code, out, err = cli("search", "--json", "-k", "1", "--", "index", "-blue red")
    assert code == 0, err
    assert Path(json.loads(out)["hits"][0]["path"]).name == shown("-blue red", "-k", "1")[0]


def test_an_option_that_there_is_not_is_still_refused(shown: Any, cli: Run) -> None:
    code, _, err = cli("search", "index", "red", "--exakt")
    assert code == 2
    assert "No such option" in err


def test_copies_in_other_sizes_and_encodings_are_shown_once(bundle: Path, cli: Run, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    random = np.random.default_rng(0)
    for name in ("one", "two"):
        colours = random.integers(60, 200, (6, 6, 3)).astype(np.uint8)
        picture = Image.fromarray(colours).resize((640, 640), Image.Resampling.BICUBIC)
        picture.save(pictures / f"{name}.png")
        picture.save(pictures / f"{name}-mail.jpg", quality=80)
        picture.resize((160, 160)).save(pictures / f"{name}-small.webp", quality=80)
    assert cli("index", bundle, pictures, "--out", "index")[0] == 0
    found = json.loads(cli("search", "index", "red", "--json")[1])
    assert len(found["hits"]) == 2
    assert sorted(map(len, found["alike"].values())) == [2, 2]
    everything = {hit["path"] for hit in found["hits"]} | {path for some in found["alike"].values() for path in some}
    assert everything == {str(path) for path in pictures.iterdir()}
    assert len(json.loads(cli("search", "index", "red", "--all", "--json")[1])["hits"]) == 6
    assert "4 near-duplicates of these not shown; --all shows them" in cli("search", "index", "red")[1]


def test_a_duplicate_does_not_take_the_place_of_another_picture() -> None:
    pixels = np.random.default_rng(0).random((3, 3, 32, 32)).astype(np.float32)
    looks = {key: look_of(pixels[key % 3]) for key in range(6)}
    hits = [Hit(key, Path(str(key)), 1 - key / 10) for key in range(7)]
    groups = [(hit.key, [one.key for one in more]) for hit, more in folded(hits, looks)]
    assert groups == [(0, [3]), (1, [4]), (2, [5]), (6, [])], "7th: of a look that is not known"


def unit(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_cut_off_is_above_what_most_random_queries_find() -> None:
    vectors = unit(500, 0) + np.float32(0.05)  # not around zero, as a tower's are not
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    words = [f"w{number}" for number in range(300)]
    queries = unit(len(random_queries(words)), 1)
    found = calibrated(words, lambda texts: queries, lambda: iter((vectors[:200], vectors[200:])))
    assert found is not None
    below = [float((vectors @ query).max()) < found.of(query) for query in queries]
    assert 0.55 < np.mean(below) < 0.65
    assert float((vectors @ vectors[7]).max()) > found.of(vectors[7])


def test_held_out_pairs_of_the_bundle_lower_a_cut_off_that_would_hide_right_pictures() -> None:
    vectors, words = unit(500, 0), [f"w{number}" for number in range(300)]
    nonsense = unit(len(random_queries(words)), 1)
    best = np.sort((vectors @ nonsense.T).max(axis=0))
    pictures = vectors[:100]  # found first by texts that lean to them no more than nonsense does to its best
    texts = np.stack([_leaning(picture, float(np.median(best))) for picture in pictures])
    parts = lambda: iter((vectors,))  # noqa: E731
    without = calibrated(words, lambda _: nonsense, parts)
    capped = calibrated(words, lambda _: nonsense, parts, HeldOutPairs(texts, pictures))
    few = calibrated(words, lambda _: nonsense, parts, HeldOutPairs(texts[:10], pictures[:10]))
    assert without is not None
    assert capped is not None
    assert few is not None
    harmed = [float((vectors @ text).max()) < capped.of(text) for text in texts]
    assert np.mean(harmed) <= 0.05 < np.mean([float((vectors @ text).max()) < without.of(text) for text in texts])
    assert capped.margin < without.margin == few.margin


def _leaning(picture: np.ndarray, cosine: float) -> np.ndarray:
    """Return a unit vector of a cosine to a picture."""
    other = unit(1, int(abs(picture[0]) * 1e6))[0]
    other -= (other @ picture) * picture
    other /= np.linalg.norm(other)
    return np.float32(cosine) * picture + np.float32(np.sqrt(1 - cosine**2)) * other


def test_a_small_vocabulary_or_index_has_no_cut_off() -> None:
    assert calibrated(["red", "green"], lambda texts: unit(1, 0), lambda: iter(())) is None
    assert not outdated({}, LEAST_PICTURES - 1)
    assert outdated({}, LEAST_PICTURES)


def test_a_cut_off_is_measured_again_when_the_index_is_another() -> None:
    meta = {name: str(value) for name, value in CutOff(unit(1, 0)[0], 0.2).meta(1000).items()}
    again = recorded(meta, DIM)
    assert again is not None
    assert (again.margin, again.mean.tolist()) == (0.2, unit(1, 0)[0].tolist())
    assert [outdated(meta, count) for count in (1000, 1100, 1101, 899)] == [False, False, True, True]


@pytest.mark.parametrize("harm", ["cut_off_mean", "cut_off_margin"])
def test_a_recorded_cut_off_that_is_none_is_no_cut_off(harm: str) -> None:
    meta = {name: str(value) for name, value in CutOff(unit(1, 0)[0], 0.2).meta(10).items()}
    assert recorded(meta | {harm: "nan"}, DIM) is None
    assert recorded(meta, DIM + 1) is None


def test_hits_below_the_cut_off_are_marked_and_a_query_without_any_above_says_so(
    bundle: Path, cli: Run, tmp_path: Path
) -> None:
    import sqlite3

    write_pictures(tmp_path / "pictures", 9)
    cli("index", bundle, tmp_path / "pictures", "--out", "index")
    for margin, nothing in ((0.6, False), (1.5, True)):
        with sqlite3.connect(tmp_path / "index/pictures.sqlite") as connection:
            meta = CutOff(np.zeros(DIM, np.float32), margin).meta(9)
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", [(k, str(v)) for k, v in meta.items()])
        connection.close()
        found = json.loads(cli("search", "index", "red", "--json")[1])
        assert found["cut_off"] == margin
        assert any(note.startswith("nothing like it") for note in found["notes"]) == nothing
        low = [hit["score"] < margin for hit in found["hits"]]
        assert sum(low) == (9 if nothing else 6)
        assert ("the last 6 are no nearer than what random words find" in cli("search", "index", "red")[1]) != nothing
    picture = json.loads(cli("search", "index", "--image", "pictures/red-0.png", "--json")[1])
    assert (picture["cut_off"], picture["notes"]) == (None, [])
    assert open_index(tmp_path / "index").cut_off() is not None

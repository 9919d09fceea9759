"""Misspelt words in a query: which are corrected, into what, and which are left alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from conaclip_edge.search.words.spelling import Speller
from tests.helpers.command_line import Run
from tests.helpers.search.misspelt import CORRECTIONS, RIGHT, WORDS
from tests.helpers.search.small_index import write_pictures


def speller(words: Sequence[str] = WORDS, names: Sequence[str] = (), finds: Sequence[str] = ()) -> Speller:
    """A speller of an index in which every correction finds more than what was typed, those of `finds` most."""

    def score(queries: Sequence[str]) -> list[float]:
        more = [0.2 * any(word in query for word in finds) for query in queries]
        return [0.1, *(0.2 + one for one in more[1:])]

    return Speller(words, lambda: names, score)


@pytest.mark.parametrize(("text", "wanted"), CORRECTIONS.items())
def test_misspelt_words_are_taken_for_a_near_one(text: str, wanted: str) -> None:
    assert speller().correct(text) == wanted


@pytest.mark.parametrize("word", RIGHT)
def test_words_that_are_right_stay_whatever_another_would_find(word: str) -> None:
    assert speller().correct(word) == word
    assert speller().correct(f"a {word} outside") == f"a {word} outside"


def test_words_of_the_model_and_of_file_names_are_right() -> None:
    assert speller().correct("strawbrry") == "strawberry"
    assert speller(["strawbrry"]).correct("strawbrry") == "strawbrry"
    assert speller(names=["strawbrry"]).correct("strawbrry") == "strawbrry"
    assert speller(names=["izakaya"]).correct("izakya") == "izakaya"


def test_of_near_words_the_frequent_one_is_taken_unless_another_finds_far_more() -> None:
    assert speller().correct("grean") == "great"
    assert speller(finds=["green"]).correct("grean") == "green"


def test_a_correction_that_finds_less_is_not_made() -> None:
    worse = Speller(WORDS, tuple, lambda queries: [0.5, *(0.4 for _ in queries[1:])])
    assert worse.correct("bycicle") == "bycicle"


def test_every_misspelt_word_of_a_query_is_corrected_by_itself() -> None:
    assert speller().correct("bycicle and strwberry -baloon") == "bicycle and strawberry -baloon"


def test_the_command_says_what_it_corrected_and_takes_words_as_they_are_on_wish(
    bundle: Path, cli: Run, tmp_path: Path
) -> None:
    write_pictures(tmp_path / "pictures", 12)
    assert cli("index", bundle, tmp_path / "pictures", "--out", "index")[0] == 0
    code, out, _ = cli("search", "index", "grean", "-k", "1", "--json")
    found = json.loads(out)
    assert (code, found["query"], found["searched"]) == (0, "grean", "green")
    assert found["notes"] == ["searched for “green”; --exact searches for “grean”."]
    assert "green-" in found["hits"][0]["path"]
    found = json.loads(cli("search", "index", "grean", "--exact", "--json")[1])
    assert (found["searched"], found["hits"]) == ("grean", [])


def test_case_alone_is_no_correction(bundle: Path, cli: Run, tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", 3)
    cli("index", bundle, tmp_path / "pictures", "--out", "index")
    for query in ("Fahrrad", "RED", "Green"):
        found = json.loads(cli("search", "index", query, "--json")[1])
        assert found["searched"] == query
        assert not [note for note in found["notes"] if note.startswith("searched")]

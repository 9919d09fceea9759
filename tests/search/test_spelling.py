"""Misspelt words in a query of the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conaclip_edge.search.spelling import speller
from tests.helpers.command_line import Run
from tests.helpers.search.misspelt import CORRECTIONS, WORDS
from tests.helpers.search.small_index import write_pictures


@pytest.mark.parametrize(("text", "wanted"), CORRECTIONS.items())
def test_misspelt_words_are_taken_for_the_nearest_known_one(text: str, wanted: str) -> None:
    assert speller(WORDS)(text) == wanted


def test_the_more_frequent_of_two_equally_near_words_is_taken() -> None:
    assert speller(["plane", "plate"])("plaxe") == "plane"
    assert speller(["plate", "plane"])("plaxe") == "plate"


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
    assert (found["searched"], found["notes"]) == ("grean", [])

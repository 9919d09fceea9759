"""Queries of which the model reads nothing, or only a part."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from conaclip_edge.models.tokenizer import TextTokenizer
from conaclip_edge.search.words.unread import Reader
from tests.helpers.command_line import Run
from tests.helpers.search.small_index import write_pictures

DOG, BICYCLE = "\N{CJK UNIFIED IDEOGRAPH-72D7}", "\N{BICYCLE}"
MARK = "\N{LOWER ONE EIGHTH BLOCK}"
KINDS = {
    "WordPiece": models.WordPiece({"[UNK]": 0, "[SEP]": 1, "[PAD]": 2, "red": 3, "?": 4, "##s": 5}, unk_token="[UNK]"),
    "Unigram": models.Unigram(
        [("<unk>", 0.0), ("[SEP]", 0.0), ("[PAD]", 0.0), (MARK, -3.0), (f"{MARK}red", -1.0), ("s", -2.0), ("?", -2.0)],
        unk_id=0,
    ),
    "byte BPE": models.BPE(
        {"[SEP]": 0, "[PAD]": 1}
        | {letter: 2 + place for place, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))},
        [],
    ),
}


def reader(kind: str, folder: Path) -> Reader:
    tokenizer = Tokenizer(KINDS[kind])
    tokenizer.add_special_tokens(["[SEP]", "[PAD]"])
    tokenizer.pre_tokenizer = {
        "WordPiece": pre_tokenizers.BertPreTokenizer(),
        "Unigram": pre_tokenizers.Metaspace(),
        "byte BPE": pre_tokenizers.ByteLevel(add_prefix_space=False),
    }[kind]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [SEP]", special_tokens=[("[SEP]", tokenizer.token_to_id("[SEP]"))]
    )
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), "utf-8")
    return Reader(TextTokenizer(folder / "tokenizer.json", 12))


@pytest.mark.parametrize("kind", KINDS)
def test_words_of_another_script_are_not_read_by_any_kind_of_tokenizer(kind: str, tmp_path: Path) -> None:
    found = reader(kind, tmp_path)
    assert found.reads("red")
    assert found.reads("?")
    assert found.reads("")
    assert not found.reads(DOG)
    assert not found.reads(f"{DOG} {BICYCLE}")
    assert found.unread(f"red {DOG} - {BICYCLE}") == [DOG, BICYCLE]
    silent = set(found.silent_ids())
    tokenizer = TextTokenizer(tmp_path / "tokenizer.json", 12)
    assert set(tokenizer.ids(DOG)) <= silent
    assert not set(tokenizer.ids("red")) <= silent


@pytest.mark.parametrize("query", [DOG, BICYCLE, f"{DOG}{BICYCLE}", f"{DOG} -red"])
def test_a_query_of_which_nothing_is_read_finds_nothing_and_says_why(
    query: str, bundle: Path, cli: Run, tmp_path: Path
) -> None:
    write_pictures(tmp_path / "pictures", 12)
    cli("index", bundle, tmp_path / "pictures", "--out", "index")
    code, out, _ = cli("search", "index", query, "--json")
    found = json.loads(out)
    assert (code, found["hits"]) == (0, [])
    assert len(found["notes"]) == 1
    assert found["notes"][0].startswith("the model reads nothing of this query")
    code, out, _ = cli("search", "index", query)
    assert code == 0
    assert out.startswith("note: the model reads nothing of this query")


def test_words_that_are_not_read_are_named_and_the_others_are_searched_for(
    bundle: Path, cli: Run, tmp_path: Path
) -> None:
    pictures = write_pictures(tmp_path / "pictures", 12)
    cli("index", bundle, pictures, "--out", "index")
    found = json.loads(cli("search", "index", f"red {DOG} -{BICYCLE}", "-k", "3", "--json")[1])
    assert all("/red-" in hit["path"] for hit in found["hits"])
    assert found["notes"] == [f"the model does not read “{DOG}”, “{BICYCLE}”: its vocabulary has no such characters."]
    both = json.loads(cli("search", "index", DOG, "--image", pictures / "red-0.png", "--json")[1])
    assert both["hits"][0]["score"] == 1.0
    assert f"“{DOG}”" in both["notes"][0]

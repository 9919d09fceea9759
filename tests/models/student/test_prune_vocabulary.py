"""Pruned tokenizers read seen texts as before, everything else still, and point to the right rows."""

from __future__ import annotations

import functools
import itertools
import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from conaclip_edge.errors import UserError
from conaclip_edge.models.student.prune_vocabulary import prune
from tests.helpers.models.tiny_tokenizers import CAPTIONS, clip_json, english_words, minilm_json, unigram_json

KINDS = {"wordpiece": minilm_json, "bpe": clip_json, "unigram": unigram_json}
# The same examples every time, however busy the machine is.
STEADY: dict[str, Any] = {"deadline": None, "derandomize": True, "suppress_health_check": [HealthCheck.too_slow]}
STRANGE = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "日本の猫",
    "🎉🏳️‍🌈👨‍👩‍👧",
    "e\u0301",
    "ﬁ Ⅷ ½",
    "\u202e\u200b",
    "x" * 300,
    "[UNK] </s> <unk>",
)


def load(content: dict[str, Any]) -> Tokenizer:
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


@functools.cache
def pruned(kind: str) -> tuple[Tokenizer, Tokenizer, np.ndarray]:
    """A tokenizer before and after pruning to the captions, and the kept ids."""
    content = json.loads(KINDS[kind]())
    smaller, kept = prune(content, CAPTIONS, frequent=0)
    return load(content), load(smaller), kept


def assert_same_pieces(before: Tokenizer, after: Tokenizer, kept: np.ndarray, text: str) -> None:
    old, new = before.encode(text), after.encode(text)
    assert new.tokens == old.tokens
    assert kept[new.ids].tolist() == old.ids


words = st.sampled_from(english_words()[:500])
texts = st.one_of(
    st.text(max_size=20), st.lists(words, max_size=6).map(" ".join), st.sampled_from(STRANGE), st.sampled_from(CAPTIONS)
)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@settings(max_examples=40, **STEADY)
@given(seen=st.lists(texts, max_size=4), frequent=st.sampled_from([0, 1, 300, 10**6]))
def test_seen_texts_keep_their_pieces(kind: str, seen: list[str], frequent: int) -> None:
    content = json.loads(KINDS[kind]())
    smaller, kept = prune(content, seen, frequent)
    before, after = load(content), load(smaller)
    for text in seen:
        assert_same_pieces(before, after, kept, text)
    assert set(range(min(frequent, before.get_vocab_size()))) <= set(kept.tolist())


@settings(max_examples=8, **STEADY)
@given(seen=st.lists(texts, min_size=1, max_size=20), frequent=st.sampled_from([0, 2000]))
def test_seen_texts_keep_their_pieces_in_minilm(seen: list[str], frequent: int) -> None:
    content = json.loads(minilm_json())
    smaller, kept = prune(content, seen, frequent)
    before, after = load(content), load(smaller)
    for text in seen:
        assert_same_pieces(before, after, kept, text)
    first = {index for index in range(frequent) if "[unused" not in before.id_to_token(index)}
    assert first <= set(kept.tolist())
    assert after.token_to_id("[unused7]") is None


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, **STEADY)
@given(text=st.one_of(st.text(max_size=60), st.sampled_from(STRANGE), texts))
def test_any_text_still_tokenises_within_the_table(kind: str, text: str) -> None:
    _, after, kept = pruned(kind)
    ids = after.encode(text).ids
    assert len(ids) > 0
    assert all(0 <= index < len(kept) for index in ids)


@pytest.mark.parametrize("kind", KINDS)
def test_a_very_long_text_still_tokenises(kind: str) -> None:
    before, after, kept = pruned(kind)
    text = "a photo of a cat " * 2000
    assert_same_pieces(before, after, kept, text)


def test_a_seen_text_counts_behind_the_file_s_own_truncation_too() -> None:
    content = json.loads(minilm_json())
    assert content["truncation"]["max_length"] == 128
    text = " ".join(english_words()[:300])
    smaller, kept = prune(content, [text], frequent=0)
    assert_same_pieces(load(content), load(smaller), kept, text)


@pytest.mark.parametrize("kind", KINDS)
def test_letters_that_were_readable_stay_readable(kind: str) -> None:
    """A word none of whose pieces was seen falls to letters, not to the unknown token."""
    before, after, _ = pruned(kind)
    word = "xylophonists"
    pieces = after.encode(word, add_special_tokens=False).tokens
    assert "".join(re.sub(r"^##|</w>$|▁", "", piece) for piece in pieces) == word
    assert len(pieces) >= len(before.encode(word, add_special_tokens=False).tokens)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_the_new_table_are_the_rows_of_the_same_pieces(kind: str) -> None:
    before, after, kept = pruned(kind)
    table = np.random.default_rng(0).normal(size=(before.get_vocab_size(), 3))
    smaller = table[kept]
    assert after.get_vocab_size() == len(kept) < before.get_vocab_size()
    for piece, index in after.get_vocab().items():
        np.testing.assert_array_equal(smaller[index], table[before.token_to_id(piece)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frequent", [0, 77])
def test_pruning_twice_changes_nothing(kind: str, frequent: int) -> None:
    once, kept = prune(json.loads(KINDS[kind]()), CAPTIONS, frequent)
    twice, again = prune(once, CAPTIONS, frequent)
    assert twice == once
    assert again.tolist() == list(range(len(kept)))


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_end_texts_as_before(kind: str) -> None:
    before, after, _ = pruned(kind)
    old, new = before.encode("a cat"), after.encode("a cat")
    assert [new.tokens[0], new.tokens[-1]] == [old.tokens[0], old.tokens[-1]]
    assert [after.id_to_token(index) for index in new.ids] == new.tokens
    assert {t.content for t in after.get_added_tokens_decoder().values()} == {
        t.content for t in before.get_added_tokens_decoder().values()
    }


def test_the_last_id_stays_the_end_of_text_in_bpe() -> None:
    """A CLIP tower of the old kind pools at the highest id of a text."""
    _, after, kept = pruned("bpe")
    assert after.token_to_id("<|endoftext|>") == len(kept) - 1


def merges_of_words(content: dict[str, Any], captions: tuple[str, ...]) -> set[tuple[str, str]]:
    """An independent BPE over the words that a tokenizer splits captions into: the merges that it applies."""
    tokenizer = load(content)
    ranks = {tuple(pair): rank for rank, pair in enumerate(content["model"]["merges"])}
    used = set()
    for caption in captions:
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(caption)):
            symbols = [*word[:-1], word[-1] + "</w>"]
            while True:
                known = [pair for pair in itertools.pairwise(symbols) if pair in ranks]
                if not known:
                    break
                left, right = min(known, key=ranks.__getitem__)
                used.add((left, right))
                merged: list[str] = []
                while symbols:
                    if symbols[:2] == [left, right]:
                        merged.append(left + right)
                        symbols = symbols[2:]
                    else:
                        merged.append(symbols.pop(0))
                symbols = merged
    return used


def test_bpe_keeps_exactly_the_merges_that_seen_words_use_in_their_order() -> None:
    content = json.loads(clip_json())
    smaller, _ = prune(content, CAPTIONS, frequent=0)
    used = merges_of_words(content, CAPTIONS)
    assert smaller["model"]["merges"] == [pair for pair in content["model"]["merges"] if tuple(pair) in used]
    assert 0 < len(used) < len(content["model"]["merges"])


def test_bpe_can_still_build_frequent_pieces() -> None:
    content = json.loads(clip_json())
    first = 512 + 100
    smaller, kept = prune(content, [], frequent=first)
    assert smaller["model"]["merges"] == content["model"]["merges"][:100]
    assert kept.tolist() == [*range(first), len(content["model"]["vocab"]) - 2, len(content["model"]["vocab"]) - 1]


def test_bpe_with_marked_word_insides_keeps_its_pieces() -> None:
    """BPE may mark pieces inside a word as WordPiece does; a merge then drops the mark of its right part."""
    vocab = ["<unk>", "a", "b", "##a", "##b", "##c", "##bc", "ab", "abc", "##ab"]
    merges = [("##b", "##c"), ("a", "##bc"), ("a", "##b"), ("##a", "##b")]
    model = models.BPE(
        {piece: index for index, piece in enumerate(vocab)}, merges, unk_token="<unk>", continuing_subword_prefix="##"
    )
    content = json.loads(Tokenizer(model).to_str())
    for text, pieces, used in (
        ("abc", ["abc"], [["##b", "##c"], ["a", "##bc"]]),
        ("bbc", ["b", "##bc"], [["##b", "##c"]]),
    ):
        smaller, kept = prune(content, [text], frequent=0)
        assert load(content).encode(text).tokens == pieces
        assert_same_pieces(load(content), load(smaller), kept, text)
        assert smaller["model"]["merges"] == used


def test_wordpiece_gives_up_on_the_same_words() -> None:
    """Without 'ab', which only leads to a dead end, 'abce' would be read as 'a' and '##bce'."""
    vocab = ["[UNK]", "a", "##b", "ab", "x", "##bce"]
    model = models.WordPiece({piece: index for index, piece in enumerate(vocab)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    content = json.loads(tokenizer.to_str())
    seen = ["xbce abce"]
    assert load(content).encode(seen[0]).tokens == ["x", "##bce", "[UNK]"]
    smaller, kept = prune(content, seen, frequent=0)
    assert_same_pieces(load(content), load(smaller), kept, seen[0])


def test_unigram_keeps_the_price_of_unknown_characters() -> None:
    """Unknown characters cost ten more than the worst piece: were it dropped, 'a' as unknown + 'bcd' would win."""
    vocab = [("ab", -30.0), ("cd", -30.0), ("yy", -50.0), ("bcd", -1.0), ("zz", -100.0), ("<unk>", 0.0)]
    content = json.loads(Tokenizer(models.Unigram(vocab, unk_id=5)).to_str())
    seen = ["abcd", "bcd", "é"]
    smaller, kept = prune(content, seen, frequent=0)
    for text in seen:
        assert_same_pieces(load(content), load(smaller), kept, text)
    assert smaller["model"]["vocab"] == [[piece, score] for piece, score in vocab if piece != "yy"]


def test_scores_stay_to_the_last_bit() -> None:
    """The tokenizers library reads this score one bit off."""
    score = -7.6218383032671335
    read = json.loads(Tokenizer(models.Unigram([("<unk>", 0.0), ("cat", score)], unk_id=0)).to_str())
    assert json.loads(Tokenizer.from_str(json.dumps(read)).to_str())["model"]["vocab"][1][1] != score
    assert prune(read, ["cat"], 0)[0]["model"]["vocab"][1] == ["cat", score]


def test_byte_pieces_stay() -> None:
    vocab = [("<unk>", 0.0), *((f"<0x{byte:02X}>", -20.0) for byte in range(256)), ("cat", -5.0), ("dog", -5.0)]
    content = json.loads(Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=True)).to_str())
    smaller, kept = prune(content, ["cat"], frequent=0)
    assert kept.tolist() == list(range(258))
    assert load(smaller).encode("é").tokens == ["<0xC3>", "<0xA9>"]


POST_PROCESSORS = {
    "bert": {"type": "BertProcessing", "sep": ["[SEP]", 102], "cls": ["[CLS]", 101]},
    "roberta": {
        "type": "RobertaProcessing",
        "sep": ["[SEP]", 102],
        "cls": ["[CLS]", 101],
        "trim_offsets": True,
        "add_prefix_space": False,
    },
}
POST_PROCESSORS["sequence"] = {
    "type": "Sequence",
    "processors": [{"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}, POST_PROCESSORS["bert"]],
}


@pytest.mark.parametrize("name", POST_PROCESSORS)
def test_every_post_processor_gets_new_ids(name: str) -> None:
    content = json.loads(minilm_json()) | {"post_processor": POST_PROCESSORS[name], "added_tokens": []}
    smaller, kept = prune(content, ["a cat"], frequent=0)
    names = {index: piece for piece, index in content["model"]["vocab"].items()}
    ids = load(smaller).encode("a cat").ids
    assert [names[index] for index in kept[ids].tolist()] == ["[CLS]", "a", "cat", "[SEP]"]


def test_padding_gets_its_new_id() -> None:
    content = json.loads(minilm_json())
    content["padding"] |= {"pad_id": 103, "pad_token": "[MASK]"}
    smaller, kept = prune(content, [], frequent=0)
    assert kept[smaller["padding"]["pad_id"]] == 103


def test_tokens_added_after_the_model_keep_their_row() -> None:
    tokenizer = Tokenizer.from_str(unigram_json())
    tokenizer.add_special_tokens(["<extra>"])
    tokenizer.add_tokens(["newword"])
    content = json.loads(tokenizer.to_str())
    smaller, kept = prune(content, ["a newword here"], frequent=0)
    assert_same_pieces(load(content), load(smaller), kept, "a newword here<extra>")
    assert kept[-2:].tolist() == [500, 501]


def test_older_files_are_read() -> None:
    """Years ago merges were written as strings, and the model's type was left out."""
    content = json.loads(clip_json())
    older = json.loads(clip_json())
    older["model"]["merges"] = [" ".join(pair) for pair in older["model"]["merges"]]
    assert prune(older, CAPTIONS, 0)[0] == prune(content, CAPTIONS, 0)[0]
    older = json.loads(minilm_json())
    del older["model"]["type"]
    assert prune(older, CAPTIONS, 0)[0] == prune(json.loads(minilm_json()), CAPTIONS, 0)[0]


def test_another_model_type_is_refused_with_the_known_ones() -> None:
    content = json.loads(Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]")).to_str())
    with pytest.raises(UserError, match=r"unknown tokenizer model 'WordLevel'.*Known: BPE, Unigram, WordPiece\."):
        prune(content, [], 0)


def test_what_is_no_tokenizer_is_refused() -> None:
    with pytest.raises(UserError, match=r"^cannot prune the vocabulary: not a tokenizer\.json"):
        prune({"model": {"type": "Magic"}}, [], 0)


def test_an_id_without_a_token_is_refused() -> None:
    content = json.loads(minilm_json())
    content["post_processor"] = {"type": "BertProcessing", "sep": ["[SEP]", 99_999], "cls": ["[CLS]", 101]}
    with pytest.raises(UserError, match="refers to id 99999, which no token has"):
        prune(content, [], 0)

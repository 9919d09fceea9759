"""Every text becomes 2..context ids that end with EOS, whatever tokenizer it meets."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from conaclip_edge.errors import UserError
from conaclip_edge.models.tokenizer import TextTokenizer, for_context
from tests.helpers.models.tiny_tokenizers import CAPTIONS, clip_json, minilm_json, unigram_json

# The same examples every time, however busy the machine is.
STEADY: dict[str, Any] = {"deadline": None, "derandomize": True, "suppress_health_check": [HealthCheck.too_slow]}


def bare_json() -> str:
    """A tokenizer that adds no special token by itself."""
    return json.dumps(json.loads(unigram_json()) | {"post_processor": None})


def gemma_json() -> str:
    """A vocabulary that has '</s>' as an ordinary piece and ends texts with <eos>."""
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "</s>", "<s>", "cat", "a"]
    model = models.WordLevel({piece: index for index, piece in enumerate(pieces)}, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    return tokenizer.to_str()


KINDS = {
    "clip": (clip_json, "<|endoftext|>", "<|endoftext|>"),
    "bert": (minilm_json, "[SEP]", "[PAD]"),
    "xlm-roberta": (unigram_json, "</s>", "<pad>"),
    "t5": (lambda: unigram_json(("<pad>", "</s>", "<unk>"), ""), "</s>", "<pad>"),
    "no special tokens added": (bare_json, "</s>", "<pad>"),
    "gemma": (gemma_json, "<eos>", "<pad>"),
}


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizers")
    for kind, (content, _, _) in KINDS.items():
        (folder / f"{kind}.json").write_text(content(), "utf-8")
    return folder


@functools.cache
def load(file: Path, context: int) -> TextTokenizer:
    return TextTokenizer(file, context)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, **STEADY)
@given(
    text=st.one_of(st.text(), st.sampled_from(CAPTIONS), st.just("cat " * 200)), context=st.sampled_from([2, 3, 8, 77])
)
def test_a_text_has_2_to_context_ids_and_ends_with_eos(folder: Path, kind: str, text: str, context: int) -> None:
    tokenizer = load(folder / f"{kind}.json", context)
    ids = tokenizer.ids(text)
    assert 2 <= len(ids) <= context
    assert ids[-1] == tokenizer.eos_id
    assert min(ids) >= 0
    assert max(ids) < tokenizer.vocab_size


@pytest.mark.parametrize("kind", KINDS)
def test_eos_and_padding_are_those_of_the_tokenizer(folder: Path, kind: str) -> None:
    _, eos, pad = KINDS[kind]
    tokenizer = load(folder / f"{kind}.json", 77)
    assert (tokenizer.tokenizer.id_to_token(tokenizer.eos_id), tokenizer.tokenizer.id_to_token(tokenizer.pad_id)) == (
        eos,
        pad,
    )


@pytest.mark.parametrize("kind", ["clip", "bert", "xlm-roberta", "t5"])
def test_a_short_text_is_what_the_plain_tokenizer_gives(folder: Path, kind: str) -> None:
    plain = Tokenizer.from_str(KINDS[kind][0]())
    plain.no_padding()
    for caption in CAPTIONS[:-1]:
        assert load(folder / f"{kind}.json", 77).ids(caption) == plain.encode(caption).ids


@pytest.mark.parametrize("kind", KINDS)
def test_truncation_keeps_the_first_words_and_eos(folder: Path, kind: str) -> None:
    text = "a cat " * 50
    long, short = load(folder / f"{kind}.json", 77).ids(text), load(folder / f"{kind}.json", 8).ids(text)
    assert len(short) == 8
    assert short[:7] == long[:7]
    assert short.index(short[-1]) == 7


@pytest.mark.parametrize("kind", KINDS)
def test_padding_fills_up_after_eos_only(folder: Path, kind: str) -> None:
    tokenizer = load(folder / f"{kind}.json", 77)
    batch = tokenizer(list(CAPTIONS))
    assert batch.dtype == np.int32
    assert batch.shape == (len(CAPTIONS), max(len(tokenizer.ids(caption)) for caption in CAPTIONS))
    for row, caption in zip(batch.tolist(), CAPTIONS, strict=True):
        ids = tokenizer.ids(caption)
        assert row[: len(ids)] == ids
        assert set(row[len(ids) :]) <= {tokenizer.pad_id}
        assert row.index(tokenizer.eos_id) == len(ids) - 1 or caption == ""


@pytest.mark.parametrize("kind", KINDS)
def test_no_texts_make_an_empty_batch(folder: Path, kind: str) -> None:
    assert load(folder / f"{kind}.json", 77)([]).shape == (0, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_an_eos_inside_a_text_does_not_replace_the_last_one(folder: Path, kind: str) -> None:
    tokenizer = load(folder / f"{kind}.json", 77)
    ids = tokenizer.ids(f"a cat {KINDS[kind][1]} cat")
    assert ids[-1] == tokenizer.eos_id
    assert ids.count(tokenizer.eos_id) == 2


def test_half_a_surrogate_pair_is_read_as_the_replacement_character(folder: Path) -> None:
    """Such strings come from shells with another encoding; the tokenizers library refuses them with a TypeError."""
    tokenizer = load(folder / "clip.json", 77)
    assert tokenizer.ids("caf\udce9") == tokenizer.ids("caf\ufffd")
    assert tokenizer.ids("\ud83c\udf89") == tokenizer.ids("🎉")


def test_the_table_covers_ids_with_gaps(tmp_path: Path) -> None:
    model = models.WordLevel({"[UNK]": 0, "[SEP]": 3, "cat": 9}, unk_token="[UNK]")
    (tmp_path / "tokenizer.json").write_text(json.dumps(json.loads(Tokenizer(model).to_str())), "utf-8")
    with pytest.raises(UserError, match=r"none of the tokens \[PAD\], <pad>"):
        TextTokenizer(tmp_path / "tokenizer.json", 8)
    model = models.WordLevel({"[UNK]": 0, "[SEP]": 3, "cat": 9, "[PAD]": 5}, unk_token="[UNK]")
    (tmp_path / "tokenizer.json").write_text(Tokenizer(model).to_str(), "utf-8")
    assert TextTokenizer(tmp_path / "tokenizer.json", 8).vocab_size == 10


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^no tokenizer at .*tokenizer\.json: a fast tokenizer .* is needed\.$"):
        TextTokenizer(tmp_path / "tokenizer.json", 8)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{", "utf-8")
    with pytest.raises(UserError, match=r"^cannot read tokenizer .*tokenizer\.json: "):
        TextTokenizer(tmp_path / "tokenizer.json", 8)


def test_a_vocabulary_without_an_end_of_text_is_refused(tmp_path: Path) -> None:
    model = models.WordLevel({"[UNK]": 0, "cat": 1}, unk_token="[UNK]")
    (tmp_path / "tokenizer.json").write_text(Tokenizer(model).to_str(), "utf-8")
    with pytest.raises(
        UserError, match=r"none of the tokens <\|endoftext\|>, \[SEP\], </s>, <eos>; one of them must end"
    ):
        TextTokenizer(tmp_path / "tokenizer.json", 8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("context", [8, 16])
def test_a_file_for_a_context_read_as_it_is_gives_what_the_tower_takes(folder: Path, kind: str, context: int) -> None:
    content = json.loads((folder / f"{kind}.json").read_text("utf-8"))
    padded = content | {"padding": {"strategy": {"Fixed": 128}, "direction": "Right", "pad_to_multiple_of": None}}
    padded["padding"] |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
    file = folder / f"{kind}-{context}.json"
    file.write_text(json.dumps(for_context(padded, context)), "utf-8")
    plain, ours = Tokenizer.from_file(str(file)), TextTokenizer(file, context)
    for text in ("a red cat", "cat " * 200, "", "A CAT, with a hat!"):
        ids = plain.encode(text).ids
        assert len(ids) <= context
        assert ids[-1] == ours.eos_id
        assert ids == load(folder / f"{kind}.json", context).ids(text) or len(ids) == 1


def test_a_tokenizer_that_ends_no_text_is_given_an_end(tmp_path: Path) -> None:
    model = models.WordLevel({"[UNK]": 0, "[SEP]": 1, "cat": 2, "[PAD]": 3}, unk_token="[UNK]")
    content = for_context(json.loads(Tokenizer(model).to_str()), 4)
    read = Tokenizer.from_str(json.dumps(content))
    assert read.encode("cat").ids == [2, 1]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    assert TextTokenizer(tmp_path / "tokenizer.json", 4).ids("cat") == [2, 1]

"""Vocabulary pruning: a smaller `tokenizer.json` that reads known texts exactly as before, and any other text still.

A smaller vocabulary shrinks the token table, which is most of a small text tower. Kept are the pieces that the given
texts need, every single character and byte (so that no text becomes unreadable), special and added tokens, and a number
of first ids. Why a known text keeps its pieces:

- WordPiece takes the longest piece at each place. The longest of all is kept, so it is the longest of the kept.
- BPE applies the merge of lowest rank first. Every merge on the way to a kept piece is kept, so at each step the lowest
  of all is also the lowest of the kept.
- Unigram takes the path of the best score. It is kept, and dropping pieces makes no other path better: the worst-scored
  piece is kept too, since the penalty of an unknown character is derived from it.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from conaclip_edge.errors import UserError, unknown

MODEL_TYPES = ("BPE", "Unigram", "WordPiece")
_UNUSED = re.compile(r"\[unused\d+\]")  # BERT's spare rows, which no text reaches
_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


def prune(tokenizer_json: dict[str, Any], texts: Iterable[str], frequent: int) -> tuple[dict[str, Any], np.ndarray]:
    """Drop the pieces that neither the texts nor readability need; BERT's spare [unusedN] ones always go.

    Args:
        tokenizer_json: content of a `tokenizer.json` with a BPE, Unigram or WordPiece model.
        texts: texts that must keep their pieces.
        frequent: also keep the ids below this number (vocabularies are ordered by frequency).

    Returns:
        The content of the new `tokenizer.json`, and the kept old ids int64 [new vocabulary] in the order of the new
        ids: row i of the new token table is row `kept[i]` of the old one.

    Raises:
        UserError: the content is no tokenizer, or its model is of another type.
    """
    try:
        tokenizer = Tokenizer.from_str(json.dumps(tokenizer_json))
    except Exception as error:  # the tokenizers library raises bare Exception on bad content
        raise UserError(f"cannot prune the vocabulary: not a tokenizer.json ({error}).") from error
    # Written out again, older forms (no model type, merges as strings) become the present one.
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    model = content["model"]
    if model["type"] not in MODEL_TYPES:
        raise unknown("tokenizer model", model["type"], MODEL_TYPES, where="tokenizer.json (for vocabulary pruning)")
    if model["type"] == "Unigram":
        model["vocab"] = tokenizer_json["model"]["vocab"]  # reading scores may change their last bit
    tokenizer.no_truncation()
    tokenizer.no_padding()

    vocab = _model_vocab(model)
    added = {token["content"]: int(token["id"]) for token in content["added_tokens"]}
    kept = {
        index
        for piece, index in vocab.items()
        if (index < frequent and not _UNUSED.fullmatch(piece)) or _is_single(piece, model)
    }
    kept.update(added.values(), _referred_ids(content))
    for text in texts:
        encoding = tokenizer.encode(text)
        kept.update(encoding.ids)
        if model["type"] == "WordPiece" and model["unk_token"] in encoding.tokens:
            kept.update(_before_dead_ends(tokenizer, text, model))
    if model["type"] == "BPE":
        kept.update(_keep_merges(model, kept))

    # Tokens outside the model are numbered after it when the file is loaded.
    names = {index: piece for piece, index in (added | vocab).items()}
    order = sorted(kept, key=lambda index: (names[index] not in vocab, index))
    _renumber(content, {old: new for new, old in enumerate(order)})
    return content, np.asarray(order, dtype=np.int64)


def _model_vocab(model: dict[str, Any]) -> dict[str, int]:
    """The model's pieces and their ids, without tokens added to it."""
    if model["type"] == "Unigram":
        return {piece: index for index, (piece, _) in enumerate(model["vocab"])}
    vocab: dict[str, int] = model["vocab"]
    return vocab


def _is_single(piece: str, model: dict[str, Any]) -> bool:
    """Whether a piece is one character or byte, be it marked as inside or at the end of a word."""
    prefix, suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
    return len(piece.removeprefix(prefix).removesuffix(suffix)) <= 1 or _BYTE_PIECE.fullmatch(piece) is not None


def _post_processors(content: dict[str, Any]) -> list[dict[str, Any]]:
    post_processor = content["post_processor"]
    if post_processor is None:
        return []
    parts: list[dict[str, Any]] = post_processor.get("processors", [post_processor])
    return parts


def _referred_ids(content: dict[str, Any]) -> set[int]:
    """The ids that the rest of a `tokenizer.json` needs: of special tokens, padding and unknown pieces."""
    model = content["model"]
    vocab = _model_vocab(model)
    ids: set[int] = set()
    for part in _post_processors(content):
        if part["type"] == "TemplateProcessing":
            ids.update(index for entry in part["special_tokens"].values() for index in entry["ids"])
        elif part["type"] in ("BertProcessing", "RobertaProcessing"):
            ids.update((part["sep"][1], part["cls"][1]))
    if content["padding"] is not None:
        ids.add(content["padding"]["pad_id"])
    if model["type"] == "Unigram":
        ids.add(min(vocab.values(), key=lambda index: float(model["vocab"][index][1])))
        ids.update([] if model["unk_id"] is None else [model["unk_id"]])
    elif model["unk_token"] in vocab:
        ids.add(vocab[model["unk_token"]])
    lost = ids - set(vocab.values()) - {token["id"] for token in content["added_tokens"]}
    if lost:
        raise UserError(f"cannot prune the vocabulary: tokenizer.json refers to id {min(lost)}, which no token has.")
    return ids


def _before_dead_ends(tokenizer: Tokenizer, text: str, model: dict[str, Any]) -> Iterator[int]:
    """Yield the ids of the pieces that WordPiece matches in a text, in words that it then gives up on too.

    Without the pieces before a dead end, another path might pass it.
    """
    vocab = model["vocab"]
    for word in _words(tokenizer, text):
        start = 0
        while start < len(word) <= model["max_input_chars_per_word"]:
            prefix = model["continuing_subword_prefix"] if start else ""
            end = next((end for end in range(len(word), start, -1) if prefix + word[start:end] in vocab), None)
            if end is None:
                break
            yield vocab[prefix + word[start:end]]
            start = end


def _words(tokenizer: Tokenizer, text: str) -> Iterator[str]:
    """Yield the normalised words between added tokens, as the tokenizer's model gets them."""
    added = sorted((token.content for token in tokenizer.get_added_tokens_decoder().values()), key=len, reverse=True)
    for part in re.split("|".join(map(re.escape, added)), text) if added else [text]:
        normal = tokenizer.normalizer.normalize_str(part) if tokenizer.normalizer else part
        if tokenizer.pre_tokenizer is None:
            yield normal
        else:
            yield from (word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))


def _keep_merges(model: dict[str, Any], kept: set[int]) -> set[int]:
    """Drop the merges that are not on the way to a kept piece; returns the ids of all pieces on the way."""
    prefix = model["continuing_subword_prefix"] or ""
    ranks = {(left, right): rank for rank, (left, right) in enumerate(model["merges"])}
    needed: set[tuple[str, str]] = set()
    for piece, index in model["vocab"].items():
        if index in kept:
            for symbols in _spellings(piece, prefix, model["end_of_word_suffix"] or ""):
                needed.update(_merges_to(piece, symbols, ranks, prefix))
    model["merges"] = [[left, right] for left, right in model["merges"] if (left, right) in needed]
    pieces = {part for left, right in needed for part in (left, right, left + right[len(prefix) :])}
    return {model["vocab"][piece] for piece in pieces}


def _spellings(piece: str, prefix: str, suffix: str) -> Iterator[list[str]]:
    """Yield the single-character symbols that may merge to a piece, with its affixes read as marks and as text."""
    for lead in {"", prefix if piece.startswith(prefix) else ""}:
        for tail in {"", suffix if piece.endswith(suffix) else ""}:
            symbols = list(piece[len(lead) : len(piece) - len(tail)])
            if symbols:
                symbols = [lead + symbols[0], *(prefix + symbol for symbol in symbols[1:])]
                symbols[-1] += tail
                yield symbols


def _merges_to(piece: str, symbols: list[str], ranks: dict[tuple[str, str], int], prefix: str) -> list[tuple[str, str]]:
    """The merges that BPE applies to the symbols of a piece; none if they do not end in the piece."""
    merges: list[tuple[str, str]] = []
    while len(symbols) > 1:
        pairs = list(itertools.pairwise(symbols))
        best = min(range(len(pairs)), key=lambda place: ranks.get(pairs[place], len(ranks)))
        if pairs[best] not in ranks:
            return []
        merges.append(pairs[best])
        symbols[best : best + 2] = [symbols[best] + symbols[best + 1][len(prefix) :]]
    return merges if symbols == [piece] else []


def _renumber(content: dict[str, Any], new_ids: dict[int, int]) -> None:
    """Drop what has no new id, and write the new ids wherever a `tokenizer.json` has one."""
    model = content["model"]
    if model["type"] == "Unigram":
        model["vocab"] = [entry for index, entry in enumerate(model["vocab"]) if index in new_ids]
        model["unk_id"] = new_ids.get(model["unk_id"])
    else:
        pieces = sorted(model["vocab"].items(), key=lambda entry: int(entry[1]))
        model["vocab"] = {piece: new_ids[index] for piece, index in pieces if index in new_ids}
    for token in content["added_tokens"]:
        token["id"] = new_ids[token["id"]]
    for part in _post_processors(content):
        if part["type"] == "TemplateProcessing":
            for entry in part["special_tokens"].values():
                entry["ids"] = [new_ids[index] for index in entry["ids"]]
        elif part["type"] in ("BertProcessing", "RobertaProcessing"):
            for name in ("sep", "cls"):
                part[name] = [part[name][0], new_ids[part[name][1]]]
    if content["padding"] is not None:
        content["padding"]["pad_id"] = new_ids[content["padding"]["pad_id"]]

"""The words that a model knows whole, for the page to correct spelling by."""

from __future__ import annotations

import re
from typing import Any

_WORD = re.compile(r"[^\W\d_]{3,}")
_SPACES = ("\N{LOWER ONE EIGHTH BLOCK}", "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}")  # of SentencePiece, of byte BPE


def whole_words(tokenizer: dict[str, Any]) -> list[str]:
    """List the whole words of a tokenizer.json (WordPiece, BPE or Unigram) in the order of their ids."""
    model = tokenizer.get("model", {})
    vocabulary = model.get("vocab", {})
    unigram = isinstance(vocabulary, list)
    pieces = [piece for piece, _ in vocabulary] if unigram else sorted(vocabulary, key=vocabulary.get)
    marks = (model.get("end_of_word_suffix") or "</w>", *_SPACES)
    whole = [piece for piece in pieces if len(piece) > 1 and any(mark in piece for mark in marks)] or pieces
    for mark in marks:
        whole = [piece.replace(mark, "") for piece in whole]
    return list(dict.fromkeys(word for piece in whole if _WORD.fullmatch(word := piece.lower())))

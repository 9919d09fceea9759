"""Misspelt words: a word that the model does not know whole is taken for the nearest one that it does.

The page does the same in JavaScript (`web/page/spelling.js`); a test holds both to the same corrections.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from conaclip_edge.errors import UserError

_WORD = re.compile(r"[^\W\d_]{3,}")
_SPACES = ("\N{LOWER ONE EIGHTH BLOCK}", "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}")  # of SentencePiece, of byte BPE
_IN_QUERY = re.compile(r"(?<![^\W_])(?<!['-])[^\W\d_]+(?![^\W_]|')")
_ENDING = re.compile(r"(es|s|ing|ed)$")
SHORTEST = 5  # shorter words have too many neighbours


def whole_words(tokenizer: Any) -> list[str]:
    """List the whole words of a tokenizer.json (WordPiece, BPE or Unigram) in the order of their ids.

    Raises:
        UserError: it has no vocabulary of one of these kinds.
    """
    try:
        model = tokenizer.get("model", {})
        vocabulary = model.get("vocab", {})
        unigram = isinstance(vocabulary, list)
        pieces = [str(piece) for piece, _ in vocabulary] if unigram else sorted(vocabulary, key=vocabulary.get)
    except (AttributeError, TypeError, ValueError):
        raise UserError("tokenizer.json has no vocabulary that can be read. Export the bundle again.") from None
    marks = (str(model.get("end_of_word_suffix") or "</w>"), *_SPACES)
    whole = [piece for piece in pieces if len(piece) > 1 and any(mark in piece for mark in marks)] or pieces
    for mark in marks:
        whole = [piece.replace(mark, "") for piece in whole]
    return list(dict.fromkeys(word for piece in whole if _WORD.fullmatch(word := piece.lower())))


def speller(words: Iterable[str]) -> Callable[[str], str]:
    """Return a function that corrects a text by a list of known words, the more frequent first.

    Words of under five letters, known ones and their plain inflections stay; the first letter is taken to be right.
    """
    known = dict.fromkeys(words)
    by_shape: dict[tuple[int, str], list[str]] = {}
    for word in known:
        if len(word) >= SHORTEST - 1:
            by_shape.setdefault((len(word), word[0]), []).append(word)

    @cache
    def nearest(word: str) -> str:
        reach = 2 if len(word) > 6 else 1
        best, least = word, reach + 1
        for length in range(len(word) - reach, len(word) + reach + 1):
            for candidate in by_shape.get((length, word[0]), ()):
                edits = _distance(word, candidate, least)
                if edits < least:
                    best, least = candidate, edits
        return best

    def corrected(match: re.Match[str]) -> str:
        word = match[0]
        lower = word.lower()
        if len(word) < SHORTEST or lower in known or _ENDING.sub("", lower) in known:
            return word
        return nearest(lower)

    return lambda text: _IN_QUERY.sub(corrected, text)


def _distance(one: str, other: str, limit: int) -> int:
    """Count letters to insert, drop, change or swap; `limit` where there are as many or more."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        following = [i]
        for j, target in enumerate(other, 1):
            edits = min(row[j] + 1, following[j - 1] + 1, row[j - 1] + (letter != target))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == target:
                edits = min(edits, before[j - 2] + 1)
            following.append(edits)
        if min(following) >= limit:
            return limit
        before, row = row, following
    return min(row[-1], limit)

"""Misspelt words: one that no dictionary has is taken for a near one that finds better pictures.

A word stays if it is in the English list or another language's of the package `spellchecker`, in the model's
vocabulary, or in the names of the indexed files; so does an inflection or a compound of such words.
"""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

from conaclip_edge.errors import UserError

WORD = re.compile(r"[^\W\d_]{3,}")
_SPACES = ("\N{LOWER ONE EIGHTH BLOCK}", "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}")  # of SentencePiece, of byte BPE
_IN_QUERY = re.compile(r"(?<![^\W_])(?<!['-])[^\W\d_]+(?![^\W_]|['-])")
_ENDING = re.compile(r"(es|s|ing|ed|er|ly)$")
_OTHERS = ("de", "es", "fr", "it", "nl", "pt")  # their words are right, but none is offered as a correction
SHORTEST = 4  # shorter words have too many neighbours
_LONG = 7  # letters from which two edits are looked for, where one finds nothing
_LETTERS = "abcdefghijklmnopqrstuvwxyzàáâäçèéêëíîïñóôöùúûüß"
_ACCENTED, _BARE = "àáâãäåçèéêëìíîïñòóôõöùúûü", "aaaaaaceeeeiiiinooooouuuu"
_PART = 3  # letters of each half of a compound
_TRIED = 12  # candidates that are searched for, the more frequent first
_RARE = 50.0  # how often the English list has its rarest words
_PER_FREQUENCY = 0.02  # of a cosine, for each e-fold by which a word is more frequent than another

Score = Callable[[Sequence[str]], Sequence[float]]
"""Cosines of the best pictures of some queries."""


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
    return list(dict.fromkeys(word for piece in whole if WORD.fullmatch(word := piece.lower())))


class Speller:
    """Corrects queries by dictionaries and by what they find.

    Args:
        model: words of the model's vocabulary, in lower case.
        names: gives the words of the indexed files' names, in lower case; asked for when no other list has a word.
        score: how well queries find; a correction has to find better than what was typed.
    """

    def __init__(self, model: Iterable[str], names: Callable[[], Iterable[str]], score: Score):
        self._model, self._names_of, self._score = frozenset(model), names, score
        self._found: dict[str, tuple[str, ...]] = {}

    def correct(self, text: str) -> str:
        """Return a query with its misspelt words corrected; words to stay away from are left as they are.

        Args:
            text: as it was typed.
        """
        for match in reversed(list(_IN_QUERY.finditer(text))):
            start, end = match.span()
            if self.known(match[0]):
                continue
            tried = self._candidates(match[0].lower())
            if not tried:
                continue
            queries = [text[:start] + word + text[end:] for word in tried]
            before, *scores = self._score([text, *queries])
            weighed = [
                score + _PER_FREQUENCY * math.log(self._frequency(word))
                for word, score in zip(tried, scores, strict=True)
            ]
            best = max(range(len(tried)), key=weighed.__getitem__)
            if scores[best] > before:
                text = queries[best]
        return text

    def known(self, word: str) -> bool:
        """Say whether a word is spelled right as far as any list knows; short ones and abbreviations are."""
        lower = word.lower()
        if len(lower) < SHORTEST or (word.isupper() and len(word) <= 6):
            return True
        if any(map(self._listed, {lower, _ENDING.sub("", lower), lower.replace("our", "or")})):
            return True
        halves = ((lower[:at], lower[at:]) for at in range(_PART, len(lower) - _PART + 1))
        return any(self._listed(first) and self._listed(second) for first, second in halves) or _foreign(lower)

    def _listed(self, word: str) -> bool:
        return word in self._model or word in _english() or word in _unmarked() or word in self._names

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self._names_of())

    def _frequency(self, word: str) -> float:
        return max(_RARE, float(_english().get(word, 0)))

    def _candidates(self, word: str) -> tuple[str, ...]:
        if word not in self._found:
            near = [one for one in _one_edit(word) if len(one) >= SHORTEST - 1 and self._listed(one)]
            if not near and len(word) >= _LONG:
                near = [one for one in self._alike(word) if _distance(word, one, 3) == 2]
            self._found[word] = tuple(sorted(near, key=lambda one: (-self._frequency(one), one))[:_TRIED])
        return self._found[word]

    def _alike(self, word: str) -> Iterator[str]:
        """List known words of the same first letter, which people get right, and about the same length."""
        for length in range(len(word) - 2, len(word) + 3):
            yield from self._by_shape.get((length, word[0]), ())

    @cached_property
    def _by_shape(self) -> Mapping[tuple[int, str], list[str]]:
        found: dict[tuple[int, str], list[str]] = {}
        for word in {*self._model, *self._names, *_english()}:
            if word.isalpha():
                found.setdefault((len(word), word[0]), []).append(word)
        return found


def _one_edit(word: str) -> set[str]:
    """List what a word becomes by one letter more, less or another, or two swapped."""
    cuts = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    less = {left + right[1:] for left, right in cuts if right}
    swapped = {left + right[1] + right[0] + right[2:] for left, right in cuts if len(right) > 1}
    other = {left + letter + right[1:] for left, right in cuts if right for letter in _LETTERS}
    more = {left + letter + right for left, right in cuts for letter in _LETTERS}
    return less | swapped | other | more


@cache
def _english() -> Mapping[str, int]:
    """Return the English list: word -> how often it was counted."""
    from spellchecker import SpellChecker

    return SpellChecker(language="en").word_frequency.dictionary


@cache
def _unmarked() -> frozenset[str]:
    """Return what people write for words with an apostrophe: oclock, dont."""
    return frozenset(word.replace("'", "") for word in _english() if "'" in word)


@cache
def _foreign(word: str) -> bool:
    """Say whether another language has the word, with or without its accents."""
    key = _plain(f'"{word}":'.encode())
    return any(key in words for words in _lists())


@cache
def _lists() -> list[bytes]:
    """Return the other languages' lists as they are stored: taking them apart would take seconds."""
    folder = files("spellchecker") / "resources"
    return [_plain(gzip.decompress((folder / f"{name}.json.gz").read_bytes())) for name in _OTHERS]


def _plain(text: bytes) -> bytes:
    for accented, letter in zip(_ACCENTED, _BARE, strict=True):
        text = text.replace(accented.encode(), letter.encode())
    return text


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

"""Searching an index by words, by a picture, by both, and away from words."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from conaclip_edge.bundle.open import Bundle, open_bundle
from conaclip_edge.data.preprocess import BadPicture, pixel_values
from conaclip_edge.errors import UserError
from conaclip_edge.search.hits.filters import PictureFilter
from conaclip_edge.search.hits.folding import folded
from conaclip_edge.search.index import Hit, PictureIndex, open_index
from conaclip_edge.search.words.spelling import WORD, Speller, whole_words
from conaclip_edge.search.words.unread import Reader
from conaclip_edge.system.files import read_json

_MINUS = re.compile(r'(?:^|(?<=\s))-(?:"([^"]*)"|([^\s"-]\S*))')

_NOTHING = "nothing like it: the best of these is no nearer than what random words find."
_FILTERED = "no picture passes the filters."
_QUOTED = 3  # words that a note names


@dataclass(frozen=True)
class Query:
    """What to look for.

    Attributes:
        text: words; "" for none.
        minus: what to stay away from, each a word or a phrase.
        picture: bytes of an encoded picture to look for alike ones of.
        max_pixels: a larger picture is refused; None takes the index's limit.
    """

    text: str = ""
    minus: tuple[str, ...] = ()
    picture: bytes | None = None
    max_pixels: int | None = None


@dataclass(frozen=True)
class Found:
    """What a search gave.

    Attributes:
        hits: best first.
        encode_ms: time of the towers.
        search_ms: time of the index.
        notes: what the user should know, e.g. that the model read only the beginning of the query.
        alike: key of a hit -> near-duplicates of it, which are not among the hits, best first.
        cut_off: cosine below which a hit is not like the words; None for a picture, or where it is not known.
    """

    hits: list[Hit]
    encode_ms: float
    search_ms: float
    notes: tuple[str, ...] = ()
    alike: dict[int, list[Hit]] = field(default_factory=dict)
    cut_off: float | None = None


def parse_query(text: str, picture: bytes | None = None) -> Query:
    """Read a query as web searches do: `red bicycle -car -"traffic light"`."""
    minus = tuple((phrase or word).strip() for phrase, word in _MINUS.findall(text))
    plus = " ".join(_MINUS.sub(" ", text).replace('"', " ").split())
    return Query(plus, tuple(word for word in minus if word), picture)


class Searcher:
    """An index with the towers that its vectors came from."""

    def __init__(self, index: PictureIndex, bundle: Bundle):
        self.index, self.bundle = index, bundle
        self._reader = Reader(bundle.tokenizer)

    def encode(self, query: Query) -> tuple[np.ndarray, tuple[str, ...]]:
        """Map a query to a unit vector float32 [d]: the sum of its parts' unit vectors, less those of minus words.

        Returns:
            The vector and notes.

        Raises:
            UserError: nothing to look for, a NUL in the words, or a picture that cannot be decoded.
        """
        texts = [text for text in (query.text.strip(), *query.minus) if text]
        _check(query, texts)
        total = np.zeros(self.index.dim, dtype=np.float32)
        if query.picture is not None:
            try:
                limit = min(self.index.max_pixels, query.max_pixels or self.index.max_pixels)
                pixels = pixel_values(query.picture, self.bundle.preprocess, limit)
            except BadPicture as error:
                raise UserError(f"the query's picture {error}.") from error
            total += self.bundle.embed_pixels(pixels[None])[0]
        notes = [note for text in texts if (note := self._too_long(text))]
        if texts:
            vectors = self.bundle.embed_texts(texts)
            total += vectors[0] if query.text.strip() else -vectors[0]
            total -= vectors[1:].sum(axis=0)
        length = float(np.linalg.norm(total))
        if not np.isfinite(length):
            raise UserError("the model makes numbers that are not finite of this query. Ask for something else.")
        if length < 1e-3:
            raise UserError("the words to stay away from cancel the query: nothing is left to search for.")
        return total / np.float32(length), tuple(notes)

    def search(
        self,
        query: Query,
        k: int = 10,
        only: PictureFilter | None = None,
        fold: bool = False,
        min_score: float | None = None,
    ) -> Found:
        """Return the k pictures that are nearest to a query; none where the model reads nothing of it.

        Args:
            query: words, words to stay away from, a picture.
            k: how many pictures.
            only: pictures that are looked at; all, if it is left out.
            fold: put near-duplicates behind the best of them, where they do not count.
            min_score: cosine that a picture has to have at least.

        Raises:
            UserError: as `encode`, or a damaged index.
        """
        began = time.perf_counter()
        read, unread = self._readable(query)
        if read is None:
            return Found([], 1e3 * (time.perf_counter() - began), 0.0, unread)
        vector, notes = self.encode(read)
        encoded = time.perf_counter()
        hits, alike = self._folded(vector, k, only) if fold else (self.index.search(vector, k, only), {})
        milliseconds = 1e3 * (encoded - began), 1e3 * (time.perf_counter() - encoded)
        hits = [hit for hit in hits if min_score is None or hit.score >= min_score]
        known = self.index.cut_off() if read.picture is None else None
        cut_off = known.of(vector) if known else None
        nothing = (_NOTHING,) if cut_off is not None and hits and hits[0].score < cut_off else ()
        filtered = (_FILTERED,) if not hits and (only or min_score is not None) else ()
        return Found(hits, *milliseconds, (*notes, *unread, *nothing, *filtered), alike, cut_off)

    def correct(self, text: str) -> str:
        """Return a query as it was typed, with its misspelt words corrected."""
        return self._speller.correct(text)

    @cached_property
    def _speller(self) -> Speller:
        def names() -> Iterator[str]:
            return (word.lower() for name in self.index.names() for word in WORD.findall(name))

        return Speller(whole_words(read_json(self.bundle.tokenizer.file, "tokenizer")), names, self._best_scores)

    def _best_scores(self, texts: Sequence[str]) -> list[float]:
        """Return the cosine of the best picture of each query; -1 where the model reads nothing of it."""
        plain = [parse_query(text).text for text in texts]
        return [self._best_score(text) if text and self._reader.reads(text) else -1.0 for text in plain]

    def _best_score(self, text: str) -> float:
        hits = self.index.search(self.bundle.embed_texts([text])[0], 1)
        return hits[0].score if hits else -1.0

    def _folded(self, vector: np.ndarray, k: int, only: PictureFilter | None) -> tuple[list[Hit], dict[int, list[Hit]]]:
        """Look at more pictures until k are left that do not look the same."""
        wanted = k
        while True:
            hits = self.index.search(vector, wanted, only)
            groups = folded(hits, self.index.looks([hit.key for hit in hits]))
            if len(groups) >= k or len(hits) < wanted:
                break
            wanted *= 2
        return [hit for hit, _ in groups[:k]], {hit.key: more for hit, more in groups[:k] if more}

    def _readable(self, query: Query) -> tuple[Query | None, tuple[str, ...]]:
        """Leave out of a query what the model cannot read; returns None where nothing is left, and notes."""
        text = query.text.strip()
        _check(query, [one for one in (text, *query.minus) if one])
        minus = tuple(word for word in query.minus if self._reader.reads(word))
        lost = [*self._reader.unread(text), *(word for word in query.minus if word not in minus)]
        if text and not self._reader.reads(text):
            if query.picture is None:
                long = ", which is also longer than the model reads" if self._too_long(text) else ""
                return None, (
                    f"the model reads nothing of this query{long}: its vocabulary has none of these characters. "
                    "Write it in a language that the model was trained on.",
                )
            text = ""
        notes = (f"the model does not read {_quoted(lost)}: its vocabulary has no such characters.",) if lost else ()
        return replace(query, text=text, minus=minus), notes

    def _too_long(self, text: str) -> str:
        if not self.bundle.tokenizer.cuts(text):
            return ""
        return f"the query is longer than the model reads: it stops after {self.bundle.tokenizer.context} tokens."


def _check(query: Query, texts: Sequence[str]) -> None:
    for text in texts:
        if "\0" in text:
            raise UserError(f"the query holds a NUL byte, at character {text.index(chr(0)) + 1}. Leave it out.")
    if not query.text.strip() and query.picture is None:
        what = "only words to stay away from" if query.minus else "empty query"
        raise UserError(f"{what}: nothing to search for. Give some words, e.g. 'red bicycle', or a picture.")


def _quoted(words: Sequence[str]) -> str:
    some = list(dict.fromkeys(words))[:_QUOTED]
    return ", ".join(f"“{word}”" for word in some) + (" and others" if len(set(words)) > _QUOTED else "")


def open_searcher(index_folder: Path, bundle: Path | None = None, threads: int = 1) -> Searcher:
    """Open an index with a bundle.

    Args:
        index_folder: of the index.
        bundle: its towers encode the queries; None takes the bundle that the index was made by.
        threads: CPU threads of the runtime.

    Raises:
        UserError: no or a damaged index, no bundle, or a bundle of another embedding space.
    """
    index = open_index(index_folder)
    folder = bundle or index.bundle
    if not (folder / "manifest.json").is_file():
        raise UserError(f"no bundle at {folder}, where the one of index {index_folder} was. Pass --bundle FOLDER.")
    towers = open_bundle(folder, index.target, threads=threads)
    check_space(towers, folder, index_folder, index.space_id)
    return Searcher(index, towers)


def check_space(bundle: Bundle, folder: Path, index_folder: Path, space_id: str) -> None:
    """Refuse a bundle whose vectors cannot be compared with an index's."""
    found = bundle.manifest.get("embedding_space")
    if found != space_id:
        raise UserError(
            f"bundle {folder} has embedding space {str(found)[:16]}, index {index_folder} has {space_id[:16]}: their "
            "vectors cannot be compared. Use the index's own bundle, or index the pictures again into another --out."
        )

"""Searching an index by words, by a picture, by both, and away from words."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conaclip_edge.bundle.open import Bundle, open_bundle
from conaclip_edge.data.preprocess import BadPicture, pixel_values
from conaclip_edge.errors import UserError
from conaclip_edge.search.index import Hit, PictureIndex, open_index

_MINUS = re.compile(r'(?:^|(?<=\s))-(?:"([^"]*)"|([^\s"-]\S*))')


@dataclass(frozen=True)
class Query:
    """What to look for.

    Attributes:
        text: words; "" for none.
        minus: what to stay away from, each a word or a phrase.
        picture: bytes of an encoded picture to look for alike ones of.
    """

    text: str = ""
    minus: tuple[str, ...] = ()
    picture: bytes | None = None


@dataclass(frozen=True)
class Found:
    """What a search gave.

    Attributes:
        hits: best first.
        encode_ms: time of the towers.
        search_ms: time of the index.
        notes: what the user should know, e.g. that the model read only the beginning of the query.
    """

    hits: list[Hit]
    encode_ms: float
    search_ms: float
    notes: tuple[str, ...] = ()


def parse_query(text: str, picture: bytes | None = None) -> Query:
    """Read a query as web searches do: `red bicycle -car -"traffic light"`."""
    minus = tuple((phrase or word).strip() for phrase, word in _MINUS.findall(text))
    plus = " ".join(_MINUS.sub(" ", text).replace('"', " ").split())
    return Query(plus, tuple(word for word in minus if word), picture)


class Searcher:
    """An index with the towers that its vectors came from."""

    def __init__(self, index: PictureIndex, bundle: Bundle):
        self.index, self.bundle = index, bundle

    def encode(self, query: Query) -> tuple[np.ndarray, tuple[str, ...]]:
        """Map a query to a unit vector float32 [d]: the sum of its parts' unit vectors, less those of minus words.

        Returns:
            The vector and notes.

        Raises:
            UserError: nothing to look for, a NUL in the words, or a picture that cannot be decoded.
        """
        texts = [text for text in (query.text.strip(), *query.minus) if text]
        for text in texts:
            if "\0" in text:
                raise UserError(f"the query holds a NUL byte, at character {text.index(chr(0)) + 1}. Leave it out.")
        if not query.text.strip() and query.picture is None:
            what = "only words to stay away from" if query.minus else "empty query"
            raise UserError(f"{what}: nothing to search for. Give some words, e.g. 'red bicycle', or a picture.")
        total = np.zeros(self.index.dim, dtype=np.float32)
        if query.picture is not None:
            try:
                pixels = pixel_values(query.picture, self.bundle.image_size)
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

    def search(self, query: Query, k: int = 10) -> Found:
        """Return the k pictures that are nearest to a query.

        Raises:
            UserError: as `encode`, or a damaged index.
        """
        began = time.perf_counter()
        vector, notes = self.encode(query)
        encoded = time.perf_counter()
        hits = self.index.search(vector, k)
        return Found(hits, 1e3 * (encoded - began), 1e3 * (time.perf_counter() - encoded), notes)

    def _too_long(self, text: str) -> str:
        if not self.bundle.tokenizer.cuts(text):
            return ""
        return f"the query is longer than the model reads: it stops after {self.bundle.tokenizer.context} tokens."


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

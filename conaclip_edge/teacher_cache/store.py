"""The teacher's embeddings of a whole data set, computed once and memory-mapped ever after."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import AUGMENTATION, augment
from conaclip_edge.data.usable import check_left_out, usable_pictures
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.system.files import atomic_file, sha256_text
from conaclip_edge.system.progress import track
from conaclip_edge.teacher_cache.safetensors_mmap import damaged, map_tensor, read_notes

SHARD_ROWS = 512
BATCH_ROWS = 32
MAX_PIXELS = 64_000_000
SCHEMA = "conaclip-edge/embeddings/2"

Shard = tuple[dict[str, np.ndarray], dict[str, str]]  # columns, and what the header says about them


@dataclass(frozen=True)
class Table:
    """Rows of a cache that are kept in shards.

    Attributes:
        name: of the shards.
        rows: how many.
        compute: gives the columns of a range of rows.
        label: names the work on the progress line.
    """

    name: str
    rows: int
    compute: Callable[[range], Shard]
    label: str

    def starts(self) -> range:
        """Return the first row of every shard."""
        return range(0, self.rows, SHARD_ROWS)


@dataclass(frozen=True)
class TeacherCache:
    """A finished cache.

    Attributes:
        folder: where its shards are.
        views: augmentations per picture; view 0 is the plain picture.
        usable: bool [n], false for pictures that could not be decoded.
        first_text: [n + 1]; captions of picture i are the texts first_text[i] .. first_text[i + 1] - 1.
        bad: reasons of the pictures left out, "key: reason".
    """

    folder: Path
    views: int
    usable: np.ndarray
    first_text: np.ndarray
    bad: list[str]
    _pictures: list[list[np.ndarray]]  # by view, then by shard
    _texts: list[np.ndarray]

    def pictures(self, rows: np.ndarray, views: np.ndarray | int = 0) -> np.ndarray:
        """Return the teacher's unit vectors [len(rows), d] of pictures, each of its view."""
        views = np.broadcast_to(np.asarray(views), rows.shape)
        found = [
            self._pictures[view][row // SHARD_ROWS][row % SHARD_ROWS]
            for row, view in zip(rows.tolist(), views.tolist(), strict=True)
        ]
        return np.stack(found)

    def texts(self, rows: np.ndarray) -> np.ndarray:
        """Return the teacher's unit vectors [len(rows), d] of texts, counted over all captions in order."""
        return np.stack([self._texts[row // SHARD_ROWS][row % SHARD_ROWS] for row in rows.tolist()])


def cache_key(pairs: Pairs, teacher: Teacher, views: int, max_pixels: int = MAX_PIXELS) -> str:
    """Name a cache by everything its content depends on."""
    parts = (pairs.content, teacher.fingerprint, str(views), str(max_pixels), AUGMENTATION)
    return sha256_text(SCHEMA, str(SHARD_ROWS), *parts)[:32]


def teacher_cache(
    pairs: Pairs, teacher: Teacher, folder: Path, views: int = 1, max_bad: float = 0.01, max_pixels: int = MAX_PIXELS
) -> TeacherCache:
    """Open the cache of a data set and teacher, computing what is missing; a killed run goes on at its last shard.

    Args:
        pairs: all splits.
        teacher: frozen.
        folder: parent of all caches.
        views: augmentations per picture; 1 means the plain picture only.
        max_bad: share of undecodable pictures above which the data set is refused.
        max_pixels: a larger picture counts as undecodable and is never decoded.
    """
    home = folder / cache_key(pairs, teacher, views, max_pixels)
    first_text = np.concatenate([[0], np.cumsum([len(texts) for texts in pairs.captions])])
    fill(home, cache_tables(pairs, teacher, views, max_pixels))
    usable = np.concatenate([part.astype(bool) for part in _columns(home, "pictures-0", "usable", len(pairs), 1)])
    bad = [*pairs.skipped, *_reasons(home, len(pairs))]
    check_left_out(bad, len(pairs) + len(pairs.skipped), max_bad, pairs.name)
    pictures = [_columns(home, f"pictures-{view}", "embedding", len(pairs)) for view in range(views)]
    return TeacherCache(
        home, views, usable, first_text, bad, pictures, _columns(home, "texts", "embedding", int(first_text[-1]))
    )


def cache_tables(pairs: Pairs, teacher: Teacher, views: int, max_pixels: int = MAX_PIXELS) -> list[Table]:
    """Return the tables of a cache: every view of the pictures, then the captions in order."""
    captions = [text for texts in pairs.captions for text in texts]

    def embed_pictures(view: int) -> Callable[[range], Shard]:
        return lambda rows: _picture_shard(pairs, teacher, rows, view, max_pixels)

    pictures = [
        Table(f"pictures-{view}", len(pairs), embed_pictures(view), "teacher embeds pictures") for view in range(views)
    ]
    texts = Table("texts", len(captions), lambda rows: _text_shard(teacher, captions, rows), "teacher embeds texts")
    return [*pictures, texts]


def write_cache(
    pairs: Pairs,
    teacher: Teacher,
    folder: Path,
    pictures: np.ndarray,
    texts: np.ndarray,
    source: TeacherCache,
    max_pixels: int = MAX_PIXELS,
) -> None:
    """Write the one-view cache of a teacher whose embeddings are at hand already (its towers ran elsewhere).

    Args:
        pairs: all splits.
        teacher: whose cache it becomes.
        folder: parent of all caches.
        pictures: its unit vectors [n, d].
        texts: its unit vectors of all captions in order.
        source: the cache that they were computed from: the same pictures are left out, for the same reasons.
        max_pixels: as in `teacher_cache`.
    """
    home = folder / cache_key(pairs, teacher, 1, max_pixels)

    def picture_part(rows: range) -> Shard:
        part = slice(rows.start, rows.stop)
        columns = {"embedding": pictures[part], "usable": source.usable[part].astype(np.uint8)}
        return columns, read_notes(shard_file(source.folder, "pictures-0", rows.start))

    def text_part(rows: range) -> Shard:
        return {"embedding": texts[rows.start : rows.stop]}, {}

    label = "writing the teacher cache"
    fill(home, [Table("pictures-0", len(pictures), picture_part, label), Table("texts", len(texts), text_part, label)])


def text_embeddings(teacher: Teacher, texts: list[str], folder: Path, what: str) -> np.ndarray:
    """Return the teacher's unit vectors [len(texts), d] of texts that belong to no picture.

    Args:
        teacher: frozen.
        texts: at least one.
        folder: parent of all caches.
        what: names the texts on the progress line.
    """
    home = folder / sha256_text(SCHEMA, str(SHARD_ROWS), teacher.fingerprint, "texts", *texts)[:32]
    fill(home, [Table("texts", len(texts), lambda rows: _text_shard(teacher, texts, rows), f"teacher embeds {what}")])
    return np.concatenate(_columns(home, "texts", "embedding", len(texts)))


def _picture_shard(pairs: Pairs, teacher: Teacher, rows: range, view: int, max_pixels: int) -> Shard:
    """Embed one view of some pictures; the header keeps why some are not usable, so that a killed run still knows."""
    left_out: dict[str, str] = {}
    embedding = np.zeros((len(rows), teacher.embed_dim), dtype=np.float32)
    usable = np.zeros(len(rows), dtype=np.uint8)
    for batch in _batches(rows):
        pictures = {
            row - rows.start: augment(picture, (view, row)) if view else picture
            for row, _, picture in usable_pictures(pairs, batch, max_pixels, left_out)
        }
        if pictures:
            embedding[list(pictures)] = teacher.embed_pictures(list(pictures.values())).numpy()
            usable[list(pictures)] = 1
    return {"embedding": embedding, "usable": usable}, {"bad": json.dumps(left_out)}


def _text_shard(teacher: Teacher, captions: list[str], rows: range) -> Shard:
    parts = [teacher.embed_texts([captions[row] for row in batch]).numpy() for batch in _batches(rows)]
    return {"embedding": np.concatenate(parts).astype(np.float32)}, {}


def _batches(rows: range) -> Iterator[range]:
    for start in range(rows.start, rows.stop, BATCH_ROWS):
        yield range(start, min(start + BATCH_ROWS, rows.stop))


def fill(home: Path, tables: Sequence[Table], part: int = 1, parts: int = 1) -> int:
    """Write the shards of tables that are not there yet, each atomically; returns how many.

    Args:
        home: folder of the cache.
        tables: all of it.
        part: 1 .. parts: only every so-manyth shard, counted over all tables, is this call's.
        parts: that share the work; a shard's bytes are the same whoever writes it.
    """
    from safetensors.numpy import save_file

    written = number = 0
    for table in tables:
        mine = [start for shard, start in enumerate(table.starts(), number) if shard % parts == part - 1]
        number += len(table.starts())
        missing = [start for start in mine if not shard_file(home, table.name, start).exists()]
        for start in track(missing, table.label):
            with torch.inference_mode():
                columns, notes = table.compute(range(start, min(start + SHARD_ROWS, table.rows)))
            with atomic_file(shard_file(home, table.name, start)) as temporary:
                save_file(columns, temporary, notes)
            written += 1
    return written


def shard_file(home: Path, name: str, start: int) -> Path:
    """Return the file of the shard of a table that begins at a row."""
    return home / f"{name}-{start // SHARD_ROWS:05d}.safetensors"


def _columns(home: Path, name: str, tensor: str, count: int, dimensions: int = 2) -> list[np.ndarray]:
    """Return one column of all shards, each memory-mapped."""
    parts: list[np.ndarray] = []
    for start in range(0, count, SHARD_ROWS):
        file = shard_file(home, name, start)
        part = map_tensor(file, tensor)
        rows = min(SHARD_ROWS, count - start)
        if part.ndim != dimensions or len(part) != rows or part.shape[1:] != (parts or [part])[0].shape[1:]:
            raise damaged(file)
        parts.append(part)
    return parts


def _reasons(home: Path, count: int) -> list[str]:
    """Return "key: reason" of every picture that was left out."""
    found: list[str] = []
    for start in range(0, count, SHARD_ROWS):
        file = shard_file(home, "pictures-0", start)
        try:
            found += [f"{key}: {reason}" for key, reason in json.loads(read_notes(file).get("bad", "{}")).items()]
        except (ValueError, AttributeError, TypeError, RecursionError):
            raise damaged(file) from None
    return found

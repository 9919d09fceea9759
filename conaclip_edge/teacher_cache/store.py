"""The teacher's embeddings of a whole data set, computed once and memory-mapped ever after."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import AUGMENTATION
from conaclip_edge.data.usable import check_left_out
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.system.files import atomic_file, sha256_text
from conaclip_edge.system.progress import track
from conaclip_edge.teacher_cache.safetensors_mmap import damaged, map_tensor, read_notes
from conaclip_edge.teacher_cache.shards import Shard, picture_shards, text_shards
from conaclip_edge.teacher_cache.share import own_share, wait_for_all
from conaclip_edge.teacher_cache.vectors import ShardVectors, Vectors

SHARD_ROWS = 512
MAX_PIXELS = 64_000_000
SCHEMA = "conaclip-edge/embeddings/2"


@dataclass(frozen=True)
class Table:
    """Rows of a cache that are kept in shards.

    Attributes:
        name: of the shards.
        rows: how many.
        compute: gives the columns of ranges of rows, one after the other.
        label: names the work on the progress line.
    """

    name: str
    rows: int
    compute: Callable[[Sequence[range]], Iterator[Shard]]
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
        vectors: the embeddings.
    """

    folder: Path
    views: int
    usable: np.ndarray
    first_text: np.ndarray
    bad: list[str]
    vectors: Vectors

    def pictures(self, rows: np.ndarray, views: np.ndarray | int = 0) -> np.ndarray:
        """Return the teacher's unit vectors [len(rows), d] of pictures, each of its view."""
        return self.vectors.pictures(rows, views)

    def texts(self, rows: np.ndarray) -> np.ndarray:
        """Return the teacher's unit vectors [len(rows), d] of texts, counted over all captions in order."""
        return self.vectors.texts(rows)


def cache_key(pairs: Pairs, teacher: Teacher, views: int, max_pixels: int = MAX_PIXELS) -> str:
    """Name a cache by everything its content depends on."""
    parts = (pairs.content, teacher.answers, str(views), str(max_pixels), AUGMENTATION)
    return sha256_text(SCHEMA, str(SHARD_ROWS), *parts)[:32]


def teacher_cache(
    pairs: Pairs,
    teacher: Teacher,
    folder: Path,
    views: int = 1,
    max_bad: float = 0.01,
    max_pixels: int = MAX_PIXELS,
    workers: int = 0,
) -> TeacherCache:
    """Open the cache of a data set and teacher, computing what is missing; a killed run goes on at its last shard.

    Of several processes that train together, each computes its share.

    Args:
        pairs: all splits.
        teacher: frozen.
        folder: parent of all caches.
        views: augmentations per picture; 1 means the plain picture only.
        max_bad: share of undecodable pictures above which the data set is refused.
        max_pixels: a larger picture counts as undecodable and is never decoded.
        workers: processes that prepare pictures ahead of the teacher, at most.
    """
    home = folder / cache_key(pairs, teacher, views, max_pixels)
    first_text = np.concatenate([[0], np.cumsum([len(texts) for texts in pairs.captions])])
    fill_together(home, cache_tables(pairs, teacher, views, max_pixels, workers))
    usable = np.concatenate([part.astype(bool) for part in _columns(home, "pictures-0", "usable", len(pairs), 1)])
    bad = [*pairs.skipped, *_reasons(home, len(pairs))]
    check_left_out(bad, len(pairs) + len(pairs.skipped), max_bad, pairs.name)
    pictures = [_columns(home, f"pictures-{view}", "embedding", len(pairs)) for view in range(views)]
    texts = _columns(home, "texts", "embedding", int(first_text[-1]))
    return TeacherCache(home, views, usable, first_text, bad, ShardVectors(pictures, texts))


def cache_tables(
    pairs: Pairs, teacher: Teacher, views: int, max_pixels: int = MAX_PIXELS, workers: int = 0
) -> list[Table]:
    """Return the tables of a cache: every view of the pictures, then the captions in order."""
    captions = [text for texts in pairs.captions for text in texts]
    pictures = [
        Table(
            f"pictures-{view}",
            len(pairs),
            partial(picture_shards, pairs, teacher, view, max_pixels, workers),
            "teacher embeds pictures",
        )
        for view in range(views)
    ]
    return [*pictures, Table("texts", len(captions), partial(text_shards, teacher, captions), "teacher embeds texts")]


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

    def picture_parts(shards: Sequence[range]) -> Iterator[Shard]:
        for rows in shards:
            part = slice(rows.start, rows.stop)
            columns = {"embedding": pictures[part], "usable": source.usable[part].astype(np.uint8)}
            yield columns, read_notes(shard_file(source.folder, "pictures-0", rows.start))

    def text_parts(shards: Sequence[range]) -> Iterator[Shard]:
        yield from (({"embedding": texts[rows.start : rows.stop]}, {}) for rows in shards)

    label = "writing the teacher cache"
    fill(
        home,
        [Table("pictures-0", len(pictures), picture_parts, label), Table("texts", len(texts), text_parts, label)],
    )


def text_embeddings(teacher: Teacher, texts: list[str], folder: Path, what: str) -> np.ndarray:
    """Return the teacher's unit vectors [len(texts), d] of texts that belong to no picture.

    Args:
        teacher: frozen.
        texts: at least one.
        folder: parent of all caches.
        what: names the texts on the progress line.
    """
    home = folder / sha256_text(SCHEMA, str(SHARD_ROWS), teacher.answers, "texts", *texts)[:32]
    table = Table("texts", len(texts), partial(text_shards, teacher, texts), f"teacher embeds {what}")
    fill_together(home, [table])
    return np.concatenate(_columns(home, "texts", "embedding", len(texts)))


def fill_together(home: Path, tables: Sequence[Table]) -> None:
    """Write the shards that are not there yet; of several processes that train together, each its share of them."""
    share = own_share()
    fill(home, tables, share.part, share.parts)
    wait_for_all()


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
        if not missing:
            continue
        ranges = [range(start, min(start + SHARD_ROWS, table.rows)) for start in missing]
        with torch.inference_mode():
            made = table.compute(ranges)
            for start in track(missing, table.label):
                columns, notes = next(made)
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

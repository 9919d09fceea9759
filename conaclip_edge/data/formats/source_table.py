"""The index of a source: its rows in a memory-mapped Arrow file, grouped by picture.

Captions, keys and places stay in the file; what is kept in memory is a few numbers a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.formats.source_row import Row
from conaclip_edge.data.formats.splits import fill_splits
from conaclip_edge.data.pairs import SPLITS, Pairs
from conaclip_edge.errors import UserError
from conaclip_edge.system.files import atomic_file

T = TypeVar("T")

SCHEMA = pa.schema(
    {
        "picture": pa.string(),
        "key": pa.string(),
        "captions": pa.list_(pa.string()),
        "split": pa.string(),
        "file": pa.string(),
        "start": pa.int64(),
        "length": pa.int64(),
        "problem": pa.string(),
    }
)
ROWS_A_BATCH = 4096


@dataclass(frozen=True)
class Place:
    """Where the bytes of a picture are (see `Row`)."""

    file: str
    start: int
    length: int


@dataclass(frozen=True)
class Lazy(Sequence[T]):
    """A sequence whose items are made when asked for, so that they are never all in memory."""

    size: int
    make: Callable[[int], T]

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, position: int) -> T: ...
    @overload
    def __getitem__(self, position: slice) -> list[T]: ...
    def __getitem__(self, position: int | slice) -> T | list[T]:
        chosen = range(self.size)[position]
        return [self.make(each) for each in chosen] if isinstance(chosen, range) else self.make(chosen)


@dataclass(frozen=True)
class Index:
    """The pictures of a source, in the order in which it first mentions them.

    Attributes:
        table: one line a row of the source, by SCHEMA.
        rows: positions in `table`, those of one picture side by side.
        starts: [n] first position in `rows` of each picture.
        ends: [n] the position after its last one.
    """

    table: pa.Table
    rows: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    def column(self, name: str) -> Lazy[Any]:
        """Return a column of the first row of each picture."""
        values, first = self.table[name], self.rows[self.starts]
        return Lazy(len(first), lambda i: values[int(first[i])].as_py())

    def captions(self) -> Lazy[tuple[str, ...]]:
        """Return the captions of each picture, from all its rows."""
        values = self.table["captions"]

        def of_picture(i: int) -> tuple[str, ...]:
            rows = self.rows[self.starts[i] : self.ends[i]]
            return tuple(text for row in rows for text in values[int(row)].as_py())

        return Lazy(len(self.starts), of_picture)

    def splits(self) -> np.ndarray:
        """Return the split [n] that the source gives each picture."""
        ranks = _split_ranks(self.table)[self.rows[self.starts]]
        return np.asarray(np.array(SPLITS)[ranks])

    def place(self, i: int) -> Place:
        """Return where the bytes of picture i are."""
        row = int(self.rows[self.starts[i]])
        return Place(*(self.table[name][row].as_py() for name in ("file", "start", "length")))

    def without(self, absent: np.ndarray) -> Index:
        """Return the index without the pictures marked in `absent` [n]."""
        return Index(self.table, self.rows, self.starts[~absent], self.ends[~absent])

    def skipped(self) -> list[str]:
        """Return "key: problem" of the rows that have no picture."""
        keys, problems = self.table["key"], self.table["problem"]
        return [f"{keys[int(row)]}: {problems[int(row)]}" for row in np.flatnonzero(~_usable(self.table))]


def open_index(path: Path, source: Path, rows: Callable[[], Iterable[Row]]) -> Index:
    """Open the index of a source that has one table; see `open_table`."""
    return grouped(open_table(path, source, rows))


def open_table(path: Path, source: Path, rows: Callable[[], Iterable[Row]]) -> pa.Table:
    """Memory-map the table at `path`; where there is none yet, write it first.

    Args:
        path: an Arrow file, in a folder that is another one when the source has changed.
        source: what it lists the rows of, for errors.
        rows: reads the source.
    """
    if not path.exists():
        with atomic_file(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
            _write(sink, iter(rows()))
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"cannot read {path}, the index of {source}: {error}. Delete it; it is made anew.") from error


def to_pairs(
    index: Index,
    config: DataConfig,
    source: Path,
    read: Callable[[Place], bytes],
    stamp: str,
    missing: Sequence[str] = (),
) -> Pairs:
    """Make a data set of an index.

    Args:
        index: the pictures.
        config: gives the format, and the fractions of splits that the source lacks.
        source: its last part names the data set.
        read: reads the bytes at a place.
        stamp: identifies the content of the pictures.
        missing: pictures that were left out of `index`, as "key: reason".
    """
    keys = index.column("key")
    return Pairs(
        name=f"{config.format}:{source.name}",
        keys=keys,
        captions=index.captions(),
        splits=fill_splits(index.splits(), keys, config),  # type: ignore[arg-type]  # an array of texts is a sequence
        read=lambda i: read(index.place(i)),
        stamp=stamp,
        skipped=[*index.skipped(), *missing],
    )


def _write(sink: pa.NativeFile, rows: Iterator[Row]) -> None:
    with pa.ipc.new_file(sink, SCHEMA) as writer:
        while batch := list(islice(rows, ROWS_A_BATCH)):
            columns = zip(*batch, strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))


def _usable(table: pa.Table) -> np.ndarray:
    return np.asarray(pc.equal(table["problem"], ""))


def _split_ranks(table: pa.Table) -> np.ndarray:
    return np.asarray(pc.index_in(table["split"], value_set=pa.array(SPLITS)))


def grouped(table: pa.Table) -> Index:
    """Group the usable rows by picture.

    Of a picture in several splits only the rows of the last one (train, val, test) count, so that no picture is both
    trained on and tested on.
    """
    codes = table["picture"].dictionary_encode().combine_chunks().indices.to_numpy().copy()
    pa.default_memory_pool().release_unused()  # the dictionary was as large as the column
    ranks = _split_ranks(table)
    rows = np.flatnonzero(_usable(table))
    last = np.zeros(len(codes), dtype=ranks.dtype)
    np.maximum.at(last, codes[rows], ranks[rows])
    rows = rows[ranks[rows] == last[codes[rows]]]
    rows = rows[np.argsort(codes[rows], kind="stable")]
    starts = np.unique(codes[rows], return_index=True)[1]
    return Index(table, rows, starts, np.append(starts[1:], len(rows))[: len(starts)])

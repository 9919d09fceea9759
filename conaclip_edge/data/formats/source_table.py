"""The index of a source: its rows, grouped by picture.

The rows are in a memory-mapped Arrow file, so that what is kept in memory is a few numbers per picture. Where pyarrow,
which comes with the extra train, is not installed, they are read into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any, Protocol, TypeVar, overload

import numpy as np

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.formats.splits import fill_splits
from conaclip_edge.data.pairs import SPLITS, Pairs
from conaclip_edge.data.rows.source_row import Row

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Where the bytes of a picture are (see `Row`)."""

    file: str
    start: int
    length: int


class Table(Protocol):
    """The rows of a source, in its order."""

    def column(self, name: str) -> Callable[[int], Any]:
        """Return a function that gives a field of a row by the row's position."""
        ...

    def pictures(self) -> np.ndarray:
        """Return a number [rows] that rows of one picture share; pictures are counted as the source mentions them."""
        ...

    def splits(self) -> np.ndarray:
        """Return the position [rows] of each row's split in SPLITS."""
        ...

    def usable(self) -> np.ndarray:
        """Return whether a row has a picture [rows]."""
        ...

    def captioned(self) -> np.ndarray:
        """Return whether a row has a caption [rows]."""
        ...


@dataclass(frozen=True)
class RowList:
    """A table in memory."""

    rows: Sequence[Row]

    def column(self, name: str) -> Callable[[int], Any]:
        """Return a function that gives a field of a row by the row's position."""
        return lambda row: getattr(self.rows[row], name)

    def pictures(self) -> np.ndarray:
        """Return a number [rows] that rows of one picture share."""
        codes: dict[str, int] = {}
        return np.array([codes.setdefault(row.picture, len(codes)) for row in self.rows], dtype=np.int32)

    def splits(self) -> np.ndarray:
        """Return the position [rows] of each row's split in SPLITS."""
        return np.array([SPLITS.index(row.split) for row in self.rows], dtype=np.int32)

    def usable(self) -> np.ndarray:
        """Return whether a row has a picture [rows]."""
        return np.array([not row.problem for row in self.rows], dtype=bool)

    def captioned(self) -> np.ndarray:
        """Return whether a row has a caption [rows]."""
        return np.array([bool(row.captions) for row in self.rows], dtype=bool)


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
        table: the rows of the source.
        rows: positions in `table`, those of one picture side by side.
        starts: [n] first position in `rows` of each picture.
        ends: [n] the position after its last one.
    """

    table: Table
    rows: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    def column(self, name: str) -> Lazy[Any]:
        """Return a column of the first row of each picture."""
        value, first = self.table.column(name), self.rows[self.starts]
        return Lazy(len(first), lambda i: value(int(first[i])))

    def captions(self) -> Lazy[tuple[str, ...]]:
        """Return the captions of each picture, from all its rows."""
        captions = self.table.column("captions")

        def of_picture(i: int) -> tuple[str, ...]:
            rows = self.rows[self.starts[i] : self.ends[i]]
            return tuple(text for row in rows for text in captions(int(row)))

        return Lazy(len(self.starts), of_picture)

    def splits(self) -> np.ndarray:
        """Return the split [n] that the source gives each picture."""
        ranks = self.table.splits()[self.rows[self.starts]]
        return np.asarray(np.array(SPLITS)[ranks])

    def captioned(self) -> np.ndarray:
        """Return whether a picture has a caption [n]."""
        count = np.concatenate([[0], np.cumsum(self.table.captioned()[self.rows])])
        return np.asarray(count[self.ends] > count[self.starts])

    def place(self, i: int) -> Place:
        """Return where the bytes of picture i are."""
        row = int(self.rows[self.starts[i]])
        return Place(*(self.table.column(name)(row) for name in ("file", "start", "length")))

    def without(self, absent: np.ndarray) -> Index:
        """Return the index without the pictures marked in `absent` [n]."""
        return Index(self.table, self.rows, self.starts[~absent], self.ends[~absent])

    def skipped(self) -> list[str]:
        """Return "key: problem" of the rows that have no picture."""
        key, problem = self.table.column("key"), self.table.column("problem")
        return [f"{key(int(row))}: {problem(int(row))}" for row in np.flatnonzero(~self.table.usable())]


def open_index(path: Path, source: Path, rows: Callable[[], Iterable[Row]]) -> Index:
    """Open the index of a source that has one table.

    Args:
        path: an Arrow file, in a folder that is another one when the source has changed; written where there is none.
        source: what it lists the rows of, for errors.
        rows: reads the source.
    """
    if find_spec("pyarrow") is None:
        return grouped(RowList(list(rows())))
    from conaclip_edge.data.formats.arrow_file import ArrowRows, open_table

    return grouped(ArrowRows(open_table(path, source, rows)))


def to_pairs(
    index: Index,
    config: DataConfig,
    source: PurePath,
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
        splits=fill_splits(index.splits(), keys, config, index.captioned()),  # type: ignore[arg-type]  # an array of texts is a sequence
        read=lambda i: read(index.place(i)),
        stamp=stamp,
        skipped=[*index.skipped(), *missing],
    )


def grouped(table: Table) -> Index:
    """Group the usable rows by picture.

    Of a picture in several splits only the rows of the last one (train, val, test) count, so that no picture is both
    trained on and tested on.
    """
    codes, ranks = table.pictures(), table.splits()
    rows = np.flatnonzero(table.usable())
    last = np.zeros(len(codes), dtype=ranks.dtype)
    np.maximum.at(last, codes[rows], ranks[rows])
    rows = rows[ranks[rows] == last[codes[rows]]]
    rows = rows[np.argsort(codes[rows], kind="stable")]
    starts = np.unique(codes[rows], return_index=True)[1]
    return Index(table, rows, starts, np.append(starts[1:], len(rows))[: len(starts)])

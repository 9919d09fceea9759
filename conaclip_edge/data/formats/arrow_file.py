"""The rows of a source in a memory-mapped Arrow file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from conaclip_edge.data.pairs import SPLITS
from conaclip_edge.data.rows.source_row import Row
from conaclip_edge.errors import UserError
from conaclip_edge.system.files import atomic_file

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
ROWS_PER_BATCH = 4096


@dataclass(frozen=True)
class ArrowRows:
    """A table of SCHEMA, one line per row of the source; see `source_table.Table`."""

    table: pa.Table

    def column(self, name: str) -> Callable[[int], Any]:
        """Return a function that gives a field of a row by the row's position."""
        values = self.table[name]
        return lambda row: values[row].as_py()

    def pictures(self) -> np.ndarray:
        """Return a number [rows] that rows of one picture share."""
        codes = self.table["picture"].dictionary_encode().combine_chunks().indices.to_numpy().copy()
        pa.default_memory_pool().release_unused()  # the dictionary was as large as the column
        return np.asarray(codes)

    def splits(self) -> np.ndarray:
        """Return the position [rows] of each row's split in SPLITS."""
        return np.asarray(pc.index_in(self.table["split"], value_set=pa.array(SPLITS)))

    def usable(self) -> np.ndarray:
        """Return whether a row has a picture [rows]."""
        return np.asarray(pc.equal(self.table["problem"], ""))

    def captioned(self) -> np.ndarray:
        """Return whether a row has a caption [rows]."""
        return np.asarray(pc.greater(pc.list_value_length(self.table["captions"]), 0))


def open_table(path: Path, source: PurePath, rows: Callable[[], Iterable[Row]]) -> pa.Table:
    """Memory-map the table at `path`; where there is none yet, write it first.

    Args:
        path: an Arrow file, in a folder that is another one when the source has changed.
        source: what it lists the rows of, for errors.
        rows: reads the source.

    Raises:
        UserError: the file is damaged.
    """
    if not path.exists():
        with atomic_file(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
            _write(sink, iter(rows()))
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"cannot read {path}, the index of {source}: {error}. Delete it; it is made again.") from error


def _write(sink: pa.NativeFile, rows: Iterator[Row]) -> None:
    with pa.ipc.new_file(sink, SCHEMA) as writer:
        while batch := list(islice(rows, ROWS_PER_BATCH)):
            columns = zip(*batch, strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))

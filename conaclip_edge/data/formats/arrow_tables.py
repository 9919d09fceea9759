"""Tables that hold the pictures themselves, brought by the datasets library into memory-mapped Arrow files."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets.data_files import DataFilesList

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.formats.source_files import reading
from conaclip_edge.data.formats.source_table import Place, open_index, to_pairs
from conaclip_edge.data.formats.splits import split_named, split_of_table
from conaclip_edge.data.pairs import SPLITS, Pairs
from conaclip_edge.data.rows.caption_columns import captions_in
from conaclip_edge.data.rows.source_row import BadRow, Row, bad_row, content_row
from conaclip_edge.system.files import sha256_text

ROWS_A_BATCH = 64


def load_tables(builder: str, folder: Path, files: Sequence[Path], cache: Path, **options: Any) -> dict[str, pa.Table]:
    """Load files below `folder` with a builder of the datasets library, and return a memory-mapped table a split.

    Nothing is fetched from anywhere, and no picture is decoded. The Arrow files are kept in `cache`.
    """
    split_of = {file: split_of_table(file.relative_to(folder)) for file in files}
    chosen = {split: [str(file) for file in files if split_of[file] == split] for split in SPLITS}
    # a DataFilesList is taken as it is; plain names would be taken as patterns
    data_files = {split: DataFilesList(names, [(cache.name,)]) for split, names in chosen.items() if names}
    with _quiet_and_offline(), reading(folder):
        loaded = datasets.load_dataset(builder, data_files=data_files, cache_dir=str(cache), **options)
    return {split: table.data.table for split, table in loaded.items()}


def table_pairs(
    config: DataConfig, path: Path, cache: Path, tables: dict[str, pa.Table], columns: Sequence[str]
) -> Pairs:
    """Make a data set of tables.

    Keys are the picture's name, where it has one, and the start of the hash of its bytes; equal bytes are one picture.
    The stamp covers the bytes of all pictures.

    Args:
        config: the data section.
        path: of the source.
        cache: folder for the index.
        tables: a table a split.
        columns: those that may hold a picture, as bytes or {bytes, path}; a row's first one counts.
    """
    pictures = {name: _filled(table, columns) for name, table in tables.items()}
    index = open_index(cache / "index.arrow", path, lambda: _rows(path, tables, columns))

    def read(place: Place) -> bytes:
        data, _ = _picture(pictures[place.file], place.start)
        return bytes(data)

    return to_pairs(index, config, path, read, sha256_text(*index.column("picture")))


def _rows(path: Path, tables: dict[str, pa.Table], columns: Sequence[str]) -> Iterator[Row]:
    for name, table in tables.items():
        others = [column for column in table.column_names if column not in columns]
        for start in range(0, len(table), ROWS_A_BATCH):
            batch = table.slice(start, ROWS_A_BATCH)
            pictures = _filled(batch, columns)
            for i, row in enumerate(batch.select(others).to_pylist()):
                where = f"{path}, {name} row {start + i}"
                split = split_named(str(row["split"]), where) if row.get("split") else name
                data, file_name = _picture(pictures, i)
                if data is None:
                    yield bad_row(file_name or where, "has no picture bytes", split)
                    continue
                try:
                    yield content_row(data, file_name, captions_in(row), split, name, start + i)
                except BadRow as error:
                    yield bad_row(where, str(error), split)


def _filled(table: pa.Table, columns: Sequence[str]) -> list[pa.ChunkedArray]:
    """Return the columns that hold anything."""
    return [table[column] for column in columns if table[column].null_count < len(table)]


def _picture(columns: Sequence[pa.ChunkedArray], row: int) -> tuple[Any, str]:
    """Return the bytes (a buffer; None if there are none) and the file name (or "") of the picture in a row."""
    name = ""
    for column in columns:
        value = column[row]
        if isinstance(value, pa.StructScalar) and value.is_valid:
            name = (dict(value).get("path", pa.NULL).as_py() or "").rsplit("/", 1)[-1]
            value = value["bytes"]
        if value.is_valid and (data := value.as_buffer()):
            return data, name
    return None, name


@contextmanager
def _quiet_and_offline() -> Iterator[None]:
    """Keep the datasets library from using a network, from logging, and from drawing progress bars in a log file."""
    offline, verbosity = datasets.config.HF_HUB_OFFLINE, datasets.logging.get_verbosity()
    hide_bars = not sys.stderr.isatty() and not datasets.are_progress_bars_disabled()
    datasets.config.HF_HUB_OFFLINE = True
    datasets.logging.set_verbosity(logging.CRITICAL)
    if hide_bars:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = offline
        datasets.logging.set_verbosity(verbosity)
        if hide_bars:
            datasets.enable_progress_bars()

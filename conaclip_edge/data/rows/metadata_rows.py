"""The rows of a table that names picture files: JSON lines, CSV, tabs or Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from conaclip_edge.config.data_formats import FILE_NAME_COLUMNS
from conaclip_edge.data.rows.source_row import BadRow, utf8
from conaclip_edge.errors import UserError

TableRow = dict[str, Any]


def table_rows(file: Path) -> Iterator[tuple[str, TableRow | BadRow]]:
    """Yield (where, row) of a table, row by row; one that cannot be read is what is wrong with it.

    Raises:
        UserError: the rows cannot be told apart from here on (quotes that do not end, no table at all).
    """
    readers = {".csv": _separated, ".tsv": _separated, ".parquet": _parquet}
    yield from readers.get(file.suffix.lower(), _json_lines)(file)


def columns_of(file: Path) -> list[str]:
    """Return the columns of a table, by its header or its first row that can be read; [] if it has none."""
    try:
        return next((list(map(str, row)) for _, row in table_rows(file) if not isinstance(row, BadRow)), [])
    except (OSError, ValueError, UserError, csv.Error):
        return []


def file_name_in(row: Mapping[str, Any]) -> object:
    """Return what a row has in the first of the usual columns of a picture file's name that it has; None if none."""
    lower = {name.strip().lower(): value for name, value in row.items() if isinstance(name, str)}
    return next((lower[name] for name in FILE_NAME_COLUMNS if lower.get(name)), None)


def _json_lines(file: Path) -> Iterator[tuple[str, TableRow | BadRow]]:
    with open(file, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{file} line {number}"
            try:
                row = json.loads(utf8(line))
            except BadRow as error:
                yield where, error
            except (ValueError, RecursionError) as error:
                yield where, BadRow(f"is not JSON: {error}. Every line must be an object")
            else:
                kind = type(row).__name__
                yield where, row if isinstance(row, dict) else BadRow(f"is a {kind}. Every line must be an object")


def _separated(file: Path) -> Iterator[tuple[str, TableRow | BadRow]]:
    separator = "\t" if file.suffix.lower() == ".tsv" else ","
    # bytes that are not UTF-8 become surrogates, which tell the rows that hold them
    with open(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        rows = csv.DictReader(lines, strict=True, delimiter=separator)
        for row in rows:
            where = f"{file} line {rows.line_num}"
            if None in row:
                yield where, BadRow("has more fields than the header. Put texts that hold commas in quotes")
                continue
            try:
                for value in row.values():
                    utf8((value or "").encode("utf-8", "surrogateescape"))
            except BadRow as error:
                yield where, error
            else:
                yield where, row


def _parquet(file: Path) -> Iterator[tuple[str, TableRow | BadRow]]:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError(f"{file} needs pyarrow. Get it: pip install 'conaclip-edge[train]'") from None
    number = 0
    for batch in pq.ParquetFile(file).iter_batches(4096):
        for row in batch.to_pylist():
            yield f"{file} row {number}", row
            number += 1

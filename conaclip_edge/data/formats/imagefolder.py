"""Format imagefolder: a folder of pictures with metadata.jsonl or metadata.csv files that name and caption them.

A row has `file_name` (relative to its metadata file) and `captions`, `caption` or `text`. Splits come from a `split`
column, or from folders named train, validation (val, valid, dev) and test.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.formats.picture_files import file_pairs, inside
from conaclip_edge.data.formats.source_files import cache_folder, data_files, data_path, reading
from conaclip_edge.data.formats.source_row import Row, captions_in, file_row
from conaclip_edge.data.formats.source_table import open_index
from conaclip_edge.data.formats.splits import split_named, split_of_folder
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.errors import UserError


def read(config: DataConfig) -> Pairs:
    """Read a folder of pictures with captions; keys are paths relative to it.

    The metadata is read line by line into an index rather than by the datasets library, whose type inference turns
    captions such as "007", "NA" and "2020-01-01" into other values.
    """
    path = data_path(config)
    folder, files = data_files(path, "metadata.jsonl", "metadata.csv")
    if len({file.suffix for file in files}) > 1:
        raise UserError(f"{path} holds both metadata.jsonl and metadata.csv. Remove one kind.")
    cache = cache_folder(config, folder, files)
    index = open_index(cache / "index.arrow", path, lambda: _rows(folder, files))
    return file_pairs(index, config, path, folder)


def _rows(folder: Path, files: list[Path]) -> Iterator[Row]:
    for file in files:
        base = PurePosixPath(file.parent.relative_to(folder).as_posix())
        with reading(file):
            for where, row in _csv(file) if file.suffix == ".csv" else _json_lines(file):
                name = (base / inside(row.get("file_name"), f"{where} ('file_name')")).as_posix()
                split = row.get("split")
                split = split_named(str(split), where) if split else split_of_folder(PurePosixPath(name))
                yield file_row(name, captions_in(row, where), split)


def _json_lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with open(file, encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{file} line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(f"{where} is not JSON: {error}. Every line must be an object.") from error
            if not isinstance(row, dict):
                raise UserError(f"{where} is a {type(row).__name__}. Every line must be an object.")
            yield where, row


def _csv(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with open(file, encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines, strict=True)
        for row in rows:
            where = f"{file} line {rows.line_num}"
            if None in row:
                raise UserError(f"{where} has more fields than the header. Put texts that hold commas in quotes.")
            yield where, row

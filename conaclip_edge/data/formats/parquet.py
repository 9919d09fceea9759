"""Format parquet: files with pictures in a column `image` ({bytes, path} or bytes) or `bytes`, and captions.

Captions are in the columns of `caption_columns`, splits in a `split` column or in the files' names.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.formats.arrow_tables import ROWS_A_BATCH, load_tables, table_pairs
from conaclip_edge.data.formats.remote_files import local_copy
from conaclip_edge.data.formats.source_files import cache_folder, data_files, data_path, reading
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.rows.caption_columns import CAPTION_COLUMNS, caption_columns, say_columns
from conaclip_edge.errors import UserError
from conaclip_edge.system.progress import say

PICTURE_COLUMNS = ("image", "bytes")


def read(config: DataConfig) -> Pairs:
    """Read one Parquet file or a folder of them, of a URL a copy; see `table_pairs` for keys and stamp."""
    path = data_path(config) if config.url is None else local_copy(config)
    folder, files = data_files(path, "*.parquet")
    files = [file for file in files if _rows(file)]
    if not files:
        raise UserError(f"no picture in {path}: no Parquet file there has a row.")
    schema = pq.read_schema(files[0])
    pictures = [name for name in PICTURE_COLUMNS if name in schema.names and _holds_bytes(schema.field(name).type)]
    captions = [name for group in caption_columns(schema.names) for name in group]
    known = ", ".join(f"{field.name} ({field.type})" for field in schema)[:300]
    if not pictures:
        raise UserError(f"{files[0]} has no column of pictures: {' or '.join(PICTURE_COLUMNS)}. It has: {known}.")
    if not captions:
        say(f"data: {files[0]} has no column of captions ({', '.join(CAPTION_COLUMNS)}). It has: {known}.")
    say_columns(path, schema.names)
    columns = [*pictures, *captions, *(name for name in schema.names if name == "split")]
    cache = cache_folder(config, folder, files)
    # by itself the library takes batches as large as the first row group
    tables = load_tables("parquet", folder, files, cache, columns=columns, batch_size=ROWS_A_BATCH)
    return table_pairs(config, path, cache, tables, pictures)


def _rows(file: Path) -> int:
    with reading(file):
        return int(pq.read_metadata(file).num_rows)


def _holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column holds pictures: bytes, or the datasets library's {bytes, path}."""
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_bytes(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

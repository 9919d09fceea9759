"""Format easynlp: tables of EasyNLP, a line `text <TAB> base64 of the picture` each."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.formats.picture_files import read_bytes
from conaclip_edge.data.formats.source_files import cache_folder, data_files, data_path, reading
from conaclip_edge.data.formats.source_table import Place, open_index, to_pairs
from conaclip_edge.data.formats.splits import split_of_table
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.rows.source_row import BadRow, Row, bad_row, clean, content_row, utf8
from conaclip_edge.system.files import sha256_text


def read(config: DataConfig) -> Pairs:
    """Read one table or a folder of them (train.tsv, valid.tsv or dev.tsv, test.tsv).

    Of a picture only the place of its text in the table is kept. Keys are hashes of the bytes, and equal bytes are one
    picture. The stamp covers the bytes of all pictures.
    """
    path = data_path(config)
    folder, files = data_files(path, "*.tsv")
    cache = cache_folder(config, folder, files)
    index = open_index(cache / "index.arrow", path, lambda: _rows(folder, files))

    def picture(place: Place) -> bytes:
        return _decode(read_bytes(folder, place))

    return to_pairs(index, config, path, picture, sha256_text(*index.column("picture")))


def _rows(folder: Path, files: list[Path]) -> Iterator[Row]:
    for file in files:
        relative = file.relative_to(folder)
        split = split_of_table(relative)
        with reading(file), open(file, "rb") as lines:
            start = 0
            for number, line in enumerate(lines, 1):
                where = f"{relative.as_posix()} line {number}"
                caption, tab, text = line.rstrip(b"\r\n").partition(b"\t")
                if not tab or b"\t" in text:
                    yield bad_row(where, "must be text <TAB> base64 of the picture", split)
                else:
                    place = relative.as_posix(), start + len(caption) + 1, len(text)
                    try:
                        yield content_row(_decode(text), "", clean([utf8(caption)]), split, *place)
                    except (binascii.Error, BadRow) as error:
                        what = f"its text {error}" if isinstance(error, BadRow) else f"is not base64 ({error})"
                        yield bad_row(where, what, split)
                start += len(line)


def _decode(text: bytes) -> bytes:
    """Decode standard or URL-safe base64, with or without its padding."""
    text = text.rstrip(b"= ").translate(bytes.maketrans(b"-_", b"+/"))
    return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)

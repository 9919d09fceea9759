"""Format webdataset: tar shards as img2dataset writes them, with key.jpg, key.txt and key.json for each picture.

Nothing is unpacked or copied: an index a shard says where in the tar each picture's bytes are. So the pictures can be
read in any order, the shards stay the only copy, and a pass that was killed goes on with the next shard.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path, PurePosixPath

import pyarrow as pa

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.formats.arrow_file import ArrowRows, open_table
from conaclip_edge.data.formats.picture_files import read_bytes
from conaclip_edge.data.formats.source_files import cache_folder, data_files, data_path, reading
from conaclip_edge.data.formats.source_row import Row, bad_row, captions_in, content_row
from conaclip_edge.data.formats.source_table import grouped, to_pairs
from conaclip_edge.data.formats.splits import split_of_table
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.errors import UserError
from conaclip_edge.system.files import sha256_text
from conaclip_edge.system.processes import available_cores
from conaclip_edge.system.progress import track

PICTURE_MEMBERS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
PICKLE_MEMBERS = {"pkl", "pickle", "pyd", "pth", "pt"}
LONGEST_TEXT = 1024**2
GZIP = b"\x1f\x8b"


def read(config: DataConfig) -> Pairs:
    """Read one shard or a folder of them.

    A caption is the text of `key.txt`, or what `key.json` has under captions, caption or text. Keys are the picture's
    name and the start of the hash of its bytes; equal bytes are one picture. The stamp covers the bytes of all
    pictures. A shard with pickled members, links or sparse members is a UserError before any member of it is read.
    """
    path = data_path(config)
    folder, files = data_files(path, "*.tar")

    def table(file: Path) -> pa.Table:
        return open_table(cache_folder(config, folder, [file]) / "index.arrow", file, lambda: _rows(folder, file))

    with ThreadPoolExecutor(available_cores()) as pool:
        tables = [made for _, made in zip(track(files, "reading shards"), pool.map(table, files), strict=True)]
    index = grouped(ArrowRows(pa.concat_tables(tables)))
    if not len(index.starts):
        skipped = index.skipped()
        found = skipped[0] if skipped else "They are empty"
        kinds = ", ".join(PICTURE_MEMBERS)
        raise UserError(f"no member of {path} is named like a picture (key.jpg; {kinds}). {found}.")
    return to_pairs(index, config, path, partial(read_bytes, folder), sha256_text(*index.column("picture")))


def _rows(folder: Path, file: Path) -> Iterator[Row]:
    """Read a shard: members of one key lie side by side."""
    relative = file.relative_to(folder)
    split = split_of_table(relative)
    with reading(file), file.open("rb") as start:  # by chance one in some 1,600 passes for a member's header
        if start.read(2) == GZIP:
            raise UserError(f"{file} is compressed. Unpack it first: a shard is read as a plain tar file.")
    with reading(file), tarfile.open(file, "r:") as shard:
        # the list is complete before any content is read: sizes in the headers are held against the file's end
        for key, grouped_members in groupby(_members(file, shard), key=lambda member: _parts(member)[0]):
            members = list(grouped_members)
            kinds = {_parts(member)[1]: member for member in members}
            if len(kinds) < len(members):
                yield bad_row(f"{relative} {key}", f"has one of {', '.join(sorted(kinds))} twice", split)
                continue
            kind = next((kind for kind in PICTURE_MEMBERS if kind in kinds), None)
            if kind is None or kinds[kind].size == 0:
                yield bad_row(f"{relative} {key}", f"has no picture, only {', '.join(sorted(kinds))}", split)
                continue
            picture, captions = kinds[kind], _captions(file, shard, kinds)
            name = f"{PurePosixPath(key).name}.{kind}"
            place = relative.as_posix(), picture.offset_data, picture.size
            yield content_row(_content(shard, picture), name, captions, split, *place)


def _members(file: Path, shard: tarfile.TarFile) -> Iterable[tarfile.TarInfo]:
    """Return the files in a shard; one that could do harm is a UserError."""
    members = shard.getmembers()
    for member in members:
        if PICKLE_MEMBERS.intersection(_parts(member)[1].split(".")):
            raise UserError(f"{file}: member {member.name!r} may be a pickle, which could run code. Remove it.")
        if member.issparse():  # a few bytes in the shard, any number of zeros when it is read
            raise UserError(f"{file}: member {member.name!r} is a sparse file. Pack it again without --sparse.")
        if not (member.isreg() or member.isdir()):
            raise UserError(f"{file}: member {member.name!r} is a link or a device. Pack plain files only.")
    return (member for member in members if member.isreg())


def _parts(member: tarfile.TarInfo) -> tuple[str, str]:
    """Return (key, extensions) of a member's name, which its first dot divides; extensions in lower case."""
    path = PurePosixPath(member.name)
    stem, _, extensions = path.name.partition(".")
    return (path.parent / stem).as_posix(), extensions.lower()


def _captions(file: Path, shard: tarfile.TarFile, kinds: dict[str, tarfile.TarInfo]) -> list[str]:
    for kind in ("txt", "json"):
        if member := kinds.get(kind):
            where = f"{file} member {member.name!r}"
            if member.size > LONGEST_TEXT:
                raise UserError(f"{where} has {member.size:,} bytes. A caption has at most {LONGEST_TEXT:,}.")
            text = _content(shard, member).decode()
            row = {"text": text} if kind == "txt" else json.loads(text)
            if not isinstance(row, dict):
                raise UserError(f"{where} is a {type(row).__name__}. It must be an object with a caption.")
            if captions := captions_in(row, where):
                return captions
    return []


def _content(shard: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = shard.extractfile(member)
    assert content is not None  # a regular file has content
    return content.read()

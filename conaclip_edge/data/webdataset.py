"""Format webdataset: tar shards as img2dataset writes them, with key.jpg, key.txt and key.json for each picture."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from datasets import Features, Image, List, Value

from conaclip_edge.config import DataConfig
from conaclip_edge.data.arrow_tables import load_tables, table_pairs
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.rows import captions_in
from conaclip_edge.data.sources import cache_folder, data_files, data_path, reading
from conaclip_edge.errors import UserError

PICTURE_MEMBERS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
GZIP = b"\x1f\x8b"
PICKLE_MEMBERS = {"pkl", "pickle", "pyd", "pth", "pt"}
MEMBERS = Features(
    {
        "__key__": Value("string"),
        **{member: Image(decode=False) for member in PICTURE_MEMBERS},
        "txt": Value("string"),
        "json": {"captions": List(Value("string")), "caption": Value("string"), "text": Value("string")},
    }
)


def read(config: DataConfig) -> Pairs:
    """Read one shard or a folder of them; see `table_pairs` for keys and stamp.

    A caption is the text of `key.txt`, or what `key.json` has under captions, caption or text. Shards with members that
    a reader could unpickle, links and sparse members are a UserError before any member is read.
    """
    path = data_path(config)
    folder, files = data_files(path, "*.tar")
    cache = cache_folder(config, folder, files)
    if not (cache / "index.arrow").exists():
        _check(files)
    tables = load_tables("webdataset", folder, files, cache, features=MEMBERS)
    return table_pairs(config, path, cache, tables, PICTURE_MEMBERS, _captions)


def _captions(row: Mapping[str, Any], where: str) -> list[str]:
    return captions_in({"text": row["txt"]}, where) or captions_in(row["json"] or {}, where)


def _check(files: list[Path]) -> None:
    """Refuse shards with members that are pickled, sparse or links, and without pictures; only headers are read."""
    kinds = set()
    for file in files:
        with reading(file), file.open("rb") as start:  # by chance one in some 1,600 passes for a member's header
            if start.read(2) == GZIP:
                raise UserError(f"{file} is compressed. Unpack it first: a shard is read as a plain tar file.")
        with reading(file), tarfile.open(file, "r:") as shard:
            for member in shard:
                extensions = PurePosixPath(member.name.lower()).name.split(".")[1:]
                if PICKLE_MEMBERS.intersection(extensions):
                    raise UserError(f"{file}: member {member.name!r} may be a pickle, which could run code. Remove it.")
                if member.issparse():  # a few bytes in the shard, any number of zeros when it is read
                    raise UserError(f"{file}: member {member.name!r} is a sparse file. Pack it again without --sparse.")
                if not (member.isreg() or member.isdir()):
                    raise UserError(f"{file}: member {member.name!r} is a link or a device. Pack plain files only.")
                kinds.add(".".join(extensions))
    if not kinds.intersection(PICTURE_MEMBERS):
        raise UserError(
            f"no member of {files[0].parent} is named like a picture (key.jpg; {', '.join(PICTURE_MEMBERS)}). "
            f"Found: {', '.join(sorted(kinds)[:20]) or 'nothing'}."
        )

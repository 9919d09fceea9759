"""Which data format lies at a path, recognised by names and first bytes."""

from __future__ import annotations

import mmap
import re
from collections.abc import Container
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath

from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.data_formats import (
    CAPTION_SUFFIXES,
    FORMATS,
    METADATA,
    PICTURE_SUFFIXES,
    check_keys,
    check_path,
)
from conaclip_edge.errors import UserError
from conaclip_edge.system.folders import files_below
from conaclip_edge.system.progress import say

MOST_FILES = 200_000  # that are looked at: more take seconds, and say no more


@dataclass
class _Found:
    """What lies in a folder: for each format an example, and how many pictures and captions beside them."""

    examples: dict[str, str] = field(default_factory=dict)
    pictures: int = 0
    texts: int = 0


def with_format(config: DataConfig) -> DataConfig:
    """Return a data section whose format is known, and check that the format reads all that is set.

    Args:
        config: without a format, it is the one that lies at the path; a line on stderr says which.

    Raises:
        UserError: an unknown format, a key that the format does not read, nothing (or nothing known) at the path, or
            several formats there.
    """
    if config.format is None:
        if config.path is None:
            raise UserError(
                "data.path is not set: name a folder or file of pictures and captions there, or data.format=openmoji "
                "for the pictures of the demo."
            )
        path = check_path(config.path)
        kind, why = infer_format(path)
        say(f"data: {path} is read as format {kind} ({why}).")
        config = config.model_copy(update={"format": kind})
    check_keys(config)
    return config


def infer_format(path: Path) -> tuple[str, str]:
    """Return the format of what lies at a path, and by what it was recognised.

    Args:
        path: an existing file or folder.

    Raises:
        UserError: nothing known lies there, or several formats do.
    """
    if path.is_file():
        return _of_file(path)
    found = _look(path)
    if len(found.examples) > 1:
        each = " and ".join(f"{kind} ({example})" for kind, example in found.examples.items())
        raise UserError(
            f"{path} holds data of several formats: {each}. Say which: data.format={next(iter(found.examples))}"
        )
    if not found.examples:
        raise UserError(
            f"no data set at {path}: a recipe (YAML with a data section) is needed, or a folder of pictures (with "
            f"{METADATA[0]}, {METADATA[1]} or .txt files beside them), *.tar, *.parquet, *.tsv, dataset_*.json or "
            "captions_*.json."
        )
    return next(iter(found.examples.items()))


def is_data_file(path: Path) -> bool:
    """Return whether a file is data rather than a recipe, by its name (or by its content where that says nothing)."""
    suffix = path.suffix.lower()
    if suffix == ".json":
        return bool(_of_json(path))
    return suffix in PICTURE_SUFFIXES or any(suffix in kind.suffixes for kind in FORMATS.values())


def _of_file(path: Path) -> tuple[str, str]:
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        raise UserError(f"{path} is one picture. Name the folder that it lies in: data.path={path.parent}")
    if suffix == ".json" and (kind := _of_json(path)):
        return kind, f"by what {path.name} holds"
    if suffix == ".tsv":
        kind = "easynlp" if _is_easynlp(path) else "imagefolder"
        return kind, f"by what {path.name} holds"
    if suffix == ".parquet" and path.name in METADATA:
        return "imagefolder", path.name
    for kind in ("parquet", "webdataset", "imagefolder"):
        if suffix in FORMATS[kind].suffixes:
            return kind, f"a {suffix} file"
    raise UserError(
        f"{path} is no data: a folder of pictures is needed, or a file ending in .jsonl, .csv, .tar, .parquet, .tsv or "
        "a .json of Karpathy's splits or of COCO's captions."
    )


def _look(folder: Path) -> _Found:
    names = list(islice(files_below(folder), MOST_FILES))
    known, found = set(names), _Found()
    stems = {name.rsplit(".", 1)[0] for name in names if PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES}
    metadata = tables = ""
    for name in names:
        path = PurePosixPath(name)
        suffix, kind = path.suffix.lower(), ""
        if suffix in PICTURE_SUFFIXES:
            found.pictures += 1
        elif suffix in CAPTION_SUFFIXES:
            found.texts += name.rsplit(".", 1)[0] in stems
        elif path.name in METADATA:
            metadata = metadata or name
        elif suffix == ".tar":
            kind = "webdataset"
        elif suffix == ".parquet" and not _beside_shard(name, known):
            kind = "parquet"
        elif re.fullmatch(r"dataset_.*\.json", path.name):
            kind = "karpathy"
        elif re.fullmatch(r"captions_.*\.json", path.name):
            kind = "coco"
        elif suffix == ".tsv" and _is_easynlp(folder / name):
            kind = "easynlp"
        elif suffix in (".csv", ".tsv", ".jsonl") and "/" not in name:
            tables = tables or name
        if kind:
            found.examples.setdefault(kind, name)
    reads_files = {"karpathy", "coco"} & found.examples.keys()
    if metadata or (found.pictures and not reads_files):
        found.examples["imagefolder"] = metadata or _described(found, tables)
    return found


def _described(found: _Found, table: str) -> str:
    """Say what a folder of pictures without metadata has."""
    pictures = f"{found.pictures} picture{'s' * (found.pictures != 1)}"
    if table:
        return f"{pictures} and {table}"
    return f"{pictures}, {found.texts} with a .txt file beside" if found.texts else f"{pictures} without captions"


def _beside_shard(name: str, known: Container[str]) -> bool:
    """Whether a Parquet file is the list that a download tool writes beside each shard or folder of pictures."""
    stem = name.removesuffix(".parquet")
    return f"{stem}.tar" in known or f"{stem}_stats.json" in known


def _is_easynlp(path: Path) -> bool:
    """Whether a table's first line is text <TAB> base64 of a picture."""
    try:
        with open(path, "rb") as lines:
            line = lines.readline(4096)
    except OSError:
        return False
    _, _, picture = line.partition(b"\t")
    return bool(re.fullmatch(rb"[A-Za-z0-9+/_=-]{60,}", picture.strip()))


def _of_json(path: Path) -> str:
    """Return the format of a JSON file by its name, or by a key that only this format has; "" if it is neither's."""
    if re.fullmatch(r"dataset_.*\.json", path.name):
        return "karpathy"
    if re.fullmatch(r"captions_.*\.json", path.name):
        return "coco"
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(b'"sentences"') >= 0:
                return "karpathy"
            return "coco" if content.find(b'"annotations"') >= 0 and content.find(b'"caption"') >= 0 else ""
    except (OSError, ValueError):  # ValueError: an empty file
        return ""

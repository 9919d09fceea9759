"""Reading a data set of any format."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.formats.source_files import reading
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.errors import UserError, unknown


class Format(NamedTuple):
    """A data format: the module with its `read(config) -> Pairs`, and what it is in the words of an error."""

    module: str
    what: str


_HERE = "conaclip_edge.data.formats"
FORMATS = {
    "openmoji": Format("conaclip_edge.demo.openmoji", "the OpenMoji pictures that come with the package"),
    "imagefolder": Format(
        f"{_HERE}.imagefolder", "a folder of pictures with metadata.jsonl or metadata.csv (columns file_name and text)"
    ),
    "parquet": Format(f"{_HERE}.parquet", "Parquet files with columns image and text"),
    "webdataset": Format(f"{_HERE}.webdataset", "tar shards with key.jpg and key.txt (or key.json)"),
    "karpathy": Format(
        f"{_HERE}.karpathy", "dataset_coco.json or dataset_flickr30k.json, with the pictures in data.images"
    ),
    "coco": Format(
        f"{_HERE}.coco", "captions_train2017.json and captions_val2017.json, with the pictures in data.images"
    ),
    "easynlp": Format(
        f"{_HERE}.easynlp", "tables train.tsv, valid.tsv, test.tsv of lines text <TAB> base64 of the picture"
    ),
}


def read_pairs(config: DataConfig) -> Pairs:
    """Read the captioned pictures that a data section names; pictures without captions are kept.

    Raises:
        UserError: an unknown format, nothing at the path, another shape than the format's, no picture, no caption, or
            a larger share of pictures skipped than `max_bad`.
    """
    if config.format not in FORMATS:
        raise unknown("data format", config.format, FORMATS, where="data.format")
    read: Callable[[DataConfig], Pairs] = import_module(FORMATS[config.format].module).read
    source = config.path or Path(config.format)
    with reading(source):
        pairs = read(config)
    expected = f"Format '{config.format}' is {FORMATS[config.format].what}."
    first = f" First of {len(pairs.skipped)} skipped: {pairs.skipped[0]}." if pairs.skipped else ""
    if len(pairs) == 0:
        raise UserError(f"no picture in {source}.{first} {expected}")
    if not any(pairs.captions):
        raise UserError(f"none of the {len(pairs)} pictures in {source} has a caption. {expected}")
    bad = len(pairs.skipped) / (len(pairs) + len(pairs.skipped))
    if bad > config.max_bad:
        raise UserError(
            f"{bad:.1%} of the pictures in {source} cannot be used, more than data.max_bad = {config.max_bad:.1%}."
            f"{first} Repair them, or raise data.max_bad."
        )
    return pairs

"""Reading a data set of any format."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from conaclip_edge.config import DataConfig
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.sources import reading
from conaclip_edge.errors import UserError

# what each format is, in the words of its errors; the module of the same name reads it
FORMATS = {
    "openmoji": "the OpenMoji pictures that come with the package",
    "imagefolder": "a folder of pictures with metadata.jsonl or metadata.csv (columns file_name and text)",
    "parquet": "Parquet files with columns image and text",
    "webdataset": "tar shards with key.jpg and key.txt (or key.json)",
    "karpathy": "dataset_coco.json or dataset_flickr30k.json, with the pictures in data.images",
    "coco": "captions_train2017.json and captions_val2017.json, with the pictures in data.images",
    "easynlp": "tables train.tsv, valid.tsv, test.tsv of lines text <TAB> base64 of the picture",
}


def read_pairs(config: DataConfig) -> Pairs:
    """Read the captioned pictures that a data section names; pictures without captions are kept.

    Raises:
        UserError: nothing at the path, another shape than the format's, no picture, no caption, or a larger share of
            pictures skipped than `max_bad`.
    """
    read: Callable[[DataConfig], Pairs] = import_module(f"conaclip_edge.data.{config.format}").read
    source = config.path or Path(config.format)
    with reading(source):
        pairs = read(config)
    expected = f"Format '{config.format}' is {FORMATS[config.format]}."
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

"""The data formats: what each is, and which keys of a data section it reads."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from conaclip_edge.config.data import DataConfig
from conaclip_edge.errors import UserError, unknown

_PICTURES = "avif bmp gif heic heif jfif jp2 jpe jpeg jpg jxl pbm pgm png pnm ppm qoi tga tif tiff webp"
PICTURE_SUFFIXES = frozenset(f".{name}" for name in _PICTURES.split())
CAPTION_SUFFIXES = (".txt", ".caption")  # of the file beside a picture
METADATA = ("metadata.jsonl", "metadata.csv", "metadata.tsv", "metadata.parquet")
FILE_NAME_COLUMNS = (
    *("file_name", "filename", "file", "image_file_name", "image_file", "image_name", "image_path", "image"),
    *("img", "picture", "path", "filepath", "file_path"),
)


class Format(NamedTuple):
    """A data format.

    Attributes:
        module: has the format's `read(config) -> Pairs`.
        what: the format in the words of an error.
        suffixes: of the files that `data.path` may name; () if it names a folder or nothing.
        keys: those of a data section that this format reads beside the ones that all read.
    """

    module: str
    what: str
    suffixes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ("path",)


_HERE = "conaclip_edge.data.formats"
FORMATS = {
    "openmoji": Format(
        "conaclip_edge.demo.openmoji",
        "the OpenMoji pictures that come with the package",
        keys=("split", "fold", "unnamed", "picture_size"),
    ),
    "imagefolder": Format(
        f"{_HERE}.imagefolder",
        "a folder of pictures with metadata.jsonl, .csv, .tsv or .parquet (columns file_name and text), with a .txt "
        "file beside each picture, or without captions",
        (".jsonl", ".csv", ".tsv", ".parquet"),
    ),
    "parquet": Format(
        f"{_HERE}.parquet", "Parquet files with columns image and text", (".parquet",), ("path", "url", "local_copy")
    ),
    "webdataset": Format(
        f"{_HERE}.webdataset",
        "tar shards with key.jpg and key.txt (or key.json)",
        (".tar",),
        ("path", "url", "local_copy"),
    ),
    "karpathy": Format(
        f"{_HERE}.karpathy",
        "dataset_coco.json or dataset_flickr30k.json, with the pictures in data.images",
        (".json",),
        ("path", "images"),
    ),
    "coco": Format(
        f"{_HERE}.coco",
        "captions_train2017.json and captions_val2017.json, with the pictures in data.images",
        (".json",),
        ("path", "images"),
    ),
    "easynlp": Format(
        f"{_HERE}.easynlp",
        "tables train.tsv, valid.tsv, test.tsv of lines text <TAB> base64 of the picture",
        (".tsv",),
    ),
}
_ALL_READ = ("val_fraction", "test_fraction", "max_bad", "max_pixels", "labelled")


def check_keys(config: DataConfig, where: str = "data") -> None:
    """Refuse keys that the format does not read; without a format, those that no data at a path have.

    A key with its default is no contradiction: a recipe that a command wrote has every key.

    Args:
        config: the data section.
        where: what errors call its source.

    Raises:
        UserError: an unknown format, or a key that it does not read.
    """
    if config.format is not None and config.format not in FORMATS:
        raise unknown("data format", config.format, FORMATS, where="data.format")
    read = (*(FORMATS[config.format].keys if config.format else ("path", "images", "url", "local_copy")), *_ALL_READ)
    for name, value in config:
        if name == "format" or name in read or value in (None, DataConfig.model_fields[name].default):
            continue
        kind = f"format '{config.format}'" if config.format else "data at a path without data.format"
        way = (
            "For pictures of your own, set data.format, or leave it out: it is found by what lies at the path"
            if name == "path"
            else "Remove the key, or correct data.format"
        )
        raise UserError(f"{where}: data.{name} is not read by {kind}, which has the keys {', '.join(read)}. {way}.")


def check_source(config: DataConfig) -> None:
    """Refuse a data section whose path or picture folder is missing, or whose file is not of its format.

    Raises:
        UserError: what is wrong, in a line.
    """
    if config.format is None or "path" not in FORMATS[config.format].keys:
        return
    kind = FORMATS[config.format]
    if config.url is not None and config.path is not None:
        raise UserError(f"data.path and data.url are both set ({config.path}, {config.url}). Remove one of them.")
    if config.url is not None:
        return
    if config.path is None:
        raise UserError(f"data.path is not set: format '{config.format}' reads a file or folder.")
    path = check_path(config.path)
    if path.is_file() and path.suffix.lower() not in kind.suffixes:
        raise UserError(
            f"data.path = {path} is a file. Format '{config.format}' is {kind.what}; name its folder, or a file "
            f"ending in {', '.join(kind.suffixes)}."
        )
    if config.images and not os.path.isdir(os.path.expanduser(config.images)):
        raise UserError(f"no picture folder {config.images}. Correct data.images, or give an absolute path.")


def check_path(path: Path, correct: str = "Correct data.path") -> Path:
    """Return a path of data as an absolute one; a missing one, or one that may not be read, is a UserError.

    Args:
        path: of a file or folder.
        correct: how the path is corrected, for the error.
    """
    try:
        found = path.expanduser().absolute()
        mode = os.stat(found).st_mode
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            raise UserError(f"{found} is neither a file nor a folder. {correct}.")
        if not os.access(found, os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)):
            raise UserError(f"no right to read {found}. Change its rights, or choose another path.")
    except FileNotFoundError:
        raise UserError(f"no file or folder {found}. {correct}, or give an absolute path.") from None
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~ of a user that there is not
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}. {correct}.") from error
    return found

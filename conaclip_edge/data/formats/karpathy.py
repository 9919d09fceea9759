"""Format karpathy: dataset_flickr30k.json or dataset_coco.json, Karpathy's splits with five captions a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.formats.json_fields import field
from conaclip_edge.data.formats.picture_files import file_pairs, inside
from conaclip_edge.data.formats.source_files import cache_folder, data_files, data_path, picture_folder, reading
from conaclip_edge.data.formats.source_table import open_index
from conaclip_edge.data.formats.splits import split_named
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.rows.source_row import Row, clean, file_row
from conaclip_edge.errors import UserError
from conaclip_edge.system.files import read_json


def read(config: DataConfig) -> Pairs:
    """Read the dataset_*.json at or below `path`, with pictures in `images` (or in its folder).

    Keys are the pictures' paths in that folder. The split "restval" counts as train.
    """
    path = data_path(config)
    folder, files = data_files(path, "dataset_*.json")
    if len(files) > 1:
        raise UserError(f"{path} holds {len(files)} files named dataset_*.json. Name one of them in data.path.")
    cache = cache_folder(config, folder, files)
    index = open_index(cache / "index.arrow", path, lambda: _rows(files[0]))
    return file_pairs(index, config, path, picture_folder(config, folder))


def _rows(file: Path) -> Iterator[Row]:
    with reading(file):
        for number, image in enumerate(field(read_json(file, "data set"), "images", list, str(file))):
            where = f"{file}: images[{number}]"
            name = PurePosixPath(inside(field(image, "filename", str, where), where))
            if image.get("filepath"):
                name = inside(field(image, "filepath", str, where), where) / name
            sentences = field(image, "sentences", list, where)
            captions = clean(field(sentence, "raw", str, f"{where}.sentences") for sentence in sentences)
            yield file_row(name.as_posix(), captions, split_named(field(image, "split", str, where), where))

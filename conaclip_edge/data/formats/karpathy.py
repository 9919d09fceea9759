"""Format karpathy: dataset_flickr30k.json or dataset_coco.json, Karpathy's splits with five captions a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.formats.json_fields import field
from conaclip_edge.data.formats.picture_files import file_pairs, inside, say_unpaired, train_pictures, unnamed_rows
from conaclip_edge.data.formats.source_files import cache_folder, data_files, data_path, picture_folder, reading
from conaclip_edge.data.formats.source_table import open_index
from conaclip_edge.data.formats.splits import split_named
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.rows.source_row import Row, clean, file_row
from conaclip_edge.errors import UserError
from conaclip_edge.system.files import read_json


def read(config: DataConfig) -> Pairs:
    """Read the dataset_*.json at or below `path`, with pictures in `images` (or in its folder).

    Keys are the pictures' paths in that folder. The split "restval" counts as train. Pictures that the file does not
    name are unpaired train data, but for those in a folder of val or test.
    """
    path = data_path(config)
    folder, files = data_files(path, "dataset_*.json")
    if len(files) > 1:
        raise UserError(f"{path} holds {len(files)} files named dataset_*.json. Name one of them in data.path.")
    pictures = picture_folder(config, folder)
    others = train_pictures(pictures)
    cache = cache_folder(config, folder, files, *others)
    index = open_index(cache / "index.arrow", path, lambda: _rows(files[0], pictures, others))
    pairs = file_pairs(index, config, path, pictures)
    say_unpaired(pairs, pictures, files[0].name)
    return pairs


def _rows(file: Path, pictures: Path, others: list[str]) -> Iterator[Row]:
    named = set()
    with reading(file):
        for number, image in enumerate(field(read_json(file, "data set"), "images", list, str(file))):
            where = f"{file}: images[{number}]"
            name = PurePosixPath(inside(field(image, "filename", str, where), where))
            if image.get("filepath"):
                name = inside(field(image, "filepath", str, where), where) / name
            sentences = field(image, "sentences", list, where)
            captions = clean(field(sentence, "raw", str, f"{where}.sentences") for sentence in sentences)
            named.add(name.as_posix())
            yield file_row(name.as_posix(), captions, split_named(field(image, "split", str, where), where))
    yield from unnamed_rows(pictures, others, named)

"""Format coco: captions_train2017.json and captions_val2017.json, the caption annotations of COCO."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.formats.json_fields import field
from conaclip_edge.data.formats.picture_files import file_pairs, inside, say_unpaired, train_pictures, unnamed_rows
from conaclip_edge.data.formats.source_files import cache_folder, data_files, data_path, picture_folder, reading
from conaclip_edge.data.formats.source_table import open_index
from conaclip_edge.data.formats.splits import split_of_table
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.rows.source_row import Row, clean, file_row
from conaclip_edge.errors import UserError
from conaclip_edge.system.files import read_json


def read(config: DataConfig) -> Pairs:
    """Read the captions_*.json at or below `path`, with pictures in `images` (or in the folder that `path` is).

    Pictures that no file names are unpaired train data, but for those in a folder of val or test. The pictures of
    captions_val2017.json may be in a folder val2017 there. Keys are paths in the picture folder.
    """
    path = data_path(config)
    folder, files = data_files(path, "captions_*.json")
    pictures = picture_folder(config, folder)
    places = [file.stem.removeprefix("captions_") for file in files]
    places = [place if (pictures / place).is_dir() else "." for place in places]
    others = train_pictures(pictures)
    cache = cache_folder(config, folder, files, *others)
    index = open_index(
        cache / f"index_{'_'.join(places)}.arrow", path, lambda: _rows(folder, files, places, pictures, others)
    )
    pairs = file_pairs(index, config, path, pictures)
    say_unpaired(pairs, pictures, " and ".join(file.name for file in files[:3]))
    return pairs


def _rows(folder: Path, files: list[Path], places: list[str], pictures: Path, others: list[str]) -> Iterator[Row]:
    named = set()
    for file, place in zip(files, places, strict=True):
        split = split_of_table(file.relative_to(folder))
        with reading(file):
            document = read_json(file, "data set")
            captions: dict[int, list[str]] = defaultdict(list)
            for number, annotation in enumerate(field(document, "annotations", list, str(file))):
                where = f"{file}: annotations[{number}]"
                captions[field(annotation, "image_id", int, where)].append(field(annotation, "caption", str, where))
            for number, image in enumerate(field(document, "images", list, str(file))):
                where = f"{file}: images[{number}]"
                name = PurePosixPath(place, inside(field(image, "file_name", str, where), where))
                named.add(name.as_posix())
                yield file_row(name.as_posix(), clean(captions.pop(field(image, "id", int, where), [])), split)
            if captions:
                raise UserError(
                    f"{file}: annotations name image {next(iter(captions))}, which is not among its images."
                )
    yield from unnamed_rows(pictures, others, named)

"""Format imagefolder: a folder of pictures, with captions in a table, in a .txt file beside each picture, or nowhere.

A row of metadata.jsonl, .csv, .tsv or .parquet has `file_name` (relative to its file) and captions, see
`captions_in`. Without such a file, any table at the top of the folder that names pictures is taken. Splits come from
a `split` column, or from folders named train, validation (val, valid, dev) and test.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.data_formats import CAPTION_SUFFIXES, FILE_NAME_COLUMNS, METADATA, PICTURE_SUFFIXES
from conaclip_edge.data.formats.picture_files import file_pairs, inside, say_unpaired
from conaclip_edge.data.formats.source_files import cache_folder, data_path, reading
from conaclip_edge.data.formats.source_table import open_index
from conaclip_edge.data.formats.splits import split_named, split_of_folder, split_of_table
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.rows.caption_columns import captions_in, say_columns
from conaclip_edge.data.rows.metadata_rows import columns_of, file_name_in, table_rows
from conaclip_edge.data.rows.source_row import BadRow, Row, bad_row, clean, file_row, utf8
from conaclip_edge.errors import UserError
from conaclip_edge.system.folders import files_below
from conaclip_edge.system.progress import say

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
LONGEST_CAPTIONS = 1024**2  # bytes of the file beside a picture


def read(config: DataConfig) -> Pairs:
    """Read a folder of pictures; keys are paths relative to it.

    Pictures that the metadata does not name have the captions of the .txt file beside them, or none; those of them in
    a folder of val or test are left out.

    The metadata is read line by line into an index rather than by the datasets library, whose type inference turns
    captions such as "007", "NA" and "2020-01-01" into other values.
    """
    path = data_path(config)
    folder = path.parent if path.is_file() else path
    names = list(files_below(folder))
    tables = [path.name] if path.is_file() else _tables(folder, names)
    pictures = [name for name in names if PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES]
    beside = _beside(pictures, {name for name in names if PurePosixPath(name).suffix.lower() in CAPTION_SUFFIXES})
    if not tables and not pictures:
        raise UserError(f"no {', '.join(METADATA)} or picture in {path}. Correct data.path or data.format.")
    for table in tables:
        say_columns(folder / table, columns_of(folder / table))
    files = [folder / name for name in (*tables, *sorted(set(beside.values())))]
    cache = cache_folder(config, folder, files, *pictures)
    unnamed = [] if path.is_file() else pictures
    index = open_index(cache / "index.arrow", path, lambda: _rows(folder, tables, pictures, unnamed, beside))
    pairs = file_pairs(index, config, path, folder)
    _say_unpaired(folder, tables, pairs, pictures)
    return pairs


def _say_unpaired(folder: Path, tables: Sequence[str], pairs: Pairs, pictures: Sequence[str]) -> None:
    """Say on stderr how many pictures have no caption, and how many are left out since they may be held out."""
    where = " and ".join(tables[:3]) or "no .txt file beside them"
    say_unpaired(pairs, folder, where)
    held_out = {name for name in pictures if split_of_folder(PurePosixPath(name)) != "train"} if tables else set()
    if held_out and (left_out := held_out.difference(pairs.keys)):
        say(f"data: {len(left_out):,} pictures in folders of val and test, which {where} does not name, are left out.")


def _tables(folder: Path, names: Sequence[str]) -> list[str]:
    """Return the metadata files of a folder; without any, the tables at its top that have a column of file names."""
    metadata = sorted(name for name in names if PurePosixPath(name).name in METADATA)
    if len(kinds := sorted({PurePosixPath(name).name for name in metadata}, key=METADATA.index)) > 1:
        raise UserError(f"{folder} holds both {kinds[0]} and {kinds[1]}. Remove one kind.")
    top = [name for name in names if "/" not in name and name.lower().endswith(TABLE_SUFFIXES)]
    known = frozenset(FILE_NAME_COLUMNS)
    return metadata or [n for n in top if known.intersection(each.strip().lower() for each in columns_of(folder / n))]


def _beside(pictures: Iterable[str], texts: set[str]) -> dict[str, str]:
    """Return picture -> the file of captions beside it, named a.txt or a.jpg.txt."""
    found = {}
    for picture in pictures:
        stems = picture.rsplit(".", 1)[0], picture
        text = next(
            (f"{stem}{suffix}" for stem in stems for suffix in CAPTION_SUFFIXES if f"{stem}{suffix}" in texts), ""
        )
        if text:
            found[picture] = text
    return found


def _rows(
    folder: Path, tables: Sequence[str], pictures: Sequence[str], unnamed: Sequence[str], beside: dict[str, str]
) -> Iterator[Row]:
    known = _Pictures(pictures)
    named = set()
    for table in tables:
        base, split_otherwise = PurePosixPath(table).parent, split_of_table(PurePosixPath(PurePosixPath(table).name))
        with reading(folder / table):
            for where, row in table_rows(folder / table):
                if isinstance(row, BadRow):
                    yield bad_row(where, str(row), "train")
                    continue
                try:
                    file_name = file_name_in(row)
                    if not isinstance(file_name, str) or not file_name.strip():
                        columns = ", ".join(map(str, row))[:200]
                        raise BadRow(f"names no picture file ('file_name'). It has: {columns}")
                    name = known.find((base / inside(file_name, f"{where} ('file_name')")).as_posix(), base)
                    split = row.get("split")
                    split = (
                        split_named(str(split), where)
                        if split
                        else split_of_folder(PurePosixPath(name), split_otherwise)
                    )
                    yield file_row(name, captions_in(row), split)
                    named.add(name)
                except BadRow as error:
                    yield bad_row(where, str(error), "train")
    for name in unnamed:
        split = split_of_folder(PurePosixPath(name))
        # nobody can tell whether an unnamed picture beside named ones that are held out is held out, too
        if name in named or (tables and split != "train"):
            continue
        try:
            captions = _captions(folder / beside[name]) if name in beside else []
            yield file_row(name, captions, split)
        except BadRow as error:
            yield bad_row(beside[name], str(error), split)


def _captions(file: Path) -> list[str]:
    """Return the captions of the file beside a picture, one per line."""
    try:
        with open(file, "rb") as content:
            data = content.read(LONGEST_CAPTIONS + 1)
    except OSError as error:
        raise BadRow(f"cannot be read ({error.strerror})") from error
    if len(data) > LONGEST_CAPTIONS:
        raise BadRow(f"has more than {LONGEST_CAPTIONS:,} bytes. One caption per line is meant")
    return clean(utf8(data).splitlines())


class _Pictures:
    """The pictures of a folder, found by what a table calls them."""

    def __init__(self, names: Iterable[str]):
        self.names = set(names)
        self.alike: dict[str, list[str]] = {}
        for name in self.names:
            self.alike.setdefault(_plain(name.rsplit("/", 1)[-1]), []).append(name)

    def find(self, name: str, base: PurePosixPath) -> str:
        """Return the picture that a table means: the file of that name, or the only one in a folder below the table.

        Args:
            name: relative to the folder, as the table has it.
            base: folder of the table.

        Returns:
            The name of a picture, also where case or the composition of letters differ; `name` where there is none.
        """
        if name in self.names:
            return name
        ending = _plain(PurePosixPath(name).relative_to(base).as_posix())
        alike = self.alike.get(ending.rsplit("/", 1)[-1], [])
        found = [each for each in alike if _plain(each).endswith(f"/{ending}") or _plain(each) == _plain(name)]
        within = [each for each in found if PurePosixPath(each).is_relative_to(base)]
        return within[0] if len(within) == 1 else name


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()

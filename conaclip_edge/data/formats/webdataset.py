"""Format webdataset: tar shards as img2dataset writes them, with key.jpg, key.txt and key.json for each picture.

Nothing is unpacked or copied: an index a shard says where in the tar each picture's bytes are. So the pictures can be
read in any order, the shards stay the only copy, and a pass that was killed goes on with the next shard.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from typing import BinaryIO, TypeVar

import pyarrow as pa

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.formats.arrow_file import ArrowRows, open_table
from conaclip_edge.data.formats.picture_files import read_bytes
from conaclip_edge.data.formats.remote_files import RemoteFile, RemoteFolder, local_copy
from conaclip_edge.data.formats.source_files import READERS, cache_folder, cache_root, data_files, data_path, reading
from conaclip_edge.data.formats.source_table import Place, grouped, to_pairs
from conaclip_edge.data.formats.splits import split_of_table
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.rows.caption_columns import captions_in
from conaclip_edge.data.rows.source_row import BadRow, Row, bad_row, content_row, utf8
from conaclip_edge.errors import UserError
from conaclip_edge.system.files import sha256_text
from conaclip_edge.system.processes import available_cores
from conaclip_edge.system.progress import track

T = TypeVar("T")

PICTURE_MEMBERS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "heic", "heif", "avif", "jxl")
PICKLE_MEMBERS = {"pkl", "pickle", "pyd", "pth", "pt"}
LONGEST_TEXT = 1024**2
NO_PICTURE = "has no picture"
TAIL = 1024**2  # bytes behind the last member that have to be zeros
GZIP = b"\x1f\x8b"


def read(config: DataConfig) -> Pairs:
    """Read one shard or a folder of them.

    A caption is the text of `key.txt`, or what `key.json` has in a caption column. A sample with a member that is cut
    off or cannot be read is skipped. Keys are the picture's
    name and the start of the hash of its bytes; equal bytes are one picture. The stamp covers the bytes of all
    pictures. A shard with pickled members, links or sparse members is a UserError before any member of it is read.
    """
    if config.url is not None and not config.local_copy:
        return _read_remote(config, config.url)
    path = data_path(config) if config.url is None else local_copy(config)
    folder, files = data_files(path, "*.tar")

    def table(file: Path) -> pa.Table:
        return open_table(cache_folder(config, folder, [file]) / "index.arrow", file, lambda: _rows(folder, file))

    return _pairs(_tables(files, table), config, path, partial(read_bytes, folder))


def _read_remote(config: DataConfig, url: str) -> Pairs:
    """Read shards at a URL: each is fetched once, indexed and removed; pictures are read by ranges ever after."""
    remote = RemoteFolder(url)

    def table(file: RemoteFile) -> pa.Table:
        parts = (READERS, "webdataset", url, file.name, str(file.size), file.stamp)
        home = cache_root() / f"webdataset-{sha256_text(*parts)[:16]}"
        shard = home / file.name

        def rows() -> Iterator[Row]:
            remote.fetch(file, shard)
            yield from _rows(home, shard)

        made = open_table(home / "index.arrow", PurePosixPath(url), rows)
        shard.unlink(missing_ok=True)
        return made

    files = [file for file in remote.files() if file.name.lower().endswith(".tar")]
    return _pairs(
        _tables(files, table),
        config,
        PurePosixPath(url),
        lambda place: remote.read(place.file, place.start, place.length),
    )


def _tables(files: Sequence[T], table: Callable[[T], pa.Table]) -> list[pa.Table]:
    """Open the index of every shard, several at once."""
    with ThreadPoolExecutor(available_cores()) as pool:
        return [made for _, made in zip(track(files, "reading shards"), pool.map(table, files), strict=True)]


def _pairs(tables: list[pa.Table], config: DataConfig, path: PurePath, read: Callable[[Place], bytes]) -> Pairs:
    """Make a data set of the shards' indices."""
    index = grouped(ArrowRows(pa.concat_tables(tables)))
    skipped = index.skipped()
    if not len(index.starts) and all(NO_PICTURE in each for each in skipped):
        found = skipped[0] if skipped else "They are empty"
        kinds = ", ".join(PICTURE_MEMBERS)
        raise UserError(f"no member of {path} is named like a picture (key.jpg; {kinds}). {found}.")
    return to_pairs(index, config, path, read, sha256_text(*index.column("picture")))


def _rows(folder: Path, file: Path) -> Iterator[Row]:
    """Read a shard; members of one key belong together wherever they lie in it."""
    relative = file.relative_to(folder)
    split = split_of_table(relative)
    with reading(file), file.open("rb") as content:
        if content.read(2) == GZIP:  # by chance one in some 1,600 passes for a member's header
            raise UserError(f"{file} is compressed. Unpack it first: a shard is read as a plain tar file.")
        content.seek(0)
        # the list is complete before any content is read: sizes in the headers are compared with the file's end
        members, broken = _members(file, content)
        for problem in broken:
            yield bad_row(relative.as_posix(), problem, split)
        for key, kinds, twice in _samples(members):
            where = f"{relative.as_posix()} {key}"
            kind = next((kind for kind in PICTURE_MEMBERS if kind in kinds), None)
            if twice:
                yield bad_row(where, f"has one of {', '.join(sorted(kinds))} twice", split)
                continue
            if kind is None or kinds[kind].size == 0:
                yield bad_row(where, f"{NO_PICTURE}, only {', '.join(sorted(kinds))}", split)
                continue
            try:
                captions = _captions(content, kinds)
            except BadRow as error:
                yield bad_row(where, str(error), split)
                continue
            picture = kinds[kind]
            name = f"{PurePosixPath(key).name}.{kind}"
            place = relative.as_posix(), picture.offset_data, picture.size
            yield content_row(_content(content, picture), name, captions, split, *place)


def _members(file: Path, content: BinaryIO) -> tuple[list[tarfile.TarInfo], list[str]]:
    """Return the whole files in a shard, and what of it is broken; a member that could do harm is a UserError."""
    size = file.stat().st_size
    try:
        shard = tarfile.open(fileobj=content, mode="r:")  # noqa: SIM115  # what it would close is `content`
    except tarfile.TarError as error:
        return [], [f"is no tar file ({error})"]
    members = []
    with suppress(tarfile.ReadError):  # of what is cut off, or of a header that is broken: both are found below
        while (member := shard.next()) is not None:
            members.append(member)
    for member in members:
        if PICKLE_MEMBERS.intersection(_parts(member)[1].split(".")):
            raise UserError(f"{file}: member {member.name!r} may be a pickle, which could run code. Remove it.")
        if member.issparse():  # a few bytes in the shard, any number of zeros when it is read
            raise UserError(f"{file}: member {member.name!r} is a sparse file. Pack it again without --sparse.")
        if not (member.isreg() or member.isdir()):
            raise UserError(f"{file}: member {member.name!r} is a link or a device. Pack plain files only.")
    # files whose names begin with a dot are what a Mac adds of its own
    plain = [each for each in members if each.isreg() and not PurePosixPath(each.name).name.startswith(".")]
    whole = [member for member in plain if member.offset_data + member.size <= size]
    broken = [f"member {member.name!r} is cut off: the file ends within it" for member in plain[len(whole) :]]
    content.seek(min(shard.offset, size))
    if content.read(TAIL).strip(b"\0"):
        broken.append(f"what follows byte {shard.offset:,} of {size:,} is no member of a tar file, and is not read")
    return whole, broken


def _samples(members: Iterable[tarfile.TarInfo]) -> Iterator[tuple[str, dict[str, tarfile.TarInfo], bool]]:
    """Yield (key, members by their extensions, whether one extension came twice), in the order of first members.

    The members of a key may lie apart, e.g. all pictures first and all texts behind them. An extension that comes
    again behind other keys begins another sample.
    """
    samples: list[tuple[str, dict[str, tarfile.TarInfo], bool]] = []
    newest: dict[str, int] = {}
    before = None
    for member in members:
        key, kind = _parts(member)
        known = newest.get(key)
        again = known is not None and kind in samples[known][1]
        if known is None or (again and before != key):
            newest[key] = len(samples)
            samples.append((key, {kind: member}, False))
        elif again:
            samples[known] = (*samples[known][:2], True)
        else:
            samples[known][1][kind] = member
        before = key
    yield from samples


def _parts(member: tarfile.TarInfo) -> tuple[str, str]:
    """Return (key, extensions) of a member's name, which its first dot divides; extensions in lower case."""
    path = PurePosixPath(member.name)
    stem, _, extensions = path.name.partition(".")
    return (path.parent / stem).as_posix(), extensions.lower()


def _captions(content: BinaryIO, kinds: dict[str, tarfile.TarInfo]) -> list[str]:
    """Return the captions of a sample; a member that holds none that can be read is a BadRow naming it."""
    for kind in ("txt", "json"):
        if member := kinds.get(kind):
            try:
                if captions := _captions_of(content, member, kind):
                    return captions
            except (BadRow, ValueError, RecursionError) as error:  # ValueError: no UTF-8, no JSON
                raise BadRow(f"member {member.name!r}: {' '.join(str(error).split())[:200]}") from error
    return []


def _captions_of(content: BinaryIO, member: tarfile.TarInfo, kind: str) -> list[str]:
    if member.size > LONGEST_TEXT:
        raise BadRow(f"has {member.size:,} bytes. A caption has at most {LONGEST_TEXT:,}")
    text = utf8(_content(content, member))
    if kind == "txt":
        return captions_in({"text": text})
    if not text.strip():
        raise BadRow("is empty. It must be a JSON object with a caption")
    row = json.loads(text)
    if not isinstance(row, dict):
        raise BadRow(f"is a {type(row).__name__}. It must be a JSON object with a caption")
    return captions_in(row)


def _content(content: BinaryIO, member: tarfile.TarInfo) -> bytes:
    content.seek(member.offset_data)
    return content.read(member.size)

"""Shards that lie elsewhere (s3://, https://, hf://, gs:// ...): listed, fetched and read by ranges with fsspec.

A shard is fetched whole once: to be indexed, or to stay. Nothing that a server says becomes a path outside the cache.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.formats.picture_files import inside
from conaclip_edge.data.formats.source_files import READERS, cache_root
from conaclip_edge.errors import ConaclipError, UserError, one_line
from conaclip_edge.system.files import atomic_file, sha256_text
from conaclip_edge.system.processes import available_cores
from conaclip_edge.system.progress import track

SUFFIXES = {".tar": "webdataset", ".parquet": "parquet"}
TRIES = 4
PATIENCE = 1.0  # seconds before the second try; twice as many before each further one
FETCHED_AT_ONCE = 8
# what stores call the version of a file; without any, its size has to do
_STAMPS = ("ETag", "etag", "LastModified", "last_modified", "mtime", "blob_id", "md5Hash", "content_md5")


@dataclass(frozen=True)
class RemoteFile:
    """A file below a URL: its path relative to it, its size in bytes, and what tells its version."""

    name: str
    size: int
    stamp: str


class RemoteFolder:
    """Files below a URL, or the one that it names; a range of numbers in braces stands for each of them.

    Args:
        url: such as s3://bucket/shards, hf://datasets/owner/name or https://host/{00000..00099}.tar.

    Raises:
        UserError: no such kind of URL, or the package for it is not installed.
    """

    def __init__(self, url: str):
        self.url = url
        self._paths = dict(_expanded(url))
        self._system()

    def files(self) -> list[RemoteFile]:
        """List the files in shards' formats, by name.

        Raises:
            UserError: there is none, or the store cannot be reached.
        """
        found: list[RemoteFile] = []
        with self._speaking():
            for root, name in self._paths.items():
                system, path = self._system(root)
                if _suffix(path) in SUFFIXES:
                    found.append(_described(name, system.info(path)))
                else:
                    listed = system.find(path, detail=True)
                    for each in (each for each in listed if _suffix(each) in SUFFIXES):
                        whole = listed[each].get("size") is not None  # a page of links says no sizes
                        info = listed[each] if whole else system.info(each)
                        found.append(_described(each.removeprefix(path).lstrip("/"), info))
        if not found:
            raise UserError(f"no {' or '.join(SUFFIXES)} at {self.url}. Correct data.url.")
        return sorted(found, key=lambda file: file.name)

    def fetch(self, file: RemoteFile, target: Path) -> Path:
        """Bring a file here, unless it is here already; a killed one is not taken for whole."""
        if not (target.is_file() and target.stat().st_size == file.size):
            with atomic_file(target) as temporary, self._speaking(file.name):
                system, path = self._system(*self._place(file.name))
                system.get_file(path, str(temporary))
                if temporary.stat().st_size != file.size:
                    raise UserError(f"{self.url}: {file.name} came without its {file.size:,} bytes. Try again.")
        return target

    def read(self, name: str, start: int, length: int) -> bytes:
        """Read some bytes of a file."""
        with self._speaking(name):
            for attempt in range(TRIES):
                try:
                    system, path = self._system(*self._place(name))
                    found: bytes = system.cat_file(path, start=start, end=start + length)
                    break
                except Exception:  # each store has its own; most pass
                    if attempt == TRIES - 1:
                        raise
                    time.sleep(PATIENCE * 2**attempt)
        if len(found) != length:
            raise UserError(
                f"{self.url}: of {name} came {len(found):,} bytes, not {length:,} from {start:,} on. A server without "
                "ranges needs data.local_copy=true; files that changed need another data.url."
            )
        return found

    def _place(self, name: str) -> tuple[str, str]:
        """Return the URL of a file by its name."""
        root = next((root for root, of in self._paths.items() if of == name), next(iter(self._paths)))
        return (root, "") if _suffix(root) in SUFFIXES else (root, name)

    def _system(self, root: str | None = None, name: str = "") -> tuple[Any, str]:
        """Return fsspec's file system of this process (a fork has none of its parent's), and a path in it."""
        from fsspec.core import url_to_fs

        url = root or next(iter(self._paths))
        scheme = url.partition("://")[0]
        try:
            system, path = url_to_fs(url)
        except ValueError as error:
            raise UserError(
                f"data.url = {self.url}: {one_line(str(error))}. Known: s3://, https://, hf:// and others."
            ) from error
        except ImportError as error:
            reason = one_line(str(error))
            raise UserError(
                f"data.url: {scheme}:// needs another package: {reason}. For https:// it is in 'conaclip-edge[remote]'."
            ) from error
        return system, f"{path.rstrip('/')}/{name}" if name else path

    @contextmanager
    def _speaking(self, name: str = "") -> Iterator[None]:
        """Tell in one line what a store answered."""
        try:
            yield
        except ConaclipError:
            raise
        except Exception as error:  # each store has its own
            reason = one_line(" ".join(str(error).split()))[:200]
            where = f"{self.url}: {name}" if name else self.url
            raise UserError(
                f"cannot read {where} ({type(error).__name__}: {reason}). Look at address, login and network; the same "
                "command goes on."
            ) from error


def remote_format(url: str) -> str:
    """Return the format of what lies at a URL, by the endings of its files."""
    kinds = {SUFFIXES[_suffix(file.name)] for file in RemoteFolder(url).files()}
    if len(kinds) > 1:
        raise UserError(f"{url} holds data of several formats: {', '.join(sorted(kinds))}. Set data.format.")
    return kinds.pop()


def local_copy(config: DataConfig) -> Path:
    """Return a folder with a copy of the files at `data.url`, made shard by shard; a killed run goes on."""
    assert config.url is not None
    folder = RemoteFolder(config.url)
    files = [file for file in folder.files() if SUFFIXES[_suffix(file.name)] == config.format]
    stamps = [part for file in files for part in (file.name, str(file.size), file.stamp)]
    home = cache_root() / f"copy-{sha256_text(READERS, config.url, *stamps)[:16]}" / PurePosixPath(config.url).name
    fetched_all(folder, files, home)
    return home


def fetched_all(folder: RemoteFolder, files: Iterable[RemoteFile], home: Path) -> None:
    """Bring files into a folder, several at once."""
    listed = list(files)
    with ThreadPoolExecutor(min(FETCHED_AT_ONCE, 2 * available_cores())) as pool:
        each = pool.map(lambda file: folder.fetch(file, home / file.name), listed)
        for _ in track(listed, "fetching shards"):
            next(each)


def _expanded(url: str, start: str = "") -> Iterator[tuple[str, str]]:
    """Yield (URL, name of its file) for each number that braces stand for; names begin where the first of them does."""
    braces = re.search(r"\{(\d+)\.\.(\d+)\}", url)
    start = start or url[: braces.start() if braces else None].rpartition("/")[0] + "/"
    if not braces:
        yield url, url.removeprefix(start)
        return
    first, last = braces.groups()
    for number in range(int(first), int(last) + 1):
        yield from _expanded(f"{url[: braces.start()]}{number:0{len(first)}d}{url[braces.end() :]}", start)


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _described(name: str, info: dict[str, Any]) -> RemoteFile:
    stamp = next((str(info[key]) for key in _STAMPS if info.get(key)), "")
    return RemoteFile(inside(name, "data.url"), int(info["size"]), stamp)

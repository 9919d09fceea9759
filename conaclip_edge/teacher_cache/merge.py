"""A teacher cache that several processes or machines built: is every shard there, sound, and of this cache?"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from conaclip_edge.errors import UserError
from conaclip_edge.system.files import atomic_file, sha256_file
from conaclip_edge.teacher_cache.safetensors_mmap import map_tensor, require_whole
from conaclip_edge.teacher_cache.store import SHARD_ROWS, Table, shard_file

_SHOWN = 5


def expected_shards(tables: Sequence[Table]) -> dict[str, int]:
    """Return file name -> rows of every shard of a cache."""
    return {
        shard_file(Path(), table.name, start).name: min(SHARD_ROWS, table.rows - start)
        for table in tables
        for start in table.starts()
    }


def check_cache(home: Path, tables: Sequence[Table], dim: int, command: str) -> None:
    """Raise a UserError if a shard of a cache is missing, damaged or foreign.

    Args:
        home: folder of the cache.
        tables: all of it.
        dim: numbers of an embedding.
        command: that makes what is missing, for the error.
    """
    shards = expected_shards(tables)
    _sound(home, shards, dim)
    missing = [name for name in shards if not (home / name).exists()]
    if missing:
        raise UserError(
            f"cache {home} lacks {len(missing)} of {len(shards)} shards: {_shown(missing)}. Make them: {command}"
        )


def merge_parts(home: Path, tables: Sequence[Table], dim: int, folders: Sequence[Path]) -> int:
    """Copy the shards that others built into a cache; returns how many were new.

    Args:
        home: folder of the cache, named by its key.
        tables: all of it.
        dim: numbers of an embedding.
        folders: caches of that key, or folders that hold one.

    Raises:
        UserError: a folder without a cache of this key, a foreign or damaged shard, or one that differs from another
            of its name; nothing is copied then.
    """
    shards, sources = expected_shards(tables), []
    for folder in folders:
        source = folder if folder.name == home.name else folder / home.name
        if not source.is_dir():
            raise UserError(
                f"{folder} holds no cache of this recipe, which would be named {home.name}. Another teacher, other "
                "data, views or picture limits make another cache."
            )
        _sound(source, shards, dim)
        sources.append(source)
    chosen: dict[str, Path] = {name: home / name for name in shards if (home / name).exists()}
    for source in sources:
        for file in sorted(source.glob("*.safetensors")):
            first = chosen.setdefault(file.name, file)
            if sha256_file(first) != sha256_file(file):
                raise UserError(
                    f"shard {file.name} is there twice with different content: {first} and {file}. The machines differ "
                    "in their libraries; remove one of the two."
                )
    new = {name: file for name, file in chosen.items() if file.parent != home}
    for name, file in new.items():
        with atomic_file(home / name) as temporary:
            shutil.copyfile(file, temporary)
    return len(new)


def _sound(home: Path, shards: Mapping[str, int], dim: int) -> None:
    """Look at every shard of a folder: its name, its columns and its size."""
    for file in sorted(home.glob("*.safetensors")):
        if file.name not in shards:
            raise UserError(f"{file} is no shard of this cache. Remove it.")
        require_whole(file)
        found = map_tensor(file, "embedding").shape
        if found != (shards[file.name], dim):
            wanted = f"{shards[file.name]} x {dim}"
            raise UserError(f"shard {file} holds {' x '.join(map(str, found))} numbers, not {wanted}. Remove it.")


def _shown(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest

"""Files that are either whole or absent: atomic writes, atomic folders, hashes."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from safetensors import SafetensorError

from conaclip_edge.errors import UserError
from conaclip_edge.system.products import Product, check_out

_HOST = hashlib.sha256(socket.gethostname().encode("utf-8", "surrogateescape")).hexdigest()[:8]


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that takes the place of `path` when the block ends without an error.

    It lies in a folder of its own beside `path`: what a library writes on the way, e.g. safetensors its `.tmpXXXXXX`,
    is found and removed with that folder when the process was killed.
    """
    room = _beside(path, "tmp")
    temporary = room / path.name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clear(path)
        if path.exists() and not path.is_file() and not path.is_dir():  # a device would be replaced by a file
            raise UserError(f"cannot write {path}: it is no plain file. Choose another path.")
        room.mkdir()
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        _open_as_the_folder(temporary, room)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise not_written(path, error) from error
    finally:
        shutil.rmtree(room, ignore_errors=True)


@contextmanager
def atomic_folder(path: Path, product: Product | None = None) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that takes its place when the block ends without an error.

    An older folder of that name is replaced as a whole; until then it is left as it was.

    Args:
        path: the folder.
        product: what is written; a folder that is none, or holds anything else, is not replaced but a UserError. None
            is for folders that nobody else writes to.
    """
    if product:
        check_out(path, product)
    temporary, old = _beside(path, "tmp"), _beside(path, "old")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clear(path)
        temporary.mkdir()
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file() and not file.is_symlink():
                _open_as_the_folder(file, temporary)
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise not_written(path, error) from error
    finally:
        if old.exists() and not path.exists():
            os.replace(old, path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _open_as_the_folder(file: Path, folder: Path) -> None:
    """Let those read a file who may read its folder: safetensors makes its files for their owner alone."""
    file.chmod(stat.S_IMODE(file.stat().st_mode) | stat.S_IMODE(folder.stat().st_mode) & 0o444)


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{_HOST}-{os.getpid()}-{uuid.uuid4().hex[:8]}.{kind}")


def clear(path: Path) -> None:
    """Remove what processes that were killed left of the same file or folder, and take back what they had put aside."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        # of a process on another machine that shares the folder nothing is known here
        writer = re.fullmatch(rf"\.{_HOST}-(\d{{1,9}})-[0-9a-f]{{8}}\.(tmp|old)", left.name[len(path.name) + 1 :])
        if writer is None or psutil.pid_exists(int(writer[1])):
            continue
        if writer[2] == "old" and not path.exists():
            os.replace(left, path)
        elif left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def not_written(path: Path, error: Exception) -> UserError:
    """Make the error for a file that cannot be written, e.g. on a full disk (safetensors has an error of its own)."""
    reason = getattr(error, "strerror", None) or error
    return UserError(f"cannot write {path}: {reason}. Free some space or choose another --out.")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def require_file(path: Path) -> None:
    """Refuse what is there but is no file: a folder, or a pipe or device that would be read without end.

    Raises:
        OSError: nothing is there, or it may not be looked at.
        UserError: it is no file.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise UserError(f"{path} is a folder; a file is needed.")
    if not stat.S_ISREG(mode):
        raise UserError(f"{path} is no plain file (a pipe or a device). Give a file.")


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file; `what` names it in the error ("manifest", "checkpoint config")."""
    try:
        require_file(path)
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no {what} at {path}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {what} {path}: {error}.") from error


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file as hex."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_text(*parts: str) -> str:
    """Return the sha256 of strings, each delimited by its length so that no two lists collide."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def deflated_bytes(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder, as an app store delivers them: in a zip archive.

    Each is compressed by deflate at level 9. The archive adds about a hundred bytes per file, which are not counted.
    """
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return sum(map(_deflated, files))


def _deflated(file: Path) -> int:
    raw = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    with file.open("rb") as stream:
        made = sum(len(raw.compress(block)) for block in iter(lambda: stream.read(1 << 20), b""))
    return made + len(raw.flush())

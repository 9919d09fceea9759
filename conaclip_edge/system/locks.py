"""One process per folder: a second run that would write the same one ends with an error instead of mixing with it.

filelock and portalocker leave their lock file behind; to remove it needs the check of `_same`, most of this module.
"""

from __future__ import annotations

import fcntl
import functools
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, ParamSpec, TypeVar

from conaclip_edge.errors import UserError
from conaclip_edge.system.files import clear, not_written
from conaclip_edge.system.progress import is_first_process

P = ParamSpec("P")
R = TypeVar("R")

_held: set[IO[bytes]] = set()


def _let_go() -> None:
    """Close in a forked child what its parent holds: the lock of a killed one would last as long as its children."""
    for handle in _held:
        handle.close()
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


def only_run(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function hold the folder in its argument `out` while it runs.

    Of several processes that train together, the first one holds it for all.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def held(*args: P.args, **kwargs: P.kwargs) -> R:
        if not is_first_process():
            return function(*args, **kwargs)
        with locked(signature.bind(*args, **kwargs).arguments["out"]):
            return function(*args, **kwargs)

    return held


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `path` against other processes; the system takes it back from one that was killed.

    Raises:
        UserError: another process holds it, or its folder cannot be written.
    """
    file = path.with_name(f".{path.name}.lock")
    handle = _lock(file, path)
    _held.add(handle)
    try:
        clear(path)  # a run that was killed may have put aside what is looked for here
        yield
    finally:
        file.unlink(missing_ok=True)
        _held.discard(handle)
        handle.close()


def _lock(file: Path, path: Path) -> IO[bytes]:
    while True:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handle = file.open("wb")
        except OSError as error:
            raise not_written(path, error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            raise UserError(f"another run is writing {path}. Wait until it ends, or choose another --out.") from None
        if _same(file, handle):
            return handle
        handle.close()  # the one before removed its file between our opening and our locking it


def _same(file: Path, handle: IO[bytes]) -> bool:
    try:
        return os.path.samestat(os.stat(file), os.fstat(handle.fileno()))
    except FileNotFoundError:
        return False

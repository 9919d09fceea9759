"""Files that somebody could hand us to do harm, each as small as it can be."""

from __future__ import annotations

import os
import pickle
import tarfile
import zlib
from io import BytesIO
from pathlib import Path


class Runs:
    """Unpickles to a call: leaves a file where the current folder is."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("executed",)


def hostile_pickle() -> bytes:
    return pickle.dumps(Runs())


def write_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    """Write members as they are given, below a harmless pair."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as shard:
        for info, data in members:
            info.size = len(data)
            shard.addfile(info, BytesIO(data))
    return path


def sparse_tar(path: Path, name: str, size: int) -> Path:
    """Write a member of 512 bytes that reads as `size` bytes, in the sparse form of GNU tar."""
    info = tarfile.TarInfo(name)
    info.size, info.type = 512, tarfile.GNUTYPE_SPARSE
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"%011o\0%011o\0" % (0, 512)
    block[483:495] = b"%011o\0" % size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(block) + bytes(512) + bytes(1024))
    return path


def png_of_zeros(width: int, height: int) -> bytes:
    """Make a PNG of one black channel, compressed a thousandfold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    header = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 0, 0, 0, 0])
    rows = zlib.compress(bytes(height * (width + 1)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def safetensors_of(length: int, header: bytes = b"{}") -> bytes:
    """Make a file that claims a header of so many bytes."""
    return length.to_bytes(8, "little") + header


LAUGHS = "\n".join(
    ["a: &a [x, x, x, x, x, x, x, x, x]"]
    + [f"{now}: &{now} [{', '.join(['*' + before] * 9)}]" for before, now in zip("abcdefgh", "bcdefghi", strict=True)]
    + ["name: *i"]
)
MERGES = "\n".join(
    ["a: &a {x: 1}"]
    + [
        f"{now}: &{now} {{<<: [{', '.join(['*' + before] * 9)}]}}"
        for before, now in zip("abcdefgh", "bcdefghi", strict=True)
    ]
)
YAML = {
    "object": "name: !!python/object/apply:os.mkdir [executed]",
    "module": "name: !!python/module:os",
    "name": "name: !!python/name:os.system",
    "new": "name: !!python/object/new:os.mkdir [executed]",
    "own tag": "name: !run executed",
    "laughs": LAUGHS,
    "merges": MERGES,
    "holds itself": "name: &a [*a]",
    "deep": "name: " + "[" * 5000,
    "impossible date": "name: 2001-99-99",
    "impossible number": "name: !!int x",
    "endless number": "seed: 0x" + "f" * 8000,
}

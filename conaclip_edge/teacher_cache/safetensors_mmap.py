"""Tensors of a safetensors file, memory-mapped: an 8-byte length, a JSON header, raw little-endian data."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from conaclip_edge.errors import UserError


def map_tensor(path: Path, name: str) -> np.ndarray:
    """Memory-map one tensor."""
    kinds = {"F32": np.float32, "U8": np.uint8}
    header, first = _header(path)
    try:
        entry = header[name]
        start, end = (first + offset for offset in entry["data_offsets"])
        kind, shape = np.dtype(kinds[entry["dtype"]]), tuple(entry["shape"])
        whole = all(type(number) is int and number >= 0 for number in (start, end, *shape))
        fits = whole and start <= end <= os.path.getsize(path) and math.prod(shape) * kind.itemsize == end - start
        if fits:
            return np.asarray(np.memmap(path, kind, "r", start, shape))
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    raise damaged(path)


def require_whole(path: Path) -> None:
    """Raise a UserError where a file has fewer or more bytes than its header says."""
    header, first = _header(path)
    try:
        end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
        whole = first + end == os.path.getsize(path)
    except (KeyError, IndexError, TypeError, ValueError):
        whole = False
    if not whole:
        raise damaged(path)


def read_notes(path: Path) -> dict[str, str]:
    """Return what the header of a shard says about it."""
    notes = _header(path)[0].get("__metadata__", {})
    if not isinstance(notes, dict):
        raise damaged(path)
    return notes


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Read the header of a safetensors file, and where its data begin."""
    try:
        with open(path, "rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            header: dict[str, Any] = json.loads(handle.read(min(length, os.path.getsize(path))))
    except (ValueError, RecursionError):
        raise damaged(path) from None
    if not isinstance(header, dict):
        raise damaged(path)
    return header, 8 + length


def damaged(path: Path) -> UserError:
    """Make the error for a file that does not hold what its header says."""
    return UserError(f"cache shard {path} is damaged. Delete it; it is made again.")

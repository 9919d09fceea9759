"""The Core ML package inside an ExecuTorch program, taken out so that the reference interpreter can run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conaclip_edge.errors import UserError

_DELEGATE = "CoreMLBackend"
_PACKAGE = ("lowered_module", "model.mlpackage")


def unpack_delegates(pte: Path, folder: Path) -> list[Path]:
    """Write the package of every Core ML delegate of an ExecuTorch program.

    Args:
        pte: the .pte file.
        folder: where the packages go, as 0.mlpackage, 1.mlpackage and so on, in the order of the delegates.

    Returns:
        the packages' paths.

    Errors: UserError when the file is no ExecuTorch program, or holds no readable Core ML delegate.
    """
    from executorch.exir._serialize._program import deserialize_pte_binary

    if not pte.is_file():
        raise UserError(f"{pte}: no such ExecuTorch program. Check the path.")
    try:
        program = deserialize_pte_binary(pte.read_bytes()).program
    except Exception as error:  # the reader raises bare exceptions of many kinds
        raise UserError(f"{pte}: not a readable ExecuTorch program ({error!r}). Export it again.") from error
    delegates = [one for one in program.execution_plan[0].delegates if one.id == _DELEGATE]
    if not delegates:
        raise UserError(f"{pte}: holds no Core ML delegate. Export it with the Core ML backend.")
    packages = [folder / f"{number}.mlpackage" for number in range(len(delegates))]
    for delegate, package in zip(delegates, packages, strict=True):
        _unpack(bytes(program.backend_delegate_data[delegate.processed.index].data), package, pte)
    return packages


def _unpack(blob: bytes, package: Path, pte: Path) -> None:
    """Write the package of one delegate: a run of files, then a reversed JSON text that says where each one lies."""
    try:
        nodes = json.JSONDecoder().raw_decode(blob[::-1].decode("latin-1"))[0]["nodes"]
        node = nodes[-1]
        if node["name"] != _PACKAGE[0]:
            raise KeyError(_PACKAGE[0])
        _write(nodes, nodes[node["children"][_PACKAGE[1]]], blob, package)
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise UserError(f"{pte}: its Core ML delegate cannot be unpacked ({error!r}). Export it again.") from error


def _write(nodes: list[Any], node: Any, blob: bytes, path: Path) -> None:
    if node["kind"] == 0:
        start, size = node["dataRegion"]["offset"], node["dataRegion"]["size"]
        if start < 0 or size < 0 or start + size > len(blob):
            raise ValueError(f"{path.name} lies outside the delegate's data")
        path.write_bytes(blob[start : start + size])
        return
    path.mkdir(parents=True, exist_ok=True)
    for name, index in node["children"].items():
        if name in ("", ".", "..") or "/" in name or "\\" in name:
            raise ValueError(f"'{name}' is no file name")
        _write(nodes, nodes[index], blob, path / name)

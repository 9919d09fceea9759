"""Reading a Core ML package from disk, and refusing a broken one before anything of it runs."""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from conaclip_edge.errors import UserError
from conaclip_edge.system.extras import extras_needed

_BLOB_RECORD = struct.Struct("<IIQQ")  # sentinel, data type, size in bytes, offset of the data
_BLOB_SENTINEL = 0xDEADBEEF
_EXPORT_AGAIN = "Export or copy the package again."


def import_coremltools() -> Any:
    """Import coremltools without its warnings about the parts that exist on a Mac only.

    Errors: NotInstalled when coremltools is not installed.
    """
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with extras_needed():
            import coremltools
    finally:
        logger.setLevel(level)
    return coremltools


def read_package(path: Path) -> tuple[Any, Path]:
    """Read the model description of a .mlpackage and check that its files are whole.

    Args:
        path: the .mlpackage folder.

    Returns:
        the protobuf `Model` and the folder that holds its weight files.

    Errors: UserError for a missing, truncated or unreadable file, a path that leaves the package, or a model that is
    not a stateless ML Program with one function.
    """
    items = _manifest_items(path)
    spec = _read_spec(path, items["model"])
    weights = items.get("weights", items["model"].parent / "weights")
    for blob in _blobs(_main_function(path, spec)):
        _check_blob(path, items["model"].parent, weights, blob)
    return spec, weights


def operations(spec: Any) -> list[Any]:
    """Return the protobuf operations of a package's function in the order in which they run."""
    function = spec.mlProgram.functions["main"]
    return list(function.block_specializations[function.opset].operations)


def _manifest_items(path: Path) -> dict[str, Path]:
    if not path.is_dir():
        raise UserError(f"{path}: no such Core ML package (a folder named *.mlpackage). Check the path.")
    manifest = path / "Manifest.json"
    if not manifest.is_file():
        raise UserError(f"{path}: Manifest.json is missing, so this is no Core ML package. {_EXPORT_AGAIN}")
    try:
        document = json.loads(manifest.read_text(encoding="utf-8"))
        root = document["rootModelIdentifier"]
        entries = {key: (entry["name"], entry["path"]) for key, entry in document["itemInfoEntries"].items()}
        model = entries[root]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{manifest}: not a readable package manifest ({error!r}). {_EXPORT_AGAIN}") from error
    items = {"model": _inside(path, model[1])}
    items.update({name: _inside(path, relative) for name, relative in entries.values() if name == "weights"})
    return items


def _inside(path: Path, relative: Any) -> Path:
    """Resolve a path of the manifest, which must stay in the package's Data folder even through symbolic links."""
    data = path / "Data"
    pure = PurePosixPath(str(relative))
    target = data / pure
    if pure.is_absolute() or ".." in pure.parts or not _leads_into(target, data):
        raise UserError(f"{path}: the manifest points outside the package ('{relative}'). Do not use this package.")
    return target


def _leads_into(target: Path, folder: Path) -> bool:
    try:
        target.is_file()  # raises for a name that is too long
        return target.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):  # a name that no file can have
        return False


def _read_spec(path: Path, model: Path) -> Any:
    import_coremltools()
    from coremltools.proto import Model_pb2
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf ships no types

    if not model.is_file():
        raise UserError(f"{path}: {model.relative_to(path)} is missing. {_EXPORT_AGAIN}")
    spec = Model_pb2.Model()
    try:
        spec.ParseFromString(model.read_bytes())
    except DecodeError as error:
        raise UserError(f"{path}: {model.relative_to(path)} is damaged ({error}). {_EXPORT_AGAIN}") from error
    return spec


def _main_function(path: Path, spec: Any) -> Any:
    kind = spec.WhichOneof("Type")
    if kind != "mlProgram":
        raise UserError(f"{path}: holds a model of type '{kind}'; only 'mlProgram' can be run. Export an ML Program.")
    names = sorted(spec.mlProgram.functions)
    if names != ["main"]:
        raise UserError(f"{path}: has the functions {names}; only a single 'main' can be run. Export one per package.")
    if len(spec.description.state):
        raise UserError(f"{path}: keeps state between calls, which a tower does not need. Export a stateless program.")
    function = spec.mlProgram.functions["main"]
    if function.opset not in function.block_specializations:
        raise UserError(f"{path}: the program has no body for its opset '{function.opset}'. {_EXPORT_AGAIN}")
    return function


def _blobs(function: Any) -> Iterator[Any]:
    for operation in function.block_specializations[function.opset].operations:
        values = list(operation.attributes.values())
        values += [binding.value for argument in operation.inputs.values() for binding in argument.arguments]
        yield from (value.blobFileValue for value in values if value.WhichOneof("value") == "blobFileValue")


def _check_blob(path: Path, root: Path, weights: Path, blob: Any) -> None:
    file = root / PurePosixPath(blob.fileName.removeprefix("@model_path/"))
    if ".." in file.parts or not _leads_into(file, weights) or file.parent.resolve() != weights.resolve():
        raise UserError(f"{path}: a weight points outside the package ('{blob.fileName}'). Do not use this package.")
    if not file.is_file():
        raise UserError(f"{path}: {file.relative_to(path)} is missing. {_EXPORT_AGAIN}")
    with file.open("rb") as stream:
        stream.seek(blob.offset)
        record = stream.read(_BLOB_RECORD.size)
    length = file.stat().st_size
    if len(record) == _BLOB_RECORD.size:
        sentinel, _, size, offset = _BLOB_RECORD.unpack(record)
        if sentinel != _BLOB_SENTINEL:
            raise UserError(f"{path}: {file.relative_to(path)} is damaged at byte {blob.offset}. {_EXPORT_AGAIN}")
        if offset + size <= length:
            return
    raise UserError(
        f"{path}: {file.relative_to(path)} is truncated ({length} bytes; more are declared). {_EXPORT_AGAIN}"
    )

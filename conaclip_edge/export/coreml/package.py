"""Writing a Core ML package so that equal models give equal bytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from conaclip_edge.export.coreml.compact import compact
from conaclip_edge.runtime.mil.package import operations

SPECIFICATION = Path("Data/com.apple.CoreML/model.mlmodel")
_DATE = "com.github.apple.coremltools.conversion_date"


def write_package(model: Any, path: Path) -> int:
    """Write an `MLModel` as a .mlpackage folder, replacing one that is there, and return how many operations it runs.

    coremltools gives the parts of a package random ids, writes today's date into it, and leaves the order of the maps
    in the specification to chance; here ids are fixed, the date is left out and maps are sorted. Equal constants are
    merged.
    """
    from coremltools.proto import Model_pb2

    shutil.rmtree(path, ignore_errors=True)
    model.save(str(path))
    specification = Model_pb2.Model()
    specification.ParseFromString((path / SPECIFICATION).read_bytes())
    specification.description.metadata.userDefined.pop(_DATE, None)
    compact(specification)
    (path / SPECIFICATION).write_bytes(specification.SerializeToString(deterministic=True))
    manifest = json.loads((path / "Manifest.json").read_text("utf-8"))
    entries = sorted(manifest["itemInfoEntries"].items(), key=lambda item: str(item[1]["path"]))
    ids = {old: f"00000000-0000-4000-8000-{number:012d}" for number, (old, _) in enumerate(entries)}
    manifest["itemInfoEntries"] = {ids[old]: entry for old, entry in entries}
    manifest["rootModelIdentifier"] = ids[manifest["rootModelIdentifier"]]
    (path / "Manifest.json").write_text(json.dumps(manifest, sort_keys=True) + "\n", "utf-8")
    return sum(operation.type != "const" for operation in operations(specification))

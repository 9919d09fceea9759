"""What a report says of the models it measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conaclip_edge.bundle.manifest import Manifest


def model_values(bundle: Path, manifest: Manifest) -> dict[str, Any]:
    """Return the report's `model` of a bundle."""
    parameters = manifest.training.get("parameters", {})
    return {
        "name": manifest.name,
        "embedding_space": manifest.embedding_space,
        "digest": manifest.digest,
        "bundle": _shown(bundle),
        "embed_dim": manifest.embed_dim,
        "image_size": manifest.image_size,
        "context": manifest.context,
        "parameters": {name: count for name, count in parameters.items() if isinstance(count, int)},
    }


def _shown(folder: Path) -> str:
    """Name a folder by its place in the working folder where it is in it, as a report that travels should."""
    try:
        return folder.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(folder)
